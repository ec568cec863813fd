"""How long the page lets one wait: from command to address, from press to answer, twenty at once.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.page_speed --before TREE [--json OUT]
    OMP_NUM_THREADS=1 python -m tests.benchmarks.page_speed --parts visitors [--json OUT]

`python -m demo_app` runs as a process of its own on the embedded model, once in this tree and once
in another (TREE, a checkout of an older commit), and is called over HTTP as a browser and a program
call it. Wall-clock seconds say what a visitor waits, and CPU seconds of the page's process what it
costs; on a machine with other work only the second can be compared. Reads /proc, so Linux only.

start: seconds from the command to the line with the address, median over a few starts of the two
    trees in turn, to the first view of the ready example, and to an answer of the model itself,
    which may be loaded behind the address.
edits: once the page has come to rest after its warm-up, one press of Edit in a new visitor's first
    tab for each editor and fact: the first answer of any kind, the end of the edit, the edited
    sentence (the headline), and the whole result. Then the same editors on three other facts each,
    in turn, by `/edit`.
visitors: twenty visitors call `/edit` at the same moment, each with a fact of its own (the offered
    examples first); how long each waited, how long one waits alone, and whether anybody saw
    another's edit.
dossier: once the page has come to rest, everything about one subject for a new visitor without an
    edit, and for one who has an edit of this subject live: the first row, all rows, what the layers
    do, and the end with the trace. Once for each number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

import lib
from lib.evaluation.answers import begins
from tests.benchmarks import command
from tests.support.page import Caller

ROOT = Path(__file__).parents[2]
PARTS = ("start", "edits", "visitors", "dossier")
EDITORS = ("rome", "grace", "ultraedit", "ft")
SHOWN = ("rome", "memit", "alphaedit", "ultraedit", "ft_m", "mend", "grace", "wise")  # first row
# cases of the classroom that are offered as examples; the ready one (0) is edited by the warm-up
PRESSED = (1, 3, 22, 32)  # one for each editor
CALLED = (37, 49, 60, 64, 72, 90, 91, 125, 148, 187, 18, 41)  # three for each, in turn
VISITORS, EDITOR = 20, "ft"
STARTS = 3
REST = 3.0  # seconds in which a page that has come to rest uses less than a tenth of CPU
TICKS = os.sysconf("SC_CLK_TCK")


class Page:
    """`python -m demo_app` of a tree, in a process of its own.

    seconds, cpu: from the command to its address, wall-clock and of the process.
    """

    def __init__(self, tree: Path, threads: int | None = None) -> None:
        with socket.socket() as free:  # two benchmarks at once do not meet
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        began = time.perf_counter()
        line = [sys.executable, "-u", "-m", "demo_app", "--port", str(port)]
        told = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        self.run = subprocess.Popen(
            line, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **told},
        )  # fmt: skip
        assert self.run.stdout is not None
        for said in self.run.stdout:
            if said.startswith("Open "):
                break
        else:
            raise ValueError(f"the page of {tree} did not start")
        self.seconds, self.cpu, self.url = time.perf_counter() - began, self.used(), said.split()[1]

    def used(self) -> float:
        """CPU seconds of the process so far, all threads, and of processes that it has ended."""
        fields = Path(f"/proc/{self.run.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICKS

    def rest(self, most: float = 400) -> None:
        """Wait until nothing runs in the background any more."""
        until = time.monotonic() + most
        while time.monotonic() < until:
            before = self.used()
            time.sleep(REST)
            if self.used() - before < REST / 10:
                return
        raise ValueError(f"the page did not come to rest within {most:.0f} s")

    def close(self) -> None:
        """End the process."""
        self.run.terminate()
        self.run.wait(30)


@contextmanager
def opened(tree: Path, threads: int | None = None) -> Iterator[Page]:
    """A page that is ended behind the body."""
    page = Page(tree, threads)
    try:
        yield page
    finally:
        page.close()


def ready(page: Page) -> dict[str, float]:
    """Seconds, and CPU seconds, until the first tab shows the answer to the ready example."""
    began = time.perf_counter()
    caller = Caller(page.url, "first")
    while True:
        parts = caller.http.get("/config").json()["components"]
        if any("<tr data-row" in str(one["props"].get("value", "")) for one in parts):
            break
        if time.perf_counter() - began > 60:
            raise ValueError("the page's table did not come")
        time.sleep(0.1)
    more = time.perf_counter() - began
    return {"table_seconds": page.seconds + more, "table_cpu": page.used()}


def answered(page: Page) -> dict[str, float]:
    """Seconds, and CPU seconds, from the command until the model has answered one question.

    It is asked as soon as the address is there; what the page holds ready is no answer.
    """
    caller, began = Caller(page.url, "asks"), time.perf_counter()
    entry = caller.endpoints()["answer"]["id"]
    caller.join(fn_index=entry, data=["Which city is the tower in?", False, 1])
    ((_, said),) = caller.answers(1).items()
    if not said["success"]:
        raise ValueError(f"the page did not answer: {said['output']}")
    more = time.perf_counter() - began
    return {"answer_seconds": page.seconds + more, "answer_cpu": page.used()}


def starts(trees: dict[str, Path], count: int) -> dict[str, dict[str, Any]]:
    """{tree: medians and all values of the starts}, the trees in turn."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for _ in range(count):
        for name, tree in trees.items():
            with opened(tree) as page:
                first = time.perf_counter()
                row = {"seconds": page.seconds, "cpu": page.cpu, **ready(page)}
                late = time.perf_counter() - first  # of the table, before the question
                row |= answered(page)
                row["answer_seconds"] += late
            found[name].append(row)
            print(
                f"{name}: address after {row['seconds']:.1f} s, {row['cpu']:.1f} CPU s; "
                f"an answer after {row['answer_seconds']:.1f} s, {row['answer_cpu']:.1f} CPU s",
                flush=True,
            )
    return {
        name: {
            "starts": len(rows),
            **{key: rounded(statistics.median(row[key] for row in rows)) for key in rows[0]},
            "all_seconds": [rounded(row["seconds"]) for row in rows],
        }
        for name, rows in found.items()
    }


class Seen:
    """When things were first seen: seconds since it was made, and CPU seconds of the page."""

    def __init__(self, page: Page) -> None:
        self.page, self.begun, self.used = page, time.perf_counter(), page.used()
        self.found: dict[str, float] = {}

    def now(self, what: str) -> None:
        """It is there; what was seen before stays as it was."""
        if what not in self.found:
            self.found[what] = rounded(time.perf_counter() - self.begun)
            self.found[f"{what}_cpu"] = rounded(self.page.used() - self.used)


def results(caller: Caller, failed: str) -> Iterator[tuple[list[Any], bool]]:
    """The values of a call that is under way and whether they are the last, as a browser gets them.

    Raises ValueError, which begins with `failed`, where the page says that the call failed.
    """
    stream = caller.http.stream("GET", f"/gradio_api/queue/data?session_hash={caller.name}")
    with stream as lines:
        for line in lines.iter_lines():
            said = json.loads(line[5:]) if line.startswith("data:") else {}
            if said.get("msg") not in ("process_generating", "process_completed"):
                continue
            if not said.get("success", True):
                raise ValueError(f"{failed}: {said['output']}")
            ended = said["msg"] == "process_completed"
            yield said["output"].get("data", []), ended
            if ended:
                return


def press(page: Page, name: str, editor: str, case: lib.Case) -> dict[str, Any]:
    """One press of Edit by a new visitor, watched message by message as the browser gets them."""
    caller, fact = Caller(page.url, name), case.fact
    entry = caller.endpoints()["page_edit"]
    parts = {one["id"]: one["props"] for one in caller.http.get("/config").json()["components"]}
    places = {
        parts[one].get("elem_id") or str(parts[one].get("value", ""))[:20]: i
        for i, one in enumerate(entry["outputs"])
    }
    table = places["table"]
    headline = next(i for key, i in places.items() if 'class="head' in key)
    first, more = ([editor], []) if editor in SHOWN else ([], [editor])
    data = [fact.subject, fact.prompt, fact.target_new, first, more, "", "", None, None, "", False]
    seen = Seen(page)
    if len(entry["inputs"]) < len(data):  # a page before relations and guesses
        data = [*data[:6], *data[7:-1]]
    caller.join(fn_index=entry["id"], data=data)
    for output, ended in results(caller, f"{editor} made no edit"):
        values = [json.dumps(value) for value in output]
        seen.now("first")
        if values and "Asking all again" in values[0]:
            seen.now("written")
        if values and 'class=\\"headline' in values[headline]:
            seen.now("headline")
        if values and "data-row" in values[table]:
            seen.now("rows")
        if ended:
            seen.now("done")
    found = seen.found
    return {
        "editor": editor,
        "case": case.id,
        **found,
        "behind_the_edit": rounded(found["headline"] - found["written"]),
        "behind_the_edit_cpu": rounded(found["headline_cpu"] - found["written_cpu"]),
    }


def call(page: Page, name: str, editor: str, case: lib.Case) -> dict[str, Any]:
    """One call of `/edit` by a new visitor, waited for."""
    caller, fact = Caller(page.url, name), case.fact
    caller.http.timeout = httpx.Timeout(900)
    entry = caller.endpoints()["edit"]["id"]
    begun, used = time.perf_counter(), page.used()
    caller.join(fn_index=entry, data=[fact.subject, fact.prompt, fact.target_new, editor])
    ((_, said),) = caller.answers(1).items()
    seconds, spent = time.perf_counter() - begun, page.used() - used
    if not said["success"]:
        raise ValueError(f"{editor} made no edit: {said['output']}")
    (result,) = said["output"]["data"]
    return {
        "editor": editor,
        "case": case.id,
        "seconds": rounded(seconds),
        "cpu": rounded(spent),
        "of_that_editing": rounded(result["seconds"]),
        "written": result["written"],
    }


def edits(tree: Path) -> dict[str, Any]:
    """Presses and calls, one after the other, on a page that has come to rest."""
    cases = {case.id: case for case in lib.classroom()}
    with opened(tree) as page:
        before = page.used()
        page.rest()
        found: dict[str, Any] = {"warm_up_cpu": rounded(page.used() - before)}
        found["presses"] = [
            press(page, f"press-{editor}", editor, cases[i])
            for editor, i in zip(EDITORS, PRESSED, strict=True)
        ]
        found["calls"] = [
            call(page, f"call-{editor}-{i}", editor, cases[i])
            for i, editor in zip(CALLED, cycle(EDITORS), strict=False)
        ]
    for row in (*found["presses"], *found["calls"]):
        print(row, flush=True)
    return found


def visitors(tree: Path, count: int = VISITORS) -> dict[str, Any]:
    """Twenty calls of `/edit` at the same moment, and what each visitor is then answered."""
    known = {case.id: case for case in lib.classroom()}
    offered = json.loads((ROOT / "demo_app" / "examples.json").read_text())["cases"]
    cases = [known[i] for i in dict.fromkeys((*offered, *known)) if i != 0]
    subjects: dict[str, lib.Case] = {}
    for case in cases:
        subjects.setdefault(case.fact.subject, case)
    alone, *chosen = list(subjects.values())[: count + 1]
    found: list[dict[str, Any]] = [{} for _ in chosen]
    gate = threading.Barrier(count)

    def visit(page: Page, number: int) -> None:
        gate.wait()
        found[number] = call(page, f"visitor-{number}", EDITOR, chosen[number])

    with opened(tree) as page:
        own = call(page, "alone", EDITOR, alone)
        began, used = time.perf_counter(), page.used()
        threads = [threading.Thread(target=visit, args=(page, i)) for i in range(count)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        seconds, spent = time.perf_counter() - began, page.used() - used
        if not all(found):
            raise ValueError("a visitor's call failed")
        apart = sum(_apart(page, i, chosen) for i in range(count))
    waits = [row["seconds"] for row in found]
    return {
        "visitors": count,
        "editor": EDITOR,
        "alone": own,
        "seconds": rounded(seconds),
        "cpu": rounded(spent),
        "waited": {
            "median": rounded(statistics.median(waits)),
            "longest": rounded(max(waits)),
            "all": sorted(map(rounded, waits)),
        },
        "alone_times_queue": rounded(own["seconds"] * count),
        "written": sum(row["written"] for row in found),
        "apart": apart,
    }


def _apart(page: Page, number: int, chosen: list[lib.Case]) -> bool:
    """Whether a visitor has one edit, the own one, and is answered the next one's fact as before.

    The prompt of the next visitor's fact is answered as by the unedited model, which is what this
    visitor's "before" says, unless the own edit has moved it: so it must not be the next one's new
    answer where the unedited model does not say that.
    """
    own, other = chosen[number].fact, chosen[(number + 1) % len(chosen)].fact
    caller = Caller(page.url, f"visitor-{number}")
    entry = caller.endpoints()["answer"]["id"]
    said = []
    for fact in (own, other):
        caller.join(fn_index=entry, data=[fact.text, False, 5])
        ((_, reply),) = caller.answers(1).items()
        (value,) = reply["output"]["data"]
        said.append(value)
    foreign = begins(said[1]["after"], other.target_new)
    return (
        said[0]["live"] == 1
        and begins(said[0]["after"], own.target_new)
        and (not foreign or own.target_new == other.target_new)
    )


def dossiers(tree: Path, threads: int) -> dict[str, Any]:
    """Two dossiers on a page at rest: nobody's edit live, and an edit of the subject itself."""
    case = {case.id: case for case in lib.classroom()}[CALLED[0]]
    busy = others()
    with opened(tree, threads) as page:
        page.rest()
        plain = dossier(page, "asks", case.fact.subject)
        call(page, "edits", EDITOR, case)
        edited = dossier(page, "edits", case.fact.subject)
    found = {"subject": case.fact.subject, "editor": EDITOR, "plain": plain, "edited": edited}
    return {"threads": threads, **found, "load_beside": [busy, others()]}


def others() -> float:
    """How many processes wanted to run in the last minute."""
    return rounded(os.getloadavg()[0])


def dossier(page: Page, name: str, subject: str) -> dict[str, float]:
    """One dossier by a visitor, watched message by message as the browser gets them."""
    caller = Caller(page.url, name)
    entry = caller.endpoints()["dossier"]
    seen = Seen(page)
    caller.join(fn_index=entry["id"], data=[subject])
    for output, ended in results(caller, "there is no dossier"):
        text = json.dumps(output)
        if text.count("<tr") > 1:
            seen.now("first")
        if text.count('class=\\"prompt\\"') == len(lib.relations()) or "Reading" in text:
            seen.now("rows")
        if "its nearest neighbors" in text.casefold():
            seen.now("inside")
        if ended:
            seen.now("done")
    return seen.found


def rounded(value: float) -> float:
    """To a hundredth of a second."""
    return round(value, 2)


def store(path: Path | None, part: dict[str, Any]) -> None:
    """Put parts into the file, beside those that it has."""
    if path is None:
        print(json.dumps(part, indent=1))
        return
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in part.items():  # a part may be measured tree by tree
        both = isinstance(value, dict) and isinstance(known.get(name), dict)
        known[name] = {**known[name], **value} if both else value
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of an older commit")
    parser.add_argument("--alone", action="store_true", help="only the older tree, in this run")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--starts", type=int, default=STARTS, help="starts of each tree")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wanted = given.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise ValueError(f"there is no part '{sorted(unknown)[0]}'; there are {', '.join(PARTS)}")
    trees = {"now": ROOT}
    if given.before:
        trees = {"before": given.before, **({} if given.alone else trees)}
    machine = {"processor": platform.machine(), "cores": os.cpu_count()}
    if set(wanted) != {"dossier"}:  # which sets its own number of threads
        store(given.json, {"machine": machine, "threads": os.environ.get("OMP_NUM_THREADS", "all")})
    if "start" in wanted:
        store(given.json, {"start": starts(trees, given.starts)})
    if "edits" in wanted:
        store(given.json, {"edits": {name: edits(tree) for name, tree in trees.items()}})
    if "visitors" in wanted:
        store(given.json, {"visitors": visitors(ROOT)})
    if "dossier" in wanted:
        for threads in (1, 2):
            found = dossiers(ROOT, threads)
            print(found, flush=True)
            store(given.json, {"dossier": {str(threads): found}})


if __name__ == "__main__":
    command(main)
