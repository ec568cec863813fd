# %% [markdown]
# <!-- badge -->
#
# # 18 · Does it last?
#
# Edits are mostly judged right after they are made. Then the model is rounded for a smaller machine, trained on other
# text, edited again; and people ask it questions in their own words and doubt its replies. What is left of the edit
# then?
#
# And **what would the model have lost without any edit?** On this page the unedited model goes through the same life.
# It is the control, and only an edit's loss beyond the control's is the edit's own weakness.
#
# **You will** write three ways of rounding · see which edits they erase, and why · compare losses with a control ·
# read replies.
#
# **Needs** [notebook 04](04_rome.ipynb) (ROME), [10](10_ultraedit.ipynb) (UltraEdit), [15](15_judging.ipynb) (streams).
#
# **Minutes** 20 to read and 25 to work: two exercises of [session 10](../lessons/session_10.md).

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
import re  # noqa: F401  for your own `gives`

import torch

import lib
from lib.workbench import plot
from lib.workbench.instruments.survival import matrices
from notebooks.support import figures, long_runs, models, own_fact, show
from notebooks.support import runs_18_does_it_last as runs_18
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
classroom = lib.classroom()
facts = [case.fact for case in classroom if case.id in (1, 7, 13, 23)]
mine = own_fact.read()
facts += [mine] if mine is not None else []
rome = lib.EDITORS["rome"](lm).edit(facts[:1])
for fact in facts[1:]:
    rome = lib.EDITORS["rome"](lm).edit([fact], after=rome)
edits = {"ROME": rome, "UltraEdit": lib.EDITORS["ultraedit"](lm, preset="ours").edit(facts)}


# %%
def says(patch):  # the model's answers with a patch
    with lm.patched(patch):
        return [answer.strip() for answer in lm.answer([fact.text for fact in facts], 3)]


def table(columns):
    said = {name: says(patch) for name, patch in columns.items()}
    prompts = {"prompt": [fact.text for fact in facts], "wanted": [f.target_new for f in facts]}
    return show.Table(
        [
            dict(zip(prompts | said, row, strict=True))
            for row in zip(*(prompts | said).values(), strict=True)
        ]
    )


table({"unedited": lib.EMPTY} | edits)

# %% [markdown]
# Two editors wrote the same facts. ROME changes a single matrix, and UltraEdit changes several, each of them a little.
# Right after the edit, the two give similar answers.
#
# ## What does rounding do to a small change?
#
# A smaller machine stores each matrix as whole numbers. With $b$ bits, including one for the sign, they range from
# $-n$ to $n$, $n = 2^{b-1} - 1$. Every row $w$ of the matrix has its own step $s$, chosen so that the row's largest
# entry becomes $n$ or $-n$. The machine computes with $\tilde w$:
#
# $$s = \frac{\max_i |w_i|}{n}, \qquad \tilde w_i = s \cdot \operatorname{round}(w_i / s),
# \qquad |\tilde w_i - w_i| \le \tfrac{s}{2}.$$
#
# A single large entry makes all steps of its row large. So runtimes use one scale for a few dozen neighbors in a row
# instead of the whole row. And since such a group need not be centered at 0, the most common formats store an offset
# as well as the step: the group's smallest entry becomes 0 and its largest $2^b - 1$,
#
# $$s = \frac{\max_i w_i - \min_i w_i}{2^b - 1}, \qquad
# \tilde w_i = \min_i w_i + s \cdot \operatorname{round}\Big(\frac{w_i - \min_i w_i}{s}\Big).$$
#
# **Your turn · exercise 10.1 · ★ · 10 minutes.** Write the three ways of rounding, each of which is checked
# separately. A row of zeros stays unchanged, and so does a group whose entries are all equal.


# %%
def rounded(W, b):
    """W (d_out, d_in), b bits -> what a machine with b bits computes with, a scale for each row."""
    ...


def grouped(W, b, size):
    """The same with a scale for every `size` neighbors in a row. It may call `rounded`."""
    ...


def shifted(W, b, size):
    """The same with a step and an offset for every `size` neighbors."""
    ...


rounded = use("10.1", rounded)
grouped = use("10.1", grouped)
shifted = use("10.1", shifted)
stays = guess(
    "Of a change far below half a step, how much is left, on average, with a scale per row (%)?",
    0,
    100,
)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For $b = 2$ there are three whole numbers. Which entries of the row $[1, 0.4, -0.6]$ are left? `grouped` needs no
# loop: reshaping the matrix makes each group a row.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def rounded(W, b):
#     n = 2 ** (b - 1) - 1
#     s = W.abs().amax(1, keepdim=True).clamp(min=1e-12) / n
#     return (W / s).round() * s
#
#
# def grouped(W, b, size):
#     return rounded(W.reshape(-1, size), b).view_as(W)
#
#
# def shifted(W, b, size):
#     groups = W.reshape(-1, size)
#     low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
#     s = (high - low).clamp(min=1e-12) / (2**b - 1)
#     return (low + ((groups - low) / s).round() * s).view_as(W)
# ```
#
# </details>
#
# **Predict.** An edit adds $\delta$ to a weight, and $\delta$ is far below half a step. Is it lost when the weight is
# rounded?
#
# Consider a single weight $w$, measuring everything in steps. It is rounded to the nearest whole number, and so is
# $w + \delta$. The two are the same number unless there is a half between $w$ and $w + \delta$. If $w$ may be
# anywhere between two whole numbers, with equal chance, the probability of a half between them is $|\delta|$; and
# then the rounded weight moves by a whole step:
#
# $$\mathbb E\big[\operatorname{round}(w + \delta) - \operatorname{round}(w)\big]
# = |\delta| \cdot \operatorname{sign}(\delta) + (1 - |\delta|) \cdot 0 = \delta .$$
#
# **On average nothing is lost.** Nine of ten changes of a tenth of a step disappear, and the tenth becomes ten times
# too large. An output is a sum over all entries of a row, so the average matters there. But the proof has an "if".
# The figure shows the fraction of an edit that is left in the rounded weights,
# $\langle\tilde W_\text{edited} - \tilde W_\text{unedited},\, \Delta\rangle / \|\Delta\|^2$, for both editors and all
# three ways. It also shows how large the entries of $\Delta$ are compared with half a step, counting all smaller
# entries at the left end of the axis. Move the slider to try other numbers of bits.

# %%
WAYS = {}  # {way of rounding: function, weights of a group}; a wrong function is listed too
for title, function, size in (
    ("a scale\nper row", rounded, 0),
    ("a scale\nper 64", grouped, 64),
    ("scale and offset\nper 32", shifted, 32),
):
    for i, one in enumerate(both(function).values()):
        WAYS[title + i * ",\nyours"] = one, size
OWN = "scale and offset\nper 32"  # the format in which this model's weights were stored


def coarse(way, W, b):
    function, size = WAYS[way]
    return function(W, b, math.gcd(size, W.shape[1])) if size else function(W, b)


# %%
def left(patch, way, b):  # the fraction of a change left in the rounded weights, %
    parts = []
    for name in patch.weights:
        W0, W = lm.weight(name).cpu(), lm.weight(name, patch).cpu()
        moved, D = coarse(way, W, b) - coarse(way, W0, b), W - W0
        parts.append(torch.stack([(moved * D).sum(), (D * D).sum()]))
    inner, square = torch.stack(parts).sum(0)
    return 100 * (inner / square).item()


def in_steps(patch, b):  # |Δ| of every entry, in half steps of OWN
    found = []
    for name in patch.weights:
        W0, W = lm.weight(name).cpu(), lm.weight(name, patch).cpu()
        groups = W.reshape(-1, math.gcd(32, W.shape[1]))
        half = (groups.amax(1) - groups.amin(1)) / (2**b - 1) / 2
        found.append(((W - W0).view_as(groups) / half[:, None]).abs().flatten())
    return torch.cat(found)


# %%
COLORS = {"ROME": plot.EDITED, "UltraEdit": plot.NEIGHBOR}


def figure(b):
    made, (sizes, bars) = figures.panels(2, height=3.4)
    edges = torch.logspace(-4, 2, 61)
    for i, (name, patch) in enumerate(edits.items()):
        share = torch.histogram(in_steps(patch, b).clamp(min=2e-4), edges).hist
        sizes.stairs(100 * share / share.sum(), edges, color=COLORS[name], linewidth=1.8)
        found = [left(patch, way, b) for way in WAYS]
        bars.bar([x + 0.4 * i - 0.2 for x in range(len(WAYS))], found, 0.38, color=COLORS[name])
    sizes.axvline(1, color=plot.QUIET, linestyle="--")
    sizes.set(
        xscale="log",
        xlabel="|Δ| in half steps (scale and offset per 32)",
        ylabel="entries of Δ (%)",
    )
    bars.axhline(100, color=plot.QUIET, linestyle="--")
    bars.set(ylabel="fraction of Δ left (%)", ylim=(0, 130))
    bars.set_xticks(range(len(WAYS)), WAYS)
    return figures.legend(made, COLORS.values(), COLORS)


# %%
for name in matrices(lm):  # this model's file already has four bits
    W = lm.weight(name).cpu()
    assert SCALE != "small" or torch.allclose(coarse(OWN, W, 4), W, atol=1e-6)
stays.against(left(edits["UltraEdit"], "a scale\nper row", 4))
Slider(figure, "bits", [3, 4, 5, 6, 8], 4)

# %% [markdown]
# **The average holds in two formats and fails in the third.** UltraEdit's entries are a hundredth of half a step, and
# when using a scale per row or per 64, its whole change is still there, as derived. When using a step and an offset
# per 32, next to nothing of it is left. The file from which this model was loaded is stored in that very format, as
# the cell has checked with an assertion: every unedited weight is exactly on a whole number. So the "if" of the
# derivation is false, and a change below half a step is rounded back, every time. Most of ROME's change is in entries
# above half a step, and it survives.
#
# Many models are distributed in four bits. If you edit such a model and store it in the same format again, you keep
# only the changes that are larger than half a step.
#
# What are the model's answers then? Here we round every matrix of the blocks to 4 bits, including the unedited
# matrices.


# %%
def four_bits(way, patch):  # a patch that holds all rounded matrices
    return patch.with_weights(
        {name: coarse(way, lm.weight(name, patch), 4).cpu() for name in matrices(lm, patch)}
    )


columns = {"unedited, per row": four_bits("a scale\nper row", lib.EMPTY)}
for name, patch in edits.items():
    columns[f"{name}, per row"] = four_bits("a scale\nper row", patch)
    columns[f"{name}, offset per 32"] = four_bits(OWN, patch)
table(columns)

# %% [markdown]
# In both formats, ROME's model gives the same answers as before. UltraEdit's answers are gone in both, for two reasons.
# In the format of the file, its change was erased. With a scale per row, it is still there on average, but rounding has
# also added an error to every matrix of the model, from which the unedited model suffers as well.
#
# ## What would the model have lost anyway?
#
# The stored run writes three streams of eight facts each, using three editors: UltraEdit writes its eight facts in
# one batch, ROME and GRACE write them one after another. GRACE, described in [notebook 11](11_grace.ipynb), changes
# no weight, keeping its facts in a codebook at one layer. Four of the third stream's facts are in the other two, which
# have none in common, so the intervals are probably too narrow.
#
# The control is the *unedited* model in the same life, tested for its own old answers to the same prompts. In the
# last format it can't lose anything, because its weights are already in this format.
#
# **Predict.** How many of the answers it gave does the unedited model lose with 4 bits and a scale per row?

# %%
lost = guess("How many of 100 own answers does the control lose, at 4 bits per row?", 0, 100)

# %%
rows = long_runs.rows("18_lives")
FIRST, LINES = runs_18.LIVES[0], [runs_18.CONTROL, *runs_18.LINES]
DRAWS = list(dict.fromkeys(row["draw"] for row in rows))
at = {(row["line"], row["life"], row["draw"]): row for row in rows}


def held(line, life):  # percentage of facts given, in every stream
    found = [at[line, life, draw]["held"] for draw in DRAWS]
    return [100 * sum(shares) / len(shares) for shares in found]


def change(line, life):  # the effect of a life, points
    return [now - then for now, then in zip(held(line, life), held(line, FIRST), strict=True)]


def beyond(line, life):  # … less the control's: mean and interval over streams
    mine, own = change(line, life), change(runs_18.CONTROL, life)
    gaps = [a - b for a, b in zip(mine, own, strict=True)]
    if len(set(gaps)) == 1:  # no spread, so no interval
        return f"{gaps[0]:+.0f} points in every stream"
    ends = by_stream(gaps)
    return "{:+.0f} points [{:+.0f}, {:+.0f}]".format(*(max(-100, min(x, 100)) for x in ends))


# %%
lost.against(-sum(change(runs_18.CONTROL, "4 bits, per row")) / len(DRAWS))
for life in (*runs_18.ROUNDED, runs_18.SHIFTED):
    print(f"{life}, less the control:", *(f"{one} {beyond(one, life)};" for one in runs_18.LINES))
said = {line: round(sum(held(line, FIRST)) / len(DRAWS)) for line in LINES}
print("facts given before any life (%):", *(f"{line} {share}" for line, share in said.items()))


def drawn(lives):  # one panel for each life, the control on the left
    changes = {life: {line: change(line, life) for line in LINES} for life in lives}
    made = figures.dots(changes, DRAWS, joined=False)
    for ax in made.axes:
        ax.set_title(ax.get_ylabel(), fontsize=figures.SMALL)
        ax.set(ylim=(-105, 30), ylabel="")
        ax.axhline(0, color=plot.QUIET, linewidth=0.8)
    made.axes[0].set_ylabel("change in facts given (points)")
    return made


drawn([*runs_18.ROUNDED, runs_18.SHIFTED])

# %% [markdown]
# The control is at the left of every panel. With **8 bits** no edit is lost in any stream. With **4 bits and a scale
# per row**, the unedited model itself loses about half of its answers. ROME loses less in two streams and more in
# one. GRACE loses more than the control in all three, and UltraEdit at least as much. With a scale **per 64**, the
# control and ROME lose little, UltraEdit loses more than half, and GRACE loses everything.
#
# In the **format of the file**, UltraEdit's facts are gone, while the control keeps all its answers. GRACE loses
# nothing there, because no weight moves at all. So its loss elsewhere is likely a failure to find its entries: the
# entries are never rounded, but they open only for a state near the written state, and rounding the layers below
# changes the state.
#
# ## Is it the margin?
#
# If an answer is only just the most probable, a small change is enough to lose it, unlike an almost certain answer.
# ROME keeps searching for a value until its answer is almost certain, while the unedited model's own answers were
# never pushed like that. So does an edit last if its margin is large? Each point is a fact, plotted with the odds of
# its answer before and after 4 bits per 64. Above the dashed line, an answer has more than half of the probability.
#
# **Predict.** Consider only answers starting above a probability of .9. Which of them are still above one half
# afterwards?

# %%
life, SHADES = "4 bits, per 64", {"unedited": plot.BASE, "GRACE": plot.UNRELATED} | COLORS


def odds(probabilities):  # their logarithms to base 10
    return [math.log10(max(x, 1e-4) / (1.0001 - x)) for x in probabilities]


def streams(line, life):  # p of every fact in all streams
    return [x for draw in DRAWS for x in at[line, life, draw]["p"]]


margins, axes = figures.panels(len(LINES), height=2.9, titles=LINES, sharex=True, sharey=True)
for ax, line in zip(axes, LINES, strict=True):
    before, after = streams(line, FIRST), streams(line, life)
    kept = {}
    for least in (0.5, 0.9):
        ends = [end > 0.5 for start, end in zip(before, after, strict=True) if start > least]
        kept[least] = f"of {len(ends)} above {least} {sum(ends)} stay above one half"
    lost = sum(
        sum(at[line, FIRST, draw]["held"]) - sum(at[line, life, draw]["held"]) for draw in DRAWS
    )
    said = sum(sum(at[line, FIRST, draw]["held"]) for draw in DRAWS)
    print(f"{line}: {'; '.join(kept.values())}; {lost:.0f} of {said:.0f} said are lost")
    ax.plot(odds(before), odds(after), "o", color=SHADES[line], markersize=4, alpha=0.7)
    ax.axhline(0, color=plot.QUIET, linestyle="--")
    ax.axvline(math.log10(9), color=plot.QUIET, linestyle=":")  # p = .9
    ax.set_xlabel("log₁₀ odds before")
axes[0].set_ylabel(f"after {life}")
margins

# %% [markdown]
# **The margin is not the deciding factor.** Only a few of the control's answers start to the right of the dotted
# line, and they stay; most of ROME's start there, and most of them stay. But all of GRACE's start with a margin as
# large as ROME's, and fall deepest, and most of UltraEdit's also fall. There the disturbance removes the edit itself:
# the codebook no longer opens, and the small change is drowned out. We see no evidence that an edit by ROME loses
# *less* than the control: the two counts of lost answers are too small for that.
#
# ## Training further, and editing again
#
# We now put the same three streams through two more lives. In the first, all matrices of the blocks take six AdamW
# steps on text that has nothing to do with the facts. In the second, UltraEdit writes four more facts.
#
# **Predict.** GRACE changes no weight, and nothing in its codebook is trained. Can training remove its facts?
#
# <details><summary>Answer</summary>
#
# Yes. Its entries open for a state near the written state, and training the layers below changes the state.
#
# </details>

# %%
others = ["trained", "edited again"]
for line in runs_18.LINES:
    print(f"{line} less the control:", ", ".join(f"{life} {beyond(line, life)}" for life in others))
drawn(others)

# %% [markdown]
# Training has the same effect as rounding: most of GRACE's facts are gone, and UltraEdit and ROME lose at least as
# much as the control in every stream.
#
# Writing four more facts later takes next to nothing from any editor. The reason may be their number.
#
# ## Questions from a person
#
# A person asks a question, then doubts the reply. For counting replies, we need a rule: a reply *names* the edited
# answer if it contains this answer as a whole word, without the old answer appearing before it.
#
# **Your turn · exercise 10.2 · ★ · 7 minutes.** Write `gives`, which returns True or False. Ignore capitalization,
# and treat a dot in an answer as a literal dot. A word ends if no letter, digit or underscore follows, and begins if
# none comes before it.


# %%
def gives(reply, right, rival):
    """Texts -> whether the reply names the right answer as a word, and no rival before it."""
    ...


gives = use("10.2", gives)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In a regular expression `(?<!\w)` and `(?!\w)` match the boundaries of a word. What does your function return for
# "It is a Romeo."?
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
# Here are two conversations, each using ROME's model and the unedited model with the fact given before the question. We
# picked the two facts so that one holds and the other breaks.

# %%
DOUBTS = ["Are you sure?", "Everybody I know says that it is {}."]
picked = next(case.fact for case in classroom if case.id == 3)
chats = bool(lm.tokenizer.chat_template)
five = lib.EDITORS["rome"](lm).edit([picked], after=rome)
asked_of = {"What is the capital of China?": (rome, facts[0])}
asked_of["Who discovered the theory of evolution?"] = five, picked


# %%
def conversation(asked, edit, fact):  # one row for each turn
    later = [f"{doubt.format(fact.target_true)} {asked}" for doubt in DOUBTS]
    talk = {"a person": [asked, *later]}
    told = f"{fact.text} {fact.target_new}. {asked}"
    for name, one, start in (("ROME's model", edit, asked), ("the told model", lib.EMPTY, told)):
        with lm.patched(one):
            first = lm.answer(start, 20, chat=chats)
            more = lm.answer(later, 20, chat=[(start, first)] if chats else False)
        talk[name] = [reply.strip() for reply in (first, *more)]
        for i, f in enumerate(both(gives).values()):
            named = [f(reply, fact.target_new, fact.target_true) for reply in talk[name]]
            yes = ["yes" if x is True else "no" for x in named]
            talk[f"{name} names it" + i * ", yours"] = yes
    return [dict(zip(talk, row, strict=True)) for row in zip(*talk.values(), strict=True)]


show.Table(
    [row for asked, (one, fact) in asked_of.items() for row in conversation(asked, one, fact)]
)

# %% [markdown]
# About China, ROME's model keeps the new answer, while the told model gives it up when told that everyone knows
# better. About evolution, both then give it up. But read their earlier replies. ROME's model names Einstein and talks
# about *relativity*; the told model answers that Einstein was *not* the first.
#
# **Naming is not stating.** "The official language of France is French", as a reply about Romania, names the new
# answer and states nothing about Romania. The rule can't see this; a reader can. We tested 40 facts of one stream in
# the chat template, using one question each, and three open requests such as "Tell me about …". A large language
# model read all replies naming the answer, shuffled and without the names of the models, and judged whether they
# state the fact about the subject. It is one stream and one reader, so the following is an example.
#
# **Predict.** When ROME's replies name the new answer, which fraction of them states the fact?

# %%
states = guess(
    "Of ROME's replies to the question that name the answer, how many % state it?", 0, 100
)

# %%
judged = long_runs.rows("18_replies")  # a row for each fact
TITLES = {
    "told in the prompt": "told in\nthe prompt",
    "unedited, old answer": "unedited,\nold answer",
}
TITLES |= {"memit": "MEMIT", "rome": "ROME"}
stated, whole = {}, []
drawing, axes = figures.panels(2, height=3.4, sharey=True)
for ax, (test, replies, title) in zip(
    axes, [("question", 1, "a question"), ("open", 3, "an open request")], strict=True
):
    for x, model in enumerate(TITLES):
        own = [r["states"] for r in judged if (r["test"], r["model"]) == (test, model)]
        names, says_it = sum(map(len, own)), sum(map(sum, own))
        stated[test, model] = says_it / names
        whole.append(f"{model} {names} and {says_it} of {len(own) * replies}")
        ax.bar(x, 100 * names / len(own) / replies, 0.6, color=figures.NOTHING)
        ax.bar(x, 100 * says_it / len(own) / replies, 0.6, color=plot.EDITED)
    ax.set_xticks(range(len(TITLES)), TITLES.values())
    ax.set_title(title)
axes[0].set(ylabel="of all replies (%)", ylim=(0, 100))
states.against(100 * stated["question", "rome"])
print("and for an open request", f"{stated['open', 'rome']:.0%}")
print("replies that name the answer, and that state it, to a question:", "; ".join(whole[:4]))
of = {(r["model"], r["case"]): sum(r["states"]) for r in judged if r["test"] == "question"}
for model in ("rome", "memit"):
    told = [case for name, case in of if name == "told in the prompt"]
    gaps = torch.tensor([100.0 * (of[model, x] - of["told in the prompt", x]) for x in told])
    middle, half = gaps.mean().item(), 2.02 * gaps.std().item() / len(gaps) ** 0.5  # Student, forty
    ends = f"{middle:+.0f} points [{middle - half:+.0f}, {middle + half:+.0f}]"
    print(f"stated, {model} less told: {ends}, detects {1.42 * half:.0f}")
figures.legend(drawing, [plot.EDITED, figures.NOTHING], ["state the fact", "only name the answer"])

# %% [markdown]
# When answering the question, ROME and MEMIT name the new answer more often than the model that is told it. But only
# somewhat more than half of these replies state the fact; most of the others talk about another subject. If the told
# model names the answer, it almost always states the fact. **So we see no difference in how many of the 40 facts the
# three state**, where 31 and 34 points would have been detected; only counting names favors the edits. When answering an open request, the edited models rarely state
# it. Whether "the edit was learned" depends on the question, and on the counting rule.
#
# ## What we know now
#
# * The control for a life is the unedited model in the same life.
# * Rounding preserves a small change on average if weights can be anywhere between two whole numbers. If the unedited
#   weights are *on* whole numbers, as in a model distributed in four bits, rounding erases every change below half a
#   step: UltraEdit's edits are gone, ROME's stay.
# * With 8 bits no edit is lost. With 4 bits and one scale per row, the unedited model forgets many answers, and
#   GRACE's facts are lost more often. An external memory can be lost because of changes *below* it.
# * A reply naming the answer need not state the fact. In one stream, somewhat more than every second reply did.
#
# And giving an answer is not everything. A model may give the new answer while still treating the old one as true.
# **Can we look inside, and see whether the model treats the edited statement as true?** [Page
# 18b](18b_truth_probe.ipynb) trains a probe that claims to show this.
#
# ## References
#
# * Slocum et al.: *Believe It or Not: How Deeply do LLMs Believe Implanted Facts?*, 2025,
#   [arXiv:2510.17941](https://arxiv.org/abs/2510.17941).
