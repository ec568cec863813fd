"""The architecture as a test: imports point to lower floors only (tests/support/floors.py)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lib
from demo_app.editor_roles import ROLES
from lib.workbench.plot.palette import EDITOR_COLORS
from lib.workbench.preset_search.tune import GRIDS

from ..support import floors
from ..support.floors import HOUSES, ROOT

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


@pytest.mark.parametrize("folder", HOUSES)
def test_imports_point_down(folder):
    assert floors.violations(ROOT / folder, HOUSES[folder]) == []


@pytest.mark.parametrize("folder", ["lessons", "notebooks"])
def test_there_is_no_circle(folder):
    assert floors.circles(ROOT / folder) == []


def test_an_experiment_builds_on_earlier_ones():
    for one in floors.imports(ROOT / "notebooks"):
        kind, _, topic = one.importer.removeprefix("support.").partition("_")
        there, _, before = one.module.removeprefix("support.").partition("_")
        if kind == "runs" and one.own:
            assert there != "runs" or before[:2] < topic[:2], one


RIGHT = {
    "lib": {"data/facts.py": "import math", "model/lm.py": "import transformers",
            "lifelong/run.py": "from ..model.lm import LM\nfrom . import row",
            "lifelong/row.py": "def f():\n    from .run import x",
            "workbench/cli.py": "from ..model.lm import LM"},
    "demo_app": {"session/worker.py": "import lib\nfrom .views import View",
                 "session/views.py": "", "html/render.py": "from ..session.worker import Job",
                 "lifelong/run.py": "from ..session import worker",
                 "tabs/edit.py": "import gradio as gr\nfrom ..html import render",
                 "api.py": "import gradio", "app.py": "from .tabs.edit import Page",
                 "__main__.py": "def main():\n    from .app import build\n    import gradio"},
    "lessons": {"marking.py": "", "grading/wire.py": "import lib",
                "grading/toy_networks.py": "from .wire import x",
                "grading/child.py": "from . import toy_networks",
                "l1_1_a.py": "from lessons.grading import toy_networks"},
    "notebooks": {"support/models.py": "import lib", "support/runs_01.py": "from . import models",
                  "build.py": "from .support import models",
                  "src/01_a.py": "from notebooks.support import models"},
}  # fmt: skip
LOWER, LATE = "which does not stand on a lower floor", "late or for a hint only"


@pytest.mark.parametrize(
    ("file", "line", "what"),
    [
        ("lib/data/facts.py", "from ..model.lm import LM", LOWER),
        ("lib/data/facts.py", "from lib.workbench.cli import main", LOWER),
        ("lib/lifelong/run.py", "from ..workbench.cli import x", LOWER),
        ("lib/model/lm.py", "def f():\n    from ..data import facts", LATE),
        ("lib/model/lm.py", "if TYPE_CHECKING:\n    from ..data import facts", LATE),
        ("lib/model/lm.py", "from ..data.facts import _hidden", "takes the private name _hidden"),
        ("lib/data/facts.py", "import transformers", "data.facts:1 imports transformers"),
        ("lib/model/lm.py", "def f():\n    import pickle", "model.lm:2 imports pickle"),
        ("lib/attic/old.py", "x = 1", "attic stands on no floor"),
        ("demo_app/session/worker.py", "from ..html import render", LOWER),
        ("demo_app/session/worker.py", "import gradio as gr", "session.worker:1 imports gradio"),
        ("demo_app/html/render.py", "from gradio import Error", "html.render:1 imports gradio"),
        ("demo_app/html/render.py", "from ..lifelong.run import x", LOWER),
        ("demo_app/html/render.py", "import demo_app.tabs.edit", LOWER),
        ("demo_app/html/render.py", "from demo_app import app", LOWER),
        ("demo_app/tabs/edit.py", "from .. import api", LOWER),
        ("demo_app/tabs/edit.py", "def f():\n    from ..session import worker", LATE),
        ("lessons/grading/wire.py", "from .child import x", LOWER),
        ("lessons/l1_1_a.py", "from .grading.wire import x", "which is not for exercises"),
        ("lessons/grading/child.py", "def f():\n    import lib", LATE),
        ("notebooks/support/models.py", "from .. import build", LOWER),
        ("notebooks/support/models.py", "def f():\n    from . import runs_01", LATE),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, what):
    folder = file.split("/")[0]
    for name, text in RIGHT[folder].items():
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert floors.violations(tmp_path / folder, HOUSES[folder]) == []
    assert folder == "lib" or floors.circles(tmp_path / folder) == []
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(line)
    (found,) = floors.violations(tmp_path / folder, HOUSES[folder])
    assert what in found


def test_a_circle_is_found(tmp_path):
    for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{name}.py").write_text(f"from . import {other}")
    assert floors.circles(tmp_path) == ["a", "b", "c"]


def test_rooms_have_names_of_their_own():
    # `import lib.scan as s` would give the function, `from lib.scan import scan` the module
    rooms = set().union(*HOUSES["lib"].floors) - {"associative_memory", "plot", "widgets"}
    assert not rooms & {name for name in vars(lib) if callable(getattr(lib, name))}
    first = [path.name for path in (ROOT / "demo_app").iterdir() if path.name != "__pycache__"]
    assert len(first) <= 16, sorted(first)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public() -> set[str]:
    """The names that `import lib` gives, and the public packages."""
    names = {f"{package}.{name}" for package in PUBLIC for name in given(package)}
    return names | PACKAGES | set(PUBLIC)


def given(package: str) -> set[str]:
    """The names that a package gives its users: those that its `__init__` imports."""
    found = ast.walk(tree(ROOT.joinpath(*package.split("."), "__init__.py")))
    froms = [alias for node in found if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {name for one in froms if (name := one.asname or one.name)[0] != "_"}


def test_the_library_is_small_and_knows_nothing_of_the_workbench():
    """At most 32 names, each in the one table of its package; nothing imports the workbench."""
    assert len(given("lib")) <= 32
    page = (ROOT / "notebooks/reference/names.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(
        f"{package}.{name}" for package in PUBLIC for name in given(package)
    )
    for one in floors.imports(ROOT / "lib"):
        if one.importer.split(".")[0] not in ("workbench", "__main__"):
            assert not one.module.startswith("workbench"), one


def module_of(name: str) -> str:
    """The longest beginning of a dotted name that is a module or package of this repository."""
    path = ROOT.joinpath(*name.split("."))
    while not (path.is_dir() or path.with_suffix(".py").is_file()):
        path = path.parent
    return path.relative_to(ROOT).as_posix().replace("/", ".")


@pytest.mark.parametrize("folder", OPENED)
def test_only_public_names_of_the_library_are_used(folder):
    """By an import, or as `lib.data.facts.lookup`."""
    wanted = {f"{one.module}.{one.name}".strip(".") for one in floors.imports(ROOT / folder)}
    for path in floors.modules(ROOT / folder).values():
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
        for one in floors.imports(ROOT / folder):
            assert not (one.module.startswith("lib") and one.name.startswith("_")), one
        for path in floors.modules(ROOT / folder).values():
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                    assert ast.unparse(node.value) not in ("lm", "lib", "patch"), (path, node.attr)


def test_the_library_names_no_method_where_it_measures_and_never_prints():
    for name, path in floors.modules(ROOT / "lib").items():
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
    rooms = sorted(set.union(*HOUSES["demo_app"].floors[:3]) - {"editor_roles"})
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import importlib, pkgutil, sys, lib\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        f"for room in {rooms!r}:\n"
        "    package = importlib.import_module(f'demo_app.{room}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'demo_app.{room}.{module.name}')\n"
        "assert 'gradio' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    bare = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "model-editing").exists()


def test_an_editor_declares_itself_and_nobody_else_lists_editors():
    """What is said of an editor stands in its class; what others need of it is a table's row."""
    listed = []
    tables = {"preset_search/tune", "plot/palette"}
    tables = {*(f"lib/workbench/{name}.py" for name in tables), "demo_app/editor_roles.py"}
    for house in ("lib", "demo_app"):
        for path in sorted((ROOT / house).rglob("*.py")):
            if path.is_relative_to(ROOT / "lib/editors") or str(path.relative_to(ROOT)) in tables:
                continue
            for node in ast.walk(tree(path)):
                parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
                names = [part.value for part in parts if isinstance(part, ast.Constant)]
                if len(lib.EDITORS.keys() & {n for n in names if isinstance(n, str)}) > 1:
                    listed.append(f"{path.relative_to(ROOT)}:{node.lineno} {names}")
    assert listed == []
    titles = [editor.title for editor in lib.EDITORS.values()]
    assert len({*titles, type("Mine", (lib.EDITORS["ft"],), {}).title}) == len(titles)
    # every editor has a row in the tables that are about all of them
    assert EDITOR_COLORS.keys() == lib.EDITORS.keys()
    assert ROLES.keys() == lib.EDITORS.keys() and GRIDS.keys() < lib.EDITORS.keys()
    uses = {"opening", "blind", "warm", "race", "ticked", "baseline"}
    assert {use for roles in ROLES.values() for use in roles} == uses
