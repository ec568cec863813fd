# %% [markdown]
# <!-- badge -->
#
# # 02b · What does the token in front of a text change?
#
# `lib.load()` lets its model read one token before every text. Many models of the editing papers read none.
# At the end of this page you know what that token does for the memory, and what an edit does where it is missing.
#
# **You will** find the layer where all first words become one key · see with $\rho$ who then disturbs whom · try
# other tokens in its place · look at three streams of edits without it, and at three with it.
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
shares, found = ~torch.eye(len(opening), dtype=torch.bool), {}  # one's own edit is no interference
for front, model in fronts.items():
    K = model.keys(others + first, layer).cpu().double()
    rho, q = memory.interference(K, moments[model]), (K * moments[model].solve(K)).sum(0)
    for kind, writes in kinds.items():
        print(f"{front}: q of {kind}, median {q[writes].median():,.0f}")
        for hit, hears in kinds.items():
            size = runs_02.loudness(rho, shares & writes[:, None] & hears)
            found.setdefault(f"{kind} on {hit}", {})[front] = size
series = {front: [row[front] for row in found.values()] for front in fronts}
whiskers([*found], series, "ρ (rms, and 95 % over subjects)")

# %% [markdown]
# In the left map the openers' block is nearly one color: almost the whole of an edit arrives at every other opener.
# Their rows have more color than others, for they write on everybody, and the columns above them are white. In the right
# map they are subjects as others are. The figure below it says the same of all subjects. Among subjects that are no openers
# hardly anything changes. What openers write on each other falls to about a quarter, and what they write on the others
# to less than a half; they are now disturbed as others are. The first falls since their keys are no longer the same,
# the second since $q$ grows twentyfold.
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
# **It is the place.** A word, a stop or a line break in front helps as much as the separator of documents. With one
# exception: `<|im_start|>`, which begins a chat. Behind it the second token still has the common key, as if nothing had
# been read. It is the very token that this tokenizer calls its begin of a sequence, so the name does not say which
# token takes the place.
#
# ## What it does to edits
#
# Two stored runs write the same three streams of thirty facts by ROME, one after another and by the same settings: with
# nothing in front, and behind the token. After every edit they note how the log-probability of the answer of each
# earlier fact has changed. The figure has the largest loss of each stream, under edits of openers and under all others,
# and the length of what an edit puts on the key of an earlier fact. The first stream has one opener, the second has four
# and the third three.
#
# <details><summary>Settings of the two runs</summary>
#
# Layer 3, twenty steps at a rate of 0.25, $\delta$ at most twenty times as long as $v_0$, the keys `both` of notebook 04,
# the bare prompt and four templates: what was tuned for the model with nothing in front.
#
# </details>
#
# **Predict.** In which of the two runs do edits of openers do more harm than others, and is it so in every stream?
#
# <details><summary>What one could think</summary>
#
# What an opener writes with nothing in front arrives whole at the other openers, which may be among the earlier
# facts, and loudly at everybody else.
#
# </details>

# %%
runs = {
    "nothing": long_runs.rows("02_interference"),
    "token": long_runs.rows("02_equal"),
}
long_runs.repeats(
    runs["nothing"], lambda: islice(runs_02.stream(plain, 0), 1), ["lands", "change"], 0.05
)
losses, lands = {}, {}
for front, rows in runs.items():
    every = runs_02.earlier(rows)
    for kind in (False, True):
        part = every[every["first word"] == kind].groupby("stream")
        column = f"{'openers' if kind else 'others'}, {front}"
        losses[column] = (-part["change"].min()).tolist()
        lands[column] = part["lands"].median().tolist()
    worst = ", ".join(f"{-x:.2f}" for x in every.groupby("stream")["change"].min())
    print(f"largest loss of each stream, {front} in front: {worst} nats")
panels = {"largest loss (nats)": losses, "length of what lands, median": lands}
dots(panels, ["stream 1", "stream 2", "stream 3"], log=["largest loss (nats)"], flat=True)

# %% [markdown]
# **With nothing in front, one opener can cost other facts several nats**, as in the second stream, twenty times what any
# other edit costs there. In the third it is more than one nat; in the first the only opener does little harm, and the largest
# loss comes from another edit.
#
# **Behind the token the same edits cost a small part of a nat**, and openers no more than others, in each stream. What
# openers write on earlier facts is still longer than what others write, but less than half as long as before. Since the
# two runs differ in the token alone, it is the token that spares these facts. The other edits do less harm behind it,
# too.
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
#   harm. Almost any token does, but not every one.
# * `lib.load()` gives the model with the token. GPT-2 and GPT-J, on which the papers worked, have none.
#
# ## Where it breaks
#
# At which of the other places a model finds a fact, we do not know yet. **Where is the key, in a transformer?**
# [Notebook 03](03_where.ipynb) asks the model.
#
# ## References
#
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
