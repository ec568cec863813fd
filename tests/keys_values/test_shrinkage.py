"""Statistics of few tokens are shrunk, a wide model writes more text, a warning says the rest."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import lib
from lib import computed_once as store
from lib.data.readers import classroom
from lib.errors import EditError, EditWarning, SlowWarning
from lib.keys_values import general_text as texts
from lib.keys_values import null_space, output_moment, second_moment
from lib.keys_values.second_moment import COSTS, Spread, shrunk, stored_moments
from lib.model import activations, batching, generation
from lib.workbench.forensics.candidates import key_moments

from ..support import tiny

WIDE = {"llama-3-8b": 14_336, "mistral-7b": 14_336, "gpt-j": 16_384, "llama-2-7b": 11_008}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def estimate(X: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Ĉ of the keys X (tokens, d), and what is stored of it."""
    spread, C = Spread.of(len(X)), (X.T @ X).double() / len(X)
    spread.see(X.T)
    return C, {"C": C, **second_moment.about(C, len(X), spread)}


def test_the_shrinkage_is_that_of_ledoit_and_wolf_with_windows_as_observations():
    draw = torch.Generator().manual_seed(0)
    # tokens of a window share a direction, so that they are no independent observations
    common = torch.randn(40, 1, 12, generator=draw)
    B = (common + torch.randn(40, 256, 12, generator=draw)) * torch.linspace(0.2, 2, 12)
    each = [window.T @ window / 256 for window in B.double()]
    C = sum(each) / 40
    m = C.trace() / 12
    b = sum((one - C).square().sum() for one in each) / 40 / 39  # of the mean of 40
    D = (C - m * torch.eye(12)).square().sum()
    _, held = estimate(B.flatten(0, 1))
    assert held["shrinkage"].item() == pytest.approx(float(b / D), rel=1e-4)
    wanted = (1 - b / D) * C + b / D * m * torch.eye(12)
    torch.testing.assert_close(shrunk(held), wanted, rtol=1e-4, atol=1e-6)
    assert shrunk(held).trace() == pytest.approx(float(C.trace()))
    # if tokens were the observations, a window's would count as 256 pieces of evidence
    alone = Spread(1)
    alone.see(B.flatten(0, 1).T)
    assert alone.shrinkage(C) < held["shrinkage"] / 20


@pytest.mark.parametrize("tokens", (1, 2, 5, 300))
def test_any_number_of_keys_gives_a_matrix_that_can_be_inverted(tokens):
    X = torch.randn(tokens, 40, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EditWarning)
        C = shrunk(estimate(X)[1])
    assert torch.linalg.eigvalsh(C).min() > 1e-3 * C.diagonal().mean()


def test_ten_tokens_per_dimension_are_left_as_they_were(lm, default_lm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough = stored_moments(lm, [1], None, 480)[1]
        found = enough.tensors()
        plain = second_moment.second_moment(lm, [1], None, 480, damping=0.0)[1].C
    assert sorted(found) == ["C", "tokens"] and torch.equal(plain, found["C"].double())
    few = stored_moments(lm, [1], None, 479)[1]
    assert sorted(few.tensors()) == ["C", "shrinkage", "tokens"] and few.label != enough.label
    # the labels by which statistics of the default model were stored before
    identity, text = default_lm.stored_identity, store.text_hash(texts.general_text(None))
    label = stored_moments(default_lm, [3], None, None)[3].label
    assert label == f"{identity} {text} 15360 {default_lm.leading_bos is None}"
    inputs, outputs = output_moment.stored_pairs(default_lm, [3], None, None)
    assert inputs[3].label == label
    assert outputs[3].label == f"{identity} {text} 5760 {default_lm.leading_bos is None} data"


def test_every_statistic_of_text_follows_the_rule(lm):
    with pytest.warns(EditWarning, match=r"4\.2 tokens of general text for each"):
        C = second_moment.second_moment(lm, [1], tokens=200, damping=0.0)[1].C
    inputs, outputs = output_moment.stored_pairs(lm, [1], None, 120)
    S = outputs[1].tensors()
    assert 0 < S["shrinkage"] < 1 and inputs[1].tensors()["shrinkage"] > 0
    with pytest.warns(EditWarning):
        space = null_space.null_space(lm, [1], None, 0.5, tokens=200)[1]
    assert torch.allclose(C @ space.Q, space.Q @ (space.Q.T @ C @ space.Q), atol=1e-8)
    assert torch.linalg.eigvalsh(C)[24].item() == pytest.approx(space.threshold, rel=1e-6)
    with pytest.warns(EditWarning):  # also when the eigenvectors come from a file
        lm._kept.clear()
        null_space.null_space(lm, [1], None, 0.5, tokens=200)
    with pytest.warns(EditWarning):
        curved = output_moment.curvatures(lm, [1], 0.5, tokens=120)[1]
        A, wanted = shrunk(inputs[1].tensors()), shrunk(S, "S")
    traces = float(A.trace() * wanted.trace())
    assert float(curved.sharpness.sum()) == pytest.approx(traces, rel=1e-5)
    with pytest.warns(EditWarning):
        suspect = key_moments(lm, [1], tokens=201)[1]  # of which it leaves out the first
        own = second_moment.second_moment(lm, [1], tokens=200, damping=0.0, skip_first=True)[1].C
    torch.testing.assert_close(suspect.double(), own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ratio, warned", [(1.2, "1.8"), (3, "1.3"), (4.9, "1.3"), (5, None)])
def test_below_five_tokens_per_dimension_a_warning_says_what_it_costs(ratio, warned):
    held = {"tokens": torch.tensor(round(14_336 * ratio)), "shrinkage": torch.tensor(0.31)}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        second_moment.warn_of_few(held, 14_336)
    assert bool(said) == bool(warned)
    parts = ("14,336 dimensions", f"{ratio:.1f} tokens", "31%", f"{warned} times")
    assert not said or all(part in str(said[0].message) for part in parts)


@pytest.mark.parametrize("width", WIDE.values(), ids=WIDE)
def test_the_shape_of_a_large_model_asks_for_more_text_than_is_shipped(width, default_lm, lm):
    """With a real tokenizer, and a random matrix of the width that is never run."""
    chosen = texts.chosen(default_lm, None, None, width)
    assert chosen.few and chosen.tokens == 10 * width
    shipped = texts.chosen(default_lm, None, 3 * 1536, 1536)
    assert shipped.few and shipped.label == texts.chosen(default_lm, None, None, 1536).label
    assert chosen.label == store.text_hash(texts.own_text(default_lm, 3 * width).label)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "tokenizer", default_lm.tokenizer)
        W = torch.empty(32, width)
        patch.setattr(type(lm), "weight", lambda *_: W)
        wide = stored_moments(lm, [1], None, None)[1]
        assert wide.label.endswith("shrunk") and not wide.is_there()
        # its outputs are 32 wide, for which the shipped text is more than enough
        outputs = output_moment.stored_pairs(lm, [1], None, None)[1]
        assert "shrunk" not in outputs[1].label
    assert texts.chosen(default_lm, ["a", "b"], None, width).label == store.text_hash("a\n\nb")


@pytest.fixture
def short(tmp_path, monkeypatch):
    """The shipped text is too short for the tiny models."""
    path = tmp_path / "short.txt"
    path.write_text("Too short for any width. " * 3, encoding="utf-8")
    monkeypatch.setattr(texts, "GENERAL", path)
    monkeypatch.setattr(texts, "ROWS", 4)
    monkeypatch.setattr(texts, "LENGTH", 32)
    return path


def test_a_model_writes_its_own_text_once_where_the_shipped_one_is_too_short(short):
    lm = tiny.model("llama")
    with pytest.warns(SlowWarning, match=r"writes 144 tokens of general text.*takes about"):
        C = second_moment.second_moment(lm, [1])[1].C
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowWarning)
        again = second_moment.second_moment(lm, [2])[2].C  # of the same text
        own = texts.own_text(lm, 144).tensors()["utf8"]
    text = own.numpy().tobytes().decode()
    assert len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) >= 144
    assert not torch.equal(C, again)
    (kept,) = (store.cache_folder() / "texts").iterdir()
    kept.unlink()
    lm._kept.clear()
    with pytest.warns(SlowWarning):
        assert torch.equal(texts.own_text(lm, 144).tensors()["utf8"], own)
    with pytest.warns(SlowWarning):
        other = texts.own_text(tiny.model("llama", seed=1), 144).tensors()["utf8"]
    assert not torch.equal(own[:144], other[:144]), "it is the text of this model"
    assert texts.chosen(lm, short, None, 48).label == store.text_hash(short.read_text())


def test_a_model_that_writes_nothing_is_asked_for_a_text(short, monkeypatch):
    lm = tiny.model("llama")
    nothing = generation.Generated([[]] * 4, {})
    monkeypatch.setattr(generation, "generate", lambda *_, **__: nothing)
    with pytest.warns(SlowWarning), pytest.raises(EditError, match="wrote only 0 of 144 tokens"):
        second_moment.second_moment(lm, [1])


class Rows:
    """What a `datasets` dataset is to its reader: rows by name, one after another."""

    def __init__(self, column: str = "text") -> None:
        self.column = column

    def __iter__(self):
        yield from ({self.column: text, "id": i} for i, text in enumerate(TEXTS))


TEXTS = ["Ice melts in spring.", "Rivers carry it\naway.", "Überall — auch hier."] * 20


def test_a_text_is_a_file_a_list_or_a_dataset(lm, tmp_path):
    path = tmp_path / "some.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    asked = [path, str(path), TEXTS, tuple(TEXTS), iter(TEXTS), Rows()]
    assert len({stored_moments(lm, [1], text, 400)[1].label for text in asked}) == 1
    wrong = {
        "consist of texts, or of rows with a 'text', not of 3": [3],
        "not of {'sentence'": Rows("sentence"),
        "Give one of them: train, test": {"train": Rows(), "test": Rows()},
        "cannot be read": tmp_path / "none.txt",
    }
    for said, text in wrong.items():
        with pytest.raises(EditError, match=said):
            second_moment.second_moment(lm, [1], text)


def test_a_dataset_without_an_end_is_read_as_far_as_any_model_needs(monkeypatch):
    monkeypatch.setattr(texts, "MOST", 1000)
    endless = iter(lambda: {"text": "and so on"}, None)
    assert 1000 <= len(texts.general_text(endless)) < 1400


@pytest.mark.parametrize("name", ("rome", "crispedit"))
def test_an_editor_keeps_a_list_of_texts_as_a_file(name, lm, tmp_path):
    editor = lib.EDITORS[name](lm, text=Rows(), tokens=480)
    path = tmp_path / "some.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    same = lib.EDITORS[name](lm, text=str(path), tokens=480)
    assert same.config.text == str(path) and editor.config.text != str(path)
    assert set(editor.statistics()) == set(same.statistics())
    again = lib.EDITORS[name](lm, **editor.settings_dict())
    assert again.config == editor.config
    with pytest.raises(EditError, match="text"):
        lib.EDITORS[name](lm, text=5)


def harm(C: torch.Tensor, test: torch.Tensor, K: torch.Tensor) -> float:
    """Mean over keys K (d, n) of ‖û test‖²/(kᵀû)² for û = C⁻¹k: what writing there does to text."""
    U = torch.cholesky_solve(K, torch.linalg.cholesky(C))
    return float(((test @ U).square().mean(0) / (K * U).sum(0).square()).mean())


@pytest.mark.slow
def test_the_shrunk_c_is_as_good_as_the_best_damping_and_never_worse_than_none(default_lm):
    """On the default model, by text that neither C has seen and the keys of subjects."""
    layers = {default_lm.mlp_out(layer): layer for layer in (3, 20)}
    rows = second_moment.cut(default_lm, texts.general_text(None), 17_000)
    X: dict[str, list] = {name: [] for name in layers}
    for group in batching.batches(rows, limit=2048):
        seen = activations.module_inputs(default_lm, [rows[i] for i in group], list(layers))
        for name in layers:
            X[name].append(seen[name])
    facts = [case.fact for case in classroom() if case.id % 2 == 0][:24]
    for name, layer in layers.items():
        keys, K = torch.cat(X[name]), default_lm.keys(facts, layer).double()
        read, held = keys[: 54 * 256], keys[54 * 256 :].double()
        d = keys.shape[1]
        one = torch.eye(d, dtype=torch.float64)

        def damped(C, share, one=one):
            return C + share * C.diagonal().mean() * one

        full = harm(damped(estimate(read)[0], 1e-4), held, K)
        none = harm(one, held, K)
        for ratio in (1.0, 1.2, 1.5, 3.0):
            C, stored = estimate(read[: math.ceil(ratio * d)])
            with pytest.warns(EditWarning):
                ours = harm(damped(shrunk(stored), 1e-4), held, K)
            best = min(harm(damped(C, share), held, K) for share in (1e-4, 0.01, 0.1, 0.3, 1, 3))
            assert ours <= 1.05 * best and ours < none, (layer, ratio)
            assert ours <= full * next(cost for least, cost in COSTS.items() if ratio >= least)
            assert ratio < 3 or ours <= 1.2 * full
