"""A model's folder written file by file: between two of them whoever waits may end it.

transformers writes all files in one call, and the format's writer holds Python's lock all the
while. So it is given some blocks at a time, and the index of the files is written here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from .cancellation import raise_if_cancelled
from .lm import LM


def save(lm: LM, work: Path, shard: int | None) -> None:
    """Config and weights into a folder; with `shard` (bytes) some blocks in every file."""
    parts = [None] if shard is None else list(_parts(lm, shard))
    if len(parts) == 1:
        lm.model.save_pretrained(work)
        return
    where, total, folder = {}, 0, work / "part"
    for i, part in enumerate(parts, 1):
        raise_if_cancelled()
        lm.model.save_pretrained(folder, state_dict=part)
        name = f"model-{i:05}-of-{len(parts):05}.safetensors"
        (folder / "model.safetensors").rename(work / name)
        with safe_open(work / name, framework="pt") as file:
            where |= dict.fromkeys(file.keys(), name)  # as transformers calls them in files
        total += sum(tensor.nbytes for tensor in part.values())
    for file in folder.iterdir():
        file.rename(work / file.name)
    folder.rmdir()
    index = {"metadata": {"total_size": total}, "weight_map": where}
    text = json.dumps(index, indent=2) + "\n"
    (work / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _parts(lm: LM, shard: int) -> Iterator[dict[str, Tensor]]:
    """The model's tensors in parts of about `shard` bytes; a block stays whole, so does the rest.

    What is tied, or one tensor in the files, must come to transformers together.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in lm.model.state_dict().items():
        inside = name.startswith(f"{lm.arch.blocks}.")
        block = name.removeprefix(f"{lm.arch.blocks}.").split(".")[0] if inside else ""
        groups.setdefault(block, {})[name] = tensor
    part: dict[str, Tensor] = {}
    for group in groups.values():
        if part and sum(t.nbytes for t in (*part.values(), *group.values())) > shard:
            yield part
            part = {}
        part |= group
    yield part
