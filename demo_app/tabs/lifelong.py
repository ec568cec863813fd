"""The tab of the lifelong stress test: its form, its progress, its results and its files.

A few lines over 300: form, run and results fill the same components. The race is in `race.py`.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from ..html import render, stored
from ..lifelong import figures, run, stress_test
from ..lifelong.races import Race
from ..session.choices import TICKED
from ..session.long_run import LongRun
from ..session.studio import Studio
from ..session.uploads import DATA, read_cases
from ..session.visitors import Session
from ..session.worker import Progress, Trouble
from ..stored.examples import Examples
from . import race
from .jobs import handed_out
from .long_runs import OPEN, Running, picture

WHAT = (
    "Many facts are written one batch after the other, and at each point all of them are asked "
    "again. See who forgets, and who ruins the model. Retrieval and fine-tuning always run along: "
    "whatever does not beat them is not worth its cost."
)
SEE = {
    "curves": (
        "In brackets stands the 95 % interval of a share, which is wide: the facts are few. "
        "What to see: efficacy says whether a fact is written at all, retention whether it is "
        "still there later. Specificity falling, or perplexity and the weights running away, is "
        "how a model breaks; × marks where it has."
    ),
    "raster": (
        "What to see: a row is one fact. A row that turns from blue to orange is a fact "
        "forgotten; a whole column of orange is a model that broke at that point."
    ),
}
FILES = (".csv", "-curves.png", "-raster.png")
REDRAW = 2.5  # seconds between two drawings at least


class Lifelong:
    """Choices on top, then a line of progress, a table, the curves, the raster, and files.

    A stored example of the results stands there until a visitor runs a test.
    """

    def __init__(self, studio: Studio, examples: Examples | None = None) -> None:
        self.studio, self.running = studio, Running(studio)
        raced = None if examples is None else examples.race
        self.example = None if raced is None else raced.test()
        with gr.Column(elem_classes="card"):
            gr.HTML('<h2 class="name">Lifelong stress test</h2>')
            gr.HTML(render.hint(WHAT))
            self.form()
            self.queue, self.opened_queue = race.queue(studio)
            none = stored.none_of(studio.lm.name, "Press “Run the test”.")
            self.status = gr.HTML("" if self.example else none, elem_id="lifelong-status")
        with gr.Column(elem_classes="card", visible=self.example is not None) as self.results:
            table, words = self.stored_texts()
            self.watch = race.Watch(studio, self.example, self.whose())
            self.table = gr.HTML(table, elem_id="lifelong-table")
            gr.HTML(render.hint(SEE["curves"]))
            self.curves = _plot("Curves of the stress test")
            gr.HTML(render.hint(SEE["raster"]))
            self.raster = _plot("Retention raster")
            self.words = gr.HTML(words, elem_id="lifelong-words")
            with gr.Row(visible=False) as self.files:
                self.csv = gr.DownloadButton("Table (CSV)", size="sm", min_width=120)
                self.png = gr.DownloadButton("Curves (PNG)", size="sm", min_width=120)
                self.png2 = gr.DownloadButton("Raster (PNG)", size="sm", min_width=120)
        self.begun = gr.State(False)  # whether this page has the figures of the stored example
        self.wire()

    def whose(self) -> str:
        """The line over the stored example."""
        test = self.example
        return (
            "" if test is None else stored.race_of(self.studio.lm.name, len(test.cases), test.batch)
        )

    def stored_texts(self) -> tuple[str, str]:
        """The stored example's table, and its words."""
        test = self.example
        if test is None:
            return "", ""
        table = render.numbers(figures.HEADS, figures.rows(test), figures.ended(test))
        return table, render.in_words(figures.words(test), "words")

    @cached_property
    def pictures(self) -> list[Any]:
        """The stored example's curves and raster, drawn once for all visitors."""
        test = self.example
        return (
            [] if test is None else [picture(figures.curves(test)), picture(figures.raster(test))]
        )

    def opened(self, tab: gr.Tab) -> None:
        """Draw the stored example when the tab is opened for the first time."""

        def look(begun: bool, request: gr.Request) -> tuple:
            session = self.studio.sessions.get(request.session_hash)
            if begun or self.example is None or session.race is not None:
                return True, gr.skip(), gr.skip()
            return True, *self.pictures

        outputs = [self.begun, self.curves, self.raster]
        tab.select(look, self.begun, outputs, api_name="lifelong_opened", **OPEN)

    def form(self) -> None:
        offered = stress_test.offered(self.studio.choices)
        self.editors = gr.CheckboxGroup(
            [(name, key) for key, name in offered.items()],
            value=[key for key in TICKED if key in offered],
            label="Editors beside retrieval and fine-tuning",
            info=f"up to {stress_test.LINES - 2}; with one that is not fast at most "
            f"{stress_test.SLOW_EDITS} edits",
        )
        with gr.Row(equal_height=False):
            self.edits = gr.Slider(
                2,
                stress_test.EDITS,
                20,
                step=1,
                label="Edits",
                min_width=180,
                buttons=[],
                info="facts of the stream",
            )
            self.batch = gr.Slider(
                1,
                20,
                5,
                step=1,
                label="Batch",
                min_width=180,
                buttons=[],
                info="facts written in one call",
            )
            with gr.Column(min_width=240):
                gr.HTML(
                    '<p class="caption">Data of your own <span>else the classroom facts; JSON or '
                    f"JSONL in any known format, up to {DATA / 1e6:.0f} MB</span></p>"
                )
                self.file = gr.File(
                    label="Data of your own",
                    show_label=False,
                    height=64,
                    elem_classes="drop",
                    file_types=[".json", ".jsonl", ".gz"],
                )
        with gr.Row():
            self.go = gr.Button("Run the test", variant="primary", scale=3, min_width=160)
            self.stop = gr.Button("Pause", visible=False, min_width=160)

    def wire(self) -> None:
        outputs = [
            self.status,
            self.go,
            self.stop,
            self.results,
            self.table,
            self.curves,
            self.raster,
            self.words,
            self.files,
            self.csv,
            self.png,
            self.png2,
            *self.watch.outputs,
        ]
        asked = [self.editors, self.edits, self.batch, self.file]
        self.go.click(self.run, asked, outputs, api_name="lifelong", **OPEN)

        def stop(request: gr.Request) -> None:
            self.running.stop(request, "test")

        self.stop.click(stop, api_name="stop_lifelong", **OPEN)
        self.watch.on.click(self.go_on, None, outputs, api_name="go_on", **OPEN)
        self.watch.wire()

    def reopened(self, demo: gr.Blocks, tabs: gr.Tabs) -> None:
        """Show the race that the page's address names."""

        def drawn(test: stress_test.Test) -> list[Any]:
            return list(shown(test)[1:]) if any(line.points for line in test.lines) else [None] * 4

        rest = [self.table, self.curves, self.raster, self.words]
        race.reopened(self.watch, demo, tabs, self.results, self.status, rest, drawn)

    def run(
        self, editors: list[str], edits: float, batch: float, file: str | None, request: gr.Request
    ) -> Iterator[tuple]:
        """The race that the form asks for, live; paused, it keeps what is done."""
        session = self.studio.sessions.get(request.session_hash)
        if file:
            session.owns(file)

        def begun(long_run: LongRun) -> Generator[Progress, None, Race]:
            # on the worker: what reading a file takes is bounded there
            planned = functools.partial(self.planned, editors, edits, batch, file)
            test = yield from long_run.do(lambda job: planned())
            return self.watch.races.keep(test)

        yield from self.running_race(request, session, begun)

    def go_on(self, request: gr.Request) -> Iterator[tuple]:
        """The race in view, from where it was paused."""
        session = self.studio.sessions.get(request.session_hash)

        def found(long_run: LongRun) -> Generator[Progress, None, Race]:
            yield from ()
            if session.race is None:
                raise Trouble(race.NONE)
            return self.watch.races.find(session.race.token)

        yield from self.running_race(request, session, found)

    def running_race(
        self,
        request: gr.Request,
        session: Session,
        find: Callable[[LongRun], Generator[Progress, None, Race]],
    ) -> Iterator[tuple]:
        """A race while it runs: its line of progress, and the results at every new point."""
        here: Race | None = None
        drawn, seen, last = -1, -1, 0.0

        def start(long_run: LongRun) -> Generator[Progress, None, Any]:
            nonlocal here
            found = yield from find(long_run)
            with self.watch.races.running(found):
                here = session.race = found
                session.race_at = 0
                return (yield from run.run(long_run, found.test))

        ended: list[None] = []
        error: gr.Error | None = None
        try:
            for line in self.running.follow(request, "test", start, ended.append):
                some: tuple = tuple([gr.skip()] * 5)
                watched: tuple = tuple([gr.skip()] * len(self.watch.outputs))
                runs = "progressbar" in line  # that it was paused is said before all is drawn
                if runs and here is not None and here.test.version > seen:
                    seen, watched = here.test.version, self.watch.shown(session)
                if runs and here is not None and here.test.version > drawn:
                    if time.monotonic() - last > REDRAW:  # figures take longer than the picture
                        drawn, last, some = here.test.version, time.monotonic(), shown(here.test)
                yield line, *_buttons(True), *some, *[gr.skip()] * 4, *watched
        except gr.Error as known:  # what is done stays: the page is put at rest before it is told
            error = known
        if here is not None and any(row.points for row in here.test.lines):
            yield from self.finished(session, here.test, bool(ended))
        else:
            watched = self.watch.shown(session)
            yield gr.skip(), *_buttons(False), *[gr.skip()] * 9, *watched
        if error is not None:
            raise error

    def finished(self, session: Session, test: stress_test.Test, whole: bool) -> Iterator[tuple]:
        """The last sight: everything drawn once more, and files to download."""
        edits = max(point.edits for row in test.lines for point in row.points)
        said = f"{edits} of {len(test.cases)} edits ({test.source}), batches of "
        said += f"{test.batch}" if whole else f"{test.batch}; paused, what is done is kept"
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"stress-test{end}" for end in FILES]
            paths[0].write_text(figures.sheet(test), encoding="utf-8")
            figures.curves(test).savefig(paths[1])
            figures.raster(test).savefig(paths[2])
            results, visible = shown(test), gr.Row(visible=True)
            buttons = self.csv, self.png, self.png2
            files = [
                gr.DownloadButton(value=handed_out(session, button, path))
                for button, path in zip(buttons, paths, strict=True)
            ]
            watched = self.watch.shown(session)
            yield render.done(f"{said}."), *_buttons(False), *results, visible, *files, *watched

    def planned(
        self, editors: list[str], edits: float, batch: float, file: str | None
    ) -> stress_test.Test:
        """The test that is asked for. Raises Trouble."""
        cases, source = stress_test.mixed(self.studio.choices), "classroom"
        if file:
            source = Path(file).name
            try:
                cases = read_cases(file, source, stress_test.EDITS)
            except FileNotFoundError:
                raise Trouble(f"{source} is not here any more: please choose it again.") from None
            if len(cases) < 2:
                raise Trouble(f"{source} holds one fact only; a stream needs at least two.")
            edits = min(edits or 0, len(cases))
            batch = min(batch or 0, edits)
        return stress_test.plan(self.studio.choices, editors, cases, edits, batch, source)


def shown(test: stress_test.Test) -> tuple:
    """The results as they are now: five outputs."""
    return (
        gr.Column(visible=True),
        render.numbers(figures.HEADS, figures.rows(test), figures.ended(test)),
        picture(figures.curves(test)),
        picture(figures.raster(test)),
        render.in_words(figures.words(test), "words"),
    )


def _buttons(running: bool) -> tuple[gr.Button, gr.Button]:
    return gr.Button(interactive=not running), gr.Button(visible=running)


def _plot(label: str) -> gr.Plot:
    return gr.Plot(
        format="png",
        label=label,
        show_label=False,
        container=False,
        elem_classes=["figure", "wide"],
    )
