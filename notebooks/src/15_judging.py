# %% [markdown]
# <!-- badge -->
#
# # 15 · Judging honestly
#
# Would notebook 14's table, asked in another way, have named another winner? At the end of this page
# you can say how sure a score is, and build a test that your favorite editor fails.
#
# **You will** write three events by hand · let a model that knows nothing score 65 % · watch a
# ranking turn · get an interval from a counting argument and from resampling · count the cases for
# ± 3 points · ask for negations and reverses · design a test.
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
from notebooks.support import checks_15_judging as checks_15
from notebooks.support import figures, models, show, stored_runs
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_15_judging as runs_15

# %% [markdown]
# ## Three events
#
# "The model answers Rome." Which of these is meant? With $y$ the new answer, $|y|$ its number of
# tokens, $o$ the old answer and $x$ the prompt:
#
# * **probability**: $\frac1{|y|}\log p(y \mid x) > \frac1{|o|}\log p(o \mid x)$. The new answer
#   beats the old one; a third may beat both.
# * **teacher-forced**: the share of $t$ with $\arg\max p(\cdot \mid x, y_{<t}) = y_t$. The true
#   beginning of the answer is given at every step.
# * **generation**: the model writes freely, and its text begins with $y$ (*exactly*: and ends).
#
# **Predict.** Which implies which, for an answer of one token? For a longer one?
#
# <details><summary>Work it out</summary>
#
# One token: teacher-forced says that $y$ is the most probable token, which is what generation
# writes first, and the most probable is more probable than a one-token $o$: generation ⇔
# teacher-forced ⇒ probability (but for word boundaries: "Romeo"). Longer: if all tokens are right
# with the true prefix, then free writing produces that prefix, and both agree. They part where only
# *some* are: teacher forcing counts each token, generation stops at the first mistake.
#
# </details>

# %%
lm = models.load(SCALE)
tower = lib.classroom()[0]
patch = lib.EDITORS["ultraedit"](lm).edit([tower.fact])


def events(prompt, new, old):  # by hand
    ids = lm.tokenizer(" " + new, add_special_tokens=False).input_ids
    p_new, p_old = lm.score(prompt, new), lm.score(prompt, old)  # log-probabilities of each token
    given = [prompt + lm.tokenizer.decode(ids[:t]) for t in range(len(ids))]
    best = lm.next_token(given).argmax(1).tolist()  # true prefixes
    forced = np.mean([a == b for a, b in zip(best, ids, strict=True)])
    text = lm.answer(prompt, 8).strip().casefold()
    begins = text.startswith(new.casefold()) and not text[len(new) : len(new) + 1].isalnum()
    return p_new.mean() > p_old.mean(), forced, begins


rows = []
for prompt in (tower.fact.text, *tower.paraphrases):
    with lm.patched(patch, only=True):
        mine = events(prompt, "Rome", "Paris")
    asked = lib.Case(lib.Fact(None, prompt, "Rome", "Paris"))
    found = lib.evaluate(lm, asked, patch, metrics=()).json()["efficacy"]
    mine = dict(zip(lib.evaluation.evaluate.EVENTS, map(float, mine), strict=True))
    rows.append({"prompt": prompt} | {runs_15.EVENTS[event]: x for event, x in mine.items()})
    assert SCALE == "tiny" or mine == {event: found[event] for event in mine}
show.Table(rows)

# %% [markdown]
# By hand and by library: the same. In the third row "Rome" is ahead of "Paris", but another word
# beats both: *probability* counts the rewording as followed, and the model says the other word.
#
# ## What teacher forcing leaks
#
# The prefix $y_{<t}$ is part of the answer. It leaks **content**: after "Massachusetts Institute
# of" language alone says "Technology". And **length**: what comes after the last token is not asked.
#
# **Predict.** Twelve facts that nobody has taught ("The inventor of the fork studied at the
# University of California, Berkeley"). What has the *unedited* model, teacher-forced?
#
# <details><summary>Answer</summary>
#
# 65 %. In generation it says one of the twelve, 8 %.
#
# </details>

# %%
facts = runs_15.long_facts()
nothing = lib.evaluate(lm, facts, metrics=()).json()["efficacy"]
print(", ".join(f"{event} {nothing[event]:.0%}" for event in lib.evaluation.evaluate.EVENTS[1:]))
for i, share, n in zip(*runs_15.by_place(lm, facts), strict=True):
    print(f"token {i} of the answer: {share:3.0f} % right ({n} answers are as long)")

# %% [markdown]
# The first token is right once (the fork's inventor did go to Berkeley, thinks the model), the
# later ones in 67 to 100 % of all cases, 30 of 34. So 65 % are "right" where nothing was edited,
# and nothing is known. A score without the base model beside it cannot be read.
#
# If the first token is right with $a$ and each later one with $b$ given the truth, an answer of $n$
# tokens scores $(a + (n - 1)b)/n$ teacher-forced and about $a\,b^{n-1}$ in generation. With $a = 0$
# and the $b = 0.88$ from above that is 44, 66 and 77 % for answers of 2, 4 and 8 tokens, against 0:
# the longer the answer, the better a model looks that knows nothing.
#
# ## An interval by counting: Wilson
#
# $n$ cases, each right or wrong, $h$ hits, $\hat p = h/n$. The true share is $p$, and $\hat p$ has
# the variance $p(1-p)/n$. Which $p$ would not be surprised by $\hat p$? Those with $(\hat p - p)^2
# \le z^2\,p(1-p)/n$, $z = 1.96$. A quadratic in $p$; its two roots are the interval:
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}
# {1 + \frac{z^2}{n}} .$$
#
# Where a case is no longer 0 or 1 (two of three rewordings) there is a way without formulas: draw
# $n$ cases out of the $n$ with replacement, take the mean, 2,000 times: the **bootstrap**.
#
# **Predict.** 24 of 24 facts are held. What do "$\hat p \pm 1.96\sqrt{\hat p(1-\hat p)/n}$", the
# bootstrap and Wilson say?
#
# <details><summary>Work it out</summary>
#
# The first: 100 % ± 0. The bootstrap as well: every resample is all ones. Wilson: the quadratic with
# $\hat p = 1$ has the roots 1 and $1/(1 + z^2/n)$: 86 to 100 %. Only Wilson is honest at the ends.
#
# </details>


# %%
def wilson(hits, n, z=1.959964):
    p = hits / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def bootstrap(values, seed=0):
    draw, values = np.random.default_rng(seed), np.asarray(values, dtype=float)
    n = len(values)
    means = values[draw.integers(0, n, (2000, n))].mean(1)
    return tuple(np.percentile(means, (2.5, 97.5)))


for hits, n in ((24, 24), (12, 24), (0, 24), (970, 1000)):
    assert np.allclose(wilson(hits, n), intervals.wilson(hits, n))
    values = [1.0] * hits + [0.0] * (n - hits)
    assert np.allclose(bootstrap(values), intervals.bootstrap(values))
    found = {"Wilson": wilson(hits, n), "bootstrap": bootstrap(values)}
    print(hits, "of", n, {how: f"{low:.1%} to {high:.1%}" for how, (low, high) in found.items()})

# %% [markdown]
# As predicted. What is resampled is the **case**, not the prompt: ten rewordings of one fact stand
# and fall together, and are one observation, not ten.
#
# ## The ranking turns
#
# The 24 edits of notebook 14, at the end of the stream. Most editors hold the facts. So look at the
# neighbors: Notre-Dame should still be in Paris. In the event *probability* that means: Paris beats
# **Rome**, the edit's new answer. Editors are sorted by what they write freely.
#
# **Predict.** Who gains most from being asked that way?
#
# <details><summary>Answer</summary>
#
# A model that is broken: it says neither Rome nor Paris, and Paris still beats Rome.
#
# </details>

# %%
stream = stored_runs.load("14_streams", runs_14.STREAM)["rows"]
names, found = runs_15.by_event(stream, "specificity", tuple(runs_15.EVENTS)[:3])
colors = dict(zip(found, (plot.BASE, plot.CYCLE[0], plot.EDITED), strict=True))
axis = "neighbors that keep their true answer (%, with 95 % intervals)"
figures.whiskers(names, found, axis, colors=colors, height=9.6)

# %%
show.Table(runs_15.ranks(stream, "specificity"))  # whose rank moves most: rank (share)

# %% [markdown]
# By probability ROME, which one edit has ruined, keeps 83 % of its neighbors, UltraEdit 73 %. What
# they *write* is right in 46 and 65 %: the ranking turns. ("Notre-Dame is in the city of
# Notre-Dame.") MEND and MALMEN write no words, and probability gives them 48 and 46 %: a coin. And
# *exactly* brings up who has learned to stop: fine-tuning loses nothing by it, GRACE 42 points,
# though it has not moved these prompts. The base model does not stop either.
#
# Are these differences real? Both editors saw the same facts, so it is the difference *per fact*
# that is resampled. Easy facts are easy for both, and drop out.

# %%
show.Table(runs_15.paired(stream, "UltraEdit", "ROME, published", "specificity"))

# %% [markdown]
# By probability UltraEdit is 10 points behind, in generation 19 ahead, and **neither** is more than
# 24 cases can show. Only the last row is clear of 0: with the event the difference swings by 29
# points. But we **chose** this pair because it turns: its interval is too kind.
#
# With a hundred questions of ZsRE and more, whose answers are longer (from
# [RESULTS.md](../tests/benchmarks/RESULTS.md)):

# %%
show.Table(runs_15.published(("grace", "wise", "lemoe", "memoir")))

# %% [markdown]
# UltraEdit's preset has 80 % teacher-forced and says 49, published 46 and 11. GRACE and LEMoE lose
# ten points, WISE and MEMOIR twenty: long answers, of which one token is wrong.
#
# ## How many cases for ± 3 points?
#
# **Predict.** A score near 50 %: how many cases until the interval is $\pm 3$ points? Near 95 %?
#
# <details><summary>Work it out</summary>
#
# $1.96\sqrt{p(1-p)/n} = 0.03$ gives $n = 4268\,p(1-p)$: 1,067 at one half, 203 at 95 %. And each
# halving of the width costs four times as many. Our 24 cases are good for ± 19 points.
#
# </details>

# %%
for p in (0.5, 0.8, 0.95):
    ends = {n: wilson(p * n, n) for n in (24, 100, 200, 500, 1000, 5000)}
    halves = ", ".join(f"{n}: ± {50 * (high - low):.1f}" for n, (low, high) in ends.items())
    print(f"score {p:.0%}, points by number of cases: {halves}")

# %% [markdown]
# Tables with 100 cases and differences of two points compare noise. (Paired differences need fewer.)
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
# Step by step 95 %, in every turn, for ever. Against the base model $0.95^6 = 74$ %, and falling.
#
# </details>

# %%
show.Table(runs_15.moved(stream))

# %% [markdown]
# Fine-tuning keeps 96 % of unrelated next words in a mean turn, and has lost 17 % after six.
# Published ROME: 85 % in the mean turn, 54 % in truth. And the mean hides the one turn that did it,
# 46 %: here "before each turn" would say, turn after turn, that all is well again.
#
# ## What nobody asked: negation, same subject, reverse
#
# "The Eiffel Tower is **not** located in the city of": an editor that stores *words* says Rome
# there, too. (Counted only where the fact is held.) And another relation of the same subject should
# be answered as before: eight tokens, compared with the base model's.

# %%
leak = runs_15.present(stream[0]["cases"]["negation_base"]["generation"])
print(f"the base model says its own answer to {sum(leak):.0f} of {len(leak)} negated facts")
show.Table(runs_15.negatives(stream))

# %% [markdown]
# Nobody who follows rewordings is safe from **not**: MEMIT and WISE say the new answer to all 24
# negated facts. (The base model says its own to 20 of 24.) GRACE passes, as it answers nothing but
# the prompt itself; even retrieval, whose model could read the note, says 96 %. And the same
# subject (what is the tower built of?) is answered as before in 0 to 38 % by nearly all.
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
# None, by nobody. A key is the subject's: where the prompt does not name it nothing was written.
#
# </details>

# %%
asked = {name: runs_14.editor(lm, name) for name in ("ROME, both keys", "fine-tuning", "retrieval")}
show.Table(runs_15.reverse(lm, asked))

# %% [markdown]
# Eight or nine are written, none is turned round, and the *old* reverse is still said by most: asked
# from the other side, nothing was edited. Even retrieval finds no note near enough. No table of
# efficacy, generalization and locality shows any of this.
#
# ## Exercise: a test that your favorite editor fails
#
# A test is a prompt, the answer that a careful reader wants, and a reason: it should "follow" from
# the edit, or "stay". It is *fair* if the fact itself is held, and if what should stay is answered
# so by the base model. Find one that the editor fails. (Another language? The country?) Before it:
# the smallest $n$ for which Wilson's interval at a score of $p$ is at most $\pm h$ wide.


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
# * Three events, three rankings. Teacher forcing leaks content and length; we read what is generated.
# * A share without its interval is no result. 24 cases: ± 19 points; ± 3 take a thousand.
# * "Before" is the base model, always. What nobody asks (negation, same subject, reverse) nobody knows.
#
# ## Where it breaks
#
# All of this was a model of 135M and some dozen facts, and honest tests need a thousand. How long
# does that take, where, and what becomes of it **at scale**? [Notebook 16](16_at_scale.ipynb).
#
# ## References
#
# * Ma et al.: *Untying the Reversal Curse […]*, 2023, [arXiv:2310.10322](https://arxiv.org/abs/2310.10322).
# * Yang et al.: *The Mirage of Model Editing: Revisiting Evaluation in the Wild*, 2025,
#   [arXiv:2502.11177](https://arxiv.org/abs/2502.11177).
# * Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
