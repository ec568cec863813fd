"""The student's edition of the pages: `python -m notebooks.build --student OUT`.

OUT/NN_topic.ipynb        a page without outputs, and without what it folds away: the answers to its
                          guesses, what is worked out, the solutions of its holes; hints stay
OUT/teacher/NN_topic.md   what was taken out of it, under the headings of the page

A folder beside `notebooks`, such as `student`, keeps the links between the pages and the sessions,
and the pages find the library from there.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDED = re.compile(
    r"^<details><summary>([^<]+)</summary>\n+(.*?)\n*</details>\n*", re.DOTALL | re.MULTILINE
)
STAYS = ("Hint", "A hint", "How these notebooks are run: scales and stored runs")
HEADING = re.compile(r"^#{1,3} [^\n]+$", re.MULTILINE)


def edition(pages: Sequence[Path], out: Path) -> None:
    """Write both forms of the pages into a folder that is new or empty; all of them or none.

    FileExistsError where something is in the folder: it may hold what students have written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already: name a folder that is new or empty.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder) / "edition"
        (made / "teacher").mkdir(parents=True)
        for path in pages:
            page = json.loads(path.read_text(encoding="utf-8"))
            taken = stripped(page)
            text = json.dumps(page, indent=1, ensure_ascii=False) + "\n"
            (made / path.name).write_text(text, encoding="utf-8")
            answers = f"{taken.strip()}\n"
            (made / "teacher" / f"{path.stem}.md").write_text(answers, encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(made, out)


def stripped(page: dict[str, Any]) -> str:
    """Take outputs and folded answers out of a notebook; return the answers as Markdown."""
    page["metadata"].pop("widgets", None)
    page["cells"] = [
        cell for cell in page["cells"] if "last-run" not in cell["metadata"].get("tags", ())
    ]
    taken: list[str] = []
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            continue
        text = "".join(cell["source"])
        for found in re.finditer(rf"{HEADING.pattern}|{FOLDED.pattern}", text, FOLDED.flags):
            if not found[1]:
                taken.append(found[0])
            elif found[1] not in STAYS:
                taken.append(f"**{found[1]}**\n\n{found[2].strip()}")
        cell["source"] = FOLDED.sub(lambda it: it[0] * (it[1] in STAYS), text).rstrip("\n")
    return "\n\n".join(taken)
