"""LoRA: a low-rank change added to frozen weights, trained on the answers (Hu et al., 2021).

ΔW = α/r · B A with A (r, d_in) random and B (d_out, r) zero, so training starts at the unchanged
model. As in ft.py, training runs in epochs over shuffled batches of all facts of a call. Every call
adds a new adapter to the adapters of `after`, making a patch a sum of adapters, which
`lib.workbench.export_peft` writes exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.facts import Fact
from ..errors import EditError
from ..model.answer_rows import AnswerRows
from ..patch.patch import Patch
from ..setting_fields import Amount, Count, Layers, Real, Size, Texts, from_paper, ours, setting
from .shared.base import Editor, add_low_rank, mlp_outputs
from .shared.config import Config
from .shared.fine_tuning import adapters, beside, fact_rows, train
from .shared.shared_settings import EndOfText, EpochSettings


@dataclass(frozen=True)
class LoraConfig(EpochSettings, EndOfText, Config):
    """Settings of LoRA."""

    layers: Layers = from_paper((5,), "Layers that get an adapter.")
    modules: Texts = from_paper(
        ("down",),
        "Adapted modules of each layer: `down` and `up` are the MLP's output and input "
        "projections, `attn` is the attention's output projection, and other names, such as "
        "`q_proj`, refer to modules of that name in the block.",
        published=("q_proj", "v_proj"),
    )
    rank: Size = from_paper(8, "Rank r of each call's adapter.")
    alpha: Real = from_paper(
        32.0, "Number α, whose ratio to the rank multiplies the adapter's output."
    )
    lr: Amount = 5e-3
    weight_decay: Amount = from_paper(0.0, "Weight decay of the optimizer.")
    epochs: Count = 70

    # our additions: facts are learned in shuffled batches until they are known

    batch_size: Size = ours(100)
    enough: Real = ours(1e-2, published=0.0)
    target_eos: bool = setting(True, published=False)


class Lora(Editor[LoraConfig]):
    """Low-rank fine-tuning: shuffled epochs over all facts of a call, in some projections."""

    name = "lora"
    title = "LoRA"
    paper = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021 (arXiv:2106.09685)"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train one new adapter per module on the facts, starting from the model under `after`."""
        config, lm = self.config, self.lm
        generator = torch.Generator().manual_seed(config.seed)

        def draw(rank: int, d_in: int) -> Tensor:
            """Return A, uniform within ±1/√d_in as published."""
            return (2 * torch.rand(rank, d_in, generator=generator) - 1) / math.sqrt(d_in)

        made = adapters(lm, self.modules(), config.rank, draw)
        scale = config.alpha / config.rank
        leaves = [side for pair in made.values() for side in pair]
        optimizer = torch.optim.AdamW(leaves, lr=config.lr, weight_decay=config.weight_decay)
        added = {name: lambda k, B=B, A=A: scale * (k @ A.T @ B.T) for name, (B, A) in made.items()}
        with lm.patched(after, only=True), beside(lm, added):
            train(self, self.rows(facts, after), min(config.layers), leaves, optimizer.step)
        # ΔW = α/r · B A
        return add_low_rank(lm, after, {name: (scale * B, A) for name, (B, A) in made.items()})

    def rows(self, facts: list[Fact], after: Patch) -> AnswerRows:
        """Return the rows used for training the adapters."""
        return fact_rows(self, facts)

    def modules(self) -> list[str]:
        """Return the names of the modules that get an adapter; EditError if one is missing."""
        config, lm = self.config, self.lm
        found = []
        for layer in mlp_outputs(lm, config.layers):  # rejects a missing layer
            parts = {
                "down": (lm.arch.mlp_out,),
                "up": lm.arch.mlp_in,
                "attn": (lm.attn_out(layer),),
            }
            for part in config.modules:
                fused = lm.arch.fused_in and any(p.endswith(f".{part}") for p in lm.arch.mlp_in)
                if fused or (part == "up" and lm.arch.fused_in):
                    raise EditError(f"{lm.name} stores gate and up in one matrix. Choose 'down'.")
                patterns = parts.get(part)
                found += (
                    [p.format(layer) for p in patterns] if patterns else self._inside(layer, part)
                )
        return list(dict.fromkeys(found))

    def _inside(self, layer: int, part: str) -> list[str]:
        """Return the full names of a block's matrices called `part`."""
        known = {
            f"{self.lm.arch.blocks}.{layer}.{name}"
            for name, module in self.lm.blocks[layer].named_modules()
            if getattr(module, "weight", None) is not None and module.weight.ndim == 2
        }
        found = sorted(name for name in known if name.split(".")[-1] == part)
        if not found:
            leaves = ", ".join(sorted({name.split(".")[-1] for name in known}))
            raise EditError(
                f"{self.lm.name} has no module '{part}' in its blocks. Available modules: down, "
                f"up, attn, {leaves}"
            )
        return found
