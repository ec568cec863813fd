# %% [markdown]
# <!-- badge -->
#
# # 17 · Was this model edited?
#
# Somebody hands you a model. Was a fact changed in it, and which? At the end of this page you can say
# what an edit leaves in the weights, name its subject with the unedited model at hand and without it,
# and say what such a verdict is worth.
#
# **You will** derive the trace of an edit · read subject, answer and number of edits off a difference ·
# find an edited subject in the weights alone · ask what innocent models look like · take an edit out,
# with its control · and hide one.
#
# **Needs** the insert of [notebook 02](02_insert.ipynb), ROME from [04](04_rome.ipynb), and intervals
# from [15](15_judging.ipynb).
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
import torch

import lib
from lib import plot
from lib.data.texts import HELD_OUT
from lib.forensics.candidates import key_moments
from lib.forensics.investigation import THRESHOLD
from lib.forensics.matched_filter import matched_filter
from lib.forensics.spectrum import spectrum
from notebooks.support import checks_17_was_it_edited as checks_17
from notebooks.support import drawings_17, models, show
from notebooks.support import runs_17_was_it_edited as runs_17

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
rome = lib.EDITORS["rome"](lm)
layer = rome.config.layer
module = lm.mlp_out(layer)
W0 = lm.weight(module).cpu()

# %% [markdown]
# ## Why an edit leaves a trace
#
# ROME writes the pair of a key $k$ and a value with the cheapest change of one matrix. With the second
# moment $C$ of general text it was
#
# $$\Delta = \frac{r\,u^\top}{q}, \qquad u = C^{-1}k, \qquad q = k^\top C^{-1} k,$$
#
# where $r$ is what was missing in the value. That is a column times a row, so it has rank one, and its
# singular value decomposition can be read off:
#
# $$\sigma = \frac{\|r\|\,\|u\|}{q}, \qquad \text{left vector } \frac{r}{\|r\|}, \qquad
# \text{right vector } v = \frac{u}{\|u\|}, \qquad k \propto C v.$$
#
# The left vector says where the answer is pushed. The right vector says *whose* key was written: $C v$
# is the key. Whoever holds $\Delta$ and any text holds the subject.
#
# **Predict.** The edit was made for the key $k$. Is $k$ the direction that $\Delta$ stretches most?
#
# <details><summary>Work it out</summary>
#
# No, $u$ is. Along $k$ it stretches by $\|r\|/\|k\|$ and along $u$ by $\sigma$, and the quotient of the
# two is $\|u\|\|k\|/q = 1/\cos(k, u)$, which is at least one. The cheapest change uses what general
# text does not use, and there it has to be loud.
#
# </details>

# %%
draw = torch.Generator().manual_seed(0)
d_out, d_in = 24, 32
root = torch.randn(d_in, d_in, generator=draw).double() / torch.arange(1, d_in + 1)
C, k = root.T @ root, root.T @ torch.randn(d_in, generator=draw).double()
r = torch.randn(d_out, generator=draw).double()
u = torch.linalg.solve(C, k)
q = k @ u
left, sigma, right = torch.linalg.svd(torch.outer(r, u) / q)
v = right[0] * right[0].dot(u).sign()
assert torch.allclose(sigma[0], r.norm() * u.norm() / q) and sigma[1] < 1e-10 * sigma[0]
assert torch.allclose(v, u / u.norm()) and torch.allclose(C @ v / (C @ v).norm(), k / k.norm())
print(f"along k it stretches by {r.norm() / k.norm():.2f}, along u by {sigma[0]:.2f}")
print(f"1 / cos(k, u) = {k.norm() * u.norm() / q:.1f}")

# %%
drawings_17.trace()

# %% [markdown]
# On the left, text is long in one direction and short in the other, and $\hat u$ points to where text
# is short. On the right, the edited matrix stretches the directions near $\hat u$ far more than
# before, and hardly those that text uses. A user does not notice. Somebody who looks along $\hat u$
# does.
#
# ## Four suspects
#
# Four facts are edited by ROME, each in a copy of the model. One of them is the Eiffel Tower.

# %%
cases = lib.classroom()
facts = [cases[i] for i in runs_17.WHO]
patches = runs_17.suspects(rome, facts)
names = list(dict.fromkeys(str(c.fact.subject) for c in cases if c.fact.subject))
changes = {name: runs_17.change(lm, module, patch) for name, patch in patches.items()}
tower, *_ = patches
table = []
for case, patch in zip(facts, patches.values(), strict=True):
    said = [runs_17.answers(lm, [case.fact.text], p)[0] for p in (lib.EMPTY, patch)]
    table.append({"prompt": case.fact.text, "before": said[0], "after": said[1]})
print(f"{len(names)} subjects will be candidates")
show.Table(table)

# %% [markdown]
# ## Case A: the unedited model is at hand
#
# To undo the edit is then no art: take the unedited model. What is left is to find out what was done.
# The figure shows the largest singular values of the difference $\Delta W$ of one suspect, of the same
# difference when the suspect was saved in bfloat16, and of the matrix itself.
#
# **Predict.** One fact was edited. How many singular values stand above rounding?
#
# <details><summary>Answer</summary>
#
# Two. This library's ROME writes two keys for one fact, the mean over contexts and that of the bare
# prompt (notebook 04). As published, it writes one. So a rank counts keys, and is a bound on the number
# of edits only for somebody who knows the editor.
#
# </details>

# %%
saved = (W0 + changes[tower]).bfloat16().float()
shown = {"ΔW": changes[tower], "ΔW, saved in bfloat16": saved - W0, "the matrix itself": W0}
values = runs_17.singular(shown, 12)
largest = [f"{x:.2f}" for x in values["ΔW"][:3]]
print("ΔW:", ", ".join(largest), "· the matrix:", f"{values['the matrix itself'][0]:.1f}")
count = range(1, len(values["ΔW"]) + 1)
series = {name: [max(x, 1e-7) for x in some] for name, some in values.items()}
plot.lines(count, series, "singular value, largest first", "size", ylog=True)

# %%
found = {name: lib.difference(lm, patch=patch) for name, patch in patches.items()}
table = []
for name, one in found.items():
    row = one.table.iloc[0]
    table.append(
        {
            "edited": name,
            "matrix": one.table.index[0].removeprefix("model."),
            "‖ΔW‖ / ‖W‖ (%)": 100 * row["change"],
            "largest singular value": row["norm"],
            "rank": int(row["rank"]),
        }
    )
print(found[tower].signature)
show.Table(table)

# %% [markdown]
# One matrix differs, and it differs by a few directions. A batch of MEMIT differs in several layers
# whose left vectors are alike, fine-tuning has a tail to full rank, a merged LoRA has one rank in many
# matrices (`lib.difference` knows a dozen such signatures). None of this proves a method, so the
# sentence above says "consistent with".
#
# ### Whose key?
#
# For each candidate subject we read its key behind a neutral prefix, "About {}", and ask how much of it
# lies in the span of $C v$, for the right vectors $v$ of $\Delta W$. A score of one means: this is the
# key that was written.
#
# **Predict.** Does one need $C$ at all? The vectors $v$ themselves are there.
#
# <details><summary>Answer</summary>
#
# The subject comes first by $v$ alone, too, with lower scores: $v$ is the whitened key, not the key.
# In neither case is it one: the defender's prefix is another than the editor's contexts. And a
# relative of the subject comes second.
#
# </details>

# %%
K = runs_17.keys_of(lm, names, layer)  # (n, d_in), behind "About {}"
own_C = lib.second_moment(lm, [layer])[layer].C.float()
table = []
for name, one in found.items():
    V = one.changes[module].V.float()
    scores = {"C v": runs_17.scores(own_C @ V, K), "v": runs_17.scores(V, K)}
    line = {"edited": name}
    for what, values in scores.items():
        first, second = values.argsort(descending=True)[:2].tolist()
        line[f"first by {what}"] = names[first]
        line[f"score by {what}"] = values[first].item()
        line[f"next by {what}"] = values[second].item()
    table.append(line)
first = lib.subjects(lm, found[tower], names).iloc[0]
assert SCALE == "tiny" or abs(first["score"] - table[0]["score by C v"]) < 1e-3
show.Table(table)

# %% [markdown]
# ### Which answer?
#
# The left vector points to the answer, but thirty layers lie behind it. It is easier to ask. Ten
# neutral sentences about the subject ("{} is", "When people hear {}, they think of", …) are completed
# by both models, and the tokens are ordered by their part in the divergence of the two.

# %%
table = []
for case, (name, patch) in zip(facts, patches.items(), strict=True):
    table.append(
        {
            "edited": name,
            "new answer": case.fact.target_new,
            "likelier than before": runs_17.says(lm, name, patch),
        }
    )
show.Table(table)

# %% [markdown]
# The subject is certain and the answer is a guess. Two of four come first, where the new answer is a
# thing one may say of the subject anyway, and of a third we learn the language of its new country.
# None of the ten sentences asks the question that was edited.
#
# ### How many edits?
#
# Now the changes of several edits are added up in one matrix. The rank says how many keys there are,
# and the candidates whose keys lie in the span say which.

# %%
table = runs_17.several(list(changes.values()), own_C, K, names, list(patches))
show.Table(table)

# %% [markdown]
# With a few edits all of them are named, above everybody else. The span grows with each edit, and so
# does what a stranger's key has in it, most of all that of a relative. With as many keys as the matrix
# has inputs the span is everything, and every candidate scores one.
#
# ## Case B: no unedited model
#
# Only the suspect is there. Does its spectrum betray it? The figure shows the quotient of the two
# largest singular values in each layer of the unedited model, and that of the edited layer in each
# suspect.
#
# **Predict.** An edit adds a direction of its own. Does the quotient rise or fall, and would you notice?
#
# <details><summary>Answer</summary>
#
# It falls, if anything happens. Two of the edits are about as long as the largest component of the
# matrix. They stand beside it, and then the two largest are alike, as they are in the last layers by
# themselves. The other two are shorter and change next to nothing. The published way of taking edits
# out drops the largest components; here the first of them is the model's own, or a mixture.
#
# </details>

# %%
own = spectrum(lm)
print("before: s₁ {s1:.1f}, s₂ {s2:.1f}, quotient {ratio:.2f}".format(**own.iloc[layer]))
ratios = {}
for name, patch in patches.items():
    one = spectrum(lm, patch, [layer]).iloc[0]
    ratios[f"{name}, edited"] = one["ratio"]
    print(name, "edited: s₁ {s1:.1f}, s₂ {s2:.1f}, quotient {ratio:.2f}".format(**one))
drawings_17.quotients(own["ratio"].tolist(), layer, ratios)

# %% [markdown]
# ### The matched filter
#
# We do not know where to look, but there are not many places: every candidate $s$ has one. If *it* was
# edited, the edit lies along $\hat u_s = C^{-1}k_s/\|C^{-1}k_s\|$, whatever the new answer is. So look
# how far $W$ stretches that direction:
#
# $$T_s = \|W \hat u_s\|, \qquad T_s^2 \approx T_0^2 + \sigma^2 \cos^2(\hat u_s, u).$$
#
# $T_0$ is what the unedited matrix does there. We do not have it, but the other candidates tell what is
# usual. So the distance from their median is taken, in units of their own spread. Both must be robust,
# or else the edited candidate hides behind the spread that it makes (lesson 9.1):
#
# $$z_s = \frac{T_s - \operatorname{median} T}{1.4826\,\operatorname{median}|T - \operatorname{median} T|}.$$
#
# Keys and $C$ are read from the *suspect*. Keys of a layer depend on the layers below only, so an edit
# of one layer does not change them there. And everything is the defender's own: another text than the
# editor's, another prefix, and a little damping of $C$, because his text is short.

# %%
other_C = key_moments(lm, [layer], patches[tower], HELD_OUT)[layer]  # (d_in, d_in)
damped = other_C + 0.01 * other_C.diagonal().mean() * torch.eye(len(other_C))
U = torch.linalg.solve(damped, K.T)  # (d_in, n)
rows = {}
for name, W in {"unedited": W0, "edited": W0 + changes[tower]}.items():
    T = (W @ U).norm(dim=0) / U.norm(dim=0)
    away = T - T.median()
    rows[name] = T, away / (1.4826 * away.abs().median())
library = matched_filter(lm, names, {layer: other_C}, patches[tower])
assert SCALE == "tiny" or torch.allclose(library.z[0], rows["edited"][1], atol=0.01)
drawings_17.norms(rows, names.index(tower))

# %% [markdown]
# Every point is a candidate, and the orange one is the Eiffel Tower. In the unedited matrix it stands
# among the others.
#
# **Predict.** What does it cost the defender to know less? Without whitening (the raw key), with the
# editor's own $C$ and prompt, with another text, with another prefix.
#
# <details><summary>Answer</summary>
#
# Less than one might think. In brackets stands the largest $z$ of another candidate. The raw key finds
# these edits, too, since a key has a part in its own whitened direction. Damping moves $\hat u$ from
# the one to the other, and a defender with a short text gains by it, until other candidates gain as
# well. "Swedish" by its bare name is lost in both columns: a name of one token stands at the first
# position there, where all keys are the sink's (notebook 02).
#
# </details>

# %%
moments = {"editor's": own_C, "other text": other_C}
show.Table(runs_17.ablation(lm, layer, patches, names, moments))

# %% [markdown]
# Nor does the defender know the layer. He looks at all of them, and the largest $z$ says which.

# %%
whole = key_moments(lm, range(lm.n_layers), text=HELD_OUT)
quiet = matched_filter(lm, names, whole)
lower = {i: C for i, C in whole.items() if i <= layer + 5}
loud = {f"{name}, edited": matched_filter(lm, names, lower, p) for name, p in patches.items()}
rest = [float("nan")] * (lm.n_layers - len(lower))
curves = {name: one.z.max(1).values.tolist() + rest for name, one in loud.items()}
curves = {"unedited": quiet.z.max(1).values.tolist()} | curves
drawings_17.by_layer(range(lm.n_layers), curves, THRESHOLD)

# %% [markdown]
# (To save time $C$ is the unedited model's here, which is exact up to the edited layer. The suspects
# were read up to five layers above it.) Above the edited layer next to nothing happens, though the
# subject's keys there have changed: it is the *matrix* that betrays the edit.
#
# ## What the null says
#
# A $z$ of four sounds like one chance in thirty thousand. But there are many candidates and many
# layers, and nobody has said that $T$ is Gaussian.
#
# **Predict.** In the unedited model, how many of all candidates in all layers have a $z$ above three?
# And how large is the largest?

# %%
show.Table(runs_17.null(quiet.z))

# %% [markdown]
# <details><summary>Answer</summary>
#
# More than a Gaussian has, and the excess grows with the bound: the tail is heavier. So a threshold
# cannot come from a table of the normal distribution. It has to come from models that nobody edited,
# and it belongs to a list of candidates: the more of them, the larger the largest.
#
# </details>
#
# The library's threshold is the dashed line of the last figure. It was set by looking at edits of both
# halves of the cases, so no half of them tests it (RESULTS says so, too).
#
# ### Who is accused by mistake?
#
# Most changes of a model are no edits. It was rounded, merged or trained on. An alarm at every changed
# model would be worthless.
#
# **Predict.** A change of the same length as the edit: noise in all entries, or of rank one in a direction
# that is nobody's. Who is accused?
#
# <details><summary>Answer</summary>
#
# Nobody. Noise stretches the directions of all candidates alike, so that the median goes along with
# it. A direction that is nobody's is nearly orthogonal to each candidate's. This also says what the
# filter cannot do: it sees only edits of those that it asks about. (And relatives of an edited subject
# *are* accused: the table of what the defender knows has one above the threshold.)
#
# </details>

# %%
show.Table(runs_17.innocent(W0, changes[tower], runs_17.whitened(other_C, K), names, tower))

# %% [markdown]
# A merge with the unedited model halves the edit, and the $z$ falls with its square where it is small.
#
# ## Many suspects
#
# Four edits prove little. The project's benchmark has a longer list of candidates, subjects of
# CounterFact among them, and stores a row for each suspect and for each model that nobody edited
# (`python -m tests.benchmarks.forensics`, tables in
# [RESULTS.md](../tests/benchmarks/RESULTS.md#was-it-edited)). Read each share with its interval, over
# suspects, and ask of each line how many suspects it has. A fact counts as named where it stands above
# all candidates that were not edited, in a layer that was.

# %%
stored = runs_17.stored()
print(f"{stored['candidates']:,} candidates")
show.Table(runs_17.named(stored))

# %% [markdown]
# Fine-tuning, LoRA, MEND and UltraEdit write where the *prompt* ends, and no subject stands there. So the
# same was done with whole prompts as candidates, each read at its last token (all cases, since nothing was
# chosen on them). With the unedited model at hand the prompt of a single edit is found in the difference
# (FT-L, which hardly writes at its preset, is the exception), and of many at once a part. Without it this
# largely fails. Within the layer that fine-tuning has changed, the prompt of a single edit stands above
# all others, but in another layer the unedited model stretches whatever ends in "the", and that drowns it.

# %%
show.Table(runs_17.prompts(stored))

# %%
print(runs_17.false_alarms(stored))
show.Table(runs_17.accused(stored))

# %% [markdown]
# Two shares belong together: how many edits are found, and how many innocent models are accused at the
# same threshold. An interval over a handful of innocent models reaches far up even where none of them
# is accused. And these here are changes of one model, whose spread they share, so that they hardly count
# as several. A rate below one in a hundred would need some hundred models.
#
# ## Exercise: an edit that is spread
#
# MEMIT spreads an edit over neighboring layers, and in each of them less is to be seen. So add up what
# the layers say. For a candidate and a run of $w$ layers that follow each other take $\sum z/\sqrt w$:
# for independent layers its spread is that of a single $z$, so that runs of different lengths can be
# compared. Find the candidate and the run for which it is largest.
#
# <details><summary>A hint</summary>
#
# Two loops are enough, over the first layer of the run and over its length. `z[first : first +
# w].sum(0)` has one sum per candidate.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# def best_run(z, longest):
#     best = None
#     for w in range(1, longest + 1):
#         for first in range(len(z) - w + 1):
#             summed = z[first : first + w].sum(0) / w**0.5
#             one = int(summed.argmax())
#             if best is None or summed[one] > best[0]:
#                 best = summed[one].item(), one, first, first + w - 1
#     return best[1:]
# ```
#
# </details>


# %%
def best_run(z, longest):  # (layers, candidates) -> candidate, first layer, last layer
    return "not attempted"


# %%
print(checks_17.best_run(best_run))

# %% [markdown]
# ## Taking it out
#
# Layer and subject are named, and the unedited model is not at hand. Two ways, and a control:
#
# * **Published**: drop the largest singular components of the matrix, one or eleven of them.
# * **Ours**: read the subject's key behind sixteen prefixes, whiten each, and set $W$ to zero on the space
#   that they span. The edit's own direction nearly lies in it, and general text hardly uses it.
# * **The control**: the same path with strength zero, so that nothing is taken out. It has to give the
#   *edited* answer. Without it, a path that breaks the edit by an error of its own would look like a
#   reversal.
#
# **Predict.** Which of them gives the old answers back? And does any of them give the old *matrix* back?
#
# <details><summary>Answer</summary>
#
# On these four prompts eleven components and sixteen prefixes give three old answers back each, and
# not the same three. No matrix comes back. What the unedited model had on the space that is taken out
# is lost as well, so that most matrices end up farther from the unedited one than the edit had moved
# them. One dropped component brings two of them nearer: there the edit was a part of the largest.
#
# </details>

# %%
ways = {name: runs_17.ways_out(lm, layer, name, other_C, patches[name]) for name in patches}
show.Table(runs_17.reversals(lm, facts, ways))

# %%
table = []
for name, one in ways.items():
    row = {"distance from the unedited matrix, edit's length = 1": name}
    for way, words in runs_17.WAYS.items():
        left = runs_17.change(lm, module, one[way]).norm() / changes[name].norm()
        row[words] = left.item()
    table.append(row)
show.Table(table)

# %% [markdown]
# And the stored rows, whose columns are shares of next tokens that are the unedited model's again.

# %%
show.Table(runs_17.taken_out(stored))

# %% [markdown]
# Read the second line first: the control is what it has to be, the edited model. Then compare the lines
# below it, in the column of the edit's prompt and in those of neighbors and unrelated text. Where the
# intervals overlap, no way can be called the better one.
#
# ## How to hide
#
# Everything above is public, so somebody who edits can read it. The defender looks along $\hat u$. So
# write the pair by a change that does *nothing* there. Among all $\Delta$ with $\Delta k = r$ and
# $\Delta \hat u = 0$ the cheapest on general text is the insert with two pairs, of which one has the
# value zero (notebook 02, lesson 2.4). It exists unless $k$ and $\hat u$ are parallel.
#
# **Predict.** The insert was the cheapest change of all. Which price has the hidden one? And is it hidden
# from a defender whose text and prefix the adversary does not know?
#
# <details><summary>Work it out</summary>
#
# In whitened coordinates the cheapest change lies along the key, and the hidden one must be orthogonal
# to a direction that has a large part of the key. So it uses what is left, which text uses as well.
# The price is in the table, as a multiple of ROME's. Directions that the defender reads off *another*
# text are not exactly those that were avoided, so that hiding from one prefix, or with little damping,
# is not always enough.
#
# </details>

# %%
table = []
for case, patch in zip(facts, patches.values(), strict=True):
    table += runs_17.hiding(lm, layer, case, patch, moments, names)
show.Table(table)

# %% [markdown]
# Every line still says its new answer. With directions that are read at high damping all four stay
# below the threshold, at 4 to 15 times the price, though one of them still comes first. With little
# damping it depends on the subject. (The bare name of "Swedish" is the sink's key again: to hide from
# it costs nothing and hides nothing.) What is paid is the mean square on general text; three or four
# neighbors do not show it.
#
# So the absence of a suspect says nothing about somebody who wanted to hide. It says that no editor of
# the usual kind wrote about a subject on the list. Other ways to hide: spread the edit over more
# layers, add decoys along the directions of many subjects, fine-tune afterwards, or leave the weights
# alone (a route is to be found in the file, not in a matrix).
#
# ## What we know now
#
# * An edit of rank one tells its subject: the key is $C v$. With the unedited model at hand subject and
#   layer are read off, the answer is a good guess, and the rank counts keys, not edits.
# * Without it the spectrum says little at the usual size of an edit, and nothing of the subject. The matched
#   filter does: it looks along the whitened key of each candidate, and compares the candidates with each
#   other.
# * A $z$ has no meaning without a null. That of an unedited model has a heavier tail than a Gaussian, and
#   it grows with the list. The verdict is "consistent with an edit of", never "edited".
# * Taking an edit out is a measurement with a control. The answers come back more often than the matrix.
# * Who knows the filter can hide from it, at a price that general text pays.
#
# ## Where it breaks
#
# Edits of subjects that are on no list are not found. Methods that write at the prompt's last token are
# found with the unedited model at hand and hardly without it, editors that train spread over directions that are no subject's, and
# subjects at the first position share the sink's key. Innocent models were few. All of it is one small
# model, in one kind of matrix. Here the course ends; [session 9](../lessons/session_9.md) has the
# exercises.
#
# ## References
#
# * Youssef et al.: *Tracing and Reversing Edits in LLMs*, 2026; known here from descriptions, its code was
#   not to be had.
# * Youssef et al.: *Has this Fact been Edited? Detecting Knowledge Edits in Language Models*, 2025,
#   [arXiv:2405.02765](https://arxiv.org/abs/2405.02765).
# * Benaych-Georges, Nadakuditi: *The Singular Values and Vectors of Low Rank Perturbations of Large
#   Rectangular Random Matrices*, 2012.
