"""Which families load and are edited: a tiny random model of each, one line for each family.

    python -m tests.model.families                 # every causal family of transformers
    python -m tests.model.families gemma phi       # some

Each family runs in a process of its own, forked from one that has imported transformers, and has
20 seconds of CPU time. Sizes of configurations are set down by the names of their settings; what
cannot be built in this way is said so. ROME, MEMIT, FT and GRACE each write one fact; the answer's
probability is printed before and under each edit, and after it the model has to be as before.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import warnings
from contextlib import suppress

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import lib
from lib.editors import EDITORS
from lib.model.lm import LM

from ..support import tiny
from ..support.editor_settings import quick

SECONDS = 20
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
    "num_attention_heads_per_layer": None, "max_seq_len": 256, "intermediate_size_mlp": 48,
}  # fmt: skip
OWN: dict[str, dict] = {
    "gemma3n_text": {"intermediate_size": 48, "hidden_size_per_layer_input": 8,
                     "activation_sparsity_pattern": [0.0] * 4, "laurel_rank": 4},
    "lfm2": {"block_auto_adjust_ff_dim": False,
             "layer_types": ["conv", "full_attention"] * 2},
    "granite": {"residual_multiplier": 0.3, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), {"num_key_value_heads": 4}),
    "granitemoehybrid": {"num_local_experts": 0, "position_embedding_type": "rope",
                         "layer_types": ["mamba", "attention"] * 2},
    "cohere2": {"sliding_window": 6},
}  # fmt: skip
EDITS = ("rome", "memit", "ft", "grace")
FACT = lib.Fact("The old tower", "I saw {}", "xy")


def built(family: str) -> LM:
    """A tiny random model of a family, with all sizes that its configuration has."""
    known = AutoConfig.for_model(family)
    names = set(known.to_dict()) | set(getattr(known, "attribute_map", {}))
    more = {name: size for name, size in MORE.items() if name in names and size is not None}
    return tiny.model(family, **{**more, **OWN.get(family, {})})


def tried(family: str) -> str:
    """What became of one family: built, recognized, edited and undone."""
    try:
        lm = built(family)
    except lib.errors.FamilyError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"not built here: {type(error).__name__}: {str(error).splitlines()[:1]}"
    said = [f"before {lm.score(FACT.text, FACT.target_new).sum().exp():.2f}"]
    before = lm.next_token([FACT.text, "It is in the city of Rome"])
    for name in EDITS:
        try:
            editor = EDITORS[name](lm, **quick(name))
            patch = editor.edit([FACT])
            with lm.patched(patch):
                moved = lm.score(FACT.text, FACT.target_new).sum().exp().item()
            undone = torch.equal(lm.next_token([FACT.text, "It is in the city of Rome"]), before)
            said.append(f"{name} {moved:.2f}" + ("" if undone else " NOT UNDONE"))
        except lib.Error as error:
            said.append(f"{name} refused: {error}")
    return "; ".join([*said, repr(lm).partition("; ")[2] or "a row of ARCHS"])


def _tell(family: str, into) -> None:
    torch.set_num_threads(1)
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    warnings.simplefilter("ignore")
    try:
        into.send(tried(family))
    except BaseException as error:
        into.send(f"OUR TRACEBACK {type(error).__name__}: {error}")


def main(families: list[str]) -> None:
    """Print one line per family."""
    forked = multiprocessing.get_context("fork")
    for family in families or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        ours, theirs = forked.Pipe(duplex=False)
        child = forked.Process(target=_tell, args=(family, theirs))
        child.start()
        theirs.close()
        said = f"not done within {SECONDS} s"
        with suppress(EOFError):
            said = ours.recv() if ours.poll(8 * SECONDS) else said
        child.kill()
        child.join()
        print(f"{family}: {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
