"""A class as downloaded from Moodle or Canvas: the owner of each folder or file, and their login.

Moodle's download has a folder `Anna Schmidt_101_assignsubmission_file_` for each student, and
another for a text typed online. Canvas has plain files, `annaschmidt_LATE_123_456_l2_1_insert.py`.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lessons.grading import archives, files

MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_(file|onlinetext)(?:_(.*))?")
CANVAS = re.compile(r"([^_]+)_(?:LATE_)?(\d+)_\d+_(.+)")
AGAIN = re.compile(r"(l\d+_\d+_\w+)-\d+(\.py)", re.IGNORECASE)  # Canvas numbers later versions
CLASSES = 20  # maximal size of a class's archive, in student archives of maximal size
NAMES = "names.csv"


def opened(folder: Path, room: Path) -> tuple[Path, list[str]]:
    """The folder of a class, unpacked into `room` if it is an archive of the whole class."""
    path = folder
    if not (folder.is_file() and folder.name.casefold().endswith(files.ARCHIVES)):
        there = files.listed(folder)
        whole = [one for one in there if one.is_file() and _is_class(one)]
        if not whole:
            return folder, []
        if len(there) > 1:  # a student's archive could contain a folder with another's name
            said = "contains a whole class. Unpack it, or put it into an empty folder"
            return folder, [f"{one.name} {said}." for one in whole]
        path = whole[0]
    try:
        archives.unpack(path, room, CLASSES)
    except ValueError as error:
        raise ValueError(f"{path.name} was not unpacked: {error}") from None
    inside = [one for one in room.iterdir() if one.name.casefold() not in files.NOBODY]
    if len(inside) == 1 and inside[0].is_dir() and not MOODLE.fullmatch(inside[0].name):
        room = inside[0]
    return room, [f"{path.name} was unpacked as the archive of a whole class."]


def _is_class(path: Path) -> bool:
    """Return whether the archive contains names of the form that Moodle or Canvas uses."""
    names = (name.replace("\\", "/").removeprefix("./") for name in archives.names(path))
    tops = (name.partition("/") for name in names)
    return any(MOODLE.fullmatch(top) or (not rest and _flat(top)) for top, _, rest in tops)


def _flat(name: str) -> tuple[str, str, str] | None:
    """A file's owner in a download without folders, their number, and its original name."""
    if (found := MOODLE.fullmatch(name)) and found[4]:
        return found[1], found[2], found[4]
    found = CANVAS.fullmatch(name)
    return (found[1], found[2], AGAIN.sub(r"\1\2", found[3])) if found else None


def sorted_out(folder: Path, room: Path) -> tuple[dict[str, Path], set[Path], list[str]]:
    """{student: their folder} of a download, the paths that belong to it, and notes on them.

    Files without folders are copied into `room`. Empty for a class with a folder per student.
    """
    owners: dict[tuple[str, str], list[tuple[Path, str]]] = defaultdict(list)
    used, kinds = set(), set()
    for path in sorted(folder.iterdir()):
        found = MOODLE.fullmatch(path.name)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            continue
        if path.is_dir() and found and not found[4]:
            owners[found[1], found[2]].append((path, ""))
            kinds.add("Moodle's folders, such as NAME_101_assignsubmission_file_")
        elif path.is_file() and (flat := _flat(path.name)):
            owners[flat[:2]].append((path, flat[2]))
            kind = "Moodle's files, such as NAME_101_assignsubmission_file_l2_1_insert.py"
            kinds.add(kind if found else "Canvas's files, such as name_123_456_l2_1_insert.py")
        else:
            continue
        used.add(path)
    students, odd = {}, []
    names = [name for name, _ in owners]
    for (name, number), parts in owners.items():
        student = name if names.count(name) == 1 else f"{name} {number}"
        folders = [path for path, own in parts if not own]  # the folder of files comes first
        odd += [f"{path.name}: the text typed online was not graded." for path in folders[1:]]
        if folders:
            students[student] = folders[0]
            continue
        students[student] = room / str(len(students))
        students[student].mkdir()
        for path, own in parts:
            target = students[student] / Path(own).name
            if path.stat().st_size > archives.PACKED or target.exists():
                why = "there is another with that name" if target.exists() else "it is too large"
                odd.append(f"{path.name} was not read: {why}.")
            else:
                shutil.copy2(path, target)
    if kinds:
        odd.insert(0, f"The class was read as {' and '.join(sorted(kinds))}.")
    return students, used, odd


def logins(folder: Path) -> dict[str, str] | None:
    """`names.csv` in the class's folder, or next to it: {name of the hand-in: login}."""
    there = (place / NAMES for place in (folder, folder.resolve().parent))
    path = next((one for one in there if one.is_file()), None)
    if path is None:
        return None
    found: dict[str, str] = {}
    try:
        for row in csv.reader(files.text_of(path).splitlines()):
            if len(row) != 2 or not all(map(str.strip, row)) or {"/", "\\"} & {*row[1]}:
                raise ValueError(f"a line is {','.join(row)!r}")
            found[files.readable(row[0])] = files.readable(row[1])
    except (ValueError, csv.Error) as error:
        form = "handed in as,login, then a line such as Anna Schmidt,aschmidt"
        raise ValueError(f"{path} cannot be read ({error}). Its form is {form}") from None
    return found


def renamed(students: Sequence[str], known: dict[str, str] | None, guess: bool) -> Iterator[str]:
    """Sentences for the teacher on names that may not be logins."""
    if known is None and guess:
        yield (
            "If these names are not the students' logins, moodle.csv and canvas.csv won't match "
            f"anyone in the course system. Write {NAMES}, as described in GRADING.md."
        )
    lacking = [one for one in students if known is not None and one not in known.values()]
    if lacking:
        yield f"{NAMES} has no line for {', '.join(lacking)}."
