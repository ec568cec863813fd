"""Warnings about an edit: facts contradicting each other, and answers missing after the edit.

Every edit is checked this way, and none of the checks changes a patch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...data.facts import Fact, encode_target, quoted
from ...errors import EditWarning
from ...evaluation.answers import begins, plain
from ...model.lm import LM
from ...patch.patch import Patch

if TYPE_CHECKING:
    from .base import Editor

QUOTED = 3  # maximum number of facts quoted by a warning


def already_said(fact: Fact) -> None:
    """Warn that the model already gives this answer before the edit."""
    _warn(f"The model already answers '{fact.text}' with '{fact.target_new.strip()}'.")


def contradictions(facts: Sequence[Fact]) -> None:
    """Warn if one prompt has several answers, ignoring case, spaces and quotes."""
    first: dict[str, int] = {}
    found = [
        f"{quoted(fact.text)} is {quoted(facts[other].target_new.strip())} in row {other} and "
        f"{quoted(fact.target_new.strip())} in row {row}"
        for row, fact in enumerate(facts)
        for other in [first.setdefault(" ".join(plain(fact.text).split()), row)]
        if plain(facts[other].target_new) != plain(fact.target_new)
    ]
    if found:
        more = f", and {len(found) - QUOTED} more" * (len(found) > QUOTED)
        _warn(f"The facts contradict each other: {'; '.join(found[:QUOTED])}{more}")


def unsaid(editor: Editor, facts: Sequence[Fact], patch: Patch) -> None:
    """Warn if the model does not give the new answer, quoting its actual answer."""
    lm = editor.lm
    facts = list({fact.text: fact for fact in facts}.values())  # a prompt's last answer counts
    missed = [facts[i] for i in editor.unsaid(facts, patch)]
    asked = missed[:QUOTED]
    lengths = [len(encode_target(lm.tokenizer, fact.target_new)) for fact in asked]
    with lm.patched(patch, only=True):
        texts = lm.answer([fact.text for fact in asked], max(lengths) + 8) if asked else []
    said = [
        f"{quoted(fact.text)} is answered with {quoted(' '.join(text.split()))}, not with "
        f"{quoted(fact.target_new.strip())}"
        for fact, text in zip(asked, texts, strict=True)
        if not begins(text, fact.target_new)  # it may be said in other tokens, or quoted
    ]
    if count := len(missed) - len(asked) + len(said):
        _warn(
            f"{editor.name}: the model does not give {count} of {len(facts)} new answers: "
            f"{'; '.join(said)}"
        )


def below_routes(lm: LM, after: Patch, patch: Patch) -> None:
    """Warn if new weights are below a route deciding by the states they change."""
    blocks = f"{lm.arch.blocks}."

    def layer(module: str) -> int:
        return int(module.removeprefix(blocks).split(".")[0])

    changed = (m for m, value in patch.weights.items() if value is not after.weights.get(m))
    below = min((layer(m) for m in changed if m.startswith(blocks)), default=lm.n_layers)
    for module, route in after.routes.items():
        if route.reads_states and module.startswith(blocks) and below <= layer(module):
            _warn(
                f"This edit changes layer {below}, below the {route.kind} route of layer "
                f"{layer(module)}, which decides by its input states and may miss its facts."
            )


def _warn(said: str) -> None:
    """Warn at the line that called `edit`."""
    warnings.warn(said, EditWarning, stacklevel=4)
