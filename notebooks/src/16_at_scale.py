# %% [markdown]
# <!-- badge -->
#
# # 16 · At scale
#
# Everything so far was a model of 135 million weights, mostly with some dozen facts. What changes with
# a model of 8 billion weights, and with a million edits? A good part of the answer can be worked out on
# paper before a GPU is rented.
#
# **You will** count what a method cannot avoid · see why a GPU waits for its memory · compare measured
# times with the count · read ten thousand measured edits · add up the bytes of a million · solve normal
# equations that are spread over workers · guess, then measure, edits per hour.
#
# **Needs** notebooks [04](04_rome.ipynb) to [14](14_lifelong.ipynb).
#
# **Minutes** 20 to read and 30 to work: exercises 10.4 to 10.6 of
# [session 10](../lessons/session_10.md).
#
# A large GPU was available for some minutes only while this course was written, so much of this page
# could not be measured. Every section says where its numbers come from:
#
# * **Measured**: a program was run, on a CPU and with the small model where nothing else is said.
# * **Counted**: multiply-adds or bytes, from the shapes of matrices, without running anything.
# * **A bound**: a time that no program can be below, or a size that none has to exceed, if the counts
#   and the rates beside it are right.
# * **Estimated**: a count together with an assumption, which is named; it can be wrong either way.
# * **Never run**: the code exists and should do it, but nobody has seen it do so.
#
# The folded cell below finds the library and sets the number of threads. Run it and read on.

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
import time

import pandas as pd
import torch

import lib
from lib.evaluation.answers import begins
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.workbench import plot
from notebooks.support import drawings_16, models, show, stored_runs
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
# **Counted.** How long an edit takes depends on the machine and on the program. We want a number of
# operations that no program for this method can avoid, so that a measured time can be compared with
# it. What goes in are the widths of the model and the number of tokens that pass through it; what
# comes out is a number of multiply-adds (one multiplication and one addition).
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
# ROME searches its value in 20 *looks* (steps) at 5 rows of 12 tokens, the prompt after five
# beginnings (the templates of notebook 04, here also called *contexts*). There is a pass backward
# after each look but the last, so these are 39 passes. But nothing below the edited layer $\ell$
# changes. If what comes out of the lower blocks is kept (*replay*), a pass runs, of each row, only
# the $s = 4$ tokens from the subject's last one on, through the blocks above the layer, and one token
# through the head. A row of $n = 12$ tokens then costs
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
# **A bound**, from what is counted. Before a weight can be multiplied, it has to be read from memory,
# and that takes time, too. A processor does both at once, so the slower of the two decides. Let $a$
# be the multiply-adds and $b$ the bytes of a piece of work, and $P$ and $B$ what the processor can do
# of each in a second. The time is at least
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
# ROME's five rows have only $5 \cdot 4$ tokens from the subject's last one on, where a hundred
# would be needed. So with one fact at a time the reading takes longer than the arithmetic. If 32
# facts are searched at once, the weights are read once for all of them, and the arithmetic decides.
# So if both times come near their bounds, a fact in the batch takes a fifth of the time of a single
# one on such a GPU, 818.7 ms against 32 times 128.8 ms. On one CPU thread searching 32 values at
# once was a gain, too, and a smaller one (**measured**, the last two lines, with an earlier version
# of the library).
#
# ## Measured against the floor
#
# **Measured**, on one CPU thread of an AMD EPYC, in seconds of CPU time, by the programs in
# `tests/benchmarks` (all tables are in [RESULTS.md](../tests/benchmarks/RESULTS.md)). The floor is
# now in seconds: what the multiply-adds of the edit take in a loop that does the same products and
# nothing else. UltraEdit is given 100 facts at once, ROME and WISE one, and the others 32.
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
print(f"factor {slow / fast:.0f}; for a million edits {slow * 1e6 / 86400:.0f} days of this thread",
      f"or {fast * 1e6 / 3600:.0f} hours")  # fmt: skip
edit = stored("rome_speed")["5"]  # an earlier version of the library
print(f"ROME through the whole model: {edit['whole_over_replay']:.1f} times the time with replay")
columns = {"cpu": "CPU seconds per edit", "over_floor": "times the floor"}
speeds[list(columns)].rename(columns=columns).round(2)

# %% [markdown]
# So a better program, with products as fast as these, could make an edit at most 1.7 to 4.7 times
# faster on this machine. Between ROME with five contexts and UltraEdit in its published form lies a
# factor of 102. A factor of less than two comes from the last column, 2.93 against 1.67. The rest
# lies between the floors, and only a method that needs *less* gains it: fewer looks, fewer rows, a
# gradient in the place of a search. (UltraEdit was also given a hundred facts in a call, and ROME
# one.) With replay a whole edit by ROME is 1.9 times as fast, where the count for the search alone
# said three times. (The 1.9 is from an earlier version of the library, and the reason for the difference
# was not measured. How much these times vary from run to run was not stored, so
# no small difference between two rows is shown.)
#
# ## Ten thousand edits, measured
#
# UltraEdit is the fastest in this table. What does it hold? **Measured**, on one CPU thread:
# CounterFact in turns of a hundred, by UltraEdit in its published form (one pass, no old keys; but
# the length of the step and the three matrices are ours) and with this model's preset (up to three
# passes, nine matrices, old keys kept). So the two differ in several settings at once. Facts are
# *said*, or said after another wording (*reworded*), when the model writes freely; for a *neighbor*
# the true answer has to be more probable than the new one, because this small model would write few
# of these answers by itself. At the end the first and the last thousand facts are asked, and on the
# way the first hundred and those written last. (Fewer are asked where a later fact contradicts
# some.) Brackets are 95 % intervals over the facts of one stream, so they do not say how another
# stream would go.
#
# How sure is a difference? The same facts are asked after 1,000 and after 10,000 edits, but their single
# answers were not stored, and without them no paired interval can be computed. It can be bounded. However
# the answers belong together, the standard error of a difference is at most the sum of the two standard
# errors. So the interval reaches, about, from the one low end less the other high end to the one high end
# less the other low end, and no further. We call a difference shown if even this **widest interval**
# leaves out zero.
#
# **Predict.** Which of them falls, the first facts or the last?
#
# <details><summary>Answer</summary>
#
# With the preset the first: they are written and then fade. Of the last, 74 to 88 of 100 are
# said at every point, and no fall is shown. In the published form few of the first are ever said, and
# whether they fade is not shown.
#
# </details>

# %%
NAMES = {
    ("efficacy", "generation"): "said",
    ("generalization", "generation"): "reworded",
    ("specificity", "probability"): "neighbors",
}
rows = [
    {"form": form, "edits": point["edits"], "group": group, "what": NAMES[event], **one}
    | {"perplexity": point["perplexity"], "CPU s per edit": point["cpu_per_edit"]}
    for form in ("preset", "published form")
    for point in stored("long_stream")[f"ultraedit, {form}"]["points"]
    for group in ("first", "last", "first thousand", "last thousand")
    for one in point.get(group, [])
    if (event := (one["metric"], one["event"])) in NAMES
]
asked = pd.DataFrame(rows).set_index(["form", "edits", "group", "what"])
asked[["mean", "low", "high"]] *= 100
asked["%"] = [
    f"{mean:.0f} [{low:.0f}, {high:.0f}] of {cases:,}"
    for mean, low, high, cases in asked[["mean", "low", "high", "cases"]].itertuples(index=False)
]
ends = asked.query("group.str.contains('thousand')")
print(ends["%"].unstack(["form", "edits"]).to_string())
print(ends.groupby(["form", "edits"])[["perplexity", "CPU s per edit"]].first().round(2))


# %%
def less(one, other):  # the difference, and the widest interval that it can have
    ends = one["low"] - other["high"], one["high"] - other["low"]
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(one["mean"] - other["mean"], *ends)


for form in ("preset", "published form"):
    end, then, base = asked.loc[form, 10_000], asked.loc[form, 1000], asked.loc["preset", 0]
    old, new = end.loc["first thousand"], end.loc["last thousand"]
    few = end.loc["first", "said"], then.loc["first", "said"]
    print(f"{form}: first hundred said, after 10,000 less after 1,000 edits {less(*few)}")
    print(f"{form}: said, last less first thousand {less(new.loc['said'], old.loc['said'])}")
    near = less(old.loc["neighbors"], base.loc["first thousand", "neighbors"])
    print(f"{form}: neighbors of the first thousand, edited less unedited {near}")
said = asked.xs("said", level="what").query("edits >= 1000 and group in ('first', 'last')")
print(said["%"].unstack(["form", "group"]).sort_index().fillna("–").to_string())
lines = {f"{group} 100, {form}": line for (form, group), line in said.groupby(["form", "group"])}
x = {name: line.index.get_level_values("edits") for name, line in lines.items()}
y = {name: line["mean"] for name, line in lines.items()}
look = {
    "bands": {name: (line["low"], line["high"]) for name, line in lines.items()},
    "colors": {name: plot.CYCLE[1 if "preset" in name else 4] for name in lines},
    "dashes": {name: "--" for name in lines if "last" in name},
}
plot.lines(x, y, "edits", "says it (%; shade: 95 % interval)", **look, ylim=(0, 104))

# %% [markdown]
# The first table has the first and the last thousand facts, before any edit and after ten thousand, and
# the last one the hundreds of the figure. With the preset the first hundred facts fall from 77 of 100 said
# after a thousand edits (68 to 84) to 49 after ten thousand (39 to 59). The difference is −28 points, and
# its widest interval is −45 to −9. In the figure the fall lies before 3,500 edits; whether it goes on after
# that is not shown. Of the last thousand, which are other facts, 80 % are said at the end, and of the first
# thousand 48 %, which is 32 points less (26 to 37). So in this one stream old facts fade, and new ones can still be written at its
# end. In the published form, too, the last thousand are said more often than the first, by 21 points (16 to
# 26), but fading is not shown: the first hundred were hardly said after a thousand edits either, and their
# change since, +7 points, has a widest interval of −9 to 22.
#
# The table says also what the time of an edit does not. Rewordings hardly follow in either form: at the
# end 3 to 4 % of them are said. For the neighbors of the first thousand facts the true answer is ahead in
# 67 % before any edit. With the preset it is 16 points less at the end (10 to 22), and in the published
# form, which takes about a tenth of the time, 13 points less (7 to 19). (Before any edit all thousand were
# asked, at the end 985. The 15 others could change this difference by one or two points.) The
# perplexity rises from 18.5 to 22.2 with the preset and to 30.4 in the published form.
#
# ## A million edits
#
# **Counted**, and for two methods **estimated**. What does each method keep *beside* the model? This
# decides whether a stream can go on for ever. We ask for the bytes after $n$ edits, with one edited
# layer, in float32, since small updates vanish in bf16.
#
# * What is written into a weight matrix takes $4\,d\,m$ bytes at most (**a bound**), however many facts
#   it holds; while they are few, a pair of vectors for each, $4\,(d + m)\,n$ bytes, says the same.
# * Kept keys are $4\,m\,n$ bytes at first. Once there are many, the matrix $KK^\top$ with $4\,m^2$
#   bytes says the same. For UltraEdit the library keeps at most $1.25\,m$ columns that
#   have the same product as all keys. (MEMIT's $C$, another $4\,m^2$ bytes that the product can be added
#   to, is there before the first edit and is not counted.)
# * UltraEdit has two vectors of moments (in float64), and in its published form no kept keys. The preset
#   keeps them, and makes up to three passes over a turn. We count one key for each fact, as for an answer of one token.
# * GRACE has a key and a value for each fact, $4\,(m + d)\,n$ bytes. LEMoE has an expert, a copy of
#   an MLP with $12\,d\,m$ bytes, for every 16 facts, as in notebook 13.
# * The estimates are WISE's, for which one more side matrix for every ten thousand facts is assumed, and
#   that of retrieval, whose facts are assumed to be as long as those of notebook 14.
#
# **Predict.** In a model of 8B with $d = 4096$ and $m = 14336$: how large is GRACE's codebook of a
# million facts, compared with the model? And what does UltraEdit keep, with its preset?
#
# <details><summary>Work it out</summary>
#
# $4\,(14336 + 4096) = 73{,}728$ bytes per fact. For a million facts that is more than four times
# the model in bf16, and every prompt is compared with a million keys. UltraEdit as published keeps one
# matrix and the moments, however many facts there are. With the preset the kept keys are more than
# the matrix, because $1.25\,m^2$ is larger than $d\,m$; but they are bounded as well.
#
# </details>

# %%
edits, (d, m) = [10, 100, 1000, 10_000, 100_000, 1_000_000], (large["d"], large["inner"])
run = stored_runs.read(stored_runs.DATA / "14_streams.json")  # what a fact of retrieval takes
text = next(r["bytes"] for r in run["rows"] if r["line"] == "retrieval" and "bytes" in r) / 24
pair = d + m  # a key and a value
RULES = {  # numbers of four bytes after n edits
    "LEMoE": lambda n: 3 * d * m * -(-n // 16),  # an expert like the MLP for every 16 facts
    "GRACE": lambda n: pair * n,
    "WISE": lambda n: d * m * (1 + n // 10_000),  # estimated
    "MEMIT, keys kept": lambda n: min(d * m, pair * n) + min(m**2, m * n),
    "UltraEdit, published form": lambda n: min(d * m, pair * n) + 4 * pair,
    "UltraEdit, preset": lambda n: min(d * m, 3 * pair * n) + min(1.25 * m**2, m * n) + 4 * pair,
    "retrieval": lambda n: text / 4 * n,  # estimated
}
kept = {name: [4 * rule(n) / 1e9 for n in edits] for name, rule in RULES.items()}
model = 2 * (L * c + 2 * h) / 1e9
print(f"the model in bf16: {model:.1f} GB; GB after a million edits:")
print(pd.Series({name: sizes[-1] for name, sizes in kept.items()}).round(2).to_string())
print(f"the preset of UltraEdit in nine layers: {9 * kept['UltraEdit, preset'][-1]:.1f}")
lines, colors = kept | {"the model, bf16": [model] * len(edits)}, {"the model, bf16": plot.BASE}
axes, how = ("edits", "kept for one edited layer (GB)"), {"xlog": True, "ylog": True}
figure = plot.lines(edits, lines, *axes, colors=colors, **how, height=4.6)
figure.axes[0].lines[1].set(markersize=11, markerfacecolor="none")  # GRACE: points under others
figure.axes[0].set_xticks(edits, [f"{n:,}" for n in edits])
figure

# %% [markdown]
# What is written into the weights grows only until the pairs of vectors would be larger than the
# matrix, and is level from there on. Up to a thousand edits UltraEdit's points in the published form
# lie inside GRACE's rings, or at their edge. With its preset UltraEdit keeps
# 1.26 GB for a layer after a million edits, where the
# published form keeps 0.24. The preset of the small model edits nine layers, and nine such layers
# would be 11.4 GB, still less than the model. Retrieval keeps the facts as text, and is the smallest
# up to a hundred thousand edits. (LEMoE is so large because its experts are whole copies. The
# library's settings for larger models take experts of rank 16 instead.)
#
# **Measured**, on a CPU: a model of random numbers in bf16 with the shape of Llama 3 8B was loaded
# from its files and edited. The first column of the table is the memory that the process itself
# holds. Pages of the files that happen to be in memory are counted apart, because the system can drop
# them at any time. (Searches were cut to two steps and $C$ was estimated from few tokens: both cost
# time, not memory.)

# %%
run = stored("large_model")["32"]  # by its number of layers
start = run["before"]["anonymous"]  # bytes of the process before the model is loaded
table = {}
for step in ("load", "ask", "ultraedit", "C", "rome", "memit", "export"):
    peak = run["steps"][step]
    sizes = peak["anonymous"] - start, run["counted"][step], peak["mapped"]
    names = "memory of the process (GB)", "estimated (GB)", "files in memory (GB)"
    table[step] = {name: size / 1e9 for name, size in zip(names, sizes, strict=True)}
longest = max(stored("million").values(), key=lambda run: run["edits"])
print(f"a tiny model; killed and gone on with, it has the same bits: {longest['same']}")
for point in longest["points"]:
    calm = next(part["least"] for part in longest["calm"] if point["edits"] <= part["edits"])
    size = point["anonymous"] / 1e6
    print(f"  after {point['edits']:,} edits: {size:.0f} MB, {calm:.3f} CPU ms an edit")
pd.DataFrame(table).T.round(2)

# %% [markdown]
# Loading costs next to nothing, since the weights stay in their files. UltraEdit needs room for a few
# matrices of one layer. What is large is $C$ of a layer with its Cholesky factor. (The estimate
# counts the large matrices that a step needs at once, and in the export the process held more.)
#
# A million edits on a model that can hold facts were **never run**. Whether the program itself
# grows slower or larger on the way was **measured** (the lines above the table), with made-up facts
# on a model so small that nearly all of the time is the library's own. In this run, from a thousand
# edits to a million, the memory grows by a twentieth and the time of an edit by 3 %. (Each time is
# the least of some turns near by, since other programs disturb the others more.)
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
    columns = [torch.cat(side, 1) for side in zip(*parts, strict=True)]  # in their order again
    same = torch.equal(merged([columns], 1.0), alone), torch.equal(summed, alone)
    print(f"{workers:2} workers, same bits: columns {same[0]}, sums {same[1]}, off by {off:.0e}")
for name, size in {"columns": n * (d_in + d_out), "sums": d_in * (d_in + d_out)}.items():
    print(f"numbers sent as {name}: {size:,}")

# %% [markdown]
# Columns are fewer as long as $n < d_\text{in}$. Columns that are put back in their order *are* the
# matrix of one worker, so the bits are the same. Sums are added in another order, and
# numbers in float32 then round differently. The library sends columns up to $n = d_\text{in}$, and
# sums beyond that, by `torchrun --nproc-per-node 2 -m lib stream …`. On a CPU two processes gave the bits
# of one ([RESULTS](../tests/benchmarks/RESULTS.md#several-processes)). **Never run**: more than two
# processes, and any number of cards.
#
# ## On a card
#
# `python -m tests.benchmarks.gpu tests/benchmarks/gpu.json` measures on one card what this notebook
# works out on paper. **Measured**, once, on one H100 with a random model of 8B's shape in bf16, and the
# stream a day later on one H200, too. ("At least" is the roof's time for an edit's own matrix products: at
# the rate of a large product or at the rate of reading, whichever takes longer, both measured in that run.
# What is made once, such as $C$, was made before and is not in the times. Each row is one run. Eight of
# the other editors were timed on the H200 and stand in
# [RESULTS](../tests/benchmarks/RESULTS.md#a-graphics-card).)
#
# The editors do not change the same layers. The table says how many each changes and in brackets which,
# counted from 0 to 31. (GRACE, WISE, MEMOIR and LEMoE keep something beside the weights of that layer.) Each
# has the layers of its preset for this shape, except that ROME, MEMIT and AlphaEdit, which need $C$, were
# given layer 8 alone. With replay a search for layer 8 runs through the 23 blocks above it, and one for
# layer 29 through two.

# %%
CHANGED = {  # how many and which, counted from 0 to 31: the settings of that run
    "ultraedit": "12 (11–15, 18–24)",
    **{"rome": "1 (8)", "memit": "1 (8)", "alphaedit": "1 (8)", "memoir": "1 (27)"},
    **{"wise": "1 (29)", "grace": "1 (27)", "ft": "1 (22)", "lemoe": "1 (18)", "retrieval": "0"},
}
parts = stored("gpu")["parts"]
rows = [row for name in ("b", "alphaedit") for row in parts[name]["rows"] if "editor" in row]
columns = {"seconds": "seconds", "floor": "seconds at least", "over_floor": "times the least"}
on_card = pd.DataFrame(rows).set_index("editor")[list(columns)].rename(columns=columns)
on_card.insert(0, "layers changed", on_card.index.map(CHANGED))
for card, (speeds, streams) in {"H100": ("b", "c"), "H200": ("speed h200", "long h200")}.items():
    (rates,) = [row["rates"] for row in parts[speeds]["rows"] if "rates" in row]
    least = 1000 * rows[0]["multiply_adds"] / rates["multiply_adds_per_second"]["bfloat16"]
    print(f"{card}, one fact by UltraEdit: {least:.2f} ms for its multiply-adds alone")
    for row in [row for row in parts[streams]["rows"] if "turn" in row]:
        each, turn = 1000 * row["seconds"] / row["edits"], f"edits in turns of {row['turn']:4}"
        print(f"  {row['edits']:6,} {turn}: {each:4.1f} ms each, {each / least:.1f} times as much")
print(f"the median editor takes {on_card['times the least'].median():.1f} times the least")
on_card.round(3)

# %% [markdown]
# The seconds of two rows compare settings and not only methods: how many layers lie above the changed
# one, how many steps a search has, and how many layers are changed. The last column divides by the least
# for the row's own products, so depth and steps count on both sides. An edit takes 4 to 15 times its
# least, and LEMoE's 74 times.
#
# One fact alone costs UltraEdit 0.088 s, and in turns of a thousand a fact costs 4.1 ms, less than a
# twentieth. Is that only because many facts share the reading of the weights? Alone, a fact waits for
# memory, and needs 0.014 s at least. In a turn of a thousand the arithmetic decides, and if a fact has as
# many multiply-adds there as alone (**estimated**), it needs 0.55 ms at least, which is also less than a
# twentieth. So the bound falls about as much as the time does. But the times are far above the bounds: 6.5
# times alone, 7.6 times in turns of a thousand, and 23.5 times in turns of a hundred. In one turn of a
# thousand a profile was made: about half of the time went into bringing the edited matrices back to the
# CPU and testing whether their numbers are finite. Both were made faster, and then the H200 needed 2.7 and
# 2.1 ms for a fact in turns of a thousand, in two runs. The H100 was not asked for the stream again, so how much of
# this is the card cannot be said. These weights are random, and nothing here says how many facts are held.
#
# ## On your machine
#
# **Measured** here, on whatever you run it on: a short stream of facts of the classroom by UltraEdit with
# the library's preset. The first turn is not timed, as it also prepares statistics. The clock is the
# one on the wall, so the time of other programs is in it, too. With `EDIT_SCALE=full` the model would be
# Qwen3-8B, and with a card the same cell should use it (**never run**; the library has no settings tuned
# for that model).
#
# Every fact is asked right after its turn and once more at the end of the stream. So here, unlike in the
# stream of ten thousand, the single answers are known, and the difference has a paired interval.

# %%
speed = guess("How many edits per hour does UltraEdit make here, in turns of 12?", 1, 10_000_000)

# %%
count, turns = (4, 2) if SCALE == "tiny" else (12, 8)
facts = [case.fact for case in lib.classroom()[: count * turns]]
editor = lib.EDITORS["ultraedit"](lm)


def says(some, patch):  # of every fact, whether the model writes its new answer
    with lm.patched(patch):
        answers = lm.answer([fact.text for fact in some], 8)
    return [begins(text, fact.target_new) for text, fact in zip(answers, some, strict=True)]


patch, first, spent = lib.EMPTY, [], []
for i in range(0, len(facts), count):
    start = time.perf_counter()
    patch = editor.edit(facts[i : i + count], after=patch)
    spent.append(time.perf_counter() - start)
    first += says(facts[i : i + count], patch)
hourly = 3600 * count * (turns - 1) / sum(spent[1:])
print(f"{lm.device.type}: {hourly:,.0f} edits per hour in turns of {count}")
speed.against(hourly)

# %%
last = says(facts, patch)
print("+ said after its turn and at the end, − only after its turn, o only at the end, · never")
signs = ["·o−+"[2 * then + now] for then, now in zip(first, last, strict=True)]
for i in range(0, len(facts), count):
    print(f"turn {i // count + 1}:", " ".join(signs[i : i + count]))
ends = interval([now - then for then, now in zip(first, last, strict=True)], DIFFERENCE)
print(f"of {len(facts)} facts {sum(first)} are said after their turn and {sum(last)} at the end;")
print("95 % interval of the change, as a share (paired): {:+.2f} to {:+.2f}".format(*ends))

# %% [markdown]
# Edits per hour do not say what is held. In the stored run 85 of the 96 facts are said right after their
# turn and 74 at the end. The eleven that are lost stand in the first six turns, and their share is 0.05 to
# 0.19. So facts begin to fade in this short stream already. (These are other facts than in the stream of
# ten thousand, in smaller turns and in one order, so the two streams cannot be compared number by
# number.) **If you like**, change `count` to 24 and `turns` to 4. Are fewer of the same facts lost?
#
# ## What we know now
#
# * **Counted**: a search costs some forty passes and a gradient two. At a million edits of a model of
#   8B, LEMoE, GRACE and WISE, which add vectors or matrices for new facts, keep more than the whole
#   model for one layer (WISE's line is **estimated**). A matrix that facts are written into is
#   smaller, with kept keys or without.
# * **A bound**, for a GPU with assumed rates: one fact at a time waits for the memory, and many facts at
#   once wait for the arithmetic.
# * **Measured**, on a CPU: the editors take about two to five times the seconds of their multiply-adds. In
#   one stream of ten thousand edits by UltraEdit's preset the first hundred facts fall from 77 to 49 %
#   said, the last are still written, and hardly any rewording follows. In the published form, with our
#   step and matrices, 14 % of the first thousand are said at the end and 35 % of the last.
# * **Measured**, on one H100 with random weights: an edit of a model of 8B takes 0.02 to 2.2 s,
#   without what is made once.
# * **Never run**: any of it with the real weights of a model of 8B, or with a million real facts.
#
# ## Where it breaks
#
# No editor of this course has been shown to hold ten thousand facts, follow rewordings *and* leave
# neighbors alone, and how well facts are held was measured on this page on one model, a small one. If
# you have an idea for a better method, write it as an editor in one file, and judge it as notebook 15
# does.
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
