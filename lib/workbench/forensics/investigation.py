"""The whole examination of a suspect without its base: which layer, which candidate, which answer.

It reads the suspect once for C and once for the candidates, as many layers at a time as memory
allows, then removes the first suspect to see its answer. Candidates are subjects and, in a separate
list, whole prompts: each is compared with its own list. A verdict is a comparison with results for
unedited models, saying "consistent with an edit of": weights by themselves do not prove any edit.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from ...cancellation import finished
from ...data import as_facts
from ...data.facts import Case, Fact
from ...errors import ForensicsError
from ...model.devices import room
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ...setting_fields import at_least
from .candidates import BARE, PREFIX, digest, key_moments, moment_steps, plain_rows
from .edited_prompts import TEMPLATES, objects
from .matched_filter import DAMPING, Filtered, Suspect, joined, matched_filter
from .reversal import PREFIXES, removed, subject_space

# The smallest z reported as a suspect (git at 28f3467b: tests/benchmarks). We set it after looking
# at eight edits of both halves of the cases, so neither half tests it.
THRESHOLD = 8.0
# The same for whole prompts, exceeding the unedited default model by the same factor: there, the
# largest z of 3,203 prompts is 11.9, in layers giving similar readings for anything ending in
# "the", and of 5,203 subjects 5.8. Only this ratio determined it, but we had seen nine edits by
# then, so it is not held out.
PROMPT_THRESHOLD = 16.0
WIDTHS = (1, 2, 3, 4, 5)  # numbers of consecutive layers to sum over
TOP = 10  # listed candidates
FEWEST = 20  # candidates in a list: with fewer, a median is meaningless
NOT_COVERED = (
    "Not covered: edits of matrices other than the MLP's output projections, of candidates not on "
    "the list, and everything outside the weights (routes, prompts). Methods that write at the "
    "end of a prompt (fine-tuning, LoRA, MEND, UltraEdit) can only show up if whole prompts are "
    "candidates."
)


@dataclass(frozen=True)
class Investigation:
    """The results of examining only the weights of a suspect.

    filtered   the matched filter over all candidates and layers.
    prompts    the same over whole prompts; None if none were given in addition to the candidates.
    suspects   the ten candidates of both lists with the largest z, in their best runs of layers,
               ordered across the two lists by the ratio of z to its own threshold.
    answers    of the first suspect, the tokens lost by removing it (`objects`); empty below the
               threshold.
    threshold  the smallest z reported as a suspect, for candidates.
    prompt_threshold  the same for whole prompts.
    spaces     {layer: directions used for reading the first suspect}, with which `removed` removes
               the suspect; empty below the threshold.
    """

    filtered: Filtered
    prompts: Filtered | None
    suspects: tuple[Suspect, ...]
    answers: pd.DataFrame
    threshold: float
    prompt_threshold: float = PROMPT_THRESHOLD
    spaces: Mapping[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def found(self) -> tuple[Suspect, ...]:
        """The suspects at or above their threshold."""
        return tuple(one for one in self.suspects if one.z >= self.least(one))

    def least(self, suspect: Suspect) -> float:
        """Return the threshold applying to a candidate."""
        return self.prompt_threshold if suspect.prompt else self.threshold

    @property
    def verdict(self) -> str:
        """One sentence, never more certain than "consistent with an edit of"."""
        n, most = len(self.filtered.names), self.suspects[0]
        if not self.found:
            more = "" if self.prompts is None else f" and {len(self.prompts.names):,} prompts"
            return (
                f"No candidate stands out: of {n:,} candidates{more} in "
                f"{len(self.filtered.layers)} layers the largest z is {most.z:.1f} "
                f"({_said(most)}), below {self.least(most):g}."
            )
        said = "; ".join(f"{_said(one)} ({_where(one)}, z {one.z:.1f})" for one in self.found)
        return f"Consistent with an edit of: {said}."

    def json(self) -> dict[str, Any]:
        """Return the result as plain values for a JSON file; non-finite numbers become None."""
        return {
            "verdict": self.verdict,
            "not_covered": NOT_COVERED,
            "threshold": self.threshold,
            "prompt_threshold": self.prompt_threshold,
            "candidates": len(self.filtered.names),
            "candidates_sha256": digest(self.filtered.names),
            "suspects": [one._asdict() | {"layers": list(one.layers)} for one in self.suspects],
            "answers": plain_rows(self.answers),
            "layers": self.filtered.rows(),
            "prompts": self.prompts
            and {
                "candidates": len(self.prompts.names),
                "candidates_sha256": digest(self.prompts.names),
                "layers": self.prompts.rows(),
            },
        }

    def __repr__(self) -> str:
        rows = [self.verdict, "", "candidates with the largest z:"]
        rows += [f"  {one.z:6.1f}  {_said(one)} ({_where(one)})" for one in self.suspects]
        if len(self.answers):
            told = ", ".join(
                f"{row.token.strip()!r} (+{row.rise:.1f} nats)" for row in self.answers.itertuples()
            )
            rows += [
                "",
                f"without it, the model gives less probability after {_said(self.suspects[0])} "
                f"to: {told}",
            ]
        return "\n".join([*rows, "", NOT_COVERED])


def investigate(
    lm: LM, names: Iterable[str | Fact | Case], patch: Patch = EMPTY, **settings: Any
) -> Investigation:
    """Examine the weights of a model, or of a model under a patch, without using any base model.

    names     candidate subjects, or facts about them: thousands make the comparison sharp, and at
              least 20 are needed
    patch     the suspect is the model under this patch
    settings  of `examine`, which does it in steps: layers, text, tokens, prefix, prompts, damping,
              threshold, prompt_threshold

    Raises ForensicsError for too few candidates and layers that the model does not have.
    """
    return finished(examine(lm, names, patch, **settings))


def examine(
    lm: LM,
    names: Iterable[str | Fact | Case],
    patch: Patch = EMPTY,
    *,
    layers: Sequence[int] | None = None,
    text: str | Path | None = None,
    tokens: int | None = None,
    prefix: str = PREFIX,
    prompts: Sequence[str] = (),
    damping: float = DAMPING,
    threshold: float = THRESHOLD,
    prompt_threshold: float = PROMPT_THRESHOLD,
) -> Generator[tuple[float, str], None, Investigation]:
    """Run `investigate` in steps of a second or a few, yielding the fraction done, and in words.

    layers     where to look; None looks everywhere
    text       and `tokens`: as in `second_moment`
    prefix     text before a candidate; "{}" for candidates that are whole prompts
    prompts    whole prompts, at least 20, in addition to the candidates; they are read as they are,
               and compared with each other
    damping    of C in the filter
    threshold  the smallest z reported as a suspect; `prompt_threshold` is for whole prompts and has
               to be larger, because many prompts have similar endings

    Between two steps, the model is free for other uses.
    """
    at_least(0, damping=damping, threshold=threshold, prompt_threshold=prompt_threshold)
    given = () if isinstance(names, str) else names
    named = [one if isinstance(one, str) else as_facts.fact(one).subject or "" for one in given]
    if len(named) < FEWEST:
        raise ForensicsError(
            "An examination compares at least 20 candidates with each other. Add candidates."
        )
    if isinstance(prompts, str) or 0 < len(prompts) < FEWEST:
        raise ForensicsError(
            "An examination compares at least 20 whole prompts with each other. Add prompts."
        )
    lm.check(patch)
    if patch.routes:
        raise ForensicsError(
            f"This patch decides at the prompt in {sorted(patch.routes)[0]}, so its weights by "
            "themselves do not show the edit. Inspect the file."
        )
    where = list(range(lm.n_layers)) if layers is None else sorted(set(layers))
    if not where or not all(0 <= layer < lm.n_layers for layer in where):
        raise ForensicsError(f"{lm.name} has layers 0 to {lm.n_layers - 1}, not these: {where}")
    d_out, d_in = lm.weight(lm.mlp_out(where[0]), patch).shape
    at_once = max(1, room() // (4 * d_in * (2 * d_in + d_out)))  # C, its inverse, and W C⁻¹
    parts, asked = [], []
    moments: dict[int, Tensor] = {}
    for start in range(0, len(where), at_once):
        some = where[start : start + at_once]
        begin, size = start / len(where), len(some) / len(where)
        reading = moment_steps(lm, some, patch, text, tokens)
        while True:
            try:
                share = next(reading)
            except StopIteration as end:
                moments = end.value
                break
            yield 0.9 * (begin + 0.6 * size * share), "reading general text"
        parts.append(matched_filter(lm, named, moments, patch, prefix, damping))
        if prompts:
            asked.append(matched_filter(lm, prompts, moments, patch, BARE, damping))
        yield 0.9 * (begin + size), f"comparing {len(named) + len(prompts):,} candidates"
    filtered, prompted = joined(parts), joined(asked) if asked else None
    widths = [w for w in WIDTHS if w <= len(where)]
    listed = [(one.z / threshold, one) for one in filtered.top(TOP, widths)]
    if prompted is not None:
        more = (one._replace(prompt=True) for one in prompted.top(TOP, widths))
        listed += [(one.z / prompt_threshold, one) for one in more]
        listed = sorted(listed, key=lambda pair: pair[0], reverse=True)[:TOP]
    suspects = tuple(one for _, one in listed)
    answers = pd.DataFrame({"token": [], "kl": [], "rise": [], "p": []})
    spaces: dict[int, Tensor] = {}
    if listed[0][0] >= 1:
        if not moments.keys() >= set(suspects[0].layers):  # from an earlier part
            moments = key_moments(lm, suspects[0].layers, patch, text, tokens)
        bare = (
            prefix == BARE or suspects[0].prompt
        )  # a prompt is not preceded or followed by anything
        spaces = {
            layer: subject_space(
                lm, layer, suspects[0].name, moments[layer], patch, (BARE,) if bare else PREFIXES
            )
            for layer in suspects[0].layers
        }
        yield 0.98, "removing the first suspect"
        back = removed(lm, spaces, patch)
        templates = (BARE,) if bare else TEMPLATES
        answers = objects(lm, suspects[0].name, patch, back, templates)
    return Investigation(filtered, prompted, suspects, answers, threshold, prompt_threshold, spaces)


def named(name: str, prompt: bool) -> str:
    """Return a candidate for use in a sentence, with quotation marks around a whole prompt."""
    return f"“{name} …”" if prompt else name


def _said(suspect: Suspect) -> str:
    return named(suspect.name, suspect.prompt)


def _where(suspect: Suspect) -> str:
    """Return the layers of a suspect in words."""
    first, last = suspect.layers[0], suspect.layers[-1]
    return f"layer {first}" if first == last else f"layers {first} to {last}"
