# %% [markdown]
# <!-- badge -->
#
# # 15 · Judging honestly
#
# A table shows that one editor holds 95% and another 90. What was counted, and does the difference mean anything?
#
# **You will** write three success criteria · make a model that learned nothing look as if it knew most facts · derive
# an interval from a counting argument · simulate experiments with known true means, to see which rule for finding the
# best editor has the error rate it claims, and how small a difference it can detect.
#
# **Needs** a stream of edits as in [notebook 14](14_lifelong.ipynb).
#
# **Minutes** 25 to read and 45 to work: three exercises of [session 8](../lessons/session_8.md), the last in four
# steps.

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
from notebooks.support import drawings_15, figures, models, own_fact, show
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.drawings_15 import EVENTS, LONG  # {event: its name}, and facts
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import DETECTED, STUDENT, by_stream, may_be_best
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
mine = own_fact.read()

# %% [markdown]
# ## What does "the model says it" mean?
#
# "The model answers Rome." This can mean at least three things, and papers use all of them. The drawing shows the
# *unedited* model and a nonsense answer.

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
# With $y$ the new answer, $|y|$ its number of tokens, $o$ the old answer and $x$ the prompt, the criteria, called
# events in the code, are:
#
# * **probability**: $\frac1{|y|}\log p(y \mid x) > \frac1{|o|}\log p(o \mid x)$. The new answer beats the old answer; a
#   third may beat both.
# * **teacher-forced**: the fraction of positions $t$ with $\arg\max p(\cdot \mid x, y_{<t}) = y_t$. At every step the
#   true beginning of the answer is given.
# * **generation**: the model generates freely, and its text begins with $y$, ignoring case and quotation marks.
#
# **Your turn · exercise 8.1 · ★ · 5 minutes.** Write `events`, which computes all three criteria from the model's
# outputs. You may leave the quotation marks out. Ignore spaces at either end. The text has to begin with $y$ as whole
# words: no letter or digit may follow.


# %%
def events(new, old, hits, text, target):
    """new, old: log-probabilities of the tokens of both answers; hits (n,): whether each token of
    the target is the first choice; text: what was written -> three numbers from 0 to 1."""
    ...


events = use("8.1", events)

# %% [markdown]
# <details><summary>Hint</summary>
#
# "Romeo" begins with the letters of "Rome". Which character shows that it is another word, and is there always such a
# character?
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
# One token: teacher-forced means that $y$ is the most probable token. Generation produces that token first, and the
# most probable token is more probable than a one-token $o$. So generation ⇔ teacher-forced ⇒ probability (except for
# word boundaries: "Romeo"). Longer: if all tokens are right given the true beginning, then the model generates that
# beginning itself, and both agree (again except for word boundaries). They differ when only *some* tokens are right:
# teacher forcing counts each token, generation stops at the first mistake. Neither implies probability any longer,
# because that criterion compares means over tokens, and the tokens of $o$ can be even more probable.
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
# *probability* counts the rewording as a success, although the model gives another answer. In this course "held" means
# *generation*.
#
# Does the criterion change more than the level? The stored streams of [notebook 14](14_lifelong.ipynb) contain all
# three.

# %%
stored = runs_14.stored()


def follow(name, event):  # the rewordings that follow, in %, for each stream
    some = [runs_14.values(row, "reworded", event) for row in stored if row["line"] == name]
    return [100 * np.mean(one) for one in some]


for event in ("probability", "generation"):
    gaps = np.subtract(follow("MALMEN", event), follow("retrieval", event)).tolist()
    ends = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*by_stream(gaps))
    print(f"MALMEN less retrieval, by {event}: {ends} points")
named = "MALMEN", "retrieval", "MEND"
shown = {n: {say: f"{np.mean(follow(n, e)):.0f}" for e, say in EVENTS.items()} for n in named}
show.Table([{"editor": n, **of} for n, of in shown.items()])

# %% [markdown]
# **The criterion reverses the ranking**: MALMEN leads retrieval by probability, and retrieval leads by generation.
# MEND has destroyed the model, which then gives none of the new answers, but by *probability* many rewordings still
# count as successes.
#
# ## What does teacher forcing give away?
#
# The given beginning $y_{<t}$ is a part of the answer. It gives away **content**: after reading "Massachusetts
# Institute of", general language is enough to predict "Technology". And it gives away the **length**, because no token
# after the last is tested.
#
# Here are twelve facts that the model was never taught, such as "The inventor of the fork studied at the University of
# California, Berkeley". We test the unedited model, and the model after writing them with UltraEdit.
#
# **Predict.** What percentage of the answers' tokens does the *unedited* model get right, teacher-forced?

# %%
untaught = guess(
    "What percentage of the tokens does the unedited model get, teacher-forced?", 0, 100
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
left.set(ylabel="right (%)", title="twelve facts never taught")
right.bar(range(1, 6), [100 * sum(some) / len(some) for some in places], 0.6, color=plot.BASE)
right.set(xlabel="position of the token in the answer", title="unedited, teacher-forced")
figures.legend(figure, (plot.BASE, plot.EDITED), shown)

# %% [markdown]
# The unedited model, without being taught anything, gets two thirds of the tokens right, almost all of them at later
# positions: the first token is right for one answer of twelve. **So you cannot interpret a score without the unedited
# model's score next to it.** After the edit, teacher forcing shows most of the answers to be there, while the model
# generates four of the twelve.
#
# If the first token is right with chance $a$ and each later token with $b$ given the truth, an answer of $n$ tokens
# scores $(a + (n - 1)b)/n$ teacher-forced, and about $a\,b^{n-1}$ in generation. So for $a = 0$ the first grows with
# the length of the answer, and the second is 0.
#
# ## How certain is a proportion?
#
# Four of twelve are generated. How well do we know the proportion $p$ that *all* facts of this kind would give? We have
# $h$ hits out of $n$ cases, $\hat p = h/n$, and want an interval that contains $p$ in about 95% of all such
# experiments.
#
# $\hat p$ has the variance $p(1-p)/n$ and is roughly normal, so in 95% of the experiments it is within $z = 1.959964$
# standard deviations of $p$. We keep every $p$ for which this holds given our $\hat p$: those with
# $(\hat p - p)^2 \le z^2\,p(1-p)/n$. With equality this is a quadratic in $p$, and its two roots are the ends of
# **Wilson**'s interval.
#
# **Your turn · exercise 8.2 · ★★ · 8 minutes.** Write `wilson` by solving the quadratic.


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
# If a case can also be half right, as with one of two rewordings, we can do without formulas: sample $n$ cases out of
# the $n$ with replacement and compute the mean, repeating this 2,000 times. This is the **bootstrap**. It never draws a
# case it hasn't seen. The **Bayesian bootstrap** gives every case a random weight instead of a number of copies. We add
# half a case at 0 and half a case at 1, representing unseen cases.
#
# **Predict.** 24 of 24 facts are held. Which intervals do "$\hat p \pm 1.96\sqrt{\hat p(1-\hat p)/n}$", the bootstrap
# and Wilson give?
#
# <details><summary>Work it out</summary>
#
# The first: $1 \pm 0$. The bootstrap gives the same, because every sample is all ones. Wilson: the quadratic with
# $\hat p = 1$ has the roots 1 and $1/(1 + z^2/n)$.
#
# </details>
#
# **Predict.** How many cases do you need for an interval of $\pm 3$ points if the score is near 50%? Near 95%?
#
# <details><summary>Work it out</summary>
#
# $1.96\sqrt{p(1-p)/n} = 0.03$ gives $n = 4268\,p(1-p)$: 1,067 at one half, 203 at 0.95. And halving the width always
# takes four times as many.
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


print("four of twelve: [{:.0f}, {:.0f}] %".format(*(100 * float(end) for end in wilson(4, 12))))
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
left.set(xlabel=f"hits of {n}", ylabel="95% interval (%)")
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
# In the middle the three agree. At both ends the bootstrap claims to know the proportion exactly, unlike the other two.
# The library's tables use the Bayesian interval.
#
# On the right the dotted line is ± 3 points. Paired differences, case by case, need fewer cases, as far as the same
# cases are hard for both editors.
#
# ## How often does it contain the truth?
#
# Every interval assumes independent observations. Ten rewordings of one fact succeed or fail together, so they are
# *one* observation. In a stream, an edit can break the model for all facts at once, so there the **stream** is the
# observation. For the means $x_1 \dots x_m$ of $m$ streams, Student's interval is $\bar x \pm t\,s/\sqrt m$ with their
# standard deviation $s$. If all means agree, it has no width. So at either end our tables use whichever extends
# further, this interval or the Bayesian interval treating all facts of all streams as independent.
#
# Does that rule keep its promise? We test it in a simulated world whose truth we know. Every fact has a **difficulty**,
# a standard normal number, and an editor whose true mean is $p$ gets it right if the difficulty is below the quantile
# $\Phi^{-1}(p)$. All facts of a stream are affected together, so a part $r$ of the variance belongs to the stream. A
# fraction $c$ of that part is the same for all editors:
#
# $$\text{difficulty} = \sqrt r\,z + \sqrt{1-r}\;\text{luck}, \qquad
# z = \sqrt c\;\text{hard} + \sqrt{1-c}\;\text{own}.$$
#
# The right sides are independent standard normal numbers: *hard* one for each stream, *own* one for each editor and
# stream, and *luck* one for each editor and fact.
#
# **Your turn · exercise 8.5, first step · ★★★ · 8 minutes.** Write `world`, which returns whether each fact is right.


# %%
def world(means, hard, own, luck, r, c):
    """means, r (E,), hard (m,), own (E, m), luck (E, m, facts), a number -> 0 or 1 (E, m, facts)."""
    ...


world = use("8.5", world)

# %% [markdown]
# <details><summary>Hint</summary>
#
# PyTorch has $\Phi^{-1}$ as `torch.special.ndtri`. How large is the variance of the difficulty, and how large should it
# be?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def world(means, hard, own, luck, r, c):
#     z = c**0.5 * hard + (1 - c) ** 0.5 * own
#     r = r[:, None, None]
#     difficulty = r.sqrt() * z[..., None] + (1 - r).sqrt() * luck
#     return (difficulty < torch.special.ndtri(means)[:, None, None]).double()
# ```
#
# </details>
#
# What value of $r$ is realistic? The mean of a stream varies for two reasons: the chance that a fact is right varies
# from stream to stream, with a standard deviation $\sigma$ that we call the editor's **spread**, and of $n$ facts
# with a chance $p$ some are right by luck. So $\operatorname{var}(x_j) = \sigma^2 + \mathbb E[p(1-p)/n]$, and
# subtracting the part due to luck from the variance of the means estimates $\sigma^2$. Each point in the figure is an
# editor from [notebook 14](14_lifelong.ipynb), with lines showing the spreads in our simulation.


# %%
lines = [*runs_14.LINES]
grid = torch.linspace(0.0, 0.95, 96).double()  # values of r


def spreads(mean):  # (96,): the standard deviation of a stream's chance, for each r of the grid
    z = torch.linspace(-6, 6, 601).double()
    at = torch.special.ndtri(torch.tensor(mean).double()) - grid.sqrt()[:, None] * z
    chance = torch.special.ndtr(at / (1 - grid).sqrt()[:, None])
    return ((chance - mean).square() @ torch.softmax(-z * z / 2, 0)).sqrt()


def estimated(streams):  # the mean of a few streams, and the spread of their chances
    means = [np.mean(some) for some in streams]
    by_chance = np.mean([np.var(some, ddof=1) / len(some) for some in streams])
    return np.mean(means), math.sqrt(max(0.0, np.var(means, ddof=1) - by_chance))


points, parts = {}, {}
for column in runs_14.COLUMNS:
    found = [estimated(runs_14.streams(stored, column)[name]) for name in lines]
    points[column] = tuple(100 * np.array(found).T)
    parts[column] = [np.interp(sd, spreads(min(max(mean, 0.02), 0.98)), grid) for mean, sd in found]
made = plot.scatter(points, "mean of the streams (%)", "estimated spread (points)", height=3.8)
middles = np.linspace(0.02, 0.98, 49)
for r in (0.05, 0.2, 0.5):
    curve = [100 * spreads(mean)[(grid - r).abs().argmin()] for mean in middles]
    made.axes[0].plot(100 * middles, curve, ":", color=plot.QUIET)
    made.axes[0].text(50, curve[24] + 0.4, f"r = {r:g}", color=plot.QUIET, ha="center")
print("r, mean of all editors:", {what: f"{np.mean(some):.2f}" for what, some in parts.items()})
made

# %% [markdown]
# Most spreads are small. A few are not, most often on unrelated texts. With only a few streams, a single point shows
# little.
#
# **Predict.** Suppose $r = 0.2$, ten streams of eighty facts and a true mean of 80%. How often does the Bayesian
# interval, treating all of these facts as independent, contain it?

# %%
often = guess("How often, in percent, does the interval of all facts contain 80 %?", 0, 100)
STREAMS, draws = 10, torch.Generator().manual_seed(0)
AT = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99]  # true means
over_facts = cache(lambda hits, n: intervals.interval([1.0] * hits + [0.0] * (n - hits)))


def normal(*shape):
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def student(means):  # (R, m) -> the ends of each interval
    middle, m = means.mean(1), means.shape[1]
    half = STUDENT[m] * means.std(1) / m**0.5
    return torch.stack([middle - half, middle + half])


def pooled(x):  # (R, m, facts), all facts as independent
    hits = x.sum((1, 2)).int().tolist()
    return torch.tensor([over_facts(one, x[0].numel()) for one in hits], dtype=torch.float64).T


def contained(facts, m):  # {interval: how often it contains each true mean, in %}
    found, each = {}, torch.ones(200 if SCALE == "tiny" else 1000).double()
    for mean in AT:
        numbers = [normal(len(each), m), normal(len(each), m, facts)]
        for i, f in enumerate(both(world).values()):
            x = f(mean * each, normal(m), *numbers, 0.2 * each, 0.0)
            two, all_facts = student(x.mean(2)), pooled(x.nan_to_num())
            wider = torch.minimum(two[0], all_facts[0]), torch.maximum(two[1], all_facts[1])
            ways = {"all facts as independent": all_facts, "Student": two, "the wider": wider}
            for name, (low, high) in ways.items():
                share = 100 * ((low <= mean) & (mean <= high)).double().mean().item()
                found.setdefault(name + i * ", yours", []).append(share)
    return found


# %%
def trials(m):
    made, axes = figures.panels(2, height=3.8, sharey=True)
    for ax, facts in zip(axes, (10, 80), strict=True):
        for name, y in contained(facts, int(m)).items():
            color = INTERVALS[name.removesuffix(", yours")]
            ax.plot([100 * mean for mean in AT], y, "-:"["yours" in name], color=color, label=name)
        ax.axhline(95, color=plot.QUIET, linestyle="--")
        ax.set(xlabel="true mean (%)", title=f"{facts} facts per stream", ylim=(0, 103))
        ax.set(xlim=(48, 100), xticks=[50, 60, 70, 80, 90, 98])
    axes[0].set_ylabel("intervals that contain it (%)")
    return figures.legend(made, *axes[0].get_legend_handles_labels(), 3)


INTERVALS = dict(
    zip(
        ("all facts as independent", "Student", "the wider"),
        (plot.BASE, plot.NEIGHBOR, plot.EDITED),
        strict=True,
    )
)
eighty = contained(80, STREAMS)
often.against(eighty["all facts as independent"][AT.index(0.8)])
print(f"the wider, 80 facts: {eighty['the wider'][AT.index(0.95)]:.0f} % contain a mean of 95 %")
Slider(trials, "streams", [3, 5, 10], 5)

# %% [markdown]
# With ten facts per stream, the wider of the two roughly keeps its promise. Student's interval by itself doesn't near
# 100%: a few streams often contain none of the rare accidents, and then all agree. **Adding facts to a stream doesn't
# help.** The interval of all facts gets shorter without adding streams, and can no longer make up for Student's.
#
# ## Which of 27 editors is the best?
#
# When comparing many editors, we first look for the leader. The usual rule then calls an editor **beaten** if the
# interval of the leader's lead over it, stream by stream, excludes 0. But the leader is whichever of the 27 these
# streams happen to favor.
#
# Here is another rule. Suppose that $b$ is the best. Then an equally good rival leads in a stream as often as it
# trails. So flip the signs of whole streams, in all $2^m$ ways, and record the rivals' largest mean lead each time.
# If it reaches its actual value in at most 5% of the flips, $b$ is excluded. That should happen to the best editor in
# about 5% of experiments, however many rivals it has.
#
# One trap remains: flipping the leads of a rival that trails badly turns its deficit into a huge lead, which would hide
# every real lead. So each rival that trails on average is first set level with $b$: its leads minus their mean, times
# $\sqrt{m/(m-1)}$, because residuals vary a little less than leads.
#
# **Your turn · exercise 8.5, the other steps · ★★★ · 20 minutes.** Write both rules, and `promise`, which counts how
# often a rule calls an editor worse when none is better.


# %%
def beaten(x, t):
    """x (E, m): the editors' means in each stream, Student's factor -> bool (E,), the leader False."""
    ...


def possible_best(x):
    """x (E, m) -> bool (E,): in more than 5 % of flips the largest lead is as large as it was."""
    ...


def promise(out, best):
    """out (R, E), called worse, best (E,), bool -> the share of best ones, and that of experiments."""
    ...


beaten = use("8.5", beaten)
possible_best = use("8.5", possible_best)
promise = use("8.5", promise)

# %% [markdown]
# <details><summary>Hint</summary>
#
# When a stream is flipped, how many leads change their sign? `torch.cartesian_prod` returns all rows of signs, and
# `torch.where` can set the trailing rivals level.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def beaten(x, t):
#     leads = x[x.mean(1).argmax()] - x
#     return leads.mean(1) - t * leads.std(1) / x.shape[1] ** 0.5 > 0
#
#
# def possible_best(x):
#     signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=x.dtype)] * x.shape[1])
#     leads, m = x[None] - x[:, None], x.shape[1]  # [b, e]: of e over b, in each stream
#     means = leads.mean(2, keepdim=True)
#     leads = torch.where(means < 0, (leads - means) * (m / (m - 1)) ** 0.5, leads)
#     largest = (leads @ signs.T / m).amax(1)
#     return (largest >= means.amax(1) - 1e-9).double().mean(1) > 0.05
#
#
# def promise(out, best):
#     called = out[:, best]
#     return called.double().mean().item(), called.any(1).double().mean().item()
# ```
#
# </details>
#
# The editors in the figure have the spreads from notebook 14 on unrelated texts, and half of the stream's part is the
# same for all. On the left all are equal, at 80%. On the right one editor is better than 26 equal others. For
# comparison, we add **Tukey's** rule: an editor is called worse if it trails the leader by more than a margin; in 95%
# of experiments, the range of equal editors stays within this margin.
#
# **Predict.** All 27 editors are equal. In how many of 100 experiments is at least one called beaten?

# %%
false = guess("In how many of 100 experiments is one of 27 equal editors called beaten?", 0, 100)
own_parts, FACTS = torch.tensor(parts["unrelated"]).double(), 10  # r of each editor of page 14


def error(x):  # of a mean of m streams, from residuals without editors and streams (..., E, m)
    E, m = x.shape[-2:]
    rest = x - x.mean(-1, keepdim=True) - x.mean(-2, keepdim=True) + x.mean((-2, -1), keepdim=True)
    return (rest.square().sum((-2, -1)) / ((E - 1) * (m - 1)) / m).sqrt()


@cache
def widest(E, m):  # the range of E equal Gaussian means, in errors, which 95 % of experiments keep
    x = normal(2000, E, m)
    return torch.quantile((x.mean(2).amax(1) - x.mean(2).amin(1)) / error(x), 0.95).item()


def tukey(x):
    return x.mean(1).max() - x.mean(1) > widest(*x.shape) * error(x)


# %%
def rules(m):  # {rule: x (E, m) -> bool (E,), the editors it calls worse}
    found = {}
    for i, f in enumerate(both(beaten).values()):
        found["leads" + i * ", yours"] = lambda x, f=f: f(x, STUDENT[m]) != 0
    for i, f in enumerate(both(possible_best).values()):
        found["flips" + i * ", yours"] = lambda x, f=f: f(x) == 0
    return found | {"Tukey": tukey}


def tried(means, r, m=STREAMS, c=0.5, repeat=20 if SCALE == "tiny" else 200):
    E, found = len(means), {}  # {rule: bool (repeat, E), the editors it calls worse}
    for _ in range(repeat):
        x = world(means, normal(m), normal(E, m), normal(E, m, FACTS), r, c).mean(2)
        for name, rule in rules(m).items():
            found.setdefault(name, []).append(rule(x))
    return {name: torch.stack(some) for name, some in found.items()}


def led(gap, E=27):  # the true means: one editor is better by gap points than the others
    return torch.tensor([0.8 + gap / 200] + [0.8 - gap / 200] * (E - 1)).double()


gaps, many, equal = [0, 10, 20, 30, 40], [2, 5, 10, 27], torch.ones(27).bool()
out = tried(led(0), own_parts)
x = world(led(20), normal(10), normal(27, 10), normal(27, 10, FACTS), own_parts, 0.5).mean(2)
kept = may_be_best({str(i): one for i, one in enumerate(x.tolist())})
assert kept == [str(i) for i in possible_best(x).nonzero().flatten().tolist()]
false.against(100 * promise(out["leads"], equal)[1])
for whose, f in both(promise).items():
    for name, some in out.items():
        each, one = f(some, equal)
        print(
            f"{name}: each equal editor in {100 * each:.0f} %, at least one in {100 * one:.0f} %",
            end="",
        )
        print(f" ({whose})" * (whose == "yours"))


# %%
def compared(m):
    left, right, m = {}, {}, int(m)
    for E in many:
        for name, some in tried(led(0, E), own_parts[:E], m).items():
            left.setdefault(name, []).append(100 * promise(some, equal[:E])[1])
    for gap in gaps:
        for name, some in tried(led(gap), own_parts, m).items():
            right.setdefault(name, []).append(100 * some[:, 1:].double().mean().item())
    figure, axes = figures.panels(2, height=4)
    for ax, at, found in zip(axes, (many, gaps), (left, right), strict=True):
        for name, y in found.items():
            look = {"color": LOOK[name.split(",")[0]], "marker": "o", "markersize": 4}
            ax.plot(at, y, "--" if "yours" in name else "-", label=name, **look)
        ax.set_ylim(0, 103)
    axes[0].set(xlabel="equal editors", ylabel="experiments that call one worse (%)", xticks=many)
    axes[1].set(xlabel="lead of the best (points)", ylabel="of 26 others called worse (%)")
    axes[1].axhline(80, color=plot.QUIET, linestyle=":")
    axes[0].axhline(5, color=plot.QUIET, linestyle=":")
    axes[0].legend(frameon=False, fontsize=figures.SMALL)
    return figure


LOOK = {"leads": plot.BASE, "flips": plot.EDITED, "Tukey": plot.NEIGHBOR}
fine = range(10, 41, 5)
power = {gap: tried(led(gap), own_parts, repeat=60) for gap in fine}
for name in LOOK:
    least = next((g for g in fine if power[g][name][:, 1:].double().mean() >= 0.8), None)
    print(f"{name}: ten streams detect four of five others from a lead of {least} points on")
Slider(compared, "streams", [5, 6, 7, 8, 9, 10], 10)

# %% [markdown]
# **The leads name losers among equals in almost every experiment.** The flips exclude each of the equals in a few
# percent at most, as promised. In one of three experiments they exclude *some* equal editor. Tukey's range also limits
# that, at the price of finding fewer of the editors that really are worse. (From 200 experiments, a percentage has a
# standard error of up to three and a half points.) This course uses the flips, reporting whether an editor **may be the
# best**. With fewer than five streams they exclude nobody: one of $2^4$ flips is already more than 5%.
#
# The **power** of a rule is how often it finds a real difference. A difference *could have been detected* if the power
# is 80%, and "no difference is seen" **has to come with the smallest such difference**. Using the flips, ten streams
# detect a lead of some 30 points. Move the slider: what can five detect?
#
# Two editors are compared by their differences in $m$ streams. A true difference $d$ is detected if $\bar x >
# t\,s/\sqrt m$, where $\bar x$ is $d$ plus noise of the deviation $\sigma/\sqrt m$. So $d$ has to exceed half of the
# interval by a factor, printed for a power of 80% with the observed $s$ for $\sigma$. All pages use it.
#
# How far do notebook 14's own streams narrow the choice?

# %%
for m in (3, 5, 10):
    x, half = normal(100_000, m), STUDENT[m] / m**0.5  # σ = 1
    found = (x.mean(1) + DETECTED[m] * half > half * x.std(1)).double().mean().item()
    print(f"{m} streams: {DETECTED[m]} times half of the interval is detected in {found:.0%}")
    assert abs(found - 0.8) < 0.01
rows = []
for column in runs_14.COLUMNS:
    streams = runs_14.streams(stored, column)
    means = {name: [np.mean(one) for one in streams[name]] for name in lines}
    x = torch.tensor([*means.values()]).double()
    row = {"column": column, "editors": len(x), "streams": x.shape[1]}
    row["not beaten by the leader"] = int((~beaten(x, STUDENT[x.shape[1]])).sum())
    rows.append(row | {"may be the best": len(may_be_best(means))})
show.Table(rows)

# %% [markdown]
# ## Where it breaks
#
# The flips assume that equal editors lead each other equally often and equally far. An editor that is almost always
# good but has rare accidents breaks this. We compare it with a steady editor of the same true mean, 95%.

# %%
out = tried(0.95 * torch.ones(2).double(), torch.tensor([0.0, 0.7]).double(), c=0.0, repeat=1000)
for name, some in out.items():
    steady, accidents = (100 * some.double().mean(0)).tolist()
    print(
        f"{name}: the steady one is called worse in {steady:.0f} %, the other in {accidents:.0f} %"
    )

# %% [markdown]
# **Almost all mistakes hit the steady editor.** In most experiments the other editor's rare bad stream is not among the
# ten, and no rule can account for accidents that it hasn't seen.
#
# ## What we know now
#
# * The criterion determines the level of a score. Teacher forcing gives the beginning of the answer and counts tokens,
#   flattering a model that was taught nothing. We judge generated text, next to the unedited model's.
# * An interval should resample whatever varies: facts, or streams if facts share a model. More facts per stream are
#   no substitute for more streams.
# * A leader picked from many seems to beat even its equals. The set of editors that may be the best, found by
#   flipping whole streams, keeps its promise.
#
# A question that was never tested has no interval: "The tower is *not* in the city of", the same subject's other
# relations, consequences of an edit. Exercise 8.6 lets you find such a question.
#
# How long does an edit take, which step takes the time, and what changes **at scale**? [Notebook
# 16](16_at_scale.ipynb) answers this.
#
# ## References
#
# * Yang et al.: *The Mirage of Model Editing: Revisiting Evaluation in the Wild*, 2025,
#   [arXiv:2502.11177](https://arxiv.org/abs/2502.11177).
# * Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
# * Rubin: *The Bayesian Bootstrap*, 1981.
