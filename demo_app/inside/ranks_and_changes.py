"""Inside the edit, before and after it: ranks over the layers, and how far the weights moved."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

import lib
from lib import plot
from lib.data.facts import encode_target
from lib.interpret import damage
from lib.interpret.logit_lens import lens
from lib.plot import style

from ..session.long_run import Chain, ticking
from ..session.worker import Job, Trouble
from .panel import WHERE, Panel, Steps, layers_of, subject_of


def ranks(chain: Chain) -> Steps:
    """Rank of old and new answer after every layer, before and after."""
    studio, session = chain.studio, chain.session
    lm, patch = studio.lm, session.patch
    fact = subject_of(studio, session).case.fact

    def work(job: Job) -> tuple[list[str], Any, Any]:
        with ticking(job, lm, "Reading every layer", 3):
            with lm.patched(lib.EMPTY, only=True):
                old = fact.target_true or _begins(lm, fact.text)
            answers = [old, fact.target_new]
            first = {encode_target(lm.tokenizer, answer)[0] for answer in answers}
            if len(first) == 1:
                raise Trouble(
                    f"“{answers[0]}” and “{answers[1]}” begin with the same token, so their ranks "
                    "are one line."
                )
            with lm.patched(lib.EMPTY, only=True):
                before = lens(lm, fact.text, answers)
            if not patch:
                return answers, before, None
            with lm.patched(patch, only=True):
                return answers, before, lens(lm, fact.text, answers, patch)

    answers, before, after = yield from chain.do(work)
    old, new = answers

    def rows(table: Any, answer: str) -> list[int]:
        return table[table["answer"] == answer].sort_values("layer")["rank"].tolist()

    was = {answer: rows(before, answer) for answer in answers}
    now = was if after is None else {answer: rows(after, answer) for answer in answers}
    figure = plot.rank_over_layers(
        range(lm.n_layers), now, before=None if after is None else was,
        highlight=layers_of(lm, patch) or None,
    )  # fmt: skip
    lead = next((i for i in range(lm.n_layers) if _leads(now, new, old, i)), None)
    if after is None:
        found = f"No edit is live: “{old}” ends at rank {was[old][-1]}, “{new}” at {was[new][-1]:,}"
    elif lead is None:
        found = f"“{new}” does not overtake “{old}” for good: it ends at rank {now[new][-1]:,}"
    else:
        found = f"From layer {lead} on “{new}” stands before “{old}”, and it ends at rank "
        found += f"{now[new][-1]:,}; before the edit at {was[new][-1]:,}"
    each = range(0, lm.n_layers, max(1, lm.n_layers // 6))
    words = "".join(
        f"<li>“{escape(answer)}” {name}: "
        + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
        + "</li>"
        for name, table in (("before", was), ("after", now))[: 1 if after is None else 2]
        for answer in answers
    )
    return Panel(figure, f"{found}.", f"<ul>{words}</ul>")


def norms(chain: Chain) -> Steps:
    """‖W − W₀‖/‖W₀‖ of every layer under the visitor's edits."""
    lm, patch = chain.studio.lm, chain.session.patch
    if not patch:
        raise Trouble(f"No edit is live, so nothing has changed. {WHERE}")
    if not patch.weights:
        raise Trouble(
            "Your edits leave the weights alone: they stand beside the model or in its prompt, so "
            "there is no update to measure. Look at the scope map instead."
        )

    def work(job: Job) -> dict[int, float]:
        job.report(0.2, "Measuring the weights")
        moved = damage.steps(lm, [patch]).iloc[0]
        change, whole = [np.zeros(lm.n_layers) for _ in range(2)]
        for name, size in moved.items():
            (layer,) = layers_of(lm, lib.Patch(weights={name: patch.weights[name]})) or (0,)
            change[layer] += size**2
            whole[layer] += lm.weight(name).norm().item() ** 2
        return {i: math.sqrt(change[i] / whole[i]) for i in range(lm.n_layers) if whole[i]}

    found = yield from chain.do(work)
    figure, ax = style.new_figure("layer", "‖ΔW‖ / ‖W₀‖ (%)", None)
    ax.bar(list(found), [100 * v for v in found.values()], color=style.EDITED, width=0.7)
    ax.set_xlim(-0.6, lm.n_layers - 0.4)
    top = max(found, key=found.get)
    said = f"{len(found)} of {lm.n_layers} layers changed, layer {top} most: by "
    said += f"{100 * found[top]:.2f} % of its norm."
    words = "".join(f"<li>layer {i}: {100 * v:.3f} %</li>" for i, v in found.items())
    return Panel(figure, said, f"<ul>{words}</ul>")


def _begins(lm: lib.LM, prompt: str) -> str:
    """The first token that the model says, as text."""
    return lm.answer(prompt, 1).strip() or "the"


def _leads(table: dict[str, list[int]], new: str, old: str, layer: int) -> bool:
    return all(a < b for a, b in zip(table[new][layer:], table[old][layer:], strict=True))
