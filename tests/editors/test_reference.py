"""Parity with the authors' own code on the embedded model, number by number.

`tests/reference/*.json` holds the few figures needed; vectors and matrices are compared by norm and
by projections on fixed vectors, as the files say.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lib
from lib.data.facts import encode_target, lookup
from lib.keys_values import running_moments

from ..support.usual import sample

REFERENCE = Path(__file__).parents[1] / "reference"
ROME = json.loads((REFERENCE / "rome.json").read_text(encoding="utf-8"))
FACT = lib.Fact(ROME["fact"]["subject"], ROME["fact"]["prompt"], ROME["fact"]["target"])


def assert_vector(x: torch.Tensor, wanted: dict, rel: float = 1e-3) -> None:
    """Norm to `rel`, projections to `rel` of the norm: a projection may cancel."""
    x = x.double().flatten().cpu()
    cos = torch.arange(len(x)).double().cos()
    assert x.norm().item() == pytest.approx(wanted["norm"], rel=rel)
    assert x.sum().item() == pytest.approx(wanted["sum"], abs=rel * wanted["norm"])
    assert (x @ cos).item() == pytest.approx(wanted["dot_cos"], abs=rel * wanted["norm"])
    assert x[:3].tolist() == pytest.approx(wanted["first3"], abs=rel * wanted["norm"])


def assert_matrix(D: torch.Tensor, wanted: dict, rel: float = 1e-3) -> None:
    D = D.double().cpu()
    rows, columns = (torch.arange(n).double() for n in D.shape)
    assert list(D.shape) == wanted["shape"]
    assert D.norm().item() == pytest.approx(wanted["fro"], rel=rel)
    spread = (rows.cos() @ D @ columns.sin()).item()
    assert spread == pytest.approx(wanted["cos_sin"], abs=rel * wanted["fro"])
    alternating = (1 / (1 + rows)) @ D @ (-1) ** columns
    assert alternating.item() == pytest.approx(
        wanted["harmonic_alternating"], abs=rel * wanted["fro"]
    )


def test_tokens(plain_lm):
    ids, at = lookup(plain_lm.tokenizer, FACT)
    assert ids == ROME["token_ids_prompt"] and at == ROME["subject_last_token_index"]
    assert encode_target(plain_lm.tokenizer, FACT.target_new) == ROME["target_ids"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    sample(ROME["runs"], 1),
    ids=lambda run: f"{run['keys']}-{len(run['templates'])}-lr{run['v_lr']}",
)
def test_rome_and_r_rome(plain_lm, run):
    lm = plain_lm
    editor = lib.EDITORS["rome"](
        lm, layer=run["layer"], keys=run["keys"], v_lr=run["v_lr"], steps=20, decay=0.5, clamp=4.0,
        templates=tuple(run["templates"]), second_moment=False,
    )  # fmt: skip
    (a, b), found = editor.update(FACT)
    W = lm.weight(lm.mlp_out(run["layer"]))
    assert W.norm().item() == pytest.approx(run["weight_norm"], rel=1e-4)
    assert_vector(found.keys.mean(0), run["k_mean_over_templates"])
    assert_vector(found.keys[0], run["k_of_the_bare_prompt"])
    assert_vector(W @ found.keys[0], run["W_k_of_the_bare_prompt"])
    assert_vector(found.v_star, run["v_star"])
    assert len(found.loss) == run["steps_run"]
    torch.testing.assert_close(
        torch.tensor(found.loss), torch.tensor(run["loss"]), atol=1e-3, rtol=1e-3
    )
    assert_matrix(a @ b, run["delta"])
    with lm.patched(editor.edit([FACT])):
        for prompt, wanted in run["prob_after"].items():
            chances = lm.next_token(prompt).exp()
            for word, chance in wanted.items():
                token = lm.tokenizer(" " + word.strip()).input_ids[0]
                assert chances[token].item() == pytest.approx(chance, rel=5e-3, abs=1e-5)


MEMIT = json.loads((REFERENCE / "memit.json").read_text(encoding="utf-8"))
FACTS = [lib.Fact(*row) for row in MEMIT["requests"]]
SPREAD = {
    "layers": (3, 4, 5), "v_lr": 0.5, "steps": 20, "decay": 0.5, "clamp": 0.75, "kl_factor": 0.0625,
    "templates": ("{}",), "keep_keys": False,
}  # fmt: skip


def total(lm, patch: lib.Patch, layer: int) -> torch.Tensor:
    name = lm.mlp_out(layer)
    return lm.weight(name, patch) - lm.weight(name)


def watched(editor, monkeypatch) -> list[float]:
    """Mean norm of what is missing at the last layer before each layer is written."""
    errors = []

    def residual(rest, left, real=editor.residual):
        errors.append(rest.norm(dim=0).mean().item())
        return real(rest, left)

    monkeypatch.setattr(editor, "residual", residual)
    return errors


@pytest.mark.slow
def test_memit(plain_lm, monkeypatch):
    lm, wanted = plain_lm, MEMIT["memit"]
    editor = lib.EDITORS["memit"](
        lm, **SPREAD, strength=wanted["mom2_update_weight"], second_moment=False
    )
    for layer, keys in wanted["keys_before_editing"].items():
        for k, figure in zip(lm.keys(FACTS[:5], int(layer)).T, keys, strict=True):
            assert_vector(k, figure)
    found = lib.keys_values.value_search.search(
        lm, FACTS[:5], 5, ("{}",), editor.config.search(), "block"
    )
    for target, figure, curve in zip(found, wanted["z"], wanted["loss"], strict=True):
        assert_vector(target.v_star, figure)
        torch.testing.assert_close(
            torch.tensor(target.loss), torch.tensor(curve), atol=1e-3, rtol=1e-3
        )
    errors = watched(editor, monkeypatch)
    patch = editor.edit(FACTS[:5])
    assert errors == pytest.approx(wanted["z_error_before_each_layer"], rel=1e-3)
    for layer in SPREAD["layers"]:
        assert_matrix(total(lm, patch, layer), wanted["delta"][f"{lm.mlp_out(layer)}.weight"])


@pytest.mark.slow  # half a minute
def test_alphaedit_over_two_rounds(plain_lm, monkeypatch):
    lm, wanted = plain_lm, MEMIT["alphaedit"]
    rows, _ = lm.rows(wanted["sentences"])
    names = {lm.mlp_out(layer): layer for layer in SPREAD["layers"]}
    sums, count = {layer: torch.zeros(1536, 1536).double() for layer in names.values()}, 0
    with lm.patched(lib.EMPTY):
        for row in rows:  # each alone, position 0 included, as the authors did it
            for name, K in lib.model.activations.module_inputs(lm, [row], list(names)).items():
                sums[names[name]] += K.double().T @ K.double()
            count += len(row)
    assert count == wanted["tokens"]
    spaces = {
        layer: lib.associative_memory.null_space(
            (total / count).float().double(), wanted["threshold"]
        )
        for layer, total in sums.items()
    }
    for layer, figure in wanted["projector"].items():
        Q = spaces[int(layer)].Q
        assert Q.shape[1] == figure["null_dimensions"]
        assert_matrix(Q @ Q.T, figure["P"])
    editor = lib.EDITORS["alphaedit"](lm, **{**SPREAD, "keep_keys": True}, L2=wanted["L2"])
    monkeypatch.setattr(editor, "null_space", spaces.get)
    errors, patch = watched(editor, monkeypatch), lib.EMPTY
    for i, figures in enumerate(wanted["rounds"]):
        errors.clear()
        patch = editor.edit(FACTS[5 * i : 5 * i + 5], after=patch)
        assert errors == pytest.approx(figures["z_error_before_each_layer"], rel=1e-3)
        for layer in SPREAD["layers"]:
            figure = figures["total_delta"][f"{lm.mlp_out(layer)}.weight"]
            assert_matrix(total(lm, patch, layer), figure)
            Kp = torch.cat(patch.memory["alphaedit"]["keys"][str(layer)], 1)
            assert_matrix(Kp @ Kp.T, figures["K_K_T_after"][str(layer)])


ULTRA = json.loads((REFERENCE / "ultraedit.json").read_text(encoding="utf-8"))


def released(self, x):
    """`RunningMoments.of` with a slip of the released code: S is m/(m − 1) times too large."""
    x, m = x.double(), x.shape[1]
    mean = x.mean(1)
    S = (x - mean[:, None]).square().sum(1) * (m / (m - 1) if m > 1 else 1.0)
    return running_moments.RunningMoments(m, mean, S)


@pytest.mark.slow
def test_ultraedit_over_two_turns(plain_lm, monkeypatch):
    monkeypatch.setattr(running_moments.RunningMoments, "of", released)
    lm = plain_lm
    editor = lib.EDITORS["ultraedit"](
        lm, down=(18, 19, 20), gate=(12, 13, 14), up=(12, 13, 14), eta=ULTRA["eta"],
        ridge=ULTRA["lambda"], group=5, repeat=1, warmup="none",
        reduction="group_mean", strength=0.0, keep_keys=False, few=None,
    )  # fmt: skip
    assert set(editor.modules()) == set(ULTRA["modules"])
    facts, patch = [lib.Fact(None, *fact) for fact in ULTRA["facts"]], lib.EMPTY
    for i, wanted in enumerate(ULTRA["turns"]):
        before, patch = patch, editor.edit(facts[10 * i : 10 * i + 10], after=patch)
        for shape, figures in wanted["moments"].items():
            d_in, d_out = (int(n) for n in shape.strip("()").split(","))
            kept = patch.memory["ultraedit"]["moments"][f"{d_out}x{d_in}"]
            both = lib.keys_values.running_moments.KeyGradientMoments.load(kept)
            assert both.keys.n == figures["count"]
            for side, moments in (("key", both.keys), ("grad", both.grads)):
                assert_vector(moments.mean, figures[f"{side}_mean"], 1e-4)
                assert_vector(moments.deviation, figures[f"{side}_std"], 1e-4)
        for module in ULTRA["modules"]:
            now, then = lm.weight(module, patch), lm.weight(module, before)
            assert_matrix(now - then, wanted["shift"][module], 2e-4)
            assert_matrix(now - lm.weight(module), wanted["total_delta"][module], 2e-4)
