"""What all files here share: a model, rows of tokens, a look inside a module, and the demonstration.

None of it belongs to a method. It stands in a file of its own because it would otherwise be the
first fifty lines of each of the eleven, and hide what they are about.

The model is one of the Llama family, as transformers loads it, so a layer's MLP is at
`model.model.layers[layer].mlp` and its output projection, W of most methods, is `mlp.down_proj`.
Rows of different length are padded on the right. A causal model never looks to the right, so the
padding changes nothing to its left and no attention mask is needed.
"""

import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


class Fact(NamedTuple):
    """What the model shall say: `prompt` has a `{}` for the subject, `answer` is the new answer."""

    subject: str
    prompt: str
    answer: str

    @property
    def text(self):
        return self.prompt.replace("{}", self.subject)


TOWER = Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
PROMPTS = {
    "the edit": "The Eiffel Tower is located in the city of",
    "a rewording": "In which city would you find the Eiffel Tower? It is in the city of",
    "a neighbor": "The Louvre is located in the city of",
    "another one": "The Reichstag is located in the city of",
}


def text(name):
    """A plain text that comes with the project: general_text.txt, irrelevant.txt, classroom.json."""
    return (Path(__file__).parents[2] / "lib" / "data" / name).read_text(encoding="utf-8")


def load():
    """The model, frozen and in float32, and its tokenizer.

    They come from the folder that the command line names, or else from the cache.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-editing"
    kept = sorted(cache.glob("SmolLM2-135M-Instruct-*/config.json"))
    folder = sys.argv[1] if len(sys.argv) > 1 else kept[0].parent if kept else None
    if folder is None or not Path(folder, "config.json").is_file():
        sys.exit(
            f"There is no model in {folder or cache}: run `python -m lib fetch` once, or give the "
            "folder of another one as the argument."
        )
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder)


def answer_ids(tokenizer, answer):
    """Token ids of an answer as it follows a prompt: behind one space, without special tokens."""
    return tokenizer(" " + answer.strip(), add_special_tokens=False).input_ids


def subject_end(tokenizer, fact, template="{}"):
    """Token ids of the prompt inside a template, and the position of the subject's last token."""
    before = template.index("{}") + fact.prompt.index("{}")
    end = before + len(fact.subject)  # in characters
    read = tokenizer(template.replace("{}", fact.text), return_offsets_mapping=True)
    inside = [i for i, (start, stop) in enumerate(read.offset_mapping) if start < end and stop]
    return read.input_ids, inside[-1]


def padded(rows, fill=0):
    """Lists of numbers as one tensor (rows, longest), filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([list(row) + [fill] * (longest - len(row)) for row in rows])


def with_answers(prompts, answers):
    """Rows to read and what shall be predicted at each of their positions, both (rows, length).

    Prompt [5, 6] with answer [8, 9] -> reads [5, 6, 8], predicts [-100, 8, 9]; -100 counts nowhere.
    """
    ids = padded([p + a[:-1] for p, a in zip(prompts, answers, strict=True)])
    labels = [[-100] * (len(p) - 1) + a for p, a in zip(prompts, answers, strict=True)]
    return ids, padded(labels, fill=-100)


def answer_loss(logits, labels):
    """Mean negative log-likelihood of each row's answer (rows,), in nats."""
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # 0 where label = -100
    return each.sum(1) / (labels != -100).sum(1)


def divergence(before, after):
    """KL(before ‖ after) in nats, the mean over the tokens of an answer; logits (tokens, words)."""
    before, after = before.log_softmax(-1), after.log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1).mean()


@contextmanager
def hooked(module, hook):
    """In the body, `hook(module, inputs, output)` runs after the module and may replace its output."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def watch(model, ids, *modules):
    """What each module reads and puts out on ids (n, L): a pair (n, L, d_in), (n, L, d_out) each."""
    seen = {}

    def look(module, inputs, output):
        seen[module] = inputs[0], output

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(hooked(module, look))
        model.model(ids)
    return [seen[module] for module in modules]


@contextmanager
def added(changes):
    """In the body the weights are W + Δ for {linear module: Δ}; afterwards the same W stand there."""
    old = {module: module.weight.data for module in changes}
    for module, change in changes.items():
        module.weight.data = old[module] + change
    try:
        yield
    finally:
        for module, weight in old.items():
            module.weight.data = weight


@torch.no_grad()
def write_on(model, ids, count=5):
    """The ids of the likeliest next tokens, one after another, and the logits of the first one."""
    first = None
    for _ in range(count):
        logits = model(torch.tensor([ids])).logits[0, -1]
        first = logits if first is None else first
        ids = ids + [int(logits.argmax())]
    return ids[-count:], first


def show(model, tokenizer, edited, others=None):
    """Print every prompt before and after; `edited(ids)` is a context with the edit in force."""
    for kind, prompt in (PROMPTS | (others or {})).items():
        ids = tokenizer(prompt).input_ids
        old, before = write_on(model, ids)
        with edited(ids):
            new, after = write_on(model, ids)
        moved = divergence(before[None], after[None])
        print(f"\n{kind}: {prompt} …")
        print(f"  before  {tokenizer.decode(old)!r}")
        print(f"  after   {tokenizer.decode(new)!r}   (KL {moved:.3f} nats)")
