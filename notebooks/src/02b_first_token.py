# %% [markdown]
# <!-- badge -->
#
# # 02b · What does the token in front of a text change?
#
# `lib.load()` lets its model read one token before every text. Many models of the editing papers read none.
# At the end of this page you know what that token does for the memory, and what an edit does where it is missing.
#
# **You will** see first words become one key · find who then disturbs whom · try other tokens · compare edits fairly.
#
# **Needs** [page 02](02_insert.ipynb): $\rho(i, j)$ and $q$.
#
# **Minutes** 8 to read and 2 to guess, for home after [session 3](../lessons/session_3.md). There is no exercise.
#
# Run the folded cell below, and read on.

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

lm = models.load(SCALE, sink="own")  # what `lib.load()` gives
plain = models.load(SCALE, sink=None)  # the same file of weights, the texts as they come
layer = lib.EDITORS["rome"](lm).config.layer
moments = {model: lib.second_moment(model, [layer])[layer] for model in (plain, lm)}
fronts = {"nothing in front": plain, "the token in front": lm}
question = {case.fact: case.relation for case in lib.classroom()}
first = [case.fact for case in openers(plain, lib.classroom())]
others = [fact for fact in question if fact not in first]
first = first or others[:2]  # the tests' small model has none
print(f"lib.load() reads {lm.name.partition(' behind ')[2] or 'nothing'} in front of every text.")
print(f"{len(first)} of the classroom's subjects are one token that opens its prompt, as")
print(", ".join(fact.subject for fact in first[:6]))

# %% [markdown]
# ## The first position
#
# In many language models much attention goes to the first position of a text, whatever word stands there. That
# is called an **attention sink** (Xiao et al., 2024): a head that finds nothing to read has to look somewhere, and
# the first position is the one that every later token can see.
#
# Which word stands there depends on the tokenizer. Those of Llama and Gemma put a begin-of-sequence token in
# front of every text, and it takes the place. Those of GPT-2, GPT-J and SmolLM2 put none, so a text can begin with
# its subject. We call such a subject an **opener** if it is one token and the first of its prompt, as in "China is a
# country …". For SmolLM2 the library puts `<|endoftext|>` in front, the separator of documents. The
# cell above has loaded the same weights twice, with this token and without.
#
# **Predict.** We take the keys of all openers in every layer, and how alike they are: the mean cosine of two.
# Where nothing stands in front, how large is this mean in the layer that ROME edits?
#
# <details><summary>What one could think</summary>
#
# In layer 0 nothing but the word itself has been read. If a place has a meaning of its own, the
# layers have to write it there, and the words go.
#
# </details>

# %%
mine = guess("Openers with nothing in front: the mean cosine of two keys in that layer?", 0, 1)


def alike(model, facts, at):  # the mean cosine of the keys of two facts
    K = model.keys(facts, at).cpu().double()
    K, n = K / K.norm(dim=0), len(facts)
    return ((K.T @ K).sum().item() - n) / (n * n - n)


lines = {f"openers, {front}": (model, first) for front, model in fronts.items()}
lines["other subjects"] = lm, others[:: max(1, len(others) // len(first))]
lines = {line: [alike(*pair, at) for at in range(lm.n_layers)] for line, pair in lines.items()}
mine.against(lines["openers, nothing in front"][layer])
plot.lines(range(lm.n_layers), lines, "layer", "mean cosine of two keys", ylim=(0, 1.02))

# %% [markdown]
# In layer 0 the openers are still different words. From layer 1 on **all of them have nearly one key**, and it stays so up
# to the top: the model has turned the first word into a place. Behind the token the same words, read with the same
# weights, have keys of their own. They stay more alike than other subjects; nearly all of them are countries,
# cities or single nouns, and we have not measured whether that is the reason.
#
# ## Who disturbs whom
#
# The edited layer reads keys by $\rho(i, j) = k_i^\top C^{-1}k_j / q_i$ with $q_i = k_i^\top C^{-1}k_i$.
#
# **Predict.** What do openers write on each other where nothing stands in front? The common key of the first
# position has a small $q$. Who then disturbs whom? Remember $\rho(i, j)\,q_i = \rho(j, i)\,q_j$.
#
# <details><summary>Answer</summary>
#
# Who edits one of them edits them all. And a key of small $q$ writes loudly on everybody and is disturbed by hardly
# anybody.
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
)  # one's own edit is no interference
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
print(f"1/√q of the openers alone would give {root_q[0] / root_q[1]:.2f};", end=" ")
print(
    f"openers on other subjects: rms ρ behind the token is {fell[0] / fell[1]:.2f} of that with nothing"
)
whiskers([*found], series, "ρ (rms, and 95 % over subjects)")

# %% [markdown]
# In the left map the openers' block is nearly one color: almost the whole of an edit arrives at every other opener.
# Their rows have more color than others, for they write on everybody, and the columns above them are white. In the right
# map they are subjects as others are. The figure below it says the same of all subjects. Among subjects that are no openers
# hardly anything changes. What openers write on each other falls to about a quarter, and what they write on the others
# to less than a half; they are now disturbed as others are. The first falls since their keys are no longer the same.
# The second falls since $q$ grows twentyfold, but only about half as far as $1/\sqrt q$ alone would let it, since the
# openers' keys also overlap more with others now.
#
# ## Does it have to be this token?
#
# **Predict.** We take the model that reads nothing in front, and write something there ourselves: a word, a full
# stop, a line break, the special tokens that its tokenizer knows. Which of them help?
#
# <details><summary>What one could think</summary>
#
# If it is the place that matters, everything helps: whatever stands first takes it. If the model has learned a token
# for this purpose, nothing else will do.
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
whiskers([*marks], {"ρ": values}, "ρ of openers on openers (rms, and 95 % over subjects)")

# %% [markdown]
# **Almost any token does.** A word, a stop or a line break in front helps as much as the separator of documents. The
# exception here is `<|im_start|>`, which begins a chat. Behind it the second token still has the common key, as if nothing had
# been read. It is the very token that this tokenizer calls its begin of a sequence, so the name does not say which
# token takes the place.
#
# ## What it does to edits
#
# Two stored runs write the same three streams of thirty facts by ROME, one after another and by the same settings: with
# nothing in front, and behind the token. A third one writes them behind the token by the library's present settings,
# as on page 02. After every edit they note how the log-probability of the answer of each earlier fact has changed.
#
# How do we compare edits of openers with the others? The *largest* loss is not fair: the first stream has one
# opener with 12 earlier facts, the second has four and the third three, and a maximum over hundreds of pairs is
# larger than one over 12 of the same kind. So we take the **mean loss per pair**. And could the gap be chance? One edit makes many pairs, so
# we do not shuffle pairs but the label *opener* among the **edits** of a stream, two thousand times. $p$ is the
# share of draws with a gap at least as large.
#
# <details><summary>Settings of the first two runs</summary>
#
# Layer 3, twenty steps at a rate of 0.25, $\delta$ at most twenty times as long as $v_0$, the keys `both` of notebook 04,
# the bare prompt and four templates: what was tuned for the model with nothing in front.
#
# </details>
#
# **Predict.** Behind the token, in how many of the three streams do openers still do more harm per pair than others?
#
# <details><summary>Answer</summary>
#
# In one of three by the same settings, and with a small $p$. By the library's settings in all three, but each of these gaps could be chance.
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
        edits = stream.groupby("edit")  # one line each: its losses, its pairs, its label
        columns = -edits["change"].sum(), edits["change"].count(), edits["first word"].first()
        chances.append(by_chance(*(torch.tensor(one.to_numpy()).double() for one in columns)))
    worst = ", ".join(f"{-x:.2f}" for x in every.groupby("stream")["change"].min())
    print(f"{front} in front: largest loss {worst} nats; p", *(f"{p:.3f}" for p in chances))
panels = {"mean loss per pair (nats / 1000)": means, "length of what lands, median": lands}
made = dots(panels, ["stream 1", "stream 2", "stream 3"], flat=True)
made.axes[0].set_xscale("symlog", linthresh=1)
made.axes[0].set(
    xlim=(-10, 1500), xticks=[-1, 0, 1, 10, 100, 1000], xticklabels=[-1, 0, 1, 10, 100, 1000]
)
made

# %% [markdown]
# **With nothing in front, one opener can cost other facts several nats**, as in the second stream, and per pair openers do
# more harm than others in all three, with a small $p$ in two. The first stream has a single opener: its label can stand
# at one edit only, so its $p$ cannot be very small.
#
# **Behind the token the same edits cost a small part of a nat.** In the second stream openers still do six times as much
# harm per pair as others, and this is not chance; in the other two they do none. By the library's settings, with larger
# losses, they do more in every stream, and each of these gaps could be chance. What openers write on earlier facts is
# still longer than what others write, but less than half as long as before. Since the first two runs differ only in the
# token, it is the token that spares these facts. The other edits also do less harm behind it.
#
# GPT-2 and GPT-J, the models of most papers, read nothing in front. Pages 03, 04 and 08 come back to such a model where
# they show what those papers met; the rest of the course is about the model as `lib.load()` gives it. The token has a
# price: the model answers some prompts differently. The library's
# [measurements](../tests/benchmarks/results/first_token.md) have both sides.
#
# ## A model of your own
#
# Before you edit a model, look at what it reads first, and how alike its first positions are. These lines need nothing
# but a loaded model.

# %%
WORDS = "Water China Music London People Gold Winter Paris History Bread Japan Light".split()


def first_position(model, at):  # a mean cosine near 1 says that first words share a key
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
# Where the cosine is near 1, an edit of a word that opens its text is an edit of all of them. Put a token in front,
# and look again.
#
# ## What we know now
#
# * The first position of a text becomes a place of its own in the first layers. Where nothing stands in front, all
#   one-token subjects that open their prompt share nearly one key there, of a small $q$.
# * A key of small $q$ writes on everybody. An edit of one opener is an edit of all, and disturbs the rest.
# * A token in front takes the place, and subjects get keys of their own. The same edits then do a small part of the
#   harm, though in one stream of three openers still did more than others. Almost any token does, but not every one.
# * `lib.load()` gives the model with the token. GPT-2 and GPT-J, on which the papers worked, have none.
#
# [Notebook 03](03_where.ipynb) looks at the other places of a prompt.
#
# ## References
#
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
