"""Streams, trainings, evaluation, presets, dossiers, forensics and exports give what they gave.

The goldens are those of `test_frozen`, whose tables also say which settings left. What else left is
named in the tables here, each with a sentence.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import lib
from lib.data.relations import relations
from lib.editors.shared.earlier_settings import ADDED

from ..support import tiny
from ..support.usual import few
from .test_frozen import (
    FILES,
    MADE,
    REFUSED,
    RETIRED,
    as_when_they_were_made,  # noqa: F401
    differences,
    limit,
    model,
    own_cache,  # noqa: F401
    patch_of,
    plain,
    same_log,
)

# metric of `evaluate` that left: the sentence that says why
RETIRED_METRICS: dict[str, str] = {
    **dict.fromkeys(
        ("long_answer", "long_reworded", "long_part"), "Scores of long answers led to no choice."
    ),
    **dict.fromkeys(
        ("after_two_turns", "other_language", "chat_neighbors"),
        "A conversation asks for the fact as it is and as a question.",
    ),
}
# part of `Investigation.json`, or column of its tables or of `Difference.table`, that left
RETIRED_FINDINGS: dict[str, str] = {
    "spectra": "They say nothing of an edit of usual size.",
    "stable_rank": "No signature read it.",
    "largest": "No signature read it.",
    "usage": "No signature read it.",
    "vectors": "Layers summed as vectors named no more edits.",
}

# model whose rows of presets left: the sentence that says why
RETIRED_ROWS = {"SmolLM2-135M-Instruct": "Its rows are for the token in front, which it has now."}

METRICS = (
    *("efficacy", "generalization", "specificity", "locality", "portability", "long_answer"),
    *("long_reworded", "long_part", "same_subject", "same_relation", "negation_leak"),
    *("perplexity", "chat", "question", "after_two_turns", "other_language", "chat_neighbors"),
)
RELATIONS = ("located in the city of", "capital of", "opposite of")
DATA = ("classroom", "mquake", "knowedit")


def stored(name: str) -> Any:
    """The content of a JSON file, packed or not."""
    data = (FILES / name).read_bytes()
    return json.loads(gzip.decompress(data) if name.endswith(".gz") else data)


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=list))


def unlike(new: Any, old: Any, allowed: float, gone: Any = (), path: str = "") -> Iterator[str]:
    """Where two JSON values differ, numbers by more than is allowed of their size or of 1.

    gone  keys of objects that need not be there any more; empty values need not either
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key in new:
                yield from unlike(new[key], value, allowed, gone, f"{path}/{key}")
            elif key not in gone and value not in (None, [], {}, ""):
                yield f"{path}/{key} is gone"
        yield from (f"{path}/{key} is new" for key in new.keys() - old.keys() if new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(new, old, strict=True)):
            yield from unlike(*pair, allowed, gone, f"{path}/{number}")
    elif isinstance(old, float) and isinstance(new, float | int):
        if not abs(new - old) <= allowed * max(1.0, abs(old)):
            yield f"{path} is {new}, not {old}"
    elif new != old:
        yield f"{path} is {new!r}, not {old!r}"


def same(new: Any, old: Any, allowed: float = 1e-6, gone: Any = ()) -> None:
    found = list(unlike(new, old, limit(allowed / 10), gone))
    assert not found, found[:10]


# ---- other patches -----------------------------------------------------------------------------

OTHERS: dict[str, dict[str, Any]] = stored("others.json")


def remade(name: str) -> lib.Patch:
    """A patch of `others.json`, made again from the patches that it came from."""
    lm, then = model("llama"), patch_of("memit-llama-then")
    if name == "scaled":
        return lib.patch.patch.scaled(lm, then, 0.5)
    if name == "scaled_last":
        return lib.patch.patch.scaled(lm, then, 0.5, patch_of("memit-llama"))
    if name == "scaled_dense":
        return lib.patch.patch.scaled(lm, patch_of("ft-llama"), -1.0)
    if name == "joined":
        return patch_of("rome-llama") | patch_of("wise-llama")
    editor = name.rpartition("_")[0]
    if name.endswith("_without"):
        return patch_of(f"{editor}-llama-then").without(0, lm)
    settings = patch_of(name).log[0].settings
    cases = lib.read_cases("rows-stream.json")
    brief = {"metrics": (), "events": ("teacher_forced",)}
    made = lib.EDITORS[editor](lm, **settings)
    return lib.stream(lm, made, cases, 2, [4], brief).finish().patch


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHERS)
def test_patches_made_of_patches_and_of_streams(name, tmp_path, monkeypatch):
    monkeypatch.chdir(FILES)  # the sources that logs name stand there
    lm, patch = model("llama"), patch_of(name)
    with lm.patched(patch):
        assert lm.answer(MADE["asked"], max_new_tokens=6) == OTHERS[name]["answers"]
    again = lib.Patch.load(patch.save(tmp_path / "again.safetensors"))
    assert not differences(again, patch, 0.0) and again.log == patch.log
    if name in REFUSED:
        with pytest.raises(lib.errors.EditError, match=REFUSED[name]):
            remade(name)
        return
    new = remade(name)
    same_log(new, patch)
    assert not differences(new, patch, limit(2e-6))
    if name.endswith("_stream"):
        assert len(patch.facts) == 4 and not patch.log[0].facts, "the source holds the facts"


# ---- journals ----------------------------------------------------------------------------------

JOURNALS: dict[str, dict[str, Any]] = stored("journals.json")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", JOURNALS)
def test_a_journal_goes_on_where_it_was_stopped(name, tmp_path):
    lm, then, folder = model("llama"), JOURNALS[name], tmp_path / "run"
    shutil.copytree(FILES / f"journal-{name}", folder)
    editor = lib.EDITORS[then["editor"]](lm, **then["settings"])
    edited = []

    def counted(facts, after, write=editor.write):
        edited.append(len(facts))
        return write(facts, after)

    editor.write = counted
    asked = {key: then[key] for key in ("batch_size", "eval_at", "evaluate_with", "sample")}
    cases = list(lib.read_cases("rows-stream.json"))
    run = lib.stream(lm, editor, cases, journal=folder, **asked).finish()
    assert sum(edited) == len(cases) - then["edits"], "what is in the journal is not made again"
    old = patch_of(f"{name}_journal")
    same_log(run.patch, old)
    assert not differences(run.patch, old, limit(2e-6))
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.rows]
    same(as_json(rows), then["rows"], 1e-5)
    same(as_json(run.contradicted), then["contradicted"])
    for point, scores in run.scores.items():
        found = json.loads(scores.rows.to_json(orient="values", double_precision=15))
        same(found, then["scores"][str(point)], 1e-5)


# ---- networks in training ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mend", "malmen", "rledit"])
def test_a_training_goes_on_and_gives_the_same_network(name, tmp_path):
    from ..support.editor_settings import TRAINING

    shutil.copy(FILES / f"training-{name}.safetensors", tmp_path / "n.training.safetensors")
    settings = stored("training.json")[name]
    editor = lib.EDITORS[name](model("llama"), **settings)
    path = editor.fit(TRAINING, checkpoint=tmp_path / "n.safetensors", steps=8)
    new, old = load_file(path), load_file(FILES / f"trained-{name}.safetensors")
    assert new.keys() == old.keys()
    for key, value in old.items():
        torch.testing.assert_close(new[key], value, rtol=limit(1e-6), atol=limit(1e-6))


# ---- rows and presets --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*DATA, "stream"])
def test_rows_are_read_as_the_same_cases(name):
    cases = [asdict(case) for case in lib.read_cases(f"rows-{name}.json")]
    same(as_json(cases), stored("cases.json")[name])


@pytest.mark.parametrize("name", sorted(stored("presets.json").keys() - RETIRED_ROWS))
def test_settings_of_every_editor_for_a_model(name):
    """The preset of before 2.0, "ours" now, and the published one, but for retired settings."""
    then = stored("presets.json")[name]
    lm = tiny.model(then["family"], **then["more"])
    lm.name = name
    for editor in then["preset"]:
        config = lib.EDITORS[editor].Config
        ours, published = config.preset(lm, editor, preset="ours"), config.published(lm, editor)
        for kind, made in (("preset", ours), ("published", published)):
            new, old = as_json(asdict(made)), then[kind][editor]
            for setting in old.keys() - RETIRED.get(editor, {}).keys():
                if (editor, kind, setting) == ("lemoe", "published", "null"):
                    continue  # that router has no null anchor, whatever its score would be
                assert new[setting] == old[setting], (editor, kind, setting)
            assert new.keys() - old.keys() <= ADDED.get(editor, {}).keys()


# ---- evaluation --------------------------------------------------------------------------------


def cases_of(sample: int) -> list[lib.Case]:
    return [case for name in DATA for case in lib.read_cases(f"rows-{name}.json")][::sample]


def same_scores(scores: lib.Scores, then: dict[str, Any]) -> None:
    """The same rows in any order, the same means and the same perplexity."""

    def left(metric: str) -> bool:
        return metric.split(" (")[0].split(":")[0] in RETIRED_METRICS

    columns = then["columns"]
    rows = json.loads(scores.rows[columns].to_json(orient="values", double_precision=15))
    old = [row for row in then["rows"] if not left(row[columns.index("metric")])]
    value = columns.index("value")

    def place(row: list) -> str:
        return json.dumps([part for at, part in enumerate(row) if at != value])

    same(sorted(rows, key=place), sorted(old, key=place))
    same(scores.perplexity, then["perplexity"])
    means = {metric: means for metric, means in then["means"].items() if not left(metric)}
    same(as_json(scores.json()), means)


@cache
def chatting() -> lib.LM:
    return plain(tiny.chatting("llama"))


@cache
def base_of(lm: lib.LM, sample: int) -> Any:
    held = " ".join(case.fact.text for case in cases_of(1))
    wanted = [metric for metric in METRICS if metric not in RETIRED_METRICS]
    return lib.baseline(lm, cases_of(sample), metrics=wanted, text=held)


def evaluated(lm: lib.LM, name: str, sample: int) -> lib.Scores:
    held = " ".join(case.fact.text for case in cases_of(1))
    wanted = [metric for metric in METRICS if metric not in RETIRED_METRICS]
    patch = lib.Patch.load(FILES / f"{name}.safetensors")
    base = base_of(lm, sample)
    return lib.evaluate(lm, cases_of(sample), patch, base=base, metrics=wanted, text=held)


@pytest.mark.filterwarnings("ignore")
# the last one, on all cases, with EVERY_CASE=1 only
@pytest.mark.parametrize(
    "name", few(["ultraedit-third", "grace", "retrieval", "ultraedit"], 3, drawn=0)
)
def test_evaluation_of_a_weight_patch_a_route_and_a_rewrite(name):
    patch = f"evaluated-tiny-{name.removesuffix('-third')}"
    scores = evaluated(chatting(), patch, 1 if name == "ultraedit" else 3)
    same_scores(scores, stored(f"scores-tiny-{name}.json.gz"))


# ---- dossier and forensics ---------------------------------------------------------------------


def dossier(lm: lib.LM, entity: str, patch: lib.Patch) -> dict[str, Any]:
    among = {name: relations()[name] for name in RELATIONS}
    found = lib.workbench.dossier(lm, entity, patch, among=among, others=3)

    def told(line: Any) -> dict[str, Any]:
        names = ("answer", "agreement", "lift", "p", "layer", "consistent")
        return {name: getattr(line, name) for name in names}

    lines = [
        {
            "relation": line.relation,
            "prompts": list(line.prompts),
            "changed": line.changed,
            "before": told(line.before),
            "after": told(line.after),
        }
        for line in found.lines
    ]
    return {"entity": found.entity, "verdict": found.verdict, "lines": lines}


@pytest.mark.parametrize("name", ["rome", "grace", "ultraedit"])
def test_the_answers_of_a_dossier(name):
    found = dossier(model("llama"), "The old tower", patch_of(f"{name}-llama"))
    same(found, stored("dossier.json")[name])


def table(frame: Any) -> Any:
    """The columns of a table by their names, with its index."""
    split = json.loads(frame.to_json(orient="split", double_precision=15))
    return {"index": split["index"], **by_name(split)}


def by_name(split: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(split["columns"], map(list, zip(*split["data"], strict=True)), strict=True))


@pytest.mark.parametrize("name", ["rome", "memit"])
def test_difference_and_investigation_of_a_patch(name):
    then, lm, patch = stored("forensics.json"), model("llama"), patch_of(f"{name}-llama")
    names, old = then["names"], then["patches"][name]
    found = lib.workbench.difference(lm, patch=patch, text="general.txt")
    for new, key in (
        (found.table, "difference"),
        (lib.workbench.subjects(lm, found, names, text="general.txt"), "subjects"),
    ):
        wanted = {"index": old[key]["index"], **by_name(old[key])}
        same(table(new), wanted, 1e-4, RETIRED_FINDINGS)
    assert (found.signature, found.edits) == (old["signature"], old["edits"])
    more = {"text": "general.txt", "tokens": 3000, "threshold": 3.0}
    new = as_json(lib.workbench.investigate(lm, names, patch, **more).json())
    same(new, old["investigation"], 1e-4, RETIRED_FINDINGS)


# ---- export ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memit", "ft"])
def test_an_adapter_is_the_same(name, tmp_path):
    """Its products are: the signs of singular vectors are nobody's promise."""
    lm, old = model("llama"), FILES / f"adapter-{name}"
    lib.workbench.export_peft(lm, patch_of(f"{name}-llama"), tmp_path / "adapter")
    new = tmp_path / "adapter"
    made = {path.name for path in new.iterdir()}
    assert made - {"README.md"} == {path.name for path in old.iterdir()}
    configs = [json.loads((at / "adapter_config.json").read_text()) for at in (new, old)]
    assert configs[0] == configs[1]
    now, then = (load_file(at / "adapter_model.safetensors") for at in (new, old))
    assert now.keys() == then.keys()
    for key in [key for key in then if "lora_A" in key]:
        other = key.replace("lora_A", "lora_B")
        product, wanted = (some[other].double() @ some[key].double() for some in (now, then))
        assert (product - wanted).abs().max() <= limit(1e-6) * wanted.abs().max()
