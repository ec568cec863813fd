"""A trained network as one safetensors file.

The file holds the networks by shape and the moments they were trained with. Its header names the
model and the editor that they belong to, and a file of another model or editor is refused. As a
patch may, it may come from anywhere: it is compared with a schema and with its checksum before
anything is made of it, and with the networks that the settings ask for when it is taken over.
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

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a `state`, also a `compact` one; NetworkError where the sizes do not fit."""
        if state.keys() != self.nets.keys():
            raise NetworkError("it holds networks for other modules than the settings name")
        for shape, kept in state.items():
            try:
                self.nets[shape].load_state_dict(kept["net"])
            except RuntimeError:
                raise NetworkError("it has another rank, depth or choice of modules") from None
            moments = KeyGradientMoments.load(_cast(kept["moments"], torch.float64))
            d_out, d_in = map(int, shape.split("x"))
            for side, d in ((moments.keys, d_in), (moments.grads, d_out)):
                if {side.mean.shape, side.S.shape} != {(d,)} or bool((side.S < 0).any()):
                    raise NetworkError("its moments are not those of its modules")
            self.moments[shape] = moments


def compact(state: Mapping[str, Any]) -> dict[str, Any]:
    """A networks' state in about a third of the bytes: matrices float16, moments float32.

    float16 keeps three digits. That is enough because the matrices are added to the identity and
    do not contain it.
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
    """The header of a network's file, and of a training that is not finished."""

    format: int
    editor: Line
    base: Annotated[str, Meta(max_length=500, pattern=r"\A[^\r\n]*\S[^\r\n]*\Z")]
    modules: dict[str, str]
    state: Packed
    step: Count = 0
    best: float = 0.0  # may be infinite, and NaN in `history`, where nothing was validated
    history: list[tuple[Count, float, float]] = []
    settings: dict[str, Any] = {}
    data: dict[str, Any] = {}
    label: str = ""  # from here on of a training alone
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
    """What the tensors and numbers of a file belong to.

    now   {shape: network and moments}
    best  the same, or nothing, in a training
    adam  {number of a parameter: what the optimizer keeps of it}, in a training
    """

    now: dict[str, _Network]
    best: dict[str, _Network] = {}
    adam: dict[Annotated[str, Meta(pattern=r"^\d{1,5}$")], _Adam] = {}


def save(path: Path, header: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write header (JSON) and state (tensors, numbers, dicts) to one file, or nothing at all.

    Raises NetworkError where the header is no JSON, and OSError where there is no room.
    """
    tensors: dict[str, Tensor] = {}
    header = {"format": FORMAT, **header, "state": pack(state, "s", tensors)}
    return tensor_file.write(path, "network", header, tensors, _Header, NetworkError)


def load(path: Path, fingerprint: str, editor: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(header, state, hash of the content); NetworkError for another model's or editor's file."""
    try:
        text, tensors, number = tensor_file.read(path, "network")
        if number > FORMAT:
            raise ArgumentError(f"it has format {number}: update the library")
        header = tensor_file.checked(text, tensors, _Header)
        used: set[str] = set()
        state = tensor_file.unpack(header.state, "s", tensors, used)
        check_names("it", tensors, used)
        convert(state, _State)
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
                raise ArgumentError(
                    f"{name} holds NaN or infinite numbers, or none with a fraction"
                )
        said = json.loads(text)  # as it stands: the schema would write whole numbers otherwise
    except Exception as error:  # whatever a hostile file makes of the readers is one sentence
        raise NetworkError(
            f"{path} is no trained network, or is damaged: {tensor_file.sentence(error)}"
        ) from None
    if header.base.split()[-1] != fingerprint:
        raise NetworkError(
            f"{path} was trained for {header.base}, the model here has {fingerprint}"
        )
    if header.editor != editor:
        raise NetworkError(f"{path} was trained for {header.editor}, not for {editor}")
    # the mark by which patches name a network: the beginning of its file's sha256
    return {k: v for k, v in said.items() if k not in ("state", "sha256")}, state, sha256(path)[:16]
