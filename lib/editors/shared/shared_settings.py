"""Groups of settings shared by several editors, defining each once together with its description.

A `Config` inherits from its method's groups, before `Config` itself. If the method has a different
default, it overrides only that, keeping the description: `v_lr: float = 0.2`, or `setting(0.2,
published=0.5)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from ...keys_values import value_search
from ...keys_values.answer_gradients import Reduction
from ...keys_values.chat_wordings import Which
from ...keys_values.general_text import text_file
from ...model.lm import LM
from ...setting_fields import Amount, Count, Real, Size, Texts, Whole, from_paper, ours


@dataclass(frozen=True)
class EndOfText:
    """The setting for including the end of the text in each answer."""

    target_eos: bool = ours(
        False, "Whether the end of the text is learned as a token after the answer."
    )


@dataclass(frozen=True)
class SearchSettings(EndOfText):
    """The search for the value v* that makes the model give a fact's new answer."""

    v_lr: Amount = from_paper(0.5, "Learning rate of Adam in the search for the value.")
    steps: Count = from_paper(
        20, "Maximum number of search steps, the last only evaluating the loss."
    )
    decay: Amount = from_paper(0.5, "Weight of the length of the change during the search.")
    clamp: Amount = from_paper(
        4.0, "Bound on the change's length, as a multiple of the length of the state there."
    )
    kl_factor: Amount = from_paper(
        0.0625, "Weight of the KL divergence of the prediction right after the subject."
    )

    def search(self) -> value_search.Search:
        """Return the search's settings that have the same names here; others keep their values."""
        names = {field.name for field in fields(value_search.Search)}
        return value_search.Search(**{k: v for k, v in vars(self).items() if k in names})


@dataclass(frozen=True)
class ContextSettings:
    """The context templates under which a fact is learned."""

    contexts: tuple[tuple[Count, Count], ...] = from_paper(
        ((5, 5), (10, 5)),
        "Contexts written by the model, as pairs of a length in tokens and a number of texts.",
    )
    context_start: Whole | str | None = from_paper(
        "words",
        "Beginning of contexts: the published five words, a token id, or None for the end of text.",
    )
    context_top_k: Count = from_paper(
        5,
        "Number of most likely tokens for sampling contexts; 0 samples from the whole vocabulary.",
    )
    templates: Texts | None = ours(
        None, "Context templates, each with `{}` for the prompt; None lets the model write them."
    )


@dataclass(frozen=True)
class GeneralText:
    """The text representing everything not being edited."""

    text: str | None = ours(
        None,
        "General text: a file, a list of texts or a dataset, kept as a file; None uses the text "
        "shipped with the library or, for a wide model, text that the model writes itself.",
    )
    tokens: Size | None = ours(
        None,
        "Number of tokens of general text to read; None uses ten for each row of the estimated "
        "moment.",
    )

    def __post_init__(self) -> None:
        """Store a list of texts as a file, because the log of a patch only names a file."""
        object.__setattr__(self, "text", text_file(self.text))
        super().__post_init__()  # type: ignore[misc]


@dataclass(frozen=True)
class MomentSettings(GeneralText):
    """The second moment C of the keys of general text."""

    second_moment: bool = from_paper(
        True,
        "Whether C, the second moment of general text, weights the keys; otherwise C is the "
        "identity.",
    )
    damping: Amount = ours(
        1e-4, "Multiple of its mean eigenvalue that is added to the diagonal of C.", published=0.0
    )


@dataclass(frozen=True)
class EntryTraining:
    """The training of the values of a codebook's entries (GRACE, HoReN)."""

    n_iter: Count = from_paper(50, "Maximum number of training steps for a value.")
    lr: Amount = from_paper(0.5, "Learning rate of Adam for the values.", published=1.0)
    enough: Real = ours(
        0.05,
        "Loss under which a value is done once its answer is the argmax; 0 runs all steps.",
        published=0.0,
    )


@dataclass(frozen=True)
class EpochSettings:
    """Training in shuffled epochs over the facts of a call (fine-tuning, LoRA, CrispEdit)."""

    lr: Amount = from_paper(5e-4, "Learning rate of Adam.")
    epochs: Count = from_paper(25, "Maximum number of passes over the facts of a call.")
    batch_size: Size = from_paper(100, "Number of facts sharing one step.")
    enough: Real = from_paper(
        1e-2, "Mean loss under which a batch moves nothing and training ends."
    )


@dataclass(frozen=True)
class ChatWordings:
    """Further wordings of a fact, in the chat template (GRACE, HoReN, WISE)."""

    forms: Which = ours(
        "prompt",
        "Forms in which a fact is learned: only its prompt, also as a message in the chat "
        "template, or in a conversation, with a question written by the model added.",
    )


@dataclass(frozen=True)
class GradientSettings:
    """The matrices whose keys and gradients are read, and the loss (UltraEdit, networks)."""

    down: tuple[Count, ...] = from_paper(
        (),
        "Layers whose MLP output projection is edited; if none of the three lists is given, the "
        "editor chooses.",
    )
    gate: tuple[Count, ...] = from_paper((), "Layers whose gate projection of the MLP is edited.")
    up: tuple[Count, ...] = from_paper((), "Layers whose input projection of the MLP is edited.")
    group: Size = from_paper(10, "Number of facts sharing one loss.")
    reduction: Reduction = from_paper(
        "group_mean",
        "How a loss is averaged: over a group's tokens or, separately for every fact, over its "
        "own.",
    )

    def edited_layers(self, lm: LM) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Return layers of down, gate and up; by default the third- and second-last of down.

        This is the preset of Mistral, by far the cheapest.
        """
        if self.down or self.gate or self.up:
            return self.down, self.gate, self.up
        return range(max(0, lm.n_layers - 3), max(1, lm.n_layers - 1)), (), ()
