# %% [markdown]
# <!-- badge -->
#
# # 02b · What does a token at the start of every text change?
#
# `lib.load()` prepends one token to every text. Many models in the editing papers read no such token. By the end of
# this page you will know what that token does for the memory, and what happens when editing without it.
#
# **You will** see first words turn into one key · find which edits then disturb which facts · try other tokens ·
# write a test of whether a difference between edits is chance.
#
# **Needs** [notebook 02](02_insert.ipynb): $\rho(i, j)$ and $q$.
#
# **Minutes** 8 for reading and 12 for working: an exercise, at home after [session 3](../lessons/session_3.md).

# %% tags=["setup"]
# @title Setup: finds the library, or fetches it where this notebook was opened alone
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""
here = Path(globals().get("__file__", "here")).resolve().parent
parts = ("lib/__init__.py", "notebooks")
root = next((p for p in (here, *here.parents) if all((p / x).exists() for x in parts)), None)
if root is None and not REPOSITORY:
    raise FileNotFoundError(
        "this notebook works inside the folder of its repository, which holds README.md, lib and "
        f"notebooks, and {here} is not in it: take that folder as a whole, and open the notebook there."
    )
if root is None:  # opened alone, as Colab does: fetch the rest
    address, root = f"https://github.com/{REPOSITORY}", here / REPOSITORY.split("/")[-1]
    print(f"Fetching {address} and what it needs: a few minutes, once.")
    clone = ["git", "clone", "--quiet", "--depth=1", address, str(root)]
    install = [sys.executable, "-m", "pip", "install", "-q", "-r", str(root / "requirements.txt")]
    try:
        for command in [install] if (root / parts[0]).exists() else [clone, install]:
            subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"{address} could not be fetched ({error}): clone it yourself, with `git clone "
            f"{address}`, install its requirements.txt and open the notebook in it."
        ) from None
if importlib.util.find_spec("torch") is None:  # a kernel of another Python
    raise ModuleNotFoundError(
        f"{sys.executable}, which runs this notebook, lacks what the notebooks need: install it with "
        f"`{sys.executable} -m pip install -r {root / 'requirements.txt'}`, or take another kernel."
    )
sys.path.insert(0, str(root))
os.environ.setdefault("OMP_NUM_THREADS", "2")  # both are read once, when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall a busy machine
SCALE = os.environ.get("EDIT_SCALE", "small")  # "tiny", "small" or "full"

# %%
import math
from itertools import islice

import torch

import lib
from lib import associative_memory as memory
from lib.workbench import plot
from notebooks.support import drawings_02, long_runs, models
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.figures import dots, whiskers
from notebooks.support.holes import both, guess, use
from notebooks.support.runs_02_insert import openers

lm = models.load(SCALE, sink="own")  # the same as `lib.load()`
plain = models.load(SCALE, sink=None)  # the same weights, with nothing prepended
layer = lib.EDITORS["rome"](lm).config.layer
moments = {model: lib.second_moment(model, [layer])[layer] for model in (plain, lm)}
fronts = {"nothing prepended": plain, "token prepended": lm}
question = {case.fact: case.relation for case in lib.classroom()}
first = [case.fact for case in openers(plain, lib.classroom())]
others = [fact for fact in question if fact not in first]
first = first or others[:2]  # the tests' small model doesn't have one
print(f"lib.load() prepends {lm.name.partition(' behind ')[2] or 'nothing'} to every text.")
print(f"{len(first)} of the classroom's subjects are a single token starting the prompt, such as")
print(", ".join(fact.subject for fact in first[:6]))

# %% [markdown]
# ## The first position
#
# In many language models, much of the attention goes to the first position of a text, whatever word it contains. That
# is called an **attention sink** (Xiao et al., 2024): a head finding nothing to read still has to look somewhere, and
# the first position is visible to every later token.
#
# Which word is in this position depends on the tokenizer. The tokenizers of Llama and Gemma prepend a begin-of-sequence
# token to every text, occupying the position. The tokenizers of GPT-2, GPT-J and SmolLM2 don't, so a text can begin
# with its subject. We call such a subject an **opener** if it is a single token and the first of its prompt, as in
# "China is a country …". For SmolLM2 the library prepends `<|endoftext|>`, the document separator. The cell above
# loaded the same weights twice, with this token and without.
#
# **Predict.** We compute the keys of all openers in every layer, measuring their similarity by the mean cosine of
# two keys. With nothing prepended, how large is this mean in the layer that ROME edits?
#
# <details><summary>A possible argument</summary>
#
# In layer 0 the model has read nothing but the word itself. If a position has its own meaning, the layers have to write
# it there, losing the words.
#
# </details>

# %%
mine = guess("Openers with nothing prepended: the mean cosine of two keys in that layer?", 0, 1)


def alike(model, facts, at):  # the mean cosine of the keys of two facts
    K = model.keys(facts, at).cpu().double()
    K, n = K / K.norm(dim=0), len(facts)
    return ((K.T @ K).sum().item() - n) / (n * n - n)


lines = {f"openers, {front}": (model, first) for front, model in fronts.items()}
lines["other subjects"] = lm, others[:: max(1, len(others) // len(first))]
lines = {line: [alike(*pair, at) for at in range(lm.n_layers)] for line, pair in lines.items()}
mine.against(lines["openers, nothing prepended"][layer])
plot.lines(range(lm.n_layers), lines, "layer", "mean cosine of two keys", ylim=(0, 1.02))

# %% [markdown]
# In layer 0 the openers are still different words. From layer 1 on, **all of them have almost the same key**,
# continuing up to the top: the model has turned the first word into a position marker. With the token prepended, the
# same words, using the same weights, have separate keys. They remain more similar than other subjects; almost all of
# them are countries, cities or single nouns, and we haven't measured whether that is the reason.
#
# ## Which edits disturb which facts
#
# The edited layer reads keys through $\rho(i, j) = k_i^\top C^{-1}k_j / q_i$ with $q_i = k_i^\top C^{-1}k_i$.
#
# **Predict.** With nothing prepended, how much does editing one opener affect the others? The common key of the
# first position has a small $q$. Which edits then disturb which facts? Remember
# $\rho(i, j)\,q_i = \rho(j, i)\,q_j$.
#
# <details><summary>Answer</summary>
#
# Editing one of them edits them all. And a key with small $q$ strongly affects all other keys, while being affected by
# almost none.
#
# </details>

# %%
groups = {
    "young animals": "young of",
    "languages": "home country of the language",
    "cities": "state of city",
    "buildings": "located in the city of",
}
chosen = {g: [f for f in others if question[f] == one][:4] for g, one in groups.items()}
chosen["openers"] = first[:5]
some = [fact for facts in chosen.values() for fact in facts]
maps = {
    front: memory.interference(model.keys(some, layer).cpu().double(), moments[model])
    for front, model in fronts.items()
}
names = {group: [fact.subject for fact in facts] for group, facts in chosen.items()}
drawings_02.by_group(maps, names, "edit i …", "… and key j")

# %%
opening = torch.tensor([False] * len(others) + [True] * len(first))
kinds = {"other subjects": ~opening, "openers": opening}
medians, found = {}, {}
apart = ~torch.eye(len(opening), dtype=torch.bool)  # an edit's effect on its own key doesn't count
for front, model in fronts.items():
    K = model.keys(others + first, layer).cpu().double()
    rho, q = memory.interference(K, moments[model]), (K * moments[model].solve(K)).sum(0)
    medians[front] = {kind: q[writes].median().item() for kind, writes in kinds.items()}
    print(f"{front}, median q:", *(f"{kind} {size:,.0f};" for kind, size in medians[front].items()))
    cosine = (rho * rho.T).clamp(min=0).sqrt()[opening][:, ~opening].median()  # notebook 02
    print(f"  median |cosine| of an opener's and another subject's whitened key {cosine:.3f}")
    for kind, writes in kinds.items():
        for hit, hears in kinds.items():
            size = runs_02.loudness(rho, apart & writes[:, None] & hears)
            found.setdefault(f"{kind} on {hit}", {})[front] = size
series = {front: [row[front] for row in found.values()] for front in fronts}
fell = [found["openers on other subjects"][front][0] for front in reversed(fronts)]
root_q = [medians[front]["openers"] ** 0.5 for front in fronts]
print(f"1/√q of the openers by itself would give {root_q[0] / root_q[1]:.2f};", end=" ")
print(
    f"openers on other subjects: rms ρ with the token is {fell[0] / fell[1]:.2f} of that with nothing"
)
whiskers([*found], series, "ρ (rms, and 95% interval over subjects)")

# %% [markdown]
# In the left map, the openers' block is almost uniformly colored: almost all of an edit reaches every other opener.
# Their rows have more color than the others because they affect all keys, and the columns above them are white. In the
# right map they look like other subjects. The figure below shows the same for all subjects. Among subjects that are not
# openers, almost nothing changes. The effect of openers on each other falls to about a quarter, and their effect on the
# others to .38 of what it was; they are now affected just as other subjects are. The first effect falls because their
# keys are no longer the same. The second falls because $q$ grows twentyfold. On its own, $1/\sqrt q$ would give .21,
# but the openers' keys now also overlap more with others.
#
# ## Does it have to be this token?
#
# **Predict.** We use the model with nothing prepended, adding something ourselves: a word, a full stop, a line break,
# or the special tokens that its tokenizer provides. Which of them help?
#
# <details><summary>A possible argument</summary>
#
# If only the position matters, everything helps: any first token occupies it. If the model has learned a token for
# this purpose, nothing else will do.
#
# </details>

# %%
marks = {"nothing": "", "a line break": "\n", "The": "The ", "a full stop": ". ", "Yes.": "Yes. "}
marks |= {"I think that": "I think that "} | {one: one for one in ("<|endoftext|>", "<|im_start|>")}
if SCALE == "tiny":  # its tokens are bytes
    marks = {name: text for name, text in marks.items() if "|" not in name}
values = []
for mark in marks.values():
    K = plain.keys(first, layer, (mark + "{}",)).mean(0).cpu().double()
    rho = memory.interference(K, moments[plain])
    values.append(runs_02.loudness(rho, ~torch.eye(len(first), dtype=torch.bool)))
print(f"the tokenizer's own begin-of-sequence token: {plain.tokenizer.bos_token}")
whiskers([*marks], {"ρ": values}, "ρ of openers on openers (rms, and 95% interval over subjects)")

# %% [markdown]
# **Six of the seven prefixes work.** Prepending a word, a full stop or a line break helps as much as prepending the
# document separator. The exception is `<|im_start|>`, which begins a chat. After it, the second token still has the
# common key, as if nothing had been read. This tokenizer even lists it as its begin-of-sequence token, so the name
# doesn't reveal which token occupies the position.
#
# ## The effect on edits
#
# Using ROME, two stored runs write the same three streams of thirty facts, one after another, with the same settings:
# one run with nothing prepended, the other with the token. A third run writes them with the token, using the library's
# current settings, as in notebook 02. After every edit, the runs record how the log-probability of each earlier fact's
# answer has changed.
#
# How do we compare edits of openers with the others? Comparing the *largest* loss would not be fair: the first stream
# has one opener with 12 earlier facts, and a maximum over hundreds of pairs is larger than over 12 of the same kind.
# So we use the **mean loss per pair**. And could the gap between openers and others be due to chance? If the label
# *opener* meant nothing, shuffling it would often give a gap as large. $p$ is the fraction of shuffles that do,
# counting the real labels as one.
#
# <details><summary>Settings of the first two runs</summary>
#
# Layer 3, twenty steps at a rate of 0.25, $\delta$ at most twenty times as long as $v_0$, the keys `both` from
# notebook 04, the bare prompt and four templates: the settings tuned for the model with nothing prepended.
#
# </details>
#
# **Your turn · exercise 3.5 · ★★★ · 10 minutes.** Write `by_chance`, which returns $p$. `special` has a label for
# every edit, and `shuffle(x)` returns the entries of $x$ in a random order.


# %%
def by_chance(losses, edit, special, shuffle, n):
    """losses, edit (pairs,), special (T,) True or False, shuffle a function -> p of n shuffles."""
    ...


by_chance = use("3.5", by_chance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which label is shuffled, and over what? The pairs of one edit share that edit.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def by_chance(losses, edit, special, shuffle, n):
#     def gap(special):
#         ours = special[edit]  # a label for every pair
#         return losses[ours].mean() - losses[~ours].mean()
#
#     real = gap(special)
#     return (1 + sum((gap(shuffle(special)) >= real).item() for _ in range(n))) / (n + 1)
# ```
#
# </details>
#
# **Predict.** With the token, in how many of the three streams do openers still do more harm per pair than the
# others?
#
# <details><summary>Answer</summary>
#
# With the same settings, in one of three. With the library's settings, in all three.
#
# </details>

# %%
runs = {"nothing": "02_interference", "token": "02_equal", "token, library's settings": "02_behind"}
runs = {front: long_runs.rows(name) for front, name in runs.items()}
long_runs.repeats(
    runs["nothing"], lambda: islice(runs_02.stream(plain, 0), 1), ["lands", "change"], 0.05
)


def shuffle(x):  # the same shuffles in every stream
    return x[torch.randperm(len(x), generator=draw)]


means, lands = {}, {}
for front, rows in runs.items():
    every = runs_02.earlier(rows)
    for kind in ("openers", "others"):
        part = every[every["first word"] == (kind == "openers")].groupby("stream")
        means[f"{kind}, {front}"] = (-1000 * part["change"].mean()).tolist()
        lands[f"{kind}, {front}"] = part["lands"].median().tolist()
    worst = ", ".join(f"{-x:.2f}" for x in every.groupby("stream")["change"].min())
    print(f"{front} prepended: largest loss {worst} nats")
    for whose, f in both(by_chance).items():
        chances = []
        for _, stream in every.groupby("stream"):
            draw = torch.Generator().manual_seed(0)
            loss, edit = torch.tensor(-stream["change"].values), torch.tensor(stream["edit"].values)
            special = torch.tensor(stream.groupby("edit")["first word"].first().values)
            chances.append(f(loss, edit - 1, special, shuffle, 2000))  # the first has no pair
        x = -sum(math.log(p) for p in chances)  # Fisher: three independent p as one
        fisher = math.exp(-x) * (1 + x + x * x / 2)
        print(f"  p ({whose})", *(f"{p:.3f}" for p in chances), f"together {fisher:.3f}")
panels = {"mean loss per pair (nats / 1000)": means, "length of the contribution, median": lands}
made = dots(panels, ["stream 1", "stream 2", "stream 3"], flat=True)
made.axes[0].set_xscale("symlog", linthresh=1)
made.axes[0].set(
    xlim=(-10, 1500), xticks=[-1, 0, 1, 10, 100, 1000], xticklabels=[-1, 0, 1, 10, 100, 1000]
)
made

# %% [markdown]
# **With nothing prepended, one opener can cost other facts several nats**, as in the second stream, and per pair
# openers do more harm than the others in all three, with a small $p$ in two. The first stream has a single opener, so
# its $p$ can't be much smaller than $1/29$.
#
# **With the token, the same edits cost a small fraction of a nat.** In the second stream openers still do six times
# as much harm per pair as the others, and this is not chance. In the other two they do none, though with one opener,
# the first could barely have shown it. With the library's settings, where losses are larger, all three gaps go the
# same way, but could be chance, even together (Fisher's $p$ is .09). The vector that openers add at earlier facts is
# still longer than the others', but less than half as long as before. Since the first two runs differ only in the
# token, it is the token that protects these facts. The other edits also do less harm with it.
#
# GPT-2 and GPT-J, the models used in most papers, read nothing before the text. Notebooks 03, 04 and 08 return to such
# a model when showing the problems those papers encountered. The token has a price: the model answers some prompts
# differently. The library's [measurements](../tests/benchmarks/results/first_token.md) show both sides.
#
# ## A model of your own
#
# Before editing a model, check what it reads first and how similar its first positions are.

# %%
WORDS = "Water China Music London People Gold Winter Paris History Bread Japan Light".split()


def first_position(model, at):  # a mean cosine near 1 means that first words have the same key
    words = [word for word in WORDS if len(model.tokenizer.tokenize(word)) == 1] or WORDS
    words = [lib.Fact(word, "{} is", "?") for word in words]
    ids = model.rows(["Water is"])[0][0]
    reads = model.tokenizer.convert_ids_to_tokens(list(ids))[0]
    print(
        f"layer {at}: reads {reads!r} first, mean cosine of first words {alike(model, words, at):.2f}"
    )


for model in fronts.values():
    first_position(model, layer)

# %% [markdown]
# If the cosine is near 1, editing a word at the beginning of its text edits all such words. Prepend a token and check
# again.
#
# ## What we know now
#
# * The first position of a text becomes a position marker in the first layers. With nothing prepended, all
#   single-token subjects that begin their prompt have almost the same key there, with a small $q$.
# * A key with small $q$ affects all other keys. Editing one opener edits all of them and disturbs the rest.
# * A prepended token occupies the position, and subjects get separate keys. The same edits then do a small part of
#   the harm, though in one stream of three, openers still did more than the others. Of seven prefixes tried, one
#   doesn't work.
# * `lib.load()` returns the model with the token.
#
# [Notebook 03](03_where.ipynb) looks at the other positions of a prompt.
#
# ## References
#
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
