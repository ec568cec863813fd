"""The rooms of the page import their own room and lower floors, and few of them import Gradio."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import floors

DEMO = Path(__file__).parents[2] / "demo_app"
FLOORS = [
    {"session"},  # what visitors may do: plain values and jobs
    {"inside", "lifelong", "html"},  # none imports another of this line
    {"stored"},  # finished examples, made by those rooms and shown by the tabs
    {"tabs", "api", "guard"},  # the endpoints of api are Gradio's; guard stands before the server
    {"app"},
    {"__main__", "__init__"},
]
GRADIO = FLOORS[3] | FLOORS[4] | {"__main__"}
NAMES = 15  # at most on the first level


def violations(root: Path) -> list[str]:
    """One sentence for each import that goes up, sideways, late, or to Gradio from a lower room.

    The file that starts the page imports late: settings for Gradio stand in the environment before
    it is imported, and while that takes its seconds the model answers already.
    """
    found = floors.violations(root, FLOORS)
    found = [one for one in found if not (one.startswith("__main__:") and " late " in one)]
    for module, path in floors.modules(root).items():
        if floors.room(module) not in GRADIO and "gradio" in foreign(path):
            found.append(f"{module} imports gradio")
    return found


def foreign(path: Path) -> set[str]:
    """First parts of the names of all packages that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_no_room_imports_upward_and_gradio_stays_in_the_tabs():
    assert violations(DEMO) == []


def test_the_first_level_is_short():
    names = [path.name for path in DEMO.iterdir() if path.name != "__pycache__"]
    assert len(names) <= NAMES, sorted(names)


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("session/worker.py", "from ..html import render", "does not stand on a lower floor"),
        ("session/worker.py", "import gradio as gr", "session.worker imports gradio"),
        ("html/render.py", "from gradio import Error", "html.render imports gradio"),
        ("html/render.py", "from ..inside.panel import x", "does not stand on a lower floor"),
        ("html/render.py", "import demo_app.tabs.edit", "does not stand on a lower floor"),
        ("html/render.py", "from demo_app import app", "does not stand on a lower floor"),
        ("tabs/edit.py", "from .. import api", "does not stand on a lower floor"),
        ("tabs/edit.py", "def f():\n    from ..session import worker", "late or for a hint only"),
        ("tabs/edit.py", "if TYPE_CHECKING:\n    from ..html import render", "late or for a hint"),
        ("other.py", "import math", "other stands on no floor"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, said):
    root = tmp_path / "demo_app"
    right = {
        "session/worker.py": "import lib\nfrom .views import View",
        "session/views.py": "import lib",
        "html/render.py": "from ..session.worker import Job\nfrom .table import table",
        "html/table.py": "",
        "inside/panel.py": "from ..session import worker",
        "tabs/edit.py": "import gradio as gr\nfrom ..html import render\nfrom .jobs import OPEN",
        "tabs/jobs.py": "def follow():\n    from .edit import Page",
        "api.py": "import gradio as gr\nfrom .session.worker import Job",
        "app.py": "from .tabs.edit import Page\nfrom .api import endpoints",
        "__main__.py": "def main():\n    from .app import build\n    import gradio",
    }
    for name, text in right.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert violations(root) == []
    (root / file).write_text(line)
    (found,) = violations(root)
    assert said in found


def test_the_lower_rooms_are_imported_without_gradio():
    """What the imports of the files say also holds when they are run."""
    code = (
        "import importlib, pkgutil, sys\n"
        f"for room in {sorted(FLOORS[0] | FLOORS[1])!r}:\n"
        "    package = importlib.import_module(f'demo_app.{room}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'demo_app.{room}.{module.name}')\n"
        "assert 'gradio' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=DEMO.parent, check=True)
