"""The roles that editors have on the page, besides being listed."""

from __future__ import annotations

# opening   on the first screen
# guessed   used for the edits that visitors guess
# warm      writes the opening example in the background
# race      can be chosen in the stress test; `ticked`: selected by default; `baseline`: always runs
ROLES: dict[str, tuple[str, ...]] = {
    "rome": ("opening", "guessed", "warm", "race"),
    "memit": ("guessed", "race"),
    "emmet": ("guessed",),
    "alphaedit": ("guessed",),
    "pmet": ("guessed",),
    "rect": ("guessed",),
    "ultraedit": ("guessed", "warm", "race", "ticked"),
    "ft": ("guessed", "baseline"),
    "ft_m": ("opening", "guessed"),
    "lora": ("guessed",),
    "retrieval": ("baseline",),
    "grace": ("opening", "warm", "race", "ticked"),
    "wise": ("warm",),
    # only listed
    "wilke": (),
    "norm_anchor": (),
    "prune": (),
    "mend": (),
    "malmen": (),
    "rledit": (),
    "ft_l": (),
    "crispedit": (),
    "sdf": (),
    "horen": (),
    "lemoe": (),
    "memoir": (),
    "steer": (),
}


def used(role: str) -> tuple[str, ...]:
    """Return the editors that have this role."""
    return tuple(name for name, roles in ROLES.items() if role in roles)


# A family, the idea its editors share, and its editors. For each recommended editor, its strength
# as in README's table.
FAMILIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Locate and write",
        "Find the layer that stores it, change its matrix.",
        ("rome", "memit", "alphaedit", "wilke", "norm_anchor", "emmet", "pmet", "rect", "prune"),
    ),
    (
        "Learn to edit",
        "Turn one gradient into the edit.",
        ("ultraedit", "mend", "malmen", "rledit"),
    ),
    (
        "Outside the weights",
        "Keep the fact outside, decide per prompt.",
        ("grace", "wise", "horen", "memoir", "lemoe", "steer"),
    ),
    (
        "Fine-tune",
        "Train on the new answer.",
        ("ft_m", "ft", "ft_l", "crispedit", "lora", "sdf"),
    ),
    ("Retrieve", "Put the fact before the prompt.", ("retrieval",)),
)
RECOMMENDED = {
    "rome": "one fact",
    "memit": "many facts",
    "alphaedit": "neighbors stay",
    "ultraedit": "many facts, fast",
    "grace": "seldom moves others",
    "wise": "a second memory",
    "ft_m": "the plain baseline",
    "ft": "rewordings follow",
    "retrieval": "the bar to beat",
}
CHIPS = {  # on the first screen: a name that needs no explanation, and a few words about the editor
    "rome": ("ROME", "writes into one layer"),
    "ft_m": ("Fine-tuning", "trains on the new answer"),
    "grace": ("GRACE", "keeps a note beside the model"),
}
ABOUT = {
    "rome": "One fact: a rank-one change of one layer's matrix.",
    "memit": "Many facts: one least-squares update, spread over several layers.",
    "wilke": "ROME in the layer where the fact needs the smallest update.",
    "norm_anchor": "MEMIT with target vectors that keep their original length.",
    "emmet": "MEMIT fitting the new facts exactly instead of by least squares.",
    "alphaedit": "MEMIT with updates restricted to directions that general text rarely uses.",
    "pmet": "MEMIT writing only the MLP's part of the change, without attention's.",
    "rect": "Keeps only the relatively large entries of another editor's update.",
    "prune": "Shrinks the largest singular values of another editor's update.",
    "ultraedit": "Standardized gradients and one ridge regression, without training.",
    "mend": "A trained network turns one gradient into an edit.",
    "malmen": "MEND for many facts; a regression combines the updates.",
    "rledit": "MALMEN's network, trained on long sequences of edits.",
    "grace": "A list of keys; prompts within a key's radius get its value.",
    "wise": "A second matrix for prompts whose activations it changes beyond a threshold.",
    "horen": "A list like GRACE's, looked up by the prompt's mean direction.",
    "memoir": "A second matrix; each prompt uses a few of its columns.",
    "lemoe": "One expert per batch; stored vectors select the expert that answers.",
    "steer": "One direction added for every prompt. It stores no facts; use it for comparison.",
    "ft_m": "Fine-tuning on the answer's tokens, in one layer.",
    "ft": "Fine-tuning over all facts in shuffled order, in one late layer.",
    "ft_l": "Fine-tuning with a bound on how far each weight can move.",
    "crispedit": "Fine-tuning along directions that barely change the loss on general text.",
    "lora": "Low-rank adapters trained on the facts, as in PEFT.",
    "sdf": "Adapters trained on short texts about the fact, written by the model.",
    "retrieval": "Puts the nearest stored fact before the prompt.",
}
