"""WilKE (Hu et al. 2024): toxicity along a stream, and the measure S with every edit rolled back.

`six` rows: a stream of edits by eight arms, with the KL at unrelated prompts, the neighbors and the
log-probability of every answer after each edit. Two of the arms take away what may cause a flash: a
guard leaves a subject at position 0 unwritten, and "careful" writes both of its keys, all else as
ROME published it. Both stay in ROME's layer. A packaged model is read in two ways: with its token
prepended ("behind") and with nothing in front ("front"), as GPT-2 and GPT-J read.

`rollback` rows: the paper's protocol. Each fact is written and asked, then its old answer is
written by the same editor, in the same layer. S is the harmonic mean of five shares.

A round is one stream of each way of reading and one draw of facts rolled back. With `--data FOLDER`
the facts are those of counterfact.json there that the model knows.
"""

from __future__ import annotations

import math
import random
import statistics
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import lib
from lib import associative_memory as memory
from lib.atomic_files import sha256
from lib.data.facts import Fact
from lib.editors import Memit, Rome, Wilke
from lib.errors import EditWarning
from lib.evaluation.known_facts import known
from lib.model import scoring
from notebooks.support import runs_08_wilke as runs_08
from notebooks.support import stored_runs
from notebooks.support.score_tables import by_case, by_stream
from tests.benchmarks.rows import classroom

from .frame import CLAIMS, Experiment, Given, Row, Speed, weights
from .superposition import called, published
from .verdicts import judged

SIX, ROLLBACK = "wilke_six", "wilke_rollback"
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"rounds": 1, "edits": 2, "openers": 0, "rolled": 2, "held": 2},
    "default": {"rounds": 3, "edits": 10, "openers": 2, "rolled": 32, "held": 32},
    "paper": {"rounds": 3, "edits": 100, "openers": 0, "rolled": 1024, "held": 1024},
}
BEHIND, FRONT = "behind", "front"
LIMIT = 3.0  # of the factor, above which the careful arm writes both keys
SEED, ZERO = 0, 1e-4  # a share of 0 in S, as in the authors' program
PARTS = ("ES", "GS", "LS", "ERS", "ORS")

# Every setting of the packaged model's editors, so that no preset decides the rows.
SEARCH: dict[str, Any] = {
    "seed": 0,
    "text": None,
    "tokens": None,
    "second_moment": True,
    "damping": 1e-4,
    "contexts": ((9, 2),),  # two beginnings and the bare prompt: WilKE searches seven times an edit
    "templates": None,
    "target_eos": False,
    "steps": 20,
    "decay": 0.5,
    "kl_factor": 0.0625,
}
ONE: dict[str, Any] = {
    **SEARCH,
    "context_start": 0,
    "context_top_k": 0,
    "v_lr": 0.25,
    "clamp": 4.0,
    "enough": 0.05,
    "layer": 3,
}
SPREAD: dict[str, Any] = {
    **SEARCH,
    "context_start": "words",
    "context_top_k": 5,
    "v_lr": 0.5,
    "clamp": 0.75,
    "layers": (0, 1, 2, 3, 4),
    "strength": 1000.0,
    "keep_keys": False,
    "values_on": "current",
}
SMALL: dict[str, Any] = {"templates": ("{}",), "steps": 4, "tokens": 600}  # at the smallest scale


def factor(editor: Rome, fact: Fact, layer: int, after: lib.Patch) -> float:
    """|uᵀk̄ / uᵀk₀| with u = C⁻¹k̄: how many times as long the published key makes the change."""
    with editor.lm.patched(after, only=True):
        keys = editor.lm.keys([fact], layer, editor.templates(after)).cpu().double()[:, :, 0]
    u = memory.whiten(keys.mean(0)[:, None], editor.moment(layer))[:, 0]
    return abs((u @ keys.mean(0)) / (u @ keys[0])).item()


class Guard(Rome):
    """ROME that does not write a subject of one token at the beginning of its prompt."""

    def write(self, facts: list[Fact], after: lib.Patch) -> lib.Patch:
        """`after` with the other facts."""
        return super().write([fact for fact in facts if not runs_08.opens(self.lm, fact)], after)


class Careful(Rome):
    """ROME that writes both keys, with one value, where the published key would be too long."""

    def update(self, fact: Fact, after: lib.Patch = lib.EMPTY, *more: Any) -> Any:
        """As ROME's, under the key that fits the fact."""
        far = factor(self, fact, self.config.layer, after) > LIMIT
        chosen = replace(self.config, keys="both") if far else self.config
        return Rome(self.lm, chosen).update(fact, after, *more)


ARMS: dict[str, tuple[type[Any], str | None]] = {  # name: (class, which key is written)
    "ROME published": (Rome, "mixed"),
    "WilKE published": (runs_08.Seen, "mixed"),
    "guard": (Guard, "mixed"),
    "careful": (Careful, "mixed"),
    "ROME mean": (Rome, "mean"),
    "MEMIT": (Memit, None),
    "split": (runs_08.Split, "mean"),
    "WilKE mean": (runs_08.Seen, "mean"),
}
ROLLED = ("ROME published", "MEMIT", "WilKE published")
# No subject stands at position 0 behind the token, so these are ROME as published there.
ONLY_FRONT = ("guard", "careful")


def experiments(given: Given) -> list[Experiment]:
    """Two runs for each round: its streams, and its draw of facts rolled back."""
    size, found = SIZES[given.scale], []
    ways = readings(given)
    lm = model(given, ways[0])
    data = sha256(published(given.data)) if given.data is not None else None
    command = "python -m tests.benchmarks.papers --paper wilke"
    # an edit of ROME: at most `steps` passes forward and backward under each template
    edit = 20 * 5 * 16 * 3 * Speed.of(lm).token
    tried = len(editor(given, lm, "WilKE published").layers())
    alone, both = len(ARMS) - 2 + 2 * tried, 2 * (3 + tried)
    for number in range(size["rounds"]):
        own: dict[str, Any] = {
            "scale": given.scale,
            "model": called(lm),
            "readings": list(ways),
            "round": number,
            "editors": {arm: settings(given, lm, arm) for arm in ARMS},
            "limit": LIMIT,
            "seed": SEED,
            **size,
        }
        own |= {"data": data} if data else {}
        streams = {
            f"{way}, {arm}": partial(written, given, way, number, arm)
            for way in ways
            for arm in ARMS
            if way == FRONT or arm not in ONLY_FRONT
        }
        rolled = {
            f"{way}, {arm}": partial(rolled_back, given, way, number, arm)
            for way in ways
            for arm in ROLLED
        }
        for name, jobs, seconds in (
            (SIX, streams, len(ways) * size["edits"] * alone * edit),
            (ROLLBACK, rolled, len(ways) * size["rolled"] * both * edit),
        ):
            run = stored_runs.LongRun(f"{name}_{number + 1}", own, jobs, command)
            found.append(Experiment(run, seconds, 3 * weights(lm)))
    return found


def readings(given: Given) -> tuple[str, ...]:
    """The ways of reading: both of a packaged model, of another one its own."""
    if given.models[0] is None:
        return FRONT, BEHIND
    return (FRONT,) if given.lm(given.models[0]).leading_bos is None else (BEHIND,)


def model(given: Given, way: str) -> lib.LM:
    """The model in one of its ways of reading."""
    if given.models[0] is None and way == FRONT:
        return given.lm(None, sink=None)
    return given.lm(given.models[0])


def settings(given: Given, lm: lib.LM, arm: str) -> dict[str, Any]:
    """All settings of an arm: ours of the packaged model, the published ones of every other."""
    kind, keys = ARMS[arm]
    if given.models[0] is None:
        own = SPREAD if kind is Memit else ONE
        own = {**own, "layers": None, "ceiling": 7} if issubclass(kind, Wilke) else own
    else:
        own = vars(kind.published(lm)) | (SMALL if given.scale == "tiny" else {})
    return {**own, "keys": keys} if keys else dict(own)


def editor(given: Given, lm: lib.LM, arm: str) -> Any:
    """The editor of an arm."""
    kind, _ = ARMS[arm]
    return kind(lm, kind.Config(**settings(given, lm, arm)))


# --- streams


def drawn(given: Given, way: str, number: int) -> list[lib.Case]:
    """The facts of a stream, which no other stream has.

    Of the packaged model's streams each has two subjects that open their prompt, but for the last
    one with nothing in front, which has none, and the last one behind the token, which has one.
    """
    size, draw = SIZES[given.scale], random.Random(SEED)
    cases, edits, last = (
        facts(given, size["rounds"] * size["edits"]),
        size["edits"],
        size["rounds"] - 1,
    )
    draw.shuffle(cases)
    packaged = given.models[0] is None
    place = number + size["rounds"] * (packaged and way == BEHIND)
    if not packaged or given.data is not None or not size["openers"]:
        return cases[place * edits :][:edits]
    lm = model(given, way)
    first = [case for case in cases if runs_08.opens(lm, case.fact)]
    rest = [case for case in cases if not runs_08.opens(lm, case.fact)]
    some: list[lib.Case] = []
    for stream in range(place + 1):
        count = 0 if stream == last else size["openers"]
        some, first = first[:count], first[count:]
        missing = edits - len(some)
        some, rest = some + rest[:missing], rest[missing:]
    random.Random(place).shuffle(some)
    return some


def facts(given: Given, count: int) -> list[lib.Case]:
    """At least `count` known cases with rewordings and neighbors; known in both ways of reading."""
    lm = given.lm(given.models[0])
    if given.data is not None:
        cases = known(lm, lib.read_cases(published(given.data), limit=20 * count))
    else:
        cases = classroom("tables", lm.name)
    found = [c for c in cases if c.fact.subject and c.paraphrases and c.neighborhood]
    if len(found) < count:
        raise ValueError(f"{lm.name} knows {len(found)} facts of {count} that are wanted")
    return found


def written(given: Given, way: str, number: int, arm: str) -> Iterator[Row]:
    """One stream by one arm; one row per edit.

    kl         from the unedited model at unrelated prompts, next token, nats
    logp       of the new answer of each fact so far
    near       share of each case's neighbors whose true answer is the argmax, token by token
    factor     before the edit, in the layer that was written; None for MEMIT
    layer      which was written, None for several or none
    held, reworded, neighbors  by free generation, per fact: of the unedited model (in the first
               row, under "base") and after the last edit
    """
    cases, lm = drawn(given, way, number), model(given, way)
    made, patch = editor(given, lm, arm), lib.EMPTY
    kl = runs_08.divergence(lm)
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
    base = lib.baseline(lm, cases, **asked)
    columns = {"held": "efficacy", "reworded": "generalization", "neighbors": "specificity"}
    for place, case in enumerate(cases, 1):
        before = patch
        with warnings.catch_warnings(action="ignore", category=EditWarning):
            patch = made.edit([case.fact], after=before, check=False)
        layer = layer_of(made, patch)
        row: Row = {
            "model": called(lm),
            "kind": "six",
            "reading": way,
            "stream": number,
            "arm": arm,
            "edit": place,
            "case": case.id,
            "opens": runs_08.opens(lm, case.fact) and way == FRONT,
            "layer": layer,
            "factor": None if layer is None else round(factor(made, case.fact, layer, before), 4),
            "kl": round(kl(patch), 5),
        }
        if isinstance(made, runs_08.Seen):
            row["scores"] = {str(one.layer): round(one.score, 5) for one in made.last}
        with lm.patched(patch):
            told = [(c.fact.text, c.fact.target_new) for c in cases[:place]]
            near = [[(p.prompt, p.target) for p in c.neighborhood] for c in cases]
            found = scores(lm, told + [pair for own in near for pair in own])
        row["logp"] = [round(found[pair].log_probs.sum().item(), 4) for pair in told]
        row["near"] = [share([bool(found[pair].hits.all()) for pair in own]) for own in near]
        if place == 1 and base.scores is not None:
            row["base"] = by_case(base.scores, columns)
        if place == len(cases):
            row |= by_case(lib.evaluate(lm, cases, patch, base=base, **asked), columns)
        yield row


def layer_of(made: Any, patch: lib.Patch) -> int | None:
    """The one layer in which an editor has written its last fact."""
    if isinstance(made, Wilke):
        return int(patch.memory["wilke"]["layers"][-1])
    return made.config.layer if isinstance(made, Rome) else None


def scores(lm: lib.LM, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """{(prompt, answer): its log-probabilities and hits}."""
    different = list(dict.fromkeys(pairs))
    rows, _ = lm.rows([prompt for prompt, _ in different])
    told = scoring.score(lm, rows, [answer for _, answer in different])
    return dict(zip(different, told, strict=True))


def share(values: Sequence[float]) -> float:
    """A mean with four digits."""
    return round(sum(values) / len(values), 4)


# --- every edit rolled back


def rolled_back(given: Given, way: str, number: int, arm: str) -> Iterator[Row]:
    """One draw of facts by one editor; a row per edit that was written and rolled back.

    es, gs, ls  of this fact after its edit: whether every token of the new answer is the argmax,
                the same as a share of its rewordings, and of its neighbors with their true answer
    ers, ors    at 1, 2, 4 … edits, after the roll-back: the same of the old answers of every fact
                edited so far, and of the facts held out; ors also of the unedited model, at 0
    """
    size = SIZES[given.scale]
    count = size["rolled"] + size["held"]
    some, lm = facts(given, count), model(given, way)
    if given.scale != "tiny" and given.data is None:
        some = known(lm, some)
    some = random.Random(number).sample(some, count)
    edited, held = some[: size["rolled"]], some[size["rolled"] :]
    made, patch = editor(given, lm, arm), lib.EMPTY
    about = {"model": called(lm), "kind": "rollback", "reading": way, "draw": number, "arm": arm}
    yield {**about, "edit": 0, "ors": right(lm, patch, map(old, held))}
    for place, case in enumerate(edited, 1):
        with warnings.catch_warnings(action="ignore", category=EditWarning):
            patch = made.edit([case.fact], after=patch, check=False)
            layer = layer_of(made, patch)
            row: Row = {**about, "edit": place, "case": case.id, "layer": layer}
            new = case.fact.target_new
            row["es"] = share(right(lm, patch, [(case.fact.text, new)]))
            row["gs"] = share(right(lm, patch, [(text, new) for text in case.paraphrases]))
            near = [(probe.prompt, probe.target) for probe in case.neighborhood]
            row["ls"] = share(right(lm, patch, near))
            back, fact = made, case.fact
            if isinstance(made, Wilke):
                back = type(made)(lm, replace(made.config, layers=(layer,)))
            undo = replace(fact, target_new=fact.target_true, target_true=new)
            patch = back.edit([undo], after=patch, check=False)
        if place.bit_count() == 1:
            row["ers"] = right(lm, patch, map(old, edited[:place]))
            row["ors"] = right(lm, patch, map(old, held))
        yield row


def old(case: lib.Case) -> tuple[str, str]:
    """A case's prompt with the answer that it had."""
    return case.fact.text, str(case.fact.target_true)


def right(lm: lib.LM, patch: lib.Patch, pairs: Iterable[tuple[str, str]]) -> list[int]:
    """Of each prompt 1 or 0: whether every token of the answer is the argmax under the patch."""
    pairs = list(pairs)
    with lm.patched(patch):
        found = scores(lm, pairs)
    return [int(found[pair].hits.all()) for pair in pairs]


def parts(rows: Sequence[Row], edits: int) -> dict[str, float]:
    """{ES, GS, LS, ERS, ORS, S} of one run after so many edits, as the authors' program has them.

    The first three are means over all edits so far.
    """
    so_far = [row for row in rows if 0 < row["edit"] <= edits]
    (last,) = (row for row in so_far if row["edit"] == edits)
    found = {
        name.upper(): statistics.mean(row[name] for row in so_far) for name in ("es", "gs", "ls")
    }
    found |= {name.upper(): statistics.mean(last[name]) for name in ("ers", "ors")}
    return found | {"S": statistics.harmonic_mean([x or ZERO for x in found.values()])}


# --- what is printed, and what it says of the claims


def shown(row: Row) -> str:
    """One line for a row, at 1, 2, 4 … rolled-back edits with the paper's figures."""
    begin = f"{row['model']}, {row['reading']}, {row['arm']}, edit {row['edit']}"
    if row["kind"] == "six":
        at = "several layers" if row["layer"] is None else f"layer {row['layer']}"
        near = 100 * statistics.mean(row["near"])
        return f"{begin}: {at}, KL {row['kl']:.3f} nats, neighbors {near:.0f} % (paper: no figure)"
    if "ors" not in row:
        return f"{begin}: written {row['es']:.0f}, reworded {row['gs']:.2f}, near {row['ls']:.2f}"
    said = ", ".join(
        f"{name} {100 * statistics.mean(row[name.lower()]):.0f}"
        for name in ("ERS", "ORS")
        if name.lower() in row
    )
    theirs = CLAIMS["figures"]["wilke"].get(row["arm"].split()[0])
    first = ", ".join(f"{n} {x}" for n, x in zip((*PARTS, "S"), theirs, strict=True))
    return f"{begin}: {said} % (paper, GPT-2 XL after 64: {first} %)"


def outcomes(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} where the rows are there; each stream is one value."""
    rules = {c["name"]: c for c in CLAIMS["claims"] if c["paper"] == "wilke" and "same" in c}
    found = {}
    for name, (values, unit) in measures(rows).items():
        if len(values) < 2:
            continue
        middle, *ends = by_stream(values)
        said = f"{len(values)} {unit}: {middle:+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}]"
        found[name] = judged(said.replace("-", "−"), ends, rules[name])
    return found


def measures(rows: Sequence[Row]) -> dict[str, tuple[list[float], str]]:
    """{claim: (one value for each stream or draw, what a value is of)}, as in claims.toml."""
    six: dict[tuple[str, int], dict[str, list[Row]]] = {}
    rolled: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in rows:
        if row["kind"] == "six":
            own = six.setdefault((row["reading"], row["stream"]), {})
        else:
            own = rolled.setdefault((row["reading"], row["draw"]), {})
        own.setdefault(row["arm"], []).append(row)
    end = {
        key: {arm: parts(own, own[-1]["edit"]) for arm, own in arms.items()}
        for key, arms in rolled.items()
    }
    ahead = [
        arms["WilKE published"]["S"] - max(arms["ROME published"]["S"], arms["MEMIT"]["S"])
        for arms in end.values()
    ]
    buildup = [
        statistics.mean(arms["MEMIT"][0]["ors"]) - end[key]["MEMIT"]["ORS"]
        for key, arms in rolled.items()
    ]
    front = {key: arms for key, arms in six.items() if key[0] == FRONT}
    streams = [arms["ROME published"] for arms in front.values()]
    flash = [of_openers(own) for own in streams if any(row["opens"] for row in own)]
    return {
        "ahead": (ahead, "draws"),
        "buildup": (buildup, "draws"),
        "flash": (flash, "streams"),
        "layers": ([entropy(arms["WilKE published"]) for arms in six.values()], "streams"),
        "spares": ([gap(arms, "published") for arms in front.values()], "streams"),
        "layer": ([gap(arms, "mean") for arms in six.values()], "streams"),
    }


def gap(arms: Mapping[str, Sequence[Row]], key: str) -> float:
    """Share of neighbors that WilKE keeps after the last edit, less ROME's, under the same key."""
    one, other = (
        statistics.mean(x for x in arms[f"{name} {key}"][-1]["neighbors"] if x is not None)
        for name in ("WilKE", "ROME")
    )
    return one - other


def rises(rows: Sequence[Row]) -> list[float]:
    """By how much each edit raised the KL at unrelated prompts, 0 where it fell."""
    curve = [0.0, *(row["kl"] for row in rows)]
    return [max(0.0, b - a) for a, b in zip(curve, curve[1:], strict=False)]


def of_openers(rows: Sequence[Row]) -> float:
    """The share of a stream's rises that edits of subjects at the first position made."""
    found = rises(rows)
    own = sum(rise for rise, row in zip(found, rows, strict=True) if row["opens"])
    return own / max(sum(found), 1e-12)


def entropy(rows: Sequence[Row]) -> float:
    """Of the layers that a stream's edits were written in, in bits."""
    layers = [row["layer"] for row in rows]
    shares = [layers.count(layer) / len(layers) for layer in set(layers)]
    return -sum(p * math.log2(p) for p in shares)
