"""A view as HTML: its headline, what should change beside what should stay, and a scoreboard.

Every editor that was asked has two blocks of rows, of which one pair is shown at a time. The
numbers of a row, and the guesses about it, stand in it from the beginning and are hidden by
style.css until the visitor switches them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib.evaluation.answers import begins, contains

from ..session.views import (
    LEAST,
    SMALL,
    YOURS,
    Column,
    Row,
    Subject,
    View,
    first_sentence,
    tally,
)
from .render import NOTHING, number, took

MORE = {  # group -> what it is, and what one wishes for it
    "unrelated": "about something else: it should go on as before",
    "own": "your prompt: nothing is expected",
    "chat": "as a chat message: the reply should contain it",
    "negation": "denied: it should not say so",
}
NAMES = {  # group -> its name over the dots of the scoreboard, and in a row's numbers
    "edit": "edit",
    "reworded": "reworded",
    "follows": "follows",
    "neighbor": "neighbors",
    "unrelated": "unrelated",
}
BLOCKS = (
    ("change", "What should change", ("reworded", "follows")),
    ("stay", "What should stay", ("neighbor",)),
)
MARKS = {True: ("good", "✓"), False: ("bad", "✗"), None: ("free", "–")}
LEGEND = (
    "p: probability of the whole answer right behind the prompt, before → after. KL: how far the "
    "next token has moved, base against edited, in nats; 0 is not at all."
)
NONE = '<tr><td colspan="3">Not tested.</td></tr>'
WHY = '<a href="./memory" target="_blank">Why do others move?</a>'
KEEP = '<button type="button" data-keep="{}">keep it</button>'
WORDS, LETTERS = 2, 18  # of an answer in a row
STOPS = ",;:.!?"  # end a clause


def status(view: View, link: str = "") -> str:
    """The sentence under the headline: what was done, and by whom, and how to send it to others.

    link: the query of an address that makes the edit again.
    """
    if view.undone:
        return f'<div class="status done" role="status">↺ {escape(view.undone)}</div>'
    column, first = view.column, view.rows[0]
    if column is None:
        line = "Before, and after your edits so far." if view.live else "What the model says now."
        line += f" Press <b>Edit</b> to make it say “{escape(view.new)}”."
        return f'<div class="status" role="status"><span>{line}</span></div>'
    editor, lead = escape(column.name), "We changed one fact."
    if begins(first.before, view.new):
        lead = "The model said so before any edit."
    if first.good is False:
        lead = f"✗ {editor} was to change one fact, and the model does not say so."
        if view.kept:
            lead += f' <button type="button" data-out="{view.live - 1}">take it out</button>'
        elif not view.stored:
            lead = f"{lead[:-1]}: the edit is not live. {KEEP.format(view.chosen)}"
    when = "stored example" if view.stored else took(column.seconds, column.stored)
    copy = f'<button type="button" data-link="{escape(link)}">copy link</button>' if link else ""
    return (
        f'<div class="status done" role="status"><span>{lead} <b>What else moved?</b> '
        f"<small>{editor} · {when}</small>{copy}{WHY * view.stored}</span></div>"
    )


def headline(view: View) -> str:
    """The edit prompt with its answer, in large type; the old answer struck out when it changed."""
    row = view.rows[0]
    same = row.after is None or row.after == row.before
    before, after = brief(row.before, row.before if same else row.after or "")
    now = f"<b>{escape(after) or NOTHING}</b>"
    if not same:
        now = f"<s>{escape(before) or NOTHING}</s> {now}"
    return f'<h2 class="headline"><span>{escape(row.prompt)}</span> {now}</h2>'


def comparison(view: View) -> str:
    """Both blocks and the further tests of every editor, and the scoreboard below them."""
    several = [column for column in view.columns if column.rows]
    asked = [column.rows for column in several] or [view.rows]
    live = next((i for i, rows in enumerate(asked) if rows is view.rows), 0)
    names = [column.name for column in several] or [""]
    parts = [
        f'<div class="asked" data-column="{i}" data-editor="{escape(names[i])}"'
        f"{'' if i == live else ' hidden'}>{_blocks(view, rows)}</div>"
        for i, rows in enumerate(asked)
    ]
    legend = f'<p class="num source">{LEGEND}</p>'
    beside = _beside(view, several)
    whom = escape(names[live] or "the edits")
    guesses = f'<p class="guesses" role="status">What did {whom} do to each prompt?</p>'
    return f"{''.join(parts)}{guesses}{legend}{_source(view.subject)}{scoreboard(view)}{beside}"


def _blocks(view: View, rows: Sequence[Row]) -> str:
    """One editor's rows: two blocks side by side, and the other tests folded below them.

    The edit itself stands in the headline, so it has a row only where there is no other.
    """
    blocks = []
    for kind, title, groups in BLOCKS:
        some = [row for row in rows if row.group in groups]
        if kind == "change" and not some:
            some = [row for row in rows if row.group == "edit"]
        body = "".join(_row(view, row, kind) for row in some)
        body += _unrelated(rows) if kind == "stay" else ""
        blocks.append(
            f'<section class="half {kind}"><h3>{title}</h3>{_table(body or NONE)}</section>'
        )
    more = [row for group in MORE for row in rows if row.group == group]
    opened = " open" if any(row.group == "own" for row in more) else ""
    body = "".join(_row(view, row, "more") for row in more)
    fold = f"<details{opened}><summary>More tests</summary>{_table(body)}</details>" if more else ""
    return f'<div class="two">{"".join(blocks)}</div>{fold}'


def _unrelated(rows: Sequence[Row]) -> str:
    """One line for all texts that have nothing to do with the edit; each is under more tests."""
    good, total = tally(tuple(rows), "unrelated")
    if not total:
        return ""
    prompt = f'<td class="prompt">{total} unrelated texts</td>'
    if all(row.after is None for row in rows):
        return f'<tr class="texts">{prompt}<td class="answer"></td><td></td></tr>'
    style, icon = MARKS[good == total]
    said = "as before" if good == total else f"{total - good} changed"
    return (
        f'<tr class="texts">{prompt}<td class="answer">{said}</td>'
        f'<td class="mark {style}"><span aria-hidden="true">{icon}</span></td></tr>'
    )


def _table(body: str) -> str:
    heads = ("Prompt", "Before → after", "As it should be")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table class="moved"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(view: View, row: Row, kind: str) -> str:
    """Prompt, answers, mark; the numbers below the prompt, and the guess over the answers."""
    about = MORE.get(row.group, "yours: you edited it before" if row.word == YOURS else "")
    about = f"<small>{about}</small>" if about else ""
    prompt = (
        f'<td class="prompt" title="{escape(row.prompt)}"><span>{escape(row.prompt)} …</span>'
        f"{about}{_numbers(view, row)}</td>"
    )
    if row.after is None:
        answer = escape(brief(row.before, row.before)[0]) or NOTHING
        return f'<tr class="{row.group}">{prompt}<td class="answer">{answer}</td><td></td></tr>'
    style, icon = MARKS[row.good]
    mark = f'<span aria-hidden="true">{icon}</span><i class="said">{escape(row.word)}</i>'
    guess = _guess(kind) if row.good is not None and kind != "more" else ""
    good = {True: "1", False: "0", None: ""}[row.good]
    whole = f"before: {_line(row.before)} · after: {_line(row.after)}"
    return (
        f'<tr class="{row.group}" data-good="{good}">{prompt}'
        f'<td class="answer" title="{escape(whole)}">{_answers(row, view.new)}{guess}</td>'
        f'<td class="mark {style}">{mark}</td></tr>'
    )


def _answers(row: Row, new: str) -> str:
    """Both answers in a few words, the earlier one struck out where the later is another."""
    before, after = (escape(text) or NOTHING for text in told(row, new))
    if before == after:
        return f'<span>{before}</span> <span class="after">→ {after}</span>'
    return f'<s>{before}</s> <span class="after">→ <b>{after}</b></span>'


def told(row: Row, new: str) -> tuple[str, str]:
    """Both answers of a row in a few words, among them the one on which its verdict rests.

    A neighbor that is kept has in common how both answers begin; where the new answer is looked
    for, it is shown where it stands. Anything else is told from where the answers differ.
    """
    old, now = (first_sentence(text).removesuffix(" …").split() for text in (row.before, row.after))
    if row.group == "neighbor" and row.good:
        pairs = zip(old, now, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a.strip(STOPS) != b.strip(STOPS)), None)
        kept = _few(old[:same]) if same is None or same > 0 else ""
        return (kept, kept) if kept else (_few(old), _few(now))
    if row.good is None or row.group not in ("edit", "reworded", "chat", "negation"):
        return brief(row.before, row.after)
    later = _few(now)
    if contains(row.after, new) and not contains(later, new):
        later = f"… {_few(new.split())}"
    return _few(old), later


def brief(before: str, after: str) -> tuple[str, str]:
    """Two answers in a few words each; where they differ only later, from there on.

    ("Paris, France.", "Rome.") -> ("Paris", "Rome");
    ("It is red.", "It is blue.") -> ("… red", "… blue").
    """
    old, new = (first_sentence(text).removesuffix(" …").split() for text in (before, after))
    shown = _few(old), _few(new)
    if old == new or shown[0] != shown[1]:
        return shown
    pairs = zip(old, new, strict=False)
    ends = min(len(old), len(new))
    same = next((i for i, (a, b) in enumerate(pairs) if a.strip(STOPS) != b.strip(STOPS)), ends)
    first, second = (" ".join(words[same : same + WORDS]).strip(STOPS) for words in (old, new))
    return f"… {first or '(ends)'}", f"… {second or '(ends)'}"


def _few(words: Sequence[str]) -> str:
    """The first clause of an answer, cut behind two words or 18 letters, and behind no "the"."""
    end = next((i for i, word in enumerate(words, 1) if word[-1] in STOPS), len(words))
    most = next((i for i in range(WORDS, end) if words[i - 1].casefold() not in SMALL), end)
    kept = " ".join(words[:most]).strip(STOPS)
    if len(kept) > LETTERS:
        return f"{kept[: LETTERS - 1]}…"
    return kept if end <= most else f"{kept} …"


def _line(text: str) -> str:
    return " ".join(text.split()) or "(nothing)"


def _numbers(view: View, row: Row) -> str:
    """The row's verdict in words, its probabilities and its divergence."""
    parts = [NAMES.get(row.group, ""), row.word]
    for answer, was, now in (
        (view.new, row.p_before, row.p_after),
        (view.old, row.old, row.old_after),
    ):
        if answer and was is not None:
            after = "" if now is None else f" → {number(now)}"
            parts.append(f"p({_few(answer.split())}) {number(was)}{after}")
    if row.kl is not None:
        parts.append(f"KL {number(row.kl)}")
    return f'<small class="num">{escape(" · ".join(filter(None, parts)))}</small>'


def _guess(kind: str) -> str:
    """What one may expect of a row before one sees it."""
    expected = {"change": ("changes", "does not"), "stay": ("stays", "moves")}[kind]
    buttons = "".join(
        f'<button type="button" data-guess="{value}">{word}</button>'
        for value, word in zip("10", expected, strict=True)
    )
    return f'<span class="guess">{buttons}</span>'


def scoreboard(view: View) -> str:
    """Editors × kinds of prompts, a dot for each: filled where it is as it should be."""
    columns = view.columns
    if not any(column.rows for column in columns):
        return ""
    names = ("<i>Editor</i>", *NAMES.values(), "<i>Verdict</i>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    shown = 0
    body = []
    for i, column in enumerate(columns):
        body.append(_line_of(view, column, i, shown))
        shown += bool(column.rows)
    return (
        f'<table class="score"><caption>A dot for each prompt: filled where the answer is as it '
        f"should be.</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _line_of(view: View, column: Column, index: int, shown: int) -> str:
    """One editor's dots and the verdict on both halves; or why it made no edit."""
    name = escape(column.name)
    if not column.rows:
        why = f"made no edit: {escape(column.error or '')}"
        return (
            f'<tr class="bad"><th scope="row">{name}</th>'
            f'<td class="words" colspan="{len(NAMES) + 1}">✗ {why}</td></tr>'
        )
    live = index == view.chosen
    if len(view.columns) > 1:
        pressed = "true" if live else "false"
        name = f'<button type="button" data-show="{shown}" aria-pressed="{pressed}">{name}</button>'
        if live and view.kept:
            name += " <small>kept</small>"
        elif column.patch is not None and not view.stored:
            name += f" {KEEP.format(index)}"
        else:
            name += " <small>stored</small>" * view.kept
    cells = "".join(
        f'<td data-name="{heading}">{_dots(column.rows, group, shown)}</td>'
        for group, heading in NAMES.items()
    )
    good, words = judged(column.rows)
    style, icon = MARKS[good]
    return (
        f'<tr class="{style}"><th scope="row">{name}</th>{cells}'
        f'<td class="words">{icon} {words}</td></tr>'
    )


def _beside(view: View, columns: Sequence[Column]) -> str:
    """What the editors made the model say to each prompt: a column each, folded."""
    if len(columns) < 2:
        return ""
    heads = "".join(f'<th scope="col">{escape(column.name)}</th>' for column in columns)
    body = []
    for rows in zip(*(column.rows for column in columns), strict=True):
        first = rows[0]
        before = escape(told(first, view.new)[0]) or NOTHING
        cells = "".join(_cell(row, view.new) for row in rows)
        about = f"<small>{MORE[first.group]}</small>" if first.group in MORE else ""
        prompt = f'<th scope="row">{escape(first.prompt)} …{about}</th>'
        body.append(f"<tr>{prompt}<td>{before}</td>{cells}</tr>")
    return (
        '<details class="beside"><summary>All answers</summary>'
        '<div tabindex="0" role="region" aria-label="All answers"><table>'
        f'<thead><tr><th scope="col">Prompt</th><th scope="col">Before</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _cell(row: Row, new: str) -> str:
    """An answer with its mark; in bold where it is another than before."""
    style, icon = MARKS[row.good]
    before, after = told(row, new)
    said = escape(after) or NOTHING
    said = said if before == after else f"<b>{said}</b>"
    mark = f'<span aria-hidden="true">{icon}</span><i class="said">{escape(row.word)}</i>'
    return f'<td class="{style}">{said} {mark}</td>'


def _dots(rows: Sequence[Row], group: str, shown: int) -> str:
    """The dots of one kind of prompt, with the same in words."""
    asked = [(i, row) for i, row in enumerate(rows) if row.group == group]
    if not asked:
        return '<span class="none">not asked</span>'
    good, total = tally(tuple(rows), group)
    dots = "".join(
        f'<i class="dot {MARKS[row.good][0]}" data-dot="{shown}.{row.group}.{i}" '
        f'title="{escape(row.prompt)} … {escape(" → ".join(brief(row.before, row.after or "")))}">'
        "</i>"
        for i, (_, row) in enumerate(asked)
    )
    return f'<span role="img" aria-label="{good} of {total}">{dots}</span>'


def judged(rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Whether an editor did both halves, to write and to leave the rest; and what it did, in words.

    None where one of the halves was not tested.
    """
    counts = {group: tally(tuple(rows), group) for group in NAMES}
    if counts["edit"][0] == 0:
        return False, "did not write it"
    faults = {
        "reworded": "not in {} of {} rewordings",
        "neighbor": "moves {} of {} neighbors",
        "unrelated": "moves {} of {} unrelated texts",
    }
    found = [
        words.format(counts[group][1] - counts[group][0], counts[group][1])
        for group, words in faults.items()
        if counts[group][0] < counts[group][1]
    ]
    if found:
        return False, ", ".join(found)
    if counts["neighbor"][1] < LEAST:
        return None, "locality not tested"
    if not counts["reworded"][1]:
        return None, "not tested in other words"
    good, total = counts["follows"]
    missed = f", {'some ' * (good > 0)}consequences missing" * (good < total)
    return True, f"both halves hold{missed}"


def _source(subject: Subject) -> str:
    """Where the test prompts of a typed fact come from; nothing for an example."""
    if not subject.typed:
        return ""
    case = subject.case
    if case.relation is not None:
        said = (
            "Rewordings, neighbors and unrelated prompts are those of the kind of fact “"
            f"{escape(case.relation)}”, found by the prompt."
        )
    else:
        stay = (
            "Neighbors are other subjects in your prompt, of whom the model was sure before the "
            "edit."
        )
        if not case.neighborhood:
            stay = (
                "Locality is not tested: the model is sure of fewer than three other subjects of "
                "the same kind in your prompt."
            )
        said = (
            f"Your prompt is no wording of the classroom’s. Its rewordings are "
            f"itself behind openings that change nothing before the edit. {stay}"
        )
    return f'<p class="source">{said}</p>'
