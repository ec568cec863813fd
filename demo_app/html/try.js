// What one presses in the comparison, the sentence over it, and the list of edits. Only an editor to
// keep, and an edit to take out, are the server's concern.
const around = element.closest("#result") ?? element;
const one = (selector) => around.querySelector(selector);
const all = (selector) => [...around.querySelectorAll(selector)];

const show = (column) => {
  all(".asked").forEach((part) => { part.hidden = part.dataset.column !== column; });
  all("[data-show]").forEach((button) =>
    button.closest("tr").classList.toggle("shown", button.dataset.show === column));
  tell();
};

const point = (dot) => {
  const [column, group, place] = dot.dataset.dot.split(".");
  show(column);
  const asked = all(`.asked[data-column="${column}"] tr.${group}`);
  const row = (asked.length ? asked : all(`.beside tr.${group}`))[Number(place)];
  all("tr.picked").forEach((other) => other.classList.remove("picked"));
  if (!row) return;  // the lab shows no row of a text that has nothing to do with the edit
  row.classList.add("picked");
  if (!asked.length) one("#closer").open = true;  // it stands among all answers only
  row.scrollIntoView({behavior: "smooth", block: "nearest"});
};

const scored = (part) => {  // one editor's guesses, beside what expecting the best would reach
  const seen = [...part.querySelectorAll("tr.seen")], name = part.dataset.editor || "the edits";
  if (!seen.length) return `What did ${name} do to each prompt?`;
  const best = seen.filter((other) => other.dataset.good === "1").length;
  const left = part.querySelectorAll(".guess").length - seen.length;
  return `You saw ${part.querySelectorAll("tr.hit").length} of ${seen.length} coming of what ` +
    `${name} did. Whoever expects that all is as it should be would have seen ${best}.` +
    (left ? ` ${left} to go.` : "");
};

const tell = () => {
  const parts = all(".asked").filter((part) => !part.hidden || part.querySelector("tr.seen"));
  one(".guesses").textContent = parts.map(scored).join(" ");
};

const guess = (button) => {
  const row = button.closest("tr");
  row.classList.add("seen", button.dataset.guess === row.dataset.good ? "hit" : "miss");
  tell();
};

const copy = async (button) => {
  const address = new URL(button.dataset.link, location.href.split(/[?#]/)[0]).href;
  history.replaceState(null, "", address);
  try {
    await navigator.clipboard.writeText(address);
    button.textContent = "link copied";
  } catch {  // a page that is not served safely may not write there
    button.textContent = "the link is in the address bar";
  }
};

element.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  if (at("[data-guess]")) guess(at("[data-guess]"));
  else if (at("[data-whom]")) {  // in the lab: whom an edit was about
    at(".trace").querySelectorAll("[data-whom]").forEach((name) =>
      name.classList.toggle("picked", name === at("[data-whom]")));
    at(".trace").querySelector("details").open = true;
  }
  else if (at("[data-link]")) copy(at("[data-link]"));
  else if (at("[data-dot]")) point(at("[data-dot]"));
  else if (at("[data-keep]")) trigger("select", {keep: Number(at("[data-keep]").dataset.keep)});
  else if (at("[data-out]")) trigger("select", {out: Number(at("[data-out]").dataset.out)});
  else if (at("[data-show]")) {
    show(at("[data-show]").dataset.show);
    at("[data-show]").previousElementSibling.focus();  // the name in the place of the button
  }
});
