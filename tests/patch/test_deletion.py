"""Closed-form deletion: equal to running the fold again, and refused where keys are not kept."""

from __future__ import annotations

import pytest
import torch

import lib

from ..support import tiny
from ..support.usual import few

# one layer, values of the base model, the bare prompt: nothing that is read depends on other edits
EXACT = {"layers": (1,), "v_lr": 0.5, "steps": 10, "clamp": 50.0, "decay": 0.0, "kl_factor": 0.0,
         "templates": ("{}",), "tokens": 600, "values_on": "base", "keep_keys": True}  # fmt: skip
EDITORS = {"memit": {**EXACT, "strength": 1.0}, "alphaedit": {**EXACT, "quantile": 0.9, "L2": 1e-2}}
WORDS = (("I saw {}", " xy"), ("Who built {}", " qz"), ("Near {}", " qz"), ("{}", " xy"))
FACTS = [lib.Fact("The old tower", prompt, target) for prompt, target in WORDS]


def folded(lm: lib.LM, name: str, facts=FACTS, **more) -> lib.Patch:
    editor, patch = lib.EDITORS[name](lm, **{**EDITORS[name], **more}), lib.EMPTY
    for fact in facts:
        patch = editor.edit([fact], after=patch)
    return patch


def without(patch: lib.Patch, i: int, lm: lib.LM, *, exact: bool = False) -> lib.Patch | None:
    line = patch.log[0] if patch.log else lib.Edit("memit", EXACT)
    return lib.EDITORS[line.editor](lm, **line.settings).without(patch, i, exact=exact)


def far(p: lib.Patch, q: lib.Patch, name: str) -> float:
    mine, theirs = p.weights[name].dense(), q.weights[name].dense()
    return float((mine - theirs).norm() / theirs.norm())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EDITORS))
@pytest.mark.parametrize("family", few(["gpt2", "llama"], 1))
def test_deletion_is_the_fold_without_that_edit(name, family):
    lm = tiny.model(family)
    whole, place = folded(lm, name), lm.mlp_out(1)
    for i in range(len(FACTS)):
        short = without(whole, i, lm)
        again = whole.without(i, lm, fold=True)
        assert short.facts == again.facts and short.log == again.log and short.base == again.base
        assert far(short, again, place) < 1e-4
        assert far(whole, again, place) > 1e-2  # there is something to delete
        mine, theirs = short.memory[name]["keys"]["1"], again.memory[name]["keys"]["1"]
        assert all(map(torch.equal, mine, theirs)) and len(mine) == 3
    twice = without(without(whole, 1, lm), 1, lm)  # and once more
    assert far(twice, folded(lm, name, [FACTS[0], FACTS[3]]), place) < 1e-4
    editor = lib.EDITORS[name](lm, **EDITORS[name])
    more = editor.edit([FACTS[1]], after=without(whole, 1, lm))
    direct = editor.edit([FACTS[1]], after=whole.without(1, lm, fold=True))
    assert far(more, direct, place) < 1e-4  # it can be continued
    alone = folded(lm, name, FACTS[:1])
    assert not without(alone, 0, lm)


def test_a_patch_takes_the_short_way_where_it_is_exact(monkeypatch):
    lm = tiny.model("llama")
    whole = folded(lm, "memit")
    wanted = without(whole, 1, lm)
    monkeypatch.setattr(lib.EDITORS["memit"], "edit", None)  # nothing is edited again
    for i in (1, -3):
        found = whole.without(i, lm)
        assert torch.equal(
            found.weights[lm.mlp_out(1)].dense(), wanted.weights[lm.mlp_out(1)].dense()
        )
    with pytest.raises(TypeError):
        whole.without(1, lm, fold=True)
    assert without(whole, 1, lm, exact=True) is not None
    assert without(lib.EMPTY, 0, lm, exact=True) is None


def test_it_is_the_one_step_formula():
    lm = tiny.model("llama")
    whole, place = folded(lm, "memit"), lm.mlp_out(1)
    editor = lib.EDITORS["memit"](lm, **EDITORS["memit"])
    keys = [k.double() for k in whole.memory["memit"]["keys"]["1"]]
    chunks, W = whole.weights[place].chunks, whole.weights[place].dense().double()
    before = sum((a @ b for a, b in chunks[:1]), torch.zeros_like(chunks[0][0] @ chunks[0][1]))
    V = chunks[1][0].double() + before.double() @ keys[1]
    M = editor.moment(1).C.double() + sum(k @ k.T for k in keys if k is not keys[1])
    # the normal equations without the pair: W' = W − (V − W K) Kᵀ M⁻¹
    wanted = W - torch.linalg.solve(M, keys[1] @ (V - W @ keys[1]).T).T
    found = without(whole, 1, lm).weights[place].dense().double()
    assert float((found - wanted).norm() / wanted.norm()) < 1e-4


def test_with_several_layers_it_is_close_to_the_fold():
    lm = tiny.model("llama")
    whole = folded(lm, "alphaedit", layers=(1, 2))
    short, again = without(whole, 1, lm), whole.without(1, lm, fold=True)
    assert far(short, again, lm.mlp_out(1)) < far(whole, again, lm.mlp_out(1))
    assert without(whole, 1, lm, exact=True) is None  # so the patch folds again


def test_without_what_is_needed_there_is_no_short_way():
    lm = tiny.model("llama")
    assert without(folded(lm, "memit", keep_keys=False), 1, lm) is None
    whole = folded(lm, "memit")
    assert without(whole, 4, lm) is None and without(lib.EMPTY, 0, lm) is None
    other = lib.EDITORS["memit"](lm, **{**EDITORS["memit"], "strength": 2.0})
    assert without(other.edit([FACTS[0]], after=whole), 1, lm) is None
    tuned = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACTS[0]], after=whole)
    assert without(tuned, 0, lm) is None
    dense = whole.with_weights({lm.mlp_out(1): lm.weight(lm.mlp_out(1))})
    assert without(dense, 0, lm) is None
