"""GRACE: corrections in a codebook behind one module (Hartvigsen et al., 2023).

A key is what the module reads at the prompt's last token, its value what the module should put out
there, its radius how far it answers. Nothing but values is trained, and out of every radius the
model is the base model, bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from .. import inside
from ..codebook import Codebook, Event, lookup
from ..editor import Config, EditError, Editor, EditWarning
from ..facts import Fact, encode_target
from ..patch import Patch, Route
from ..sequences import Sequences
from ..values import Descent, Place, Replacement, Row, descend


@dataclass(frozen=True)
class GraceConfig(Config):
    """Settings of GRACE.

    module: name with `{}` for the layer, None for the MLP's output projection. replacement: where a
    value stands, at the prompt's "last" token, at all of the "prompt", or at "all" that comes.
    value_init: "warm" begins with the module's own output and takes steps in units of its root mean
    square; "cold", as published, with numbers from 0 to 1. enough: loss under which a value is
    done, 0 for n_iter steps always. strict=False: the published rules (codebook.py).
    """

    layer: int = 25
    module: str | None = None
    eps_init: float = 1.0
    n_iter: int = 50
    lr: float = 0.5
    replacement: Replacement = "last"
    value_init: Literal["warm", "cold"] = "warm"
    eps_expand: Literal["coverage", "moving_average"] = "coverage"
    strict: bool = True
    enough: float = 0.05
    target_eos: bool = False

    retired: ClassVar[Mapping[str, Any]] = {"only_errors": False}


class Deferral(Route):
    """A codebook behind a module: in the radius of the nearest key its value is the output."""

    kind = "grace"

    def __init__(
        self, module: str, K: Tensor, V: Tensor, eps: Tensor, replacement: Replacement = "last"
    ) -> None:
        self.module, self.replacement = module, replacement
        self.K, self.V, self.eps = K, V, eps  # (d_in, n), (d_out, n), (n,), float32
        self._there: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """K, Vᵀ and eps where the module runs; copied once."""
        if device not in self._there:
            whole = self.K, self.V.T.contiguous(), self.eps
            self._there[device] = tuple(part.to(device) for part in whole)
        return self._there[device]

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """The entry that each row's prompt falls into, -1 for none; notes distance and radius."""
        first = seqs.ids.shape[1] - inputs.shape[1]  # a replay runs the last columns only
        last = seqs.last.to(inputs.device) - first
        if not bool(((last >= 0) & (last < inputs.shape[1])).all()):
            raise RuntimeError("a prompt must be run whole: its last token is not in this call")
        K, _, eps = self.on(inputs.device)
        found = lookup(K, eps, inputs[torch.arange(len(last), device=last.device), last])
        seqs.memo[f"{self.module}/score"] = found.distance
        seqs.memo[f"{self.module}/threshold"] = found.radius
        return found.entry

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """`output` with the chosen values in their places; itself where there are none."""
        places = self.places(seqs)[:, -output.shape[1] :] & (choice >= 0)[:, None]
        if not bool(places.any()):
            return output
        values = self.on(output.device)[1][choice.clamp(min=0)].to(output.dtype)  # (rows, d_out)
        return torch.where(places[..., None], values[:, None], output)

    def places(self, seqs: Sequences) -> Tensor:
        """(rows, L) of this call: the positions that a value answers at."""
        if self.replacement == "all":
            return seqs.real
        if self.replacement == "prompt":
            return seqs.prompt
        columns = torch.arange(seqs.ids.shape[1], device=seqs.ids.device)
        return seqs.prompt & (columns == seqs.last.to(columns.device)[:, None])

    def explain(self, choice: Tensor) -> list[dict]:
        """Which entry; score (distance) and threshold (radius) of the nearest stand beside it."""
        return [{"entry": entry} for entry in choice.tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """Keys, values, radii."""
        return {"K": self.K, "V": self.V, "eps": self.eps}

    def header(self) -> dict:
        """Where it stands."""
        return {"module": self.module, "replacement": self.replacement}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Deferral:
        """The route of a file; ValueError where its parts do not belong together."""
        K, V, eps = (tensors[name] for name in ("K", "V", "eps"))
        if not (K.ndim == V.ndim == 2 and K.shape[1:] == V.shape[1:] == eps.shape and len(eps)):
            raise ValueError(f"the codebook of {header['module']} has parts of different sizes")
        if not all(torch.isfinite(part).all() for part in (K, V, eps)):
            raise ValueError(f"the codebook of {header['module']} holds NaN or infinite numbers")
        return cls(header["module"], K, V, eps, header["replacement"])


class Grace(Editor):
    """A codebook of corrections beside the weights, each within its radius."""

    name = "grace"
    paper = "Hartvigsen et al., Aging with GRACE, 2023 (arXiv:2211.11031)"
    Config = GraceConfig
    writes = "routes"
    keeps = True
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """All facts into the codebook in their order, then all values that they touch at once."""
        c, lm = self.config, self.lm
        place = self.place(after)
        module, old = place.module, after.routes.get(place.module)
        state = after.memory.get(self.name, {}).get(module)
        others = {name: route for name, route in after.routes.items() if name != module}
        prompts, targets = self.ids(facts, after)
        with lm.patched(replace(after, routes=others), only=True):
            at = [len(prompt) - 1 for prompt in prompts]
            keys = inside.inputs_at(lm, prompts, at, [module])[module].float().cpu()  # (m, d_in)
            if state is None:
                state = {"facts_seen": 0, "noise": self.noise(module, prompts, keys)}
            numbers = [state["facts_seen"] + i for i in range(len(facts))]
            fresh = self.fresh(lm.output(module, keys.to(lm.device)).cpu(), numbers)
            book = (
                Codebook.of(old.K, old.V, old.eps, state)
                if old
                else Codebook.empty(keys.shape[1], fresh.shape[1])
            )
            events = book.write(
                keys, [*map(tuple, targets)], fresh, numbers,
                eps_init=c.eps_init, strict=c.strict, expand=c.eps_expand, noise=state["noise"],
            )  # fmt: skip
            measured = self.train(place, book, prompts, targets, events, keys)
        noise = max(state["noise"], measured)
        self.report(book, keys, targets, noise)
        state = {**book.state(), "facts_seen": state["facts_seen"] + len(facts), "noise": noise}
        route = Deferral(module, book.K, book.V, book.eps, c.replacement)
        return replace(
            after,
            routes={**others, module: route},
            memory={
                **after.memory,
                self.name: {**after.memory.get(self.name, {}), module: state},
            },
        )

    def place(self, after: Patch) -> Place:
        """Where the codebook stands; EditError where it cannot."""
        c, lm = self.config, self.lm
        mlp_out = lm.mlp_out(c.layer)  # refuses a layer that is not there
        module = (c.module or lm.arch.mlp_out).format(c.layer)
        inner = module.startswith(f"{lm.arch.blocks}.{c.layer}.")
        try:
            matrix = inner and lm.model.get_submodule(module).weight.ndim == 2
        except AttributeError:
            matrix = False
        if not matrix:
            raise EditError(
                f"{module} is no linear module of layer {c.layer}, as {mlp_out} would be"
            )
        if module in after.weights:
            raise EditError(
                f"the weights of {module} are changed already: put the codebook elsewhere"
            )
        held = after.routes.get(module)
        if held and held.kind != Deferral.kind:
            raise EditError(
                f"a route of {held.kind} stands behind {module} already: choose another layer"
            )
        if held and held.replacement != c.replacement:
            raise EditError(
                f"the codebook at {module} replaces '{held.replacement}', not '{c.replacement}'"
            )
        if held and module not in after.memory.get(self.name, {}):
            raise EditError(f"this patch has lost what {self.name} remembered of {module}")
        return Place(module, c.layer, c.replacement)

    def ids(self, facts: list[Fact], after: Patch) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of the facts' prompts and targets."""
        lm = self.lm
        end = [lm.tokenizer.eos_token_id] if self.config.target_eos else []
        targets = [[*encode_target(lm.tokenizer, fact.target_new), *end] for fact in facts]
        with lm.patched(after, only=True):
            prompts, _ = lm.rows([fact.text for fact in facts])
        return prompts, targets

    def noise(self, module: str, prompts: list[list[int]], keys: Tensor) -> float:
        """How far a key moves when its prompt is padded, beside a longer row; of a few prompts."""
        few = prompts[:4]
        rows = [*few, (max(few, key=len) * 2)[: self.lm.context]]
        found = inside.inputs_at(self.lm, rows, [len(row) - 1 for row in rows], [module])[module]
        return (found[:-1].float().cpu() - keys[: len(few)]).norm(dim=1).max().item()

    def fresh(self, output: Tensor, numbers: list[int]) -> Tensor:
        """First values (m, d_out): the module's own output, or random ones, a fact's always equal.

        `numbers` count facts over all edits, so that a list and its halves begin alike.
        """
        if self.config.value_init == "warm":
            return output
        seeds = [torch.Generator().manual_seed(self.config.seed + number) for number in numbers]
        return torch.stack([torch.rand(output.shape[1], generator=seed) for seed in seeds])

    def train(
        self,
        place: Place,
        book: Codebook,
        prompts: list[list[int]],
        targets: list[list[int]],
        events: list[Event],
        keys: Tensor,
    ) -> float:
        """Values of all touched entries, into the book; how far keys moved beside other rows."""
        c = self.config
        # a fact whose entry was given to a newer one within this call has nothing to train
        live = [i for i, e in enumerate(events) if book.labels[e.entry] == tuple(targets[i])]
        touched = list(dict.fromkeys(events[i].entry for i in live))
        rows = [Row(prompts[i], targets[i], touched.index(events[i].entry)) for i in live]
        start = book.V[:, touched]
        size = start.square().mean(0).sqrt().clamp(min=1e-6)
        scale = size if c.value_init == "warm" else torch.ones_like(size)
        found = descend(self.lm, place, rows, start, scale, Descent(c.lr, c.n_iter, c.enough))
        if not torch.isfinite(found.values).all():
            raise EditError("grace produced NaN or infinite values; nothing was changed")
        book.V[:, touched] = found.values
        return (found.keys - keys[live]).norm(dim=1).max().item()

    def report(self, book: Codebook, keys: Tensor, targets: list[list[int]], noise: float) -> None:
        """A warning that counts facts which the codebook cannot give back."""
        entries = book.lookup(keys).entry.tolist()
        stolen = sum(
            entry < 0 or book.labels[entry] != tuple(target)
            for entry, target in zip(entries, targets, strict=True)
        )
        lost = book.lost(noise)
        if stolen or lost:
            warnings.warn(
                f"{stolen} of {len(keys)} facts fell to another entry at once, and {len(lost)} of "
                f"{len(book)} entries have a radius under four times the noise of a key "
                f"({noise:.1e}): they may miss their own prompt",
                EditWarning,
                stacklevel=4,
            )
