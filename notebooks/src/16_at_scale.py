# %% [markdown]
# <!-- badge -->
#
# # 16 · At scale
#
# Everything so far was a model of 135 million weights, mostly with some dozen facts, where an
# honest test needs a thousand. What changes with a model of 8 billion weights, and with a million
# edits? A good part of the answer can be worked out on paper before a GPU is rented.
#
# **You will** count what a method cannot avoid · see why a GPU waits for its memory · measure what
# replay saves, by depth · add up the bytes of a million edits · solve normal equations that are
# spread over workers · read ten thousand measured edits · estimate, then measure, edits per hour.
#
# **Needs** notebooks [04](04_rome.ipynb) to [14](14_lifelong.ipynb).
#
# No GPU was available while this course was written. So every section below begins with one of
# three words, and everything in it is meant in that sense:
#
# * **Measured**: a program was run. The cell says on what: always a CPU, and the small model where
#   it does not say otherwise.
# * **Counted**: multiply-adds or bytes, from the shapes of matrices, without running anything.
# * **Never run**: the code exists and should do it, but nobody has seen it do so.
#
# The folded cell below finds the library and sets the number of threads. Run it and read on.

# %% tags=["setup"]
# @title Setup: finds the library, or fetches it where this notebook was opened alone
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""
here = Path(globals().get("__file__", "here")).resolve().parent
root = next((p for p in (here, *here.parents) if (p / "lib" / "__init__.py").is_file()), None)
if root is None and REPOSITORY:  # opened alone, as Colab does: fetch the rest
    root = here / REPOSITORY.split("/")[-1]
    clone = ["git", "clone", "--quiet", "--depth=1", f"https://github.com/{REPOSITORY}", str(root)]
    install = [sys.executable, "-m", "pip", "install", "-q", "-r", str(root / "requirements.txt")]
    for command in [install] if root.is_dir() else [clone, install]:
        subprocess.run(command, check=True)
if root is None:
    raise FileNotFoundError("lib/__init__.py is in no folder above: open this in a checkout.")
sys.path.insert(0, str(root))
os.environ.setdefault("OMP_NUM_THREADS", "2")  # both are read once, when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall a busy machine
SCALE = os.environ.get("EDIT_SCALE", "small")  # "tiny", "small" or "full"

# %%
import torch

import lib
from lib import plot
from notebooks.support import checks_16_at_scale as checks_16
from notebooks.support import drawings_16, models, show
from notebooks.support import runs_16_at_scale as runs_16

draw = torch.Generator().manual_seed(0)
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.classroom()[0]

# %% [markdown]
# ## The floor
#
# **Counted.** How long an edit takes depends on the machine and on the program. How many
# multiplications it needs does not. We want a number of operations that no program for this method
# can avoid, so that a measured time can be compared with it. What goes in are the widths of the
# model and the number of tokens that pass through it; what comes out is a number of multiply-adds
# (one multiplication and one addition).
#
# A token that goes through a weight matrix costs one multiply-add per weight. In a llama with $L$
# blocks of width $d$, inner width $m$, keys of width $d_{kv}$ and a vocabulary of $|V|$ tokens, one
# token costs
#
# $$c = 2d^2 + 2\,d\,d_{kv} + 3\,d\,m \quad\text{per block}, \qquad d\,|V| \quad\text{for the head}.$$
#
# Attention's own products are left out, since they are small for short prompts. Going *backward* to
# the activations costs the same once more. Gradients of the weights would be a third share, but the
# editors that are counted here do not need them.
#
# **Predict.** ROME searches its value in 20 *looks* (steps) at 5 rows of 12 tokens, 4 of them from
# the subject's last token on. How many multiply-adds is that in the model of 135M, if all of it
# runs every time? And UltraEdit, with one forward and one backward pass of one row of 16 tokens, of
# which two are answer tokens, for layers from 12 on?
#
# <details><summary>Work it out</summary>
#
# $c$ is 3.54 million and the head costs 28.3 million. ROME makes 39 passes, 20 forward and 19
# backward. Each has 5 rows, and each row costs $12 \cdot 30\,c$ and one head (only its last token
# is asked for an answer), together 1,303 million. $39 \cdot 5 \cdot 1{,}303$ million are 254
# billion.
#
# UltraEdit: 16 tokens go forward through 30 blocks and backward through 18, so $16 \cdot 48\,c$.
# The head is passed by two answer tokens, forward and backward, so four times: $4 \cdot 28.3$
# million. Together about 2.8 billion, ninety times less. That is the difference between searching
# for a value and reading a gradient.
#
# </details>

# %%
shape = runs_16.shape_of(lm)
blocks = sum(p.numel() for p in lm.blocks[0].parameters() if p.ndim == 2)
assert blocks == shape.block
print(f"{lm.name}: c = {shape.block / 1e6:.2f} million, head {shape.head / 1e6:.1f} million")
print("billions of multiply-adds for one fact:")
show.Table(runs_16.counts())

# %% [markdown]
# *Replay*, which runs again only what an edit can change, leaves a third of ROME's count. From the
# model of 135M to that of 70B the arithmetic grows about as the number of weights does. (The
# weights are counted with embeddings *and* head. The two small models have one matrix for both;
# those of Llama have two.)
#
# ## Why a GPU waits
#
# **Counted.** The multiply-adds are not the whole story. Before a weight can be multiplied, it has
# to be read from memory, and that takes time, too. A processor does both at once, so the slower of
# the two decides. The drawing shows this for a GPU with round numbers, $200 \cdot 10^{12}$
# multiply-adds and $4 \cdot 10^{12}$ bytes per second (an assumption, near what recent ones are
# sold with), and for a model of 8B in bf16. To the right it has more to do with each byte that it
# reads, and at the top it is as fast as it can be.

# %%
large = runs_16.SHAPES["8B (Llama 3)"]
loads = runs_16.loads(large)
title = "8B (Llama 3), on a GPU with round numbers"
drawings_16.roofline(loads, runs_16.PEAK, runs_16.BANDWIDTH, title)

# %% [markdown]
# This picture is called a **roofline**. Let $a$ be the multiply-adds and $b$ the bytes of a piece
# of work, and $P$ and $B$ what the processor can do of each in a second. The time is at least
#
# $$t \ge \max\Big(\frac aP,\ \frac bB\Big), \qquad\text{so}\qquad
# \frac at \le \min\Big(P,\ \frac ab\,B\Big).$$
#
# The slanted part of the roof is $\frac ab B$, the flat part is $P$, and they meet at $a/b = P/B$,
# here 50 multiply-adds per byte.
#
# **Predict.** A pass in which $n$ tokens go through all weights: what is $a/b$ in bf16? From how
# many tokens on does this GPU wait no longer for its memory?
#
# <details><summary>Work it out</summary>
#
# Every weight has 2 bytes and is used once for each token, so $a/b = n/2$. From 100 tokens on the
# arithmetic takes longer. ROME's rows have only $5 \cdot 4$ tokens after the subject, which makes
# 10.
#
# </details>

# %%
show.Table(runs_16.waits(large))

# %% [markdown]
# One fact at a time the GPU would spend five times as long on reading as on arithmetic. If 32 facts
# are searched at once, the weights are read once for all of them, and the arithmetic decides. So on
# a GPU editing in batches should be far cheaper per fact, for searches as for gradients. (**Never
# run**: this is what the count says.)
#
# **Measured**, on one CPU thread: what does it bring there to search 32 values at once?

# %%
for n, said in {1: "the bare prompt", 5: "five contexts"}.items():
    row = runs_16.read("spread_speed")[f"batched_{n}"]
    print(f"32 facts at once, {said}: {row['speedup']:.1f} times as fast as one by one")

# %% [markdown]
# A gain on the CPU, too, and a smaller one. Its arithmetic is slower compared with its memory, so
# the roof has its corner further to the left.
#
# ## What replay saves, by depth
#
# **Measured** here, and counted. While layer $\ell$ is edited, nothing below it changes. If one
# keeps what comes out of these lower blocks, a look has to run only the blocks above the edited
# layer. How much of the time that saves depends on the layer, and the count says how. With $n$
# tokens per row, of which $s$ come from the subject's last token on, a row costs
#
# $$s\,(L - \ell - 1)\,c + d\,|V| \qquad\text{instead of}\qquad n\,L\,c + d\,|V| .$$
#
# **Predict.** Let us save along layers alone, $s = n$. From which layer on is half of the time
# saved? Not exactly from half of the depth on: why?
#
# <details><summary>Work it out</summary>
#
# The head stays. In this model it costs as much as eight blocks for one token, but it is needed for
# one token of each row only. For rows of some ten tokens that is a few percent of the whole, so
# half is saved just above the middle. At the top, what is left is the head.
#
# </details>

# %%
prompts = [case.fact.text for case in lib.classroom()[:5]]
starts = sorted({round(i * lm.n_layers / 6) for i in range(7)})
spent = runs_16.times(lm, prompts, starts)
length = sum(map(len, lm.rows(prompts)[0])) / len(prompts)
whole = length * shape.layers * shape.block + shape.head
counted = [(length * (shape.layers - s) * shape.block + shape.head) / whole for s in starts]
shares = {"measured": [100 * s / spent[0] for s in spent], "counted": [100 * c for c in counted]}
for s, share in zip(starts, shares["counted"], strict=True):
    print(f"counted, from block {s} on: {share:.0f} %")
axes = "first block that runs again", "time of a look (% of the whole model)"
colors = {"measured": plot.EDITED, "counted": plot.BASE}
plot.lines(starts, shares, *axes, colors=colors, dashes={"counted": "--"}, ylim=(0, 112))

# %% [markdown]
# The measured times follow the count, and lie a little above it. What counts is $\ell/L$, so the
# saving should be the same share in a large model (**never run**). For whole edits there is a
# stored benchmark:

# %%
row = runs_16.read("rome_speed")["5"]
print(f"an edit by ROME, five contexts: {row['seconds']:.1f} s with replay")
print(f"through the whole model {row['whole_over_replay']:.1f} times as long")

# %% [markdown]
# ## Measured against the floor
#
# **Measured**, on one CPU thread, by the programs in `tests/benchmarks` (all tables are in
# [RESULTS.md](../tests/benchmarks/RESULTS.md)). The column "of the floor" divides the seconds of an
# edit by those that its multiply-adds alone take on the same machine, an AMD EPYC. It can be below
# one: these rows were measured with packed copies of the weights, whose products were faster than
# PyTorch's plain ones. The copies have left the library since.

# %%
show.Table(runs_16.speeds())

# %%
slow, fast = (row["seconds per edit"] for row in (runs_16.speeds()[0], runs_16.speeds()[-1]))
print(f"factor {slow / fast:.0f}; for a million edits {slow * 1e6 / 86400:.0f} days of this thread")
print(f"or {fast * 1e6 / 3600:.0f} hours")
asked = runs_16.read("ultraedit_speed")["evaluation"]["cpu"]
print(f"to ask for a million facts once: {asked * 1e6 / 3600:.0f} hours")

# %% [markdown]
# None of these took more than a quarter longer than its floor. So better programs would not have
# made them much faster there, and only a method that needs *less* will: fewer looks, fewer rows, a
# gradient in the place of a search. (On another processor, an Intel Xeon, and without these copies
# the same edits stand at twice to nearly five times their floor, which is lower there; RESULTS has
# both tables. The last row is UltraEdit as published. The preset of the small model makes up to
# three passes over a turn and keeps the keys of earlier turns; what that costs is measured further
# below.)
#
# ## A million edits: memory
#
# **Counted.** What does each method keep *beside* the model? This decides whether a stream can go
# on for ever. We ask for the bytes after $n$ edits, with one edited layer, in float32, since small
# updates vanish in bf16. What is written into a weight matrix takes $4\,d\,m$ bytes, however many
# facts it holds. Kept keys are $4\,m\,n$ bytes at first, and once there are many, the matrix
# $KK^\top$ with $4\,m^2$ bytes says the same. GRACE has a key and a value for each fact, $4\,(m +
# d)\,n$ bytes.
#
# **Predict.** In a model of 8B with $d = 4096$ and $m = 14336$: how large is GRACE's codebook of a
# million facts, compared with the model? And what does UltraEdit keep?
#
# <details><summary>Work it out</summary>
#
# $4\,(14336 + 4096) = 73{,}728$ bytes per fact. For a million facts that is more than four times
# the model in bf16, and every prompt is compared with a million keys. UltraEdit keeps one matrix
# and two vectors of moments, however many facts there are.
#
# </details>

# %%
edits = [10, 100, 1000, 10_000, 100_000, 1_000_000]
kept = runs_16.kept(large, edits)
model = 2 * large.weights / 1e9
drawings_16.memory(edits, kept, model)

# %%
print(f"the model of {large.weights / 1e9:.2f} billion weights in bf16: {model:.1f} GB")
print("a million edits:", ", ".join(f"{name} {sizes[-1]:,.2f} GB" for name, sizes in kept.items()))
for name in ("GRACE", "LEMoE, experts like the MLP"):
    print(f"{name}: as large as the model after {runs_16.crossing(large, name):,.0f} facts")
print(f"a fact of retrieval: {runs_16.retrieval_bytes():.0f} bytes (notebook 14's stream)")

# %% [markdown]
# LEMoE's experts are copies of an MLP in notebook 13, one for every 16 facts at most. That is the
# largest by far, and it is why the library's settings for larger models take experts of rank 16
# instead, which need exactly what GRACE does (the two lines lie on each other). Both pass the
# model's own size at about 218 thousand facts. What is written into the weights is level: once
# there are more facts than columns, a matrix holds everything. Retrieval keeps the facts as text,
# and is the smallest for a long time.
#
# **Measured**, on a CPU: a model of random numbers in bf16 with the shape of Llama 3 8B, all 32
# layers, was loaded from its files and edited. What the process holds itself is one thing; pages of
# the files that happen to be in memory are another, because the system can drop them at any time.
# (Searches were cut to two steps and $C$ was estimated from few tokens: both cost time, not
# memory.)

# %%
run = runs_16.largest()
print(f"{run['layers']} layers, {run['weights'] / 1e9:.2f} billion weights")
show.Table(runs_16.memory_of_steps())

# %% [markdown]
# Loading costs next to nothing, since the weights stay in their files. UltraEdit needs room for a
# few matrices of one layer. What is large is $C$ of a layer with its Cholesky factor, $2 \cdot 8
# m^2$ bytes, and for a moment a third such matrix. So the library makes, factors and keeps them one
# layer at a time where a machine has no room for all.
#
# A model with a quarter of these layers needed as much memory of its own
# ([RESULTS](../tests/benchmarks/RESULTS.md) has both tables): what an edit needs is that of its
# layer, whatever the depth. Every edit moved the answer and was undone to the bit.
#
# ## Normal equations over workers
#
# MEMIT writes a batch of $n$ facts by one system of equations, $\Delta = R K^\top(\lambda I + K
# K^\top)^{-1}$ (notebook 05, with $C = I$). Suppose that several machines, called *workers*, have a
# copy of the model each, and each reads the keys and residuals of *some* of the facts: worker $i$
# has the columns $K_i$ and $R_i$. What comes out should be the $\Delta$ of all facts, on every
# worker. What do they have to send each other?
#
# $$K K^\top = \sum_i K_i K_i^\top, \qquad R K^\top = \sum_i R_i K_i^\top .$$
#
# Both are sums over the workers, and their size does not depend on the number of facts. Or the
# columns themselves are sent, $n(d_\text{in} + d_\text{out})$ numbers, and every worker solves the
# whole problem.
#
# **Predict.** When is which cheaper? And which of them gives the same *bits* as one worker alone?
#
# <details><summary>Work it out</summary>
#
# The sums are $d_\text{in}^2 + d_\text{out} d_\text{in}$ numbers, so columns are fewer as long as
# $n < d_\text{in}$. Columns that are put back in their order *are* the matrix of one worker, so the
# bits are the same by construction. Sums are added in another order, and numbers in float32 then
# round differently. The library sends columns up to $n = d_\text{in}$, and sums beyond that.
#
# </details>
#
# **Measured** here, with four "workers" that are chunks of one matrix in one process:

# %%
d_in, d_out, n = 64, 32, 100
K, R = (torch.randn(size, n, generator=draw) for size in (d_in, d_out))


def solve(G, M, strength=1.0):  # Δ (G + λI) = M
    return torch.linalg.solve(G + strength * torch.eye(len(G)), M.T).T


alone = solve(K @ K.T, R @ K.T)
for workers in (1, 2, 4, 10):
    parts = list(zip(K.chunk(workers, 1), R.chunk(workers, 1), strict=True))
    gram = sum(k @ k.T for k, _ in parts)
    mixed = sum(r @ k.T for k, r in parts)
    summed = solve(gram, mixed)
    off = ((summed - alone).norm() / alone.norm()).item()
    print(f"{workers:2} workers, sums: same bits {torch.equal(summed, alone)}, off by {off:.0e}")
for name, size in {"columns": n * (d_in + d_out), "sums": d_in * (d_in + d_out)}.items():
    print(f"numbers sent as {name}: {size:,}")

# %% [markdown]
# `torchrun --nproc-per-node 2 -m lib stream …` is the library's command for several processes.
# **Measured**, on a CPU: one turn of UltraEdit on the small model, by one process and by two.

# %%
show.Table(runs_16.processes())

# %% [markdown]
# The patch has the bits of one process, and the work of reading is divided, though not evenly: what
# is handed out are whole passes. **Counted**: on cards a pass is larger, so a batch of a hundred
# short facts is two passes and would keep two cards busy at most; solving and measuring are not
# shared at all. **Never run**: more than two processes, and any number of cards.
#
# ## Ten thousand edits, measured
#
# **Measured**, on one CPU thread: CounterFact in turns of a hundred, by UltraEdit as published and
# with the preset of this model (stored in `tests/benchmarks`). We ask for the first and for the
# last hundred facts, by free generation. The shades are 95 % intervals over the hundred facts of
# one stream, so they do not say how another stream would go. The two runs were asked at different
# points.
#
# **Predict.** Which of them falls, the first hundred or the last?
#
# <details><summary>Answer</summary>
#
# With the preset the first hundred: they are written and then fade. The last hundred are written as
# well as ever. As published, little is written of either, and it does not fade.
#
# </details>

# %%
x, y, bands = runs_16.long_stream()
colors = {name: plot.CYCLE[1] if "preset" in name else plot.CYCLE[4] for name in y}
dashes = {name: "--" for name in y if name.startswith("last")}
axes = "edits", "says the new answer (%)"
plot.lines(x, y, *axes, colors=colors, dashes=dashes, bands=bands, ylim=(0, 104))

# %%
show.Table(runs_16.long_table())

# %% [markdown]
# With the preset the first hundred facts fall from 77 % after a thousand edits to 49 % after ten
# thousand, while the last hundred are written as before. So old facts fade, but nothing collapses.
# As published, both groups stay low, between 9 and 35 % in the table. By *probability* the same run
# looks much better, 63 and 55 % at the end; but the unedited model has 35 and 44 % in that column
# (notebook 15). The perplexity tells the price: from 18.5 to 22.2 with the preset, and to 30.4 as
# published.
#
# A million edits would be a hundred times as many. On this model they were **never run**. What can be
# asked without it is whether the program itself grows slower or larger on the way. **Measured**: a
# stream of made-up facts on a random model with so few weights that nearly all of the time is the
# library's own, through a journal. All of these edits were made once more, killed three times on the
# way and gone on with.

# %%
for run in runs_16.made_up_streams():
    print(f"{run['edits']:,} edits; killed, gone on with, same bits: {run.get('same', 'not run')}")
show.Table(runs_16.constant())

# %% [markdown]
# The memory grows by a twentieth. Does the time of an edit grow? The machine did little else while
# this ran, and the medians at the points stay within an eighth of each other. Of the turns near a
# point, the one that was disturbed least says more: it stands in the column beside them, and differs
# by a few hundredths only ([RESULTS](../tests/benchmarks/RESULTS.md) has every fifty thousand). So an
# edit costs as much late as early, and the memory is nearly the same. (Such a model cannot hold
# these facts. That is not what is measured here.)
#
# ## On a card
#
# `python -m tests.benchmarks.gpu tests/benchmarks/gpu.json` is meant to measure on one card what
# this notebook counts: every editor on a model of 8B against the floor of the same run, a long
# stream, and the matrices that are made once. The cell below shows what that file holds.

# %%
found = runs_16.on_a_card()
print(found) if isinstance(found, str) else show.Table(found)

# %% [markdown]
# ## On your machine
#
# **Measured** here, on whatever you run it on. A turn of facts by UltraEdit with the library's
# settings, the second of two, as the first one also prepares statistics. The Eiffel Tower is among
# these facts. With `EDIT_SCALE=full` the model would be Qwen3-8B, and with a card the same cell
# should use it (**never run**; the library has no settings tuned for that model, and all counts
# above are for Llama's shapes).

# %%
count = 4 if SCALE == "tiny" else 12
facts = [case.fact for case in lib.classroom()]
editor = lib.EDITORS["ultraedit"](lm)
before = editor.edit(facts[count : 2 * count])
texts = [tower.fact.text, tower.paraphrases[0], tower.neighborhood[0].prompt]
said = lm.answer(texts, 6)
start = runs_16.now()
patch = editor.edit(facts[:count], after=before)
seconds = (runs_16.now() - start) / count
where = torch.cuda.get_device_name() if torch.cuda.is_available() else "this CPU"
print(f"{where}: {3600 / seconds:,.0f} edits per hour in turns of {count}")
with lm.patched(patch):
    after = lm.answer(texts, 6)
columns = zip(texts, said, after, strict=True)
show.Table([{"prompt": t, "unedited": a, f"after {2 * count} edits": b} for t, a, b in columns])

# %% [markdown]
# Why is that so much less than in the table of speeds? Instead of guessing, we measure where the
# seconds of such a turn go.

# %%
show.Table(runs_16.profile(editor, facts[:count], before))

# %% [markdown]
# About half of the time is the reading of keys and gradients, and it is paid three times, because
# the preset makes three passes over a turn. About a quarter goes into nine layers' ridges, in which
# the keys of earlier turns are kept; that costs the same for a turn of a hundred facts, so small
# turns pay more per fact. A fifth goes into asking, between passes, whether all facts are right.
# The published form in the table above makes one pass over a hundred facts, keeps no keys and does
# not ask.
#
# And the text says what edits per hour do not: the tower itself is in Rome now, its rewording is
# not, and Notre-Dame has moved along.
#
# ## Exercise: over workers, and edits per hour
#
# First: $\Delta$ from the parts, in any way, for any number of workers. Then estimate how many
# edits per hour UltraEdit makes with this library's preset on *your* machine, in turns of eight,
# **before** it is measured.
#
# <details><summary>A hint</summary>
#
# For the first, add up two matrices over the parts and count $\lambda$ once. For the second: the
# preset edits nine layers, from 12 to 20. A turn of ten facts or fewer makes up to ten passes, and
# after each but the last the model is asked whether all facts are right. A large matrix product
# tells how many multiply-adds per second your machine makes.
#
# </details>
#
# <details><summary>A solution</summary>
#
# `G = sum(k @ k.T for k, _ in parts)`, `M = sum(r @ k.T for k, r in parts)`, and `return
# torch.linalg.solve(G + strength * torch.eye(len(G)).to(G), M.T).T`. Other ways are right, too: put
# the columns side by side first.
#
# The estimate depends on your machine. The profile above, with as many passes as a turn of eight
# needs, comes closer than the count of multiply-adds.
#
# </details>


# %%
def merged(parts, strength):  # [(K_i, R_i), …], λ -> Δ (d_out, d_in)
    return "not attempted"


estimate = None  # edits per hour

# %%
print("workers:", checks_16.merged(merged))
print("edits per hour:", checks_16.edits_per_hour(lm, estimate))

# %% [markdown]
# ## What we know now
#
# * **Counted**: a search costs some forty passes and a gradient two, and one fact at a time leaves
#   a GPU waiting for its memory. Many facts at once do not.
# * **Counted**: for a million edits memory decides. What keeps something per fact outgrows the
#   model.
# * **Measured**, on a CPU: the editors stood near their floor with packed copies of the weights, and
#   without them, on another processor, some way above it ([RESULTS](../tests/benchmarks/RESULTS.md)
#   has both). Ten thousand edits in a row fade but do not collapse.
# * **Measured**, on a CPU and with random weights: layers as wide as those of 8B need room for the
#   matrices of one layer beside the model's files, and a million edits of a tiny model need no more
#   memory late than early, and about as much time.
# * **Never run**: any of it on a GPU, with the real weights of a model of 8B, or with a million real
#   facts.
#
# ## Where it breaks
#
# Here the methods end, and the problems are open. No editor of this course held ten thousand facts,
# followed their rewordings *and* left the neighbors alone. A fact is written at one place, and what
# follows from it is not
# ([measured](../tests/benchmarks/RESULTS.md#what-follows-from-an-edit)). No router knows what a
# prompt is about. And all of it was
# measured on one model, a small one. Write an editor in one file, and judge it as in notebook 15.
#
# One question is left, from the other side: here is a model, **was it edited?** [Notebook
# 17](17_was_it_edited.ipynb).
#
# ## References
#
# * Williams, Waterman, Patterson: *Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures*, Communications of the ACM 52(4), 2009.
# * Gu et al.: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Language
#   Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
