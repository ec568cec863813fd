"""Slides of a session, made from its page and its notebooks.

    python -m notebooks.slides 3 session_3.html

One file that needs nothing else: the plan of the lesson, the five questions before it, and each part
of a notebook that the plan names. A part is built up press by press: what leads to a formula, and
the formula line by line; what is to be predicted, and after a pause the figure and the answer; the
holes. Then come the session's questions, each with its answer at the next press, its pitfalls and
exercises, and the five questions once more. An arrow key, the space bar or a tap goes on, `n` shows
below a slide what the page says there, `f` shows only its figure, as large as the screen, and
printing gives one slide to a page, with that text where it is shown. Nothing is executed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lessons.grading import files
from lessons.printing import INLINE, html
from lib.atomic_files import path_of
from lib.errors import sentence

from .book import LINK
from .student import FOLDED, STAYS

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_suffix(".html")
MOST = 30  # slides of a session
ROOM, WIDTH = 15, 88  # lines of a slide, and letters of a line
SPARE = 3  # lines that a short step may take beyond them
FIGURE, LINE = 9, 1.9  # lines that a figure and a line of a formula take
LONG = 30  # letters of TeX in a line of a formula before it is broken at a relation
BLOCK = re.compile(
    r"<details>.*?</details>|^```.*?^```|\$\$.+?\$\$|.+?(?=\n\s*\n|\$\$|<details>|\Z)",
    re.DOTALL | re.MULTILINE,
)
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
RELATIONS = {"=", *(f"\\{name}" for name in ("approx", "propto", "le", "ge", "leftarrow"))}
OPEN, CLOSED = {*"{([", r"\left", r"\begin"}, {*"})]", r"\right", r"\end"}
ASKED = ("**Predict.**", "**Guess.**")
AS_IT_IS = re.compile(r"[-*>|] |\d+\. |```")  # lists, tables, quotations, code
# what stands above a page's first part, and what is no text of a lesson
ASIDE = (
    "**You will**",
    "**Needs**",
    "**Minutes**",
    "The folded cell",
    "Run the folded cell",
    "# ",
    "[![",
    "<!--",
    "Last run",
)


class Section(NamedTuple):
    """A part of a notebook: its heading, and its blocks of text and its figures as Markdown."""

    heading: str
    blocks: list[str]


@dataclass
class Slide:
    """A slide: its heading, what appears press by press, and what its page says there."""

    heading: str
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def blocks(text: str) -> list[str]:
    """The paragraphs, formulas, lists and folded parts of a text, one after another."""
    found = (one[0].strip() for one in BLOCK.finditer(text))
    return [block for block in found if block.strip(".,")]


def sections(book: str) -> list[Section]:
    """The parts of a notebook, given as the text of its file."""
    found = [Section("", [])]
    for cell in json.loads(book)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for part in re.split(r"^(?=## )", source, flags=re.MULTILINE):
                if part.startswith("## "):
                    head, _, part = part[3:].partition("\n")
                    found.append(Section(head.strip(), []))
                found[-1].blocks.extend(blocks(part))
            continue
        guesses = re.findall(r"\bguess\(\s*\"([^\"]+)\"", source)
        found[-1].blocks.extend(f"**Guess.** {asked}" for asked in guesses)
        for output in cell.get("outputs", ()):
            if png := "".join(output.get("data", {}).get("image/png", "")).strip():
                found[-1].blocks.append(f"![figure](data:image/png;base64,{png})")
    return found


def chosen(row: str, parts: list[Section]) -> list[Section]:
    """The parts that a row of a session's plan names, as in `"This" to "That" and "Another"`.

    All of them where it names none. Raises ValueError for a name that begins no heading.
    """
    some: set[int] = set()
    said = re.findall(r'(up to |to |from )?"([^"]+)"( on\b)?', row)
    for way, name, on in said:
        at = next((i for i, part in enumerate(parts) if part.heading.startswith(name)), None)
        if at is None:
            raise ValueError(f"no section of the notebook is called “{name}”")
        first = {"up to ": 0, "to ": max(some, default=0)}.get(way, at)
        to_the_end = way == "from " and on  # not `"Ridge" on the board`
        some |= set(range(first, len(parts) if to_the_end else at + 1))
    return [part for i, part in enumerate(parts) if not said or i in some]


def lines(formula: str) -> list[str]:
    r"""A formula as the lines in which it is built up, broken at \qquad and at relations."""
    found, depth, related = [""], 0, False
    for token in TOKEN.findall(formula.strip().strip("$").strip()):
        depth += (token in OPEN) - (token in CLOSED)
        relation = depth == 0 and token in RELATIONS
        if depth == 0 and token == r"\qquad":
            found, related = [*found, ""], False
            continue
        if relation and related and len(found[-1]) > LONG:
            found.append("")
        related |= relation
        found[-1] += token
    return [f"$${line.strip()}$$" for line in found if line.strip(" .,")]


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; a formula or a piece of code in one is not split."""
    kept: list[str] = []

    def held(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    masked = re.sub(rf"{INLINE.pattern}|`[^`]+`", held, text, flags=INLINE.flags)
    parts = re.split(r"(?<=[.?!])(?<!e\.g\.)\s+(?=\S)", masked)
    return [re.sub(r"\0(\d+)\0", lambda at: kept[int(at[1])], part) for part in parts]


def taught(block: str, after: str, behind_figure: bool) -> list[str]:
    """What a paragraph puts on the slide: what leads to a formula, its new words, what to see."""
    if AS_IT_IS.match(block):
        return [block]
    said = sentences(block)
    wanted = {len(said) - 1} if after.startswith("$$") else set()
    wanted |= {0} if behind_figure else set()
    wanted |= {i for i, one in enumerate(said) if re.search(r"\*\*[^*]+\*\*", one)}
    return [" ".join(said[i] for i in sorted(wanted))] if wanted else []


def size(steps: Iterable[str]) -> float:
    """The lines that steps take, about."""
    found = 0.0
    for step in steps:
        if step.startswith("!["):
            found += FIGURE
            continue
        found += LINE * step.count("$$") / 2
        rows = re.sub(r"\$\$.+?\$\$", "", step, flags=re.DOTALL).strip()
        if not AS_IT_IS.match(rows):
            rows = " ".join(rows.split())
        found += sum(-(-len(row) // WIDTH) for row in rows.splitlines()) + 0.4
    return found


def pictured(some: Iterable[Slide]) -> list[Slide]:
    """Of slides those with a figure or a formula: where a plan names all of a notebook, the others
    are for reading at home."""
    return [slide for slide in some if any(step.startswith(("![", "$$")) for step in slide.steps)]


def show(made: list[Slide], *steps: str) -> None:
    """Put steps on the last slide, and on others of its heading as each is full.

    A short step still goes on a full one, in smaller letters.
    """
    for step in steps:
        spare = SPARE if size([step]) <= SPARE else 0
        if made[-1].steps and size([*made[-1].steps, step]) > ROOM + spare:
            made.append(Slide(made[-1].heading))
        made[-1].steps.append(step)


def built(part: Section, room: float = ROOM) -> list[Slide]:
    """The slides of a part of a notebook, with about so many lines on each."""
    made = [Slide(part.heading)]
    answers: list[str] = []
    before = ""
    for block, after in pairwise([*part.blocks, ""]):
        folded = FOLDED.match(f"{block}\n")
        if folded and not folded[1].startswith((*STAYS, "Solution")):
            answers += [line for one in blocks(folded[2]) for line in shown(one)]
        if folded or block.startswith(ASIDE):
            continue
        if block.startswith(ASKED[0]):
            show(made, *answers)
            answers = []
        if block.startswith(ASKED):
            if made[-1].steps and not made[-1].steps[-1].startswith(ASKED):
                made.append(Slide(part.heading))
            show(made, block)
        elif block.startswith("!["):
            show(made, block, *answers)
            answers = []
        elif block.startswith("$$"):
            show(made, *lines(block))
        elif block.startswith("**Your turn"):
            show(made, *answers)
            answers = []
            made.append(Slide(part.heading, [block]))
        else:
            made[-1].notes += [] if AS_IT_IS.match(block) else [block]
            show(made, *taught(block, after, before.startswith("![")))
        before = block
    show(made, *answers)
    return merged((slide for slide in made if slide.steps), room)


def merged(some: Iterable[Slide], room: float) -> list[Slide]:
    """The slides of a part, two that follow each other as one where it has room for both."""
    made: list[Slide] = []
    for slide in some:
        if made and size([*made[-1].steps, *slide.steps]) <= room:
            made[-1].steps += slide.steps
            made[-1].notes += slide.notes
        else:
            made.append(slide)
    return made


def shown(block: str) -> list[str]:
    """A block of an answer: a formula is built up, all else is shown as it is."""
    return lines(block) if block.startswith("$$") else [block]


class Lesson(NamedTuple):
    """The page of a session, taken apart: its text is Markdown without links."""

    about: str  # its title, the notebooks, the aims
    plan: str  # the table of the minutes, and what to read at home
    five: str  # the questions before and after
    answers: str
    parts: dict[str, str]  # what comes behind, by its headings


def lesson(number: int, root: Path = ROOT) -> Lesson:
    """A session's page; FileNotFoundError where it is not."""
    text = (root / f"lessons/session_{number}.md").read_text(encoding="utf-8")
    head, *rest = re.split(r"^## (.+)\n", LINK.sub(r"\1", text), flags=re.MULTILINE)
    about, _, plan = head.partition("| minutes")
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    five, _, answers = parts.pop("Before and after").partition("<details>")
    opened = re.sub(r"^(?:They|It) opens? with.*?\n\n", "", about, flags=re.DOTALL | re.MULTILINE)
    answers = "".join(
        re.findall(r"^\d+\. .+?(?=^\d+\. |\Z|</details>)", answers, re.MULTILINE | re.DOTALL)
    )
    return Lesson(opened, f"| minutes{plan}", five, answers, parts)


def slides(number: int, root: Path = ROOT) -> list[Slide]:
    """The slides of a session, one after another; FileNotFoundError where it is not.

    Where they would be too many, more stands on each, in smaller letters.
    """
    whole = lesson(number, root)
    for room in range(ROOM, ROOM + 6):
        made = deck(whole, root / "notebooks", room)
        if len(made) <= MOST:
            break
    return made


def deck(told: Lesson, notebooks: Path, room: float) -> list[Slide]:
    """The slides of a session from its page, with about so many lines on each."""
    made = [Slide("", [told.about]), Slide("The plan", [told.plan])]
    made.append(Slide("Before the lesson", [told.five]))
    there: set[tuple[str, str]] = set()
    for row in told.plan.splitlines():
        if found := re.match(r"\|.*notebook (\d\d[a-z]?), (.*)", row):
            (file,) = notebooks.glob(f"{found[1]}_*.ipynb")
            for part in chosen(found[2], sections(file.read_text(encoding="utf-8"))):
                if (found[1], part.heading) not in there:
                    there.add((found[1], part.heading))
                    some = built(
                        part._replace(heading=part.heading or f"Notebook {found[1]}"), room
                    )
                    made += some if '"' in found[2] else pictured(some)
    for name, body in told.parts.items():
        if name != "Questions":
            made.append(Slide(name, [body]))
            continue
        asked = re.sub(r"<details><summary>Answer</summary>\s*", "**Answer.** ", body)
        asked = asked.replace("</details>", "")
        steps = re.split(r"^(?=\*\*(?:\d+|Answer)\.\*\*)", asked, flags=re.MULTILINE)
        made.append(Slide(name))
        show(made, *filter(str.strip, steps))
    after = re.split(r"^(?=\d+\. )", told.answers, flags=re.MULTILINE)[1:]
    return [*made, Slide("After the lesson", [told.five]), Slide("After the lesson", after)]


def page(number: int, root: Path = ROOT) -> str:
    """The slides of a session as one page of HTML."""

    def shown(text: str) -> str:
        return html(LINK.sub(r"\1", text))

    def section(slide: Slide) -> str:
        letters = max(0.7, min(1.0, ROOM / size(slide.steps)))
        style = f"font-size: {letters:.2f}em"
        steps = "".join(
            f'<div class="{"step" if i else "first"}">{shown(step)}</div>\n'
            for i, step in enumerate(slide.steps)
        )
        heading = shown(f"## {slide.heading}") if slide.heading else ""
        notes = "".join(map(shown, slide.notes))
        aside = f"<aside>{notes}</aside>" if notes else ""
        return f'<section style="{style}">\n{heading}{steps}{aside}</section>\n'

    frame = PAGE.read_text(encoding="utf-8").replace("TITLE", f"Session {number}")
    return frame.replace("SLIDES", "".join(map(section, slides(number, root))))


def main(arguments: list[str] | None = None) -> int:
    """Write the slides; returns 0, and 2 with a sentence where that cannot be done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("session", type=int, help="the number of the session, from 1")
    parser.add_argument("out", type=path_of, help="the file to write, as session_3.html")
    given = parser.parse_args(arguments)
    try:
        files.writable(given.out)
        files.write(given.out, page(given.session))
    except (ValueError, OSError) as error:
        print(sentence(error), file=sys.stderr)
        return 2
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
