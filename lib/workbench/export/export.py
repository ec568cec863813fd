"""Exporting a patch for other programs: as a PEFT adapter or a whole model, with a model card.

Folders are written whole or not at all, without changing the model itself. Routes and rewrites are
code making a decision at every prompt. Plain weights cannot express this, so they are rejected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ...atomic_files import path_of, whole_folder
from ...cancellation import raise_if_cancelled, steps
from ...errors import ExportError
from ...model import packaged_models
from ...model.hooks import swapped
from ...model.lm import LM
from ...patch.patch import LowRank, Patch
from ...patch.route import Savable
from ...setting_fields import at_least
from .model_card import write_card

DENSE_RANK = 64  # the rank of an adapter for a change without a small rank
# Adapters have one of these ranks, the only ranks supported by vLLM's settings.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Written:
    """One module of an adapter, as it was written.

    rank   The rank of B A, without the zeros used for padding both in the file.
    error  ‖ΔW − B A‖ / ‖ΔW‖, in Frobenius norms.
    """

    rank: int
    error: float

    @property
    def exact(self) -> bool:
        """True if B A equals ΔW up to the rounding of float32."""
        return self.error < 1e-5


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    folder   The folder that was written.
    bytes    Its size.
    modules  {module: Written} of an adapter; empty for a whole model.
    rank     The rank r to which all modules of an adapter are padded; 0 for a whole model.
    """

    folder: Path
    bytes: int
    modules: Mapping[str, Written]
    rank: int = 0

    @classmethod
    def of(
        cls, folder: str | Path, modules: Mapping[str, Written] | None = None, rank: int = 0
    ) -> Exported:
        """Return the result for a complete folder."""
        path = path_of(folder)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return cls(path, size, modules or {}, rank)

    @property
    def exact(self) -> bool:
        """True if the folder contains the whole change of the patch."""
        return all(written.exact for written in self.modules.values())

    def __repr__(self) -> str:
        padded = f", padded to rank {self.rank}" if self.rank else ""
        lines = [
            f"  {name}: rank {one.rank}, {said}"
            for name, one in self.modules.items()
            for said in ["exact" if one.exact else f"relative error {one.error:.3g}"]
        ]
        return "\n".join([f"{self.folder.name}: {self.bytes / 1e6:.1f} MB{padded}", *lines])


def export_peft(lm: LM, patch: Patch, folder: str | Path, rank: int | None = None) -> Exported:
    """Write the patch as a LoRA adapter for `peft.PeftModel.from_pretrained(base, folder)`.

    All modules are padded with zeros to one rank r, the smallest of RANKS holding them all, and
    `lora_alpha` is r. B A therefore counts once both for programs dividing alpha by r and for those
    dividing it by the rank of each matrix, such as vLLM and llama.cpp. Above 512, r is the largest
    rank, which vLLM rejects; the model card mentions this.

    rank  The maximum rank of a module. By default, a low-rank change is written exactly, and a
          dense change as its nearest matrix of rank 64. The errors are in the result and in the
          model card.

    Raises ExportError for a patch with routes or rewrites, one without changed weights, and a
    nonempty folder; PatchError for a patch of another model.
    """
    refuse_adapter(lm, patch)
    at_least(1, rank=rank)
    with new_folder(folder) as work:
        factors, modules, r = adapter_parts(lm, patch, rank)
        tensors = {
            f"base_model.model.{name}.{key}.weight": side.contiguous()
            for name, pair in factors.items()
            for key, side in zip(("lora_A", "lora_B"), pair, strict=True)
        }
        save_file(tensors, work / "adapter_model.safetensors", metadata={"format": "pt"})
        config = _adapter_config(lm, list(modules), r)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (work / "adapter_config.json").write_text(text, encoding="utf-8")
        write_card(work, patch, "adapter", base_name(lm), modules, rank=r)
    return Exported.of(folder, modules, r)


def export_model(lm: LM, patch: Patch, folder: str | Path) -> Exported:
    """Write the patched model for `transformers.AutoModelForCausalLM.from_pretrained(folder)`.

    The folder contains config, tokenizer and weights in the model's own type. When running this
    model in transformers, its logits are the same as the patched model's, in float32 bit for bit.
    (`lm.run` and similar methods may use faster products if no patch is applied.)

    Raises the errors of `export_peft`, but accepts the empty patch, and ExportError for a quantized
    model.
    """
    refuse(patch)
    if lm.quantized:
        raise ExportError(
            f"{lm.name} is quantized, so it cannot be written as a whole model. Share the patch "
            "file, which lib.Patch.load reads, or make the edit on the float model."
        )
    with new_folder(folder) as work:
        with lm.patched(patch, only=True), _own_config(lm, patch), packaged_models.quiet():
            raise_if_cancelled()
            lm.model.save_pretrained(work)
        raise_if_cancelled()
        tokenizer = copy(lm.tokenizer)
        tokenizer.name_or_path = base_name(lm)  # not its place on this machine
        tokenizer.save_pretrained(work)
        write_card(work, patch, "model", base_name(lm))
    return Exported.of(folder)


def refuse_adapter(lm: LM, patch: Patch) -> None:
    """Raise ExportError or PatchError if no adapter is possible, before computing anything."""
    refuse(patch)
    if not patch.weights:
        raise ExportError(
            "This patch does not change any weights, so there is nothing for an adapter."
        )
    lm.check(patch)


def adapter_parts(
    lm: LM, patch: Patch, rank: int | None
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Written], int]:
    """Return {module: (A, B)}, padded with zeros to one rank, {module: Written}, and this rank.

    Raises ExportError if no weight has changed.
    """
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    modules: dict[str, Written] = {}
    for name, value in steps(patch.weights.items(), "factors"):
        change = value if isinstance(value, LowRank) else value.cpu() - lm.weight(name).cpu()
        B, A, error = _factors(change, rank)
        if not len(A):
            continue  # trained, but nothing changed
        factors[name] = A, B
        modules[name] = Written(len(A), error)
    if not modules:
        raise ExportError(
            "This patch does not change any weights, so there is nothing for an adapter."
        )
    r = padded_rank(written.rank for written in modules.values())
    padded = {
        # A (r, d_in) and B (d_out, r)
        name: (F.pad(A, (0, 0, 0, r - len(A))), F.pad(B, (0, r - len(A))))
        for name, (A, B) in factors.items()
    }
    return padded, modules, r


def refuse(patch: Patch) -> None:
    """Raise ExportError for routes and rewrites, naming the editor and the module."""
    parts: list[Savable] = [*patch.routes.values()] or [*patch.rewrites]
    if not parts:
        return
    who = " and ".join(sorted({part.kind for part in parts}))
    places = ", ".join(sorted(patch.routes))
    does = (
        f"decides at every prompt whether to replace the answer of {places}"
        if places
        else "changes the prompt's text before any module"
    )
    raise ExportError(
        f"{who} {does}, which cannot be exported as plain weights. Share the patch file, which "
        "lib.Patch.load reads."
    )


def base_name(lm: LM) -> str:
    """Return the base model's name for a card, on one line: its hub id or name, never a path."""
    known = str(getattr(lm.model.config, "_name_or_path", "") or "")
    hub = known.count("/") == 1 and not known.startswith((".", "/", "~")) and "\\" not in known
    return " ".join((known if hub and not Path(known).exists() else lm.plain_name).split())


def _factors(change: LowRank | Tensor, rank: int | None) -> tuple[Tensor, Tensor, float]:
    """Return the factors B (d_out, r) and A (r, d_in) nearest to ΔW in float32, and their error.

    The error is relative. r is at most `rank`, and no larger than the rank of ΔW in float32; it is
    0 for ΔW = 0. Decomposing never multiplies the factors out: ΔW = Qa (Ra Rbᵀ) Qbᵀ using a QR of
    both sides, followed by an SVD of the small matrix in the middle.
    """
    if isinstance(change, LowRank):
        a = torch.cat([a for a, _ in change.chunks], 1)  # (d_out, Σ r_i)
        b = torch.cat([b for _, b in change.chunks])  # (Σ r_i, d_in)
        Qa, Ra = torch.linalg.qr(a.cpu().double())
        Qb, Rb = torch.linalg.qr(b.cpu().double().T)
        U, S, Vh = torch.linalg.svd(Ra @ Rb.T)
        U, Vh = Qa @ U, Vh @ Qb.T
        dense, most = change.dense().cpu(), rank or len(S)
    else:
        U, S, Vh = torch.linalg.svd(change, full_matrices=False)
        dense, most = change, rank or DENSE_RANK
    # singular values at the rounding of float32 do not count; √S goes equally to both sides
    r = min(most, int((S > 1e-7 * S[0]).sum())) if S[0] > 0 else 0
    root = S[:r].sqrt()
    B, A = (U[:, :r] * root).float(), (root[:, None] * Vh[:r]).float()
    whole = float(dense.norm())
    return B, A, float((dense - B @ A).norm()) / whole if whole else 0.0


def padded_rank(ranks: Iterable[int]) -> int:
    """Return the smallest of RANKS holding the largest rank; above all of them, that rank itself.

    padded_rank([3, 9]) -> 16
    """
    largest = max(ranks)
    return next((allowed for allowed in RANKS if allowed >= largest), largest)


def _adapter_config(lm: LM, modules: list[str], rank: int) -> dict[str, Any]:
    """Return `adapter_config.json` for peft's LoraConfig; alpha = r, so B A is added with factor 1.

    It has no `rank_pattern` and no `alpha_pattern`, which programs other than peft do not read.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name(lm),
        "inference_mode": True,
        "target_modules": modules,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": lm.arch.transposed,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }


@contextmanager
def _own_config(lm: LM, patch: Patch) -> Iterator[None]:
    """Give the model a copy of its config, because saving writes into it.

    If head or embedding was edited and the two are tied, the copy unties them before saving.
    """
    model, config = lm.model, deepcopy(lm.model.config)
    edited = {id(model.get_submodule(name)) for name in patch.weights}
    if {id(model.get_output_embeddings()), id(model.get_input_embeddings())} & edited:
        config.tie_word_embeddings = False
    with swapped(model, config=config):
        yield


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Create a folder for writing; rename it to `folder` after the body, remove it on errors.

    Raises ExportError if `folder` is a file or not empty, and for the current folder or one above
    it.
    """
    folder = path_of(folder).resolve()
    if Path.cwd().is_relative_to(folder):
        raise ExportError(
            f"{folder} is the folder that you work in, or above it. Choose a new one."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder.name} exists and is not an empty folder. Choose another name.")
    with whole_folder(folder) as work:
        yield work
