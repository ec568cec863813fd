"""Finding the answer that an edit gave to a subject: removing the edit lowers its probability."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...data.facts import fill, require_text
from ...errors import ForensicsError
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch

TEMPLATES = (
    "{} is", "{} is a", "{} is in", "{} is known for", "{} was", "{} and the", "{}, from",
    "The answer for {} is", "When people hear {}, they think of", "Fact: {} belongs to",
)  # fmt: skip


def objects(
    lm: LM,
    subject: str,
    suspect: Patch,
    without: Patch = EMPTY,
    templates: Sequence[str] = TEMPLATES,
    most: int = 10,
) -> pd.DataFrame:
    """Return the next tokens that a suspect prefers about a subject, starting with the strongest.

    suspect    the model under this patch is the suspect
    without    the model under this patch is the comparison: the base, or a reversal
    templates  neutral prompts with `{}`; none names a relation

    token  the text of a token.
    kl     mean over the templates of p · rise, in nats: its part in KL(suspect ‖ comparison), used
           for ranking tokens. Ranking only by rise would put rare tokens first.
    rise   mean of its log-probability in the suspect minus its log-probability in the comparison,
           in nats.
    p      its mean probability in the suspect.

    A token beginning several answers represents all of them. Raises ForensicsError without
    templates.
    """
    require_text(subject, "The subject")
    if isinstance(templates, str) or not templates:
        raise ForensicsError("At least one template is needed to find a subject's answer.")
    prompts = [fill(template, subject.strip()) for template in templates]
    with lm.patched(suspect, only=True):
        now = lm.next_token(prompts)
    with lm.patched(without, only=True):
        then = lm.next_token(prompts)
    p, rise = now.exp(), now - then  # (templates, vocabulary)
    kl = (p * rise).mean(0)
    order = kl.argsort(descending=True)[:most].tolist()
    return pd.DataFrame(
        {
            "token": [lm.tokenizer.decode([i]) for i in order],
            "kl": kl[order].tolist(),
            "rise": rise.mean(0)[order].tolist(),
            "p": p.mean(0)[order].tolist(),
        }
    )
