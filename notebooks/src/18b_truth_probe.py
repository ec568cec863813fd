# %% [markdown]
# <!-- badge -->
#
# # 18b · Does a truth probe see an edit?
#
# After an edit, the model *says* the new answer. But does it also treat the answer as true? A state inside the model
# might reveal this: in many models, the states of true and of false statements are in separate regions, and a linear
# **probe** can be trained to separate them ([2310.06824](https://arxiv.org/abs/2310.06824)). So after writing a fact
# and showing the probe the new statement, you get the verdict "true". This page builds such a probe, makes it prove
# itself, and then finds that the obvious way of reading it is misleading.
#
# **You will** train a truth probe · test it on unseen relations · watch an edit move facts · count facts before and
# after.
#
# **Needs** [notebook 01](01_linear_memory.ipynb) (ridge), [04](04_rome.ipynb) (ROME), [18](18_does_it_last.ipynb) (the edits).
#
# **Minutes** 15 to read and 20 to work: one exercise of [session 10](../lessons/session_10.md).

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
from itertools import islice

import torch

import lib
from lib import associative_memory as memory
from lib.model import activations
from lib.workbench import plot
from notebooks.support import figures, long_runs, models
from notebooks.support import runs_18_does_it_last as runs_18
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream, detects
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
classroom = lib.classroom()
answers, statements, relations = {}, [], []
for case in classroom:
    answers.setdefault(case.relation, set()).add(case.fact.target_true)
for case in classroom:
    others = sorted(answers[case.relation] - {case.fact.target_true})
    if others:
        false = others[case.id % len(others)]
        statements += [f"{case.fact.text} {case.fact.target_true}", f"{case.fact.text} {false}"]
        relations += [case.relation] * 2
print(
    f"{len(statements)} statements of {len(set(relations))} relations, such as",
    *statements[:2],
    sep="\n  ",
)

# %% [markdown]
# ## What is a probe?
#
# Every fact of the classroom gives two statements, one using the true answer and one using another answer of the same
# relation. The unedited model reads them, and we keep the state $x$ at the last token, before a given block,
# standardizing each entry. The probe is a vector $w$, and a statement *looks true* if $w^\top x > 0$. With $y_i = 1$
# for a true statement and $-1$ for a false one, $w$ should minimize
#
# $$\sum_i (w^\top x_i - y_i)^2 + \lambda \|w\|^2 .$$
#
# Its gradient is $2 X^\top (Xw - y) + 2\lambda w$, with one state in each row of $X$. Setting it to zero gives
#
# $$w = (X^\top X + \lambda I)^{-1} X^\top y .$$
#
# This is notebook 01's memory with ridge: the states are keys, and the value of each is one number. Without $\lambda$
# the memory would simply be full. A state has hundreds of entries, and there are only some four hundred statements,
# so some $w$ gives *every* statement its label, whatever the labels are.
#
# So being right about the training statements proves nothing. Leaving out single statements isn't enough either,
# because statements of the same relation resemble each other: a probe may know that Rome is a popular answer. **It
# has to be right on unseen relations.**
#
# **Your turn · exercise 10.3 · ★★ · 15 minutes.** Write it in three steps. `weigh` is the formula. `held_out` scores
# each statement using a probe trained without the statement's relation. `joint` is for the end of the page: from the
# scores of the same facts with the new and with the old answer, it counts the facts for each combination of verdicts.


# %%
def weigh(X, y, penalty):
    """X (n, d), y (n,) of ±1 -> w (d,)"""
    ...


def held_out(X, y, relations, penalty):
    """relations: n names -> scores (n,), each by a probe without its relation. It may call `weigh`."""
    ...


def joint(new, old):
    """Scores (n,) with the new and with the old answer -> counts (2, 2); [1, 0]: only the new looks true."""
    ...


weigh = use("10.3", weigh)
held_out = use("10.3", held_out)
joint = use("10.3", joint)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many probes are trained, and on how many statements each? And remember that comparing two tensors gives a tensor
# of True and False.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def weigh(X, y, penalty):
#     return torch.linalg.solve(X.T @ X + penalty * torch.eye(X.shape[1]).to(X), X.T @ y)
#
#
# def held_out(X, y, relations, penalty):
#     scores = torch.zeros(len(y)).to(X)
#     for name in set(relations):
#         out = torch.tensor([one == name for one in relations])
#         scores[out] = X[out] @ weigh(X[~out], y[~out], penalty)
#     return scores
#
#
# def joint(new, old):
#     n, o = new > 0, old > 0
#     return torch.tensor([[(~n & ~o).sum(), (~n & o).sum()], [(n & ~o).sum(), (n & o).sum()]])
# ```
#
# </details>
#
# **Predict.** When $\lambda$ is tiny, the probe has memorized its statements. How many statements of an unseen
# relation does it then judge correctly? Move the slider to the left, and then to the right.
#
# <details><summary>Answer</summary>
#
# About two thirds, where a coin would be right for half. Memorizing statements doesn't help elsewhere.
#
# </details>

# %%
rows, _ = lm.rows(statements)
blocks = sorted({int(share * lm.n_layers) for share in (0.1, 0.3, 0.5, 0.7, 0.9)})
inputs = {block: f"{lm.arch.blocks}.{block}" for block in blocks}
states = activations.module_inputs_at(lm, rows, [len(row) - 1 for row in rows], inputs.values())
states = {block: states[name].double().cpu() for block, name in inputs.items()}
states = {block: (X - X.mean(0)) / X.std(0).clamp(min=1e-6) for block, X in states.items()}
y = torch.tensor([1.0, -1.0]).repeat(len(rows) // 2).double()
read = blocks[-2]  # the block of the library's probe
X = states[read]
models.same(lm, weigh(X, y, 5.0 * len(X)), memory.ridge(X.T, y[None], 5.0 * len(X))[0])  # page 01's


# %%
def right(scores):  # %
    return 100 * (scores * y > 0).double().mean().item()


def named(title, function):  # {line: function}; a wrong function is listed too
    return dict(zip((title, f"{title}, yours"), both(function).values(), strict=False))


# %%
def accuracy(each):  # over the blocks, for a penalty for each statement
    lines = {}
    for line, f in named("on training statements", weigh).items():
        lines[line] = [right(X @ f(X, y, each * len(X))) for X in states.values()]
    for line, f in named("on unseen relations", held_out).items():
        lines[line] = [right(f(X, y, relations, each * len(X))) for X in states.values()]
    made = plot.lines(
        {line: blocks for line in lines},
        lines,
        "the probe reads before block",
        "statements judged correctly (%)",
        colors={line: plot.QUIET if "heart" in line else plot.EDITED for line in lines},
        dashes={line: "--" for line in lines if "yours" in line},
    )
    made.axes[0].set_ylim(45, 102)
    return made


Slider(accuracy, "λ for each statement", [0.0001, 0.01, 0.1, 1, 5, 50, 500], 5)

# %%
found = right(held_out(X, y, relations, 5.0 * len(X)))
print(
    f"before block {read}: on training statements {right(X @ weigh(X, y, 5.0 * len(X))):.0f} %, on unseen relations {found:.0f} %"
)
tiny = right(held_out(X, y, relations, 1e-4 * len(X)))
print(
    f"with the smallest λ: on training statements {right(X @ weigh(X, y, 1e-4 * len(X))):.0f} %, on unseen relations {tiny:.0f} %"
)

# %% [markdown]
# With the smallest $\lambda$, the probe is right about all its training statements, and wrong about a third of the
# statements of an unseen relation; a coin would be wrong about half. Increasing $\lambda$ makes it forget details of
# single statements, and the two curves approach each other, leaving the features common to true statements of all
# relations. It is best in the middle of the model, and worse near both ends.
#
# ## Where does an edit move a fact?
#
# The library's probe is made like yours and reads before block 21. This block was chosen using half of the facts, on
# which the middle blocks are within four points of each other. Before block 15 the probe would be right somewhat more
# often, but a later block comes after more of the blocks into which editors write, so it sees more edits. The library
# refuses to use the probe if it is right for less than 80% of unseen relations. For every stream below, we retrain
# it, leaving out the facts being edited.
#
# Each fact gives two statements: one with the new answer, which is false before the edit, and one with the old
# answer, which is true. So a fact is a point in a plane, plotting the score of its old answer to the right and the
# score of its new answer upward. If the model knows a fact, its point is at the lower right. If an edit is believed,
# the point should end at the upper left.
#
# The stored run is the same as on page 18: three streams of eight facts, with UltraEdit writing them in one batch and
# ROME writing them one after another. Four facts of the third stream are in the first two, so the 24 are 20 different
# ones.
#
# **Predict.** Of the facts after ROME, for which fraction does the probe give the new and the old answer the *same*
# verdict?
#
# <details><summary>Answer</summary>
#
# For 15 of the 24. For 11, the verdicts were already the same before the edit.
#
# </details>

# %%
same_now = guess(
    "For how many % of the facts do both answers get the same verdict after ROME?", 0, 100
)

# %%
rows = [row for row in long_runs.rows("18_lives") if row.get("looks")]
again = runs_18.runs(lm)[0].jobs["first, unedited"]
long_runs.repeats(rows, lambda: islice(again(), 1), ["held", "p", "looks"], tolerance=0.02)
DRAWS = list(dict.fromkeys(row["draw"] for row in rows))
LINES = [line for line in ("unedited", "UltraEdit", "ROME") if any(r["line"] == line for r in rows)]
looks = {(row["line"], row["draw"]): row["looks"] for row in rows}


# %%
def scores(line):  # of every fact in all streams: old, new
    found = torch.tensor([fact[:2] for draw in DRAWS for fact in looks[line, draw]]).double()
    return found[:, 1], found[:, 0]


made, axes = figures.panels(len(LINES) - 1, height=3.2, titles=LINES[1:], sharex=True, sharey=True)
start = scores("unedited")
for ax, line in zip(axes, LINES[1:], strict=True):
    end = scores(line)
    for x0, y0, x1, y1 in zip(*start, *end, strict=True):
        turns = x0 > 0 >= y0 and y1 > 0 >= x1  # from only the old answer to only the new one
        color = plot.EDITED if turns else plot.NEIGHBOR
        figures.arrow(ax, (x1, y1), color, (x0, y0), linewidth=1.2, alpha=0.7)
    ax.scatter(*start, 12, color=plot.BASE, zorder=3)
    ax.scatter(*end, alpha=0)  # the axes extend to the ends of the arrows
    ax.axhline(0, color=plot.QUIET, linewidth=0.8)
    ax.axvline(0, color=plot.QUIET, linewidth=0.8)
    ax.axline((0, 0), slope=1, color=plot.QUIET, linestyle="--", linewidth=0.8)
    ax.set_xlabel("score of the old answer")
axes[0].set_ylabel("score of the new answer")
names = {"before the edit": plot.BASE, "to where it is after it": plot.NEIGHBOR}
names["turned around"] = plot.EDITED
figures.legend(made, names.values(), names)

# %% [markdown]
# After UltraEdit almost no point moves: the model says the new answers, while the probe detects no change. After ROME
# most points move up and to the left, which is the hoped-for direction. But look where the arrows *end*. Few of them
# reach the upper left, with about half ending in the upper right, where both statements look true. Did ROME bring
# them there?
#
# ## Two fractions, or one table?
#
# Papers report two fractions: for how many facts the new answer looks true, and for how many the old answer does.
# Suppose that each fraction is a half. Then the edit may have turned half of the facts around, leaving the others
# unchanged. Or half of the facts may look true both ways, and half false both ways. The fractions are the same in
# both cases. So count the facts by both verdicts at once, using your `joint`.
#
# However, such a table still shows only a state *after* the edit. To see the effect of the edit, we need a larger
# table, sorting every fact by its place **before and after**. It is shown on the right, for ROME.
#
# **Predict.** Before the edit, only the old answer looks true for 13 facts out of 24. How many of these are turned
# around?

# %%
turned = guess("How many of the 13 are turned around by ROME?", 0, 13)


# %%
def filled(ax, counts, names):  # a table of counts, its rows from below
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum(), origin="lower")
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            ink = "white" if count > counts.sum() / 2 else "black"
            ax.text(j, i, f"{count:.0f}", ha="center", va="center", color=ink)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    figures.bare(ax)


PLACES = ["neither", "only old", "only new", "both"]  # which answer looks true


def place(line):  # the number of every fact's place
    old, new = scores(line)
    return 2 * (new > 0).long() + (old > 0).long()


drawn = {}
for line in LINES:
    old, new = scores(line)
    for i, f in enumerate(both(joint).values()):
        drawn[line + i * ", yours"] = f(new, old)
old, new = scores("unedited")
hits, asked = int((old > 0).sum() + (new <= 0).sum()), 2 * len(new)
print(f"before any edit right about {hits} of {asked} statements, {100 * hits / asked:.0f} %")
after = LINES[-1]
moves = torch.zeros(4, 4)
pairs = list(zip(place("unedited").tolist(), place(after).tolist(), strict=True))
for pair in pairs:
    moves[pair] += 1
turned.against(moves[1, 2].item())
for now in (2, 3):
    came = moves[:, now].long().tolist()
    print(f"{PLACES[now]} after {after}: {sum(came)}; before it {', '.join(PLACES)}: {came}")
alone = [now for before, now in pairs[:16] if before == 1]
said = ", ".join(f"{alone.count(now)} {PLACES[now]}" for now in (2, 3, 1))
print(f"of the first two streams, which share no fact, {len(alone)} were {PLACES[1]}; now {said}")
ahead = {line: [sum(n > o for n, o, *_ in looks[line, draw]) for draw in DRAWS] for line in LINES}
print("the new answer has the higher score, stream by stream:", ahead)
wide = [*(1 for _ in drawn), 2]
made, axes = figures.panels(len(wide), height=3, titles=drawn, width_ratios=wide)
for ax, counts in zip(axes, drawn.values(), strict=False):
    filled(ax, counts, ["false", "true"])
axes[0].set(xlabel="the old answer looks", ylabel="the new answer looks")
filled(axes[-1], moves, PLACES)
axes[-1].set(xlabel=f"after {after}", ylabel="before the edit", title="which answer looks true")
axes[-1].tick_params(axis="x", rotation=30)
made


# %%
def shares(line, what):  # for each stream, %
    found = []
    for draw in DRAWS:
        new, old = torch.tensor([fact[:2] for fact in looks[line, draw]]).T > 0
        found.append(
            100 * {"new": new, "old": old, "same": new == old}[what].double().mean().item()
        )
    return found


# %%
panels = {"new": "the new answer looks true (%)", "old": "the old answer looks true (%)"}
panels["same"] = "both get the same verdict (%)"
same_now.against(sum(shares("ROME", "same")) / len(DRAWS))
for line in LINES[1:]:
    gaps = [a - b for a, b in zip(shares(line, "same"), shares("unedited", "same"), strict=True)]
    middle, low, high = by_stream(gaps)
    ends = f"{middle:+.0f} points [{low:+.0f}, {high:+.0f}], detects {detects(gaps):.0f}"
    print(f"same verdict, {line} less unedited: {ends}")
found = {panels[what]: {line: shares(line, what) for line in LINES} for what in panels}
made = figures.dots(found, DRAWS, joined=False)
for ax in made.axes:
    ax.set_ylim(-4, 104)
made

# %% [markdown]
# **The fractions read like a success, and the tables do not.** After ROME the new answer looks true for twice as many
# facts as before, and the old answer for fewer. But for six of the 24 only the new answer looks true after it; four of
# these were turned around. For 13 *both* statements look true: ROME did this to six of them, and seven started there.
# Before the edit, the probe gave the same verdict to both answers for 11 of all 24, and after it for 15; this
# difference is not proved (23 points would have been detected).
#
# A verdict has a threshold at zero, and this hides something. If you compare *scores*, the new answer is above the
# old one for one fact before ROME and for 13 after it, with a gain in every stream. So the probe does distinguish the
# two answers, only rarely by changing a verdict.
#
# **And how good is the probe on these very facts?** Before any edit, the old answer should look true and the new
# answer false. It is right about 37 of these 48 statements, 77%. If we applied its own rule, it would refuse here.
# But that rule is about unseen relations of the classroom, while these new answers were chosen to be plausible.
#
# The next figure is an example from another stream, with 60 sequentially written facts, 40 of which are tested.

# %%
depth = json.loads((root / "tests/benchmarks/depth.json").read_text(encoding="utf-8"))
titles = {"unedited": "unedited", "memit": "MEMIT", "rome": "ROME", "sdf": "synthetic documents"}
made, axes = figures.panels(len(titles), height=2.4, titles=titles.values(), sharey=True)
for ax, line in zip(axes, titles, strict=True):
    kinds = (torch.tensor(depth[line][f"the {one} answer looks true"]) for one in ("new", "old"))
    filled(ax, joint(*(some - 0.5 for some in kinds)), ["false", "true"])
axes[0].set(xlabel="the old answer looks", ylabel="the new answer looks")
made

# %% [markdown]
# There, ROME again gets the same verdict on both answers for most facts, but now often neither looks true. After
# using synthetic documents, that is, training the model on short texts about each fact, more than half look true both
# ways. The fractions in each of the last three tables could be told as a story of belief.
#
# ## Did only the written answer move?
#
# An edit might raise every answer of a relation instead of only the written answer. The control for this is a *third
# answer*: the answer to another fact of the same relation, neither the new nor the old answer of this fact. The
# figure shows the mean change of the score, for the new answer, the old answer, and all third answers.


# %%
PARTS = {
    "the new answer": slice(0, 1),
    "the old answer": slice(1, 2),
    "third answers": slice(2, None),
}


def moved(line, part):  # mean change of a score, for each stream
    found = []
    for draw in DRAWS:
        pairs = zip(looks["unedited", draw], looks[line, draw], strict=True)
        changes = [[b - a for a, b in zip(*pair, strict=True)][PARTS[part]] for pair in pairs]
        means = [sum(one) / len(one) for one in changes if one]  # some facts have no third answer
        found.append(sum(means) / len(means))
    return found


# %%
for line in LINES[1:]:
    new, third = moved(line, "the new answer"), moved(line, "third answers")
    ends = "{:+.2f} [{:+.2f}, {:+.2f}]".format(
        *by_stream([a - b for a, b in zip(new, third, strict=True)])
    )
    print(f"{line}, the new answer's change less that of third answers: {ends}")
changes = {line: {part: moved(line, part) for part in PARTS} for line in LINES[1:]}
drawing = figures.dots(changes, DRAWS, joined=False)
for ax in drawing.axes:
    ax.set_title(ax.get_ylabel(), fontsize=figures.LABEL)
    ax.set(ylim=drawing.axes[-1].get_ylim(), ylabel="mean change of the score")
    ax.axhline(0, color=plot.QUIET, linewidth=0.8)
drawing

# %% [markdown]
# ROME raises the written answer in every stream, while lowering the old answer. Third answers of the same subject
# move little, so the edit does more than raising any answer; with three streams this difference reaches down to zero.
# So the probe sees a part of the edit. Half of the facts cross the diagonal, with the new answer going up and the old
# answer going down, but only a few of them move far enough to turn around.
#
# ## Where it breaks
#
# The probe reads before one block. If an edit is written in that block or above it, it has not yet taken effect in
# the states being read. The verdict would be the same as for the unedited model, and reporting "the edit does not
# look true" would be a mistake. FT-M trains a matrix above the probe, and GRACE keeps its facts there; how does the
# library respond?

# %%
fact = classroom[1].fact
for name in ("ft_m", "grace"):
    patch = lib.EDITORS[name](lm).edit([fact])
    try:
        probe = lib.workbench.truth_probe(lm, classroom, without=[classroom[1]])
        probe.scores(lm, [(fact.text, fact.target_new)], patch)
    except lib.errors.ProbeError as error:  # about the patch or the model's states
        print(f"{name}: {error}")

# %% [markdown]
# ## What we know now
#
# * A probe can memorize its statements. Before believing it, we have to test it on unseen relations.
# * Two fractions do not show the effect of an edit on a fact. A joint table does, if it includes the facts before and
#   after.
# * After ROME the new answer looks true more often. Of the 13 facts that were right before, 4 are turned around, 6 look
#   true both ways, and 3 stay. UltraEdit's edits change the
#   answers and barely reach the probe, and an edit in the probe's block or above it can't be seen at all.
# * A direction separating true from false statements need not represent the statements that the model *treats* as
#   true. No number on this page shows that the model now *believes* the edit. The result is smaller and more useful:
#   knowing which questions a probe must pass first, and how to read its verdicts fact by fact.
#
# ## References
#
# * Marks, Tegmark: *The Geometry of Truth*, 2023, [arXiv:2310.06824](https://arxiv.org/abs/2310.06824).
# * Slocum et al.: *Believe It or Not: How Deeply do LLMs Believe Implanted Facts?*, 2025,
#   [arXiv:2510.17941](https://arxiv.org/abs/2510.17941).
