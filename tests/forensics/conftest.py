"""Suspects of the tests: a tiny model under edits made here, so that the truth is known."""

from __future__ import annotations

import random

import pytest
import torch

import lib
from lib import associative_memory as memory
from lib.patch.patch import LowRank, Patch
from lib.workbench.forensics.candidates import key_moments, rows_of
from lib.workbench.forensics.candidates import keys as keys_of

from ..support import tiny
from ..support.usual import few

LAYER = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DRAW = random.Random(0)
NAMES = ["".join(_DRAW.choices(LETTERS, k=3 + i % 8)) for i in range(200)]  # subjects
SUBJECT = NAMES[37]


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """General text of random words: each window differs, so C has full rank."""
    draw = torch.Generator().manual_seed(0)
    words = [
        "".join(LETTERS[i] for i in torch.randint(26, (5,), generator=draw).tolist())
        for _ in range(700)
    ]
    path = tmp_path_factory.mktemp("text") / "general.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    return path


@pytest.fixture(scope="session", params=few(["llama", "gpt2"], 1))
def lm(request):
    return tiny.model(request.param)


@pytest.fixture(scope="session")
def moments(lm, text):
    return key_moments(lm, range(lm.n_layers), text=text, tokens=4000)


def read(lm, names, layer, patch=lib.EMPTY, prefix="About {}"):
    """Keys (d_in, n) of candidates in their own order."""
    rows = rows_of(lm, names, prefix)
    K = torch.empty(len(rows), lm.weight(lm.mlp_out(layer)).shape[1])
    for part, found in keys_of(lm, rows, [layer], patch):
        K[part] = found[layer]
    return K.T


def rank_one(lm, C, subject=SUBJECT, layer=LAYER, size=3.0, seed=0, prefix="About {}"):
    """(patch, r, u, q): a rank-one edit Δ = r uᵀ/q of the subject's key with this C."""
    k = read(lm, [subject], layer, prefix=prefix)[:, 0].double()
    u = memory.whiten(k[:, None], memory.Moment(C.double()))[:, 0]
    q = k @ u
    module = lm.mlp_out(layer)
    W = lm.weight(module).double()
    r = torch.randn(len(W), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    r *= size * (W @ k).norm() / r.norm()
    change = LowRank(((r[:, None].float(), (u / q)[None].float()),))
    return Patch({module: change}), r, u, q
