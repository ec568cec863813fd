"""What a row of ARCHS says, found by running a model whose family has no row.

The model reads a few tokens with hooks on all of its modules. No name of a family, class or module
is asked: what a module is follows from what it reads and puts out. Attention is the module through
which an earlier token reaches a later one, the MLP's output projection is the widest linear module
outside it that ends in the hidden size, and so on. Nothing is believed before numbers have shown
it: `recognize` checks each kind of block by changing what flows in it, and `confirmed` checks the
whole model as the library uses it. What is not found is refused in one sentence that names it. The
file is longer than 300 lines because what is found and the numbers that show it belong together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import FamilyError
from .architectures import ARCHS, Arch, ByLayer, dense
from .batching import sequences
from .generation import select_rows
from .hooks import Enough
from .partial_forward import Replay
from .quantized import plain

if TYPE_CHECKING:
    from .lm import LM

TOKENS = torch.arange(3, 12)[None]  # behind the ids that families keep for padding and ends
LOUD = 60.0  # the largest logit while a cap is looked for: small ones pass a cap unchanged
_found: WeakKeyDictionary[nn.Module, Arch] = WeakKeyDictionary()


def arch_of(model: nn.Module) -> Arch:
    """The row of ARCHS for a transformers model, or what `recognize` finds; found once per model.

    Raises FamilyError for a model without a row that is not recognized.
    """
    kind = _family(model)
    if kind in ARCHS:
        return ARCHS[kind]
    if model not in _found:
        _found[model] = recognize(model)
    return _found[model]


def recognize(model: nn.Module) -> Arch:
    """What a row of ARCHS would say of a model, found by running it on a few tokens.

    Raises FamilyError, in one sentence that names what was not found.
    """
    if not hasattr(model, "config"):
        raise _refusal(model, "it is no transformers model")
    if getattr(model, "base_model", model) is model:
        raise _refusal(model, "its `base_model` is the model itself, with nothing below the head")
    training = model.training
    try:
        with torch.no_grad():
            return _Search(model.eval()).arch()
    finally:
        model.train(training)


def confirmed(lm: LM) -> Arch:
    """The recognized row of a model, with what shows only where the library runs it.

    A padded batch has to equal its rows alone, a step with the cache the whole run, and a replay
    from a layer the whole run with the same change. `whole` and `rewinds` of the row are set where
    that needs it. Raises FamilyError where they differ all the same.
    """
    try:
        with torch.no_grad():
            return _confirmed(lm)
    except (TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise _refusal(lm.model, f"it does not run as others do: {_line(error)}") from error


# ---- one run with hooks ------------------------------------------------------------------------


@dataclass
class Seen:
    """What one module read and put out.

    given  its inputs that have a row per token, each (tokens, width), the first one first.
    put    its output (tokens, width).
    times  how often it ran.
    """

    given: list[Tensor]
    put: Tensor
    times: int = 1

    @property
    def width(self) -> int:
        """The width of its output."""
        return self.put.shape[-1]


class _Search:
    """One model in parts: `arch` puts together what is found in each kind of its blocks."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        embed, head = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        if embed is None or getattr(embed, "weight", None) is None:
            raise self.refusal("an input embedding")
        if head is None or getattr(head, "weight", None) is None:
            raise self.refusal("a head that turns states into logits")
        self.embed, self.head = self.names[embed], self.names[head]
        self.ids = TOKENS.to(embed.weight.device)
        # half precision rounds at its third digit, and again in every module that follows
        self.near = 1e-4 if embed.weight.dtype == torch.float32 else 0.05
        self.plain = self.run(self.names.values())
        base = self.names[self.model.base_model]
        if base not in self.plain:  # its parts were called one by one
            self.plain |= self.run([base], module=self.model.base_model)
        self.top = self.plain[base].put
        self.size = self.top.shape[-1]

    def refusal(self, missing: str) -> FamilyError:
        """The error for a piece that was not found."""
        return _refusal(self.model, f"running it did not show {missing}")

    def run(
        self,
        watch: Iterable[str],
        changes: Mapping[str, Callable[[Any], Any]] | None = None,
        module: Any = None,
        until: str | None = None,
    ) -> dict[str, Seen]:
        """{module: what it read and put out}, in the order in which modules end, from one run.

        changes  {module: output -> output}; a name that ends in `<` changes the module's input.
        module   what runs, by default the model.
        until    a watched module after which nothing runs.
        """
        runs = module or self.model
        seen: dict[str, Seen] = {}
        with ExitStack() as hooks:
            for name, change in (changes or {}).items():
                module = self.model.get_submodule(name.rstrip("<"))
                hook = partial(_entered if name.endswith("<") else _left, change)
                register = module.register_forward_hook
                if name.endswith("<"):
                    register = module.register_forward_pre_hook
                hooks.callback(register(hook, with_kwargs=True).remove)
            for name in watch:
                module = self.model.get_submodule(name)
                look = partial(self._look, seen, name, name == until)
                hooks.callback(module.register_forward_hook(look, with_kwargs=True).remove)
            real = torch.ones_like(self.ids)
            try:
                with suppress(Enough):
                    runs(input_ids=self.ids, attention_mask=real, use_cache=False)
            except (TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
                said = f"it does not run on {self.ids.shape[1]} tokens: {_line(error)}"
                raise _refusal(self.model, said) from error
        return seen

    def _look(
        self,
        seen: dict[str, Seen],
        name: str,
        ends: bool,
        _: nn.Module,
        args: tuple,
        named: dict[str, Any],
        out: Any,
    ) -> None:
        """The hook of each watched module."""
        put = _states(out)
        if put is None:
            return
        times = seen.pop(name).times + 1 if name in seen else 1
        given = [_rows(t) for t in (*args, *named.values()) if _is_wide(t)]
        seen[name] = Seen(given, _rows(put), times)
        if ends:
            raise Enough

    def close(self, a: Tensor, b: Tensor, scale: Tensor | None = None) -> bool:
        """Whether two tensors are equal but for rounding, at the size of the larger of them."""
        if a.shape != b.shape:
            return False
        size = max(t.abs().max().item() for t in (a, b, *([] if scale is None else [scale])))
        return (a - b).abs().max().item() <= self.near * size

    # ---- the whole ---------------------------------------------------------------------------

    def arch(self) -> Arch:
        """The model's row."""
        blocks, count = self.blocks()
        kinds: dict[tuple, int] = {}
        layers = [kinds.setdefault(self._kind(f"{blocks}.{i}"), i) for i in range(count)]
        parts = {first: _Block(self, f"{blocks}.{first}") for first in dict.fromkeys(layers)}
        zero, *rest = parts.values()
        for part in rest:
            if part.shape() != zero.shape():
                raise self.refusal(
                    f"one name for the MLPs of {zero.name} and {part.name} ({zero.mlp_out}, "
                    f"{part.mlp_out})"
                )
        self.refuse_shared([f"{blocks}.{i}.{zero.mlp_out}" for i in range(count)])
        named = [f"{blocks}.{{}}.{parts[first].attn_out}" for first in layers]
        factor, cap = self.logits()
        within = f"{blocks}.{{}}."
        # numbers that no parameter holds, such as a factor, may differ in blocks of one kind
        linear = all(parts[first].adds(f"{blocks}.{i}") for i, first in enumerate(layers))
        return Arch(
            blocks=blocks,
            mlp_out=within + zero.mlp_out,
            mlp_in=tuple(within + name for name in zero.mlp_in),
            mlp=within + zero.mlp if zero.mlp else None,
            attn_out=ByLayer(named) if len(set(named)) > 1 else named[0],
            final_norm=self.final_norm(f"{blocks}.{count - 1}"),
            embed=self.embed,
            transposed=zero.transposed,
            post_norm=not linear,
            into=None if linear else within + zero.into,
            fused_in=zero.fused,
            logit_factor=factor,
            logit_cap=cap,
            recognized=True,
        )

    def blocks(self) -> tuple[str, int]:
        """The name of the list of blocks, each of which reads what the one before put out."""
        config = self.model.config.get_text_config()
        wanted = getattr(config, "num_hidden_layers", None)
        for module, name in self.names.items():
            if not isinstance(module, nn.ModuleList) or len(module) != (wanted or len(module)):
                continue
            seen = [self.plain.get(f"{name}.{i}") for i in range(len(module))]
            if seen and all(one and one.times == 1 and one.given for one in seen):
                chain = zip(seen, seen[1:], strict=False)
                wide = seen[-1].width == self.size
                if wide and all(self.close(a.put, b.given[0]) for a, b in chain):
                    return name, len(module)
        raise self.refusal(
            f"a list of {wanted or 'all'} blocks, each of which reads what the one before it gives"
        )

    def _kind(self, block: str) -> tuple:
        """What is equal in blocks of one kind: names, classes and shapes of all that is inside."""
        module = self.model.get_submodule(block)
        shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters())
        return shapes, tuple((name, type(part)) for name, part in module.named_modules())

    def refuse_shared(self, projections: Sequence[str]) -> None:
        """Raise FamilyError where a layer's projection is also a weight of something else."""
        owners: dict[int, list[str]] = {}
        for name, p in self.model.named_parameters(remove_duplicate=False):
            kept = plain(p).untyped_storage().data_ptr() if p.numel() else id(p)
            owners.setdefault(kept, []).append(name)
        shared = [names for names in owners.values() if len(names) > 1]
        for module in projections:
            for names in shared:
                if f"{module}.weight" in names:
                    other = next(name for name in names if name != f"{module}.weight")
                    raise self.refusal(f"a matrix of its own in {module}, which shares {other}")

    def final_norm(self, last: str) -> str:
        """The module between the last block and the states that the head reads."""
        after = self.plain[last].put
        found = [
            name
            for name, one in self.plain.items()
            if one.given and self.close(one.given[0], after) and self.close(one.put, self.top)
            if not name.startswith(last) and not self.close(one.put, after)  # a dropout
        ]
        if found:
            return found[0]
        raise self.refusal("a norm between the last block and the head")

    def logits(self) -> tuple[float, float | None]:
        """The factor on the head's logits, and their cap, which is None where there is none.

        logits = factor · head(h), or cap · tanh(head(h) / cap)
        """
        if self.head not in self.plain or not self.close(self.plain[self.head].given[0], self.top):
            raise self.refusal("a head that reads the states after the last norm")
        raw = self.plain[self.head].put
        loud = raw * (LOUD / raw.abs().max())
        put = self.run([""], {self.head: lambda out: loud.to(out).reshape(out.shape)})[""].put
        factor = self._known((put * loud).sum().item() / loud.square().sum().item())
        if self.close(put, factor * loud):
            return factor, None
        low, high = put.abs().max().item(), 1e6
        for _ in range(100):  # a cap is where the largest logit comes out as it does
            cap = (low + high) / 2
            largest = cap * torch.tanh(loud.abs().max() / cap).item()
            low, high = (cap, high) if largest < put.abs().max().item() else (low, cap)
        cap = self._known(high)
        if self.close(put, cap * torch.tanh(loud / cap)):
            return 1.0, cap
        raise self.refusal("how logits come from the head: neither by a factor nor by a cap")

    def _known(self, value: float) -> float:
        """A measured number as the configuration has it, by itself or as a divisor."""
        config = vars(self.model.config.get_text_config()).values()
        exact = [float(v) for v in config if type(v) in (int, float) and v] + [1.0]
        exact += [1 / v for v in exact]
        nearest = min(exact, key=lambda v: abs(v - value))
        known = abs(nearest - value) <= self.near * abs(value)
        return nearest if known else float(f"{value:.5g}")


class _Block:
    """What one block is made of, by names inside it; FamilyError where a piece is missing.

    mlp_out, mlp_in, mlp, attn_out, transposed, fused  as in `Arch`
    linear  a change of the MLP's output arrives at the block's end as it is
    into    the module from whose output on it arrives so, else `mlp_out`
    """

    def __init__(self, search: _Search, name: str) -> None:
        self.search, self.name = search, name
        self.block = search.model.get_submodule(name)
        self.all = [f"{name}.{part}" for part, _ in self.block.named_modules() if part]
        self.plain = {n: search.plain[n] for n in search.plain if n.startswith(f"{name}.")}
        self.whole = search.plain[name]
        self.mixers = self.attentions()
        self.refuse_experts()
        self.turned: dict[str, bool] = {}
        linear = [n for n in self.plain if self.is_linear(n)]
        outside = [n for n in linear if not self.within(n)]
        self.ends = [n for n in outside if self.plain[n].width == search.size]
        if not self.ends:
            raise search.refusal(
                f"an MLP in {name}: no linear module outside {' and '.join(self.mixers)} ends in "
                "the hidden size"
            )
        # the widest one; of equal ones the last
        self.out = max(reversed(self.ends), key=lambda n: self.plain[n].given[0].shape[-1])
        if self.plain[self.out].times > 1:
            raise search.refusal(f"an MLP in {name} that runs once: {self.out} runs again")
        inner = self.inputs(outside)
        attended = [n for n in linear if self.within(n) and self.plain[n].width == search.size]
        if not attended:
            raise search.refusal(f"an output projection in {self.mixers[0]}")
        ends = (self.out, *inner, attended[-1])
        if len({self.turned[n] for n in ends}) > 1:
            raise search.refusal(f"weights that {name} stores in one direction")
        self.linear, into = self.arrives()
        # the attention's end: its last projection, since some attentions add the stream themselves
        lasts = [[n for n in attended if n.startswith(f"{one}.")][-1:] for one in self.mixers]
        last = [n for some in lasts for n in some]
        self.refuse_other_paths([[*last, into], [*self.mixers, into]])
        whole = os.path.commonpath([n.replace(".", "/") for n in (self.out, *inner)])
        mlp = whole.replace("/", ".")
        self.transposed = self.turned[self.out]
        self.mlp_out, self.attn_out, self.into = map(self.short, (self.out, attended[-1], into))
        self.mlp_in = tuple(map(self.short, inner))
        stands = mlp in self.plain and mlp != self.out
        same = stands and search.close(self.plain[mlp].put, self.plain[self.out].put)
        self.mlp = self.short(mlp) if same else None

    def short(self, name: str) -> str:
        """A module's name inside the block."""
        return name.removeprefix(f"{self.name}.")

    def shape(self) -> tuple:
        """What has to be equal in all layers."""
        return self.mlp_out, self.mlp_in, self.mlp, self.transposed, self.fused, self.into

    def adds(self, name: str) -> bool:
        """Whether a change of the MLP's output arrives as it is in another block of this kind."""
        search, whole = self.search, self.search.plain[name]
        attended, out = (search.plain[f"{name}.{n}"].put for n in (self.attn_out, self.mlp_out))
        if not self.linear or search.close(whole.given[0] + attended + out, whole.put):
            return self.linear
        delta = _noise(whole.put[-1])
        changes = {f"{name}.{self.mlp_out}": lambda t: _added(t, -1, delta)}
        moved = search.run([name], changes, until=name)[name].put
        return search.close((moved - whole.put)[-1], delta, scale=whole.put)

    def within(self, name: str) -> bool:
        """Whether a module is an attention or a part of one."""
        return any(name == one or name.startswith(f"{one}.") for one in self.mixers)

    def run(self, changes: Mapping[str, Callable[[Any], Any]]) -> dict[str, Seen]:
        """One run with changes, of which the block's modules are seen."""
        return self.search.run([self.name, *self.all], changes, until=self.name)

    def attentions(self) -> list[str]:
        """The outermost modules that let an earlier token reach a later one."""
        search = self.search
        noise = _noise(self.whole.given[0][0])
        moved = self.run({f"{self.name}<": lambda t: _added(t, 0, noise)})

        def later_equal(a: Tensor, b: Tensor) -> bool:
            return search.close(a[1:], b[1:], scale=a[1:])

        mixing: list[str] = []
        for name, one in self.plain.items():
            other = moved[name]
            if not one.given or one.width != search.size or len(one.put) != search.ids.shape[1]:
                continue
            pairs = zip(one.given, other.given, strict=True)
            if all(later_equal(*pair) for pair in pairs) and not later_equal(one.put, other.put):
                mixing.append(name)
        found = [n for n in mixing if not any(n.startswith(f"{m}.") for m in mixing)]
        if not found:
            raise search.refusal(
                f"an attention in {self.name}, through which an earlier token reaches a later one"
            )
        return found

    def refuse_experts(self) -> None:
        """Raise FamilyError where not every token passes the same matrices."""
        for name in self.all:
            module = self.search.model.get_submodule(name)
            if self.within(name):
                continue
            cubes = [
                p for p in module.parameters(recurse=False) if p.ndim == 3 and min(p.shape) > 1
            ]
            weight = getattr(module, "weight", None)
            idle = name not in self.plain and isinstance(weight, Tensor) and weight.ndim == 2
            some = name in self.plain and len(self.plain[name].put) != self.search.ids.shape[1]
            if cubes or idle or (some and isinstance(weight, Tensor)):
                raise _refusal(
                    self.search.model,
                    f"the MLP of {self.name} is a mixture of experts ({name}), and these are "
                    "edited only in families with a row in ARCHS",
                )

    def is_linear(self, name: str) -> bool:
        """Whether a module is y = W x + b, and puts down whether W is stored (d_in, d_out)."""
        module = self.search.model.get_submodule(name)
        weight, one = getattr(module, "weight", None), self.plain[name]
        if not isinstance(weight, Tensor) or weight.ndim != 2 or not one.given:
            return False
        bias = getattr(module, "bias", None)
        put = one.put if bias is None else one.put - bias.detach().float().cpu()
        x = one.given[0]
        for turned in (False, True):
            W = dense(weight.detach(), turned).cpu()
            if x.shape[-1] == W.shape[1] and self.search.close(x @ W.T, put, scale=one.put):
                self.turned[name] = turned
                return True
        return False

    def inputs(self, outside: Sequence[str]) -> tuple[str, ...]:
        """The MLP's input projections, the gate first; one with twice the width is fused."""
        wide = self.plain[self.out].given[0].shape[-1]
        before = outside[: outside.index(self.out)]
        beside = [n for n in before if n.rpartition(".")[0] == self.out.rpartition(".")[0]]
        for width in (wide, 2 * wide):
            for some in (beside, before):
                found = [n for n in some if self.plain[n].width == width]
                if 0 < len(found) <= 2:
                    self.fused = width != wide
                    return tuple(self.gate_first(found))
        raise self.search.refusal(
            f"one or two linear modules before {self.out} that give its {wide} inputs"
        )

    def gate_first(self, found: list[str]) -> list[str]:
        """Two input projections in the order gate, up: twice what `up` gives is twice the key."""
        if len(found) < 2:
            return found
        key = 2 * self.plain[self.out].given[0]
        doubled = self.run({found[0]: lambda out: 2 * out})[self.out].given[0]
        return found[::-1] if self.search.close(doubled, key) else found

    def arrives(self) -> tuple[bool, str]:
        """Whether a change of the MLP's output arrives as it is, and the module from which it does.

        The module is `mlp_out` itself where no module puts out what is added to the stream.
        """
        before = self.whole.put
        delta = _noise(before[-1])

        def change(name: str) -> Tensor:
            put = self.run({name: lambda t: _added(t, -1, delta)})[self.name].put
            return (put - before)[-1]

        arrived = change(self.out)
        if self.search.close(arrived, torch.zeros_like(arrived), scale=before):
            raise self.search.refusal(f"that a change of {self.out} arrives at the block's end")
        if self.search.close(arrived, delta, scale=before):
            return True, self.out
        order = list(self.plain)
        behind = [n for n in order[order.index(self.out) + 1 :] if not self.within(n)]
        for name in behind:
            one = self.plain[name]
            if not self.out.startswith(f"{name}.") and one.put.shape == before.shape:
                if self.search.close(change(name), delta, scale=before):
                    return False, name
        return False, self.out

    def refuse_other_paths(self, ways: Sequence[Sequence[str]]) -> None:
        """Raise FamilyError unless attention and MLP are all that the block adds to the stream.

        ways  modules that are set to zero together; with one of these groups nothing is left.
        """
        given = self.whole.given[0]
        for still in ways:
            put = self.run({name: torch.zeros_like for name in (*self.ends, *still)})[self.name].put
            share = (put * given).sum() / given.square().sum()  # a factor on the whole stream
            if share.abs() > self.search.near and self.search.close(put, share * given):
                return
        raise self.search.refusal(
            f"what {self.name} adds beside {' and '.join(map(self.short, self.mixers))} and "
            f"{self.short(self.out)}: with both set to zero its output is not its input"
        )


# ---- the model as the library runs it ----------------------------------------------------------

ROWS = [[5, 6, 7, 8, 9, 10, 11, 12], [4, 3, 11], [11, 12, 13, 14, 6]]
AT = [2, 1, 3]


def _confirmed(lm: LM) -> Arch:
    near = 5e-4 if lm.dtype == torch.float32 else 0.08
    start = min(1, lm.n_layers - 1)
    delta = (
        0.5
        * torch.stack([_noise(lm.model.get_submodule(lm.arch.embed).weight[0]) for _ in ROWS])[
            :, None
        ]
    )

    def same(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
        pairs = list(zip(found, wanted, strict=True))
        return all((a - b).abs().max() <= near * b.abs().max() for a, b in pairs)

    def read(rows: Sequence[Sequence[int]], changed: Sequence[int] | None = None) -> list[Tensor]:
        """The last states (length, d) of each row alone; `changed` tells where δ is added."""
        found = []
        for i, row in enumerate(rows):
            seqs = sequences(lm, [row])
            with lm.opened(seqs), ExitStack() as hooks:
                if changed is not None:
                    add = partial(_left, partial(_added, at=changed[i], delta=delta[i, 0]))
                    module = lm.model.get_submodule(lm.mlp_out(start))
                    hooks.callback(module.register_forward_hook(add, with_kwargs=True).remove)
                out = lm.backbone(seqs.ids, seqs.real, use_cache=False)
            found.append(out.last_hidden_state[0].float())
        return found

    alone = read(ROWS)
    seqs = sequences(lm, ROWS)
    with lm.opened(seqs):
        batch = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state.float()
    if not same([wide[-len(r) :] for wide, r in zip(batch, ROWS, strict=True)], alone):
        raise _refusal(lm.model, "a padded batch gives other states than its rows by themselves")
    last = [wide[-1:] for wide in alone[1:]]
    step, masked = _steps(lm, 0), _steps(lm, 1)
    if step is not None and not same(step, last):
        raise _refusal(lm.model, "a step with its cache gives other states than the whole run")
    rewinds = masked is not None and same(masked, last)
    wanted = read(ROWS, AT)
    for whole in (False, True):
        lm.arch = replace(lm.arch, whole=whole, rewinds=rewinds)
        try:
            replay = Replay.at_mlp(lm, ROWS, start, lookup=AT)
            for _ in range(2):  # what a first run leaves behind would make the second one wrong
                states = replay.with_added(delta.to(replay.device)).float()
            firsts = [replay.column(i, at) for i, at in enumerate(AT)]
            ends = [replay.column(i, len(row)) for i, row in enumerate(ROWS)]
            found = [w[a:b] for w, a, b in zip(states, firsts, ends, strict=True)]
            some = replay.take([2, 0]).with_added(delta[[2, 0]].to(replay.device)).float()
        except (TypeError, AttributeError, KeyError, IndexError, RuntimeError, StopIteration):
            continue
        if same(found, [wide[at:] for wide, at in zip(wanted, AT, strict=True)]):
            if same([some[0, : ends[2]], some[1, : ends[0]]], [found[2], found[0]]):
                return lm.arch
    raise _refusal(lm.model, "a run from a layer on gives other states than the whole run")


def _steps(lm: LM, more: int) -> list[Tensor] | None:
    """The last state (1, d) of rows 1 and 2, whose last token is read with the cache of the rest.

    `more` tokens are read between, and masked then, as those of a wrong guess are. None for a model
    that keeps no cache, whose whole text is run at every step.
    """
    rows = [[*row[:-1], *[7] * more] for row in ROWS]
    seqs = sequences(lm, rows)
    with lm.opened(seqs):
        out = lm.backbone(seqs.ids, seqs.real, use_cache=True)
        past = getattr(out, lm.cache_name, None)
        if past is None:
            return None
        select_rows(past, torch.tensor([1, 2], device=lm.device))
        mask = seqs.real[1:].clone()
        mask[:, mask.shape[1] - more :] = False
        ends = torch.tensor([[row[-1]] for row in ROWS[1:]], device=lm.device)
        mask = torch.cat([mask, torch.ones_like(ends, dtype=torch.bool)], 1)
        real = torch.ones_like(ends, dtype=torch.bool)
        out = lm.backbone(ends, real, mask=mask, use_cache=True, **{lm.cache_name: past})
    return list(out.last_hidden_state.float())


# ---- small things ------------------------------------------------------------------------------


def _family(model: nn.Module) -> str:
    return getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__


def _refusal(model: nn.Module, why: str) -> FamilyError:
    return FamilyError(f"model family '{_family(model)}' is not recognized: {why}")


def _line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _states(out: Any) -> Tensor | None:
    """The states among what a module puts out, None where there are none."""
    for name in ("logits", "last_hidden_state"):
        out = getattr(out, name, out)
    out = out[0] if isinstance(out, tuple | list) and out else out
    return out if _is_wide(out) else None


def _is_wide(value: Any) -> bool:
    """Whether an argument is a row per token, or may be one."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (2, 3)


def _rows(wide: Tensor) -> Tensor:
    """States as (tokens, width) in float32 on the CPU, which nobody changes later."""
    return wide.detach().reshape(-1, wide.shape[-1]).float().cpu().clone()


def _noise(like: Tensor) -> Tensor:
    """A vector of the size of `like`, always the same, in no direction that a module favors."""
    draw = torch.randn(like.shape, generator=torch.Generator().manual_seed(0))
    return draw * like.float().square().mean().sqrt().clamp(min=1e-3)


def _added(wide: Tensor, at: int, delta: Tensor) -> Tensor:
    """States with a vector added at one token."""
    moved = wide.clone()
    moved.view(-1, wide.shape[-1])[at] += delta.to(wide)
    return moved


def _left(change: Callable, _: nn.Module, __: tuple, ___: dict, out: Any) -> Any:
    """A hook that changes the states which a module puts out."""
    if isinstance(out, Tensor):
        return change(out)
    return type(out)((change(out[0]), *out[1:]))


def _entered(change: Callable, _: nn.Module, args: tuple, named: dict) -> tuple[tuple, dict]:
    """A hook that changes the states which a module reads."""
    if args:
        return (change(args[0]), *args[1:]), named
    first = next(name for name, value in named.items() if _is_wide(value))
    return args, {**named, first: change(named[first])}
