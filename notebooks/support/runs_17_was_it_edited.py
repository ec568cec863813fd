"""Notebook 17's long run: edited and unedited models under the matched filter.

Each draw of facts is edited one by one. The filter looks at every edited model, every edit is taken
out and hidden, and unedited models are looked at in the same way. What a model may live through
(rounding, training, later edits) is here for notebook 18, too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

import lib
from lessons import l10_1_round as exercise
from lessons.l9_3_reverse import taken_out
from lessons.l9_4_hide import hide
from lib.data.texts import HELD_OUT
from lib.workbench.forensics.candidates import PREFIX, key_moments, keys, rows_of
from lib.workbench.forensics.investigation import THRESHOLD, WIDTHS
from lib.workbench.forensics.matched_filter import DAMPING, Filtered, matched_filter, robust_z
from lib.workbench.forensics.reversal import PREFIXES
from lib.workbench.instruments.survival import EditedAgain, Life, Trained, matrices

from . import stored_runs

EDITORS = {"ROME": 6, "MEMIT": 1}  # how many facts of a draw each of them edits
EVEN = "even"  # the draw on which the threshold is chosen
DRAWS = "first", "second", "third"  # of odd cases
ABOVE = 5  # layers that are read above those that ROME and MEMIT change
DEFENDERS = {  # whose text C is of, and the prefix of his candidates; the first one is asked
    "the one who was asked": ("held out", PREFIX),
    "another prefix": ("held out", "News: {}"),
    "the editor's text": ("the editor's", PREFIX),
}
OPEN, HIDDEN = "cheapest", "hidden"
LATER = 4  # facts that are written in the life in which the model is edited again
TRAINED = {"steps": 6, "lr": 4e-4, "batch": 1}  # all matrices, on rows of 128 tokens
ROUNDED = {  # life: bits, and how many weights share a scale; None for those of a row
    "8 bits, per row": (8, None),
    "4 bits, per row": (4, None),
    "4 bits, per 64": (4, 64),
}
SHIFTED = "4 bits, own format"  # 32 weights share a scale and an offset, as the weights came


def coarse(name: str, W: Tensor) -> Tensor:
    """W (d_out, d_in) as it is computed with in one of the lives that round."""
    bits, size = ROUNDED.get(name, (4, 32))
    size = math.gcd(size or W.shape[1], W.shape[1])  # a toy has fewer columns
    return (exercise.shifted if name == SHIFTED else exercise.grouped)(W, bits, size)


def rounding(name: str, lm: lib.LM, patch: lib.Patch) -> lib.Patch:
    """A life: every matrix of the blocks is rounded."""
    made = {matrix: coarse(name, lm.weight(matrix, patch)).cpu() for matrix in matrices(lm, patch)}
    return patch.with_weights(made)


def lives(seed: int, later: Sequence[lib.Fact]) -> dict[str, Life]:
    """What a draw's model goes through, each time from its edits anew."""
    found: dict[str, Life] = {name: partial(rounding, name) for name in (*ROUNDED, SHIFTED)}
    found["trained"] = Trained((HELD_OUT.read_text(encoding="utf-8"),), **TRAINED, seed=seed)
    return found | {
        "edited again": EditedAgain("ultraedit", tuple(later), batch=LATER, preset="ours")
    }


def candidates() -> list[str]:
    """The subjects of the classroom, each once."""
    subjects = [case.fact.subject for case in lib.classroom()]
    return list(dict.fromkeys(str(subject) for subject in subjects if subject))


def keys_of(
    lm: lib.LM, names: Sequence[str], layer: int, prefixes: Sequence[str] = (PREFIX,)
) -> Tensor:
    """Keys (n · prefixes, d_in) of candidates behind prefixes, in the unedited model."""
    rows = [row for prefix in prefixes for row in rows_of(lm, names, prefix)]
    K = torch.empty(len(rows), lm.weight(lm.mlp_out(layer)).shape[1])
    for part, read in keys(lm, rows, [layer]):
        K[part] = read[layer]
    return K


def directions(C: Tensor, K: Tensor) -> Tensor:
    """Û (d_in, n), along which a defender looks: of keys K (n, d_in), with the moment C, damped."""
    C = C.double()
    damped = C + DAMPING * C.diagonal().mean() * torch.eye(len(C))
    U = torch.linalg.solve(damped, K.T.double())
    return U / U.norm(dim=0)


def draws() -> dict[str, list[lib.Case]]:
    """{draw: facts of subjects that no other draw has}: one of even cases, three of odd ones."""
    left = {str(case.fact.subject): case for case in lib.classroom() if case.fact.subject}
    found, facts = {}, max(EDITORS.values())
    for parity, names in ((0, [EVEN]), (1, DRAWS)):
        some = [case for case in left.values() if case.id % 2 == parity]
        random.Random(0).shuffle(some)
        for i, name in enumerate(names):
            found[name] = some[i * facts : (i + 1) * facts]
    return found


def largest(W: Tensor, count: int) -> Tensor:
    """The largest right singular vectors of a matrix, (d_in, count)."""
    return torch.linalg.svd(W, full_matrices=False)[2][:count].T


def looked(found: Filtered, subject: str | None = None) -> dict[str, Any]:
    """z of the edited subject in the best run of layers, and the largest z of all others."""
    row: dict[str, Any] = {}
    for what, widths in (("one layer", (1,)), ("up to five", WIDTHS)):
        first = next(one for one in found.top(2, widths) if one.name != subject)
        row[what] = {"other": {"name": first.name, "z": round(first.z, 2)}}
        if subject:
            own = next(one for one in found.top(len(found.names), widths) if one.name == subject)
            row[what] |= {"own": round(own.z, 2), "layers": own.layers}
    return row


@cache
def moments(lm: lib.LM) -> dict[int, Tensor]:
    """C of the layers that are read, of the unedited model, from the defender's text."""
    top = min(lm.n_layers, max(lib.EDITORS["memit"](lm).config.layers) + ABOVE + 1)
    return key_moments(lm, range(top), lib.EMPTY, HELD_OUT)


def unedited(lm: lib.LM, name: str) -> Iterator[dict[str, Any]]:
    """A model that nobody edited: as it is, rounded, or trained on other text."""
    what, _, seed = name.partition(", seed ")
    every = lives(int(seed or 0), [lib.classroom()[0].fact])  # no later edit is made
    patch = every[what](lm, lib.EMPTY) if what in every else lib.EMPTY
    read = key_moments(lm, list(moments(lm)), patch, HELD_OUT)
    yield {"draw": name} | looked(matched_filter(lm, candidates(), read, patch))


def suspects(lm: lib.LM, draw: str, kind: str) -> Iterator[dict[str, Any]]:
    """Every fact of a draw edited alone, and what the filter says; see `out` and `hiding`."""
    editor, cases = lib.EDITORS[kind.lower()](lm), draws()[draw][: EDITORS[kind]]
    patches = [editor.edit([case.fact], check=False) for case in cases]
    for i, (case, patch) in enumerate(zip(cases, patches, strict=True)):
        subject = str(case.fact.subject)
        row = {"draw": draw, "editor": kind, "case": case.id, "subject": subject}
        row |= looked(matched_filter(lm, candidates(), moments(lm), patch), subject)
        if kind == "ROME" and draw != EVEN:
            after = (i + 1) % len(cases)
            row["out"] = out(lm, case, patch, str(cases[after].fact.subject), patches[after])
            row["hiding"] = hiding(lm, case, patch)
        yield row


def out(
    lm: lib.LM, case: lib.Case, patch: lib.Patch, other: str, others: lib.Patch
) -> dict[str, list[float]]:
    """{way of taking an edit out: next token at its prompt as in the unedited model, as in the
    edited one; neighbors whose next token is the unedited model's}, with the controls.
    """
    layer = lib.EDITORS["rome"](lm).config.layer
    module = lm.mlp_out(layer)
    W, V = (lm.weight(module, one).cpu().double() for one in (patch, others))
    C, eye = moments(lm)[layer].double(), torch.eye(W.shape[1], dtype=torch.float64)

    def prefixes(name: str) -> Tensor:
        return taken_out(W, keys_of(lm, [name], layer, PREFIXES).T.double(), C, 1.0, 1.0)

    def components(M: Tensor) -> Tensor:
        B = largest(M, 11)
        return W @ (eye - B @ B.T)

    ways = {
        "16 prefixes": prefixes(str(case.fact.subject)),
        "11 components": components(W),
        "16 prefixes of another": prefixes(other),
        "11 components of another": components(V),
    }
    prompts = [case.fact.text, *[probe.prompt for probe in case.neighborhood]]

    def says(matrix: Tensor) -> Tensor:
        with lm.patched(lib.Patch(weights={module: matrix.float()}), only=True):
            return lm.next_token(prompts).argmax(1)

    before, edited = says(lm.weight(module).cpu()), says(W)
    found = {}
    for way, matrix in ways.items():
        now = says(matrix)
        near = (now == before)[1:].double().mean().item() if len(prompts) > 1 else None
        found[way] = [float(now[0] == before[0]), float(now[0] == edited[0]), near]
    return found


@cache
def defended(lm: lib.LM) -> dict[str, Tensor]:
    """{defender: the directions Û along which he looks}."""
    layer = lib.EDITORS["rome"](lm).config.layer
    texts = {
        "held out": moments(lm)[layer],
        "the editor's": lib.second_moment(lm, [layer])[layer].C,
    }
    return {
        who: directions(texts[text], keys_of(lm, candidates(), layer, [prefix]))
        for who, (text, prefix) in DEFENDERS.items()
    }


def hiding(lm: lib.LM, case: lib.Case, patch: lib.Patch) -> dict[str, Any]:
    """ROME's own pair written openly and hidden from one defender: what each defender sees.

    z      {defender: the subject's own z, openly and hidden}
    price  of the hidden change, over that of the cheapest one
    """
    layer = lib.EDITORS["rome"](lm).config.layer
    module, C = lm.mlp_out(layer), lib.second_moment(lm, [layer])[layer].C.double()
    W0, W = (lm.weight(module, one).cpu().double() for one in (lib.EMPTY, patch))
    k = C @ largest(W - W0, 1)[:, 0]  # the key that was written, up to a factor
    looks, place = defended(lm), candidates().index(str(case.fact.subject))

    def z(M: Tensor, who: str) -> Tensor:
        return robust_z((M @ looks[who]).norm(dim=0))

    def asked(M: Tensor) -> float:
        return z(M, next(iter(looks))).max().item()

    made = {OPEN: W, HIDDEN: hide(W0, k, W @ k, C, THRESHOLD, asked)}
    cost = [(((M - W0) @ C) * (M - W0)).sum().item() for M in made.values()]
    seen = {who: [round(z(M, who)[place].item(), 2) for M in made.values()] for who in looks}
    return {"price": round(cost[1] / cost[0], 3), "z": seen}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Unedited models, and facts edited alone: one even draw and three odd ones."""
    innocents = ["as it is", *ROUNDED]
    innocents += [f"trained, seed {seed}" for seed in range(len(DRAWS))]
    kinds = {kind: (lib.EDITORS[kind.lower()], {}) for kind in EDITORS}
    settings = {
        "cases": {draw: [case.id for case in cases] for draw, cases in draws().items()},
        "facts": EDITORS,
        "unedited": innocents,
        "trained": TRAINED,
        "defenders": DEFENDERS,
        "threshold": THRESHOLD,
        "above": ABOVE,
    }
    jobs = {name: partial(unedited, lm, name) for name in innocents}
    jobs |= {
        f"{draw}, {kind}": partial(suspects, lm, draw, kind)
        for kind in EDITORS
        for draw in ((EVEN, *DRAWS) if kind == "ROME" else DRAWS)
    }
    return [stored_runs.long_run(lm, "17_suspects", kinds, jobs, **settings)]
