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
from lib.facts import encode_target, lookup

ROME = json.loads((Path(__file__).parent / "reference" / "rome.json").read_text(encoding="utf-8"))
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


def test_tokens(default_lm):
    ids, at = lookup(default_lm.tokenizer, FACT)
    assert ids == ROME["token_ids_prompt"] and at == ROME["subject_last_token_index"]
    assert encode_target(default_lm.tokenizer, FACT.target_new) == ROME["target_ids"]


@pytest.mark.parametrize(
    "run", ROME["runs"], ids=lambda r: f"{r['keys']}-{len(r['templates'])}-lr{r['v_lr']}"
)
def test_rome_and_r_rome(default_lm, run):
    lm = default_lm
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
