"""What the tests ask of simulated cards. These functions run in a process that has the cards.

`Cards` is that process: it starts at the first question and answers any number of them. A check
raises AssertionError where it does not hold, and gives back what it measured.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lib
from lib.evaluation.evaluate import evaluate
from lib.keys_values.null_space import null_space
from lib.lifelong.stream import stream
from lib.model import generation
from lib.workbench.interpret.causal_trace import trace
from lib.workbench.interpret.logit_lens import lens
from lib.workbench.preset_search.tune import Rows, search

from . import simulated, tiny
from .cases import small_cases
from .editor_settings import ELSEWHERE, TRAINING, A, B, quick

FEW = {"steps": 5, "epochs": 4, "n_iter": 6}
TEXTS = [A.text, *ELSEWHERE]
PROMPTS = [*TEXTS, "Who"]  # of several lengths, so that rows end at different steps


class Cards:
    """A process with simulated cards, in which checks run one after another."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, check: Callable[..., Any], *given: Any) -> Any:
        """What a check gives back; what it raises is raised here."""
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin)
        return self._pool.submit(check, *given).result()

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()


def _begin() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def installed() -> str:
    """Make the cards; the reason where there are none, else an empty text."""
    try:
        simulated.install()
    except simulated.Unsupported as error:
        return str(error)
    folder()  # nothing that is made here may land in the caches of whoever runs the tests
    return ""


@cache
def model(cards: int, family: str = "llama") -> lib.LM:
    """A tiny model on so many cards, 0 for the CPU."""
    made = tiny.model(family)
    return simulated.placed(made, cards) if cards else made


@cache
def folder() -> Path:
    """A folder of this process, which is also where its caches are."""
    made = tempfile.TemporaryDirectory()
    folder.keep = made  # type: ignore[attr-defined]
    os.environ["XDG_CACHE_HOME"] = made.name
    return Path(made.name)


def short(name: str) -> dict[str, Any]:
    """An editor's settings with few steps."""
    given = {key: FEW.get(key, value) for key, value in quick(name).items()}
    if "inner" in given:
        inner, its = given["inner"]
        given["inner"] = (inner, {**its, "steps": FEW["steps"]})
    if hasattr(lib.EDITORS[name].Config, "irrelevant"):
        given["irrelevant"] = tuple(f"{text} {i}" for text in ELSEWHERE for i in range(4))
    return given


def editor_keeps_its_promises(
    name: str, cards: int, family: str = "llama", more: Mapping[str, Any] | None = None
) -> float:
    """An editor on cards does what it does on the CPU; the largest relative difference of ΔW.

    more: settings of the editor beside those of `short`.
    """
    where, lm, plain = folder(), model(cards, family), model(0, family)
    given, before = {**short(name), **(more or {})}, state(lm)
    if lib.EDITORS[name].trained:
        path = where / f"{name}-{family}-{cards}.safetensors"
        lib.EDITORS[name](lm, **given).fit(TRAINING, checkpoint=path, steps=2)
        given["network"] = str(path)
    editor, wanted = lib.EDITORS[name](lm, **given), lib.EDITORS[name](plain, **given)
    # an edit, and one more on the result: patches on the CPU, as the plain CPU makes them
    first, expected = editor.edit([A]), wanted.edit([A])
    second, after = editor.edit([B], after=first), wanted.edit([B], after=expected)
    gap = 0.0
    for patch, other in ((first, expected), (second, after)):
        away = [place for place, t in tensors(patch) if t.device.type != "cpu"]
        assert not away, f"not on the CPU: {away}"
        gap = max(gap, difference(plain, patch, other))
    # searches carry roundings on: on one processor 4e-5 was seen (SDF); half precision gives 1e-3
    assert gap < 2e-4, f"ΔW differs by {gap:.1e}"
    # answers and scores under it, and with patches that came from a file
    loaded = lib.Patch.load(second.save(where / f"{name}-{cards}.safetensors"))
    with plain.patched(after):
        said, scored = plain.answer(PROMPTS, 3), plain.score(TEXTS, [" xyz"] * 3)
    for patch in (second, loaded):
        with lm.patched(patch):
            assert lm.answer(PROMPTS, 3) == said, "other answers than on the CPU"
            for one, other in zip(lm.score(TEXTS, [" xyz"] * 3), scored, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
            lm.generate(TEXTS, 2, temperature=1.0, top_k=5)
            # row i ends after i + 1 tokens and leaves the batch and its cache
            rows = [tiny.tokenizer()(text).input_ids for text in TEXTS]
            ids = generation.generate(lm, rows, 4, until=lambda i, new: len(new) > i).ids
            assert [len(new) for new in ids] == [1, 2, 3]
        for name in patch.weights:
            assert lm.weight(name, patch).device == lm.weight(name).device, "a matrix elsewhere"
    # editing goes on from the loaded patch, and nothing is left on the model
    editor.edit([A], after=loaded)
    assert state(lm) == before, "undo left something behind"
    return gap


def waits_per_step(name: str, steps: str) -> float:
    """How often a step of an editor's search waits for the card; `steps` sets their number."""
    folder()
    lm, still = model(1), {"enough": -1.0, "v_lr": 1e-3}  # no search ends early
    known = {field.name for field in fields(lib.EDITORS[name].Config)}
    still = {key: value for key, value in still.items() if key in known}
    waits = []
    for n in (3, 3, 6):  # the first run also makes what is kept, such as C
        editor = lib.EDITORS[name](lm, **{**short(name), **still, steps: n})
        with simulated.counted() as seen:
            editor.edit([A])
        waits.append(seen.total("down", "item", "size"))
    return (waits[2] - waits[1]) / 3


def same_numbers(cards: int) -> None:
    """C, null space, trace and lens on cards are those of the plain CPU."""
    found = []
    for lm in (model(cards), model(0)):
        os.environ["XDG_CACHE_HOME"] = str(folder() / f"cache {cards} {lm.device.type}")
        layers = [0, lm.n_layers - 1]
        moments = lib.second_moment(lm, layers, tokens=600)
        spaces = null_space(lm, layers, quantile=0.5, tokens=600)
        one = trace(lm, A, samples=2, kinds=("hidden", "mlp"))
        table = lens(lm, TEXTS, ["xy"])
        perplexity = lib.perplexity(lm, "A cat sat on the mat. " * 3)
        found.append(
            {
                **{f"C {i}": moments[i].C for i in layers},
                **{f"null space {i}": spaces[i].Q @ spaces[i].Q.T for i in layers},
                **{f"trace {kind}": t for kind, t in one.table.items()},
                "lens": torch.tensor(table["log_prob"].to_numpy()),
                "perplexity": torch.tensor(float(perplexity)),
            }
        )
    os.environ["XDG_CACHE_HOME"] = str(folder())
    for name, value in found[1].items():
        torch.testing.assert_close(
            found[0][name], value, atol=1e-4, rtol=1e-3, equal_nan=True, msg=f"{name} differs"
        )


def stream_and_search(cards: int) -> None:
    """A stream with its journal goes on from disk, and a search runs, on cards."""
    lm, where, given = model(cards), folder() / f"stream {cards}", short("rome")
    asked = {"metrics": ("generalization",), "events": ("teacher_forced", "probability")}

    def run(end: int) -> Any:
        editor = lib.EDITORS["rome"](lm, **given)
        points = (0, end)
        return stream(
            lm, editor, small_cases()[:end], 1, points, journal=where / str(end),
            evaluate_with=asked,
        ).finish()  # fmt: skip

    whole, again = run(3), run(3)
    assert again.patch.log == whole.patch.log
    assert difference(model(0), again.patch, whole.patch) == 0.0
    # the peak of both cards, which the simulated ones report as 1 and 2 bytes
    assert whole.json()["peak_memory_bytes"] == sum(range(1, cards + 1))
    editor = lib.EDITORS["rome"](model(0), **given)
    patch = editor.edit([case.fact for case in small_cases()[:3]])
    one, other = evaluate(lm, small_cases(), patch), evaluate(model(0), small_cases(), patch)
    gaps = (one.rows["value"].astype(float) - other.rows["value"].astype(float)).abs()
    assert gaps.max() < 1e-4
    rome = {name: value for name, value in given.items() if name != "layer"}
    rows = Rows(where / "search.jsonl", lm, [])
    found = search(lm, "rome", small_cases(), {"layers": [0, 3], "settings": rome}, rows)
    assert {0, 3} <= {row["layer"] for row in found}


def difference(plain: lib.LM, patch: lib.Patch, other: lib.Patch) -> float:
    """The largest relative difference of two patches' changes of matrices or routes' tensors."""
    assert patch.weights.keys() == other.weights.keys()
    assert patch.routes.keys() == other.routes.keys()
    pairs = [
        [plain.weight(name, p) - plain.weight(name) for p in (patch, other)]
        for name in patch.weights
    ]
    for name, route in patch.routes.items():
        parts = other.routes[name].tensors()
        pairs += [[t.float(), parts[key].float()] for key, t in route.tensors().items()]
    gaps = [(a - b).norm() / b.norm().clamp(min=1e-12) for a, b in pairs]
    return max((gap.item() for gap in gaps), default=0.0)


def tensors(patch: lib.Patch) -> Iterator[tuple[str, Tensor]]:
    """(where, tensor) of all tensors that a patch holds."""

    def walk(place: str, value: Any) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield place, value
        elif isinstance(value, Mapping):
            for key, part in value.items():
                yield from walk(f"{place}.{key}", part)
        elif isinstance(value, list | tuple):
            for i, part in enumerate(value):
                yield from walk(f"{place}.{i}", part)
        elif isinstance(value, lib.LowRank):
            yield from walk(place, value.chunks)

    yield from walk("weights", patch.weights)
    yield from walk("memory", patch.memory)
    for name, route in patch.routes.items():
        yield from walk(f"routes.{name}", route.tensors())


def state(lm: lib.LM) -> list[tuple]:
    """All that undo has to restore: parameters and their values, and hooks."""
    return [
        (name, key, id(p), p.detach().cpu().numpy().tobytes(), str(p.device),
         len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in lm.model.named_modules()
        for key, p in module._parameters.items()
        if p is not None
    ]  # fmt: skip
