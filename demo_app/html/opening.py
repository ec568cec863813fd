"""A view as rows for guessing, editing and reading: "should change" next to "should stay".

Every editor that was used has a block of rows with a heading. A block contains both its guess and
its result, and opening.js shows one block at a time. If the answers are stored, this takes no
server call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lib.data.relations import relations
from lib.evaluation.answers import contains

from ..editor_roles import CHIPS, FAMILIES, RECOMMENDED
from ..session.checks import short
from ..session.verdicts import EARLIER, LOOPS, YOURS, looped, said
from ..session.views import UNASKED, Column, Row, View, capital, tally
from ..session.worker import WAITING, Progress
from .comparison import brief, short_answers
from .render import NOTHING

COUNTS = "None one two three four five six seven eight nine".split()
MEMORY = "./?place=memory"
STILL = '<span class="sr">still </span>'
AGAIN = {YOURS: "yours: you edited it before", EARLIER: "moved by one of your earlier edits"}
IS_ = re.compile(r" (is|was|are|were)( called)?( the)?$")


@dataclass(frozen=True)
class Work:
    """A running job: its progress, the number of other visitors' jobs ahead of it, and their
    estimated time.

    editor: the name of the selected editor.
    seconds: the time it usually takes, if known.
    """

    progress: Progress
    ahead: int = 0
    wait: float = 0.0
    editor: str = ""
    seconds: float = 0.0


def count(n: int) -> str:
    """Spell out a small number."""
    return COUNTS[n] if 0 < n < len(COUNTS) else str(n)


def listed(names: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def name_of(column: Column) -> str:
    """The editor's name on the first screen."""
    plain = CHIPS.get(column.editor, ("",))[0]
    return column.name.replace("FT-M", plain) if plain else column.name


def rows(
    view: View, work: Work | None = None, message: str = "", link: str = "", busy: bool = False
) -> str:
    """Everything about a fact between its sentence and the buttons, with data attributes for
    opening.js.

    message: a sentence as HTML, for example about an error or an undo.
    link: the query of an address that makes the edit again.
    busy: whether the visible edits are being changed.
    """
    fact = view.subject.case.fact
    state = _state(view, work)
    data = {
        "state": state,
        "stored": "1" if view.stored and work is None else "",
        "subject": fact.subject,
        "sentence": fact.text,
        "target": fact.target_new,
        "old": "" if view.already or view.rows[0].before == UNASKED else _old(view),
        "kept": view.chosen if view.kept else "",
        "editor": (view.column.editor if view.column else ""),
        "link": link,
        "busy": "1" if busy else "",
    }
    if work is not None:
        body = _waiting(work) if state == "wait" else _working(view, work, state)
    elif state == "true":
        body = _true(view)
    else:
        body = "".join(
            _block(view, column, i == view.chosen or not view.columns)
            for i, column in view.asked.items()
        )
    line = f'<div class="message" role="status">{message}</div>' if message else ""
    return f'<div class="fact-rows"{_data(data)}>{line}{body}</div>'


def _data(values: dict[str, Any]) -> str:
    return "".join(f' data-{key}="{escape(str(value))}"' for key, value in values.items())


def _state(view: View, work: Work | None) -> str:
    """guess, result or true (nothing to change); during a job asking, writing, rest or wait."""
    if work is None:
        if view.already:
            return "true"
        return "result" if view.columns else "guess"
    if view.columns:
        return "rest"
    known = view.rows[0].before != UNASKED
    if not known and (work.ahead or work.progress.words == WAITING):
        return "wait" if work.ahead else "asking"
    return "writing" if known else "asking"


# ---- one editor's block ----------------------------------------------------------------------


def _block(view: View, column: Column, shown: bool) -> str:
    """One editor's heading and both halves, as a guess and as a result."""
    first = column.rows[0]
    done = first.after is not None and bool(view.columns)
    heading, why, thin = what_moved(view, column) if done else ("", "", False)
    data = {
        "column": next((i for i, one in view.asked.items() if one is column), 0),
        "editor": column.editor,
        "name": name_of(column),
        "took": "1" if done and first.good is not False else "",
        "says": says(view, column) if done else "",
        "thin": "1" if thin else "",
        "keep": "1" if column.patch is not None and not view.stored else "",
    }
    guess = "Guess first: what else will change?"
    hint = "Tick it, then press Edit."
    return (
        f'<div class="asked"{_data(data)}{"" if shown else " hidden"}>'
        f'<div class="ask"><h2 class="is-guess">{guess}</h2><small class="is-guess">{hint}</small>'
        f'<h2 class="is-result" tabindex="-1">What else moved? {heading}</h2>{why}</div>'
        f"{_halves(view, column)}</div>"
    )


def what_moved(view: View, column: Column) -> tuple[str, str, bool]:
    """The heading's answer, a link to the reason, and whether the edit was barely tested."""
    asked = [row for row in column.rows if row.group == "neighbor" and row.good is not None]
    lost = [row for row in asked if row.good is False]
    if not asked:
        return '<span class="quiet">Not tested.</span>', "", True
    if lost:
        names = [about(view, row.prompt) for row in lost]
        whom = f"{count(len(lost))} of these {count(len(asked))}"
        if all(names):
            whom = listed(names)
        why = f"Why {names[0]}?" if len(lost) == 1 and names[0] else "Why these?"
        link = f'<a class="why2 is-result" href="{MEMORY}" target="_blank">{escape(why)}</a>'
        return f'<span class="bad">{escape(capital(whom))}.</span>', link, False
    if len(asked) == 1:
        return '<span class="quiet">Hardly tested.</span>', "", True
    return f'<span class="good">None of these {count(len(asked))}.</span>', "", False


def about(view: View, prompt: str) -> str:
    """A neighbor's subject as it appears inside a sentence, "the iPad", or "" if it is not
    recognizable.
    """
    case, found = view.subject.case, None
    known = relations().get(case.relation or "")
    if known is not None:
        found = known.subject(prompt)
    if found is None:
        head, _, tail = case.fact.prompt.partition("{}")
        inside = prompt[len(head) : len(prompt) - len(tail)]
        found = inside if prompt.casefold() == f"{head}{inside}{tail}".casefold() else None
    if not found:
        return ""
    return f"t{found[1:]}" if found.startswith("The ") else found


def says(view: View, column: Column) -> str:
    """A sentence on how the edit generalizes to other wordings."""
    first, name = column.rows[0], name_of(column)
    if first.good is False:
        return f"{name} did not make the model say “{short(view.new)}”."
    if first.good is None:
        return "Nothing to change: the model already said so."
    loops = " The text loops." if looped(column.rows) else ""
    (good, n), (chat, chats) = tally(column.rows, "reworded"), tally(column.rows, "chat")
    if not n + chats:
        return f"The edit wasn't tested in other words.{loops}"
    if good + chat == n + chats:
        told = "The edit holds in other words."
    elif not good + chat:
        told = f"{name} answers this one sentence only."
    elif n and good == n:
        told = "The edit holds in other words, but not in a chat."
    else:
        told = f"The edit holds in {good + chat} of {n + chats} other wordings."
    return told + loops


# ---- rows ------------------------------------------------------------------------------------


def _halves(view: View, column: Column) -> str:
    """Should change, should stay, and the visitor's own questions."""
    change = [row for row in column.rows if row.group in ("reworded", "chat")]
    stay = [row for row in column.rows if row.group == "neighbor"]
    other = [row for row in column.rows if row.group == "other"]
    own = [row for row in column.rows if row.group == "own"]
    same = "one neighbor asked the same" if len(stay) == 1 else "others, asked the same"
    kept = same if view.subject.by_model and stay else "facts that nobody edits"
    below = ""
    if other:
        one = len(other) == 1
        below = f"{capital(count(len(other)))} other question{'' if one else 's'}, not counted"
        below = f'<p class="kind">{below}</p>' + "".join(_row(view, row, "off") for row in other)
    if view.subject.by_model and stay and not view.already:
        below += '<p class="kind">What the model said before, true or not.</p>'
    titles = ("What it says now",) * 2 if view.already else ("Should change", "Should stay")
    parts = [
        _half("change", titles[0], "the same fact in other words", view, change),
        _half("stay", titles[1], kept, view, stay, below),
    ]
    if own:
        parts.append(_half("own", "Your questions", "not counted", view, own))
    return f'<div class="two">{"".join(parts)}</div>'


def _half(
    kind: str, title: str, sub: str, view: View, asked: Sequence[Row], below: str = ""
) -> str:
    counted = [row.good for row in asked if row.good is not None]
    tally_ = ""
    if counted and kind != "own":
        good = sum(counted)
        word = "changed" if kind == "change" else "stayed"
        style = "good" if good == len(counted) else "bad"
        if kind == "stay" and len(counted) == 1 and good:
            style = "quiet"
        tally_ = f'<span class="tally is-result {style}">{good} of {len(counted)} {word}</span>'
    body = "".join(_row(view, row, "off" if kind == "own" else kind) for row in asked)
    body = body or f'<p class="kind">{_untested(view, kind)}</p>'
    return (
        f'<fieldset class="half {kind}"><legend class="sr">Which of these will change? {title}'
        f"</legend><header><h3>{title} <small>{sub}</small></h3>{tally_}</header>"
        f"{body}{below}</fieldset>"
    )


def _untested(view: View, kind: str) -> str:
    if kind == "change":
        return "Not tested in other words: the model answers every other wording differently."
    return "Not tested: the model isn't sure of any other subject in your sentence."


def _row(view: View, row: Row, kind: str) -> str:
    """One prompt, the answer before, and the answer after."""
    judged = kind != "off" and (row.after is None or row.good is not None) and not view.already
    before, after = answers(view, row)
    changed = judged and row.good is (kind == "change")
    tick = '<input type="checkbox">' if judged else "<span></span>"
    badge = '<span class="badge" aria-hidden="true"></span><span class="sr coming"></span>'
    question = escape(row.prompt) + ("" if row.prompt.endswith("?") else "\u00a0…")
    chat = "<small>asked in a chat</small>" if row.group == "chat" else ""
    was = (
        f'<span class="a is-guess"><span class="known">{before}</span><span class="will">'
        f"<s>{before}</s> <b>→ ?</b></span></span>"
    )
    now, word = "", ""
    if row.after is not None:
        word = _word(row, kind, before == after, view.new)
        if before == after:
            now = f'<span class="eq" aria-hidden="true">=</span>{STILL}{before}'
        else:
            now = f"<s>{before}</s> <span aria-hidden='true'>→</span> <b>{after}</b>"
        mark = f'<small class="m">{escape(word)}</small>' if word else ""
        now = f'<span class="a is-result">{now}{mark}</span>'
    style = {
        ("change", True): "ok", ("change", False): "miss", ("stay", False): "moved",
        ("stay", True): "kept",
    }.get((kind, row.good), "off" if row.after is not None else "")  # fmt: skip
    flag = {True: "1", False: "0"}[changed] if judged and row.after is not None else ""
    data = {"prompt": row.prompt, "changed": flag}
    tag = "label" if judged else "div"
    whole = (
        "" if row.after is None else f"before: {row.before.strip()} · after: {row.after.strip()}"
    )
    return (
        f'<{tag} class="row {style}"{_data(data)}><span class="box">{tick}{badge}</span>'
        f'<span class="qa" title="{escape(whole)}"><span class="q">{question}{chat}</span>'
        f"{was}{now}</span></{tag}>"
    )


def _word(row: Row, kind: str, same: bool, new: str) -> str:
    """The problem with a row, or the reason it is not counted."""
    if row.word.endswith(LOOPS):
        return f"✗ {LOOPS}"
    if kind == "off":
        return ""
    if row.good is None:
        return AGAIN.get(row.word, row.word.partition(":")[0])
    if row.good:
        return ""
    return "✗ moved" if kind == "stay" else "✗ as before" if same else f"✗ not {short(new)}"


def answers(view: View, row: Row) -> tuple[str, str]:
    """Both answers of a row in a few words, as HTML; equal if the answer is unchanged."""
    old, new, anywhere = view.old or "", view.new, row.group == "chat"
    before = after = ""
    if row.group in ("edit", "reworded", "chat"):
        if old and said(row.before, [old], anywhere):
            before = old
        if row.after is not None:
            if said(row.after, [new], anywhere):
                after = new
            elif before and said(row.after, [old], anywhere):
                after = old
        if before and row.after is None:
            after = before
    elif row.group == "neighbor":
        right = next((r for g, p, r in view.subject.prompts if p == row.prompt and r), ())
        if right and said(row.before, right):
            before = right[0]
            kept = row.after is None or said(row.after, right)
            after = right[0] if kept else new if said(row.after or "", [new]) else ""
    plain = (
        short_answers(row, new) if row.after is None or row.good else brief(row.before, row.after)
    )
    shown = before or plain[0], after or (plain[0] if row.after is None else plain[1])
    if row.after is not None and not row.good and not after and not before:
        shown = short_answers(row, new)
    first, second = (escape(short(text)) or NOTHING for text in shown)
    return first, second


def _old(view: View) -> str:
    """The answer shown in the sentence before the edit."""
    return view.old or short_answers(view.rows[0], view.new)[0]


# ---- while something runs ----------------------------------------------------------------------


def _working(view: View, work: Work, state: str) -> str:
    """The rows as far as they are known, below a progress bar."""
    name, new = work.editor or "the editor", escape(short(view.new))
    old, column = escape(_old(view)), Column("", work.editor, view.rows)
    percent = round(100 * work.progress.share)
    bar = (
        '<div class="progress" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
    )
    line, hint = escape(f"{work.progress.words} …"), ""
    if state == "asking":
        heading = "Asking the model what it says now"
        if work.seconds:
            line = escape(f"{name} takes about {work.seconds:.0f} s.")
    elif state == "writing":
        heading, hint = f"While {escape(name)} writes: what else will change?", "Tick it."
        line = f"The model says {old}. {line}" if view.old else line
    else:
        heading = f"It says {new} now. Asking the rest …"
        if view.rows[0].good is False:
            heading = "Asking the rest …"
    if work.ahead:
        line = f"{_ahead(work)}."
    small = f"<small>{hint}</small>" if hint else ""
    known = view.rows[0].before != UNASKED
    halves = _halves(view, column) if known else _unasked(view)
    return (
        f'<div class="asked" data-column="0" data-editor="" data-says="{escape(line)}">'
        f'<div class="ask"><h2 tabindex="-1" class="going">{heading}</h2>{small}</div>'
        f"{bar}{halves}</div>"
    )


def _unasked(view: View) -> str:
    """The prompts being tested, and placeholders for those still to be found."""
    dots = '<span class="a"><span class="sr">waiting for an answer</span>…</span>'

    def waiting(text: str) -> str:
        return (
            f'<div class="row off"><span class="box"></span><span class="qa"><span class="q">'
            f"{escape(text)}</span>{dots}</span></div>"
        )

    parts = []
    for title, sub, groups, words in (
        ("Should change", "the same fact in other words", ("reworded", "chat"),
         "Looking for other wordings"),
        ("Should stay", "facts that nobody edits", ("neighbor",),
         "Looking for subjects the model is sure about"),
    ):  # fmt: skip
        asked = [row for row in view.rows if row.group in groups] if not view.subject.typed else []
        body = "".join(
            waiting(row.prompt + ("" if row.prompt.endswith("?") else "\u00a0…")) for row in asked
        )
        head = f"<header><h3>{title} <small>{sub}</small></h3></header>"
        parts.append(f'<section class="half">{head}{body or waiting(words)}</section>')
    return f'<div class="two">{"".join(parts)}</div>'


def _ahead(work: Work) -> str:
    """The number of visitors ahead: Two visitors are ahead of you."""
    n = work.ahead
    one = n == 1
    return f"{capital(count(n))} visitor{'' if one else 's'} {'is' if one else 'are'} ahead of you"


def _waiting(work: Work) -> str:
    """The waiting line, with the visitor's place in it."""
    about_ = f"<small>about {work.wait:.0f} s</small>" if work.wait >= 1 else ""
    line = '<span class="ln"></span>'
    places = "".join(
        f'<span class="p" aria-hidden="true">{i + 1}</span>{line}'
        for i in range(min(work.ahead, 5))
    )
    says_ = escape(
        '<a href="./?place=surprises" target="_blank">Look at the surprises meanwhile</a>'
    )
    return (
        f'<div class="asked" data-column="0" data-editor="" data-html="{says_}">'
        f'<div class="ask"><h2 tabindex="-1" class="going">{_ahead(work)}</h2>{about_}</div>'
        f'<div class="card queue" role="status">{places}<span class="p me">you</span>'
        "<span>The model answers one visitor at a time. You can still change your fact.</span>"
        "</div></div>"
    )


def _true(view: View) -> str:
    """The model already gives the new answer; suggest others to try."""
    new = escape(short(view.new))
    right = [r[0] for group, _, r in view.subject.prompts if group == "neighbor" and r]
    others = [text for text in dict.fromkeys(right) if not contains(text, view.new)][:3]
    buttons = "".join(
        f'<button type="button" class="btn" data-try="{escape(text)}">{escape(text)}</button>'
        for text in others
    )
    tries = f'<div class="sugg"><span>Try another answer:</span>{buttons}</div>' if others else ""
    column = Column("", "", view.rows)
    return (
        '<div class="asked" data-column="0" data-editor="" data-says="Nothing was written.">'
        '<div class="ask"><h2 tabindex="-1" class="going">'
        f"Nothing to change: the model already says {new}</h2></div>"
        f"{tries}{_halves(view, column)}</div>"
    )


# ---- the board -----------------------------------------------------------------------------------


def board(view: View) -> str:
    """Questions × editors; opening.js fills an editor's column once it has been seen."""
    columns = [(i, one) for i, one in view.asked.items() if one.rows[0].after is not None]
    if len(columns) < 2:
        return ""
    first = columns[0][1]
    kinds = [
        (i, row)
        for group in ("reworded", "chat", "neighbor")
        for i, row in enumerate(first.rows)
        if row.group == group and any(one.rows[i].good is not None for _, one in columns)
    ]
    lines, cut = [_line("the fact itself", [(c, one.rows[0].good) for c, one in columns])], False
    for i, row in kinds:
        stays = row.group == "neighbor"
        label = _label(view, row)
        cells = [(c, one.rows[i].good) for c, one in columns]
        lines.append(_line(label, cells, stays and not cut))
        cut = cut or stays
    heads = "".join(
        f'<th scope="col" data-column="{c}">{escape(name_of(one))}</th>' for c, one in columns
    )
    every = [
        name_of(one)
        for _, one in columns
        if one.rows[0].good is not False and all(one.rows[i].good is not False for i, _ in kinds)
    ]
    n = count(len(kinds) + 1)
    final = (
        f"{listed(every)} get{'s' * (len(every) == 1)} all {n} right."
        if every
        else f"None of the {count(len(columns))} gets all {n} right."
    )
    same = f"The same questions, {count(len(columns))} editors"
    return (
        f'<section class="card board"><table><caption data-same="{same}" data-final="'
        f'{escape(final)}">{same}</caption><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></section>"
    )


def _label(view: View, row: Row) -> str:
    """A row's name on the board: "the iPad stays", "who makes it"."""
    if row.group == "chat":
        return "asked in a chat"
    if row.group == "neighbor":
        return f"{about(view, row.prompt) or row.prompt} stays"
    name = re.escape(str(view.subject.case.fact.subject))
    text = re.sub(rf"(?<!\w){name}(?!\w)", "it", row.prompt, count=1, flags=re.IGNORECASE)
    text = text.partition("?")[0] if "?" in text else IS_.sub("", text)
    return f"{text[0].lower()}{text[1:]}"


def _line(label: str, cells: Iterable[tuple[int, bool | None]], cut: bool = False) -> str:
    marks = {
        True: '<span class="good">✓<span class="sr"> as it should be</span></span>',
        False: '<b class="bad">✗<span class="sr"> not as it should be</span></b>',
        None: '<span class="q1">–<span class="sr"> not counted</span></span>',
    }
    body = "".join(
        f'<td data-column="{c}"><span class="unseen">?<span class="sr"> not seen yet</span>'
        f'</span><span class="is-seen">{marks[good]}</span></td>'
        for c, good in cells
    )
    name = f'<th scope="row" title="{escape(label)}">{escape(label)}</th>'
    return f"<tr{' class=cut' * cut}>{name}{body}</tr>"


# ---- how a text continues ----------------------------------------------------------------------


def stored_texts(columns: Sequence[Column], written: Sequence[str], pair: Any) -> str:
    """The continuations of a text before and after each editor; opening.js shows one at a time."""
    return "".join(
        f'<div data-column="{i}" hidden>{pair(written[0], text)}</div>'
        for i, (_, text) in enumerate(zip(columns, written[1:], strict=False))
    )


# ---- editors -------------------------------------------------------------------------------------


def chips(known: dict[str, tuple[str, str]], opening: Sequence[str]) -> str:
    """The first screen's editors as buttons; opening.js adds any others that are ticked."""
    parts = []
    for i, name in enumerate(opening):
        title, does = CHIPS.get(name, known[name])
        parts.append(
            f'<button type="button" class="chip" data-chip="{name}" '
            f'aria-pressed="{"false" if i else "true"}"><b>{escape(title)}</b>'
            f"<span>{escape(does)}</span></button>"
        )
    more = (
        '<button type="button" class="chip more" aria-expanded="false" aria-controls="panel">'
        f'All {len(known)}<span class="long">&nbsp;editors</span></button>'
    )
    extra = '<span class="extra"></span>'
    return f'<div class="by" role="group" aria-label="Editor">{"".join(parts)}{extra}{more}</div>'


def picker(labels: Iterable[tuple[str, str]]) -> str:
    """The examples, each with its old and its new answer."""
    items = "".join(
        f'<li><button type="button" data-pick="{escape(label)}">{escape(shown)}</button></li>'
        for label, shown in labels
    )
    return (
        '<div class="pen"><span>Type over it, or </span><button type="button" class="plain" '
        'data-open="picks" aria-expanded="false">pick another</button>'
        f'<ul class="picks card" hidden>{items}</ul></div>'
    )


def families(known: dict[str, tuple[str, str]], refused: dict[str, str], most: int) -> str:
    """The editors in five families, recommended ones first, with reasons for those that cannot be
    used.

    known: the editors that can edit this model.
    refused: {editor: the reason that it cannot write on top of the live edits}.
    """
    parts = []
    for family, idea, names in FAMILIES:
        able = [name for name in names if name in known]
        first = [name for name in able if name in RECOMMENDED]
        rest = [name for name in able if name not in RECOMMENDED]
        more = ""
        if rest:
            titles = ", ".join(known[name][0] for name in rest)
            inside = "".join(_editor(name, known, refused) for name in rest)
            more = (
                f"<details><summary>{len(rest)} more: {escape(titles)}</summary>{inside}</details>"
            )
        shown = "".join(_editor(name, known, refused) for name in first)
        if able:
            parts.append(
                f"<fieldset><legend>{family}</legend><p>{idea}</p>{shown}{more}</fieldset>"
            )
    return (
        f'<div class="panel-head"><h2>Choose up to {count(most)}, side by side</h2>'
        '<button type="button" class="plain" data-close="panel">Done</button></div>'
        f'<div class="fam">{"".join(parts)}</div>'
    )


def _editor(name: str, known: dict[str, tuple[str, str]], refused: dict[str, str]) -> str:
    title, sentence = known[name]
    good = f'<span class="why">{RECOMMENDED[name]}</span>' if name in RECOMMENDED else ""
    if name in refused:
        good, sentence = '<span class="bad">cannot be added to your edits</span>', refused[name]
    return (
        f'<label class="e"><input type="checkbox" data-tick="{name}"><span><b>{escape(title)}</b> '
        f"{good}<small>{escape(sentence)}</small></span></label>"
    )


def blocked(reasons: Iterable[str]) -> str:
    """The reasons that none of the ticked editors can write on top of the visitor's edits."""
    return "".join(f'<p class="bad">{escape(reason)}.</p>' for reason in reasons)
