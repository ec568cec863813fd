"""The part of the lifelong tab in which a race is watched: pause, look back, go on, a link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from ..html import render
from ..lifelong import race_picture
from ..lifelong.races import Race, Races
from ..lifelong.stress_test import Test
from ..session import given
from ..session.studio import Studio
from ..session.visitors import Session
from ..session.worker import Trouble
from .jobs import HIDDEN, OPEN, told, told_plainly

KEY = "race"  # in the address of the page
EVERY = 4.0  # seconds between two looks at the line of jobs
NONE = "There is no race here yet: press “Run the test”."
SEE = (
    "What to see: a line is an editor, and falls when it forgets; beside it a row is a fact. Drag "
    "the slider back to any point: below stands what each editor's model said there."
)


class Watch:
    """The picture of a race, a slider over its points, Go on, and the race's link.

    `outputs` are the parts that change.
    """

    def __init__(self, studio: Studio, example: Test | None = None, whose: str = "") -> None:
        """example: a finished race, which stands here until a visitor has one.

        whose: the line over it that says so.
        """
        self.studio, self.races, self.example, self.whose = studio, Races(), example, whose
        points = 1 if example is None else len(race_picture.counts(example))
        gr.HTML(render.hint(SEE))
        self.picture = gr.HTML(self.example_at(0), elem_id="race")
        with gr.Row(equal_height=True, elem_id="race-row"):
            self.slider = gr.Slider(
                1,
                max(points, 2),
                points,
                step=1,
                label="Look back",
                info="points at which everything was measured, the newest on the right",
                visible=points > 1,
                elem_id="race-at",
                scale=4,
                min_width=220,
            )
            self.on = gr.Button("Go on", visible=False, scale=1, min_width=120)
        self.link = gr.HTML("", elem_id="race-link")
        self.outputs = [self.picture, self.slider, self.on, self.link]

    def example_at(self, at: int) -> str:
        """The example at one of its points, from 1 on, 0 the newest; "" where there is none."""
        return "" if self.example is None else self.whose + race_picture.frame(self.example, at)

    def wire(self) -> None:
        """The slider; it may be moved while the race runs, which then goes on beside it."""

        def look(at: float, request: gr.Request) -> str:
            session = self.studio.sessions.get(request.session_hash)
            with told_plainly():
                test = self.example if session.race is None else session.race.test
                if test is None:
                    raise Trouble(NONE)
                number = given.whole("point of the race", at)
                newest = len(race_picture.counts(test))
                at_point = 0 if number >= newest else max(number, 1)
                if session.race is None:
                    return self.example_at(at_point)
                session.race_at = at_point
                return race_picture.frame(test, at_point)

        self.slider.input(
            look, self.slider, self.picture, api_name="race_at", trigger_mode="always_last", **OPEN
        )

    def shown(self, session: Session) -> tuple:
        """The outputs as a visitor's race is now; the example or nothing where there is none."""
        race: Race | None = session.race
        if race is None and self.example is not None:
            points = len(race_picture.counts(self.example))
            slider = gr.Slider(maximum=max(points, 2), value=points, visible=points > 1)
            return self.example_at(0), slider, gr.Button(visible=False), ""
        if race is None:
            return "", gr.Slider(visible=False), gr.Button(visible=False), ""
        points = len(race_picture.counts(race.test))
        at = session.race_at or points
        href = f"?{KEY}={escape(race.token)}"
        return (
            race_picture.frame(race.test, session.race_at),
            gr.Slider(maximum=max(points, 2), value=max(at, 1), visible=points > 1),
            gr.Button(visible=not race.runs and not race.finished),
            f'<p class="source"><a href="{href}">A link to this race</a>: it brings the race back '
            "within the hour, also on another device.</p>",
        )


def ahead(studio: Studio) -> str:
    """How many jobs somebody who presses now would find in line."""
    count = studio.worker.waiting()
    if not count:
        return render.hint("Nobody is before you: a race would begin at once.")
    jobs = f"{count} job{'s' * (count > 1)} of other visitors"
    verb = "are" if count > 1 else "is"
    return render.hint(
        f"{jobs} {verb} before you. A race takes turns with them, so it begins soon and is slower."
    )


def queue(studio: Studio) -> tuple[gr.HTML, Callable[[gr.Tab], None]]:
    """The line that says how long the line is, and what begins to keep it up to date."""
    line = gr.HTML(ahead(studio), elem_id="lifelong-queue")
    timer = gr.Timer(EVERY, active=False)
    timer.tick(lambda: ahead(studio), None, line, queue=False, **HIDDEN)

    def opened(tab: gr.Tab) -> None:
        tab.select(lambda: (ahead(studio), gr.Timer(active=True)), None, [line, timer], **HIDDEN)

    return line, opened


def reopened(
    watch: Watch,
    demo: gr.Blocks,
    tabs: gr.Tabs,
    results: gr.Column,
    status: gr.HTML,
    rest: list[Any],
    drawn: Callable[[Test], list[Any]],
) -> None:
    """Show the race that the page's address names, in its tab.

    rest: the other parts of the tab that show a race; `drawn` gives their values.
    """

    def reopen(request: gr.Request) -> Iterator[dict[Any, Any]]:
        token = request.query_params.get(KEY)
        if not token:
            yield {status: gr.skip()}
            return
        session = watch.studio.sessions.get(request.session_hash)
        try:
            session.race, session.race_at = watch.races.find(token), 0
        except Trouble as error:
            yield {tabs: gr.Tabs(selected="lifelong"), status: render.sorry(str(error))}
            raise told(error) from None
        race: Race = session.race
        done = max((line.edits for line in race.test.lines), default=0)
        said = f"{done} of {len(race.test.cases)} edits ({race.test.source})"
        said += "; it is running in another window" if race.runs else ""
        yield {
            tabs: gr.Tabs(selected="lifelong"),
            results: gr.Column(visible=True),
            status: render.done(f"A race that was begun before: {said}."),
            **dict(zip(watch.outputs, watch.shown(session), strict=True)),
            **dict.fromkeys(rest, None),
        }
        yield dict(zip(rest, drawn(race.test), strict=True))

    demo.load(reopen, None, [tabs, results, status, *watch.outputs, *rest], **HIDDEN)
