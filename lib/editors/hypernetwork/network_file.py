"""A trained network as one safetensors file.

The file holds the networks by shape and the moments they were trained with. Its header names the
model and the editor that they belong to, and a file of another model or editor is refused. As a
patch may, it may come from anywhere: it is compared with a schema, with its checksum and with the
modules that it names before anything is made of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import UNSET, Meta, Struct, UnsetType
from torch import Tensor

from ...atomic_files import pack, sha256
from ...errors import NetworkError
from ...keys_values.running_moments import KeyGradientMoments
from ...patch import tensor_file
from ...patch.tensor_file import Count, Line, Packed, Schema, check_names, check_tensor
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


class _Numbered(Struct):
    """Of a header of any format: its number."""

    format: int


class _Header(Schema):
    """The header of a network's file, and of a training that is not finished."""

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    editor: Line
    base: Annotated[Line, Meta(min_length=1)]
    modules: dict[str, Annotated[str, Meta(pattern=r"^[1-9]\d{0,8}x[1-9]\d{0,8}$")]]
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

    def __post_init__(self) -> None:
        if not self.base.strip():
            raise ValueError("it names no model")
        tensor_file.check_setting(self.settings, "settings")
        tensor_file.check_setting(self.data, "data")


def save(path: Path, header: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write header (JSON) and state (tensors, numbers, dicts) to one file, or nothing at all.

    Raises NetworkError where the header is no JSON, and OSError where there is no room.
    """
    tensors: dict[str, Tensor] = {}
    header = {"format": FORMAT, **header, "state": pack(state, "s", tensors)}
    try:
        tensor_file.write(path, "network", header, tensors, _Header)
    except ValueError as error:
        raise NetworkError(f"this network cannot be saved: {error}") from None
    return path


def load(path: Path, fingerprint: str, editor: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(header, state, hash of the content); NetworkError for another model's or editor's file."""
    try:
        text, tensors = tensor_file.read(path, "network")
        number = tensor_file.decode(text, _Numbered).format
    except Exception as error:
        raise NetworkError(
            f"{path} is no trained network, or is damaged ({type(error).__name__})"
        ) from None
    if number > FORMAT:
        raise NetworkError(f"{path} has format {number}: update the library")
    try:
        sealed = tensor_file.check_sum(text, tensors)
        header = tensor_file.decode(text, _Header)
        if header.sha256 is not UNSET and not sealed:
            raise ValueError("its checksum does not stand where it belongs")
        used: set[str] = set()
        state = tensor_file.unpack(header.state, "s", tensors, used)
        check_names("it", tensors, used)
        _check_state(state, header.modules)
        said = json.loads(text)  # as it stands: the schema would write whole numbers otherwise
    except Exception as error:  # whatever a hostile file makes of the readers is one sentence
        raise NetworkError(f"{path} is damaged: {tensor_file.sentence(error)}") from None
    if header.base.split()[-1] != fingerprint:
        raise NetworkError(
            f"{path} was trained for {header.base}, the model here has {fingerprint}"
        )
    if header.editor != editor:
        raise NetworkError(f"{path} was trained for {header.editor}, not for {editor}")
    return {k: v for k, v in said.items() if k not in ("state", "sha256")}, state, _hash(path)


def _hash(path: Path) -> str:
    """The mark by which patches name a network: the beginning of its file's sha256."""
    return sha256(path)[:16]


# ---- what a state must be, before networks are made of it ----------------------------------------


def _check_state(state: Any, modules: Mapping[str, str]) -> None:
    """ValueError unless a state holds networks for the shapes of the modules, and only these.

    now   {shape: network and moments}
    best  the same, or nothing, in a training
    adam  {number of a parameter: what the optimizer keeps of it}, in a training
    """
    shapes = Counter(modules.values())
    held = _mapping(state, "the state")
    check_names("the state", held, {"now"} | ({"best", "adam"} & held.keys()))
    for name in {"now", "best"} & held.keys():
        nets = _mapping(held[name], name)
        if name == "best" and not nets:
            continue
        check_names(name, nets, shapes)
        for shape, count in shapes.items():
            kept = _mapping(nets[shape], shape)
            check_names(shape, kept, ("net", "moments"))
            d_out, d_in = map(int, shape.split("x"))
            _check_net(_mapping(kept["net"], shape), d_in + d_out, count)
            moments = _mapping(kept["moments"], shape)
            check_names("the moments", moments, ("keys", "grads"))
            _check_moments(_mapping(moments["keys"], "keys"), d_in)
            _check_moments(_mapping(moments["grads"], "grads"), d_out)
    for number, kept in _mapping(held.get("adam", {}), "adam").items():
        if not (number.isascii() and number.isdecimal() and len(number) < 6):
            raise ValueError(f"the optimizer has no parameter '{number}'")
        parts = _mapping(kept, "adam")
        check_names("the optimizer", parts, ("step", "exp_avg", "exp_avg_sq"))
        average = _tensor(parts["exp_avg"], "exp_avg")
        check_tensor("step", _tensor(parts["step"], "step"), (), torch.float32)
        for name in ("exp_avg", "exp_avg_sq"):
            check_tensor(name, _tensor(parts[name], name), tuple(average.shape), torch.float32)


def _check_net(net: Mapping[str, Any], s: int, m: int) -> None:
    """ValueError unless these are the tensors of an `EditNet` of width s for m modules."""
    first = _tensor(net.get("first"), "first")
    b, r = first.shape[:2] if first.ndim == 3 else (-1, -1)
    shapes = {"first": (b, r, s), "second": (b, s, r), "bias": (b, s), "scale": (b, m, s)}
    shapes |= {"shift": (b, m, s), "step": (m,)}
    if "log_ridge" in net:
        shapes["log_ridge"] = (m,)
    check_names("a network", net, shapes)
    for name, shape in shapes.items():
        types = (torch.float32, torch.float16) if name in ("first", "second") else (torch.float32,)
        check_tensor(name, _tensor(net[name], name), shape, *types)


def _check_moments(kept: Mapping[str, Any], d: int) -> None:
    """ValueError unless these are the moments of columns of length d."""
    shapes = {"mean": (d,), "S": (d,)} | ({"scatter": (d, d)} if "scatter" in kept else {})
    check_names("the moments", kept, {"n", *shapes})
    if type(kept["n"]) is not int or not 0 <= kept["n"] < 1 << 53:
        raise ValueError(f"moments count {kept['n']!r:.40} columns")
    for name, shape in shapes.items():
        check_tensor(name, _tensor(kept[name], name), shape, torch.float64, torch.float32)
    if bool((kept["S"] < 0).any()):
        raise ValueError("a sum of squares in the moments is negative")


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is no mapping")
    return value


def _tensor(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{what} is no tensor")
    return value
