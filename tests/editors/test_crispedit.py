"""CrispEdit: what is trained stays in the flat directions, and the published form is the code's."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.keys_values.curvature import curvature
from lib.keys_values.output_moment import curvatures, moments
from lib.keys_values.second_moment import general_text, windows

from ..support import tiny
from ..support.editor_settings import TINY, A, B

SETTINGS = {**TINY["crispedit"], "sequential": False, "epochs": 30}


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
def test_basis_and_update_stay_inside_and_grad_does_not(lm, energy):
    for project in ("basis", "update"):
        patch = editor(lm, project=project, energy=energy).edit([A])
        assert max(outside(lm, patch, energy=energy)) < 1e-5, project
        assert len(patch.weights) == 2
    assert (
        min(outside(lm, editor(lm, project="grad", energy=energy).edit([A]), energy=energy)) > 0.1
    )


def by_the_code(lm, project, facts, layers, energy, tokens, lr, epochs):
    """The steps with explicit matrices: "grad" is the published one.

    The whole model runs, batch after batch, as any training loop would write it. Answers are one
    token long, for which all means over answer tokens agree.
    """
    rows = [lm.rows([fact.text])[0][0] for fact in facts]
    wanted = [lm.tokenizer(f" {fact.target_new}")["input_ids"] for fact in facts]
    assert {len(target) for target in wanted} == {1}
    projectors, weights, vector = {}, {}, {}
    for layer, found in moments(lm, layers, None, tokens).items():
        a, Ua = torch.linalg.eigh(found.A)
        s, Us = torch.linalg.eigh(found.S)
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
                    W.grad = flat.view(G.shape[::-1]).T.float() if project == "grad" else G
        adam.step()
        for layer, W in weights.items() if project != "grad" else ():
            now = W.detach() - start[layer]
            if project == "basis":
                flat = vector[layer] @ moved[layer].double()
            else:
                flat = projectors[layer] @ now.double().T.flatten()
            with torch.no_grad():
                W.copy_(start[layer] + flat.view(now.shape[::-1]).T.float())
    return {lm.mlp_out(layer): W.detach() for layer, W in weights.items()}


@pytest.mark.parametrize("project", ["grad", "update", "basis"])
def test_every_form_is_its_own_steps_and_the_published_one_the_code_s(lm, project):
    given = {"layers": (1, 2), "energy": 0.9, "tokens": 600, "lr": 5e-3, "epochs": 6}
    patch = editor(lm, project=project, **given).edit([A, B])
    wanted = by_the_code(lm, project, [A, B], **given)
    assert patch.weights.keys() == wanted.keys()
    for name, value in patch.weights.items():
        moved = (wanted[name] - lm.weight(name)).norm()
        assert moved > 0.05 and (value - wanted[name]).norm() < 1e-3 * moved


def test_facts_written_before_bend_the_curvature_of_later_ones(lm, tmp_path):
    c = {"sequential": True, "energy": 0.9}
    once = editor(lm, **c).edit([A])
    kept = once.memory["crispedit"]
    assert kept["count"] == 1 and set(kept["keys"]) == set(kept["grads"]) == {"1", "2"}
    # the first call has seen no fact: it is that of the text alone
    alone = editor(lm, energy=0.9).edit([A])
    assert all(torch.equal(once.weights[name], W) for name, W in alone.weights.items())
    assert "crispedit" not in alone.memory
    # key and gradient are those at the answer, on the edited model
    name = lm.mlp_out(1)
    with lm.patched(once):
        row = lm.rows([A.text])[0][0]
        key = lm.run([row], watch=[name]).seen[name][0][0, -1]
    torch.testing.assert_close(kept["keys"]["1"][:, 0], key, atol=1e-5, rtol=1e-4)
    # the second call forbids what the first has used
    later = editor(lm, **c)
    found = later.curvatures(kept)[1]
    text = moments(lm, [1], None, 600)[1]
    mixed = text.merged(kept["keys"]["1"], kept["grads"]["1"], 1, None)
    wanted = curvature(mixed.A, mixed.S, 0.9)
    assert torch.equal(found.flat, wanted.flat)
    assert not torch.equal(found.flat, later.curvatures({})[1].flat)
    again = lib.Patch.load(once.save(tmp_path / "one.safetensors"))
    both = later.edit([B], after=again)
    assert both.memory["crispedit"]["count"] == 2
    assert both.memory["crispedit"]["keys"]["2"].shape[1] == 2
    weightless = editor(lm, **c, edit_weight=0.0).curvatures(kept)[1]
    assert torch.equal(weightless.flat, later.curvatures({})[1].flat)


def test_mixed_facts_are_read_anew_on_the_edited_model(lm, tmp_path):
    c = {"sequential": True, "mix": True, "energy": 0.9}
    once = editor(lm, **c).edit([A])
    plain = editor(lm, sequential=True, energy=0.9).edit([A])
    for side in ("keys", "grads"):  # with one call there is nothing to read anew
        for layer, held in plain.memory["crispedit"][side].items():
            torch.testing.assert_close(once.memory["crispedit"][side][layer], held)
    again = lib.Patch.load(once.save(tmp_path / "one.safetensors"))
    both = editor(lm, **c).edit([B], after=again)
    kept, name = both.memory["crispedit"], lm.mlp_out(2)
    assert kept["count"] == kept["keys"]["2"].shape[1] == 2
    with lm.patched(both):  # the first fact's key is that of the model as it is now
        key = lm.run([lm.rows([A.text])[0][0]], watch=[name]).seen[name][0][0, -1]
    torch.testing.assert_close(kept["keys"]["2"][:, 0], key, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(kept["keys"]["2"][:, 0], once.memory["crispedit"]["keys"]["2"][:, 0])
    with pytest.raises(lib.EditError, match="mix needs the facts of earlier calls"):
        editor(lm, **c).edit([B], after=plain)


def test_the_text_is_read_anew_once_a_matrix_has_moved_far(lm):
    c = {"energy": 0.9, "recalculate": 0.05}
    once = editor(lm, energy=0.9).edit([A])
    assert all(
        torch.equal(editor(lm, **c).edit([A]).weights[name], W) for name, W in once.weights.items()
    ), "a first call has moved nothing yet"
    name = lm.mlp_out(1)
    share = float(changes(lm, once)[name].norm() / lm.weight(name).norm())
    assert share > 0.05
    before = editor(lm, **c).curvatures({})[1]
    stays = editor(lm, energy=0.9, recalculate=100.0)
    assert torch.equal(stays.curvatures({}, once)[1].flat, before.flat)
    found = editor(lm, **c).curvatures({}, once)[1]
    assert not torch.equal(found.flat, before.flat)
    with lm.patched(once):  # both moments are those of the model as it is edited
        rows = windows(lm, general_text(None), 600)
        K = torch.cat([k[0, 1:] for k in (lm.run([r], watch=[name]).seen[name][0] for r in rows)])
    read = moments(lm, [1], None, 600, patch=once)[1]
    torch.testing.assert_close(read.A, (K.double().T @ K.double()) / len(K), rtol=1e-4, atol=1e-6)
    plain = moments(lm, [1], None, 600, patch=lib.EMPTY)[1]
    kept = moments(lm, [1], None, 600)[1]
    for a, b in zip(plain, kept, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-5, atol=1e-8)
    text = curvature(read.A, read.S, 0.9)
    assert torch.equal(found.flat, text.flat)
    second = editor(lm, **c).edit([B], after=once)
    assert not torch.equal(second.weights[name], stays.edit([B], after=once).weights[name])


def test_a_heavier_past_is_disturbed_less(lm):
    """Half of the weight on one earlier fact: the next fact's change costs it less."""
    once = editor(lm, sequential=True).edit([A])
    kept = once.memory["crispedit"]
    costs = []
    for weight in (0.0, 600.0):
        both = editor(lm, sequential=True, edit_weight=weight, epochs=10).edit([B], after=once)
        total = 0.0
        for layer in (1, 2):
            name = lm.mlp_out(layer)
            delta = (both.weights[name] - once.weights[name]).double()
            K, G = (kept[side][str(layer)].double() for side in ("keys", "grads"))
            total += float((G.T @ delta @ K).square().sum() / delta.square().sum())
        costs.append(total)
    assert costs[1] < 0.5 * costs[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": (2, 1)}, "layers must ascend"),
        ({"layers": ()}, "layers is empty"),
        ({"layers": (1, 99)}, "layer 99 does not exist"),
        ({"energy": 1.5}, "energy is at most 1"),
        ({"energy": 1.0, "tokens": 5000}, "energy=1.0 leaves no direction of layer 1 to move in"),
        ({"edit_weight": -1.0}, "edit_weight is at least 0"),
        ({"recalculate": -1.0}, "recalculate is at least 0"),
        ({"project": "both"}, "project is grad or update or basis, not 'both'"),
    ],
)
def test_what_cannot_be_is_one_sentence(lm, wrong, said):
    with pytest.raises(ValueError, match=said):
        editor(lm, **wrong).edit([A])
    assert not lm.is_patched and not lm.owner.held
