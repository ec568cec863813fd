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
