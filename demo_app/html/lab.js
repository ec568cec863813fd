/* A phone shows one question of the lab at a time: opening one closes the others. */
addEventListener("click", (event) => {
  const asked = "#lab > .block > .label-wrap";
  const now = event.target.closest(asked);
  if (!event.isTrusted || !now || innerWidth > 720) return;
  for (const one of document.querySelectorAll(`${asked}.open`)) if (one !== now) one.click();
  setTimeout(() => now.scrollIntoView(), 50); // what closed above it has moved it
});
