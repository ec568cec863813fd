"""The floors of every part of the project, and the walker that holds its imports against them.

A *room* is a file or a folder directly under the root of a house; where the table names a file in a
folder ("grading.wire"), that file is a room of its own. A module may import from its own room and
from rooms on lower floors, nothing else. So to know what a change can break, look at the floors
above, and nowhere else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
EXERCISE = re.compile(r"l\d\w*")  # lessons/l3_2_….py


class House(NamedTuple):
    """A folder with its floors, the lowest first."""

    floors: list[set[str]]
    foreign: dict[str, set[str]] = {}  # a package -> the rooms that may import it
    late: frozenset[str] = frozenset()  # rooms that may import inside a function
    only: dict[str, set[str]] = {}  # a room -> all that it may import of this house
    strict: bool = False  # nothing of this project is imported late, not even in the same room


METHODS = {p.stem for p in (ROOT / "lib" / "editors").iterdir() if p.name[0] not in "._"}
HOUSES = {
    "lib": House(
        [
            {"errors"},
            {"setting_fields"},  # how a value is shown in a sentence
            {"arguments", "cancellation"},  # what holds during a body; loops that can be ended
            {"atomic_files", "registry", "distributed", "associative_memory"},
            {"computed_once"},  # what is computed once
            # facts, cases, their files; what counts as an answer, which is a rule on text alone
            {"data", "evaluation.answers"},
            {"patch"},  # an edit as a value
            {"model"},
            {"keys_values"},  # k, C, v*, gradients
            {"editors"},
            {"evaluation"},
            {"lifelong"},
            {"__init__"},
            {"workbench"},  # what is done with edits
            {"__main__"},
        ],
        foreign={
            "transformers": {"model"},
            "pickle": set(),
            "dill": set(),
            "joblib": set(),
        },
    ),
    "lib/workbench": House(
        [
            {"console", "plot"},
            {"interpret", "forensics", "export"},  # none imports another of this line
            {"instruments", "preset_search"},
            {"widgets"},
            {"__init__"},
            {"cli"},
        ]
    ),
    "lib/editors": House(
        [
            {"shared"},
            {"hypernetwork"},
            METHODS - {"shared", "hypernetwork", "presets", "wilke", "rledit", "sdf"},
            # ROME in the layer that fits the fact; MALMEN's on streams; LoRA's adapters on texts
            {"wilke", "rledit", "sdf"},
            {"__init__"},
        ],
        only={
            "wilke": {"shared", "rome"},
            "rledit": {"shared", "hypernetwork", "malmen"},
            "sdf": {"lora"},
        },
    ),
    "demo_app": House(
        [
            {"editor_roles"},
            {"session"},  # what visitors may do: plain values and jobs
            {"lifelong", "html"},  # none imports another of this line
            {"stored"},  # finished examples, made by those rooms and shown by the tabs
            {"gradio_internals"},  # what of Gradio is not public
            {"tabs", "api", "guard"},  # the endpoints are Gradio's; guard stands before the server
            {"app"},
            {"__main__", "__init__"},
        ],
        foreign={"gradio": {"gradio_internals", "tabs", "api", "guard", "app", "__main__"}},
        late=frozenset({"__main__"}),  # settings for Gradio stand in the environment before it
    ),
    "lessons": House(
        [
            {"marking", "grading.wire", "grading.exercise_source"}
            | {"grading.confinement", "grading.audit_hook", "grading.files", "grading", "__init__"}
            | {"exam_numbers"},
            {"grading.toy_networks", "grading.edited_layers", "grading.student_file"},
            {"grading.sandbox", "grading.child", "grading.leaderboard_entry"},
            {"grading.trial"},  # stands in the place of a sandbox, in a page
            {"grading.verdict", "grading.leaderboard_entrant"},
            {"grading.diagnosis", "grading.gradebooks"},  # verdicts in words and tables
            {"grading.class_folder"},
            {"grader", "leaderboard", "exam", "example_editor", "exercises"},
        ],
        only={"exercises": {"marking", "grading.toy_networks", "grading.edited_layers"}},
        strict=True,
    ),
    "notebooks": House(
        [
            {"support", "__init__"},
            {"scratch"},
            {"editors_map", "student", "collect"},
            {"build"},
            {"src", "book"},
            {"slides"},
        ],
        strict=True,
    ),
}
PROJECT = {"lib", "demo_app", "lessons", "notebooks", "tests"}


class Import(NamedTuple):
    """One imported name: who imports it, from where, and how."""

    importer: str  # dotted path below the root, "editors.rome"
    module: str  # dotted path of the imported module below the root, or of a foreign one
    name: str
    line: int
    late: bool  # inside a function, or under `if TYPE_CHECKING`
    own: bool  # of the same house


def modules(root: Path) -> dict[str, Path]:
    """{dotted path below the root: file}; a folder's `__init__` bears the folder's name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "__pycache__" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"] = path
    return found


@cache
def statements(text: str) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
    """The import statements of a file, and which stand in a function or are there for a hint."""
    tree = ast.parse(text)
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return [(node, id(node) in late) for node in found]


def imports(root: Path) -> Iterator[Import]:
    """Every import, at any depth of the code."""
    files = modules(root)
    for module, path in files.items():
        above = path.relative_to(root).parts[:-1]
        for node, late in statements(path.read_text(encoding="utf-8")):
            if isinstance(node, ast.Import):
                sources = [(alias.name, "") for alias in node.names]
            elif node.level <= len(above) + 1:
                kept = above[: len(above) - node.level + 1]
                base = [root.name, *kept] if node.level else []
                source = ".".join([*base, *filter(None, [node.module])])
                sources = [(source, alias.name) for alias in node.names]
            else:  # from above the root: not ours to judge
                continue
            for source, name in sources:
                own = source.split(".")[0] == root.name
                to = source.partition(".")[2] if own else source
                if own and (whole := f"{to}.{name}".strip(".")) in files:
                    to = whole
                yield Import(module, to, name, node.lineno, late, own)


def room(module: str, house: House) -> str:
    """The room of a module: the longest beginning of its path that the table names."""
    if EXERCISE.fullmatch(module) and "exercises" in house.only:
        return "exercises"
    names = set().union(*house.floors)
    parts = module.split(".")
    beginnings = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((one for one in beginnings if one in names), parts[0] or "__init__")


def violations(root: Path, house: House) -> list[str]:
    """One sentence per import that the table does not allow, and per room that it does not name."""
    level = {name: number for number, names in enumerate(house.floors) for name in names}
    rooms = {room(module, house) for module in modules(root)}
    found = [f"{name} stands on no floor" for name in sorted(rooms - level.keys())]
    for one in imports(root):
        mine, where = room(one.importer, house), f"{one.importer}:{one.line}"
        first = one.module.split(".")[0]
        late = one.late and mine not in house.late
        if not one.own:
            if mine not in house.foreign.get(first, {mine}):
                found.append(f"{where} imports {first}")
            if late and house.strict and first in PROJECT:
                found.append(f"{where} imports {one.module} late or for a hint only")
            continue
        other = room(one.module, house)
        if not {mine, other} <= level.keys() or (mine == other and not house.strict):
            continue
        if mine != other and level[other] >= level[mine]:
            found.append(f"{where} imports {one.module}, which does not stand on a lower floor")
        elif mine != other and other not in house.only.get(mine, {other}):
            found.append(f"{where} imports {one.module}, which is not for {mine}")
        if late:
            found.append(f"{where} imports {one.module} late or for a hint only")
        if one.name.startswith("_") and not one.name.startswith("__"):
            found.append(f"{where} takes the private name {one.name} from {one.module}")
    return found


def circles(root: Path) -> list[str]:
    """Modules that import each other, directly or around."""
    left: dict[str, set[str]] = {name: set() for name in modules(root)}
    for one in imports(root):
        if one.own:
            left[one.importer].add(one.module)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)
