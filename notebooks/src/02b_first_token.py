# %% [markdown]
# <!-- badge -->
#
# # 02b · What does a token at the start of every text change?
#
# `lib.load()` prepends one token to every text. Many models in the editing papers read no such token. By the end of
# this page you will know what that token does for the memory, and what happens when editing without it.
#
# **You will** see first words turn into one key · find which edits then disturb which facts · try other tokens ·
# compare edits fairly.
#
# **Needs** [notebook 02](02_insert.ipynb): $\rho(i, j)$ and $q$.
#
# **Minutes** 8 for reading and 2 for guessing, at home after [session 3](../lessons/session_3.md), without an exercise.

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
from itertools import islice

import torch

import lib
from lib import associative_memory as memory
from lib.workbench import plot
from notebooks.support import drawings_02, long_runs, models
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.figures import dots, whiskers
from notebooks.support.holes import guess
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
medians, shares, found = (
    {},
    ~torch.eye(len(opening), dtype=torch.bool),
    {},
)  # an edit's effect on its own key is not interference
for front, model in fronts.items():
    K = model.keys(others + first, layer).cpu().double()
    rho, q = memory.interference(K, moments[model]), (K * moments[model].solve(K)).sum(0)
    medians[front] = {kind: q[writes].median().item() for kind, writes in kinds.items()}
    print(f"{front}, median q:", *(f"{kind} {size:,.0f};" for kind, size in medians[front].items()))
    for kind, writes in kinds.items():
        for hit, hears in kinds.items():
            size = runs_02.loudness(rho, shares & writes[:, None] & hears)
            found.setdefault(f"{kind} on {hit}", {})[front] = size
series = {front: [row[front] for row in found.values()] for front in fronts}
fell = [found["openers on other subjects"][front][0] for front in reversed(fronts)]
root_q = [medians[front]["openers"] ** 0.5 for front in fronts]
print(f"1/√q of the openers by itself would give {root_q[0] / root_q[1]:.2f};", end=" ")
print(
    f"openers on other subjects: rms ρ behind the token is {fell[0] / fell[1]:.2f} of that with nothing"
)
whiskers([*found], series, "ρ (rms, and 95% interval over subjects)")

# %% [markdown]
# In the left map, the openers' block is almost uniformly colored: almost all of an edit reaches every other opener.
# Their rows have more color than the others because they affect all keys, and the columns above them are white. In the
# right map they look like other subjects. The figure below shows the same for all subjects. Among subjects that are not
# openers, almost nothing changes. The effect of openers on each other falls to about a quarter, and their effect on the
# others to less than a half; they are now affected just as other subjects are. The first effect falls because their
# keys are no longer the same. The second falls because $q$ grows twentyfold, but only about half as far as $1/\sqrt q$
# on its own would allow, since the openers' keys now also overlap more with others.
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
# **Almost any token works.** Prepending a word, a full stop or a line break helps as much as prepending the document
# separator. The exception here is `<|im_start|>`, which begins a chat. After it, the second token still has the common
# key, as if nothing had been read. This tokenizer even lists it as its begin-of-sequence token, so the name doesn't
# reveal which token occupies the position.
#
# ## The effect on edits
#
# Using ROME, two stored runs write the same three streams of thirty facts, one after another, with the same settings:
# one run with nothing prepended, the other with the token. A third run writes them with the token, using the library's
# current settings, as in notebook 02. After every edit, the runs record how the log-probability of each earlier fact's
# answer has changed.
#
# How do we compare edits of openers with the others? Comparing the *largest* loss would not be fair: the first stream
# has one opener with 12 earlier facts, the second has four and the third three, and a maximum over hundreds of pairs is
# larger than a maximum over 12 of the same kind. So we use the **mean loss per pair**. And could the gap be due to
# chance? One edit contributes many pairs, so instead of shuffling pairs, we shuffle the label *opener* among the
# **edits** of a stream two thousand times. $p$ is the fraction of these shuffles with a gap at least as large.
#
# <details><summary>Settings of the first two runs</summary>
#
# Layer 3, twenty steps at a rate of 0.25, $\delta$ at most twenty times as long as $v_0$, the keys `both` from
# notebook 04, the bare prompt and four templates: the settings tuned for the model with nothing prepended.
#
# </details>
#
# **Predict.** With the token, in how many of the three streams do openers still do more harm per pair than the
# others?
#
# <details><summary>Answer</summary>
#
# With the same settings, in one of three, and with a small $p$. With the library's settings, in all three, but each
# of these gaps could be due to chance.
#
# </details>

# %%
runs = {"nothing": "02_interference", "token": "02_equal", "token, library's settings": "02_behind"}
runs = {front: long_runs.rows(name) for front, name in runs.items()}
long_runs.repeats(
    runs["nothing"], lambda: islice(runs_02.stream(plain, 0), 1), ["lands", "change"], 0.05
)


def gaps(losses, pairs, kinds):  # kinds (draws, edits) of 0, 1 -> mean loss per pair by 1 and by 0
    return [(own @ losses) / (own @ pairs) for own in (kinds, 1 - kinds)]


def by_chance(losses, pairs, opens, n=2000):  # labels shuffled over edits -> p
    draw = torch.Generator().manual_seed(0)
    kinds = [opens] + [opens[torch.randperm(len(opens), generator=draw)] for _ in range(n)]
    ours, theirs = gaps(losses, pairs, torch.stack(kinds))
    return (ours - theirs >= ours[0] - theirs[0] - 1e-12).double().mean().item()


means, lands = {}, {}
for front, rows in runs.items():
    every = runs_02.earlier(rows)
    for kind in ("openers", "others"):
        part = every[every["first word"] == (kind == "openers")].groupby("stream")
        means[f"{kind}, {front}"] = (-1000 * part["change"].mean()).tolist()
        lands[f"{kind}, {front}"] = part["lands"].median().tolist()
    chances = []
    for _, stream in every.groupby("stream"):
        edits = stream.groupby("edit")  # one row per edit: its losses, its pairs, its label
        columns = -edits["change"].sum(), edits["change"].count(), edits["first word"].first()
        chances.append(by_chance(*(torch.tensor(one.to_numpy()).double() for one in columns)))
    worst = ", ".join(f"{-x:.2f}" for x in every.groupby("stream")["change"].min())
    print(f"{front} prepended: largest loss {worst} nats; p", *(f"{p:.3f}" for p in chances))
panels = {"mean loss per pair (nats / 1000)": means, "length of the contribution, median": lands}
made = dots(panels, ["stream 1", "stream 2", "stream 3"], flat=True)
made.axes[0].set_xscale("symlog", linthresh=1)
made.axes[0].set(
    xlim=(-10, 1500), xticks=[-1, 0, 1, 10, 100, 1000], xticklabels=[-1, 0, 1, 10, 100, 1000]
)
made

# %% [markdown]
# **With nothing prepended, one opener can cost other facts several nats**, as in the second stream, and per pair
# openers do more harm than the others in all three, with a small $p$ in two. The first stream has a single opener:
# shuffling assigns its label to only one edit, so its $p$ can't be very small.
#
# **With the token, the same edits cost a small fraction of a nat.** In the second stream openers still do six times as
# much harm per pair as the others, and this is not chance; in the other two they do none. With the library's settings,
# where losses are larger, they do more in every stream, but each of these gaps could be due to chance. The vector that
# openers add at earlier facts is still longer than the others', but less than half as long as before. Since the first
# two runs differ only in the token, it is the token that protects these facts. The other edits also do less harm with
# it.
#
# GPT-2 and GPT-J, the models used in most papers, read nothing before the text. Notebooks 03, 04 and 08 return to such
# a model when showing the problems those papers encountered. The token has a price: the model answers some prompts
# differently. The library's [measurements](../tests/benchmarks/results/first_token.md) show both sides.
#
# ## A model of your own
#
# Before editing a model, check what it reads first and how similar its first positions are, using these lines on any
# loaded model.

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
# * The first position of a text becomes a position marker in the first layers. With nothing prepended, all single-token
#   subjects starting their prompt have almost the same key there, with a small $q$.
# * A key with small $q$ affects all other keys. Editing one opener edits all of them, disturbing the rest.
# * A prepended token occupies the position, giving subjects separate keys. The same edits then do a small part of the
#   harm, though in one stream of three, openers still did more than the others. Almost any token works, but not every
#   one.
# * `lib.load()` returns the model with the token. GPT-2 and GPT-J, which the papers used, have none.
#
# [Notebook 03](03_where.ipynb) looks at the other positions of a prompt.
#
# ## References
#
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
