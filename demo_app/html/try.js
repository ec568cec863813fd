// Clicks in the lab's comparisons and in the list of edits. The server is only needed for keeping and
// removing edits.
const all = (selector) => [...element.querySelectorAll(selector)];

const show = (column) => {
  all(".asked").forEach((part) => { part.hidden = part.dataset.column !== column; });
  all("[data-show]").forEach((button) =>
    button.closest("tr").classList.toggle("shown", button.dataset.show === column));
};

const point = (dot) => {
  const [column, group, place] = dot.dataset.dot.split(".");
  show(column);
  const row = all(`.asked[data-column="${column}"] tr.${group}`)[Number(place)];
  all("tr.picked").forEach((other) => other.classList.remove("picked"));
  if (!row) return;  // the lab has no rows for unrelated texts
  row.classList.add("picked");
  row.scrollIntoView({behavior: "smooth", block: "nearest"});
};

element.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  if (at("[data-whom]")) {  // in the lab: the guessed subject of an edit
    at(".trace").querySelectorAll("[data-whom]").forEach((name) =>
      name.classList.toggle("picked", name === at("[data-whom]")));
    at(".trace").querySelector("details").open = true;
  }
  else if (at("[data-dot]")) point(at("[data-dot]"));
  else if (at("[data-keep]")) trigger("select", {keep: Number(at("[data-keep]").dataset.keep)});
  else if (at("[data-out]")) trigger("select", {out: Number(at("[data-out]").dataset.out)});
  else if (at("[data-show]")) {
    show(at("[data-show]").dataset.show);
    at("[data-show]").previousElementSibling.focus();  // the name that replaces the button
  }
});
