"""Imports of lessons and notebooks: own room and lower floors only, and public names of `lib`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIB = ROOT / "lib"
PACKAGES = {"lib.memory", "lib.plot", "lib.widgets"}  # public with all that they define
LESSONS = [  # a module imports those on lines above its own
    {"marking", "grading.wire", "grading.exercise_source"}
    | {"grading.confinement", "grading.audit_hook"},
    {"grading.toy_networks", "grading.edited_layers", "grading.student_file"},
    {"grading.sandbox", "grading.child", "grading.leaderboard_entry"},
    {"grading.verdict", "grading.leaderboard_entrant"},
    {"grading.class_folder"},
    {"grader", "leaderboard", "example_editor", "exercises"},
]
FOR_EXERCISES = {"marking", "grading.toy_networks", "grading.edited_layers"}
NOTEBOOKS = [{"support"}, {"build"}, {"src"}]
# What the notebooks open beside the public names, because a page is about it. This may only shrink.
OPENED = {
    "lessons": {"lib.evaluation.intervals"},
    "notebooks": {
        "lib.data.facts",
        "lib.data.texts",
        "lib.editors.grace.codebook",
        "lib.editors.hypernetwork.losses",
        "lib.editors.hypernetwork.network",
        "lib.editors.hypernetwork.network_file",
        "lib.editors.lemoe.anchor_router",
        "lib.editors.lemoe.fact_clusters",
        "lib.editors.lemoe.memoe_router",
        "lib.editors.lemoe.router_training",
        "lib.editors.prune",
        "lib.editors.rect",
        "lib.editors.rome",
        "lib.editors.wise.merging",
        "lib.editors.wise.side_memory",
        "lib.evaluation.answers",
        "lib.evaluation.evaluate",
        "lib.evaluation.intervals",
        "lib.forensics.candidates",
        "lib.forensics.investigation",
        "lib.forensics.matched_filter",
        "lib.forensics.objects",
        "lib.forensics.reversal",
        "lib.forensics.spectrum",
        "lib.interpret.causal_trace",
        "lib.interpret.corrupted_runs",
        "lib.interpret.damage",
        "lib.interpret.logit_lens",
        "lib.interpret.predicted_kl",
        "lib.interpret.superposition",
        "lib.keys_values.answer_gradients",
        "lib.keys_values.running_moments",
        "lib.keys_values.target_value",
        "lib.model.activations",
        "lib.model.generation",
        "lib.model.partial_forward",
        "lib.plot.style",
    },
}


def files(folder: str) -> dict[str, ast.Module]:
    """{module below the folder: its tree}."""
    return {
        path.relative_to(ROOT / folder).with_suffix("").as_posix().replace("/", "."): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that are imported, relative ones with their package: "lib.data.facts.lookup"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str:
    """The longest beginning of a dotted name that is a module or package of this repository."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.is_dir() or path.with_suffix(".py").is_file():
            return ".".join(parts[:end])
    return ""


def own(folder: str) -> dict[str, set[str]]:
    """{module: modules of the same folder that it imports}, all below the folder."""
    found = {}
    for name, tree in files(folder).items():
        package = f"{folder}.{name}".rpartition(".")[0]
        modules = {module_of(wanted) for wanted in imports(tree, package)}
        prefix = f"{folder}."
        found[name] = {m.removeprefix(prefix) for m in modules if m.startswith(prefix)}
    return found


def is_exercise(name: str) -> bool:
    return name.startswith("l") and name[1].isdigit()


def test_lessons_stand_on_floors():
    floor = {name: i for i, names in enumerate(LESSONS) for name in names}
    for name, wanted in own("lessons").items():
        if name.endswith("__init__"):
            assert not wanted, name
            continue
        if is_exercise(name):
            assert wanted <= FOR_EXERCISES, (name, wanted)
        mine = floor["exercises" if is_exercise(name) else name]
        for other in wanted:
            assert floor[other] < mine, f"{name} imports {other}, which is not below it"


def test_notebooks_stand_on_floors():
    floor = {name: i for i, names in enumerate(NOTEBOOKS) for name in names}
    for name, wanted in own("notebooks").items():
        room = name.split(".")[0]
        if name.endswith("__init__"):
            assert not wanted, name
            continue
        for other in wanted:
            there = other.split(".")[0]
            assert (room == there == "support") or floor[there] < floor[room], (name, other)


def test_an_experiment_builds_on_earlier_ones_and_on_no_checks():
    for name, wanted in own("notebooks").items():
        kind, _, topic = name.removeprefix("support.").partition("_")
        for other in wanted:
            there, _, before = other.removeprefix("support.").partition("_")
            if kind == "runs":
                assert there != "checks" and (there != "runs" or before[:2] < topic[:2]), name
            elif kind == "checks":
                assert other == "support.checks_common", (name, other)


@pytest.mark.parametrize("folder", ["lessons", "notebooks"])
def test_there_is_no_circle(folder):
    left = own(folder)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize("folder", ["lessons", "notebooks"])
def test_imports_are_seen_at_the_top(folder):
    """None of ours waits inside a function, and none is for type hints alone."""
    for name, tree in files(folder).items():
        package = f"{folder}.{name}".rpartition(".")[0]
        assert "TYPE_CHECKING" not in ast.dump(tree), name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                late = {wanted.split(".")[0] for wanted in imports(node, package)}
                assert not late & {"lib", "lessons", "notebooks"}, (name, node.name)


def public() -> set[str]:
    """The names that `import lib` gives, and the public packages."""
    tree = ast.parse((LIB / "__init__.py").read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {f"lib.{alias.asname or alias.name}" for node in found for alias in node.names}
    return names | PACKAGES | {"lib"}


def opened(tree: ast.AST, package: str) -> set[str]:
    """Modules of `lib` that a file reaches into: by an import, or as `lib.data.facts.lookup`."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    inner = {node.value for node in found}
    dots = [ast.unparse(node) for node in found if node not in inner]
    wanted = {*imports(tree, package), *(name for name in dots if re.fullmatch(r"[\w.]+", name))}
    mine = {name for name in wanted if name.split(".")[0] == "lib"} - public()
    return {module_of(name) for name in mine} - {"lib", *PACKAGES}


@pytest.mark.parametrize("folder", OPENED)
def test_only_public_names_of_the_library_are_used(folder):
    found: dict[str, list[str]] = {}
    for name, tree in files(folder).items():
        for module in opened(tree, f"{folder}.{name}".rpartition(".")[0]):
            found.setdefault(module, []).append(name)
    more = {module: names for module, names in found.items() if module not in OPENED[folder]}
    assert not more, f"take a public name of lib instead: {more}"
    assert not OPENED[folder] - found.keys(), "nobody opens these any more: take them off the list"
