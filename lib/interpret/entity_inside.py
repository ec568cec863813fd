"""What the layers do with an entity: the parts of a dossier that look inside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..data.relations import Relation, relations
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .entity_effects import Effect, effects
from .entity_features import ASKED, TOP, Feature, Features, features, measured
from .entity_keys import Key, Neighbors, keys_and_neighbors


@dataclass(frozen=True)
class Inside:
    """Keys, features and neighbors of an entity layer by layer, and how its answers are recalled.

    keys       one per layer.
    features   one per layer.
    neighbors  one per layer.
    relations  names of the relations whose lift `Feature.change` is about; empty where none is
               answered consistently, and then nothing was set to zero.
    chance     the largest |change| of as many features drawn at random in the same layers.
    effects    one per relation of `relations`: through which layers its answer is recalled.
    """

    keys: tuple[Key, ...]
    features: tuple[Features, ...]
    neighbors: tuple[Neighbors, ...]
    relations: tuple[str, ...] = ()
    chance: float | None = None
    effects: tuple[Effect, ...] = ()

    def __str__(self) -> str:
        rows = []
        rows += [_recalled(effect) for effect in self.effects]
        for key in self.keys:
            rows += [
                f"  key, layer {key.layer}: ‖k‖ {key.length:.2f} (longer than "
                f"{_percent(key.length_part)} of {key.others} others), q {key.q:.0f} (larger than "
                f"{_percent(key.q_part)})",
                f"    an edit of it lands on: {_pairs(key.lands)}",
                f"    it suffers from edits of: {_pairs(key.suffers)}; the largest of a typical "
                f"other is {key.usual:.2f}",
                f"    the weights stretch its direction by z {key.z:.1f} (the others at most "
                f"{key.z_most:.1f})",
            ]
        for one in self.neighbors:
            rows.append(
                f"  nearest, layer {one.layer}: {_pairs(one.nearest)}; of a typical other "
                f"{one.usual:.2f} ({_percent(one.part)} are less alike)"
            )
        for layer in self.features:
            rows.append(
                f"  features, layer {layer.layer}: the largest {TOP} make "
                f"{_percent(layer.share)} of ‖W k‖² (typical {_percent(layer.usual)}; more than "
                f"{_percent(layer.part)} of {layer.others} others); {layer.dropped} left out that "
                "most others open"
            )
            rows += [f"    {_feature(one, self.chance)}" for one in layer.top]
        rows.append(
            f"  Set to zero: change of the lift of {', '.join(self.relations)}."
            if self.relations
            else "  No relation is answered consistently, so no feature was set to zero."
        )
        return "\n".join(rows)


def inside(
    lm: LM,
    entity: str,
    patch: Patch = EMPTY,
    consistent: Sequence[str] = (),
    among: Mapping[str, Relation] | None = None,
    layers: Sequence[int] | None = None,
) -> Inside:
    """All parts of a dossier that look inside: keys, features, neighbors, and causal traces.

    consistent  names of the relations that are answered consistently about the entity
    among       relations by their names; None takes the classroom's
    layers      None takes `layers_to_see`
    """
    known = relations() if among is None else among
    asked = [known[name] for name in consistent if name in known][:ASKED]
    keys, near = keys_and_neighbors(lm, entity, patch, layers)
    found, chance = measured(lm, entity, features(lm, entity, patch, layers), asked, patch)
    names = tuple(one.name for one in asked)
    return Inside(keys, found, near, names, chance, effects(lm, entity, asked, patch))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _pairs(pairs: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in pairs)


def _feature(one: Feature, chance: float | None) -> str:
    """A feature on one line."""
    said = f"{one.number}: {one.size:.2f}, larger than for {_percent(one.part)}; "
    said += f"up: {' '.join(one.up)}; down: {' '.join(one.down)}"
    if one.change is not None and chance is not None:
        said += f"; set to zero: {one.change:+.3f} nats (at random: at most {chance:.3f})"
    return said


def _recalled(one: Effect) -> str:
    """An effect on one line."""
    usual = "no other was traced"
    if one.usual is not None:
        usual = f"of {one.others} others' answers at most {one.usual:.3f}, the median"
    return (
        f"  recalled, {one.relation}: p of {one.answer.strip()!r} is {one.p_clean:.3f}, with noise "
        f"on the entity {one.p_noisy:.3f}; its MLPs around layer {one.layer} bring back "
        f"{one.effect:.3f} ({one.low:.3f} to {one.high:.3f} over three noises; {usual})"
    )
