"""One visitor's job cannot take the page down: its memory is bounded."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from demo_app.session import asking, memory_ceiling
from demo_app.session.worker import NO_MEMORY, Job

ROOT = Path(__file__).parents[2]
MB = 1 << 20
linux = pytest.mark.skipif(
    memory_ceiling.pages(1) is None, reason="the memory of a process is read from /proc"
)


def test_answers_that_are_kept_are_bounded_in_bytes(studio, monkeypatch):
    asker, one = studio.asker, 4 * len(studio.lm.model.get_output_embeddings().weight)
    asks = [[(f"Thing {i} is {j}", False) for j in range(5)] for i in range(5)]

    def read(some):
        return asker.base(Job(lambda job: None), some, "xy", 0.0, 1.0)

    monkeypatch.setattr(asking, "BYTES", 12 * one + 1)
    for some in asks:
        read(some)
        assert sum(answer.next_token.nbytes for answer in asker._base.values()) <= 12 * one
    kept = [ask for ask, _ in asker._base]
    assert kept == [*asks[2][-2:], *asks[3], *asks[4]], "those that were asked last"
    first = read(asks[0])
    monkeypatch.setattr(asking, "BYTES", 1)
    again = read(asks[0])
    assert len(asker._base) == 5, "what belongs together stays"
    assert all(old is new for old, new in zip(first, again, strict=True))


PROGRAM = """
import torch
from demo_app.__main__ import open_page
from demo_app.session import memory_ceiling
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble
from tests.support import tiny

here = memory_ceiling.pages(1)
ceiling = here + (400 << 20)
memory_ceiling.forbid(400 << 20)
demo, studio = open_page(tiny.model("llama"), 22860)
from gradio_client import Client
other = Client(demo.local_url, verbose=False)
tower = ("The Eiffel Tower", "{} is located in the city of")
other.predict(*tower, "xy", "retrieval", api_name="/edit")
asked = lambda: other.predict("The Eiffel Tower is located in the city of", api_name="/answer")
before = asked()

def gradual(job):
    held = []
    while True:
        held.append(torch.ones(1 << 20))
        job.check()

def python(job):
    return [{} for _ in range(10**9)]

for work in (gradual, python):
    attacker = Session()
    try:
        attacker.submit(studio.worker, work).outcome()
    except Trouble as told:
        print(work.__name__, told)
    assert asked() == before
# of this program alone: ru_maxrss begins at what the program that started it held
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = 1024 * int(status["VmHWM"].split()[0])
print("most", (peak - ceiling) >> 20, "of", ceiling >> 20, "base", here >> 20)
other.close(); demo.close(); studio.close()
"""


@linux
@pytest.mark.slow
def test_the_page_and_the_others_edits_stay_under_every_attack():
    """With the system's limit too, which is for good, and so in a process of its own."""
    pytest.importorskip("gradio")
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line for line in found.stdout.splitlines() if line.strip()]
    assert found.returncode == 0, found.stdout + found.stderr
    told = dict(line.split(" ", 1) for line in lines if line.split(" ", 1)[1] == NO_MEMORY)
    assert set(told) == {"gradual", "python"}, lines
    over = int(next(line for line in lines if line.startswith("most")).split()[1])
    assert over < 1200, "MB beyond the ceiling"
