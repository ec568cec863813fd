# %% [markdown]
# <!-- badge -->
#
# # 14 · Lifelong: all on one stream
#
# Thirteen notebooks, some two dozen editors, and each was shown where it is strong. Which of all
# these should you use? Here every one of them writes the same facts, in the same order, and is
# asked the same questions after every turn. At the end stand eight lines of advice.
#
# **You will** count what a raster shows · see every editor on one stream · write the interval that
# tells which of their differences five more streams support · find the one edit that killed ROME ·
# read the answers, pay the bill, and choose.
#
# **Needs** notebooks [04](04_rome.ipynb) to [13](13_lemoe.ipynb), of each its main idea.
#
# **Minutes** 20 to read and 20 to work: two exercises of [session 8](../lessons/session_8.md).
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
import pandas as pd
import torch

from lib.data.facts import lookup  # a fact's prompt in tokens, and where its subject ends
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.workbench.plot.style import SEQUENTIAL
from notebooks.support import drawings_14, figures, five_streams, long_runs, models, which_editor
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.five_streams import MORE, STREAMS
from notebooks.support.holes import guess, use
from notebooks.support.runs_14_lifelong import COLUMNS, FAMILIES, STREAM

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts

# %% [markdown]
# ## What "retention" counts
#
# A **stream** is a sequence of $T$ turns of a few facts each, and a model that is edited in each
# turn. We want to know two things at its end: how many facts were ever written, and how many are
# still there. One number cannot say both. So after each turn $t$ every fact $i$ written so far is
# asked, and $a_{it} = 1$ if the answer is the new one, otherwise 0. This table of zeros and ones is
# called a **raster**: one row per fact, one column per turn. What comes out are three shares.
# *Written* (the literature says efficacy) counts each fact right after its own turn $t_i$, *held*
# (retention) is the last column, and *forgotten* counts what was written and is gone at the end:
#
# $$\frac1n\sum_i a_{i t_i}, \qquad \frac1n\sum_i a_{iT}, \qquad
# \frac1n\sum_i a_{i t_i}\,(1 - a_{iT}) .$$
#
# (A fact that a later edit contradicts on purpose would have to be left out of all three. In our
# streams there is none.)
#
# **Your turn · exercise 8.3 · ★★ · 7 minutes.** Write `shares`, from a raster that is given as one
# text per turn. Everything that this page counts as written, held or forgotten is counted by it.


# %%
def shares(texts):
    """["101", "101110", …]: after each turn, "1" for each fact so far that is right.

    Returns three shares of all facts: written, held, forgotten.
    """
    ...


shares = use("8.3", shares)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which characters of a turn's text belong to the facts of this turn?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def shares(texts):
#     starts = [0, *map(len, texts)]
#     first = "".join(text[start:] for start, text in zip(starts, texts))
#     last, n = texts[-1], len(texts[-1])
#     lost = sum(a == "1" and b == "0" for a, b in zip(first, last))
#     return first.count("1") / n, last.count("1") / n, lost / n
# ```
#
# </details>
#
# **Predict.** An editor writes every fact, and each later turn ruins a tenth of what is there.
# What is held after 6 turns? After 60?
#
# <details><summary>Work it out</summary>
#
# A fact of turn $t$ survives $T - t$ later turns with a chance of $0.9^{T-t}$. The mean over the
# turns is $(1 - 0.9^T)/(0.1\,T)$. The survivors are mostly the newest facts, so what is lost makes
# a triangle in the raster, at its top right.
#
# </details>

# %%
draw = torch.Generator().manual_seed(0)
for T in (6, 60):
    texts, alive = [], torch.zeros(0, dtype=torch.bool)
    for _ in range(T):  # a hundred facts a turn, so that chance plays little part
        alive = torch.cat(
            [alive & (torch.rand(len(alive), generator=draw) < 0.9), alive.new_ones(100)]
        )
        texts.append("".join("01"[a] for a in alive.tolist()))
    _, held, _ = shares(texts)
    print(f"{T} turns: held {held:.0%}, expected {(1 - 0.9**T) / (0.1 * T):.0%}")

# %% [markdown]
# The same editor holds most facts of a short stream, and few of a long one. So a share of facts
# held means nothing without the length of the stream.
#
# ## One stream for everybody
#
# The first stream (a stored run): the Eiffel Tower, then 23 facts of the classroom, in turns of four.
# The 23 have odd numbers, as the library was tuned on even ones. Seed 0 was chosen for
# one fact in its middle that promised an accident. Five streams that nobody chose follow below. The
# editors, by family:
#
# * **Searches** for a value: ROME in two forms, *published* (notebook 04's mixed keys) and *both keys*;
#   MEMIT with kept keys; AlphaEdit, norm anchor, EMMET, RECT, PRUNE, WilKE and, new here, **PMET**,
#   which searches the outputs of attention and MLP together and writes the MLP's part alone.
# * **Gradients** without a search: UltraEdit, MEND, MALMEN, RLEdit.
# * **Fine-tuning**: plain; FT-L, which keeps weights in a small box around their old values; FT-M,
#   with a smaller learning rate and without the token that ends a text; CrispEdit; LoRA.
# * **Memories** beside the model: GRACE, HoReN, WISE, LEMoE and, new here, **MEMOIR**: similar
#   prompts have similar fingerprints, which name the columns of a side memory that are read.
# * **Retrieval** edits nothing. It puts the nearest written fact before the prompt as a note. An
#   editor that cannot do better needs a reason to be used at all.
#
# All have the library's settings, but for ROME (one sampled context instead of four), MEMIT, and WISE
# (an earlier preset). So lines inside a family differ in more than their method.
#
# Everything is judged by free **generation**: the model's text has to begin with the answer, and
# unrelated texts have to go on as the base model's for eight tokens. The first turn of two editors
# is run here and compared with the stored rows.

# %%
rows = long_runs.stored("14_streams", STREAM, lambda: runs_14.every(lm))
lines = {name: [row for row in rows if row["line"] == name] for name in STREAM["lines"]}
print(f"{len(lines)} editors on {STREAM['edits']} facts")
for name in ("GRACE", "UltraEdit"):
    long_runs.repeats(
        lines[name],
        lambda name=name: runs_14.line(lm, name, edits=4),
        ["edits", "right", "says", "next"],
    )
    print(f"{name}: the first {STREAM['batch']} edits, made again here")

# %% [markdown]
# Retention of one half can be two things: half of the facts were never written, or all were written
# and half are gone. The raster tells them apart.
#
# **Predict.** What does each look like in a raster? And an edit that destroys the model?
#
# <details><summary>Work it out</summary>
#
# Never written: a row that is dark from its beginning. Forgotten: a row that turns dark on its way,
# and if old facts go first, a dark triangle. A model destroyed at turn $t$: from column $t$ on all
# is dark.
#
# </details>

# %%
for name, own in lines.items():
    written, held, forgotten = shares([row["right"] for row in own])
    scores = own[-1]["scores"]  # the library's own count
    assert abs(written - scores["efficacy"]["generation"]) < 1e-4
    assert abs(held - scores["retention"]["generation"]) < 1e-4
    if forgotten or written < 1:
        print(f"{name}: written {written:.0%}, held {held:.0%}, forgotten {forgotten:.0%}")
some = ("retrieval", "UltraEdit", "ROME, published", "MALMEN")
rights = {name: [row["right"] for row in lines[name]] for name in some}
x = [row["edits"] for row in lines["retrieval"]]
figures.rasters(x, rights, "edits so far", "number of the edit", columns=2)

# %% [markdown]
# Each column is one turn: what is drawn between 12 and 16 is the state after 16 edits. Retrieval has
# one dark row, the first: the note before the prompt never convinced the model that the tower is in
# Rome. UltraEdit never says one fact of its second turn, and loses two later. In ROME's raster four
# facts turn dark in the fourth turn, two more in the fifth, and all else stays, also what is
# written afterwards. That looks like one event and not like wear. MALMEN loses facts of all ages
# from the third turn on, and in the last two columns not even what was just written is there, as in
# a model destroyed. PMET, not drawn, holds more than it wrote: a fact may be answered only after a
# later turn. All editors that are not printed wrote everything and hold it.
#
# ## The impossible triangle
#
# Facts held, rewordings followed, everything else left alone: in notebook 12 no editor had all
# three. To see who comes nearest we put two numbers on each editor, from the end of this
# stream. *Quality* is the mean of facts held and rewordings followed. *Damage* is the mean share of
# neighbors and unrelated texts whose answers have changed. The best place is at the top left. The
# thin lines are 95 % intervals over the 24 facts, in both directions.


# %%
def cell(values):  # mean and interval over facts, in percent
    return tuple(100 * x for x in (sum(values) / len(values), *interval(values)))


def answers(row, column):  # one share per fact, in a row at the end; asked once, it is what is held
    return row["cases"].get(COLUMNS[column], row["cases"]["efficacy"])["generation"]


last = {row["line"]: row for row in rows if "cases" in row}  # {editor: its row at the end}
by_fact = {name: {one: answers(row, one) for one in COLUMNS} for name, row in last.items()}
points = {}
for name, of in by_fact.items():
    quality = [(a + b) / 2 for a, b in zip(of["held"], of["reworded"], strict=True)]
    kept = [(a + b) / 2 for a, b in zip(of["neighbors"], of["unrelated"], strict=True)]
    points[name] = cell([1 - share for share in kept]), cell(quality)
drawings_14.quality_and_damage(points, FAMILIES)

# %% [markdown]
# In this picture retrieval and most of the searches stand nearest to that corner, each with wide
# intervals. But it has merged four numbers into two, and what it merges is unlike: a neighbor
# counts by its answer, an unrelated text by eight tokens, word for word, which is harder to keep.
#
# **Predict.** Which of the four does each family lose: searches, gradients, fine-tuning, memories,
# retrieval?
#
# <details><summary>Answer</summary>
#
# What each loses most: most searches unrelated texts, most fine-tuning neighbors, memories rewordings
# (GRACE), neighbors (WISE, MEMOIR) or both (HoReN, LEMoE). MEND and MALMEN lose everything, UltraEdit
# rewordings, RLEdit what should stay. Retrieval loses a third of the rewordings and little else.
#
# </details>

# %%
several = "base", *STREAMS["lines"], *MORE["lines"]  # the five streams below are theirs, too
cells = {
    (family, name if name in several else f"{name} *", column): cell(values)
    for family in FAMILIES
    for name in FAMILIES[family]
    for column, values in by_fact[name].items()
}
said = {key: "{:.0f} [{:.0f}, {:.0f}]".format(*found) for key, found in cells.items()}
shade = pd.Series({key: mean for key, (mean, _, _) in cells.items()}).unstack(sort=False)
table = pd.Series(said).unstack(sort=False)
table.style.background_gradient(SEQUENTIAL, gmap=shade, axis=None, vmin=0, vmax=100)

# %% [markdown]
# Each cell is a share in percent with its 95 % interval over the 24 facts; here dark is high. A star
# marks the twelve editors that have run this one stream and no other: no advice below rests on them.
# What the table shows of *this* stream, unpaired:
#
# * **Searches** hold nearly everything, published ROME aside, and change a fifth to two fifths of the
#   unrelated texts (ROME most of them).
# * **Gradients**: UltraEdit moves no unrelated text and follows hardly a rewording. RLEdit follows
#   rewordings and changes nearly all unrelated texts. MEND and MALMEN hold nothing.
# * **Fine-tuning** changes about two of three neighbors, but FT-L writes hardly anything at all.
# * **Memories** move no unrelated text. All but GRACE change about every second neighbor.
# * **Retrieval** lacks little but rewordings. (Its price: longer prompts, and a note anybody can read.)
#
# Which differences would other streams show, too?
#
# ## Five more streams
#
# An edit that breaks the model breaks it for all 24 facts at once. So for a statement about streams
# the *stream* is the observation. Here are five more (a stored run), drawn with seeds 1 to 5, of all
# thirteen editors without a star, WISE with its present preset. The tower, which comes first again,
# was not drawn: it is left out of all scores, and 23 facts a stream remain.
#
# Facts are easy or hard for both editors. So for each stream $j$ we take the mean $x_j$ of
# the differences fact by fact, from which what both share drops out. From $m$ streams we want a
# 95 % interval for the mean over all streams that could have been drawn. Each stream is drawn anew
# from the same facts, so the $x_j$ are independent, and their mean has the variance $\sigma^2/m$,
# with $\sigma^2$ estimated from the same $m$ numbers. For this case Student gave
#
# $$\bar x \pm t_{m-1}\,\frac{s}{\sqrt m}, \qquad s^2 = \frac1{m-1}\sum_j (x_j - \bar x)^2 .$$
#
# With $m = 5$ the factor $t_{m-1}$ is 2.776 instead of the usual 1.96, as $s$ itself is known badly.
#
# **Your turn · exercise 8.4 · ★★ · 8 minutes.** Write `paired`: the mean difference of two editors
# over streams, and the ends of its interval. All that this page says about two editors uses it.


# %%
def paired(a, b, t):
    """Lists with a tensor (n,) per stream, Student's factor -> mean of a − b, low, high."""
    ...


paired = use("8.4", paired)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many observations are there, the streams or all of their facts?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def paired(a, b, t):
#     x = torch.stack([(one - other).mean() for one, other in zip(a, b)])
#     half = t * x.std() / len(x) ** 0.5
#     return x.mean(), x.mean() - half, x.mean() + half
# ```
#
# </details>
#
# Where all five means agree, $s = 0$, and Student's interval would claim to know the mean exactly.
# So `ahead` takes at each end whichever reaches further, this interval or the one that treats all
# facts of the five streams as independent. [Notebook 15](15_judging.ipynb) tries by simulation how
# far that can be trusted.
#
# **Predict.** MEMIT writes into the weights, retrieval does not. By how many points does retrieval
# keep more neighbors, in the mean of five streams?

# %%
neighbors = guess("By how many points does retrieval keep more neighbors than MEMIT?", -100, 100)


# %%
def ahead(values, name, other):  # in points: the mean of each stream, then mean, low, high of all
    a, b = ([torch.tensor(one).double() for one in values[n]] for n in (name, other))
    mean, low, high = paired(a, b, t=2.776)
    gaps = [(one - two) for one, two in zip(a, b, strict=True)]
    wide = interval(torch.cat(gaps).tolist(), DIFFERENCE)  # all facts as independent
    ends = max(min(float(low), wide[0]), -1.0), min(max(float(high), wide[1]), 1.0)
    return [100 * float(gap.mean()) for gap in gaps], *(100 * float(end) for end in (mean, *ends))


more = []
for run, of in {"14_orders": STREAMS, "14_orders_more": MORE}.items():
    more += long_runs.stored(run, of, lambda run=run, of=of: five_streams.every(lm, run, of))
asked, found = ("held", "reworded", "neighbors", "unrelated"), {}
streams = {column: {} for column in asked}
for column, values in streams.items():  # {editor: its five streams, one value per fact}
    for row in sorted(more, key=lambda row: row["seed"]):
        values.setdefault(row["line"], []).append(answers(row, column)[1:])  # without the tower
    for other in sum(FAMILIES.values(), []):  # the unedited model first, then by family
        if other in values and other != "retrieval":
            found[other, column] = ahead(values, "retrieval", other)
neighbors.against(found["MEMIT", "neighbors"][1])
said = {key: "{:+.0f} [{:+.0f}, {:+.0f}]".format(*gap) for key, (_, *gap) in found.items()}
print("points by which retrieval is ahead: mean and 95 % interval, 5 streams of 23 facts each")
print(pd.Series(said).unstack(sort=False)[list(asked)].to_string())
drawings_14.streams(found, FAMILIES)

# %% [markdown]
# The twelve other editors, each against retrieval, in the differences whose interval is clear of 0
# (five streams of 23 facts; the unedited model, `base`, stands there for comparison):
#
# * All but GRACE lose **neighbors**: MEMIT 13 points, UltraEdit and LEMoE 36 and 43, MEMOIR and
#   FT-M 55 and 58, and the other six from 71 to 97.
# * MEMIT, fine-tuning, FT-M, WISE, MEMOIR and RLEdit follow *more* **rewordings**; LEMoE,
#   UltraEdit, GRACE, ROME, MEND and MALMEN follow fewer. (MEMOIR's lead may be 1 point only, and
#   RLEdit's next to nothing.)
# * MEMIT, RLEdit, fine-tuning, FT-M, ROME, MEND and MALMEN change more **unrelated** texts; for the
#   others this is not shown.
# * RLEdit, ROME, MEND and MALMEN **hold** fewer facts. That any editor holds more is not shown.
#
# So rewordings are the only column in which an editor is shown to be ahead of retrieval, and all
# six that are lose neighbors. (Each interval is made for one difference. Of 48, two or three may
# miss the truth by chance.) Two editors are compared in the same way:

# %%
said, pairs = {}, {"MEMIT": ["ROME, published", "UltraEdit", "LEMoE", "FT-M"]}
pairs |= {"UltraEdit": ["LEMoE"], "FT-M": ["fine-tuning"], "MEMOIR": ["GRACE", "WISE"]}
for name, other in ((one, two) for one, others in pairs.items() for two in others):
    for column in asked:
        _, *gap = ahead(streams[column], name, other)
        said[f"{name} less {other}", column] = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*gap)
print("differences in points: mean and 95 % interval, the same 5 streams of 23 facts each")
print(pd.Series(said).unstack(sort=False).to_string())
said = [f"{sum(map(float, one)) / len(one):.0%}" for one in streams["held"]["ROME, published"]]
print(f"published ROME holds, stream by stream: {', '.join(said)}")

# %% [markdown]
# MEMIT is ahead of published ROME in all four columns, and keeps more neighbors than UltraEdit,
# LEMoE and FT-M. MEMOIR keeps 19 points more of them than WISE (4 to 34); for rewordings no
# difference is seen between these two. LEMoE, a memory, holds 9 points more facts than MEMIT (4 to 15)
# and than UltraEdit (3 to 15), and follows 23 points more rewordings than UltraEdit (17 to 30). An
# order of these last two in neighbors or unrelated texts is not supported.
#
# **Is ROME's fall a matter of the chosen stream?** No: in the other five it changes nearly all
# unrelated texts, too (96 points more than retrieval, 88 to 100). How many facts it still holds
# differs from stream to stream, from 13 to 91 %, so its mean is known only roughly.
#
# ## Who killed ROME?
#
# Back to the first stream. The raster tells the turn. Which edit was it? The harm after the first
# $i$ edits is the mean KL of the next token at the 24 unrelated prompts, in nats; it is 0 for the
# base model. Call the model lost once the harm is above 0.1, and suppose that it stays so. (This
# limit was set after seeing the stored harms.) Every question costs a run of the model, so do not
# ask after each edit: you know a number of edits with little harm and one with much, and ask in the
# middle between them. (Here a stored run has all the answers.)

# %%
culprit = guess("Which of the 24 edits killed published ROME?", 1, 24)

# %%
each = lines["ROME, published"][-1]["each"]  # what each edit did: harm after it, harm alone, length
harm = [0.0, *each["after"]]
good, bad, tried = 0, len(harm) - 1, []
while bad - good > 1:
    middle = (good + bad) // 2
    tried.append(middle)
    good, bad = (good, middle) if harm[middle] > 0.1 else (middle, bad)
culprit.against(bad)
lengths, alone = ([*each[what]] for what in ("norm", "alone"))
long, much = lengths.pop(bad - 1), alone.pop(bad - 1)  # of the culprit; the lists keep the others
print(f"asked after {tried}; it was edit {bad}")
print(f"harm before it {harm[bad - 1]:.2f}, after it {harm[bad]:.2f}, of it alone {much:.2f} nats")
print(f"‖Δ‖ {long:.0f}; all others {min(lengths):.0f} to {max(lengths):.0f}")
worst, mean = each["alone"].index(max(alone)) + 1, sum(alone) / len(alone)
print(f"each other one alone: mean {mean:.4f}, largest {max(alone):.4f} nats (edit {worst})")
both = lines["ROME, both keys"][-1]["each"]
print(f"with both keys: ‖Δ‖ {both['norm'][bad - 1]:.0f}, alone {both['alone'][bad - 1]:.2f} nats")
print(
    "the fact itself, from its turn on:",
    *(row["right"][bad - 1] for row in lines["ROME, published"] if row["edits"] >= bad),
)

# %% [markdown]
# Five questions instead of 24. What is particular about this edit? Its prompt is printed below. In
# notebook 08 a subject of one token that opens its prompt was an accident, as its key stands in the
# attention sink. So we also print all such subjects of all six streams.

# %%
drawn = {  # {seed: its facts}; 0 is the first stream
    seed: [case.fact for case in runs_14.cases(seed=seed)] for seed in (0, *STREAMS["seeds"])
}
print(f"edit {bad}: {drawn[0][bad - 1].text} …")
for seed, some in drawn.items():
    openers = [str(fact.subject) for fact in some if lookup(lm.tokenizer, fact)[1] == 0]
    print(f"stream {seed}, subjects of one token that open their prompt: {', '.join(openers)}")

# %% [markdown]
# Edit 14 is the one about Darwin, the only such subject of this stream (for which it was chosen).
# Published ROME takes the direction of its update from one key and the length from another. In the
# other 23 edits that did no such harm: alone they cost 0.0008 nats in the mean, and the worst of
# them, edit 21, costs 0.0049. With both keys edit 14 still costs 0.12 nats alone, which is above our
# limit, too. So the mixed keys are not the whole reason. And the fact itself is held until the end:
# whether it was written does not show what it did. Each of the five other streams has at least
# two such subjects. Whether it was they that broke ROME there has not been looked at.
#
# ## Read the answers
#
# Numbers do not say *what* a model answers. The table has the answers to one prompt, about a
# neighbor of the tower which should stay in Paris, after some of the turns.

# %%
look = ("MEMIT", "UltraEdit", "WISE", "ROME, published", "fine-tuning", "MALMEN", "RLEdit")
said = {name: {row["edits"]: row["says"]["neighbor"] for row in lines[name]} for name in look}
print("“… Notre-Dame Cathedral, you have to go to the city of …”, after so many edits:")
pd.DataFrame(said | {"unedited": dict.fromkeys(x, rows[0]["says"]["neighbor"])}).T[[4, 12, 16, 24]]

# %% [markdown]
# MEMIT and UltraEdit answer as they should. WISE is wrong at first and then right. Fine-tuning says
# one word and stops, "Prague" or "Rome". It was trained to end the text there, and "Rome" is the
# tower's new answer, said where nobody edited. ROME repeats the name of the cathedral after its
# fall. MALMEN loses the language on its way, and RLEdit says Rome throughout.
#
# ## The bill
#
# What does a fact cost? The table has, for the thirteen editors of the five streams, CPU seconds per
# edit, the patch as a file, and what unrelated text has paid on the first stream: KL in nats (a mean
# over 24 prompts) and perplexity on a short held-out text that no editor has seen, both without an
# interval. The seconds are of one thread of a machine that others used, for RLEdit of another
# machine, and for WISE of its earlier preset. So they tell orders of magnitude and nothing finer.

# %%
bill = {"unedited": {"perplexity": f"{rows[0]['scores']['perplexity']:#.3g}"}}
for name, own in ((name, own) for name, own in lines.items() if name in several):
    seconds, end = sum(row["cpu"] for row in own) / STREAM["edits"], own[-1]
    bill[name] = {"CPU s per edit": f"{seconds:.2f}", "kB per fact": f"{end['bytes'] / 24e3:,.0f}"}
    lost = f"{end['scores']['perplexity']:#.3g}"
    bill[name] |= {"KL, nats": f"{end['kl']:.3f}", "perplexity": lost}
pd.DataFrame(bill).T[["CPU s per edit", "kB per fact", "KL, nats", "perplexity"]].fillna("–")

# %% [markdown]
# Both searches cost more than two seconds per edit. MEND, MALMEN and RLEdit cost a tenth of a second
# or less, without the training of their networks. As patches, GRACE and published ROME keep about
# 9 kB per fact, and LEMoE's experts are copies of an MLP, one for each turn of four facts. KL and
# perplexity do not always agree: fine-tuning and published ROME change places.
#
# ## Which should you use?
#
# Eight answers, as in the [README](../README.md#which-editor-when), each with the mean of the five
# streams: shares after 24 edits, "follows" of the rewordings.

# %%
which_editor.lines(more)

# %% [markdown]
# In pairs, over the same five streams:
#
# * `memit` follows 38 points more of the rewordings than `retrieval` (25 to 51), and keeps 13
#   points fewer of the neighbors (6 to 21) and 32 fewer of the unrelated texts (17 to 48).
# * `memit` keeps 23 points more of the neighbors than `ultraedit` (8 to 37), and changes 26 points
#   more of the unrelated texts (17 to 35).
# * `memoir` follows 71 points more of the rewordings than `grace` (61 to 81), and keeps 58 points
#   fewer of the neighbors (41 to 75).
# * `retrieval` keeps 55 points more of the neighbors than `memoir` (40 to 70), and follows 18
#   points fewer of the rewordings (1 to 36).
# * `ft_m` keeps 13 points more of the neighbors than plain fine-tuning (5 to 22).
#
# Two lines need a word more. The shares in the line of `rome` are those of the published form. The
# library's `rome` edits this model with both keys. That form has run on the first stream only: it
# holds all facts there and leaves 21 % of the unrelated texts (8 to 40, over its 24 facts). And
# these are streams: what `rome` does with one fact is measured in [notebook 04](04_rome.ipynb),
# `mend` with one and `malmen` with one batch in [notebook 09](09_learning_to_edit.ipynb).
#
# All this is of one model with 135 million weights and of facts of one small set, and "many" means
# 24. Near 0 and 100 % a share may be known less well than its interval says ([notebook
# 15](15_judging.ipynb)). For longer streams and other facts see
# [the arena](../tests/benchmarks/results/arena.md).
#
# ## What we know now
#
# * Retention is the last column of a raster, and what was written is its diagonal. Only both
#   together say whether an editor cannot write or cannot keep.
# * What happens in a stream happens to all of its facts, so the stream is the observation, and two
#   editors are compared on the same streams.
# * On five streams an editor is shown to be ahead of retrieval in rewordings alone, and each of the
#   six that are pays with neighbors. What to choose depends on what may be lost: rewordings,
#   neighbors, unrelated texts, or the weights as they were.
#
# ## Where it breaks
#
# Everything here was judged by free generation. "Held" is 100 % for more than half of the editors,
# of which one sends Notre-Dame to Prague. Would another event have named another winner? And how
# often does an interval from five streams contain the truth? **Are these scores honest?** That is
# [notebook 15](15_judging.ipynb).
#
# ## References
#
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768) (the impossible
#   triangle).
# * Wang et al.: *MEMOIR*, 2025, [arXiv:2506.07899](https://arxiv.org/abs/2506.07899).
# * *Fine-tuning Done Right in Model Editing*, 2025,
#   [arXiv:2509.22072](https://arxiv.org/abs/2509.22072).
# * Gupta, Rao, Anumanchipalli: *Model Editing at Scale leads to Gradual and Catastrophic
#   Forgetting*, 2024, [arXiv:2401.07453](https://arxiv.org/abs/2401.07453).
