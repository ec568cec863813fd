() => {
  // the address names the place, so that a reload and a link come back to it
  const address = new URL(location.href), place = "%s";
  const opening = place === "try" && !window.opened;  // nobody has chosen this place
  window.opened = true;
  if (opening) return;
  if (place === "try") address.searchParams.delete("place");
  else address.searchParams.set("place", place);
  history.replaceState(null, "", address);
}
