/* "A layer is a memory": keys on the left, answers on the right, and what one edit does to the others.

   memoryPicture.mount(element) draws it without a server. The first half is the algebra, which tests
   compare with lib.associative_memory; the second half only draws.

   Every editor in the picture is one line:
       R = v − W k      W′ = W + R bᵀ      bᵀ = kᵀA / (kᵀA k + λ)      ρ_j = bᵀ k_j
   and kept keys p remove their directions from A, one at a time: A ← A − A p pᵀA / (λ + pᵀA p). */
"use strict";

const memoryPicture = (() => {
  // ---- algebra in two dimensions: a vector is [x, y], a matrix [[a, b], [c, d]] ------------------
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const add = (a, b) => [a[0] + b[0], a[1] + b[1]];
  const sub = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const times = (s, a) => [s * a[0], s * a[1]];
  const apply = (M, a) => [dot(M[0], a), dot(M[1], a)];
  const outer = (a, b) => [times(a[0], b), times(a[1], b)];
  const plus = (M, N) => [add(M[0], N[0]), add(M[1], N[1])];
  const product = (M, N) => {
    const columns = [[N[0][0], N[1][0]], [N[0][1], N[1][1]]];
    return M.map((row) => columns.map((column) => dot(row, column)));
  };
  const inverse = ([[a, b], [c, d]]) => {
    const det = a * d - b * c;
    return [[d / det, -b / det], [-c / det, a / det]];
  };

  // C, the second moment of the keys of other text: its axes and its eigenvalues
  const AXES = [[[0.8, 0.6], 2.25], [[-0.6, 0.8], 0.25]];
  const power = (s) =>
    AXES.map(([u, value]) => outer(times(value ** s, u), u)).reduce(plus);
  const C = power(1);
  const WORDS = { Paris: [1, 0.05], Rome: [2, 1], London: [-1.1, 0.6], puppy: [0.2, -0.95] };
  const KEYS = [
    ["Eiffel Tower", [0.66, 1.12], [1.02, 0.42]],
    ["Louvre", [1.32, 1.24], [1.2, -0.36]],
    ["Big Ben", [-1.2, -0.9], [-0.9, 0.6]],
    ["sheepdog", [0.72, 0.29], [0.33, -0.66]],
  ].map(([name, key, value]) => ({ name, key, value }));
  const EDITORS = {
    ROME: { A: power(-1), strength: 0 },
    MEMIT: { A: power(-1), strength: 0.4 },
    AlphaEdit: { A: outer(AXES[1][0], AXES[1][0]), strength: 0.02 }, // the axis that text rarely uses
    UltraEdit: { A: [[1, 0], [0, 1]], strength: 0.25, step: 0.45 },
  };

  /** The matrix that answers the keys with their values, by least squares. */
  function fit(keys, values) {
    const both = (a, b) => a.map((one, i) => outer(one, b[i])).reduce(plus);
    return product(both(values, keys), inverse(both(keys, keys)));
  }

  /** {b, A, q}: what reads a key in the change of an editor; b is null where kept keys leave no room. */
  function reach(editor, key, kept = []) {
    let { A, strength } = EDITORS[editor];
    for (const p of kept) {
      const Ap = apply(A, p);
      const length = strength + dot(p, Ap);
      if (length > 1e-12) A = plus(A, outer(times(-1 / length, Ap), Ap));
    }
    const Ak = apply(A, key);
    const q = dot(key, Ak) + strength;
    // compare the remaining room with the key's length, because rounding leaves about 1e-16 of it
    return { A, q, b: dot(key, Ak) > 1e-9 * dot(key, key) ? times(1 / q, Ak) : null };
  }

  /** What an editor asks for at a key that should say v. */
  function residual(editor, W, key, value) {
    const missing = sub(value, apply(W, key));
    const { step } = EDITORS[editor];
    if (step === undefined) return missing;
    const standardized = [key[0] / Math.sqrt(C[0][0]), key[1] / Math.sqrt(C[1][1])];
    return times(step * dot(standardized, standardized), missing);
  }

  /** W after one pull, the reach b of it, and what was asked for; without room W stays. */
  function pull(editor, W, key, value, kept = []) {
    const { b, A, q } = reach(editor, key, kept);
    const asked = residual(editor, W, key, value);
    return { W: b ? plus(W, outer(asked, b)) : W, b, A, q, asked };
  }

  /** The word nearest to an answer. */
  function word(answer) {
    const away = (name) => dot(sub(answer, WORDS[name]), sub(answer, WORDS[name]));
    return Object.keys(WORDS).reduce((best, name) => (away(name) < away(best) ? name : best));
  }

  // ---- the state of the picture ---------------------------------------------------------------
  /** A fresh state. `pulls` are in order; the last is live and can still move. */
  const fresh = (editor = "ROME", keys = KEYS.map((one) => one.key)) => ({
    editor, keys, pulls: [], kept: [], edited: 0, moved: null,
  });

  /** Everything that is drawn, from a state: the pulls are made anew by the state's editor. */
  function look(state) {
    const base = fit(state.keys, KEYS.map((one) => one.value));
    const steps = [];
    let W = base;
    for (const one of state.pulls) {
      const before = W;
      const kept = one.kept.map((i) => state.keys[i]);
      const made = pull(state.editor, W, state.keys[one.key], one.value, kept);
      steps.push({ ...made, before, key: one.key });
      W = made.W;
    }
    const last = steps.at(-1);
    const rows = KEYS.map(({ name, value }, i) => {
      const own = state.pulls.filter((one) => one.key === i).at(-1);
      const answer = apply(W, state.keys[i]);
      const wanted = own ? own.value : value;
      return {
        name, answer, wanted, key: state.keys[i],
        from: last ? apply(last.before, state.keys[i]) : answer,
        share: last && last.b ? dot(last.b, state.keys[i]) : 0,
        first: word(value), says: word(answer), right: word(answer) === word(wanted),
        kept: state.kept.includes(i),
      };
    });
    return { base, W, rows, last, edited: last ? last.key : state.edited };
  }

  /** The state after each of the three buttons, keeping the visitor's keys and editor. */
  const STORY = [
    ["Move the tower", (s) => ({ ...fresh(s.editor, s.keys), pulls: [{ key: 0, value: WORDS.Rome, kept: [] }] })],
    ["Repair the Louvre", (s) => {
      const first = STORY[0][1](s);
      return { ...first, edited: 1, pulls: [...first.pulls, { key: 1, value: KEYS[1].value, kept: [] }] };
    }],
    ["Keep the tower, repair again", (s) => {
      const first = STORY[0][1](s);
      return {
        ...first, edited: 1, kept: [0],
        pulls: [...first.pulls, { key: 1, value: KEYS[1].value, kept: [0] }],
      };
    }],
  ];

  /** The row to explain: the key that was moved, or else a row that the sentence mentions. */
  function explained(state, { rows, last }) {
    const others = rows.filter((_, i) => i !== last.key);
    const most = others.reduce((a, b) => (Math.abs(b.share) > Math.abs(a.share) ? b : a));
    return rows[state.moved] ?? others.find((row) => !row.right) ?? others.find((row) => row.kept) ?? most;
  }

  /** The sentence under the picture, as [text, kind] parts. */
  function sentence(state) {
    const { rows, last } = look(state);
    if (!last) return [["Nothing has been pulled yet. Every answer is where it should be.", "rest"]];
    const own = rows[last.key];
    if (!last.b) return [["No room: ", "lost"], ["the kept keys fill the plane, so nothing is written.", "rest"]];
    const parts = [[own.name, "edited"]];
    parts.push([own.right ? ` says ${own.says}. ` : ` still says ${own.says}. `, "rest"]);
    const lost = rows.filter((row, i) => i !== last.key && !row.right);
    const percent = (row) => `${Math.round(100 * row.share)}%`.replace("-", "−");
    for (const row of lost) {
      const back = row.says === row.first;
      const kept = row.kept ? " even though it is kept" : "";
      parts.push([`${row.name} ${back ? "fell back" : "came along"}${kept}: ${percent(row)}. `, "lost"]);
    }
    if (!lost.length) {
      const kept = rows.filter((row, i) => row.kept && i !== last.key);
      const still = kept.filter((row) => Math.abs(row.share) < 0.005).map((row) => row.name);
      const why = still.length ? `: the still line runs through ${still.join(" and ")}.` : ".";
      const moved = kept.filter((row) => !still.includes(row.name));
      const along = moved.map((row) => ` ${row.name} moved by ${percent(row)} and kept its answer.`);
      parts.push([`No other answer was lost${why}${along.join("")}`, "kept"]);
    }
    return parts;
  }

  const algebra = {
    C, WORDS, KEYS, EDITORS, STORY, fit, reach, pull, word, fresh, look, sentence, power, apply,
    explained,
  };
  if (typeof document === "undefined") return algebra;

  // ---- drawing --------------------------------------------------------------------------------
  // widths in letters: above BESIDE, the planes are side by side (above LARGE in large type); above
  // TABLE, the table is next to the formula; above WIDE, the story is next to the planes
  const BESIDE = 47.5, LARGE = 41, TABLE = 57, WIDE = 60;
  const STYLE = `
.memory{--ink:#1d2630;--quiet:#4b5865;--faint:#d5dbe2;--paper:#fff;--back:#f7f8fa;--edited:#b34700;
--lost:#a3182b;--kept:#12703f;--editor:#1f5fa8;--region:#66727f;box-sizing:border-box;background:var(--back);color:var(--ink);
font:max(16px,1em)/1.45 system-ui,"DejaVu Sans",sans-serif;padding:16px 20px;container-type:inline-size}
.memory *{box-sizing:border-box}
.memory.dark{color-scheme:dark;--ink:#e8edf2;--quiet:#aab6c2;--faint:#3a4552;--paper:#1b232c;--back:#131920;--edited:#ff9a52;
--lost:#ff8a96;--kept:#6fd29b;--editor:#7db8f0;--region:#93a1b0}
.memory h2{font-size:1.45em;margin:0 20px 0 0;display:inline-block;color:inherit}
.memory .lead{display:inline-block;margin:0}
.memory .edited{color:var(--edited)}.memory .lost{color:var(--lost)}.memory .kept{color:var(--kept)}
.memory .editor{color:var(--editor)}
.memory b,.memory .edited,.memory .lost,.memory .kept,.memory .editor{font-weight:650}
.memory .story{display:flex;gap:8px;flex-wrap:wrap;margin:12px 0;align-items:center}
.memory button{font:inherit;color:var(--ink);background:var(--paper);border:1px solid var(--region);
border-radius:8px;padding:7px 13px;min-height:40px;cursor:pointer}
.memory button.done{border-color:var(--edited);color:var(--edited);box-shadow:inset 0 -3px var(--edited)}
.memory button.next{background:var(--edited);border-color:var(--edited);color:var(--paper);font-weight:650}
.memory button.over{border:0;background:none;text-decoration:underline;color:var(--quiet)}
.memory :focus-visible{outline:3px solid #2563eb;outline-offset:2px}
.memory .planes,.memory .below{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:14px}
.memory .plane,.memory .card{background:var(--paper);border:1px solid var(--faint);border-radius:10px;
position:relative;min-width:0}
.memory .plane p,.memory .plane label{background:var(--paper);padding:0 6px;border-radius:8px}
.memory .plane p{position:absolute;left:6px;top:6px;margin:0;font-size:.94em;color:var(--quiet);pointer-events:none}
.memory .plane p b{color:var(--ink)}
.memory .plane label{position:absolute;right:10px;bottom:4px;font-size:.9em;color:var(--quiet);display:flex;
gap:7px;align-items:center;min-height:28px}
.memory svg{display:block;width:100%;touch-action:pan-y;user-select:none;overflow:hidden;border-radius:10px}
.memory svg text{font-size:.9em;fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px;
stroke-linejoin:round;pointer-events:none}
.memory svg text.region{font-size:1.25em;fill:var(--region);stroke-width:0}
.memory svg text.edited{fill:var(--edited)}.memory svg text.lost{fill:var(--lost)}
.memory svg text.kept{fill:var(--kept)}
.memory .handle{cursor:grab;touch-action:none;fill:transparent;stroke:none}
.memory .handle:focus-visible{outline:none;stroke:#2563eb;stroke-width:3}
.memory .said{font-size:1.18em;margin:8px 2px;min-height:1.5em}
.memory .card{padding:8px 12px;overflow-x:auto}
.memory table{border-collapse:collapse;width:100%;font-size:.95em}
.memory th{font-weight:400;text-align:left;color:var(--quiet);padding:2px 4px}
.memory td{border-top:1px solid var(--faint);padding:4px;height:34px;white-space:nowrap;color:inherit}
.memory td button{border:0;background:none;padding:4px 0;min-height:28px;text-decoration:underline}
.memory s{color:var(--quiet)}
.memory input[type=checkbox]{width:24px;height:24px;accent-color:var(--kept)}
.memory .bar{display:inline-block;width:84px;height:12px;vertical-align:middle;margin-right:8px;
background:linear-gradient(var(--quiet),var(--quiet)) 50% 0/1px 100% no-repeat;position:relative}
.memory .bar i{position:absolute;top:2px;height:8px}
.memory .number{display:inline-block;min-width:44px;text-align:right;font-variant-numeric:tabular-nums}
.memory .switch{display:flex;gap:8px;flex-wrap:wrap;margin-bottom:10px}
.memory .switch button.done{border-color:var(--editor);color:var(--editor);box-shadow:inset 0 -3px var(--editor)}
.memory .formula{display:flex;flex-wrap:wrap;gap:4px 8px;align-items:center;margin:6px 0;min-height:50px}
.memory .over2{display:inline-grid;text-align:center;line-height:1.25}
.memory .over2>span:first-child{border-bottom:1px solid;padding:0 5px 2px}
.memory .over2>span:last-child{padding:2px 5px 0}
.memory .matrix{display:inline-grid;gap:0 8px;border:solid;border-width:0 1px;border-radius:5px;padding:0 5px;
font-size:.9em;font-variant-numeric:tabular-nums;text-align:right}
.memory .note{font-size:.9em;color:var(--quiet);margin:8px 2px 0}
.memory .short{display:none}
@container (max-width:${TABLE}em){.memory-inside .below{grid-template-columns:minmax(0,1fr)}}
@container (max-width:${BESIDE}em) and (min-width:801px){.memory-inside .planes .long{display:none}}
@container (max-width:${LARGE}em) or ((max-width:${BESIDE}em) and (max-width:800px)){
.memory-inside .planes{grid-template-columns:minmax(0,1fr)}}
@container (max-width:30em){.memory-inside .said{min-height:4.4em}.memory-inside .bar{display:block;width:56px;margin:0}
.memory-inside .number{min-width:56px;text-align:center}.memory-inside table{font-size:.88em}.memory-inside .card{padding:8px}.memory-inside td,.memory-inside th{padding:4px 2px}
.memory-inside button{padding:7px 10px}.memory-inside .long{display:none}.memory-inside .short{display:inline}}
.memory details{margin-top:8px}.memory summary{cursor:pointer;color:var(--edited);text-decoration:underline;
text-underline-offset:3px;min-height:44px;padding:10px 2px;width:max-content}.memory details .below{margin-top:8px}
.memory.hosted{padding:14px 18px;border-radius:12px;border:1px solid var(--faint);background:var(--paper)}
.memory.hosted button,.memory.hosted td button{min-height:44px}
@container (min-width:${WIDE}em){.hosted>.memory-inside{display:grid;grid-template-columns:minmax(0,1fr) 17.5em;
column-gap:22px;grid-template-rows:auto auto auto 1fr auto}
.hosted .planes{grid-column:1;grid-row:1/5;align-items:start}
.hosted .memory-inside>:is(h2,.lead,.story,.said){grid-column:2}.hosted .memory-inside>details{grid-column:1/-1}
.hosted .story{flex-direction:column;align-items:stretch;margin:10px 0;gap:6px}.hosted .story button{text-align:left}
.hosted .said{min-height:3em;margin:0}.hosted .memory-inside>h2{margin:0 0 4px}}
@media (max-width:420px){.memory,.memory.hosted{padding:10px 10px}}`;
  const SHORT = ["Move", "Repair", "Keep"];
  const AROUND = [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [-1, -1], [1, 1], [-1, 1]]; // of a name
  const STEP = 0.05; // for an arrow key; five times as much with Shift
  const KEY_UNITS = [4.45, 3.2]; // width and height of the left plane, in units of a whitened key
  const ANSWER_UNITS = [5.12, 3.65];
  const ANSWERS_FROM = [2.15, 1.75]; // position of the right plane's zero, from its upper left corner
  const REGIONS = { London: [-1.5, 1.12], Rome: [2.36, 1.38], Paris: [2.05, -0.6], puppy: [0.78, -1.38] };

  /** Seventy keys of other text, always the same. */
  const TEXT = (() => {
    let seed = 7;
    const uniform = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    return Array.from({ length: 70 }, () => apply(power(0.5), times(0.75, [normal(), normal()])));
  })();

  /** The borders between the words: of each two the points that are as near to both as to any. */
  const BORDERS = Object.keys(WORDS).flatMap((one, i, names) => names.slice(i + 1).flatMap((other) => {
    const middle = times(0.5, add(WORDS[one], WORDS[other]));
    const [x, y] = sub(WORDS[other], WORDS[one]);
    const along = times(0.005 / Math.hypot(x, y), [-y, x]);
    const on = Array.from({ length: 3601 }, (_, t) => add(middle, times(t - 1800, along)))
      .filter((place) => [one, other].includes(word(place)));
    return on.length ? [[on[0], on.at(-1)]] : [];
  }));

  const signed = (x, digits = 2) =>
    (Object.is(Math.round(x * 10 ** digits), -0) ? 0 : x).toFixed(digits).replace("-", "−");

  function element(name, attributes = {}, ...children) {
    const space = ["svg", "g", "line", "circle", "path", "text", "ellipse", "polygon"].includes(name);
    const made = space
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  /** Draw the picture into an element. `host`: follow the class "dark" of the page around it. */
  function mount(root, { host = false } = {}) {
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    let state = fresh();
    let told = 0; // the number of story steps shown so far
    let whitened = 1;
    let drawn = 0; // the requested animation frame
    let drag = null;
    let letter = 14; // the height of a name's letters, in pixels
    const pen = document.createElement("canvas").getContext("2d"); // measures names

    root.classList.add("memory");
    root.classList.toggle("hosted", host);
    const inside = element("div", { class: "memory-inside" });
    root.replaceChildren(element("style", {}, STYLE), inside);
    const page = root.getRootNode().host ?? root; // a shadow root keeps the page's styles out
    const shade = () => root.classList.toggle("dark", host ? !!page.closest(".dark") : dark.matches);
    shade();
    dark.addEventListener("change", shade);

    // -- permanent parts: buttons, planes, handles, table
    const story = STORY.map(([name, after], i) =>
      element("button", { type: "button", onclick: () => tell(i, after) },
        `${i + 1} `, element("span", { class: "long" }, name), element("span", { class: "short" }, SHORT[i])));
    const over = element("button", { type: "button", class: "over", onclick: () => {
      told = 0;
      state = fresh(state.editor);
      settle();
    } }, "Start over");
    const box = element("input", { type: "checkbox", checked: true, onchange: () => morph(box.checked) });
    const planes = {
      keys: element("svg", { "aria-label": "Keys: the questions" }),
      answers: element("svg", { "aria-label": "Answers: the layer's output" }),
    };
    const layers = {};
    const handles = {};
    for (const side of ["keys", "answers"]) {
      layers[side] = element("g", { "aria-hidden": "true" });
      handles[side] = KEYS.map((_, i) => handle(side, i));
      planes[side].append(layers[side], ...handles[side]);
    }
    const said = element("p", { class: "said", role: "status", "aria-live": "polite" });
    const table = element("tbody");
    const formulas = element("div");
    const switches = Object.keys(EDITORS).map((name) =>
      element("button", { type: "button", onclick: () => {
        state = { ...state, editor: name };
        settle();
      } }, name));
    const numbers = [
      element("div", { class: "below" },
        element("div", { class: "card" }, element("table", {},
          element("thead", {}, element("tr", {}, ...["key", "fraction of the pull", "answers", "", "keep"].map(
            (name) => element("th", { scope: "col" }, name)))), table)),
        element("div", { class: "card" }, element("div", { class: "switch" }, ...switches), formulas)),
      element("p", { class: "note" },
        "The keys are made up and have two dimensions. A real layer has thousands, and more room. "
        + "The editor that looks best here depends on the position of the keys: drag them.")];
    inside.append(
      element("h2", {}, "A layer is a memory"),
      element("p", { class: "lead" }, "A key goes in, an answer comes out. ",
        element("span", { class: "edited" }, "Pull the orange answer"),
        " to Rome. Which others move? Those with keys pointing the same way."),
      element("div", { class: "story" }, ...story, over),
      element("div", { class: "planes" },
        element("div", { class: "plane" }, planes.keys,
          element("p", {}, element("b", {}, "Keys"), " the questions; gray: other text"),
          element("label", { title: "MEMIT does so as well. Researchers call this whitening: it makes the other text round." },
            box, "measure keys as ROME does")),
        element("div", { class: "plane" }, planes.answers,
          element("p", {}, element("b", {}, "Answers"), " the layer's output",
            element("span", { class: "long" }, "; the nearest word wins")))),
      said,
      ...(host ? [element("details", {}, element("summary", {}, "Numbers and formula"), ...numbers)] : numbers));

    // -- places on the screen
    const size = (side) => {
      const width = planes[side].clientWidth || 600;
      return [width, Math.min(34 * letter, Math.max(15 * letter, width * (host && innerWidth > 720 ? 0.86 : 0.7)))];
    };
    function view(side) {
      const [width, height] = size(side);
      const units = side === "keys" ? KEY_UNITS : ANSWER_UNITS;
      const unit = Math.min(width / units[0], height / units[1]);
      const x = side === "keys" ? width / 2 : width / 2 + unit * (ANSWERS_FROM[0] - ANSWER_UNITS[0] / 2);
      const y = side === "keys" ? height * 0.54 : height / 2 + unit * (ANSWERS_FROM[1] - ANSWER_UNITS[1] / 2);
      const M = side === "keys" ? power(-whitened / 2) : [[1, 0], [0, 1]];
      return {
        width, height, unit,
        to: (a) => {
          const seen = apply(M, a);
          return [x + unit * seen[0], y - unit * seen[1]];
        },
        from: ([px, py]) => apply(inverse(M), [(px - x) / unit, (y - py) / unit]),
      };
    }

    // -- drawing, once per frame
    const redraw = () => {
      drawn ||= requestAnimationFrame(() => {
        drawn = 0;
        draw();
      });
    };

    const line = (a, b, attributes) =>
      element("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], ...attributes });
    function arrow(a, b, color, width = 2) {
      const away = sub(b, a);
      const length = Math.hypot(...away);
      const parts = [line(a, b, { stroke: color, "stroke-width": width })];
      if (length > 6) {
        const u = times(1 / length, away);
        const side = times(4.5, [-u[1], u[0]]);
        const foot = sub(b, times(10, u));
        const points = [b, add(foot, side), sub(foot, side)].map((p) => p.join()).join(" ");
        parts.push(element("polygon", { points, fill: color }));
      }
      return parts;
    }
    const pinned = ([cx, cy]) =>
      element("circle", { cx, cy, r: 12, fill: "none", stroke: "var(--kept)", "stroke-width": 2.5 });
    const grid = (place) => {
      const parts = [];
      for (let at = -4; at <= 4; at += 0.5) {
        for (const [a, b] of [[[at, -6], [at, 6]], [[-6, at], [6, at]]]) {
          parts.push(line(place(a), place(b), { stroke: "var(--faint)", "stroke-width": at ? 0.5 : 1 }));
        }
      }
      return parts;
    };
    const kind = (row, i, seen) =>
      i === seen.edited ? "edited" : !row.right ? "lost" : row.kept ? "kept" : "rest";
    const color = (name) => `var(--${name === "rest" ? "ink" : name})`;

    function draw() {
      const seen = look(state);
      letter = 0.9 * parseFloat(getComputedStyle(root).fontSize); // as in the stylesheet
      pen.font = `650 ${letter}px system-ui,"DejaVu Sans",sans-serif`;
      for (const side of ["keys", "answers"]) {
        const at = view(side);
        planes[side].setAttribute("viewBox", `0 0 ${at.width} ${at.height}`);
        planes[side].style.height = `${at.height}px`;
        layers[side].replaceChildren(...(side === "keys" ? drawKeys(seen, at) : drawAnswers(seen, at)));
      }
      drawTable(seen);
      drawFormulas(seen);
      story.forEach((button, i) => {
        button.className = i < told ? "done" : i === told ? "next" : "";
      });
      switches.forEach((button) => {
        const on = button.textContent === state.editor;
        button.className = on ? "done" : "";
        button.setAttribute("aria-pressed", on);
      });
      return seen;
    }

    function drawKeys(seen, at) {
      const zero = at.to([0, 0]);
      const parts = grid(at.to);
      const labels = [];
      const circle = Array.from({ length: 73 }, (_, i) =>
        at.to(apply(power(0.5), [Math.cos((i * Math.PI) / 36), Math.sin((i * Math.PI) / 36)])));
      parts.push(element("path", { d: `M${circle.map((p) => p.join()).join("L")}Z`, fill: "none",
        stroke: "var(--faint)", "stroke-width": 1.2 }));
      for (const key of TEXT) {
        const [cx, cy] = at.to(key);
        parts.push(element("circle", { cx, cy, r: 1.8, fill: "var(--faint)" }));
      }
      if (seen.last && seen.last.b) {
        // the line where nothing moves, b · x = 0, is the same in every view
        const along = [-seen.last.b[1], seen.last.b[0]];
        const far = times(9 / Math.hypot(...along), along);
        const ends = [at.to(far), at.to(times(-1, far))];
        parts.push(line(...ends, { stroke: "var(--kept)", "stroke-width": 6, opacity: 0.18 }));
        parts.push(line(...ends, { stroke: "var(--kept)", "stroke-width": 1.2 }));
        const own = seen.rows[seen.edited];
        const beyond = times(9 / Math.hypot(...own.key), own.key);
        parts.push(line(at.to(beyond), at.to(times(-1, beyond)), { stroke: "var(--edited)", opacity: 0.4 }));
        seen.rows.forEach((row, i) => {
          if (i === seen.edited || !own.share) return;
          const foot = at.to(times(row.share / own.share, own.key));
          const shade = color(row.right ? "edited" : "lost");
          parts.push(line(at.to(row.key), foot, { stroke: shade, "stroke-dasharray": "4 3" }));
          parts.push(element("circle", { cx: foot[0], cy: foot[1], r: row.right ? 3 : 5, fill: shade }));
        });
        const u = times(1 / Math.hypot(...sub(...ends)), sub(...ends));
        labels.push({ kind: "kept", anchors: [0.3, -0.3, 0.4, -0.4, 0.2].map((t) => add(zero, times(t * at.height, u))),
          text: at.width > 450 ? "still line: nothing on it moves" : "still line" });
      }
      seen.rows.forEach((row, i) => {
        const name = kind(row, i, seen);
        const tip = at.to(row.key);
        parts.push(...arrow(zero, tip, color(name), i === seen.edited ? 3 : 2));
        const share = seen.last && seen.last.b ? ` ${signed(row.share)}` : "";
        if (row.kept) parts.push(pinned(tip));
        labels.unshift({ anchors: [tip], text: row.name + (row.kept ? ", kept" : "") + share, kind: name });
        placed(handles.keys[i], tip,
          `Key ${row.name}${share ? `, fraction${share}` : ""}${row.kept ? ", kept" : ""}. Arrow keys move it.`);
      });
      return [...parts, ...written(labels, at, parts, edges("keys"))];
    }

    function drawAnswers(seen, at) {
      const parts = grid((a) => at.to(apply(seen.W, a)));
      const taken = edges("answers");
      parts.push(...BORDERS.map((ends) => line(...ends.map(at.to),
        { stroke: "var(--region)", "stroke-width": 1.3, "stroke-dasharray": "2 4" })));
      for (const [name, place] of Object.entries(REGIONS)) {
        const [x, y] = at.to(place);
        const edge = Math.min(Math.max(x, 3 * letter), at.width - 3 * letter);
        const foot = Math.min(Math.max(y, 3.4 * letter), at.height - 10);
        parts.push(element("text", { x: edge, y: foot, "text-anchor": "middle", class: "region" }, name));
        taken.push([edge - 2.4 * letter, foot - 1.3 * letter, edge + 2.4 * letter, foot + 4]);
        const [a, b] = at.to(WORDS[name]);
        parts.push(element("path", { d: `M${a - 4},${b}h8M${a},${b - 4}v8`, stroke: "var(--region)" }));
      }
      const labels = [];
      seen.rows.forEach((row, i) => {
        const name = kind(row, i, seen);
        const shade = color(name);
        const [now, before, wanted] = [row.answer, row.from, row.wanted].map(at.to);
        const ring = { cx: wanted[0], cy: wanted[1], r: 9, fill: "none", stroke: shade };
        parts.push(element("circle", i === seen.edited ? ring : { ...ring, "stroke-dasharray": "2 2" }));
        if (Math.hypot(...sub(now, before)) > 5) parts.push(...arrow(before, now, shade, i === seen.edited ? 3 : 2));
        if (i === seen.edited && seen.last) {
          parts.push(element("circle", { cx: before[0], cy: before[1], r: 4, fill: "var(--paper)", stroke: shade }));
        }
        parts.push(element("circle", { cx: now[0], cy: now[1], r: i === seen.edited ? 6 : 5, fill: shade }));
        if (row.kept) parts.push(pinned(now));
        labels.push({ anchors: [now], text: row.name + (row.kept ? ", kept" : "") + (row.right ? "" : " ✗"), kind: name });
        placed(handles.answers[i], now, `Answer of ${row.name}: ${row.says}${row.right ? "" : ", not what it should be"}`
          + ". Arrow keys pull it, Enter edits it next, K keeps it.");
      });
      return [...parts, ...written(labels, at, parts, taken)];
    }

    /** What stands over a plane, as boxes [left, top, right, bottom]. */
    const edges = (side) => [...planes[side].parentElement.querySelectorAll("p, label")].map((one) =>
      [one.offsetLeft, one.offsetTop, one.offsetLeft + one.offsetWidth, one.offsetTop + one.offsetHeight]);

    /** How many of the lines [x, y, x, y] run through a box. */
    const crossed = ([left, top, right, bottom], lines) => lines.filter(([ax, ay, bx, by]) => {
      if (Math.max(ax, bx) < left || Math.min(ax, bx) > right) return false;
      if (Math.max(ay, by) < top || Math.min(ay, by) > bottom) return false;
      const corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
      const sides = corners.map(([x, y]) => (bx - ax) * (y - ay) - (by - ay) * (x - ax));
      return Math.min(...sides) < 0 && Math.max(...sides) > 0;
    }).length;

    /** Names beside their points, each where it hides no other name, no point, and few lines. */
    function written(labels, at, drawn, taken) {
      const solid = drawn.filter((one) => one.getAttribute("stroke") !== "var(--faint)"); // no grid
      const values = (kind, ...names) => solid.filter((one) => one.tagName === kind).map((one) =>
        names.map((name) => Number(one.getAttribute(name))));
      const lines = values("line", "x1", "y1", "x2", "y2");
      const points = values("circle", "cx", "cy", "r").filter(([, , r]) => r > 2)
        .map(([x, y, r]) => [x - r, y - r, x + r, y + r]);
      const hidden = ([left, top, right, bottom], boxes) =>
        boxes.filter((one) => one[0] < right && left < one[2] && one[1] < bottom && top < one[3]).length;
      return labels.map(({ anchors, text, kind: name }) => {
        const wide = pen.measureText(text).width + 4;
        let [least, best] = [Infinity, null];
        for (const [x, y] of anchors) {
          for (const away of [13, 22, 34]) {
            for (const [across, down] of AROUND) {
              const left = Math.min(Math.max(x + across * (away + wide / 2) - wide / 2, 4), at.width - wide - 4);
              const middle = y + down * (away + letter / 2);
              const top = Math.min(Math.max(middle - letter / 2, 4), at.height - letter - 6);
              const box = [left, top, left + wide, top + 1.2 * letter];
              const cost = 100 * hidden(box, taken) + 30 * hidden(box, points) + 2 * crossed(box, lines) + away / 20;
              if (cost < least) [least, best] = [cost, box];
            }
          }
        }
        taken.push(best);
        return element("text", { x: best[0] + 2, y: best[1] + letter, class: name,
          "font-weight": name === "rest" ? 400 : 650 }, text);
      });
    }

    function drawTable(seen) {
      const active = root.getRootNode().activeElement;
      const focused = active && table.contains(active) ? active.dataset.id : null;
      table.replaceChildren(...seen.rows.map((row, i) => {
        const own = i === seen.edited;
        const wide = Math.min(Math.abs(row.share) * 42, 50);
        const shade = own ? "edited" : row.right ? "region" : "lost";
        const left = row.share < 0 ? 50 - wide : 50;
        const moved = row.says !== row.first;
        return element("tr", {},
          element("td", {}, element("button", { type: "button", "data-id": `edit${i}`, class: own ? "edited" : "",
            "aria-label": `Edit ${row.name} next`, onclick: () => choose(i) }, row.name)),
          element("td", {}, element("span", { class: "bar", "aria-hidden": "true" },
            element("i", { style: `left:${left}%;width:${wide}%;background:var(--${shade})` })),
          element("span", { class: "number" }, signed(row.share))),
          element("td", {}, moved ? element("s", {}, row.first) : "", moved ? " " : "", element("b", {}, row.says)),
          element("td", { class: row.right ? "kept" : "lost" }, row.right ? "✓" : "✗"),
          element("td", {}, element("input", { type: "checkbox", "data-id": `keep${i}`, checked: row.kept,
            disabled: own && !!seen.last, "aria-label": `Keep the answer of ${row.name}`, onchange: () => keep(i) })));
      }));
      if (focused) table.querySelector(`[data-id=${focused}]`)?.focus();
    }

    function drawFormulas(seen) {
      const { strength, step } = EDITORS[state.editor];
      const hot = (text) => element("span", { class: "editor" }, text);
      const sup = (text) => element("sup", {}, text);
      const middle = { ROME: ["C⁻¹"], MEMIT: ["C⁻¹"], AlphaEdit: ["P"], UltraEdit: [] }[state.editor];
      const inner = () => middle.map(hot);
      const lam = () => (strength ? [" + ", hot(state.editor === "AlphaEdit" ? "L₂" : "λ")] : []);
      const fine = (x) => signed(x, seen.last.q < 0.2 ? 4 : 2);  // to show the quotient
      const over2 = (a, b) => element("span", { class: "over2" }, element("span", {}, ...a), element("span", {}, ...b));
      const matrix = (rows) => element("span", { class: "matrix", style: `grid-template-columns:repeat(${rows[0].length},auto)` },
        ...rows.flat().map((x) => element("span", {}, signed(x))));
      const asked = step ? [hot("η‖k̂‖²"), " (v − Wk) "] : ["(v − Wk) "];
      const first = element("div", { class: "formula" }, "W′ = W + ", ...asked,
        over2(["k", sup("⊤"), ...inner()], ["k", sup("⊤"), ...inner(), "k", ...lam()]));
      if (seen.last && seen.last.b) {
        const { before, asked: R, b } = seen.last;
        first.append(" = ", matrix(before), " + ", matrix(R.map((x) => [x])), matrix([b]));
      }
      const parts = [first];
      const kept = seen.rows.some((row) => row.kept);
      if (seen.last && seen.last.b) {
        const one = explained(state, seen);
        parts.push(element("div", { class: "formula" },
          `fraction of ${seen.rows[seen.edited].name}'s pull at ${one.name} = `,
          over2(["k", sup("⊤"), ...inner(), "k", element("sub", {}, "j")], ["k", sup("⊤"), ...inner(), "k", ...lam()]),
          " = ", over2([fine(one.share * seen.last.q)], [fine(seen.last.q)]), " = ",
          element("b", {}, signed(one.share)),
          ...(kept ? [element("span", { class: "kept" }, "ignoring the kept keys")] : [])));
      }
      if (strength) {
        const sign = state.editor === "AlphaEdit" ? "L₂" : "λ";
        const axis = state.editor === "AlphaEdit" ? "P projects onto the axis that other text rarely uses; " : "";
        const way = step ? `, η = ${step}: only a step, not the full distance` : "";
        const leak = kept ? `. Because ${sign} is not 0, kept answers may still move slightly.` : "";
        parts.push(element("p", { class: "note" }, `${axis}${sign} = ${strength}${way}${leak}`));
      }
      formulas.replaceChildren(...parts);
    }

    // -- the visitor's actions
    function settle() {
      drawn && cancelAnimationFrame(drawn);
      drawn = 0;
      draw();
      said.replaceChildren(...sentence(state).map(([text, name]) => element("span", { class: name }, text)));
    }

    function placed(one, [cx, cy], label) {
      one.setAttribute("cx", cx);
      one.setAttribute("cy", cy);
      one.setAttribute("aria-label", label);
    }

    /** Pull the answer of a key to a value; a pull of another key before it stays. */
    function pulled(i, value) {
      const live = state.pulls.at(-1);
      const one = { key: i, value, kept: state.kept.filter((j) => j !== i) };
      const before = live && live.key === i ? state.pulls.slice(0, -1) : state.pulls;
      state = { ...state, edited: i, moved: null, kept: one.kept, pulls: [...before, one] };
      if (!told && i === 0 && word(value) === "Rome") told = 1;
    }

    function choose(i) {
      if (look(state).edited === i && state.pulls.length) return;
      pulled(i, look(state).rows[i].answer);
      settle();
    }

    function keep(i) {
      const kept = state.kept.includes(i) ? state.kept.filter((j) => j !== i) : [...state.kept, i].sort();
      const live = state.pulls.at(-1);
      const pulls = live && live.key !== i ? [...state.pulls.slice(0, -1), { ...live, kept }] : state.pulls;
      state = { ...state, kept, pulls };
      settle();
    }

    function moved(side, i, place) {
      if (side === "answers") pulled(i, place);
      else state = { ...state, moved: i, keys: state.keys.map((key, j) => (j === i ? place : key)) };
    }

    function handle(side, i) {
      const made = element("circle", { class: "handle", r: 22, tabindex: 0, role: "button" });
      const place = (event) => {
        const frame = planes[side].getBoundingClientRect();
        const at = view(side);
        const inner = ([x, y]) => [Math.min(Math.max(x, 6), at.width - 6), Math.min(Math.max(y, 6), at.height - 6)];
        return at.from(inner([event.clientX - frame.left, event.clientY - frame.top]));
      };
      made.addEventListener("pointerdown", (event) => {
        made.setPointerCapture(event.pointerId);
        drag = { side, i, from: [event.clientX, event.clientY], gone: false };
        event.preventDefault();
        made.focus({ preventScroll: true });
      });
      made.addEventListener("pointermove", (event) => {
        if (!drag || drag.side !== side || drag.i !== i) return;
        drag.gone ||= Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) > 3;
        if (!drag.gone) return;
        moved(side, i, place(event));
        redraw();
      });
      for (const end of ["pointerup", "pointercancel"]) {
        made.addEventListener(end, () => {
          if (!drag) return;
          const { gone } = drag;
          drag = null;
          if (gone) settle();
          else choose(i);
        });
      }
      made.addEventListener("keydown", (event) => {
        const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
        if (ways[event.key]) {
          const { rows } = look(state);
          const live = state.pulls.at(-1);
          const now = side === "keys" ? rows[i].key : live && live.key === i ? live.value : rows[i].answer;
          moved(side, i, add(now, times(event.shiftKey ? 5 * STEP : STEP, ways[event.key])));
        } else if (event.key === "Enter" || event.key === " ") choose(i);
        else if (event.key === "k" || event.key === "K") keep(i);
        else return;
        event.preventDefault();
        settle();
      });
      return made;
    }

    function tell(i, after) {
      const goal = after(state);
      told = i + 1;
      const start = look(i === 0 ? fresh(state.editor, state.keys) : { ...goal, pulls: goal.pulls.slice(0, -1) });
      const last = goal.pulls.at(-1);
      const from = start.rows[last.key].answer;
      played(700, (share) => {
        const value = add(from, times(share, sub(last.value, from)));
        state = { ...goal, pulls: [...goal.pulls.slice(0, -1), { ...last, value }] };
      });
    }

    function morph(on) {
      const from = whitened;
      played(700, (share) => {
        whitened = from + share * ((on ? 1 : 0) - from);
      });
    }

    let playing = 0;
    /** Call with shares from 0 to 1 for some milliseconds; at once where motion is not wanted. */
    function played(milliseconds, frame) {
      cancelAnimationFrame(playing);
      if (still.matches) {
        frame(1);
        return settle();
      }
      const start = performance.now();
      const next = (now) => {
        const share = Math.min(Math.max((now - start) / milliseconds, 0), 1);
        frame(share * share * (3 - 2 * share));
        if (share < 1) {
          draw();
          playing = requestAnimationFrame(next);
        } else settle();
      };
      playing = requestAnimationFrame(next);
    }

    new ResizeObserver(redraw).observe(inside);
    settle();
    if (host && !still.matches) { // play the first step once, when half of the picture is visible
      const seen = new IntersectionObserver((found) => {
        if (!found.some((one) => one.isIntersecting)) return;
        seen.disconnect();
        setTimeout(() => told || state.pulls.length || tell(0, STORY[0][1]), 600);
      }, { threshold: 0.5 });
      seen.observe(inside.querySelector(".planes"));
    }
  }

  return { ...algebra, mount };
})();

if (typeof module !== "undefined") module.exports = memoryPicture;
