"""A free prompt continued by the model, before and after the edits, token by token.

Both columns are drawn with the same seeds, so where they part, the edits have parted them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lib
from lib.model import generation

from . import given
from .studio import WRITE, Studio
from .texts import Pair, Text, Writing
from .visitors import Session
from .worker import Job

LONGEST = 120  # new tokens at most
SAMPLES = 3  # texts that are drawn, each with a seed of its own


class Writer:
    """Continues free prompts."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.lm = studio, studio.lm

    def write(
        self,
        session: Session,
        prompt: str,
        chat: bool,
        tokens: int = WRITE,
        temperature: float = 0.0,
        several: bool = False,
    ) -> Job:
        """Continue a free prompt, as the unedited model and with the visitor's edits: a Writing.

        At most `tokens` new ones: the most probable each time or, by temperature, drawn. several:
        three samples, whose seeds are 0, 1 and 2 on both sides; at temperature 0 they would be the
        same, so there is one.
        """
        prompt, chat = given.text("prompt", prompt), given.flag("Asking as chat", chat)
        prompt = prompt if chat else prompt.rstrip()
        tokens = min(max(given.whole("number of new tokens", tokens), 1), LONGEST)
        heat = min(max(given.number("temperature", temperature), 0.0), 2.0)
        count = SAMPLES if given.flag("Three samples", several) and heat else 1
        wanted = Writing(prompt, chat, tokens, heat, (Pair(),) * count)

        def work(job: Job) -> Writing:
            patch, said = session.patch, replace(wanted, live=len(session.patches))
            sides = {"before": lib.EMPTY, "after": patch} if patch else {"before": lib.EMPTY}
            total, done = count * len(sides) * tokens, 0

            def tell(so_far: Writing) -> None:
                nonlocal done
                done += 1
                job.report(done / total, "Writing", so_far)

            for number in range(count):
                for side, one in sides.items():
                    said = self._continued(said, number, side, one, tell)
            return said

        return session.submit(self.studio.worker, work)

    def _continued(
        self,
        said: Writing,
        number: int,
        side: str,
        patch: lib.Patch,
        tell: Callable[[Writing], None],
    ) -> Writing:
        """With the text of one sample on one side, of which `tell` hears at every token."""
        text = Text()

        def told(_: int, new: list[int]) -> bool:
            nonlocal text
            text = self._longer(own, text, new[-1])
            tell(said.put(number, side, text))
            return False

        with self.lm.patched(patch, only=True):
            own = self.lm.rows([said.prompt], chat=said.chat)[0][0]
            settings: dict[str, Any] = {"temperature": said.heat, "seed": number}
            generation.generate(self.lm, [own], said.tokens, until=told, **settings)
        return said.put(number, side, replace(text, cut=len(text.ids) >= said.tokens))

    def _longer(self, own: list[int], text: Text, token: int) -> Text:
        """The text with one more token; a character of several tokens appears with its last."""
        ids = (*text.ids, token)
        whole, shown = self.lm.texts([own], [ids])[0], "".join(text.pieces)
        piece = "" if whole.endswith("\ufffd") else whole[len(shown) :]
        return replace(text, ids=ids, pieces=(*text.pieces, piece))
