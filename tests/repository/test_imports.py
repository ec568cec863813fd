"""The architecture as a test: who may import whom (importlinter.toml), and what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lib
from demo_app.editor_roles import ROLES
from lib.workbench.plot.palette import EDITOR_COLORS
from lib.workbench.preset_search.tune import GRIDS

ROOT = Path(__file__).parents[2]

# public with all that they define
PUBLIC = ("lib", "lib.workbench")


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
            measuring = ("evaluation", "lifelong", "workbench.plot", "workbench.instruments")
            if name.startswith(measuring) and name != "workbench.plot.palette":
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


def test_every_editor_has_a_row_in_the_tables_about_editors():
    assert EDITOR_COLORS.keys() == lib.EDITORS.keys()
    assert ROLES.keys() == lib.EDITORS.keys() and GRIDS.keys() < lib.EDITORS.keys()
    uses = {"opening", "guessed", "warm", "race", "ticked", "baseline"}
    assert {use for roles in ROLES.values() for use in roles} == uses
