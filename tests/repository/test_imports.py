"""Importing costs little, nothing is fetched, pickled or printed, front ends use public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIB = ROOT / "lib"


def imports(path: Path) -> set[str]:
    """Modules of this package (by name below `lib`) and foreign top-level names, at any depth."""
    found = set()
    package = path.relative_to(LIB).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {"lib." + ".".join((*base, name)) for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


FILES = {
    p.relative_to(LIB).with_suffix("").as_posix().replace("/", "."): p for p in LIB.rglob("*.py")
}


def test_only_the_models_room_imports_transformers():
    users = {name for name, path in FILES.items() if "transformers" in imports(path)}
    assert users and all(name.startswith("model.") for name in users)


def test_evaluation_and_streams_know_no_method_by_name():
    import lib

    rooms = ("evaluation.", "lifelong.", "plot.")
    for name in (name for name in FILES if name.startswith(rooms)):
        text = FILES[name].read_text(encoding="utf-8").lower()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in lib.EDITORS, (name, node.value)


def test_front_ends_use_public_names_only():
    for folder in ("demo_app", "lessons", "notebooks/src"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
                    assert not any(a.name.startswith("_") for a in node.names), path
                if isinstance(node, ast.Attribute):
                    private = node.attr.startswith("_") and not node.attr.startswith("__")
                    mine = isinstance(node.value, ast.Name) and node.value.id in (
                        "lm",
                        "lib",
                        "patch",
                    )
                    assert not (private and mine), (path, node.attr)


def test_no_pickle_and_no_print_in_the_library():
    for name, path in FILES.items():
        assert not imports(path) & {"pickle", "dill", "joblib"}, name
        if name.startswith("cli."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called != "print" and called not in ("torch.load", "torch.save"), (
                    name,
                    called,
                )


def test_importing_touches_no_network_and_no_cache(tmp_path):
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import lib, sys\n"
        "assert 'gradio' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    bare = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "model-editing").exists()
