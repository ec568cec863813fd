"""The page as a Hugging Face Space: a folder with all that a Space needs, and nothing else.

    python -m tests.repository.space FOLDER
    hf upload NAME/editing FOLDER . --repo-type space      # by who owns the Space

A Space of the kind "gradio" reads what it is from the first lines of its README, installs
requirements.txt, and runs app.py, which serves the page. The folder must not exist yet, or it is
empty.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from lib.atomic_files import whole_folder
from tests.benchmarks import command

ROOT = Path(__file__).parents[2]
PARTS = ("app.py", "lib", "demo_app", "LICENSE", "LICENSE-TEXTS", "LICENSES.md", "CITATION.cff")
OF_PAGE = ("", "page")  # headings of requirements.txt: the library's own lines have none
README = """\
---
title: Model editing
emoji: ✏️
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: mit
short_description: Change one belief of a language model, see what moved
---

# Model editing, small enough to read

Change one belief of a language model, see what else moved, and undo it to the last byte. The first
start fetches the embedded model (SmolLM2-135M-Instruct, Apache-2.0, 93 MB); nothing else is
fetched, and nothing is sent anywhere. LICENSES.md says of every file of data where it comes from.
"""


def requirements() -> str:
    """The lines of requirements.txt that the page needs, without the Space's own gradio."""
    heading, kept = "", []
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# Ranges"):
            heading = line.removeprefix("# ")
        elif line and not line.startswith("#") and heading in OF_PAGE:
            kept.append(line.partition("#")[0].strip())
    return "".join(f"{line}\n" for line in kept if not line.startswith("gradio"))


def gradio() -> str:
    """The lowest gradio that requirements.txt allows, in the form of a Space: "6.31.0"."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(r"^gradio>=(\d+\.\d+)", text, re.MULTILINE)
    if found is None:
        raise ValueError("requirements.txt does not say which gradio the page needs")
    return f"{found[1]}.0"


def build(folder: Path) -> None:
    """Fill the folder, whole or not at all."""
    with whole_folder(folder) as inside:
        for name in PARTS:
            source, to = ROOT / name, inside / name
            if source.is_dir():
                shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, to)
        (inside / "requirements.txt").write_text(requirements(), encoding="utf-8")
        (inside / "README.md").write_text(README.format(gradio=gradio()), encoding="utf-8")


def main() -> None:
    """Build the folder that is named."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.repository.space", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path)
    build(parser.parse_args().folder)


if __name__ == "__main__":
    command(main)
