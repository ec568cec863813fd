"""Long answers: how much of a paragraph the model writes out, by the words that both texts share.

A paragraph is never generated letter by letter as it was taught, so it is not judged right or
wrong. It is compared with what the model writes by four numbers between 0 and 1. ROUGE-L (Lin,
2004) takes the longest common subsequence of words, token F1 (as in SQuAD) the words that both have
in any order, and the prefix the words up to the first wrong one. All of them are about the text and
not about its meaning: a text that says the same in other words scores low.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..data.facts import encode_target
from ..model import generation
from ..model.lm import LM

LONG = 25  # an answer of at least so many words is long: about the 32 tokens of other events
MARGIN = 1.5  # a long answer is generated for so many times the tokens of the taught one
PART = 32  # tokens of generation beyond those of the wanted answer, for questions about a part
# a letter of a script that is written without spaces is a word of its own
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
_LINE = re.compile(r"\S[^\n]*\n")


def words(text: str) -> list[str]:
    """The words of a text as all measures here count them.

    The text is normalized (NFKC) and casefolded. A word is a run of letters and digits; all other
    characters part words and are dropped. A Chinese or Japanese character is a word of its own.
    words("Rome's 2nd hill.") -> ["rome", "s", "2nd", "hill"]
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def is_long(text: str) -> bool:
    """Whether a text has at least 25 words, and is measured as a long answer."""
    return len(words(text)) >= LONG


class Overlap(NamedTuple):
    """How much of two texts is common: the share of the said text, of the wanted one, and F1."""

    precision: float
    recall: float
    f1: float


def _overlap(common: int, said: int, wanted: int) -> Overlap:
    # F1 = 2PR/(P + R) = 2·common/(said + wanted)
    whole = said + wanted
    return Overlap(
        common / said if said else 0.0,
        common / wanted if wanted else 0.0,
        2 * common / whole if whole else 0.0,
    )


def rouge_l(said: str, wanted: str) -> Overlap:
    """ROUGE-L: the words of the longest common subsequence, as shares of the two texts.

    The published tables of UnKE and AnyEdit show its recall under the name ROUGE-L.
    rouge_l("Rome is. Rome is.", "Rome is.") -> precision 1/2, recall 1, F1 2/3
    """
    a, b = words(said), words(wanted)
    return _overlap(common_subsequence(a, b), len(a), len(b))


def token_f1(said: str, wanted: str) -> float:
    """F1 of the words that both texts have in any order, each as often as it occurs in both."""
    a, b = words(said), words(wanted)
    return _overlap((Counter(a) & Counter(b)).total(), len(a), len(b)).f1


def prefix(said: str, wanted: str) -> float:
    """The share of the wanted words that are said before the first wrong one."""
    b = words(wanted)
    pairs = zip(words(said), b, strict=False)
    right = next((i for i, (x, y) in enumerate(pairs) if x != y), None)
    if right is None:
        right = min(len(words(said)), len(b))
    return right / len(b) if b else 0.0


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence of two lists of words.

    One bit per word of `b` holds a column of the usual table, and each word of `a` is one addition
    of whole numbers (Hyyrö, 2004), so that ten thousand words against as many take a second.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(b)) - 1
    rest = full  # a bit is 0 where the table's column goes up by one
    for word in a:
        met = rest & places.get(word, 0)
        rest = ((rest + met) | (rest - met)) & full
    return len(b) - rest.bit_count()


class Question(NamedTuple):
    """A prompt with the text that is wanted, and whether it asks for a part of a long answer."""

    prompt: str
    wanted: str
    part: bool = False


def written(lm: LM, asked: Iterable[Question], *, chat: bool = False) -> dict[Question, str]:
    """What the model, as it is patched, writes greedily to each question.

    A long answer may take 1.5 times the tokens of the wanted one, and the answer to a question
    about a part 32 tokens more than the wanted one. The latter is cut after its first line. With
    `chat` the questions are asked in the tokenizer's chat template.
    """
    questions = list(dict.fromkeys(asked))
    if not questions:
        return {}
    rows, _ = lm.rows([question.prompt for question in questions], chat=chat)
    limits = []
    for question in questions:
        tokens = len(encode_target(lm.tokenizer, question.wanted))
        limits.append(tokens + PART if question.part else math.ceil(MARGIN * tokens))

    def ended(i: int, ids: list[int]) -> bool:
        if len(ids) >= limits[i]:
            return True
        return questions[i].part and _LINE.search(lm.texts([rows[i]], [ids])[0]) is not None

    found = generation.generate(lm, rows, max(limits), until=ended).ids
    texts = lm.texts(rows, found)
    return {
        question: text.strip().split("\n")[0] if question.part else text
        for question, text in zip(questions, texts, strict=True)
    }
