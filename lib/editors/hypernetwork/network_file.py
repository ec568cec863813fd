"""A trained network as one safetensors file.

The file holds the networks by shape, together with the moments they were trained with. Its header
names the model and the editor that they belong to; a file for another model or editor is rejected.
Like a patch, it may come from anywhere: before anything is built from it, it is checked against a
schema and its checksum, and before loading, against the networks that the settings require.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import UNSET, Meta, UnsetType, convert
from torch import Tensor

from ...atomic_files import pack, sha256
from ...errors import ArgumentError, NetworkError
from ...keys_values.running_moments import KeyGradientMoments
from ...patch import tensor_file
from ...patch.tensor_file import Count, Line, Packed, Schema, check_names
from .network import EditNet

FORMAT = 1  # increased when an older library would misread the file
SHIPPED = Path(__file__).parent / "networks"  # the networks shipped with the library


@dataclass
class Networks:
    """The networks of an editor with the moments used for training them.

    nets     {shape: network}
    moments  {shape: moments of the keys and gradients of all modules of that shape}
    hash     hash of the file's content, empty if there is no file
    """

    nets: dict[str, EditNet]
    moments: dict[str, KeyGradientMoments]
    hash: str = ""

    def state(self) -> dict[str, Any]:
        """Return the tensors and numbers to store in a file."""
        return {
            shape: {
                "net": {k: v.detach().clone() for k, v in net.state_dict().items()},
                "moments": self.moments[shape].state(),
            }
            for shape, net in self.nets.items()
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Load a `state`, which may be `compact`; NetworkError if the sizes do not fit."""
        if state.keys() != self.nets.keys():
            raise NetworkError("It contains networks for modules other than those in the settings.")
        for shape, kept in state.items():
            try:
                self.nets[shape].load_state_dict(kept["net"])
            except RuntimeError:
                raise NetworkError("It has a different rank, depth or choice of modules.") from None
            moments = KeyGradientMoments.load(_cast(kept["moments"], torch.float64))
            d_out, d_in = map(int, shape.split("x"))
            for side, d in ((moments.keys, d_in), (moments.grads, d_out)):
                if {side.mean.shape, side.S.shape} != {(d,)} or bool((side.S < 0).any()):
                    raise NetworkError("Its moments do not belong to its modules.")
            self.moments[shape] = moments


def compact(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a networks' state in about a third of the bytes: matrices float16, moments float32.

    float16 keeps three digits. That is enough because the matrices are added to the identity and do
    not contain it.
    """
    return {
        shape: {
            "net": {
                name: value.half() if name in ("first", "second") else value
                for name, value in kept["net"].items()
            },
            "moments": _cast(kept["moments"], torch.float32),
        }
        for shape, kept in state.items()
    }


def _cast(kept: Any, dtype: torch.dtype) -> Any:
    if isinstance(kept, Mapping):
        return {name: _cast(value, dtype) for name, value in kept.items()}
    return kept.to(dtype) if isinstance(kept, Tensor) else kept


class _Header(Schema):
    """The header of a network's file, and of an unfinished training."""

    format: int
    editor: Line
    base: Annotated[str, Meta(max_length=500, pattern=r"\A[^\r\n]*\S[^\r\n]*\Z")]
    modules: dict[str, str]
    state: Packed
    step: Count = 0
    best: float = 0.0  # may be infinite, and NaN in `history`, if nothing was validated
    history: list[tuple[Count, float, float]] = []
    settings: dict[str, Any] = {}
    data: dict[str, Any] = {}
    label: str = ""  # this and the following are only for training
    best_loss: float = 0.0
    best_step: Count = 0
    losses: list[float] = []
    sha256: str | UnsetType = UNSET


class _Side(Schema):
    n: Annotated[int, Meta(ge=0, lt=1 << 53)]
    mean: Tensor
    S: Tensor


class _Moments(Schema):
    keys: _Side
    grads: _Side


class _Network(Schema):
    net: dict[str, Tensor]
    moments: _Moments


class _Adam(Schema):
    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class _State(Schema):
    """The tensors and numbers of a file, and their owners.

    now   {shape: network and moments}
    best  the same, or nothing, during training
    adam  {number of a parameter: its optimizer state}, during training
    """

    now: dict[str, _Network]
    best: dict[str, _Network] = {}
    adam: dict[Annotated[str, Meta(pattern=r"^\d{1,5}$")], _Adam] = {}


def save(path: Path, header: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write header (JSON) and state (tensors, numbers, dicts) to one file, or nothing at all.

    Raises NetworkError if the header is not JSON, and OSError if the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    header = {"format": FORMAT, **header, "state": pack(state, "s", tensors)}
    return tensor_file.write(path, "network", header, tensors, _Header, NetworkError)


def load(path: Path, fingerprint: str, editor: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return (header, state, hash of the content).

    Raises NetworkError if the file belongs to another model or editor.
    """
    try:
        text, tensors, number = tensor_file.read(path, "network")
        if number > FORMAT:
            raise ArgumentError(f"It has format {number}. Update the library.")
        header = tensor_file.checked(text, tensors, _Header)
        used: set[str] = set()
        state = tensor_file.unpack(header.state, "s", tensors, used)
        check_names("it", tensors, used)
        convert(state, _State)
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
                raise ArgumentError(f"{name} contains NaN or infinite numbers, or integers.")
        said = json.loads(
            text
        )  # the original text: the schema would write whole numbers differently
    except Exception as error:  # any error caused by a hostile file becomes one sentence
        raise NetworkError(
            f"{path} is not a trained network, or is damaged: {tensor_file.sentence(error)}"
        ) from None
    if header.base.split()[-1] != fingerprint:
        raise NetworkError(
            f"{path} was trained for {header.base}, but the model here has {fingerprint}."
        )
    if header.editor != editor:
        raise NetworkError(f"{path} was trained for {header.editor}, not for {editor}.")
    # the mark used by patches for naming a network: the beginning of its file's sha256
    return {k: v for k, v in said.items() if k not in ("state", "sha256")}, state, sha256(path)[:16]
