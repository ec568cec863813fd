"""What notebook 06 measures beside its long run: where a change lands, and what a brake costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


def lands(
    ways: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    odd: torch.Tensor,
    even: torch.Tensor,
    C: torch.Tensor,
) -> list[dict[str, Any]]:
    """Each odd key written alone by each way, k (d_in, 1) -> B (1, d_in): who else hears of it.

    Root mean squares, as shares of what arrives at the own key; medians over the odd keys.
    """
    rows = []
    for name, solve in ways.items():
        B = torch.cat([solve(odd[:, i : i + 1]) for i in range(odd.shape[1])])  # (n, d_in)
        arrives = (B * odd.T).sum(1)
        shares = B / arrives[:, None]
        heard = {
            "on text": (shares @ C * shares).sum(1),
            "on even subjects": (shares @ even).pow(2).mean(1),
            "on other odd ones": (shares @ odd).fill_diagonal_(0).pow(2).mean(1),
        }
        row = {"method": name, "arrives": arrives.median().item()}
        rows.append(row | {where: x.sqrt().median().item() for where, x in heard.items()})
    return rows


def braked(
    updates: Mapping[str, torch.Tensor], K: torch.Tensor, R: torch.Tensor, C: torch.Tensor
) -> list[dict[str, float]]:
    """What each change of W gives the keys K of what R asks for, its damage on text, and the damage
    of the first change made smaller by a factor until it gives just as much.
    """
    table, first = [], {}
    for way, change in updates.items():
        row = {"change of W": way, "arrives (%)": 100 * ((change @ K * R).sum() / R.norm() ** 2)}
        row["damage"] = (change @ C * change).sum()
        first = first or row
        factor = row["arrives (%)"] / first["arrives (%)"]
        row["damage of a plain factor"] = factor**2 * first["damage"]
        table.append({key: v if isinstance(v, str) else v.item() for key, v in row.items()})
    return table
