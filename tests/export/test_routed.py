"""A patch with routes or rewrites as a folder that transformers runs without this library."""

from __future__ import annotations

import builtins
import copy
import dis
import json
import os
import subprocess
import sys
import types
from dataclasses import replace

import pytest

import lib
from lib.model.generation import generate
from lib.model.lm import put_in_front
from lib.workbench.cli.main import main
from lib.workbench.export import routed_files

from ..support import tiny

FACTS = [
    lib.Fact("The old tower", "I saw {} in", "xy"),
    lib.Fact("Seven days", "{} are many", "qz"),
]
# both facts' own prompts, rewordings, and others; of different lengths, so that a batch is padded
PROMPTS = [
    "I saw The old tower in", "Seven days are many", "Yesterday I saw The old tower in",
    "a dog", "Seven days are not enough for a dog", "I saw The old tower in",
]  # fmt: skip
QUICK = {"grace": {"n_iter": 20}, "wise": {}, "lemoe": {}, "retrieval": {}}
KINDS = {  # name of the folder: family, editor, settings
    "grace": ("llama", "grace", {}),
    "grace-all": ("gpt2", "grace", {"replacement": "all"}),
    "grace-prompt": ("opt", "grace", {"replacement": "prompt"}),
    "grace-gemma": ("gemma3_text", "grace", {}),
    "wise": ("llama", "wise", {}),
    "wise-row": ("gpt2", "wise", {"pool": "row"}),
    "lemoe": ("llama", "lemoe", {}),
    "lemoe-thin": ("opt", "lemoe", {"expert": "lora", "gate": "softmax"}),
    "lemoe-hidden": ("gpt2", "lemoe", {"routing": "hidden"}),
    "retrieval": ("llama", "retrieval", {}),
    "retrieval-always": ("gpt2", "retrieval", {"always": True}),
}
NEW = 8
RUN = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {}
for folder, prompts in json.load(sys.stdin).items():
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side, tokenizer.pad_token = "left", "<|end|>"
    more = {"add_special_tokens": "<user>" not in prompts[0], "return_tensors": "pt"}
    read = tokenizer(prompts, padding=True, **more)
    alone = tokenizer(prompts[:1], **more)
    ways = {"cache": (read, {}), "none": (read, {"use_cache": False}), "alone": (alone, {})}
    ways["beams"] = (alone, {"num_beams": 2, "num_return_sequences": 2})
    for way, (given, settings) in ways.items():
        made = model.generate(**given, max_new_tokens=8, do_sample=False, **settings)
        size = given.input_ids.shape[1]
        asked = given.input_ids.repeat_interleave(len(made) // len(given.input_ids), 0)
        assert torch.equal(made[:, :size], asked)
        found.setdefault(folder, {})[way] = made[:, size:].tolist()
assert not {"lib", "modeledit"} & set(sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def no_copies_left(tmp_path, monkeypatch):
    """Transformers copies the code that it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "own"))


def run(asked: dict, cwd) -> dict:
    """What a program without this library generates: {folder: {way: ids of each prompt}}."""
    given = {str(folder): prompts for folder, prompts in asked.items()}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=cwd, input=json.dumps(given),
        env={**os.environ, "HF_MODULES_CACHE": str(cwd / "own"), "PYTHONPATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def edited(lm: lib.LM, name: str, **settings) -> lib.Patch:
    at = {} if name == "retrieval" else {"layer": 1}
    return lib.EDITORS[name](lm, **at, **QUICK[name], **settings).edit(FACTS)


def ours(lm: lib.LM, patch: lib.Patch, chat: bool = False) -> tuple[list, list]:
    """The ids that this library generates, with the patch and without."""
    found = []
    for one in (patch, lib.EMPTY):
        with lm.patched(one):
            found.append(generate(lm, lm.rows(PROMPTS, chat=chat)[0], NEW).ids)
    return tuple(found)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """{name: (ids of ours, ids without the patch, ids of the exported model by way)}."""
    folder, known, asked = tmp_path_factory.mktemp("routed"), {}, {}
    for name, (family, editor, settings) in KINDS.items():
        lm = tiny.model(family)
        patch = edited(lm, editor, **settings)
        lib.workbench.export_model(lm, patch, folder / name)
        known[name], asked[folder / name] = ours(lm, patch), PROMPTS
    # a token in front of every text
    lm = tiny.model("llama")
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    put_in_front(lm.tokenizer, "<|end|>")
    for editor in ("wise", "retrieval"):
        name, patch = f"{editor}-behind", edited(lm, editor)
        lib.workbench.export_model(lm, patch, folder / name)
        known[name], asked[folder / name] = ours(lm, patch), PROMPTS
    # in the chat template, also after an earlier turn
    lm = tiny.chatting("llama")
    patch = edited(lm, "retrieval")
    for name, turns in (("retrieval-chat", []), ("retrieval-turns", [("a dog", "barks")])):
        lib.workbench.export_model(lm, patch, folder / name)
        known[name] = ours(lm, patch, chat=turns)
        asked[folder / name] = [lm.chat_text(prompt, turns) for prompt in PROMPTS]
    # weights beside two routes, one of them over notes
    lm = tiny.model("llama")
    weights = lib.EDITORS["ft"](lm, layer=3, epochs=2).edit(FACTS[:1])
    both = lib.EDITORS["grace"](lm, layer=1, n_iter=5).edit(FACTS[1:], after=weights)
    both = lib.EDITORS["retrieval"](lm).edit(FACTS[:1], after=both)
    lib.workbench.export_model(lm, both, folder / "all")
    known["all"], asked[folder / "all"] = ours(lm, both), PROMPTS
    found = run(asked, folder)
    return {name: (*known[name], found[str(folder / name)]) for name in known}


NAMES = [
    *KINDS, "wise-behind", "retrieval-behind", "retrieval-chat", "retrieval-turns",
    "all",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_exported_model_writes_what_the_library_writes(exported, name):
    wanted, base, found = exported[name]
    assert found["cache"] == wanted and found["none"] == wanted
    assert found["alone"] == wanted[:1] and len(found["beams"]) == 2
    assert wanted != base  # some prompt opens the route
    if name in ("grace", "lemoe", "retrieval"):
        assert wanted[3] == base[3]  # and this one does not


@pytest.fixture
def folder(tmp_path):
    lm = tiny.model("llama")
    lib.workbench.export_model(lm, edited(lm, "grace"), tmp_path / "edited")
    return tmp_path / "edited"


def test_the_folder_says_that_it_runs_code(folder):
    card, code = ((folder / name).read_text("utf-8") for name in ("README.md", "routed_model.py"))
    assert "trust_remote_code=True)" in card and "read that file" in card
    assert "beside its weights" in card and "vllm" not in card
    assert "Hartvigsen" in code and "class Deferral" in code and "class Finder" not in code
    assert code.startswith(routed_files.CODE.read_text("utf-8"))
    assert "import lib" not in code and "from ." not in code
    compile(code, "routed_model.py", "exec")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [*QUICK, tuple(QUICK)], ids=str)
def test_every_name_in_the_code_is_known_there(kinds, monkeypatch):
    """A piece that begins to use another name of the library would fail in an exported folder."""
    lm, patch = tiny.model("llama"), lib.EMPTY
    for layer, name in enumerate([kinds] if isinstance(kinds, str) else kinds):
        more = {} if name == "retrieval" else {"layer": layer}
        patch = lib.EDITORS[name](lm, **more, **QUICK[name]).edit(FACTS, patch, check=False)
    code = compile(routed_files._source(lm, patch), "routed_model.py", "exec")
    module = types.ModuleType("exported")
    monkeypatch.setitem(sys.modules, "exported", module)  # dataclasses look their module up
    exec(code, vars(module))
    waiting, asked = [code], set()
    for one in waiting:  # which grows
        asked |= {i.argval for i in dis.get_instructions(one) if i.opname == "LOAD_GLOBAL"}
        waiting += [part for part in one.co_consts if isinstance(part, types.CodeType)]
    assert not asked - vars(module).keys() - vars(builtins).keys()


def test_without_trust_nothing_is_loaded(folder):
    from transformers import AutoModelForCausalLM

    for more in ({}, {"trust_remote_code": False}):
        with pytest.raises(OSError, match="no file named model.safetensors"):
            AutoModelForCausalLM.from_pretrained(folder, **more)
    with pytest.raises(ValueError, match="holds no model that could be loaded"):
        lib.load(str(folder))


def test_a_tokenizer_is_loaded_without_a_question(folder, monkeypatch):
    from transformers import AutoConfig, AutoTokenizer

    def asked(*_):
        raise AssertionError("a question about custom code")

    monkeypatch.setattr("builtins.input", asked)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a dog").input_ids == tiny.model("llama").tokenizer("a dog").input_ids
    assert AutoConfig.from_pretrained(folder).model_type == "llama"
    assert "tokenizer = AutoTokenizer.from_pretrained(" in (folder / "README.md").read_text("utf-8")
    assert (folder / "README.md").read_text("utf-8").count("trust_remote_code=True") == 2


def test_edits_that_are_not_those_written_are_refused(folder, tmp_path):
    """A number that is none, another module, no edits at all, and those of another folder."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    def load():
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

    with pytest.raises(ValueError, match="the model without its edits"):
        load().save_pretrained(tmp_path / "again")
    lm, other = tiny.model("llama"), tmp_path / "other"
    lib.workbench.export_model(lm, edited(lm, "grace", seed=7, eps_init=2.0), other)
    text, numbers = folder / "routing.json", folder / "routing.safetensors"
    before = text.read_bytes(), numbers.read_bytes()
    spoiled = load_file(numbers)
    spoiled["1"] = spoiled["1"] * float("nan")

    def restore():
        text.write_bytes(before[0])
        numbers.write_bytes(before[1])

    for spoil in (
        lambda: save_file(spoiled, numbers),
        lambda: numbers.write_bytes((other / numbers.name).read_bytes()),
        lambda: text.write_bytes(before[0].replace(b"layers.1.", b"layers.9.")),
        lambda: text.write_text('{"routes": {}, "rewrites": []}'),
    ):
        restore()
        spoil()
        with pytest.raises(ValueError, match="is not what was written there, so the edits"):
            load()
    restore()
    assert load()._routes
    config = json.loads((folder / "config.json").read_text())
    del config["routing_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="is not what was written there"):
        load()


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["routed_model.py", "routing.json", "routing.safetensors", "model.routed.safetensors"]
)
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_folder_that_is_not_whole_is_no_model(folder, file, how):
    from transformers import AutoModelForCausalLM

    content = (folder / file).read_bytes()
    (folder / file).unlink()
    if how == "cut":
        (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception, match=r".+"):
        AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)


def test_what_has_no_code_is_refused_by_name_and_nothing_is_written(tmp_path):
    lm, new = tiny.model("llama"), tmp_path / "new"
    horen = lib.EDITORS["horen"](lm, layer=1, n_iter=2).edit(FACTS[:1])
    both = lib.EDITORS["grace"](lm, layer=2, n_iter=2).edit(FACTS[1:], after=horen)
    (place,) = horen.routes
    for patch in (horen, both):
        with pytest.raises(
            lib.errors.ExportError, match=f"^horen decides .* in the place of {place}, "
        ):
            lib.workbench.export_model(lm, patch, new)
    with pytest.raises(
        lib.errors.ExportError,
        match="^grace decides .* share the patch file, which lib.Patch.load reads$",
    ):
        lib.workbench.export_peft(lm, edited(lm, "grace"), new)
    mixture = tiny.model("mixtral")
    with pytest.raises(lib.errors.ExportError, match="is a mixture of experts, whose routes"):
        lib.workbench.export_model(mixture, edited(mixture, "retrieval"), new)
    other = replace(edited(lm, "grace"), base="other 1")
    with pytest.raises(lib.errors.PatchError, match="this patch is for other 1"):
        lib.workbench.export_model(lm, other, new)
    assert not new.exists()


def test_the_command_writes_it(tmp_path, capsys, monkeypatch):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    file = edited(lm, "retrieval").save(tmp_path / "p.safetensors")
    words = ["export", "--patch", str(file), "--to", str(tmp_path / "model"), "--as"]
    assert main([*words, "model"]) == 0 and "saved: model" in capsys.readouterr().out
    assert (tmp_path / "model" / "general_text.txt").exists()
    assert main([*words, "peft"]) == 2
    assert "retrieval writes into the prompt's text" in capsys.readouterr().err
