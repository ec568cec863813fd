"""Code that stands in a patch: a route answers for a module, a rewrite changes the prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Route(ABC):
    """Code behind one module that may answer in its place, e.g. GRACE's codebook.

    `decide` is asked once per sequence, at the prompt; its answer is kept for the generated tokens,
    so cached and uncached generation agree.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Route]]] = {}
    reads_states: ClassVar[bool] = True  # decides by what the layers below compute

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
        """Per sequence: which entry answered, its score and threshold."""
        return [{"entry": int(c)} for c in choice]


class Rewrite(ABC):
    """Changes the prompt's text before the model sees it; ids given directly are left alone."""

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Rewrite]]] = {}

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
