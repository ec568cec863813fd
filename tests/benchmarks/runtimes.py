"""The same edits in four runtimes: this library, transformers, peft and llama.cpp.

    npm install --prefix FOLDER node-llama-cpp     # brings llama.cpp as a built library
    OMP_NUM_THREADS=1 python -m tests.benchmarks.runtimes --node FOLDER

Ten facts of the classroom (odd ids), each written alone by one editor and exported in every form.
Each runtime reads the edit's prompt and two of its neighbors as text, with its own tokenizer, and
continues each by twelve tokens, greedily. The rows of runtimes.json compare them with this library,
which computes in float32: for every text, whether the tokenizer made the same ids, and how many of
the new tokens come before the first that differs (twelve: none does). A run goes on behind the
facts that are stored; without the file it begins anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import lib
from lib.atomic_files import whole_file
from lib.evaluation.answers import begins
from lib.model import generation
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom
from tests.benchmarks.tables import made, read, table

OUT = Path(__file__).with_suffix(".json")
FACTS, NEIGHBORS, TOKENS = 10, 2, 12
FILES = ("f32", "f16", "q8_0", "q4_1")
LORA = "llama.cpp, f16 and LoRA"
# Reads prompts from a file, and prints the ids that llama.cpp read and wrote.
SCRIPT = """
import {getLlama} from "node-llama-cpp";
import fs from "node:fs";
const [asked, modelPath, lora] = process.argv.slice(2);
const {prompts, tokens} = JSON.parse(fs.readFileSync(asked, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath, gpuLayers: 0});
const adapters = lora ? {lora: {adapters: [{filePath: lora}]}} : {};
const context = await model.createContext({contextSize: 256, threads: 1, ...adapters});
const said = [];
for (const prompt of prompts) {
    const sequence = context.getSequence();
    const front = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
    const row = [...front, ...model.tokenize(prompt)], made = [];
    for await (const id of sequence.evaluate(row, {temperature: 0, yieldEogToken: true})) {
        made.push(id);
        if (made.length === tokens) break;
    }
    sequence.dispose();
    said.push([row, made]);
}
console.log(JSON.stringify({said, release: llama.llamaCppRelease.release}));
process.exit(0);
"""
Said = list[tuple[list[int], list[int]]]  # of each text, the ids that were read and written


def by_transformers(model: Any, tokenizer: Any, prompts: list[str]) -> Said:
    """What a model of transformers reads and writes, also one behind peft."""
    found = []
    for prompt in prompts:
        read = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**read, max_new_tokens=TOKENS, do_sample=False)
        row = read.input_ids[0].tolist()
        found.append((row, ids[0, len(row) :].tolist()))
    return found


def by_llama(node: Path, prompts: list[str], *files: Path) -> tuple[Said, str]:
    """What llama.cpp reads and writes, from a GGUF file and maybe an adapter, and its release."""
    script, asked = node / "ask.mjs", node / "asked.json"
    script.write_text(SCRIPT, encoding="utf-8")
    asked.write_text(json.dumps({"prompts": prompts, "tokens": TOKENS}), encoding="utf-8")
    told = [str(path.resolve()) for path in (script, asked, *files)]
    done = subprocess.run(["node", *told], cwd=node, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"llama.cpp ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return [(row, made) for row, made in answer["said"]], answer["release"]


def runs(
    lm: lib.LM, plain: Any, case: lib.Case, patch: lib.Patch, node: Path, work: Path
) -> Iterator[tuple[str, Said, str]]:
    """Each runtime's name, what it read and wrote, and llama.cpp's release; this library first."""
    near = [probe.prompt for probe in case.neighborhood[:NEIGHBORS]]
    prompts = [case.fact.text, *near]
    rows, _ = lm.rows(prompts)
    with lm.patched(patch):
        made = generation.generate(lm, rows, TOKENS)
    yield "this library", list(zip(rows, made.ids, strict=True)), ""
    lib.workbench.export_model(lm, patch, work / "model")
    model = AutoModelForCausalLM.from_pretrained(work / "model", dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    yield "transformers", by_transformers(model, tokenizer, prompts), ""
    lib.workbench.export_peft(lm, patch, work / "adapter")
    adapted = PeftModel.from_pretrained(plain, work / "adapter").eval()
    yield "peft", by_transformers(adapted, tokenizer, prompts), ""
    adapted.unload()
    for kind in FILES:
        lib.workbench.export_gguf(lm, patch, work / kind, type=kind)
        file = work / kind / "model.gguf"
        yield f"llama.cpp, {kind}", *by_llama(node, prompts, file)
        file.unlink()
    lib.workbench.export_gguf_lora(lm, patch, work / "lora")
    base, lora = node / "base" / "model.gguf", work / "lora" / "adapter.gguf"
    yield LORA, *by_llama(node, prompts, base, lora)


def same(ours: list[int], theirs: list[int], stops: set[int]) -> int:
    """How many tokens come before the first that differs; all of them where none does."""
    cut = [[*ids, *[-1] * TOKENS][:TOKENS] for ids in (_ended(ours, stops), _ended(theirs, stops))]
    pairs = enumerate(zip(*cut, strict=True))
    return next((i for i, (a, b) in pairs if a != b), TOKENS)


def _ended(ids: list[int], stops: set[int]) -> list[int]:
    """The ids in front of the first one that ends a text."""
    return ids[: next((i for i, number in enumerate(ids) if number in stops), len(ids))]


def counted(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with the counts that the table shows."""
    whole = [[n == TOKENS for n in agreed] for agreed in entry["agreed"]]
    shown = {
        "edits": f"{sum(first for first, *_ in whole)} of {len(whole)}",
        "neighbors": f"{sum(sum(near) for _, *near in whole)} of {sum(len(w) - 1 for w in whole)}",
        "answers": f"{sum(entry['answered'])} of {len(entry['answered'])}",
        "tokenized": f"{sum(map(sum, entry['read']))} of {sum(map(len, entry['read']))}",
    }
    return {**entry, **shown}


@made("runtimes", "runtimes")
def runtimes() -> str:
    """What each runtime wrote, beside what this library wrote."""
    heads = ["runtime", "same prompt ids", "edits alike", "neighbors alike", "new answer said"]
    keys = ("tokenized", "edits", "neighbors", "answers")
    lines = [[name, *(one[key] for key in keys)] for name, one in read("runtimes").items()]
    return table(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", type=Path, required=True, help="folder with node-llama-cpp")
    parser.add_argument("--editor", default="rome")
    parser.add_argument("--facts", type=int, default=FACTS)
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    if not (given.node / "node_modules" / "node-llama-cpp").is_dir():
        raise ValueError(f"{given.node.name} has no node-llama-cpp: npm install it there")
    lm = lib.load(dtype="float32")
    plain = lib.load(dtype="float32").model
    stops = set(generation.stop_ids(lm))
    if not (given.node / "base").exists():
        lib.workbench.export_gguf(lm, lib.EMPTY, given.node / "base")
    rows: dict[str, Any] = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
    done = set(rows.get(LORA, {}).get("ids", ()))
    for case in classroom("tables")[: given.facts]:
        if case.id in done:
            continue
        patch = lib.EDITORS[given.editor](lm).edit([case.fact], check=False)
        with tempfile.TemporaryDirectory() as work:
            for name, said, release in runs(lm, plain, case, patch, given.node, Path(work)):
                if name == "this library":
                    ours = said
                entry = rows.setdefault(
                    name,
                    {"editor": given.editor, "ids": [], "read": [], "agreed": [], "answered": []},
                )
                if release:
                    entry["llama.cpp"] = release
                both = list(zip(ours, said, strict=True))
                entry["ids"].append(case.id)
                entry["read"].append([int(list(a[0]) == list(b[0])) for a, b in both])
                entry["agreed"].append([same(a[1], b[1], stops) for a, b in both])
                text = lm.tokenizer.decode(said[0][1])
                entry["answered"].append(int(begins(text, case.fact.target_new)))
                print(case.id, name, entry["agreed"][-1], repr(text), flush=True)
        with whole_file(OUT) as part:
            stored = {name: counted(entry) for name, entry in rows.items()}
            part.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    measured.record(OUT, {k: v for k, v in vars(given).items() if k != "node"})


if __name__ == "__main__":
    command(main)
