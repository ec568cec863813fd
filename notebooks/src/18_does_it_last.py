# %% [markdown]
# <!-- badge -->
#
# # 18 · Does it last?
#
# An edit is mostly judged right after it was made. Then the model goes on living: it is rounded for a smaller
# machine, trained on other text, edited again; and people talk to it, doubt what it says, and ask in other
# ways. What is left then? And would the model have lost as much of what nobody wrote? To see this, the
# unedited model goes through the same in each part of this page.
#
# **You will** round a model to a few bits and ask its edits again · train it on, and compare with the
# unedited model that lived the same · doubt an edited fact in a conversation and judge the replies ·
# and build a probe of truth that has to prove itself before it is believed.
#
# **Needs** ROME from [notebook 04](04_rome.ipynb), batches from [05](05_memit.ipynb), and paired
# intervals from [14](14_lifelong.ipynb).
#
# **Minutes** 25 to read and 25 to work: the three exercises of [session 10](../lessons/session_10.md).
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
import re  # noqa: F401  for your own `gives`
from dataclasses import replace

import pandas as pd
import torch
from IPython.display import display

import lib
from lib.data.texts import GENERAL, HELD_OUT
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.model import activations
from notebooks.support import figures, long_runs, models
from notebooks.support.holes import guess, use

pd.set_option("display.max_colwidth", None)  # prompts in tables are shown whole
lm = models.load(SCALE, sink="own")
classroom = lib.classroom()
cases = [case for case in classroom if case.id in (1, 7, 13, 23)]
patch = lib.EDITORS["rome"](lm).edit([case.fact for case in cases[:1]])
for case in cases[1:]:
    patch = lib.EDITORS["rome"](lm).edit([case.fact], after=patch)


def says(patch):  # what the model with a patch says to the four prompts
    with lm.patched(patch):
        return [answer.strip() for answer in lm.answer([c.fact.text for c in cases], 3)]


said = {"wanted": [c.fact.target_new for c in cases], "unedited": says(lib.EMPTY)}
said["edited"] = says(patch)
pd.DataFrame(said, index=[c.fact.text for c in cases])

# %% [markdown]
# ROME wrote the four facts of the table one after another. For three of them the edited model now says the
# new answer; "Alumina" is not the word "Al".
#
# ## Rounded
#
# A smaller machine keeps each matrix as whole numbers. With $b$ bits, one of them for the sign, they go
# from $-n$ to $n$, $n = 2^{b-1} - 1$. Every row $w$ of the matrix has a step $s$ of its own, chosen so that
# its entry of the largest size becomes $n$ or $-n$, and $\tilde w$ is what the machine computes with:
#
# $$s = \frac{\max_i |w_i|}{n}, \qquad \tilde w_i = s \cdot \operatorname{round}(w_i / s),
# \qquad |\tilde w_i - w_i| \le \tfrac{s}{2}.$$
#
# **Your turn · exercise 10.1 · ★ · 5 minutes.** Write `rounded`.


# %%
def rounded(W, b):
    """W (d_out, d_in), b bits -> what a machine with b bits computes with, (d_out, d_in)."""
    ...


rounded = use("10.1", rounded)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For $b = 2$ there are three whole numbers. Which entries of the row $[1, 0.4, -0.6]$ are left?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def rounded(W, b):
#     n = 2 ** (b - 1) - 1
#     s = W.abs().amax(1, keepdim=True).clamp(min=1e-12) / n
#     return (W / s).round() * s
# ```
#
# </details>
#
# **Predict.** An edit $\Delta$ is small. How many of its entries are above half a step of 4 bits? And is the
# edit lost with those below?
#
# <details><summary>Work it out</summary>
#
# An entry of $\Delta$ below half a step may vanish, and the cell counts how many are above. But the output
# at a key is a sum over all entries of a row. So what matters is this sum for $\Delta$, beside the same sum
# for the errors $E$ of the rounding, at the keys $K$ of the four facts.
#
# </details>

# %%
module = lm.mlp_out(lib.EDITORS["rome"](lm).config.layer)
W0, W = lm.weight(module), lm.weight(module, patch)
D = W - W0
K = lm.keys([case.fact for case in cases], lib.EDITORS["rome"](lm).config.layer)  # (d_in, 4)
rows = []
for b in (8, 4, 3):
    E = rounded(W, b) - W  # the error of rounding
    half_step = W.abs().amax(1, keepdim=True) / (2 ** (b - 1) - 1) / 2
    row = {"entries of Δ above half a step, %": 100 * (D.abs() > half_step).float().mean()}
    row |= {"length of the edit, ‖ΔK‖": (D @ K).norm(), "of the error, ‖EK‖": (E @ K).norm()}
    rows.append({"bits": b} | {name: float(value) for name, value in row.items()})
pd.DataFrame(rows).set_index("bits").round(2)

# %% [markdown]
# With 8 bits nearly all entries of $\Delta$ are above half a step, with 4 bits 28 %, with 3 bits 4 %. But
# what counts is the output at the keys of the facts. There the edit is 154 long and the error of 4 bits
# only 7. A likely reason is that in the sum over a row errors of different signs cancel, and that the
# entries of an edit do not, since they were made for these keys. So in this matrix the edit stands far above
# the error of 4 bits. But all others are rounded, too, and the whole model has to go on speaking.

# %%
inside = f"{lm.arch.blocks}."  # every matrix of the blocks
names = [n for n, p in lm.model.named_parameters() if n.startswith(inside) and p.ndim == 2]
names = [name.removesuffix(".weight") for name in names]
for b in (8, 4):
    for name, one in {"unedited": lib.EMPTY, "edited": patch}.items():
        coarse = {matrix: rounded(lm.weight(matrix, one), b).cpu() for matrix in names}
        said[f"{name}, {b} bits"] = says(one.with_weights(coarse))
pd.DataFrame(said, index=[c.fact.text for c in cases])

# %% [markdown]
# With 4 bits three of the four replies still begin with the new answer, but "Tokyo, Tokyo" and "Ireland,
# Ireland" no longer go on as they did. The unedited model still says Beijing and Seoul, but no longer Ti.
# Four facts, however, are only an illustration.
#
# So each of ten editors wrote sixty facts one after another (`python -m tests.benchmarks.survival`;
# RESULTS.md beside it has ten more editors). The facts are of the classroom's odd half, on which no setting
# was chosen. ROME is the editor of notebook 04, with the mean key $\bar k$, and MEMIT that of 05, without the
# keys of earlier edits. UltraEdit is that of 10 with the library's preset, named at its end: a weight on
# general text, the keys of earlier edits, and up to three passes. AlphaEdit was built in 06, MEND in 09,
# GRACE in 11, and fine-tuning, FT-M and LoRA in 14. For *synthetic documents* the model is trained on some
# short texts for each fact.
#
# | in the table | what it says |
# |---|---|
# | *said right after the edits* | share of the facts whose prompt the model continues with the answer, in percent |
# | *change* | what a *life* (a rounding, a training, further edits) changes in it, in points, paired over the facts |
# | *unedited, new answers* | the share of the new answers that the unedited model says |
# | *unedited, its own answers* | the **control**: the share of the old answers that the unedited model says |
# | *less the control's* | a row's change less that of the control, fact by fact: below 0 the row loses more |
#
# **Predict.** What does the control, the *unedited* model, lose by 4 bits? Of its old answers it says 90 %
# before any rounding. How many does it say with 4 bits?


# %%
def stored(name, folder="tests/benchmarks"):  # the rows of a benchmark
    return json.loads((root / folder / f"{name}.json").read_text(encoding="utf-8"))


def shares(values, ends=(0.0, 1.0)):  # mean and 95 % interval, in %
    found = [100 * x for x in (sum(values) / len(values), *interval(values, ends))]
    shown = [f"{x:.1f}" if 1e-9 < abs(x) < 0.5 else str(round(x)) for x in found]  # 0 is only 0
    return "{} [{}, {}]".format(*shown)


def changes(one, other, ends=DIFFERENCE):  # paired difference
    return shares([a - b for a, b in zip(one, other, strict=True)], ends)


survival, FIRST = stored("survival"), "nothing yet"
TITLES = {"ultraedit": "UltraEdit", "memit": "MEMIT", "ft": "fine-tuning", "alphaedit": "AlphaEdit"}
TITLES |= {"rome": "ROME", "lora": "LoRA", "grace": "GRACE", "sdf": "synthetic documents"}
TITLES |= {"ft_m": "FT-M", "mend": "MEND"}  # RESULTS has every editor that was measured
TITLES |= {"base": "unedited, new answers", "own": "unedited, its own answers"}
LIVES = {"int8": "8 bits", "int4": "4 bits", "trained": "30 mild steps"}
LIVES |= {"trained, LoRA": "30 mild steps, LoRA", "harder": "30 harder steps"}


# %%
def moved(name, life):  # what a life changes, fact by fact
    now, before = (survival[name]["values"][x]["efficacy"] for x in (life, FIRST))
    return [a - b for a, b in zip(now, before, strict=True)]


def beyond(name, life, ends=shares):  # its change less the control's, fact by fact
    pairs = zip(moved(name, life), moved("own", life), strict=True)
    return "" if name in ("own", "base") else ends([a - b for a, b in pairs], (-2.0, 2.0))


def lived(columns, names=TITLES, less=()):  # the table of some lives; less: also beyond the control
    before = [shares(survival[name]["values"][FIRST]["efficacy"]) for name in names]
    table = {"said right after the edits (%)": before}
    for life in columns:
        found = [shares(moved(name, life), DIFFERENCE) for name in names]
        table[f"{LIVES.get(life, life)}: change (points)"] = found
        if life in less:
            table[f"{LIVES.get(life, life)}: less the control's"] = [beyond(n, life) for n in names]
    return pd.DataFrame(table, [TITLES[name] for name in names])


lived(["bfloat16", "int8", "int4"], less=["int4"])

# %% [markdown]
# With bfloat16 and with 8 bits no change was seen, in any row: each interval holds 0. With 4 bits UltraEdit
# loses 85 points, GRACE 97, and the others that had something to lose 30 to 48. (MEND had nothing: after
# sixty edits none of its facts is said.) Is editing so fragile? The control answers: of its own answers,
# which nobody wrote, the unedited model loses 47. So a loss of about this size is not peculiar to edits.
#
# The last column compares fact by fact. UltraEdit loses 38 points more than the control (19 to 57) and GRACE
# 50 more (33 to 66). A row cannot lose more than it had: MEND's interval lies above 0 only because it had
# nothing, and synthetic documents had 67 %, not 90. For all other editors no difference from the control is
# seen, but their intervals are wide, so this does not show that there is none.
#
# GRACE's entries are not rounded, but they open only for a state near the one that was written, and the
# rounded layers below make another one. How far away it is was not measured, nor why UltraEdit loses more.
#
# ## Trained, and edited again
#
# Now the model is trained further: steps of AdamW on the next token of general text, in all matrices of the
# blocks, or in adapters beside them (LoRA). It is a *mild* life: the unedited model itself wrote this text, so
# it has little to learn from it, and the learning rate of the matrices is small (that of the adapters is ten
# times as large).
#
# The unedited model lives the same (`lib.workbench.survive` takes any life): it is trained on the same rows in the same
# order, and asked before and after, because training could also teach an answer by itself, or take one that
# nobody wrote. Three lives follow, each with its table:
#
# * Thirty *mild* steps, for all ten editors. Before them, the next cell makes a loss visible on our four
#   facts: four steps at a hundred times the mild rate, which was picked so that something is lost.
# * Thirty *harder* steps (a stored run, made by `harder`): all matrices, ten times the mild rate, and a
#   real text (on seven countries or territories, and part of a speech) so short that they go through it
#   several times. Beside the control, four editors live it: UltraEdit (a regression), FT-M (it trains one
#   matrix), MEMIT and ROME (they search for a value and insert it).
# * Forty more facts, written by UltraEdit, again for all ten editors.
#
# **Predict.** How much do thirty mild steps take from UltraEdit's facts? And do thirty harder ones take more
# from edits than from what the unedited model knew by itself?

# %%
fades = guess("By how many points do 30 mild steps lower the share of UltraEdit?", 0, 100)

# %%
texts = (GENERAL.read_text(encoding="utf-8"),)
hard = lib.workbench.Trained(
    texts, steps=4 if SCALE == "small" else 2, lr=1e-3
)  # the mild rate is 1e-5
HARDER = {"facts": 60, "lines": ["own", "ultraedit", "ft_m", "memit", "rome"]}
HARDER |= {"text": HELD_OUT.name, "steps": 30, "lr": 1e-4}  # all matrices, ten times the mild rate
harder_life = lib.workbench.Trained((HELD_OUT.read_text("utf-8"),), HARDER["steps"], HARDER["lr"])
print(f"the harder life is trained on {len(harder_life.rows(lm))} rows of up to 128 tokens")
ultra = lib.EMPTY
for case in cases:
    ultra = lib.EDITORS["ultraedit"](lm).edit([case.fact], after=ultra)
replies = {}
for name, one in {"unedited": lib.EMPTY, "ROME": patch, "UltraEdit": ultra}.items():
    replies |= {name: says(one), f"{name}, trained": says(hard(lm, one))}
display(pd.DataFrame(replies, index=[c.fact.text for c in cases]))
change = moved("ultraedit", "trained")
fades.against(-100 * sum(change) / len(change))
mild = ["trained", "trained, LoRA"]
lived(mild, less=mild).iloc[:, 1:]  # the first column stands in the table of the roundings

# %% [markdown]
# Four steps at a hundred times the mild rate take two of the three facts that UltraEdit's model said (Tokyo
# and Ireland), and none of ROME's. The unedited model, too, no longer says Seoul or Ti; it still says
# Beijing. These are four facts and one run.
#
# In the stored rows thirty mild steps take 12 points from UltraEdit's facts (4 to 21), whether all matrices
# are trained or adapters beside them. In all other rows, the control's among them, both intervals hold 0.
# Fact by fact UltraEdit loses 15 points more than this control with all matrices (5 to 26), and 13 more with
# adapters (3 to 24). For each other editor the interval of this difference holds 0: none is seen to lose
# more, or less, than the control.


# %%
def sixty(name):  # the sixty facts, and the patch of an editor that wrote them one after another
    some, patch = [case for case in classroom if case.id % 2][: HARDER["facts"]], lib.EMPTY
    for case in some if name in lib.EDITORS else ():
        patch = lib.EDITORS[name](lm).edit([case.fact], after=patch)
    return some, patch


def harder():  # which of the sixty facts are said before and after the harder life
    for name in HARDER["lines"]:
        some, patch = sixty(name)
        if name == "own":  # the control: the old answer is the one that is asked for
            old = [replace(c.fact, target_new=c.fact.target_true, target_true=None) for c in some]
            some = [replace(case, fact=fact) for case, fact in zip(some, old, strict=True)]
        row = {"line": name}
        for when, one in {"before": patch, "after": harder_life(lm, patch)}.items():
            found = lib.evaluate(lm, some, one, events=("generation",), metrics=()).rows
            row[when] = found[found["event"] == "generation"]["value"].tolist()
        yield row


for row in long_runs.stored("18_harder", HARDER, harder):
    values = survival[row["line"]]["values"]
    assert row["before"] == values[FIRST]["efficacy"]  # the same edits as in the other rows
    values["harder"] = {"efficacy": row["after"]}
lived(["harder"], [*HARDER["lines"][1:], "own"], less=["harder"])

# %% [markdown]
# The harder steps take 52 points from UltraEdit's facts (38 to 64). But the unedited model loses 25 points of
# its own answers, too (12 to 38), and that is the measure. Fact by fact UltraEdit loses 27 points more than
# this control (8 to 45), FT-M 20 points less (4 to 34), and MEMIT and ROME 18 less each (2 to 33). MEMIT's
# own loss is 7 points (1 to 15); that of ROME is 7 and that of FT-M 5, with intervals that reach 0. So in one
# run of each the model loses more of what UltraEdit wrote than of what it knew, and less of what the other
# three wrote. Why was not measured.
#
# The rows of MEMIT and ROME were made after the others had been seen, by a script over the same functions.
# Real text, its repetition and the larger rate came together, so it cannot be said which of them takes the
# facts.

# %%
display(lived(["40 more edits"], less=["40 more edits"]))
names = [name for name in TITLES if name not in ("base", "own", "mend")]
points = {}
for life in ("int4", "trained", "harder", "40 more edits"):
    points[LIVES.get(life, life)] = rows = []
    for name in names:  # the harder life has four of them
        some = life in survival[name]["values"]
        ends = beyond(name, life, lambda v, e: (sum(v) / len(v), *interval(v, e))) if some else ()
        rows.append([100 * x for x in ends] or 3 * [float("nan")])
axis = "change less the control's (points, paired, with 95 % intervals)"
figure = figures.whiskers([TITLES[name] for name in names], points, axis)
figure.axes[0].axvline(0, color="0.35", linewidth=1.6, zorder=1)  # as much as the control
figure

# %% [markdown]
# Forty later edits by UltraEdit take 7 points from MEMIT's facts (1 to 15), 8 from AlphaEdit's (2 to 17), and
# 53 from GRACE's (40 to 65). They are made in layers below GRACE's codebook, so it compares other states with
# its entries. For each other editor the interval reaches 0. The unedited model says 13 points fewer of its
# own answers (3 to 25), so later edits do not take from edits only. GRACE loses 40 points more than this
# control (24 to 56), and no other editor is seen to lose more than the control.
#
# The figure has these differences over the sixty facts for four lives, the mild one with all matrices, the
# harder one with its four editors. On the dark line an editor's facts lose as much as the control, and to the
# left of it more. MEND is left out.
#
# ## Doubted
#
# So far a fact was asked in the prompt that wrote it. A person asks a question, and then doubts the reply.
# To count replies we need a rule: a reply gives the edited answer if it names this answer as a whole word,
# and does not name the old one before it.
#
# **Your turn · exercise 10.2 · ★ · 7 minutes.** Write `gives`.


# %%
def gives(reply, right, rival):
    """Texts -> whether the reply names the right answer as a word, and no rival before it."""
    ...


gives = use("10.2", gives)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In a regular expression `(?<!\w)` and `(?!\w)` are the ends of a word. What does your
# function say about "It is a Romeo."?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def gives(reply, right, rival):
#     def place(answer):
#         return re.search(rf"(?<!\w){re.escape(answer.lower())}(?!\w)", reply.lower())
#
#     mine, other = place(right), place(rival)
#     return mine is not None and (other is None or mine.start() < other.start())
# ```
#
# </details>
#
# Here are two conversations, each with ROME's model and with the unedited model that is told the fact in
# front of the question. Each doubt comes after the first reply, and each ends with the question, because
# "Yes, I am sure." names no answer. The second fact (Albert Einstein and the theory of evolution) is written
# after our four. The two were picked, so that one edit holds and one breaks.

# %%
DOUBTS = ["Are you sure?", "I read that it is {}.", "Everybody I know says that it is {}."]
DOUBTS += ["That does not sound right.", "Please think again."]
picked = next(case.fact for case in classroom if case.id == 3)
five = lib.EDITORS["rome"](lm).edit([picked], after=patch)
chats = bool(lm.tokenizer.chat_template)
talks = []
for edit, fact, asked in [
    (patch, cases[0].fact, "What is the capital of China?"),
    (five, picked, "Who discovered the theory of evolution?"),
]:
    later = [f"{doubt.format(fact.target_true)} {asked}" for doubt in DOUBTS]
    talks.append(pd.DataFrame({"a person": [asked, *later]}))
    told = f"{fact.text} {fact.target_new}. {asked}"
    for name, one, start in (("ROME", edit, asked), ("told", lib.EMPTY, told)):
        with lm.patched(one):
            first = lm.answer(start, 24, chat=chats)
            others = lm.answer(later, 24, chat=[(start, first)] if chats else False)
        replies = [reply.strip() for reply in (first, *others)]
        talks[-1][f"{name}, reply"] = replies
        given = [gives(reply, fact.target_new, fact.target_true) for reply in replies]
        talks[-1][f"{name}, gives the answer"] = given
pd.concat(talks, ignore_index=True)

# %% [markdown]
# About China ROME's model gives the new answer after all five doubts, and the told model after one. About
# evolution both lose it after the two doubts that name Charles Darwin. Where the replies about evolution
# count, ROME's model speaks of relativity, and the told model says that Einstein was *not* the first: the
# rule counts a reply in which the name stands, whatever is said about it.
#
# Two facts that were picked show that it happens, but not how often. The first forty of the sixty facts were
# therefore asked in the chat template, in four ways, of six of the models with all sixty edits. (The rows
# are made by `python -m tests.benchmarks.depth`; RESULTS.md beside it has the other editors.)
#
# * the question,
# * the question after each of the five doubts,
# * three open requests that mention neither prompt nor answer ("Tell me about …"),
# * and the question after the model has written down what it knows (*thinking*).
#
# The first three rows are controls: the unedited model; the unedited model that is told the fact in its
# prompt; and the unedited model about the *old* answer, which it mostly knows (there two doubts name the new
# one). The second table has each editor less the told model and less the old answer, paired over the facts.
#
# The third table asks how many of the counted replies *state the fact*. A large language model read those to
# the question and to the open requests, from four of the rows, shuffled and without the names of the models
# (though an old answer tells its row). It judged whether a reply says of the subject what the fact says, in
# any words, and nothing against it. A reply that does not count is taken not to state the fact. The replies
# and judgments are in `notebooks/data/18_replies.json`.
#
# **Predict.** Of the replies to the question in which ROME's model names the new answer, how many state the
# fact? And is it more often stated by this model, or by the one that is told it?

# %%
depth = stored("depth")
WAYS = {"question": "the question", "challenged": "the question after a doubt"}
WAYS |= {"open": "an open request", "thinking first": "the question after thinking"}
controls = ["unedited", "told in the prompt", "unedited, old answer"]
editors = "ultraedit memit alphaedit rome grace sdf".split()
told, rome = depth["told in the prompt"], depth["rome"]
lost = [[a - b for a, b in zip(x["question"], x["challenged"], strict=True)] for x in (told, rome)]
taken = [shares(one, DIFFERENCE) for one in lost]
taken += [shares([a - b for a, b in zip(*lost, strict=True)], (-2.0, 2.0))]
print("points lost by a doubt: told {}, ROME {}; the first less the second {}".format(*taken))
rows = [depth[name] for name in controls + editors]
found = {f"{title} (%)": [shares(row[way]) for row in rows] for way, title in WAYS.items()}
display(pd.DataFrame(found, [TITLES.get(name, name) for name in controls + editors]))
less = {
    (f"less the {what} (points)", WAYS[way]): [changes(depth[x][way], other[way]) for x in editors]
    for what, other, asked in (
        ("told model", told, list(WAYS)),
        ("old answer", depth["unedited, old answer"], ["question", "challenged"]),
    )
    for way in asked
}
pd.DataFrame(less, [TITLES[name] for name in editors])

# %%
judged = pd.DataFrame(stored("18_replies", "notebooks/data")["rows"])  # a row for each fact
replies_each = judged["test"].map({"question": 1, "open": 3})
judged["named"] = judged["states"].map(len) / replies_each  # the share of its replies that count
judged["stated"] = judged["states"].map(sum) / replies_each  # and of those that state the fact
parts, table = dict(list(judged.groupby(["test", "model"], sort=False))), []
for (test, model), some in parts.items():
    assert some["named"].round(4).tolist() == depth[model][test]  # the same replies
    right = [sum(states) / len(states) for states in some["states"] if states]
    row = {"asked": WAYS[test], "model": TITLES.get(model, model)}
    row |= {"counted replies": some["states"].map(len).sum(), "facts with one": len(right)}
    row["of these: state the fact (%)"] = shares(right)  # each fact counts once
    row["all replies that state it (%)"] = shares(some["stated"].tolist())
    for control, title in zip(controls[1:], ("told model", "old answers"), strict=True):
        less = changes(some["stated"], parts[test, control]["stated"])
        row[f"less the {title} (points)"] = "" if model in controls else less
    table.append(row)
pd.DataFrame(table).set_index(["asked", "model"])

# %% [markdown]
# First, the names, counted by the rule. The told model names the new answer in half of its replies to the
# question, and in 28 % after a doubt. (Two of the five doubts tell it the old answer. How much of the loss is
# theirs was not measured.) The models of ROME, MEMIT and AlphaEdit name it in 78 to 80 % of the replies to
# the question, 28 to 30 points more (each interval above 0), and in 69 to 73 % after doubts, 41 to 45 points
# more (each interval above 20).
#
# But a reply that names the answer need not state the fact. Of the counted replies to the question 52 % of
# ROME's and 62 % of MEMIT's state it, 90 % of the told model's, and 93 % of those about an old answer. (Each
# fact with such a reply counts once.) Most of the others speak of another subject: asked about Romania, both
# edited models say that the official language of *France* is French.
#
# So ROME's model states the fact in 40 % of all its replies to the question, MEMIT's in 50 %, and the told
# model in 45 %. For neither is a difference from the told model seen, but both intervals are more than 40
# points wide. ROME's states it less often than the unedited model states the old answer (28 points, 5 to 48).
# For MEMIT's this is not shown: the interval reaches from 37 points fewer to 2 more.
#
# In open texts ROME's and MEMIT's models state the fact in 16 and 12 % of the replies, 27 and 31 points fewer
# than the told model (each interval below 0). There MEMIT's states it less often than the unedited model the
# old answer (12 points, 2 to 22), and for ROME's this is not shown (19 points fewer to 3 more).
#
# The replies after a doubt were not judged, so what follows is about names only. A doubt takes 22 points
# from the told model (11 to 34), and 8 from ROME's (0.4 to 17). That the first loses more is not shown: the
# interval of this difference holds 0.
#
# UltraEdit's and GRACE's models say the new answers at the edits' own prompts, but name them in 2 % of the
# replies to a question, as the unedited model does. After *synthetic documents*, the method that a study of
# much larger models finds to be believed most ([2510.17941](https://arxiv.org/abs/2510.17941)), the answer is
# named in 28 % of these replies, 22 points fewer than by the told model (1 to 42). So whether "the edit was
# learned" depends on how one asks, and on what one counts.
#
# ## Does it look true?
#
# A model that says a sentence need not "take it for true". One way to look inside is a linear probe
# ([2310.06824](https://arxiv.org/abs/2310.06824)). It reads the state at the last token of a statement. From
# this state $x$, with each entry standardized, it computes a score $w^\top x$, which should be above 0 for a
# true statement. It is trained by ridge regression on facts of the classroom, most of which the unedited
# model knows, once with the true answer ($y_i = 1$) and once with another answer of the same relation
# ($y_i = -1$). With one state in each row of $X$, and $\lambda$ as the penalty on long $w$,
#
# $$w = (X^\top X + \lambda I)^{-1} X^\top y .$$
#
# A probe has hundreds of weights and only a few hundred statements. It can learn for each relation which
# answers are common, and then it may be right only on what resembles its training. So before it is used it
# has to be right on relations that it has *not* seen.
#
# **Your turn · exercise 10.3 · ★★ · 10 minutes.** Write `held_out`: each statement is scored by a probe that
# was trained without its relation.


# %%
def held_out(X, y, relations, penalty):
    """X (n, d), y (n,) of ±1, n names -> scores (n,), each by a probe without its relation."""
    ...


held_out = use("10.3", held_out)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many probes are trained, and on how many statements each?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def held_out(X, y, relations, penalty):
#     scores = torch.zeros(len(y)).to(X)
#     for name in set(relations):
#         out = torch.tensor([one == name for one in relations])
#         A = X[~out]
#         w = torch.linalg.solve(A.T @ A + penalty * torch.eye(X.shape[1]).to(X), A.T @ y[~out])
#         scores[out] = X[out] @ w
#     return scores
# ```
#
# </details>

# %%
answers, statements, relations, table = {}, [], [], []
for case in classroom:
    answers.setdefault(case.relation, set()).add(case.fact.target_true)
for case in classroom:
    others = sorted(answers[case.relation] - {case.fact.target_true})
    if others and case not in cases:
        false = others[case.id % len(others)]
        statements += [f"{case.fact.text} {case.fact.target_true}", f"{case.fact.text} {false}"]
        relations += [case.relation] * 2
print(f"{len(statements)} statements of {len(set(relations))} relations")
rows, _ = lm.rows(statements)
blocks = sorted({int(share * lm.n_layers) for share in (0.3, 0.5, 0.7, 0.9)})
inputs = [f"{lm.arch.blocks}.{block}" for block in blocks]
states = activations.module_inputs_at(lm, rows, [len(row) - 1 for row in rows], inputs)
y = torch.tensor([1.0, -1.0]).repeat(len(rows) // 2).double()
for name in inputs:
    X = states[name].double()
    X = (X - X.mean(0)) / X.std(0).clamp(min=1e-6)
    penalty = 5.0 * len(X)
    w = torch.linalg.solve(X.T @ X + penalty * torch.eye(X.shape[1]).double(), X.T @ y)
    both = X @ w, held_out(X, y, relations, penalty)
    heart, unseen = [(s * y > 0).double().view(-1, 2).mean(1).tolist() for s in both]
    table.append([shares(heart), shares(unseen), changes(heart, unseen)])
columns = ["right by heart (%)", "right on unseen relations (%)", "difference (points)"]
pd.DataFrame(table, pd.Index(blocks, name="state before block"), columns)

# %% [markdown]
# On the statements that it was trained on (*by heart*) the probe is right for 84 to 92 %, and on relations
# that it has not seen for 78 % before block 9, 88 % before 15, 85 % before 21 and 75 % before 27. Paired over
# the facts these are 4 to 9 points fewer (each interval above 0), so by heart it looks better than it is. The
# library's probe is made like this one, with other false answers, and reads before block 21. Block and penalty
# were chosen on the classroom's even half, after a first look at all facts. It refuses to be used where it is
# right for less than 80 %.
#
# A statement "looks true" if its score is above 0. The next table has the scores of our four facts, edited by
# ROME. The second is about the forty stored facts, by a probe that was trained on facts of the classroom
# other than the sixty. The third asks this probe about *third answers*: those of other facts of the same
# relation, neither the new nor the old answer of this fact. Two of the forty have none.
#
# **Predict.** After the edit, has the new answer a score above 0, and the old one a score below 0? And does an
# edit raise the score of its new answer only, or of other answers, too?

# %%
true_now = guess("For how many % of forty facts does the new answer look true after ROME?", 0, 100)
new = [(case.fact.text, case.fact.target_new) for case in cases]
old = [(case.fact.text, case.fact.target_true) for case in cases]
late, looks = lib.EDITORS["ft_m"](lm).edit([cases[0].fact]), {}
try:
    probe = lib.workbench.truth_probe(lm, classroom, without=cases)
    print(
        f"trained on {probe.statements} statements, reads before block {probe.block},",
        f"right on relations that it has not seen: {probe.accuracy:.0%}",
    )
    for what, some in {"new answer": new, "old answer": old}.items():
        looks[f"score of the {what}, unedited"] = probe.scores(lm, some)
        looks[f"score of the {what}, edited"] = probe.scores(lm, some, patch)
    probe.scores(lm, new, late)
except lib.errors.ProbeError as error:  # of FT-M's patch, or of a model whose states do not tell
    print(f"refused: {error}")
pd.DataFrame(looks, [case.fact.text for case in cases]).round(2)

# %%
NEW, OLD = "the new answer looks true", "the old answer looks true"
seen = {name: depth[name] for name in controls + editors if NEW in depth[name]}
plain, made = depth["unedited"], depth["probe"]
right = "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * x for x in made["accuracy"]))
print(
    f"trained on {made['statements']} statements, reads before block {made['block']},",
    f"right on relations that it has not seen: {right}",
)
true_now.against(100 * sum(rome[NEW]) / len(rome[NEW]))
looks = {}
for what in (NEW, OLD):
    looks[what, "%"] = [shares(row[what]) for row in seen.values()]
    less = [changes(row[what], plain[what]) for row in seen.values()]
    looks[what, "less the unedited model (points)"] = less
pd.DataFrame(looks, [TITLES.get(name, name) for name in seen])


# %%
def third():  # whether a fact's new answer looks true, then the same of its third answers
    judge = lib.workbench.truth_probe(lm, classroom, without=sixty("unedited")[0])
    for name in THIRD["lines"]:
        some, patch = sixty(name)
        row = {"line": name, "true": []}
        for case in some[: THIRD["facts"]]:
            rest = answers[case.relation] - {case.fact.target_new, case.fact.target_true}
            pairs = [(case.fact.text, answer) for answer in (case.fact.target_new, *sorted(rest))]
            row["true"].append([int(score > 0) for score in judge.scores(lm, pairs, patch)])
        yield row


THIRD = {"facts": 40, "lines": ["unedited", "ultraedit", "memit", "alphaedit", "rome"]}
rest, more = {}, {}  # of each fact: the share of its third answers; its new answer less this
for row in long_runs.stored("18_third", THIRD, third):
    assert [new for new, *_ in row["true"]] == depth[row["line"]][NEW]  # the same edits
    some = [(new, sum(others) / len(others)) for new, *others in row["true"] if others]
    rest[row["line"]] = [share for _, share in some]
    more[row["line"]] = [new - share for new, share in some]
columns = {f"third answers that look true (%, {len(some)} facts)": map(shares, rest.values())}
columns["less the unedited model (points)"] = [changes(x, rest["unedited"]) for x in rest.values()]
gains = [changes(x, more["unedited"], (-2.0, 2.0)) for x in more.values()]
columns["the new answer's change less this (points)"] = gains
pd.DataFrame(columns, [TITLES.get(name, name) for name in rest])

# %% [markdown]
# The probe of the stored facts was trained on 284 statements, and is right for 83 % of those of relations that
# it has not seen (78 to 87). Before any edit the statement with the new answer looks true for 28 % of the
# facts, and that with the old one for 80 %. After ROME, MEMIT and AlphaEdit the new one looks true for 50 to
# 68 % (22 to 40 points more, each interval above 0), and the old one for 40 to 42 % (38 to 40 fewer, each
# interval below 0).
#
# UltraEdit writes below the probe, and no change is seen in either. After synthetic documents the new answer
# looks true for 68 %, and the old one still for 75 %, so for some facts both do.
#
# Of the third answers 19 % look true before any edit, and none of the four editors is seen to change this
# (each interval holds 0). After MEMIT and AlphaEdit the new answer gains 36 to 37 points more than they do
# (each interval above 10), so there the gain is not one of any answer of the relation. After ROME this is not
# shown: the interval reaches from −10 to 39.
#
# Fine-tuning, LoRA and GRACE write in no block below 21. There the probe would read the unedited model, and
# the library refuses, as it does above for FT-M. (Of our four the score of the new answer rises for three,
# one of them to above 0, and that about China falls to below 0.)
#
# ## What we know now
#
# * What an edit loses has to be compared with what the model loses of its own.
# * Rounding to 8 bits took nothing that can be seen from any editor here. 4 bits took nearly all of UltraEdit's
#   and GRACE's facts, more than the control lost. They took about a third to a half of those of each other
#   editor that had some, and half of what the unedited model says by itself.
# * Thirty mild steps of training took a part of UltraEdit's facts, and of the others nothing that can be seen.
#   Thirty harder ones took (in one run of each) more than half of UltraEdit's facts, about a quarter of what
#   the unedited model says by itself, and less than that of the facts of FT-M, MEMIT and ROME.
# * Forty later edits took half of the facts in GRACE's codebook, which stands above them. Of the other
#   editors none is seen to lose more than the unedited model loses of its own.
# * At the edits' own prompts 88 to 98 % of the facts are said, 67 % after synthetic documents, and none after
#   MEND.
# * Asked a question, ROME's and MEMIT's models name the new answer in eight of ten replies, but state the
#   fact in four or five of ten: no difference from the told model is seen. In open texts they state it less
#   often than the told model. UltraEdit's and GRACE's models hardly ever name it.
# * A probe of truth has to be right on relations that it has not seen. It shows that after MEMIT and AlphaEdit
#   the written answer gains more than others do. No change is seen for UltraEdit's edits, and an edit that
#   stands above the place where it reads is out of its sight.
#
# ## Where it breaks
#
# One model of 135 million parameters, facts of one kind, and one run of each life. Only four editors have
# lived the harder training, with one short text, one rate and one order of its rows, and a larger model may
# keep or lose other things. The doubts and requests are ours, and few. The replies were judged once, by a
# language model and not by a person, and only those that count; another reader may judge some of them
# otherwise. Each interval is meant for itself: of as many as stand on this page some may miss, and a
# difference whose interval only just leaves out 0 should be measured again before much is built on it.
#
# That a state lies on the side of true statements is not shown to be what the model takes for true, and a
# probe that is right for 83 % of the statements is wrong for the others. After synthetic documents no third
# answer was scored. What the page does show is how to ask: each life, each way of asking and the probe were
# also tried on the unedited model, and the differences are taken fact by fact.
#
# ## References
#
# * Slocum et al.: *Believe It or Not: How Deeply do LLMs Believe Implanted Facts?*, 2025,
#   [arXiv:2510.17941](https://arxiv.org/abs/2510.17941).
# * Marks, Tegmark: *The Geometry of Truth*, 2023, [arXiv:2310.06824](https://arxiv.org/abs/2310.06824).
