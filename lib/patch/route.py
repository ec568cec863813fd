"""Code that stands in a patch: a route answers for a module, a rewrite changes the prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor


class Route(ABC):
    """Code behind one module that may answer in its place, e.g. GRACE's codebook.

    `decide` is asked once per sequence, at the prompt; its answer is kept for the generated tokens,
    so cached and uncached generation agree.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Route]]] = {}
    reads_states: ClassVar[bool] = True  # decides by what the layers below compute
    axes: ClassVar[tuple[str, str]] = ("score", "threshold")  # what the two numbers measure
    within: ClassVar[bool] = False  # answers up to the threshold, as a radius; else from it on
    module: str = ""  # name of the module that it stands behind; its notes are kept under it

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Route.kinds[cls.kind] = cls

    @abstractmethod
    def decide(self, inputs: Tensor, output: Tensor, seqs: Any) -> Tensor:
        """(rows,) int64: which entry answers each sequence, -1 = base."""

    @abstractmethod
    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Any) -> Tensor:
        """The module's output under `choice`; `output` itself where every choice is -1."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""

    @abstractmethod
    def header(self) -> dict:
        """What is saved beside the tensors: JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Route:
        """The route that `tensors()` and `header()` describe."""

    def explain(self, choice: Tensor) -> list[dict]:
        """Per sequence: which entry answered; what was noted is shown beside it."""
        return [{"entry": entry} for entry in choice.tolist()]

    def note(self, seqs: Any, *, score: Tensor, threshold: Tensor, **more: Tensor) -> None:
        """Keep numbers (rows,) of a decision beside the choice; `explain=True` shows them."""
        for name, values in {"score": score, "threshold": threshold, **more}.items():
            seqs.memo[f"{self.module}/{name}"] = values

    def noted(self, seqs: Any, name: str) -> Tensor:
        """Numbers (rows,) that `note` kept when these sequences were decided."""
        return seqs.memo[f"{self.module}/{name}"]

    def on(self, device: torch.device) -> Any:
        """What `placed` gives for a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = self.placed(device)
        return self._copies[device]

    def placed(self, device: torch.device) -> Any:
        """What `decide` and `apply` compute with, on the device where the module runs."""
        return {name: tensor.to(device) for name, tensor in self.tensors().items()}

    @cached_property
    def _copies(self) -> dict[torch.device, Any]:
        return {}

    @staticmethod
    def check_finite(what: str, *tensors: Tensor) -> None:
        """Refuse tensors of a file, ValueError, unless all are finite float32 numbers."""
        if not all(t.dtype == torch.float32 and bool(torch.isfinite(t).all()) for t in tensors):
            raise ValueError(f"{what} must hold finite float32 numbers only")


class Rewrite(ABC):
    """Changes the prompt's text before the model sees it; ids given directly are left alone."""

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Rewrite]]] = {}
    axes: ClassVar[tuple[str, str]] = ("score", "threshold")  # what the two numbers measure
    within: ClassVar[bool] = False  # answers up to the threshold, as a radius; else from it on

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Rewrite.kinds[cls.kind] = cls

    @abstractmethod
    def __call__(self, prompts: list[str]) -> list[str]:
        """The prompts as the model shall see them; a miss returns the same string."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""

    @abstractmethod
    def header(self) -> dict:
        """What is saved beside the tensors: JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Rewrite:
        """The rewrite that `tensors()` and `header()` describe."""

    def explain(self, prompt: str) -> list[dict]:
        """What was found for one prompt: entry, score, threshold."""
        return []
