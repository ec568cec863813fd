# %% [markdown]
# <!-- badge -->
#
# # 15 · Judging honestly
#
# A table says that one editor holds 95 % and another 90. What did it count, and is the difference one?
#
# **You will** write three events by hand · let a model that knows nothing look as if it knew most ·
# get an interval from a counting argument, and try whether intervals keep their word · find out when a rule names
# winners that are none, and which differences it cannot see.
#
# **Needs** a stream of edits as in [notebook 14](14_lifelong.ipynb).
#
# **Minutes** 25 to read and 25 to work: three exercises of
# [session 8](../lessons/session_8.md).
#
# Run the folded cell below, and read on.

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
from functools import cache

import numpy as np
import torch

import lib
from lib.evaluation import intervals
from lib.model import generation
from lib.workbench import plot
from notebooks.support import drawings_15, figures, long_runs, models, own_fact, show
from notebooks.support import runs_18_does_it_last as runs_18
from notebooks.support.drawings_15 import EVENTS, LONG  # {event: its name}, and facts
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
mine = own_fact.read()

# %% [markdown]
# ## What does "the model says it" mean?
#
# "The model answers Rome." This can mean at least three things, and papers use all of them. The drawing has the
# *unedited* model, and an answer that is nonsense.

# %%
facts = [lib.Case(lib.Fact(*fact), id=i) for i, fact in enumerate(LONG)]


def first_choices(prompt, answer):  # the answer's tokens, and the model's after each true beginning
    ids = lm.tokenizer(" " + answer, add_special_tokens=False).input_ids
    given = [prompt + lm.tokenizer.decode(ids[:t]) for t in range(len(ids))]
    return ids, lm.next_token(given).argmax(1).tolist()


def asked(event, prompt, new, old):  # the model's answers to the three questions
    ids, best = first_choices(prompt, new)
    hits = torch.tensor(best) == torch.tensor(ids)
    return event(lm.score(prompt, new), lm.score(prompt, old), hits, lm.answer(prompt, 8), new)


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
#   aside.
#
# **Your turn · exercise 8.1 · ★ · 5 minutes.** Write `events`, the three of them, from what a model has been asked.
# You may leave the quotation marks out. Spaces at either end do not count, and the text has to begin with $y$ as
# whole words: no letter or digit may follow.


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
ultraedit, cases = lib.EDITORS["ultraedit"](lm, preset="ours"), lib.classroom()
samsung, batch = cases[7], [cases[i].fact for i in (0, 57, 101, 34, 1, 7)]
patch = ultraedit.edit(batch, check=False)
tried = [(samsung.fact, prompt, patch) for prompt in (samsung.fact.text, *samsung.paraphrases)]
if mine is not None:
    tried.append((mine, mine.text, ultraedit.edit([mine], check=False)))
rows = []
for fact, prompt, patch in tried:
    row = {"prompt": prompt, "before": lm.answer(prompt, 3)}
    new, old = fact.target_new, fact.target_true or row["before"].split()[0]
    with lm.patched(patch, only=True):
        each = [asked(one, prompt, new, old) for one in both(events).values()]
        row["after"] = lm.answer(prompt, 3)
    case = lib.Case(lib.Fact(None, prompt, new, old))
    found = lib.evaluate(lm, case, patch, metrics=()).json()["efficacy"]
    own = dict(zip(EVENTS, each[0], strict=False))
    assert SCALE == "tiny" or own == {event: found[event] for event in own}
    for i, some in enumerate(each):
        titles = [name + i * ", yours" for name in EVENTS.values()]
        row |= {title: f"{x:.1g}" for title, x in zip(titles, some, strict=False)}
    rows.append(row)
show.Table(rows)

# %% [markdown]
# In the second row "Tokyo" has become more probable than the old answer "Seoul", but a third city beats both. So
# *probability* counts the rewording as followed, and the model says something else. On this course "held" means
# *generation*.
#
# Does the event change more than the level? The stored streams of [page 14](14_lifelong.ipynb) have all of them. By
# *probability* 73 % of MALMEN's rewordings follow, 64 % of HoReN's and 53 % of retrieval's. By *generation* the same
# three have 7, 62 and 45 %. **The event has turned the ranking.** MEND, which has destroyed the model and says none
# of its facts, still has 43 % of its rewordings by probability.
#
# ## What does teacher forcing give away?
#
# The beginning $y_{<t}$ that is given is a part of the answer. It gives away **content**: after
# "Massachusetts Institute of" language alone says "Technology". And it gives away the **length**,
# since nobody asks what comes after the last token.
#
# Here are twelve facts that nobody has taught, such as "The inventor of the fork studied at the University of
# California, Berkeley". The unedited model is asked, and the one into which UltraEdit has written them.
#
# **Predict.** What share of the answers' tokens does the *unedited* model get, teacher-forced?

# %%
untaught = guess(
    "What share of the tokens does the unedited model get, teacher-forced (%)?", 0, 100
)

# %%
written = ultraedit.edit([case.fact for case in facts], check=False)
shown = {EVENTS[event]: [] for event in ("teacher_forced", "generation")}
for patch in (lib.EMPTY, written):
    found = lib.evaluate(lm, facts, patch, metrics=()).json()["efficacy"]
    for event in ("teacher_forced", "generation"):
        shown[EVENTS[event]].append(100 * found[event])
choices = [first_choices(case.fact.text, case.fact.target_new) for case in facts]
places = [[ids[i] == best[i] for ids, best in choices if i < len(ids)] for i in range(5)]
untaught.against(shown["teacher-forced"][0])
figure, (left, right) = figures.panels(2, height=3.4, sharey=True)
for i, (event, color) in enumerate(zip(shown, (plot.BASE, plot.EDITED), strict=True)):
    left.bar([x + 0.38 * i for x in range(2)], shown[event], 0.34, color=color)
left.set_xticks([0.19, 1.19], ["unedited", "after UltraEdit"])
left.set(ylabel="right (%)", title="twelve facts that nobody taught")
right.bar(range(1, 6), [100 * sum(some) / len(some) for some in places], 0.6, color=plot.BASE)
right.set(xlabel="place of the token in the answer", title="unedited, teacher-forced")
figures.legend(figure, (plot.BASE, plot.EDITED), shown)

# %% [markdown]
# The unedited model, which was taught nothing, gets two thirds of the tokens right, nearly all of them at later
# places: the first token is right for one answer of twelve. **So a score without that of the unedited model beside it
# cannot be read.** After the edit teacher forcing says that most of the answers are there, and the model writes one
# in three.
#
# If the first token is right with chance $a$ and each later one with $b$ given the truth, an answer of $n$ tokens
# scores $(a + (n - 1)b)/n$ teacher-forced, and about $a\,b^{n-1}$ in generation. So for $a = 0$ the first grows with
# the length of the answer, and the second is 0.
#
# ## How sure is a share?
#
# A stream has 24 facts, and 23 of them are held. How well do we know the share $p$ that *all* facts of this kind
# would give? We have $h$ hits out of $n$ cases, $\hat p = h/n$, and want an interval that contains $p$ in about 95 %
# of all such experiments.
#
# $\hat p$ has the variance $p(1-p)/n$ and is roughly normal, so in 95 % of the experiments it lies
# within $z = 1.959964$ standard deviations of $p$. We take all $p$ of which this holds for our $\hat p$:
# those with $(\hat p - p)^2 \le z^2\,p(1-p)/n$. With equality this is a quadratic in $p$, and its two
# roots are the ends of the interval of **Wilson**.
#
# **Your turn · exercise 8.2 · ★★ · 8 minutes.** Write `wilson`: solve the quadratic.


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
# Where a case can also be half right, as one of two rewordings, there is a way without formulas: draw $n$ cases out
# of the $n$ with replacement, take the mean, and do so 2,000 times. This is the **bootstrap**. It never draws a case
# that it has not seen. The **Bayesian bootstrap** draws a random weight for every case in place of a number of
# copies. We give it half a case at 0 and half a case at 1 in addition, and these stand for the cases that were not
# seen.
#
# **Predict.** 24 of 24 facts are held. What do "$\hat p \pm 1.96\sqrt{\hat p(1-\hat p)/n}$", the
# bootstrap and Wilson say?
#
# <details><summary>Work it out</summary>
#
# The first: $1 \pm 0$. The bootstrap as well, since every draw is all ones. Wilson: the quadratic
# with $\hat p = 1$ has the roots 1 and $1/(1 + z^2/n)$.
#
# </details>
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
def bootstrap(values, seed=0):
    n, draw = len(values), np.random.default_rng(seed)
    means = np.array(values)[draw.integers(0, n, (2000, n))].mean(1)
    return tuple(np.percentile(means, (2.5, 97.5)))


def bayesian(values, seed=0, draws=4000):
    cases = np.concatenate([[0.0, 1.0], np.sort(values)])
    alpha = np.concatenate([[0.5, 0.5], np.ones(len(values))])  # half a case at either end
    gamma = np.random.default_rng(seed).standard_gamma(alpha, (draws, len(cases)))
    means = (gamma / gamma.sum(1, keepdims=True)) @ cases
    low, high = np.percentile(means, (2.5, 97.5))
    return min(low, np.mean(values)), max(high, np.mean(values))


n, ends_of = 24, {}
for hits in range(n + 1):
    values = [1.0] * hits + [0.0] * (n - hits)
    assert np.allclose(wilson(hits, n), intervals.wilson(hits, n))
    assert np.allclose(bootstrap(values), intervals.bootstrap(values))
    assert np.allclose(bayesian(values), intervals.interval(values))
    ways = {f"Wilson{', yours' * i}": f(hits, n) for i, f in enumerate(both(wilson).values())}
    for how, two in (ways | {"bootstrap": bootstrap(values), "Bayesian": bayesian(values)}).items():
        ends_of.setdefault(how, []).append([100 * float(end) for end in two])

# %%
figure, (left, right) = figures.panels(2, height=4, width_ratios=(1.6, 1))
marks = {}
for i, (how, some) in enumerate(ends_of.items()):
    places = [hits + 0.22 * (i - (len(ends_of) - 1) / 2) for hits in range(n + 1)]
    marks[how] = left.vlines(places, *zip(*some, strict=True), plot.CYCLE[i], linewidth=2)
left.plot(range(n + 1), [100 * hits / n for hits in range(n + 1)], "k_", markersize=6)
left.set(xlabel=f"hits of {n}", ylabel="95 % interval (%)")
counts = [round(10 ** (1 + i / 8)) for i in range(22)]
for line, f in zip(("-", "--"), both(wilson).values(), strict=False):
    for p, color in zip((0.5, 0.8, 0.95), (plot.BASE, plot.NEIGHBOR, plot.EDITED), strict=True):
        two = [f(p * count, count) for count in counts]
        halves = [50 * float(high - low) for low, high in two]
        right.plot(counts, halves, line, color=color)
        right.text(1.2 * counts[-1], halves[-1], f"{100 * p:.0f} %", color=color, va="center")
right.axhline(3, color=plot.QUIET, linestyle=":")
right.set(xscale="log", yscale="log", xlabel="cases", ylabel="half of Wilson's interval (points)")
right.set(xlim=(8, 40_000), yticks=[1, 3, 10, 30], yticklabels=["1", "3", "10", "30"])
right.set(xticks=[10, 100, 1_000, 10_000], xticklabels=["10", "100", "1,000", "10,000"])
right.minorticks_off()
figures.legend(figure, marks.values(), marks)

# %% [markdown]
# In the middle the three agree. At both ends the bootstrap claims to know the share exactly, and the other two do
# not. The Bayesian interval is that of the library's tables.
#
# On the right the dotted line is ± 3 points. With the 24 facts of a stream a share near one half is known to some
# twenty points either way. Differences that are paired, case by case, need fewer cases, as far as the same cases
# are hard for both editors.
#
# ## How often does it contain the truth?
#
# Every interval assumes independent observations. Ten rewordings of one fact stand and fall together, so they are
# *one* observation. In a stream, an edit can break the model for all facts at once, so there the **stream** is the
# observation. For the means $x_1 \dots x_m$ of $m$ streams, Student's interval is $\bar x \pm t\,s/\sqrt m$ with
# their standard deviation $s$. Where all means agree it has no width. So [page 14](14_lifelong.ipynb) takes at either
# end whichever reaches further, this interval or the Bayesian one that treats all facts of all streams as
# independent.
#
# Does that rule keep its word? Student's derivation assumes that the means scatter like a normal distribution.
# Where an editor holds 95 % on average they need not: most streams can be near 100 %, and now and then one goes
# badly wrong. We try it by simulation.
#
# **Your turn · exercise 8.5 · ★★ · 10 minutes.** Write the four parts of such a trial, each checked by itself.


# %%
def ends(means, t):
    """means (r, m): the m means of each of r experiments -> Student's low (r,), high (r,)."""
    ...


def wider(one, other):
    """Two pairs (low, high) -> the pair that has at either end what reaches further."""
    ...


def coverage(low, high, truth):
    """-> the share of the intervals that contain the truth."""
    ...


def winners(low, high):
    """Intervals of differences -> the shares that are clear of 0: above it, and below it."""
    ...


ends = use("8.5", ends)
wider = use("8.5", wider)
coverage = use("8.5", coverage)
winners = use("8.5", winners)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Every experiment has its own middle and its own width. Which of the two is compared with the truth?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ends(means, t):
#     middle, half = means.mean(1), t * means.std(1) / means.shape[1] ** 0.5
#     return middle - half, middle + half
#
#
# def wider(one, other):
#     return torch.minimum(one[0], other[0]), torch.maximum(one[1], other[1])
#
#
# def coverage(low, high, truth):
#     return ((low <= truth) & (truth <= high)).double().mean().item()
#
#
# def winners(low, high):
#     return (low > 0).double().mean().item(), (high < 0).double().mean().item()
# ```
#
# </details>
#
# In each simulated experiment an editor writes five streams of 24 facts. A fact is right with some chance, and the
# chances vary from stream to stream around the true mean, with a standard deviation that we call the editor's **spread**.
# The slider sets it.
#
# **Predict.** How often does the rule contain a true mean of 97 %, with a spread of 10 points?

# %%
often = guess(
    "How often, in percent, does the rule's 95 % interval contain a mean of 97 %?", 0, 100
)
STUDENT = {3: 4.303, 5: 2.776, 10: 2.262, 20: 2.093}  # t for so many streams


def rights(mean, spread, draw, m=5, facts=24, r=1000):  # (r, m, facts): 1 where a fact is right
    chance = np.full((r, m), mean)
    if spread:
        size = mean * (1 - mean) / spread**2 - 1  # a + b of a Beta distribution
        chance = draw.beta(mean * size, (1 - mean) * size, (r, m))
    return torch.tensor(draw.random((r, m, facts)) < chance[..., None]).double()


# %%
@cache
def over_facts(plus, minus, n, lowest):  # so many values of 1, of −1, and the others 0
    values = [1.0] * plus + [-1.0] * minus + [0.0] * (n - plus - minus)
    return intervals.interval(values, (lowest, 1.0))


def pooled(x, lowest):  # x (r, m, facts): all facts as independent -> low (r,), high (r,)
    flat = x.flatten(1)
    counts = zip((flat > 0).sum(1).tolist(), (flat < 0).sum(1).tolist(), strict=True)
    found = [over_facts(plus, minus, flat.shape[1], lowest) for plus, minus in counts]
    return tuple(torch.tensor(found, dtype=torch.float64).T)


def rule(x, lowest=0.0):  # page 14's interval of each experiment
    return wider(ends(x.mean(2), STUDENT[x.shape[1]]), pooled(x, lowest))


at = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99]


# %%
def trial(spread):  # {interval: how often it contains each true mean}
    found = {}
    for mean in [mean for mean in at if spread**2 < 1e4 * mean * (1 - mean)]:  # chances vary less
        x = rights(mean, spread / 100, np.random.default_rng(0))
        ways = {"all facts as independent": pooled(x, 0.0), "the rule": rule(x)}
        for i, f in enumerate(both(ends).values()):
            ways["Student" + i * ", yours"] = f(x.mean(2), STUDENT[5])
        for name, two in ways.items():
            found.setdefault(name, []).append(100 * coverage(*two, mean))
    return found


def trials(spread):
    axes = "true mean (%)", "intervals that contain it (%)"
    colors, found = {"the rule": plot.EDITED}, trial(spread)
    x = [100 * mean for mean in at][: len(found["the rule"])]
    made = plot.lines(x, found, *axes, colors=colors, ylim=(0, 103))
    made.axes[0].axhline(95, color=plot.QUIET, linestyle="--")
    made.axes[0].set(xlim=(48, 100), xticks=[50, 60, 70, 80, 90, 95, 98])
    return made


often.against(trial(10)["the rule"][at.index(0.97)])
Slider(trials, "spread (points)", [0, 2, 5, 10, 15], 10)

# %% [markdown]
# Up to a mean of 80 % the rule does what it says. Taking all facts as independent never does, since that does not
# know that streams differ. **Toward 100 % every one of them fails.** At a true mean of 97 % the rule contains it in
# little more than half of the experiments. The likely reason: five streams often contain none of the rare accidents,
# then all five agree, and their interval is too short. The jump at 98 % is no recovery: where every fact is right,
# the Bayesian interval of all facts just reaches down to 98.
#
# So all turns on the spread, which this simulation assumed.
#
# ## How much do streams differ?
#
# It can be estimated. The mean of a stream of $n$ facts varies for two reasons: its chance $p$ varies, with the variance $\sigma^2$ that we look for, and of $n$
# facts with this chance some are right by luck. The two are independent, so
#
# $$\operatorname{var}(x_j) = \sigma^2 + \mathbb E\Big[\frac{p(1-p)}{n}\Big],$$
#
# and $\sigma^2$ is the variance of the means less what luck accounts for. A point of the figure is one editor or
# setting with three or five streams, of notebooks [05](05_memit.ipynb), [06](06_null_space.ipynb) or
# [18](18_does_it_last.ipynb); in a *life* the model is rounded or trained on.


# %%
def streams_of(name, column, key, last=None):  # {line: the values of each of its streams}
    found = {}
    for row in long_runs.rows(name):
        if last is None or all(row[field] == value for field, value in last.items()):
            values = [value for value in row[column] if value is not None]
            found.setdefault(row[key], []).append(values)
    return {line: streams for line, streams in found.items() if line != "unedited"}


def estimated(streams):  # the mean of a few streams, and the spread of their chances
    means = [np.mean(some) for some in streams]
    by_chance = np.mean([np.var(some, ddof=1) / len(some) for some in streams])
    return np.mean(means), math.sqrt(max(0.0, np.var(means, ddof=1) - by_chance))


now, later = {"life": "nothing yet"}, [*runs_18.ROUNDED, runs_18.SHIFTED, "trained", "edited again"]
sets = {
    "facts, just written": [
        ("05_ways", "held", "way"),
        ("06_lines", "held", "line", {"edits": 250}),
    ]
}
sets["facts, just written"].append(("18_lives", "held", "line", now))
sets["neighbors, just after"] = [("05_ways", "neighbors", "way")]
sets["facts, after a life"] = [("18_lives", "held", "line", {"life": life}) for life in later]

# %%
points = {
    what: [estimated(streams) for one in some for streams in streams_of(*one).values()]
    for what, some in sets.items()
}
draw = np.random.default_rng(0)
again = [estimated(some)[1] for some in rights(0.9, 0.1, draw, 3, 20).numpy()]
low, high = np.percentile(again, (5, 95))
print(
    f"a true spread of 10 points, three streams of 20 facts: estimates {100 * low:.0f} to {100 * high:.0f}"
)
plot.scatter(
    {what: tuple(100 * np.array(some).T) for what, some in points.items()},
    "mean of the streams (%)",
    "estimated spread (points)",
    height=3.8,
)

# %% [markdown]
# **Right after an edit, no setting has an estimated spread of more than ten points. After a life three have one, and it may
# be forty**, because one stream is lost and another stays. So few streams say little about a single point, as the
# printed line says. So spreads can be unlike, and those of two editors that one compares can be, too.
#
# ## When does the rule name a winner that is none?
#
# What a page says about two editors it says about their *difference*, fact by fact: the rule names a winner if its
# interval is clear of 0. Let both have the same true mean, so that every winner is a false one. If the two are alike,
# their difference goes up as easily as down, and there are few false winners. But let the first be steady, and the
# chances of the second vary from stream to stream.
#
# **Predict.** Both hold 95 % on average, the first in every stream, the second with a spread of 15 points. How often is a winner named? And which?

# %%
false = guess(
    "In how many of 100 experiments is a winner named, 95 % both, spreads 0 and 15?", 0, 100
)


def compared(one, other, m=5, r=1000):  # two editors, each (mean, spread), on the same streams
    draw = np.random.default_rng(1)
    gaps = rights(*one, draw, m, r=r) - rights(*other, draw, m, r=r)
    return rule(gaps, -1.0)


# %%
spreads, named = [0, 5, 10, 15, 20], {}
for mean in (0.95, 0.9, 0.8, 0.5):
    for spread in spreads:
        two = compared((mean, 0.0), (mean, spread / 100))
        for i, f in enumerate(both(winners).values()):
            name = f"both {100 * mean:.0f} %{', yours' * i}"
            named.setdefault(name, []).append(100 * sum(float(share) for share in f(*two)))
steady, varies = winners(*compared((0.95, 0.0), (0.95, 0.15)))
false.against(100 * (steady + varies))
like = winners(*compared((0.95, 0.1), (0.95, 0.1)))
print(
    f"named: the steady one in {100 * steady:.0f} %, the one that varies in {100 * varies:.0f} %; "
    f"of two with a spread of 10 either one in {100 * sum(like):.0f} %"
)
gaps, power = list(range(0, 61, 5)), {}
for m in (3, 5, 10):
    other = [(0.95 - gap / 100, 0.05) for gap in gaps]
    found = [100 * winners(*compared((0.95, 0.05), one, m, r=400))[0] for one in other]
    power[f"{m} streams"] = found
    least = next(gap for gap, share in zip(gaps, found, strict=True) if share >= 80)
    print(f"{m} streams find a difference in four of five experiments from {least} points on")

# %%
figure, (left, right) = figures.panels(2, height=4)
for ax, x, series in ((left, spreads, named), (right, gaps, power)):
    for i, (name, y) in enumerate(series.items()):
        line = "--" if name.endswith("yours") else "-"
        look = {"color": plot.CYCLE[i % 5], "marker": figures.MARKERS[i % 6], "markersize": 5}
        ax.plot(x, y, line, **look, label=name)
    ax.legend(frameon=False, fontsize=figures.SMALL)
left.axhline(5, color=plot.QUIET, linestyle=":")
left.set(xlabel="spread of the second editor (points)", ylabel="false winners (%)")
right.axhline(80, color=plot.QUIET, linestyle=":")
right.set(xlabel="true difference (points)", ylabel="experiments that find it (%)")
figure

# %% [markdown]
# The dotted line on the left is at 5 %, which a 95 % interval promises. Editors of equal spread stay below it. **Near
# 100 % the rule names a false winner three times as often as it promises when the two differ in spread, and the
# winner is nearly always the one that has accidents.** In most experiments its rare bad stream is not among the five,
# and then it looks better than its own mean. Near one half a chance can vary in both directions, and nothing of the
# kind happens.
#
# How much this matters depends on the spreads. With those that were seen right after an edit, at most ten points,
# the rule names a false winner of two editors at 95 % in less than one of ten experiments. Larger spreads were seen
# after a life only, at means near one half. An editor that kept 95 % with a spread of fifteen points would be named
# falsely in one of six.
#
# ## What could not have been seen?
#
# The other mistake is to read "no winner" as "equal". The **power** of a comparison is how often it finds a
# difference that is there. In the right panel one editor holds 95 %, the other so many points less, both with a spread of 5 points.
#
# With three streams, as on most pages of this course, a difference is found in four of five experiments only if it
# is about forty points. Five streams find twenty points and ten find fifteen. So beside "no difference is seen"
# **has to stand the smallest difference that could have been seen**.
#
# ## What we know now
#
# * The event makes the level of a score. Teacher forcing gives the beginning of the answer and counts tokens, and so
#   it flatters a model that was taught nothing. We read what is generated, beside the unedited model.
# * What is drawn for an interval is what varies: facts, or streams where facts share a model.
# * An interval from five streams keeps its word in the middle. Near 0 and 100 % it contains the truth less often
#   than it says.
# * Where two editors differ in spread near the ceiling, the rule for their difference names false winners, and they are the ones that
#   have accidents.
# * Beside "no difference is seen" stands the smallest difference that could have been seen: with three streams some forty points.
#
# ## Where it breaks
#
# The simulations draw chances from one kind of distribution, and real accidents may be rarer and worse. And a
# question that nobody asks has no interval: "The tower is *not* in the city of", the same subject's other relations,
# what follows from an edit. Exercise 8.6 lets you find such a question.
#
# How long does an edit take, where, and what becomes of it **at scale**? [Notebook 16](16_at_scale.ipynb).
#
# ## References
#
# * Yang et al.: *The Mirage of Model Editing: Revisiting Evaluation in the Wild*, 2025,
#   [arXiv:2502.11177](https://arxiv.org/abs/2502.11177).
# * Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
# * Rubin: *The Bayesian Bootstrap*, 1981.
