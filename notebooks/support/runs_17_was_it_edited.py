"""The experiments of notebook 17: suspects, what names them, what accuses nobody, and how one hides.

The defender's part is lib.forensics. What is here puts the defender and an adversary at one table,
and reads the stored rows of `python -m tests.benchmarks.forensics`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import lib
from lib.forensics.candidates import PREFIX, keys, rows_of
from lib.forensics.investigation import THRESHOLD
from lib.forensics.matched_filter import robust_z
from lib.forensics.objects import objects
from lib.forensics.reversal import PREFIXES, removed, subject_space, without_top

from .runs_15_judging import share

ROWS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "forensics.json"
WHO = (0, 57, 101, 34)  # the classroom's tower, and three that nobody expects
OWN = tuple(prefix for prefix in PREFIXES if prefix != PREFIX)  # not those of the defender
WAYS = {
    "edited": "the edited model",
    "control": "same path, nothing taken out",
    "published, k = 1": "largest component dropped",
    "published, k = 11": "eleven largest dropped",
    "16 prefixes, damping 1": "16 prefixes' directions",
}


# ---------------------------------------------------------------- case A


def suspects(editor: lib.Editor, cases: Sequence[lib.Case]) -> dict[str, lib.Patch]:
    """{subject: the patch of one edit}, each on the unedited model."""
    return {str(case.fact.subject): editor.edit([case.fact]) for case in cases}


def change(lm: lib.LM, module: str, patch: lib.Patch) -> Tensor:
    """ΔW (d_out, d_in) of a module under a patch."""
    return lm.weight(module, patch).cpu() - lm.weight(module).cpu()


def keys_of(
    lm: lib.LM, names: Sequence[str], layer: int, prefixes: Sequence[str] = (PREFIX,)
) -> Tensor:
    """Keys (n · prefixes, d_in) of candidates behind prefixes, in the unedited model."""
    rows = [row for prefix in prefixes for row in rows_of(lm, names, prefix)]
    K = torch.empty(len(rows), lm.weight(lm.mlp_out(layer)).shape[1])
    for part, read in keys(lm, rows, [layer]):
        K[part] = read[layer]
    return K


def singular(matrices: Mapping[str, Tensor], most: int) -> dict[str, list[float]]:
    """The largest singular values of matrices."""
    return {name: torch.linalg.svdvals(D.double())[:most].tolist() for name, D in matrices.items()}


def scores(V: Tensor, K: Tensor) -> Tensor:
    """‖Π k‖/‖k‖ of keys in rows, (n,), for the projector Π on the columns of V (d_in, r)."""
    Q = torch.linalg.qr(V.float()).Q
    return (K @ Q).norm(dim=1) / K.norm(dim=1)


def several(
    changes: Sequence[Tensor], C: Tensor, K: Tensor, names: Sequence[str], own: Sequence[str]
) -> list[dict[str, Any]]:
    """1, 2, … changes of one layer added up: the rank, and whom the keys name.

    own  The subjects in the order of their changes. A rank counts what is above 1e-5 of the largest
         singular value.
    """
    table = []
    for n in range(1, len(changes) + 1):
        total = torch.stack(list(changes[:n])).sum(0).double()
        _, S, Vh = torch.linalg.svd(total, full_matrices=False)
        rank = int((S > 1e-5 * S[0]).sum())
        found = scores(C.float() @ Vh[:rank].T.float(), K)
        places = [list(names).index(name) for name in own[:n]]
        others = found.clone()
        others[places] = 0
        table.append(
            {
                "edits": n,
                "rank of ΔW": rank,
                "scores of the edited": ", ".join(f"{found[i]:.2f}" for i in places),
                "largest other": f"{others.max():.2f} ({names[int(others.argmax())]})",
            }
        )
    return table


def says(lm: lib.LM, subject: str, patch: lib.Patch, without: lib.Patch = lib.EMPTY) -> str:
    """The three tokens about a subject that a patch makes likelier, most first."""
    told = objects(lm, subject, patch, without, most=3)
    return ", ".join(f"{row.token.strip()!r} (p {row.p:.2f})" for row in told.itertuples())


# ---------------------------------------------------------------- case B


def whitened(C: Tensor, K: Tensor, damping: float = 0.01) -> Tensor:
    """û = C⁻¹k/‖C⁻¹k‖ of keys in the rows of K (n, d_in), as columns (d_in, n)."""
    damped = C.float() + damping * C.diagonal().mean() * torch.eye(len(C))
    return normalize(torch.linalg.solve(damped, K.T), dim=0)


def z_of(W: Tensor, U: Tensor) -> Tensor:
    """The robust z of T = ‖W û‖ for directions in the columns of U (d_in, n), (n,)."""
    return robust_z((W @ U).norm(dim=0))


def ablation(
    lm: lib.LM,
    layer: int,
    patches: Mapping[str, lib.Patch],
    names: Sequence[str],
    C: Mapping[str, Tensor],
) -> list[dict[str, Any]]:
    """z of the edited subject in its layer, by what the defender has; of the best other in brackets.

    C  {"editor's": …, "other text": …}, second moments without damping.
    """
    bare, about = (keys_of(lm, names, layer, [prefix]) for prefix in ("{}", PREFIX))
    views = {
        "raw key": normalize(about.T, dim=0),
        "the editor's C, bare name": whitened(C["editor's"], bare),
        "other text": whitened(C["other text"], bare),
        "other text and prefix": whitened(C["other text"], about),
        "… and damping 1": whitened(C["other text"], about, 1.0),
    }
    table = []
    for subject, patch in patches.items():
        W = lm.weight(lm.mlp_out(layer), patch).cpu()
        place = list(names).index(subject)
        row = {"edited": subject}
        for what, U in views.items():
            z = z_of(W, U)
            others = z.clone()
            others[place] = -torch.inf
            row[what] = f"{z[place]:.1f} ({others.max():.1f})"
        table.append(row)
    return table


def null(z: Tensor) -> list[dict[str, Any]]:
    """How often z (L, n) of an unedited model passes some bounds, and how often a Gaussian would."""
    every = z.flatten()
    table = []
    for bound in (2, 3, 4, 5, 6, 8):
        chance = 0.5 * torch.erfc(torch.tensor(bound / 2**0.5, dtype=torch.float64)).item()
        table.append(
            {
                "z above": str(bound),
                "candidates": str(int((every > bound).sum())),
                "a Gaussian would have": f"{chance * len(every):.2g}",
                "layers with one": str(int((z > bound).any(1).sum())),
            }
        )
    return table


def innocent(
    W0: Tensor, D: Tensor, U: Tensor, names: Sequence[str], own: str
) -> list[dict[str, Any]]:
    """What else can happen to a matrix: the largest z, whose it is, and that of the edited subject.

    D  the change (d_out, d_in) of an edit of `own`, which some rows contain in part.
    U  (d_in, n) û of the candidates.
    """
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(W0.shape, generator=draw)
    column, row = (torch.randn(n, generator=draw) for n in W0.shape)
    nobody = torch.outer(column, row)
    step = W0.abs().amax(1, keepdim=True)
    ways = {
        "as it is": W0,
        "rounded to bfloat16": W0.bfloat16().float(),
        "rounded to 8 bits per row": (W0 / step * 127).round() * step / 127,
        "rounded to 4 bits per row": (W0 / step * 7).round() * step / 7,
        "noise as long as the edit": W0 + noise * (D.norm() / noise.norm()),
        "rank one, nobody's key": W0 + nobody * (D.norm() / nobody.norm()),
        "a quarter of the edit": W0 + 0.25 * D,
        "half of the edit": W0 + 0.5 * D,
        "the edit": W0 + D,
        "the edit, rounded to 4 bits": ((W0 + D) / step * 7).round() * step / 7,
    }
    place, table = list(names).index(own), []
    for what, W in ways.items():
        z = z_of(W, U)
        best = int(z.argmax())
        table.append(
            {
                "the matrix": what,
                "largest z": z[best].item(),
                "of": names[best],
                f"z of {own}": z[place].item(),
            }
        )
    return table


# ---------------------------------------------------------------- taking it out


def ways_out(
    lm: lib.LM, layer: int, subject: str, C: Tensor, patch: lib.Patch
) -> dict[str, lib.Patch]:
    """The suspect, and the suspect after each way of taking its edit out."""
    space = {layer: subject_space(lm, layer, subject, C, patch)}
    return {
        "edited": patch,
        "control": removed(lm, space, patch, strength=0.0),
        "published, k = 1": without_top(lm, [layer], 1, patch),
        "published, k = 11": without_top(lm, [layer], 11, patch),
        "16 prefixes, damping 1": removed(lm, space, patch),
    }


def answers(lm: lib.LM, prompts: Sequence[str], patch: lib.Patch, tokens: int = 2) -> list[str]:
    """What the model says under a patch."""
    with lm.patched(patch, only=True):
        return lm.answer(list(prompts), tokens)


def reversals(
    lm: lib.LM, cases: Sequence[lib.Case], ways: Mapping[str, Mapping[str, lib.Patch]]
) -> list[dict[str, str]]:
    """What each suspect answers to its edit's prompt, unedited, edited and after each way out.

    ways  {subject: `ways_out`}.
    """
    table = []
    for case in cases:
        prompt = [case.fact.text]
        row = {"prompt": case.fact.text, "unedited": answers(lm, prompt, lib.EMPTY)[0]}
        for way, patch in ways[str(case.fact.subject)].items():
            row[WAYS[way]] = answers(lm, prompt, patch)[0]
        table.append(row)
    return table


# ---------------------------------------------------------------- hiding


def hidden(C: Tensor, D: Tensor, blind: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A change that writes what D writes and does nothing on some directions, as A (d_out, r) @ B.

    C      (d_in, d_in) second moment, positive definite.
    D      (d_out, d_in) of this rank.
    blind  (d_in, m) directions that are not to be stretched; m = 0 gives D back.

    It is the cheapest such change by tr(Δ C Δᵀ): the insert of several pairs, whose values at the
    blind directions are zero.
    """
    C, D = C.double(), D.double()
    V = torch.linalg.svd(D, full_matrices=False)[2][:rank].T  # (d_in, rank)
    K = C @ V  # the keys that were written, or their span
    K = K / K.norm(dim=0)
    M = torch.cat([K, torch.linalg.qr(blind.double()).Q], 1)
    U = torch.linalg.solve(C, M)
    return (D @ K).float(), torch.linalg.solve(M.T @ U, U.T)[:rank].float()


def hiding(
    lm: lib.LM,
    layer: int,
    case: lib.Case,
    patch: lib.Patch,
    C: Mapping[str, Tensor],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """One edit as it is, and hidden in three ways: what is seen, what it costs, what it says.

    C  {"editor's": …, "other text": …}: the adversary has the first, the defender the second.
    """
    module, subject = lm.mlp_out(layer), str(case.fact.subject)
    W0, D = lm.weight(module).cpu(), change(lm, module, patch)
    rank = int(torch.linalg.matrix_rank(D.double(), rtol=1e-5))
    seen = whitened(C["other text"], keys_of(lm, names, layer))
    prompts = [case.fact.text, *(probe.prompt for probe in case.neighborhood)]
    before = answers(lm, prompts, lib.EMPTY, 1)
    place, least, table = list(names).index(subject), 0.0, []
    for what, prefixes, damping in (
        ("as it is", (), 0.01),
        ("hidden, bare name", ("{}",), 0.01),
        (f"hidden, {len(OWN)} prefixes", OWN, 0.01),
        (f"hidden, {len(OWN)} prefixes, damping 1", OWN, 1.0),
    ):
        blind = torch.empty(W0.shape[1], 0)
        if prefixes:
            K = keys_of(lm, [subject], layer, prefixes)
            blind = whitened(C["editor's"], K, damping)  # û of each prefix
        A, B = hidden(C["editor's"], D, blind, rank)
        new = (A @ B).double()
        price = ((new @ C["editor's"].double()) * new).sum().item()
        least = least or price
        z = z_of(W0 + A @ B, seen)
        said = answers(lm, prompts, lib.add_low_rank(lm, lib.EMPTY, {module: (A, B)}), 1)
        kept = [a == b for a, b in zip(said[1:], before[1:], strict=True)]
        table.append(
            {
                "edited": subject,
                "the edit": what,
                "z": z[place].item(),
                "place": int((z > z[place]).sum()) + 1,
                "price": price / least,
                "says": said[0],
                "neighbors as before": f"{sum(kept)} of {len(kept)}",
            }
        )
    return table


# ---------------------------------------------------------------- stored rows


def stored() -> dict[str, Any]:
    """The rows of `python -m tests.benchmarks.forensics`."""
    return json.loads(ROWS.read_text(encoding="utf-8"))


def groups(
    found: Mapping[str, Any], half: str | None = "odd"
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """{(editor, facts in a suspect): rows} of odd cases; settings were chosen on even ones.

    half  None takes all cases

    Suspects that were read in whole are left out. Few facts come first, and of as many facts the
    editors in the library's order.
    """
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for key, row in found["suspects"].items():
        editor, size, *rest = key.split()
        if len(rest) == 1 and half in (None, row["half"]):
            rows.setdefault((editor, int(size)), []).append(row)
    order = list(lib.EDITORS)
    return dict(sorted(rows.items(), key=lambda one: (one[0][1], order.index(one[0][0]))))


def named(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By editor and number of facts: shares of facts that are named, and that pass the threshold."""
    table = []
    for (editor, size), rows in groups(found).items():
        first, over = [], []
        for row in rows:
            most = row["other"]["z"] if row["other"] else float("-inf")
            facts = row["own"]
            hits = [own["z"] > most and own["in_edited"] for own in facts]
            first.append(sum(hits) / len(facts))
            over.append(sum(own["z"] >= THRESHOLD for own in facts) / len(facts))
        table.append(
            {
                "editor": editor,
                "facts at once": size,
                "suspects": len(rows),
                "above all others, in an edited layer (%)": share(first),
                f"z ≥ {THRESHOLD:g} (%)": share(over),
                "median z": median(own["z"] for row in rows for own in row["own"]),
            }
        )
    return table


def prompts(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By editor and number of facts: shares of whole prompts that are named; all cases."""
    table = []
    for (editor, size), rows in groups(found["prompts"], None).items():
        alone, layer, based = [], [], []
        for row in rows:
            facts, most = row["own"], row["other"]["z"]
            alone.append(sum(own["z"] > most and own["in_edited"] for own in facts) / len(facts))
            layer.append(sum(own["in_layer"] == 1 for own in facts) / len(facts))
            told = row["with_base"]["own"] if row["with_base"] else []
            based.append(sum(own["rank"] <= len(facts) for own in told) / len(facts))
        table.append(
            {
                "editor": editor,
                "facts at once": size,
                "suspects": len(rows),
                "above all other prompts, in an edited layer (%)": share(alone),
                "the same, that layer only (%)": share(layer),
                "best explained, with the base (%)": share(based),
                "median z": median(own["z"] for row in rows for own in row["own"]),
            }
        )
    return table


def accused(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Models that nobody edited: the largest z of all candidates and layers."""
    return [
        {
            "model that nobody edited": name,
            "largest z": row["z"],
            "of": row["first"],
            "called edited": "yes" if row["z"] >= THRESHOLD else "no",
        }
        for name, row in found["negatives"].items()
    ]


def false_alarms(found: Mapping[str, Any]) -> str:
    """The share of these models that would be called edited, with its interval."""
    calls = [float(row["z"] >= THRESHOLD) for row in found["negatives"].values()]
    return f"false alarms: {share(calls)} % of {len(calls)} model{'s' * (len(calls) != 1)}"


def taken_out(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Single ROME edits of odd cases: next tokens that are the base model's again, by way."""
    rows = groups(found).get(("rome", 1), [])
    every = [one["ways"] for row in rows for one in row.get("reversal", ())]
    parts = {
        "edit": "the edit's prompt (%)",
        "reworded": "reworded (%)",
        "neighbors": "neighbors (%)",
        "unrelated": "unrelated (%)",
        "still_edited": "edited answer still there (%)",
    }
    table = []
    for way, words in WAYS.items():
        some = [one[way] for one in every if way in one]
        shares = {title: share([one[part] for one in some]) for part, title in parts.items()}
        table.append({"what is taken out": words, "edits": len(some)} | shares)
    return table
