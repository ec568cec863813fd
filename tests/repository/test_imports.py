"""The architecture as a test: who may import whom (importlinter.toml), and what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import lib

ROOT = Path(__file__).parents[2]

# public with all that they define
PUBLIC = ("lib", "lib.workbench")
PACKAGES = {"lib.errors", "lib.associative_memory", "lib.workbench.plot", "lib.workbench.widgets"}
# What these open of `lib` beside its public names, because a page is about it: it may only shrink.
OPENED = {
    "lessons": {
        "lib.atomic_files",  # what a teacher keeps is whole, and what an entrant reads is cached
        "lib.workbench.console",
        "lib.editors.shared.editor_file",  # a file is read as the command line reads it
        "lib.evaluation.intervals",
        "lib.keys_values.answer_gradients",
        "lib.patch.tensor_file",  # an entrant renames nothing: it writes in place
    },
    "notebooks": {
        "lib.atomic_files",  # what a reader wrote is never half a file
        "lib.data.facts",
        "lib.data.texts",
        "lib.editors.grace.codebook",
        "lib.editors.grace.route",  # the keys that the student's file stores
        "lib.editors.hypernetwork.losses",
        "lib.editors.hypernetwork.network",
        "lib.editors.hypernetwork.network_file",
        "lib.editors.lemoe.clusters",
        "lib.editors.lemoe.learning",
        "lib.editors.lemoe.routers",
        "lib.editors.rome",
        "lib.editors.shared.values_at_layers",  # seven layers at the price of two, on page 08
        "lib.editors.wise.route",
        "lib.editors.wise.training",  # what it reads of a text, in the place of a reader of page 12
        "lib.evaluation.answers",
        "lib.evaluation.intervals",
        "lib.workbench.instruments.survival",  # its matrices, which are rounded there
        "lib.evaluation.perplexity",  # losses window by window, of which 06 takes intervals
        "lib.workbench.forensics.candidates",
        "lib.workbench.forensics.investigation",
        "lib.workbench.forensics.matched_filter",
        "lib.workbench.forensics.what_was_said",
        "lib.workbench.forensics.reversal",
        "lib.workbench.interpret.causal_trace",
        "lib.workbench.interpret.corrupted_runs",
        "lib.workbench.interpret.logit_lens",
        "lib.evaluation.superposition",
        "lib.keys_values.answer_gradients",
        "lib.keys_values.running_moments",
        "lib.keys_values.general_text",
        "lib.keys_values.second_moment",
        "lib.keys_values.value_search",
        "lib.model.activations",
        "lib.model.generation",
        "lib.workbench.plot.style",
    },
}


def test_imports_point_down():
    command = [Path(sys.executable).with_name("lint-imports"), "importlinter.toml", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def files(folder: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / folder).rglob("*.py")))


def imported(folder: str) -> Iterator[tuple[Path, str]]:
    """Every file of a folder, with each name of another package that it imports, dotted."""
    for path in files(folder):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def public() -> set[str]:
    """The names that `import lib` gives, and the public packages."""
    names = {f"{package}.{name}" for package in PUBLIC for name in given(package)}
    return names | PACKAGES | set(PUBLIC)


def given(package: str) -> set[str]:
    """The names that a package gives its users: those that its `__init__` imports."""
    found = ast.walk(tree(ROOT.joinpath(*package.split("."), "__init__.py")))
    froms = [alias for node in found if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {name for one in froms if (name := one.asname or one.name)[0] != "_"}


def test_public_names_are_few_and_listed():
    """At most 32 names, each in the one table of its package."""
    assert len(given("lib")) <= 32
    page = (ROOT / "notebooks/reference/names.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(
        f"{package}.{name}" for package in PUBLIC for name in given(package)
    )


def module_of(name: str) -> str:
    """The longest beginning of a dotted name that is a module or package of this repository."""
    path = ROOT.joinpath(*name.split("."))
    while not (path.is_dir() or path.with_suffix(".py").is_file()):
        path = path.parent
    return path.relative_to(ROOT).as_posix().replace("/", ".")


@pytest.mark.parametrize("folder", OPENED)
def test_only_public_names_of_the_library_are_used(folder):
    """By an import, or as `lib.data.facts.lookup`."""
    wanted = {name for _, name in imported(folder)}
    for path in files(folder):
        found = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
        inner = {node.value for node in found}
        dots = {ast.unparse(node) for node in found if node not in inner}
        wanted |= {name for name in dots if re.fullmatch(r"[\w.]+", name)}
    beginnings = {name for name in wanted if name.split(".")[0] == "lib"} - public()
    opened = {module_of(name) for name in beginnings} - {"lib", *PACKAGES}
    assert opened <= OPENED[folder], "take a public name of lib instead"
    assert OPENED[folder] <= opened, "nobody opens these any more: take them off the list"


def test_front_ends_take_no_private_name():
    for folder in ("demo_app", "lessons", "notebooks/src"):
        for path, name in imported(folder):
            assert not re.match(r"lib\b.*\._[^_]", name), (path, name)
        for path in files(folder):
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                    assert ast.unparse(node.value) not in ("lm", "lib", "patch"), (path, node.attr)


def test_the_library_names_no_method_where_it_measures_and_never_prints():
    for path in files("lib"):
        name = path.relative_to(ROOT / "lib").with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and not name.startswith("workbench.cli"):
                called = ast.unparse(node.func)
                assert called not in ("print", "torch.load", "torch.save"), (name, called)
            if name.startswith(
                ("evaluation", "lifelong", "workbench.plot", "workbench.instruments")
            ):
                word = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
                assert not isinstance(word, str) or word.lower() not in lib.EDITORS, (name, word)


def test_importing_needs_no_network_no_cache_and_no_gradio(tmp_path):
    """What the imports of the files say also holds when they are run."""
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import importlib, pkgutil, sys, lib\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "for name in ('session', 'lifelong', 'html'):\n"
        "    package = importlib.import_module(f'demo_app.{name}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'demo_app.{name}.{module.name}')\n"
        "assert 'gradio' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    bare = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "model-editing").exists()


def test_an_editor_declares_itself_and_nobody_else_lists_editors():
    """What is said of an editor stands in its class; others read it there."""
    listed = []
    for folder in ("lib", "demo_app"):
        for path in files(folder):
            if path.is_relative_to(ROOT / "lib/editors"):
                continue
            for node in ast.walk(tree(path)):
                parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
                names = [part.value for part in parts if isinstance(part, ast.Constant)]
                if len(lib.EDITORS.keys() & {n for n in names if isinstance(n, str)}) > 1:
                    listed.append(f"{path.relative_to(ROOT)}:{node.lineno} {names}")
    assert listed == []
    titles = [editor.title for editor in lib.EDITORS.values()]
    assert len({*titles, type("Mine", (lib.EDITORS["ft"],), {}).title}) == len(titles)
    uses = {"opening", "blind", "warm", "race", "ticked", "baseline"}
    assert {use for editor in lib.EDITORS.values() for use in editor.page} == uses
