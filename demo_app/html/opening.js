// The first place: guess, edit, read. The server sends rows containing both a guess and a result;
// ticks, chips, reveal and score are handled here without delay. Stored examples need no calls.
const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const S = {key: "", editors: [], column: "0", ticks: {}, seen: new Set(), open: false,
  wants: false, anyway: false, picked: "", shown: "", at: "", note: "", sent: ""};
const BUSY = ["asking", "writing", "rest", "wait"];

const rows = () => $("#rows .fact-rows");
const fields = () => all("#sentence textarea, #sentence input");
const fill = (field, value) => {  // as if typed
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, value);
  field.dispatchEvent(new Event("input", {bubbles: true}));
};
const hide = (node, off) => { if (node.hidden !== off) node.hidden = off; };
const text = (node, value) => { if (node && node.textContent !== value) node.textContent = value; };
const chips = () => all("#by [data-chip]");
const title = (editor) => $("b", $(`#by [data-chip="${editor}"]`) ?? $("#by"))?.textContent ?? editor;
const columns = () => all(".asked", rows());
const blockOf = (editor) => columns().find((one) => one.dataset.editor === editor);
const block = () => columns().find((one) => one.dataset.column === S.column) ?? columns()[0];
const bare = (one) => one.replace(/\s+/g, "").toLowerCase();
const typed = () => {  // whether the sentence differs from the rows' sentence
  const d = rows().dataset, [subject, prompt, target] = fields().map((one) => one.value.trim());
  const inside = bare(prompt).includes(bare(subject));
  const whole = prompt.includes("{}") ? prompt.replace("{}", () => subject)
    : inside ? prompt : subject + prompt;
  return [subject, whole, target].some((one, i) => bare(one) !== bare([d.subject, d.sentence, d.target][i]));
};
const extras = () => all("#settings textarea").some((one) => one.value.trim());
const stored = () => rows().dataset.stored === "1";

const state = () => {
  const d = rows().dataset;
  if (!BUSY.includes(d.state) && typed()) return "typed";
  return d.state === "result" && stored() && !S.open ? "guess" : d.state;
};

const judged = () => all(".row", block()).filter((row) => $("input", row));
const hits = (found) => found.filter((row) =>
  (row.dataset.changed === "1") === Boolean(S.ticks[row.dataset.prompt])).length;
const score = () => {  // [rows seen coming, rows]; empty without a guess
  const rest = judged();
  return rest.length && Object.values(S.ticks).some(Boolean) ? [hits(rest), rest.length] : [];
};
const coming = (right, all) => `saw ${right === all ? `all ${all}` : `${right} of ${all}`} coming`;

const next = () => {  // the first stored editor not seen yet
  const seen = (name) => stored() ? S.seen.has(name) : Boolean(blockOf(name));
  return chips().map((one) => one.dataset.chip).find((name, i) =>
    i < 3 && !seen(name) && (!stored() || blockOf(name)));
};

const label = (now) => {
  if (now === "wait") return ["leave", "Leave the line"];
  if (BUSY.includes(now) || rows().dataset.busy) return ["stop", "Stop"];
  if (now === "true") return ["anyway", "Edit anyway"];
  if (now !== "result") return ["edit", "Edit"];
  if (!stored() && S.editors.length && !blockOf(S.editors[0]))
    return ["compare", `Compare with ${title(S.editors[0])}`];
  if (block().dataset.thin && !stored()) return ["add", "Add your own question"];
  const other = next();
  if (!other) return ["own", "Try your own fact"];
  return stored() ? ["again", `Guess again: ${title(other)}`] : ["compare", `Compare with ${title(other)}`];
};

const say = (now) => {
  const line = $("#say"), said = $(".said", line);
  let told = block()?.dataset.says ?? "";
  const rest = judged(), ticked = rest.filter((row) => S.ticks[row.dataset.prompt]).length;
  if (now === "guess")
    told = !rest.length ? "" : ticked ? `You expect ${ticked} of ${rest.length} to change.`
      : S.sent || "Or press Edit without a guess.";
  if (now === "writing" && S.sent) told += ` ${S.sent}`;
  if (now === "typed") told = "";
  const guessed = now === "result" ? score() : [];
  const won = guessed.length ? `You ${coming(...guessed)}.` : "";
  if (now === "result" && block().dataset.thin && $(".stay .row:not(.off)", block()))
    told += " One neighbor is too few to tell whether the rest stayed.";
  if (S.note) told = S.note;
  $(".score", line).hidden = !won;
  text($(".won", line), won);
  const html = now === "wait" ? block()?.dataset.html ?? "" : "";
  if ($(".linked", line).innerHTML !== html) $(".linked", line).innerHTML = html;
  text(said, html ? "" : told);
  line.classList.toggle("small", now !== "result");
  const keep = $("[data-keep]", line), column = block()?.dataset;
  keep.hidden = !(now === "result" && !stored() && column?.keep && rows().dataset.kept !== column.column);
  if (column) keep.dataset.keep = column.column;
};

const draw = () => {
  const root = rows();
  if (!root || fields().length < 3) return;
  const d = root.dataset, key = [d.subject, d.sentence, d.target].join("\n");
  if (!S.editors.length) S.editors = [chips()[0]?.dataset.chip];
  const fresh = key + d.state + d.stored;
  if (key !== S.key) {
    // an editor named in a link is used until the visitor chooses another
    if (!S.touched && d.editor) S.editors = [d.editor];
    if (S.key) S.sent = "";
    Object.assign(S, {key, ticks: {}, seen: new Set(), open: false, note: ""});
    S.column = columns()[0]?.dataset.column ?? "0";
  }
  if (fresh !== S.fresh) {  // a new response from the server
    S.fresh = fresh;
    if (d.editor && d.state === "result") {
      const found = (stored() && blockOf(S.editors[0])) || blockOf(d.editor);
      if (found) S.column = found.dataset.column;
      if (!stored()) S.editors = columns().map((one) => one.dataset.editor);
    }
    if (!stored()) S.open = true;
  }
  const now = state();
  const seen = block();
  columns().forEach((one) => hide(one, one !== seen));
  if (root.dataset.shown !== now) root.dataset.shown = now;
  for (const row of block() ? all(".row", block()) : []) {
    const box = $("input", row), on = Boolean(S.ticks[row.dataset.prompt]);
    row.classList.toggle("ticked", Boolean(box) && on);
    if (!box) continue;
    box.checked = on;
    box.disabled = now === "result" || now === "typed" || now === "true";
    const told = now === "result" && Object.values(S.ticks).some(Boolean);
    const right = (row.dataset.changed === "1") === on, badge = $(".badge", row);
    badge.classList.toggle("y", told && right);
    badge.classList.toggle("n", told && !right);
    text(badge, told ? (right ? "✓" : "–") : "");
    text($(".coming", row), told ? (right ? "You saw it coming. " : "You didn't see it coming. ") : "");
  }
  const old = $("#old .old");
  text(old, now === "typed" || now === "true" ? "" : d.old);
  old.classList.toggle("struck", now === "rest" || (now === "result" && Boolean(block().dataset.took)));
  const extra = $("#by .extra"), more = S.editors.filter((name) => !$(`#by .by > [data-chip="${name}"]`));
  if (extra && extra.dataset.names !== more.join()) {
    extra.dataset.names = more.join();
    extra.replaceChildren(...more.map((name) => {
      const chip = chips()[0].cloneNode(true), tick = $(`[data-tick="${name}"]`);
      chip.dataset.chip = name;
      $("b", chip).textContent = tick ? $("b", tick.parentNode).textContent : name;
      $("span", chip).textContent = $(".why", tick?.parentNode ?? chip)?.textContent ?? "";
      return chip;
    }));
  }
  const current = now === "result" && !stored() && columns().length > 1 ? [block().dataset.editor] : S.editors;
  chips().forEach((chip) => chip.setAttribute("aria-pressed", String(current.includes(chip.dataset.chip))));
  all("[data-tick]").forEach((box) => {
    box.checked = S.editors.includes(box.dataset.tick);
    box.disabled = !box.checked && S.editors.length >= 4;
  });
  say(now);
  const [what, words] = label(now), main = $("#main");
  main.dataset.act = what;
  text(main, words);
  main.classList.toggle("main-look", !["stop", "leave", "anyway"].includes(what));
  const live = Boolean($("#top .live.on")), busy = BUSY.includes(now) || Boolean(d.busy);
  $("#undo").disabled = busy || !(now === "result" && stored() || live);
  $("#share").disabled = busy || now !== "result";
  const kept = now === "result" && (stored() || columns().length > 1);
  const played = stored() && S.seen.size > 0;
  all("#written [data-column]").forEach((one) => {
    hide(one, !(now === "result" && one.dataset.column === S.column));
  });
  const board = $("#board");
  board.classList.toggle("off", !(kept || played) || now === "typed" || !$("table", board));
  all("#board [data-column]").forEach((cell) => {
    const editor = columns()[Number(cell.dataset.column)]?.dataset.editor;
    cell.classList.toggle("seen", !stored() || S.seen.has(editor));
    cell.classList.toggle("on", cell.dataset.column === S.column);
  });
  const caption = $("#board caption");
  if (caption) text(caption, !stored() || columns().every((one) => S.seen.has(one.dataset.editor))
    ? caption.dataset.final : caption.dataset.same);
  if (S.wants && now !== S.shown && (now === "result" || BUSY.includes(now) || now === "true")) focus();
  if (S.wants && (now === "result" || now === "true")) S.wants = false;
  if (document.activeElement === document.body && S.at) $(`[data-prompt="${CSS.escape(S.at)}"] input`)?.focus();
  S.shown = now;
  if (!CSS.supports("field-sizing", "content"))
    fields().forEach((one) => { one.style.width = `${Math.min(one.value.length + 1, 34)}ch`; });
};

const focus = () => {
  const heading = all("h2", block()).find((one) => one.tabIndex === -1 && one.offsetParent);
  if (!heading) return;
  S.at = "";
  heading.focus({preventScroll: true});
  const {top, bottom} = heading.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight - 60 || innerWidth <= 720)
    heading.scrollIntoView({block: "start", behavior: "smooth"});
};

const edit = (anyway = false) => {
  const found = S.editors.length === 1 && blockOf(S.editors[0]);
  S.note = "";
  S.wants = true;
  if (!anyway && !typed() && stored() && found && !extras()) {
    S.column = found.dataset.column;
    S.seen.add(found.dataset.editor);
    S.open = true;
    rows().classList.add("reveal");
    trigger("apply", {see: found.dataset.editor});
    draw();
    return;
  }
  S.anyway = anyway;
  if (typed()) S.ticks = {};
  $("#go").click();
};

const choose = (editor) => {
  const found = blockOf(editor);
  S.note = "";
  if (state() === "result" && !stored() && columns().length > 1 && found) S.column = found.dataset.column;
  else {
    S.editors = [editor];
    if (stored() && found) {
      Object.assign(S, {column: found.dataset.column, open: S.seen.has(editor), ticks: {}});
      rows().classList.remove("reveal");
      if (S.open) trigger("apply", {see: editor});
    } else if (stored()) S.open = false;
  }
  draw();
};

const own = () => {
  const [subject] = fields();
  subject.focus();
  subject.select();
  $("#form").scrollIntoView({block: "nearest"});
};

const share = async () => {
  const address = new URL(rows().dataset.link, location.href.split(/[?#]/)[0]);
  if (stored()) address.searchParams.set("editors", block().dataset.editor);
  if (score().length) address.searchParams.set("saw", score().join("-"));
  history.replaceState(null, "", address);
  try {
    await navigator.clipboard.writeText(address.href);
    S.note = "Link copied.";
  } catch {  // an insecure page can't use the clipboard
    S.note = "The link is in the address bar.";
  }
  draw();
};

const panel = (open) => {
  $("#panel").classList.toggle("open", open);
  $("#by .more").setAttribute("aria-expanded", String(open));
  if (open) trigger("edit");
};

const acts = {
  edit: () => edit(), anyway: () => edit(true),
  stop: () => $("#stop").click(), leave: () => $("#stop").click(),
  again: () => choose(next()),
  compare: () => {
    const editor = S.editors.length && !blockOf(S.editors[0]) ? S.editors[0] : next();
    Object.assign(S, {editors: [editor], ticks: {}});
    edit();
  },
  own,
  add: () => {
    panel(true);
    const fold = $("#settings > button");
    if (!fold.classList.contains("open")) fold.click();
    setTimeout(() => $("#settings textarea")?.focus(), 100);
  },
};

window.tryPage = {
  editors: () => S.editors,
  picked: () => S.picked,
  asked: (given) => [...given.slice(0, 3), S.editors, ...given.slice(4, 6), S.anyway],
};

document.addEventListener("pointerdown", () => { S.touched = true; }, true);
document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  if (!at("#pick")) { $("#pick .picks").hidden = true; $("#pick [data-open]").setAttribute("aria-expanded", "false"); }
  if (!at("#try")) return;
  if (at("#main")) acts[at("#main").dataset.act]?.();
  else if (at("#undo")) {
    S.note = "";
    if (stored() && state() === "result") { Object.assign(S, {open: false, ticks: {}}); draw(); }
    else $("#undo-last").click();
  }
  else if (at("#share")) share();
  else if (at("#say [data-keep]")) trigger("select", {keep: Number(at("[data-keep]").dataset.keep)});
  else if (at("[data-chip]")) choose(at("[data-chip]").dataset.chip);
  else if (at("#by .more")) panel(!$("#panel").classList.contains("open"));
  else if (at("[data-close]")) { panel(false); $("#by .more").focus(); }
  else if (at("[data-try]")) { fill(fields()[2], at("[data-try]").dataset.try); edit(); }
  else if (at("[data-open]")) {
    const list = $("#pick .picks");
    list.hidden = !list.hidden;
    at("[data-open]").setAttribute("aria-expanded", String(!list.hidden));
  }
  else if (at("[data-pick]")) {
    S.picked = at("[data-pick]").dataset.pick;
    $("#pick .picks").hidden = true;
    trigger("example_select");
  }
});
document.addEventListener("change", (event) => {
  const row = event.target.closest("#rows .row"), tick = event.target.dataset?.tick;
  if (row) {
    S.ticks[row.dataset.prompt] = event.target.checked;
    S.at = row.dataset.prompt;
    draw();
  } else if (tick) {
    S.editors = event.target.checked ? [...S.editors, tick] : S.editors.filter((one) => one !== tick);
    if (!S.editors.length) S.editors = [chips()[0].dataset.chip];
    const found = S.editors.length === 1 && stored() && blockOf(S.editors[0]);
    if (found) Object.assign(S, {column: found.dataset.column, open: S.seen.has(S.editors[0])});
    else if (stored()) S.open = false;
    draw();
    trigger("edit");
  }
});
let named = "";  // the previous subject, if the sentence contains it
document.addEventListener("focusin", (event) => {
  if (event.target === fields()[0]) named = event.target.value.trim();
});
document.addEventListener("input", (event) => {
  const [subject, prompt] = fields(), now = subject?.value.trim();
  if (event.isTrusted && event.target === subject && named && now && prompt.value.includes(named)) {
    fill(prompt, prompt.value.replace(named, () => now));
    named = now;
  }
  if (event.target.closest("#sentence, #settings")) draw();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("#pick .picks").hidden) { $("#pick .picks").hidden = true; $("#pick [data-open]").focus(); }
  if (event.key !== "Enter" || event.shiftKey || !event.target.closest("#sentence .field")) return;
  event.preventDefault();
  event.stopPropagation();
  if (["edit", "anyway", "again", "compare", "own", "add"].includes($("#main").dataset.act)) edit();
}, true);
new MutationObserver((changes) => {  // restore local state after updates from the server
  const watched = "#rows, #board, #written, #families, #top";
  if (changes.some((one) => one.target.closest?.(watched) || one.target === document.body)) draw();
}).observe(document.body, {childList: true, subtree: true,
  attributeFilter: ["data-state", "data-shown", "data-busy", "data-says", "hidden", "class"]});
const sent = new URL(location.href).searchParams.get("saw")?.match(/^(\d{1,3})-(\d{1,3})$/) ?? [];
const [right, every] = sent.slice(1).map(Number);
if (right <= every && every > 0) S.sent = `The sender ${coming(right, every)}. Would you?`;
const begin = setInterval(() => {  // other parts of the page may load later
  draw();
  if (rows() && fields().length === 3 && $("#by .more") && $("#panel")) clearInterval(begin);
}, 60);
