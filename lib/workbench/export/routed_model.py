"""A language model with facts edited in beside its weights, and all the code that runs for them.

`lib.workbench.export_model` wrote this file beside a model, and transformers runs it there:

    model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

Who loads the folder runs this file, so read it before. It reads files of the folder and nothing
else, and writes and sends nothing. Settings of the edits, and facts that are text, are in
routing.json, their numbers in routing.safetensors.

A route stands after one module of the model. At the prompt it decides, for each row of a batch,
which of its entries answers there, and that holds for all tokens that are generated. Where none
does, the model is the one before the edits. The prompt is what `generate` is given, and in a plain
call of the model it is the whole text.

Copyright (c) 2026 the authors of modeledit. SPDX-License-Identifier: MIT
"""

# ruff: noqa: F401  # the edits' code, which stands below in an exported folder, uses all of these
from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial, reduce
from os.path import commonprefix
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN as ACTIVATIONS
from transformers.utils import cached_file

GENERAL = Path("general_text.txt")  # by which the edits' code knows how rare a word is


def built(classes: Mapping[str, type], tensors: Mapping[str, Tensor], form: dict[str, Any]) -> Any:
    """What an object of routing.json stands for: a tensor, an object of a class, or itself."""
    if "tensor" in form:
        return tensors[form["tensor"]]
    if "class" not in form:
        return form
    made = object.__new__(classes[form.pop("class")])
    vars(made).update(form)
    return made


class Routed(PreTrainedModel, GenerationMixin):
    """A model with routes after its modules; the model itself is a base class beside this one.

    classes  the classes of the edits' code, by their names.
    _route   the hook of a module with a route.
    """

    classes: ClassVar[dict[str, Any]] = {}
    _route: Any
    _width, _seqs = 0, None  # columns of the prompts while text is generated; the present run

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **more: Any) -> Any:
        """Transformers' own, and the routes from the folder's other files.

        Raises ValueError where one of these is not as it was written.
        """
        more.setdefault("variant", "routed")
        loaded = super().from_pretrained(folder, *args, **more)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        where = more.keys() & {"cache_dir", "revision", "subfolder", "token"}
        model.read_edits(folder, {name: more[name] for name in where})
        return loaded

    def read_edits(self, folder: Any, where: dict[str, Any]) -> dict[str, Any]:
        """Put the routes after their modules, and give all that routing.json says."""
        tensors = load_file(self.as_written(folder, "routing.safetensors", where))
        edits = json.loads(
            self.as_written(folder, "routing.json", where).read_text(encoding="utf-8"),
            object_hook=partial(built, self.classes, tensors),
        )
        self._routes = edits["routes"]
        for name in self._routes:
            self.get_submodule(name).register_forward_hook(partial(self._route, name))
        self.register_forward_pre_hook(self.begin, with_kwargs=True)
        return edits

    def as_written(self, folder: Any, name: str, where: dict[str, Any]) -> Path:
        """The path of one of the folder's files. Raises ValueError where its content is another."""
        path = Path(cached_file(folder, name, **where))
        known = getattr(self.config, "routing_sha256", {}).get(name)
        if hashlib.sha256(path.read_bytes()).hexdigest() != known:
            raise ValueError(
                f"{name} in {folder} is not what was written there, so the edits are not known: "
                "copy the folder again, or export the patch again"
            )
        return path

    def save_pretrained(self, *args: Any, **more: Any) -> None:
        """Raise ValueError: what is saved so would answer as if there were no edits."""
        raise ValueError("the weights alone are the model without its edits: copy the folder")

    def begin(self, model: nn.Module, args: tuple, more: dict[str, Any]) -> None:
        """Say what is read in this run, before the first block runs and any route is asked."""
        ids, mask = more.get("input_ids", *args[:1]), more.get("attention_mask")
        past = more.get("cache", more.get("past_key_values"))  # the name of newer versions first
        later = past is not None and past.get_seq_length() > 0
        if ids is None or getattr(mask, "ndim", 2) != 2 or len(ids[0]) < self._width and not later:
            raise ValueError("the routing reads prompts as token ids, whole, and with a 2D mask")
        real = torch.ones_like(ids).bool() if mask is None else mask[:, -len(ids[0]) :].bool()
        if later:
            return self._seqs.step(ids, real)
        columns = torch.arange(len(ids[0]), device=ids.device)
        prompt = real & (columns < (self._width or len(columns)))
        last = (prompt * columns).max(1).values
        self._seqs = self.classes["Sequences"](ids, real, prompt, last)
        self._seqs.embed = self.get_input_embeddings()

    def generate(self, inputs: Any = None, *args: Any, **more: Any) -> Any:
        """Transformers' own, for prompts as token ids."""
        ids = more.pop("input_ids", inputs)
        self._width = 0 if ids is None else len(ids[0])
        try:
            return super().generate(ids, *args, **more)
        finally:
            self._width = 0


class Noted(Routed):
    """A model with retrieval: the stored fact that answers a prompt is put before its text.

    After Zheng et al., Editing Factual Knowledge In Context, 2023 (arXiv:2305.12740). How rare a
    word is, the folder's general_text.txt says.
    """

    def read_edits(self, folder: Any, where: dict[str, Any]) -> dict[str, Any]:
        """Read the facts too, and what the chat template puts around a message."""
        global GENERAL
        GENERAL = self.as_written(folder, "general_text.txt", where)
        edits = super().read_edits(folder, where)
        self.finders, self.chat = edits["rewrites"], re.compile("(?!)")
        self.tokenizer = AutoTokenizer.from_pretrained(folder, config=self.config, **where)
        if self.tokenizer.chat_template:
            said = [{"role": role, "content": "\ufdd0"} for role in ("user", "assistant", "user")]
            shown = self.tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=True
            )
            front, _, between, back = shown.split("\ufdd0")
            head = commonprefix([front[::-1], between[::-1]])[::-1]  # of a person's turn
            self.chat = re.compile(f"(.*{re.escape(head)})(.*)({re.escape(back)})", re.DOTALL)
        return edits

    def generate(self, inputs: Any = None, *args: Any, **more: Any) -> Any:
        """Transformers' own, for prompts as token ids; they are read behind their notes.

        In the result stand the prompts that were given. `max_length` counts the notes too.
        """
        given, mask = more.pop("input_ids", inputs), more.pop("attention_mask", None)
        real = torch.ones_like(given) if mask is None else mask
        rows = [
            self.noted(row[kept.bool()].tolist()) for row, kept in zip(given, real, strict=True)
        ]
        width = max(map(len, rows))
        ids = torch.tensor([[-1] * (width - len(row)) + row for row in rows], device=given.device)
        real, ids = (ids >= 0).long(), ids.clamp(min=0)
        made = super().generate(ids, *args, attention_mask=real, **more)
        texts = made if isinstance(made, Tensor) else made.sequences
        given = given.repeat_interleave(len(texts) // len(given), 0)  # a row of each for each text
        texts = torch.cat([given, texts[:, width:]], 1)
        return texts if isinstance(made, Tensor) else replace(made, sequences=texts)

    def noted(self, row: list[int]) -> list[int]:
        """One prompt, as text behind the note that is found for it; in a chat for its last message.

        A token that begins every text stays in front of all.
        """
        front = row[: row[:1] == [self.tokenizer.bos_token_id]]
        text = self.tokenizer.decode(row[len(front) :], clean_up_tokenization_spaces=False)
        chat = self.chat.fullmatch(text)
        head, message, back = chat.groups() if chat else ("", text, "")
        noted = reduce(lambda texts, finder: finder(texts), self.finders, [message])
        text = f"{head}{noted[0]}{back}"
        if noted == [message]:
            return row
        return front + self.tokenizer(text, add_special_tokens=False).input_ids
