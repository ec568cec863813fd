# %% [markdown]
# <!-- badge -->
#
# # 16 · At scale
#
# So far we have worked with a model of 135 million weights, mostly editing a few dozen facts. What changes with a
# model of 8 billion weights, and with a million edits?
#
# **You will** count multiply-adds and bytes · compare them with measured times · distribute equations over workers.
#
# **Needs** notebooks [04](04_rome.ipynb) to [14](14_lifelong.ipynb).
#
# **Minutes** 15 to read and 30 to work: exercises 10.4 to 10.6 of [session 10](../lessons/session_10.md).
#
# In every section, one of three labels shows where its numbers come from:
#
# * **Counted**: calculated from the shapes of matrices, without running anything.
# * **Measured**: we ran a program, recording its time or its answers.
# * **Never run**: the code exists and should work, but we have not tried it.

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
import json
import statistics
import time

import torch

import lib
from lib.evaluation.answers import begins
from lib.workbench import plot
from notebooks.support import drawings_16, figures, models
from notebooks.support.holes import guess, use
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)
lm = models.load(SCALE, sink="own")


def stored(name):  # the rows of a benchmark
    return json.loads((root / f"tests/benchmarks/{name}.json").read_text(encoding="utf-8"))


SHAPES = {  # layers, width, inner width, width of keys and values, vocabulary
    "SmolLM2 135M": (30, 576, 1536, 192, 49152),
    "SmolLM2 1.7B": (24, 2048, 8192, 2048, 49152),
    "Llama 2 7B": (32, 4096, 11008, 4096, 32000),
    "Llama 3 8B": (32, 4096, 14336, 1024, 128256),
    "Llama 3 70B": (80, 8192, 28672, 1024, 128256),
}
NAMES = ("layers", "d", "inner", "kv", "vocabulary")
SHAPES = {name: dict(zip(NAMES, sizes, strict=True)) for name, sizes in SHAPES.items()}


def block_and_head(shape):  # weights of one block and of the head: multiply-adds of one token
    d, kv, inner = shape["d"], shape["kv"], shape["inner"]
    return 2 * d**2 + 2 * d * kv + 3 * d * inner, d * shape["vocabulary"]


# %% [markdown]
# ## Which work can no program avoid?
#
# **Counted.** The time an edit takes depends on the machine and on the program. We want a number that doesn't: the
# multiply-adds that no program implementing this method can skip.
#
# When a token passes through a weight matrix, it costs one multiply-add per weight. In a Llama model with $L$ blocks
# of width $d$, inner width $m$, keys of width $d_{kv}$ and a vocabulary of $|V|$ tokens, one token costs
#
# $$c = 2d^2 + 2\,d\,d_{kv} + 3\,d\,m \quad\text{per block}, \qquad d\,|V| \quad\text{for the head}.$$
#
# We leave out attention's own products, since they are small for short prompts. Going *backward* to the activations
# costs the same amount again. Computing gradients of the weights would cost a third such amount, but the editors
# counted here don't need them.
#
# ROME's value search takes 20 *looks* at 5 rows of 12 tokens: the prompt after five templates ([notebook
# 04](04_rome.ipynb)). There is a backward pass after each look but the last, so **a search is some forty passes**.
# But nothing below the edited layer $\ell$ changes. If the outputs of the lower blocks are cached, a pass runs only
# the $s = 4$ tokens of each row starting at the subject's last token through the blocks above the layer, and one
# token through the head. This is called *replay*. A row of $n = 12$ tokens then costs
#
# $$s\,(L - \ell - 1)\,c + d\,|V| \qquad\text{instead of}\qquad n\,L\,c + d\,|V| .$$
#
# **Your turn · exercise 10.4 · ★★ · 10 minutes.** Write `multiply_adds`, which counts the search with replay. The
# cache has to be computed first: before the first look, all `length` tokens of each row go through all blocks once,
# and one of them goes through the head. The next two figures use your count.


# %%
def multiply_adds(shape, layer, rows, length, tail, looks):
    """shape {"layers", "d", "inner", "kv", "vocabulary"} -> multiply-adds of one search."""
    ...


multiply_adds = use("10.4", multiply_adds)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many passes are 20 looks, and which parts of a pass do you count once for each row? Remember that, before the
# first look, everything goes through the whole model once.
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
# For comparison, UltraEdit reads a single gradient, which takes **two passes** over one row of 16 tokens, one forward
# and one backward.
#
# **Predict.** How many times less work is that than ROME's search with replay: 3, 30, or 300?
#
# <details><summary>Answer</summary>
#
# Some 30 times, and barely less in the large models.
#
# </details>

# %%
LOOK = {"rows": 5, "length": 12, "tail": 4, "looks": 20}
weights, counts = [], {"ROME, whole model": [], "ROME, with replay": [], "UltraEdit": []}
for shape in SHAPES.values():
    L, (c, h) = shape["layers"], block_and_head(shape)
    weights.append((L * c + h) / 1e9)
    counts["ROME, whole model"].append(39 * 5 * (12 * L * c + h))
    counts["ROME, with replay"].append(multiply_adds(shape, L // 8, **LOOK))
    counts["UltraEdit"].append(16 * (L + L - 2 * L // 5) * c + 4 * h)  # one row of 16 tokens
less = [a / b for a, b in zip(counts["ROME, with replay"], counts["UltraEdit"], strict=True)]
print(f"UltraEdit needs {min(less):.0f} to {max(less):.0f} times less than ROME with replay")
axes = "weights of blocks and head, billions", "multiply-adds for one fact"
plot.lines(weights, counts, *axes, xlog=True, ylog=True)

# %% [markdown]
# The lines run in parallel: for every method, the work grows about as fast as the number of weights.
#
# ## Why does a GPU wait?
#
# Before multiplying by a weight, a processor has to read it from memory, and reading also takes time. A processor
# does both at once, so the slower of the two determines the time. Let $a$ be the multiply-adds and $b$ the bytes of a
# piece of work, and let $P$ and $B$ be the multiply-adds and bytes that the processor can handle per second. In a pass
# of $n$ tokens, every weight is read once and used $n$ times.
#
# **Your turn · exercise 10.5 · ★★ · 7 minutes.** Write `roof`, returning the minimum number of seconds and the number
# of tokens per pass beyond which the arithmetic takes longer than the reading.


# %%
def roof(work, read, peak, bandwidth, size):
    """Multiply-adds, bytes, what is done of each in a second, bytes of a weight -> (s, tokens)."""
    ...


roof = use("10.5", roof)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two things are happening at once. Which of them determines when both are done? And for $n$ tokens passing through
# $N$ weights, how many multiply-adds and how many bytes is that?
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
# So the rate $a/t$ is at most $\min(P, \frac ab B)$. Plotted over $a/b$, this is called a **roofline**: the slanted
# part of the roof is $\frac ab B$, the flat part is $P$, meeting in the corner $a/b = P/B$. In a pass with few tokens,
# the GPU waits for its memory, and above the corner, for its arithmetic.
#
# We **measured** $P$ and $B$ on two GPUs, using one large product in bf16 and one large read. The work is **counted**,
# for a model of 8 billion weights. The result is a bound: no program for this method can be faster when reading bf16
# without exceeding these rates.
#
# **Predict.** A single search has $5 \cdot 4$ tokens in a pass. Does it wait for memory or for arithmetic? And what
# about 32 searches at once? In the figure, the gray area and both dots are for the H200.
#
# <details><summary>Answer</summary>
#
# The corner is at two to three hundred tokens. A single search is far below it, waiting for memory; 32 are above.
#
# </details>

# %%
gpu = stored("gpu")["parts"]
PARTS = {"H100": "b", "H200": "speed h200"}  # of the stored measurement, by GPU
roofs = {}
for card, part in PARTS.items():
    (rates,) = [row["rates"] for row in gpu[part]["rows"] if "rates" in row]
    roofs[card] = rates["multiply_adds_per_second"]["bfloat16"], rates["bytes_per_second"]
L, (c, h) = (large := SHAPES["Llama 3 8B"])["layers"], block_and_head(large)
above, lowest = (L - L // 8 - 1) * c + h, 2 * L // 5
WORK = {  # per fact: multiply-adds, and bytes of bf16 weights, read once for all facts in a pass
    "search": (multiply_adds(large, L // 8, **LOOK), 2 * (L * c + h + 39 * above)),
    "gradient": (16 * (L + L - lowest) * c + 4 * h, 2 * (L * c + h + (L - lowest) * c + h)),
}
for card, (peak, bandwidth) in roofs.items():
    print(f"{card}: the corner is at {roof(1, 1, peak, bandwidth, 2)[1]:.0f} tokens in a pass")
    for what, (work, read) in WORK.items():
        one, many = (roof(n * work, read, peak, bandwidth, 2)[0] * 1000 / n for n in (1, 32))
        print(f"  one {what}: {one:.1f} ms at least; in 32 at once each {many:.1f} ms")


def at_once(n):
    loads = {f"{what}, {n} at once": (n * work, read) for what, (work, read) in WORK.items()}
    return drawings_16.roofline(loads, roofs)


Slider(at_once, "facts at once", [1, 2, 4, 8, 16, 32, 64], 8)

# %% [markdown]
# **Move the number of facts** being edited at once. The weights are read once for all of them, so both points climb
# to the right along the roof until they are limited by the arithmetic. When facts are batched, the gradient, which
# has fewer tokens, can gain more than the search.
#
# ## How far are programs from their minimum time?
#
# **Measured**, one fact on a GPU: `python -m tests.benchmarks.gpu` ran eighteen editors with random weights of this
# shape, ten on an H100 and eight on an H200. For each editor, the *minimum time* is the shortest time in which this GPU
# could run the products that the program did run. It differs from the method's bound, which excludes every product that
# can be left out. If this page has counted a method, a cross marks its bound. Random weights show only how long an edit
# takes, not its quality, and each row was run once. Anything computed once for all edits, such as $C$, is not included
# in the times.
#
# **Predict.** How many times its minimum time does a typical edit take?

# %%
above_floor = guess(
    "How many times its minimum time does the median of eighteen editors take?", 1, 1000
)

# %%
measured = []
for card, parts in {"H100": ("b", "alphaedit"), "H200": ("speed h200",)}.items():
    rows = [row for part in parts for row in gpu[part]["rows"] if "over_floor" in row]
    measured += [(row["seconds"], row["floor"], row["editor"], card) for row in rows]
measured.sort()
times = [seconds / floor for seconds, floor, *_ in measured]
above_floor.against(statistics.median(times))
print(
    f"from {measured[0][0]:.2f} to {measured[-1][0]:.1f} s, {min(times):.0f} to {max(times):.0f} times the minimum"
)
counted = {"rome": "search", "ultraedit": "gradient"}  # methods counted on this page
for row in gpu["b"]["rows"]:
    if row.get("editor") in counted:
        more = row["multiply_adds"] / WORK[counted[row["editor"]]][0]
        print(f"{row['editor']}: the program runs {more:.1f} times the counted multiply-adds")
cpu = stored("speed_now")
slow, fast = cpu["rome, 5 contexts"], cpu["ultraedit, published form"]
for name, row in (("ROME", slow), ("UltraEdit", fast)):
    print(
        f"one CPU thread, 135M: {name} {row['cpu']:.2f} s, {row['over_floor']:.1f} times the minimum"
    )

# %%
figure, (ax,) = figures.panels(height=5.4)
for card, color in zip(PARTS, plot.CYCLE, strict=False):
    own = [(i, *row[:2]) for i, row in enumerate(measured) if row[3] == card]
    y, seconds, floors = zip(*own, strict=True)
    ax.hlines(y, floors, seconds, color=color, linewidth=1.2)
    ax.plot(floors, y, "|", color=color, markersize=11)
    ax.plot(seconds, y, "o", color=color, label=f"measured on one {card}; the tick is the minimum")
for i, (*_, name, card) in enumerate(measured):
    if name in counted:
        least = roof(*WORK[counted[name]], *roofs[card], 2)[0]
        (cross,) = ax.plot(least, i, "x", color=plot.BASE, markersize=9, markeredgewidth=2)
cross.set_label("the bound of the method, as counted above")
ax.set_yticks(range(len(measured)), [row[2] for row in measured])
ax.set(xscale="log", xlabel="seconds for one fact, 8 billion weights")
ax.xaxis.grid(True)
figures.legend(figure, *ax.get_legend_handles_labels(), 1)

# %% [markdown]
# On a GPU, a typical editor takes nine times its minimum time. The measurement doesn't show where the rest is spent.
# LEMoE is farthest above the minimum, more than twice as far as the next. ROME's program also runs products that its
# method doesn't need. They barely raise its minimum, because it is limited by reading.
#
# On a CPU thread, where arithmetic is slow, two programs take two to three times their minimum time (**measured**,
# small model). When writing a hundred facts at once, UltraEdit in its published form is far faster there than ROME, by
# more than the count predicted: such passes also run at a higher rate. Our form (`preset="ours"`), passing over a fact
# more than once, is slower ([notebook 14](14_lifelong.ipynb)).
#
# ## How much does batching save?
#
# **Measured**: UltraEdit on the model of 8 billion weights, editing one fact on the H100 and turns of a hundred and
# of a thousand on the H200, compared with the bound of the two passes.
#
# **Predict.** How much less time does a fact take in a turn of a thousand than by itself?
#
# <details><summary>Answer</summary>
#
# About a fortieth of the time is left, though the single fact ran on the other GPU. The bound falls less, so the
# program has moved closer to it.
#
# </details>

# %%
turns = {1: 1000 * next(row[0] for row in measured if row[2] == "ultraedit")}
for row in gpu["long h200"]["rows"]:  # the last row for a turn has the longest stream
    if "turn" in row:
        turns[row["turn"]] = 1000 * row["seconds"] / row["edits"]
work, read = WORK["gradient"]
figure, (ax,) = figures.panels()
many = [10 ** (i / 10) for i in range(31)]
for (card, rates), dash in zip(roofs.items(), ("--", "-"), strict=True):
    least = [1000 * roof(n * work, read, *rates, 2)[0] / n for n in many]
    ax.plot(many, least, dash, color=plot.BASE, label=f"the bound on one {card}")
for n, each in turns.items():
    card, color = ("H100", plot.CYCLE[0]) if n == 1 else ("H200", plot.CYCLE[1])
    label = f"measured on one {card}" if n < 1000 else None
    ax.plot(n, each, "o", color=color, markersize=9, label=label)
    ax.annotate(f"{each:.1f} ms", (n, each), (9, 4), textcoords="offset points")
ax.set(xscale="log", yscale="log", xlabel="facts in a turn", ylabel="ms for each fact")
ax.grid(True)
figures.legend(figure, *ax.get_legend_handles_labels(), 2)

# %% [markdown]
# **The bound falls with batching, and so does the program's time.** If a turn has more than some twenty facts, the
# bound is level, because it is then limited by arithmetic. The measured time keeps falling, perhaps because the work
# done once per turn, apart from reading and solving, is divided among more facts.
#
# ## A million edits
#
# **Counted.** How much does each method keep *in addition to* the model? We count the bytes after $n$ edits, for one
# edited layer, using float32 because small updates vanish in bf16.
#
# * Edits written into a weight matrix take at most $4\,d\,m$ bytes, however many facts the matrix holds.
# * Kept keys take $4\,m\,n$ bytes at first. Once there are many, the matrix $KK^\top$, taking $4\,m^2$ bytes,
#   contains the same information.
# * UltraEdit as published keeps no keys, only two vectors of moments.
# * GRACE has a key and a value for each fact, taking $4\,(m + d)\,n$ bytes. LEMoE has an expert, a copy of an MLP
#   taking $12\,d\,m$ bytes, for every batch, assuming 16 facts per batch. For WISE we assume one more side matrix for
#   every ten thousand facts.
#
# **Predict.** In a model of 8B with $d = 4096$ and $m = 14336$, how large is GRACE's codebook for a million facts,
# compared with the model?
#
# <details><summary>Work it out</summary>
#
# It takes $4\,(14336 + 4096) = 73{,}728$ bytes per fact. For a million facts, this is more than four times the size
# of the model in bf16, and every prompt is compared with a million keys.
#
# </details>

# %%
edits, (d, m) = [10, 100, 1000, 10_000, 100_000, 1_000_000], (large["d"], large["inner"])
pair = d + m  # a key and a value
RULES = {  # numbers of four bytes after n edits
    "LEMoE": lambda n: 3 * d * m * -(-n // 16),
    "GRACE": lambda n: pair * n,
    "WISE (assumed)": lambda n: d * m * (1 + n // 10_000),
    "MEMIT, keys kept": lambda n: min(d * m, pair * n) + min(m**2, m * n),
    "UltraEdit, as published": lambda n: min(d * m, pair * n) + 4 * pair,
}
kept = {name: [4 * rule(n) / 1e9 for n in edits] for name, rule in RULES.items()}
model = 2 * (L * c + 2 * h) / 1e9  # embeddings and head are two matrices
lines, colors = kept | {"the model, bf16": [model] * len(edits)}, {"the model, bf16": plot.BASE}
axes, how = ("edits", "kept for one edited layer (GB)"), {"xlog": True, "ylog": True}
longest = max(stored("million").values(), key=lambda run: run["edits"])
for point in (longest["points"][0], longest["points"][-1]):
    calm = next(part["least"] for part in longest["calm"] if point["edits"] <= part["edits"])
    size = point["anonymous"] / 1e6
    print(
        f"a tiny random model, {point['edits']:,} edits: {size:.0f} MB, {calm:.2f} CPU ms an edit"
    )
figure = plot.lines(edits, lines, *axes, colors=colors, **how, height=4.6)
figure.axes[0].set_xticks(edits, [f"{n:,}" for n in edits])
figure

# %% [markdown]
# **Codebooks, experts and side matrices grow without bound; a written matrix and kept keys grow up to a bound and
# then stop.** The three methods that add to a store end above the whole model.
#
# We **measured** that the program itself barely grows over the edits (the printed lines), using made-up facts on a
# model so small that the library itself takes almost all of the time. A million edits on a model that can hold facts
# were **never run**.
#
# ## Distributing the normal equations
#
# MEMIT writes a batch of $n$ facts by solving one system of equations, $\Delta = R K^\top(\lambda I + K K^\top)^{-1}$
# (notebook 05, with $C = I$). Keys and values of different facts can be computed separately. So suppose that several
# machines, called *workers*, each have a copy of the model, and that each reads the keys and residuals of *some* of
# the facts: worker $i$ has the columns $K_i$ and $R_i$. The result should be the $\Delta$ of all facts, on every
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
# **The sums add up, but the solutions do not.** The size of both sums does not depend on the number of facts:
# $d_\text{in}^2 + d_\text{out} d_\text{in}$ numbers. Or the workers send the columns themselves,
# $n(d_\text{in} + d_\text{out})$ numbers, and every worker solves the whole problem.
#
# **Predict.** When is each option cheaper, and which gives the same *bits* as using a single worker?

# %%
d_in, d_out, n = 64, 32, 100
K, R = (torch.randn(size, n, generator=draw) for size in (d_in, d_out))
alone = merged([(K, R)], 1.0)
for workers in (2, 4, 10):
    parts = list(zip(K.chunk(workers, 1), R.chunk(workers, 1), strict=True))
    summed = merged(parts, 1.0)
    off = ((summed - alone).norm() / alone.norm()).item()
    columns = [torch.cat(side, 1) for side in zip(*parts, strict=True)]  # back in their order
    assert torch.equal(merged([columns], 1.0), alone) and off < 1e-5
    print(f"{workers:2} workers: columns give the same bits, sums are off by {off:.0e}")

# %% [markdown]
# **Measured** here, using chunks of one matrix as workers. Sending columns is cheaper as long as $n < d_\text{in}$, and
# when put back in order they *are* the matrix of a single worker. Sums are added in a different order, making numbers
# in float32 round differently. When running `torchrun --nproc-per-node 2 -m lib stream …`, the library sends columns up
# to $n = d_\text{in}$, and sums beyond that. We **measured** two processes on a CPU ([several
# processes](../tests/benchmarks/results/large_model.md#several-processes)). **Never run**: more than two, and more than
# one GPU.
#
# ## On your machine
#
# **Measured** on your machine: editing facts of the classroom using UltraEdit, in turns of 12. The first turn is not
# timed, because it also prepares statistics. Every fact is tested right after its turn and again at the end.

# %%
speed = guess("How many edits per hour does UltraEdit make here, in turns of 12?", 1, 10_000_000)

# %%
count, turns = (4, 2) if SCALE == "tiny" else (12, 4)
facts = [case.fact for case in lib.classroom()[: count * turns]]
editor = lib.EDITORS["ultraedit"](lm, preset="ours")


def says(some, patch):  # how many facts the model gives
    with lm.patched(patch):
        told = lm.answer([fact.text for fact in some], 8)
    return sum(begins(text, fact.target_new) for text, fact in zip(told, some, strict=True))


patch, first, spent = lib.EMPTY, 0, []
for i in range(0, len(facts), count):
    start = time.perf_counter()
    patch = editor.edit(facts[i : i + count], after=patch, check=False)
    spent.append(time.perf_counter() - start)
    first += says(facts[i : i + count], patch)
hourly = 3600 * count * (turns - 1) / sum(spent[1:])
print(f"on this {lm.device.type}: {hourly:,.0f} edits per hour in turns of {count}")
print(
    f"of {len(facts)} facts {first} are given after their turn, and {says(facts, patch)} at the end"
)
speed.against(hourly)

# %% [markdown]
# This is our form using small turns, and one short stream is an example; see [notebook 14](14_lifelong.ipynb) for the
# comparison.
#
# ## What we know now
#
# * **Counted**: a search costs some forty passes and a gradient two. Codebooks and experts grow without bound; a matrix
#   into which facts are written does not.
# * **Counted, using measured rates**: in a pass with few tokens, a GPU waits for memory, and above the corner, for
#   arithmetic. So editing facts in batches helps, and measured times fall with batching.
# * **Measured**, editing one fact on one GPU with random weights: the editors take four to seventy times their minimum
#   time for the products that they run.
# * **Never run**: any of this with the real weights of a model of 8B, a million real facts, or more than one GPU.
#
# ## Where it breaks
#
# How many of all the facts written into a matrix does the model still *give*? **Measured**, one stream of ten thousand
# facts on the small model, without the prepended token of [notebook 02b](02b_first_token.ipynb), using UltraEdit in our
# form (`preset="ours"`) and in its published form. The bars are intervals over the facts of a point. From a thousand
# edits on, the *first* hundred are always the same facts; the *last* hundred are the most recently written facts.
#
# **Predict.** Which form loses its first hundred facts as the stream grows?
#
# <details><summary>Answer</summary>
#
# Ours. The published form gives few of them from the start, and we can't tell whether it loses any.
#
# </details>

# %%
kept = {}
for name, form in (("preset", "the library's preset"), ("published form", "as published")):
    points = stored("long_stream")[f"ultraedit, {name}"]["points"]
    points = [
        p for p in points if p["edits"] >= 1000
    ]  # before, fewer of the first hundred are tested
    kept[form] = {}
    for group in ("first", "last"):
        held = [
            [100 * one[what] for what in ("mean", "low", "high")]
            for point in points
            for one in point[group]
            if (one["metric"], one["event"]) == ("efficacy", "generation")
        ]
        pairs = [([point["edits"] for point in points], held)]
        kept[form][f"the {group} hundred of the facts"] = pairs
        for when, (mean, low, high) in zip(
            ("begins at", "ends at"), held[:: len(held) - 1], strict=True
        ):
            print(f"{form}, the {group} hundred {when} {mean:.0f} % [{low:.0f}, {high:.0f}]")
    ((_, first),) = kept[form]["the first hundred of the facts"]
    deviation = sum(mean * (100 - mean) / 100 for mean, *_ in (first[0], first[-1])) ** 0.5
    print(f"{form}, the first hundred: if both ends were independent,", end=" ")
    print(f"{2.8 * deviation:.0f} points would be detected")  # power .8
means = {
    form: {name: [(x, [one[0] for one in held])] for name, ((x, held),) in lines.items()}
    for form, lines in kept.items()
}
figure = figures.curves(means, "edits so far", "facts given (%)", ylim=(0, 100))
for ax, lines in zip(figure.axes, kept.values(), strict=False):
    for i, ((x, held),) in enumerate(lines.values()):
        _, low, high = zip(*held, strict=True)
        ax.vlines(x, low, high, color=ax.lines[i].get_color(), alpha=0.5)
figure

# %% [markdown]
# After ten thousand edits, our form still gives half of its first hundred facts, and four of five of the last hundred.
# **It gives less and less of what it holds**: the fraction falls within the first few thousand edits, then barely any
# more. The published form gives 17 and 24 of the same hundred facts at the two ends. The rows keep no facts, so we
# can't pair them; even as independent, only some 16 points would be detected. The rise of its last hundred is clear,
# but these are different facts at every point, written using moments of more and more facts; we have not tested whether
# that is the reason, and it is one stream.
#
# Nothing on this page shows that a large model *holds* the facts written so fast. The next question looks from the
# other side: given a model, **was it edited?** See [notebook 17](17_was_it_edited.ipynb).
#
# ## References
#
# * Williams, Waterman, Patterson: *Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures*, Communications of the ACM 52(4), 2009.
# * Gu et al.: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Language
#   Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
