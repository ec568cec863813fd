"""Export writes a patch for other programs: as a PEFT adapter or a whole model, with a model card.

Folders are written whole or not at all, and the model itself is not changed. Routes and rewrites
are code that decides at every prompt. No plain weights can say the same, so they are refused.
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

DENSE_RANK = 64  # the rank of an adapter for a change that has no small rank of its own
# Adapters have one of these ranks, the only ones for which vLLM can be set up.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Written:
    """One module of an adapter, as it was written.

    rank   The rank of B A, without the zeros to which both are padded in the file.
    error  ‖ΔW − B A‖ / ‖ΔW‖, in Frobenius norms.
    """

    rank: int
    error: float

    @property
    def exact(self) -> bool:
        """Whether B A equals ΔW up to the rounding of float32."""
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
        """The result that a folder holds, which is whole."""
        path = path_of(folder)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return cls(path, size, modules or {}, rank)

    @property
    def exact(self) -> bool:
        """Whether the folder holds the whole change of the patch."""
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

    All modules are padded with zeros to one rank r, the smallest of RANKS that holds them all, and
    `lora_alpha` is r. So B A counts once for programs that divide alpha by r and for those that
    divide it by the rank of each matrix, such as vLLM and llama.cpp. Above 512, r is the largest
    rank, which vLLM refuses; the model card says so.

    rank  The largest rank that a module gets. By default a change of low rank is written exactly,
          and a dense change as its nearest matrix of rank 64. The errors are in the result and in
          the model card.

    Raises ExportError for a patch with routes or rewrites, one without changed weights, and a
    folder that holds something; PatchError for a patch of another model.
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

    The folder holds config, tokenizer and weights in the model's own type. Run by transformers, the
    logits of this model and of the patched one are the same, in float32 bit for bit. (`lm.run` and
    its like may use faster products where no patch is entered.)

    Raises the errors of `export_peft`, but takes the empty patch, and ExportError for a quantized
    model.
    """
    refuse(patch)
    if lm.quantized:
        raise ExportError(
            f"{lm.name} is quantized, and is not written as a whole: share the patch file, which "
            "lib.Patch.load reads, or make the edit on the float model"
        )
    with new_folder(folder) as work:
        with lm.patched(patch, only=True), _own_config(lm, patch), packaged_models.quiet():
            raise_if_cancelled()
            lm.model.save_pretrained(work)
        raise_if_cancelled()
        tokenizer = copy(lm.tokenizer)
        tokenizer.name_or_path = base_name(lm)  # not where it lay on this machine
        tokenizer.save_pretrained(work)
        write_card(work, patch, "model", base_name(lm))
    return Exported.of(folder)


def refuse_adapter(lm: LM, patch: Patch) -> None:
    """Raise ExportError or PatchError for what no adapter can be, before anything is computed."""
    refuse(patch)
    if not patch.weights:
        raise ExportError("this patch changes no weights, so there is nothing for an adapter")
    lm.check(patch)


def adapter_parts(
    lm: LM, patch: Patch, rank: int | None
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Written], int]:
    """{module: (A, B)}, padded with zeros to one rank, {module: Written}, and this rank.

    Raises ExportError where no weight has moved.
    """
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    modules: dict[str, Written] = {}
    for name, value in steps(patch.weights.items(), "factors"):
        change = value if isinstance(value, LowRank) else value.cpu() - lm.weight(name).cpu()
        B, A, error = _factors(change, rank)
        if not len(A):
            continue  # trained, but nothing moved
        factors[name] = A, B
        modules[name] = Written(len(A), error)
    if not modules:
        raise ExportError("this patch changes no weights, so there is nothing for an adapter")
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
        f"decides at every prompt whether to answer in the place of {places}"
        if places
        else "writes into the prompt's text, before any module"
    )
    raise ExportError(
        f"{who} {does}, which cannot be exported as plain weights: share the patch file, which "
        "lib.Patch.load reads"
    )


def base_name(lm: LM) -> str:
    """The base model as a card may name it, on one line: its hub id, or its name, never a path."""
    known = str(getattr(lm.model.config, "_name_or_path", "") or "")
    hub = known.count("/") == 1 and not known.startswith((".", "/", "~")) and "\\" not in known
    return " ".join((known if hub and not Path(known).exists() else lm.plain_name).split())


def _factors(change: LowRank | Tensor, rank: int | None) -> tuple[Tensor, Tensor, float]:
    """The factors B (d_out, r) and A (r, d_in) nearest to ΔW in float32, and their relative error.

    r is at most `rank`, and no larger than the rank of ΔW in float32; it is 0 for ΔW = 0. Factors
    are never multiplied out for their decomposition: ΔW = Qa (Ra Rbᵀ) Qbᵀ by a QR of both sides,
    and the SVD is that of the small matrix in the middle.
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
    # singular values at the rounding of float32 are no rank; √S goes to both sides alike
    r = min(most, int((S > 1e-7 * S[0]).sum())) if S[0] > 0 else 0
    root = S[:r].sqrt()
    B, A = (U[:, :r] * root).float(), (root[:, None] * Vh[:r]).float()
    whole = float(dense.norm())
    return B, A, float((dense - B @ A).norm()) / whole if whole else 0.0


def padded_rank(ranks: Iterable[int]) -> int:
    """The smallest of RANKS that is at least the largest rank; above all of them, that rank itself.

    padded_rank([3, 9]) -> 16
    """
    largest = max(ranks)
    return next((allowed for allowed in RANKS if allowed >= largest), largest)


def _adapter_config(lm: LM, modules: list[str], rank: int) -> dict[str, Any]:
    """`adapter_config.json` for peft's LoraConfig; alpha = r, so B A is added with the factor 1.

    It has no `rank_pattern` and no `alpha_pattern`, which other programs than peft do not read.
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
    """Give the model a copy of its config, since saving writes into it.

    Where head or embedding was edited and the two are tied, the copy unties them.
    """
    model, config = lm.model, deepcopy(lm.model.config)
    edited = {id(model.get_submodule(name)) for name in patch.weights}
    if {id(model.get_output_embeddings()), id(model.get_input_embeddings())} & edited:
        config.tie_word_embeddings = False
    with swapped(model, config=config):
        yield


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder to write into, renamed to `folder` when the body ends, removed when it raises.

    Raises ExportError where `folder` is a file or holds something, and for the current folder or
    one above it.
    """
    folder = path_of(folder).resolve()
    if Path.cwd().is_relative_to(folder):
        raise ExportError(f"{folder} is the folder that you work in, or above it: name a new one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder.name} exists and is not an empty folder: choose another name")
    with whole_folder(folder) as work:
        yield work
