"""How much general text the second moment C needs: edits with C from fewer and more tokens.

    python -m tests.benchmarks.moment_tokens --minutes 30 [--model gemma-3-270m] [--use tables]

A cell is an editor, one fact at a time or a hundred in one batch, and a C: a number of tokens for
each input of the matrix, and what is added to its diagonal. "shrunk" adds what Ledoit and Wolf's
rule asks for (2004, "A well-conditioned estimator for large-dimensional covariance matrices"; for
a moment that is not centered). The values that are written do not depend on C: they are searched
once and used by every cell. The choice was made on even ids (--use tuning), and what was chosen is
compared with ten tokens for each input on odd ids (--use tables), where no preset was chosen
either. Cells stand in moment_tokens.json, each fact with the values of its prompts.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.evaluation.asked_together import Base
from lib.keys_values import second_moment, value_search
from lib.model import activations
from lib.stored import forget
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")
ASKED: dict[str, Any] = {
    "metrics": ("efficacy", "generalization", "specificity", "locality"),
    "events": ("probability", "generation"),
}
EDITORS = ("memit", "alphaedit", "rome")
FORMS = ("10", "2", "1", "4", "2 shrunk", "1 shrunk", "0.5 shrunk")
ALONE, BATCH = 40, 100


@cache
def searched_once() -> None:
    """Let every search on the unedited model be made once."""
    search, found = value_search.search, {}

    def remembered(lm: lib.LM, facts: Any, *given: Any) -> list[value_search.Target]:
        if lm.is_patched:
            return search(lm, facts, *given)
        key = (tuple(facts), *map(repr, given))
        if key not in found:
            found[key] = search(lm, facts, *given)
        return found[key]

    value_search.search = remembered


@cache
def shrinkage(lm: lib.LM, layer: int, tokens: int) -> float:
    """What Ledoit and Wolf's rule adds to the diagonal, as a multiple of the mean eigenvalue.

    C* = (1 − α) C + α m I with m = tr C / d and α = b² / d²; b² is the mean of ‖k kᵀ − C‖² over
    the n keys, divided by n, and d² = ‖C − m I‖². Then C* is C + α / (1 − α) m I up to a factor.
    """
    skip = int(lm.leading_bos is None)
    rows = second_moment.windows(lm, second_moment.general_text(None), tokens)
    name = lm.mlp_out(layer)
    K = activations.module_inputs(lm, rows, [name], skip)[name].double()  # (n, d)
    C = K.T @ K / len(K)
    b2 = (K.square().sum(1).square().mean() - C.square().sum()) / len(K)
    d2 = C.square().sum() - C.trace() ** 2 / len(C)
    alpha = min(1.0, float(b2 / d2))
    return alpha / (1 - alpha)


def editor(lm: lib.LM, name: str, form: str) -> lib.Editor:
    """The editor with its preset, and with the C that the form names."""
    width, *shrunk = form.split()
    if name == "wise":  # it has a damping of its own, and reads C for its whitened step alone
        second_moment.TOKENS_PER_WIDTH = int(width)
        forget()
        return lib.EDITORS[name](lm)
    tokens = int(float(width) * lm.weight(lm.mlp_out(0)).shape[1])
    made = lib.EDITORS[name](lm, tokens=tokens)
    if shrunk:
        damping = shrinkage(lm, made.layers()[-1], tokens)
        made = lib.EDITORS[name](lm, tokens=tokens, damping=damping)
    return made


def measure(lm: lib.LM, one: lib.Editor, mode: str, cases: list[lib.Case], base: Base) -> dict:
    """{fact: {metric event: its values}} of single edits, or of one batch of all the facts."""
    if mode == "alone":
        scores = lib.singly(one, cases, base=base, progress=False, **ASKED)
    else:
        patch = one.edit([case.fact for case in cases], check=False)
        scores = lib.evaluate(lm, cases, patch, base=base, **ASKED)
    found: dict[str, dict[str, list[float]]] = {}
    for row in scores.rows.dropna(subset="value").itertuples():
        if row.event in ("generation", "kl_nats") or row.metric == "generalization":
            case = found.setdefault(str(row.case), {})
            case.setdefault(f"{row.metric} {row.event}", []).append(round(float(row.value), 5))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model")
    parser.add_argument("--use", choices=("tuning", "tables"), default="tuning")
    parser.add_argument("--forms", nargs="+", default=FORMS)
    parser.add_argument("--editors", nargs="+", default=EDITORS)
    parser.add_argument("--alone", type=int, default=ALONE, help="number of facts one at a time")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    searched_once()
    lm = lib.load(given.model, dtype="float32") if given.model else lib.load(dtype="float32")
    base, cases = Base(lm.identity), classroom(given.use, given.model)
    for form in given.forms:
        for name in given.editors:
            for mode, some in (("alone", cases[: given.alone]), ("batch", cases[: given.batch])):
                kept = json.loads(given.out.read_text("utf-8")) if given.out.exists() else {}
                cell = f"{lm.name}; {name}; {mode}; {given.use}; {form}"
                if cell in kept or time.monotonic() > end:
                    continue
                one = editor(lm, name, form)
                found = measure(lm, one, mode, some, base)
                damping = one.config.whiten if name == "wise" else one.config.damping
                kept[cell] = {"damping": damping, "facts": found}
                lines = [f"{json.dumps(key)}: {json.dumps(kept[key])}" for key in kept]
                with whole_file(given.out) as part:
                    part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
                measured.record(given.out, vars(given))
                print(
                    f"{cell}: {len(found)} facts, {end - time.monotonic():.0f} s left", flush=True
                )


if __name__ == "__main__":
    command(main)
