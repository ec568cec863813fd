"""Using a model with a patch in lm-evaluation-harness, for running its benchmarks.

    pip install "lm_eval>=0.4.9,<0.6"
    lm_eval --model modeledit --model_args patch=edit.safetensors --tasks hellaswag

`base` names the model as in `lib.load` (none: the default model), and `patch` a saved patch,
including routed ones (none: the base model). Versions without plugins, up to 0.4.13, are started
using `python -m lib.workbench.export.harness --model modeledit …`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from ...model import generation, lm, scoring
from ...patch.patch import EMPTY, Patch

TOGETHER = 64  # requests between two steps of the progress bar; the library makes its own batches


@register_model("modeledit")
class EditedModel(TemplateLM):
    """One model with one patch, ignoring the harness's other arguments."""

    def __init__(self, base: str | None = None, patch: str | None = None, dtype=None, **_: Any):
        super().__init__()
        self.patch = Patch.load(patch) if patch else EMPTY
        self.lm = lm.load(base, dtype)
        self.tokenizer = self.lm.tokenizer

    tokenizer_name = property(lambda self: self.lm.name)
    eot_token_id = property(lambda self: self.tokenizer.eos_token_id)

    prefix_token_id = property(  # for a text with nothing before it: BOS, if there is one
        lambda self: self.eot_token_id if self.lm.leading_bos is None else self.lm.leading_bos
    )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_) -> list[int]:
        return self.tokenizer(string, add_special_tokens=add_special_tokens is not False).input_ids

    def apply_chat_template(self, chat_history: list, add_generation_prompt: bool = True) -> str:
        more = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
        return self.tokenizer.apply_chat_template(chat_history, **more)

    def _loglikelihood_tokens(self, requests: Sequence, disable_tqdm: bool = False, **_) -> list:
        with self.lm.patched(self.patch, only=True):
            rows = [self._row(context, ids, len(end)) for (context, _), ids, end in requests]
            return self._scores(rows, [end for *_, end in requests], disable_tqdm)

    def loglikelihood_rolling(self, requests: Sequence, disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of each text, in windows of the context."""
        size, found = self.lm.context or 2048, []
        with self.lm.patched(self.patch, only=True):
            for request in tqdm(requests, disable=disable_tqdm):
                ids = self.tok_encode(request.args[0], add_special_tokens=False)
                windows = [(i, min(i + size, len(ids))) for i in range(0, len(ids), size)]
                read = [self.prefix_token_id, *ids]
                rows = [read[max(0, stop - size) : i + 1] for i, stop in windows]
                scores = self._scores(rows, [ids[i:stop] for i, stop in windows], True)
                found.append(sum(log_p for log_p, _ in scores))
        return found

    def generate_until(self, requests: Sequence, disable_tqdm: bool = False) -> list[str]:
        """Return the free answer to each prompt, ending before one of its stops."""
        with self.lm.patched(self.patch, only=True):
            return [self._answer(*request.args) for request in tqdm(requests, disable=disable_tqdm)]

    def _answer(self, prompt: str, asked: dict[str, Any]) -> str:
        until = asked.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        new = int(asked.get("max_gen_toks", 256))
        warm = asked.get("temperature", 0.0) if asked.get("do_sample") else 0.0
        row = self._row(prompt, self.tok_encode(prompt), new)

        def stopped(_: int, ids: list[int]) -> bool:
            return any(stop in self.lm.texts([row], [ids])[0] for stop in stops)

        made = generation.generate(self.lm, [row], new, temperature=float(warm), until=stopped)
        text = self.lm.texts([row], made.ids)[0]
        return min((text.split(stop)[0] for stop in stops), key=len, default=text)

    def _row(self, text: str, ids: list[int], room: int) -> list[int]:
        """Return the end of a prompt, leaving space in the context; a patch may rewrite it."""
        row = self.lm.rows([text])[0][0] if self.patch.rewrites and text else ids
        return row[-max(1, (self.lm.context or 10**9) - room) :]

    def _scores(self, rows: list, ends: list, quiet: bool) -> list[tuple[float, bool]]:
        found = []
        for i in tqdm(range(0, len(rows), TOGETHER), disable=quiet, unit="batch"):
            found += scoring.score(self.lm, rows[i : i + TOGETHER], ends[i : i + TOGETHER])
        return [(one.log_probs.sum().item(), bool(one.hits.all())) for one in found]


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
