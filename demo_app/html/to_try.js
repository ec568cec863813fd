(...given) => {
  // leave the lab, where the button is
  document.querySelector('button[role="tab"]').click();
  scrollTo(0, 0);
  return given;
}
