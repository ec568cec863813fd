"""All settings of an editor: their values for this model, their meanings, and changes to them.

A visitor changes settings line by line; a setting that names a file, or that makes work unbounded,
cannot be changed here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from html import escape
from typing import Any

import lib

from .worker import Trouble

LINES = 12
LARGEST = 10_000  # of a number: what a visitor may make the machine do
PATHS = ("network", "text", "inner", "source", "contexts", "irrelevant")  # files, or work unbounded

COMMON = {  # what many editors have, said once
    "seed": "of everything that is drawn.",
    "layer": "the edited one, counted from 0.",
    "layers": "the edited ones, counted from 0.",
    "lr": "learning rate.",
    "v_lr": "learning rate of the search for the value.",
    "steps": "of the search, at most.",
    "epochs": "passes over the facts, at most.",
    "n_iter": "steps of training per fact or call, at most.",
    "batch_size": "facts that are trained together.",
    "enough": "loss at which training ends early.",
    "decay": "weight of the value's size in its search.",
    "clamp": "how far the value may move, in units of its own length.",
    "kl_factor": "weight of staying with the model's idea of the subject.",
    "target_eos": "also learn to stop after the answer.",
    "templates": "texts that are put before the prompt while training; null: made by the model.",
    "context_start": "what made-up beginnings begin with.",
    "context_top_k": "they are drawn from so many tokens; 0: always the most probable.",
    "damping": "added to the diagonal of C, in units of its mean.",
    "tokens": "of general text that C is estimated from; null: all.",
    "second_moment": "weigh by C, so that general text is disturbed least.",
    "rank": "of the adapters, or of the trained network.",
    "norm_constraint": "no weight moves farther than this.",
    "weight_decay": "of the optimizer.",
    "mask_ratio": "share of the matrix that a shard may use.",
    "merge": "how shards become one memory.",
    "irrelevant_n": "texts that must stay as they are, per fact.",
    "eps_init": "radius of a new key.",
    "eps_expand": "what happens to a key that covers one more wording.",
    "strict": "repaired rules for splitting a radius.",
    "eta": "step of the update.",
    "experts": "how many there are where none is added.",
    "d_k": "length of anchors.",
    "width": "of the projection onto them.",
    "kappa": "how sharply the nearest anchor wins.",
    "anchor": "norm that values are held to.",
    "anchor_n": "facts from which that norm is measured.",
    "anchor_skip": "a value so many times longer than that norm is not written; null: never.",
    "ceiling": "only layers below this one are tried.",
    "quantile": "share of all directions taken as free of general text; null: by threshold.",
    "L2": "added to the diagonal of the solve.",
    "keep": "share of the entries that are kept, the relatively largest.",
    "alpha": "base of the logarithm by which large singular values are shrunk.",
    "blocks": "layers of the trained network.",
    "ridge": "where the regression's λ starts.",
    "clip": "norm that all gradients together are cut to.",
    "accumulate": "edits of one training step.",
    "turns": "edits of one trajectory in training.",
    "tau_free": "least similarity of a whole prompt that does not name the subject.",
    "null": "where the score of no expert starts, in units of kappa.",
    "settled": "change of the loss under which training ends.",
}


def shown(lm: lib.LM, editor: str) -> dict[str, Any]:
    """{name: value} of the settings that may be changed, as the preset has them for this model."""
    config = asdict(lib.EDITORS[editor].Config.preset(lm, editor))
    return {name: value for name, value in config.items() if name not in PATHS}


def table(lm: lib.LM, editor: str) -> str:
    """HTML: every setting with its value here, the class's own default, and what it does."""
    kind, meaning = lib.EDITORS[editor].Config, meanings(editor)
    usual = asdict(kind())
    rows = "".join(
        f"<tr><td>{escape(name)}<small>{escape(meaning.get(name, ''))}</small></td>"
        f"<td>{escape(json.dumps(value))}</td><td>{escape(json.dumps(usual[name]))}</td></tr>"
        for name, value in shown(lm, editor).items()
    )
    paper = escape(lib.EDITORS[editor].paper)
    return (
        f'<table class="options"><caption>Settings of {escape(editor)}</caption><tr>'
        "<th>setting</th><th>for this model</th><th>as published, or the library's own</th></tr>"
        f"{rows}</table><p>{paper}</p>"
    )


def meanings(editor: str) -> dict[str, str]:
    """{setting: what the library says of it}, from the docstrings of the settings' classes."""
    found: dict[str, str] = dict(COMMON)
    for kind in reversed(lib.EDITORS[editor].Config.__mro__):
        if not issubclass(kind, lib.Config):
            continue
        names: list[str] = []
        for sentence in re.split(r"(?<=\.)\s+", " ".join((kind.__doc__ or "").split())):
            head, colon, rest = sentence.partition(": ")
            said = [part.split(" ")[0] for part in head.split(", ")]
            if colon and all(name in kind.__dataclass_fields__ for name in said):
                names, sentence = said, rest
                found.update(dict.fromkeys(names, ""))
            for name in names:
                found[name] = f"{found[name]} {sentence}".strip()
    return found


def changes(lm: lib.LM, editor: str, text: str) -> dict[str, Any]:
    """Settings from lines `name = value`, values as in JSON. Raises Trouble in one sentence."""
    known, found = shown(lm, editor), {}
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if len(lines) > LINES:
        raise Trouble(f"{len(lines)} settings are too many: this page takes {LINES}.")
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not value:
            raise Trouble(f"“{line[:60]}” is no setting: write name = value.")
        if name not in known:
            raise Trouble(f"{editor} has no setting “{name[:40]}” to change here.")
        try:
            found[name] = _plain(json.loads(value))
        except (ValueError, RecursionError):
            raise Trouble(
                f"The value of {name} should be a number, true, false, null, a “word” or a list "
                "of numbers."
            ) from None
        here = known[name]
        if here is not None and isinstance(here, bool) != isinstance(found[name], bool):
            raise Trouble(f"{name} is {json.dumps(here)} here: give a value of that kind.")
    return found


def _plain(value: Any) -> Any:
    """A value that is hashable and bounded; ValueError for anything else."""
    if isinstance(value, list):
        if len(value) > 40 or any(isinstance(part, list | dict) for part in value):
            raise ValueError(value)
        return tuple(map(_plain, value))
    if isinstance(value, dict) or (isinstance(value, str) and len(value) > 40):
        raise ValueError(value)
    if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        raise ValueError(value)
    return value
