"""The rooms of the page import their own room and lower floors, and few of them import Gradio."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "demo_app"
FLOORS = [
    {"session"},  # what visitors may do: plain values and jobs
    {"inside", "lifelong", "html"},  # none imports another of this line
    {"tabs", "api"},  # the endpoints of api are Gradio's
    {"app"},
    {"__main__", "__init__"},
]
GRADIO = {"tabs", "api", "app", "__main__"}
# the settings for Gradio stand in the environment before it is imported, and while it is imported
# the model answers already: so the file that starts the page imports late
LATE = {"__main__"}
NAMES = 15  # at most on the first level


def violations(root: Path) -> list[str]:
    """One sentence for each import in the tree that goes up, sideways, late, or to Gradio."""
    return [said for path in sorted(root.rglob("*.py")) for said in _of_file(root, path)]


def _of_file(root: Path, path: Path) -> Iterator[str]:
    parts = path.relative_to(root).with_suffix("").parts
    room, name = parts[0], "/".join(parts)
    if _floor(room) is None:
        yield f"{name} is in no room"
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        for target, outside in _targets(root, parts, node):
            if outside:
                if target == "gradio" and room not in GRADIO:
                    yield f"{name} imports gradio"
                continue
            if _floor(target) is None:
                yield f"{name} imports {target}, which is in no room"
            elif target != room:
                if _floor(target) >= _floor(room):
                    yield f"{name} imports {target}"
                if id(node) not in top and room not in LATE:
                    yield f"{name} imports {target} late, or for type hints only"


def _targets(root: Path, parts: tuple[str, ...], node: ast.AST) -> Iterator[tuple[str, bool]]:
    """(room or package, whether it is outside of the page) for each import of a node."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first, *rest = alias.name.split(".")
            yield (rest[0], False) if first == root.name and rest else (first, True)
    elif isinstance(node, ast.ImportFrom):
        package = list(parts[: len(parts) - node.level]) if node.level else []
        words = (node.module or "").split(".") if node.module else []
        if not node.level and words[0] != root.name:
            yield words[0], True
            return
        if not node.level:
            words = words[1:]
        whole = [*package, *words]
        for room in [whole[0]] if whole else [alias.name for alias in node.names]:
            yield room, False


def _floor(room: str) -> int | None:
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def test_no_room_imports_upward_and_gradio_stays_in_the_tabs():
    assert violations(DEMO) == []


def test_the_first_level_is_short():
    names = [path.name for path in DEMO.iterdir() if path.name != "__pycache__"]
    assert len(names) <= NAMES, sorted(names)
    rooms = {path.name for path in DEMO.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {"session", "inside", "lifelong", "html", "tabs"}


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("session/worker.py", "from ..html import render", "session/worker imports html"),
        ("session/worker.py", "import gradio as gr", "session/worker imports gradio"),
        ("html/render.py", "from gradio import Error", "html/render imports gradio"),
        ("html/render.py", "from ..inside.panel import Panel", "html/render imports inside"),
        ("html/render.py", "import demo_app.tabs.edit", "html/render imports tabs"),
        ("html/render.py", "from demo_app import app", "html/render imports app"),
        ("tabs/edit.py", "from .. import api", "tabs/edit imports api"),
        ("tabs/edit.py", "from ..rooms import x", "tabs/edit imports rooms, which is in no room"),
        (
            "tabs/edit.py",
            "def late():\n    from ..session import worker",
            "tabs/edit imports session late, or for type hints only",
        ),
        (
            "tabs/edit.py",
            "if TYPE_CHECKING:\n    from ..session.worker import Job",
            "tabs/edit imports session late, or for type hints only",
        ),
        ("other.py", "import math", "other is in no room"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, said):
    root = tmp_path / "demo_app"
    for right in (
        ("session/worker.py", "import lib\nfrom . import views\nfrom .views import View"),
        ("html/render.py", "from ..session.worker import Job\nfrom .table import table"),
        ("tabs/edit.py", "import gradio as gr\nfrom ..html import render\nfrom .jobs import OPEN"),
        ("api.py", "import gradio as gr\nfrom .session.worker import Job"),
        ("app.py", "from .tabs.edit import Page\nfrom .api import endpoints"),
        ("__main__.py", "def main():\n    from .app import build\n    import gradio"),
    ):
        path = root / right[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(right[1])
    assert violations(root) == []
    (root / file).write_text(line)
    assert violations(root) == [said]


def test_the_lower_rooms_are_imported_without_gradio():
    """What the imports of the files say also holds when they are run."""
    rooms = FLOORS[0] | FLOORS[1]
    code = (
        "import importlib, pkgutil, sys\n"
        f"for room in {sorted(rooms)!r}:\n"
        "    package = importlib.import_module(f'demo_app.{room}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'demo_app.{room}.{module.name}')\n"
        "assert 'gradio' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=DEMO.parent, check=True)
