"""No traceback from wrong use: every public name with wrong values of every kind.

Each parameter in turn gets each wrong value, beside right ones. What comes back may be a result,
where a value has a meaning, or an error of the library, which is a sentence; nothing else.
"""

from __future__ import annotations

import inspect
import tomllib
import warnings
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

import lib

from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise

RENAMED = tomllib.loads((Path(lib.__file__).parent / "renamed.toml").read_text("utf-8"))


class Own:
    """An object of no kind that the library knows."""


WRONG: dict[str, Any] = {
    "None": None,
    "int": -7,
    "text": "no such thing",
    "bytes": b"\xff\x00",
    "NaN": float("nan"),
    "a list of an object": [object()],
    "an own object": Own(),
}
QUICK: dict[str, Any] = {"metrics": ("efficacy",), "events": ("teacher_forced",)}
NOT_WALKED = {
    "load": "asks a hub",
    "benchmarks": "fetches a wheel",
    "tune": "takes minutes where its arguments are right",
    "subjects": "needs a difference that was found",
}


def calls(lm: Any, folder: Any) -> dict[str, tuple[Callable, dict[str, Any]]]:
    """{what is called: it, and right arguments by name}, of functions, classes and methods."""
    editor, cases = Noise(lm), small_cases()
    fact, facts, K = cases[0].fact, [case.fact for case in cases], torch.randn(48, 4)
    patch = editor.edit(facts[:1])
    scores = lib.evaluate(lm, cases, patch, **QUICK)
    file = patch.save(folder / "p.safetensors")
    run = lib.stream(lm, editor, cases[:1], eval_at=(), evaluate_with=QUICK)
    module = lm.mlp_out(1)
    wide = torch.randn(4, 8)
    some = {
        "evaluate": {"lm": lm, "cases": cases, "patch": patch, **QUICK},
        "baseline": {"lm": lm, "cases": cases, **QUICK},
        "known": {"lm": lm, "cases": cases, "patch": patch},
        "singly": {"editor": editor, "cases": cases[:1], **QUICK},
        "survive": {"lm": lm, "patch": patch, "cases": cases[:1],
                    "lives": {"rounded": lib.workbench.Rounded("int8")}},
        "depth": {"lm": lm, "patch": patch, "cases": cases},
        "truth_probe": {"lm": lm, "cases": cases, "without": ()},
        "abilities": {"lm": lm, "patch": patch},
        "perplexity": {"lm": lm, "text": "a text", "window": 8},
        "matches": {"lm": lm, "fact": fact, "among": {}},
        "case_for": {"lm": lm, "fact": fact, "among": {}, "neighbors": 1},
        "compare": {"a": scores, "b": scores},
        "stream": {"lm": lm, "editor": editor, "cases": cases, "eval_at": (0, 4)},
        "scan": {"lm": lm, "editor": "ft", "cases": cases[:1], "layers": [99]},
        "superposition": {"lm": lm, "subjects": facts, "layer": 1},
        "dossier": {"lm": lm, "entity": "Ann", "patch": patch, "among": {}},
        "dossier_lines": {"lm": lm, "entity": "Ann", "patch": patch, "among": {}},
        "investigate": {"lm": lm, "names": list("abcdefghijklmnopqrstu"), "layers": [99]},
        "difference": {"suspect": lm, "base": lm},
        "read_gradients": {"lm": lm, "facts": facts, "modules": [module]},
        "second_moment": {"lm": lm, "layers": [1], "tokens": 64},
        "scaled": {"lm": lm, "patch": patch, "strength": 0.5},
        "diff": {"first": patch, "second": lib.EMPTY},
        "merge": {"first": patch, "second": lib.EMPTY, "keep": None},
        "without": {"lm": lm, "patch": lib.EMPTY, "fact": facts[0]},
        "interference": {"K": K, "C": torch.eye(48)},
        "gram": {"K": K},
        "add_low_rank": {"lm": lm, "after": patch, "updates": {}},
        "relations": {"cases": cases},
        "classroom": {"model": "gemma-3-270m"},
        "read_cases": {"path": [], "limit": 0},
        "export_peft": {"lm": lm, "patch": lib.EMPTY, "folder": folder / "a"},
        "export_model": {"lm": lm, "patch": lib.EMPTY, "folder": file},
        "export_gguf": {"lm": lm, "patch": patch, "folder": file},
        "export_gguf_lora": {"lm": lm, "patch": patch, "folder": file},
        "Fact": {"subject": "Ann", "prompt": "{} is", "target_new": "x", "target_true": "y"},
        "Probe": {"prompt": "a", "target": "b"},
        "Case": {"fact": fact},
        "Patch": {"weights": {}, "routes": {}, "rewrites": (), "memory": {}, "log": (), "base": ""},
        "Edit": {"editor": "ft", "settings": {}, "facts": (fact,)},
        "LowRank": {"chunks": ((wide.T, wide),)},
        "EditedAgain": {"editor": "ft", "facts": (fact,), "batch": 1},
        "Rounded": {"to": "int8"},
        "Trained": {"texts": ("a text",), "steps": 1},
    }  # fmt: skip
    found = {
        name: (attrgetter(RENAMED.get(name, name))(lib), given) for name, given in some.items()
    }
    rome = lib.EDITORS["rome"]
    return found | {
        "LM.answer": (lm.answer, {"prompts": "a", "max_new_tokens": 1, "chat": False}),
        "LM.generate": (lm.generate, {"prompts": "a", "max_new_tokens": 1, "temperature": 0.0,
                                      "top_k": None, "seed": 0}),
        "LM.score": (lm.score, {"prompts": "a", "targets": "b"}),
        "LM.next_token": (lm.next_token, {"prompts": "a"}),
        "LM.run": (lm.run, {"prompts": "a", "watch": [module]}),
        "LM.keys": (lm.keys, {"facts": facts, "layer": 1, "templates": ["{}"]}),
        "LM.at_subjects": (lm.at_subjects, {"facts": facts, "modules": [module]}),
        "LM.mlp_out": (lm.mlp_out, {"layer": 1}),
        "LM.patched": (lambda **given: lm.patched(**given).__enter__(), {"patch": patch}),
        "Patch.with_weights": (patch.with_weights, {"new": {}}),
        "Patch.without": (patch.without, {"i": 0, "lm": lm}),
        "Patch.save": (patch.save, {"path": file}),
        "Patch.load": (lib.Patch.load, {"path": file}),
        "Patch |": (lambda other: patch | other, {"other": lib.EMPTY}),
        "Editor": (rome, {"lm": lm, "config": None, "layer": 1}),
        "Editor.edit": (editor.edit, {"facts": facts[:1], "after": patch}),
        "Editor.check": (editor.check, {"facts": facts, "first": 0}),
        "Run.groups": (run.groups, {"point": 0}),
        "Scores.by_case": (scores.by_case, {"pairs": None}),
        "Fact.find": (lib.Fact.find, {"prompt": "Ann is", "subject": "Ann", "target_new": "x"}),
        "Fact.from_sentence": (lib.Fact.from_sentence, {"sentence": "Ann is", "target_new": "x"}),
    }  # fmt: skip


def refused(function: Callable, given: dict[str, Any]) -> Iterator[str]:
    """What is wrong with each call of a function with one wrong argument."""
    for name in given:
        for kind, value in WRONG.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = function(**{**given, name: value})
                    if inspect.isgenerator(found):
                        list(found)
            except lib.Error as error:
                if "\n" in str(error).strip():
                    yield f"{name}={kind}: more than one line"
            except Exception as error:
                yield f"{name}={kind}: {type(error).__name__}: {error!s:.80}"


def test_wrong_values_of_every_kind_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lm = tiny.model("llama")
    found = {name: list(refused(*call)) for name, call in calls(lm, tmp_path).items()}
    wrong = [f"{name}({one})" for name, some in found.items() for one in some]
    assert not wrong, f"{len(wrong)} calls:\n" + "\n".join(wrong)


def test_every_public_function_is_walked(tmp_path):
    both = {**vars(lib), **vars(lib.workbench)}
    functions = {n for n, one in both.items() if inspect.isfunction(one) and n[0] != "_"}
    walked = calls(tiny.model("llama"), tmp_path).keys()
    assert functions - walked == NOT_WALKED.keys()


@pytest.mark.parametrize("name", ["evaluate", "stream"])
def test_right_arguments_of_other_types_are_taken(name):
    import numpy as np

    lm = tiny.model("llama")
    settings = {"metrics": {"efficacy"}, "events": ["teacher_forced"]}
    if name == "evaluate":
        assert len(lib.evaluate(lm, small_cases(), seed=np.int64(3), **settings).rows) == 4
    else:
        run = lib.stream(lm, Noise(lm), small_cases(), eval_at={0, 4}, evaluate_with=settings)
        assert run.eval_at == (0, 4)
