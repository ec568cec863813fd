"""Score students' editors against ours: python -m lessons.leaderboard my/editor.py --quick.

With --json, the rows are saved after each editor, and an interrupted contest continues after them.
The rows that --quick shows next to an editor are stored in quick.json, which was created, without
an existing file of that name, by `--quick --against rome,memit,alphaedit,ft,grace,retrieval --json
lessons/quick.json --seed 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from statistics import harmonic_mean, median

import pandas as pd
import torch

import lib
from lessons.grading import files
from lessons.grading.class_folder import STOPPED
from lessons.grading.confinement import no_process, protection
from lessons.grading.leaderboard_entry import Entry, Failed, Ours, sentence
from lessons.marking import clean
from lib.atomic_files import digest, path_of
from lib.evaluation.intervals import interval
from lib.workbench.console import printable

OURS = ("rome", "retrieval")
QUICK = Path(__file__).with_name("quick.json")
EXAMPLE = QUICK.with_name("example_editor.py")
COLUMNS = {  # column: (of, metric, event)
    "efficacy": ("alone", "efficacy", "generation"),
    "generalization": ("alone", "generalization", "generation"),
    "specificity": ("alone", "specificity", "probability"),
    "locality": ("alone", "locality", "generation"),
    "consequences": ("alone", "portability", "generation"),
    "retention": ("stream", "efficacy", "generation"),
    "stream locality": ("stream", "locality", "generation"),
}
# Shown but not in the score: most editors produce next to no consequences, and not every case has
# consequences whose parts the model knows, so a few questions would decide the score.
UNSCORED = ("consequences",)
MEMORY = 16  # GB
NOTHING = "no edit"


@dataclass
class Row:
    """One editor's line: a rate with its interval per column, seconds of each edit, failures.

    failed  (prompt, reason) of each failed edit; without a prompt if the whole entry failed
    file    a digest of the student's file, empty for an editor of the library
    """

    name: str
    own: bool
    values: dict[str, tuple[float, float, float]]
    seconds: list[float] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    file: str = ""

    @property
    def score(self) -> float:
        """The harmonic mean of the columns that count: a single good column is not enough."""
        scored = [mean for name, (mean, *_) in self.values.items() if name not in UNSCORED]
        return harmonic_mean([mean for mean in scored if mean == mean] or [0.0])


def unseen(
    count: int, stream: int, seed: int, data: Path | None = None, model: str | None = None
) -> tuple[list[lib.Case], list[lib.Case]]:
    """Different cases for single edits and for the stream, selected by the seed.

    They are odd cases of the classroom that the model knows, or cases from a file. Raises
    ValueError if there are too few.
    """
    known = lib.read_cases(data) if data else [c for c in lib.classroom(model) if int(c.id) % 2]
    if count < 1 or stream < 0:
        raise ValueError("--cases has to be 1 or more, and --stream 0 or more")
    if count + stream > len(known):
        raise ValueError(f"there are {len(known)} cases, but you asked for {count} + {stream}")
    drawn = random.Random(seed).sample(range(len(known)), count + stream)
    return [known[i] for i in drawn[:count]], [known[i] for i in drawn[count:]]


class Contest:
    """The model that measures, the cases, and the unedited model's answers, computed once."""

    def __init__(self, model: str | None, alone: list[lib.Case], stream: list[lib.Case]) -> None:
        self.lm, self.alone, self.stream, self.base = lib.load(model), alone, stream, None

    def measured(self, cases: list[lib.Case], patch: lib.Patch, of: str) -> pd.DataFrame:
        """Rows of `lib.evaluate` for the cases under a patch, for the columns of `of`."""
        if not cases:
            return pd.DataFrame(columns=["case", "metric", "event", "value"])
        asked = [(metric, event) for place, metric, event in COLUMNS.values() if place == of]
        metrics, events = ({*some} for some in zip(*asked, strict=True))
        found = lib.evaluate(self.lm, cases, patch, (*events,), self.base, metrics=metrics)
        self.base = found.base
        return found.rows

    def nothing(self) -> Row:
        """The unedited model's line."""
        return self.row(
            NOTHING,
            False,
            [self.measured(self.alone, lib.EMPTY, "alone")],
            self.measured(self.stream, lib.EMPTY, "stream"),
        )

    def run(self, name: str, own: bool, entry: Entry | Ours) -> Row:
        """All edits of an entry, and their effects. A failed edit counts as not made.

        Each patch is measured immediately and dropped, so that only one is in memory.
        """
        seconds, failed = [], []

        def made(case: lib.Case, on: str) -> bool:
            try:
                seconds.append(entry.edit([case.fact], on))
            except Exception as error:
                failed.append((case.fact.text, sentence(error)))
                return False
            return True

        def done(cases: list[lib.Case], edited: bool, of: str) -> pd.DataFrame:
            try:
                return self.measured(cases, entry.made() if edited else lib.EMPTY, of)
            except Exception as error:  # a patch may raise an error wherever it is used
                failed.append((cases[-1].fact.text, sentence(error)))
                return self.measured(cases, lib.EMPTY, of)

        alone, on = [], "nothing"
        for case in self.alone:
            alone.append(done([case], made(case, on), "alone"))
            values = self.row(name, own, alone, self.measured([], lib.EMPTY, "stream")).values
            shares = [f"{column} {100 * v:.0f}" for column, (v, *_) in values.items() if v == v]
            say(f"{name}: {len(alone)} of {len(self.alone)} single edits, {', '.join(shares)}")
        for i, case in enumerate(self.stream, start=1):
            on = "last" if made(case, on) else on
            say(f"{name}: {i} of {len(self.stream)} edits in a row")
        return self.row(
            name, own, alone, done(self.stream, on == "last", "stream"), seconds, failed
        )

    def row(
        self, name: str, own: bool, alone: list[pd.DataFrame], stream: pd.DataFrame, *more: list
    ) -> Row:
        """The line of results for single edits, and after a stream's last edit."""
        rows = {"alone": pd.concat(alone), "stream": stream}
        values = {}
        for column, (of, metric, event) in COLUMNS.items():
            some = rows[of][(rows[of]["metric"] == metric) & (rows[of]["event"] == event)]
            means = some.groupby("case", sort=False)["value"].mean()  # the unit is the case
            values[column] = (float(means.mean()), *interval(means))
        return Row(name, own, values, *more)


def say(text: str) -> None:
    """Print a line on the progress."""
    print(text, file=sys.stderr, flush=True)


def names(files: Sequence[Path], ours: Iterable[str]) -> list[str]:
    """Return a name for each file, all different.

    It is the file's stem, or the student's folder if the file is called editor.py, on one line and
    without control characters.
    """
    found: list[str] = []
    for path in files:
        folders = [part for part in path.parent.parts if part not in ("my", ".", "..", "/")]
        name = folders[-1] if path.stem == "editor" and folders else path.stem
        name = " ".join(clean(name).split())
        free = chain([name], (f"{name} {n}" for n in count(2)))
        found.append(next(one for one in free if one not in (*ours, *found, NOTHING)))
    return found


def table(rows: Sequence[Row]) -> str:
    """The ranking as text, in percent."""
    head = ["", "editor", "score", *COLUMNS, "s/edit", "failed"]
    lines = [head]
    for place, row in enumerate(rows, start=1):
        shares = [f"{100 * v:.0f}" if v == v else "–" for v, _, _ in row.values.values()]
        spent = f"{median(row.seconds):.2g}" if row.seconds else "–"
        name = f"{row.name} *" if row.own else row.name
        lines.append(
            [str(place), name, f"{100 * row.score:.1f}", *shares, spent, str(len(row.failed))]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            x.ljust(w) if i == 1 else x.rjust(w)
            for i, (x, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plain(rows: Sequence[Row]) -> list[list]:
    """The ranking as numbers, a heading first."""
    found = [["editor", "place", "score", *COLUMNS, "seconds per edit", "failed"]]
    for place, row in enumerate(rows, start=1):
        shares = [round(v, 4) if v == v else "" for v, _, _ in row.values.values()]
        spent = round(median(row.seconds), 3) if row.seconds else ""
        found.append([row.name, place, round(row.score, 4), *shares, spent, len(row.failed)])
    return found


def report(rows: Sequence[Row], **settings: object) -> dict:
    """Everything as JSON, including intervals, seconds of every edit, and reasons for failures."""

    def cell(values: tuple[float, ...]) -> dict:
        known = [None if value != value else value for value in values]  # JSON has no NaN
        return dict(zip(("mean", "low", "high"), known, strict=True))

    lines = [
        {
            "editor": row.name,
            "place": place,
            "own": row.own,
            "file": row.file,
            "score": row.score,
            **{column: cell(values) for column, values in row.values.items()},
            "seconds": row.seconds,
            "failed": [": ".join(filter(None, failure)) for failure in row.failed],
        }
        for place, row in enumerate(rows, start=1)
    ]
    events = {column: f"{event}, {of}" for column, (of, _, event) in COLUMNS.items()}
    return {**settings, "measured by": events, "editors": lines}


def as_json(rows: Sequence[Row], settings: dict, left: list[str]) -> str:
    """The report as text, including the names of missing editors."""
    more = {"not measured": left} if left else {}
    ranked = sorted(rows, key=lambda row: row.score, reverse=True)
    return json.dumps(report(ranked, **settings, **more), indent=2, ensure_ascii=False)


def kept(path: Path | None) -> tuple[dict, list[Row]]:
    """The settings and the rows of a contest saved in a file, which may be unfinished.

    Empty if there is no such file. Raises ValueError if it cannot be read.
    """
    if path is None or not path.exists():
        return {}, []
    rows = []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for line in found.pop("editors"):
            values = {
                name: tuple(
                    float("nan" if line[name][end] is None else line[name][end])
                    for end in ("mean", "low", "high")
                )
                for name in COLUMNS
            }
            rows.append(
                Row(
                    line["editor"],
                    line["own"],
                    values,
                    seconds=[float(x) for x in line["seconds"]],
                    failed=[("", text) for text in line["failed"]],
                    file=line["file"],
                )
            )
        return {name: found[name] for name in ("model", "seed", "facts")}, rows
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is not an unfinished ranking. Please move it away") from None


def find(given: Sequence[Path], folder: Path | None) -> list[Path]:
    """The students' files; from a folder of students, each one's editor.py or my/editor.py.

    The list contains the expected path of a missing editor.
    """
    for path in given:
        if path.suffix != ".py" or not path.is_file():
            raise ValueError(f"there is no editor in {path}. It should be a file ending in .py")
    found = list(given)
    for student in files.students(folder) if folder else ():
        my = student / "my"
        places = [my / "editor.py", student / "editor.py"]
        there = [p for p in places if os.path.lexists(p) and not p.parent.is_symlink()]
        found += [*there, my / "editor.py" if files.alike(places[0]) else places[1]][:1]
    return found


def hand_in(path: Path) -> str | Failed:
    """A student's file as text, or the reason why it is not run."""
    try:
        return files.text_of(path)
    except ValueError as error:
        return Failed(clean(error))


def start(path: Path) -> None:
    """Copy the example to a file, leaving an existing file unchanged."""
    if os.path.lexists(path):
        return say(f"{path} is there already and stays as it is.")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, EXAMPLE.read_text(encoding="utf-8"))
    say(f"{path} is a copy of lessons/{EXAMPLE.name}.")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.leaderboard",
        description=__doc__,
        epilog=f"Protection while students' editors run: {protection()}.",
    )
    parser.add_argument("files", nargs="*", type=path_of, help="students' editors, a file each")
    parser.add_argument(
        "--folder", type=path_of, help="one folder per student, containing editor.py"
    )
    parser.add_argument(
        "--against",
        metavar="NAMES",
        help=f"editors of the library to compare with (default {','.join(OURS)}; '' for none)",
    )
    parser.add_argument(
        "--start", action="store_true", help="copy the example to a file that doesn't exist yet"
    )
    parser.add_argument("--cases", type=int, default=12, help="single edits (default 12)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="find out whether it runs: four single edits, next to stored rows of our editors",
    )
    parser.add_argument("--stream", type=int, help="edits one after another (default: as many)")
    parser.add_argument("--seed", type=int, help="draws the cases (default: a new one)")
    parser.add_argument(
        "--data", type=path_of, help="your own cases, in a format that the library reads"
    )
    parser.add_argument(
        "--model", default="default", help="default (the embedded one), a folder, or a hub id"
    )
    parser.add_argument(
        "--seconds", type=files.positive, default=60, help="limit of one edit (default 60)"
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=MEMORY,
        metavar="GB",
        help=f"address space of an editor's process, on the CPU (default {MEMORY}; 0: no limit)",
    )
    parser.add_argument(
        "--json", type=path_of, help="write all numbers there; an interrupted contest continues"
    )
    parser.add_argument("--csv", type=path_of, help="write the ranking there")
    return parser


@printable()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the contest; 0, or 2 after a sentence about the error.

    1 if a table could not be written at the end, 130 after an interruption: the results so far are
    printed in any case.
    """
    asked = arguments().parse_args(argv)
    if asked.quick:
        asked.cases, asked.stream = 4, 0
    model = None if asked.model == "default" else asked.model
    cuda = torch.cuda.is_available()
    limits = asked.seconds, None if cuda else int(asked.memory * 2**30) or None
    try:
        for path in asked.files if asked.start else ():
            start(path)
        given = find(asked.files, asked.folder)
        if why := no_process():
            raise ValueError(why)
        files.writable(asked.json, asked.csv)
        stream = asked.cases if asked.stream is None else asked.stream
        before, done = kept(asked.json and files.unfinished(asked.json))
        quick, stored = kept(QUICK) if asked.quick else ({}, [])
        drawn_by = {"seed": secrets.randbelow(2**31)} | quick | before
        seed = drawn_by["seed"] if asked.seed is None else asked.seed
        drawn = unseen(asked.cases, stream, seed, asked.data, model)
        contest = Contest(model, *drawn)
        settings = {"model": contest.lm.name, "seed": seed, "facts": digest(str(drawn), {})}
        if before and before != settings:
            raise ValueError(
                f"{files.unfinished(asked.json)} is from a contest with another model, seed, or "
                "other cases. Please move it away"
            )
        stored = stored if settings == quick else []
        against = ",".join([row.name for row in stored if row.name != NOTHING] or OURS)
        against = against if asked.against is None else asked.against
        ours = {name: lib.EDITORS[name] for name in against.split(",") if name}
        rows = [contest.nothing()]
    except KeyboardInterrupt:
        print("interrupted: no editor was measured", file=sys.stderr)
        return STOPPED
    except (lib.Error, ValueError, RuntimeError, OSError) as error:
        print(f"error: {lib.errors.sentence(error)}", file=sys.stderr)
        return 2
    texts = dict(zip(names(given, ours), map(hand_in, given), strict=True))  # before any runs
    places = dict(zip(texts, given, strict=True))
    codes = {name: digest(str(text), {}) for name, text in texts.items()} | dict.fromkeys(ours, "")
    there = {row.name: row for row in (*stored, *done) if codes.get(row.name) == row.file}
    rows += there.values()
    left = [name for name in codes if name not in there]
    if there:
        say(f"already measured, not repeated: {', '.join(there)}")
    settings |= {"protection": protection(), "cases": asked.cases, "stream": stream}
    more = {"hidden": [*given, *filter(None, (asked.folder, asked.data))], "graphics": cuda}
    try:
        for name in left.copy():
            say(f"{name} …")
            own, text = name in texts, texts.get(name)
            try:  # an error of an entrant only affects its own line
                if isinstance(text, Failed):
                    raise text
                with (
                    Entry(str(places[name].absolute()), model, *limits, text=text, **more)
                    if own
                    else contextlib.nullcontext(Ours(ours[name](contest.lm)))
                ) as entry:
                    rows.append(contest.run(name, own, entry))
            except Exception as error:
                nothing = dict.fromkeys(COLUMNS, (0.0, 0.0, 0.0))
                rows.append(Row(name, own, nothing, failed=[("", sentence(error))]))
            rows[-1].file = codes[name]
            left.remove(name)
            if asked.json and left:  # if the machine stops, only one editor's time is lost
                with contextlib.suppress(OSError):  # a full disk is reported at the end
                    files.write(files.unfinished(asked.json), as_json(rows, settings, left))
    except KeyboardInterrupt:
        print(f"interrupted: {', '.join(left)} not measured", file=sys.stderr)
    rows.sort(key=lambda row: row.score, reverse=True)
    unwritten = []
    for path, text in (
        (asked.csv, files.as_csv(plain(rows))),
        (asked.json, as_json(rows, settings, left)),
    ):
        try:  # before printing, which can also fail
            if path is not None:
                files.write(files.unfinished(path) if left else path, text)
                if not left:
                    files.unfinished(path).unlink(missing_ok=True)
        except OSError as error:
            unwritten.append(str(error))
    print(table(rows))
    half = interval([1] * (asked.cases // 2) + [0] * (asked.cases - asked.cases // 2))
    print(
        f"\n%, * yours; {asked.cases} single edits and {stream} in a row on {contest.lm.name}, "
        f"seed {seed}.\nWith {asked.cases} cases, a rate near one half is known to "
        f"± {50 * (half[1] - half[0]):.0f} points: two editors that differ by less than "
        f"{50 * (half[1] - half[0]) * 2**0.5:.0f} may be equally good."
    )
    print(f"Protection while students' editors ran: {protection()}.")
    for row in rows:
        times = "once" if len(row.failed) == 1 else f"{len(row.failed)} times, as with"
        for reason in list(dict.fromkeys(why for _, why in row.failed))[:3]:
            print(f"{row.name} failed {times}: {reason}")
    for said_of in unwritten:
        print(f"error: {said_of}; the ranking is only what is printed", file=sys.stderr)
    return STOPPED if left else int(bool(unwritten))


if __name__ == "__main__":
    sys.exit(main())
