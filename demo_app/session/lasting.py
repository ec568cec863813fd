"""Does an edit last? Keep training the edited model on other text, and test the fact again."""

from __future__ import annotations

from collections.abc import Generator

import lib
from lib.data.texts import GENERAL

from .studio import Studio
from .visitors import Session
from .worker import Job, Trouble

ROUNDS, STEPS = 3, 10  # test the fact before training and after each round
PASSES = {"lr": 1e-4, "rank": 8, "batch": 1}

Stage = tuple[int, str, float]  # steps so far, the answer, the probability of the new answer


def train_on(studio: Studio, session: Session) -> Job:
    """Train the model with the visitor's edits on general text, testing the last fact: its Stages.

    The visitor's edits don't change. Raises Trouble if no edit is live.
    """
    if not session.edits:
        raise Trouble("No edit is live. Make one first, then see whether it lasts.")
    fact, begun = session.edits[-1].fact, session.patch
    ask, new = (fact.text, False), fact.target_new

    def work(job: Job) -> Generator[None, None, tuple[Stage, ...]]:
        patch, stages = begun, []
        texts = (GENERAL.read_text(encoding="utf-8"),)
        for done in range(ROUNDS + 1):
            share = done / (ROUNDS + 1)
            if done:
                words = f"Training, steps {(done - 1) * STEPS + 1} to {done * STEPS}"
                with job.counting(studio.lm, words, STEPS, share - 0.2, share):
                    patch = lib.workbench.Trained(texts, STEPS, seed=done, **PASSES)(
                        studio.lm, patch
                    )
            (said,), ((p,),) = studio.asker.ask(
                job, [ask], new, patch, "Asking", share, share + 0.04, [[(ask, new)]]
            )
            stages.append((done * STEPS, said.shown, p))
            job.report(share, "Tested the fact", tuple(stages))
            yield
        return tuple(stages)

    return session.submit(studio.worker, work, aside=True)
