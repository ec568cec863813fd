"""LEMoE (Wang and Li 2024) without each of its parts, in other orders, and in one batch.

Streams of facts are written batch by batch, in five batches as published, by the method as we read
it: a new expert for every batch, old ones frozen, anchors trained with their experts by the
answers' loss, a softmax gate. On tuning facts that form sends nearly all earlier prompts to the
newest expert, at the published rate, too, since nothing holds them at their own. Where anchors are
fitted on all stored prompts it keeps them. So this form is what the further arms change one thing
in. After every batch all facts so far are asked, and at the end their rewordings, neighbors and
unrelated texts. A second run writes each stream in one batch, by LEMoE, by MEMoE, which it comes
from, and by other editors.

With `--data FOLDER` the facts are those of ZsRE or CounterFact there (see `streams.py`).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch.nn.functional import normalize

import lib
from lib.atomic_files import sha256
from lib.editors.lemoe.clusters import cluster_facts, general_mean, text_means
from lib.editors.lemoe.lemoe import Lemoe, LemoeConfig
from notebooks.support import stored_runs
from notebooks.support.runs_13_lemoe import Variant, chosen

from . import ultraedit
from .frame import Experiment, Given, Row, Speed, weights
from .streams import (
    ahead,
    cell,
    enough,
    file_of,
    judged,
    of_streams,
    rule,
    scored,
    streams,
)
from .superposition import called

PARTS, BATCH = "lemoe_parts", "lemoe_batch"
SIZES: dict[str, dict[str, int]] = {  # streams, facts of each, facts of a batch
    "tiny": {"streams": 1, "facts": 2, "batch": 1},
    "default": {"streams": 3, "facts": 33, "batch": 7},
    "paper": {"streams": 3, "facts": 1000, "batch": 200},
}
STRUCTURE: dict[str, Any] = {  # as we read the paper
    "insert": True, "routing": "paper", "gate": "softmax", "order": "given", "expert": "ffn",
    "scale": 1.0, "irrelevant": None, "target_eos": False, "null": 0.5, "reserve": 1.0,
}  # fmt: skip
# of a small model, by trials on eight tuning facts: at 1e-3 every expert holds its own after 40
# steps. Rows of the paper have the bare prompt only.
OWN: dict[str, Any] = {"lr": 1e-3, "steps": 40, "contexts": ()}
DEPTH = 17  # of 30 layers, as 18 of 32
PUBLISHED, FITTED, UNEDITED = "as we read the paper", "anchors fitted", "unedited"
PLANS = ("clustered", "given", "facts shuffled", "batches shuffled")
ARMS: dict[str, dict[str, Any]] = {  # settings; "plan" is one of PLANS, "part" one of `Variant`
    PUBLISHED: {},
    FITTED: {"routing": "fitted"},
    "two experts in turn": {"routing": "fitted", "insert": False, "experts": 2},
    "router on hidden states": {"routing": "hidden"},
    "facts shuffled": {"routing": "fitted", "plan": "facts shuffled"},
    "order given": {"routing": "fitted", "plan": "given"},
    "batches shuffled": {"routing": "fitted", "plan": "batches shuffled"},
    "no null anchor": {"routing": "fitted", "part": "no null"},
}
MEMOE = {"insert": False, "experts": 4, "routing": "hidden"}
ONE_BATCH = ("LEMoE", "MEMoE", "MEMIT", "UltraEdit", "WISE")
PAPER = "paper, Llama 2 7B after 1,000 of ZsRE: 80, 60, 100"
PAPER_BATCH = {"LEMoE": "paper's average in one batch: 96", "MEMoE": "paper's average: 97"}


def experiments(given: Given) -> list[Experiment]:
    """All arms on every stream, arm by arm; then every stream in one batch."""
    lm = given.lm(given.models[0])
    size, token = SIZES[given.scale], Speed.of(lm).token
    head: dict[str, Any] = {
        "scale": given.scale, "model": lm.identity, **size,
        "file": sha256(file_of(given)),
    }  # fmt: skip
    lines = {arm: _settings(lm, given.scale, more) for arm, more in ARMS.items()}
    jobs = {
        f"{arm}, stream {i}": partial(written, given, arm, i)
        for arm in (UNEDITED, *ARMS)
        for i in range(size["streams"])
    }
    batches = {
        f"{name}, stream {i}": partial(in_one, given, name, i)
        for name in ONE_BATCH
        for i in range(size["streams"])
    }
    command = "python -m tests.benchmarks.papers --paper lemoe"
    # of each fact: steps forward and backward under each template, with the layers above the expert
    # only, and ten short prompts by two events
    own = lines[PUBLISHED]
    passes = own["steps"] * (1 + sum(count for _, count in own["contexts"]))
    each = (passes + 20) * 16 * token * size["streams"] * size["facts"]
    room = 4 * weights(lm)
    return [
        Experiment(
            stored_runs.LongRun(PARTS, {**head, "arms": lines}, jobs, command),
            len(ARMS) * each,
            room,
        ),
        Experiment(
            stored_runs.LongRun(
                BATCH, {**head, "editors": _others(lm, given.scale)}, batches, command
            ),
            len(ONE_BATCH) * each,
            room,
        ),
    ]


# ---- the editors ---------------------------------------------------------------------------------


def _settings(lm: lib.LM, scale: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of an arm: as published at the paper's scale, ours for small models else."""
    found = asdict(LemoeConfig.published(lm, "lemoe")) | STRUCTURE
    if scale != "paper":
        found |= OWN | {"layer": DEPTH * lm.n_layers // 30}
    if scale == "tiny":
        found["steps"] = 3
    found["batch_size"] = SIZES[scale]["facts"]  # the batches are made here
    return found | dict(more)


def editor(lm: lib.LM, scale: str, more: Mapping[str, Any]) -> lib.Editor:
    """LEMoE with the settings of an arm."""
    own = _settings(lm, scale, more)
    own.pop("plan", None)
    part = own.pop("part", "")
    made = (Variant if part else Lemoe)(lm, **own)
    made.part = part
    return made


def _others(lm: lib.LM, scale: str) -> dict[str, Any]:
    """{name: settings} of the editors that write a stream in one batch."""
    return {name: one_batch(lm, scale, name).settings_dict() for name in ONE_BATCH}


def one_batch(lm: lib.LM, scale: str, name: str) -> lib.Editor:
    """An editor by its name in ONE_BATCH."""
    from . import wise  # which takes streams from the same file

    if name == "MEMIT":
        return lib.EDITORS["memit"](lm)
    if name == "UltraEdit":
        return ultraedit.editor(lm, ultraedit.PLAIN)
    if name == "WISE":
        return wise.editor(lm, scale)
    return editor(lm, scale, {} if name == "LEMoE" else MEMOE)


# ---- the order of facts --------------------------------------------------------------------------


def planned(lm: lib.LM, facts: Sequence[lib.Fact], size: int, plan: str, seed: int) -> list:
    """(batches of fact numbers, mean cosine within batches, and between).

    All plans have batches of the same sizes: those that clustering made.

    clustered         neighbors by mean input embeddings share a batch
    given             facts as they come
    facts shuffled    any facts share a batch
    batches shuffled  clustered, the batches in another order
    """
    means = text_means(lm, [fact.text for fact in facts]) - general_mean(lm)
    batches = cluster_facts(means, size)
    draw = random.Random(seed)
    if plan == "batches shuffled":
        draw.shuffle(batches)
    elif plan != "clustered":
        numbers = list(range(len(facts)))
        if plan == "facts shuffled":
            draw.shuffle(numbers)
        ends = [sum(map(len, batches[:i])) for i in range(len(batches) + 1)]
        batches = [numbers[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    owner = torch.empty(len(facts), dtype=torch.long)
    for place, batch in enumerate(batches):
        owner[batch] = place
    unit = normalize(means, dim=1)
    cosines, same = unit @ unit.T, owner[:, None] == owner[None]
    apart = ~torch.eye(len(facts), dtype=torch.bool)
    pair = [round(cosines[some & apart].mean().nan_to_num().item(), 4) for some in (same, ~same)]
    return [batches, *pair]


# ---- the jobs ------------------------------------------------------------------------------------


def written(given: Given, arm: str, stream: int) -> Iterator[Row]:
    """The row of one arm on one stream.

    batches          fact numbers of each batch
    cosines          mean cosine of two facts within a batch, and between batches
    held             after each batch: for every fact so far, in the order of writing, the share of
                     its answer's tokens that are right
    routed           after each batch: for every fact so far, whether it finds its own expert
    forced, said     {column: one share per case} at the end, in the order of the stream
    """
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    cases = streams(given, size["facts"], size["streams"])[stream]
    head = {"model": called(lm), "arm": arm, "stream": stream, "facts": len(cases)}
    if arm == UNEDITED:
        yield head | scored(lm, cases)
        return
    more, facts = ARMS[arm], [case.fact for case in cases]
    batches, *cosines = planned(lm, facts, size["batch"], more.get("plan", PLANS[0]), stream)
    made, patch, order = editor(lm, given.scale, more), lib.EMPTY, list[int]()
    held, routed = [], []
    for batch in batches:
        with warnings.catch_warnings():  # misrouted facts are counted here
            warnings.simplefilter("ignore", lib.errors.EditWarning)
            patch = made.edit([facts[i] for i in batch], after=patch, check=False)
        order += batch
        own = patch.memory["lemoe"]["owner"][patch.memory["lemoe"]["prompt"]].tolist()
        routed.append([int(a == b) for a, b in zip(own, chosen(patch), strict=True)])
        if len(order) < len(cases):
            some = [cases[i] for i in order]
            now = scored(lm, some, patch, columns=("reliability",), events=("forced",))
            held.append(now["forced"]["reliability"])
    found = scored(lm, cases, patch)
    held.append([found["forced"]["reliability"][i] for i in order])
    yield head | {
        "batches": batches, "cosines": cosines, "held": held, "routed": routed, **found,
    }  # fmt: skip


def in_one(given: Given, name: str, stream: int) -> Iterator[Row]:
    """The row of one editor that writes a whole stream in one batch: scores as `written`."""
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    cases = streams(given, size["facts"], size["streams"])[stream]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.errors.EditWarning)
        made = one_batch(lm, given.scale, name)
        patch = made.edit([case.fact for case in cases], check=False)
    head = {"model": called(lm), "arm": name, "stream": stream, "facts": len(cases)}
    yield head | scored(lm, cases, patch)


# ---- what is printed, and what it says of the claims ---------------------------------------------


def shown(row: Row) -> str:
    """One line for a row, with the paper's figure."""
    said = "; ".join(
        f"{word} "
        + ", ".join(
            f"{100 * sum(some) / len(some):.0f} {name}" for name, some in row[event].items() if some
        )
        for event, word in {"forced": "token by token", "said": "said"}.items()
    )
    paper = PAPER_BATCH.get(row["arm"], PAPER if "batches" in row else "")
    behind = f" ({paper})" if paper else ""
    return f"{row['model']}, {row['arm']}, stream {row['stream']}: {said}{behind}"


def forgotten(rows: Sequence[Row], arm: str) -> Any:
    """(mean, low, high): the first batch's tokens right at the end, less those right at once."""
    some = [row for row in rows if row["arm"] == arm]
    firsts = [len(row["batches"][0]) for row in some]
    ends = [row["held"][-1][:n] for row, n in zip(some, firsts, strict=True)]
    return ahead(ends, [row["held"][0] for row in some])


def routed(rows: Sequence[Row], arm: str) -> list[list[float]]:
    """Of each stream whether each stored prompt finds its own expert at the end."""
    return [list(map(float, row["routed"][-1])) for row in rows if row["arm"] == arm]


def outcomes(parts: Sequence[Row], batch: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} of the claims whose rows are there."""
    found: dict[str, tuple[str, str]] = {}

    def less(name: str, other: str, values_of: Any) -> None:
        if enough(parts, FITTED, other):
            gap = ahead(values_of(parts, FITTED), values_of(parts, other))
            found[name] = judged(rule("lemoe", name), gap)

    def right(rows: Sequence[Row], arm: str) -> list[list[float]]:
        return of_streams(rows, arm, "reliability")

    if enough(parts, PUBLISHED):
        three = [cell(parts, PUBLISHED, c) for c in ("reliability", "generalization", "locality")]
        average = of_streams(parts, PUBLISHED, "average")
        level = ahead(average, [[0.0] * len(one) for one in average])
        _, answer = judged(rule("lemoe", "lasting"), level)
        mean = cell(parts, PUBLISHED, "average")
        found["lasting"] = f"{', '.join(three)} %; mean {mean} %", answer
        found["forgetting"] = judged(rule("lemoe", "forgetting"), forgotten(parts, PUBLISHED))
    if enough(parts, FITTED):
        found["fitted"] = judged(rule("lemoe", "fitted"), forgotten(parts, FITTED))
    less("insertion", "two experts in turn", right)
    less("routing", "router on hidden states", routed)
    less("order", "facts shuffled", right)
    if enough(batch, "LEMoE", "MEMoE"):
        pair = [of_streams(batch, name, "average") for name in ("LEMoE", "MEMoE")]
        found["batch"] = judged(rule("lemoe", "batch"), ahead(*pair))
    return found
