"""The hand-ins of a class: folders, archives, and notebooks, and which of them to look at.

Everything is read before the first file is run. Archives are unpacked into a temporary folder, and
the code in a notebook's holes is used if there is no file for that exercise.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from lessons.grading import archives, downloads, files, notebook_files
from lessons.grading.exercise_source import UNREADABLE, Exercise, exercises
from lessons.grading.verdict import Verdict, hand_in
from lessons.marking import clean

OTHERS = (
    ".zip",
    ".tgz",
    ".tar",
    ".7z",
    ".rar",
    ".gz",
    ".xz",
    ".bz2",
    ".zst",
    ".py",
    ".ipynb",
)  # endings of files that are not hand-ins, but may have been meant as such
ENDING = re.compile(f"({'|'.join(map(re.escape, files.ARCHIVES))})$", re.IGNORECASE)
LISTED = 1000  # maximal number of file names read from a hand-in
SHORT = 30  # pieces of a program beyond the stub; shorter answers may match by chance
ALIKE = (
    "Answers are compared without their comments, layout, and names. The solutions are public and "
    "a short answer has few forms, so have the students explain theirs before you draw "
    "conclusions."
)


@dataclass
class HandIn:
    """One student's work: a text or a verdict for each exercise, and when that file was saved.

    `odd` contains a sentence for everything that a teacher should look at. `versions` contains a
    sentence for each answer with several versions, on which of them was graded.
    """

    student: str
    texts: list[str | Verdict]
    saved: list[float]
    odd: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


def read(chosen: Sequence[Exercise], folder: Path) -> tuple[list[HandIn], list[str]]:
    """The hand-ins in the folder of a class, and sentences on its other files."""
    known = downloads.logins(folder)
    with ExitStack() as open_:
        one, two = (
            Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="a-class-"))) for _ in "12"
        )
        place, odd = downloads.opened(folder, one)
        given, used, said = downloads.sorted_out(place, two)
        odd += said
        plain = [path for path in files.listed(place) if path not in used]
        if not (given or plain):
            files.students(place)  # raises an error saying that there are none
        everybody = [*given.items()]
        for path in sorted(plain, key=Path.is_file):
            everybody.append((path.name if path.is_dir() else ENDING.sub("", path.name), path))
        found: dict[str, HandIn] = {}
        for own, path in everybody:
            name = files.readable(own)
            name = (known or {}).get(name, name)
            if name in found:
                odd.append(f"{path.name} was not read. {name}, next to it, is graded instead.")
                continue
            with tempfile.TemporaryDirectory(prefix="handed-in-") as room:
                found[name] = _one(name, path, chosen, Path(room))
        for path in sorted(place.glob("[!.]*")):
            if path.is_symlink():
                odd.append(f"{path.name} is a link and was not read.")
            elif path.suffix.casefold() in OTHERS and path not in used and path not in plain:
                odd.append(
                    f"{path.name} is neither a folder nor a zip or tar.gz, so it was not read."
                )
    odd += downloads.renamed([*found], known, bool(used))
    return [found[name] for name in sorted(found)], odd


def _one(name: str, path: Path, chosen: Sequence[Exercise], room: Path) -> HandIn:
    """The work of one student, from a folder or an archive, which is unpacked into `room`."""
    odd, root, refused = [], path, False
    archive, left = (path, []) if path.is_file() else _packed(path)
    if archive:
        root = room
        try:
            archives.unpack(archive, room)
            odd.append(f"{archive.name} was unpacked, and its files were graded.")
        except ValueError as error:
            root, refused = room / "none", True
            odd.append(f"{archive.name} was not unpacked, so nothing was graded: {error}.")
    for _ in range(archives.DEEPEST):  # folders that contain only a folder
        inside = [one for one in root.glob("[!.]*") if one.name.casefold() not in files.NOBODY]
        if len(inside) != 1 or inside[0].name == "my" or inside[0].is_symlink():
            break
        root = inside[0] if inside[0].is_dir() else root
    my, names = root / "my", [*_names(root)]
    places = [my, root] if my.is_dir() and not my.is_symlink() else [root]
    noted, dates, unread = notebook_files.collected(chosen, places)
    odd += [f"{said}." for said in unread]
    left = [f"Not unpacked, and not graded: {clean(', '.join(left))}."] if left else []
    found, taken = HandIn(name, [], [], odd, left), []
    for one in chosen:
        at = next((p for p in places if os.path.lexists(p / one.path.name)), root)
        (text,), own = hand_in([one], at), at / one.path.name
        saved = own.lstat().st_mtime if os.path.lexists(own) and text != one.stub else 0.0
        missing = isinstance(text, Verdict) and text.status == "missing"
        same = [n for n in names if files.is_like(Path(n).name, one.path.name)]
        note = noted.get(one.path.name)
        if note and (missing or text == one.stub):
            text, saved = note.text, max(dates)
            taken.append(one.number)
            found.versions += [f"{one.number}: {said}." for said in note.twice]
            found.versions += _left(one, note.paths, note.text, same, root)
        elif isinstance(text, Verdict):
            said = text.message.replace(f" in {at}", "")
            alike = same if missing else []
            if alike:
                there = clean(", ".join(alike[:3]))
                said = f"{there} should be {one.path.name} or my/{one.path.name}."
            if alike or not missing:
                odd.append(f"{one.number}: {said}")
            text = replace(text, message=said, unread=bool(alike) or not missing or refused)
        if one.number not in taken and not missing:
            read_ = text if isinstance(text, str) else ""
            others = note.paths if note and form(note.text) != form(read_) else []
            mine = os.path.relpath(own, root)
            found.versions += _left(one, [mine], read_, same, root, others)
        found.texts.append(text)
        found.saved.append(saved)
    if taken:
        odd.append(f"{', '.join(taken)}: taken from a notebook.")
    foreign = [*_foreign(chosen, names)]
    if not unread and all(isinstance(t, Verdict) and not t.unread for t in found.texts):
        there = ", ".join(dict.fromkeys([*names[:5], *foreign]))
        none = f"No file of these exercises is there: only {there}."
        odd.append(none if names else "The folder is empty.")
    elif foreign:
        found.versions.append(f"Not read: {clean(', '.join(foreign))}; no exercise has this name.")
    return found


def _foreign(chosen: Sequence[Exercise], names: Sequence[str]) -> Iterator[str]:
    """Programs and notebooks that no exercise is read from, and that no other sentence names."""
    known = {one.path.name for one in exercises()} | {"editor.py"}  # the project's
    for name in names:
        place, file = os.path.split(name)
        like = any(files.is_like(file, one.path.name) for one in chosen)
        program = file.casefold().endswith(".py") and not (file in known or like)
        if program or (file.casefold().endswith(".ipynb") and place not in ("", "my")):
            yield name


def _left(
    one: Exercise,
    graded: Sequence[str],
    text: str,
    same: Sequence[str],
    root: Path,
    others: Sequence[str] = (),
) -> Iterator[str]:
    """A sentence on other versions of an answer, which are not graded, if there are any."""
    left = []
    for name in same:
        try:
            other = name not in graded and files.text_of(root / name) not in (text, one.stub)
        except ValueError:
            other = True
        if other and name.casefold().endswith(".py"):
            left.append(name)
    if left or others:
        stub = ", which is as it was handed out," if text == one.stub else ""
        what = f"{', '.join(graded)}{stub} was graded; not graded: {', '.join([*left, *others])}."
        yield f"{one.number}: {clean(what)}"


def _packed(folder: Path) -> tuple[Path | None, list[str]]:
    """The archive to grade, if the folder contains no other work, and all other archives."""
    names = [*_names(folder)]
    packed = [name for name in names if name.casefold().endswith(files.ARCHIVES)]
    others = any(name.casefold().endswith((".py", ".ipynb")) for name in names)
    return (folder / packed[0], packed[1:]) if packed and not others else (None, packed)


def _names(folder: Path) -> Iterator[str]:
    """Relative paths of a hand-in's files, without those in a copy of the course."""
    count = 0
    for place, folders, there in os.walk(folder):
        if "grader.py" in there:
            there.clear()
        folders[:] = [n for n in folders if n[0] != "." and n.casefold() not in files.NOBODY]
        for name in sorted(there):
            if name[0] != "." and (count := count + 1) <= LISTED:
                yield os.path.relpath(os.path.join(place, name), folder)


def shared(chosen: Sequence[Exercise], hand_ins: Sequence[HandIn]) -> list[str]:
    """Sentences on answers common to several students, or equal to the published solution.

    Students who share answers are a group, together with everyone who shares another with them.
    """
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    published: dict[str, list[str]] = defaultdict(list)
    for at, one in enumerate(chosen):
        forms: dict[str, list[str]] = defaultdict(list)
        texts = {h.student: h.texts[at] for h in hand_ins if isinstance(h.texts[at], str)}
        (stub, least), (solution, _) = form(one.stub), form(one.solution)
        for student, text in texts.items():
            own, size = form(text)
            if own == solution != stub:
                published[student].append(one.number)
            elif own not in (stub, "") and size > least + SHORT:
                forms[own].append(student)
        for who in map(tuple, forms.values()):
            identical = len({texts[student] for student in who}) == 1
            alike[who].append(one.number + " (byte for byte)" * identical)
    groups: list[list[tuple[str, ...]]] = []
    for who in sorted((who for who in alike if len(who) > 1), key=len, reverse=True):
        met = [group for group in groups if {*who} & {*chain(*group)}]
        groups = [group for group in groups if group not in met] + [[*chain(*met), who]]
    by: dict[str, list[str]] = defaultdict(list)
    for student, numbers in published.items():
        by[", ".join(numbers)].append(student)
    said = [
        "; ".join(f"{', '.join(who)} in {', '.join(alike[who])}" for who in group)
        for group in groups
    ]
    return [
        *(f"The same answers: {one}." for one in said),
        *(f"{', '.join(who)}: the published solution of {n}." for n, who in by.items()),
        *[ALIKE] * bool(said or by),
    ]


def _silent(part: ast.stmt) -> bool:
    """Return whether a piece of a program is a docstring or an import."""
    text = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
    return text or isinstance(part, ast.Import | ast.ImportFrom)


def form(text: str) -> tuple[str, int]:
    """A program without layout, comments, and docstrings, its names replaced by numbers; its size.

    The size is its number of pieces. Empty if it is not Python.
    """
    try:
        tree = ast.parse(text)
        names: dict[str, str] = {}
        for part in ast.walk(tree):
            for key in ("id", "arg") if isinstance(part, ast.Name | ast.arg) else ():
                if hasattr(part, key):
                    setattr(part, key, names.setdefault(getattr(part, key), str(len(names))))
            if isinstance(body := getattr(part, "body", None), list):
                part.body = [one for one in body if not _silent(one)]
        return ast.dump(tree), sum(1 for _ in ast.walk(tree))
    except UNREADABLE:
        return "", 0
