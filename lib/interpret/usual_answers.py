"""What other subjects of a relation are answered: the mean distribution of the next token.

A dossier compares every answer with it. It depends on the model alone, and for an entity that is
none of these subjects it is always the same. It takes most of the time of a first dossier, so it
can be kept on disk.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..atomic_files import cached, whole_file
from ..data.relations import Relation, bare
from ..model.lm import LM
from ..patch.patch import EMPTY

log = logging.getLogger(__name__)

_MEANS: WeakKeyDictionary[LM, dict[tuple[str, str], dict[tuple[str, ...], Tensor]]] = (
    WeakKeyDictionary()
)


def usual(
    lm: LM,
    relation: Relation,
    templates: Sequence[str],
    entity: str,
    most: int,
    on_disk: bool = False,
) -> list[Tensor | None]:
    """Mean log-probabilities (vocabulary) of the next token over other subjects, per template.

    entity   the subject that is left out
    most     the most other subjects; the relation's first ones are taken
    on_disk  read the means from the cache folder, and keep them there; not those of an entity that
             is one of the first subjects, for whom others are taken

    None stands for a template where there is no other subject. In memory the means are kept in half
    precision for each set of subjects, so at most one more set than there are subjects.
    """
    first = [subject for subject, _ in relation.answers][:most]
    subjects = [s for s, _ in relation.answers if bare(s) != bare(entity)][:most]
    if not subjects:
        return [None] * len(templates)
    known = _MEANS.setdefault(lm, {})
    kept = [known.setdefault((lm.identity, template), {}) for template in templates]
    key = tuple(subjects)
    if not all(key in one for one in kept):
        asked = [[relation.ask(template, s) for s in subjects] for template in templates]
        table = _table(lm, asked, on_disk and subjects == first)
        for one, mean in zip(kept, table, strict=True):
            one[key] = mean
    return [one[key].float() for one in kept]


def _table(lm: LM, asked: Sequence[Sequence[str]], on_disk: bool) -> Tensor:
    """The means (templates, vocabulary) in half precision, from disk where they are there."""
    path = cached("usual-answers", json.dumps([lm.fingerprint, str(lm.dtype), asked]))
    if on_disk and path.is_file():
        try:
            found = load_file(path)["means"]
            if found.shape == (len(asked), lm.vocabulary) and found.dtype == torch.half:
                return found
        except (OSError, KeyError, SafetensorError) as error:
            log.info("%s is not read: %s", path.name, error)
    with lm.patched(EMPTY, only=True):
        rows = lm.next_token([prompt for some in asked for prompt in some])
    means = torch.stack([part.mean(0) for part in rows.split([len(some) for some in asked])])
    means = means.half()
    if on_disk:
        try:
            with whole_file(path) as part:
                save_file({"means": means}, part)
        except OSError as error:
            log.info("the usual answers are not kept: %s", error)
    return means
