"""What the page uses each editor for, besides listing it."""

from __future__ import annotations

# opening   on the first screen
# blind     in edits whose editor is guessed
# warm      writes the ready example in the background
# race      may be chosen in the stress test, `ticked` is chosen, and `baseline` always runs
ROLES: dict[str, tuple[str, ...]] = {
    "rome": ("opening", "blind", "warm", "race"),
    "memit": ("blind", "race"),
    "emmet": ("blind",),
    "alphaedit": ("blind",),
    "pmet": ("blind",),
    "rect": ("blind",),
    "ultraedit": ("blind", "warm", "race", "ticked"),
    "ft": ("blind", "baseline"),
    "ft_m": ("opening", "blind"),
    "lora": ("blind",),
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
    """The editors that the page uses so."""
    return tuple(name for name, roles in ROLES.items() if role in roles)


# a family, what its editors have in common, and its editors; what each recommended one is good for,
# as in README's table of editors
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
        "Beside the weights",
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
CHIPS = {  # on the first screen: a name that needs no explanation, and what the editor does
    "rome": ("ROME", "writes into one layer"),
    "ft_m": ("Fine-tuning", "trains on the new answer"),
    "grace": ("GRACE", "keeps a note beside the model"),
}
ABOUT = {
    "rome": "One fact: a rank-one change of one layer's matrix.",
    "memit": "Many facts: one least-squares update, spread over several layers.",
    "wilke": "ROME in the layer where the fact needs the smallest update.",
    "norm_anchor": "MEMIT whose target vectors keep their original length.",
    "emmet": "MEMIT that fits new facts exactly, not by least squares.",
    "alphaedit": "MEMIT with updates along directions that general text seldom uses.",
    "pmet": "MEMIT that writes the MLP's part of the change, without attention's.",
    "rect": "Keeps the entries of another editor's update that are relatively large.",
    "prune": "Shrinks the largest singular values of another editor's update.",
    "ultraedit": "Standardized gradients and one ridge regression; nothing is trained.",
    "mend": "A trained network turns one gradient into an edit.",
    "malmen": "MEND for many facts; a regression combines the updates.",
    "rledit": "MALMEN's network, trained on whole streams of edits.",
    "grace": "A list of keys; prompts within a key's radius get its value.",
    "wise": "A second matrix for prompts whose activations it changes beyond a threshold.",
    "horen": "A list like GRACE's, looked up by the prompt's mean direction.",
    "memoir": "A second matrix, of which each prompt uses a few columns.",
    "lemoe": "An expert for each batch; stored vectors choose which one answers.",
    "steer": "One direction added at every prompt; stores no facts, for comparison.",
    "ft_m": "Fine-tuning on the tokens of the answer, in one layer.",
    "ft": "Fine-tuning over all facts in shuffled order, in one late layer.",
    "ft_l": "Fine-tuning in which no weight moves further than a bound.",
    "crispedit": "Fine-tuning along directions that hardly change the loss on general text.",
    "lora": "Low-rank adapters trained on the facts, as in PEFT.",
    "sdf": "Adapters trained on short texts about the fact, written by the model.",
    "retrieval": "The nearest stored fact is put in front of the prompt.",
}
