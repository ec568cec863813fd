# %% [markdown]
# <!-- badge -->
#
# # 14 · Which editor should you use?
#
# Each earlier page showed the strengths of one editor. Here all of them write the same facts, in the same order, and
# are tested on the same questions. At the end you will find a table of advice, and an answer for one product.
#
# **You will** choose an editor before seeing a number · count what a stream of edits has written, held and forgotten
# · find the edit that broke a stream · write the test showing which differences are more than luck · set the price of a
# changed neighbor and watch the winner change.
#
# **Needs** notebooks [04](04_rome.ipynb) to [13](13_lemoe.ipynb), the main idea of each.
#
# **Minutes** 20 to read and 25 to work: two exercises of [session 8](../lessons/session_8.md).
#
# Run the folded cell below first.

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
import time
from collections import Counter

import torch

import lib
from lib.workbench import plot
from notebooks.support import (
    drawings_14,
    figures,
    long_runs,
    models,
    moved,
    own_fact,
    show,
    which_editor,
)
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.holes import both, guess, use
from notebooks.support.runs_14_lifelong import EDITS, FAMILIES, TURN
from notebooks.support.score_tables import STUDENT, by_stream, detects, may_be_best
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
mine = own_fact.read()

# %% [markdown]
# ## Your choice, before seeing any number
#
# A small model answers questions in a product. A dozen facts have to be changed, a few every week. Customers word
# their questions as they like, so **rewordings should follow**. The model's answers about **neighbors**, other
# subjects in the same sentence, and about **unrelated** things should stay unchanged. Prepending a note to the prompt
# is not allowed.
#
# The editors are listed below by family: searches, gradients, fine-tuning, and editors leaving the weights unchanged.
# Editors not shown on any earlier page are described in [the map](reference/map.md), with one line each. Three of
# them matter below: the **norm anchor** is MEMIT with values that keep their original length, **MEMOIR** has a second
# matrix in which similar prompts read similar columns, and **steering** adds one direction to every prompt, which no
# editor of facts should do.
#
# **Retrieval** edits nothing, prepending a stored fact as a note if it fits the prompt. It is the baseline.

# %%
editors = [name for members in FAMILIES.values() for name in members]
number = {name: i for i, name in enumerate(editors, start=1)}
for family, members in FAMILIES.items():
    print(f"{family}: " + ", ".join(f"{number[name]} {name}" for name in members))
choice = guess("Which editor would you take? Its number in the list", 1, len(editors))

# %% [markdown]
# ## What does "held" count?
#
# A **stream** is a sequence of $T$ turns of a few facts each. After each turn $t$, we test every fact $i$ so far,
# setting $a_{it} = 1$ if the answer is the new one, otherwise 0. This table of zeros and ones is a **raster**, with
# one row for each fact and one column for each turn. It gives three proportions. *Written* counts each fact right
# after its own turn $t_i$, so it is the diagonal of the raster. *Held*, or retention, is the last column. *Forgotten*
# counts the facts that were written and are gone at the end:
#
# $$\frac1n\sum_i a_{i t_i}, \qquad \frac1n\sum_i a_{iT}, \qquad
# \frac1n\sum_i a_{i t_i}\,(1 - a_{iT}) .$$
#
# **Your turn · exercise 8.3 · ★★ · 7 minutes.** Write `shares`, using a raster given as one text per turn.


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
# **Predict.** An editor writes every fact, and each later turn ruins a tenth of the facts there are. How many are
# held after 6 turns? After 60?
#
# <details><summary>Work it out</summary>
#
# A fact of turn $t$ survives $T - t$ later turns with a chance of $0.9^{T-t}$. Taking the mean over the turns gives
# $(1 - 0.9^T)/(0.1\,T)$. The survivors are mostly the newest facts.
#
# </details>

# %%
draw = torch.Generator().manual_seed(0)
for T in (6, 60):
    texts, alive = [], torch.zeros(0, dtype=torch.bool)
    for _ in range(T):  # 100 facts a turn, to reduce the effect of chance
        alive = alive & (torch.rand(len(alive), generator=draw) < 0.9)
        alive = torch.cat([alive, alive.new_ones(100)])
        texts.append("".join("01"[a] for a in alive.tolist()))
    for whose, count in both(shares).items():
        print(
            f"{T} turns, {whose}: held {count(texts)[1]:.0%}, expected {(1 - 0.9**T) / (0.1 * T):.0%}"
        )

# %% [markdown]
# **A percentage of facts held means nothing without the length of the stream.**
#
# ## One set of streams for all editors
#
# Each stream begins with the Eiffel Tower. The other facts are drawn, using a separate seed for each stream, from the
# classroom, the library's well-known facts: only from facts with odd numbers, because the presets were tuned on
# the even-numbered facts. The tower is the same in every stream, so we leave it out of all scores. Each turn has four
# facts. All editors use the library's settings, with WISE, LEMoE, UltraEdit and WilKE using the settings of our forms
# (`preset="ours"`; their defaults are the papers' algorithms), and two settings are chosen for streams: ROME uses its
# slower rate, and MEMIT keeps the keys of earlier facts. *ROME, published*, which differs from ROME only in its key,
# has a separate row.
#
# Every answer is judged by free **generation**: the model's text has to begin with the new answer, and for an
# unrelated text it has to match the unedited model's continuation for eight tokens.

# %%
rows = long_runs.rows("14_five")
lines = {name: [row for row in rows if row["line"] == name] for name in ("base", *editors)}
seeds = [row["seed"] for row in lines["base"]]
facts = len(runs_14.values(lines["base"][0], "held"))
print(f"{len(editors)} editors, {len(seeds)} streams of {EDITS} edits, of which {facts} count")
turn = runs_14.cases(EDITS, seeds[0])[:TURN]
patch = lib.EDITORS["grace"](lm).edit([case.fact for case in turn])
again = {"right": runs_14.right(lm, turn, patch)}
long_runs.repeats([{"right": lines["GRACE"][0]["right"][0]}], lambda: [again])
fates = {  # {editor: written, held, forgotten, a mean over the streams}
    name: torch.tensor([shares(row["right"]) for row in lines[name]]).mean(0).tolist()
    for name in editors
}
missed = {}  # {facts that are not held, and in how many streams: editors}
for name in editors:
    lacks = Counter(
        f"{case.fact.subject} → {case.fact.target_new}"
        for row in lines[name]
        for case, value in zip(
            runs_14.cases(EDITS, row["seed"])[1:], runs_14.values(row, "held"), strict=True
        )
        if value < 1
    )
    missed.setdefault(tuple(lacks.items()), []).append(name)
((fact, count),), same = max(
    (pair for pair in missed.items() if len(pair[0]) == 1), key=lambda pair: len(pair[1])
)
print(f"{len(same)} editors miss only {fact}, in {count} streams: {', '.join(same)}")
some = ["UltraEdit", max(fates, key=lambda name: fates[name][2]), "RLEdit", "FT-L"]
x = range(TURN, EDITS + 1, TURN)
rights = {name: lines[name][0]["right"] for name in dict.fromkeys(some)}
figures.rasters(list(x), rights, "edits so far", "number of the edit")

# %% [markdown]
# These rasters show the first stream. **There are two possible reasons for a low percentage held**: facts that were
# never written, whose rows are dark from the beginning, or facts that were written and are gone, whose rows turn dark
# along the way. And equal percentages may be a single fact: the editors in the printed line miss only this one, in all
# streams that drew it.
#
# ## Is the triangle impossible?
#
# A good edit is held, its rewordings follow, and everything else is left unchanged. The fact that no editor reaches
# all three corners has been called the impossible triangle. In the next figure, each dot is a stream, and the bar is
# the mean of the streams. The dotted line is the unedited model.
#
# **Predict.** Which of the columns does each family lose?
#
# <details><summary>Answer</summary>
#
# The searches lose unrelated texts and rewordings, and barely any neighbors. Among the gradients, UltraEdit loses
# almost all rewordings and some neighbors, RLEdit loses neighbors and unrelated texts, and MEND and MALMEN lose
# almost everything. Most of fine-tuning loses neighbors; FT-L barely writes, and synthetic documents lose everything.
# Editors leaving the weights unchanged lose neighbors or rewordings, and with steering everything.
#
# </details>

# %%
shown = {column: runs_14.streams(rows, column) for column in runs_14.COLUMNS}
means = {
    column: {name: [100 * sum(one) / len(one) for one in of[name]] for name in editors}
    for column, of in shown.items()
}
panels = {f"{column} (%)": {"a stream": of} for column, of in means.items()}
seconds = runs_14.seconds(rows)
print("all four at 80 % or more, in the mean of the streams:", end=" ")
print(
    ", ".join(n for n in editors if all(sum(of[n]) >= 80 * len(seeds) for of in means.values()))
    or "none"
)
drawings_14.by_editor(
    panels | {"CPU s per edit": {"a stream": seconds}},
    FAMILIES,
    "share after the last turn; cost of an edit",
    log=["CPU s per edit"],
    dotted={f"{column} (%)": 100 * runs_14.mean(of["base"]) for column, of in shown.items()},
)

# %% [markdown]
# **In short streams of well-known facts, the searches come near all of the corners.** Lists and side memories leave
# almost all unrelated texts unchanged, because such a text rarely finds an entry. Steering acts on every prompt,
# showing that leaving the weights unchanged protects nothing. The seconds only indicate orders of magnitude, because
# other programs were using the machine.
#
# ## What breaks over the turns?
#
# The next figure shows how far the model has moved, after each turn, on prompts that should be unaffected, measuring
# the mean KL divergence of the next token from the unedited model, at neighbors and at unrelated prompts. A dot at
# the left edge means that there is no change that counts, and the dotted line gives a scale, a tenth of a nat.

# %%
shifts = {
    group: {
        f"after {edits} edits": {
            name: [max(row["moved"][group][i], 1e-5) for row in lines[name]] for name in editors
        }
        for i, edits in enumerate(x)
    }
    for group in ("neighbors", "unrelated")
}
drawings_14.by_editor(
    shifts,
    FAMILIES,
    "KL from the unedited model (nats), mean of the streams",
    log=[*shifts],
    dotted=dict.fromkeys(shifts, 0.1),
)

# %% [markdown]
# Almost all editors add to the harm in every turn. After the last turn, the searches, except WilKE, are still to the
# left of the line.
#
# The prompt below is about a neighbor of the tower which should stay in Paris, in the first stream. Editors giving
# the same answers are combined in one row.

# %%
worst = sorted(editors, key=lambda name: -sum(row["moved"]["unrelated"][-1] for row in lines[name]))
look = dict.fromkeys(["MEMIT", "UltraEdit", *worst[:4], "fine-tuning", "WISE", "retrieval"])
print("after so many edits:", runs_14.probes(runs_14.cases())["neighbor"])
alike = {}  # {answers after each turn: editors}
for name in look:
    alike.setdefault(tuple(lines[name][0]["says"]["neighbor"]), []).append(name)
show.Table(
    [
        {"editor": ", ".join(names)} | dict(zip(map(str, x), said, strict=True))
        for said, names in alike.items()
    ]
)

# %% [markdown]
# If a text keeps repeating a word, or has no words, the model has lost the language.
#
# Which of $T$ turns broke a stream, if the patch after each turn was kept? As long as damage never heals, all turns
# after the first broken one are broken as well. So each test halves the turns in question, and
# $\lceil\log_2 T\rceil$ tests are enough.
#
# **Your turn · exercise 8.3, second step · ★★ · 5 minutes.** Write `first_broken`, which finds the first broken turn.


# %%
def first_broken(broken, turns):
    """broken(t): tests the patch after turn t, from 1 to turns; true for the last -> the first."""
    ...


first_broken = use("8.3", first_broken)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep two numbers: the last turn known to be intact, and the first known to be broken.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def first_broken(broken, turns):
#     intact, bad = 0, turns
#     while bad - intact > 1:
#         middle = (intact + bad) // 2
#         intact, bad = (intact, middle) if broken(middle) else (middle, bad)
#     return bad
# ```
#
# </details>
#
# Here RLEdit writes sixteen facts, one per turn. A turn is broken if the KL divergence at unrelated prompts exceeds a
# limit, a tenth of a nat or a whole nat.
#
# **Predict.** Two limits give two turns. Do the facts of these turns also exceed their limits if they are written
# alone?

# %%
some = [case for case in lib.classroom() if case.id % 2][: 4 if SCALE == "tiny" else 16]
known = SCALE == "small" and not models.another()  # a model for which a network was trained
editor = lib.EDITORS["rledit" if known else "ultraedit"](lm)
kl, patches = moved.next_token(lm, runs_14.asked(some)["unrelated"]), [lib.EMPTY]
for case in some:
    patches.append(editor.edit([case.fact], after=patches[-1], check=False))
alone = [kl(editor.edit([case.fact], check=False)) for case in some]
tested = {}  # {turn: KL}


def test(limit):
    def broken(t):
        tested[t] = kl(patches[t])
        return tested[t] > limit

    return broken


for limit in (0.1, 1.0):
    for whose, f in both(first_broken).items():
        tested.clear()
        turn = f(test(limit), len(some))
        print(f"limit {limit:g}, {whose}: turn {turn} of {len(some)}, after testing {[*tested]}")
    turn = first_broken(test(limit), len(some))
    print(
        f"  {some[turn - 1].fact.text}: {kl(patches[turn]):.2f} nats, alone {alone[turn - 1]:.2f}"
    )
x, line = range(1, len(some) + 1), [kl(patch) for patch in patches[1:]]
figure, (ax,) = figures.panels(height=3.4)
ax.plot(x, line, "-o", color=plot.BASE, label="the stream so far")
ax.plot(x, alone, "D", color=plot.EDITED, label="the fact of the turn, alone")
for limit in (0.1, 1.0):
    ax.axhline(limit, color=plot.QUIET, linestyle=":")
ax.set(yscale="log", xlabel="turn", ylabel="KL at unrelated prompts (nats)")
figures.legend(figure, *ax.get_legend_handles_labels(), 2)

# %% [markdown]
# Four tests find either turn. The fact that takes the stream over a tenth of a nat exceeds this limit by itself. **The
# fact that takes it over a whole nat does almost nothing by itself**: it breaks a model that the edits before it have
# changed. And bisection needs damage that never heals; otherwise it finds *a* turn where the limit is crossed, which
# need not be the first.
#
# ## Which differences are more than luck?
#
# An edit that breaks the model breaks it for all facts of its stream at once. So when making a statement about
# streams, the **stream** is the observation, however many facts it has. A hard fact is hard for both of two editors,
# and their common part drops out of their difference. So for each stream $j$ we take the mean $x_j$ of their
# differences, fact by fact. From $m$ streams we want a 95% interval for the mean over all streams that could have
# been drawn. Each stream is drawn independently from the same facts, so the $x_j$ are independent, and their mean has
# the variance $\sigma^2/m$, with $\sigma^2$ estimated from the same $m$ numbers. For this case Student gave
#
# $$\bar x \pm t_{m-1}\,\frac{s}{\sqrt m}, \qquad s^2 = \frac1{m-1}\sum_j (x_j - \bar x)^2 .$$
#
# The factor $t_{m-1}$ is larger than the usual 1.96, because with few streams $s$ itself is known badly. When there
# are many editors, we apply the test to each of them: is the editor with the highest mean ahead of it?
#
# **Your turn · exercise 8.4 · ★★ · 12 minutes.** Write `paired`, which returns the mean difference of two editors
# over streams with the ends of its interval. Then write `unbeaten`, calling a function such as `paired` for the
# leader and each other editor, and keeping the editors that the leader does not beat, including itself, as a list in
# the order of `values`. The leader has the highest mean, counting each stream once.


# %%
def paired(a, b, t):
    """Lists with a tensor (n,) per stream, Student's factor -> mean of a − b, low, high."""
    ...


def unbeaten(values, ahead):
    """{editor: a tensor per stream}, ahead(a, b) -> the names that the leader is not ahead of."""
    ...


paired = use("8.4", paired)
unbeaten = use("8.4", unbeaten)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many observations are there, the streams or all of their facts? And which end of the interval shows that a lead
# is more than luck?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def paired(a, b, t):
#     x = torch.stack([(one - other).mean() for one, other in zip(a, b)])
#     half = t * x.std() / len(x) ** 0.5
#     return x.mean(), x.mean() - half, x.mean() + half
#
#
# def unbeaten(values, ahead):
#     means = {name: sum(one.mean() for one in some) / len(some) for name, some in values.items()}
#     leader = max(means, key=means.get)
#     return [name for name, some in values.items() if ahead(values[leader], some)[1] <= 0]
# ```
#
# </details>
#
# **Predict.** MEMIT writes into the weights, retrieval does not. By how many points does retrieval keep more
# neighbors?

# %%
neighbors = guess("By how many points does retrieval keep more neighbors than MEMIT?", -100, 100)

# %%
t = STUDENT[len(seeds)]
streams = {
    column: {name: [torch.tensor(one).double() for one in of[name]] for name in editors}
    for column, of in shown.items()
}


def lead(one, other, column, test=paired):  # mean, low, high in points
    return [100 * float(x) for x in test(streams[column][one], streams[column][other], t)]


gap = lead("retrieval", "MEMIT", "neighbors")
neighbors.against(gap[0])
gaps = zip(streams["neighbors"]["retrieval"], streams["neighbors"]["MEMIT"], strict=True)
gaps = [100 * float((a - b).mean()) for a, b in gaps]
assert all(abs(a - b) < 1e-6 for a, b in zip(gap, by_stream(gaps), strict=True))
ends = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*gap)
print(f"neighbors, retrieval less MEMIT: {ends} points, {detects(gaps):.0f} would be detected")
held = {name: runs_14.mean(shown["held"][name]) for name in editors}
good = [name for name in which_editor.WRITTEN if held[name] >= which_editor.HELD]
first = max(good, key=lambda name: runs_14.mean(shown["reworded"][name]))
others = [name for name in good if name != first]
found = {w: [lead(first, n, "reworded", f) for n in others] for w, f in both(paired).items()}
print(f"of the editors that write weights and hold at least {which_editor.HELD:.0%}, {first} leads")
figures.whiskers(others, found, f"points by which {first} is ahead in rewordings, 95 % interval")

# %% [markdown]
# The printed interval shows no lead of retrieval over MEMIT in neighbors, and how small a lead would have been
# detected. In the figure, which is about rewordings, two editors are not distinguishable here if a line crosses 0. The
# other lines claim far too much: with 27 equal editors, this rule calls one of them beaten in almost every experiment
# ([notebook 15](15_judging.ipynb)). **So a table of means with a best number in bold claims more than its rows
# support.**
#
# If all $x_j$ agree, this interval has no width, so the advice below uses flips of whole streams (notebook 15).
#
# ## How much is a changed neighbor worth to you?
#
# Held facts and rewordings are the gains of an edit. Neighbors and unrelated texts are its costs. So with a price $w$
# for damage, each stream gives an editor one score:
#
# $$\tfrac12(\text{held} + \text{reworded}) - w\cdot\big(1 - \tfrac12(\text{neighbors} + \text{unrelated})\big) .$$
#
# **Move the price.** Which editor leads if damage is free? Which if it costs twice as much as the gain? The dots of all
# editors that may be best by those flips are filled, and your `unbeaten` draws the rings.


# %%
def score(name, w):  # for each stream
    of = {column: means[column][name] for column in means}
    parts = zip(
        *(of[column] for column in ("held", "reworded", "neighbors", "unrelated")), strict=True
    )
    return [(a + b) / 2 - w * (100 - (c + d) / 2) for a, b, c, d in parts]


def kept_at(w):  # {whose function: the names of the unbeaten}
    values = {n: [torch.tensor([x]).double() for x in score(n, w)] for n in editors}
    return {whose: f(values, lambda a, b: paired(a, b, t)) for whose, f in both(unbeaten).items()}


def at_price(w):
    scores = {name: score(name, w) for name in editors}
    best, said = may_be_best(scores), f"score in points, at a price of {w:g}"
    return drawings_14.ranking(scores, best, kept_at(w), said)


Slider(at_price, "price", [0.0, 0.25, 0.5, 1.0, 2.0, 4.0], 1.0)

# %% [markdown]
# **The best editor depends on the price.** A high price favors the editors leaving almost everything unchanged. The
# rings depend on which editor happens to lead, the filled dots do not.
#
# ## Which editor for which purpose?
#
# The advice follows from stored rows by one rule. First, an editor must not be ruinous: it holds at least 80% of the
# facts here and half of the two hundred further below, and leaves at least half of the neighbors and unrelated texts
# that the unedited model gets right (unrelated texts also in the hundred of ZsRE). Among the editors that your priority
# allows, the table then lists **all that may be best** in the column that counts, determined by flipping the signs of
# whole streams. [Notebook 15](15_judging.ipynb) shows how often this rule is wrong. The number after an editor is its
# mean in this column, and the other columns show the first editor. Fine-tuning and WISE, which have the most
# rewordings, lose too many neighbors to be listed.

# %%
advice = which_editor.advice(rows)
scene = may_be_best({name: score(name, 1.0) for name in editors if name != "retrieval"})  # no note
print("the product at the top, may be best at a price of 1:", "; ".join(scene))
if choice.number:
    yours = editors[int(choice.number) - 1]
    where = [one.need for one in advice if yours in one.names]
    print(
        f"your choice, {yours}, is", "one of these" if yours in scene else "none of these", end=""
    )
    print("; in these rows of the table:", "; ".join(where) or "none")
show.Table(which_editor.lines(rows, str))

# %% [markdown]
# Each row is about one column. **The product at the top needs all four**, without a note. The printed line lists all
# editors that may be best at a price of 1. Of these, only MEMIT has means of 80% or more in all four columns, which is
# a reason for using it, but does not show that it is best.
#
# And your own fact? The first editor of each row writes it, or the tower if you haven't typed one.

# %%
fact = mine or lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
said = [{"editor": "unedited", "says": lm.answer(fact.text, 6), "CPU s": "–"}]
for name in dict.fromkeys(one.names[0] for one in advice if one.names):
    kind, settings = runs_14.LINES[name]
    begun = time.process_time()
    try:
        patch = lib.EDITORS[kind](lm, **settings).edit([fact], check=False)
    except lib.Error as refused:  # another model may lack what this editor needs
        said.append({"editor": name, "says": str(refused), "CPU s": "–"})
        continue
    spent = time.process_time() - begun
    with lm.patched(patch):
        said.append({"editor": name, "says": lm.answer(fact.text, 6), "CPU s": f"{spent:.1f}"})
print(fact.text, "→", fact.target_new)
show.Table(said)

# %% [markdown]
# With the tower, it is retrieval that fails: it holds almost all facts of the streams, but not this one.
#
# ## What we know now
#
# * Only *written* and *held* together show whether an editor cannot write or cannot keep.
# * If something happens in a stream, it happens to all of its facts. So the stream is the observation, two editors
#   are compared using the same streams, and the result is a group of unbeaten editors.
# * Rewordings, neighbors, unrelated texts, untouched weights and cost are traded against each other. Naming a winner
#   means having set their prices.
# * Retrieval, which edits nothing, must be compared with every editor.
#
#
# ## Where it breaks: is the order the same elsewhere?
#
# Everything so far uses one small set of facts with answers of one or two tokens. The library has also written a
# hundred facts of CounterFact and a hundred of ZsRE using each editor, one by one, testing all of them after the
# last. The answers of ZsRE are longer. Neighbors of the hundreds must have exactly the same continuations as before.
# MEMIT kept no keys there, and published ROME has not run.

# %%
elsewhere = {
    "held (%)": "retention",
    "reworded (%)": "generalization",
    "neighbors (%)": "same_relation",
}
series = {}
for panel, metric in elsewhere.items():
    of = which_editor.hundred(metric)
    series[panel] = {"streams of this page": means[panel.split()[0]]} | {
        f"100 of {data}": {name: [100 * some[i]] for name, some in of.items()}
        for i, data in enumerate(which_editor.SETS.values())
    }
    top = {where: max(of, key=lambda name: sum(of[name])) for where, of in series[panel].items()}
    print(
        f"{panel[:-4]}, who leads: " + "; ".join(f"{name} ({where})" for where, name in top.items())
    )
drawings_14.by_editor(
    series, FAMILIES, "share after the last edit, mean of the streams or of 100 facts"
)

# %% [markdown]
# By this measure every editor writing into the weights loses most neighbors. From the streams to the hundreds, the
# length changes as well as the data; between the two hundreds, only the data do. **The order also changes there.**
# The searches, writing one value at the subject, hold most of the short answers (except PMET) and fewer than half of
# the long ones (except AlphaEdit), while the list of GRACE and the experts of LEMoE hold almost all of both.
#
# A hundred facts of one data set are one stream, so these percentages come without intervals, and using them in the
# rule above is a preference, not a finding.
#
# Everything here was judged by free generation, on one model with 135 million weights. **Are these scores honest?**
# That is the topic of [notebook 15](15_judging.ipynb).
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
