"""Slides of a session, made from its page and the figures of its notebooks.

    python -m notebooks.slides 3 session_3.html

One file that needs nothing else: the plan of the lesson, the five questions before it, of each
section of a notebook that the plan names the question to predict and the figures as they are stored,
then the session's questions with each answer on a slide of its own, its exercises, and the five
questions once more, with their answers behind them. Arrow keys turn the slides, and printing
gives one to a page. Nothing is executed. `pip install latex2mathml` brings what formulas need.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lib.atomic_files import path_of

from .book import LINK

ROOT = Path(__file__).resolve().parents[1]
STYLE = """
html { scroll-snap-type: y mandatory; font: 3.3vmin/1.4 system-ui, sans-serif; }
body { margin: 0; }
section { min-height: 100vh; box-sizing: border-box; padding: 6vmin 9vmin; scroll-snap-align: start;
  display: flex; flex-direction: column; justify-content: center; break-after: page; }
h1, h2 { line-height: 1.15; margin: 0 0 3vmin; }
h1 { font-size: 7vmin; } h2 { font-size: 5vmin; }
p, ul, ol, table { max-width: 60em; margin: 0 0 2vmin; }
td, th { padding: .6vmin 2vmin .6vmin 0; text-align: left; vertical-align: top; }
img { max-width: 100%; max-height: 70vh; object-fit: contain; align-self: flex-start;
  background: #fff; }
small { color: #666; } code { background: #8882; padding: 0 .2em; }
math[display=block] { margin: 1.5vmin 0; }
@media (prefers-color-scheme: dark) { body { background: #14161a; color: #e8e8e8; } }
@media print { section { min-height: 0; height: 100vh; } }
"""
TURN = """
addEventListener("keydown", e => {
  const step = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1,
    PageUp: -1}[e.key];
  if (!step || e.ctrlKey || e.metaKey || e.altKey) return;
  e.preventDefault();
  const all = [...document.querySelectorAll("section")], y = scrollY + innerHeight / 2;
  const now = all.findLastIndex(one => one.offsetTop <= y);
  all[Math.min(all.length - 1, Math.max(0, now + step))].scrollIntoView();
});
"""
PREDICT = re.compile(r"^\*\*Predict\.\*\*.+?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"<details><summary>Answer</summary>(.+?)</details>", re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)


class Section(NamedTuple):
    """A part of a notebook: its heading, what it asks to predict, its figures as base64 PNG."""

    heading: str
    asked: list[str]
    figures: list[str]


def sections(book: str) -> list[Section]:
    """The parts of a notebook, given as the text of its file."""
    found = [Section("", [], [])]
    for cell in json.loads(book)["cells"]:
        if cell["cell_type"] == "markdown":
            for part in re.split(r"^(?=## )", "".join(cell["source"]), flags=re.MULTILINE):
                if part.startswith("## "):
                    found.append(Section(part[3:].partition("\n")[0].strip(), [], []))
                found[-1].asked.extend(PREDICT.findall(part))
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                found[-1].figures.append("".join(output["data"]["image/png"]).strip())
    return found


def chosen(row: str, parts: list[Section]) -> list[Section]:
    """The parts that a row of a session's plan names, as in `"This" to "That" and "Another"`.

    All of them where it names none. Raises ValueError for a name that begins no heading.
    """
    some: set[int] = set()
    said = re.findall(r'(up to |to )?"([^"]+)"( on\b)?', row)
    for way, name, on in said:
        at = next((i for i, part in enumerate(parts) if part.heading.startswith(name)), None)
        if at is None:
            raise ValueError(f"no section of the notebook is called “{name}”")
        first = {"up to ": 0, "to ": max(some, default=0)}.get(way, at)
        some |= set(range(first, len(parts) if on else at + 1))
    return [part for i, part in enumerate(parts) if not said or i in some]


def slides(number: int, root: Path = ROOT) -> Iterator[str]:
    """The slides of a session as Markdown, one after another; FileNotFoundError where it is not."""
    text = (root / f"lessons/session_{number}.md").read_text(encoding="utf-8")
    head, *rest = re.split(r"^## (.+)\n", LINK.sub(r"\1", text), flags=re.MULTILINE)
    title, _, about = head.partition("\n")
    aims, _, plan = about.partition("| minutes")
    yield f"{title}\n{aims}"
    yield f"## The plan\n\n| minutes{plan}"
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    five, _, answers = parts.pop("Before and after").partition("<details>")
    yield f"## Before the lesson\n{five}"
    for row in plan.splitlines():
        if found := re.search(r"notebook (\d\d), (.*)", row):
            (file,) = (root / "notebooks").glob(f"{found[1]}_*.ipynb")
            for part in chosen(found[2], sections(file.read_text(encoding="utf-8"))):
                name = f"## {part.heading or 'Notebook'}\n\n<small>Notebook {found[1]}</small>\n\n"
                if part.asked:
                    yield name + LINK.sub(r"\1", "\n\n".join(part.asked))
                for figure in part.figures:
                    yield f"{name}![{part.heading}](data:image/png;base64,{figure})"
    for name, body in parts.items():
        if name != "Questions":
            yield f"## {name}\n{body}"
            continue
        for i, question in enumerate(
            filter(str.strip, re.split(r"^\*\*\d+\.\*\*", body, flags=re.M))
        ):
            asked = ANSWER.sub("", question).strip()
            yield f"## Question {i + 1}\n\n{asked}"
            if answer := ANSWER.search(question):
                yield f"## Question {i + 1}\n\n{asked}\n\n**Answer.** {answer[1].strip()}"
    yield f"## After the lesson\n{five}"
    yield f"## After the lesson\n\n<details open>{answers}"


def page(number: int, root: Path = ROOT) -> str:
    """The slides of a session as one page of HTML."""
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    reader.validateLink = lambda url: url.startswith(("data:image/png;", "https:"))  # type: ignore[method-assign]

    def shown(slide: str) -> str:
        formulas: list[str] = []

        def kept(found: re.Match[str]) -> str:
            display = "block" if found[1] else "inline"
            formulas.append(convert((found[1] or found[2]).strip(), display=display))
            return f"<math>{len(formulas) - 1}</math>"

        text = reader.render(FORMULA.sub(kept, slide))
        text = re.sub(r"<math>(\d+)</math>", lambda found: formulas[int(found[1])], text)
        return f"<section>\n{text}</section>\n"

    parts = "".join(map(shown, slides(number, root)))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Session {number}</title>\n'
        f"<style>{STYLE}</style>\n{parts}<script>{TURN}</script></html>\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the slides; returns 0, and 2 with a sentence where that cannot be done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("session", type=int, help="the number of the session, from 1")
    parser.add_argument("out", type=path_of, help="the file to write, as session_3.html")
    given = parser.parse_args(arguments)
    missing = [n for n in ("latex2mathml", "markdown_it") if importlib.util.find_spec(n) is None]
    if missing:
        print(f"slides need: pip install {' '.join(missing).replace('_', '-')}", file=sys.stderr)
        return 2
    try:
        text = page(given.session)
        given.out.write_text(text, encoding="utf-8")
    except FileNotFoundError as error:
        print(f"there is no {error.filename or given.out}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{given.out} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
