"""Edges of a bare embedding: by the slow way, and what is left out."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.interpret.static_edges import PER_LAYER, static_edges

from ..support import tiny

ENTITY = "Rome and Oslo"


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_edges_are_the_features_along_the_mean_embedding(default_lm):
    lm = default_lm
    found = static_edges(lm, f" {ENTITY} ", most=10)
    ids = lm.tokenizer(ENTITY)["input_ids"]
    query = torch.stack([lm.model.get_input_embeddings().weight[i] for i in ids]).mean(0)
    gates = [edge.gate for edge in found]
    assert gates == sorted(gates, reverse=True) and 0 < len(found) <= 10
    for edge in found:
        gate = lm.weight(lm.arch.mlp_in[0].format(edge.layer)) @ query
        assert gate[edge.feature].item() == pytest.approx(edge.gate, rel=1e-4)
        assert (gate > edge.gate + 1e-4).sum() < PER_LAYER
        column = lm.weight(lm.mlp_out(edge.layer))[:, edge.feature]
        token = lm.tokenizer.decode([lm.head(column).argmax().item()]).strip()
        assert token == edge.token and token.casefold() not in ENTITY.casefold()
        assert sum(c.isalpha() for c in token) >= 2
    names = [edge.token.casefold() for edge in found]
    assert len(set(names)) == len(names)
    assert found == static_edges(lm, ENTITY, most=100)[:10], "the first of a longer list"


def test_the_model_is_not_run_and_not_changed(lm, monkeypatch):
    monkeypatch.setattr(lm.model, "forward", None)
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    static_edges(lm, ENTITY)
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())


def test_what_cannot_be_read_is_refused_in_a_sentence(lm):
    with pytest.raises(lib.FactError, match="the entity is empty"):
        static_edges(lm, " ")
    with pytest.raises(lib.FactError, match="the entity is 3"):
        static_edges(lm, 3)
    for family in ("gpt2", "phi3"):
        with pytest.raises(lib.FamilyError, match="has no gates of their own"):
            static_edges(tiny.model(family), ENTITY)
