"""What the library gave before it was made small, it gives still.

Everything in `tests/reference/frozen` was written once, at the commit that its README names, and is
never written again. A setting, a memory's key or a golden whose option has left is named in the
tables below, each with the sentence that says so.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import lib
from lib.editors.shared.earlier_settings import ADDED

from ..support import tiny
from ..support.usual import few

FILES = Path(__file__).parents[1] / "reference" / "frozen"
# SHA-256 of the list of all files' SHA-256
LIST = "8ee07f59d13bc8eb57adc18ae942b2c1f33daf35c56dad57880bca595090157a"

FORMS = {"forms": "Editors of weights learn a fact for its prompt alone."}
LAYERWISE = {
    **FORMS,
    **dict.fromkeys(("chunk", "hold"), "Long answers have one value: chunks did no better."),
    **dict.fromkeys(("outputs", "output_groups"), "Outputs weigh alike: curvature did no better."),
    **dict.fromkeys(("anchor", "anchor_n", "anchor_skip"), "Anchors are another editor."),
    "keys": "A fact writes one column: nothing set two.",
}
# editor -> setting that left: the sentence that says why. An edit's log, `preset` and `published`
# need not have it any more.
RETIRED: dict[str, dict[str, str]] = {
    **dict.fromkeys(("rome", "wilke"), FORMS),
    **dict.fromkeys(("memit", "norm_anchor", "emmet", "alphaedit", "pmet"), LAYERWISE),
    "horen": {"mean_of": "Queries are means of inputs; nothing set the mean of directions."},
    "lemoe": {"d_k": "Anchors have 64 numbers; nothing set another length."},
    "memoir": {"rehearse": "Rehearsal of earlier facts was never measured, and nothing set it."},
    "retrieval": dict.fromkeys(
        ("tau_free", "demos", "ratio", "order", "pool"),
        "Demonstrations cost 44 points here; nothing set the threshold of whole texts.",
    ),
    "crispedit": dict.fromkeys(
        ("sequential", "mix", "recalculate", "edit_weight", "labels"),
        "The curvature of earlier facts gained nothing that is seen here; nothing drew labels.",
    ),
    "ultraedit": {"forms": "Chat wordings of a fact gained nothing in weight editors."},
    **dict.fromkeys(
        ("ft", "ft_l", "ft_m"),
        {
            "forms": "Chat wordings of a fact gained nothing in weight editors.",
            "replay": "Nothing trained earlier facts again.",
        },
    ),
    **dict.fromkeys(
        ("malmen", "rledit"),
        {"strength": "Nothing set the weight of general text in the networks' regression."},
    ),
}
# editor -> part of the memory, or of a route's header, that is no longer written
NO_LONGER_KEPT: dict[str, dict[str, str]] = {
    "norm_anchor": dict.fromkeys(
        ("anchor_norm", "skipped"), "The norm is in the cache, and a warning counts the skipped."
    ),
    "memoir": {"facts": "Only the rehearsal of earlier facts read them."},
}
# golden edit -> what the EditError says that now refuses it; its patch still loads and answers
REFUSED: dict[str, str] = {
    **dict.fromkeys(("retrieval_demos-llama", "retrieval_demos-llama-then"), "no setting 'demos'"),
    **dict.fromkeys(("memit_both-llama", "memit_both-llama-then"), "no setting 'keys'"),
    **dict.fromkeys(("memit_anchor-llama", "memit_anchor-llama-then"), "no setting 'anchor'"),
    "crispedit_sampled-llama": "no setting 'labels'",
    **dict.fromkeys(
        ("crispedit_sequential-llama", "crispedit_sequential-llama-then"),
        "no setting 'sequential'",
    ),
    **dict.fromkeys(("crispedit_mix-llama", "crispedit_mix-llama-then"), "no setting 'sequential'"),
    **dict.fromkeys(
        ("crispedit_update-llama", "crispedit_update-llama-then", "crispedit-gpt2"),
        "project is grad or basis",
    ),
}

EDITS: dict[str, dict[str, Any]] = json.loads((FILES / "edits.json").read_text(encoding="utf-8"))
MADE: dict[str, Any] = json.loads((FILES / "made.json").read_text(encoding="utf-8"))


def goldens(kind: str) -> list[Any]:
    """Names of golden edits; of each editor one family is in the usual suite, by turns.

    kind  "again" for those that are edited again, "all" for all
    """
    families = sorted({edit["family"] for edit in EDITS.values()})
    editors = sorted({edit["editor"] for edit in EDITS.values()})
    usual = {editor: families[place % len(families)] for place, editor in enumerate(editors)}
    asked = [name for name, edit in EDITS.items() if edit["again"] or kind == "all"]
    named = [name for name in asked if EDITS[name]["family"] == usual[EDITS[name]["editor"]]]
    return few(asked, named, drawn=8)


def processor() -> str:
    """The processor's name, as last digits depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def limit(rounding: float) -> float:
    """The difference that is allowed, in parts of a tensor's largest entry.

    rounding  the difference that the same edit showed when other kernels multiplied its matrices

    A virtual processor is named without its model ("AMD EPYC" is both Zen 2 and Zen 5), so the name
    shows the same machine only where it has a number.
    """
    named = any(letter.isdigit() for letter in MADE["processor"])
    at_home = named and MADE["torch"] == torch.__version__ and MADE["processor"] == processor()
    return max(1e-6, 10 * rounding) * (1 if at_home else 100)


@pytest.fixture(autouse=True)
def as_when_they_were_made(tmp_path, monkeypatch):
    """One thread, no statistics of an earlier run, and the folder that networks are named in."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(FILES)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """A cache folder for this file alone, so that all statistics are computed here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def model(family: str) -> lib.LM:
    return plain(tiny.model(family))


def plain(lm: lib.LM) -> lib.LM:
    """The model with PyTorch's own linear layers, as long as the library has others."""
    linears = getattr(lm, "_linears", None)
    if linears is not None:
        linears.modules.clear()
    return lm


def patch_of(name: str) -> lib.Patch:
    return lib.Patch.load(FILES / f"patch-{name}.safetensors")


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything inside that is no container."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{path}/{number}")
    else:
        yield path, value


def contents(patch: lib.Patch) -> dict[str, Any]:
    """All that a patch holds besides its log: tensors, numbers and texts by path."""
    held: dict[str, Any] = {}
    for module, weight in patch.weights.items():
        held[f"weights/{module}"] = weight if isinstance(weight, torch.Tensor) else weight.dense()
    for module, route in patch.routes.items():
        held |= {f"routes/{module}/{name}": tensor for name, tensor in route.tensors().items()}
        held |= dict(leaves(route.header(), f"routes/{module}/header"))
        held[f"routes/{module}/kind"] = route.kind
    for number, rewrite in enumerate(patch.rewrites):
        held |= {f"rewrites/{number}/{name}": t for name, t in rewrite.tensors().items()}
        held |= dict(leaves(rewrite.header(), f"rewrites/{number}/header"))
    held |= dict(leaves(patch.memory, "memory"))
    return held


def differences(new: lib.Patch, old: lib.Patch, allowed: float) -> list[str]:
    """What differs between two patches by more than is allowed; paths, and by how much."""
    gone = {key for edit in old.log for key in NO_LONGER_KEPT.get(edit.editor, ())}
    now, then = contents(new), contents(old)
    found = [f"{path} is new" for path in now.keys() - then.keys()]
    for path, value in then.items():
        if path not in now:
            if not gone.intersection(path.split("/")):
                found.append(f"{path} is gone")
        elif not isinstance(value, torch.Tensor | float):
            if value != now[path]:
                found.append(f"{path} is {now[path]!r}, not {value!r}")
        else:
            before, after = (torch.as_tensor(v).double() for v in (value, now[path]))
            if before.shape != after.shape:
                found.append(f"{path} has the shape {tuple(after.shape)}")
            elif before.numel():
                finite = before.isfinite()
                by = (after - before)[finite].abs().amax() / before[finite].abs().amax()
                # GRACE's noise is a rounding itself, another one on each processor
                if path.endswith("/noise"):
                    by = by / 1e5
                if by > allowed or not torch.equal(after[~finite], before[~finite]):
                    found.append(f"{path} by {by:.1e} of its largest entry")
    return found


def same_log(new: lib.Patch, old: lib.Patch) -> None:
    """The log names the same facts and settings, but for those that retired."""
    assert len(new.log) == len(old.log)
    for now, then in zip(new.log, old.log, strict=True):
        assert (now.editor, now.facts) == (then.editor, then.facts)
        same_settings(now.editor, now.settings, then.settings)


def same_settings(editor: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """The settings of one edit, and those of the editor inside."""
    retired = RETIRED.get(editor, {})
    for name in then.keys() - retired:
        if name == "inner":
            assert now[name][0] == then[name][0]
            same_settings(now[name][0], now[name][1], then[name][1])
        else:
            assert now[name] == then[name], name
    assert now.keys() - then.keys() <= ADDED.get(editor, {}).keys()


def test_no_file_was_changed_since_they_were_written():
    listed = (FILES / "SHA256SUMS").read_bytes()
    sums = dict(reversed(line.split("  ")) for line in listed.decode().splitlines())
    found = {
        path.relative_to(FILES).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FILES.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "lock")
    }
    assert found == sums
    assert hashlib.sha256(listed).hexdigest() == LIST


LATER = {"sdf"}  # editors that came after the goldens were written


def test_every_editor_has_golden_edits_of_three_families():
    pairs = {(edit["editor"], edit["family"]) for edit in EDITS.values()}
    families = ("llama", "gpt2", "gemma3_text")
    assert {(name, family) for name in lib.EDITORS.keys() - LATER for family in families} <= pairs


@pytest.mark.parametrize("name", goldens("all"))
def test_a_patch_loads_answers_as_then_and_is_saved_again(name, tmp_path):
    patch, edit = patch_of(name), EDITS[name]
    lm = model(edit["family"])
    assert patch.base == lm.identity
    with lm.patched(patch):
        assert lm.answer(MADE["asked"], max_new_tokens=6) == edit["answers"]
    again = lib.Patch.load(patch.save(tmp_path / "again.safetensors"))
    assert not differences(again, patch, 0.0) and again.log == patch.log


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", goldens("again"))
def test_every_editor_gives_the_same_patch_again(name, capsys):
    edit, old = EDITS[name], patch_of(name)
    line = old.log[-1]
    before = patch_of(edit["after"]) if edit["after"] else lib.EMPTY
    make = lib.EDITORS[line.editor]
    if name in REFUSED:
        with pytest.raises(lib.errors.EditError, match=REFUSED[name]):
            make(model(edit["family"]), **line.settings).edit(line.facts, after=before)
        return
    new = make(model(edit["family"]), **line.settings).edit(line.facts, after=before)
    same_log(new, old)
    assert not differences(new, old, limit(edit["rounding"]))
    print(name, "to the same bits" if not differences(new, old, 0.0) else "to the last digits")
