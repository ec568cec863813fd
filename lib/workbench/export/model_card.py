"""The model card is the README.md of an exported folder.

It lists the facts written into the base model, how exactly, and how to load the folder.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...model import packaged_models
from ...patch.patch import Edit, Patch, parted

PACKAGED = {one.name: one for one in packaged_models.PACKAGED.values()}
LICENSES = {name: one.license for name, one in PACKAGED.items()}  # of models in packages
VLLM_RANK = 512  # vLLM's maximum rank for an adapter
ROWS = 200  # maximum number of rows in the table of edits

_LOAD = {
    "adapter": """\
from peft import PeftModel
{base}
model = PeftModel.from_pretrained(base, {folder})""",
    "model": """\
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({folder})
tokenizer = AutoTokenizer.from_pretrained({folder})""",
}
_VLLM = {
    "adapter": "vllm serve BASE --enable-lora --max-lora-rank {rank} "
    "--lora-modules edited={folder}",
    "model": "vllm serve {folder}",
}
_BASE = """\
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained({name})"""
_PACKAGED = """\
import lib  # the base comes with this library
base = lib.load({name}, dtype="float32").model"""


def write_card(
    folder: Path,
    patch: Patch,
    kind: Literal["adapter", "model"],
    base: str,
    modules: Mapping[str, Any] | None = None,
    *,
    rank: int = 0,
) -> None:
    """Write a folder's card: front matter for a hub, edits, modules, loading, license.

    kind     Whether the folder contains an adapter or a whole model.
    base     The base model's name.
    modules  {module: export.Written} of an adapter.
    rank     The rank to which the modules of an adapter are padded.
    """
    rows = [[f"`{name}`", w.rank, f"{w.error:.2g}"] for name, w in (modules or {}).items()]
    written = table(["module", "rank", "relative error"], rows)
    said = "Relative error: ‖ΔW − B A‖ / ‖ΔW‖; below 1e-5 it is the rounding of float32."
    parts = [
        _front(kind, base),
        f"# {_plain(folder.name)}: {_plain(base)}, edited",
        _summary(patch, kind),
        f"## Edits\n\n{_edits(patch)}",
        f"## Modules\n\n{written}\n\n{said} {_padding(rank)}" if modules else "",
        f"## Loading\n\n{_loading(kind, base, folder.name, patch, rank)}",
        f"## License\n\n{_license(base)}",
    ]
    text = "\n\n".join(filter(None, parts))
    (folder / "README.md").write_text(f"{text}\n", encoding="utf-8")


def _front(kind: str, base: str) -> str:
    """Return the front matter for hubs."""
    lines = [
        "---",
        f"library_name: {'peft' if kind == 'adapter' else 'transformers'}",
        f"base_model: {json.dumps(base)}" if "/" in base else "",  # hubs need one of their ids here
        f"license: {LICENSES[base].lower()}" if base in LICENSES else "",
        "tags:",
        "- knowledge-editing",
        "- lora" if kind == "adapter" else "",
        "---",
    ]
    return "\n".join(filter(None, lines))


def _summary(patch: Patch, kind: str) -> str:
    """Return one sentence about the edits."""
    count = sum(map(len, patch.log))
    facts = f"{count} fact" + ("s" if count != 1 else "")
    written = (
        f"A LoRA adapter writing {facts} into the base model"
        if kind == "adapter"
        else f"A model with {facts} written into its weights"
    )
    return f"{written}. Answers to other questions may also have changed."


def _edits(patch: Patch) -> str:
    """Return a table of the facts."""
    if not patch.log:
        return "None: this is the base model."
    lines = [[*line, edit.editor] for edit in patch.log for line in _lines(edit)]
    rows = [[_plain(cell) for cell in line] for line in lines[:ROWS]]
    shown = table(["subject", "prompt", "new answer", "editor"], rows)
    return shown + (f"\n\nand {len(lines) - ROWS} more" if len(lines) > ROWS else "")


def _lines(edit: Edit) -> list[list[str]]:
    """Return the table's rows for one call of an editor, or for one stream."""
    return [[f.subject or "", f.text, f.target_new] for f in edit.facts]


def _padding(rank: int) -> str:
    """Return the sentences about the adapter's rank."""
    said = f"In the file, all are padded with zeros to rank {rank}, with the same alpha."
    if rank > VLLM_RANK:
        return (
            f"{said} vLLM rejects ranks above {VLLM_RANK}; for vLLM, export with "
            f"`rank={VLLM_RANK}`."
        )
    return f"{said} vLLM needs `--max-lora-rank {rank}` or more."


def _loading(kind: str, base: str, folder: str, patch: Patch, rank: int) -> str:
    """Return how to load the folder, its original model, and the token prepended to every text."""
    made = (_PACKAGED if base in PACKAGED else _BASE).format(name=json.dumps(base))
    code = _LOAD[kind].format(base=made, folder=json.dumps(folder))
    line = _VLLM.get(kind, "").format(rank=rank, folder=json.dumps(folder))
    _, token = parted(patch.base.rpartition(" ")[0])
    made_on = f"Made on {_code(patch.base)}: name, and fingerprint of the weights."
    others = " With other weights of the same name, the answers are different."
    notes = [
        made_on if patch.base else "",
        others if patch.base and kind == "adapter" else "",
        f" Every text is preceded by `{token}`, which this adapter does not add."
        if token and kind == "adapter"
        else "",
    ]
    parts = [
        f"```python\n{code}\n```",
        f"For vLLM, not tested here: {_code(line)}" if line else "",
        "".join(notes).strip(),
    ]
    return "\n\n".join(filter(None, parts))


def _license(base: str) -> str:
    terms = LICENSES.get(base, "see there")
    if base in PACKAGED and PACKAGED[base].terms:
        terms += f" ({PACKAGED[base].terms[1]})"
    said = f"The same as for the base model {_plain(base)}: {terms}."
    return f"{said} Its weights were changed as listed above."


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    """Return a value on one line, escaping the sign ending a cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _plain(text: str) -> str:
    r"""Return another person's text on one line, escaping all Markdown and HTML markup.

    A card is read in a browser: no image is fetched, no link made, nothing run.
    "![a](b) <c>" -> "!\[a\](b) &lt;c&gt;"
    """
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\\`*\[\]~$@]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.", r"\\\g<0>", line)


def _code(text: str) -> str:
    """Return another person's text as inline code, in which a backtick would end the code."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
