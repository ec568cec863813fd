"""Knowledge in Superposition (Hu et al. 2024) by layer, against text, chance and random weights.

As in the authors' program, 128 known facts are read in every layer in their bare prompts, and ρ
(the paper's P) and the cosines of their keys are taken, plain and whitened. Beside them stand 128
everyday things, which are subjects of another kind, 128 tokens of held-out text, draws from
N(0, C), and the same facts in the same model with random weights and its own C. A second run writes
facts one after another and compares what each of them lost with the sum over ρ.

With `--data FOLDER` the facts are those of counterfact.json there that the model says when it is
asked, and C is of text.txt there if there is one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import lib
from lib import associative_memory as memory
from lib.atomic_files import sha256
from lib.data.facts import Fact
from lib.data.texts import HELD_OUT
from lib.editors import Rome
from lib.evaluation.known_facts import known
from lib.evaluation.superposition import Superposition, kurtosis
from lib.keys_values import value_search
from lib.keys_values.general_text import WANTED
from lib.keys_values.second_moment import second_moment
from lib.model.activations import module_inputs_at
from lib.patch.patch import parted
from notebooks.support import stored_runs
from tests.benchmarks.rows import classroom

from .frame import (
    CLAIMS,
    HERE,
    Experiment,
    Given,
    Row,
    Speed,
    quantile_interval,
    second_moments,
    weights,
)
from .verdicts import OPPOSITE, SAME, UNSEEN, detectable, overall, verdict

LAYERS, STREAM = "superposition_layers", "superposition_stream"
SIZES: dict[str, dict[str, Any]] = {  # tokens: None is the library's number
    "tiny": {"subjects": 8, "written": 3, "draws": 50, "tokens": 512},
    "default": {"subjects": 128, "written": 32, "draws": 1000, "tokens": None},
    "paper": {"subjects": 128, "written": 32, "draws": 1000, "tokens": None},
}
FACTS, THINGS, TEXT, GAUSS, RANDOM = "facts", "things", "text", "Gaussian", "random weights"
QUANTILES = 21
RIGHT = 5.0  # degrees around a right angle
CONTEXT, SKIP = 64, 8  # tokens of a row of held-out text, and those at its beginning left out
SEED = 0


def experiments(given: Given) -> list[Experiment]:
    """The overlaps by layer, and the stream of edits in the first model."""
    size = SIZES[given.scale]
    found, jobs, seconds, room = dict[str, Any](), dict[str, Any](), 0.0, 0
    for place, model in enumerate(given.models):
        lm = given.lm(model)
        sets = [FACTS, THINGS, TEXT, GAUSS]
        if not place and given.scale != "paper":
            sets.append(RANDOM)
        found[called(lm)] = {"identity": lm.identity, "sets": sets, "layers": layers_of(given, lm)}
        for kind in sets:
            jobs[f"{called(lm)}: {kind}"] = partial(layers, given, model, kind)
        one, more = second_moments(lm, tokens(given, lm), len(layers_of(given, lm)))
        seconds += one * (1 + (RANDOM in sets)) + 5 * len(sets)
        room = max(room, more + weights(lm))
    settings = {"scale": given.scale, "models": found, "seed": SEED, **size}
    settings["text"] = text_file(given) and sha256(text_file(given))
    first = given.lm(given.models[0])
    # 20 steps, each a pass forward and one backward of a short prompt and of the KL prompt
    own = size["written"] * 20 * 3 * 24 * Speed.of(first).token
    stream: dict[str, Any] = {
        "model": first.identity,
        "seed": SEED,
        "written": size["written"],
        "editor": config(first),
    }
    if given.data is not None:
        settings["data"] = stream["data"] = sha256(published(given.data))
    command = "python -m tests.benchmarks.papers --paper superposition"
    job = {called(first): partial(written, given, given.models[0])}
    return [
        Experiment(stored_runs.LongRun(LAYERS, settings, jobs, command), seconds, room),
        Experiment(stored_runs.LongRun(STREAM, stream, job, command), own, room),
    ]


def called(lm: lib.LM) -> str:
    """A model's name without the token in front."""
    return parted(lm.name)[0].rstrip("/").split("/")[-1]


def layers_of(given: Given, lm: lib.LM) -> list[int]:
    """All layers; at the smallest scale the first and the last."""
    every = list(range(lm.n_layers))
    return [every[0], every[-1]] if given.scale == "tiny" else every


def tokens(given: Given, lm: lib.LM) -> int:
    """How many tokens of text the second moments are of."""
    width = lm.weight(lm.mlp_out(0)).shape[1]
    return SIZES[given.scale]["tokens"] or WANTED * width


def text_file(given: Given) -> Any:
    """The text of C in the folder of data, None for the library's."""
    found = given.data and given.data / "text.txt"
    return found if found and found.is_file() else None


def published(folder: Path) -> Path:
    """CounterFact in the folder of data; ValueError where it isn't."""
    path = folder / "counterfact.json"
    if not path.is_file():
        raise ValueError(f"there is no {path}: CounterFact as it is published, as one JSON list")
    return path


def facts(given: Given, lm: lib.LM, count: int) -> list[Fact]:
    """Known facts with different subjects, of the paper's file or of those that come along."""
    if given.data is not None:
        path = given.data / "counterfact.json"
        if not path.is_file():
            raise ValueError(
                f"there is no {path}: CounterFact as it is published, as one JSON list"
            )
        cases = known(lm, lib.read_cases(path, limit=20 * count))
    else:
        cases = classroom("all", lm.name)
    different: dict[str, Fact] = {}
    for case in cases:
        different.setdefault((case.fact.subject or case.fact.prompt).lower(), case.fact)
    if len(different) < count:
        raise ValueError(f"{lm.name} knows {len(different)} subjects of {count} that are wanted")
    return list(different.values())[:count]


def keys(given: Given, lm: lib.LM, kind: str, layers: Sequence[int]) -> dict[int, Tensor]:
    """{layer: keys (d_in, n)} of the facts, the things, or tokens of held-out text."""
    count = SIZES[given.scale]["subjects"]
    if kind != TEXT:
        things = (HERE / "things.txt").read_text(encoding="utf-8").split("\n")[:count]
        asked = [Fact(name, "{} are", "?") for name in things] if kind == THINGS else None
        return lm.keys(asked or facts(given, lm, count), layers)
    ids = lm.tokenizer(HELD_OUT.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    rows = lm.windows(ids, CONTEXT)
    places = [(row, at) for row in rows for at in range(SKIP, len(row))]
    chosen = [places[i * len(places) // count] for i in range(count)]
    names = {layer: lm.mlp_out(layer) for layer in layers}
    texts, at = [row for row, _ in chosen], [at for _, at in chosen]
    seen = module_inputs_at(lm, texts, at, list(names.values()))
    return {layer: seen[name].float().T for layer, name in names.items()}


def untrained(lm: lib.LM) -> lib.LM:
    """The same architecture and tokenizer with random weights."""
    torch.manual_seed(SEED)
    made = AutoModelForCausalLM.from_config(copy.deepcopy(lm.model.config)).to(lm.dtype).eval()
    return lib.LM(made, lm.tokenizer, name=f"{called(lm)} at random")


def layers(given: Given, model: Any, kind: str) -> Iterator[Row]:
    """One row for each layer, and one for all of them."""
    size, lm = SIZES[given.scale], given.lm(model)
    name, wanted = called(lm), layers_of(given, lm)
    lm = untrained(lm) if kind == RANDOM else lm
    own = keys(given, lm, FACTS if kind in (RANDOM, GAUSS) else kind, wanted)
    text = keys(given, lm, TEXT, wanted) if kind in (FACTS, THINGS, RANDOM) else None
    count = size["subjects"]
    draw = torch.Generator().manual_seed(SEED)
    chosen = torch.randint(count, (size["draws"], count), generator=draw)
    times = torch.nn.functional.one_hot(chosen, count).sum(1).double()  # (draws, n)
    curves, values = [], []
    more = tokens(given, lm) if size["tokens"] else None
    for layer in wanted:
        C = second_moment(lm, [layer], text_file(given), more, among=wanted)[layer]
        K = own[layer].double()
        if kind == GAUSS:
            K = C.factor.tril() @ torch.randn(K.shape, generator=draw, dtype=torch.float64)
        over = Superposition.of(K, C, layer=layer)
        found = measures(over, times)
        if text is not None:
            less = measures(Superposition.of(text[layer], C, layer=layer), times.flip(0))[
                "kurtosis"
            ]
            found["kurtosis over text"] = found["kurtosis"] - less
        curves.append(found["kurtosis"][1:])
        values.append(found["kurtosis"][:1])
        half = count // 2
        levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        yield {
            "model": name,
            "set": kind,
            "depth": round(layer / max(1, lm.n_layers - 1), 4),
            **{key: short(value) for key, value in over.statistics().items()},
            "quantiles": [short(x) for x in over.off_diagonal().quantile(levels).tolist()],
            "cosines": [short(x) for x in spread(over.cosines)],
            "plain_cosines": [short(x) for x in spread(over.activation_cosines)],
            "half_kurtosis": [
                short(kurtosis(off(over.rho[part, part])))
                for part in (slice(half), slice(half, None))
            ],
            "measures": {key: bounded(column) for key, column in found.items()},
        }
    depth = torch.cat([falling(torch.stack(part, 1), wanted) for part in (values, curves)])
    yield {"model": name, "set": kind, "layer": None, "measures": {"depth": bounded(depth)}}


def measures(over: Superposition, times: Tensor) -> dict[str, Tensor]:
    """{measure: its value, then its value in each draw of subjects (draws, n)}; (1 + draws,).

    A draw counts each pair as often as both of its subjects were drawn, and never a subject with
    itself.
    """
    n = len(over)
    times = torch.cat([torch.ones(1, n, dtype=torch.float64), times])
    pairs = times.sum(1).square() - times.square().sum(1)

    def mean(values: Tensor) -> Tensor:
        return ((times @ values.fill_diagonal_(0)) * times).sum(1) / pairs

    m1, m2, m3, m4 = (mean(over.rho**power) for power in (1, 2, 3, 4))
    spread, q = (m2 - m1**2).clamp(min=0), times @ over.q / n
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    alike = mean(over.rho * over.q[:, None]) / q  # of two whitened keys, over their squared length
    right = [
        mean(((torch.rad2deg(c.clamp(-1, 1).acos()) - 90).abs() < RIGHT).double())
        for c in (over.cosines, over.activation_cosines)
    ]
    return {
        "overlap": (m2 * q).sqrt(),
        "mean/sd": m1 / spread.sqrt(),
        "kurtosis": fourth / spread**2 - 3,
        "common": (1 + (n - 1) * alike) / n,
        "right angles": right[0] - right[1],
    }


def falling(curves: Tensor, layers: Sequence[int]) -> Tensor:
    """How much each curve (draws, layers) falls: minus its rank correlation with the layer."""
    ranks = curves.argsort(1).argsort(1).double()
    ranks = ranks - ranks.mean(1, keepdim=True)
    line = torch.tensor(layers).double()
    line = line.argsort().double() - line.argsort().double().mean()
    return -(ranks @ line) / (ranks.norm(dim=1) * line.norm())


def off(matrix: Tensor) -> Tensor:
    """The entries off the diagonal."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def spread(matrix: Tensor) -> list[float]:
    """[mean, sd] of the entries off the diagonal."""
    return [off(matrix).mean().item(), off(matrix).std(correction=0).item()]


def bounded(column: Tensor) -> list[float]:
    """[value, low, high] of a value and its draws behind it; the value lies within."""
    value, ((low, high),) = column[0].item(), quantile_interval(column[1:, None], 6)
    return [short(x) for x in (value, min(low, value), max(high, value))]


def short(value: Any) -> Any:
    """A number with five digits, None for what is no number (equal keys have no kurtosis)."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


# --- the sum over ρ against a measured stream


def config(lm: lib.LM) -> dict[str, Any]:
    """ROME's settings with the bare prompt as the only template."""
    return Rome(lm, templates=("{}",)).settings_dict()


def written(given: Given, model: Any) -> Iterator[Row]:
    """Facts written one after another by ROME's insert, and what each key then holds too much of.

    error      of each fact but the last, ‖measured − sum‖/‖sum‖: what the patched model puts out at
               its key less its value, and Σ_{i>j} ρ(i, j) δ_i
    disturbed  the same fact's sum, over the length of what it had to add
    residuals  [mean, sd] of the cosines of two residuals δ: what does not average out adds up only
               as far as they share a direction
    """
    lm = given.lm(model)
    editor = Rome(lm, templates=("{}",))
    layer, some = editor.config.layer, facts(given, lm, SIZES[given.scale]["written"])
    name, C = lm.mlp_out(layer), editor.moment(layer)
    found = value_search.search(lm, some, layer, ("{}",), editor.config.search())
    K = lm.keys(some, layer).double()
    V = torch.stack([one.v_star.double() for one in found], 1)
    W, residuals = lm.weight(name).cpu().double(), []
    for k, v in zip(K.T[:, :, None], V.T[:, :, None], strict=True):
        with lm.patched(lib.Patch(weights={name: W.float()})):
            missing = v - lm.output(name, k.T.float()).T.double()
        W = W + missing @ memory.reach(k, C)
        residuals.append(missing)
    with lm.patched(lib.Patch(weights={name: W.float()})):
        measured = lm.output(name, lm.keys(some, layer).T).T.double() - V
    R = torch.cat(residuals, 1)
    # column j holds Σ_{i>j} ρ(i, j) δ_i
    said = R @ memory.interference(K, C).tril(-1)
    error = (measured - said).norm(dim=0)[:-1] / said.norm(dim=0)[:-1]
    unit = R / R.norm(dim=0)
    yield {
        "model": called(lm),
        "set": "stream",
        "layer": layer,
        "facts": len(some),
        "error": [short(x) for x in error.tolist()],
        "disturbed": [short(x) for x in (said.norm(dim=0) / R.norm(dim=0)).tolist()],
        "residuals": [short(x) for x in spread(unit.T @ unit)],
    }


# --- what is printed, and what it says of the claims


def shown(row: Row) -> str:
    """One line for a row, with the paper's figure at the same depth."""
    begin = f"{row['model']}, {row['set']}"
    if row["set"] == "stream":
        worst = max(row["error"])
        facts = f"{begin} of {row['facts']} facts"
        return f"{facts}: the sum is off by {worst:.1e} at worst (paper: exact)"
    if row["layer"] is None:
        falls = number(row["measures"]["depth"])
        return f"{begin}, all layers: kurtosis falls by rank {falls} (paper: from 73 to 8)"
    theirs = CLAIMS["figures"]["superposition"]
    there = theirs[round(row["depth"] * (len(theirs) - 1))]
    found = row["measures"]
    return (
        f"{begin}, layer {row['layer']}: mean/sd {number(found['mean/sd'])}, kurtosis "
        f"{number(found['kurtosis'])} (paper, GPT-2 small at this depth: 0 and {there}), in common "
        f"{number(found['common'])}"
    )


def outcome(name: str, by_layer: Sequence[Row], stream: Sequence[Row]) -> tuple[str, str]:
    """(what came out, the verdict) of a claim, from the rows of one model's facts."""
    (claim,) = (c for c in CLAIMS["claims"] if (c["paper"], c["name"]) == ("superposition", name))
    same, opposite = claim["same"], claim["opposite"]
    if name == "exact":
        worst = max(max(row["error"]) for row in stream)
        facts = sum(row["facts"] for row in stream)
        said = f"{facts} facts in one stream: off by at most {100 * worst:.2g} %"
        return said, verdict((-worst, -worst), same, opposite)
    if name == "depth":
        (row,) = (row for row in by_layer if row["layer"] is None)
        found = row["measures"]["depth"]
        return number(found), verdict(found[1:], same, opposite)
    measure = {
        "nonzero": "overlap",
        "zero_mean": "mean/sd",
        "heavy_tails": "kurtosis",
        "of_knowledge": "kurtosis over text",
        "whitened": "right angles",
    }[name]
    rows = [row for row in by_layer if row["layer"] is not None]
    each = [row["measures"][measure] for row in rows]
    ends = [against(one[1:]) if name == "zero_mean" else one[1:] for one in each]
    every = [verdict(one, same, opposite) for one in ends]
    least, most = min(each), max(each)
    said = (
        f"{len(rows)} layers, {rows[0]['subjects']} subjects: {number(least)} to {number(most)}; "
        f"{every.count(SAME)} same, {every.count(OPPOSITE)} opposite, "
        f"{every.count(UNSEEN)} not seen"
    )
    answer = overall(every)
    if answer == UNSEEN:
        wide = [detectable(one) for one, v in zip(ends, every, strict=True) if v == UNSEEN]
        said += f" (found from {max(wide):.2g} on)"
    return said, answer


def number(found: Sequence[float | None]) -> str:
    """ "9.50 [7.10, 12.00]", with dashes where all keys are one."""
    value, low, high = ("–" if x is None else f"{x:z.2f}".replace("-", "−") for x in found)
    return f"{value} [{low}, {high}]"


def against(ends: Sequence[float]) -> tuple[float, float]:
    """The interval of −|x| where that of x is [low, high]."""
    low, high = ends
    near = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return -max(abs(low), abs(high)), -near


def outcomes(by_layer: Mapping[str, Any], stream: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} from the two files, of the first model's facts."""
    first = next(iter(by_layer["settings"]["models"]))
    rows = [row for row in by_layer["rows"] if (row["model"], row["set"]) == (first, FACTS)]
    names = [c["name"] for c in CLAIMS["claims"] if c["paper"] == "superposition" and "same" in c]
    return {name: outcome(name, rows, stream["rows"]) for name in names}
