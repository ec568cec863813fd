"""The lab's questions: their texts, the jobs that answer them, and their HTML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from ..html import dossier, figures, trace
from ..html.render import finding, folded, number, numbers
from ..lifelong import picture, run, stress_test
from ..session import dossiers, interference, lasting, layers, tracing
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Job
from ..stored.examples import Examples
from .lab import Action, Question


def questions(studio: Studio, examples: Examples | None) -> list[Question]:
    """All questions for a page over this studio."""
    names = {name: shown for name, (shown, _) in studio.choices.editors.items()}
    null = (examples.natural if examples is not None else None) or ()
    secret, mine = (partial(job, null=null) for job in (tracing.secret, tracing.mine))

    def disturbed(found: interference.Prediction) -> str:
        return figures.interference(found, names[found.editor])

    return [
        Question(
            "dossier",
            "What does it know about a subject?",
            "The page asks for suitable facts about the subject, each in three wordings. An answer "
            "is bold if the model is sure of it, and gray if the wordings disagree or if any other "
            "subject gets it just as easily. Changes after an edit are highlighted.",
            (Action("dossier", "Ask", dossiers.asked, dossier.shown),),
            lambda kept: kept.dossier and (
                f"Stored example: {studio.choices.label(kept.fact)}, written by "
                f"{names[kept.editor]} on {studio.lm.plain_name}.",
                [dossier.shown(dossiers.fitting(studio.lm, kept.dossier))],
            ),
            lambda studio: [
                gr.Textbox(
                    studio.choices.ready_subject().case.fact.subject,
                    label="Name of a subject",
                    max_lines=1,
                )
            ],
        ),
        Question(
            "interference",
            "Which facts will an edit disturb?",
            "A layer finds a fact by its key, and an edit is written at its subject's key. The "
            "similarity of another fact's key predicts how much of the edit reaches that fact, but "
            "not always whether its answer changes: see one edit where it does, and one where it "
            "doesn't.",
            (Action("measure", "Measure my last edit", interference.measure, disturbed),),
            lambda kept: kept.forecast and (
                f"Stored examples, by {names[kept.editor]} on {studio.lm.plain_name}: among the "
                "page’s edits that changed other answers, the edit with most of these changes "
                "predicted, and the edit with the fewest.",
                ["".join(map(disturbed, kept.forecast))],
            ),
        ),
        Question(
            "lifelong",
            "How long until it breaks?",
            "Facts are written in batches of four. After each batch, every fact written so far is "
            "tested again. A line falls when its editor forgets, or when other answers go wrong. "
            "Retrieval and fine-tuning (FT) always run as well: a method that doesn't beat them "
            "isn't worth its cost.",
            (Action("lifelong", "Run it", stressed, raced),),
            lambda kept: kept.race and (
                f"Stored example: {len(kept.race.cases)} built-in facts, written on "
                f"{studio.lm.plain_name} by {', '.join(line.name for line in kept.race.lines)}.",
                [raced(kept.race)],
            ),
            partial(_stress_fields, race=examples.race if examples is not None else None),
        ),
        Question(
            "layers",
            "Why did it not take?",
            "This examines your last edit, even if it failed, and makes the same edit in five "
            "layers. You can keep any of them.",
            (Action("layers", "Examine my last edit", layers.compare, figures.layers),),
            lambda kept: kept.layers and (
                f"Stored example: {studio.choices.label(kept.layers.view.subject.case.fact)}, the "
                "first of the page’s examples that did not take or, if all did, that moved "
                f"others, on {studio.lm.plain_name}.",
                [figures.layers(kept.layers)],
            ),
        ),
        Question(
            "trace",
            "Was this model edited?",
            "A game in three steps; the first takes some minutes. The page makes a secret edit and "
            "examines only the weights: you guess, then see which subject they suggest. Next, the "
            "suspect is removed again, and finally the page reveals the edit. Weights prove "
            "nothing: a verdict states what they are consistent with, and some methods evade it.",
            (
                Action("trace_secret", "1 · Make a secret edit", secret, trace.shown),
                Action("trace_reverse", "2 · Remove it", tracing.reverse, trace.undone, 1),
                Action("trace_reveal", "3 · What was it?", tracing.reveal, trace.told, 2),
                Action("trace_mine", "Examine my own edits", mine, trace.shown),
            ),
            lambda kept: kept.traced and (
                f"Stored example: a secret edit, on {studio.lm.plain_name}.",
                [
                    trace.shown(kept.traced.findings),
                    folded("Removed", kept.traced.undone and trace.undone(kept.traced.undone)),
                    folded("What it was", kept.traced.told and trace.told(kept.traced.told)),
                ],
            ),
        ),
        Question(
            "lasts",
            "Does it last?",
            "The model with your edits is trained on ordinary text for 30 more LoRA steps, asking "
            "for your last fact after every 10. The edits themselves stay unchanged.",
            (Action("train_on", "Train it further", lasting.train_on, stages),),
            lambda kept: kept.lasts and (
                f"Stored example: {studio.choices.label(kept.fact)}, written by "
                f"{names[kept.editor]} on {studio.lm.plain_name}.",
                [stages(kept.lasts)],
            ),
        ),
    ]  # fmt: skip


def stages(found: Sequence[lasting.Stage]) -> str:
    """The model's answers to the fact's prompt after each round of training."""
    heads = ("training steps", "the model says", "p of the new answer")
    return numbers(heads, [(str(steps), said, number(p)) for steps, said, p in found])


def _stress_fields(studio: Studio, race: stress_test.Test | None) -> list[Any]:
    """Fields for the editors and the number of edits, selecting the stored example's editors."""
    offered = stress_test.offered(studio.choices)
    drawn = [line.editor for line in race.lines] if race else studio.choices.used("ticked")
    with gr.Row():
        editors = gr.CheckboxGroup(
            [(shown, name) for name, shown in offered.items()],
            value=[editor for editor in offered if editor in drawn],
            label="Additional editors",
            scale=2,
            min_width=300,  # on a phone, the number goes below
        )
        edits = gr.Slider(
            2,
            stress_test.EDITS,
            3 * stress_test.BATCH,
            step=1,
            label="Edits",
            info=f"at most {stress_test.SLOW_EDITS} if any editor isn't fast",
            buttons=[],
            scale=1,
            min_width=260,
        )
    return [editors, edits]


def stressed(studio: Studio, session: Session, editors: Sequence[str], edits: Any) -> Job:
    """These editors' stress test: a Test, which grows."""
    cases = stress_test.mixed(studio.choices)
    test = stress_test.plan(studio.choices, editors, cases, edits)
    return session.submit(studio.worker, lambda job: run.run(job, studio.lm, test), aside=True)


def raced(test: stress_test.Test) -> str:
    """A stress test's figures and numbers."""
    told = picture.said(test)
    parts = [
        f"<h2>{what}</h2>{figures.picture(picture.drawn(test, share), f'{what}. {told}')}"
        for share, what in picture.SHARES.items()
        if test.measured
    ]
    below = numbers(picture.HEADS, picture.rows(test), picture.notes(test))
    return f"{finding(told)}{figures.beside(parts)}{below}"
