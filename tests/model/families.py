"""Writes a page showing which model families can be edited, using a tiny random model of each.

    python -m tests.model.families               # those that were not tried yet, and the page
    python -m tests.model.families gemma phi     # some again, and the page

What became of each is kept as a line of families.jsonl, so that a run that was stopped goes on. To
try all of them again, as after an update of transformers, delete that file: it takes about seven
minutes of CPU time.

Each family runs in a process of its own, forked from one that has imported what transformers needs
for any model, and has 20 seconds of CPU time. Sizes of configurations are set down by the names of
their settings; what cannot be built in this way is said so. Each editor of EDITORS writes one fact.
Its answer has to become likelier, and behind the patch the model has to be as before, bit for bit.
ROME's patch is also saved, loaded, and exported as an adapter.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import re
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from packaging.version import parse as version
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import lib
from lib.model.architectures import ARCHS
from lib.model.lm import LM
from lib.workbench import export_peft

from ..support import tiny
from ..support.editor_settings import quick

PAGE = Path(__file__).parents[2] / "notebooks" / "reference" / "families.md"
STORE = Path(__file__).with_name("families.jsonl")
# the release that the page is of; older ones build some families otherwise
MADE_WITH = version(re.findall(r"transformers ([\d.]*\d)", PAGE.read_text(encoding="utf-8"))[0])
OLDER = "an older transformers builds it otherwise"
of_older = pytest.mark.skipif(version(transformers.__version__) < MADE_WITH, reason=OLDER)
FAMILIES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
SECONDS = 60
EDITORS = ("rome", "memit", "ft", "ft_m", "lora", "ultraedit", "grace", "wise", "lemoe",
           "retrieval")  # fmt: skip
GAIN = 0.1  # nats by which an answer has to become likelier
# sizes that only some configurations have, beside tiny.SIZES; the names are transformers' own
MORE = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "n_routed_experts": 4, "num_experts": 4, "num_local_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 40, "n_group": 1, "topk_group": 1,
    "n_shared_experts": 1, "shared_expert_intermediate_size": 40, "moe_num_experts": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "hidden_size_per_layer_input": 0, "global_head_dim": 8,
    "num_kv_shared_layers": 0, "vocab_size_per_layer_input": 300, "state_size": 8, "expand": 2,
    "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1,
    "mamba_expand": 2, "mamba_chunk_size": 8, "mamba_d_ssm": 64, "mamba_num_heads": 4,
    "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8, "n_inner": 64,
    "shared_intermediate_size": 48, "d_model": 32, "n_heads": 4, "n_layers": 4, "d_ff": 48,
    "ffn_hidden_size": 48, "d_inner": 64, "time_step_rank": 4, "num_heads": 4, "block_ff_dim": 48,
    "max_seq_len": 256, "intermediate_size_mlp": 48, "image_size": 16, "patch_size": 8,
    "decoder_layers": 4, "decoder_ffn_dim": 48, "decoder_attention_heads": 4, "encoder_layers": 1,
    "encoder_ffn_dim": 48, "encoder_attention_heads": 4, "attention_heads": 4,
    "index_n_heads": 4, "index_head_dim": 8, "index_topk": 8, "first_k_dense_replace": 1,
    "num_dense_layers": 1, "depth": 1, "dff": 48, "num_layers": 4, "num_layers_per_stack": 4,
    "mamba_dt_rank": 4, "mamba_headdim": 8, "n_mamba_heads": 8, "linear_num_heads": 4,
    "linear_head_dim": 8, "shared_experts_intermediate_size": 40, "expert_ffn_hidden_size": 40,
    "zero_expert_num": 2, "moe_topk": 2, "attention_head_size": 8, "feed_forward_size": 48,
    "lsh_attn_chunk_length": 8, "local_attn_chunk_length": 8, "hidden_size_global": 32,
    "encoder_hash_byte_group_vocab": 64, "attention_head_dim": 16,
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 2, "hc_lowrank": 8, "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2, "swa_head_dim": 8, "unpadded_vocab_size": 259,
    "is_decoder": True,  # encoders, such as BERT, write as decoders
    "embedding_size": 32, "input_embedding_size": 32, "output_embedding_size": 32,
}  # fmt: skip
LISTS = {"layer_types", "layers_block_type"}  # the kind of each layer: four shall show all kinds
_TURNS = ["sliding_attention", "full_attention"] * 2
OWN: dict[str, dict] = {
    "gemma3n_text": {"intermediate_size": [48] * 4, "hidden_size_per_layer_input": 8,
                     "activation_sparsity_pattern": [0.0] * 4, "laurel_rank": 4},
    "lfm2": {"block_auto_adjust_ff_dim": False,
             "layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "granitemoehybrid": {"num_local_experts": 0, "position_embedding_type": "rope",
                         "layer_types": ["mamba", "attention"] * 2},
    "llama4_text": {"interleave_moe_layer_step": 2},
    "nemotron_h": {"layers_block_type": ["mamba", "mlp", "attention", "mlp"]},
    "bailing_hybrid": {"layer_group_size": 2},
    "bamba": {"attn_layer_indices": [1, 3]},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
             "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4,
                            "moe_top_k": 2}},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba2": {"head_dim": 16},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"] * 2},
    "xlstm": {"chunk_size": 16},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "n_mamba_heads": 2,
              "attention_hidden_size": 64},
    "zamba2": {"attention_hidden_size": 64},
    "zaya": {"num_experts_per_tok": 1},
    "cohere_compass_text": {"layer_types": _TURNS, "rope_parameters": {
        name: {"rope_type": "default", "rope_theta": 1e4} for name in _TURNS}},
    "dots3_note_text": {"head_dim": 16, "per_layer_config": {}},  # else some layers are large
    "xmod": {"default_language": "en_XX"},
}  # fmt: skip


def sizes(config: Any) -> dict[str, Any]:
    """Small sizes for all settings that a configuration has, and for those inside it."""
    names = set(config.to_dict()) | set(getattr(config, "attribute_map", {}))
    found = {name: size for name, size in {**tiny.SIZES, **MORE}.items() if name in names}
    if "kv_lora_rank" in names:  # every head has a key of its own
        found["num_key_value_heads"] = found["num_attention_heads"]
    for name in LISTS & names:
        listed = list(getattr(config, name) or ())
        kinds = list(dict.fromkeys(listed))
        if len(kinds) > len(set(listed[:4])):
            found[name] = (kinds * 4)[:4]
    for name, part in vars(config).items():
        if isinstance(part, transformers.PreTrainedConfig):
            own = OWN.get(part.model_type, tiny.SPECIAL.get(part.model_type, {}))
            found[name] = {
                "vocab_size": tiny.EOS + 1 + len(tiny.WORDS),
                "pad_token_id": 0,
                **sizes(part),
                **own,
            }
    return found


def built(family: str) -> LM:
    """A tiny random model of a family."""
    return tiny.model(family, **{**sizes(AutoConfig.for_model(family)), **OWN.get(family, {})})


def settings(editor: str, lm: LM) -> dict[str, Any]:
    """The settings of an editor, in layers that this model has."""
    given, last = quick(editor), tuple(range(lm.n_layers))[-2:]
    several = {"layers": last, "down": last}
    return {**given, **{name: layers for name, layers in several.items() if name in given}}


def tried(family: str) -> dict[str, Any]:
    """What became of one family: built, recognized, edited and undone.

    kind     exact, limits, refused, unbuilt, or broken where a traceback of ours came.
    editors  those that wrote the fact and were undone.
    said     what was recognized, or why not, and what each other editor said.
    """
    try:
        lm = built(family)
    except lib.errors.FamilyError as error:
        return {"kind": "refused", "said": str(error)}
    except Exception as error:  # of transformers, which these sizes do not suit
        if any(
            f"{Path('lib') / 'model'}" in f.filename
            for f in traceback.extract_tb(error.__traceback__)
        ):
            return {"kind": "broken", "said": f"{type(error).__name__}: {error}"}
        return {"kind": "unbuilt", "said": f"{type(error).__name__}: {error}"}
    fact = lib.Fact("The old tower", "I saw {}", "xy")
    texts = [fact.text, "It is in the city of Rome"]
    first, before = lm.score(fact.text, fact.target_new).sum(), lm.next_token(texts)
    worked, others, refusals = [], [], 0
    for name in EDITORS:
        try:
            patch = lib.EDITORS[name](lm, **settings(name, lm)).edit([fact])
            with lm.patched(patch):
                gain = (lm.score(fact.text, fact.target_new).sum() - first).item()
            if not torch.equal(lm.next_token(texts), before):
                others.append(f"{name} was not undone")
            elif gain > GAIN or (name == "retrieval" and gain):  # random models do not read
                worked.append(name)
            else:
                others.append(f"{name} moved the answer by {gain:.2f} nats only")
            if name == "rome":
                others += kept(lm, patch, fact)
        except lib.Error as error:
            refusals += 1
            others.append(f"{name}: {error}")
    arch, row = lm.arch, family in ARCHS
    notes = {  # of what every editor finds its way through
        "the MLP reaches the stream through a norm or a factor": arch.post_norm,
        "replays run the whole model": arch.whole,
    }
    # an editor may refuse in a sentence, as LEMoE does for some activations
    exact = "rome" in worked and len(worked) + refusals == len(EDITORS)
    said = "; ".join([*(note for note, holds in notes.items() if holds), *others])
    kind = "exact" if exact else "limits" if worked else "refused"
    return {"kind": kind, "editors": worked, "said": said, "row": row}


def kept(lm: LM, patch: lib.Patch, fact: lib.Fact) -> list[str]:
    """What went wrong when a patch was saved, loaded and exported as an adapter."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        patch.save(Path(folder) / "a.safetensors")
        again = lib.Patch.load(Path(folder) / "a.safetensors")
        with lm.patched(patch):
            wanted = lm.score(fact.text, fact.target_new)
        with lm.patched(again):
            if not torch.equal(lm.score(fact.text, fact.target_new), wanted):
                wrong.append("a saved patch answers otherwise")
        try:
            export_peft(lm, patch, Path(folder) / "adapter")
        except lib.errors.ExportError as error:
            wrong.append(f"as an adapter: {error}")
    return wrong


def _tell(family: str, into: Any) -> None:
    torch.set_num_threads(1)
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    try:
        into.send(tried(family))
    except BaseException as error:
        into.send({"kind": "broken", "said": f"{type(error).__name__}: {error}"})


def asked(family: str) -> dict[str, Any]:
    """`tried` in a process of its own."""
    # transformers imports late; what any model needs would cost each child half of its time
    importlib.import_module("transformers.models.llama.modeling_llama")
    forked = multiprocessing.get_context("fork")
    ours, theirs = forked.Pipe(duplex=False)
    child = forked.Process(target=_tell, args=(family, theirs))
    child.start()
    theirs.close()
    said = {"kind": "unbuilt", "said": f"not done within {SECONDS} s"}
    with suppress(EOFError):
        said = ours.recv() if ours.poll(60 * SECONDS) else said  # others may use the processor
    child.kill()
    child.join()
    return {"family": family, **said, "said": " ".join(said["said"].split())}


TITLES = {
    "exact": "Loaded and edited exactly",
    "limits": "Edited with a limit",
    "refused": "Rejected",
    "unbuilt": "Cannot be built here",
    "broken": "Broken",
}
INTRO = """# Families of models

<!-- python -m tests.model.families writes this page -->

`lib.load` accepts every model that transformers can load as a causal language model. Families with
a row in `lib/model/architectures.py` are known. For any other family, the library runs the model
on a few tokens to find its parts, checks each numerically before using it, and rejects the model
with an explanation if a part is not found. It rejects mixtures of experts, models that are not
causal, decoders without a norm after the last block, such as BERT's, and models whose blocks do
not all have an attention and an MLP, such as Mamba. If a model fits and only its names are not
found, you can supply them using `lib.load(NAME, arch=Arch(…))`.

We tested the {total} causal families of transformers {version}, each as a random model with four
layers: **{exact}** are edited exactly, {limits} with a limit that is listed, **{refused}** are
rejected with an explanation, {unbuilt} cannot be built here at these sizes, {untried} were not
tested yet, and {broken} caused a traceback in our code. *Edited exactly* means that `rome`,
`memit`, `ft`, `ft_m`, `lora`, `ultraedit`, `grace`, `wise`, `lemoe`, and `retrieval` each make a
new answer more likely or reject the edit with an explanation, that removing the patch restores the
model bit for bit, and that ROME's patch can be saved, loaded, and exported as an adapter. It does
not show how well a trained model of the family can be edited. If a norm or a factor follows the
MLP, values are searched through it, and `memit` uses a separate value for each of its layers; a
note next to the name reports this. Encoders, such as BERT, are built as decoders (`is_decoder`).
Without a row, a family's cache is never rewound, so the answers to one prompt are scored one by
one.
"""


def page(rows: list[dict[str, Any]]) -> str:
    """The page listing all families."""
    count = Counter(row["kind"] for row in rows)
    numbers = {kind: count[kind] for kind in TITLES}
    numbers["untried"] = len(FAMILIES) - len(rows)
    out = [INTRO.format(total=len(FAMILIES), version=transformers.__version__, **numbers)]
    for kind, title in TITLES.items():
        mine = [row for row in rows if row["kind"] == kind]
        if not mine:
            continue
        out.append(f"## {title}\n")
        if kind == "exact":
            known = ", ".join(f"`{row['family']}`" for row in mine if row["row"])
            plain = [r for r in mine if not r["row"]]
            out.append(f"With a row: {known}.\n")
            out.append("| recognized by running | notes |\n| --- | --- |")
        else:
            out.append("| family | edited by | reason |\n| --- | --- | --- |")
            plain = mine
        for row in plain:
            edited = "" if kind == "exact" else f" {', '.join(row.get('editors', [])) or '–'} |"
            why = row["said"].replace("|", "\\|").replace("<", "‹").replace(">", "›")
            why = why.removeprefix(f"model family '{row['family']}' is not recognized: ")
            out.append(f"| `{row['family']}` |{edited} {why[:260] or '–'} |")
        out[-1] += "\n"
    return "\n".join(out)


def kept_rows() -> dict[str, dict[str, Any]]:
    """{family: what became of it} in the last run."""
    lines = STORE.read_text(encoding="utf-8").splitlines() if STORE.exists() else []
    return {row["family"]: row for row in map(json.loads, lines)}


def main(families: list[str]) -> None:
    """Try families, keep what became of each, and write the page."""
    rows = kept_rows()
    if unknown := [name for name in families if name not in FAMILIES]:
        raise SystemExit(f"transformers has no causal family called {', '.join(unknown)}")
    for family in families or [name for name in FAMILIES if name not in rows]:
        rows[family] = asked(family)
        print(json.dumps(rows[family]), flush=True)
        lines = [json.dumps(rows[name]) for name in sorted(rows)]
        STORE.write_text("\n".join(lines) + "\n", encoding="utf-8")
        PAGE.write_text(page([rows[name] for name in sorted(rows)]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
