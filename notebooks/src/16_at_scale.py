# %% [markdown]
# <!-- badge -->
#
# # 16 · At scale
#
# Everything so far was a model of 135M, mostly with some dozen facts, where an honest test needs a
# thousand. What changes at 7B or 8B and a million edits? Much of the answer can be counted before a
# GPU is rented.
#
# **You will** count what a method cannot avoid · measure what replay saves, by depth · add up the
# bytes of a million edits · solve normal equations that are spread over workers · read ten thousand
# measured edits · estimate, then measure, edits per hour.
#
# **Needs** notebooks [04](04_rome.ipynb) to [14](14_lifelong.ipynb).
#
# What is *measured* here was measured on a CPU with the small model: no GPU was available to the
# project. What is said about larger models is *counted*. The last experiment runs as it is on a
# GPU.
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
from notebooks.support import models, show
from notebooks.support import runs_16_at_scale as runs_16

draw = torch.Generator().manual_seed(0)
lm = models.load(SCALE)

# %% [markdown]
# ## The floor
#
# A token that goes through a weight matrix costs one multiply-add per weight. In a llama with $L$
# blocks of width $d$, inner width $m$ and keys of width $d_{kv}$, one token costs
#
# $$c = 2d^2 + 2\,d\,d_{kv} + 3\,d\,m \quad\text{per block}, \qquad d\,|V| \quad\text{for the head}.$$
#
# ($|V|$: the vocabulary. Attention's own products are small for short prompts.) Going *backward* to
# the activations costs the same once more; gradients of the weights would be a third share, but no
# editor here that searches for a value needs them.
#
# **Predict.** ROME: 20 *looks*, which are the steps of its search, at 5 rows of 12 tokens, 4 of them
# from the lookup on. How many multiply-adds in the model of 135M, through the whole model? And
# UltraEdit, one forward and one backward pass of one row of 16 tokens?
#
# <details><summary>Work it out</summary>
#
# $c$ is 3.54 million and the head 28.3. Whole: 39 passes (20 forward, 19 backward) of 5 rows, each
# $12 \cdot 30 \cdot 3.54 + 28.3 = 1{,}303$ million: 254 billion. UltraEdit:
# $16 \cdot 48 \cdot 3.54 + 4 \cdot 28.3$ (30 blocks forward, 18 backward), about 2.8 billion: ninety
# times less. That is the difference between searching a value and reading a gradient.
#
# </details>

# %%
shape = runs_16.shape_of(lm)
blocks = sum(p.numel() for p in lm.blocks[0].parameters() if p.ndim == 2)
assert blocks == shape.block
rows = []
for name, some in runs_16.SHAPES.items():
    layer = some.layers // 8
    row = {"model": name, "weights (billions)": some.weights / 1e9}
    row["ROME, whole model (Gmadd)"] = runs_16.search(some, layer, replay=False) / 1e9
    row["with replay"] = runs_16.search(some, layer) / 1e9
    row["UltraEdit"] = runs_16.features(some, lowest=2 * some.layers // 5) / 1e9
    row["ROME, ms at 200 T/s"] = runs_16.search(some, layer) / 2e11
    rows.append(row | {"ms to read weights at 4 TB/s": runs_16.reading(some, layer) / 4e9})
show.Table(rows)

# %% [markdown]
# Replay leaves a third. From 135M to 70B the arithmetic grows about like the weights, 600 times.
# But look at the last two columns, for a GPU with 200 · 10¹² multiply-adds and 4 · 10¹² bytes per
# second: each of 39 passes reads all weights above the layer, and for five short rows that takes
# five times as long as the arithmetic. So a GPU waits for its memory, unless many facts are
# searched at once: 32 facts read the weights once. (On our CPU, 32 at once are 2.6 times faster
# than one by one, bare prompt.)
#
# ## What replay saves, by depth
#
# While layer $\ell$ is edited all below it is constant. If the blocks above take $L - \ell - 1$ of
# $L$, and only $s$ of $n$ tokens come from the lookup on, a look costs
# $s\,(L - \ell - 1)\,c + d|V|$ instead of $n\,L\,c + d|V|$.
#
# **Predict.** Where is half of the time saved, along layers alone? Not at half of the depth: why?
#
# <details><summary>Work it out</summary>
#
# The head stays. In this model it costs as much as eight blocks for one token, but it is needed at
# one label per row only, so for rows of some ten tokens it is 3 % of the whole: half is saved just
# above the middle. At the top what is left is the head.
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
axes = "first block that runs again", "time of a look (% of the whole model)"
colors = {"measured": plot.EDITED, "counted": plot.BASE}
plot.lines(starts, shares, *axes, colors=colors, dashes={"counted": "--"}, ylim=(0, 112))

# %% [markdown]
# The count holds within some points: at block 15 of 30 it says 51 %, at the top 3, and what is
# measured lies a little above, as small products are slower. Together with the positions, a whole
# edit by ROME with five contexts is 1.9 times faster than through the whole model on the same
# products (`rome_speed`). What counts is $\ell/L$, in a large model too.
#
# ## Measured against the floor
#
# From `tests/benchmarks`, in a table with all the others in
# [RESULTS.md](../tests/benchmarks/RESULTS.md): seconds per edit on one CPU thread, and how many
# times the floor that is. (Below 1: the floor is counted with PyTorch's plain products, the library
# packs frozen weights once and is faster.)

# %%
show.Table(runs_16.speeds())

# %% [markdown]
# Everything stands at its floor or near it, so what is left is to need less: fewer looks, fewer
# rows, a gradient in place of a search. Between ROME and UltraEdit lies a factor of eighty: on this
# thread a million edits are 36 days or 10 hours. (The preset of the small model, with three passes
# and kept keys, takes 0.19 s in the long run below, where the published form takes 0.02.) And
# judging costs, too: at 0.022 s per prompt asking a million facts once takes six hours.
#
# ## A million edits: memory
#
# The model is the smallest problem: 8B in bf16 are 15 GB (embeddings counted once). What does each
# method keep *beside* it? A changed matrix, in float32 (in bf16 small updates vanish): $4\,d\,m$
# bytes. Kept keys: first the columns, then $KK^\top$ with $m^2$ numbers. GRACE: a key and a value
# per fact, for ever.
#
# **Predict.** In an 8B model, a million facts in GRACE's codebook: how many GB? In UltraEdit?
#
# <details><summary>Work it out</summary>
#
# $4\,(14336 + 4096) = 74$ kB per fact: 74 GB for a million, more than the model, and each prompt is
# compared with a million keys. UltraEdit: one matrix, 0.23 GB, and two vectors of moments, however
# many there are. That is what "lifelong" has to mean for memory.
#
# </details>

# %%
edits = [10, 100, 1000, 10_000, 100_000, 1_000_000]
kept = runs_16.kept(runs_16.SHAPES["8B (Llama 3)"], edits)
kept["the model, bf16"] = [2 * runs_16.SHAPES["8B (Llama 3)"].weights / 1e9] * len(edits)
axes = "edits", "kept for one edited layer (GB)"
colors = {"the model, bf16": plot.BASE}
dashes = {"the model, bf16": "--"}
plot.lines(edits, kept, *axes, colors=colors, dashes=dashes, xlog=True, ylog=True, height=4.4)

# %% [markdown]
# GRACE passes the model's own 15 GB at 200,000 facts, WISE (a new side memory for every 10,000) and
# LEMoE (an expert of rank 16 for every 100) get there with a few hundred thousand more. What is
# written into the weights is level: once there are more facts than columns, a matrix and a Gram
# matrix hold everything, 1.1 GB with kept keys, 0.23 without. Retrieval keeps the facts as text,
# and is the smallest for a long time. (Counted, not measured.)
#
# ## Normal equations over workers
#
# A batch of $n$ facts is written by $\Delta = R K^\top(\lambda I + K K^\top)^{-1}$. Workers with a
# copy of the model each read some of the facts: worker $i$ has the columns $K_i$ and $R_i$. What has
# to cross the wire?
#
# $$K K^\top = \sum_i K_i K_i^\top, \qquad R K^\top = \sum_i R_i K_i^\top .$$
#
# Both are sums, of a size that does not depend on the number of facts. Or the columns themselves
# are sent, $n(d_\text{in} + d_\text{out})$ numbers, and all workers solve the same problem.
#
# **Predict.** When is which cheaper? And which gives the same *bits* as one worker?
#
# <details><summary>Work it out</summary>
#
# The sum is $d_\text{in}^2$ numbers ($+\,d_\text{out} d_\text{in}$), the columns are fewer while $n
# < d_\text{in}$, roughly. Columns put in their order are the same matrix: the same bits. Sums are
# added in another order: equal to rounding, 1e-5. The library does just that: columns up to
# $d_\text{in}$, sums beyond.
#
# </details>

# %%
d_in, d_out, n, workers = 64, 32, 100, 4
K, R = (torch.randn(size, n, generator=draw) for size in (d_in, d_out))
parts = list(zip(K.chunk(workers, 1), R.chunk(workers, 1), strict=True))


def solve(G, M, strength=1.0):  # Δ (G + λI) = M
    return torch.linalg.solve(G + strength * torch.eye(len(G)), M.T).T


alone = solve(K @ K.T, R @ K.T)
summed = solve(sum(k @ k.T for k, _ in parts), sum(r @ k.T for k, r in parts))
columns = [torch.cat(side, 1) for side in zip(*parts, strict=True)]
gathered = solve(columns[0] @ columns[0].T, columns[1] @ columns[0].T)
print(f"columns gathered: same bits: {torch.equal(gathered, alone)}")
off = (summed - alone).norm() / alone.norm()
print(f"sums added: same bits: {torch.equal(summed, alone)}, off by {off:.0e}")
wire = {"columns": n * (d_in + d_out), "sums": d_in * (d_in + d_out)}
print("numbers on the wire:", ", ".join(f"{name} {size:,}" for name, size in wire.items()))

# %% [markdown]
# `torchrun --nproc-per-node 8 -m lib stream …` does this with eight GPUs; what is shared is the
# reading of a batch, which is nearly all of the time.
#
# ## Ten thousand edits, measured
#
# CounterFact in turns of 100, UltraEdit as published and with the preset of this model (stored in
# `tests/benchmarks`): what the first and the last hundred facts say, by free generation (± 10
# points).
#
# **Predict.** Which falls, the first hundred or the last?
#
# <details><summary>Answer</summary>
#
# With the preset the first: 77 % after 1,000, 49 % after 10,000. The last hundred are written as
# well as ever. Published, little is written to begin with, and that stays.
#
# </details>

# %%
x, y = runs_16.long_stream()
colors = dict(zip(y, [color for color in plot.CYCLE[:2] for _ in range(2)], strict=True))
dashes = {name: "--" for name in y if name.startswith("last")}
axes = "edits", "says the new answer (%)"
plot.lines(x, y, *axes, colors=colors, dashes=dashes, ylim=(0, 104))

# %% [markdown]
# The preset has written 81 % of the last hundred facts after 10,000, and holds 49 % of the first:
# old facts fade, but nothing collapses. The published form says 31 and 24 %; measured by
# probability it looks much better, 63 and 55 %: notebook 15's lesson. Perplexity tells the price:
# from 18.5 to 22.2 with the preset, to 30.4 as published. A million edits would be a hundred times
# as many: nobody has measured that here.
#
# ## On your machine
#
# The same cell on a CPU and on a GPU: a turn of facts by UltraEdit, the second of two (the first
# one also prepares). With `EDIT_SCALE=full` it is an 8B model.


# %%
def turn(lm, count):
    editor, facts = lib.EDITORS["ultraedit"](lm), [case.fact for case in lib.classroom()]
    editor.edit(facts[:count])
    start = runs_16.now()
    editor.edit(facts[count : 2 * count])
    return (runs_16.now() - start) / count


if torch.cuda.is_available():
    torch.cuda.reset_peak_memory_stats()
    seconds = turn(lm, 100)
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"{torch.cuda.get_device_name()}: {3600 / seconds:,.0f} edits per hour, {peak:.1f} GB")
else:
    seconds = turn(lm, 4 if SCALE == "tiny" else 12)
    print(f"no GPU here: {3600 / seconds:,.0f} edits per hour on this CPU")

# %% [markdown]
# Some thousand edits per hour on a CPU that others used, too. The count said more: small turns are
# expensive, as packing, solving and three passes are shared by few facts.
#
# ## Exercise: over workers, and edits per hour
#
# First: $\Delta$ from the parts, in any way, for any number of workers. Then estimate how many
# edits per hour UltraEdit makes with this library's preset on *your* machine, in turns of eight,
# **before** it is measured. (Three passes over a turn, nine layers from 12 to 20; how many
# multiply-adds does your machine make per second? A large matrix product says it.)


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
# * A search costs some forty passes, a gradient two: most of what separates the editors' speed is
#   counted on paper. Replay along layers and positions takes the rest.
# * For a million edits memory decides: what keeps something per fact outgrows the model.
# * Keys are columns, and columns can be read anywhere: sums of two products are all that is
#   exchanged.
#
# ## Where it breaks
#
# Here the course ends, and the problems are open. No editor of this course held ten thousand facts,
# followed their rewordings *and* left the neighbors alone. A fact is written at one place, and its
# consequences stay behind. No router knows what a prompt is about. And all of it was measured on
# one model, a small one. Write an editor in one file, and judge it as in notebook 15.
#
# ## References
#
# * Gu et al.: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Language
#   Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
# * Chan, Golub, LeVeque: *Algorithms for Computing the Sample Variance*, 1983.
