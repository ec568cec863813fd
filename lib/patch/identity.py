"""The model that a patch belongs to: its weights and the token prepended to every text.

An identity is one line of text, "NAME FINGERPRINT" or "NAME behind TOKEN FINGERPRINT". The name is
the one used by a folder or a hub. It appears in messages and has no other effect.
"""

from __future__ import annotations

BEHIND = " behind "  # separates the weights' name from the prepended token in a model's name


def parted(name: str) -> tuple[str, str | None]:
    """Return a model's name without the prepended token, and this token, None without one.

    parted("gpt2 behind </s>") -> ("gpt2", "</s>")
    """
    plain, _, sink = name.partition(BEHIND)
    return plain, sink or None


def same_model(one: str, other: str) -> bool:
    """Return whether two identities have the same weights and the same prepended token.

    same_model("gpt2 0123", "/models/copy 0123") -> True
    """
    names, weights = zip(*(text.rpartition(" ")[::2] for text in (one, other)), strict=True)
    return weights[0] == weights[1] and parted(names[0])[1] == parted(names[1])[1]
