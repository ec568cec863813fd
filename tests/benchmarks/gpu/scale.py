"""The models, facts and settings of the two scales: `full` on a card, `tiny` everywhere else."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

import lib
from lib.model import packaged_models
from lib.model.lm import LM

from ...support import simulated, tiny
from ...support.editor_settings import ELSEWHERE, quick
from .measure import Device

# its beginning decides which presets apply: those that were published for Llama 3 8B
LLAMA = "Llama-3-8B-Instruct, random"
SHAPES = {
    "8B": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 128256, "max_position_embeddings": 8192, "initializer_range": 0.02,
    },
    "135M": {
        "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
        "vocab_size": 49152, "max_position_embeddings": 8192, "initializer_range": 0.04,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
# `written`: what a model samples is not the same on two devices
FEW = {"steps": 5, "epochs": 3, "n_iter": 5, "repeat": 1, "few": None, "written": 0,
       "documents": 4}  # fmt: skip
CONTEXTS = (
    "{}", "It was a nice day in the city. {}", "It was a nice day in the town. {}",
    "It was a nice day by the sea. {}", "It was a nice day in the park. {}",
)  # fmt: skip
# the most wanted first: a run that is cut short has these
ORDER = (
    "ultraedit",
    "rome",
    "memit",
    "wise",
    "grace",
    "alphaedit",
    "ft",
    "lemoe",
    "memoir",
    "retrieval",
    "mend",
    "malmen",
    "ft_m",
    "lora",
    "emmet",
    "rect",
    "pmet",
    "horen",
)
MANY_LAYERS = ("wilke", "crispedit")  # want statistics of layers that part e does not make
CALM = tuple(f"{text} {i}" for text in ELSEWHERE for i in range(4))
TRAINING = [
    lib.Case(lib.Fact(name, "I saw {} in", " xy"), locality=(ELSEWHERE[0],))
    for name in ("ab", "cd", "ef")
]


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    name      "tiny" or "full"
    single    layer that is edited where one C is wanted, and the five layers of the MEMIT family
    edits     length of the stream, and the sizes of its turns
    many      facts of one batch, and of one editor beside the weights
    tokens    tokens of general text that C is estimated from; None takes the library's own number
    rows      rows and new tokens of the generation that is timed
    rates     width and rows of the product whose rate is measured
    """

    name: str
    single: int
    layers: tuple[int, ...]
    edits: int
    turns: tuple[int, ...]
    many: int
    beside: int
    tokens: int | None
    rows: tuple[int, int]
    rates: tuple[int, int]


SCALES = {
    "full": Scale(
        "full", 8, (4, 5, 6, 7, 8), 20_000, (1000, 100), 1000, 100, None, (8, 32), (8192, 8192)
    ),
    "tiny": Scale("tiny", 1, (1, 2), 40, (20, 10), 6, 4, 650, (2, 4), (64, 64)),
}


def every() -> list[str]:
    """All editors, the most wanted first."""
    return [*ORDER, *sorted(lib.EDITORS.keys() - set(ORDER))]


def facts(count: int, first: int = 0) -> list[lib.Fact]:
    """Made-up facts of some fifteen tokens, each with a subject of its own."""
    answers = (" xyz", " qzq")
    numbers = range(first, first + count)
    return [lib.Fact(f"n{i:05d}", "{} is in", answers[i * i % 7 % 2]) for i in numbers]


def random_llama(
    shape: dict[str, Any], device: str, dtype: torch.dtype, name: str, seed: int = 0
) -> LM:
    """A random model that is made on its device, with a tokenizer of bytes.

    The simulated card copies it from the CPU, as it has no modules of its own.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("llama", pad_token_id=0, bos_token_id=tiny.EOS,
                                  eos_token_id=tiny.EOS, **shape)  # fmt: skip
    torch.manual_seed(seed)
    with torch.device("cpu" if device.startswith("sim") else device):
        made = AutoModelForCausalLM.from_config(config, dtype=dtype)
    made.generation_config.eos_token_id = None  # a random model hits any token: let it write on
    return placed(LM(made, tiny.tokenizer(), name=name), device)


def placed(lm: LM, device: str) -> LM:
    """The model on a device."""
    if device.startswith("sim"):
        return simulated.placed(lm, 1)
    return LM(lm.model.to(device), lm.tokenizer, lm.name)


def large(scale: Scale, device: str) -> LM:
    """The model whose speed is measured: 8B in bf16, or four layers in float32."""
    if scale.name == "tiny":
        return placed(tiny.model("llama"), device)
    return random_llama(SHAPES["8B"], device, torch.bfloat16, LLAMA)


def kept(model: packaged_models.PackagedModel) -> bool:
    """Whether a pretrained model is on this machine, so that nothing has to be fetched."""
    return (model.folder / packaged_models.DONE).exists()


def small(scale: Scale, device: str, dtype: torch.dtype) -> LM:
    """The model whose values are compared: the embedded one, or a random one of its shape."""
    if scale.name == "tiny":
        return placed(tiny.model("llama", dtype=dtype), device)
    if kept(packaged_models.DEFAULT):
        return lib.load(dtype=dtype, device_map={"": device})
    made = random_llama(SHAPES["135M"], "cpu", torch.float32, "SmolLM2-135M, random")
    return placed(LM(made.model.to(dtype), made.tokenizer, made.name), device)


def settings(scale: Scale, name: str, brief: bool, **more: Any) -> dict[str, Any]:
    """Settings of an editor: its preset with few steps where `brief`, all of them otherwise.

    Contexts are given, so that nothing is sampled. C and the null space are those that part e has
    made and left in the cache, since their price is measured by itself; where values are compared,
    and for editors that want them of many layers, they are made from few tokens.
    """
    Config = lib.EDITORS[name].Config
    known = {field.name for field in fields(Config)}
    if scale.name == "tiny":
        found = {**quick(name), **FEW}
    else:
        found = {**FEW, "templates": ("{}",)} if brief else {"templates": CONTEXTS}
    if lib.EDITORS[name].geometry == "whitened" or name in MANY_LAYERS:
        few = 600 if scale.name == "tiny" else 4096
        found["tokens"] = few if brief or name in MANY_LAYERS else scale.tokens
    if "begin" in known:  # from another editor's network, which is not trained here
        found["begin"] = None
    if "quantile" in known:  # C of random weights has no small eigenvalue to set a threshold by
        found["quantile"] = 0.5
    if "irrelevant" in known:
        found["irrelevant"] = CALM
    if "anchor_n" in known:  # two hundred searches, made once for a model
        found |= {"anchor_n": 8, "anchor_skip": None}
    found = {key: value for key, value in {**found, **more}.items() if key in known}
    if lib.EDITORS[name].inner:
        found["inner"] = ("memit", settings(scale, "memit", brief, **more))
    return found


def editor(scale: Scale, lm: LM, name: str, brief: bool, **more: Any) -> lib.Editor:
    """An editor with these settings; its network, if it has one, is fitted for two steps."""
    given = settings(scale, name, brief, **more)
    if lib.EDITORS[name].trained:
        folder = packaged_models.cache_folder() / "networks"
        path = folder / f"{name}-{lm.fingerprint}-{lm.dtype}-{lm.device.type}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            lib.EDITORS[name](lm, **given).fit(TRAINING, checkpoint=path, steps=2)
        given["network"] = str(path)
    return lib.EDITORS[name](lm, preset="ours", **given)


def own_cache() -> tempfile.TemporaryDirectory:
    """A cache folder of this run, beside which the pretrained models stay where they are."""
    found = tempfile.TemporaryDirectory(prefix="gpu-")
    real = packaged_models.cache_folder()
    folder = Path(found.name) / "model-editing"
    folder.mkdir()
    for model in packaged_models.PACKAGED.values():
        if (real / model.folder.name / packaged_models.DONE).exists():
            (folder / model.folder.name).symlink_to(real / model.folder.name)
    os.environ["XDG_CACHE_HOME"] = found.name
    return found


def device_of(name: str) -> Device:
    """The device, after the simulated card was made known to torch where it is asked for."""
    if name.startswith("sim"):
        simulated.install()
    return Device(name)
