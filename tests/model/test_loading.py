"""`lib.load`: words for types and devices, wrong names, and what transformers takes."""

from __future__ import annotations

import time

import pytest
import torch
from huggingface_hub import HfApi

import lib
from lib.workbench.cli.main import main

from ..support import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model as a local folder."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    lm = tiny.model("llama")
    lm.model.save_pretrained(place)
    lm.tokenizer.save_pretrained(place)
    return place


@pytest.fixture()
def alone(monkeypatch):
    """No network: each question to the hub fails at once; how many were asked."""
    asked = []

    def ask(self, *names, **more):
        asked.append(names)
        raise OSError("no route to the hub")

    monkeypatch.setattr(HfApi, "model_info", ask)
    return asked


@pytest.mark.parametrize(
    "word, meant",
    [("bf16", torch.bfloat16), ("half", torch.float16), (torch.bfloat16, torch.bfloat16),
     ("auto", torch.float32)],
)  # fmt: skip
def test_words_for_the_type_of_the_weights(folder, word, meant):
    assert lib.load(folder, dtype=word).dtype == meant


@pytest.mark.parametrize("wrong", ["bfloat61", "int8", torch.int8])
def test_a_wrong_type_is_a_sentence_before_anything_is_read(wrong):
    with pytest.raises(lib.errors.ArgumentError, match="Available types: float32, bfloat16"):
        lib.load("no/such-model", dtype=wrong)


@pytest.mark.parametrize("wrong", ["cuda:77", "gpu", {"": "cuda:77"}])
def test_a_device_that_is_not_here_is_a_sentence_before_anything_is_read(wrong):
    with pytest.raises(
        lib.errors.ArgumentError, match="needs the device .* not exist here. Use cpu"
    ):
        lib.load("no/such-model", device_map=wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_no_card_is_a_sentence_at_the_command_line(folder, capsys):
    assert main(["prepare", "--editors", "ft", "--model", str(folder), "--device-map", "cuda"]) == 2
    said = capsys.readouterr().err
    assert (
        "needs the device 'cuda', which does not exist here. Use cpu" in said
        and said.count("\n") == 1
    )


@pytest.mark.parametrize("place", ["cpu", {"": "cpu"}, torch.device("cpu"), "auto"])
def test_devices_that_are_here(folder, place):
    assert lib.load(folder, device_map=place).device.type in ("cpu", "cuda")


def test_a_wrong_sink_is_refused_before_the_weights_are_read(folder, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)
    for wrong in ("no token", 5, b"x"):
        with pytest.raises(lib.Error, match="that this tokenizer can put"):
            lib.load(folder, sink=wrong)


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gemma3-270m", "smollm2-135m-instuct"])
def test_a_packaged_name_that_is_mistyped_answers_at_once(name, alone):
    with pytest.raises(
        lib.errors.ArgumentError, match="Did you mean '(gemma-3-270m|smollm2-135m-inst)"
    ):
        lib.load(name)
    assert not alone


@pytest.mark.parametrize("name", ["some/model", "gpt3-xl"])
def test_a_name_of_the_hub_without_a_network_is_one_sentence_soon(name, alone):
    start = time.monotonic()
    with pytest.raises(
        lib.errors.ArgumentError, match=r"(?i)\Anot|connect|offline|cached"
    ) as error:
        lib.load(name)
    assert time.monotonic() - start < 5
    assert "\n" not in str(error.value) and name in str(error.value)
    assert len(alone) == 1


def test_a_hub_that_answers_is_left_to_transformers(monkeypatch, folder):
    from transformers import AutoTokenizer

    seen = {}

    def read(place, **more):
        seen[place] = more
        raise OSError("as transformers says it\nin many lines")

    monkeypatch.setattr(HfApi, "model_info", lambda self, name, **more: seen.update(asked=more))
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", read)
    with pytest.raises(lib.errors.ArgumentError, match="as transformers says it$"):
        lib.load("some/model", revision="v2", token="secret", attn_implementation="eager")
    assert seen["asked"] == {"timeout": 2, "revision": "v2", "token": "secret"}
    assert seen["some/model"] == {"revision": "v2", "token": "secret"}


@pytest.mark.parametrize("name", ["./no/folder", "a/b/c", "~/no-model"])
def test_what_can_be_no_name_of_the_hub_is_named_as_a_folder(name, alone):
    with pytest.raises(lib.errors.ArgumentError, match="There is no folder .* and no such model"):
        lib.load(name)
    assert not alone


def test_a_folder_without_a_model_is_named(tmp_path):
    (tmp_path / "gemma3-270m").mkdir()
    with pytest.raises(
        lib.errors.ArgumentError, match="gemma3-270m' contains .*: there is no config.json in"
    ):
        lib.load(tmp_path / "gemma3-270m")
    (tmp_path / "file").write_text("text")
    with pytest.raises(lib.errors.ArgumentError, match="there is no config.json in it"):
        lib.load(tmp_path / "file")


# ---- what transformers takes ---------------------------------------------------------------------


def test_what_transformers_takes_is_handed_on(folder):
    lm = lib.load(folder, revision="main", trust_remote_code=False, attn_implementation="eager")
    assert lm.model.config._attn_implementation == "eager"
    assert lm.fingerprint == lib.load(folder).fingerprint


def test_what_transformers_does_not_take_is_a_sentence(folder):
    for wrong in ({"revison": "main"}, {"load_in_5bit": True}):
        with pytest.raises(
            lib.errors.ArgumentError, match=f"cannot be loaded with .*{next(iter(wrong))}"
        ):
            lib.load(folder, **wrong)
    with pytest.raises(lib.errors.ArgumentError, match="attn_implementation"):
        lib.load(folder, attn_implementation="nope")


@pytest.mark.parametrize(
    "more", [{"revision": "main"}, {"token": "t"}, {"trust_remote_code": True}]
)
def test_a_packaged_model_takes_nothing_of_the_hub(more, monkeypatch):
    from lib.model import packaged_models

    monkeypatch.setattr(packaged_models, "packaged_model", None)  # nothing is fetched before
    for name in (None, "Gemma-3-270M"):
        with pytest.raises(
            lib.errors.ArgumentError, match=f"packaged model. Omit {next(iter(more))}"
        ):
            lib.load(name, **more)


def test_the_older_word_for_the_type_is_not_passed_over(folder):
    assert lib.load(folder, torch_dtype="bf16").dtype == torch.bfloat16
