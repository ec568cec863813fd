"""The gallery as HTML: its cards, and above a result, the stored answers compared with this one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from lib.patch.patch import parted, same_model

from ..session.gallery import KEY, Exhibit, Gallery, Said
from .comparison import alike
from .render import NOTHING

GROUPS = {"chat": "asked in a chat", "negation": "negated", "edit": "the edit", "own": ""}


def cards(held: Gallery, model: str, editors: dict[str, tuple[str, str]]) -> str:
    """All exhibits, each a link that opens it; `model` is the identity of the page's model.

    editors: {name: (title, sentence)}.
    """
    items = "".join(_card(one, editors, True) for one in held.exhibits)
    other = "This page runs another model, so the edits may give different answers here. "
    here = "" if same_model(model, f"{held.model} {held.fingerprint}") else other
    return (
        f'<ul class="gallery">{items}</ul><p class="source">The answers in the cards were measured '
        f'on <abbr title="The checksum of its weights is {escape(held.fingerprint)}.">'
        f"{escape(parted(held.model)[0])}</abbr>. {here}Each is a single case, picked because it "
        "is surprising. None of them shows how often such a thing happens.</p>"
    )


def _card(one: Exhibit, editors: dict[str, tuple[str, str]], lines: bool) -> str:
    names = dict.fromkeys(editors.get(step.editor, (step.editor,))[0] for step in one.steps)
    return (
        f'<li><a href="?{KEY}={escape(one.key)}" target="_blank">{_emphasis(one.title)}</a>'
        f"<p>{_emphasis(one.sentence)}</p>{_lines(one.said) if lines else ''}"
        f"<small>{escape(', '.join(names))}</small></li>"
    )


def _emphasis(text: str) -> str:
    """Escape the text, emphasizing *words* between stars."""
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", escape(text))


def _lines(said: Sequence[Said], seen: Sequence[Said] = ()) -> str:
    """Each prompt with the stored answers before and after and, if available, the answers here."""
    rows = []
    for i, one in enumerate(said):
        where = f" <i>({GROUPS[one.group]})</i>" if GROUPS.get(one.group) else ""
        change = f"<s>{_said(one.before)}</s> <b>{_said(one.after)}</b>"
        if one.before == one.after or alike(one.before, one.after):
            change = f"<b>{_said(one.after)}</b> <i>(as before)</i>"
        mark = ""
        if seen:
            same = seen[i].after == one.after
            words = "as stored" if same else f"here it says “{_said(seen[i].after)}”"
            mark = f' <small class="{"same" if same else "other"}">{words}</small>'
        rows.append(f"<li>{escape(one.prompt)} … {change}{where}{mark}</li>")
    return f'<ul class="stated">{"".join(rows)}</ul>'


def _said(text: str) -> str:
    return escape(text) or NOTHING


def verdict(shown: Exhibit, seen: Sequence[Said] = ()) -> str:
    """Above a result: the exhibit's stored answers and, after the edit, how they compare."""
    end = ""
    if seen:
        same = sum(a.after == b.after for a, b in zip(shown.said, seen, strict=True))
        end = f"<p><strong>{same} of {len(seen)}</strong> answers match the stored answers.</p>"
    return (
        f'<div class="exhibit" role="status"><h2>{_emphasis(shown.title)}</h2>'
        f"<p>{_emphasis(shown.sentence)}</p>{_lines(shown.said, seen)}{end}</div>"
    )
