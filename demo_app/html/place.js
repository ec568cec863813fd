() => {
  // keep the place in the address, for reloads and links
  const address = new URL(location.href), place = "%s";
  const opening = place === "try" && !window.opened;  // not chosen by the visitor
  window.opened = true;
  if (opening) return;
  if (place === "try") address.searchParams.delete("place");
  else address.searchParams.set("place", place);
  history.replaceState(null, "", address);
}
