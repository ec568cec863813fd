// The sentence below the form, with its recognized subject: drag the subject's two ends, or move them
// using keys, from word boundary to word boundary. The form's fields are updated to match.
const fields = () => [...document.querySelectorAll("#sentence input, #sentence textarea")].slice(0, 2);
const WORD = /[\p{L}\p{M}\p{N}]+/gu;
let sentence = "", borders = [[], []], at = [0, 0];

const find = (text) => {  // word boundaries, including in scripts without spaces
  const found = [[], []];
  for (const part of new Intl.Segmenter(undefined, {granularity: "word"}).segment(text))
    for (const word of part.segment.matchAll(WORD)) {
      found[0].push(part.index + word.index);
      found[1].push(part.index + word.index + word[0].length);
    }
  return found;
};

const read = () => {  // the sentence in the fields; false if any is empty
  const [subject, prompt] = fields().map((field) => field.value.trim());
  const joined = /^['’,、，]|^\p{Script=Han}|^\p{Script=Hiragana}|^\p{Script=Katakana}/u.test(prompt);
  const whole = prompt.includes("{}") ? prompt : `{}${joined ? "" : " "}${prompt}`;
  const start = whole.indexOf("{}");
  if (!subject || !prompt) return false;
  sentence = whole.replace("{}", () => subject);
  at = [start, start + subject.length];
  borders = find(sentence).map((some, end) => [...new Set([...some, at[end]])].sort((a, b) => a - b));
  return true;
};

const fill = (field, value) => {  // as if typed
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, value);
  field.dispatchEvent(new Event("input", {bubbles: true}));
};

const write = () => {
  const [subject, prompt] = fields(), rest = sentence.slice(at[1]);
  const begins = at[0] === 0 && /^ \p{Ll}/u.test(rest);  // the prompt continues from the subject
  fill(subject, sentence.slice(...at));
  fill(prompt, begins ? rest.trim() : `${sentence.slice(0, at[0])}{}${rest}`);
};

const draw = () => {
  const line = element.querySelector(".ends");
  if (!line) return;
  const text = (from, to) => document.createTextNode(sentence.slice(from, to));
  const subject = document.createElement("mark");
  subject.append(text(...at));
  const handles = ["Start of the subject", "End of the subject"].map((name, end) => {
    const handle = document.createElement("span");
    const says = {role: "slider", tabindex: 0, "aria-label": name, "aria-valuemin": 0,
      "aria-valuemax": sentence.length, "aria-valuenow": at[end], "aria-valuetext": subject.textContent};
    Object.entries(says).forEach(([key, value]) => handle.setAttribute(key, value));
    handle.dataset.end = end;
    return handle;
  });
  line.replaceChildren(text(0, at[0]), handles[0], subject, handles[1], text(at[1]));
};

const move = (end, to) => {  // move one end, leaving at least one word inside the subject and some text outside
  const next = at.with(end, to);
  if (next[0] >= next[1] || !(sentence.slice(0, next[0]) + sentence.slice(next[1])).trim()) return;
  at = next;
  draw();
  element.querySelector(`[data-end="${end}"]`).focus();
};

const nearest = (end, x, y) => {  // the word boundary nearest to a point
  const line = element.querySelector(".ends"), range = document.createRange();
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT), far = [];
  for (let from = 0; walker.nextNode(); from += walker.currentNode.length)
    for (const place of borders[end]) {
      const inside = place - from, {length} = walker.currentNode;
      if (inside < 0 || inside > length || !length) continue;
      range.setStart(walker.currentNode, Math.max(0, inside - end));
      range.setEnd(walker.currentNode, Math.min(length, inside + 1 - end));
      const box = range.getBoundingClientRect(), beside = end ? box.right : box.left;
      const below = Math.max(0, box.top - y, y - box.bottom);
      if (box.height) far.push([below * 1000 + Math.abs(beside - x), place]);
    }
  return far.sort((a, b) => a[0] - b[0])[0]?.[1];
};

element.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest("[data-end]");
  if (!handle) return;
  event.preventDefault();
  const end = Number(handle.dataset.end);
  const follow = (moved) => {
    const to = nearest(end, moved.clientX, moved.clientY);
    if (to !== undefined && to !== at[end]) move(end, to);
  };
  const stop = () => {
    removeEventListener("pointermove", follow);
    removeEventListener("pointerup", stop);
    removeEventListener("pointercancel", stop);
    write();
  };
  addEventListener("pointermove", follow);
  addEventListener("pointerup", stop);
  addEventListener("pointercancel", stop);
});

element.addEventListener("keydown", (event) => {
  const end = Number(event.target.dataset?.end ?? NaN), some = borders[end];
  if (!some) return;
  const place = some.indexOf(at[end]);
  const steps = {ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: some.length - 1};
  if (!(event.key in steps)) return;
  event.preventDefault();
  if (some[steps[event.key]] !== undefined) move(end, some[steps[event.key]]);
  write();
});

let drawn = null;  // the line that was drawn; the server replaces it with each sentence
new MutationObserver(() => {
  const line = element.querySelector(".ends");
  if (line === drawn || !line) return;
  drawn = line;
  setTimeout(() => {  // by then, the fields have their new texts
    if (!read()) return;
    draw();
    line.scrollIntoView({block: "center"});  // on a phone, the bar would cover it
  });
}).observe(element, {childList: true, subtree: true});
document.addEventListener("input", (event) => {  // the form may not be on the page yet
  const typed = event.isTrusted && event.target.closest("#sentence");
  if (typed && element.querySelector(".ends") && read()) draw();
});
