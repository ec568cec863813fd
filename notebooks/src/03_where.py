# %% [markdown]
# <!-- badge -->
#
# # 03 · Where does the model look a fact up?
#
# Every token of a prompt is a key, in every layer. At which of them does the model find the fact?
# At the end of this page you have seen it travel, and know what such a picture does not say.
#
# **You will** make a model forget the Eiffel Tower with noise, and give it back one state at a time
# · compare MLPs with attention over forty facts · find out what the picture owes to its settings ·
# hold it against the layers at which editing works.
#
# **Needs** [notebook 00](00_first_edit.ipynb), and the question at the end of
# [notebook 02](02_insert.ipynb).
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
from lib import plot, widgets
from lib.interpret import causal_trace, corrupted_runs
from lib.interpret.logit_lens import lens
from notebooks.support import checks_03_where as checks_03
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_03_where as runs_03

lm = models.load(SCALE)
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
SETTINGS = {"several": 32, "single": 8, "seed": 0, "every": 2, "samples": 5, "noise": 3.0}
SETTINGS |= {"window": 10, "windows": [4, 1], "windowed": 12}
if stored_runs.long():
    chosen = runs_03.cases(lm, SETTINGS["several"], SETTINGS["single"], SETTINGS["seed"])
    stored_runs.save("03_effects", SETTINGS, runs_03.effects(lm, chosen, SETTINGS))
rows = stored_runs.load("03_effects", SETTINGS)["rows"]
traces = runs_03.traces(rows, SETTINGS["window"], SETTINGS["every"])  # {case: its trace}
cases = {case.id: case for case in lib.classroom()}
cases = [cases[number] for number in traces]
sigma = causal_trace.embedding_deviation(lm, [case.fact for case in cases])
print(f"{len(cases)} facts; entries of their subjects' embeddings deviate by σ = {sigma:.3f}")

# %% [markdown]
# ## Three runs
#
# A prompt of 10 tokens passes 30 layers: 300 states, and the answer may hang on any of them. To
# learn on which, we use three runs.
#
# 1. **Clean.** The model gives its answer the probability $p$.
# 2. **Corrupted.** Noise $\mathcal N\big(0, (3\sigma)^2\big)$ is added to every entry of the embeddings
#    of the *subject's* tokens. What the sentence is about is gone, and $p$ falls to $p_*$.
# 3. **Restored.** Corrupted again, but *one* state is put back as it was in the clean run. All that
#    comes after may use it, and $p$ rises to $p_*(\text{state})$.
#
# The **total effect** $\mathrm{TE} = p - p_*$ is what the noise costs, the **indirect effect**
# $\mathrm{IE} = p_*(\text{state}) - p_*$ what one state brings back; $p_*$ is a mean over draws of
# the noise. By hand, one hook for the noise and one for the state; then the library:

# %%
ids, first, last = corrupted_runs.span(lm, fact)  # the subject is tokens first … last
samples, layer, at = 5, 1, 2
embedding, block = (lm.model.get_submodule(n) for n in (lm.arch.embed, f"{lm.arch.blocks}.{layer}"))
clean = lm.run(fact.text, watch=[f"{lm.arch.blocks}.{layer}"])
states = clean.seen[f"{lm.arch.blocks}.{layer}"][1][0]  # (tokens, d), behind that block
answer = clean.logits[0, -1].argmax()
draw = torch.Generator().manual_seed(1)
noise = 3 * sigma * torch.randn(samples, last - first + 1, states.shape[1], generator=draw)


def corrupt(module, inputs, output):
    output = output.clone()
    output[:, first : last + 1] += noise.to(output)
    return output


def put_back(module, inputs, output):
    (output[0] if isinstance(output, tuple) else output)[:, at] = states[at]


def probability(hooks):  # of the clean run's answer
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    logits = lm.run([fact.text] * samples).logits[:, -1]  # (samples, vocabulary)
    for handle in handles:
        handle.remove()
    return logits.softmax(-1)[:, answer].mean().item()


p = [probability(h) for h in ({}, {embedding: corrupt}, {embedding: corrupt, block: put_back})]
asked = {"samples": samples, "deviation": sigma}
by_library = causal_trace.trace(lm, fact, kinds=["hidden"], layers=[layer], tokens=[at], **asked)
same = by_library.p_clean, by_library.p_corrupted, by_library.table["hidden"][at, 0]
assert torch.allclose(torch.tensor(p), torch.tensor(same), atol=1e-4 if SCALE != "full" else 0.02)
word, token = lm.tokenizer.decode(answer), lm.tokenizer.decode(ids[at])
print(f"p of{word!r}: clean {p[0]:.3f}, corrupted {p[1]:.3f}, restored {p[2]:.3f}")
print(f"at {token!r}, layer {layer}: TE {p[0] - p[1]:.3f}, IE {p[2] - p[1]:.3f}")

# %% [markdown]
# One state of 300, in the second block, at a piece of a word, brings back 39 % of what was lost.
#
# ## Why 3σ?
#
# **Predict.** $\sigma$ is the spread of the embeddings themselves. Is the fact gone with noise of
# $\sigma$? And is the model, at $10\sigma$, a different ruin than at $3\sigma$?
#
# <details><summary>Work it out</summary>
#
# At $s\sigma$ the embedding is a share of $1/(1 + s^2)$ of the sum's squared length: half at 1, a
# tenth at 3, a hundredth at 10. And each block first norms what it reads, so longer noise does not
# look longer: from some $s$ on, the direction is all noise and nothing changes any more.
#
# </details>

# %%
levels, lines = (0.0, 0.5, 1.0, 2.0, 3.0, 10.0), []
some = cases[0], *[case for case in cases if case.id in (11, 80)]
for level in levels:
    line = {"noise (σ)": level}
    for case in some:
        _, noisy, _ = causal_trace.restore(lm, case.fact, [], noise=level, deviation=sigma)
        line[f"{case.fact.subject} … {case.fact.target_true}"] = noisy
    lines.append(line)
show.Table(lines)

# %% [markdown]
# At 1σ the tower is gone (0.028), beyond that little moves: 3σ stands on flat ground.
# What is left is no memory of the subject but a guess from the rest of the sentence: "live in the
# wild" suggests Africa (0.175), a map of the world Europe (0.410).
#
# ## One fact, everywhere
#
# Now every token and every second layer, and three kinds of state: the block's whole output, and
# what its MLP or its attention alone adds. A single MLP adds little, so these are restored over a
# **window** of ten layers, from five below the one named to four above.
#
# **Predict.** The tower's name ends with "Tower", and there ROME has written. At which tokens is
# there something to find, early and late? Are MLPs and attention bright at the same places?
#
# <details><summary>Answer</summary>
#
# Early at the subject the MLPs, late at the end of the prompt, where the answer is read, the
# attention. And of the name the piece that only this tower has: there are many towers.
#
# </details>

# %%
live = list(runs_03.effects(lm, cases, SETTINGS, live=True))  # the Eiffel Tower, as it is stored
if SCALE == "small":
    stored_runs.begins_with(rows, live, list(live[0]), tolerance=0.01)
found = runs_03.traces(live, SETTINGS["window"], SETTINGS["every"])[cases[0].id]
for kind, name in runs_03.NAMES.items():
    effect = found.indirect(kind)
    token, column = divmod(effect.argmax().item(), len(found.layers))
    place = f"{found.tokens[token].strip()!r}, layer {found.layers[column]}"
    print(f"{name}: {place}, {effect.max():.3f}; at the name's end {effect[last].max():.3f}")
ranks = lens(lm, fact.text, [fact.target_true])
behind = ranks[ranks["rank"] > 1]["layer"].max()
print(f"logit lens at the last token: {fact.target_true} is first for good from layer {behind + 1}")
runs_03.heatmap(found)

# %% [markdown]
# Two sites: early the MLPs at "iffel", while "Tower" is empty; late, from layer 20 on, the attention
# at the last token and, weaker, at "in". From layer 27 on the lens reads the answer there as well.
# Here are the numbers behind one column; where there is a kernel, a slider goes through them all:

# %%
panel = widgets.LayerSlider(found, ranks, layer=found.layers[1], shown="MLPs")
panel if widgets.live() else show.Table(panel.rows)

# %% [markdown]
# ## What an indirect effect says, and what not
#
# It says: *in this wreck, this state alone brings back so much*, not that others are not needed.
#
# **Predict.** Behind block 1, "The" alone brings back nothing, and E, iffel and Tower together
# half. What do all four bring?
#
# <details><summary>Answer</summary>
#
# Everything. Effects are no shares of a cake: two states may be worth nothing apart and everything
# together, or each enough without the other.
#
# </details>

# %%
sets = [(0,), (1,), (2,), (3,), (1, 2, 3), (0, 1, 2, 3)]
cells = [causal_trace.Cell("hidden", tokens, (1,)) for tokens in sets]
clean_p, noisy, p = causal_trace.restore(lm, fact, cells, **asked)
for tokens, effect in zip(sets, (p - noisy).tolist(), strict=True):
    print(f"{' + '.join(found.tokens[t].strip() for t in tokens)}: {effect:.3f}")
print(f"total effect: {clean_p - noisy:.3f}")

# %% [markdown]
# "The" has an effect of 0.004 alone and of 0.396 in company. It says nothing about towers, but it
# stands at the attention sink (notebook 02): with noise there, it seems, all reading suffers.
#
# ## Forty facts
#
# The stored run has 32 facts whose subject has several tokens, and 8 with one. Their tokens are put
# together by role, and the effects averaged over facts, with 95 % intervals: **average total** and
# **average indirect effect**, ATE and AIE.
#
# **Predict.** In GPT-2 XL (48 layers, 1,000 facts, ATE 18.6 %; Meng et al.) the early site was the
# subject's *last* token: layer 15, states 8.7 %, MLPs 6.6 %, attention 1.6 %. And here?
#
# <details><summary>Answer</summary>
#
# The same token, and MLPs before attention, but much earlier. The Eiffel Tower is an exception:
# mostly it is the last token that tells.
#
# </details>

# %%
every = list(traces.values())
table, total = causal_trace.average(every), causal_trace.average_total(every)
print("average total effect {:.3f}, 95 % {:.3f} to {:.3f}".format(*total))
early = [x.indirect("hidden")[x.subject[0] : x.subject[1] + 1, :8].amax(1) for x in every]
early = [effects.argmax().item() + 1 == len(effects) for effects in early if len(effects) > 1]
print(f"several tokens, best early state at the last of them: {sum(early)} of {len(early)} facts")
show.Table(runs_03.peaks(table))

# %%
groups = dict(list(table.groupby(["role", "kind"])))
layers, series, bands = sorted(set(table["layer"])), {}, {}
for role, where in {"last subject": "subject", "last": "end"}.items():
    for kind, name in runs_03.NAMES.items():
        part = groups[role, kind]
        series[f"{name}, {where}"] = part["effect"].to_numpy()
        bands[f"{name}, {where}"] = part["low"], part["high"]
colors = dict(zip(series, plot.CYCLE[:3] * 2, strict=True))
dashes = {name: "--" if name.endswith("end") else "-" for name in series}
axes = "layer", "average indirect effect"
plot.lines(layers, series, *axes, bands=bands, colors=colors, dashes=dashes)

# %% [markdown]
# Full lines are the subject's last token, dashes the prompt's. The early site is the MLPs' alone
# (0.257 against 0.003; 55 % of the total, 35 % in GPT-2 XL), the late one the attention's (0.357
# against 0.074). Between layers 22 and 24 the states change places: the subject's falls from 0.146 to
# 0.002, the end's rises from 0.057 to 0.404. The fact has been **picked up**.
#
# ## How wide a window?
#
# **Predict.** Ten MLPs at once peak at layer 4, which is layers 0 to 8. Restored one by one (for
# twelve of the facts), which layer is it?
#
# <details><summary>Answer</summary>
#
# None of those in the middle: see what the wide one loses when it leaves layer 0.
#
# </details>

# %%
show.Table(runs_03.by_window(rows, SETTINGS))

# %% [markdown]
# Layer 0 has 0.125 by itself, no other layer here more than 0.011, and the window of ten halves, from
# 0.278 to 0.140, when it leaves layer 0 behind. The other MLPs work only together. "The fact sits in
# layer 4" is a statement about the window.
#
# ## Is the peak the best place to write?
#
# ROME writes into one MLP at the subject's last token. A second stored run does so for eight facts
# at several layers, with $C = I$, and asks for the new answer on the edit's own prompt. The *scan*
# that chose notebook 00's layer has scored 16 facts by the harmonic mean of three shares: prompts
# that answer right, rewordings, neighbors.
#
# **Predict.** The AIE of the MLPs is near zero from layer 14 on. Will an edit at layer 20 fail?
#
# <details><summary>Answer</summary>
#
# No. Attention reads the *state*, and an edit puts into it what it wants; only when the state has
# been picked up it is too late. Tracing MLPs shows where the model writes, not where we can.
#
# </details>

# %%
EDITS = {"editor": "rome", "second_moment": False, "cases": "every fifth of 03_effects"}
EDITS["layers"] = [28, 26, 24, 22, 20, 16, 12, 8, 4, 2, 0]
if stored_runs.long():
    stored_runs.save("03_edits", EDITS, runs_03.edits(lm, cases[::5], EDITS["layers"]))
edits = stored_runs.load("03_edits", EDITS)["rows"]
if SCALE == "small":
    live = list(runs_03.edits(lm, cases[:1], [28, 26, 11]))
    stored_runs.begins_with(edits, live[:2], ["case", "layer", "edit"], tolerance=0.05)
    print(f"the Eiffel Tower at layer 11: new answer {live[2]['edit']:.2f}")
x, y, bands = runs_03.curves(edits)
for name, curve in y.items():
    print(f"{name}:", ", ".join(f"layer {n} {m:.2f}" for n, m in zip(x[name], curve, strict=True)))
for name in ("states", "MLPs"):
    line = f"AIE of {name} / ATE"
    x[line], y[line] = layers, series[f"{name}, subject"] / total[0]
colors = dict(zip(x, [plot.EDITED, plot.CYCLE[3], *plot.CYCLE[:2]], strict=True))
plot.lines(x, y, "layer", "probability, score, share", bands=bands, colors=colors)

# %% [markdown]
# Writing works up to layer 20 (0.80), less at 22, and is over at 24 (0.08): just where the curve of
# the subject's *states* falls. That of the MLPs has been flat since layer 14 and says nothing of it.
# The scan's best layer is 3, but 2 to 8 hardly differ. Its dip at layer 11 is in no trace: with
# $C = I$ the tower's edit works there (0.98). To choose a layer, try it.
#
# ## Exercise: your own trace, and how to break it
#
# Trace a fact of your own, given as a prompt and the subject in it. Then find a synonym: another name
# of the same thing, behind which the model gives the same answer, but the best early state brings
# back less than half as large a share of the total effect. (Many things have an older name, or a
# longer one. Which pieces is it made of?)

# %%
my_fact = None  # ("Vancouver is a city in the country of", "Vancouver")
my_synonym = None  # the same with another name

# %%
print(checks_03.synonym(lm, sigma, my_fact, my_synonym))

# %% [markdown]
# ## What we know now
#
# * A fact has two sites: MLPs of the first layers at the subject, mostly its last token, and
#   attention at the end, which picks it up, here around layer 23.
# * An indirect effect means "enough, in this wreck": no share, and a matter of window and noise.
# * Where the model looks a fact up is not where it is best edited: for that, try the layers.
#
# ## Where it breaks
#
# We know the place: the MLP's key at the subject's last token, before it is picked up. To restore
# *Paris* there was easy, since the clean run had the state. No run has the state for *Rome*. **We know
# where to write; what should we write?** [Notebook 04](04_rome.ipynb) searches for it.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): causal tracing, GPT-2 XL's numbers.
# * Hase et al.: *Does Localization Inform Editing?*, 2023,
#   [arXiv:2301.04213](https://arxiv.org/abs/2301.04213): hardly, over many facts.
