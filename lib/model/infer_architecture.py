"""Inferring a row of ARCHS by running a model whose family has no row.

A single run with hooks shows the inputs and outputs of every module. Among a block's linear maps
into the hidden size, the MLP's output projection is the map with the widest input, and among equals
the last to run; the attention's is the last such map before it. Names are trusted only after
checking numbers: `arch_of` changes the states in each block, and `confirmed` runs the model in the
same way as the library. A model behaving differently is rejected with a short message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import FamilyError, sentence
from .architectures import ARCHS, CAP, Arch, below_head
from .generation import generate, stop_ids
from .hooks import hooked_all
from .partial_forward import Replay
from .quantized import plain

if TYPE_CHECKING:
    from .lm import LM

IDS = torch.arange(3, 12)[None]  # after the ids used by families for padding and ends
ROWS = [[5, 6, 7, 8, 9, 10, 11, 12], [4, 3, 11], [11, 12, 13, 14, 6]]
AT = [2, 1, 3]
# possible errors when running a model differently than it expects
UNFIT = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, StopIteration)


def arch_of(model: Any) -> Arch:
    """Return the row of ARCHS for a transformers model, or one inferred by running it.

    Raises FamilyError if a model is not recognized.
    """
    family = getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__
    if family in ARCHS:
        return ARCHS[family]
    with _refusing(family):
        return infer(model.eval())


def infer(model: Any) -> Arch:
    """Infer a model's row of ARCHS; an error of UNFIT if it works differently."""
    near, at = _near(model), model.get_submodule
    names = {module: name for name, module in model.named_modules()}
    config, (given, put) = model.config.get_text_config(), _run(model)
    below = [n for n in [names[below_head(model)]] if n in put]
    base, count = _first(below, "a part below the head"), config.num_hidden_layers
    top, shorter = put[base], _run(model, ids=IDS[:, :-1])[1][base]
    _require(_close(shorter, top[:-1], near), "it is not causal: later tokens change earlier ones")
    lists = [n for m, n in names.items() if isinstance(m, nn.ModuleList) and len(m) == count]
    blocks = _first([n for n in lists if f"{n}.0" in put], f"{count} blocks that run one by one")
    single = all(p.ndim < 3 or min(p.shape) < 2 for p in at(blocks).parameters())
    _require(single, "its blocks store several matrices in one, like mixtures of experts")
    first, *others = (f"{blocks}.{i}." for i in range(count))
    # the linear maps applied to every token, in the order of running
    maps = [n for n in put if getattr(getattr(at(n), "weight", None), "ndim", 0) == 2]
    maps = [n for n in maps if n.startswith(f"{blocks}.") and len(put[n]) == len(top)]
    ends = [n for n in maps if put[n].shape == top.shape]
    # max returns the first of equals, here the last to run
    out = max((n for n in reversed(ends) if n.startswith(first)), key=lambda n: given[n].shape[-1])
    around, wide, before = out.rpartition(".")[0], given[out].shape[-1], maps[: maps.index(out)]
    beside = [n for n in before if n.rpartition(".")[0] == around] or before
    by_width = {n: [m for m in beside if put[m].shape[-1] == n] for n in (wide, 2 * wide)}
    inner = by_width[wide] or by_width[2 * wide]
    _require(len(inner) in (1, 2), f"{len(inner)} modules feed {out}, not one or two")
    # doubling the output of `up` doubles the key, and `up` comes last
    twice = _run(model, {inner[0]: lambda states: 2 * states}, [out])[0][out]
    inner = inner[::-1] if _close(twice, 2 * given[out], near) else inner
    mlp = [n.removeprefix(first) for n in (out, *inner)]
    attn_out: dict[str, None] = {}  # one name for each kind of attention, if kinds alternate
    weights = Counter(plain(p).data_ptr() for _, p in model.named_parameters("", True, False))
    for block in (first, *others):
        inside, end = {block + n for n in mlp}, block + mlp[0]
        _require(inside <= {*maps}, f"{block[:-1]} has no MLP like {first[:-1]}'s")
        own = weights[plain(at(end).weight).data_ptr()] == 1
        _require(own, f"{end} is not a separate matrix, because something else also uses it")
        mixed = [n for n in ends[: ends.index(end)] if n.startswith(block) and n not in inside]
        last = _first(mixed[::-1], f"an attention in {block[:-1]}, before its MLP")
        attn_out[last.removeprefix(block)] = None
    parts = [at(first + n) for n in (*mlp, next(iter(attn_out)))]
    turned = {not isinstance(m, nn.Linear) and m.weight.shape[0] == given[names[m]].shape[-1]
              for m in parts}  # fmt: skip
    _require(len(turned) == 1, "it stores some matrices (d_in, d_out) and others (d_out, d_in)")
    later = [n for n in dropwhile(lambda n: n != out, put) if put[n].shape == top.shape]
    behind = [n for n in later if n.startswith(first) and (n == out or not out.startswith(f"{n}."))]
    into = next((n for n in behind if _arrives(model, put, {first: n})), None)
    ways = {block: block + (into or "").removeprefix(first) for block in (first, *others)}
    alike = into is None or _arrives(model, put, ways)
    _require(alike, "its blocks add their MLP outputs in different ways")
    outside = [n for n in put if n not in ("", base) and not n.startswith(blocks)]
    ended = put[f"{blocks}.{count - 1}"]
    norms = [n for n in outside if _close(given[n], ended, near) and _close(put[n], top, near)]
    head, cap = model.get_output_embeddings(), getattr(config, CAP, None)
    raw = head(top.to(head.weight)).float().cpu()
    raw = raw if cap is None else cap * torch.tanh(raw / cap)
    factor = ((put[""] * raw).sum() / raw.square().sum()).item()
    pattern = f"{blocks}.{{}}."
    whole = around in put and _close(put[around], put[out], near)
    return Arch(
        blocks=blocks,
        mlp_out=pattern + mlp[0],
        mlp_in=tuple(pattern + n for n in mlp[1:]),
        mlp=pattern + around.removeprefix(first) if whole else None,
        attn_out=tuple(pattern + n for n in attn_out),
        final_norm=_first(norms, "a norm between the last block and the head"),
        embed=names[model.get_input_embeddings()],
        transposed=turned == {True},
        post_norm=into != out,
        into=None if into == out else pattern + (into or out).removeprefix(first),
        softcap=None if cap is None else CAP,
        fused_in=not by_width[wide],
        logit_factor=1.0 if abs(factor - 1) < near else factor,
        rewinds=False,
    )


def confirmed(lm: LM) -> Arch:
    """Return the row of a model missing from ARCHS, after confirming it with numbers.

    Its logits have to be the model's own, a padded batch has to equal its individual rows, steps
    with the cache the whole run, and a replay from a layer the whole run with the same change; if
    that only works by running the whole model, `whole` is set. Raises FamilyError if they differ.
    """

    def same(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
        pairs = zip(found, wanted, strict=True)
        return all(_close(a.float().cpu(), b.float().cpu(), 5 * _near(lm.model)) for a, b in pairs)

    def read(row: list[int], at: int, delta: Tensor) -> Tensor:
        """Return a single row's logits from a token on, after moving the MLP's output there."""
        with hooked_all(lm.model, {changed: partial(_left, partial(_added, at=at, delta=delta))}):
            return lm.run([row]).logits[0, at:]

    with _refusing(lm.model.config.model_type):
        changed = lm.mlp_out(0)  # all blocks above run again, possibly of several kinds
        alone = [lm.run([row]).logits[0] for row in ROWS]
        own = lm.model(torch.tensor(ROWS[:1], device=lm.device), use_cache=False).logits
        _require(same(alone[:1], own), "the states after its last norm do not give its own logits")
        batch = lm.run(ROWS, watch=[changed])
        ends = [wide[-len(row) :] for wide, row in zip(batch.logits, ROWS, strict=True)]
        _require(same(ends, alone), "a padded batch gives different states from its single rows")
        steps: dict[bool, list[Tensor]] = {True: [], False: []}
        for cache, kept in steps.items():
            look = partial(lambda kept, _, __, out: kept.append(out[:, -1]), kept)
            with hooked_all(lm.model, {lm.arch.final_norm: look}):
                generate(lm, ROWS, 2, never=[*stop_ids(lm)], cache=cache)
        _require(
            same(*steps.values()), "a step with its cache gives different states from the whole run"
        )
        delta = _noise(batch.seen[changed][1][0, -1].cpu()).expand(len(ROWS), 1, -1)
        wanted = [read(row, at, delta[0, 0]) for row, at in zip(ROWS, AT, strict=True)]
        for whole in (lm.arch.whole, True):
            lm.arch = replace(lm.arch, whole=whole)
            with suppress(*UNFIT):
                replay = Replay.at_mlp(lm, ROWS, 0, lookup=AT)
                for _ in range(2):  # leftovers of a first run would make the second run wrong
                    put = lm.head(replay.with_added(delta.to(replay.device)))
                found = [w[: len(one)] for w, one in zip(put, wanted, strict=True)]
                some = lm.head(replay.take([2]).with_added(delta[[2]].to(replay.device)))
                if same([*found, some[0, : len(wanted[2])]], [*wanted, wanted[2]]):
                    return lm.arch
        raise ValueError("running it from a layer on gives different states from the whole run")


@contextmanager
def _refusing(family: str) -> Iterator[None]:
    """Turn misfits in the body, running without gradients, into a FamilyError."""
    try:
        with torch.no_grad():
            yield
    except UNFIT as error:
        said = f"model family '{family}' is not recognized: {sentence(error)}"
        raise FamilyError(said) from error


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _first(found: Sequence[str], what: str) -> str:
    _require(len(found) > 0, f"running it did not show {what}")
    return found[0]


def _run(
    model: Any,
    changes: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    watch: Iterable[str] | None = None,
    ids: Tensor = IDS,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the first states (tokens, width) read by modules, and the corresponding outputs.

    Both are {module: states}, in the order in which modules end, from one run.

    changes  {module: output -> output}
    watch    the modules to observe, by default all
    """
    given: dict[str, Tensor] = {}
    put: dict[str, Tensor] = {}

    def look(name: str, _: nn.Module, args: tuple, named: dict[str, Any], out: Any) -> None:
        out = getattr(out, "logits", getattr(out, "last_hidden_state", out))
        out = out[0] if isinstance(out, tuple) else out
        wide = [t for t in (*args, *named.values(), out) if isinstance(t, Tensor) and t.ndim > 1]
        if wide and wide[-1] is out and out.is_floating_point():
            given[name], put[name] = _flat(next(filter(Tensor.is_floating_point, wide))), _flat(out)

    hooks = {name: partial(_left, change) for name, change in (changes or {}).items()}
    with hooked_all(model, hooks), ExitStack() as stack:
        for name in dict(model.named_modules()) if watch is None else watch:
            found = model.get_submodule(name)
            stack.enter_context(found.register_forward_hook(partial(look, name), with_kwargs=True))
        ids = ids.to(model.get_input_embeddings().weight.device)
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return given, put


def _arrives(model: Any, put: Mapping[str, Tensor], modules: Mapping[str, str]) -> bool:
    """Return whether additions to the outputs of modules {block: module} reach the block's end.

    One run has a row for each of these blocks, changing the last token of row i in block i.
    """
    deltas = {block: _noise(put[block[:-1]][-1]) for block in modules}
    at = {block: (i + 1) * IDS.shape[1] - 1 for i, block in enumerate(modules)}
    changes = {n: partial(_added, at=at[b], delta=deltas[b]) for b, n in modules.items()}
    _, moved = _run(model, changes, [b[:-1] for b in modules], IDS.expand(len(modules), -1))
    pairs = [(moved[b[:-1]][at[b]], put[b[:-1]][-1] + deltas[b]) for b in modules]
    return all(_close(one, other, 10 * _near(model)) for one, other in pairs)


def _near(model: Any) -> float:
    """Return how far apart equal numbers may be: half precision rounds at its third digit."""
    return 1e-4 if model.get_input_embeddings().weight.dtype == torch.float32 else 0.015


def _close(a: Tensor, b: Tensor, near: float) -> bool:
    """Return whether two tensors are equal except for rounding, relative to the larger of them."""
    size = max(t.abs().max().item() for t in (a, b))
    return a.shape == b.shape and bool((a - b).abs().max() <= near * size)


def _flat(states: Tensor) -> Tensor:
    """Return states as (tokens, width) on the CPU, copied because falcon adds to module outputs."""
    return states.detach().reshape(-1, states.shape[-1]).float().cpu().clone()


def _noise(like: Tensor) -> Tensor:
    """Return a vector of half the size of another, in no direction favored by a model."""
    draw = torch.randn(len(like), generator=torch.Generator().manual_seed(0))
    return draw * like.float().square().mean().sqrt() / 2


def _added(states: Tensor, at: int, delta: Tensor) -> Tensor:
    """Return states with a vector added at one token."""
    moved = states.clone()
    moved.view(-1, states.shape[-1])[at] += delta.to(states)
    return moved


def _left(change: Callable, _: nn.Module, __: tuple, out: Any) -> Any:
    """Change the states that a module outputs, as a hook."""
    return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)
