"""CrispEdit: what is trained stays in the flat directions, and the published form is the code's."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.keys_values.output_moment import curvatures

from ..support import tiny
from ..support.editor_settings import TINY, A, B
from ..support.output_moments import moments

SETTINGS = {**TINY["crispedit"], "epochs": 30}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, **more):
    return lib.EDITORS["crispedit"](lm, **{**SETTINGS, **more})


def changes(lm, patch):
    """{module: Δ} in float64."""
    return {
        name: value.double() - lm.weight(name).double() for name, value in patch.weights.items()
    }


def outside(lm, patch, **more):
    """The share of each change's length outside the flat directions of its layer."""
    config = editor(lm, **more).config
    flat = curvatures(lm, config.layers, config.energy, None, config.tokens)
    found = changes(lm, patch)
    return [
        float((one.project(found[lm.mlp_out(layer)]) - found[lm.mlp_out(layer)]).norm())
        / float(found[lm.mlp_out(layer)].norm())
        for layer, one in flat.items()
    ]


@pytest.mark.parametrize("energy", [0.2, 0.9])
def test_basis_stays_inside_and_grad_does_not(lm, energy):
    patch = editor(lm, energy=energy).edit([A])
    assert len(patch.weights) == 2 and max(outside(lm, patch, energy=energy)) < 1e-5
    published = editor(lm, project="grad", energy=energy).edit([A])
    assert min(outside(lm, published, energy=energy)) > 0.1


def by_the_code(lm, project, facts, layers, energy, tokens, lr, epochs):
    """The steps with explicit matrices: "grad" is the published one.

    The whole model runs, batch after batch, as any training loop would write it. Answers are one
    token long, for which all means over answer tokens agree.
    """
    rows = [lm.rows([fact.text])[0][0] for fact in facts]
    wanted = [lm.tokenizer(f" {fact.target_new}")["input_ids"] for fact in facts]
    assert {len(target) for target in wanted} == {1}
    projectors, weights, vector = {}, {}, {}
    for layer, (inputs, outputs) in moments(lm, layers, None, tokens).items():
        a, Ua = torch.linalg.eigh(inputs)
        s, Us = torch.linalg.eigh(outputs)
        E = torch.kron(a.clamp(min=0), s.clamp(min=0))  # the same order as the eigenvectors below
        steep = E.sort(descending=True).values
        r = int((steep.cumsum(0) < energy * steep.sum()).sum()) + 1
        keep = (E < steep[r - 1]).double()
        vectors = torch.kron(Ua, Us)
        projectors[layer] = (vectors * keep) @ vectors.T
        weights[layer] = lm.weight(lm.mlp_out(layer)).clone().requires_grad_()
        vector[layer] = vectors * keep  # columns of the flat directions, the others zero
    start = {layer: W.detach().clone() for layer, W in weights.items()}
    moved = weights
    if project == "basis":
        moved = {layer: torch.zeros(len(v)) for layer, v in vector.items()}
    adam = torch.optim.Adam(list(moved.values()), lr=lr)
    for _ in range(epochs):
        loss = torch.zeros(())
        with lm.bind({lm.mlp_out(layer): W for layer, W in weights.items()}):
            for row, target in zip(rows, wanted, strict=True):
                with torch.enable_grad():
                    logits = lm.model(torch.tensor([row])).logits[0, -1]
                    loss = loss - logits.log_softmax(-1)[target[0]] / len(rows)
            if loss.item() < 1e-2:
                break
            for layer, W in weights.items():
                (G,) = torch.autograd.grad(loss, W, retain_graph=True)
                whole = G.double().T.flatten()  # columns below each other
                flat = projectors[layer] @ whole
                if project == "basis":
                    moved[layer].grad = (vector[layer].T @ whole).float()
                else:
                    W.grad = flat.view(G.shape[::-1]).T.float()
        adam.step()
        for layer, W in weights.items() if project == "basis" else ():
            flat = vector[layer] @ moved[layer].double()
            with torch.no_grad():
                W.copy_(start[layer] + flat.view(W.shape[::-1]).T.float())
    return {lm.mlp_out(layer): W.detach() for layer, W in weights.items()}


@pytest.mark.parametrize("project", ["grad", "basis"])
def test_every_form_is_its_own_steps_and_the_published_one_the_code_s(lm, project):
    given = {"layers": (1, 2), "energy": 0.9, "tokens": 600, "lr": 5e-3, "epochs": 6}
    patch = editor(lm, project=project, **given).edit([A, B])
    wanted = by_the_code(lm, project, [A, B], **given)
    assert patch.weights.keys() == wanted.keys()
    for name, value in patch.weights.items():
        moved = (wanted[name] - lm.weight(name)).norm()
        assert moved > 0.05 and (value - wanted[name]).norm() < 1e-3 * moved


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": (2, 1)}, "Layers should ascend"),
        ({"layers": ()}, "layers should be a list of one layer or more"),
        ({"layers": (1, 99)}, "layer 99 does not exist"),
        ({"energy": 1.5}, "energy should be a number from 0 to 1"),
        ({"energy": 1.0, "tokens": 5000}, "With energy=1.0, layer 1 has no direction left"),
        ({"project": "update"}, "project should be grad or basis, not 'update'"),
        ({"sequential": True}, "no setting 'sequential'"),
    ],
)
def test_what_cannot_be_is_one_sentence(lm, wrong, said):
    with pytest.raises(ValueError, match=said):
        editor(lm, **wrong).edit([A])
    assert not lm.is_patched
