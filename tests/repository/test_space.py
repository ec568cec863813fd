"""The Space's folder: its front matter, what it installs, and that its code imports no more."""

from __future__ import annotations

import ast
import re

import pytest
from packaging.requirements import Requirement

from . import space


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("space") / "editing"
    space.build(made)
    return made


def test_its_readme_begins_with_what_a_space_is(folder):
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    said = dict(line.split(": ", 1) for line in front.splitlines())
    assert said["sdk"] == "gradio" and (folder / said["app_file"]).is_file()
    assert len(said["short_description"]) <= 60  # longer ones are refused
    wanted = re.search(r"^gradio.*$", (space.ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert said["sdk_version"] in Requirement(wanted[0].partition("#")[0]).specifier
    assert text.startswith("\n# Model editing")


def test_it_installs_what_its_code_imports_and_no_notebooks(folder):
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {Requirement(line).name for line in lines}
    assert {"torch", "transformers", "matplotlib"} <= names
    assert not names & {"gradio", "jupyterlab", "pytest", "ruff"}


def test_its_code_needs_no_other_folder_of_the_repository(folder):
    rooms = {path.name for path in space.ROOT.iterdir() if path.is_dir()} - {"lib", "demo_app"}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                assert node.module.partition(".")[0] not in rooms, f"{path}: {node.module}"
