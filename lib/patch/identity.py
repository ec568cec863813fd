"""Which model a patch belongs to: its weights and the token prepended to every text.

An identity is one line of text, "NAME FINGERPRINT" or "NAME behind TOKEN FINGERPRINT". The name is
what a folder or a hub calls the model. It stands in messages and decides nothing.
"""

from __future__ import annotations

BEHIND = " behind "  # stands in a model's name between its weights' and the prepended token


def parted(name: str) -> tuple[str, str | None]:
    """A model's name without the prepended token, and this token, None without one.

    parted("gpt2 behind </s>") -> ("gpt2", "</s>")
    """
    plain, _, sink = name.partition(BEHIND)
    return plain, sink or None


def same_model(one: str, other: str) -> bool:
    """Whether two identities are of the same weights with the same prepended token.

    same_model("gpt2 0123", "/models/copy 0123") -> True
    """
    names, weights = zip(*(text.rpartition(" ")[::2] for text in (one, other)), strict=True)
    return weights[0] == weights[1] and parted(names[0])[1] == parted(names[1])[1]
