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
# spread over workers · read ten thousand measured edits · guess, then measure, edits per hour.
#
# **Needs** notebooks [04](04_rome.ipynb) to [14](14_lifelong.ipynb).
#
# **Minutes** 25 to read and 30 to work: exercises 10.4 to 10.6 of
# [session 10](../lessons/session_10.md).
#
# One GPU was available for fifteen minutes while this course was written, so much of this page could
# not be measured. Every section below says where its numbers come from, and uses these words for it:
#
# * **Measured**: a program was run. The cell says on what: a CPU, except in *On a card*, and the small
#   model where it does not say otherwise.
# * **Counted**: multiply-adds or bytes, from the shapes of matrices, without running anything.
# * **A bound**: a time that no program can be below, or a size that none has to exceed, if the counts
#   and the rates beside it are right.
# * **Estimated**: a count together with an assumption, which is named; it can be wrong either way.
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
import json
import time

import pandas as pd
import torch

import lib
from lib import plot
from notebooks.support import drawings_16, models, show, stored_runs
from notebooks.support import runs_16_at_scale as runs_16
from notebooks.support.holes import guess, use

draw = torch.Generator().manual_seed(0)
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts


def stored(name):  # the rows of a benchmark
    return json.loads((root / f"tests/benchmarks/{name}.json").read_text(encoding="utf-8"))


SHAPES = {  # layers, width, inner width, width of keys and values, vocabulary
    "135M (SmolLM2)": (30, 576, 1536, 192, 49152),
    "1.7B (SmolLM2)": (24, 2048, 8192, 2048, 49152),
    "7B (Llama 2)": (32, 4096, 11008, 4096, 32000),
    "8B (Llama 3)": (32, 4096, 14336, 1024, 128256),
    "70B (Llama 3)": (80, 8192, 28672, 1024, 128256),
}
NAMES = ("layers", "d", "inner", "kv", "vocabulary")
SHAPES = {name: dict(zip(NAMES, sizes, strict=True)) for name, sizes in SHAPES.items()}


def block_and_head(shape):  # weights of one block and of the head: multiply-adds of one token
    d, kv, inner = shape["d"], shape["kv"], shape["inner"]
    return 2 * d**2 + 2 * d * kv + 3 * d * inner, d * shape["vocabulary"]


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
# ROME searches its value in 20 *looks* (steps) at 5 rows of 12 tokens. There is a pass backward after
# each look but the last, so these are 39 passes. But nothing below the edited layer $\ell$ changes.
# If what comes out of the lower blocks is kept (*replay*), a pass runs, of each row, only the $s = 4$
# tokens from the subject's last one on, through the blocks above the layer, and one token through the
# head. A row of $n = 12$ tokens then costs
#
# $$s\,(L - \ell - 1)\,c + d\,|V| \qquad\text{instead of}\qquad n\,L\,c + d\,|V| .$$
#
# **Your turn · exercise 10.4 · ★★ · 10 minutes.** Write `multiply_adds`, the count of the search with
# replay. The table and the roof below count ROME's searches with it.


# %%
def multiply_adds(shape, layer, rows, length, tail, looks):
    """shape {"layers", "d", "inner", "kv", "vocabulary"} -> multiply-adds of one search."""
    ...


multiply_adds = use("10.4", multiply_adds)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many passes are 20 looks, and which parts of a pass do you write down once for each row? Once,
# before the first look, everything goes through the whole model.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def multiply_adds(shape, layer, rows, length, tail, looks):
#     L, d, inner, kv = (shape[name] for name in ("layers", "d", "inner", "kv"))
#     c, h = 2 * d**2 + 2 * d * kv + 3 * d * inner, d * shape["vocabulary"]
#     once = rows * (length * L * c + h)
#     again = rows * (tail * (L - layer - 1) * c + h)
#     return once + (2 * looks - 1) * again
# ```
#
# </details>
#
# For comparison: UltraEdit reads one gradient. One row of 16 tokens goes forward through all blocks
# and backward down to two fifths of the depth, and two answer tokens pass the head both ways.
# **Predict** how many times less that is than ROME's search in the model of 135M.

# %%
LOOK = {"rows": 5, "length": 12, "tail": 4, "looks": 20}
table = []
for name, shape in SHAPES.items():
    L, (c, h) = shape["layers"], block_and_head(shape)
    weights = L * c + h * (1 if "SmolLM2" in name else 2)  # embeddings and head: one matrix, or two
    row = {"model": name, "weights, billions": weights / 1e9}
    row["ROME, whole model"] = 39 * 5 * (12 * L * c + h) / 1e9
    row["ROME, with replay"] = multiply_adds(shape, L // 8, **LOOK) / 1e9
    row["UltraEdit"] = (16 * (L + L - 2 * L // 5) * c + 4 * h) / 1e9
    table.append(row)
print("billions of multiply-adds for one fact:")
show.Table(table)

# %% [markdown]
# Replay leaves a third of ROME's count. A gradient in the place of a search is far less again: in the
# model of 135M 3 instead of 84 billion, nearly thirty times less. From the model of 135M to that of
# 70B the arithmetic grows about as the number of weights does.
#
# ## Why a GPU waits
#
# **A bound**, from what is counted. The multiply-adds are not the whole story. Before a weight can be
# multiplied, it has to be read from memory, and that takes time, too. A processor does both at once,
# so the slower of the two decides. Let $a$ be the multiply-adds and $b$ the bytes of a piece of work,
# and $P$ and $B$ what the processor can do of each in a second. The time is at least
#
# $$t \ge \max\Big(\frac aP,\ \frac bB\Big), \qquad\text{so}\qquad
# \frac at \le \min\Big(P,\ \frac ab\,B\Big).$$
#
# Drawn over $a/b$, this is called a **roofline**: the slanted part of the roof is $\frac ab B$, the
# flat part is $P$, and they meet at $a/b = P/B$. In a pass of $n$ tokens every weight is read once
# and used $n$ times.
#
# **Your turn · exercise 10.5 · ★★ · 7 minutes.** Write `roof`: the least seconds, and from how many
# tokens in a pass on the arithmetic takes longer than the reading.


# %%
def roof(work, read, peak, bandwidth, size):
    """Multiply-adds, bytes, what is done of each in a second, bytes of a weight -> (s, tokens)."""
    ...


roof = use("10.5", roof)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two things go on at once. Which of them decides when both are done? And for $n$ tokens that pass
# through $N$ weights, how many multiply-adds and how many bytes are that?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def roof(work, read, peak, bandwidth, size):
#     return max(work / peak, read / bandwidth), size * peak / bandwidth
# ```
#
# </details>
#
# The GPU below has round numbers, $200 \cdot 10^{12}$ multiply-adds and $4 \cdot 10^{12}$ bytes per
# second (an assumption, near what recent ones are sold with), and the model is one of 8B in bf16.

# %%
PEAK, BANDWIDTH = 200e12, 4e12
large = SHAPES["8B (Llama 3)"]
L, (c, h) = large["layers"], block_and_head(large)
above, lowest = (L - L // 8 - 1) * c + h, 2 * L // 5
search_bytes = 2 * (L * c + h + 39 * above)  # bf16 weights, read once in each pass
gradient_bytes = 2 * (L * c + h + (L - lowest) * c + h)
gradient = 16 * (L + L - lowest) * c + 4 * h
loads = {
    "search, 1 fact": (multiply_adds(large, L // 8, **LOOK), search_bytes),
    "search, 32 facts at once": (32 * multiply_adds(large, L // 8, **LOOK), search_bytes),
    "UltraEdit, 1 fact": (gradient, gradient_bytes),
    "UltraEdit, 10 facts at once": (10 * gradient, gradient_bytes),
}
for name, (work, size) in loads.items():
    seconds, tokens = roof(work, size, PEAK, BANDWIDTH, 2)
    waits = "memory" if size / BANDWIDTH > work / PEAK else "arithmetic"
    print(f"{name:27} {1000 * seconds:6.1f} ms at least, waits for {waits}")
print(f"in bf16 arithmetic takes longer from {tokens:.0f} tokens in a pass on")
for n, told in {1: "the bare prompt", 5: "five contexts"}.items():
    gain = stored("spread_speed")[f"batched_{n}"]["speedup"]
    print(f"on a CPU, 32 facts at once, {told}: {gain:.1f} times as fast as one by one")
drawings_16.roofline(loads, PEAK, BANDWIDTH, "8B (Llama 3), on a GPU with round numbers")

# %% [markdown]
# ROME's five rows have only $5 \cdot 4$ tokens from the subject's last one on. One fact at a time,
# the GPU would need longer for the reading than for the arithmetic. If 32 facts are searched at once,
# the weights are read once for all of them, and the arithmetic decides. So if both times come near
# their bounds, a fact in the batch takes a fifth of the time of a single one on such a GPU. (*On a
# card*, further down, UltraEdit's turns were measured.)
#
# **Measured**, on one CPU thread (the last two lines, an earlier version of the library): searching
# 32 values at once is a gain there, too. It is a smaller one than that between the GPU's least times,
# 818.7 ms against 32 times 128.8 ms. One reason may be that arithmetic is slower there, compared with
# memory, so that the corner of the roof lies further to the left. Neither the thread's arithmetic nor
# its memory was measured for this.
#
# ## What replay saves, by depth
#
# **Measured** here, and **estimated**: we count the multiply-adds and assume that time goes with
# them. How much of a look does replay save if only the layers below are kept, and all tokens run?
# **Predict** from which layer on half of the time is saved. Not exactly from half of the depth on:
# why?
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
block = sum(p.numel() for p in lm.blocks[0].parameters() if p.ndim == 2)
head = lm.model.get_output_embeddings().weight.numel()
left = [length * (lm.n_layers - start) * block + head for start in starts]
shares = {"measured": [100 * s / spent[0] for s in spent]}
shares["estimated"] = [100 * one / left[0] for one in left]
for start, share in zip(starts, shares["estimated"], strict=True):
    print(f"from block {start} on: {share:.0f} % of the multiply-adds")
edit = stored("rome_speed")["5"]
print(f"stored: an edit by ROME, five contexts, takes {edit['seconds']:.1f} s with replay,")
print(f"and through the whole model {edit['whole_over_replay']:.1f} times as long")
axes = "first block that runs again", "time of a look (% of the whole model)"
plot.lines(starts, shares, *axes, dashes={"estimated": "--"}, ylim=(0, 112))

# %% [markdown]
# The measured times follow the estimate, and in the upper blocks they lie a little above it. The head
# aside, the share depends on $\ell/L$ alone, so it should be about the same in a large model (**never
# run**). The last two lines are of a stored benchmark of whole edits, by an earlier version of the
# library. Its factor of 1.9 is less than the threefold that was counted above for the search alone.
# Why was not measured.
#
# ## Measured against the floor
#
# **Measured**, on one CPU thread, by the programs in `tests/benchmarks` (all tables are in
# [RESULTS.md](../tests/benchmarks/RESULTS.md)). The machine was an AMD EPYC, on which other programs
# ran, too; so seconds are of CPU time. The column "times the floor" divides them by those that the
# multiply-adds of the edit alone take, at the rate of the same products in a loop that does nothing
# else. UltraEdit is given 100 facts at once, ROME and WISE one, and the others 32.
#
# **Predict.** How many times its floor does an edit take?
#
# <details><summary>Answer</summary>
#
# From 1.7 times (UltraEdit) to 4.7 times (ROME with the bare prompt).
#
# </details>

# %%
speeds = pd.DataFrame(stored("speed_now")).T  # one row per editor
slow, fast = speeds["cpu"][["rome, 5 contexts", "ultraedit, published form"]]
print(f"factor {slow / fast:.0f}; for a million edits {slow * 1e6 / 86400:.0f} days of this thread")
print(f"or {fast * 1e6 / 3600:.0f} hours")
columns = {"cpu": "CPU seconds per edit", "over_floor": "times the floor"}
speeds[list(columns)].rename(columns=columns).round(2)

# %% [markdown]
# So a better program, with products as fast as these, could make an edit at most 1.7 times
# (UltraEdit) to 4.7 times faster on this machine. Between ROME with five contexts and UltraEdit as
# published lies a factor of 102. A factor of less than two comes from the last column, 2.93 against
# 1.67. The rest lies between the floors, and only a method that needs *less* gains it: fewer looks,
# fewer rows, a gradient in the place of a search. (UltraEdit was also given a hundred facts in a
# call, and ROME one. An earlier version of the library kept packed copies of the weights, whose
# products were faster; RESULTS has its table, too.)
#
# ## A million edits: memory
#
# **Counted**, and for two methods **estimated**. What does each method keep *beside* the model? This
# decides whether a stream can go on for ever. We ask for the bytes after $n$ edits, with one edited
# layer, in float32, since small updates vanish in bf16. What is written into a weight matrix takes
# $4\,d\,m$ bytes at most (**a bound**), however many facts it holds; while they are few, a pair of
# vectors for each, $4\,(d + m)\,n$ bytes, says the same. Kept keys are $4\,m\,n$ bytes at first, and
# once there are many, the matrix $KK^\top$ with $4\,m^2$ bytes says the same. UltraEdit is counted as
# published, without kept keys; the library's preset keeps at most $1.25\,m$ of them in a layer. GRACE
# has a key and a value for each fact, $4\,(m + d)\,n$ bytes. The estimates are WISE's, for which one
# more side matrix for every ten thousand facts is assumed, and that of retrieval, whose facts are
# assumed to be as long as those of notebook 14.
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
edits, (d, m) = [10, 100, 1000, 10_000, 100_000, 1_000_000], (large["d"], large["inner"])
run = stored_runs.read(stored_runs.DATA / "14_streams.json")  # what a fact of retrieval takes
ends = [row for row in run["rows"] if row["line"] == "retrieval" and "bytes" in row]
text = ends[0]["bytes"] / 24
RULES = {  # bytes after n edits
    "LEMoE": lambda n: 4 * 3 * d * m * -(-n // 16),  # an expert like the MLP for every 16 facts
    "LEMoE, rank 16": lambda n: 4 * 16 * (d + m) * -(-n // 16),
    "GRACE": lambda n: 4 * (d + m) * n,
    "WISE": lambda n: 4 * d * m * (1 + n // 10_000),  # estimated
    "MEMIT, keys kept": lambda n: 4 * (min(d * m, (d + m) * n) + min(m**2, m * n)),
    "UltraEdit": lambda n: 4 * min(d * m, (d + m) * n) + 16 * (d + m),
    "retrieval": lambda n: text * n,  # estimated
}
kept = {name: [rule(n) / 1e9 for n in edits] for name, rule in RULES.items()}
model = 2 * (L * c + 2 * h) / 1e9
print(f"the model in bf16: {model:.1f} GB")
print("a million edits:", ", ".join(f"{name} {sizes[-1]:,.2f} GB" for name, sizes in kept.items()))
print(f"GRACE: as large as the model after {model * 1e9 / RULES['GRACE'](1):,.0f} facts")
lines, colors = kept | {"the model, bf16": [model] * len(edits)}, {"the model, bf16": plot.BASE}
axes, how = ("edits", "kept for one edited layer (GB)"), {"xlog": True, "ylog": True}
figure = plot.lines(edits, lines, *axes, colors=colors, **how, height=4.6)
for i, size in {1: 14, 2: 9}.items():  # rings around the points that others cover
    figure.axes[0].lines[i].set(markersize=size, markerfacecolor="none", markeredgewidth=1.8)
figure.axes[0].set_xticks(edits, [f"{n:,}" for n in edits])
figure

# %% [markdown]
# LEMoE's experts are copies of an MLP in notebook 13. One holds 16 facts at most, and the line counts
# no more experts than that needs. It is the largest by far, so the library's settings for larger
# models take experts of rank 16 instead, which need about what GRACE does. Their lines lie nearly on
# each other, so their points are rings: the outer ones are LEMoE's, the inner ones GRACE's, and at a
# hundred and a thousand edits UltraEdit's points lie inside both. What is written into the weights
# grows only until the pairs of vectors would be larger than the matrix, and is level from there on.
# Retrieval keeps the facts as text, and is the smallest for a long time.
#
# **Measured**, on a CPU: a model of random numbers in bf16 with the shape of Llama 3 8B, all 32
# layers, was loaded from its files and edited. What the process holds itself is one thing; pages of
# the files that happen to be in memory are another, because the system can drop them at any time.
# (Searches were cut to two steps and $C$ was estimated from few tokens: both cost time, not
# memory.)

# %%
run = stored("large_model")["32"]  # by its number of layers
start = run["before"]["anonymous"]  # bytes of the process before the model is loaded
table = {}
for step in ("load", "ask", "ultraedit", "C", "rome", "memit", "export"):
    peak = run["steps"][step]
    sizes = peak["anonymous"] - start, run["counted"][step], peak["mapped"]
    names = "memory of the process (GB)", "estimated (GB)", "files in memory (GB)"
    table[step] = {name: size / 1e9 for name, size in zip(names, sizes, strict=True)}
pd.DataFrame(table).T.round(2)

# %% [markdown]
# Loading costs next to nothing, since the weights stay in their files. (The estimate counts the large
# matrices that a step needs at once, and assumes that they are all it needs. From UltraEdit to MEMIT
# the process held less than that, and in the export more.) UltraEdit needs room for a few matrices of
# one layer. What is large is $C$ of a layer with its Cholesky factor. So the library makes, factors
# and keeps them one layer at a time where a machine has no room for all.
#
# ## Normal equations over workers
#
# MEMIT writes a batch of $n$ facts by one system of equations, $\Delta = R K^\top(\lambda I + K
# K^\top)^{-1}$ (notebook 05, with $C = I$). Suppose that several machines, called *workers*, have a
# copy of the model each, and each reads the keys and residuals of *some* of the facts: worker $i$
# has the columns $K_i$ and $R_i$. What comes out should be the $\Delta$ of all facts, on every
# worker. What do they have to send each other?
#
# **Your turn · exercise 10.6 · ★★★ · 10 minutes.** Write `merged`.


# %%
def merged(parts, strength):
    """[(K_i (d_in, n_i), R_i (d_out, n_i)), …], λ -> Δ (d_out, d_in) of all facts."""
    ...


merged = use("10.6", merged)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $K K^\top = \sum_i K_i K_i^\top$. What is $R K^\top$, and how often does $\lambda$ count?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def merged(parts, strength):
#     G = sum(k @ k.T for k, _ in parts)
#     M = sum(r @ k.T for k, r in parts)
#     return torch.linalg.solve(G + strength * torch.eye(len(G)).to(G), M.T).T
# ```
#
# </details>
#
# Both sums have a size that does not depend on the number of facts, $d_\text{in}^2 + d_\text{out}
# d_\text{in}$ numbers. Or the columns themselves are sent, $n(d_\text{in} + d_\text{out})$ numbers,
# and every worker solves the whole problem. **Predict** when which is cheaper, and which of them
# gives the same *bits* as one worker alone.
#
# **Measured** here, with workers that are chunks of one matrix in one process:

# %%
d_in, d_out, n = 64, 32, 100
K, R = (torch.randn(size, n, generator=draw) for size in (d_in, d_out))
alone = merged([(K, R)], 1.0)
for workers in (2, 4, 10):
    parts = list(zip(K.chunk(workers, 1), R.chunk(workers, 1), strict=True))
    summed = merged(parts, 1.0)
    off = ((summed - alone).norm() / alone.norm()).item()
    print(f"{workers:2} workers, sums: same bits {torch.equal(summed, alone)}, off by {off:.0e}")
for name, size in {"columns": n * (d_in + d_out), "sums": d_in * (d_in + d_out)}.items():
    print(f"numbers sent as {name}: {size:,}")

# %% [markdown]
# Columns are fewer as long as $n < d_\text{in}$. Columns that are put back in their order *are* the
# matrix of one worker, so the bits are the same by construction. Sums are added in another order, and
# numbers in float32 then round differently. The library sends columns up to $n = d_\text{in}$, and
# sums beyond that.
#
# `torchrun --nproc-per-node 2 -m lib stream …` is the library's command for several processes.
# **Measured**, on a CPU: one turn of UltraEdit on the small model, by one process and by two.

# %%
table = pd.DataFrame(stored("processes")["rows"]).set_index("processes")
for column in ("reading", "cpu"):
    table[column] = [" and ".join(f"{x:.1f}" for x in each) for each in table[column]]
names = {"reading": "CPU seconds of reading, each", "cpu": "in all, each"}
table[["reading", "cpu", "same_bits"]].rename(columns=names | {"same_bits": "bits of one process"})

# %% [markdown]
# The patch has the bits of one process, and the work of reading is divided, though not evenly: what
# is handed out are whole passes. **Estimated**: on cards a pass is larger, so a batch of a hundred
# short facts is about two passes and would keep two cards busy at most
# ([RESULTS](../tests/benchmarks/RESULTS.md#several-processes)); solving and measuring are not shared
# at all. **Never run**: more than two processes, and any number of cards.
#
# ## Ten thousand edits, measured
#
# **Measured**, on one CPU thread: CounterFact in turns of a hundred, by UltraEdit in its published
# form (one pass, no old keys, but a step and matrices of ours) and with the preset of this model
# (stored in `tests/benchmarks`). We ask for the first and for the last hundred facts, by free
# generation. The shades are 95 % intervals over the hundred facts of one stream, so they do not say
# how another stream would go. The two runs were asked at different points.
#
# **Predict.** Which of them falls, the first hundred or the last?
#
# <details><summary>Answer</summary>
#
# With the preset the first hundred: they are written and then fade. The last hundred are written as
# well as ever. In the published form little is written of either, and no fading is seen.
#
# </details>

# %%
x, y, bands, table = {}, {}, {}, {}
for form in ("preset", "published form"):
    for point in stored("long_stream")[f"ultraedit, {form}"]["points"]:
        edits, row = point["edits"], {}
        for group in ("first", "last"):
            for one in point[group]:
                if one["metric"] == "efficacy" and one["event"] in ("generation", "probability"):
                    mean, low, high = (100 * one[key] for key in ("mean", "low", "high"))
                    event = "p" if one["event"] == "probability" else "said"
                    row[f"{group} 100: {event}, %"] = f"{mean:.0f} [{low:.0f}, {high:.0f}]"
                if edits and (one["metric"], one["event"]) == ("efficacy", "generation"):
                    name = f"{group} 100, {form}"
                    x.setdefault(name, []).append(edits)
                    y.setdefault(name, []).append(mean)
                    bands.setdefault(name, ([], []))[0].append(low)
                    bands[name][1].append(high)
        if edits in (0, 1000, 5000, 10_000):
            row["perplexity"] = round(point["perplexity"], 1)
            table[form if edits else "unedited", edits] = row
colors = {name: plot.CYCLE[1] if "preset" in name else plot.CYCLE[4] for name in y}
dashes = {name: "--" for name in y if name.startswith("last")}
axes = "edits", "says it (%; shade: 95 % interval)"
print(pd.DataFrame(table).T.rename_axis(["settings", "edits"]).to_string())
plot.lines(x, y, *axes, colors=colors, dashes=dashes, bands=bands, ylim=(0, 104))

# %% [markdown]
# With the preset the first hundred facts fall from 77 % (68 to 84) after a thousand edits to 49 % (39
# to 59) after ten thousand, and most of the fall is over after five thousand. (They are the same
# facts, but their single answers were not stored, so there is no paired interval.) Of the last
# hundred, which are other facts at every point, 74 to 82 % are said in the table. So in this one
# stream old facts fade, and new ones can still be written at its end. In the published form both
# groups stay low, between 9 and 35 % in the table. By *probability* (p in the table) the first
# hundred of that run have 55 % at the end and the last hundred 63, which looks much better; but the
# unedited model has 44 and 35 % in these columns (notebook 15). A part of what it costs is in the
# perplexity, which rises from 18.5 to 22.2 with the preset, and to 30.4 in the published form.
# (Rewordings and neighbors are in [RESULTS](../tests/benchmarks/RESULTS.md#counterfact-10000-facts).)
#
# A million edits would be a hundred times as many. On this model they were **never run**. What can be
# asked without it is whether the program itself grows slower or larger on the way. **Measured**: a
# stream of made-up facts on a random model with so few weights that nearly all of the time is the
# library's own, through a journal. All of these edits were made once more, killed three times on the
# way and gone on with.

# %%
longest = max(stored("million").values(), key=lambda run: run["edits"])
same = longest.get("same", "not run")
print(f"{longest['edits']:,} edits; killed, gone on with, same bits: {same}")
table = pd.DataFrame(longest["points"]).set_index("edits")
calm = {part["edits"]: part["least"] for part in longest["calm"]}  # {its last edit: the least}
table["calm"] = [next(least for end, least in calm.items() if at <= end) for at in table.index]
table["memory of the process, MB"] = table["anonymous"] / 1e6
names = {"cpu_ms": "CPU milliseconds per edit", "calm": "of the cheapest turn near by"}
table[["cpu_ms", "calm", "memory of the process, MB"]].rename(columns=names).round(3)

# %% [markdown]
# The memory grows by a twentieth. Does the time of an edit grow? The machine did little else while
# this ran, and the medians at the points stay within an eighth of each other. Of the turns near a
# point, the one that was disturbed least says more: it stands in the column beside them, and differs
# by 3 % only ([RESULTS](../tests/benchmarks/RESULTS.md) has every fifty thousand). So an edit costs
# nearly as much late as early, and the memory is nearly the same. (Such a model cannot hold these
# facts. That is not what is measured here.)
#
# ## On a card
#
# `python -m tests.benchmarks.gpu tests/benchmarks/gpu.json` measures on one card what this notebook
# works out on paper. **Measured**, once, on one H100 with a random model of 8B's shape in bf16. ("At
# least" is the roof's time for an edit's own matrix products: at the rate of a large product or at
# the rate of reading, whichever takes longer, both measured in that run.)

# %%
parts = stored("gpu")["parts"]
rows = [row for name in ("b", "alphaedit") for row in parts[name]["rows"] if "editor" in row]
columns = {"seconds": "seconds", "floor": "seconds at least", "over_floor": "times the least"}
on_card = pd.DataFrame(rows).set_index("editor")[list(columns)].rename(columns=columns)
for row in parts["c"]["rows"][1:]:
    each = row["seconds"] / row["edits"]
    print(f"UltraEdit in turns of {row['turn']:4}: {each:.4f} s an edit, {row['edits']:,} edits")
print(f"the median editor takes {on_card['times the least'].median():.1f} times the least")
on_card.round(3)

# %% [markdown]
# One fact costs UltraEdit 0.09 s, and in turns of a thousand 0.004 s. So a batch is about twenty
# times cheaper per fact. The bounds differ by less: on the GPU with round numbers 6.2 ms for one fact
# stand against 9.2 ms for ten, and from there on the arithmetic decides. So a single edit spends time
# on more than reading weights and multiplying. The last column says the same: an edit takes 4 to 15
# times the least, and LEMoE's 74 times. In one turn of a thousand that was profiled, half went into
# two things that no count of multiply-adds sees: new memory for the matrices that come back, and a
# check of every number in them. With both mended a turn takes half as long
# ([RESULTS](../tests/benchmarks/RESULTS.md#a-graphics-card)); the two turns printed above are from
# before. The rest was not profiled.
#
# ## On your machine
#
# **Measured** here, on whatever you run it on. A turn of facts by UltraEdit with the library's
# settings, the second of two, as the first one also prepares statistics. The preset edits nine layers
# and makes up to three passes over such a turn, and between them the model is asked whether all facts
# are right; so this is less than by the published form in the table of speeds. The clock is the one
# on the wall, so the time of other programs is in it, too. With `EDIT_SCALE=full` the model would be
# Qwen3-8B, and with a card the same cell should use it (**never run**; the library has no settings
# tuned for that model, and all counts above are for Llama's shapes).

# %%
speed = guess("How many edits per hour does UltraEdit make here, in turns of 12?", 1, 10_000_000)

# %%
count = 4 if SCALE == "tiny" else 12
cases = lib.classroom()
editor = lib.EDITORS["ultraedit"](lm)
before = editor.edit([case.fact for case in cases[count : 2 * count]])
start = time.perf_counter()
patch = editor.edit([case.fact for case in cases[:count]], after=before)
seconds = (time.perf_counter() - start) / count
where = torch.cuda.get_device_name() if torch.cuda.is_available() else "this CPU"
print(f"{where}: {3600 / seconds:,.0f} edits per hour in turns of {count}")
speed.against(3600 / seconds)
texts = [cases[0].fact.text, cases[0].paraphrases[0], cases[0].neighborhood[0].prompt]
said = lm.answer(texts, 6)
with lm.patched(patch):
    after = lm.answer(texts, 6)
columns = zip(texts, said, after, strict=True)
show.Table([{"prompt": t, "unedited": a, f"after {2 * count} edits": b} for t, a, b in columns])

# %% [markdown]
# And the table says what edits per hour do not. In the stored run the tower is in Rome now, but its
# rewording still says Paris, and Notre-Dame, which nobody edited, has gone to Rome.
#
# ## What we know now
#
# * **Counted**: a search costs some forty passes and a gradient two.
# * **A bound**, for a GPU with assumed rates: one fact at a time waits for the memory, and many facts at
#   once wait for the arithmetic.
# * **Counted**, for WISE and retrieval **estimated**: at a million edits of a model of 8B, what keeps
#   vectors or matrices for its facts is larger than the model; a matrix that facts are written into
#   is not, and neither is text.
# * **Measured**, on a CPU: the editors take about two to five times the seconds of their
#   multiply-adds. In one stream of ten thousand edits the first hundred facts fall from 77 to 49 %, and
#   the last hundred are still written.
# * **Measured**, on a CPU and with random weights: layers as wide as those of 8B need room for the
#   matrices of one layer beside the model's files, and a million edits of a tiny model need hardly
#   more memory late than early, and about as much time.
# * **Measured**, on one H100 and random weights: an edit of a model of 8B takes 0.02 to 2.2 s, most
#   of it not in its matrix products, and UltraEdit's facts in turns of a thousand cost a twentieth of
#   single ones.
# * **Never run**: any of it with the real weights of a model of 8B, or with a million real facts.
#
# ## Where it breaks
#
# Some problems are open. On this page UltraEdit alone was given ten thousand facts, and no editor of
# this course has been shown to hold so many, follow rewordings *and* leave neighbors alone. A fact is
# written at one place, and what follows from it is not
# ([measured](../tests/benchmarks/RESULTS.md#what-follows-from-an-edit)). And how well facts are held
# was measured here on one model, a small one. If you have an idea for a better method, write it as an
# editor in one file, and judge it as notebook 15 does.
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
