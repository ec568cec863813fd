# %% [markdown]
# <!-- badge -->
#
# # 03 · Where does the model look a fact up?
#
# Every token of a prompt is a key, in every layer. At which of them does the model find the fact?
# At the end of this page you have seen it travel, and you know what such a picture does not say.
#
# **You will** make a model forget the Eiffel Tower with noise, and give it back one state at a time
# · compare MLPs with attention over forty facts · find out what the picture owes to its settings ·
# predict, from two keys alone, the one layer at which editing destroys the model.
#
# **Needs** [notebook 00](00_first_edit.ipynb), and the question at the end of
# [notebook 02](02_insert.ipynb) together with its $\rho$.
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
import itertools
from statistics import median

import torch

import lib
from lib import memory, plot, widgets
from lib.interpret import causal_trace, corrupted_runs
from lib.interpret.logit_lens import lens
from notebooks.support import checks_03_where as checks_03
from notebooks.support import drawings_03, long_runs, models, show
from notebooks.support import runs_03_where as runs_03

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
cases = runs_03.facts(lm)  # forty facts that the model knows; the first is the Eiffel Tower
sigma = causal_trace.embedding_deviation(lm, [case.fact for case in cases])
print(f"entries of the embeddings of {len(cases)} subjects deviate by σ = {sigma:.3f}")

# %% [markdown]
# ## Three runs
#
# A prompt of 10 tokens passes 30 layers. That makes 300 states, and the answer may depend on any of
# them. To learn on which, we run the model three times on the same prompt. What goes in is a fact
# that the model knows and one state (a token and a layer); what comes out is one number for this
# state, which says how much of a lost answer it can bring back.
#
# 1. **Clean.** The model gives its answer with probability $p$.
# 2. **Corrupted.** Noise from $\mathcal N\big(0, (3\sigma)^2\big)$ is added to every entry of the
#    embeddings of the *subject's* tokens, where $\sigma$ is the standard deviation of such entries.
#    The model no longer knows what the sentence is about, and $p$ falls to $p_*$.
# 3. **Restored.** The subject is corrupted again, with the same noise, but *one* state is put back as
#    it was in the clean run. Everything that is computed after it may use it, and $p$ rises to
#    $p_*(\text{state})$.
#
# Here are the three runs for the state of the token "iffel" after block 1. Rows are tokens, columns
# are layers, and the numbers are those of the model.

# %%
place = (2, 1)  # the token "iffel", and the layer
asked = {"samples": 5, "deviation": sigma}
cell = causal_trace.Cell("hidden", place[:1], place[1:])
clean_p, noisy_p, restored_p = causal_trace.restore(lm, fact, [cell], **asked)
ids, first, last = corrupted_runs.span(lm, fact)  # the subject is tokens first … last
tokens = [lm.tokenizer.decode([i]) for i in ids]
drawings_03.three_runs(tokens, (first, last), place, (clean_p, noisy_p, restored_p[0].item()))

# %% [markdown]
# The **total effect** $\mathrm{TE} = p - p_*$ is what the noise costs. The **indirect effect** of a
# state, $\mathrm{IE} = p_*(\text{state}) - p_*$, is what this state alone brings back. Both $p_*$ are
# means over several draws of the noise. Now the same by hand. We keep the clean state, draw the
# noise, and need two hooks: one adds the noise to the embeddings, one puts the state back.

# %%
embedding = lm.model.get_submodule(lm.arch.embed)
name = f"{lm.arch.blocks}.{place[1]}"
block = lm.model.get_submodule(name)
clean = lm.run(fact.text, watch=[name])
states = clean.seen[name][1][0]  # (tokens, d), the output of the block
answer = clean.logits[0, -1].argmax()
draw = torch.Generator().manual_seed(1)
noise = 3 * sigma * torch.randn(5, last - first + 1, states.shape[1], generator=draw)


def corrupt(module, inputs, output):  # output: (draws, tokens, d)
    output = output.clone()
    output[:, first : last + 1] += noise.to(output)
    return output


def put_back(module, inputs, output):
    hidden = output[0] if isinstance(output, tuple) else output
    hidden[:, place[0]] = states[place[0]]


# %%
def probability(hooks):  # of the clean run's answer, the mean over the draws
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    logits = lm.run([fact.text] * len(noise)).logits[:, -1]  # (draws, vocabulary)
    for handle in handles:
        handle.remove()
    return logits.softmax(-1)[:, answer].mean().item()


p = probability({})
p_noisy = probability({embedding: corrupt})
p_restored = probability({embedding: corrupt, block: put_back})
by_hand = torch.tensor([p, p_noisy, p_restored])
models.same(lm, by_hand, torch.tensor([clean_p, noisy_p, restored_p[0]]))
total, indirect = p - p_noisy, p_restored - p_noisy
print(f"p of{lm.tokenizer.decode(answer)!r}: {p:.3f}, {p_noisy:.3f}, {p_restored:.3f}")
print(f"TE {total:.3f}, IE {indirect:.3f}: {100 * indirect / total:.0f} % of it")

# %% [markdown]
# One state of 300, early, at a piece of a word, brings back 39 % of what was lost.
#
# ## Why 3σ?
#
# The noise has a size, and somebody chose it. A trace would be worth little if it depended on this
# choice. So we ask for the probability of the answer with noise of six sizes, for three facts and on
# average over all forty.
#
# **Predict.** $\sigma$ is the spread of the embeddings themselves. Is the fact gone with noise of
# $\sigma$? And is the model, at $10\sigma$, a different wreck than at $3\sigma$?
#
# <details><summary>Work it out</summary>
#
# At $s\sigma$ the embedding has a share of $1/(1 + s^2)$ of the squared length of the sum: half at 1,
# a tenth at 3, a hundredth at 10. And each block normalizes what it reads, so longer noise does not
# look longer. From some $s$ on the direction is all noise, and nothing should change any more.
#
# </details>

# %%
NOISE = runs_03.NOISE
asked_noise = sigma, NOISE["levels"], NOISE["samples"]
rows = long_runs.stored("03_noise", NOISE, lambda: runs_03.noise(lm, cases, *asked_noise))
long_runs.repeats(rows, lambda: runs_03.noise(lm, cases[:1], *asked_noise), tolerance=0.01)
named = {case.id: case.fact.subject for case in cases if case.id in (0, 11, 80)}
for one, other in ((1, 3), (3, 10)):
    change = "{:+.3f} (95 %: {:+.3f} to {:+.3f})".format(*runs_03.between_levels(rows, one, other))
    print(f"p at {one}σ less p at {other}σ, mean of {len(cases)} facts: {change}")
others = [row for row in rows if row["noise"] == 3 and row["others"] is not None]
pairs = torch.tensor([[row["p"], row["others"]] for row in others])
r = torch.corrcoef(pairs.T)[0, 1]
print(f"p at 3σ against p for other subjects, {len(pairs)} facts: correlation {r:.2f}")
show.Table(runs_03.noise_table(rows, named))

# %% [markdown]
# On average over forty facts $p$ falls from 0.508 to 0.090 at 1σ and to 0.042 at 3σ. From 1σ to 3σ
# it still falls by 0.048 (0.026 to 0.075), from 3σ to 10σ by no more than 0.007. So 3σ stands on
# nearly flat ground, and 1σ would not: single facts, such as Mont Blanc, still move there.
#
# Is what is left a memory of the subject? Or a guess from the rest of the sentence, which the
# noise does not touch? The guess can be measured: ask the same question about other subjects, and
# see how probable this answer is for them. Over the forty facts the two go together, with a
# correlation of 0.52. So a part of what is left is a guess, but not clearly all of it.
#
# ## One fact, everywhere
#
# Now every token and every second layer, and three kinds of state: the whole output of a block, and
# what its MLP or its attention alone adds to it. A single MLP adds little. So MLPs and attention are
# restored over a **window** of ten layers, from five below the one named to four above.
#
# **Predict.** The tower's name ends with "Tower", and there ROME wrote in notebook 00 (the orange
# frame in the figure). At which tokens is there something to find, early and late? Are MLPs and
# attention bright at the same places?
#
# <details><summary>Answer</summary>
#
# Early it is the MLPs at the subject. Late it is the attention at the end of the prompt, where the
# answer is read. And of the name it is the piece that only this tower has: there are many towers.
#
# </details>

# %%
SETTINGS = runs_03.SETTINGS
rows = long_runs.stored("03_effects", SETTINGS, lambda: runs_03.effects(lm, cases, SETTINGS))
live = long_runs.repeats(
    rows, lambda: runs_03.effects(lm, cases, SETTINGS, live=True), tolerance=0.01
)
found = runs_03.traces(live, SETTINGS["window"], SETTINGS["every"])[cases[0].id]
for kind, kind_name in runs_03.NAMES.items():
    effect = found.indirect(kind)
    token, column = divmod(effect.argmax().item(), len(found.layers))
    place = f"{found.tokens[token].strip()!r}, layer {found.layers[column]}"
    print(f"{kind_name}: {place}, {effect.max():.3f}; at the name's end {effect[last].max():.3f}")
ranks = lens(lm, fact.text, [fact.target_true])
late = ranks[ranks["rank"] > 1]["layer"].max() + 1
print(f"logit lens at the last token: {fact.target_true} is first for good from layer {late}")
drawings_03.trace(found, runs_03.NAMES, mark=(last, lib.EDITORS["rome"](lm).config.layer))

# %% [markdown]
# There are two sites. Early the MLPs at "iffel" bring something back, while "Tower" is empty. Late,
# from layer 20 on, it is the attention at the last token and, more weakly, at "in". From layer 27 on
# the logit lens reads the answer at the last token as well. The next panel shows the numbers of one
# column; where a kernel is running, a slider goes through all of them.

# %%
panel = widgets.LayerSlider(found, ranks, layer=found.layers[1], shown="MLPs")
panel if widgets.live() else show.Table(panel.rows)

# %% [markdown]
# ## What an indirect effect says, and what not
#
# It says: *in this wreck, this state alone brings back so much*. It does not say that the others are
# not needed.
#
# **Predict.** After block 1, "The" alone brings back nothing, and E, iffel and Tower together half.
# What do all four tokens of the subject bring? And all ten tokens of the prompt?
#
# <details><summary>Answer</summary>
#
# All ten bring exactly the total effect, because then every state of this layer is the clean one.
# The four of the subject bring at least as much, although "The" was worth nothing alone. Effects are
# not shares of a cake: two states may be worth nothing apart and everything together, or each may be
# enough without the other.
#
# </details>

# %%
subject, rest = range(first, last + 1), range(last + 1, len(ids))
sets = [(token,) for token in subject]
sets += [tuple(subject)[1:], tuple(subject), tuple(rest), tuple(range(len(ids)))]
cells = [causal_trace.Cell("hidden", some, (1,)) for some in sets]
clean_p, noisy_p, p = causal_trace.restore(lm, fact, cells, **asked)
names = [" + ".join(tokens[t].strip() for t in some) for some in sets[:-2]]
names += ["all after the subject", "all tokens"]
whole = clean_p - noisy_p
show.Table(
    [
        {
            "put back after block 1": name,
            "IE": effect,
            "of the total (%)": round(100 * effect / whole),
        }
        for name, effect in zip(names, (p - noisy_p).tolist(), strict=True)
    ]
)

# %% [markdown]
# "The" has an effect of 0.004 alone, but with it the three others bring 0.731 instead of 0.335. It says
# nothing about towers. But it stands at the first position, where the attention rests (notebook 02's sink);
# a likely reason, which we have not tested, is that all reading suffers from noise there.
#
# All four together bring 106 % of the total effect: more than there was to lose. That is no error.
# The six later tokens are still those of the wreck. In blocks 0 and 1 they have read the noise, and
# what the noise did to them is not undone; by chance it makes "Paris" a little likelier than in the
# clean run. Only when all ten tokens are put back is the result the clean one, 100 %.
#
# ## Forty facts
#
# One fact is an anecdote. The stored run has forty: 32 whose subject has several tokens, and 8 whose
# subject has one. Their tokens are put together by role (the subject's first, middle and last token,
# the first one after it, further ones, the prompt's last), and the effects are averaged over the
# facts, with 95 % intervals. The means are called **average total effect** and **average indirect
# effect**, ATE and AIE.
#
# **Predict.** In GPT-2 XL (48 layers, 1,000 facts, ATE 18.6 %; Meng et al.) the early site was the
# subject's *last* token: layer 15, states 8.7 %, MLPs 6.6 %, attention 1.6 %. And here?
#
# <details><summary>Answer</summary>
#
# The same token, and MLPs before attention, but much earlier. The Eiffel Tower is an exception:
# mostly it is the last token of the name that counts.
#
# </details>

# %%
traces = runs_03.traces(rows, SETTINGS["window"], SETTINGS["every"])  # {case: its trace}
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
    for kind, kind_name in runs_03.NAMES.items():
        part = groups[role, kind]
        series[f"{kind_name}, {where}"] = part["effect"].to_numpy()
        bands[f"{kind_name}, {where}"] = part["low"], part["high"]
for where in ("states, subject", "states, end"):
    change = [series[where][layers.index(n)] for n in layers if n in (22, 24)]
    print(f"{where}, layers 22 and 24:", ", ".join(f"{effect:.3f}" for effect in change))
share = series["MLPs, subject"].max() / total[0]
print(f"MLPs at the subject: {100 * share:.0f} % of the average total effect")
colors = dict(zip(series, plot.CYCLE[:3] * 2, strict=True))
dashes = {name: "--" if name.endswith("end") else "-" for name in series}
axes = "layer", "average indirect effect"
plot.lines(layers, series, *axes, bands=bands, colors=colors, dashes=dashes)

# %% [markdown]
# Full lines belong to the subject's last token, dashed ones to the prompt's. The early site is the
# MLPs' alone (0.257 against 0.003 for the attention, that is 54 % of the total; in GPT-2 XL it is
# 6.6 of 18.6). The late site is the attention's (0.357 against 0.074). Between layers 22 and 24 the
# states change places: that of the subject falls from 0.146 to 0.002, that of the end rises from
# 0.057 to 0.404. The fact has been **picked up**.
#
# ## How wide a window?
#
# Ten MLPs at once were restored. Their peak is named after the layer in the middle, but which of the
# ten has done it? We make the window smaller, for twelve of the facts.
#
# **Predict.** Ten MLPs peak at layer 4, which means layers 0 to 8. Restored one by one, which layer
# is it?
#
# <details><summary>Answer</summary>
#
# None of those in the middle: see what the wide window loses when it leaves layer 0.
#
# </details>

# %%
show.Table(runs_03.by_window(rows, SETTINGS))

# %% [markdown]
# Layer 0 has 0.125 by itself and no other layer here more than 0.011. The window of ten halves, from
# 0.278 to 0.140, when it no longer reaches layer 0. With twelve facts the intervals are wide, but
# "the fact sits in layer 4" is clearly a statement about the window.
#
# So is layer 0 the place where the fact is stored? There is a simpler explanation. The first MLP
# sees little more than the token itself, and is known to **encode the token anew**: what it puts out
# is often called an extended embedding. To restore it then means to give back the *word* that the
# noise has hidden, and not something that is known about it. This can be tested. We read each
# subject's last token once more after other words, those before another subject's last token, and
# compare what the MLPs put out.

# %%
alone, quartiles = runs_03.same_token(lm, cases, range(0, lm.n_layers, 2))
for layer in (0, 2, 4):
    if layer < lm.n_layers:
        print(f"layer {layer}: median cosine {alone[layer // 2]:.2f}")
figure = plot.lines(
    range(0, lm.n_layers, 2),
    {"same token, other words": alone},
    "layer",
    "cosine of the MLP's outputs",
    bands={"same token, other words": quartiles},
    ylim=(-0.05, 1.05),
    height=2.6,
)
figure

# %% [markdown]
# At layer 0 the outputs agree with a median cosine of 0.99, whatever words stand before; at layer
# 2 it is 0.48, at layer 4 0.38. (The shade goes from the lower to the upper quartile of the
# subjects.) So the first MLP does encode the token anew, and what the window loses with layer 0 is
# the word.
#
# ## Is the peak the best place to write?
#
# ROME writes into one MLP at the subject's last token. A second stored run does so for eight facts
# at several layers, with $C = I$, and asks for the probability of the new answer on the edit's own
# prompt. Beside it stands the *scan* that chose notebook 00's layer: it has scored 16 facts, with
# $C$ from general text, by the harmonic mean of three shares (prompts that answer right, rewordings,
# neighbors).
#
# **Predict.** The AIE of the MLPs is near zero from layer 14 on. Will an edit at layer 20 fail?
#
# <details><summary>Answer</summary>
#
# No. The attention reads the *state*, and an edit puts into it what it wants. Only when the state
# has been picked up it is too late. Tracing MLPs shows where the model writes, not where we can.
#
# </details>

# %%
EDITS = runs_03.EDITS
rows = long_runs.stored("03_edits", EDITS, lambda: runs_03.edits(lm, cases[::5], EDITS["layers"]))
first_layers = EDITS["layers"][:2] if lm.n_layers > 28 else [1]
keys = ["case", "layer", "edit"]
long_runs.repeats(rows, lambda: runs_03.edits(lm, cases[:1], first_layers), keys, tolerance=0.05)
edit, scan = runs_03.curve(rows, "edit"), runs_03.scan()
shares = {}
for kind in ("states", "MLPs"):
    band = [part / total[0] for part in bands[f"{kind}, subject"]]
    shares[kind] = layers, series[f"{kind}, subject"] / total[0], band
for what, (x, y, _) in {"p of the new answer": edit, "score of the scan": scan}.items():
    print(f"{what}:", ", ".join(f"layer {n} {m:.2f}" for n, m in zip(x, y, strict=True)))
panels = {
    "AIE / ATE, 40 facts": shares,
    "p(new answer), 8 facts": {"C = I": edit},
    "scan's score, 16 facts": {"with C": scan},
}
drawings_03.writing_and_tracing(panels, lm.n_layers)

# %% [markdown]
# Writing works up to layer 20 (0.80), less at 22, and is over at 24 (0.08): just where the curve of
# the subject's *states* falls in the panel above. The curve of the MLPs has been flat since layer 14
# and says nothing of it. The scan's best layer is 3, but 2 to 8 hardly differ.
#
# ## The hole at layer 11
#
# At layer 11 the scan's score falls to 0.12, and no trace shows anything there. But notebook 02 has a
# tool for this question. Writing at a key $k_i$ puts the share
# $\rho(i, j) = k_i^\top C^{-1} k_j / k_i^\top C^{-1} k_i$ of the residual on any other key $k_j$, and
# it is known before the edit. One key stands in every prompt: that of the *first* position, the
# attention sink. It is hardly a word any more, so it is the same in all prompts.
#
# **Predict.** $C$ is estimated from general text *without* the first positions, because one huge
# key would otherwise be nearly all of it. What share of the tower's residual lands on the first
# token, "The", at layers 3, 8 and 11, with this $C$ and with $C = I$?
#
# <details><summary>Work it out</summary>
#
# If the first token's key is longer than the subject's, $\rho$ can be larger than 1: an edit can do
# more to a key that it was not meant for than to its own. And $C^{-1}$ makes it worse, if the long
# key points where general text never goes: there $C$ is small, so $C^{-1}$ believes that writing in
# this direction costs nothing. An editor that was never shown the first positions cannot know.
#
# </details>

# %%
kinds = runs_03.KINDS
shown = [layer for layer in (3, 8, 11) if layer < lm.n_layers] or [1]
runs_03.read_text(lm, shown, kinds)
table = []
for layer, (k, first_key) in runs_03.ends_of(lm, cases[:1], shown).items():  # each (d_in, 1)
    row = {"layer": str(layer), "‖k‖ of Tower": k.norm().item()}
    row["‖k‖ of The"] = first_key.norm().item()
    for kind in kinds:
        C = runs_03.moment(lm, layer, kind)
        rho = memory.interference(k, C, first_key)
        row[f"ρ, {kind}"] = rho.item()
    table.append(row)
show.Table(table)

# %% [markdown]
# At layer 11 the key of "The" is hundreds of times as long as the tower's, and with $C$ an
# update whose residual is δ puts $-812\,\delta$ on it: that is $\rho$, in the table. With $C = I$
# it is still 15 times the residual. At layers 3 and 8 next to nothing lands there. And the remedy
# is in the table, too: let $C$ see the first positions, and $\rho$ is nearly 0 at layer 11. The
# tower is one subject; here are all forty.

# %%
FIRST, WRITTEN = runs_03.FIRST, runs_03.WRITTEN
rows = long_runs.stored("03_first", FIRST, lambda: runs_03.first_token(lm, cases, FIRST["layers"]))
for kind in kinds:
    middle = {
        row["layer"]: median(abs(rho) for rho in row["rho"])
        for row in rows
        if row["moment"] == kind and row["layer"] in WRITTEN["layers"]
    }
    said = ", ".join(f"layer {layer} {size:.3g}" for layer, size in middle.items())
    print(f"{kind}: median |ρ| of {len(rows[0]['rho'])} facts at {said}")
names = {"C": "C without first tokens", "C with first tokens": "C with first tokens", "I": "C = I"}
drawings_03.overlap_with_first(rows, names)

# %% [markdown]
# Layer 11 stands out for all of them: with $C$ the median of $|\rho|$ is 76.7 there, and 0.01 or
# less at layers 3, 8 and 20. (Where the line of $C$ has no dot, this $C$ was not estimated.) With
# $C = I$ it is 3.49 at layer 11, and the last two layers are as large.
#
# Does the model agree? A stored run writes eight facts at four layers with the three matrices. The
# value is searched once and is the same for all three; only $C$ differs.

# %%
asked_written = cases[::5], WRITTEN["layers"], kinds
rows = long_runs.stored("03_moments", WRITTEN, lambda: runs_03.by_moment(lm, *asked_written))
live_layers = WRITTEN["layers"][:1] if lm.n_layers > 11 else [1]
live = long_runs.repeats(
    rows,
    lambda: itertools.islice(runs_03.by_moment(lm, cases[::5], live_layers, kinds), len(kinds)),
    ["case", "layer", "moment", "edit"],
    tolerance=0.05,
)
print(f"before: {fact.text}{lm.answer(fact.text, 6)!r}")
for row in live:
    print(f"written at layer {row['layer']} with {row['moment']}: {row['says']!r}")
show.Table(runs_03.by_moment_table(rows, kinds))

# %% [markdown]
# It does. With the editors' $C$ an edit at layer 11 destroys the model: the KL divergence at seven
# other facts' prompts is 5.8 nats, and the tower's prompt is answered by empty lines. With $C = I$
# the new answer has 0.80, at 0.063 nats. With a $C$ that has seen the first positions the same
# value, written at the same key, gives 0.83 at 0.011 nats: layer 11 is no worse than its
# neighbors. At the other three layers the first positions make no difference. So the dip *is*
# predictable, before any edit, from two keys. No trace of the *fact* could show it, because the
# trouble is another key than the fact's. (With eight facts the intervals of $p$ are wide; the
# divergences at layer 11 differ by a factor of 500.)
#
# ## Exercise: your own trace, and how to break it
#
# Trace a fact of your own, given as a prompt and the subject in it. Then find a synonym: another name
# of the same thing, after which the model gives the same answer, but the best early state brings
# back less than half as large a share of the total effect.
#
# <details><summary>A hint</summary>
#
# Many things have an older name, or a longer one. Which pieces is it made of, and how often has the
# model read them together?
#
# </details>
#
# <details><summary>A solution</summary>
#
# `("Mumbai is a city in the country of", "Mumbai")` and
# `("Bombay is a city in the country of", "Bombay")`.
#
# </details>

# %%
my_fact = None  # ("Vancouver is a city in the country of", "Vancouver")
my_synonym = None  # the same with another name

# %%
print(checks_03.synonym(lm, sigma, my_fact, my_synonym))

# %% [markdown]
# ## What we know now
#
# * A fact has two sites: MLPs of the first layers at the subject, mostly at its last token, and
#   attention at the end of the prompt, which picks it up, here around layer 23.
# * An indirect effect means "enough, in this wreck". It is no share, and it depends on the window.
#   Most of the early peak is layer 0, which gives back the word.
# * Where the model looks a fact up is not where it is best edited. What an edit does to other keys
#   is: $\rho$ with the first token, known before the edit, predicts the one layer that fails.
#
# ## Where it breaks
#
# We know the place: the MLP's key at the subject's last token, before the fact is picked up. To
# restore *Paris* there was easy, since the clean run had the state. No run has the state for *Rome*.
# **We know where to write; what should we write?** [Notebook 04](04_rome.ipynb) searches for it.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): causal tracing, and GPT-2 XL's numbers.
# * Hase, Bansal, Kim, Ghandeharioun: *Does Localization Inform Editing?*, 2023,
#   [arXiv:2301.04213](https://arxiv.org/abs/2301.04213): over many facts, the layer with the largest
#   effect says hardly anything about the layer at which editing works best.
# * McDougall et al.: *Copy Suppression*, 2023,
#   [arXiv:2310.04625](https://arxiv.org/abs/2310.04625): the first MLP as an extended embedding.
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
