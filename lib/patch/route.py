"""Routes and rewrites, the two kinds of code that a patch may hold.

A route stands after one module and may answer in its place. A rewrite changes the prompt's text
before the model reads it. Both can be saved: `kind` names the class in a patch file, and a class
registers itself when its module is imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor


class Route(ABC):
    """Code after one module that may answer in its place, such as GRACE's codebook.

    kind          name of the class in patch files.
    kinds         all known classes by their kind.
    reads_states  whether the decision depends on the states that the layers below compute.
    axes          names of the two numbers that are noted with a decision, for tables and figures.
    within        whether the route answers up to the threshold, as a radius does, or from it on.
    module        name of the module that it stands after; its notes are kept under this name.

    `decide` is asked once per sequence, at the prompt. Its answer is kept for the generated tokens,
    so that generation with and without a cache agrees.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Route]]] = {}
    reads_states: ClassVar[bool] = True
    axes: ClassVar[tuple[str, str]] = ("score", "threshold")
    within: ClassVar[bool] = False
    module: str = ""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Route.kinds[cls.kind] = cls

    @abstractmethod
    def decide(self, inputs: Tensor, output: Tensor, seqs: Any) -> Tensor:
        """(rows,) int64: the entry that answers each sequence, -1 where the base model answers.

        inputs and output (rows, length, width) are the module's; `seqs` says which tokens are
        prompt.
        """

    @abstractmethod
    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Any) -> Tensor:
        """The module's output under `choice`: the very `output` given where all choices are -1."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save, by name."""

    @abstractmethod
    def header(self) -> dict:
        """The values to save beside the tensors; JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Route:
        """The route that `tensors()` and `header()` describe.

        Both may come from a hostile file: raises ValueError before anything is built from numbers
        that the tensors do not bear out (`tensor_file.Schema`).
        """

    @property
    def reads_answer(self) -> bool:
        """Whether a decision depends on a given answer too, and not on the prompt alone.

        Then a prompt cannot be read once for several answers.
        """
        return False

    @property
    def widths(self) -> tuple[int, int] | None:
        """Widths of the module's inputs and outputs that the route is made for; None for any."""
        return None

    @property
    def read_widths(self) -> tuple[int | None, int | None]:
        """Widths of the inputs and of the model's input embeddings that it reads; None for any."""
        return None, None

    def explain(self, choice: Tensor) -> list[dict]:
        """One note per sequence, here the entry that answered; noted numbers are added to it."""
        return [{"entry": entry} for entry in choice.tolist()]

    def note(self, seqs: Any, *, score: Tensor, threshold: Tensor, **more: Tensor) -> None:
        """Keep numbers (rows,) with a decision; `lm.answer(…, explain=True)` shows them."""
        for name, values in {"score": score, "threshold": threshold, **more}.items():
            seqs.memo[f"{self.module}/{name}"] = values

    def noted(self, seqs: Any, name: str) -> Tensor:
        """The numbers (rows,) that `note` kept under a name when these sequences were decided."""
        return seqs.memo[f"{self.module}/{name}"]

    def on(self, device: torch.device) -> Any:
        """The result of `placed` for a device, which is copied there only once."""
        if device not in self._copies:
            self._copies[device] = self.placed(device)
        return self._copies[device]

    def placed(self, device: torch.device) -> Any:
        """The tensors that `decide` and `apply` compute with, on the module's device."""
        return {name: tensor.to(device) for name, tensor in self.tensors().items()}

    @cached_property
    def _copies(self) -> dict[torch.device, Any]:
        return {}


class Rewrite(ABC):
    """A change of the prompt's text before the model reads it, such as a retrieved fact in front.

    kind    name of the class in patch files.
    kinds   all known classes by their kind.
    axes    names of the two numbers that are noted with a decision, for tables and figures.
    within  whether an entry is taken up to the threshold, as within a radius, or from it on.

    Prompts that are given as token ids are left alone.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Rewrite]]] = {}
    axes: ClassVar[tuple[str, str]] = ("score", "threshold")
    within: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Rewrite.kinds[cls.kind] = cls

    @abstractmethod
    def __call__(self, prompts: list[str]) -> list[str]:
        """The prompts as the model shall read them; without an entry a prompt stays as it is."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save, by name."""

    @abstractmethod
    def header(self) -> dict:
        """The values to save beside the tensors; JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Rewrite:
        """The rewrite that `tensors()` and `header()` describe."""

    def explain(self, prompt: str) -> list[dict]:
        """The entries found for one prompt: entry, score, threshold."""
        return []
