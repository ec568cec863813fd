"""The experiments of notebook 12: shards, merge rules, Δ of prompts, and a stream of facts.

The stream is the long run: WISE and four other editors write the same classroom facts. A row keeps
one share per case and not the mean, so that the page can draw intervals and compare in pairs.

It is one long file because `build --check` knows one file of runs per notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import lib
from lib.data.facts import encode_prompt
from lib.editors.wise.route import Side, SideMemory
from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

# The one place for WISE's settings: change them, then `--long 12` again.
WISE = {
    "layer": 25,
    "lr": 5.0,
    "n_iter": 8,
    "alpha": 0.25,
    "beta": 1.5,
    "gamma": 1.0,
    "margin_weight": 10.0,
    "act_ratio": 1.0,
    "track": True,
    "rehearse": 12,
    "irrelevant_n": 32,
    "context_start": 0,
    "context_top_k": 0,
    "contexts": [[9, 4]],
    "calibrate": None,
    "replay": False,
}
# Options of ours that this page leaves out, although the preset has them.
PLAIN = {"mask_ratio": 0.2, "whiten": None, "target_eos": False}
STREAM = {
    "data": "classroom()[1::2]",
    "wise": WISE,
    "lines": {  # name: editor, settings beside the preset's, facts of each call
        "GRACE": ["grace", {}, [40]],
        "UltraEdit": ["ultraedit", {}, [10] * 4],
        "fine-tuning": ["ft", {}, [1] * 40],
        "MEMIT": ["memit", {}, [10] * 4],
        "WISE": ["wise", {}, [2, 18, 20, 20, 20]],
        "WISE, no rehearsal": ["wise", {"rehearse": 0}, [2, 18, 20, 20, 20]],
    },
    "points": [20, 40, 60, 80],  # after so many facts all facts so far are asked
    "together": 40,  # facts after which the editors are compared
}
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}
MEASURED = {
    "held": "efficacy",
    "reworded": "generalization",
    "neighbors": "specificity",
    "unrelated": "locality",
}
Rows = Sequence[Mapping[str, Any]]


def facts() -> list[lib.Case]:
    """The stream: every second case of the classroom, as fixed as the shipped file."""
    return lib.classroom()[1::2]


def wise(lm: lib.LM, **settings: Any) -> lib.Editor:
    """WISE with the settings above; in a toy at the toy's own layer."""
    settings = {key: _tuple(value) for key, value in {**PLAIN, **WISE, **settings}.items()}
    if settings["layer"] >= lm.n_layers:
        settings["layer"] = 1
    return lib.EDITORS["wise"](lm, **settings)


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value


# ---- what a model answers, and whom a router would ask -------------------------------------------


def look(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch, base: Any) -> dict[str, Any]:
    """What the patched model says, by generation: one share per case, and the mean KL.

    held, reworded  prompts whose answer begins with the new one
    neighbors       prompts whose answer still begins with the true one
    unrelated       prompts whose first sentence, up to eight tokens, is the base model's own
    kl              from the base model at unrelated prompts, in nats
    """
    by_case = lib.evaluate(lm, cases, patch, base=base, **ASKED).by_case()
    found: dict[str, Any] = {
        name: [round(share, 4) for share in by_case[metric, "generation"]["mean"]]
        for name, metric in MEASURED.items()
    }
    return {**found, "kl": round(float(by_case["locality", "kl_nats"]["mean"].mean()), 5)}


@dataclass
class Router:
    """The score Δ of prompts under any side memory of one module.

    The inputs of the module lie below the memory. So they are read once on the base model, and Δ
    is then one product, whatever the memory.

    known  {prompt: inputs (n, d_in) of the module at its tokens}, what was read so far
    """

    lm: lib.LM
    module: str
    known: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, lm: lib.LM, patch: lib.Patch) -> Router:
        """The router of a patch of WISE."""
        (module,) = patch.routes
        return cls(lm, module)

    def deltas(self, tau: Tensor, prompts: Sequence[str]) -> Tensor:
        """Δ (n,) of prompts under τ (d_out, d_in): the mean of ‖τ a‖ over each one's tokens."""
        for text in prompts:
            if text not in self.known:
                self.known[text] = tokens(self.lm, self.module, text)[1]
        return torch.stack([(self.known[text] @ tau.T).norm(dim=1).mean() for text in prompts])

    def let_in(self, memory: SideMemory, case: lib.Case) -> dict[str, float]:
        """Which share of a case's prompts reaches ε, by group."""
        return {
            group: round((self.deltas(memory.tau, texts) >= memory.eps).float().mean().item(), 4)
            for group, texts in groups([case]).items()
            if texts
        }


def groups(cases: Sequence[lib.Case]) -> dict[str, list[str]]:
    """The prompts of cases by group, each once."""
    found = {
        "edited": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "unrelated": [text for case in cases for text in case.locality],
    }
    return {group: list(dict.fromkeys(texts)) for group, texts in found.items()}


def tokens(lm: lib.LM, module: str, prompt: str) -> tuple[list[int], Tensor]:
    """The tokens of a prompt without a leading BOS, and the inputs (n, d_in) of a module there."""
    ids = encode_prompt(lm.tokenizer, prompt)
    with lm.patched(lib.EMPTY, only=True), torch.no_grad():
        inputs = lm.run([ids], [module]).seen[module][0][0]
    skip = int(len(ids) > 1 and ids[0] == lm.leading_bos)
    return ids[skip:], inputs[skip:].float().cpu()


def by_token(lm: lib.LM, tau: Tensor, module: str, prompt: str) -> tuple[list[str], list[float]]:
    """The tokens of a prompt, and at each of them ‖τ a‖, of which Δ is the mean."""
    ids, inputs = tokens(lm, module, prompt)
    return [lm.tokenizer.decode([i]) for i in ids], (inputs @ tau.T).norm(dim=1).tolist()


# ---- shards and merged memories --------------------------------------------------------------


def shards(lm: lib.LM, cases: Sequence[lib.Case], size: int) -> tuple[lib.Patch, list[SideMemory]]:
    """Facts written one after another into shards of `size`: the patch, and its memories."""
    made = wise(lm, save_freq=size, merge_freq=1000 * size)  # full shards stay apart
    patch = made.edit([case.fact for case in cases])
    (route,) = patch.routes.values()
    return patch, list(route.memories)


def through(patch: lib.Patch, tau: Tensor, eps: float = 0.0) -> lib.Patch:
    """The patch with one side memory τ, which answers from Δ = eps on: at 0 every prompt."""
    ((module, route),) = patch.routes.items()
    count = sum(memory.facts for memory in route.memories)
    side = Side((SideMemory(tau, eps, count),), route.act_ratio, route.score, module)
    return lib.Patch(routes={module: side})


def left_of(
    taus: Sequence[Tensor], rules: Mapping[str, Callable[..., Tensor]], density: float
) -> list[dict[str, Any]]:
    """What each rule makes of the first of two changes: rows for a table.

    The entries that the first one changes are alone (the second is 0 there), agreed or in conflict.
    On each part the merged change x is split into c τ₁ and a rest at right angles to τ₁:

    c         ⟨x, τ₁⟩/‖τ₁‖², what is left of τ₁; 1 is all of it, and a negative c is its reverse
    noise     ‖x − c τ₁‖/‖τ₁‖ where τ₁ is alone
    reversed  the share of the entries in conflict that have the sign of the second one
    """
    first, second = taus
    both = (first != 0) & (second != 0)
    parts = {
        "alone": (first != 0) & (second == 0),
        "agreed": both & (first * second > 0),
        "in conflict": both & (first * second < 0),
    }
    rows = []
    for name, rule in rules.items():
        merged = rule(taus, density=density)
        row: dict[str, Any] = {"rule": name}
        for what, here in parts.items():
            x, t = merged[here], first[here]
            row[f"left, {what}"] = (x @ t / (t @ t)).item()
        x, t = merged[parts["alone"]], first[parts["alone"]]
        row["noise, alone"] = ((x - row["left, alone"] * t).norm() / t.norm()).item()
        here = parts["in conflict"]
        turned = (merged[here] * first[here] < 0).float().mean().item()
        rows.append(row | {"reversed, in conflict (%)": 100 * turned})
    return rows


def asked_of(lm: lib.LM, cases: Sequence[lib.Case], patches: Mapping[str, lib.Patch]) -> list[dict]:
    """For a table: by patch, facts and rewordings that are answered with the new answer (%)."""
    lines = []
    for name, patch in patches.items():
        asked = {"events": ["generation"], "metrics": ["generalization"]}
        by_case = lib.evaluate(lm, cases, patch, **asked).by_case()
        shares = {"facts (%)": "efficacy", "rewordings (%)": "generalization"}
        line = {c: percent(list(by_case[m, "generation"]["mean"])) for c, m in shares.items()}
        lines.append({"memory": name, **line})
    return lines


# ---- the long run --------------------------------------------------------------------------------


def stream(
    lm: lib.LM, name: str, settings: Mapping[str, Any] = STREAM, calls: int | None = None
) -> Iterator[dict[str, Any]]:
    """One row per call of one line's editor, for the first `calls` of them.

    A row has the number of edits and, where the editor has one, the threshold ε. At the points it
    has what `look` finds for all facts so far, and for WISE whom the router lets in.
    """
    kind, more, sizes = settings["lines"][name]
    editor = wise(lm, **more) if kind == "wise" else lib.EDITORS[kind](lm, **more)
    cases, patch, done = facts(), lib.EMPTY, 0
    base, router = lib.baseline(lm, cases[:1], **ASKED), None
    for size in sizes[:calls]:
        patch = editor.edit([case.fact for case in cases[done : done + size]], after=patch)
        done += size
        row: dict[str, Any] = {"line": name, "edits": done}
        if kind == "wise":
            (route,) = patch.routes.values()
            row["eps"] = round(route.memories[-1].eps, 4)
        if done in settings["points"] and (kind == "wise" or done == settings["together"]):
            row |= look(lm, cases[:done], patch, base)
            if kind == "wise":
                router = router or Router.of(lm, patch)
                found = [router.let_in(route.memories[-1], case) for case in cases[:done]]
                row["let_in"] = {g: [each[g] for each in found if g in each] for g in found[0]}
        if "eps" in row or "held" in row:
            yield row


def every(lm: lib.LM, settings: Mapping[str, Any] = STREAM) -> Iterator[dict[str, Any]]:
    """All rows: the unedited model on all facts, then line after line."""
    cases = facts()[: max(settings["points"])]
    base = lib.baseline(lm, cases[:1], **ASKED)
    yield {"line": "unedited", "edits": 0} | look(lm, cases, lib.EMPTY, base)
    for name in settings["lines"]:
        yield from stream(lm, name, settings)


# ---- tables and figures of the long run ----------------------------------------------------------


def percent(shares: Sequence[float]) -> str:
    """The mean of one share per case in percent, and its 95 % interval: "83 [60, 94]"."""
    mean, low, high = share(shares)
    return f"{mean:.0f} [{low:.0f}, {high:.0f}]"


def share(shares: Sequence[float]) -> tuple[float, float, float]:
    """The mean of one share per case and the ends of its 95 % interval, in percent."""
    low, high = interval(shares, SHARE)
    return 100 * sum(shares) / len(shares), 100 * low, 100 * high


def at(rows: Rows, line: str, edits: int) -> Mapping[str, Any]:
    """The row of a line after so many edits; the unedited model has one row for all."""
    (row,) = (r for r in rows if r["line"] == line and r["edits"] in (0, edits) and "held" in r)
    return row


def filled(rows: Rows, masked: int) -> list[dict[str, Any]]:
    """For a table: the fuller a shard, the more is forgotten; all facts so far are asked.

    masked  the number of entries in the shard's mask
    """
    lines = []
    for name in ("WISE", "WISE, no rehearsal"):
        for edits in STREAM["points"]:
            row = at(rows, name, edits)
            line = {"way": name, "facts": edits, "entries of each": masked // edits}
            line |= {"ε": float(row["eps"])}
            line |= {f"{group} (%)": percent(row[group]) for group in MEASURED}
            asked = {"rewording": "rewordings let in (%)", "neighbor": "neighbors let in (%)"}
            lines.append(line | {c: percent(row["let_in"][g]) for g, c in asked.items()})
    return lines


def first_twenty(rows: Rows) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """For the figure: shares of the same first twenty facts while the shard is filled."""
    titles = {"WISE": "twelve facts rehearsed", "WISE, no rehearsal": "no rehearsal, as published"}
    return {
        title: {
            group: [share(at(rows, name, edits)[group][:20]) for edits in STREAM["points"]]
            for group in ("held", "reworded", "neighbors")
        }
        for name, title in titles.items()
    }


def together(rows: Rows) -> tuple[list[str], list[list[tuple[float, float, float]]]]:
    """The lines that are compared after forty facts, and their shares of these facts, in %."""
    n = STREAM["together"]
    names = ["unedited", *(name for name in STREAM["lines"] if "rehearsal" not in name)]
    return names, [[share(at(rows, name, n)[g][:n]) for g in MEASURED] for name in names]


def paired(rows: Rows, one: tuple[str, int], other: tuple[str, int], group: str, count: int) -> str:
    """One line after so many edits less another, on the same first facts: "+5 points [−3, 14]"."""
    a, b = (at(rows, *place)[group][:count] for place in (one, other))
    found = [x - y for x, y in zip(a, b, strict=True)]
    low, high = interval(found, DIFFERENCE)
    mean, low, high = (round(100 * x) for x in (sum(found) / len(found), low, high))
    return f"{mean:+d} points [{low:+d}, {high:+d}]"
