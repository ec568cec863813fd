"""`EditAndLook` edits a fact, showing the answers to several prompts before and after."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ...data import as_facts
from ...data.facts import Fact, encode_target
from ...errors import EditWarning
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ...registry import EDITORS
from .. import plot
from .panel import Panel, View


class EditAndLook(Panel):
    """A panel for editing one fact, with answers before and after and bars of the next token.

    fact      The initial fact in the form.
    asked     {prompt: group} of prompts to answer in addition to the edit's own, or a list of
              prompts.
    editor    The initial editor.
    editors   Names to choose from, by default all editors that do not need training.
    settings  {editor: {setting: value}}.
    after     The patch to edit on top of; "before" is the model with it.
    tokens    The number of tokens of each answer.
    patch     The patch of the last edit.

    Nothing is edited before pressing the button. An edit is kept after making it.
    """

    BUTTON = "Edit"

    def __init__(
        self,
        lm: LM,
        fact: as_facts.Given,
        asked: Mapping[str, str] | Sequence[str] = (),
        editor: str = "rome",
        *,
        editors: Sequence[str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        after: Patch = EMPTY,
        tokens: int = 6,
    ) -> None:
        self.lm, self.after, self.tokens, fact = lm, after, tokens, as_facts.fact(fact)
        self.asked = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(asked, "asked")
        alone = [name for name, kind in EDITORS.items() if not (kind.trained or kind.inner)]
        self.editors, self.settings = list(editors or alone), dict(settings or {})
        self.patch = after
        self._made: dict[tuple[Fact, str, str], tuple[Patch, View]] = {}
        super().__init__(
            subject=fact.subject or "",
            prompt=fact.prompt,
            new_answer=fact.target_new,
            editor=editor,
        )

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        names = {
            "subject": "Subject",
            "prompt": "Prompt, {} for the subject",
            "new_answer": "New answer",
        }
        wide = ipywidgets.Layout(width="420px")
        texts = {
            name: ipywidgets.Text(value=self.values[name], description=label, layout=wide)
            for name, label in names.items()
        }
        editors = ipywidgets.Dropdown(
            options=self.editors, value=self.values["editor"], description="Editor"
        )
        return {**texts, "editor": editors}

    def look(self, subject: str, prompt: str, new_answer: str, editor: str) -> View:
        """Make the edit: bars of the most probable next tokens, and a table of the answers."""
        fact = Fact(subject or None, prompt, new_answer)
        key = fact, editor, self.lm.fingerprint  # training the weights requires another edit
        if key not in self._made:
            self._made[key] = self._edited(fact, editor)
        self.patch, view = self._made[key]
        return view

    def _edited(self, fact: Fact, name: str) -> tuple[Patch, View]:
        """Make the edit, generate answers without and with it, and show both."""
        lm, editor = self.lm, EDITORS[name](self.lm, **self.settings.get(name, {}))
        prompts = {fact.text: "the edit"}
        prompts |= {p: group for p, group in self.asked.items() if p not in prompts}
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            patch = editor.edit([fact], after=self.after, check=False)
        notes = [f"Note: {w.message}" for w in noted if issubclass(w.category, EditWarning)]
        answers = []
        for held in (self.after, patch):
            with lm.patched(held, only=True):
                texts = lm.answer([*prompts], self.tokens)
                answers.append((texts, lm.next_token(fact.text).exp().cpu()))
        (before, base), (after, edited) = answers
        # the bars: the new answer's first token, and the three most likely before and after the
        # edit
        first = encode_target(lm.tokenizer, fact.target_new)[0]
        best = [first, *base.topk(3).indices.tolist(), *edited.topk(3).indices.tolist()]
        order = sorted(dict.fromkeys(best), key=lambda i: -(base[i] + edited[i]).item())
        words = [lm.tokenizer.decode([i]) for i in order]
        bars = [list(zip(words, p[order].tolist(), strict=True)) for p in (base, edited)]
        figure = plot.token_bars(bars[0], bars[1], title=fact.text)
        rows = [
            {
                "group": group,
                "prompt": p,
                "before": " ".join(old.split()),
                "after": " ".join(new.split()),
            }
            for (p, group), old, new in zip(prompts.items(), before, after, strict=True)
        ]
        changed: dict[str, list[bool]] = {}
        for row in rows[1:]:
            changed.setdefault(row["group"], []).append(row["before"] != row["after"])
        text = (
            f"{name}: the first token of '{fact.target_new.strip()}' has the probability "
            f"{base[first]:.3f} before the edit and {edited[first]:.3f} after it."
        )
        if changed:
            counts = [f"{group} {sum(some)} of {len(some)}" for group, some in changed.items()]
            text += f" Other answers that changed: {', '.join(counts)}."
        return patch, View(figure, " ".join([text, *notes]), rows)
