"""A model whose patch has routes or rewrites, as a folder that transformers runs with its code.

The code is one file: `routed_model.py` as it stands here, behind it those pieces of the library
that decide and answer for the patch, word for word, and at the end the model's class. So both give
the same text. What it reads is in two more files.

The pieces are cut out of the library by `inspect.getsource`, and only here. Who reads the folder
has one file with nothing in it that does not run, and nobody writes the deciding code twice. It
breaks where a piece begins to use a name that is neither a piece nor imported by `routed_model.py`,
or where a class is no longer written in one place; tests/export/test_routed.py looks for such names
in every editor's code, and runs it without the library.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...data.texts import GENERAL
from ...editors.retrieval import finding
from ...model import sequences
from ...model.apply_patch import Patchable
from ...model.lm import LM
from ...patch.patch import Patch
from ...patch.route import Route, Savable
from ...registry import EDITORS

CODE = Path(__file__).with_name("routed_model.py")
VARIANT = "routed"  # of the weights' file: "model.routed.safetensors"
# what the code has of every route (see `Savable.pieces`)
ROUTES = (
    sequences.Sequences,
    sequences.Counted,
    (Route, "", "note", "noted", "on", "_copies"),
    (Patchable, "", "_route"),
)
MODEL = '''\
from transformers import {base} as Base


class RoutedConfig(Base.config_class):
    """The base model's configuration, with checksums of the files that this one reads."""


class RoutedModel({kind}, Base):
    """The base model with the edits."""

    config_class = RoutedConfig
    classes = {{{classes}}}
    _route = Patchable._route
'''


def write(lm: LM, patch: Patch, folder: Path) -> None:
    """Make a saved model one that runs with the patch's routes and rewrites."""
    # the base's own model type: the tokenizer needs no code, and transformers asks for none
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {
        "architectures": ["RoutedModel"],
        "auto_map": {
            "AutoConfig": f"{CODE.stem}.RoutedConfig",
            "AutoModelForCausalLM": f"{CODE.stem}.RoutedModel",
        },
    }
    tensors: dict[str, Tensor] = {}
    edits = {"routes": dict(patch.routes), "rewrites": patch.rewrites}

    def form(value: Any) -> dict[str, Any]:
        """What stands for a value that JSON does not know (see `routed_model.built`)."""
        if isinstance(value, Tensor):
            tensors[number := str(len(tensors))] = value.detach().cpu().contiguous().clone()
            return {"tensor": number}
        return {
            "class": "Finder" if isinstance(value, finding.Finder) else type(value).__name__,
            # what begins with _ was computed from the rest
            **{name: part for name, part in vars(value).items() if not name.startswith("_")},
        }

    def store(file: str, value: Any) -> None:
        text = json.dumps(value, default=form, indent=2, ensure_ascii=False) + "\n"
        (folder / file).write_text(text, encoding="utf-8", newline="")

    store("routing.json", edits)
    save_file(tensors, folder / "routing.safetensors", metadata={"format": "pt"})
    (folder / CODE.name).write_text(_source(lm, patch), encoding="utf-8")
    read = ["routing.json", "routing.safetensors"]
    if patch.rewrites:
        read.append(Path(shutil.copy(GENERAL, folder / GENERAL.name)).name)
    # in another file than the edits, so that others in their place are noticed
    sums = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in read}
    store("config.json", config | {"routing_sha256": sums})


def _source(lm: LM, patch: Patch) -> str:
    """The code: `routed_model.py`, the pieces that the patch needs, and the model."""
    parts = {part.kind: type(part) for part in (*patch.routes.values(), *patch.rewrites)}
    pieces = dict.fromkeys(
        [*ROUTES, *(piece for part in parts.values() for piece in _needed(part))]
    )
    known = (piece[0] if isinstance(piece, tuple) else piece for piece in pieces)
    names = [one.__name__ for one in known if isinstance(one, type)]
    model = MODEL.format(
        base=type(lm.model).__name__,
        kind="Noted" if patch.rewrites else "Routed",
        classes=", ".join(f'"{name}": {name}' for name in names),
    )
    papers = "".join(f"# {kind}: {EDITORS[kind].paper}\n" for kind in parts)
    return "\n\n".join([CODE.read_text(encoding="utf-8"), papers, *map(_piece, pieces), model])


def _needed(part: type[Savable]) -> list[Any]:
    """What the code has of a kind of route or rewrite."""
    own = [name for name in part.pieces if isinstance(name, str)]
    others = [piece for piece in part.pieces if not isinstance(piece, str)]
    return [*others, (part, "Route", *own)] if own else others


def _piece(piece: Any) -> str:
    """The source of a function, a class, or a part of one."""
    if not isinstance(piece, tuple):
        return inspect.getsource(piece)
    kind, base, *names = piece
    said = textwrap.indent(f'"""{inspect.getdoc(kind)}\n"""', "    ")
    members = [
        f"    {name}\n"
        if " = " in name
        else inspect.getsource(getattr(vars(kind)[name], "func", vars(kind)[name]))
        for name in names
    ]
    return f"class {kind.__name__}{f'({base})' * bool(base)}:\n{said}\n\n" + "\n".join(members)
