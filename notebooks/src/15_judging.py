# %% [markdown]
# <!-- badge -->
#
# # 15 · Judging honestly
#
# Would notebook 14's table, asked in another way, have named another winner? At the end of this page
# you can say what a score counted and how sure it is, and you know where an interval contains the
# truth less often than it promises.
#
# **You will** write three events by hand · let a model that knows nothing look as if it knew most ·
# get an interval from a counting argument and from resampling, and test it · find out what turns a
# ranking and what does not · count the cases for ± 3 points.
#
# **Needs** [notebook 14](14_lifelong.ipynb), whose stored rows are read here again.
#
# **Minutes** 20 to read and 20 to work: three exercises of
# [session 8](../lessons/session_8.md).
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

from itertools import combinations

import numpy as np
import pandas as pd
import torch

import lib
from lib.evaluation import answers, intervals
from lib.model import generation
from lib.workbench import plot
from notebooks.support import drawings_15, figures, five_streams, long_runs, models
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_15_judging as runs_15
from notebooks.support.five_streams import STREAMS
from notebooks.support.holes import guess, use
from notebooks.support.runs_14_lifelong import FAMILIES, STREAM
from notebooks.support.runs_15_judging import EVENTS, LONG  # {event: its name}, and facts

pd.set_option("display.max_colwidth", None)  # prompts in tables are shown whole
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
facts = [lib.Case(lib.Fact(*fact), id=i) for i, fact in enumerate(LONG)]


def first_choices(prompt, answer):  # the answer's tokens, and the model's after each true beginning
    ids = lm.tokenizer(" " + answer, add_special_tokens=False).input_ids
    given = [prompt + lm.tokenizer.decode(ids[:t]) for t in range(len(ids))]
    return ids, lm.next_token(given).argmax(1).tolist()


nonsense = facts[0].fact
ids, best = first_choices(nonsense.text, nonsense.target_new)
free = generation.generate(lm, lm.rows([nonsense.text])[0], len(ids)).ids[0]
words = ([lm.tokenizer.decode([token]) for token in some] for some in (ids, best, free))
drawings_15.two_events(nonsense.text, *words)

# %% [markdown]
# With $y$ the new answer, $|y|$ its number of tokens, $o$ the old answer and $x$ the prompt:
#
# * **probability**: $\frac1{|y|}\log p(y \mid x) > \frac1{|o|}\log p(o \mid x)$. The new answer
#   beats the old one; a third may beat both.
# * **teacher-forced**: the share of places $t$ with $\arg\max p(\cdot \mid x, y_{<t}) = y_t$. At
#   every step the true beginning of the answer is given.
# * **generation**: the model writes freely, and its text begins with $y$, case and quotation marks
#   aside. (*Exactly* asks in addition that the text ends there.)
#
# **Your turn · exercise 8.1 · ★ · 5 minutes.** Write `events`, the three of them, from what a model
# has been asked. (You may leave the quotation marks out.) The table below compares yours with the
# library's.


# %%
def events(new, old, hits, text, target):
    """new, old: log-probabilities of the tokens of both answers; hits (n,): whether each token of
    the target is the first choice; text: what was written -> three numbers from 0 to 1."""
    ...


events = use("8.1", events)

# %% [markdown]
# <details><summary>Hint</summary>
#
# "Romeo" begins with the letters of "Rome". Which character decides that it is another word, and
# is there always one?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def events(new, old, hits, text, target):
#     said, wanted = text.strip().casefold(), target.strip().casefold()
#     begins = said.startswith(wanted) and not said[len(wanted) :][:1].isalnum()
#     return [float(new.mean() > old.mean()), hits.double().mean().item(), float(begins)]
# ```
#
# </details>
#
# **Predict.** Which implies which, for an answer of one token? For a longer one?
#
# <details><summary>Work it out</summary>
#
# One token: teacher-forced says that $y$ is the most probable token. That is what generation writes
# first, and the most probable token is more probable than an $o$ of one token. So generation ⇔
# teacher-forced ⇒ probability (but for word boundaries: "Romeo"). Longer: if all tokens are right
# with the true beginning, then free writing produces that beginning, and both agree (again but for
# word boundaries). They differ where only *some* are right: teacher forcing counts each token,
# generation stops at the first mistake. Neither implies probability any more, for that compares means
# over tokens, and the tokens of $o$ can be surer still.
#
# </details>


# %%
def asked(prompt, new, old):  # the model's answers to the three questions
    ids, best = first_choices(prompt, new)
    hits = torch.tensor(best) == torch.tensor(ids)
    return events(lm.score(prompt, new), lm.score(prompt, old), hits, lm.answer(prompt, 8), new)


patch = lib.EDITORS["ultraedit"](lm).edit([tower.fact])
rows = []
for prompt in (tower.fact.text, *tower.paraphrases):
    row = {"prompt": prompt, "before": lm.answer(prompt, 3)}
    with lm.patched(patch, only=True):
        mine = dict(zip(EVENTS, asked(prompt, "Rome", "Paris"), strict=False))
        row["after"] = lm.answer(prompt, 3)
    case = lib.Case(lib.Fact(None, prompt, "Rome", "Paris"))
    found = lib.evaluate(lm, case, patch, metrics=()).json()["efficacy"]
    assert SCALE == "tiny" or mine == {event: found[event] for event in mine}
    rows.append(row | {EVENTS[event]: f"{value:.0f}" for event, value in mine.items()})
pd.DataFrame(rows).set_index("prompt")

# %% [markdown]
# Your events and the library's are the same. Look at the third row. "Rome" has become more probable
# than "Paris", but another word beats both. So *probability* counts the rewording as followed, and
# the model says the other word.
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
scores = lib.evaluate(lm, facts, metrics=())
for row in scores.summary().itertuples():
    if row.event in ("teacher_forced", "generation"):
        low, high = 100 * row.low, 100 * row.high
        print(f"{EVENTS[row.event]}: {100 * row.mean:.0f} % [{low:.0f}, {high:.0f}] of 12 facts")
choices = [first_choices(case.fact.text, case.fact.target_new) for case in facts]
for i in range(5):
    hits = [ids[i] == best[i] for ids, best in choices if i < len(ids)]
    print(f"token {i + 1} of the answer: {sum(hits)} of {len(hits)} right")

# %% [markdown]
# The first token is right once: the model writes by itself that the fork's inventor studied at
# Berkeley. The later tokens are right in 30 of 34 cases, though nothing was edited and nothing is
# known. A score without that of the unedited model beside it cannot be read.
#
# If the first token is right with chance $a$ and each later one with $b$ given the truth, an answer
# of $n$ tokens scores $(a + (n - 1)b)/n$ teacher-forced, and about $a\,b^{n-1}$ in generation. So
# for $a = 0$ the first grows with the length of the answer and the second is 0.
#
# ## An interval by counting
#
# Notebook 14 has 24 facts in a stream. If 23 of them are held, how well do we know the share that
# *all* facts of this kind would give? What goes in are $h$ hits out of $n$ cases, $\hat p = h/n$.
# What comes out is an interval that contains the true share $p$ in about 95 % of all such
# experiments.
#
# $\hat p$ has the variance $p(1-p)/n$ and is roughly normal, so in 95 % of the experiments it lies
# within $z = 1.96$ standard deviations of $p$. We take all $p$ of which this holds for our $\hat p$:
# those with $(\hat p - p)^2 \le z^2\,p(1-p)/n$. With equality this is a quadratic in $p$, and its two
# roots are the ends of the interval of **Wilson**.
#
# **Your turn · exercise 8.2 · ★★ · 8 minutes.** Write `wilson`: solve the quadratic. The intervals
# and the numbers of cases below are computed with it.


# %%
def wilson(hits, n):  # numbers, 0 ≤ hits ≤ n -> (low, high)
    ...


wilson = use("8.2", wilson)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Bring it into the form $p^2(1 + a) - p(2\hat p + a) + \hat p^2 = 0$. What is $a$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def wilson(hits, n):
#     z = 1.959964
#     p, a = hits / n, z * z / n
#     half = z * (p * (1 - p) / n + a / (4 * n)) ** 0.5
#     return (p + a / 2 - half) / (1 + a), (p + a / 2 + half) / (1 + a)
# ```
#
# </details>
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
    said = ", ".join(
        f"{how} {abs(100 * a):.0f} to {100 * b:.0f} %" for how, (a, b) in found.items()
    )
    print(f"{hits} of {n}: {said}")

# %% [markdown]
# So Wilson where all cases are 0 or 1, and the bootstrap elsewhere? This would be a mistake. Take 24
# cases that are all right, and 24 of which one is half right. The first get Wilson, the second the
# bootstrap, and the *worse* score seems the *surer* one, as the cell below prints.
#
# What is missing in the bootstrap is a case that it has not seen. The **Bayesian bootstrap** draws a
# random weight for every case in place of a number of copies. We give it half a case at 0 and half a
# case at 1 in addition. Then it has a width at the ends, it works for cases that are half right, and
# neither end can move up when a value goes down.


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
# By the mixed rule the lower end goes up from 86 to 94 % when a case becomes half wrong. By the
# Bayesian bootstrap it goes down from 91 to 88 %. This is the interval of the library's tables.
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
    halves[f"score {100 * p:.0f} %"] = [f"± {50 * (high - low):.1f}" for low, high in ends]
pd.DataFrame(halves, index=[f"{n:,} cases" for n in counts])

# %% [markdown]
# With our 24 facts a share near one half is known to ± 19 points. From such shares of a hundred cases
# nobody can tell which of two editors is ahead if they lie two points apart. (Differences that are
# paired case by case need fewer cases, as far as the same cases are hard for both.)
#
# ## How often does it contain the truth?
#
# Every interval assumes independent observations. Ten rewordings of one fact stand and fall together,
# so they are *one* observation, and what is drawn is the fact. In a stream, an edit can break the
# model for all facts at once, so there the stream is the observation, and notebook 14 takes Student's
# interval over five of them: $\bar x \pm t\,s/\sqrt m$, with the mean $\bar x$ and the standard
# deviation $s$ of the $m = 5$ streams' means, and $t = 2.776$.
#
# Does that one contain the truth as often as it says? Its derivation assumes that the five means
# scatter like a normal distribution. Where editors hold 95 % on average they need not: most streams
# can be near 100 %, and now and then one goes badly wrong. Whether the truth is inside in 95 of 100
# experiments can be tried, as we know the truth where we have made the experiments ourselves.
#
# **Your turn · exercise 8.5 · ★★ · 7 minutes.** Write `coverage`: the share of simulated experiments
# whose Student's interval contains the true mean. The curves below are made with it.


# %%
def coverage(means, truth, t):
    """means (r, m): the m means of each of r experiments; truth, t: numbers -> a share."""
    ...


coverage = use("8.5", coverage)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Every experiment has its own middle and its own width. Which of the two is compared with the truth?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def coverage(means, truth, t):
#     half = t * means.std(1) / means.shape[1] ** 0.5
#     return ((means.mean(1) - truth).abs() <= half).double().mean().item()
# ```
#
# </details>
#
# The experiments: five streams of 24 facts. In each stream a fact is right with some chance; the
# chances vary from stream to stream by 10 points around a mean, which goes to 1. Notebook 14's rule
# is the wider of Student's interval and of one over all 120 facts, here Wilson's.
#
# **Predict.** How often do 95 % intervals contain a true mean of 95 %?

# %%
often = guess("How often, in percent, does Student's 95 % interval contain a mean of 95 %?", 0, 100)


# %%
def simulated(mean, spread, r=2000, m=5, facts=24):  # (r, m): the share of each stream
    draw = np.random.default_rng(0)
    size = mean * (1 - mean) / spread**2 - 1  # a + b of a Beta distribution
    chance = draw.beta(mean * size, (1 - mean) * size, (r, m))
    return torch.tensor(draw.binomial(facts, chance) / facts)


at = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98]
found = {"Student over streams": [], "all facts as independent": [], "the wider of both": []}
for mean in at:
    means = simulated(mean, 0.1)
    middle, half = means.mean(1), 2.776 * means.std(1) / 5**0.5
    low, high = torch.tensor([wilson(24 * total, 120) for total in means.sum(1).tolist()]).T
    found["Student over streams"].append(100 * coverage(means, mean, 2.776))
    inside = (low <= mean) & (mean <= high)
    found["all facts as independent"].append(100 * inside.double().mean().item())
    inside = (low.minimum(middle - half) <= mean) & (mean <= high.maximum(middle + half))
    found["the wider of both"].append(100 * inside.double().mean().item())
often.against(found["Student over streams"][at.index(0.95)])
print(pd.DataFrame(found, index=[f"{100 * mean:.0f} %" for mean in at]).T.round(0).to_string())
axes = "true mean (%)", "intervals that contain it (%)"
figure = plot.lines([100 * p for p in at], found, *axes, ylim=(0, 103))
figure.axes[0].axhline(95, color=plot.QUIET, linewidth=1, linestyle="--")
figure.axes[0].text(50, 88, "dashed: 95 %, as promised", color=plot.QUIET)
figure

# %%
for m, facts, t in ((5, 240, 2.776), (20, 24, 2.093), (100, 24, 1.984)):
    share = coverage(simulated(0.95, 0.1, m=m, facts=facts), 0.95, t)
    print(f"mean 95 %, {m} streams of {facts} facts: Student's contains it in {100 * share:.0f} %")


def winners(one, other, spread=0.1, r=2000):  # how often a difference is found, in percent
    draw, right = np.random.default_rng(0), []
    for mean in (one, other):  # two editors on five streams of 23 facts, as in notebook 14
        size = mean * (1 - mean) / spread**2 - 1
        chance = draw.beta(mean * size, (1 - mean) * size, (r, 5, 1))
        right.append((draw.random((r, 5, 23)) < chance).astype(float))
    gaps = right[0] - right[1]  # fact by fact
    middle = gaps.mean((1, 2))
    half = 2.776 * gaps.mean(2).std(1, ddof=1) / 5**0.5
    ends = [intervals.interval(gap.ravel(), intervals.DIFFERENCE) for gap in gaps]
    low, high = np.array(ends).T
    alone = (low > 0) | (high < 0)
    rule = (np.minimum(low, middle - half) > 0) | (np.maximum(high, middle + half) < 0)
    return {"all facts as independent": alone.mean(), "notebook 14's rule": rule.mean()}


pairs = (0.5, 0.5), (0.8, 0.8), (0.95, 0.95), (0.85, 0.95), (0.7, 0.9)
table = {f"{100 * a:.0f} and {100 * b:.0f} %": winners(a, b) for a, b in pairs}
(100 * pd.DataFrame(table)).round(1)  # in percent of the experiments

# %% [markdown]
# The dashed line is at 95 %, which was promised. Up to a mean of 80 % Student's interval does what it
# says, within two points, and the interval over all facts never does, since it does not know that
# streams differ. Toward 1 both fail: at a mean of 95 % Student's contains the truth in 71 % of the
# experiments and the wider of both in 75 %. The likely reason: five streams often contain none that went wrong,
# and then all five agree and their interval is too short. (At 98 % the wider one contains the truth in 100 % of
# the experiments, for a poor reason: where every fact is right, the interval over 120 facts just
# reaches down to it.)
#
# So notebook 14's intervals are to be read with care where they lie near 0 or 100 %, and many of its
# columns do. There "95 %" can mean three quarters, if streams differ as in this simulation, whose 10
# points were assumed. Ten times as many facts in each of five streams change next to nothing, 72 %.
# More streams help, though slowly: with twenty it is 84 %, and with a hundred still a little less
# than the promised 95.
#
# But what notebook 14 says about two editors it says about their *difference*. How often would its rule
# name a winner where there is none? The last table has two simulated editors on five streams of 23 facts,
# each with chances of its own in every stream, and counts, in percent of the experiments, how often the
# interval of the difference is clear of 0. In the first three columns the true means are equal, so every
# winner is a false one. The rule names one in 4.3, 3.6 and 0.6 %. It does not fail near 100 %, as the
# interval of a share does: where two editors are alike, their difference goes up as easily as down, so its
# distribution has no such skew. With all facts taken as independent a winner would be named in 17 to 41 %.
# (Notebook 14 puts 48 such questions, twelve editors against retrieval in four columns. At 4 % each, two
# false winners are to be expected if all of these differences were 0.)
#
# The price stands in the last two columns, where the true means are 10 and 20 points apart: there the
# rule finds the difference in 25 and 49 % only. So "no difference is shown", with five streams, does not
# say that there is none.
#
# ## Does the ranking turn?
#
# Now to all editors at the end of notebook 14's first stream. Most of them hold the facts. So
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
stream = long_runs.stored("14_streams", STREAM, lambda: runs_14.every(lm))
last = {row["line"]: row for row in stream if "cases" in row}  # at the end; the unedited one first


def values(column, event):  # {editor: one value per fact}
    return {name: np.array(runs_14.values(row, column, event)) for name, row in last.items()}


kept = {event: values("neighbors", event) for event in ("probability", "generation")}
names = [  # family by family, and in each the best by generation first
    name
    for family in FAMILIES.values()
    for name in sorted(family, key=lambda name: -kept["generation"][name].mean())
]
found = {
    event: [[100 * x for x in (v[n].mean(), *intervals.interval(v[n]))] for n in names]
    for event, v in kept.items()
}
axis = "neighbors that keep their true answer (%, with 95 % intervals over 24 facts)"
figure = figures.whiskers(["the unedited model", *names[1:]], found, axis, height=8.2)
figure.axes[0].axvline(50, color=plot.QUIET, linewidth=1, linestyle="--")
figure.axes[0].text(51, 1, "dashed: 50 %, a coin", color=plot.QUIET)
figure

# %% [markdown]
# Does that change the order of the editors? Take all pairs of them, and count the pairs whose order
# turns round between two events. A pair turns *surely* where its paired difference is clear of 0
# under both events, with opposite signs.

# %%
BROKEN = {"MEND", "MALMEN", "ROME, published"}  # models that their stream has ruined


def turned(column, event):  # pairs of editors whose order is another one than by generation
    found, both = [], (values(column, event), values(column, "generation"))
    for a, b in combinations(list(last)[1:], 2):
        gaps = [some[a] - some[b] for some in both]
        if round(gaps[0].mean(), 9) * round(gaps[1].mean(), 9) < 0:
            ends = [intervals.interval(gap, intervals.DIFFERENCE) for gap in gaps]
            found.append(({a, b}, all(low > 0 or high < 0 for low, high in ends)))
    return found


table = []
for column in ("held", "reworded", "neighbors"):
    for event in ("teacher_forced", "probability"):
        one, other = values(column, event), values(column, "generation")
        equal = np.mean([one[name] == other[name] for name in list(last)[1:]])
        pairs = turned(column, event)
        row = {"column": column, "event beside generation": EVENTS[event]}
        row |= {"values that are equal": f"{equal:.0%}", "of 300 pairs turn": len(pairs)}
        row["with a broken model"] = sum(bool(pair & BROKEN) for pair, _ in pairs)
        table.append(row | {"turn surely": sum(sure for _, sure in pairs)})
pd.DataFrame(table).set_index("column")

# %% [markdown]
# So the answer to the question at the top of this page is that **no turn can be shown, with 24 facts
# and these short answers**:
#
# * Teacher forcing and generation rank these editors alike, but for one pair in the column of
#   neighbors, and here that is true nearly by construction. For an answer of one token both are the
#   same event, and most values are equal. It says nothing about longer answers.
# * Probability turns 2 pairs of 300 among the facts held and 18 in each of the other columns. Most of
#   them contain one of the three broken models (MEND, MALMEN, and the published ROME, which one edit
#   has ruined). Among the neighbors (the figure) probability lifts the first two from 0 to about one
#   half, the share of a coin, and ROME above it. No pair turns surely.
#
# What the event does change is the **level**. The next table says how much, on the five further
# streams of notebook 14, whose facts were drawn at random. The intervals are over streams. The tower,
# with which each of them begins, was not drawn and is left out.

# %%
more = long_runs.stored("14_orders", STREAMS, lambda: five_streams.every(lm))
by = {event: five_streams.by_stream(more, "neighbors", event) for event in list(EVENTS)[:3]}


def shown(streams, ends=intervals.SHARE, sign=""):  # the mean over five streams, in percent
    mean = np.mean([np.mean(stream) for stream in streams])
    three = [int(round(100 * x)) for x in (mean, *five_streams.interval(streams, ends))]
    return f"{three[0]:{sign}} [{three[1]:{sign}}, {three[2]:{sign}}]"


table = []
for name in by["generation"]:
    row = {"editor": name} | {f"{EVENTS[e]} (%)": shown(some[name]) for e, some in by.items()}
    pairs = zip(by["probability"][name], by["generation"][name], strict=True)
    gaps = [np.subtract(one, other).tolist() for one, other in pairs]
    table.append(row | {"probability − generation": shown(gaps, intervals.DIFFERENCE, "+")})
two = {"The currency of Canada is the": "Canadian dollar", "The antonym of slow is": "fast"}
for prompt, true in two.items():
    (ids, best), text = first_choices(prompt, true), lm.answer(prompt, 4).strip()
    hits = f"{sum(a == b for a, b in zip(ids, best, strict=True))} of {len(ids)} tokens"
    print(f"{prompt} | {true} | unedited: {text} | teacher-forced {hits},", end=" ")
    print(f"generation {answers.begins(text, true):d}, letter by letter {text.startswith(true):d}")
pd.DataFrame(table).set_index("editor").rename(index={"base": "the unedited model"})

# %% [markdown]
# Probability flatters six editors that move neighbors, by 9 to 20 points, and published ROME, after
# whose edits the model says few true answers, by 66; all these intervals, of paired differences, are
# clear of 0. Teacher forcing and generation say nearly the same, since the answers are short. For the
# unedited model generation has even the higher mean (100 and 98 %). That can happen, since it
# overlooks case and quotation marks, and teacher forcing does not. The two printed lines are neighbors of
# these streams: "Canadian Dollar" has one letter in another case, and "fast" comes with quotation marks.
# Both answers are right, and generation counts them. Teacher forcing gives one token of two, and none.
#
# ## Longer answers
#
# The classroom's answers are short. Those of ZsRE are longer, and there the levels part (from
# [RESULTS.md](../tests/benchmarks/RESULTS.md)). The editors wrote two kinds of targets, false answers
# and true ones, so compare rows with the same answers only. The second table has texts instead of
# shares: LEMoE writes four of these facts here, and the model answers. They were chosen because their
# answers did not count as said when LEMoE's run of a hundred facts was made once more.

# %%
pd.DataFrame(runs_15.published(("GRACE", "WISE", "LEMoE", "MEMOIR"))).set_index("ZsRE").fillna("–")

# %%
chosen = (  # subject, prompt, new answer, old answer
    ("Papendrecht", "By which body of water is {} located?", "Benedenrecht", "Beneden Merwede"),
    ("Canada House", "Who was mainly responsible for the design of {}?", "Robert Smaragdis",
     "Robert Smirke"),
    ("Vrutham", "Who was the star of {}?", "Sivaji Ganesan", "Kamal Haasan"),
    ("HD 216718", "Of which constellation is {} a part?", "Piscis Major", "Aquarius"),
)  # fmt: skip
chosen = [lib.Fact(*one) for one in chosen]
rows = [
    {"prompt": x.text, "new answer": x.target_new, "before": lm.answer(x.text, 8)} for x in chosen
]
with lm.patched(lib.EDITORS["lemoe"](lm).edit(chosen), only=True):
    for row, one in zip(rows, chosen, strict=True):
        _, forced, free = asked(one.text, one.target_new, one.target_true)
        row |= {"after": lm.answer(one.text, 8), "teacher-forced, after": f"{forced:.2f}"}
        row["generation, after"] = f"{free:.0f}"
pd.DataFrame(rows).set_index("prompt").replace("", "(nothing)")

# %% [markdown]
# UltraEdit's preset has 80 % teacher-forced and says 49 %; as released it is 46 and 11 %. GRACE has
# 99 and 89 %, LEMoE 100 and 90 %, WISE 97 and 90 %, and MEMOIR 89 and 67 %. (Single answers of most
# of these runs were not stored, so there are no paired intervals.) One reason is that one wrong token
# in an answer costs teacher forcing this token, and generation the whole answer. It cannot be the
# only one: LEMoE's tokens are, rounded, 100 % right, and yet one answer in ten does not count as
# said.
#
# The four texts show another reason. The unedited model writes nothing. After the edit all tokens are
# right with the true beginning, and the model writes the new answer, but it goes on inside the last
# word. So the text names something else, as "Romeo" does, and does not count. Teacher forcing never
# asks what comes after the last token. (The four are chosen, so they do not say how often this
# happens.)
#
# The unedited model has 16 or 17 % teacher-forced and 0 % in generation. With answers like these the
# question whether a ranking turns is open, and this page does not answer it.
#
# ## What we know now
#
# * The event changes the level of a score, and a lot: teacher forcing gives the unedited model two
#   thirds of the tokens of twelve answers that nobody taught it. On short answers it hardly changes the
#   order of the editors. We read what is generated.
# * A share without its interval, and without the unedited model beside it, is no result. What is
#   drawn for the interval is what varies: facts, or streams.
# * An interval from five streams contains the truth about as often as it says in the middle, and less
#   often near 0 and 1, where a stream that goes wrong is rare and may not have been seen yet. In the
#   simulation it seldom finds a difference of two editors where there is none, and often misses one of 10
#   or 20 points.
#
# ## Where it breaks
#
# A question that nobody asks has no interval. "The tower is *not* in the city of", the same
# subject's other relations, and what follows from an edit are measured in
# [RESULTS.md](../tests/benchmarks/RESULTS.md#what-follows-from-an-edit); exercise 8.6 of the session
# lets you find such a question. And everything here was measured on a model of 135 million weights
# and some dozen facts, and ± 3 points near one half need a thousand. How long does that take, where, and what
# becomes of it **at scale**? [Notebook 16](16_at_scale.ipynb).
#
# ## References
#
# * Yang et al.: *The Mirage of Model Editing: Revisiting Evaluation in the Wild*, 2025,
#   [arXiv:2502.11177](https://arxiv.org/abs/2502.11177).
# * Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
# * Rubin: *The Bayesian Bootstrap*, 1981.
