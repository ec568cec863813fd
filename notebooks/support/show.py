"""The tables and bars that a notebook shows beside the library's figures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import torch

import lib
from lib import plot

TEXT = "text-align: left; vertical-align: top; white-space: normal; padding: 3px 14px 3px 0"
NUMBER = "text-align: right; vertical-align: top; padding: 3px 14px 3px 0"


class Table:
    """Rows (column -> text or number) as a table: text left and wrapped, numbers right."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows = list(rows)

    def _repr_html_(self) -> str:
        style = {c: NUMBER if isinstance(v, int | float) else TEXT for c, v in self.rows[0].items()}
        head = "".join(f'<th style="{style[c]}">{html.escape(c)}</th>' for c in style)
        lines = (
            "".join(f'<td style="{style[c]}">{html.escape(plain(row[c]))}</td>' for c in style)
            for row in self.rows
        )
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"

    def __repr__(self) -> str:
        lines = [list(self.rows[0]), *(map(plain, row.values()) for row in self.rows)]
        return "\n".join(" | ".join(line) for line in lines)


def plain(value: object) -> str:
    """A value on one line: white space joined, numbers with three decimals."""
    if isinstance(value, float):
        return f"{value:,.{3 if abs(value) < 10 else 0}f}"
    return " ".join(str(value).split())


def bars(lm: lib.LM, prompt: str, patch: lib.Patch, count: int = 3) -> plot.Figure:
    """Probabilities of the next token, base and edited: the `count` best of each."""
    with lm.patched(lib.EMPTY, only=True):
        base = lm.next_token(prompt).exp().cpu()
    with lm.patched(patch):
        edited = lm.next_token(prompt).exp().cpu()
    best = torch.cat([base.topk(count).indices, edited.topk(count).indices]).tolist()
    ids = sorted(dict.fromkeys(best), key=lambda i: -(base[i] + edited[i]).item())
    words = [lm.tokenizer.decode([i]) for i in ids]
    before, after = (list(zip(words, p[ids].tolist(), strict=True)) for p in (base, edited))
    return plot.token_bars(before, after, title=prompt)
