"""A trained network as one safetensors file.

The file holds the networks by shape and the moments they were trained with. Its header names the
model and the editor that they belong to, and a file of another model or editor is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...atomic_files import pack, sha256, unpack, whole_file
from ...errors import NetworkError
from ...keys_values.running_moments import KeyGradientMoments
from .network import EditNet

FORMAT = 1  # raised when an older library would misread the file
SHIPPED = Path(__file__).parent / "networks"  # the networks that come with the library


@dataclass
class Networks:
    """The networks of an editor with the moments that they were trained with.

    nets     {shape: network}
    moments  {shape: moments of the keys and gradients of all modules of that shape}
    hash     hash of the file's content, empty while there is no file
    """

    nets: dict[str, EditNet]
    moments: dict[str, KeyGradientMoments]
    hash: str = ""

    def state(self) -> dict[str, Any]:
        """The tensors and numbers that a file keeps."""
        return {
            shape: {
                "net": {k: v.detach().clone() for k, v in net.state_dict().items()},
                "moments": self.moments[shape].state(),
            }
            for shape, net in self.nets.items()
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over a `state`, also a `compact` one; NetworkError where the sizes do not fit."""
        if state.keys() != self.nets.keys():
            raise NetworkError("it holds networks for other modules than the settings name")
        for shape, kept in state.items():
            try:
                self.nets[shape].load_state_dict(kept["net"])
            except RuntimeError:
                raise NetworkError("it has another rank, depth or choice of modules") from None
            self.moments[shape] = KeyGradientMoments.load(_cast(kept["moments"], torch.float64))


def compact(state: dict[str, Any]) -> dict[str, Any]:
    """A networks' state in about a third of the bytes: matrices float16, moments float32.

    float16 keeps three digits. That is enough because the matrices are added to the identity and
    do not contain it.
    """
    small = {}
    for shape, kept in state.items():
        net = {
            name: value.half() if name in ("first", "second") else value
            for name, value in kept["net"].items()
        }
        small[shape] = {"net": net, "moments": _cast(kept["moments"], torch.float32)}
    return small


def _cast(kept: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The state of moments with its tensors in another type."""
    cast = {}
    for name, v in kept.items():
        cast[name] = _cast(v, dtype) if isinstance(v, Mapping) else v
        if isinstance(v, Tensor):
            cast[name] = v.to(dtype)
    return cast


def save(path: Path, header: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write header (JSON) and state (tensors, numbers, dicts) to one file, or nothing at all."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"format": FORMAT, **header, "state": pack(state, "s", tensors)})
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with whole_file(path) as part:
        save_file(tensors, part, metadata={"network": text})
    return path


def load(path: Path, fingerprint: str, editor: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(header, state, hash of the content); NetworkError for another model's or editor's file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["network"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        version, base, made_by = header["format"], header["base"], header["editor"]
        state = unpack(header.pop("state"), tensors)
    except Exception as error:
        raise NetworkError(
            f"{path} is no trained network, or is damaged ({type(error).__name__})"
        ) from None
    if version > FORMAT:
        raise NetworkError(f"{path} has format {version}: update the library")
    if base.split()[-1] != fingerprint:
        raise NetworkError(f"{path} was trained for {base}, the model here has {fingerprint}")
    if made_by != editor:
        raise NetworkError(f"{path} was trained for {made_by}, not for {editor}")
    return header, state, sha256(path)[:16]
