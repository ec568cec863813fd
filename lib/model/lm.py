"""Defining the language model as one object: a transformers model with its tokenizer.

`LM` is used for answering, generating, scoring and reading activations. `Patchable` is the part for
binding patches. The file is longer than 300 lines because it is the whole public interface of the
model. Its methods are short, and most of them call a function of this folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from ..data import as_facts
from ..data.facts import encode_prompt, lookup, require_encodable
from ..data.normalized_text import normalized
from ..data.texts import GENERAL
from ..errors import ArgumentError, FamilyError
from ..patch.patch import BEHIND
from ..setting_fields import shown
from . import activations, generation, packaged_models, scoring
from .apply_patch import Patchable
from .architectures import ARCHS, Arch, below_head, block_signature, cache_argument
from .devices import dtype_of, refuse_missing
from .hooks import evaluating, swapped
from .infer_architecture import confirmed
from .presets_file import Presets, read_presets
from .quantized import products
from .sequences import Sequences

One = str | Sequence[int]  # a text, or token ids
Several = Iterable[str] | Iterable[Sequence[int]]
Prompts = One | Several
# whether to use the chat template, or the earlier turns: pairs of a person's message and the reply
Chat = bool | Sequence[tuple[str, str]]


class LM(Patchable):
    """A frozen transformers model with its tokenizer, based on `Patchable`.

    tokenizer     its tokenizer.
    cache_name    the name of its key-value cache, as an argument and in an output.
    presets       the presets from a person's own file.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        name: str | None = None,
        *,
        arch: Arch | None = None,
    ) -> None:
        if not isinstance(model, nn.Module) or not hasattr(tokenizer, "decode"):
            raise ArgumentError(
                "lib.LM takes a loaded model and its tokenizer, in this order, not "
                f"{type(model).__name__} and {type(tokenizer).__name__}"
            )
        super().__init__(model, name, arch)
        # a copy of a packaged model gets its presets and facts, even if its folder has another name
        known = {model.weights: model.name for model in packaged_models.PACKAGED.values()}
        plain, sink = known.get(self.fingerprint, self.plain_name), self.sink
        sink = sink or getattr(tokenizer, "init_kwargs", {}).get("sink")
        self.name = f"{plain}{BEHIND}{sink}" if sink else plain
        self.tokenizer = tokenizer
        self.presets = Presets()
        self.cache_name = cache_argument(below_head(self.model))
        # the tokenizer's ids of a text, and the configuration of these weights
        self._reads: tuple[Any, str] = None, ""
        if arch is not None or self.arch not in ARCHS.values():
            self.arch = confirmed(self)  # a row of another family may contain the same names
        self._refuse_unknown_tokens()

    def _refuse_unknown_tokens(self) -> None:
        """Raise FamilyError if the tokenizer makes tokens missing from the embedding table."""
        table, tokens = self.model.get_submodule(self.arch.embed).weight, len(self.tokenizer)
        if tokens <= len(table):
            return
        # Gemma 3's tokenizer has one for images, which is never used in texts
        media = {
            value
            for key, value in self.tokenizer.init_kwargs.items()
            if key.endswith("_token") and key not in self.tokenizer.SPECIAL_TOKENS_ATTRIBUTES
        }
        known = self.tokenizer.get_vocab().items()
        if unknown := [text for text, i in known if i >= len(table) and text not in media]:
            raise FamilyError(
                f"The tokenizer has {tokens:,} tokens, but the embedding table of {self.name} has "
                f"only {len(table):,}, and {shown(unknown[0])} is not one of them. Call "
                "model.resize_token_embeddings(len(tokenizer)) first, or use the model's own "
                "tokenizer."
            )

    def refuse_unknown(self, ids: Tensor) -> None:
        """Raise ArgumentError for token ids without a row in the embedding table.

        On CUDA such an id would make the device unusable for the whole process.
        """
        count = len(self.model.get_submodule(self.arch.embed).weight)
        if len(wrong := ids[(ids < 0) | (ids >= count)]):
            raise ArgumentError(
                f"{self.name} has tokens 0 to {count - 1}, not {wrong[0]}. Use its own tokenizer, "
                "or call model.resize_token_embeddings(len(tokenizer)) first."
            )

    def __repr__(self) -> str:
        whence = f", presets of {self.presets.source}" if self.presets.source else ""
        kind = f"{self.dtype}, quantized" if self.quantized else self.dtype
        found = "" if self.arch in ARCHS.values() else f", MLPs end in {self.arch.mlp_out}"
        return f"LM({self.name}, {self.n_layers} layers, {kind}, {self.device}{whence}{found})"

    # ---- its properties ---------------------------------------------------------------------

    @property
    def blocks(self) -> Any:
        """Return the transformer blocks, an nn.ModuleList."""
        return self.model.get_submodule(self.arch.blocks)

    @property
    def n_layers(self) -> int:
        """Return the number of transformer blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Return the device of the embedding, where token ids are read."""
        return self.model.get_submodule(self.arch.embed).weight.device

    @property
    def devices(self) -> list[torch.device]:
        """Return all devices with a part of the model, in the order of its modules."""
        return list(dict.fromkeys(p.device for p in self.model.parameters()))

    @property
    def head_device(self) -> torch.device:
        """Return the device of the head, where logits are computed and often can stay."""
        return self.model.get_output_embeddings().weight.device

    def block_device(self, block: int) -> torch.device:
        """Return a block's device, or the final norm's for the number after the last block."""
        last = block == self.n_layers
        module = self.model.get_submodule(self.arch.final_norm) if last else self.blocks[block]
        # a norm may have no weights, for example in OLMo
        return next(chain(module.parameters(), self.blocks[-1].parameters())).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the model's weights; matrices in patches are always float32."""
        return self.model.get_submodule(self.arch.embed).weight.dtype

    @property
    def context(self) -> int | None:
        """Return the maximum length of a sequence in tokens, None without a limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def stored_identity(self) -> str:
        """Return an identity of everything affecting computed values (see `lib.computed_once`).

        It includes the weights, the configuration, and the tokenizer. The tokenizer is identified
        by the ids of a long text, by its added and special tokens, and by the text added before a
        text and around a message.
        """
        tokenizer, weights = self.tokenizer, self.fingerprint
        if self._reads[0] != (tokenizer, weights):
            text = GENERAL.read_text(encoding="utf-8")
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            # only differences from the family's defaults, which change with transformers' versions
            ours = {"_name_or_path": None, "transformers_version": None}
            config = self.model.config.to_diff_dict() | ours
            self._reads = (tokenizer, weights), f"{config} {ids}"
        special = tokenizer.special_tokens_map, getattr(tokenizer, "added_tokens_decoder", None)
        template = getattr(tokenizer, "chat_template", None)
        reads = f"{self._reads[1]} {special} {encode_prompt(tokenizer, 'a')} {template}"
        return f"{weights} {self.dtype} {hashlib.sha256(reads.encode()).hexdigest()[:16]}"

    @property
    def leading_bos(self) -> int | None:
        """Return the id that the tokenizer puts before every text, None if there is none."""
        first = encode_prompt(self.tokenizer, "a")[:1]
        return first[0] if first == [self.tokenizer.bos_token_id] else None

    def windows(self, ids: Sequence[int], size: int) -> list[list[int]]:
        """Return token ids in rows of at most `size` or the context, each after any BOS."""
        lead = [] if self.leading_bos is None else [self.leading_bos]
        size = min(size, self.context or size) - len(lead)
        return [[*lead, *ids[first : first + size]] for first in range(0, len(ids), size)]

    def mlp_out(self, layer: int) -> str:
        """Return the name of a layer's MLP output projection; ValueError for an unknown layer."""
        if not 0 <= layer < self.n_layers:
            raise ArgumentError(
                f"Layer {layer} does not exist. {self.name} has layers 0 to {self.n_layers - 1}."
            )
        return self.arch.mlp_out.format(layer)

    def attn_out(self, layer: int) -> str:
        """Return the name of a layer's attention output projection."""
        names = [name.format(layer) for name in self.arch.attn_out]
        there = dict(self.model.named_modules())
        return next(name for name in names if name in there)

    def above(self, layer: int) -> str:
        """Return the name of the module after a block: the next block or the final norm."""
        last = layer == self.n_layers - 1
        return self.arch.final_norm if last else f"{self.arch.blocks}.{layer + 1}"

    # ---- asking it --------------------------------------------------------------------------

    @contextmanager
    def opened(self, seqs: Sequences, grad: bool = False) -> Iterator[Sequences]:
        """Lock the model for one run, so that routes can read `seqs`; gradients only with `grad`.

        Every run of the model uses this method.
        """
        with (
            self.lock,
            torch.set_grad_enabled(grad),
            products(self.quantized),
            evaluating(self.model),
            swapped(self, _seqs=seqs),
        ):
            seqs.embed = self.model.get_submodule(self.arch.embed)
            yield seqs

    def answer(
        self,
        prompts: Prompts,
        max_new_tokens: int = 16,
        *,
        chat: Chat = False,
        explain: bool = False,
    ) -> Any:
        """Return the greedy continuation of a prompt (a list gives a list), without the prompt.

        With chat=True, the prompt is put into the chat template. If `chat` is a list of earlier
        turns, the prompt follows them; each turn is a pair of a person's message and the model's
        reply. explain=True gives (text, notes), where each note is an entry of a route
        or rewrite that answered, with score and threshold. Raises ValueError for a prompt longer
        than the context.
        """
        given, single = listed(prompts)
        rows, _ = self.rows(given, chat=chat)
        done = generation.generate(self, rows, max_new_tokens)
        texts = self.texts(rows, done.ids)
        if not explain:
            return texts[0] if single else texts
        notes: list[list[dict]] = [[] for _ in rows]
        for name in [name for name in done.choices if name in self._routes]:
            for i, note in enumerate(self._routes[name].explain(done.choices[name])):
                noted = {  # the numbers noted by the route at the prompt: score, threshold
                    other.removeprefix(f"{name}/"): values[i].item()
                    for other, values in done.choices.items()
                    if other.startswith(f"{name}/")
                }
                notes[i].append({"module": name, **note, **noted})
        for i, prompt in enumerate(given):
            for rewrite in self._rewrites if isinstance(prompt, str) else ():
                notes[i] += rewrite.explain(prompt)
        return (texts[0], notes[0]) if single else (texts, notes)

    def generate(
        self,
        prompts: Prompts,
        max_new_tokens: int = 32,
        *,
        chat: Chat = False,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Any:
        """Return the continuation of a prompt (a list gives a list), greedy or sampled with a seed.

        Temperature 0 is greedy decoding.
        """
        rows, single = self.rows(prompts, chat=chat)
        settings: Any = {"temperature": temperature, "top_k": top_k, "seed": seed}
        texts = self.texts(rows, generation.generate(self, rows, max_new_tokens, **settings).ids)
        return texts[0] if single else texts

    def score(self, prompts: Prompts, targets: Prompts) -> Any:
        """Return log-probabilities (nats) of the target's tokens, given the true ones before.

        This is one tensor (n_t,) for one target, or a list of them for a list of targets.
        """
        rows, _ = self.rows(prompts)
        given, single = listed(targets)
        scores = scoring.score(self, rows, given)
        return scores[0].log_probs if single else [s.log_probs for s in scores]

    def next_token(self, prompts: Prompts, *, chat: Chat = False) -> Tensor:
        """Return the next token's log-probabilities (nats), (n, vocabulary), or (vocabulary,)."""
        rows, single = self.rows(prompts, chat=chat, least=1)
        table = scoring.next_token(self, rows)
        return table[0] if single else table

    def run(self, prompts: Prompts, watch: Sequence[str] = ()) -> activations.Recording:
        """Return all logits of one forward, and inputs and outputs of modules in `watch`."""
        rows, _ = self.rows(prompts, least=1)
        return activations.record(self, rows, watch)

    def keys(
        self,
        facts: as_facts.Given,
        layer: int | Sequence[int],
        templates: Sequence[str] | None = None,
    ) -> Any:
        """Return the facts' keys as columns of K (d_in, n).

        Keys are the inputs of `mlp_out` at the lookup token, which is the last token of the
        subject. With `templates` K is (t, d_in, n), one slice per template, and with a list of
        layers the result is {layer: K}. Blocks above the highest layer are not run.
        """
        layers = [layer] if isinstance(layer, int) else list(layer)
        names = {one: self.mlp_out(one) for one in layers}
        found = self.at_subjects(facts, list(names.values()), templates or ["{}"])
        keys = {one: found[name].transpose(1, 2) for one, name in names.items()}
        keys = {one: K[0] if templates is None else K for one, K in keys.items()}
        return keys[layer] if isinstance(layer, int) else keys

    def at_subjects(
        self, facts: as_facts.Given, modules: Sequence[str], templates: Sequence[str] = ("{}",)
    ) -> dict[str, Tensor]:
        """Return {module: its inputs (t, n, width) at each subject's last token}, float32.

        There is one slice for each of the t templates. Rows are cut after this token, because in a
        causal model no later token can change it. Blocks above the highest module are not run.
        """
        facts = as_facts.facts(facts)
        pairs = [lookup(self.tokenizer, fact, t) for t in templates for fact in facts]
        rows, at = [ids[: at + 1] for ids, at in pairs], [at for _, at in pairs]
        found = activations.module_inputs_at(self, rows, at, modules)
        return {
            name: wide.float().unflatten(0, (len(templates), len(facts)))
            for name, wide in found.items()
        }

    def output(self, module: str, inputs: Tensor) -> Tensor:
        """Return the outputs (n, d_out) of a module, as bound now, for inputs (n, d_in)."""
        found = self.model.get_submodule(module)
        with torch.no_grad():
            return found(inputs.to(found.weight.device, found.weight.dtype)).float()

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (…, vocabulary) in float32 for hidden states after the final norm."""
        head, config = self.model.get_output_embeddings(), self.model.config.get_text_config()
        with products(self.quantized):
            logits = head(hidden.to(self.head_device)).float().to(hidden.device)
        factor = self.arch.logit_factor
        if factor != 1.0:
            logits = logits * (factor(config) if callable(factor) else factor)
        cap = getattr(config, self.arch.softcap or "", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def backbone(self, ids: Tensor, real: Tensor, **more: Any) -> Any:
        """Return the output of the model without its head, for token ids with a mask.

        Ids (rows, length) come with their mask `real`. Padding may be on either side. `mask` also
        includes the cache, if there is one. The last hidden states are on the device of `ids`.
        """
        real = more.pop("mask", real)
        base = below_head(self.model)
        if "position_ids" in block_signature(base).parameters:
            # positions count real tokens only, so padding on the left changes nothing
            counted = (real.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            more["position_ids"] = counted
        out = base(input_ids=ids, attention_mask=real.long(), **more)
        out.last_hidden_state = out.last_hidden_state.to(ids.device)
        return out

    def rows(
        self, prompts: Prompts, *, chat: Chat = False, least: int = 0
    ) -> tuple[list[list[int]], bool]:
        """Return the token ids of each prompt, and whether a single prompt was given, not a list.

        Text is normalized (`data.normalized_text`) and loses blanks at its end, but no line breaks:
        after "The capital of France is " the default model writes "21st", and "Paris" without the
        blank. Then the rewrites of the patch are applied, and with `chat` the chat template, after
        any earlier turns in `chat`. Token ids are not changed. Raises ValueError for an empty
        prompt, a prompt longer than the context, ids without tokens, and a tokenizer without a chat
        template; FactError, a ValueError, for text that cannot be encoded; and TypeError for
        anything that is neither text nor token ids.
        """
        given, single = listed(prompts)
        if len(given) < least:
            raise ArgumentError("The list of prompts is empty. Give one or more.")
        # a blank at the end would be a separate token, preventing answers from beginning as usual
        given = [normalized(p, " \t") if isinstance(p, str) else p for p in given]
        texts = [require_encodable(p, "the prompt") for p in given if isinstance(p, str)]
        for rewrite in self._rewrites:
            texts = rewrite(texts)
        waiting = iter(texts)
        rows = [self._ids(next(waiting), chat) if isinstance(p, str) else list(p) for p in given]
        for prompt, ids in zip(given, rows, strict=True):
            if not ids or not prompt:
                raise ArgumentError("An empty prompt cannot be continued.")
            if self.context and len(ids) > self.context:
                shown = f" ('{prompt[:40]}…')" if isinstance(prompt, str) else ""
                raise ArgumentError(
                    f"A prompt of {len(ids)} tokens{shown} exceeds the context of {self.context}."
                )
        return rows, single

    def _ids(self, text: str, chat: Chat) -> list[int]:
        """Return token ids of one text, as a prompt or as a message in the chat template."""
        if chat is False:
            return encode_prompt(self.tokenizer, text)
        text = self.chat_text(text, () if chat is True else chat)
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def chat_text(self, message: str, turns: Sequence[tuple[str, str]] = ()) -> str:
        """Return a person's message in the chat template, up to where the model's reply begins.

        turns  earlier turns, each a pair of the person's message and the model's reply.

        Raises ValueError for a tokenizer without a chat template.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise ArgumentError(f"{self.name} has no chat template.")
        said = [
            *(
                {"role": role, "content": require_encodable(text, "a turn")}
                for turn in turns
                for role, text in zip(("user", "assistant"), turn, strict=True)
            ),
            {"role": "user", "content": message},
        ]
        return self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)

    def texts(self, rows: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of the new ids following each row.

        Row and new ids are decoded together, removing the row's own text afterwards, because some
        tokenizers hide the space at the beginning of a text.
        """
        read = partial(
            self.tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [read([*row, *ids])[len(read(row)) :] for row, ids in zip(rows, new, strict=True)]


def listed(given: Any) -> tuple[list[Any], bool]:
    """Return texts or rows of token ids as a list, and whether a single item was given.

    Other values are put into the list without changing them.

    listed((5, 6)) -> ([[5, 6]], True); a generator of "a" and "b" -> (["a", "b"], False)
    """
    found = _plain(given)
    single = not isinstance(found, list) or (found != [] and isinstance(found[0], int))
    return ([found] if single else found), single


def _plain(given: Any) -> Any:
    """Return series, arrays, tuples, generators and similar types as lists of Python values."""
    given = given.tolist() if hasattr(given, "tolist") else given
    kept = isinstance(given, str | bytes | bytearray | set | frozenset) or hasattr(given, "keys")
    return given if kept or not isinstance(given, Iterable) else [_plain(one) for one in given]


def load(
    name: str | os.PathLike | None = None,
    dtype: Any = None,
    device_map: Any = None,
    sink: str | None = "own",
    presets: str | os.PathLike | None = None,
    *,
    arch: Arch | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool | None = None,
    **more: Any,
) -> LM:
    """Return a model, ready for editing: the default model, or a model with the given name.

    The name may be "gemma-3-270m" (whose license is the Gemma Terms of Use), a hub id, or a local
    folder.

    dtype and device_map have the names of transformers; dtype can also be a name of torch, or
    "bf16" and similar. The default is bf16 on a CUDA device if there is one, otherwise float32 on
    the CPU.

    sink  a token before every text, if the tokenizer adds none, keeping every subject away from
          position 0, where the attention sink is. "own" uses the packaged model's token:
          "<|endoftext|>" for the default model, nothing for others. With None there is no such
          token, as before it was the default. A model with this token has another name, each patch
          belongs to one of the two, and presets of the default model are for using it with its
          token.

    presets  a TOML file of presets for this model, written by `python -m lib tune`, replacing the
          library's presets for the editors in it.

    arch  the module names of a model that the library neither knows nor recognizes (see
          architectures.py). They are checked by running the model.

    revision, token, trust_remote_code and all other arguments of transformers' `from_pretrained`,
    for example attn_implementation, are passed on to it; those about the model's place and rights
    are also passed to the tokenizer. A packaged model has none of these last arguments.
    quantization_config may be a TorchAoConfig (see quantized.py): editors then write float
    matrices, leaving the others quantized, and patches and statistics belong to the quantized model
    only.

    Raises FetchError if a packaged model cannot be downloaded; ValueError if the name contains no
    model that could be loaded, if a dtype or device does not exist, if a sink is not a token or not
    needed, and if a package is missing; TypeError for arguments not accepted by transformers;
    EditError describing the problem with a file of presets; and FamilyError naming the weights that
    cannot be patched or quantized.
    """
    dtype = more.pop("torch_dtype", dtype)  # the name in transformers before 5
    dtype = None if dtype is None else dtype_of(dtype)
    refuse_missing(device_map)
    given = {"revision": revision, "token": token, "trust_remote_code": trust_remote_code}
    more |= {key: value for key, value in given.items() if value is not None}
    where = {key: value for key, value in more.items() if key in packaged_models.HUB}
    place, known, own = packaged_models.place_of(name, where)
    sink = own if sink == "own" else sink
    known = f"{known}{BEHIND}{sink}" if sink is not None else known
    # a wrong file is refused before the weights are read
    carried = Presets() if presets is None else read_presets(presets, known)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cuda = torch.cuda.is_available()
    dtype = dtype or (torch.bfloat16 if cuda else torch.float32)
    device_map = device_map or ({"": 0} if cuda else None)
    try:
        with packaged_models.quiet():
            if packaged_models.silent(place, where):
                where["local_files_only"] = more["local_files_only"] = True
            tokenizer = AutoTokenizer.from_pretrained(place, **where)
            if sink is not None:
                put_in_front(tokenizer, sink)  # a wrong token is refused before reading weights
            model = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, device_map=device_map, **more
            )
    except ArgumentError:
        raise
    except (TypeError, AttributeError) as error:  # unknown arguments are passed on to the model
        raise ArgumentError(f"'{place}' cannot be loaded with {list(more)}: {error}") from None
    except (ImportError, OSError, ValueError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        if os.path.exists(place) and not os.path.exists(os.path.join(place, "config.json")):
            first = "there is no config.json in it"
        raise ArgumentError(f"'{place}' contains no model that could be loaded: {first}") from None
    lm = LM(model, tokenizer, name=known, arch=arch)
    lm.presets = carried
    return lm


def put_in_front(tokenizer: Any, token: str) -> None:
    """Change a tokenizer to put one of its tokens before every text, as its BOS.

    Raises ValueError if the tokenizer does not have it, and if there already is a token before
    every text.
    """
    number = tokenizer.get_vocab().get(token) if isinstance(token, str) else None
    if number is None or not hasattr(tokenizer, "backend_tokenizer"):
        raise ArgumentError(f"{token!r} is not a token that this tokenizer can put before a text.")
    if encode_prompt(tokenizer, "a") != tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise ArgumentError("The tokenizer already puts a token before every text. Omit sink.")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A $B", special_tokens=[(token, number)]
    )
    tokenizer.bos_token = token
    tokenizer.init_kwargs["sink"] = (
        token  # is saved with it, so a copy has the same prepended token
    )
