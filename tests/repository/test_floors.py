"""The architecture of `lib` as a test: imports point to lower floors only."""

from __future__ import annotations

from pathlib import Path

import pytest

import lib

from ..support import floors

LIB = Path(lib.__file__).parent

FLOORS = [
    {"errors"},
    {"atomic_files", "settings", "registry", "cancellation", "distributed", "memory", "plot"},
    {"data"},  # facts, cases, the files they are read from
    {"patch"},  # an edit as a value
    {"model"},  # the only floor that imports transformers
    {"keys_values"},  # k, C, v*, gradients
    {"editors"},
    {"evaluation"},
    # none imports another of this line
    {"lifelong", "interpret", "forensics", "preset_search", "export"},
    {"arena"},
    {"widgets", "__init__"},
    {"cli"},
    {"__main__"},
]
METHODS = {floors.room(module) for module in floors.modules(LIB / "editors")} - {
    "shared",
    "hypernetwork",
    "__init__",
}
EDITORS = [{"shared"}, {"hypernetwork"}, METHODS, {"__init__"}]


def test_imports_point_down():
    assert floors.violations(LIB, FLOORS) == []


def test_inside_the_editors_imports_point_down_and_methods_do_not_know_each_other():
    declared = "wilke:"  # WilKE is ROME in the layer that fits the fact
    found = [
        line
        for line in floors.violations(LIB / "editors", EDITORS)
        if not (line.startswith(declared) and "imports rome," in line)
    ]
    assert found == []


def test_no_room_is_called_like_a_public_function():
    # `import lib.scan as s` would give the function, `from lib.scan import scan` the module
    rooms = {floors.room(module) for module in floors.modules(LIB)} - {"memory", "plot", "widgets"}
    public = {name for name in vars(lib) if callable(getattr(lib, name))}
    assert not rooms & public


@pytest.mark.parametrize(
    ("file", "line", "what"),
    [
        ("data/facts.py", "from ..model.lm import LM", "not stand on a lower floor"),
        ("model/lm.py", "def f():\n    from ..data import facts", "late or for a hint only"),
        ("model/lm.py", "from ..data.facts import _hidden", "takes the private name _hidden"),
        ("lifelong/run.py", "from ..export.export import x", "not stand on a lower floor"),
        ("model/lm.py", "if TYPE_CHECKING:\n    from ..cli import main", "late or for a hint"),
        ("model/lm.py", "from lib.cli import main", "not stand on a lower floor"),
        ("attic/old.py", "x = 1", "attic stands on no floor"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, what):
    root = tmp_path / "lib"
    for name in ("data/facts.py", "model/lm.py", "lifelong/run.py", "export/export.py", file):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "cli.py").touch()
    clean = [] if file != "attic/old.py" else ["attic stands on no floor"]
    assert floors.violations(root, FLOORS) == clean
    (root / file).write_text(f"{line}\n", encoding="utf-8")
    assert any(what in found for found in floors.violations(root, FLOORS))
