# %% [markdown]
# <!-- badge -->
#
# # 06 · Null spaces and kept keys
#
# A hundred facts fit into one batch. Then comes the next batch, and it should harm neither general text
# nor the facts of yesterday. This page has one idea for each of the two. Together they are AlphaEdit, and
# five hundred edits test one without the other.
#
# **You will** look for directions that ordinary text does not use, and bound the damage done in those
# that it uses little · write the line that makes batch after batch equal to one batch · build
# AlphaEdit from these two · take it apart, 500 edits long: is it the projector or the kept keys?
#
# **Needs** [notebook 05](05_memit.ipynb): MEMIT with its $\lambda$.
#
# **Minutes** 25 to read and 20 to work: two exercises of [session 5](../lessons/session_5.md).
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
import math
from functools import partial
from statistics import mean

import pandas as pd
import torch

import lib
from lib import associative_memory as memory
from lib.data.texts import HELD_OUT
from lib.evaluation.intervals import interval
from lib.keys_values.second_moment import general_text, stored_moments, windows
from lib.model.activations import module_inputs
from notebooks.support import drawings_06, figures, long_runs, models
from notebooks.support import runs_06_null_space as runs_06
from notebooks.support.holes import guess, use
from notebooks.support.score_tables import gap, percent

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## Write where no text goes
#
# MEMIT protects general text by its weight $\lambda C$, where $C$ is the second moment of the keys of
# general text. **AlphaEdit** protects it in another way. Suppose there are directions that no key of
# general text ever uses. A change of $W$ that acts in these directions alone would not move any output on
# general text, however large it is. So of each new key only the part in these directions is used, and no
# $\lambda C$ is needed.

# %%
drawings_06.thin()

# %% [markdown]
# Let $P$ be the projector on those directions: $Pk$ is the part of a key in them, $PP = P$, and
# $PK_0 = 0$ for all keys $K_0$ of general text. A change of the form $\Delta P$ then moves nothing there,
# since $\Delta P K_0 = 0$. (In the figure $P = QQ^\top$, where the columns of $Q$ are orthonormal and span
# those directions. Its text has a small part along the dashed line, so the line is a null space only
# approximately.)
#
# Where are these directions? $C$ says where text goes, and a direction that no key uses is an eigenvector
# of $C$ with the eigenvalue zero. But notebook 01 has found no such direction in a real layer. So one
# takes all eigenvectors $x_i$ whose eigenvalue $c_i$ is below a **threshold** $\tau$, and the promise
# becomes a bound: for a change that acts in them alone the mean damage on the text of $C$ is
# $\mathrm{tr}(\Delta C \Delta^\top) = \sum_i c_i \|\Delta x_i\|^2 \le \max_i c_i\,\|\Delta\|^2$.
#
# **Your turn · exercise 5.3 · ★★ · 10 minutes.** Write `place`: the projector on these eigenvectors, the
# share of general text in it, $\mathrm{tr}(PC)/\mathrm{tr}(C)$, and the largest damage that any such
# $\Delta$ with $\|\Delta\| = 1$ can do. Four lines. The next sections take their $P$ from it.


# %%
def place(C, tau):
    """C (d, d), τ -> P (d, d), the share of general text in it, the largest damage."""
    ...


place = use("5.3", place)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `values, vectors = torch.linalg.eigh(C)`: the values rise, and column $i$ of `vectors` belongs to
# `values[i]`. Where does the worst change put all of its length?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def place(C, tau):
#     values, vectors = torch.linalg.eigh(C)
#     low = values < tau
#     Q = vectors[:, low]  # (d, r), orthonormal columns
#     return Q @ Q.T, values[low].sum() / values.sum(), values[low].max()
# ```
#
# </details>
#
# ## Is there such a place?
#
# We ask a real layer, the last of the three that AlphaEdit writes here, and take the lowest 80 % of the
# directions, ordered by their eigenvalue. $C$ is estimated from the library's general text, with only ten
# tokens for each input of the layer. So its smallest eigenvalues tend to come out too small (notebook 01).
#
# **Predict.** How much of this text lies in four fifths of the directions, the emptiest ones? And of text
# that was not used to estimate $C$: more, less, or as much?

# %%
text_inside = guess(
    "What share of the text of C lies in the lowest 80 % of directions, in %?", 0, 100
)

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
alpha = lib.EDITORS["alphaedit"](lm, quantile=0.8)  # the lowest 80 % of all directions
top = alpha.config.layers[-1]
space = alpha.null_space(top)
read = stored_moments(lm, [top], None, None)[top].tensors()
C_text = read["C"].double()  # as it was estimated, with nothing added to its diagonal
P_text, inside, bound = place(C_text, space.threshold)
assert torch.allclose(P_text, space.Q @ space.Q.T)  # the library's projector
values, vectors = torch.linalg.eigh(C_text)
print(f"C has {len(C_text)} inputs; its smallest eigenvalue is {values[0]:.1e}")
print(f"largest damage inside, on the text of C: {bound:.3f}")
text_inside.against(100 * inside)

# %%
whole = stored_moments(lm, [top], None, 10**9)[top].tensors()  # the file to its end
more = max(int(whole["tokens"] - read["tokens"]), 1)
rest = (whole["tokens"] * whole["C"].double() - read["tokens"] * C_text) / more
held_out = stored_moments(lm, [top], HELD_OUT, None)[top].tensors()
subjects = lm.keys([case.fact for case in lib.classroom()], top).cpu().double()
texts = {"text of C": C_text, "rest of its file": rest, "held-out text": held_out["C"].double()}
some = texts | {"keys of subjects": subjects @ subjects.T / subjects.shape[1]}
counts = int(read["tokens"]), more, int(held_out["tokens"]), subjects.shape[1]
for (name, C), count in zip(some.items(), counts, strict=True):
    share = 100 * (P_text * C).sum() / C.trace()
    worst = torch.linalg.eigvalsh(space.Q.T @ C @ space.Q)[-1]
    print(f"{name}, {count:,} keys: {share:.0f} % inside, largest damage {worst:.3f}")
rows, split = windows(lm, general_text(None), 10**9), counts[0] // 255  # C ends in the next one
pieces = rows[:split], rows[split + 1 :], windows(lm, general_text(HELD_OUT), 10**9)
for name, some_rows in zip(texts, pieces, strict=True):
    keys = [module_inputs(lm, [row], [lm.mlp_out(top)], 1) for row in some_rows]
    keys = [K[lm.mlp_out(top)].double().cpu() for K in keys]  # (tokens, d) of each window
    shares = torch.tensor([100 * (K @ P_text).pow(2).sum() / K.pow(2).sum() for K in keys])
    mid, low, high = shares.mean(), *interval(shares, None)
    print(f"{name}, mean of {len(keys)} windows: {mid:.0f} % inside ({low:.0f} to {high:.0f})")
parts = {name: (vectors * (C @ vectors)).sum(0) for name, C in some.items()}  # by direction
drawings_06.inside(values, parts, 0.8)

# %% [markdown]
# No direction is empty: the smallest eigenvalue is 0.003, and the curve on the left has no step where one
# would cut. The curves on the right add up, from the lowest direction on, what share of the squared
# length of the keys lies inside. The lowest four fifths hold 48 % of the text that $C$ was estimated from
# and 73 % of the subjects' keys.
#
# **A larger share of text that $C$ has not seen lies inside: 59 % of the rest of its file, and 63 % of the
# held-out text.** The directions were chosen because they are the emptiest ones in one sample, so they
# tend to be less empty in other text. As means over windows, with 95 % intervals, the three shares are 48 %
# (47 to 49), 59 % (57 to 61) and 62 % (61 to 64). The last two have only eight and seven windows, so these
# intervals are probably too narrow. (That the model wrote the file, and people the held-out text, may add
# to the difference.)
#
# The bound, too, holds for the sample alone. A change of length 1 inside does a mean damage of at most
# 0.024 there, but up to 0.156 and 0.666 on the other two. Each of these two is the largest of many
# directions, measured with about 2,000 keys, and so probably too large.
#
# The code of AlphaEdit's authors has $\tau = 0.02$ for models of billions of weights. As eigenvalues depend
# on how long a model's keys are, it may cut off another share there. What this page finds about the
# projector holds for *this* model, threshold and sample, with more than half of other text inside.
#
# ## Remember what was written
#
# Notebook 05 ended with a batch that is damaged by the later ones, since $\lambda C$ knows nothing of it. A
# null space of $C$ knows as little. Now keys and values come in one batch after another, and after each we
# want the matrix that is best for general text and for *all* batches so far. The figure shows which terms
# are in the sum of squares of each batch. On the left it is as in notebook 05: a batch starts from the
# matrix that the one before has left, and has no term for the earlier pairs. On the right it is as we
# want it.

# %%
drawings_06.sums()

# %% [markdown]
# In formulas, let $K_s$ and $V_s$ have the keys and values of batch $s$ as columns, and $W_0$ be the
# matrix before any edit. The right side minimizes, after batch $t$,
#
# $$\min_W\ \lambda\,\mathrm{tr}\big((W - W_0)\,C\,(W - W_0)^\top\big)
# + \sum_{s \le t} \|W K_s - V_s\|^2 .$$
#
# The gradient vanishes for $W_t M_t = N_t$, with $M_t = \lambda C + \sum_{s \le t} K_s K_s^\top$ and
# $N_t = \lambda W_0 C + \sum_{s \le t} V_s K_s^\top$. One more batch adds one term to each of the two,
# so $W_t M_t = W_{t-1} M_{t-1} + V_t K_t^\top$. Put in $M_{t-1} = M_t - K_t K_t^\top$, and multiply by
# $M_t^{-1}$ from the right. With the keys of all batches before $t$ side by side in $K_p$ this is
#
# $$W_t = W_{t-1} + (V_t - W_{t-1} K_t)\,K_t^\top M_t^{-1}, \qquad
# M_t = \lambda C + K_p K_p^\top + K_t K_t^\top .$$
#
# This is **recursive least squares**. It is MEMIT with the **kept keys** $K_p$ in the matrix that is
# inverted. The earlier values appear nowhere, since $W_{t-1}$ solves the sum with all of them, and of the
# keys no more than the matrix $M$ has to be kept.
#
# **Your turn · the first half of exercise 5.4 · ★★ · 8 minutes.** Write `turn`: one more batch, from
# what there is, $W_{t-1}$ and $M_{t-1}$. Two lines; the made-up streams below are written with them.


# %%
def turn(W, M, K, V):
    """W (d_out, d_in), M (d_in, d_in), K (d_in, n), V (d_out, n) -> the new W and the new M."""
    ...


turn = use("5.4", turn)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The formula inverts $M_t$ and not $M_{t-1}$. What does the new batch add to it?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def turn(W, M, K, V):
#     M = M + K @ K.T
#     return W + torch.linalg.solve(M, K @ (V - W @ K).T).T, M
# ```
#
# </details>
#
# **Predict.** Ten batches of five pairs are written twice: once each batch passes its $M$ on, and once
# each begins with $\lambda C$ alone, which is MEMIT again and again. How far is each from one batch with
# everything in it? Which pairs suffer where nothing is kept?
#
# <details><summary>Work it out</summary>
#
# With kept keys there is no difference but rounding, since each step solves the whole problem. This
# holds as long as keys and values stay what they were; in a model with several edited layers they
# move a little with every edit below. Without them a batch does not know of the pairs before it, so
# the first pairs suffer most: every later batch disturbs them.
#
# </details>

# %%
d, n, size, strength = 64, 50, 5, 5.0  # strength: λ, and below L₂
draw.manual_seed(0)
for number in (1, 2):  # two draws of everything; the next section goes on with the second
    L = normal(d, d)
    C = L @ L.T / d + 0.1 * torch.eye(d)
    W0, K, V = normal(16, d), L @ normal(d, n) / 8, normal(16, n)
    batches = [(K[:, i : i + size], V[:, i : i + size]) for i in range(0, n, size)]
    keeping, M, forgetting = W0, strength * C, W0
    for k, v in batches:
        keeping, M = turn(keeping, M, k, v)
        forgetting, _ = turn(forgetting, strength * C, k, v)
    together, _ = turn(W0, strength * C, K, V)
    R, B = memory.insert_many(W0, K, V, C, strength)
    assert torch.allclose(together, W0 + R @ B)  # the library's MEMIT
    print(f"draw {number}: kept keys end {(keeping - together).abs().max():.0e} from one batch")
    for way, W in {"nothing kept": forgetting, "kept keys": keeping}.items():
        wrong = (W @ K - V).pow(2).sum(0) / R.pow(2).sum(0)
        print(f"  {way}: missing of the first five {wrong[:5].mean():.3f}", end=", ")
        print(f"of the last five {wrong[-5:].mean():.3f}")
    assert torch.allclose(keeping, together)

# %% [markdown]
# With kept keys ten batches equal one batch, in either draw. *Missing* is the squared length of what a
# pair lacks at the end, as a share of what it lacked before any edit. Where nothing is kept it is 0.182
# and 0.165 for the first five pairs, and 0.004 for the last five. With kept keys it is 0.012 and 0.010
# for the first, 0.013 and 0.017 for the last. The second half of exercise 5.4, `forget`, takes a batch out
# of the middle of a stream.
#
# ## AlphaEdit is both
#
# Now the two ideas together. We look for a change of the form $\Delta P$, which acts only where text
# hardly goes. It should write the new pairs, leave the kept keys alone, and stay small (with a weight
# $L_2$ on its squared length; $W$ is the matrix before this batch):
#
# $$\min_\Delta\ \|(W + \Delta P)K - V\|^2 + \|\Delta P K_p\|^2 + L_2 \|\Delta P\|^2 .$$
#
# Since $\Delta P K = \Delta P\,(PK)$, keys come in only by their parts $PK$ and $PK_p$. With
# $R = V - WK$ it is MEMIT with kept keys for these shorter keys, with $C = I$ and $\lambda = L_2$:
#
# $$\Delta P = R\,(PK)^\top \big(L_2 I + P (K_p K_p^\top + KK^\top) P\big)^{-1} .$$
#
# (One more $P$ at the end of the right side changes nothing, because the bracket maps the directions of
# $P$ into themselves.) So your `turn` can write it. Which keys and values must it be given?
#
# <details><summary>Work it out</summary>
#
# The keys are $PK$. As `turn` takes the new values less what $W$ says to the keys that it is given, its
# values are $V - W(K - PK)$, which leaves the same $R$.
#
# </details>
#
# **Predict.** A made-up text does leave 24 of 64 directions free, and the fifty pairs are written there in
# ten batches. What becomes of the outputs on text? And are ten batches still equal to one?
#
# <details><summary>Answer</summary>
#
# The outputs on text do not move, but for rounding. Ten batches equal one (the cell asserts it): by the
# section before, that holds for any keys whose values stay what they were. The values $V - W(K - PK)$ do,
# since no change $\Delta P$ acts on $K - PK$.
#
# </details>

# %%
K0 = normal(d, 40) @ normal(40, 2000)  # text that leaves 24 of 64 directions free
P, _, _ = place(K0 @ K0.T / 2000, 1e-9)
W, M = W0, strength * torch.eye(d).double()  # L₂ I in place of λC
for k, v in batches:
    W, M = turn(W, M, P @ k, v - W @ (k - P @ k))  # what W says to the rest of a key stays as it is
Q = memory.null_space(K0 @ K0.T / 2000, 1e-9).Q
R, B = memory.insert_null(W0, K, V, Q, strength)  # the library's AlphaEdit, one batch
assert (W - W0 - R @ B).abs().max() < 1e-9
print(f"{P.trace():.0f} free directions; text moves by at most {((W - W0) @ K0).abs().max():.0e}")

# %% [markdown]
# ## Five hundred edits
#
# Is it the projector or the kept keys? We take both apart: $2 \times 2$ editors, each with 500 facts in
# batches of 50, in three layers. The facts are the Eiffel Tower and 499 rows of CounterFact (Meng et al.,
# 2022). All editors write the same values, searched once, on the unedited model and at the bare prompt.
#
# | | nothing kept | kept keys |
# |---|---|---|
# | **all directions, $\lambda C$** | MEMIT | MEMIT, kept keys |
# | **null space, $L_2$** | AlphaEdit, nothing kept | AlphaEdit |
#
# The two rows differ in the projector and in the weight: $\lambda C$ above, $L_2 I$ below. A seventh
# editor takes these two apart in a run of its own, further down. The four use the library's strengths,
# $\lambda = 1000$ and $L_2 = 10$.
#
# Could one do with a smaller $\lambda$ if the keys are kept? Two more editors have $\lambda = 30$, one
# without kept keys and one with them. Where no $\lambda$ is named it is 1000. The cell below prints what
# share of a residual each strength lets arrive, on average over the subjects of the classroom.

# %%
general = lib.second_moment(lm, [top])[top]
q = (subjects * general.solve(subjects)).sum(0)  # (n,), as in notebook 05
q_P = (P_text @ subjects).pow(2).sum(0)  # the same for AlphaEdit, where C is I
for which, weighed, against in ("λ", 1000, q), ("λ", 30, q), ("L₂", 10, q_P):
    share = 100 * (against / (weighed + against)).mean()
    print(f"{which} = {weighed}: {share:.0f} % of a residual arrive, one subject in one layer")

# %% [markdown]
# The library's two strengths let nearly the same share arrive, 70 and 66 %: the two rows of the table
# differ little in this.
#
# After every hundred edits every fifth fact so far is asked. A fact is *held* if the model, writing
# freely, begins with its new answer. After every batch the perplexity of the first quarter of the held-out
# text is measured. All six editors write the stream twice: in the order of its file, and shuffled (asked at
# the end only).
#
# These runs are long, so their rows are stored. MEMIT with and without kept keys and AlphaEdit write their
# first two batches again below, in the file's order, and are then asked 20 facts. The cell prints what it
# finds and what is stored, and stops where the two perplexities are more than 0.05 apart. The later
# batches, the three other editors and the shuffled order are not repeated.
#
# **Predict.** Which of the six still hold the facts at the end? And in which has the perplexity risen?
#
# <details><summary>Answer</summary>
#
# The two of the table that keep the keys hold nine facts of ten, the others fewer. The perplexity
# rose by less than a quarter for the four of the table, in both orders. With $\lambda = 30$ it rose by
# about a half, and with kept keys it nearly doubled there.
#
# </details>

# %%
asks = "Beside kept keys, how many points do projector and weight add, over both orders?"
beside = guess(asks, -100, 100)
runs = {"06_stream": runs_06.STREAM, "06_shuffled": runs_06.SHUFFLED}
runs |= {"06_weights": runs_06.WEIGHTS, "06_weights_shuffled": runs_06.WEIGHTS_SHUFFLED}
rows, shuffled, *weights = (
    long_runs.stored(file, settings, partial(runs_06.rows, lm, settings))
    for file, settings in runs.items()
)
for row in sum(weights, rows + shuffled):  # a stored name, and what the page calls it
    row["line"] = row["line"].replace("projector only", "nothing kept")

# %%
cases = [lib.Case(lib.Fact(**fact)) for fact in rows[0]["facts"]][: 4 if SCALE == "tiny" else 100]
live = runs_06.Stream(lm, cases, len(cases) // 2)  # two batches
for line in ("MEMIT", "MEMIT, kept keys", "AlphaEdit"):
    own = [row for row in rows if row["line"] == line]
    made = long_runs.repeats(own, partial(live.line, line), ["perplexity"], tolerance=0.05)
    for now, row in zip(made, own[: len(made)], strict=True):
        print(f"{line}, {now['edits']} edits: perplexity {now['perplexity']:.3f}", end=", ")
        print(f"stored {row['perplexity']:.3f}")
    if "held" in now:  # not at the scale "tiny"
        print(f"  facts held: {percent(now['held'])} %, stored {percent(row['held'])} %")

# %%
last, again = ({row["line"]: row for row in some} for some in (rows, shuffled))  # after all edits
table = {}
for order, end in {"file's order": last, "shuffled": again}.items():
    table[order, "held (%)"] = {line: percent(row["held"]) for line, row in end.items()}
    words = {line: row["perplexity"] / rows[0]["perplexity"] for line, row in end.items()}
    table[order, "perplexity"] = {line: f"{x:.2f}" for line, x in words.items()}
print(
    f"after {rows[-1]['edits']} edits: {len(rows[-1]['held'])} facts asked, and the perplexity of"
)
print(f"one text as a multiple of the unedited model's, {rows[0]['perplexity']:.1f}")
print(pd.DataFrame(table).fillna("–").to_string())
panels = {"λ = 1000, or L₂ = 10": {}, "λ = 30": {}}
for row in rows[1:]:
    if row["line"] in last and "held" in row:  # every hundred edits
        panel = panels["λ = 30" if "λ = 30" in row["line"] else "λ = 1000, or L₂ = 10"]
        points = mean(row["held"]), *interval(row["held"])
        line = panel.setdefault(row["line"].replace(", λ = 30", ""), {})
        line[row["edits"]] = tuple(100 * x for x in points)
drawings_06.held(panels)


# %%
def apart(one, other, n=0, what="held"):  # in points, paired over facts, with a 95 % interval
    return "{:+.{n}f} ({:+.{n}f} to {:+.{n}f})".format(*gap(one[what], other[what]), n=n)


def over(one, other, *keys):  # each fact's mean over the two orders
    def both(line, key):
        return [mean(two) for two in zip(one[line][key], other[line][key], strict=True)]

    return {line: {key: both(line, key) for key in keys} for line in one if line in other}


pairs = [
    ("MEMIT, kept keys", "MEMIT"), ("AlphaEdit", "AlphaEdit, nothing kept"),
    ("AlphaEdit, nothing kept", "MEMIT"), ("MEMIT, kept keys", "AlphaEdit, nothing kept"),
    ("AlphaEdit", "MEMIT, kept keys"), ("MEMIT, λ = 30", "MEMIT"),
    ("MEMIT, λ = 30, kept keys", "MEMIT, λ = 30"),
    ("MEMIT, λ = 30, kept keys", "MEMIT, kept keys"),
]  # fmt: skip
mixed = over(last, again, "held")
table = {}
for order, end, n in ("file's order", last, 0), ("shuffled", again, 0), ("both", mixed, 1):
    table[order] = {f"{one} less {other}": apart(end[one], end[other], n) for one, other in pairs}
print("facts held, differences in points")
print(pd.DataFrame(table).to_string(), end="\n\n")
beside.against(gap(mixed["AlphaEdit"]["held"], mixed["MEMIT, kept keys"]["held"])[0])

# %% [markdown]
# The numbers in brackets are 95 % intervals over the 100 facts that were asked; both orders have the same
# 100. In the column *both* each fact counts with its mean over the two orders. Of the 16 intervals in the
# first two columns about one would exclude 0 by chance, even if no editor differed from another. The figure
# has the file's order, its points set a little apart; the first ones are over only 20 facts. The
# perplexity has an interval only in the next section. The part that was repeated came out as stored.
#
# **It is the kept keys, in both orders.** They add 13 to 22 points to MEMIT and to AlphaEdit, and none of
# these four intervals includes 0. Over both orders MEMIT with kept keys holds 16.5 points (9.3 to 23.8) more
# than AlphaEdit with nothing kept. (These are facts that the model says at the end. One that it does not say
# may never have been written.)
#
# Beside kept keys the projector and its weight together add nothing that these facts show, in either
# order: over both it is −0.5 points (−6.0 to 5.1). Without kept keys they add 9 points in the file's order
# (4 to 16), 0 in the shuffled one (−7 to 7), and 4.5 over both (−0.5 to 9.7): whether they add anything
# there is open.
#
# **After 500 edits kept keys do not make up for a small $\lambda$.** With $\lambda = 30$ more of a residual
# arrives, 95 % in place of 70 % for one subject in one layer. Yet over both orders MEMIT holds 29.5 points
# fewer facts (22.1 to 36.8). Kept keys add 27.5 points to it (19.2 to 35.9), and still leave it 23.0 points
# (15.8 to 30.7) below kept keys with $\lambda = 1000$. In the figure this last gap opens late in the stream.

# %%
prompts = "The Eiffel Tower is in …", "The Louvre is in …", "The opposite of hot is …"  # shortened
said = {line: [" ".join(text.split()) for text in row["says"]] for line, row in last.items()}
pd.DataFrame(said, index=prompts).T

# %% [markdown]
# These are answers after the last batch, in the file's order. The Eiffel Tower was the first fact of
# all. Five of the six editors still answer with Rome, which counts as held even where it goes on as
# “Rome-Benalmère”. MEMIT with $\lambda = 30$ has moved the tower to Los Angeles. The same editor with kept
# keys answers 1800 for the opposite of *hot*. Three prompts are examples and no measurement.
#
# ## Projector or weight?
#
# AlphaEdit replaces the weight $\lambda C$ by $L_2 I$, and it projects. The seventh editor has the new
# weight alone: it is AlphaEdit with $P = I$, so it keeps keys, has the same $L_2 = 10$, and may write in
# every direction. It and the four of the table write the first 400 facts, again in two orders (stored rows,
# not repeated here). In the file's order the four repeat what they did in the figure above up to 400 edits;
# the shuffled order is new.
#
# At the end every fifth fact is asked, and for each but the Eiffel Tower one question of CounterFact about
# another subject, a *neighbor*. Does the answer begin as the unedited model's, with the same eight tokens
# (fewer where its first sentence is shorter)? The held-out text is read in its 26 whole windows of 64
# tokens. **Predict.** Does the projector or the new weight change any of the three?


# %%
def change(one, other, key):  # in points, of the perplexity in %; paired, with a 95 % interval
    if key != "losses":
        return gap(one[key], other[key])
    less = torch.tensor(one[key]) - torch.tensor(other[key])
    return [100 * math.expm1(x) for x in (less.mean(), *interval(less, None))]


form, ends = "{:+.1f} ({:+.1f} to {:+.1f})", [{x["line"]: x for x in some} for some in weights]
unedited, what = ends[0]["unedited"], ("held", "neighbors", "losses")
orders = {"file's order": ends[0], "shuffled": ends[1], "both": over(*ends, *what)}
counts = weights[0][-1]["edits"], *(len(unedited[key]) for key in what)
print("{} edits; {} facts, {} neighbors, and {} windows of text".format(*counts))
alone, memit = "no projector, L₂, kept keys", "MEMIT, kept keys"
pairs = [(alone, memit), ("AlphaEdit", alone), ("AlphaEdit", memit), (memit, "MEMIT")]
pairs, found = [*pairs, ("AlphaEdit", "AlphaEdit, nothing kept")], {}
for order, end in orders.items():
    cells = {x: [percent(row[key]) for key in what[:2]] for x, row in end.items()}
    table = {x: [*two, form.format(*change(end[x], unedited, what[2]))] for x, two in cells.items()}
    if order != "both":
        names = ["held (%)", "neighbors as before (%)", "perplexity, more than before (%)"]
        print(f"\n{order}\n{pd.DataFrame(table, names).T.to_string()}")
    found[order] = [[change(end[a], end[b], key) for a, b in pairs] for key in what]

# %%
names = [f"{one}\nless {other}" for one, other in pairs]
titles = ["facts held (points)", "neighbors as before (points)", "perplexity (%)"]
print("both orders, differences with 95 % intervals")
shown = {
    title: [form.format(*x) for x in some]
    for title, some in zip(titles, found["both"], strict=True)
}
print(pd.DataFrame(shown, [name.replace("\n", " ") for name in names]).to_string())
print("\nin one order, of 30 intervals, those that do not include 0:")
for order in list(orders)[:2]:
    for title, some in zip(titles, found[order], strict=True):
        for name, (mid, low, high) in zip(names, some, strict=True):
            if low > 0 or high < 0:
                short = name.replace("\n", " ")
                print(f"  {order}, {short}: {title}", form.format(mid, low, high))
figures.whiskers(names, dict(zip(titles, found["both"], strict=True)), "difference, both orders")

# %% [markdown]
# **Beside kept keys neither of the two is seen to matter, in either order.** The three editors with kept
# keys hold 91 to 94 % of the facts asked. Over both orders the new weight in place of $\lambda C$ changes
# this by 0.6 points (−3.6 to 5.2), and the projector on top of it by −1.2 (−6.0 to 2.7). The new weight
# changes the perplexity by 0.0 % (−2.1 to 2.1), and the projector by −1.2 % (−3.5 to 0.9). For neighbors no
# difference is seen either, and in a single order no such interval excludes 0. Differences within the
# intervals are not excluded.
#
# **Kept keys add facts, and are not seen to spare anything else.** Over both orders they add 15.0 points
# (8.7 to 21.9) to MEMIT and 11.2 (5.3 to 17.4) to AlphaEdit. With any of the five editors only 5 to 13 % of
# the neighbors' answers begin as before. By kept keys this share changes by 0.0 points in MEMIT (−4.6 to
# 4.8) and by 0.6 in AlphaEdit (−2.6 to 4.3). The perplexity becomes, if anything, a little higher: by 1.2 %
# in MEMIT (0.0 to 2.5), and by 1.0 % in AlphaEdit (−0.3 to 2.4).
#
# Eight equal tokens are a strict measure, and an answer that changed may have been wrong before. The windows
# come from a few short passages, so the intervals of the perplexity are probably too narrow.
#
# ## What we know now
#
# * With kept keys batch after batch equals one batch, on paper and in the made-up pairs. In the model,
#   with the library's strengths, 90 to 92 % of the facts asked are held after 500 edits with kept keys,
#   with a projector or without, in both orders. Without kept keys it is 68 to 77 %.
# * After 500 edits kept keys do not make up for a small $\lambda$. With the library's strengths they were
#   not seen to spare neighbors or text: after 400, at most 13 % of the neighbors' answers begin as before.
# * No direction of the layer that we looked at is free of text. A threshold bounds the damage only on the
#   text that $C$ was estimated from, and of other text more lies inside: 59 and 63 % in place of 48 %.
#   Beside kept keys neither the projector nor the weight $L_2$ was seen to add facts, or to spare neighbors
#   or text, in either of two orders.
#
# ## Where it breaks
#
# In the real layer no direction is free of text, so every change does some damage. How far does one insert
# reach? We number the subjects of the classroom from 0 and write each odd one alone. Kept keys are those of
# the even ones. How much lands on five groups of keys: those of the three texts, of the even subjects, and
# of the other odd ones? We take the root mean square over such keys, in percent of what arrives at the
# subject's own key. The table has the mean over the odd subjects.
#
# **Predict.** On which of the five does less land with kept keys? And does the projector spare text that
# $C$ has not seen?

# %%
odd, even = subjects[:, 1::2], subjects[:, ::2]
ways = {
    "MEMIT": lambda k: memory.reach(k, general, 1000.0),
    "MEMIT, kept keys": lambda k: memory.reach(k, general, 1000.0, even),
    "no projector, L₂, kept keys": lambda k: memory.reach(k, None, 10.0, even),
    "AlphaEdit": lambda k: memory.reach_null(k, space.Q, 10.0, even),
}
lands = {}
for way, solve in ways.items():
    B = torch.cat([solve(k[:, None]) for k in odd.T])  # (n, d_in)
    shares = B / (B * odd.T).sum(1)[:, None]  # of what arrives at the own key
    squares = {name: (shares @ C * shares).sum(1) for name, C in texts.items()}
    squares["even subjects"] = (shares @ even).pow(2).mean(1)
    squares["other odd ones"] = (shares @ odd).fill_diagonal_(0).pow(2).sum(1) / (odd.shape[1] - 1)
    lands[way] = {where: 100 * x.sqrt() for where, x in squares.items()}  # in %

# %%
means = {way: {where: x.mean() for where, x in roots.items()} for way, roots in lands.items()}
print(f"what lands elsewhere, in %, {odd.shape[1]} odd subjects, each written alone")
print(pd.DataFrame(means).astype(float).T.round(2).to_string())
print("\ndifferences, subject by subject, with 95 % intervals over the odd subjects")
for one, other, places in (
    ("MEMIT, kept keys", "MEMIT", lands["MEMIT"]),
    ("AlphaEdit", "no projector, L₂, kept keys", texts),
    ("AlphaEdit", "MEMIT, kept keys", texts),
):
    for where in places:
        less = lands[one][where] - lands[other][where]
        gained = "{:+.2f} ({:+.2f} to {:+.2f})".format(less.mean(), *interval(less, None))
        print(f"  {one} less {other}, on {where}: {gained}")

# %% [markdown]
# Kept keys bring what lands on the even subjects from 8.66 % down to 4.06 %, subject by subject 4.60 points
# less (4.16 to 5.06). On the other odd subjects, whose keys were not given to the solver, only 0.90 points
# less land (0.73 to 1.08). No text is seen to be spared: 0.14 points more land on the text of $C$ (0.12 to
# 0.17), 0.13 on the rest of its file (0.10 to 0.15), and no difference is seen on held-out text.
#
# **The projector spares above all the text that it was made from.** With it 0.66 points less land there
# than with the same $L_2$ and no projector (0.52 to 0.82), on the rest of the file 0.33 (0.24 to 0.45),
# and on held-out text not less but 0.06 more (0.00 to 0.12).
#
# MEMIT's $\lambda C$, too, spares its own text most. With kept keys it lets 0.61 points less land there than
# AlphaEdit (0.45 to 0.78), and 0.11 less on held-out text (0.04 to 0.19), where all four editors let 4.3 or
# 4.4 % land. This is one layer, and the intervals are over subjects, while each text is a single sample.
#
# **Damage is never zero: why?** Because keys overlap. A kept key is only weighed against the new pair, and
# a key that we do not know cannot be kept. How many keys can a layer tell apart? [Notebook
# 07](07_superposition.ipynb) counts.
#
# ## References
#
# * Fang, Jiang, Wang, Ma et al.: *AlphaEdit: Null-Space Constrained Knowledge Editing for Language
#   Models*, 2025, [arXiv:2410.02355](https://arxiv.org/abs/2410.02355).
# * Ma, Wang, Xu et al.: *Perturbation-Restrained Sequential Model Editing*, 2025,
#   [arXiv:2405.16821](https://arxiv.org/abs/2405.16821): PRUNE damps large singular values of a change.
# * Gu, Xu, Ma et al.: *Model Editing Harms General Abilities of Large Language Models*, 2024,
#   [arXiv:2401.04700](https://arxiv.org/abs/2401.04700): RECT sets small relative changes to zero. Both
#   are compared in [RESULTS](../tests/benchmarks/RESULTS.md#500-facts-in-batches-of-50).
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): CounterFact.
