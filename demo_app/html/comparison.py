"""A view as tables: the lab's comparison of layers, and all answers with their numbers.

Each layer has two blocks of rows, "should change" next to "should stay", and one row in a
scoreboard. Only one layer's blocks are visible at a time. The first place renders views with
opening.py instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from os.path import commonprefix

from lib.evaluation.answers import begins, contains

from ..session.checks import short
from ..session.verdicts import EARLIER, LOOPS, YOURS, lacking, outcome, said
from ..session.views import (
    SMALL,
    STAY,
    Column,
    Row,
    View,
    clause,
    first_sentence,
    tally,
)
from .render import NOTHING, number, table

MORE = {  # group -> a description, and the desired outcome
    "unrelated": "unrelated text: should be unchanged",
    "own": "your prompt: no expectation",
    "other": "asks something else: not counted",
    "chat": "as a chat message: the reply should contain it; p is for a reply beginning with it",
    "negation": "negated prompt: should not give the new answer",
}
NAMES = {  # group -> its heading above the scoreboard's dots, also used in a row's numbers
    "edit": "edit",
    "reworded": "reworded",
    "follows": "consequences",
    "neighbor": "neighbors",
    "unrelated": "unrelated",
}
FACT = ("edit", "reworded", "chat", "negation")  # groups of prompts about the fact itself
BLOCKS = (
    ("change", "Should change", ("reworded", "follows")),
    ("stay", "Should stay", ("neighbor", "other")),
    ("own", "Your prompts", ("own",)),
)
ABOUT = {  # a row with another form or position, and the reason that a neighbor is not counted
    "chat": "as a chat message",
    "other": "asks something else",
    "unrelated": "unrelated text",
    YOURS: "yours: you edited it before",
    EARLIER: "moved by one of your earlier edits",
}
STYLES = {True: "good", False: "bad", None: "free"}
# limits for each of two answers in a row; a single answer can be twice as long
WORDS, LETTERS = 2, 21
STOPS = ",;:.!?"  # punctuation ending a clause
KEEP = '<button type="button" data-keep="{}">keep it</button>'


def headline(view: View) -> str:
    """The edit prompt with its answer in large type, striking out the old answer if it changed."""
    row = view.rows[0]
    before, after = (escape(text) or NOTHING for text in short_answers(row, view.new))
    now = after if before == after else f"<s>{before}</s> <b>{after}</b>"
    return f'<h2 class="headline"><span>{escape(row.prompt)}</span> {now}</h2>'


def comparison(view: View) -> str:
    """The blocks for every editor; only one pair is visible."""
    parts = []
    for i, column in view.asked.items():
        hidden = "" if column is view.column or not view.columns else " hidden"
        parts.append(
            f'<div class="asked" data-column="{i}" data-editor="{escape(column.name)}"{hidden}>'
            f"{_blocks(view, column.rows)}</div>"
        )
    return "".join(parts)


def _blocks(view: View, rows: Sequence[Row]) -> str:
    """One editor's rows: two blocks side by side, followed by the visitor's own prompts.

    The headline already shows the edit itself, so it only gets a row if there is no other.
    """
    blocks = []
    for kind, title, groups in BLOCKS:
        some = [row for row in rows if row.group in groups]
        if kind == "change" and not some:
            some = [row for row in rows if row.group in ("edit", "chat")]
        if kind == "stay":  # for unrelated texts, only those that changed
            some += [row for row in rows if row.group == "unrelated" and row.good is False]
        body = "".join(_row(view, row, kind) for row in some)
        if body or kind != "own":
            body = body or '<tr><td colspan="2">Not tested.</td></tr>'
            shown = table("moved", ("Prompt", "Before → after"), body)  # the headings are hidden
            blocks.append(f'<section class="half {kind}"><h3>{title}</h3>{shown}</section>')
    return f'<div class="two">{"".join(blocks)}</div>'


def _row(view: View, row: Row, kind: str) -> str:
    """The prompt, the answers and the mark; hovering over the answers shows them in full."""
    about = "".join(f"<small>{ABOUT[one]}</small>" for one in (row.group, row.word) if one in ABOUT)
    prompt = f'<td class="prompt"><span>{escape(row.prompt)} …</span>{about}</td>'
    if row.after is None:
        answer = escape(short_answers(row, view.new)[0]) or NOTHING
        return f'<tr class="{row.group}">{prompt}<td class="answer">{answer}</td></tr>'
    good = {True: "1", False: "0", None: ""}[row.good]
    whole = f"before: {row.before.strip()} · after: {row.after.strip()}"
    return (
        f'<tr class="{row.group}" data-good="{good}">{prompt}'
        f'<td class="answer" title="{escape(whole)}">{_answers(row, view.new)}'
        f'<small class="mark {STYLES[row.good]}">{escape(_did(row, view.new))}</small></td></tr>'
    )


def _did(row: Row, new: str) -> str:
    """The verdict on a row, in a word or two."""
    before, after = short_answers(row, new)
    if row.word.endswith(LOOPS):
        return LOOPS
    if row.good is not None and row.group in STAY:
        return "kept" if row.good else "moved"
    if row.good is not None and row.group in ("edit", "reworded", "chat"):
        return ("changed" if before != after else "as before") if row.good else f"not {short(new)}"
    word = row.word.partition(":")[0]  # "not counted: the model does not know …"
    return "same" if word == "changed" and before == after else word


def _answers(row: Row, new: str) -> str:
    """Both answers in a few words, the earlier answer struck out, or a single answer if they are
    equal.
    """
    before, after = (escape(text) or NOTHING for text in short_answers(row, new))
    if before == after:
        return f'<span class="after">=</span> {before}'
    return f'<s>{before}</s> <span class="after">→ <b>{after}</b></span>'


def short_answers(row: Row, new: str) -> tuple[str, str]:
    """Both answers of a row in a few words, including the words that decided the verdict.

    For a neighbor that was kept, show the words that both answers begin with. If the verdict looks
    for the new answer, show that answer where it occurs. If the verdict only compares how answers
    begin, they count as changed only if they begin differently. In all other cases, start from the
    point where the answers differ.
    """
    texts = row.before, row.before if row.after is None else row.after
    old, now = (_words(text, new) for text in texts)
    if row.group == "neighbor" and row.good:
        kept = _few(old[: _same(old, now)], 2 * LETTERS)
        return (kept, kept) if kept else (_few(old), _few(now))
    aside = row.group in ("own", "other")
    if aside and (both := alike(*texts)):  # "Germany, and it", "Germany, which"
        return both, both
    if aside or row.group == "unrelated" or (row.group == "neighbor" and row.good is False):
        return brief(*texts)
    before, after = _few(old), _few(now)
    written = row.group not in ("neighbor", "follows")  # the verdict looks for the new answer
    as_before = not written or contains(texts[0], new) == contains(texts[1], new)
    if as_before and (both := alike(*texts)):  # "the sea", "the sea there"
        return both, both
    if written and contains(texts[1], new) and not contains(after, new):
        after = f"{'' if said(texts[1], [new]) else '… '}{short(new)}"
    return before, after


def alike(before: str, after: str) -> str:
    """The shorter of two answers in a few words, if the other begins with it; otherwise ""."""
    short, long = sorted((_few(_words(text), 2 * LETTERS) for text in (before, after)), key=len)
    return short if begins(long, short.removesuffix(" …")) else ""


def brief(before: str, after: str) -> tuple[str, str]:
    """Two answers in a few words each; if they only differ later, start from there.

    ("Paris, France.", "Rome.") -> ("Paris", "Rome");
    ("It is red.", "It is blue.") -> ("… red", "… blue").
    """
    old, new = _words(before), _words(after)
    shown = _few(old), _few(new)
    if old == new or not (shown[0] == shown[1] or alike(before, after)):
        return shown
    same = _same(old, new)
    first, second = (_few(words[same:]) for words in (old, new))
    return f"… {first or '(ends)'}", f"… {second or '(ends)'}"


def _same(*answers: Sequence[str]) -> int:
    """Count the words that all answers begin with, ignoring the punctuation after them."""
    return len(commonprefix([[word.strip(STOPS) for word in words] for words in answers]))


def _words(text: str, answer: str = "") -> list[str]:
    """The words of an answer's first sentence, dropping a number at which it was cut off."""
    return re.sub(r"( \S*\d)? …$", "", first_sentence(text, answer)).split()


def _few(words: Sequence[str], letters: int = LETTERS) -> str:
    """The first clause of an answer, if it fits into that many letters. Otherwise cut it after two
    words, but never after "the" or between a number and its noun.
    """
    end = next((i for i, word in enumerate(words, 1) if word[-1] in STOPS), len(words))
    whole = " ".join(words[:end]).strip(STOPS)
    if len(whole) <= letters:
        return whole
    small = [word.casefold() in SMALL for word in words[:end]]
    counts = [word.isdigit() and not after for word, after in zip(words, small[1:], strict=False)]
    most = next((i for i in range(WORDS, end) if not (small[i - 1] or counts[i - 1])), end)
    kept = " ".join(words[:most]).strip(STOPS)
    cut = kept[:letters].rpartition(" ")[0] or kept[: letters - 1]
    return f"{kept if len(kept) <= letters else cut} …"


def _numbers(view: View, row: Row) -> str:
    """The row's verdict in words, its probabilities and its divergence."""
    new = short(view.new)
    parts = [NAMES.get(row.group, ""), re.sub("(the )?new answer", lambda _: new, row.word)]
    own = clause(row.before) if row.group in STAY else None
    old = view.old if row.group in FACT else own
    for answer, was, now in (
        (view.new, row.p_before, row.p_after),
        (old if old != view.new else None, row.old, row.old_after),
    ):
        if answer and was is not None:
            after = "" if now is None else f" → {number(now)}"
            parts.append(f"p({_few(answer.split())}) {number(was)}{after}")
    if row.kl is not None:
        parts.append(f"KL {number(row.kl)}")
    return f'<small class="num">{escape(" · ".join(filter(None, parts)))}</small>'


def scoreboard(view: View) -> str:
    """Editors × kinds of prompts, with one dot per prompt, filled if its answer is as desired."""
    columns = view.columns
    if not any(column.rows for column in columns):
        return ""
    heads = NAMES | ({"reworded": "after an opening"} if view.subject.by_model else {})
    names = ("<i>Editor</i>", *heads.values(), "<i>Verdict</i>")
    lines = (_line_of(view, column, i) for i, column in enumerate(columns))
    dots = (
        "One dot per prompt: filled if the answer is as it should be, dashed if it isn't counted."
    )
    return table("score", names, lines, dots)


def _line_of(view: View, column: Column, index: int) -> str:
    """One editor's dots and the verdict on both halves, or the reason that it made no edit."""
    name = escape(column.name)
    if not column.rows:
        why = f"made no edit: {escape(column.error or '')}"
        return (
            f'<tr class="bad"><th scope="row">{name}</th>'
            f'<td class="words" colspan="{len(NAMES) + 1}">✗ {why}</td></tr>'
        )
    shown = index == view.chosen
    if len(view.columns) > 1:  # the visible editor is a name, each of the others a button
        name = (
            f'<b tabindex="-1">{name}</b><button type="button" data-show="{index}">{name}</button>'
        )
        if shown and view.kept:
            name += ' <small class="now">live</small>'
        elif column.patch is not None and not view.stored:
            name += f" {KEEP.format(index)}"
        elif column.stored and column.patch is None:
            name += " <small>stored example</small>"
    if column.seconds and not column.stored:  # otherwise the time belongs to another visitor's edit
        name += f' <small title="time to write the edit">{column.seconds:.1f} s</small>'
    cells = "".join(
        f'<td data-name="{heading}">{_dots(view, column.rows, group, index)}</td>'
        for group, heading in NAMES.items()
    )
    good, words = outcome(column.rows)
    # green only if all of it succeeded
    style = STYLES[None if good and lacking(column.rows) else good]
    return (
        f'<tr class="{style}{" shown" * shown}"><th scope="row">{name}</th>{cells}'
        f'<td class="words">{words}</td></tr>'
    )


def answers(view: View) -> str:
    """The model's answers to every prompt, with one column per editor."""
    columns = [] if view.rows[0].after is None else list(view.asked.values())
    names = "Prompt", "Before", *(column.name or "After" for column in columns)
    body = []
    for i, first in enumerate(view.rows):
        before = escape(short_answers(first, view.new)[0])
        about = f"<small>{MORE[first.group]}</small>" if first.group in MORE else ""
        cells = [
            f'<th scope="row">{escape(first.prompt)} …{about}</th>',
            f'<td data-name="Before">{before or NOTHING}</td>',
            *(_cell(view, column.rows[i], column.name) for column in columns),
        ]
        body.append(f'<tr class="{first.group}">{"".join(cells)}</tr>')
    return (
        '<div class="beside" tabindex="0" role="region" '
        f'aria-label="All answers">{table("all", map(escape, names), body)}</div>'
    )


def _cell(view: View, row: Row, editor: str) -> str:
    """An answer with its mark and its numbers, in bold if it changed."""
    before, after = short_answers(row, view.new)
    said = escape(after) or NOTHING
    said = said if before == after else f"<b>{said}</b>"
    return (
        f'<td class="{STYLES[row.good]}" data-name="{escape(editor or "After")}">{said} '
        f"<i>{escape(_did(row, view.new))}</i>{_numbers(view, row)}</td>"
    )


def _dots(view: View, rows: Sequence[Row], group: str, column: int) -> str:
    """The dots for one kind of prompt, with a text alternative."""
    asked = [row for row in rows if row.group == group]
    if not asked:
        return '<span class="none">not tested</span>'
    good, total = tally(rows, group)
    dots = "".join(
        f'<i class="dot {STYLES[row.good]}" '
        f'data-dot="{column}.{row.group}.{i}" '
        f'title="{escape(row.prompt)} … {escape(" → ".join(short_answers(row, view.new)))}"></i>'
        for i, row in enumerate(asked)
    )
    return f'<span role="img" aria-label="{good} of {total}">{dots}</span>'
