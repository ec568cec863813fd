"""Visitors who leave leave nothing behind; twenty for minutes see nothing of each other."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from demo_app.session import memory_ceiling

from ..support.usual import EVERY
from . import visits

SECONDS = 120 if EVERY else 8
VISITORS = 20
ROOT = Path(__file__).parents[2]
SUBJECTS = ("Thing", "Lake", "Moon")


@pytest.mark.slow
def test_visitors_who_have_left_leave_nothing(page, tmp_path):
    visits.visit(page, 0, tmp_path)  # what is kept for everybody
    visits.settled(page)  # a cancelled edit may end yet, and is kept for everybody then
    page[1].first_edits.made.clear()
    first = visits.settled(page)
    visits.visit(page, 4, tmp_path)
    visits.settled(page)
    page[1].first_edits.made.clear()
    assert visits.settled(page) == first
    empty = {"patches", "first edits", "sessions"}
    assert not any(count for kind, count in first.items() if kind not in empty)


class Visitors:
    """What twenty threads do, and what they count."""

    def __init__(self, page) -> None:
        self.page = page
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.faults: list[str] = []
        self.said: dict[tuple, str] = {}
        self.lock = threading.Lock()

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def live(self, until: float, seed: int) -> None:
        """One visitor after the other on one chair.

        Gradio's client gives up a call as cancelled, which nobody cancelled, where it was sent
        between the last message of the call before and Gradio's closing of the stream of messages
        (1 of 571 calls on a loaded machine): such a visitor leaves, and is counted.
        """
        dice = random.Random(seed)
        while time.monotonic() < until:
            try:
                self.visit(dice, until)
            except CancelledError:
                self.count("given up by the client")
            except Exception as error:
                with self.lock:
                    self.errors[f"{type(error).__name__}: {str(error)[:120]}"] += 1

    def visit(self, dice: random.Random, until: float) -> None:
        client, history = visits.visitor(self.page), ()
        self.count("visits")
        try:
            for _ in range(dice.randint(1, 8)):
                if time.monotonic() > until:
                    break
                what = dice.choice(["edit", "edit", "answer", "answer", "take"])
                self.count("calls")
                fact = dice.choice(SUBJECTS), "{} is", dice.choice(["xy", "qz"])
                editor = dice.choice(["ft", "retrieval"])
                if what == "edit":
                    done = client.predict(*fact, editor, api_name="/edit")
                    history = *history, (*fact, editor)
                    self.same(done["live"], len(history), "number of edits")
                elif what == "take" and history:
                    client.predict(api_name="/download_patch")
                else:
                    prompt = f"{fact[0]} is"
                    said = client.predict(prompt, False, 8, api_name="/answer")
                    self.same(said["live"], len(history), "number of edits")
                    with self.lock:
                        first = self.said.setdefault((history, prompt), said["after"])
                        base = self.said.setdefault(((), prompt), said["before"])
                    self.count("answers compared")
                    self.same(said["after"], first, f"after {history}")
                    self.same(said["before"], base, f"before {history}")
        finally:
            client.close()

    def same(self, found: object, wanted: object, what: str) -> None:
        if found != wanted:
            with self.lock:
                self.faults.append(f"{what}: {found!r}, not {wanted!r}")


@pytest.mark.slow
def test_twenty_visitors_at_once(page):
    crowd = Visitors(page)
    began, used = time.monotonic(), [memory_ceiling.pages(1)]
    threads = [
        threading.Thread(target=crowd.live, args=(began + SECONDS, seed), daemon=True)
        for seed in range(VISITORS)
    ]
    for thread in threads:
        thread.start()
    for at in (min(30, SECONDS / 2), SECONDS):
        time.sleep(max(0, began + at - time.monotonic()))
        used.append(memory_ceiling.pages(1))
    for thread in threads:
        thread.join(60)
    print(dict(crowd.counts), dict(crowd.errors), crowd.faults[:5], "resident at the beginning, "
          "after 30 s and at the end, MB:", [one and round(one / 1e6) for one in used])  # fmt: skip
    assert not any(thread.is_alive() for thread in threads), "a call that never ends"
    assert crowd.faults == [] and not crowd.errors
    assert crowd.counts["given up by the client"] <= crowd.counts["calls"] / 100
    assert crowd.counts["answers compared"] > 10
    assert visits.until(lambda: len(page[1].sessions._all) == 0, 20)
