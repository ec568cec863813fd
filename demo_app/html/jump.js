// The page has a base: the bare link would load it anew, without its address.
element.addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("form").scrollIntoView();
});
