# %% [markdown]
# <!-- badge -->
#
# # 15 · Judging honestly
#
# Would notebook 14's table, asked in another way, have named another winner? At the end of this
# page you can say how sure a score is, and build a test that your favorite editor fails.
#
# **You will** write three events by hand · let a model that knows nothing look as if it knew most ·
# get an interval from a counting argument and from resampling, and test it · find out what turns a
# ranking and what does not · count the cases for ± 3 points · ask for negations, reverses and
# consequences · design a test.
#
# **Needs** [notebook 14](14_lifelong.ipynb), whose stored rows are read here again.
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
import math

import numpy as np

import lib
from lib import plot
from lib.evaluation import intervals
from lib.evaluation.evaluate import EVENTS
from notebooks.support import checks_15_judging as checks_15
from notebooks.support import (
    drawings_14,
    drawings_15,
    figures,
    five_streams,
    long_runs,
    models,
    show,
)
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_15_judging as runs_15

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.classroom()[0]

# %% [markdown]
# ## Three events
#
# "The model answers Rome." There are at least three things that this sentence can mean, and papers
# use all of them. What goes in is a model, a prompt and an answer, and what comes out is a number
# between 0 and 1. For an answer of several tokens two of them look at very different things. The
# drawing shows the *unedited* model, the prompt "The Eiffel Tower was built by the", and an answer
# that is nonsense.

# %%
nonsense = runs_15.long_facts()[0]
drawings_15.two_events(nonsense.fact.text, *runs_15.spelled(lm, nonsense))

# %% [markdown]
# With $y$ the new answer, $|y|$ its number of tokens, $o$ the old answer and $x$ the prompt:
#
# * **probability**: $\frac1{|y|}\log p(y \mid x) > \frac1{|o|}\log p(o \mid x)$. The new answer
#   beats the old one; a third may beat both.
# * **teacher-forced**: the share of places $t$ with $\arg\max p(\cdot \mid x, y_{<t}) = y_t$. At
#   every step the true beginning of the answer is given.
# * **generation**: the model writes freely, and its text begins with $y$. (*Exactly* asks in
#   addition that the text ends there.)
#
# **Predict.** Which implies which, for an answer of one token? For a longer one?
#
# <details><summary>Work it out</summary>
#
# One token: teacher-forced says that $y$ is the most probable token. That is what generation writes
# first, and the most probable token is more probable than an $o$ of one token. So generation ⇔
# teacher-forced ⇒ probability (but for word boundaries: "Romeo"). Longer: if all tokens are right
# with the true beginning, then free writing produces that beginning, and both agree. They differ
# where only *some* are right: teacher forcing counts each token, generation stops at the first
# mistake.
#
# </details>

# %%
patch = lib.EDITORS["ultraedit"](lm).edit([tower.fact])


def events(prompt, new, old):  # by hand
    ids = lm.tokenizer(" " + new, add_special_tokens=False).input_ids
    p_new = lm.score(prompt, new)  # log-probabilities of each token
    p_old = lm.score(prompt, old)
    given = [prompt + lm.tokenizer.decode(ids[:t]) for t in range(len(ids))]
    best = lm.next_token(given).argmax(1).tolist()  # after the true beginnings
    forced = np.mean([a == b for a, b in zip(best, ids, strict=True)])
    text = lm.answer(prompt, 8).strip().casefold()
    begins = text.startswith(new.casefold()) and not text[len(new) : len(new) + 1].isalnum()
    return p_new.mean() > p_old.mean(), forced, begins


# %%
rows = []
for prompt in (tower.fact.text, *tower.paraphrases):
    row = {"prompt": prompt, "before": lm.answer(prompt, 3)}
    with lm.patched(patch, only=True):
        mine = dict(zip(EVENTS, map(float, events(prompt, "Rome", "Paris")), strict=False))
        row["after"] = lm.answer(prompt, 3)
    asked = lib.Case(lib.Fact(None, prompt, "Rome", "Paris"))
    found = lib.evaluate(lm, asked, patch, metrics=()).json()["efficacy"]
    assert SCALE == "tiny" or mine == {event: found[event] for event in mine}
    rows.append(row | {runs_15.EVENTS[event]: f"{value:.0f}" for event, value in mine.items()})
show.Table(rows)

# %% [markdown]
# By hand and by library: the same. Look at the third row. "Rome" has become more probable than
# "Paris", but another word beats both. So *probability* counts the rewording as followed, and the
# model says the other word.
#
# ## What teacher forcing leaks
#
# The beginning $y_{<t}$ that is given is a part of the answer. It gives away **content**: after
# "Massachusetts Institute of" language alone says "Technology". And it gives away the **length**,
# since nobody asks what comes after the last token.
#
# **Predict.** Twelve facts that nobody has taught ("The inventor of the fork studied at the
# University of California, Berkeley"). What does the *unedited* model get, teacher-forced?
#
# <details><summary>Answer</summary>
#
# About two thirds of the tokens. In generation it says one of the twelve answers.
#
# </details>

# %%
facts = runs_15.long_facts()
scores = lib.evaluate(lm, facts, metrics=())
for row in scores.summary().itertuples():
    if row.event in ("teacher_forced", "generation"):
        low, high = 100 * row.low, 100 * row.high
        print(f"{row.event}: {100 * row.mean:.0f} % [{low:.0f}, {high:.0f}] of 12 facts")
nothing = scores.json()["efficacy"]
print(f"apart by {100 * (nothing['teacher_forced'] - nothing['generation']):.0f} points")
for i, share, n in zip(*runs_15.by_place(lm, facts), strict=True):
    print(f"token {i} of the answer: {share:3.0f} % right ({n} answers are as long)")

# %% [markdown]
# The first token is right once: the model writes by itself that the fork's inventor studied at
# Berkeley. The later tokens are right in 30 of 34 cases, though nothing was edited and nothing is
# known. A score without that of the unedited model beside it cannot be read.
#
# If the first token is right with chance $a$ and each later one with $b$ given the truth, an answer
# of $n$ tokens scores $(a + (n - 1)b)/n$ teacher-forced, and about $a\,b^{n-1}$ in generation. So
# for $a = 0$ the first grows with the length of the answer and the second is 0:

# %%
b = 30 / 34
for n in (2, 4, 8):
    print(f"a = 0, {n} tokens: teacher-forced {100 * (n - 1) * b / n:.0f} %, generation 0 %")

# %% [markdown]
# ## An interval by counting
#
# Notebook 14 has 24 facts in a stream. If 23 of them are held, how well do we know the share that
# *all* facts of this kind would give? What goes in are $h$ hits out of $n$ cases, $\hat p = h/n$.
# What comes out is an interval that contains the true share $p$ in 95 % of all such experiments.
#
# $\hat p$ has the variance $p(1-p)/n$. Which $p$ would not be surprised by our $\hat p$? Those with
# $(\hat p - p)^2 \le z^2\,p(1-p)/n$, $z = 1.96$. This is a quadratic in $p$, and its two roots are
# the interval of **Wilson**:
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}
# {1 + \frac{z^2}{n}} .$$
#
# Where a case can also be half right (one of two rewordings) there is a way without formulas: draw
# $n$ cases out of the $n$ with replacement, take the mean, and do so 2,000 times. This is the
# **bootstrap**.
#
# **Predict.** 24 of 24 facts are held. What do "$\hat p \pm 1.96\sqrt{\hat p(1-\hat p)/n}$", the
# bootstrap and Wilson say?
#
# <details><summary>Work it out</summary>
#
# The first: $1 \pm 0$. The bootstrap as well, since every draw is all ones. Wilson: the quadratic
# with $\hat p = 1$ has the roots 1 and $1/(1 + z^2/n)$. Only Wilson has a width at the ends.
#
# </details>


# %%
def wilson(hits, n, z=1.959964):
    p = hits / n
    middle = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def bootstrap(values, seed=0):
    draw = np.random.default_rng(seed)
    values = np.asarray(values, dtype=float)
    n = len(values)
    means = values[draw.integers(0, n, (2000, n))].mean(1)
    return tuple(np.percentile(means, (2.5, 97.5)))


for hits, n in ((24, 24), (12, 24), (0, 24), (970, 1000)):
    assert np.allclose(wilson(hits, n), intervals.wilson(hits, n))
    values = [1.0] * hits + [0.0] * (n - hits)
    assert np.allclose(bootstrap(values), intervals.bootstrap(values))
    found = {"Wilson": wilson(hits, n), "bootstrap": bootstrap(values)}
    said = ", ".join(f"{how} {100 * a:.0f} to {100 * b:.0f} %" for how, (a, b) in found.items())
    print(f"{hits} of {n}: {said}")

# %% [markdown]
# So Wilson where all cases are 0 or 1, and the bootstrap elsewhere? An earlier version of this
# course did that, and it was a mistake. Take 24 cases that are all right, and 24 of which one is
# half right. The first get Wilson, the second the bootstrap, and the *worse* score seems the
# *surer* one.
#
# What is missing in the bootstrap is a case that it has not seen. The **Bayesian bootstrap** draws
# a random weight for every case in place of a number of copies. We give it half a case at 0 and
# half a case at 1 in addition. Then it has a width at the ends, it works for cases that are half
# right, and an end cannot move up when a value goes down.


# %%
def bayesian(values, seed=0, draws=4000):
    cases = np.concatenate([[0.0, 1.0], np.sort(values)])
    alpha = np.concatenate([[0.5, 0.5], np.ones(len(values))])  # half a case at either end
    gamma = np.random.default_rng(seed).standard_gamma(alpha, (draws, len(cases)))
    means = (gamma / gamma.sum(1, keepdims=True)) @ cases
    low, high = np.percentile(means, (2.5, 97.5))
    return min(low, np.mean(values)), max(high, np.mean(values))


for name, values in {"all right": [1.0] * 24, "one half right": [1.0] * 23 + [0.5]}.items():
    assert np.allclose(bayesian(values), intervals.interval(values))
    binary = set(values) <= {0.0, 1.0}
    mixed = wilson(sum(values), len(values)) if binary else bootstrap(values)
    for how, (low, high) in {"mixed rule": mixed, "Bayesian": bayesian(values)}.items():
        print(f"{name}, {how}: {100 * low:.0f} to {100 * high:.0f} %")

# %% [markdown]
# This is the interval of all tables in this library and this course. A test in the repository
# compares its coverage with that of the others.
#
# ## What is one observation?
#
# Every interval assumes independent observations. Ten rewordings of one fact stand and fall
# together, so they are *one* observation, and what is drawn is the fact. In a stream, an edit can
# break the model for all facts at once. So for a statement about streams the stream is the
# observation, as in notebook 14, and 24 facts of one stream say nothing about how much streams
# differ.
#
# **Predict.** Five streams of 24 facts. In each, a fact is right with some chance, 0.7 on average,
# and the chance differs from stream to stream. How often does a 95 % interval over all these facts
# contain 0.7?
#
# <details><summary>Answer</summary>
#
# The more the streams differ, the less often. An interval over the five means (Student's) knows
# nothing of facts and is right about as often as it says.
#
# </details>

# %%
for spread in (0.0, 0.06, 0.1):
    found = runs_15.coverage(spread)
    said = ", ".join(f"{how} {100 * share:.0f} %" for how, share in found.items())
    print(f"chances vary by {100 * spread:.0f} points; contains the truth: {said}")

# %% [markdown]
# The last column is what notebook 14 uses: the wider of the two intervals, at either end. It is
# never worse than it says, and it has a width also where all streams agree.
#
# ## Does the ranking turn?
#
# Now to the 25 editors at the end of notebook 14's first stream. Most of them hold the facts. So
# look at the neighbors: Notre-Dame should still be in Paris. In the event *probability* that means
# that "Paris" is more probable than **"Rome"**, the edit's new answer.
#
# **Predict.** Which models gain most from being asked that way?
#
# <details><summary>Answer</summary>
#
# Models that are broken. They say neither Rome nor Paris, and Paris beats Rome in half of the
# cases, as by a coin. The dashed line is at 50 %.
#
# </details>

# %%
stream = long_runs.stored("14_streams", runs_14.STREAM, lambda: runs_14.every(lm))
names, found = runs_15.by_event(stream, "specificity", ("probability", "generation"))
colors = dict(zip(found, (plot.BASE, plot.NEIGHBOR), strict=True))
axis = "neighbors that keep their true answer (%, with 95 % intervals over 24 facts)"
figure = figures.whiskers(names, found, axis, colors=colors, height=8.2)
figure.axes[0].axvline(50, color=plot.QUIET, linewidth=1, linestyle="--")
figure

# %%
ranks = runs_15.ranks(stream, "specificity")
family = {name: group for group, members in runs_14.FAMILIES.items() for name in members}
some = (
    "GRACE",
    "retrieval",
    "PRUNE",
    "ROME, published",
    "UltraEdit",
    "fine-tuning",
    "MEND",
    "MALMEN",
)
drawings_15.bump(ranks, {name: drawings_14.COLORS[family[name]] for name in some})

# %% [markdown]
# The lines between *teacher-forced* and *generation* are nearly level. To say it in a number, take
# all pairs of editors. **Kendall's τ** is the share of pairs that two rankings order alike, less
# the share that they order differently, so 1 for the same ranking and 0 for unrelated ones. The
# last but one column of the table is a measure of noise: there, each of the two rankings is made
# from only one half of the 24 facts, and the other from the other half.

# %%
show.Table(runs_15.agreement(stream, "specificity"))

# %%
for one, other in (("teacher_forced", "generation"), ("probability", "generation")):
    count = runs_15.turned(stream, "specificity", one, other)
    print(
        f"{one} and {other}: {count['turned']} of {count['pairs']} pairs turn, "
        f"{count['broken']} of them with a broken model, and {count['surely']} surely"
    )

# %% [markdown]
# So the answer to notebook 14's question is **no, with one exception**:
#
# * Teacher forcing and generation rank these editors alike. Their rankings differ *less* than those
#   that the same event makes from two halves of the facts.
# * Probability ranks a little differently, but again no more than two halves of the facts do. Most
#   of the pairs that turn contain one of the three broken models (MEND, MALMEN, and the ROME that
#   one edit has ruined), which probability lifts to its coin. No pair turns *surely*, which means
#   with a paired difference clear of 0 under both events.
# * *Exactly* asks another question, whether a model stops after its answer. The unedited model does
#   not. GRACE falls, though it has not moved these prompts, and PRUNE rises with no merit that we
#   know of.
#
# What the event does change is the **level**. The next table says how much, on the five streams of
# notebook 14 that nobody chose, with intervals over streams.

# %%
more = long_runs.stored("14_orders", five_streams.STREAMS, lambda: five_streams.every(lm))
for one, other in (("teacher_forced", "generation"), ("probability", "generation")):
    turned, pairs = runs_15.turned_streams(more, one, other)
    print(f"{one} and {other}: {turned} of {pairs} pairs of these editors turn")
show.Table(runs_15.swings(more, "neighbors"))

# %% [markdown]
# Probability flatters every editor that moves many neighbors, by about ten to twenty points, and
# RLEdit most, which moves most of them. Teacher forcing and generation say nearly the same, since
# the answers are short. And of the 21 pairs of editors only one turns, fine-tuning and RLEdit, by
# four points either way.
#
# ## A pair that was chosen
#
# With 25 editors there are 300 pairs, and each can be compared under four events. If nothing were
# different, one in twenty of these comparisons would still look significant. So a pair that was
# picked because it shows an effect proves little. Here is one that was picked for this page because
# it turns in the first stream. Both editors saw the same facts, so the difference is taken fact by
# fact; easy facts are easy for both, and drop out.

# %%
show.Table(runs_15.paired(stream, "UltraEdit", "ROME, published", "specificity"))

# %% [markdown]
# By probability UltraEdit is behind, in generation it is ahead, and **neither** is more than 24
# facts can show. Only the last row is clear of 0: the *level* of the one model falls much further
# than that of the other, when the event changes. Even that interval is too kind, since the pair was
# chosen for it, and since ROME's fall is one event of one stream. The right test would be other
# streams, and those we have do not contain ROME.
#
# ## Longer answers
#
# The classroom's answers are short. Those of ZsRE are longer, and there the levels part (from
# [RESULTS.md](../tests/benchmarks/RESULTS.md)). The editors wrote two kinds of targets, so compare
# rows with the same answers only.

# %%
show.Table(runs_15.published(("grace", "wise", "lemoe", "memoir")))

# %% [markdown]
# UltraEdit's preset has 80 % teacher-forced and says 49 %; as released it is 46 and 11 %. GRACE and
# LEMoE lose ten points and WISE and MEMOIR twenty, on long answers of which one token is wrong. The
# unedited model has 16 or 17 % teacher-forced and 0 % in generation.
#
# ## How many cases for ± 3 points?
#
# **Predict.** A score near 50 %: how many cases until the interval is $\pm 3$ points? Near 95 %?
#
# <details><summary>Work it out</summary>
#
# $1.96\sqrt{p(1-p)/n} = 0.03$ gives $n = 4268\,p(1-p)$: 1,067 at one half, 203 at 0.95. And half
# the width always costs four times as many.
#
# </details>

# %%
counts = (12, 24, 100, 200, 500, 1000, 5000)
halves = {}
for p in (0.5, 0.8, 0.95):
    ends = [wilson(p * n, n) for n in counts]
    halves[f"score {100 * p:.0f} %"] = [50 * (high - low) for low, high in ends]
print(
    ", ".join(
        f"{n} cases ± {y:.0f} points" for n, y in zip(counts, halves["score 50 %"], strict=True)
    )
)
drawings_15.widths(counts, halves, 3)

# %% [markdown]
# With our 24 facts a share near one half is known to ± 19 points. A table with a hundred cases
# that ranks editors two points apart compares noise. (Paired differences need fewer cases.)
#
# ## When was "before"?
#
# Locality says: unrelated prompts are answered *as before*. Before what? A lifelong run that takes
# the model before *each turn* as its reference measures a step, and never the way.
#
# **Predict.** Each of 6 turns moves 5 % of the answers, other ones each time. What do both say?
#
# <details><summary>Work it out</summary>
#
# Step by step $0.95$, in every turn, for ever. Against the base model $0.95^6 = 0.74$, and falling.
#
# </details>

# %%
show.Table(runs_15.moved(stream))

# %% [markdown]
# Fine-tuning keeps 96 % of unrelated next words in a mean turn, and 83 % after six. For published
# ROME the mean turn keeps 85 % and the whole way 54 %. And the mean hides the one turn that did it,
# which kept 46 %; in every turn after it, "before each turn" would say that all is well again.
#
# One more thing belongs to every such number: how many facts a turn has. Notebook 05 wrote the same
# fifty facts in a row and in one batch, and the neighbors differed by much more than most pairs of
# editors do here. All lines of notebook 14 have turns of four, so they can be compared with each
# other, but not with a table that was made one by one or all at once.
#
# ## What nobody asked: negation, same subject, reverse
#
# "The Eiffel Tower is **not** located in the city of": an editor that stores *words* says Rome
# there, too. But the unedited model is nearly deaf to "not" as well: it says its own answer to most
# negated facts. So what counts is how much *more* often an editor's new answer is said. And another
# relation of the same subject (what is the tower built of?) should be answered as before; there
# eight tokens are compared with the base model's.

# %%
show.Table(runs_15.negatives(stream))

# %% [markdown]
# The unedited model says its own answer to 83 % of the negated facts. The editors that write
# rewordings well, MEMIT and most of its relatives, WISE and MEMOIR, say theirs to all 24, which is
# 17 points more, with an interval that hardly excludes 0. So their failing here is mostly the
# model's. UltraEdit, with 48 %, is clearly below, and GRACE never says it, as it answers nothing
# but the prompt itself. Other relations of the same subject are another matter: they are answered
# as before in less than two fifths of the cases by all but FT-L, GRACE, HoReN and retrieval, where
# the unedited model has all of them by definition. That is damage, and no table of efficacy,
# generalization and locality shows it.
#
# Last, the **reverse**. "A word that means the opposite of north is" now says east; then the
# opposite of east is north. Nine facts whose other direction has one answer, which the base model
# knows for the old fact ("The opposite of south is"), each edited alone. Said: the subject within
# ten tokens.
#
# **Predict.** How many of the nine reverses are said?
#
# <details><summary>Answer</summary>
#
# None, by any of the three editors below. The reasons differ. ROME's key is the subject's, and the
# reverse prompt does not name the subject. Fine-tuning has trained the direction from prompt to
# answer alone. Retrieval finds no note near enough to the prompt.
#
# </details>

# %%
asked = {name: runs_14.editor(lm, name) for name in ("ROME, both keys", "fine-tuning", "retrieval")}
show.Table(runs_15.reverse(lm, asked))

# %% [markdown]
# Eight or nine are written and none is turned round, but the *old* reverse is still said by most.
# Asked from the other side, nothing was edited. (With nine facts "none" is compatible with one in
# five.)
#
# ## What follows from it
#
# Whoever learns that the tower is in Rome knows that it is in Italy. The classroom asks for such
# consequences in three kinds: **one-hop** (the country of the tower's city), **alias** (the fact
# itself, with the subject called by another name) and **reverse**. A question is fair only where
# the model knows what else it takes, here that Rome is in Italy. So each names its parts, and only
# those count whose parts the unedited model answers. And the unedited model stands beside it, since
# some consequences are said without any edit, by chance.
#
# **Predict.** Which kinds do editors draw that write weights? Retrieval, which puts the fact before
# the prompt as a note? GRACE?
#
# <details><summary>Work it out</summary>
#
# An alias is a rewording with another key: near enough for editors that move everything of this
# kind. One step on needs two facts at once, and so layers that combine them after the change. A note
# in the context is read by all layers, as far as the note is found. A value that is changed at the
# subject in an early layer is read by the many layers above it; a change in one of the last layers
# can say the new *word* and little else. GRACE answers its own prompt only, so all else is as
# before. The reverse we know.
#
# </details>

# %%
show.Table(runs_15.of_the_tower(lm, tower, asked))

# %%
show.Table(runs_15.consequences())

# %% [markdown]
# The first table is one fact; its first two rows are the parts, which the model knows. The second
# has what [RESULTS.md](../tests/benchmarks/RESULTS.md#what-follows-from-an-edit) has stored, with
# fewer facts for expensive editors. One step on, ROME, MEMIT and AlphaEdit, which write into early
# layers at the subject, part from the unedited model and, by the paired differences that stand
# there, from every editor that trains late layers, learns to edit or routes; from retrieval they do
# not. These are ten facts of one small model, mostly of cities and languages. FT-M and retrieval
# part from the unedited model on their 18 facts. Aliases are answered by those that train on the
# answer. The reverses are too few to tell anybody apart, and the unedited model says some of all this
# by itself. So a column "portability" that mixes the kinds measures how many of each are in it.
#
# ## Exercise: a test that your favorite editor fails
#
# A test is a prompt, the answer that a careful reader wants, and a reason: it should "follow" from
# the edit, or "stay". It is *fair* if the fact itself is held, and if what should stay is answered
# so by the base model. Find one that the editor fails. (Another language? The country?) Before it:
# the smallest $n$ for which Wilson's interval at a score of $p$ is at most $\pm h$ wide.
#
# <details><summary>A hint</summary>
#
# `wilson(p * n, n)` takes any $n$, and the half of its width falls as $n$ grows. For the test: what
# follows from being in Rome, in words that the edit's prompt does not have? And what else does the
# model know about Paris?
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# def cases_needed(p, h):
#     n = 1
#     low, high = wilson(p * n, n)
#     while (high - low) / 2 > h:
#         n += 1
#         low, high = wilson(p * n, n)
#     return n
#
#
# test = ("The Eiffel Tower is in the country of", "Italy", "follow")
# ```
#
# </details>


# %%
def cases_needed(p, h):  # 0 < p < 1, h in shares -> n
    return "not attempted"


favorite = lib.EDITORS["ultraedit"](lm)
test = None  # ("your prompt", "the answer you want", "follow" or "stay")

# %%
print("cases:", checks_15.cases_needed(cases_needed))
print("test:", checks_15.own_test(favorite, tower.fact, test))

# %% [markdown]
# ## What we know now
#
# * The event changes the level of a score, and a lot: teacher forcing gives a model that knows
#   nothing two thirds of the tokens. The order of the editors it hardly changes. What turns are
#   broken models, which probability cannot tell from working ones. We read what is generated.
# * A share without its interval, and without the unedited model beside it, is no result. What is
#   drawn for the interval is what varies: facts, or streams.
# * "Before" is the base model, always, and a batch size is part of a result.
# * Negation, the same subject and the reverse are asked by hardly any table. Almost all editors
#   fail the last two.
# * Consequences count only where the model knows what else they take, kind by kind, beside the
#   unedited model. Most of what follows from an edit is not said after it.
#
# ## Where it breaks
#
# All of this was a model of 135 million weights and some dozen facts, and honest tests need a
# thousand. How long does that take, where, and what becomes of it **at scale**? [Notebook
# 16](16_at_scale.ipynb).
#
# ## References
#
# * Ma et al.: *Untying the Reversal Curse […]*, 2023,
#   [arXiv:2310.10322](https://arxiv.org/abs/2310.10322).
# * Yang et al.: *The Mirage of Model Editing: Revisiting Evaluation in the Wild*, 2025,
#   [arXiv:2502.11177](https://arxiv.org/abs/2502.11177).
# * Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
# * Rubin: *The Bayesian Bootstrap*, 1981.
