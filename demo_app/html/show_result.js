(...given) => {
  // on a phone, in large type and below open settings what happens is out of view
  const status = document.querySelector("#status"), {top, bottom} = status.getBoundingClientRect();
  if (innerWidth < 720) document.querySelector("#top").scrollIntoView({behavior: "smooth"});
  else if (top < 0 || bottom > innerHeight)
    status.scrollIntoView({behavior: "smooth", block: "center"});
  return given;
}
