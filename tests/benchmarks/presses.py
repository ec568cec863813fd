"""What a call of /edit costs, from the page's start with an empty cache and when it is ready.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.presses [--editors rome grace]

"At the start": in a process of its own and with an empty cache folder the page opens; one second
later the editor is chosen, and once it is prepared five facts that the page does not offer are
written. "Ready": when everything is prepared, five such facts, and five examples. A call ends with
the answer, for which everything was asked again. Each editor has a visitor of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from gradio_client import Client

import lib
from demo_app.__main__ import open_page
from demo_app.session.choices import Choices
from demo_app.session.views import Subject
from demo_app.session.visitors import Session
from lib.atomic_files import whole_file
from tests.benchmarks import command, measured
from tests.benchmarks.edit_speed import only_models

OUT = Path(__file__).with_suffix(".json")
EDITORS = (
    "grace", "ultraedit", "ft", "lemoe", "retrieval", "rome", "memit", "alphaedit", "wise",
    "memoir", "horen", "crispedit",
)  # fmt: skip
FACTS = 5


def subjects(choices: Choices, offered: bool) -> list[Subject]:
    """Facts of the classroom that the page offers as examples, or some that it does not."""
    if offered:  # the ready example was edited in the background
        return [choices.ready_subject(name) for name in choices.examples if name != choices.ready]
    rest = choices.cases.keys() - choices.examples.values()
    return [Subject(choices.cases[i]) for i in sorted(rest)]


def calls(demo: Any, editor: str, some: list[Subject]) -> list[float]:
    """Seconds of one call after another, of a new visitor."""
    visitor, seconds = Client(demo.local_url, verbose=False), []
    for subject in some:
        fact, start = subject.case.fact, time.perf_counter()
        visitor.predict(fact.subject, fact.prompt, fact.target_new, editor, api_name="/edit")
        seconds.append(round(time.perf_counter() - start, 2))
    visitor.close()
    return seconds


def at_the_start(editor: str) -> list[float]:
    """Seconds from the choice until the editor is prepared, then calls while the page prepares."""
    demo, studio = open_page(lib.load(), 7860)
    time.sleep(1.0)  # nobody chooses in the same second
    start = time.perf_counter()
    studio.prepare(Session(), [editor]).outcome()
    prepared = round(time.perf_counter() - start, 2)
    return [prepared, *calls(demo, editor, subjects(studio.choices, False)[:FACTS])]


def when_ready(editors: list[str]) -> dict[str, list[list[float]]]:
    """Calls of every editor when everything is prepared: with facts of the own, with examples."""
    demo, studio = open_page(lib.load(), 7860)
    while not studio.worker.idle:
        time.sleep(0.1)
    own, offered = (subjects(studio.choices, which) for which in (False, True))
    groups = len(offered) // FACTS
    found = {}
    for i, editor in enumerate(editors):
        # what was asked before an edit is not asked again, so no two editors share a fact
        some = own[FACTS * i :][:FACTS], offered[FACTS * (i % groups) :][:FACTS]
        found[editor] = [calls(demo, editor, facts) for facts in some]
    return found


def apart(*words: str) -> list | dict:
    """What this program prints in a process of its own, with an empty cache folder."""
    with tempfile.TemporaryDirectory() as home:
        only_models(Path(home))
        line = [sys.executable, "-m", "tests.benchmarks.presses", *words]
        env = {**os.environ, "XDG_CACHE_HOME": home}
        done = subprocess.run(line, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--editors", nargs="+", default=EDITORS)
    parser.add_argument("--part", choices=("start", "ready"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.part:
        start = given.part == "start"
        print(json.dumps(at_the_start(*given.editors) if start else when_ready(given.editors)))
        sys.stdout.flush()
        os._exit(0)  # whatever the page still prepares
    found: dict = {}
    for name in given.editors:
        chosen, first, *later = apart("--part", "start", "--editors", name)
        middle = statistics.mean(later)
        found[name] = {"chosen": chosen, "first": first, "later": middle, "ratio": first / middle}
        print(name, found[name], flush=True)
    for name, (own, offered) in apart("--part", "ready", "--editors", *given.editors).items():
        middles = {"own": statistics.median(own), "offered": statistics.median(offered)}
        found[name] |= {**middles, "calls": [own, offered]}
        print(name, found[name], flush=True)
    found["threads"] = torch.get_num_threads()
    with whole_file(OUT) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    measured.record(OUT, vars(given))


if __name__ == "__main__":
    command(main)
