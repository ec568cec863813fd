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
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..computed_once import remembered
from ..errors import FamilyError, sentence
from .architectures import ARCHS, Arch, ByLayer, below_head, dense
from .batching import sequences
from .generation import go_on
from .hooks import Enough, hooked, hooked_all
from .partial_forward import Replay
from .quantized import plain

if TYPE_CHECKING:
    from .lm import LM

TOKENS = torch.arange(3, 12)[None]  # behind the ids that families keep for padding and ends
LOUD = 60.0  # the largest logit while a cap is looked for: small ones pass a cap unchanged
END = "end_of_blocks"  # a module put behind blocks that no norm follows


def arch_of(model: nn.Module) -> Arch:
    """The row of ARCHS for a transformers model, or what was found by running one like it.

    Models are alike that have one class, configuration and type. Raises FamilyError for a model
    without a row that is not recognized.
    """
    if _family(model) in ARCHS:
        return ARCHS[_family(model)]
    if not hasattr(model, "config"):
        raise _refusal(model, "it is no transformers model")
    arch = remembered(("recognized", *_likeness(model)), partial(recognize, model))
    place, _, name = arch.final_norm.rpartition(".")
    if name == END and not hasattr(model.get_submodule(place), END):
        end, blocks = nn.Identity(), model.get_submodule(arch.blocks)
        model.get_submodule(place).add_module(END, end)
        list(blocks.children())[-1].register_forward_hook(partial(_left, end))
    return arch


def recognize(model: nn.Module) -> Arch:
    """What a row of ARCHS would say of a model, found by running it on a few tokens.

    Raises FamilyError, in one sentence that names what was not found.
    """
    if below_head(model) is model:
        raise _refusal(model, "its `base_model` is the model itself, with nothing below the head")
    with torch.no_grad():
        return _Search(model.eval()).arch()


def confirmed(lm: LM) -> Arch:
    """The recognized row of a model, with what shows only where the library runs it.

    Its logits have to be the model's own, a padded batch has to equal its rows alone, a step with
    the cache the whole run, and a replay from a layer the whole run with the same change.
    `first_position`, `whole` and `rewinds` of the row are set where that needs it. Raises
    FamilyError where they differ all the same.
    """
    try:
        with torch.no_grad():
            return remembered(("confirmed", *_likeness(lm.model)), partial(_confirmed, lm))
    except FamilyError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        raise _refusal(lm.model, f"it does not run as others do: {sentence(error)}") from error


# ---- one run with hooks ------------------------------------------------------------------------


class Seen(NamedTuple):
    """What one module read and put out.

    given  its inputs that have a row per token, each (tokens, width), the first one first.
    put    its output (tokens, width).
    times  how often it ran.
    """

    given: list[Tensor]
    put: Tensor
    times: int = 1


class _Search:
    """One model in parts: `arch` puts together what is found in each kind of its blocks."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        embed, head = model.get_input_embeddings(), model.get_output_embeddings()
        if getattr(embed, "weight", None) is None or getattr(head, "weight", None) is None:
            raise self.refusal("an input embedding and a head that turns states into logits")
        self.embed = self.names[embed]
        self.ids = TOKENS.to(embed.weight.device)
        # half precision rounds at its third digit, and again in every module that follows
        self.near = 1e-4 if embed.weight.dtype == torch.float32 else 0.05
        self.plain = self.run(self.names.values())
        base = self.names[below_head(model)]
        if base not in self.plain:  # its parts were called one by one
            self.plain |= self.run([base], runs=below_head(model))
        self.top = self.plain[base].put
        self.size = self.top.shape[-1]

    def refusal(self, missing: str) -> FamilyError:
        """The error for a piece that was not found."""
        return _refusal(self.model, f"running it did not show {missing}")

    def run(
        self,
        watch: Iterable[str],
        changes: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        runs: Any = None,
        until: str | None = None,
    ) -> dict[str, Seen]:
        """{module: what it read and put out}, in the order in which modules end, from one run.

        changes  {module: output -> output}
        runs     what runs, by default the model
        until    a watched module after which nothing runs
        """
        runs = runs or self.model
        seen: dict[str, Seen] = {}
        changing = {name: partial(_left, change) for name, change in (changes or {}).items()}
        with hooked_all(self.model, changing), ExitStack() as hooks, suppress(Enough):
            for name in watch:
                module = self.model.get_submodule(name)
                look = partial(self._look, seen, name, name == until)
                hooks.callback(module.register_forward_hook(look, with_kwargs=True).remove)
            try:
                runs(input_ids=self.ids, attention_mask=torch.ones_like(self.ids), use_cache=False)
            except (TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
                said = f"it does not run on {self.ids.shape[1]} tokens: {sentence(error)}"
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
        if put is not None:
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
        for name, p in self.model.get_submodule(blocks).named_parameters():
            if p.ndim == 3 and min(p.shape) > 1:
                raise FamilyError(
                    f"model family '{_family(self.model)}' cannot be edited: {blocks}.{name} holds "
                    "several matrices in one, as mixtures of experts do"
                )
        kinds: dict[str, int] = {}  # the first block of each kind, by all that is inside
        layers = [
            kinds.setdefault(f"{block} {[tuple(p.shape) for p in block.parameters()]}", i)
            for i, block in enumerate(self.model.get_submodule(blocks))
        ]
        parts = {first: _Block(self, blocks, first) for first in kinds.values()}
        attended = [part.attn_out for part in parts.values() if part.attn_out]
        if not attended:
            raise self.refusal(
                f"an attention in {blocks}.0, through which an earlier token reaches a later one"
            )
        written = [part for part in parts.values() if part.lacking is None]
        if not written:
            raise parts[0].lacking or AssertionError
        zero = written[0]
        for part in written:
            if not part.fits(zero):
                part.lacking = self.refusal(f"the MLP of {zero.name} in {part.name}")
        rest = [i for i in range(count) if parts[layers[i]].lacking is None]
        self.refuse_shared([f"{blocks}.{i}.{zero.mlp_out}" for i in rest])
        head, factor, cap = self.logits()
        within = f"{blocks}.{{}}."
        named = [within + (parts[first].attn_out or attended[0]) for first in layers]
        # numbers that no parameter holds, such as a factor, may differ in blocks of one kind
        linear = all(parts[layers[i]].is_linear(f"{blocks}.{i}") for i in rest)
        return Arch(
            blocks=blocks,
            mlp_out=within + zero.mlp_out,
            mlp_in=tuple(within + name for name in zero.mlp_in),
            mlp=within + zero.mlp if zero.mlp else None,
            attn_out=ByLayer(named) if len(set(named)) > 1 else named[0],
            final_norm=self.final_norm(f"{blocks}.{count - 1}"),
            embed=self.embed,
            head=head,
            transposed=zero.transposed,
            post_norm=not linear,
            into=None if linear else within + zero.into,
            fused_in=zero.fused,
            logit_factor=factor,
            logit_cap=cap,
            recognized=True,
            lacking={i: str(parts[layers[i]].lacking) for i in range(count) if i not in rest},
        )

    def blocks(self) -> tuple[str, int]:
        """The name of the list of blocks, each of which reads what the one before put out."""
        config = self.model.config.get_text_config()
        wanted = getattr(config, "num_hidden_layers", None)
        lists = {n: len(one) for one, n in self.names.items() if isinstance(one, nn.ModuleList)}
        why: list[str] = []
        # those of the right length first: what they lack is the reason
        for name in sorted(lists, key=lambda name: lists[name] != wanted):
            seen = [self.plain.get(f"{name}.{i}") for i in range(lists[name])]
            ran = [one for one in seen if one and one.given]
            wide = ran[-1].put.shape[-1] if ran else 0
            told = {
                f"are {lists[name]}": lists[name] != (wanted or lists[name]),
                "run more than once": any(one.times > 1 for one in ran),
                "do not all run on a text": 0 < len(ran) < len(seen),
                # as one tensor of more dimensions, or beside each other
                "give more than one state for a token": wide > self.size
                or (not any(seen) and any(n.startswith(f"{name}.0.") for n in self.plain)),
            }
            chain = zip(ran, ran[1:], strict=False)
            fits = wide == self.size and not any(told.values())
            if fits and all(self.close(a.put, b.given[0]) for a, b in chain):
                return name, lists[name]
            why += [f": those of {name} {text}" for text, holds in told.items() if holds]
        raise self.refusal(
            f"a list of {wanted or 'all'} blocks, each of which reads what the one before it gives"
            + "".join(why[:1])
        )

    def refuse_shared(self, projections: Sequence[str]) -> None:
        """Raise FamilyError where a layer's projection is also a weight of something else."""
        weights = [
            plain(p).data_ptr() for _, p in self.model.named_parameters(remove_duplicate=False)
        ]
        for name in projections:
            if weights.count(plain(self.model.get_submodule(name).weight).data_ptr()) > 1:
                raise self.refusal(f"a matrix of its own in {name}: something else has it, too")

    def final_norm(self, last: str) -> str:
        """The module between the last block and the states that the head reads."""
        after = self.plain[last].put
        found = [
            name
            for name, one in self.plain.items()
            if one.given and self.close(one.given[0], after) and self.close(one.put, self.top)
            if not name.startswith(last) and not self.close(one.put, after)  # a dropout
        ]
        if self.close(after, self.top):  # a block's own last norm may be all that there is
            found = [f"{last.rpartition('.')[0].rpartition('.')[0]}.{END}"]
        if found:
            return found[0]
        raise self.refusal("a norm between the last block and the head")

    def logits(self) -> tuple[str, float, float | None]:
        """The head, the factor on its logits, and their cap, which is None where there is none.

        logits = factor · head(h), or cap · tanh(head(h) / cap)
        """
        wide = self.plain[""].put.shape
        heads = [
            (name, share)
            for name, one in self.plain.items()
            if one.given and one.put.shape == wide and one.given[0].shape == self.top.shape
            # it may read a multiple of the states
            if (share := ((one.given[0] * self.top).sum() / self.top.square().sum()).item())
            if self.close(one.given[0], share * self.top)
        ]
        if not heads:
            raise self.refusal("a head that reads the states after the last norm")
        name, share = heads[0]
        raw = self.plain[name].put
        loud = raw * (LOUD / raw.abs().max())
        put = self.run([""], {name: lambda out: loud.to(out).reshape(out.shape)})[""].put
        config = vars(self.model.config.get_text_config()).values()
        known = [1.0, *(float(v) for v in config if type(v) in (int, float) and v)]
        ways: list[list[tuple[float, float | None, Tensor]]] = [
            [(v, None, v * loud) for one in known for v in (one, 1 / one)],
            [(1.0, cap, cap * torch.tanh(loud / cap)) for cap in known],
        ]
        for some in ways:
            factor, cap, made = min(some, key=lambda way: (put - way[2]).abs().max().item())
            if self.close(put, made):
                return name, factor if abs(share - 1) < self.near else factor * share, cap
        raise self.refusal(
            "how logits come from the head: by no factor and no cap of its configuration"
        )


class _Block:
    """What one block is made of, by names inside it.

    lacking   what was not found, None where the block can be written
    attn_out  as in `Arch`, None for a block without attention
    mlp_out, mlp_in, mlp, transposed, fused  as in `Arch`
    linear  a change of the MLP's output arrives at the block's end as it is
    into    the module from whose output on it arrives so, else `mlp_out`
    """

    transposed = fused = False
    mlp: str | None = None
    mlp_in: tuple[str, ...] = ()
    lacking: FamilyError | None = None

    def __init__(self, search: _Search, blocks: str, layer: int) -> None:
        self.search, self.name = search, f"{blocks}.{layer}"
        self.below = f"{blocks}.{layer - 1}" if layer else search.embed
        block = search.model.get_submodule(self.name)
        self.all = [f"{self.name}.{part}" for part, _ in block.named_modules() if part]
        self.plain = {n: one for n, one in search.plain.items() if n.startswith(f"{self.name}.")}
        self.whole = search.plain[self.name]
        self.mixers = self.attentions()
        # the linear modules, and whether their weights are stored (d_in, d_out)
        self.turned = {n: t for n in self.plain if (t := self.stored(n)) is not None}
        self.outside = [n for n in self.turned if not self.within(n)]
        wide = [n for n in self.turned if self.plain[n].put.shape[-1] == search.size]
        self.attended, self.ends = (
            [n for n in wide if self.within(n) == inside] for inside in (True, False)
        )
        self.attn_out = self.short(self.attended[-1]) if self.attended else None
        try:
            self.find_mlp()
        except FamilyError as error:
            self.lacking = error

    def find_mlp(self) -> None:
        """Find the rest; FamilyError where the block has no MLP that can be written."""
        search = self.search
        if self.mixers and not self.attended:
            raise search.refusal(f"an output projection in {self.mixers[0]}")
        self.find_dense()
        self.linear = self.passes(self.out, self.name)
        into = self.out if self.linear else self.into_stream()
        # the attention's end: its last projection, since some attentions add the stream themselves
        within = ([n for n in self.attended if n.startswith(f"{one}.")] for one in self.mixers)
        self.last = [some[-1] for some in within if some]
        self.refuse_other_paths([[*self.last, into], [*self.mixers, into], self.last])
        self.into = self.short(into)

    def find_dense(self) -> None:
        """Find an MLP through which every token passes."""
        search = self.search
        self.refuse_experts()
        if not self.ends:
            raise search.refusal(
                f"an MLP in {self.name}: no linear module outside {' and '.join(self.mixers)} ends "
                "in the hidden size"
            )
        self.out = self.widest(self.ends)
        if self.plain[self.out].times > 1:
            raise search.refusal(f"an MLP in {self.name} that runs once: {self.out} runs again")
        inner = self.inputs(self.outside)
        self.transposed = self.turned[self.out]
        if {self.turned[n] for n in (*inner, *self.attended[-1:])} != {self.transposed}:
            raise search.refusal(f"weights that {self.name} stores in one direction")
        mlp = os.path.commonpath([n.replace(".", "/") for n in (self.out, *inner)]).replace(
            "/", "."
        )
        around = self.plain.get(mlp)
        same = around and search.close(around.put, self.plain[self.out].put)
        self.mlp_out, self.mlp = self.short(self.out), self.short(mlp) if same else None
        self.mlp_in = tuple(map(self.short, inner))

    def widest(self, ends: Sequence[str]) -> str:
        """The module that reads most numbers, of equal ones the last."""
        return max(reversed(ends), key=lambda n: self.plain[n].given[0].shape[-1])

    def short(self, name: str) -> str:
        """A module's name inside the block."""
        return name.removeprefix(f"{self.name}.")

    def fits(self, other: _Block) -> bool:
        """Whether one row can tell of both blocks."""
        names = ("mlp_out", "mlp_in", "mlp", "transposed", "fused", "into")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def passes(self, module: str, block: str) -> bool:
        """Whether a change of a module's output arrives as it is at the end of its block."""
        before = self.search.plain[block].put
        delta = _noise(before[-1])
        changed = self.search.run([block], {module: lambda t: _added(t, -1, delta)}, until=block)
        arrived = (changed[block].put - before)[-1]
        if self.search.close(arrived, torch.zeros_like(arrived), scale=before):
            raise self.search.refusal(f"that a change of {module} arrives at the block's end")
        return self.search.close(arrived, delta, scale=before)

    def is_linear(self, block: str) -> bool:
        """Whether a change of the MLP's output arrives as it is in another block of this kind.

        Where numbers of one run show it, as a sum does, nothing runs again.
        """
        plain, names = (
            self.search.plain,
            [f"{block}.{self.short(n)}" for n in (*self.last, self.out)],
        )
        one, put = plain[block], torch.stack([plain[n].put for n in names]).sum(0)
        added = (one.put - one.given[0])[-1]
        sums = self.search.close(added - put[-1], torch.zeros_like(added), scale=put[-1])
        return self.linear and (sums or self.passes(names[-1], block))

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
        moved = self.run({self.below: lambda t: _added(t, 0, noise)})
        ended = self.run({self.below: lambda t: _added(t, -1, noise)})[self.name].put
        if not search.close(ended[:-1], self.whole.put[:-1]):
            raise search.refusal(f"that {self.name} looks back only: a later token reaches others")

        def mixes(one: Seen, other: Seen) -> bool:
            pairs = zip((*one.given, one.put), (*other.given, other.put), strict=True)
            *read, put = [search.close(a[1:], b[1:]) for a, b in pairs]
            return all(read) and not put

        wide = [n for n, one in self.plain.items() if one.put.shape == self.whole.put.shape]
        mixing = [n for n in wide if self.plain[n].given and mixes(self.plain[n], moved[n])]
        return [n for n in mixing if not any(n.startswith(f"{m}.") for m in mixing)]

    def refuse_experts(self) -> None:
        """Raise FamilyError where not every token passes the same matrices."""
        outside = {n: self.search.model.get_submodule(n) for n in self.all if not self.within(n)}
        runs = {name for name in outside if any(f"{n}.".startswith(f"{name}.") for n in self.plain)}
        classes = {type(outside[name]) for name in runs}
        for name, module in outside.items():
            own = [p.ndim for p in module.parameters(recurse=False) if min(p.shape, default=1) > 1]
            every = name in self.plain and len(self.plain[name].put) == self.search.ids.shape[1]
            # what stands idle beside a running module of its class, as another expert does
            idle = name not in runs and name.rpartition(".")[0] in runs and type(module) in classes
            if idle or (name in runs and max(own, default=1) > 1 and not every) or 3 in own:
                raise _refusal(
                    self.search.model,
                    f"the MLP of {self.name} is a mixture of experts ({name})",
                )

    def stored(self, name: str) -> bool | None:
        """Whether a module's W is stored (d_in, d_out), None where it is not y = W x + b."""
        module, one = self.search.model.get_submodule(name), self.plain[name]
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2 or not one.given:
            return None
        bias = bias if bias is None else bias.detach().float().cpu()
        for turned in (False, True):
            W, x = dense(weight.detach(), turned).cpu(), one.given[0]
            if x.shape[-1] == W.shape[1] and self.search.close(F.linear(x, W, bias), one.put):
                return turned
        return None

    def inputs(self, outside: Sequence[str]) -> tuple[str, ...]:
        """The MLP's input projections, the gate first; one with twice the width is fused."""
        wide = self.plain[self.out].given[0].shape[-1]
        before = outside[: outside.index(self.out)]
        beside = [n for n in before if n.rpartition(".")[0] == self.out.rpartition(".")[0]]
        for width, some in product((wide, 2 * wide), (beside, before)):
            found = [n for n in some if self.plain[n].put.shape[-1] == width]
            if 0 < len(found) <= 2:
                self.fused = width != wide
                # twice what `up` gives is twice the key, and stands last
                key = self.run({found[0]: lambda out: 2 * out})[self.out].given[0]
                ungated = self.search.close(key, 2 * self.plain[self.out].given[0])
                return tuple(found[::-1] if ungated else found)
        raise self.search.refusal(
            f"one or two linear modules before {self.out} that give its {wide} inputs"
        )

    def into_stream(self) -> str:
        """The module from whose output on a change arrives at the block's end as it is.

        It is the MLP's end itself where no module puts out what is added to the stream.
        """
        order = list(self.plain)
        behind = [
            name
            for name in order[order.index(self.out) + 1 :]
            if self.plain[name].put.shape == self.whole.put.shape
            if not self.within(name) and not self.out.startswith(f"{name}.")
        ]
        return next((name for name in behind if self.passes(name, self.name)), self.out)

    def refuse_other_paths(self, ways: Sequence[Sequence[str]]) -> None:
        """Raise FamilyError unless attention and MLP are all that the block adds to the stream.

        ways  modules that are set to zero together; with one of these groups nothing is left, or
              with the last one norms that stand on the stream itself.
        """
        given = self.whole.given[0]
        for still in ways:
            seen = self.run({name: torch.zeros_like for name in (*self.ends, *still)})
            put = seen[self.name].put
            share = (put * given).sum(0) / given.square().sum(0)  # factors on the whole stream
            if share.abs().min() > self.search.near and self.search.close(put, share * given):
                return
        stream = [given]
        for name, one in seen.items():
            parameters = self.search.model.get_submodule(name).parameters()
            if one.given and name != self.name and all(p.ndim == 1 for p in parameters):
                stream += [one.put for wide in stream if self.search.close(one.given[0], wide)][:1]
        if any(self.search.close(wide, put) for wide in stream[1:]):
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
    start = lm.written_layers[0]  # all blocks above run again, which may be of several kinds
    changed = lm.mlp_out(start)

    def same(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
        pairs = list(zip(found, wanted, strict=True))
        return all((a - b).abs().max() <= near * b.abs().max() for a, b in pairs)

    def read(row: list[int], change: Callable[[Tensor], Tensor]) -> Tensor:
        """The logits (length, vocabulary) of a row alone, when this changes what the MLP gives."""
        with hooked(lm.model.get_submodule(changed), partial(_left, change)):
            return lm.run([row]).logits[0]

    ids = torch.tensor(ROWS[:1], device=lm.device)
    own = lm.model(ids, use_cache=False).logits.float()
    for first in (0, (getattr(lm.model.config.get_text_config(), "pad_token_id", 0) or 0) + 1):
        lm.arch = replace(lm.arch, first_position=first)
        alone = [lm.run([row]).logits[0] for row in ROWS]
        if same(alone[:1], own):
            break
    else:
        raise _refusal(lm.model, "the states after its last norm give other logits than its own")
    batch = lm.run(ROWS, watch=[changed])
    ends = [wide[-len(row) :] for wide, row in zip(batch.logits, ROWS, strict=True)]
    if not same(ends, alone):
        raise _refusal(lm.model, "a padded batch gives other states than its rows by themselves")
    last, masked = [wide[-1:] for wide in alone[1:]], _steps(lm, 1)
    rewinds = bool(masked) and same(masked, last)
    if not rewinds and not same(_steps(lm, 0), last):
        raise _refusal(lm.model, "a step with its cache gives other states than the whole run")
    noise = _noise(torch.ones_like(batch.seen[changed][1][:1, :1])).cpu()
    delta = 0.5 * noise.expand(len(ROWS), 1, -1)
    wanted = [
        read(row, partial(_added, at=at, delta=delta[0, 0]))[at:]
        for row, at in zip(ROWS, AT, strict=True)
    ]
    for whole in (False, True):
        lm.arch = replace(lm.arch, whole=whole, rewinds=rewinds)
        try:
            replay = Replay.at_mlp(lm, ROWS, start, lookup=AT)
            for _ in range(2):  # what a first run leaves behind would make the second one wrong
                put = lm.head(replay.with_added(delta.to(replay.device)))
            firsts = [replay.column(i, at) for i, at in enumerate(AT)]
            ends = [replay.column(i, len(row)) for i, row in enumerate(ROWS)]
            found = [w[a:b] for w, a, b in zip(put, firsts, ends, strict=True)]
            some = lm.head(replay.take([2, 0]).with_added(delta[[2, 0]].to(replay.device)))
        except (TypeError, ValueError, AttributeError, LookupError, RuntimeError, StopIteration):
            continue
        if same([*found, some[0, : ends[2]], some[1, : ends[0]]], [*wanted, wanted[2], wanted[0]]):
            return lm.arch
    raise _refusal(lm.model, "a run from a layer on gives other states than the whole run")


def _steps(lm: LM, more: int) -> list[Tensor]:
    """Logits (1, vocabulary) of rows 1 and 2, whose last token is read with the cache of the rest.

    `more` tokens are read between, and masked then, as those of a wrong guess are: nothing where no
    cache is kept, and the whole text is read again.
    """
    seqs = sequences(lm, [[*row[:-1], *[7] * more] for row in ROWS])
    ends = torch.tensor([row[-1] for row in ROWS], device=lm.device)
    read: list[Tensor] = []

    def choose(states: Tensor) -> Tensor:
        read.extend(lm.head(states[:, None]))
        return ends[1:]

    with lm.opened(seqs):
        out = lm.backbone(seqs.ids, seqs.real, use_cache=True)
        mask = seqs.real.clone()
        mask[:, mask.shape[1] - more :] = False
        past = getattr(out, lm.cache_name, None)
        if past is None and more:
            return []
        go_on(lm, seqs, mask, past, range(3), ends, choose, lambda i, _: i > 0 and not read)
    return read


# ---- small things ------------------------------------------------------------------------------


def _family(model: nn.Module) -> str:
    return getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__


def _likeness(model: Any) -> tuple:
    """What is equal in models of which one row tells."""
    config = model.config
    kinds = getattr(model, "dtype", None), getattr(config, "_attn_implementation", None)
    return type(model), *kinds, str(getattr(config, "to_dict", lambda: vars(config))())


def _refusal(model: nn.Module, why: str) -> FamilyError:
    return FamilyError(f"model family '{_family(model)}' is not recognized: {why}")


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


def _left(change: Callable, _: nn.Module, __: tuple, out: Any) -> Any:
    """A hook that changes the states which a module puts out."""
    if isinstance(out, Tensor):
        return change(out)
    return type(out)((change(out[0]), *out[1:]))
