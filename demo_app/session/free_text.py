"""A free prompt continued by the model, before and after the edits, token by token.

Both columns begin with the same tokens and are drawn with the same seeds, so where they part, the
edits have parted them. A token that was written may be exchanged: whatever stood before it stays,
the other token is forced in both columns, and both go on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

import lib
from lib.model import generation, scoring

from . import given
from .studio import WRITE, Studio
from .texts import Alternative, Alternatives, Pair, Place, Text, Writing
from .visitors import Session
from .worker import Job, Trouble

LONGEST = 120  # new tokens at most
FORCED = 360  # tokens that may stand fixed before the new ones
SAMPLES = 3  # texts that are drawn, each with a seed of its own
TOP = 8  # alternatives of a token
GONE = "That text is not here any more: press Go again."


class Writer:
    """Continues free prompts, and exchanges tokens of what was written."""

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
        return self._go(session, Writing(prompt, chat, tokens, heat, (Pair(),) * count))

    def alternatives(self, session: Session, pair: Any, side: Any, index: Any) -> Job:
        """What both models would put at a place of what was written: Alternatives."""
        said, place, text = self._at(session, pair, side, index)
        lead, chosen = text.ids[: place.index], text.ids[place.index]

        def work(job: Job) -> Alternatives:
            job.report(0.0, "Asking for the alternatives")
            patch = session.patch
            before = self._next(said, lead, lib.EMPTY)
            after = self._next(said, lead, patch) if patch else None
            best = before if after is None else before.maximum(after)
            which = best.topk(min(TOP, len(best))).indices.tolist()
            own = self._prompt(said)
            start = self.lm.texts([own], [lead])[0]
            tokens = tuple(
                Alternative(
                    i,
                    self.lm.texts([own], [[*lead, i]])[0][len(start) :],
                    before[i].exp().item(),
                    None if after is None else after[i].exp().item(),
                )
                for i in dict.fromkeys([*which, chosen])
            )
            written = "".join(text.pieces[: place.index])
            return Alternatives(place, ("" if said.chat else said.prompt) + written, tokens, chosen)

        return session.submit(self.studio.worker, work)

    def force(self, session: Session, pair: Any, side: Any, index: Any, token: Any) -> Job:
        """Write on with another token at a place, in both columns and every sample: a Writing."""
        said, place, text = self._at(session, pair, side, index)
        token = given.whole("token", token)
        if not 0 <= token < self.lm.model.get_input_embeddings().weight.shape[0]:
            raise Trouble("This model has no such token.")
        forced = (*text.ids[: place.index], token)
        if len(forced) > FORCED:
            raise Trouble(f"{len(forced)} fixed tokens are too many: this page takes {FORCED}.")
        return self._go(session, replace(said, forced=forced, pairs=(Pair(),) * len(said.pairs)))

    # ---- parts ---------------------------------------------------------------------------------

    @staticmethod
    def _at(session: Session, pair: Any, side: Any, index: Any) -> tuple[Writing, Place, Text]:
        """What was written last, and a place of it. Raises Trouble where there is none such."""
        pair, index = given.whole("text", pair), given.whole("place of the token", index)
        said = session.writing
        if said is None or side not in ("before", "after") or not 0 <= pair < len(said.pairs):
            raise Trouble(GONE)
        text: Text | None = getattr(said.pairs[pair], side)
        if text is None or not 0 <= index < len(text.ids):
            raise Trouble(GONE)
        return said, Place(pair, side, index), text

    def _prompt(self, said: Writing) -> list[int]:
        """The prompt's token ids; under a patch that rewrites prompts, those of the rewritten."""
        return self.lm.rows([said.prompt], chat=said.chat)[0][0]

    def _next(self, said: Writing, lead: tuple[int, ...], patch: lib.Patch) -> Tensor:
        """Log-probabilities (vocabulary,) of the token behind the prompt and some new tokens."""
        with self.lm.patched(patch, only=True):
            return scoring.next_token(self.lm, [[*self._prompt(said), *lead]])[0].cpu()

    def _go(self, session: Session, wanted: Writing) -> Job:
        """The texts of all samples on both sides, reported token by token."""

        def work(job: Job) -> Writing:
            patch, said = session.patch, replace(wanted, live=len(session.patches))
            sides = {"before": lib.EMPTY, "after": patch} if patch else {"before": lib.EMPTY}
            total, done = len(said.pairs) * len(sides) * said.tokens, 0

            def tell(so_far: Writing) -> None:
                nonlocal done
                done += 1
                job.report(done / total, "Writing", so_far)

            for number in range(len(said.pairs)):
                for side, one in sides.items():
                    said = self._continued(said, number, side, one, tell)
            session.writing = said
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
            own = self._prompt(said)
            for token in said.forced:
                text = self._longer(own, text, token)
            text = replace(text, forced=len(said.forced))
            row = [*own, *said.forced]
            settings: dict[str, Any] = {"temperature": said.heat, "seed": number}
            generation.generate(self.lm, [row], said.tokens, until=told, **settings)
        cut = len(text.ids) - text.forced >= said.tokens
        return said.put(number, side, replace(text, cut=cut))

    def _longer(self, own: list[int], text: Text, token: int) -> Text:
        """The text with one more token; a character of several tokens appears with its last."""
        ids = (*text.ids, token)
        whole, shown = self.lm.texts([own], [ids])[0], "".join(text.pieces)
        piece = "" if whole.endswith("\ufffd") else whole[len(shown) :]
        return replace(text, ids=ids, pieces=(*text.pieces, piece))
