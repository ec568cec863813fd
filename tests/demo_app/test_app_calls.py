"""What programs and strangers send to the page: hostile values, cancelled calls, foreign names."""

from __future__ import annotations

import pytest

from demo_app.session.worker import FAILED

from ..support import tiny
from ..support.page import Caller

pytest.importorskip("gradio")

TOWER = ("The Eiffel Tower", "{} is located in the city of")
HOSTILE = {
    "nothing": None, "false": False, "a number": 7, "not a number": float("nan"),
    "infinity": float("inf"), "below 0": -1, "huge": 10**400, "a word": "x", "blank": "  ",
    "half a character": "a\ud800b", "a million": "w" * 10**6, "a list": ["a", 1, None],
    "nested": [[[]]], "an object": {"a": {}}, "a file": {"path": "/etc/passwd"},
    "a file elsewhere": {"path": "x", "meta": {"_type": "gradio.FileData"}}, "markup": "<b>{}</b>",
}  # fmt: skip
VALID = {
    "edit": [*TOWER, "xy", "ft", "", None, None],
    "compare": [*TOWER, "xy", ["ft"], ""],
    "answer": ["Hello", False, 2],
    "settings": ["ft"],
}


@pytest.fixture(scope="module")
def page():
    from demo_app.__main__ import free_port, open_page

    row = {"layer": 2, "lr": 2e-2, "epochs": 3, "target_eos": False}
    with pytest.MonkeyPatch.context() as env:
        env.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.2")  # a closed client is noticed at once
        env.setattr("lib.editors.shared.config._presets", lambda: {"ft": {"any": row}})
        demo, studio = open_page(
            tiny.model("llama"), free_port(20860, "127.0.0.1"), origins=["https://friend.example"]
        )
        yield demo, studio
        demo.close()
        studio.close()


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


@pytest.mark.parametrize("kind", HOSTILE)
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


def test_too_few_and_too_many_values_are_told(page):
    caller = Caller(page[0].local_url, "counts")
    known, calls = caller.endpoints(), []
    for name, entry in known.items():
        for count in (0, 1, len(entry["inputs"]) + 1):
            if count != len(entry["inputs"]) and name not in ("settings", "answer"):
                calls.append((name, {"fn_index": entry["id"], "data": ["x"] * count}))
    assert fails(sent(caller, calls)) == []
    fewer = caller.join(fn_index=known["edit"]["id"], data=[*TOWER, "xy", "ft"])
    assert fewer.status_code == 200
    (done,) = caller.answers(1).values()
    assert done["success"] and done["output"]["data"][0]["live"] == 1, "the others are as usual"


def test_what_is_no_call_at_all_is_told(page):
    caller = Caller(page[0].local_url, "none")
    for body in ({}, {"fn_index": 9999}, {"fn_index": -1}, {"fn_index": "x"}, {"data": 3}):
        found = caller.join(**body)
        assert 400 <= found.status_code < 500 and found.json()["detail"], (body, found.text)
    (said,) = [one for _, one in sent(Caller(page[0].local_url, "n" * 9999), [
        ("long id", {"fn_index": caller.endpoints()["undo_all"]["id"]})])]  # fmt: skip
    assert "id is a word" in said["output"]["error"]
