# %% [markdown]
# <!-- badge -->
#
# # 14 · Lifelong: all on one stream
#
# Thirteen notebooks, some two dozen editors, and each was shown where it is strong. Which of all
# these should you use? Here every one of them writes the same facts, in the same order, and is
# asked the same questions after every turn.
#
# **You will** read retention off a raster · see twenty-three lines on one stream · find out with
# five more streams which of their differences are real · find the one edit that killed ROME · move
# through the stream and read the answers · pay the bill · look at other facts.
#
# **Needs** notebooks [04](04_rome.ipynb) to [13](13_lemoe.ipynb), one sentence of each.
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
from lib import widgets
from notebooks.support import arena_14_lifelong as arena_14
from notebooks.support import checks_14_lifelong as checks_14
from notebooks.support import drawings_14, figures, five_streams, long_runs, models, show
from notebooks.support import runs_14_lifelong as runs_14

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
# Many papers report only the first, averaged over a stream, and call it "success". (A fact that a
# later edit contradicts on purpose would have to be left out of all three; in our streams there is
# none.)
#
# **Predict.** An editor writes every fact, and each later turn ruins a tenth of what is there.
# What is held after 6 turns? After 60?
#
# <details><summary>Work it out</summary>
#
# A fact of turn $t$ survives $T - t$ later turns with a chance of $0.9^{T-t}$. The mean over the
# turns is $(1 - 0.9^T)/(0.1\,T)$. The survivors are the newest facts, so in a raster they make a
# triangle.
#
# </details>

# %%
for T in (6, 60):
    ages = [0.9 ** (T - t) for t in range(1, T + 1)]
    assert abs(sum(ages) / T - (1 - 0.9**T) / (0.1 * T)) < 1e-9
    print(f"{T} turns: written 100 %, held {sum(ages) / T:.0%}")

# %% [markdown]
# The same editor holds most facts of a short stream, and few of a long one. So a share of facts
# held means nothing without the length of the stream.
#
# ## One stream for everybody
#
# The first stream is a stored run: the Eiffel Tower, then 23 facts of the classroom, in turns of
# four, 24 edits in all. The 23 have odd numbers, as the library's settings were chosen on even
# ones. The order is that of seed 0. It was taken because it has, in its middle, a subject of one
# token that opens its prompt: an accident is waiting. Five more streams follow below, which nobody
# chose.
#
# These are the lines, by family:
#
# * **Searches** for a value: ROME in two forms (*published*, with notebook 08's mixed keys, and
#   with *both keys*), MEMIT with kept keys, as notebook 06 advises, and its relatives: AlphaEdit,
#   the norm anchor, EMMET in one layer, RECT, PRUNE, WilKE. **PMET** is new here: it searches the
#   outputs of attention and MLP together, and writes the MLP's part alone.
# * **Gradients** in one pass: UltraEdit, MEND, MALMEN, RLEdit.
# * **Fine-tuning**: plain (shuffled epochs over a turn, one late layer); FT-L, which keeps each
#   weight in a small box around its old value; FT-M, which trains on the answer's tokens only;
#   CrispEdit, which keeps to the directions that general text does not use (notebook 06); LoRA,
#   which trains a matrix of low rank.
# * **Memories** beside the model: GRACE, HoReN (notebook 11), WISE, LEMoE, and **MEMOIR**, which is
#   new here. In its side memory a fact has the columns that a fingerprint of its prompt names, and a
#   prompt with a similar fingerprint reads them.
# * **Retrieval** edits nothing. It looks for the nearest written fact and puts it before the prompt
#   as a note. An editor that cannot do better than that needs a reason to be used at all.
#
# All have the library's settings, but for ROME, which samples one context beside the bare prompt
# instead of four to save time, and MEMIT, which keeps its keys. So lines inside a family differ in
# more than their method. (One of your own: a line in `runs_14.STREAM`, then `--long 14`, adds it.)
#
# Everything is judged by free **generation**. The model writes, and its text has to begin with the
# answer; unrelated texts have to go on as the base model's, for eight tokens. We run the beginning
# of two lines here and compare it with the stored rows.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
STREAM = runs_14.STREAM
rows = long_runs.stored("14_streams", STREAM, lambda: runs_14.every(lm))
for name in ("GRACE", "UltraEdit"):
    live = long_runs.repeats(
        runs_14.turns(rows, name),
        lambda name=name: runs_14.line(lm, name, edits=4),
        ["edits", "right", "says", "next"],
    )
    print(f"{name}: the first {live[-1]['edits']} edits, made again here")

# %% [markdown]
# From the raster to the numbers: efficacy and retention of the library must be the diagonal and the
# last column.

# %%
for name in STREAM["lines"]:
    own = runs_14.turns(rows, name)
    texts = [row["right"] for row in own]  # one text of zeros and ones per turn
    diagonal = "".join(text[-STREAM["batch"] :] for text in texts)
    for text, metric in ((diagonal, "efficacy"), (texts[-1], "retention")):
        assert abs(runs_14.share(text) - own[-1]["scores"][metric]["generation"]) < 1e-4

# %% [markdown]
# ## The impossible triangle
#
# Facts held, rewordings followed, everything else left alone: the last notebooks said that one gets
# two of the three. To see who comes nearest we put two numbers on each editor, from the end of this
# stream. *Quality* is the mean of facts held and rewordings followed. *Damage* is the mean share of
# neighbors and unrelated texts whose answers have changed. The best place is at the top left.

# %%
drawings_14.quality_and_damage(runs_14.quality_and_damage(rows), runs_14.FAMILIES)

# %% [markdown]
# **Predict.** The picture has merged four numbers into two. Which of them does each family lose:
# searches, gradients, fine-tuning, memories, retrieval?
#
# <details><summary>Answer</summary>
#
# Searches lose unrelated texts, fine-tuning loses neighbors, memories lose rewordings (GRACE),
# neighbors (WISE, MEMOIR) or both (HoReN, LEMoE). MEND and MALMEN lose everything, UltraEdit rewordings, RLEdit what should
# stay. Retrieval loses least.
#
# </details>

# %%
names, shares, between = runs_14.triangle(rows)
drawings_14.scores(names, list(runs_14.COLUMNS), shares, between, runs_14.FAMILIES)

# %% [markdown]
# Each cell is a share in percent with its interval over the 24 facts. Look for what is pale:
#
# * **Searches** hold nearly everything, follow most rewordings, and change unrelated texts: of
#   these a fifth to two fifths go another way within eight tokens, and most of them for ROME.
# * **Gradients**: UltraEdit moves no unrelated text and follows hardly a rewording. RLEdit follows
#   them at the price of nearly all unrelated texts. MEND and MALMEN have lost the language.
# * **Fine-tuning** holds its facts and says new answers at about two of three neighbors. FT-L is
#   the opposite: its box is so small that hardly anything is written. CrispEdit spares what its
#   statistics are of, general text, and changes the neighbors like the others.
# * **Memories** hold all and move no unrelated text. GRACE follows no rewording; the other four
#   answer about every second neighbor from the memory, and of these HoReN and LEMoE follow fewer
#   than a third of the rewordings.
# * **Retrieval** is dark everywhere but at rewordings. (Its price is paid at every question and not
#   here: a longer prompt, and a note that anybody can read.)
#
# Within a family nearly all intervals overlap, and this is one stream, chosen for its accident.
# Which of these differences would another stream show, too?
#
# ## Five more streams
#
# An interval over 24 facts answers the question what *other facts in the same stream* would give.
# But an edit that breaks the model breaks it for all 24 facts at once. So for a statement about
# streams the stream is the observation, and we have one. Here are five more (stored run): facts and
# order are drawn with seeds 1 to 5, for the editors that take about two seconds an edit or less.
# They begin with the tower, too. From $m$ streams with means $x_1, \dots, x_m$ we want an interval
# for the mean of all the streams that could have been drawn:
#
# $$\bar x \pm t_{m-1}\,\frac{s}{\sqrt m}, \qquad s^2 = \frac1{m-1}\sum_j (x_j - \bar x)^2 .$$
#
# This is **Student's interval**. With $m = 5$ its factor $t_{m-1}$ is 2.78 instead of the usual
# 1.96, as $s$ itself is known badly. Where all five means agree $s = 0$, and it would claim to know
# the mean exactly. So we take the wider of this interval and the one that treats all facts of the
# five streams as independent. (Notebook 15 tests both by simulation.)
#
# **Predict.** Which will vary most from stream to stream?
#
# <details><summary>Answer</summary>
#
# What one edit can do to all prompts at once: neighbors and unrelated texts, for the editors that
# write into the weights.
#
# </details>

# %%
more = long_runs.stored("14_orders", five_streams.STREAMS, lambda: five_streams.every(lm))
found, sides = five_streams.shares(more)
drawings_14.streams(found, sides, runs_14.FAMILIES)

# %%
for column in ("held", "reworded", "neighbors", "unrelated"):
    name, (low, high) = next(iter(five_streams.ranges(more, column).items()))
    print(f"{column}: widest for {name}, from {low:.0f} to {high:.0f} % in five streams")
print("points by which retrieval is ahead of each, fact by fact, with intervals over streams:")
show.Table(five_streams.against(more, "retrieval"))

# %% [markdown]
# What five streams support, in differences whose interval is clear of 0:
#
# * All but GRACE lose **neighbors** against retrieval, by about 40 points (UltraEdit, LEMoE) to
#   about 75 (fine-tuning, RLEdit).
# * Fine-tuning and FT-M follow *more* **rewordings** than retrieval, LEMoE, UltraEdit and GRACE
#   fewer. In the first stream alone the intervals of the first three overlap widely.
# * RLEdit, fine-tuning and FT-M change **unrelated** texts. The memories and UltraEdit do not, or
#   hardly.
# * GRACE and LEMoE **hold** more than retrieval, whose notes do not always convince the model.
#
# So no editor here is ahead of retrieval in everything, and several are ahead in something. What
# they do *not* support is an order of UltraEdit and LEMoE in neighbors, or any order among the
# searches, which are too slow for five streams here: for them there is one stream.
#
# **And ROME?** It takes two to three seconds an edit and is not among the five, so whether its fall
# is a matter of the chosen stream we have not measured. But we can count what did it there. In
# notebook 08 a subject of one token that opens its prompt was dangerous, because its key stands in
# the attention sink.

# %%
for seed in five_streams.STREAMS["seeds"]:
    print(f"stream {seed}, subjects of one token that open their prompt:", end=" ")
    print(", ".join(five_streams.openers(lm, seed)))

# %% [markdown]
# Every one of the five streams has at least two of them. So the first stream was chosen for
# something that is hardly rare.
#
# ## Curves
#
# The end of a stream hides the way there. In the first stream the model was asked after every turn:
# which facts written so far it holds, and what its **next word** is after 24 neighbors' prompts and
# 24 unrelated ones. The next word counts as kept where it is the base model's. This is a milder
# question than the ones above, which let the model write a whole answer, so its lines have other
# names.

# %%
x, found = runs_14.curves(rows)
figures.curves(x, found, "edits", "share (%)", colors=figures.EDITOR_COLORS, columns=4)

# %%
for name in ("fine-tuning", "UltraEdit", "RLEdit"):
    line = found[name][runs_14.NEAR]
    print(
        f"{name}: next word kept at neighbors {line[0]:.0f} % after 4 edits, {line[-1]:.0f} % at the end"
    )

# %% [markdown]
# Most lines that fall do so little by little. Fine-tuning, UltraEdit and RLEdit lose neighbors turn
# after turn, and HoReN, WISE, LEMoE and MEMOIR let more and more of them into the memory.
# MEND and MALMEN forget what they wrote and then lose the language. MEMIT and its relatives hardly
# move. And ROME does not wear out: it falls between 12 and 16 edits, in everything at once with the
# published key, and in unrelated texts with both keys. A test that ends after 12 edits would report
# a good editor.
#
# ## Rasters
#
# Retention of one half can be two things: half of the facts were never written, or all were written
# and half are gone.
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
some = ("retrieval", "UltraEdit", "ROME, published", "MALMEN")
rights = {name: [row["right"] for row in runs_14.turns(rows, name)] for name in some}
figures.rasters(x, rights, "edits so far", "number of the edit", columns=2)

# %% [markdown]
# Retrieval has one dark row, the first: the tower. The note before the prompt never convinced the
# model that the tower is in Rome. UltraEdit never says one fact of its second turn, and loses two
# later. In ROME's raster four facts turn dark at once, two of that turn a little later, and all
# else stays. That is one event and not wear; what is written afterwards is fine, so right after its
# own turn every fact is held. MALMEN's raster begins as the triangle that was predicted, and ends
# as a model destroyed: in the last two columns not even what was just written is there.
#
# ## Read the answers
#
# Numbers do not say *what* a model answers. In a running notebook the next cell is a player: choose
# an editor, move over the edits, and read what it says then. On a page it is a table of two
# prompts, for eight editors and the unedited model.

# %%
look = (
    "base",
    "MEMIT",
    "UltraEdit",
    "WISE",
    "MEMOIR",
    "ROME, published",
    "fine-tuning",
    "MALMEN",
    "RLEdit",
)
colors = figures.EDITOR_COLORS
player = widgets.CurvePlayer(runs_14.played(rows), line="WISE", ylabel="share (%)", colors=colors)
print(runs_14.probes(runs_14.cases())["reworded"])
player if widgets.live() else show.Table(runs_14.scrub(rows, "reworded", look, (4, 12, 16, 24)))

# %%
print(runs_14.probes(runs_14.cases())["neighbor"])
show.Table(runs_14.scrub(rows, "neighbor", look, (4, 12, 16, 24)))

# %% [markdown]
# MEMIT and MEMOIR answer both prompts as they should, from the first turn to the end. WISE answers
# the reworded tower up to 12 edits, and then its router lets the prompt pass; Notre-Dame goes the
# same way, from wrong to right. Fine-tuning says one word and stops. To the reworded tower that is
# "Prague" at first, the answer of another fact of its turn, and "Rome" later; to Notre-Dame it is
# "Prague" and "Rome" by turns. So it has learned to say new answers, but not quite when. ROME
# speaks of the future after its fall. MALMEN loses the language on its way, and RLEdit says Rome
# for Notre-Dame throughout.
#
# ## The bill
#
# What does a fact cost? The table has CPU seconds per edit, the patch as a file, and what unrelated
# text has paid: KL in nats (a mean over 24 prompts) and perplexity on a short held-out text that no
# editor has seen. The seconds are of one thread of a machine that others used, and those of WilKE,
# RLEdit, CrispEdit and HoReN of other machines, so they are a guide to orders of magnitude and to
# nothing finer.

# %%
print(f"perplexity of the base model on this text: {rows[0]['scores']['perplexity']:.1f}")
show.Table(runs_14.cost(rows))

# %% [markdown]
# Seconds per edit are spread over a factor of several hundred. Searches for a value are expensive,
# WilKE's in every layer by far the most, and gradients are cheap. Whether an edit becomes slower in
# the course of 24 cannot be read off these seconds. As patches, GRACE and published ROME keep about
# 9 kB per fact, and LEMoE's experts are copies of an MLP, one for each turn of four facts. The
# perplexity, 17.7 without edits, is 25.1 for the ROME that fell, and 28.3 after fine-tuning. (Other
# pages have other texts, and other numbers for the same model.)

# %%
own = {row["line"]: row["bytes"] for row in rows if "bytes" in row}
for name in ("GRACE", "ROME, published", "LEMoE"):
    print(f"{name}: {own[name] / STREAM['edits'] / 1000:,.0f} kB per fact")

# %% [markdown]
# ## The arena
#
# All of this were facts of one small set, which the model knows well. `python -m
# tests.benchmarks.arena` asks the same of every editor on other facts and other lengths, cell by
# cell, and keeps what is done. The next figure has, for CounterFact and ZsRE, of which the model knows little to begin with, the
# longest stream that most editors have run so far; all others stand in
# [RESULTS.md](../tests/benchmarks/RESULTS.md#the-arena). Where the model has none of the neighbors
# right before any edit, none can be lost, and neighbors are left out. An editor without a mark has
# not been run there yet.
#
# **Predict.** With how many facts can the best editor be told from the others?
#
# <details><summary>Work it out</summary>
#
# The same facts are asked of all, so what counts are the differences fact by fact. Where $d$ of $n$
# facts differ, all in one direction, the interval leaves out 0 from four on. So ten facts
# tell apart what writes from what does not, and a hundred tell differences of four points.
#
# </details>

# %%
arena = arena_14.stored("14_arena")
arena_14.picture(arena)

# %%
show.Table(arena_14.table(arena))

# %% [markdown]
# In each row the second number says how many of the others cannot be told from the best one, since
# the interval of the paired difference holds 0. Retrieval is not among them: it edits nothing, and
# the last column says how far the best editor is ahead of it. (That one was picked because it is
# the best here, so its interval is somewhat too kind.) None of these rows is among those from which
# the shipped networks of MEND, MALMEN and RLEdit have learned.
#
# ## Exercise: who killed ROME?
#
# Published ROME is lost somewhere in the first stream. `after(i)` is the harm (KL at unrelated
# prompts, in nats) of the model after the first $i$ edits, 0 for the base model. Say that it is
# lost once the harm is above 0.1, and that it stays so. (That limit was set after seeing the stored
# harms, which are far below it before the fall and far above it afterwards.) Each question costs a
# run of the model, so find the edit with as few as you can; the check accepts seven for a stream of
# up to a hundred edits. Then the other function: from the texts of a raster, *written*, *held* and
# *forgotten*.
#
# <details><summary>A hint</summary>
#
# The first: you know an $i$ with little harm and one with much. Ask in the middle between them. The
# second: the facts of a turn are the characters that its text has more than the text before.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# def killer(after, n):
#     good, bad = 0, n
#     while bad - good > 1:
#         middle = (good + bad) // 2
#         if after(middle) > 0.1:
#             bad = middle
#         else:
#             good = middle
#     return bad
#
#
# def shares(texts):
#     starts = [0, *map(len, texts)]
#     first = "".join(text[start:] for start, text in zip(starts, texts))
#     last, n = texts[-1], len(texts[-1])
#     lost = sum(a == "1" and b == "0" for a, b in zip(first, last))
#     return first.count("1") / n, last.count("1") / n, lost / n
# ```
#
# </details>


# %%
def killer(after, n):  # -> the number of the first edit after which the harm is above 0.1
    return "not attempted"


def shares(texts):  # ["101", "101110", …], one per turn -> written, held, forgotten
    return "not attempted"


# %%
each = runs_14.turns(rows, "ROME, published")[-1]["each"]
print("killer:", checks_14.killer(killer, harm=[0.0, *each["after"]]))
print("shares:", checks_14.matrix(shares))

# %% [markdown]
# <details><summary>The culprit, and how it did it</summary>
#
# Edit 14, "Darwin explained in his theory of". Its update is 302 long, and all others are 4 to 23.
# Alone it does 0.20 of the harm of 0.21. The subject is one token and opens the prompt, so its key
# stands in the sink (notebook 08). Published ROME takes the direction of its update from one key
# and the length from another, which elsewhere is harmless. Both keys only soften it: length 77,
# 0.12 of the harm of 0.15. The fact itself is held until the end, so no score of this edit shows
# what it did. (`each["norm"]` and `each["alone"]` have these numbers.)
#
# </details>
#
# ## What we know now
#
# * Retention is the last column of a raster, and what was written is its diagonal. Only both
#   together say whether an editor cannot write or cannot keep.
#
# ## Where it breaks
#
# Everything here was judged by free generation. "Held" is 100 % for more than half of the editors,
# of which one sends Notre-Dame to Prague. Would another event have named another winner? And how
# sure is a share of 24 facts, or of five streams? **Are these scores honest?** That is [notebook
# 15](15_judging.ipynb).
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
