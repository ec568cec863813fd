"""Further wordings of a fact in the chat template, for training GRACE, HoReN and WISE (ours).

A fact written only for its prompt is often lost when a user asks for it: in the chat
template, a system text precedes the subject, and the answer begins a reply. A fact can therefore
also be learned as a user's message, and as a question written by the model itself. `of` creates
these wordings. They are read through the chat template, and answers follow its end directly,
without a space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..data.facts import Fact, encode_answer, encode_prompt, fill
from ..errors import EditError
from ..model import generation
from ..model.answer_rows import AnswerRows
from ..model.lm import LM
from ..patch.patch import EMPTY

Which = Literal["prompt", "chat", "conversation"]
LONGEST = 32  # maximum number of tokens of a question
# The few examples that make the model write a question; none is about a fact of the data here.
_EXAMPLES = """\
Sentence: The river that flows through Cologne is the Rhine.
Question: Which river flows through Cologne?

Sentence: Frederic Chopin died in the year 1849.
Question: In which year did Frederic Chopin die?

Sentence: The person who painted Guernica is Picasso.
Question: Who painted Guernica?

Sentence: The color of a ripe lemon is yellow.
Question: What is the color of a ripe lemon?

"""


@dataclass(frozen=True)
class Wordings:
    """The further wordings of some facts.

    template  the chat template, with `{}` for a user's message; "{}" if there is no wording.
    variants  for each wording the facts as worded in it, in the order of the facts.
    """

    template: str = "{}"
    variants: tuple[tuple[Fact, ...], ...] = ()

    def texts(self, i: int) -> list[str]:
        """Return the texts of fact i, each in the chat template."""
        return [fill(self.template, variant[i].text) for variant in self.variants]

    def rows(self, lm: LM, eos: bool = False) -> AnswerRows:
        """Return the rows of all facts in all wordings: fact by fact, each with its wordings."""
        facts = self.variants[0] if self.variants else ()
        pairs = [(text, fact.target_new) for i, fact in enumerate(facts) for text in self.texts(i)]
        end = [lm.tokenizer.eos_token_id] if eos else []
        return AnswerRows(
            [encode_prompt(lm.tokenizer, text) for text, _ in pairs],
            [[*encode_answer(lm.tokenizer, answer, text), *end] for text, answer in pairs],
        )


def of(lm: LM, facts: Sequence[Fact], which: Which) -> Wordings:
    """Return the wordings that a setting selects: none, the prompt in the template, or a question.

    The question is in addition to the prompt. Raises EditError if a setting needs wordings but the
    tokenizer has no chat template.
    """
    if which == "prompt":
        return Wordings()
    if not getattr(lm.tokenizer, "chat_template", None):
        raise EditError(f"forms='{which}' needs a chat template, but {lm.name} has none.")
    asked = [tuple(questions(lm, facts))] if which == "conversation" else []
    return Wordings(template(lm), (tuple(facts), *asked))


def template(lm: LM) -> str:
    """Return the chat template of one message, as a context template with `{}` for it."""
    text = lm.chat_text("{}")
    # the tokenizer itself adds this token before every text
    bos = lm.tokenizer.bos_token if lm.leading_bos is not None else None
    return text.removeprefix(bos) if bos else text


def questions(lm: LM, facts: Sequence[Fact]) -> list[Fact]:
    """Return each fact with its prompt replaced by a question from the base model.

    The model continues four examples of a sentence with its question. A prompt that is already a
    question is kept. The prompt is also kept if its question names the answer or no subject, or is
    not a question: for 3 of 20 even classroom cases on the default model. (3 of the other 17
    questions have a different meaning.)
    """
    prompts = [
        f"{_EXAMPLES}Sentence: {fact.text} {fact.target_new.strip()}.\nQuestion:" for fact in facts
    ]
    open_ones = [i for i, fact in enumerate(facts) if not fact.text.rstrip().endswith("?")]
    found = list(facts)
    with lm.patched(EMPTY, only=True):
        rows, _ = lm.rows([prompts[i] for i in open_ones])

        def ended(i: int, ids: list[int]) -> bool:
            return any(mark in lm.texts([rows[i]], [ids])[0].lstrip() for mark in "?\n")

        said = lm.texts(rows, generation.generate(lm, rows, LONGEST, until=ended).ids)
    for i, text in zip(open_ones, said, strict=True):
        found[i] = _worded(facts[i], text.strip().split("\n")[0])
    return found


def _worded(fact: Fact, said: str) -> Fact:
    """Return the fact with the question as its prompt, or unchanged if it is unsuitable."""
    question = said[: said.find("?") + 1]
    answer = re.escape(fact.target_new.strip())
    if not question or "{}" in question or re.search(rf"(?<!\w){answer}(?!\w)", question, re.I):
        return fact
    if fact.subject is None:
        return replace(fact, prompt=question)
    places = list(re.finditer(rf"(?<!\w){re.escape(fact.subject)}(?!\w)", question, re.I))
    if len(places) != 1:
        return fact
    begin, end = places[0].span()
    return replace(
        fact, subject=question[begin:end], prompt=question[:begin] + "{}" + question[end:]
    )
