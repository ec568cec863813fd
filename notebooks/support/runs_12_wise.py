"""The experiments of notebook 12: WISE in three streams of facts, and others in the first of them.

A row keeps one share per case, so that the page can take means by stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

import lib
from lib.data.facts import encode_prompt
from lib.editors.wise.training import TextReader

from . import stored_runs
from .runs_11_grace import STREAMS, streams
from .score_tables import by_case
from .stored_runs import OURS

FACTS, HALF = 12, 6  # facts are asked for after half of a stream and at its end
LINES = {  # name: editor, settings beside the preset's, facts of each call
    "WISE": ("wise", OURS, [HALF] * 2),
    "WISE, no rehearsal": ("wise", {**OURS, "rehearse": 0}, [HALF] * 2),
    "GRACE": ("grace", {}, [FACTS]),
    "UltraEdit": ("ultraedit", OURS, [HALF] * 2),
    "MEMIT": ("memit", {}, [HALF] * 2),
}
PUBLISHED = {"WISE, published": ("wise", {}, [HALF] * 2)}  # the default, the paper's algorithm
SCORES = ("mean", "last token", "subject", "maximum")  # of δ over a prompt's tokens
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}


def groups(cases: Sequence[lib.Case], strangers: Sequence[lib.Case]) -> dict[str, list[str]]:
    """The prompts of cases by group, each once; strangers are edits of another stream."""
    found = {
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "stranger": [case.fact.text for case in strangers],
        "unrelated": [text for case in cases for text in case.locality],
    }
    return {group: list(dict.fromkeys(texts)) for group, texts in found.items()}


def curve(own: Sequence[float], others: Sequence[float]) -> tuple[Tensor, Tensor]:
    """In %: others, and the own prompts, whose Δ is at or above each threshold."""
    bars = torch.tensor([torch.inf, *others]).sort(descending=True).values  # at first nobody
    y = (torch.tensor(own) >= bars[:, None]).float().mean(1)
    return 100 * torch.arange(len(bars)) / len(others), 100 * y


def line(lm: lib.LM, stream: int, name: str) -> Iterator[dict[str, Any]]:
    """One line of one stream: what is held after each half, and the rest after the whole.

    nats    of WISE: −log p of each new answer
    deltas  of WISE: {group: Δ/ε of each prompt}
    """
    cases, head = streams(FACTS)[stream], {"stream": stream, "line": name}
    base = lib.baseline(lm, cases[:1], **ASKED)
    if name == "unedited":
        yield head | {"edits": 0, **by_case(lib.evaluate(lm, cases, base=base, **ASKED))}
        return
    kind, more, sizes = (LINES | PUBLISHED)[name]
    editor, patch, done = lib.EDITORS[kind](lm, **more), lib.EMPTY, 0
    for size in sizes:
        some = [case.fact for case in cases[done : done + size]]
        if not some:  # the stream of a toy is shorter
            break
        patch, done = editor.edit(some, after=patch, check=False), done + size
        if done < FACTS and kind != "wise":
            continue
        metrics = ASKED["metrics"] if done == FACTS else []  # before the end what is held
        settings = {"events": ["generation"], "metrics": metrics, "base": base}
        row = head | {"edits": done, **by_case(lib.evaluate(lm, cases[:done], patch, **settings))}
        if kind == "wise":
            with lm.patched(patch):
                facts = [case.fact for case in cases[:done]]
                found = lm.score([x.text for x in facts], [x.target_new for x in facts])
            row["nats"] = [round(-each.sum().item(), 3) for each in found]
        if name in ("WISE", *PUBLISHED) and done == FACTS:
            row["deltas"] = reach(lm, patch, groups(cases, streams(FACTS)[(stream + 1) % STREAMS]))
        yield row


@torch.no_grad()
def reach(lm: lib.LM, patch: lib.Patch, prompts: dict[str, list[str]]) -> dict[str, list[float]]:
    """{group: Δ/ε of each prompt} under the one side memory of a patch."""
    ((module, route),) = patch.routes.items()
    (side,), found = route.memories, {}
    texts = TextReader(lm, module, route.score)
    for group, some in prompts.items():
        each = texts.delta(side.tau, [encode_prompt(lm.tokenizer, text) for text in some])
        found[group] = [round(x, 3) for x in (each / side.eps).tolist()]
    return found


def subject(prompt: str, frames: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Where the subject of a prompt begins and ends, by the longest frame (before, after) that fits."""
    low = prompt.lower()
    fit = [
        (len(before), len(prompt) - len(after))
        for before, after in frames
        if low.startswith(before) and low.endswith(after)
    ]
    return min((ends for ends in fit if ends[0] < ends[1]), key=lambda ends: ends[1] - ends[0])


def frames() -> list[tuple[str, str]]:
    """The prompts of the classroom without their subjects: (text before, text after), in lower case."""
    found = {("", " orbits the"): None}  # of neighbors only
    for case in lib.classroom():
        for text in (case.fact.text, *case.paraphrases):
            before, own, after = text.lower().partition(str(case.fact.subject).lower())
            if own:
                found[before, after] = None
    return [*found]


def by_token(lm: lib.LM, stream: int) -> Iterator[dict[str, Any]]:
    """WISE in one stream: {group: for each prompt δ as each of SCORES}, in units of ε."""
    cases, editor, patch = streams(FACTS)[stream], lib.EDITORS["wise"](lm, **OURS), lib.EMPTY
    for some in (cases[:HALF], cases[HALF:]):
        patch = (
            editor.edit([case.fact for case in some], after=patch, check=False) if some else patch
        )
    ((module, route),) = patch.routes.items()
    (side,), known = route.memories, frames()
    reader, row = TextReader(lm, module, route.score), {"stream": stream}
    for group, prompts in list(groups(cases, []).items())[:2]:
        row[group] = []
        for text in prompts:
            with torch.no_grad():
                ((a, y),) = reader.read([encode_prompt(lm.tokenizer, text)])
                each = route.score.tokens(a @ side.tau.T, y) / side.eps
            places = lm.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
            start, stop = subject(text, known)
            own = [low < stop and start < high for low, high in places["offset_mapping"]]
            own = each[-len(own) :][torch.tensor(own)]
            scores = each.mean(), each[-1], own.mean(), each.max()
            row[group].append([round(float(x), 3) for x in scores])
    yield row


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """WISE and the unedited model on three streams, the other lines on the first one.

    The paper's WISE is a run of its own, which came later, and so is δ token by token.
    """
    found = []
    for run, some in ("12_streams", LINES), ("12_papers", PUBLISHED):
        lines = {name: (lib.EDITORS[kind], more) for name, (kind, more, _) in some.items()}
        jobs = {
            f"{i}, {name}": partial(line, lm, i, name)
            for i, name in product(range(STREAMS), ["unedited"] * (some is LINES) + [*some])
            if i == 0 or name in ("unedited", "WISE", *PUBLISHED)
        }
        settings: dict[str, Any] = {
            "cases": [[case.id for case in cases] for cases in streams(FACTS)],
            "calls": {name: sizes for name, (*_, sizes) in some.items()},
        }
        found.append(stored_runs.long_run(lm, run, lines, jobs, **settings))
    lines = {"WISE": (lib.EDITORS["wise"], OURS)}
    jobs = {f"{i}": partial(by_token, lm, i) for i in range(STREAMS)}
    settings = {"cases": [[case.id for case in cases] for cases in streams(FACTS)]}
    settings |= {"calls": [HALF] * 2, "scores": SCORES}
    return [*found, stored_runs.long_run(lm, "12_tokens", lines, jobs, **settings)]
