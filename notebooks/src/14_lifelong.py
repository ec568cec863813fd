# %% [markdown]
# <!-- badge -->
#
# # 14 · Lifelong: all on one stream
#
# Thirteen notebooks, a dozen editors, each shown where it is strong. Which of all these should you
# use? Here one of every kind writes the same facts, in the same order, and is asked the same
# questions after every turn.
#
# **You will** read retention off a raster · see twenty-two lines on one stream, curve by curve ·
# find the one edit that killed ROME, in five questions · scrub through the stream and read the
# answers · pay the bill.
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
from notebooks.support import checks_14_lifelong as checks_14
from notebooks.support import figures, models, show, stored_runs
from notebooks.support import runs_14_lifelong as runs_14

# %% [markdown]
# ## What "retention" counts
#
# $T$ turns of a few facts each. After turn $t$ every fact $i$ written so far is asked: $a_{it} = 1$
# if the answer is the new one. That is a **raster**: one row per fact, one column per turn. Three
# numbers are read off it. *Written* (efficacy) is each fact right after its own turn $t_i$, *held*
# (retention) is the last column, *forgotten* is what was written and is gone:
#
# $$\frac1n\sum_i a_{i t_i}, \qquad \frac1n\sum_i a_{iT}, \qquad
# \frac1n\sum_i a_{i t_i}\,(1 - a_{iT}) .$$
#
# Many papers report only the first, averaged over a stream, and call it "success". A fact that a
# later edit contradicts on purpose leaves all three; in this stream there is none.
#
# **Predict.** An editor writes every fact, and each later turn ruins a tenth of what is there.
# What is held after 6 turns? After 60?
#
# <details><summary>Work it out</summary>
#
# A fact of turn $t$ survives $T - t$ later turns: $0.9^{T-t}$. The mean is
# $(1 - 0.9^T)/(0.1\,T)$: 78 % at $T = 6$, 17 % at $T = 60$. The survivors are the newest ones: in a
# raster they make a triangle.
#
# </details>

# %%
for T in (6, 60):
    ages = [0.9 ** (T - t) for t in range(1, T + 1)]
    assert abs(sum(ages) / T - (1 - 0.9**T) / (0.1 * T)) < 1e-9
    print(f"{T} turns: written 100 %, held {sum(ages) / T:.0%}")

# %% [markdown]
# 78 and 17 %, as derived: short streams flatter.
#
# ## One stream for everybody
#
# The Eiffel Tower, then 23 facts of the classroom whose numbers are odd (classroom facts that
# presets were tuned on are even), in turns of four: 24 edits (stored run) by all editors of the
# library. (One of your own: a line in `runs_14.STREAM`, then `--long 14`, adds it.) They have their
# presets, with two exceptions. MEMIT keeps its keys, as notebook 06 advises. ROME comes twice,
# *published*, with notebook 08's mixed keys, and with both keys (and, to save time, one context
# beside the bare prompt instead of four). The order is that of seed 0, taken because it has a
# subject of one token, an opener, in its middle.
#
# New here: **MEMOIR** is a side memory like WISE's, in which a fact has the columns that a
# fingerprint of its prompt names, and a prompt with a similar fingerprint reads them. MEMIT's
# relatives (notebooks 05 and 06) are here without kept keys: the norm anchor, EMMET in one layer,
# RECT and PRUNE; **PMET** searches the outputs of attention and MLP together, and writes the MLP's
# alone. "Fine-tuning" is fine-tuning done right: shuffled epochs over a turn, one late layer. FT-L
# stays in a small box around each weight, FT-M trains on the answer's tokens only, LoRA a matrix of
# low rank. And **retrieval** edits nothing: it looks for the nearest written fact and puts it in
# front of the prompt. Whoever cannot beat it should say why he edits at all.
#
# All is free **generation**: the model writes, and the text has to begin with the answer; unrelated
# texts have to go on as the base model's, for eight tokens. We run the beginning of two streams here,
# and compare with the stored rows.

# %%
STREAM = runs_14.STREAM
if stored_runs.long():
    for rows in runs_14.every(models.load(SCALE)):
        stored_runs.save("14_streams", STREAM, rows)
rows = stored_runs.load("14_streams", STREAM)["rows"]
if SCALE == "small":
    lm = models.load(SCALE)
    for name in ("GRACE", "UltraEdit"):
        live = list(runs_14.line(lm, name, edits=4))
        stored_runs.begins_with(runs_14.turns(rows, name), live, ["edits", "right", "says", "next"])
        print(f"{name}: {live[-1]['edits']} edits here give exactly the stored rows")

# %% [markdown]
# From the raster to the numbers: efficacy and retention of the library must be the diagonal and the
# last column.

# %%
for name in STREAM["lines"]:
    own = runs_14.turns(rows, name)
    texts, size = [row["right"] for row in own], STREAM["batch"]  # one string per turn
    diagonal = "".join(text[-size:] for text in texts)
    for text, metric in ((diagonal, "efficacy"), (texts[-1], "retention")):
        assert abs(runs_14.share(text) - own[-1]["scores"][metric]["generation"]) < 1e-4

# %% [markdown]
# ## The impossible triangle
#
# Facts held, rewordings followed, everything else left alone: the last notebooks said that one gets
# two of the three.
#
# **Predict.** Which corner does each family miss: searches (ROME to PRUNE), gradients in one pass
# (UltraEdit to RLEdit), fine-tuning (to LoRA), memories (GRACE to MEMOIR), retrieval?
#
# <details><summary>Answer</summary>
#
# Searches miss unrelated text, fine-tuning neighbors, memories rewordings (GRACE) or neighbors (the
# others). MEND and MALMEN miss all three, UltraEdit rewordings, RLEdit what should stay. Retrieval
# misses least.
#
# </details>

# %%
names, shares = runs_14.triangle(rows)
axes = "asked after 24 edits, in turns of 4", "editor"
figures.shares(shares, names, list(runs_14.COLUMNS), *axes)

# %% [markdown]
# Look for what is pale. GRACE holds every fact, moves nothing, and follows no rewording. WISE,
# LEMoE and MEMOIR hold all and move no unrelated text, but answer every second neighbor from
# memory; of rewordings they reach 60, 29 and 67 %. Fine-tuning holds every fact, too, and says new
# answers nearly everywhere: of the neighbors a third is left. FT-L is the opposite: its box is so
# small that hardly anything is written. Of those who write into weights MEMIT and its relatives are
# best: nearly everything held, 77 to 88 % of rewordings, 85 to 92 % of neighbors, but every third
# unrelated text has gone another way within eight tokens. PMET is the careful one among them: fewer
# rewordings (54 %), and more left alone. WilKE, one layer chosen for each fact, is a little behind
# them in rewordings (73 %) and neighbors (83 %), and not in unrelated text. And **retrieval**,
# which edits nothing, is dark everywhere: 96 % held, 69 % of rewordings, 96 and 100 % of what
# should stay. For two dozen facts it is hard to beat. (Its price is paid at every question, and not
# here: a longer prompt, and a note that anybody can read.) MEND and MALMEN have lost the language.
# RLEdit has the same network as MALMEN, but trained on streams: it holds 83 % and follows 65 % of
# rewordings, at the price of two neighbors in three and nearly all unrelated text.
#
# ## Curves
#
# The end hides the way. After every turn: facts held so far, and the next word at 24 neighbors and
# 24 unrelated prompts, counted as kept where it is the base model's.

# %%
x, found = runs_14.curves(rows)
figures.curves(x, found, "edits", "share (%)", colors=figures.EDITOR_COLORS, columns=5)

# %% [markdown]
# Four ways to go. MEMIT and its relatives hardly move, nor does WilKE after its first turn.
# Fine-tuning holds its facts and loses neighbors turn after turn, from 92 to 29 %; UltraEdit from
# 100 to 54 %, while unrelated text stays; the routers of WISE, LEMoE and MEMOIR send more and more
# neighbors to the memory. MEND forgets everything within three turns, MALMEN within six; RLEdit
# holds to the fourth, and wears its neighbors off, from 79 to 33 %. And ROME does not wear out:
# from 12 to 16 edits it falls, in everything at once with the published key, in unrelated text with
# both; WilKE, which is ROME in a layer chosen for the fact, does not. Whoever measures after 12
# edits reports a good editor.
#
# ## Rasters
#
# Retention of 50 % can be two things: half of the facts were never written, or all were and half
# are gone.
#
# **Predict.** What does each look like in a raster? And an edit that destroys the model?
#
# <details><summary>Work it out</summary>
#
# Never written: a whole dark row. Forgotten: a row that turns dark on its way, and if old facts go
# first, a dark triangle. A model destroyed at turn $t$: from column $t$ on everything is dark.
#
# </details>

# %%
some = ("retrieval", "UltraEdit", "ROME, published", "MALMEN")
rights = {name: [row["right"] for row in runs_14.turns(rows, name)] for name in some}
figures.rasters(x, rights, "edits so far", "number of the edit")

# %% [markdown]
# Retrieval has one dark row, the first: the tower. The note in front of the prompt never convinced
# the model. UltraEdit never says one fact of its second turn and loses two later. In ROME's raster
# four facts turn dark at once, two of that turn a little later, and all else stays: one event, not
# wear. What is written afterwards is fine, so right after its own turn every fact is held, 100 %.
# MALMEN's begins as the triangle that was predicted and ends as a model destroyed: after 16 edits
# half is held, and from 20 on not even what has just been written.
#
# ## Scrub through the stream
#
# Numbers do not say *what* a model answers. In a running notebook the next cell is a player: choose
# an editor, move over the edits, and read what it then says. On a page, two prompts of six
# editors:

# %%
look = ("WISE", "MEMOIR", "ROME, published", "fine-tuning", "MALMEN", "RLEdit")
player = widgets.CurvePlayer(runs_14.played(rows), line=look[0], ylabel="share (%)")
player if widgets.live() else show.Table(runs_14.scrub(rows, "reworded", look, (4, 12, 16, 24)))

# %%
show.Table(runs_14.scrub(rows, "neighbor", look, (4, 12, 16, 24)))

# %% [markdown]
# WISE answers the reworded tower up to 12 edits, and then its router lets it pass; Notre-Dame goes
# the same way, from wrong to right. MEMOIR has both right to the end. Fine-tuning says one word and
# stops. To the tower in other words that is "Prague" at first, the answer of another fact of its
# turn, and "Rome" later; to Notre-Dame "Prague" and "Rome" by turns. It has learned to say new
# answers, not quite when. ROME after its fall speaks of the future. MALMEN loses the language on
# its way, and RLEdit says Rome in Notre-Dame throughout.
#
# ## The bill
#
# CPU seconds per edit (one thread of a busy machine, WilKE's and RLEdit's of another, so a guide at
# most), what the patch takes as a file, and what unrelated text has paid: KL in nats, and
# perplexity on text that no editor has seen.

# %%
print(f"perplexity of the base model: {rows[0]['scores']['perplexity']:.1f}")
show.Table(runs_14.cost(rows))

# %% [markdown]
# Seconds per edit are spread over a factor of nearly a thousand, and hardly grow within 24 edits:
# searches for a value are dear, WilKE's in every layer by far the dearest, gradients cheap.
# Patches: GRACE and published ROME keep 9 kB per fact; LEMoE's experts are copies of an MLP, 10 MB
# for each turn. And perplexity: 17.7 without edits, 25.1 for the ROME that was lost, 28.3 after
# fine-tuning, 23.0 after RLEdit, and for MEND and MALMEN numbers that mean nothing any more. "Done
# right" is right for single edits: a stream of them is another thing.
#
# ## Exercise: who killed ROME?
#
# Published ROME is lost somewhere in this stream. `after(i)` is the harm (KL at unrelated prompts)
# of the model after the first $i$ edits, 0 for the base model. Say it is lost above 0.1 nats, and
# that it stays so. (That limit was set after seeing the stored harms, which are below 0.006 before
# the fall and above 0.2 after it; any limit between would do here.) Each question costs a run of
# the model: find the edit in as few as you can. Then the other: from the strings of a raster,
# *written*, *held* and *forgotten*.


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
# Edit 14, "Darwin explained in his theory of": alone it costs 0.20 nats of 0.21. Its update is 302
# long, all others 4 to 23. The subject is one token and opens the prompt: notebook 08's opener,
# whose key stands in the sink. Published ROME takes the direction from one key and the length from
# another, which elsewhere is harmless. Both keys only soften it: length 77, 0.12 of 0.15 nats. The
# fact itself is held until the end: no score of the edit shows what it did. (`each["norm"]` and
# `each["alone"]` have these numbers.)
#
# </details>

# %% [markdown]
# ## What we know now
#
# * Retention is the last column of a raster; what was written is its diagonal. Only both together
#   say whether an editor cannot write or cannot keep.
# * Streams end in four ways: slow wear on neighbors (fine-tuning, UltraEdit, RLEdit, side memories,
#   experts), forgetting (MEND, MALMEN), one fatal edit (ROME), or nothing much (MEMIT and its
#   relatives, GRACE), at the price of unrelated text or of rewordings.
# * Retrieval belongs in every comparison, and few editors beat it on a short stream.
#
# ## Where it breaks
#
# Everything here was judged by free generation, with 24 facts. "Held" is 100 % for more than half
# of the editors, of which one sends Notre-Dame to Prague; 75 and 88 % differ by three facts. Would
# another event have named another winner? And how sure is any of these numbers? **Are these scores
# honest?** That is [notebook 15](15_judging.ipynb).
#
# ## References
#
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768) (the impossible
#   triangle).
# * Wang et al.: *MEMOIR*, 2025, [arXiv:2506.07899](https://arxiv.org/abs/2506.07899).
# * *Fine-tuning Done Right in Model Editing*, 2025, [arXiv:2509.22072](https://arxiv.org/abs/2509.22072).
# * Gupta, Rao, Anumanchipalli: *Model Editing at Scale leads to Gradual and Catastrophic
#   Forgetting*, 2024, [arXiv:2401.07453](https://arxiv.org/abs/2401.07453).
