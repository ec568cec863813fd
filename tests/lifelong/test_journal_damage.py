"""A damaged journal is refused in a sentence, or gives the same run; never a traceback or another.

Journals of format 1 have no checksums: what does not contradict itself is believed there.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import pytest

from lib.errors import JournalError
from lib.lifelong.journal_format import FORMAT, sealed, unsealed
from lib.patch.patch import Edit, Patch

from ..support import journals, tiny
from ..support.cases import small_cases
from ..support.streams import Noise
from .test_journal import agree, run

ON = "delete the folder and run again from the start"


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def begun(lm, tmp_path_factory):
    """A journal that stopped after three of four edits, two points measured."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    rows = iter(run(lm, folder))
    for _ in range(3):
        next(rows)
    rows.close()
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def refused(lm, folder):
    with pytest.raises(JournalError) as error:
        run(lm, folder)
    said = str(error.value)
    assert "\n" not in said and str(folder) in said
    return said


def test_all_that_is_stored_has_its_checksum(begun):
    state, whole = unsealed((begun / "state.json").read_bytes())
    assert whole and unsealed((begun / "header.json").read_bytes())[1]
    named = ["rows.jsonl", "point-0.json", "point-2.json", "patch-3.safetensors"]
    assert sorted(state["sums"]) == sorted(named)
    for name in named[1:3]:
        assert unsealed((begun / name).read_bytes())[1]
    for line in (begun / "rows.jsonl").read_bytes().splitlines():
        assert unsealed(line)[1]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("header.json", "header.json has another checksum than its content"),
        ("state.json", "state.json has another checksum than its content"),
        ("rows.jsonl", "rows.jsonl is wrong in line 1, which has another checksum"),
        ("point-2.json", "point-2.json has another checksum than its content"),
        ("patch-3.safetensors", "patch-3.safetensors has another checksum than state.json says"),
    ],
)
def test_one_changed_digit_is_named_with_what_to_do(lm, folder, name, part):
    data = (folder / name).read_bytes()
    at = next(i for i in range(len(data) // 2, len(data)) if data[i] in b"12345678")
    at = data.index(b"0", 40) if name == "rows.jsonl" else at
    (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    said = refused(lm, folder)
    assert part in said and said.endswith(ON)


def test_a_whole_file_of_another_moment_is_noticed(lm, folder):
    shutil.copy(folder / "point-0.json", folder / "point-2.json")
    assert "point-2.json has another checksum than state.json says" in refused(lm, folder)


def test_checksums_cannot_be_left_out(lm, folder):
    journals.aged(shutil.copytree(folder, folder.parent / "old"))
    for name in ("header.json", "state.json"):
        before = (folder / name).read_bytes()
        shutil.copy(folder.parent / "old" / name, folder / name)
        if name == "header.json":
            kept = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({**kept, "format": FORMAT}))
        assert "has no checksum" in refused(lm, folder)
        (folder / name).write_bytes(before)
    assert run(lm, folder).edits == 3


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": None},
        {"edits": "x"},
        {"edits": 1},
        {"edits": 10**30},
        {"edits": True},
        {"patch": True},
        {"patch": None},
        {"patch": "../../thesis.safetensors"},
        {"bytes": 0},
        {"bytes": 5},
        {"points": [0]},
        {"points": [2, 0]},
        {"points": ["x"]},
        {"seconds": {"edit": float("nan"), "evaluate": 0.0}},
        {"more": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("old", [False, True])
def test_a_state_that_cannot_be_is_refused_with_a_right_checksum_too(lm, folder, change, old):
    if old:
        journals.aged(folder)
        kept = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**kept, **change}))
    else:
        journals.rewritten(folder / "state.json", **change)
    said = refused(lm, folder)
    assert "damaged" in said and said.endswith(ON)


def test_what_an_old_journal_contradicts_itself_in_is_refused(lm, folder):
    journals.aged(folder)
    state = json.loads((folder / "state.json").read_text())
    lines = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for name, data, part in (
        ("rows.jsonl", lines[0] * 2 + b"".join(lines), "rows.jsonl is wrong in line 2"),
        ("rows.jsonl", b"".join(lines)[:-9], "rows.jsonl has"),
        ("rows.jsonl", b" " * state["bytes"] + b"x\n", "rows.jsonl goes on in line 1, past"),
        ("point-2.json", b'{"title": "t", "rows": []}', "point-2.json holds a wrong value"),
        ("point-2.json", b"[" * 9999, "point-2.json is"),
        ("header.json", b"[" * 99999, "is no header of a journal"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        assert part in refused(lm, folder)
        (folder / name).write_bytes(before)
    other = Noise(lm).edit([small_cases()[0].fact])
    other.save(folder / "patch-3.safetensors")
    assert "patch-3.safetensors does not hold 3 edits" in refused(lm, folder)


def test_batches_and_points_of_another_run_are_refused(lm, folder):
    """The files of an old journal agree with each other, but not with the run."""
    journals.aged(folder)
    state = json.loads((folder / "state.json").read_text())
    for changes in ({"points": [2]}, {"edits": 5}):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        if "edits" in changes:  # one batch of three, and two edits more than there are cases
            lines = [json.loads(line) for line in (folder / "rows.jsonl").open()]
            lines[2]["row"] |= {"edits": 5, "rows": [2, 4]}
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / "rows.jsonl").write_text(text)
            Patch(log=(Edit("e", {}, source="s", rows=(0, 5)),)).save(
                folder / "patch-5.safetensors"
            )
            changes |= {"bytes": len(text), "patch": "patch-5.safetensors"}
        (folder / "state.json").write_text(json.dumps({**state, **changes}))
        assert "state.json names edits that this run does not make" in refused(lm, folder)
        for path, data in before.items():
            path.write_bytes(data)


@pytest.mark.parametrize("settings", [None, [], "x", 5, {"size": None}])
def test_settings_of_another_kind_are_a_sentence(lm, folder, settings):
    journals.rewritten(folder / "header.json", settings=settings)
    said = refused(lm, folder)
    assert "cannot go on" in said or "a run with other settings" in said


def test_an_old_journal_goes_on_and_has_checksums_from_then_on(lm, begun, folder):
    journals.aged(folder)
    assert journals.known(run(lm, folder)) == journals.known(run(lm, begun))
    lines = (folder / "rows.jsonl").read_bytes()
    done = run(lm, folder).finish()
    agree(done, run(lm, None).finish())
    state, whole = unsealed((folder / "state.json").read_bytes())
    assert whole and "point-0.json" in state["sums"]
    header, whole = unsealed((folder / "header.json").read_bytes())
    assert whole and header["format"] == FORMAT
    assert (folder / "rows.jsonl").read_bytes().startswith(lines)
    # an old line, which has no checksum of its own, is covered by that of the file
    data = lines.replace(b'"generation": 0.0', b'"generation": 1.0', 1)
    data = data if data != lines else lines.replace(b'"seconds": 0.', b'"seconds": 1.', 1)
    (folder / "rows.jsonl").write_bytes(data + (folder / "rows.jsonl").read_bytes()[len(lines) :])
    assert "rows.jsonl has another checksum than state.json says" in refused(lm, folder)


def test_a_journal_killed_between_state_and_header_is_no_step_back(lm, folder):
    """state.json has its checksums then, and the header is still that of format 1."""
    header = {**unsealed((folder / "header.json").read_bytes())[0], "format": 1}
    (folder / "header.json").write_text(json.dumps(header))
    assert run(lm, folder).edits == 3
    data = (folder / "state.json").read_bytes().replace(b'"edits": 3', b'"edits": 2')
    (folder / "state.json").write_bytes(data)
    assert "state.json has another checksum" in refused(lm, folder)


def test_sealed_bytes_show_every_flipped_bit():
    data = sealed({"a": [1, 2.5, "x"], "b": {}})
    assert unsealed(data) == ({"a": [1, 2.5, "x"], "b": {}}, True)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = unsealed(bytes(changed))
        except ValueError:
            continue
        assert not found[1], bit  # the key of the checksum itself was hit: the reader wants it


def fuzzed(lm, begun, folder, cases, seed):
    """Counter of what became of so many damaged journals, and the first lines of what is wrong."""
    whole, start = journals.known(run(lm, begun)), journals.known(run(lm, folder / "empty"))
    found, wrong = Counter(), []
    for case in range(cases):
        draw = random.Random(f"{seed} {case}")
        shutil.rmtree(folder / "run", ignore_errors=True)
        shutil.copytree(begun, folder / "run")
        what = journals.damage(folder / "run", draw)
        if draw.random() < 0.2 and any(p.name != "lock" for p in (folder / "run").iterdir()):
            what += " and " + journals.damage(folder / "run", draw)
        try:
            got = journals.known(run(lm, folder / "run"))
        except JournalError as error:
            found["sentence"] += 1
            if "\n" in str(error) or len(str(error)) < 30 or "Traceback" in str(error):
                wrong.append(f"{case} {what}: {error}")
        except Exception as error:
            found["traceback"] += 1
            wrong.append(f"{case} {what}: {type(error).__name__} {error}")
        else:
            kind = "same" if got == whole else "from the start" if got == start else "other"
            found[kind] += 1
            if kind == "other":
                wrong.append(f"{case} {what}: another run")
    return found, wrong


def check(lm, begun, folder, cases, seed):
    found, wrong = fuzzed(lm, begun, folder, cases, seed)
    print(dict(found))
    assert not wrong, "\n".join(wrong[:20])
    assert found["sentence"] > 0.5 * cases and not found["other"] and not found["traceback"]


def check_old(lm, begun, folder, cases, seed):
    """Without checksums a plausible number is believed, but nothing is a traceback."""
    old = shutil.copytree(begun, folder / "old")
    journals.aged(old)
    found, wrong = fuzzed(lm, old, folder, cases, seed)
    print(dict(found))
    wrong = [line for line in wrong if not line.endswith("another run")]
    assert not wrong, "\n".join(wrong[:20])
    assert found["sentence"] > 0.4 * cases and not found["traceback"]


def test_500_damaged_journals(lm, begun, tmp_path):
    check(lm, begun, tmp_path, 500, "damage")


def test_200_damaged_journals_of_format_1(lm, begun, tmp_path):
    check_old(lm, begun, tmp_path, 200, "old damage")


@pytest.mark.slow
def test_10000_damaged_journals(lm, begun, tmp_path):
    check(lm, begun, tmp_path, 10_000, "more damage")


@pytest.mark.slow
def test_3000_damaged_journals_of_format_1(lm, begun, tmp_path):
    check_old(lm, begun, tmp_path, 3000, "more old damage")


def test_2_flipped_bits_in_the_patch_are_never_taken(lm, folder):
    data = (folder / "patch-3.safetensors").read_bytes()
    draw = random.Random(0)
    for _ in range(20):
        changed = bytearray(data)
        for _ in range(draw.choice([1, 2])):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (folder / "patch-3.safetensors").write_bytes(changed)
        if bytes(changed) != data:
            assert "patch-3.safetensors" in refused(lm, folder)
    (folder / "patch-3.safetensors").write_bytes(data)
    assert Patch.load(folder / "patch-3.safetensors").log
