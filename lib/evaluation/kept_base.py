"""The base model's answers on disk, so that the next process need not ask for them again.

Whoever compares editors in several processes on the same prompts pays the unedited model's answers
in each of them, which is about half of an evaluation. `Base(lm.identity, on_disk=True)` keeps them
in an `AnswerFile` and finds them there. Only those who ask for it get it, since the prompts are
written to the disk with the answers.

`KeptAnswers` gives what `Answers` gives, from the file as far as it is there. What comes back is
what was said, bit for bit: texts, verdicts, scores, states, and the tokens that serve as drafts.
The key of a row is all that was asked (`kept_questions`), and the key of the file is all else that
decides an answer (`label`).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from ..data.texts import HELD_OUT
from ..model import generation
from ..model.lm import LM
from ..patch.tensor_file import decode
from . import long_answers
from .answer_file import AnswerFile, Row
from .answers import LIMIT
from .conversation import CONVERSATION, Ask, Reply
from .interview import READABLE, Drafts, Heard, Interview
from .kept_questions import Wanted, as_key, wanted
from .long_answers import Question
from .model_answers import Answers
from .perplexity import perplexity

FORM = 1  # of the rows and of how answers are judged: another number makes a file of its own
Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


class KeptAnswers(Answers):
    """What the unpatched model says, read from the disk, or asked and then kept there.

    It must be asked while no patch is entered. At the first use all weights are read once, so that
    no other model's answers are taken.
    """

    def __init__(self, lm: LM) -> None:
        super().__init__(lm)
        self._file: AnswerFile | None = None
        self._of: tuple = ()

    def file(self) -> AnswerFile:
        """The file of the model as it is now; somebody may have written to its weights."""
        tokenizer = self.lm.tokenizer
        now = (self.lm._fingerprint(), tokenizer, getattr(tokenizer, "chat_template", None))
        if self._file is None or self._of != now:
            self._file, self._of = AnswerFile(label(self.lm)), now
        return self._file

    def heard(self, interview: Interview, drafts: Drafts | None = None) -> Heard:
        """The answers to an interview, of which only those are asked that are not on disk."""
        if any(expected for _, expected in interview.begun.values()):
            return super().heard(interview, drafts)  # an answer is cut by what is expected of it

        def ask(missing: Sequence[Wanted]) -> dict[Wanted, Any]:
            rest = Interview(self.lm)
            for one in missing:
                one.ask(rest)
            found = rest.ask(drafts)
            return {one: one.answer(found) for one in missing}

        def packed(one: Wanted, answer: Any) -> Row | None:
            return one.packed(answer)

        def unpacked(one: Wanted, row: Row) -> Any:
            return one.unpacked(row, self.lm)

        keys = {one: one.key for one in wanted(interview)}
        found = self._each(keys, ask, packed, unpacked)
        heard = Heard()
        for one in keys:
            one.tell(heard, found[one])
        return heard

    def replies(self, asks: Iterable[Ask]) -> dict[Ask, Reply]:
        """The replies in conversation."""
        keys = {ask: as_key("reply", CONVERSATION[ask.metric], *ask) for ask in asks}

        def unpacked(_: Ask, row: Row) -> Reply:
            return Reply(*decode(row.said, tuple[str, bool, bool, bool]))

        return self._each(keys, super().replies, _as_json, unpacked)

    def written(self, questions: Iterable[Question]) -> dict[Question, str]:
        """The long answers."""
        keys = {question: as_key("written", *question) for question in questions}
        return self._each(keys, super().written, _as_json, lambda _, row: decode(row.said, str))

    def perplexity(self, text: str | None = None) -> float | None:
        """The perplexity of a text, which is known by its hash."""
        if text is None:
            if not HELD_OUT.exists():
                return None
            text = HELD_OUT.read_text(encoding="utf-8")

        def ask(texts: Sequence[str]) -> dict[str, float | None]:
            return {one: perplexity(self.lm, one) for one in texts}

        keys = {text: as_key("perplexity", hashlib.sha256(text.encode()).hexdigest())}
        return self._each(keys, ask, _as_json, lambda _, row: decode(row.said, float))[text]

    def _each(
        self,
        keys: Mapping[Q, str],
        ask: Callable[[Sequence[Q]], Mapping[Q, A]],
        packed: Callable[[Q, A], Row | None],
        unpacked: Callable[[Q, Row], A],
    ) -> dict[Q, A]:
        """The answer to each question of `keys`, which has the key of its row.

        ask       gives the answers that are not on disk.
        packed    makes a row of an answer, or None where it cannot be kept.
        unpacked  makes an answer of a row; ValueError where it is none.
        """
        if not keys:
            return {}
        file = self.file()

        def known(rows: Mapping[str, Row]) -> dict[Q, A]:
            found = {}
            for one, key in keys.items():
                if key in rows:
                    try:
                        found[one] = unpacked(one, rows[key])
                    except (ValueError, RecursionError):
                        continue  # what fits no answer is asked anew
            return found

        found = known(file.read(keys.values()))
        missing = [one for one in keys if one not in found]
        if not missing:
            return found
        fresh = ask(missing)
        rows = {keys[one]: packed(one, answer) for one, answer in fresh.items()}
        # two processes may differ in the last digits: the first to write counts for both
        earlier = file.write({key: row for key, row in rows.items() if row is not None})
        return {**found, **fresh, **known(earlier)}


def label(lm: LM) -> str:
    """All that decides the unpatched model's answers beside the questions, as text.

    The name and the sample of weights by which a patch knows its model are not enough here, because
    a file stays when the model behind a name has changed: every byte of the weights counts, and so
    do configuration, tokenizer and chat template, number type, kinds of devices, the lengths of
    answers, and the versions of torch and transformers (the latter stands in the configuration).
    """
    config, tokenizer = lm.model.config, lm.tokenizer
    parts = {
        "form": FORM,
        "model": lm.identity,
        "weights": _weights(lm),
        "config": config.to_dict(),
        "attention": getattr(config, "_attn_implementation", None),
        "tokenizer": _tokenizer(tokenizer),
        "template": getattr(tokenizer, "chat_template", None),
        "ends": sorted(generation.stop_ids(lm)),
        "dtype": str(lm.dtype),
        "devices": sorted({device.type for device in lm.devices}),
        "lengths": [LIMIT, READABLE, long_answers.MARGIN, long_answers.PART],
        "torch": torch.__version__,
    }
    return json.dumps(parts, sort_keys=True, default=str)


def _weights(lm: LM) -> str:
    """A hash over the checksums of all parameters, read where they lie."""
    digest = hashlib.sha256()
    for name, p in lm.model.named_parameters():
        raw = p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{name} {tuple(p.shape)} {p.dtype} {zlib.crc32(raw)}\n".encode())
    return digest.hexdigest()


def _tokenizer(tokenizer: Any) -> str:
    """A hash of all that the tokenizer does."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        whole = {"vocabulary": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    else:
        whole = json.loads(fast.to_str())
        for setting in ("padding", "truncation"):  # of the last call
            whole.pop(setting, None)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _as_json(_: Any, answer: Any) -> Row:
    return Row(json.dumps(answer))
