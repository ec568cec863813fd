"""`EditAndLook` edits a fact and shows the answers to several prompts before and after."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import traitlets

from .. import plot
from ..data.facts import Fact, encode_target
from ..errors import EditWarning
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..registry import EDITORS
from .panel import Control, Panel, View, one_of


class _Edited(NamedTuple):
    """An edit and the answers with it.

    patch   The patch with the edit.
    before  The answers before the edit, one per prompt.
    after   The answers after it.
    base    (vocabulary,) Probabilities of the token after the edit's own prompt, before the edit.
    edited  The same after it.
    notes   The editor's warnings.
    """

    patch: Patch
    before: list[str]
    after: list[str]
    base: torch.Tensor
    edited: torch.Tensor
    notes: list[str]


class EditAndLook(Panel):
    """A panel to edit one fact, with answers before and after and bars of the next token.

    fact      The fact in the form at the beginning.
    asked     {prompt: group} of prompts to ask beside the edit's own, or a list of prompts.
    editor    The editor at the beginning.
    editors   Names to choose from, by default all editors that need no training.
    settings  {editor: {setting: value}}.
    after     The patch on which the edit is made; "before" is the model with it.
    tokens    The number of tokens of each answer.
    patch     The patch of the last edit.

    A changed text does nothing until the button is pressed, which calls `edit`. An edit once made
    is kept.
    """

    LABELS = {
        "subject": "Subject",
        "prompt": "Prompt, {} for the subject",
        "new_answer": "New answer",
        "editor": "Editor",
    }
    subject = traitlets.Unicode()
    prompt = traitlets.Unicode()
    new_answer = traitlets.Unicode()
    editor = traitlets.Unicode()

    def __init__(
        self,
        lm: LM,
        fact: Fact,
        asked: Mapping[str, str] | Sequence[str] = (),
        editor: str = "rome",
        *,
        editors: Sequence[str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        after: Patch = EMPTY,
        tokens: int = 6,
    ) -> None:
        self.lm, self.after, self.tokens = lm, after, tokens
        self.asked = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(asked, "asked")
        alone = [name for name, kind in EDITORS.items() if not (kind.trained or kind.inner)]
        self.editors, self.settings = list(editors or alone), dict(settings or {})
        self.patch = after
        super().__init__(
            subject=fact.subject or "",
            prompt=fact.prompt,
            new_answer=fact.target_new,
            editor=editor,
        )

    @traitlets.validate("editor")
    def _known(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.editors, "the editor")

    def controls(self) -> dict[str, Control]:
        """Three fields of text and a list of editors."""
        wide = {"continuous_update": False, "layout": {"width": "420px"}}
        texts = {name: ("Text", wide) for name in ("subject", "prompt", "new_answer")}
        return texts | {"editor": ("Dropdown", {"options": self.editors})}

    def _buttons(self) -> list[Any]:
        """The button that makes the edit."""
        import ipywidgets

        button = ipywidgets.Button(description="Edit", button_style="primary")
        button.on_click(lambda _: self.edit())
        return [button]

    def _changed(self, _: Any) -> None:
        """Do nothing, because an edit takes seconds and waits for the button."""

    def edit(self) -> Patch:
        """Make the edit that the form asks for and show it; returns its patch.

        Texts that cannot be edited change nothing but `message`, and the last patch is returned.
        """
        self._stale = True
        if self._box is not None:
            self._show()
        self.refresh()
        return self.patch

    def look(self) -> View:
        """Bars of the most probable next tokens, and a table of the answers."""
        values = self.subject, self.prompt, self.new_answer, self.editor
        fact = Fact(self.subject or None, self.prompt, self.new_answer)
        prompts = {fact.text: "the edit"}
        prompts |= {p: group for p, group in self.asked.items() if p not in prompts}
        if values not in self._kept:
            self._kept[values] = self._edited(fact, list(prompts))
        made = self._kept[values]
        self.patch = made.patch
        # the bars: the new answer's first token, and the three likeliest before and after the edit
        first = encode_target(self.lm.tokenizer, fact.target_new)[0]
        best = [first, *made.base.topk(3).indices.tolist(), *made.edited.topk(3).indices.tolist()]
        order = sorted(dict.fromkeys(best), key=lambda i: -(made.base[i] + made.edited[i]).item())
        words = [self.lm.tokenizer.decode([i]) for i in order]
        base, edited = (
            list(zip(words, p[order].tolist(), strict=True)) for p in (made.base, made.edited)
        )
        figure = plot.token_bars(base, edited, title=fact.text)
        rows = [
            {"group": group, "prompt": p, "before": old, "after": new}
            for (p, group), old, new in zip(prompts.items(), made.before, made.after, strict=True)
        ]
        changed = sum(row["before"] != row["after"] for row in rows[1:])
        text = (
            f"{self.editor}: the first token of '{fact.target_new.strip()}' has the probability "
            f"{made.base[first]:.3f} before the edit and {made.edited[first]:.3f} after it."
        )
        if len(rows) > 1:
            text += f" {changed} of the {len(rows) - 1} other answers changed."
        return View(figure, " ".join([text, *made.notes]), rows)

    def _edited(self, fact: Fact, prompts: list[str]) -> _Edited:
        """Make the edit, and ask the model without and with it."""
        lm, editor = self.lm, EDITORS[self.editor](self.lm, **self.settings.get(self.editor, {}))
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            patch = editor.edit([fact], after=self.after)
        notes = [f"Note: {w.message}." for w in noted if issubclass(w.category, EditWarning)]
        asked = []
        for held in (self.after, patch):
            with lm.patched(held, only=True):
                said = lm.answer(prompts, self.tokens)
                asked.append((said, lm.next_token(fact.text).exp().cpu()))
        (before, base), (after, edited) = asked
        return _Edited(patch, before, after, base, edited, notes)
