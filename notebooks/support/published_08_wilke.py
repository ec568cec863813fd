"""The scores that WilKE's authors stored with their program, and their summary of five shares."""

from __future__ import annotations

from collections.abc import Mapping

# Hu et al. 2024, GPT-2 XL, in %: mean of three runs as stored with the authors' program
COLUMNS = "ES", "GS", "LS", "ERS", "ORS", "S"
PUBLISHED = {
    64: {
        "ROME": (84.4, 59.6, 24.4, 25.0, 3.9, 13.7),
        "MEMIT": (86.5, 41.2, 37.5, 100.0, 95.5, 60.2),
        "WilKE": (98.4, 65.6, 33.8, 98.4, 85.1, 65.0),
    },
    256: {
        "ROME": (28.4, 17.6, 7.8, 15.8, 4.8, 9.5),
        "MEMIT": (92.2, 51.7, 41.3, 99.2, 92.1, 66.4),
        "WilKE": (98.3, 66.3, 28.2, 59.2, 37.6, 47.6),
    },
    1024: {
        "ROME": (15.9, 8.8, 6.8, 12.2, 8.0, 9.4),
        "MEMIT": (92.6, 55.2, 35.0, 6.6, 6.7, 13.3),
        "WilKE": (70.7, 51.1, 12.7, 16.2, 13.2, 19.4),
    },
}
CLAIMS = (
    "claimed for S after 1,024 edits, as shares of the other's:",
    "GPT-2 XL: WilKE 46.2 % above MEMIT, 19.3 instead of 13.2",
    "GPT-J: WilKE 67.8 % above ROME, 14.6 instead of 8.7",
)


def harmonic(shares: Mapping[str, float]) -> float:
    """The paper's S, the harmonic mean of the five shares; a zero counts as 1e-4."""
    values = [max(value, 1e-4) for value in shares.values()]
    return len(values) / sum(1 / value for value in values)
