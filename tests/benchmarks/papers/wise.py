"""WISE (Wang et al. 2024): edits over the length of a stream, merging, and routing as it grows.

Facts are written one after another by WISE in the paper's form and by other editors, and asked
after some lengths, with what the router compares: Δ/ε of edits, rewordings, neighbors and unrelated
texts. Then shards are trained once, and every rule of merging is applied to the same ones; in a
longer series of shards a pair is merged at a time, into one memory or beside those before.

With `--data FOLDER` the facts are those of ZsRE or CounterFact there (see `streams.py`), and
`hallucination-edit.json` and `temporal-edit.json` add a run each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import lib
from lib.atomic_files import sha256
from lib.data.facts import encode_prompt
from lib.editors.wise import wise as module_of_wise
from lib.editors.wise.merging import linear, sign, ties
from lib.editors.wise.route import SideMemory
from lib.editors.wise.settings import WiseConfig
from lib.editors.wise.training import TextReader
from lib.editors.wise.wise import Wise
from notebooks.support import stored_runs
from notebooks.support.runs_12_wise import groups

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

LENGTHS, MERGING = "wise_lengths", "wise_merging"
HALLUCINATION, TEMPORAL = "wise_hallucination", "wise_temporal"
FILES = {HALLUCINATION: "hallucination-edit.json", TEMPORAL: "temporal-edit.json"}
SIZES: dict[str, dict[str, Any]] = {
    # singles  facts of each stream that are written alone, each into the unedited model
    # lengths  after how many facts a stream is asked; long: the first stream goes on to it
    # merged   facts whose shards are merged by every rule
    # shard    facts of a shard in the series, in which pairs of shards are merged
    # pairs    merges of the series
    "tiny": {"streams": 1, "singles": 1, "lengths": (2,), "long": 3, "merged": 2, "shard": 1,
             "pairs": 1, HALLUCINATION: (1, 2), TEMPORAL: (1, 2)},
    "default": {"streams": 3, "singles": 5, "lengths": (10, 33), "long": 101, "merged": 20,
                "shard": 4, "pairs": 4, HALLUCINATION: (1, 10, 40), TEMPORAL: (10, 40)},
    "paper": {"streams": 3, "singles": 20, "lengths": (10, 100), "long": 1000, "merged": 100,
              "shard": 20, "pairs": 4, HALLUCINATION: (1, 10, 100, 600), TEMPORAL: (10, 75)},
}  # fmt: skip
STRUCTURE: dict[str, Any] = {  # the paper's
    "mask_ratio": 0.2, "density": 0.53, "merge": "ties", "save_freq": 500, "merge_freq": 1000,
    "retrieve": False, "replay": False, "remeasure": False, "track": False, "calibrate": None,
    "whiten": None, "rehearse": 0, "norm_constraint": 1.0, "irrelevant_n": 1, "margin_weight": 1.0,
    "contexts": ((5, 5), (10, 5)), "context_start": "words", "context_top_k": 5, "templates": None,
    "target_eos": False, "forms": "prompt", "irrelevant": None,
}  # fmt: skip
# Of a small model, by four trials of four tuning facts each: the published rate of 1 and 70 steps
# take 37 seconds a fact. Margins count in units of its own outputs, in the ratio of the paper; at
# four times these more neighbors change (.17 of them stay in place of .40).
OWN: dict[str, Any] = {
    "lr": 10.0, "n_iter": 15, "alpha": 0.05, "beta": 0.2, "gamma": 0.1, "act_ratio": 0.88,
    "units": "output", "pool": "mean", "activation": None, "weight_decay": 0.0,
}  # fmt: skip
DEPTH = 24  # of 30 layers
NEVER = 10**6  # shards of so many facts are never merged by the editor itself

WISE, FREE = "WISE", "WISE without margins"
EDITORS = (WISE, "GRACE", "retrieval", "MEMIT in one batch", FREE, "FT-L", "ROME")
SHORT = (FREE, "ROME")  # which do not go on to the long stream
ONE_BY_ONE = ("FT-L", "ROME")  # a call for each fact
UNEDITED = "unedited"
# (shards, share of each one's mask); the shards of DISJOINT share no entry
ONE, TWO, HALF, DISJOINT, FIVE = (
    "one memory", "two shards", "two shards, half masks", "two shards, disjoint", "five shards",
)  # fmt: skip
KINDS: dict[str, tuple[int, float]] = {
    ONE: (1, 1.0), TWO: (2, 0.2), HALF: (2, 0.5), DISJOINT: (2, 0.2),
}  # fmt: skip
SERIES = "series"
RETRIEVE, ORACLE = "retrieve", "oracle"
RULES: dict[str, Any] = {
    "TIES": ties, "sign": sign, "mean": linear,
    "sum": lambda taus, weights=None: torch.stack(list(taus)).sum(0),
}  # fmt: skip
PAPER: dict[str, dict[int, str]] = {  # Llama 2 7B on ZsRE: reliability, generalization, locality
    WISE: {1: "98, 92, 100", 10: "94, 88, 100", 100: "90, 81, 100", 1000: "77, 72, 100"},
    FREE: {1: "100, 96, 93", 10: "93, 90, 88", 100: "92, 85, 81", 1000: "84, 79, 72"},
    "GRACE": {1: "99, 36, 100", 10: "96, 16, 100", 100: "96, 15, 100", 1000: "93, 8, 100"},
    "FT-L": {1: "57, 52, 96", 10: "48, 48, 76", 100: "30, 27, 23", 1000: "19, 16, 3"},
    "ROME": {1: "85, 80, 99", 10: "64, 62, 75", 100: "23, 22, 4", 1000: "1, 1, 0"},
    "MEMIT in one batch": {
        1: "84, 81, 99", 10: "75, 72, 97", 100: "76, 68, 85", 1000: "69, 65, 62",
    },
}  # fmt: skip
PAPER_RULES = {"TIES": "85, 81, 94", "sign": "80, 76, 97", "mean": "63, 61, 93"}
PAPER_PPL = {  # Llama 2 7B on SelfCheckGPT: perplexity of the target, locality
    WISE: {1: "1.91, 100", 10: "1.04, 100", 100: "1.14, 100", 600: "3.12, 99"},
    "GRACE": {1: "2.21, 100", 10: "8.67, 100", 100: "9.67, 100", 600: "9.34, 100"},
    "MEMIT in one batch": {1: "1.66, 100", 10: "1.61, 99", 100: "7.18, 96", 600: "13.47, 94"},
}
PAPER_TEMPORAL = {  # GPT-J: reliability, texts of later, locality
    WISE: {10: "99, 36, 98", 75: "96, 37, 100"},
    "GRACE": {10: "97, 28, 100", 75: "97, 28, 100"},
    "MEMIT in one batch": {10: "73, 22, 99", 75: "78, 27, 97"},
}
LOSS = -math.log(0.8)  # under which a text of later counts as known


def experiments(given: Given) -> list[Experiment]:
    """Streams by editor, merging, and a run for each further file of the data."""
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    head: dict[str, Any] = {
        "scale": given.scale, "model": lm.identity, "file": sha256(file_of(given)),
        "size": {name: some for name, some in size.items() if name not in FILES},
    }  # fmt: skip
    made = {name: editor_of(lm, given.scale, name).settings_dict() for name in EDITORS}
    lengths = {
        f"{name}, stream {i}": partial(grown, given, name, i)
        for name in (*EDITORS, UNEDITED)
        for i in reversed(range(size["streams"]))  # the first stream is the longest
    }
    merging = {
        f"{kind}, stream {i}": partial(merged, given, kind, i)
        for kind in (SERIES, *KINDS)
        for i in range(size["streams"])
    }
    command = "python -m tests.benchmarks.papers --paper wise"
    # of each fact: steps forward and backward of twelve rows, with the layers above the side memory
    # only, and ten short prompts by two events
    token, own = Speed.of(lm).token, made[WISE]
    one = (own["n_iter"] * 12 * 10 + 20 * 16) * token
    facts = size["streams"] * (size["singles"] + sum(size["lengths"])) + size["long"]
    trained = size["streams"] * (len(KINDS) * size["merged"] + 2 * size["pairs"] * size["shard"])
    room = 3 * weights(lm)
    found = [
        Experiment(
            stored_runs.LongRun(LENGTHS, {**head, "editors": made}, lengths, command),
            # FT-L and ROME take as long as WISE, the others less
            3.5 * facts * one,
            room,
        ),
        Experiment(
            stored_runs.LongRun(
                MERGING,
                {**head, "kinds": KINDS, "editor": made[WISE], "rules": [*RULES]},
                merging,
                command,
            ),
            trained * (one + 30 * 24 * len(RULES) * token),
            room,
        ),
    ]
    for name, file in FILES.items():
        path = given.data and given.data / file
        if path is None or not path.is_file():
            continue
        jobs = {
            editor: partial(texts, given, name, path, editor)
            for editor in (UNEDITED, *PAPER_TEMPORAL)
        }
        more = {**head, "file": sha256(path), "lengths": size[name], "editors": made}
        run = stored_runs.LongRun(name, more, jobs, command)
        # passages are some ten times as long as questions
        found.append(Experiment(run, 20 * len(jobs) * max(size[name]) * one, room))
    return found


# ---- the editors ---------------------------------------------------------------------------------


def settings(lm: lib.LM, scale: str) -> dict[str, Any]:
    """WISE's settings in the paper's form; beside them its own rates, or those of a small model."""
    found = asdict(WiseConfig.published(lm, "wise")) | STRUCTURE
    if scale == "tiny":
        found |= {"templates": ("{}",)}
    if scale == "paper":
        return found
    return found | OWN | {"layer": DEPTH * lm.n_layers // 30}


def editor(lm: lib.LM, scale: str, **more: Any) -> Wise:
    """WISE in the paper's form."""
    return Wise(lm, **{**settings(lm, scale), **more})


def editor_of(lm: lib.LM, scale: str, name: str) -> lib.Editor:
    """An editor by its name in EDITORS."""
    if name in (WISE, FREE):
        return editor(lm, scale, margin_weight=0.0 if name == FREE else 1.0)
    if name == "GRACE":  # radii by the published rules
        return lib.EDITORS["grace"](lm, strict=False)
    kind = {"FT-L": "ft_l", "ROME": "rome", "MEMIT in one batch": "memit"}
    return lib.EDITORS[kind.get(name, name)](lm)


# ---- over the length of a stream -----------------------------------------------------------------


def grown(given: Given, name: str, stream: int) -> Iterator[Row]:
    """The rows of one editor on one stream: single facts, then each length.

    forced, said  {column: one share per case}, of all facts so far
    deltas        of WISE: {group: Δ/ε of each prompt}, ε that of its one side memory
    """
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    some, further = _streams(given, stream)
    head = {"model": called(lm), "arm": name, "stream": stream}
    lengths = list(size["lengths"])
    if stream == 0 and name not in SHORT and size["long"] > lengths[-1]:
        lengths.append(size["long"])
        some = [*some, *further]
    if name == UNEDITED:
        yield head | {"edits": 0, **scored(lm, some)}
        return
    made = editor_of(lm, given.scale, name)
    base = lib.baseline(lm, some[:1])
    alone = [
        scored(lm, [case], made.edit([case.fact], check=False), base)
        for case in some[: size["singles"]]
    ]
    joined = {
        event: {
            column: [value for one in alone for value in one[event].get(column, [])]
            for column in alone[0][event]
        }
        for event in alone[0]
    }
    yield head | {"edits": 1, **joined}
    patch, done = lib.EMPTY, 0
    for length in lengths:
        facts = [case.fact for case in some[:length]]
        if name == "MEMIT in one batch":
            patch, done = lib.EMPTY, 0
        parts = [[fact] for fact in facts[done:]] if name in ONE_BY_ONE else [facts[done:]]
        for part in parts:
            patch = made.edit(part, after=patch, check=False)
        done = length
        row = head | {"edits": length, **scored(lm, some[:length], patch, base)}
        if name == WISE:
            row["deltas"] = reach(lm, patch, prompts(some[:length]))
        yield row


def _streams(given: Given, stream: int) -> tuple[list[lib.Case], list[lib.Case]]:
    """(the stream's cases, those with which the first one goes on)."""
    size = SIZES[given.scale]
    longest = max(size["lengths"])
    every = streams(given, longest, size["streams"])
    further = [case for one in every[1:] for case in one]
    if len(every) * longest < size["long"]:
        own = {case.fact.text for one in every for case in one}
        more = streams(given, size["long"], 1)[0]
        further += [case for case in more if case.fact.text not in own]
    return every[stream], further[: size["long"] - longest]


def prompts(cases: Sequence[lib.Case]) -> dict[str, list[str]]:
    """{group: prompts}, with the edits' own first."""
    found = {"edit": [case.fact.text for case in cases]} | groups(cases, [])
    del found["stranger"]
    return found


@torch.no_grad()
def reach(
    lm: lib.LM, patch: lib.Patch, asked: Mapping[str, Sequence[str]]
) -> dict[str, list[float]]:
    """{group: Δ/ε of each prompt}, the largest among the side memories."""
    ((module, route),) = patch.routes.items()
    texts_of, found = TextReader(lm, module, route.score), {}
    for group, some in asked.items():
        if not some:
            continue
        rows = [encode_prompt(lm.tokenizer, text) for text in some]
        each = [texts_of.delta(m.tau.to(lm.device), rows) / m.eps for m in route.memories]
        found[group] = [round(x, 3) for x in torch.stack(each).amax(0).tolist()]
    return found


# ---- merging -------------------------------------------------------------------------------------


def trained(
    lm: lib.LM, scale: str, facts: Sequence[lib.Fact], size: int, share: float, disjoint: bool
) -> lib.Patch:
    """A patch with a side memory for every `size` facts, none of which is merged yet.

    share     of the entries each may change
    disjoint  whether no two may change the same entry; else each entry is drawn for each shard
    """

    def apart(shape: tuple[int, int], share: float, seed: int, shard: int) -> Tensor:
        draw = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        return (shard * share <= draw) & (draw < (shard + 1) * share)

    made = editor(lm, scale, mask_ratio=share, save_freq=size, merge_freq=size * NEVER)
    if not disjoint:
        return made.edit(list(facts), check=False)
    with mock.patch.object(module_of_wise, "draw_mask", apart):
        return made.edit(list(facts), check=False)


def with_memories(patch: lib.Patch, memories: Sequence[SideMemory]) -> lib.Patch:
    """The patch with other side memories in its route."""
    ((module, route),) = patch.routes.items()
    return replace(patch, routes={module: replace(route, memories=tuple(memories))})


def joined(shards: Sequence[SideMemory], name: str, before: SideMemory | None = None) -> SideMemory:
    """One memory of several, by a rule; `before` is merged along, with the published share of 0.6.

    ε is the least of them.
    """
    parts, shares = [*shards], [1 / len(shards)] * len(shards)
    if before is not None:
        parts, shares = [before, *parts], [0.6] + [0.4 / len(shards)] * len(shards)
    tau = RULES[name]([part.tau for part in parts], shares)
    return SideMemory(tau, min(part.eps for part in parts), sum(part.facts for part in parts))


def merged(given: Given, kind: str, stream: int) -> Iterator[Row]:
    """The rows of shards that were trained once, by every rule.

    eps     ε of each memory
    forced  {column: one share per case}; an oracle, which always takes the right memory, is asked
            for facts and rewordings only
    """
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    if kind == SERIES:
        yield from _series(given, stream)
        return
    count, share = KINDS[kind]
    cases = _streams(given, stream)[0][: size["merged"]]
    each = -(-len(cases) // count)
    facts = [case.fact for case in cases]
    patch = trained(lm, given.scale, facts, each, share, kind == DISJOINT)
    yield from _by_rule(lm, patch, cases, kind, stream)


def _series(given: Given, stream: int) -> Iterator[Row]:
    """Five shards by every rule, then pairs of shards that are merged one after another.

    merges  how many of them there were
    right   of Retrieve: whether each fact so far chooses its own memory
    deltas  {group: Δ/ε of each prompt}, the largest among the memories
    """
    lm, size = given.lm(given.models[0]), SIZES[given.scale]
    each, pairs = size["shard"], size["pairs"]
    cases = _streams(given, stream)[0][: 2 * pairs * each]
    patch = trained(lm, given.scale, [case.fact for case in cases], each, 0.2, False)
    (route,) = patch.routes.values()
    shards = route.memories
    if len(shards) > 5:
        yield from _by_rule(lm, with_memories(patch, shards[:5]), cases[: 5 * each], FIVE, stream)
    base = lib.baseline(lm, cases[:1])
    kept: dict[str, SideMemory | None] = {"TIES": None, "sum": None}
    apart: list[SideMemory] = []
    for merges in range(1, len(shards) // 2 + 1):
        pair = shards[2 * merges - 2 : 2 * merges]
        apart.append(joined(pair, "TIES"))
        for name, before in kept.items():
            # what was added up before is one more part of the sum
            kept[name] = joined(pair, name, before)
        some = cases[: 2 * merges * each]
        memories: dict[str, list[Any]] = {name: [one] for name, one in kept.items()}
        for name, own in (memories | {RETRIEVE: apart}).items():
            now = with_memories(patch, own)
            row = {
                "model": called(lm), "arm": f"{SERIES}: {name}", "stream": stream,
                "merges": merges, "edits": len(some), "eps": [round(m.eps, 4) for m in own],
                **scored(lm, some, now, base, events=("forced",)),
                "deltas": reach(lm, now, prompts(some)),
            }  # fmt: skip
            if name == RETRIEVE:
                row["right"] = chosen(lm, now, some, 2 * each)
            yield row
        found = _oracle(lm, patch, apart, some, 2 * each, base)
        yield {
            "model": called(lm), "arm": f"{SERIES}: {ORACLE}", "stream": stream, "merges": merges,
            "edits": len(some), "forced": found,
        }  # fmt: skip


def _by_rule(
    lm: lib.LM, patch: lib.Patch, cases: Sequence[lib.Case], kind: str, stream: int
) -> Iterator[Row]:
    (route,) = patch.routes.values()
    shards, base = route.memories, lib.baseline(lm, cases[:1])
    head = {"model": called(lm), "stream": stream, "edits": len(cases)}
    rules = {name: [joined(shards, name)] for name in (RULES if len(shards) > 1 else ["TIES"])}
    if len(shards) > 1:
        rules[RETRIEVE] = list(shards)
    for name, memories in rules.items():
        now = with_memories(patch, memories)
        yield head | {
            "arm": f"{kind}: {name}", "eps": [round(m.eps, 4) for m in memories],
            **scored(lm, cases, now, base, events=("forced",)),
        }  # fmt: skip
    if len(shards) > 1:
        found = _oracle(lm, patch, shards, cases, -(-len(cases) // len(shards)), base)
        yield head | {"arm": f"{kind}: {ORACLE}", "forced": found}


def _oracle(
    lm: lib.LM,
    patch: lib.Patch,
    memories: Sequence[SideMemory],
    cases: Sequence[lib.Case],
    each: int,
    base: Any,
) -> dict[str, list[float]]:
    """Each case asked with the memory of its own, whose threshold every prompt passes."""
    found: dict[str, list[float]] = {}
    for place, memory in enumerate(memories):
        some = cases[place * each : (place + 1) * each]
        now = with_memories(patch, [replace(memory, eps=-1.0)])
        columns = ("reliability", "generalization")
        for column, own in scored(lm, some, now, base, columns, ("forced",))["forced"].items():
            found.setdefault(column, []).extend(own)
    return found


@torch.no_grad()
def chosen(lm: lib.LM, patch: lib.Patch, cases: Sequence[lib.Case], each: int) -> list[int]:
    """Of each fact whether its prompt chooses its own memory: 1, or 0."""
    ((module, route),) = patch.routes.items()
    rows = [encode_prompt(lm.tokenizer, case.fact.text) for case in cases]
    reader = TextReader(lm, module, route.score)
    scores = [reader.delta(m.tau.to(lm.device), rows) for m in route.memories]
    choice = route.choose(torch.stack(scores, 1)).tolist()
    return [int(one == place // each) for place, one in enumerate(choice)]


# ---- texts: perplexity of the target, and texts of later -----------------------------------------


def texts(given: Given, run: str, path: Path, name: str) -> Iterator[Row]:
    """The rows of one editor on a file of texts, after each length.

    ppl     perplexity of each target, given its prompt
    later   of temporal rows: the mean loss of each text of later in nats, and
    tokens  the share of its tokens whose loss is under −ln .8
    forced  {column: one share per case}
    """
    lm = given.lm(given.models[0])
    lengths = SIZES[given.scale][run]
    cases = list(lib.read_cases(path, limit=max(lengths)))
    made = None if name == UNEDITED else editor_of(lm, given.scale, name)
    base = lib.baseline(lm, cases[:1])
    patch, done = lib.EMPTY, 0
    for length in lengths if made else lengths[-1:]:
        some = cases[:length]
        facts = [case.fact for case in some]
        if made is not None:
            if name == "MEMIT in one batch":
                patch, done = lib.EMPTY, 0
            patch, done = made.edit(facts[done:], after=patch, check=False), length
        with lm.patched(patch):
            found = lm.score([fact.text for fact in facts], [fact.target_new for fact in facts])
            after = [probe for case in some for probe in case.portability]
            later = lm.score([p.prompt for p in after], [p.target for p in after]) if after else []
        row = {"model": called(lm), "arm": name, "run": run, "edits": length if made else 0}
        row["ppl"] = [round(math.exp(-one.mean().item()), 4) for one in found]
        if later:
            row["later"] = [round(-one.mean().item(), 4) for one in later]
            row["tokens"] = [round((-one < LOSS).float().mean().item(), 4) for one in later]
        columns = ("reliability", "locality")
        yield row | scored(lm, some, patch, base, columns, ("forced",))


# ---- what is printed, and what it says of the claims ---------------------------------------------


def shown(row: Row) -> str:
    """One line for a row, with the paper's figure."""

    def mean(some: Sequence[float]) -> str:
        return f"{100 * sum(some) / len(some):.0f}"

    arm, edits = row["arm"], row["edits"]
    begin = f"{row['model']}, {arm}, {edits} edits"
    said = [
        f"{word} " + ", ".join(f"{mean(some)} {name}" for name, some in row[event].items() if some)
        for event, word in {"forced": "token by token", "said": "said"}.items()
        if event in row
    ]
    if "ppl" in row:
        said.insert(0, f"perplexity {sum(row['ppl']) / len(row['ppl']):.2f}")
        if "later" in row:
            known = [float(loss < LOSS) for loss in row["later"]]
            said.insert(
                1, f"of texts of later {mean(known)}, of their tokens {mean(row['tokens'])}"
            )
        table: Any = PAPER_PPL if row["run"] == HALLUCINATION else PAPER_TEMPORAL
        where = "Llama 2 7B" if row["run"] == HALLUCINATION else "GPT-J"
        paper = table.get(arm, {}).get(edits)
        return f"{begin}: {'; '.join(said)}" + (f" (paper, {where}: {paper})" if paper else "")
    # the paper's length that comes nearest
    known_at = PAPER.get(arm, {})
    at = min(known_at, key=lambda t: abs(math.log(t / max(1, edits))), default=None)
    paper = f"after {at} of ZsRE: {known_at[at]}" if at is not None else ""
    kind, _, name = arm.partition(": ")
    if kind == TWO and name in PAPER_RULES:
        paper = f"after 100 in two shards: {PAPER_RULES[name]}"
    behind = f" (paper, Llama 2 7B {paper})" if paper else ""
    return f"{begin}, stream {row['stream']}: {'; '.join(said)}{behind}"


def outcomes(lengths: Sequence[Row], merging: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} of the claims whose rows are there."""
    found: dict[str, tuple[str, str]] = {}
    longest = max((row["edits"] for row in lengths if row["stream"] == 1), default=0)
    rows = [row for row in lengths if row["edits"] == longest]

    def less(name: str, some: Sequence[Row], one: str, other: str, column: str) -> None:
        if enough(some, one, other):
            pair = [of_streams(some, arm, column) for arm in (one, other)]
            found[name] = judged(rule("wise", name), ahead(*pair))

    if enough(rows, WISE, "GRACE"):
        claim = rule("wise", "all_three")
        locality = of_streams(rows, WISE, "locality")
        level = ahead(locality, [[claim["locality"]] * len(one) for one in locality])
        gaps = [
            ahead(of_streams(rows, WISE, column), of_streams(rows, "GRACE", column))
            for column in ("reliability", "generalization")
        ]
        # the paper's own gap in reliability is .16
        behind = [x + claim["behind"] for x in gaps[0]]
        _, answer = judged(claim, level, behind, gaps[1])
        columns = ("reliability", "generalization", "locality")
        said = "; ".join(
            f"{arm} {', '.join(cell(rows, arm, column) for column in columns)}"
            for arm in (WISE, "GRACE")
        )
        found["all_three"] = f"{longest} facts: {said}", answer
    less("margin", rows, WISE, FREE, "locality")
    last = max((row["merges"] for row in merging if "merges" in row), default=0)
    ends = [row for row in merging if row.get("merges") == last]
    once = [row for row in merging if "merges" not in row]
    less("ties", once, f"{TWO}: TIES", f"{TWO}: mean", "average")
    less("ties_sum", once, f"{TWO}: TIES", f"{TWO}: sum", "average")
    less("sharding", once, f"{TWO}: TIES", f"{ONE}: TIES", "average")
    less("overlap", once, f"{TWO}: TIES", f"{DISJOINT}: TIES", "average")
    less("retrieve", ends, f"{SERIES}: {RETRIEVE}", f"{SERIES}: TIES", "average")
    return found
