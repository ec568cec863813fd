const lab = element.closest("#lab");
function open(key, move) {
  const card = element.querySelector(`[data-question="${key}"]`);
  if (!card) return;
  const again = card.getAttribute("aria-expanded") === "true" && move;
  element.querySelectorAll("[data-question]").forEach((one) =>
    one.setAttribute("aria-expanded", String(one === card && !again)));
  lab.dataset.open = again ? "" : key;
  if (again) return;
  trigger("select", {question: key});
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const question = document.getElementById(key);
  question?.querySelector("h2")?.focus({preventScroll: true});
  question?.scrollIntoView({behavior: still ? "auto" : "smooth", block: "start"});
}
element.addEventListener("click", (event) => {
  const card = event.target.closest("[data-question]");
  if (card) open(card.dataset.question, true);
});
const asked = new URL(location.href).searchParams.get("place");
if (asked) requestAnimationFrame(() => open(asked, false));
