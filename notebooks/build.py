"""Build the notebooks: every src/NN_name.py is executed and written to NN_name.ipynb.

    python -m notebooks.build               all of them
    python -m notebooks.build 03 07         these two
    python -m notebooks.build --check       are sources, notebooks and stored runs in step? (1 s)
    python -m notebooks.build --relink      take over text and imports, keep the outputs (5 s)
    python -m notebooks.build --long 08     make the long runs of notebook 08 and store them
    python -m notebooks.build --student student         without outputs and answers (student.py)
    python -m notebooks.build --nbgrader course         the same in the source form of nbgrader
    python -m notebooks.build --long 08 --minutes 30    the same, and stop in time; go on next time

A source is a percent script that also runs as plain Python (`python notebooks/src/03_x.py`):
`# %%` begins a code cell, `# %% [markdown]` a text cell, `tags=["name"]` may follow either.
Two things are the same in all sources and are written from one place:

* The cell tagged "setup" is the text of `setup.txt`, letter for letter; `--check` says where it
  is not. It is folded. Its line `REPOSITORY = ""` is the only one the build may change.
* `<!-- badge -->` stands on a line of its own in the first text cell.

A hole gets a comment that says which cells have to run before it: a student who opens a page again
begins there, and the error shows the comment.

Both follow one setting in pyproject.toml, `[tool.notebooks] repository = "owner/name"`: the
badge line becomes the Colab badge, and REPOSITORY gets the name, from which the setup cell clones
when no checkout is around it. While the setting is empty the badge line disappears, and the setup
cell uses the checkout it stands in.

Two builds on one machine give equal files, measured seconds aside: ids are hashes of the cells'
content, seeds of `hash` and the number of threads are fixed, stderr (warnings, progress bars) and
times of execution are not kept. A last cell, which no source has, names the versions of the last
run. What cannot be equal is refused: a path of this machine or an address in memory in an output. EDIT_SCALE (tiny, small, full) is the one knob for
the size of an experiment; the notebook remembers it, and `--check` wants "small" everywhere.

`--relink` is for sources of which only text, layout, imports or the setup cell changed, as when a
module moves. It refuses a source whose code does anything else than the code in its notebook
(same_program.py).

The experiments of the notebook NN_topic are in support/runs_NN_topic.py; `--check` finds those that
belong to no source.

This is one long file because reading a source, running it, relinking and checking all turn on one
thing, the form of a cell, and because a builder is easier to trust when it can be read in one go.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import sentence
from notebooks import student
from notebooks.support import stored_runs
from notebooks.support.same_program import first_difference

HERE = Path(__file__).resolve().parent
SETUP = (HERE / "setup.txt").read_text(encoding="utf-8").rstrip("\n")
BADGE = "<!-- badge -->"
SCALES = ("tiny", "small", "full")
LIMIT_BYTES = 400_000
LIMIT_SECONDS = 180  # of one notebook at scale "small"
HEADER = re.compile(r"# %%(?P<markdown> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?")
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
LAST_RUN = "last-run"  # tag of the cell that names the versions a notebook was last run with
PACKAGES = ("torch", "transformers")
HOLE = re.compile(r"^(?=\w+ = use\()", re.MULTILINE)
FIRST = "# A NameError here? Run the folded cell at the top and the one below it first."
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
METADATA = {  # what jupyter needs, without the versions of one machine
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


class BuildError(ValueError):
    """One sentence about a source or its notebook, for the person who builds."""


@dataclass(frozen=True)
class Cell:
    """One cell of a source: its kind ("code" or "markdown"), text, tags and first line."""

    kind: str
    text: str
    tags: tuple[str, ...]
    line: int


def number(source: Path) -> str:
    """The number of a source, with the letter of a page that was split off: "02", "02b"."""
    return source.stem.split("_")[0]


@dataclass(frozen=True)
class Tree:
    """The folder of the notebooks: sources in src, stored runs in data, settings above it."""

    folder: Path = HERE

    def sources(self, wanted: list[str] | None = None) -> list[Path]:
        """Return the sources in order; `wanted` are numbers or names ("03", "03_trace")."""
        sources = sorted((self.folder / "src").glob("[0-9][0-9]*_*.py"))
        if not wanted:
            return sources
        for name in wanted:
            if not any(name in (p.stem, number(p)) for p in sources):
                raise BuildError(f"no source in notebooks/src is named {name}.")
        return [p for p in sources if p.stem in wanted or number(p) in wanted]

    def notebook(self, source: Path) -> Path:
        """Return the file that is built from this source."""
        return self.folder / f"{source.stem}.ipynb"

    def repository(self) -> str:
        """Return `[tool.notebooks] repository` of pyproject.toml: "owner/name" or empty."""
        path = self.folder.parent / "pyproject.toml"
        settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        name = settings.get("tool", {}).get("notebooks", {}).get("repository", "")
        if name and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise BuildError(f"[tool.notebooks] repository is {name!r}, not 'owner/name' or ''.")
        return name

    def stored_runs(self, source: Path) -> dict[str, str]:
        """Return name -> hash of every stored run whose name stands in the source."""
        text = source.read_text(encoding="utf-8")
        return {
            path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for path in sorted((self.folder / "data").glob("*.json"))
            if re.search(rf"[\"']{re.escape(path.stem)}[\"']", text)
        }


# ---------------------------------------------------------------- source -> notebook, no outputs


def parse(source: Path) -> list[Cell]:
    """Split a percent script into cells; BuildError names the line that is not understood."""
    cells: list[Cell] = []
    script = source.read_text(encoding="utf-8")
    try:
        compile(script, source.name, "exec")
    except SyntaxError as error:
        raise BuildError(
            f"{source.name}, line {error.lineno}: not plain Python ({error.msg})."
        ) from None
    lines = script.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    above = [line for line in lines[: starts[0] if starts else None] if line.strip()]
    if not starts or above and not (above[0] == above[-1] == "# ---"):  # jupytext's header
        raise BuildError(f"{source.name}: the first line must begin a cell with `# %%`.")
    for start, end in zip(starts, starts[1:] + [len(lines)], strict=True):
        header = HEADER.fullmatch(lines[start].rstrip())
        try:
            tags = json.loads(header["tags"] or "[]")
        except (TypeError, json.JSONDecodeError):  # no match, or tags in single quotes
            raise BuildError(
                f"{source.name}, line {start + 1}: {lines[start]!r} is neither `# %%` nor "
                '`# %% [markdown]`, with or without `tags=["name"]` behind it.'
            ) from None
        body = lines[start + 1 : end]
        if header["markdown"]:
            while body and not body[-1].strip():
                body.pop()
            for i, line in enumerate(body):
                if line.rstrip() != "#" and not line.startswith("# "):
                    raise BuildError(
                        f"{source.name}, line {start + 2 + i}: a line of text must begin with "
                        "`# ` (an empty one is `#`)."
                    )
            body = [line[2:] for line in body]
        cells.append(
            Cell(
                kind="markdown" if header["markdown"] else "code",
                text="\n".join(body).strip("\n"),
                tags=tuple(tags),
                line=start + 1,
            )
        )
    return cells


def assemble(source: Path, repository: str = "") -> dict[str, Any]:
    """Return the notebook of a source without outputs, as JSON; BuildError if it breaks a rule."""
    cells = parse(source)
    if cells[0].kind != "markdown" or cells[0].text.splitlines().count(BADGE) != 1:
        raise BuildError(f"{source.name}: the first cell must be text with one line `{BADGE}`.")
    setups = [cell for cell in cells if "setup" in cell.tags]
    if len(setups) != 1 or setups[0].text != SETUP:
        raise BuildError(
            f'{source.name} needs exactly one cell tagged "setup", and its text must be that of '
            "notebooks/setup.txt: copy it from there."
        )
    used: set[str] = set()
    built = []
    for i, cell in enumerate(cells):
        text = _badge(cell.text, source, repository) if i == 0 else cell.text
        if "setup" in cell.tags:
            text = text.replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"')
        if cell.kind == "code":  # a page that was opened again has forgotten its imports
            text = HOLE.sub(f"{FIRST}\n", text, count=1)
        built.append(_json_cell(cell, text, used))
    return {"cells": built, "metadata": dict(METADATA), "nbformat": 4, "nbformat_minor": 5}


def _badge(text: str, source: Path, repository: str) -> str:
    lines = text.splitlines()
    at = lines.index(BADGE)
    if repository:
        site = "https://colab.research.google.com"
        page = f"{site}/github/{repository}/blob/main/notebooks/{source.stem}.ipynb"
        lines[at] = f"[![Open in Colab]({site}/assets/colab-badge.svg)]({page})"
    else:
        del lines[at : at + 2 if lines[at + 1 : at + 2] == [""] else at + 1]
    return "\n".join(lines).strip("\n")


def _json_cell(cell: Cell, text: str, used: set[str]) -> dict[str, Any]:
    digest = hashlib.sha256(f"{cell.kind}\n{text}".encode()).hexdigest()[:12]
    repeats = (digest if n == 1 else f"{digest}-{n}" for n in range(1, len(used) + 2))
    name = next(r for r in repeats if r not in used)  # the second equal cell gets "-2"
    used.add(name)
    built: dict[str, Any] = {"cell_type": cell.kind, "id": name, "metadata": {}}
    if cell.tags:
        built["metadata"]["tags"] = list(cell.tags)
    if "setup" in cell.tags:  # folded in Jupyter and in Colab: it is not what the page is about
        built["metadata"] |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
    if cell.kind == "code":
        built |= {"execution_count": None, "outputs": []}
    return built | {"source": text.splitlines(keepends=True)}


# ---------------------------------------------------------------- running


def environment(scale: str) -> dict[str, str]:
    """Return the environment of a run: the scale, fixed seeds and threads, no progress bars."""
    fixed = {"EDIT_SCALE": scale, "PYTHONHASHSEED": "0"}
    fixed["EDIT_PANELS"] = "static"  # lib.workbench.widgets: nobody will move a slider
    fixed["EDIT_MODEL"] = ""  # what is stored is of the library's own model
    fixed["MY_EXERCISES"] = os.devnull  # holes are open, whatever the builder has solved
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_COLOR": "1"}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    threads["OMP_WAIT_POLICY"] = "PASSIVE"  # spinning threads stall a busy machine
    mine = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}  # the kernel sets its own
    return {**mine, **fixed, **quiet, **threads}


def build(source: Path, tree: Tree, scale: str = "small", *, out: Path | None = None) -> int:
    """Execute one source, write its notebook (to the folder `out`), and return its size in bytes.

    Nothing is written if a cell raises, an output may not be kept, or the file is too large.
    """
    notebook = assemble(source, tree.repository())
    cells = parse(source)
    executed = _normalize(_execute(notebook, source, cells, tree.folder, environment(scale)))
    executed["cells"].append(last_run())
    executed["metadata"] |= {"edit": {"scale": scale, "stored": tree.stored_runs(source)}}
    _refuse_machine(executed, source, cells, tree.folder.parent)
    text = _text(executed)
    size = len(text.encode())
    if size > LIMIT_BYTES:
        worst, i, kind = max(_outputs(executed), default=(0, 0, "none"))
        raise BuildError(
            f"{source.stem}.ipynb would have {size / 1000:.0f} kB, more than "
            f"{LIMIT_BYTES // 1000} kB: its largest output is {kind} of {worst / 1000:.0f} kB, "
            f"from {_place(source, cells, i)}."
        )
    path = tree.notebook(source) if out is None else out / f"{source.stem}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return size


def last_run() -> dict[str, Any]:
    """Return the cell that says with which versions the outputs above it were made."""
    names = [f"Python {platform.python_version()}"]
    names += [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    text = f"Last run with {', '.join(names)}."
    cell = Cell(kind="markdown", text=text, tags=(LAST_RUN,), line=0)
    return _json_cell(cell, text, set())


def own_cells(notebook: dict) -> list[dict]:
    """Return the cells that come from the source: all but the one that names the last run."""
    return [c for c in notebook["cells"] if LAST_RUN not in c["metadata"].get("tags", ())]


def _text(notebook: dict) -> str:
    """Return a notebook as it is written to its file."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _execute(
    notebook: dict, source: Path, cells: list[Cell], folder: Path, env: dict[str, str]
) -> dict:
    """Run the cells in a fresh kernel of this very interpreter, in `folder`."""
    import nbformat
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class ThisInterpreter(KernelSpecManager):  # a registered "python3" may be another python
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=[*argv, "--log-level=ERROR"], language="python")

    class Manager(AsyncKernelManager):  # given as a class, the client also shuts its kernel down
        def __init__(self, **settings: Any) -> None:
            super().__init__(kernel_spec_manager=ThisInterpreter(), **settings)

    node = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in node.cells:
        cell.source = "".join(cell.source)
    client = NotebookClient(
        node,
        kernel_manager_class=Manager,
        timeout=None,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with tempfile.TemporaryDirectory() as profile:  # no startup files, no history of the user
        try:
            client.execute(env={**env, "IPYTHONDIR": profile})
        except CellExecutionError as error:
            i = next(i for i, c in enumerate(node.cells) if _raised(c))
            trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback).strip()
            raise BuildError(
                f"{_place(source, cells, i)}, raised {error.ename}: {error.evalue}\n{trace}"
            ) from None
        except DeadKernelError:
            counts = [i for i, c in enumerate(node.cells) if c.get("execution_count")]
            i = min((counts[-1] if counts else 0) + 1, len(cells) - 1)
            raise BuildError(
                f"the kernel died in or after {_place(source, cells, i)}: out of memory?"
            ) from None
    nbformat.validate(node)
    return json.loads(json.dumps(node))


def _raised(cell: dict) -> bool:
    return any(out["output_type"] == "error" for out in cell.get("outputs", []))


def _place(source: Path, cells: list[Cell], i: int) -> str:
    return f"{source.name}, cell {i + 1} (line {cells[i].line})"


def _normalize(notebook: dict) -> dict:
    """Keep only what is the same in every build: no stderr, no random ids, no versions."""
    state = notebook["metadata"].get("widgets", {}).get(WIDGETS, {}).get("state", {})
    shown = [
        out["data"][VIEW]["model_id"]
        for cell in notebook["cells"]
        for out in cell.get("outputs", [])
        if VIEW in out.get("data", {})
    ]
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        cell["metadata"].pop("execution", None)
        outputs: list[dict] = []
        for out in cell.get("outputs", []):
            data = out.get("data", {})
            if out.get("name") == "stderr":
                continue
            if len(data) > 1 and "text/plain" in data:  # the plain form of what is shown better
                data["text/plain"] = ADDRESS.sub("", data["text/plain"])
            if out["output_type"] == "stream" and outputs and outputs[-1].get("name") == "stdout":
                outputs[-1]["text"] += out["text"]  # one message or two for a text: chance decides
            else:
                outputs.append(out)
        if "outputs" in cell:
            cell["outputs"] = outputs
    notebook["metadata"] = dict(METADATA)
    models = _reachable(shown, state)
    if models:
        kept = {"state": models, "version_major": 2, "version_minor": 0}
        notebook["metadata"]["widgets"] = {WIDGETS: kept}
    # random names, numbered in order of appearance: models of widgets, tables of pandas' Styler
    text = json.dumps(notebook)
    tables = list(dict.fromkeys(re.findall(r'id=\\"T_([0-9a-f]{5})\\"', text)))
    for i, name in enumerate(models):
        text = text.replace(name, f"{i:032x}")
    for i, name in enumerate(tables):
        text = text.replace(f"T_{name}", f"T_{i:05x}")
    return json.loads(text)


def _parts(name: str, state: dict) -> list[str]:
    """Return the models that the widget of this name refers to."""
    return re.findall("IPY_MODEL_([0-9a-f]{32})", json.dumps(state.get(name, {})))


def _reachable(names: list[str], state: dict) -> dict:
    """Return the models of these widgets and of all their parts, in order."""
    found: dict = {}
    while names:
        name = names.pop(0)
        if name in state and name not in found:
            found[name] = state[name]
            names += _parts(name, state)
    return found


def _outputs(notebook: dict) -> list[tuple[int, int, str]]:
    """Return (bytes, index of the cell, kind) of every output of every cell."""
    found = []
    for i, cell in enumerate(notebook["cells"]):
        for out in cell.get("outputs", []):
            parts = out.get("data") or {out["output_type"]: out.get("text", "")}
            found += [(len(json.dumps(part)), i, kind) for kind, part in parts.items()]
    return found


def _refuse_machine(notebook: dict, source: Path, cells: list[Cell], root: Path) -> None:
    """Raise if an output holds a path of this machine or an address in memory."""
    folders = {str(root.resolve()), str(Path.home())}
    folders |= {sys.prefix} if sys.prefix != sys.base_prefix else set()
    names = "|".join(re.escape(f) for f in sorted(folders, key=len, reverse=True) if len(f) > 1)
    path = re.compile(rf"(?<![\w/.-])(?:{names}|/tmp/ipykernel)(?![\w.-])")
    for i, cell in enumerate(notebook["cells"]):
        for out in cell.get("outputs", []):
            data = {k: v for k, v in out.get("data", {}).items() if not k.startswith("image/p")}
            text = json.dumps({**out, "data": data}, ensure_ascii=False)
            if found := path.search(text):
                raise BuildError(
                    f"{_place(source, cells, i)}, shows a path of this machine: {found[0]}."
                )
            if found := ADDRESS.search(text):
                raise BuildError(
                    f"{_place(source, cells, i)}, shows an address in memory ({found[0].strip()}):"
                    " assign the last line to `_`."
                )


# ---------------------------------------------------------------- new source, old outputs


def relink(source: Path, tree: Tree) -> int:
    """Put a source's cells into its notebook, keep the outputs, and return how many cells changed.

    BuildError, and nothing is written, if the notebook was not built from a source that runs the
    same program: another number or kind of cells, other code, other stored runs.
    """
    path, remedy = tree.notebook(source), f"run `python -m notebooks.build {number(source)}`."
    fresh, cells = assemble(source, tree.repository())["cells"], parse(source)
    if not path.is_file():
        raise BuildError(f"{source.name} has no notebook: {remedy}")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    built = own_cells(notebook)
    if [c["cell_type"] for c in built] != [c["cell_type"] for c in fresh]:
        raise BuildError(f"{path.name} has other cells than its source: {remedy}")
    code = [
        i for i, c in enumerate(cells) if c.kind == "code" and "setup" not in c.tags
    ]  # the setup cell shows nothing
    versions = (["".join(some[i]["source"]) for i in code] for some in (built, fresh))
    if (i := first_difference(*versions, tree.folder.parent)) is not None:
        place = _place(source, cells, code[i])
        raise BuildError(f"{place}, does something else than in {path.name}: {remedy}")
    if notebook["metadata"].get("edit", {}).get("stored") != tree.stored_runs(source):
        raise BuildError(f"{path.name} was built with other stored runs: {remedy}")
    changed = 0
    for cell, new in zip(built, fresh, strict=True):
        mine = {key: new[key] for key in ("id", "metadata", "source")}
        changed += any(cell[key] != value for key, value in mine.items())
        cell |= mine
    path.write_text(_text(notebook), encoding="utf-8")
    return changed


# ---------------------------------------------------------------- check


def check(tree: Tree) -> list[str]:
    """Return one sentence per difference between sources, notebooks and stored runs."""
    found: list[str] = []
    sources = tree.sources()
    for source in sources:
        try:
            found += _check_one(source, tree)
        except BuildError as error:
            found.append(str(error))
    built = {tree.notebook(source) for source in sources}
    for path in sorted(tree.folder.glob("*.ipynb")):
        if path not in built:
            found.append(
                f"{path.name} has no source in notebooks/src: delete one or add the other."
            )
    for path in sorted(set((tree.folder / "src").glob("*.py")) - set(sources)):
        found.append(f"src/{path.name} is not built: name it NN_{path.name}.")
    for path in sorted((tree.folder / "support").glob("*_[0-9][0-9]*_*.py")):
        if path.stem.split("_", 1)[1] not in {source.stem for source in sources}:
            found.append(f"support/{path.name} belongs to no source: name it after one.")
    used = {name for source in sources for name in tree.stored_runs(source)}
    for path in sorted((tree.folder / "data").glob("*.json")):
        try:
            stored_runs.read(path)
        except stored_runs.StoredError as error:
            found.append(str(error))
        if path.stem not in used:
            found.append(f"data/{path.name} is read by no source: delete it.")
    return found


def _check_one(source: Path, tree: Tree) -> list[str]:
    path, remedy = tree.notebook(source), f"run `python -m notebooks.build {number(source)}`."
    expected = assemble(source, tree.repository())["cells"]
    if not path.is_file():
        return [f"{source.name} has no notebook: {remedy}"]
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        own = own_cells(notebook)
        found = [(c["cell_type"], "".join(c["source"]), c.get("id")) for c in own]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return [f"{path.name} is not a notebook: {remedy}"]
    wanted = [(c["cell_type"], "".join(c["source"]), c["id"]) for c in expected]
    if found != wanted:
        longest = max(len(found), len(wanted))
        i = next(i for i in range(longest) if found[i : i + 1] != wanted[i : i + 1])
        return [f"{path.name} differs from its source at cell {i + 1}: {remedy}"]
    if any(c["cell_type"] == "code" and not c.get("execution_count") for c in notebook["cells"]):
        return [f"{path.name} was saved without its outputs: {remedy}"]
    made = notebook.get("metadata", {}).get("edit", {})
    if made.get("scale") != "small":
        return [f"{path.name} was built at scale {made.get('scale')!r}, not 'small': {remedy}"]
    if made.get("stored") != tree.stored_runs(source):
        return [f"{path.name} was built before the stored runs it draws: {remedy}"]
    return []


# ---------------------------------------------------------------- command line


def run_long(source: Path, tree: Tree, scale: str, minutes: float) -> None:
    """Make and store the long runs of a source, which its module gives."""
    module = tree.folder / "support" / f"runs_{source.stem}.py"
    if not (module.is_file() and "\ndef runs(" in module.read_text(encoding="utf-8")):
        raise BuildError(f"{source.name} has no long runs: there is no `runs` in {module.name}.")
    program = ["-m", "notebooks.support.long_runs", number(source), str(minutes)]
    env = environment(scale)
    done = subprocess.run([sys.executable, *program], cwd=HERE.parent, env=env, check=False)
    if done.returncode:
        raise BuildError(f"the long run of {source.name} ended with code {done.returncode}.")


def place(given: str) -> Path:
    """A path as a command takes it: `~` is the home folder. ValueError for that of nobody."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder for {given}") from None


def main(argv: list[str] | None = None, folder: Path = HERE) -> int:
    """Run the command line on the notebooks in `folder`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NN", help="number or name; default: all")
    parser.add_argument("--check", action="store_true", help="compare only, run nothing")
    parser.add_argument(
        "--relink", action="store_true", help="new text and imports, old outputs; run nothing"
    )
    parser.add_argument("--long", metavar="NN", help="make and store the long runs of this one")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="with --long: stop in time, go on next time"
    )
    parser.add_argument(
        "--student",
        type=place,
        metavar="OUT",
        help="the pages without outputs and answers; run nothing",
    )
    parser.add_argument(
        "--nbgrader", type=place, metavar="OUT", help="the pages as nbgrader's source; run nothing"
    )
    parser.add_argument("--scale", choices=SCALES, default=os.environ.get("EDIT_SCALE", "small"))
    parser.add_argument("--out", type=place, metavar="FOLDER", help="default: notebooks")
    args = parser.parse_args(argv)
    if args.scale not in SCALES:  # argparse does not check a default
        parser.error(f"EDIT_SCALE is {args.scale!r}, not one of {', '.join(SCALES)}.")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console may lack a letter
        sys.stdout.reconfigure(errors="replace")
    tree = Tree(folder)
    try:
        if args.check:
            differences = check(tree)
            print("\n".join(differences) or "sources, notebooks and stored runs agree.")
            return 1 if differences else 0
        if args.long:
            for source in tree.sources([args.long]):
                run_long(source, tree, args.scale, args.minutes)
                _say(f"now run `python -m notebooks.build {number(source)}`.")
            return 0
        sources = tree.sources(args.names)
        if args.student:
            student.edition([tree.notebook(source) for source in sources], args.student)
            _say(f"{len(sources)} pages in {args.student}, without outputs, answers and solutions.")
            return 0
        if args.nbgrader:
            pages = [tree.notebook(source) for source in sources]
            student.edition(pages, args.nbgrader, nbgrader=True)
            _say(f"{len(sources)} assignments in {args.nbgrader / 'source'}.")
            return 0
    except (BuildError, OSError) as error:
        _say(f"error: {sentence(error)}")
        return 1
    if args.relink:
        return _relink(sources, tree)
    failed = 0
    for n, source in enumerate(sources, 1):
        _say(f"[{n}/{len(sources)}] {source.stem} …", end=" ")
        start = time.perf_counter()
        try:
            size = build(source, tree, args.scale, out=args.out)
        except BuildError as error:
            failed += 1
            _say(f"failed\nerror: {error}")
            continue
        seconds = time.perf_counter() - start
        _say(f"{seconds:.1f} s, {size / 1000:.0f} kB")
        if args.scale == "small" and seconds > LIMIT_SECONDS:
            _say(f"warning: {source.stem} took longer than {LIMIT_SECONDS} s at scale small.")
    return 1 if failed else 0


def _relink(sources: list[Path], tree: Tree) -> int:
    """Relink these notebooks and say what became of each; return the exit code."""
    failed = 0
    for source in sources:
        try:
            _say(f"{source.stem}: {relink(source, tree)} cells changed, outputs kept")
        except BuildError as error:
            failed += 1
            _say(f"error: {error}")
    return 1 if failed else 0


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
