"""The keys of an entity, layer by layer, beside those of other entities.

A key is what the MLP's output projection reads at the entity's last token. Editors write there, so
keys say on whom an edit of the entity would land, whose edits it would suffer from, and which
entities are most like it. Each number stands beside what it is for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..data.facts import encode_prompt, fill
from ..data.relations import bare, relations
from ..keys_values.second_moment import second_moment
from ..keys_values.stretch import filter_of, robust_z
from ..model import activations
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .superposition import Superposition

CONTEXTS = (  # neutral, and none begins with the entity: position 0 is the attention sink
    "About {}", "I was told about {}", "We talked about {}", "It is known that {}",
)  # fmt: skip
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the layers that are looked at
ENTITIES = 200  # others whose keys are compared, at most
SHOWN = 5  # entities that are listed


@dataclass(frozen=True)
class Key:
    """The key of an entity in one layer, beside the keys of other entities.

    layer        the layer.
    length       ‖k‖.
    length_part  share of the others whose key is shorter.
    q            kᵀC⁻¹k; its mean over general text is d_in.
    q_part       share of the others with a smaller q.
    lands        (other, ρ) for the five on whom most of an edit of this entity would land.
    suffers      (other, ρ) for the five whose edit would land most on this entity.
    usual        the largest |ρ| of a typical other entity: the median over the others.
    z            how far the layer's weights stretch this key's direction, in robust standard
                 deviations from the median of all: large where they were edited at this entity.
    z_most       the largest z of the others.
    others       how many others there are.
    """

    layer: int
    length: float
    length_part: float
    q: float
    q_part: float
    lands: tuple[tuple[str, float], ...]
    suffers: tuple[tuple[str, float], ...]
    usual: float
    z: float
    z_most: float
    others: int


@dataclass(frozen=True)
class Neighbors:
    """The entities whose keys are most like this one's, as cosines in the metric of C⁻¹.

    layer    the layer.
    nearest  (other, cosine), the five most alike.
    usual    cosine of a typical other entity with its own nearest one: the median over the others.
    part     share of the others whose nearest one is less alike.
    others   how many others there are.
    """

    layer: int
    nearest: tuple[tuple[str, float], ...]
    usual: float
    part: float
    others: int


def layers_to_see(lm: LM, patch: Patch = EMPTY) -> list[int]:
    """Five layers spread over the model, and at most three that a patch changes."""
    changed = [layer for layer in range(lm.n_layers) if lm.mlp_out(layer) in patch.weights]
    return sorted({int(depth * lm.n_layers) for depth in DEPTHS} | set(changed[:3]))


def other_entities(entity: str, most: int) -> list[str]:
    """Subjects of the classroom that are not this entity, evenly spread over its relations."""
    known = [subject for relation in relations().values() for subject, _ in relation.answers]
    free = list({bare(name): name for name in known if bare(name) != bare(entity)}.values())
    step = max(1, len(free) // most)
    return free[::step][:most]


def keys_and_neighbors(
    lm: LM, entity: str, patch: Patch = EMPTY, layers: Sequence[int] | None = None
) -> tuple[tuple[Key, ...], tuple[Neighbors, ...]]:
    """The entity's keys in some layers, and whose keys are like it, beside 200 other entities.

    layers  None takes `layers_to_see`

    Keys and weights are those of the model under the patch, keys behind "About …"; C is the
    unedited model's.
    """
    where = layers_to_see(lm, patch) if layers is None else list(layers)
    others = other_entities(entity, ENTITIES)
    K = read_keys(lm, [entity.strip(), *others], CONTEXTS[:1], where, patch)
    found, near = [], []
    for layer in where:
        C = second_moment(lm, [layer], among=where)[layer]
        overlaps = Superposition.of(K[layer][:, 0].T, C, ["", *others], layer)
        rho, cosines = overlaps.rho.clone(), overlaps.cosines.clone()
        rho.fill_diagonal_(0)
        cosines.fill_diagonal_(-1)
        lengths, largest = overlaps.Q.diagonal().sqrt(), rho.abs().max(1).values
        alike = cosines.max(1).values
        W = lm.weight(lm.mlp_out(layer), patch)
        z = robust_z(filter_of(W, C.C).norms(K[layer][:, 0]))
        found.append(
            Key(
                layer,
                lengths[0].item(),
                part_below(lengths),
                overlaps.q[0].item(),
                part_below(overlaps.q),
                _top(rho[0], overlaps.subjects),
                _top(rho[:, 0], overlaps.subjects),
                largest[1:].median().item(),
                z[0].item(),
                z[1:].max().item(),
                len(others),
            )
        )
        top = _top(cosines[0], overlaps.subjects, signed=True)
        near.append(
            Neighbors(layer, top, alike[1:].median().item(), part_below(alike), len(others))
        )
    return tuple(found), tuple(near)


def read_keys(
    lm: LM, names: Sequence[str], contexts: Sequence[str], layers: Sequence[int], patch: Patch
) -> dict[int, Tensor]:
    """{layer: keys (names, contexts, d_in)} at the last token of each name, float32 on the CPU."""
    rows = [
        encode_prompt(lm.tokenizer, fill(context, name)) for name in names for context in contexts
    ]
    modules = {lm.mlp_out(layer): layer for layer in layers}
    with lm.patched(patch, only=True):
        found = activations.module_inputs_at(lm, rows, [len(r) - 1 for r in rows], list(modules))
    return {
        modules[name]: K.float().cpu().reshape(len(names), len(contexts), -1)
        for name, K in found.items()
    }


def part_below(values: Tensor) -> float:
    """The share of the values behind the first that are smaller than it."""
    return (values[1:] < values[0]).double().mean().item()


def _top(
    values: Tensor, names: Sequence[str], signed: bool = False
) -> tuple[tuple[str, float], ...]:
    """The five largest values but that of the first name, with their names.

    signed  by value; otherwise by size
    """
    order = (values if signed else values.abs())[1:].argsort(descending=True)[:SHOWN].tolist()
    return tuple((names[i + 1], values[i + 1].item()) for i in order)
