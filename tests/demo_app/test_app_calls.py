"""What programs and strangers send to the page: hostile values, cancelled calls, foreign names."""

from __future__ import annotations

import socket
import time

import pytest

from demo_app.guard import Guard, hosts_of
from demo_app.session.worker import FAILED

from ..support.page import Caller
from ..support.usual import few
from .visits import TOWER, until, visitor

pytest.importorskip("gradio")

HOSTILE = {
    "nothing": None, "false": False, "a number": 7, "not a number": float("nan"),
    "infinity": float("inf"), "below 0": -1, "huge": 10**400, "a word": "x", "blank": "  ",
    "half a character": "a\ud800b", "a million": "w" * 10**6, "a list": ["a", 1, None],
    "nested": [[[]]], "an object": {"a": {}}, "a file": {"path": "/etc/passwd"},
    "a file elsewhere": {"path": "x", "meta": {"_type": "gradio.FileData"}}, "markup": "<b>{}</b>",
}  # fmt: skip
VALID = {
    "edit": [*TOWER, "xy", "ft", "", ""],
    "compare": [*TOWER, "xy", ["ft"], ""],
    "answer": ["Hello", False, 2],
    "settings": ["ft"],
}


def fails(messages) -> list:
    """What did not answer with a result or with one sentence."""
    wrong = []
    for label, said in messages:
        error = said["output"].get("error")
        one = isinstance(error, str) and error.strip() and "\n" not in error
        if not said["success"] and (not one or FAILED in error or len(error) > 600):
            wrong.append((label, error))
    return wrong


def sent(caller, calls) -> list:
    """(label, answer) of calls; those that are refused before the line are checked here."""
    numbers = {}
    for label, body in calls:
        found = caller.join(**body)
        if found.status_code == 200:
            numbers[found.json()["event_id"]] = label
        else:
            assert found.status_code < 500 and found.json()["detail"], (label, found.text)
    return [(numbers[event], said) for event, said in caller.answers(len(numbers)).items()]


LINKS = (
    "", "example=nope", "editors=nope", "subject=Ann", "prompt=x", "target=%00", "own=" + "w" * 900,
    "example=nope&editors=nope&own=" + "%0A".join("abcdefghij"), "place=nope", "place=trace",
    "gallery=nope", "gallery=&example=", "example=the-eiffel-tower", "__theme=dark",
)  # fmt: skip


@pytest.mark.slow
def test_an_address_with_nothing_of_use_opens_the_page_as_it_is(page):
    """Every handler of the page's opening, with every address: none fails inside."""
    caller = Caller(page[0].local_url, "addresses")
    found = caller.http.get("/config").json()["dependencies"]
    loads = [one["id"] for one in found if any(event == "load" for _, event in one["targets"])]
    assert len(loads) >= 2
    calls = [
        (f"{number} ?{link[:40]}", {"query": link, "fn_index": number})
        for link in LINKS
        for number in loads
    ]
    assert fails(sent(caller, calls)) == []


@pytest.mark.parametrize("kind", few(HOSTILE, ("an object",), drawn=2))
def test_a_hostile_value_is_answered_with_one_sentence(page, kind):
    caller = Caller(page[0].local_url, f"hostile {kind}")
    calls, value = [], HOSTILE[kind]
    for name, entry in caller.endpoints().items():
        size = len(entry["inputs"])
        if size:
            calls.append((name, {"fn_index": entry["id"], "data": [value] * size}))
        for place in range(len(VALID.get(name, ()))):
            data = [*VALID[name][:place], value, *VALID[name][place + 1 :]]
            calls.append((f"{name} {place}", {"fn_index": entry["id"], "data": data}))
    answers = sent(caller, calls)
    assert len(answers) == len(calls) > 20 and fails(answers) == []


@pytest.mark.slow
def test_a_click_without_its_data_is_one_sentence(page):
    caller = Caller(page[0].local_url, "no click")
    found = caller.http.get("/config").json()["dependencies"]
    targets = [one for one in found if any(event == "select" for _, event in one["targets"])]
    assert targets, "keep"
    calls = []
    digits = {"keep": "9" * 5000, "value": f"0.after.{'9' * 5000}"}
    for one in targets:
        for said in (None, 7, "out", ["keep"], {"out": {}}, {"keep": {}, "value": []}, digits):
            body = {"fn_index": one["id"], "event_data": said}
            calls.append((f"{one['id']} {said}", {**body, "trigger_id": one["targets"][0][0]}))
            calls.append((f"{one['id']} {said}", body))
    answers = sent(caller, calls)
    assert len(answers) == len(calls) and fails(answers) == []


# ---- calls that are cancelled


@pytest.mark.slow
def test_other_long_calls_end_too(page, monkeypatch):
    """A stress test, and a figure: each is a chain of jobs."""
    worker, begun = page[1].worker, []
    assert until(lambda: worker.idle, 60)
    submit = worker.submit

    def never(work, *given, **more):
        def wait(job):
            begun.append(job)
            while True:
                job.check()
                time.sleep(0.002)

        return submit(wait, *given, **more)

    monkeypatch.setattr(worker, "submit", never)
    one = visitor(page)
    for name, given in {
        "lifelong": [["grace"], 4], "dossier": ["Rome"],
        "page_edit": [*TOWER, "xy", ["ft"], "", "", False],
        "write": ["Hello", False], "look": ["The Eiffel Tower → Rome"],
    }.items():  # fmt: skip
        begun.clear()
        job = one.submit(*given, api_name=f"/{name}")
        assert until(lambda job=job: begun and job.communicator.event_id), name  # to cancel by
        began = time.monotonic()
        job.cancel()
        begun[0].ended.exception(5)
        assert time.monotonic() - began < 4, name
    monkeypatch.undo()
    one.close()


# ---- who may call


def raw(url: str, host: str | None, path="/config", method="GET", **headers) -> tuple[int, dict]:
    """(status, headers) of a request with a Host header of one's own, or with none."""
    place, port = url.rstrip("/").rsplit("/", 1)[1].split(":")
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", "Content-Length: 0"]
    lines += [] if host is None else [f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection((place, int(port)), timeout=30) as wire:
        wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        got = b"".join(iter(lambda: wire.recv(65536), b""))
    first, *rest = got.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in rest)
    return int(first.split()[1]), found


def test_only_names_of_the_page_are_answered(page):
    url, port = page[0].local_url, page[0].server_port
    for host in ("127.0.0.1", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST", "127.0.0.1:9"):
        assert raw(url, host)[0] == 200, host
    for host in (None, "", "evil.example", f"evil.example:{port}", "localhost.evil.example",
                 "evil.example@localhost", "localhost/evil", "10.0.0.1", "[::1", "localhost:x",
                 "\x80", "127.0.0.1.nip.io"):  # fmt: skip
        assert raw(url, host)[0] == 400, host


def test_a_foreign_name_and_other_pages_are_refused(page):
    url, here, evil = page[0].local_url, f"127.0.0.1:{page[0].server_port}", "http://evil.example"
    join, foreign = "/gradio_api/queue/join", f"http://localhost:{page[0].server_port}"
    paths = ("/", "/config", "/gradio_api/upload", join)
    origins = (evil, "null", foreign, f"http://{here}.evil.example")
    calls = [("evil.example", evil, path, 400) for path in paths]
    calls += [(here, origin, join, 403) for origin in origins]
    for host, origin, path, refused in calls:
        for method in ("GET", "POST", "OPTIONS"):
            status, said = raw(url, host, path, method, Origin=origin,
                               Access_Control_Request_Method="POST")  # fmt: skip
            asked = host, origin, path, method
            assert status == refused and "access-control-allow-origin" not in said, asked
    assert raw(url, here, Origin=f"http://{here}")[0] == 200, "the page's own scripts"


def test_a_page_on_the_network_answers_to_addresses_and_its_own_name():
    def known(host, *more):
        return [one for one in NAMES if Guard(None, hosts_of(host, more)).known(one)]

    mine = socket.gethostname()
    NAMES = ["localhost:7860", "192.168.1.5:7860", "[fe80::1]", mine, "evil.example", "a.hf.space"]
    assert known("127.0.0.1") == NAMES[:1] + NAMES[3:4] * (mine == "localhost")
    assert known("0.0.0.0") == NAMES[:4]
    assert known("0.0.0.0", "a.hf.space") == [*NAMES[:4], "a.hf.space"]
    assert known("127.0.0.1", "*") == NAMES
    assert known("192.168.1.5") == NAMES[:4]
