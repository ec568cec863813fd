"""UltraEdit's seconds per edit against the floor and against the released way of doing it.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.ultraedit_speed --data zsre.json [--json OUT]

One turn of facts of a file (ZsRE, the true answer), all sides in one run and in turn.
floor       multiply-adds of one forward pass, of the activations' gradients down to the lowest
            edited module, and of the head at label positions, at the rate of PyTorch's plain matrix
            product for that many rows in the same run
as released groups of ten facts, logits at every position, gradients of the edited weights as well,
            features through files, and the regression with a (d_in, d_in) matrix
evaluation  answers, rewordings and unrelated prompts, ours sorted by length with the head at label
            positions, as released in groups of ten in the file's order with all logits
authors     their CPU seconds per edit on a machine of 47 G multiply-adds per second and thread;
            `per_rate` scales by the matrix rate
--wide also solves one module of a 7B model (14336 to 4096, 400 columns), both ways.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

import lib
from lib import memory
from lib.data.facts import encode_prompt, encode_target
from lib.keys_values import answer_gradients
from lib.model import scoring
from tests.benchmarks import command

from .rome_speed import timed

AUTHORS = {"rate": 47e9, "seconds": 0.094}  # CPU per edit, one thread
GROUP = 10
SETTINGS = {  # the released code's run on this model
    "down": (18, 19, 20), "gate": (12, 13, 14), "up": (12, 13, 14), "eta": 2.5e-4, "warmup": "none",
    "repeat": 1, "reduction": "group_mean", "strength": 0.0, "keep_keys": False, "few": None,
}  # fmt: skip
Row = tuple[list[int], int]  # token ids of prompt and answer, tokens of the answer


def matrix_rate(rows: int, d: int = 576, width: int = 1536) -> float:
    """Multiply-adds per second of this thread's own time, so that other work does not count."""
    x, w = torch.randn(rows, d), torch.randn(width, d)
    repeats = max(20, int(1e10 / (rows * d * width)))
    _, cpu, _ = timed(lambda: [x @ w.T for _ in range(repeats)])
    return repeats * rows * d * width / cpu


def rows_of(lm: lib.LM, asked: list[tuple[str, str]]) -> list[Row]:
    found = []
    for prompt, answer in asked:
        end = encode_target(lm.tokenizer, answer)
        found.append(([*encode_prompt(lm.tokenizer, prompt), *end], len(end)))
    return found


def padded(lm: lib.LM, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and labels (−100 elsewhere), padded on the right."""
    length = max(len(ids) for ids, _ in rows) - 1
    ids, mask = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length)
    labels = torch.full((len(rows), length), -100)
    for i, (row, n) in enumerate(rows):
        ids[i, : len(row) - 1], mask[i, : len(row) - 1] = torch.tensor(row[:-1]), 1
        labels[i, len(row) - 1 - n : len(row) - 1] = torch.tensor(row[-n:])
    return ids, mask.bool(), labels


def as_released(lm: lib.LM, rows: list[Row], modules: list[str], eta: float, folder: Path) -> None:
    """Features of a turn by plain hooks and a plain backward pass, then the primal regression."""
    model, seen, names = lm.model, {}, [f"{name}.weight" for name in modules]
    weights = {name: p.requires_grad_() for name, p in model.named_parameters() if name in names}
    hooks = []
    for name in modules:
        module = model.get_submodule(name)
        hooks.append(
            module.register_forward_hook(
                lambda _, x, y, n=name: seen.setdefault(n, [x[0]]) and None
            )
        )
        hooks.append(
            module.register_full_backward_hook(lambda _, i, o, n=name: seen[n].append(o[0]))
        )
    rows = sorted(rows, key=lambda row: -len(row[0]))
    files = []
    for start in range(0, len(rows), GROUP):
        ids, mask, labels = padded(lm, rows[start : start + GROUP])
        seen.clear()
        with torch.enable_grad():
            logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
            cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        at = labels >= 0
        pairs = {f"{n} {i}": t.detach()[at] for n, both in seen.items() for i, t in enumerate(both)}
        files.append(folder / f"{start}.safetensors")
        save_file(pairs, files[-1])
    for hook in hooks:
        hook.remove()
    for weight in weights.values():
        weight.grad = None
        weight.requires_grad_(False)
    parts = [load_file(file) for file in files]
    for name in modules:
        K, G = (torch.cat([part[f"{name} {i}"] for part in parts]) for i in (0, 1))
        k_hat, g_hat = ((x - x.mean(0)) / (x.std(0) + 1e-7) for x in (K, G))
        V = -eta * k_hat.square().sum(1, keepdim=True) * g_hat
        torch.linalg.solve(K.T @ K + torch.eye(K.shape[1]), K.T @ V)


def evaluated_as_released(lm: lib.LM, rows: list[Row]) -> list[float]:
    shares = []
    for start in range(0, len(rows), GROUP):
        ids, mask, labels = padded(lm, rows[start : start + GROUP])
        with torch.no_grad():
            logits = lm.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        hits = (logits.argmax(-1) == labels).float()
        shares += [hits[i][labels[i] >= 0].mean().item() for i in range(len(ids))]
    return shares


def evaluated(lm: lib.LM, rows: list[Row]) -> list[float]:
    found = scoring.score(lm, [ids[:-n] for ids, n in rows], [ids[-n:] for ids, n in rows])
    return [score.hits.float().mean().item() for score in found]


def floor(lm: lib.LM, rows: list[Row], lowest: int) -> float:
    """Multiply-adds: one per weight and token forward, and again from the lowest edited layer up.

    Attention's own products are left out, which makes the floor lower than it is.
    """
    block = sum(m.weight.numel() for m in lm.blocks[0].modules() if hasattr(m, "in_features"))
    tokens, labels = sum(len(ids) - 1 for ids, _ in rows), sum(n for _, n in rows)
    head = lm.model.get_output_embeddings().weight.numel()
    return tokens * block * (2 * lm.n_layers - lowest) + 2 * labels * head


def edits(lm: lib.LM, cases: list[lib.Case]) -> dict:
    editor = lib.EDITORS["ultraedit"](lm, **SETTINGS)
    facts = [case.fact for case in cases]
    rows = rows_of(lm, [(fact.text, fact.target_new) for fact in facts])
    names = list(editor.modules())
    editor.edit(facts[:GROUP])  # caches of the first call
    ours, theirs, read = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            ours.append(timed(lambda: editor.edit(facts))[1])
            read.append(timed(lambda: answer_gradients.read(lm, facts, names))[1])
            theirs.append(timed(lambda: as_released(lm, rows, names, 2.5e-4, Path(folder)))[1])
    n, rate = len(facts), matrix_rate(answer_gradients.TOKENS)
    ours, theirs, read = (sorted(times)[1] / n for times in (ours, theirs, read))
    least = floor(lm, rows, 12) / rate / n
    scale = matrix_rate(154) / AUTHORS["rate"]
    return {
        "facts": n, "cpu": ours, "of_it_features": read, "floor": least, "over_floor": ours / least,
        "as_released": theirs, "as_released_over_ours": theirs / ours,
        "rate": rate, "rate_154": scale * AUTHORS["rate"],
        "authors_over_ours_per_rate": AUTHORS["seconds"] / (ours * scale),
    }  # fmt: skip


def evaluation(lm: lib.LM, cases: list[lib.Case]) -> dict:
    asked = [(case.fact.text, case.fact.target_new) for case in cases]
    asked += [(case.paraphrases[0], case.fact.target_new) for case in cases if case.paraphrases]
    asked += [(p.prompt, p.target) for case in cases for p in case.neighborhood[:1] if p.target]
    rows = rows_of(lm, asked)
    _, ours, mine = timed(lambda: evaluated(lm, rows))
    _, theirs, other = timed(lambda: evaluated_as_released(lm, rows))
    same = sum(a == b for a, b in zip(mine, other, strict=True))
    return {
        "prompts": len(rows), "cpu": ours / len(rows), "as_released": theirs / len(rows),
        "as_released_over_ours": theirs / ours, "same_score": same,
    }  # fmt: skip


def wide(columns: int = 400, d_in: int = 14336, d_out: int = 4096) -> dict:
    """One regression at 7B shape: n columns at once, or a (d_in, d_in) matrix."""
    draw = torch.Generator().manual_seed(0)
    K, V = (torch.randn(d, columns, generator=draw) for d in (d_in, d_out))
    _, ours, update = timed(lambda: V.double() @ memory.reach(K.double(), None, 1.0))

    def primal() -> Tensor:
        square = K @ K.T + torch.eye(d_in)
        return torch.linalg.solve(square, K @ V.T)

    _, theirs, other = timed(primal)
    gap = (update.float() - other.T).norm() / other.norm()
    return {"cpu": ours, "primal": theirs, "primal_over_ours": theirs / ours, "gap": gap.item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    cases = list(lib.read_cases(given.data, limit=given.facts, target="true"))
    results: dict = {"threads": torch.get_num_threads(), "model": lm.identity}
    jobs = {"edits": lambda: edits(lm, cases), "evaluation": lambda: evaluation(lm, cases)}
    for name, job in {**jobs, **({"wide": wide} if given.wide else {})}.items():
        results[name] = job()
        print(name, results[name], file=sys.stderr, flush=True)
    text = json.dumps(results, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
