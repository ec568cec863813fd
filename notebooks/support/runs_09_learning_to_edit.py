"""The runs of notebook 09: trained networks and plain steps on the same sixty facts.

Every way of editing is asked about the same facts: alone, in larger updates, and in a stream. A row
keeps one share per fact, so that the page can draw intervals and compare two ways fact by fact. All
answers are generated.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import lib
from lib import associative_memory as memory
from lib.editors.hypernetwork import network_file
from lib.keys_values import answer_gradients

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case

SHOWN = {"mend": "MEND", "malmen": "MALMEN", "rledit": "RLEdit"}
TOY = {"rank": 4, "check_every": 1}  # networks that are trained in a second, on a random model
TOYS = {"mend": {"accumulate": 2}, "malmen": {"batch": 4}, "rledit": {"batch": 2, "turns": 2}}
SIXTY = {"facts": 60, "in all": 100, "few": 3, "rate": 0.01, "turns": [6, 10]}
SIXTY |= {"rates": [0.01, 0.02, 0.03, 0.06]}
# the stream in the order of SIXTY, which is 0, and in drawn ones; RLEdit's first step also × 1
UNSCALED, TWICE = "RLEdit, first step × 1", "plain step, α = 0.02"
ORDERS = {"facts": 60, "orders": 5, "turns": [3, 6, 10], "rates": [0.005, 0.02], "once": TWICE}
# a plain step with the mean over the facts in place of their sum, and one regression more
MEAN = {"facts": 60, "in all": 100, "few": 3, "rates": [0.03, 0.1, 0.3]}
MEASURED = {"written": "efficacy", "reworded": "generalization", "neighbors": "specificity"}


def trained(editor: str) -> list[Any]:
    """The line of an editor with a network: another network or preset makes it another run."""
    (file,) = network_file.SHIPPED.glob(f"{editor}-*.safetensors")
    presets = tomllib.loads(
        (network_file.SHIPPED.parents[1] / "presets.toml").read_text(encoding="utf-8")
    )
    row = presets[editor]["SmolLM2-135M"]
    row = {name: value for name, value in row.items() if name != "tuned"}  # a mark, no setting
    made = file.read_bytes() + repr(row).encode()
    return [editor, {}, hashlib.sha256(made).hexdigest()[:16]]


def editors(lm: lib.LM, train: bool = False) -> dict[str, Any]:
    """Return {name: editor} with trained networks.

    With `train` they get tiny ones that are trained here, for a model for which none are shipped.
    """
    if not train:
        return {name: lib.EDITORS[name](lm) for name in SHOWN}
    even, folder = [case for case in lib.classroom() if case.id % 2 == 0], Path(tempfile.mkdtemp())
    found = {}
    for name in SHOWN:
        found[name] = lib.EDITORS[name](lm, **TOY, **TOYS[name])
        found[name].fit(short(even)[:8], short(even)[8:10], folder / f"{name}.safetensors", steps=2)
    return found


def short(cases: Iterable[lib.Case]) -> list[lib.Case]:
    """Cases with one rewording and three neighbors each: a fifth of the prompts."""
    return [
        replace(case, paraphrases=case.paraphrases[:1], neighborhood=case.neighborhood[:3])
        for case in cases
    ]


class Plain:
    """One step of gradient descent: ΔW = −α Σ g kᵀ over all tokens and facts, or their mean."""

    def __init__(self, lm: lib.LM, modules: Iterable[str], rate: float, mean: bool = False) -> None:
        self.lm, self.names, self.rate, self.mean = lm, list(modules), rate, mean

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after the step."""
        with self.lm.patched(after, only=True):
            found = answer_gradients.read(
                self.lm, facts, self.names, group=1, reduction="fact_mean", everywhere=True
            )
        rate = self.rate / len(facts) if self.mean else self.rate
        updates = {name: (-rate * pair.G, pair.K.T) for name, pair in found.items()}
        return lib.add_low_rank(self.lm, after, updates)


class Solved:
    """MEND's pairs (k̃, g̃), joined by a ridge regression on the raw or on the network's keys."""

    def __init__(self, mend: Any, keys: str) -> None:
        self.mend, self.lm, self.keys = mend, mend.lm, keys

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after one update; λ is the mean squared length of the keys."""
        nets, updates = self.mend.networks(), {}
        turns = self.mend.module_updates(nets, nets.moments, self.mend.read(facts, after))
        for name, turn in turns.items():
            with torch.no_grad():
                _, keys, grads = zip(*turn.parts(), strict=True)
                own, g = torch.cat(keys, 1).double(), torch.cat(grads, 1).double()
                K = own if self.keys == "network" else turn.pair.K.double()
                V = -turn.step * (K * own).sum(0) * g  # v = −α ⟨k, k̃⟩ g̃
                updates[name] = V, memory.reach(K, ridge=1.0)
        return lib.add_low_rank(self.lm, after, updates)


def training(found: Mapping[str, Any]) -> dict[str, tuple[list, list, int, str]]:
    """{editor: (steps, validation loss, the step whose network was kept, how it was trained)}."""
    curves = {}
    for name, editor in found.items():
        path = editor.path if editor.path.exists() else editor.shipped
        said = network_file.load(path, editor.lm.fingerprint, editor.name)[0]
        steps, losses = [row[0] for row in said["history"]], [row[2] for row in said["history"]]
        size = sum(p.numel() for net in editor.networks().nets.values() for p in net.parameters())
        made = said["settings"]
        size_of = "one fact each" if made["batch"] == 1 else f"up to {made['batch']} facts"
        edits = f"{made['accumulate'] * made.get('turns', 1)} edits of {size_of}"
        cost = f"{size:,} parameters; {said['step']} steps of {edits}"
        curves[SHOWN[name]] = steps, losses, said["step"], cost
    return curves


# ---- the long runs -------------------------------------------------------------------------------


def classroom() -> list[lib.Case]:
    """The hundred odd-numbered cases, which no network was trained on, with fewer prompts."""
    return short(case for case in lib.classroom() if case.id % 2)


def shares(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> dict[str, list[float]]:
    """Shares of each case's prompts that are answered as wanted, by generation; one per case."""
    metrics = ["generalization", "specificity"]
    return by_case(lib.evaluate(lm, cases, patch, ["generation"], metrics=metrics), MEASURED)


def batches(editor: Any, cases: Sequence[lib.Case], size: int, count: int) -> dict[str, list]:
    """Shares of the first `count` cases, each asked right after the update that holds it."""
    found: dict[str, list[float]] = {name: [] for name in MEASURED}
    for start in range(0, count, size):
        whole = cases[start : start + size]
        patch = editor.edit([case.fact for case in whole])
        for name, values in shares(editor.lm, whole[: count - start], patch).items():
            found[name] += values
    return found


def ways(editors: Mapping[str, Any]) -> dict[str, Any]:
    """{name: editor}: a plain step, the trained networks, MEND's pairs in a regression."""
    mend = editors["mend"]
    found = {"plain step": Plain(mend.lm, mend.modules(), SIXTY["rate"])}
    found |= {SHOWN[name]: editor for name, editor in editors.items()}
    return found | {"solved on k": Solved(mend, "raw"), "solved on k̃": Solved(mend, "network")}


def sixty(lm: lib.LM, editors: Mapping[str, Any], few: bool = False) -> Iterator[dict]:
    """MEND on a few facts, which a page can repeat, then the base model and all ways and sizes."""
    cases, count, mend = classroom(), SIXTY["facts"], editors["mend"]
    yield {"way": "MEND, few", "update": 1} | batches(mend, cases, 1, SIXTY["few"])
    if few:
        return
    asked = cases[:count]
    yield {"way": "unedited", "update": 0} | shares(lm, asked, lib.EMPTY)
    for rate in SIXTY["rates"]:
        plain = Plain(lm, mend.modules(), rate)
        yield {"way": f"plain, α = {rate:g}", "update": 1} | batches(plain, cases, 1, count)
    for name, editor in ways(editors).items():
        yield {"way": name, "update": 10} | batches(editor, cases, 10, count)
        if name.startswith("solved"):
            continue
        if name in SHOWN.values():
            yield {"way": name, "update": 1} | batches(editor, cases, 1, count)
        size = SIXTY["in all"]
        yield {"way": name, "update": size} | batches(editor, cases, size, count)
        yield from stream(editor, name, cases, SIXTY)


def stream(
    editor: Any, name: str, cases: Sequence[lib.Case], settings: Mapping[str, Any]
) -> Iterator[dict]:
    """Turns of ten facts; after some the facts so far are asked, at most the first sixty."""
    patch, most = lib.EMPTY, settings["facts"]
    for turn in range(1, max(settings["turns"]) + 1):
        patch = editor.edit([case.fact for case in cases[10 * turn - 10 : 10 * turn]], after=patch)
        if turn in settings["turns"]:
            asked = cases[: min(10 * turn, most)]
            yield {"way": name, "update": 10, "turns": turn} | shares(editor.lm, asked, patch)


def orders(editors: Mapping[str, Any]) -> Iterator[dict]:
    """RLEdit without its larger first step in updates of ten; then streams in several orders."""
    known, mend = ways(editors), editors["mend"]
    made = {name: known[name] for name in ("RLEdit", "plain step")}
    made[UNSCALED] = lib.EDITORS["rledit"](mend.lm, first_scale=1.0)
    for rate in ORDERS["rates"]:
        made[f"plain step, α = {rate:g}"] = Plain(mend.lm, mend.modules(), rate)
    row = {"order": 0, "way": UNSCALED, "update": 10}
    yield row | batches(made[UNSCALED], classroom(), 10, ORDERS["facts"])
    for seed in range(ORDERS["orders"]):
        cases = random.Random(seed).sample(classroom(), 100) if seed else classroom()
        for name, editor in made.items():
            if name != ORDERS["once"] or seed == 0:
                yield from ({"order": seed, **row} for row in stream(editor, name, cases, ORDERS))


def mean(mend: Any, few: bool = False) -> Iterator[dict]:
    """Plain steps with the mean over the facts, and MEND's pairs solved on k for all at once."""
    cases, count, lm = classroom(), MEAN["facts"], mend.lm
    start = Plain(lm, mend.modules(), MEAN["rates"][0], mean=True)
    yield {"way": "few", "update": 3} | batches(start, cases, MEAN["few"], MEAN["few"])
    if few:
        return
    for size in (10, MEAN["in all"]):
        for rate in MEAN["rates"]:
            plain = Plain(lm, mend.modules(), rate, mean=True)
            row = {"way": f"plain, mean, α = {rate:g}", "update": size}
            yield row | batches(plain, cases, size, count)
    yield {"way": "solved on k", "update": size} | batches(Solved(mend, "raw"), cases, size, count)


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

SIZES, RATES = (1, 10, 20), (0.01, 0.02, 0.03)  # facts of an update; of the plain step
KEYS = {"k": "raw", "k̃": "network"}
UNITS = (3e-4, 1e-3)  # MEND's step before its training, and a larger one


class Units(lib.EDITORS["mend"]):
    """MEND before its training: a plain step in the units of the trained network's moments."""

    def networks(self) -> network_file.Networks:
        """Networks that are the identity, with the moments of the trained ones."""
        return network_file.Networks(self.fresh().nets, super().networks().moments)


def drawn(editor: Any, way: str, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """One way of editing on one draw of facts: in updates of each of SIZES, then as a stream."""
    for size in SIZES:
        row = {"draw": draw, "way": way, "update": size}
        yield row | batches(editor, cases, size, len(cases))
    settings = {"facts": len(cases), "turns": [max(1, len(cases) // 10)]}
    for row in stream(editor, way, cases, settings):
        yield {"draw": draw, **row}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Plain steps, trained networks, and what each of their parts does, on three draws of facts."""
    kinds: dict[str, Any] = {SHOWN[name]: (lib.EDITORS[name], {}) for name in SHOWN}
    kinds[UNSCALED] = lib.EDITORS["rledit"], {"first_scale": 1.0}
    kinds["UltraEdit"] = lib.EDITORS["ultraedit"], {}
    kinds |= {f"units alone, η = {rate:g}": (Units, {"eta": rate}) for rate in UNITS}
    made = cache(lambda name: kinds[name][0](lm, **kinds[name][1]))
    units = f"units alone, η = {UNITS[0]:g}"
    ways = {
        f"plain step, α = {rate:g}": lambda rate=rate: Plain(lm, made("MEND").modules(), rate)
        for rate in RATES
    }
    ways |= {name: partial(made, name) for name in kinds}
    ways |= {f"MEND, solved on {x}": lambda k=k: Solved(made("MEND"), k) for x, k in KEYS.items()}
    ways["units alone, solved on k"] = lambda: Solved(made(units), "raw")
    some = {draw: short(cases) for draw, cases in runs_04.draws().items()}

    def rows(way: str, draw: str) -> Iterator[dict]:
        yield from drawn(ways[way](), way, draw, some[draw])

    def unedited(draw: str) -> Iterator[dict]:
        yield {"draw": draw, "way": "unedited", "update": 0} | shares(lm, some[draw], lib.EMPTY)

    jobs: dict[str, Any] = {f"{draw}, unedited": partial(unedited, draw) for draw in some}
    jobs |= {f"{draw}, {way}": partial(rows, way, draw) for draw in some for way in ways}
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": stored_runs.configs(lm, kinds),
        "networks": {name: trained(name)[2] for name in SHOWN},
        "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
        "rates": RATES,
        "sizes": SIZES,
    }
    return [stored_runs.LongRun("09_draws", settings, jobs)]
