"""A model with a patch as a model of lm-evaluation-harness, which then measures what it measures.

    pip install "modeledit[harness]"
    lm_eval --model modeledit --model_args patch=edit.safetensors --tasks hellaswag

`base` names the model as `lib.load` does (none: the embedded one), `patch` a saved patch (none: the
base model itself, with exactly its numbers); routed patches work as well. Versions of the harness
that know no plugins, up to 0.4.13, are started by this module, which takes the same arguments:

    python -m lib.export.harness --model modeledit --model_args patch=edit.safetensors --tasks …

Nothing else in the library imports this module or the harness.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows
from tqdm import tqdm

from ..model import generation, lm, scoring
from ..patch.patch import EMPTY, Patch

NAME = "modeledit"
TOGETHER = 64  # requests between two steps of the progress bar; the library makes its own batches
NEW_TOKENS = 256  # of a free answer, where a task does not say


@register_model(NAME)
class EditedModel(TemplateLM):
    """One model with one patch: `base` and `patch` as the module says, `dtype` as transformers.

    What else the harness hands over (`batch_size`, `device`, …) has no use here and is taken and
    left. Raises the library's own errors for a model or patch that cannot be loaded.
    """

    def __init__(
        self, base: str | None = None, patch: str | None = None, dtype: Any = None, **_: Any
    ) -> None:
        super().__init__()
        self.patch = Patch.load(Path(patch)) if patch else EMPTY
        self.lm = lm.load(base, dtype)
        self.tokenizer = self.lm.tokenizer

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has nothing before it: BOS, where the tokenizer adds one."""
        return self.eot_token_id if self.lm.leading_bos is None else self.lm.leading_bos

    @property
    def tokenizer_name(self) -> str:
        """The model's name, under which the harness caches requests in the chat template."""
        return self.lm.name

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """The token ids of a text, with BOS as the tokenizer does it unless this is forbidden."""
        special = True if add_special_tokens is None else add_special_tokens
        return self.tokenizer(string, add_special_tokens=special).input_ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as one prompt."""
        return self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The tokenizer's template, which is the only one."""
        return getattr(self.tokenizer, "chat_template", None) or ""

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """(log-probability, whether it is the greedy answer) of each continuation."""
        found = []
        with self.lm.patched(self.patch, only=True):
            for some in _portions(requests, disable_tqdm):
                rows = [self._row(context, ids) for (context, _), ids, _ in some]
                ends = [end for _, _, end in some]
                rows = [self._cut(row, len(end)) for row, end in zip(rows, ends, strict=True)]
                for scores in scoring.score(self.lm, rows, ends):
                    found.append((scores.log_probs.sum().item(), bool(scores.hits.all())))
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text, read in windows of the whole context."""
        size, found = self.lm.context or 2048, []
        with self.lm.patched(self.patch, only=True):
            for (request,) in _portions(requests, disable_tqdm, together=1):
                ids = self.tok_encode(request.args[0], add_special_tokens=False)
                # windows overlap by the token before the first one that is scored
                pairs = get_rolling_token_windows(ids, self.prefix_token_id, size, 1)
                split = [(before, end) for before, end in pairs]
                rows = [before[: len(before) - len(end) + 1] for before, end in split]
                ends = [end for _, end in split]
                scores = scoring.score(self.lm, rows, ends)
                found.append(sum(one.log_probs.sum().item() for one in scores))
        return found

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """The free answer to each prompt, cut where one of its stops begins."""
        found = []
        with self.lm.patched(self.patch, only=True):
            for (request,) in _portions(requests, disable_tqdm, together=1):
                prompt, asked = request.args
                stops = asked.get("until") or []
                stops = [stop for stop in ([stops] if isinstance(stops, str) else stops) if stop]
                new = int(asked.get("max_gen_toks", NEW_TOKENS))
                temperature = asked.get("temperature", 0.0) if asked.get("do_sample") else 0.0
                row = self._cut(self._row(prompt, self.tok_encode(prompt)), new)

                def stopped(
                    _: int, ids: list[int], row: list[int] = row, stops: list[str] = stops
                ) -> bool:
                    text = self.lm.texts([row], [ids])[0]
                    return any(stop in text for stop in stops)

                made = generation.generate(
                    self.lm, [row], new, temperature=float(temperature), until=stopped
                )
                text = self.lm.texts([row], made.ids)[0]
                cut = [text.split(stop)[0] for stop in stops]
                found.append(min(cut, key=len, default=text))
        return found

    def _row(self, text: str, ids: list[int]) -> list[int]:
        """The ids of a prompt, which a patch that rewrites text may change."""
        return self.lm.rows([text])[0][0] if self.patch.rewrites and text else ids

    def _cut(self, row: list[int], room: int) -> list[int]:
        """The end of a row that leaves so many tokens of the context free, at least one token."""
        most = max(1, (self.lm.context or 10**9) - room)
        return row[-most:]


def _portions(requests: Iterable[Any], quiet: bool, together: int = TOGETHER) -> Iterable[Any]:
    """The requests, some at a time, with a progress bar."""
    given = list(requests)
    starts = range(0, len(given), together)
    for start in tqdm(starts, disable=quiet, unit="batch", desc=NAME):
        yield given[start : start + together]


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
