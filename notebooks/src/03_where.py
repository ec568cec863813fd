# %% [markdown]
# <!-- badge -->
#
# # 03 · Where does the model look a fact up?
#
# Every token of a prompt is a key, in every layer. At which of them does the model find the fact?
# At the end of this page you have seen it travel, and you know what such a picture does not say.
#
# **You will** write the two hooks of causal tracing, and trace the Eiffel Tower with them, one
# state at a time · compare MLPs with attention over forty facts · find out what the picture owes to
# its settings · predict from two keys and $C$ that editing at one layer destroys the model, and at
# others not.
#
# **Needs** [notebook 00](00_first_edit.ipynb), and the question at the end of
# [notebook 02](02_insert.ipynb) together with its $\rho$.
#
# **Minutes** 25 to read and 20 to work: two exercises of [session 4](../lessons/session_4.md).
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
from dataclasses import replace
from functools import partial
from statistics import harmonic_mean, mean

import pandas as pd
import torch
from torch.nn.functional import cosine_similarity

import lib
from lib.evaluation.intervals import interval, wilson
from lib.workbench import plot
from lib.workbench.interpret import causal_trace, corrupted_runs
from lib.workbench.interpret.logit_lens import lens
from notebooks.support import drawings_03, long_runs, models
from notebooks.support import runs_03_where as runs_03
from notebooks.support.holes import guess, use
from notebooks.support.runs_03_where import EDITS, SETTINGS
from notebooks.support.score_tables import METRICS

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
# The **total effect** $\mathrm{TE} = p - p_*$ is what the noise costs. The **indirect effect** of a
# state, $\mathrm{IE} = p_*(\text{state}) - p_*$, is what this state alone brings back. Both $p_*$ are
# means over several draws of the noise, and the draws are the rows of one batch.
#
# **Your turn · exercise 4.1 · ★ · 8 minutes.** The runs differ in two places: at the embeddings,
# and behind one block (the program's word for a layer). Write what happens there, `corrupt` and
# `put_back`. Everything below is computed with them.


# %%
def corrupt(embedded, noise, first):
    """embedded (draws, tokens, d), noise (draws, tokens of the subject, d), which begins at first."""
    ...


def put_back(states, clean, token):
    """states (draws, tokens, d), of which one token gets its clean state; clean (tokens, d)."""
    ...


corrupt = use("4.1", corrupt)
put_back = use("4.1", put_back)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Is the noise added to the embeddings, or does it replace them? And may the model's own tensor be
# written into, or a copy of it?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def corrupt(embedded, noise, first):
#     embedded = embedded.clone()
#     embedded[:, first : first + noise.shape[1]] += noise
#     return embedded
#
#
# def put_back(states, clean, token):
#     states = states.clone()
#     states[:, token] = clean[token]
#     return states
# ```
#
# </details>
#
# `probability` runs the model while some of its modules put out something else, and `run` is one of
# the three runs for the tower: clean or noisy, with some states put back. The figure shows the state
# of the token "iffel" after block 1. Rows are tokens, columns are layers.


# %%
def probability(text, answer, changes):  # of the answer; changes = [(module's name, its change)]
    def hook(change, module, inputs, output):  # some modules put out a tuple
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    modules = [(lm.model.get_submodule(name), change) for name, change in changes]
    handles = [module.register_forward_hook(partial(hook, change)) for module, change in modules]
    rows = torch.tensor(5 * lm.rows([text])[0], device=lm.device)  # five draws of the noise
    states = lm.backbone(rows, torch.ones_like(rows), use_cache=False).last_hidden_state
    for handle in handles:
        handle.remove()
    return lm.head(states[:, -1]).softmax(-1)[:, answer].mean().item()


def noise_for(first, last, size=3):  # the same draws whenever it is asked
    d = lm.model.get_submodule(lm.arch.embed).weight.shape[1]
    draw = torch.Generator().manual_seed(1)
    return (size * sigma * torch.randn(5, last - first + 1, d, generator=draw)).to(lm.device)


# %%
ids, first, last = corrupted_runs.span(lm, fact)  # the subject is tokens first … last
tokens = [lm.tokenizer.decode([i]) for i in ids]
shown = range(1, lm.n_layers, 3)
blocks = [f"{lm.arch.blocks}.{layer}" for layer in shown]
seen = lm.run(fact.text, watch=blocks).seen
clean = [seen[block][1][0] for block in blocks]  # each (tokens, d)
answer = lm.next_token(fact.text).argmax().item()
noise = noise_for(first, last)


def run(noisy, cells):  # a cell is (token, n), where n counts the blocks in `shown`
    changes = [(lm.arch.embed, partial(corrupt, noise=noise, first=first))] if noisy else []
    for token, n in cells:
        changes.append((blocks[n], partial(put_back, clean=clean[n], token=token)))
    return probability(fact.text, answer, changes)


place = (2, 0)  # the token "iffel", and block 1
p, p_noisy, p_restored = run(False, []), run(True, []), run(True, [place])
total, indirect = p - p_noisy, p_restored - p_noisy
print(f"p of{lm.tokenizer.decode(answer)!r}: {p:.3f}, {p_noisy:.3f}, {p_restored:.3f}")
print(f"TE {total:.3f}, IE {indirect:.3f}: {100 * indirect / total:.0f} % of it")
drawings_03.three_runs(tokens, (first, last), (2, shown[0]), (p, p_noisy, p_restored))

# %% [markdown]
# One state of 300, early, at a piece of a word, brings back 39 % of what was lost.
#
# ## Why 3σ?
#
# The noise has a size, and somebody chose it. A trace that depends on this choice would say something
# about the noise as well. So we ask for the probability of the answer with noise of three sizes, on
# average over every second of the forty facts.
#
# **Predict.** $\sigma$ is the spread of the embeddings themselves. Is the fact gone with noise of
# $\sigma$? And is the model more lost at $10\sigma$ than at $3\sigma$?
#
# <details><summary>Work it out</summary>
#
# At $s\sigma$ the embedding has a share of $1/(1 + s^2)$ of the squared length of the sum: half at 1,
# a tenth at 3, a hundredth at 10. And each block normalizes what it reads, so longer noise does not
# look longer. From some $s$ on the direction is all noise, and nothing should change any more.
#
# </details>

# %%
lost = {size: [] for size in (0, 1, 3, 10)}
spans = [corrupted_runs.span(lm, case.fact) for case in cases]
for case, (_, *ends) in zip(cases[::2], spans[::2], strict=True):
    clean_p, known = lm.next_token(case.fact.text).exp().max(0)
    lost[0].append(clean_p.item())
    for size in (1, 3, 10):
        change = partial(corrupt, noise=noise_for(*ends, size), first=ends[0])
        lost[size].append(probability(case.fact.text, known, [(lm.arch.embed, change)]))
for size, found in lost.items():
    print(f"{size}σ: p {mean(found):.3f}, 95 % {'{:.3f} to {:.3f}'.format(*interval(found))}")
for one, other in ((1, 3), (3, 10)):
    less = [a - b for a, b in zip(lost[one], lost[other], strict=True)]
    said = "{:+.3f} to {:+.3f}".format(*interval(less, None))
    print(f"from {one}σ to {other}σ it falls by {mean(less):.3f}, 95 % {said}")

# %% [markdown]
# On average over twenty facts $p$ falls from 0.563 to 0.096 at 1σ and to 0.036 at 3σ. From 1σ to
# 3σ it still falls by 0.060 (0.027 to 0.102), from 3σ to 10σ by 0.007 (0.002 to 0.013). So $p_*$
# hardly depends on the size from 3σ on, but it does at 1σ. The next section therefore makes one
# trace with 3σ and one with 10σ. What is left at 3σ need not be a memory of the subject: the noise
# does not touch the rest of the sentence, which says something about the answer as well. How much
# comes from there has not been measured.
#
# ## One fact, everywhere
#
# Now every token, and every third layer.
#
# **Your turn · exercise 4.2 · ★★ · 8 minutes.** Write `trace`: the indirect effects of all single
# states, from nothing but the function `run`.


# %%
def trace(run, tokens, layers):
    """run(noisy, [(token, layer), …]) is p of the answer -> IE (tokens, layers)."""
    ...


trace = use("4.2", trace)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which run has to be made once only, and which one for every state?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def trace(run, tokens, layers):
#     lost = run(True, [])
#     rows = [[run(True, [(t, n)]) - lost for n in range(layers)] for t in range(tokens)]
#     return torch.tensor(rows)
# ```
#
# </details>
#
# Your trace of the states is the left panel below; at its first two layers it is compared with the
# library's function, which shares work between the runs. The same states are traced once more with
# noise of 10σ, for the printed lines only. In the other two panels it is not the state that is
# restored, but what the MLPs or the attention of a block add to it. A single MLP adds little, so
# they are restored over a **window** of ten layers, from five below the one named to four above.
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
NAMES = {"hidden": "states", "mlp": "MLPs", "attention": "attention"}
mine = trace(run, len(ids), len(shown))
asked = {"samples": 5, "deviation": sigma}
again = causal_trace.trace(lm, fact, kinds=["hidden"], layers=shown[:2], **asked)
models.same(lm, mine[:, :2], again.indirect("hidden"))
found = causal_trace.trace(lm, fact, kinds=["mlp", "attention"], layers=shown, **asked)
found = replace(found, table={"hidden": mine + p_noisy} | found.table)
far = causal_trace.trace(lm, fact, kinds=["hidden"], layers=shown, noise=10.0, **asked)
for size, effect in {"3σ": mine, "10σ": far.indirect("hidden")}.items():
    token, column = divmod(effect[: last + 1].argmax().item(), len(shown))
    best = f"{tokens[token].strip()!r}, layer {shown[column]}, {effect.max(1).values[token]:.3f}"
    print(f"noise {size}: best state of the name {best}; largest of all {effect.max():.3f}")
print(f"a state differs by {(far.indirect('hidden') - mine).abs().max():.3f} at most")
for kind, kind_name in NAMES.items():
    effect = found.indirect(kind)
    token, column = divmod(effect.argmax().item(), len(shown))
    best = f"{tokens[token].strip()!r}, layer {shown[column]}, {effect.max():.3f}"
    print(f"{kind_name}: {best}; at the name's end {effect[last].max():.3f}")
ranks = lens(lm, fact.text, [fact.target_true])
late = ranks[ranks["rank"] > 1]["layer"].max() + 1
print(f"logit lens at the last token: {fact.target_true} is first for good from layer {late}")
drawings_03.trace(found, NAMES, mark=(last, lib.EDITORS["rome"](lm).config.layer))

# %% [markdown]
# There are two sites. Early the MLPs at "iffel" bring something back, while "Tower" is empty.
# Late, around layer 19, it is the attention at the last token and, more weakly, at "in". (At the
# last token its effect is 0.760, more than the total effect of 0.686. An indirect effect is not a
# share, as the next section shows.) From layer 27 on the logit lens reads the answer at the last
# token as well.
#
# With noise of 10σ the best state of the name is still one of "iffel", with 0.309 instead of 0.314,
# but in layer 7 instead of 4. The largest difference at a single state is 0.109. So in this one trace
# the token does not depend on the size of the noise, while the layer does a little.
#
# ## What an indirect effect says, and what not
#
# It says that in this corrupted run this state alone brings back so much. It does not say that the
# others are not needed.
#
# **Predict.** After block 1, "The" alone brings back nothing, and E, iffel and Tower together half.
# What do all four tokens of the subject bring (`four.number`)? And all ten tokens of the prompt?
#
# <details><summary>Answer</summary>
#
# All ten bring exactly the total effect, because then every state of this layer is the clean one.
# The four of the subject bring about as much here, although "The" was worth nothing alone. Effects
# are not shares of a cake: two states may be worth nothing apart and everything together, or each
# may be enough without the other.
#
# </details>

# %%
four = guess("How much of the total effect do the four tokens bring back together, in %?", 0, 200)

# %%
subject, rest = range(first, last + 1), range(last + 1, len(ids))
sets = [(token,) for token in subject]
sets += [tuple(subject)[1:], tuple(subject), tuple(rest), tuple(range(len(ids)))]
names = [" + ".join(tokens[t].strip() for t in some) for some in sets[:-2]]
names += ["all after the subject", "all tokens"]
effects = [run(True, [(token, 0) for token in some]) - p_noisy for some in sets]
together = pd.DataFrame({"put back after block 1": names, "IE": effects})
together["of the total (%)"] = [f"{100 * effect / total:.0f}" for effect in effects]
four.against(100 * effects[-3] / total)
together.set_index("put back after block 1").round(3)

# %% [markdown]
# "The" has an effect of 0.004 alone, but with it the three others bring 0.731 instead of 0.335. It says
# nothing about towers, but it stands at the first position, on which much of the attention lies
# (page 02b's sink). A possible reason, which we have not tested, is that noise in this key disturbs
# the attention of all later tokens.
#
# All four together bring 106 % of the total effect: more than there was to lose. That is no error.
# The six later tokens are still those of the corrupted run. In blocks 0 and 1 they have read the noise,
# and what it did to them is not undone. With these five draws "Paris" comes out a little likelier for
# it than in the clean run; whether it would with others has not been tested. Only when all ten tokens
# are put back is the result the clean one, 100 %.
#
# ## Forty facts
#
# One fact may be an exception. The stored run has forty: 32 whose subject has several tokens, and 8
# whose subject has one. Their tokens are put together by role (the subject's first, middle and last
# token, the first one after it, further ones, the prompt's last; a single token counts as the
# subject's last), and the effects are averaged over the facts, with 95 % intervals. The means are
# called **average total effect** and **average indirect effect**, ATE and AIE.
#
# **Predict.** In GPT-2 XL (48 layers, 1,000 facts, ATE 18.6 %; Meng et al.) the early site was the
# subject's *last* token: layer 15, states 8.7 %, MLPs 6.6 %, attention 1.6 %. And here?
#
# <details><summary>Answer</summary>
#
# The same token, and MLPs rather than attention, but earlier: layer 4 of 30. The Eiffel Tower is an
# exception: in most facts the best early state is at the name's last token.
#
# </details>

# %%
make = partial(runs_03.effects, lm, cases)
rows = long_runs.known("03_effects", SETTINGS, make, 1, tolerance=0.01)
traces = partial(runs_03.traces, rows)
every = traces(SETTINGS["window"])
table, ATE = causal_trace.average(every), causal_trace.average_total(every)
print("average total effect {:.3f}, 95 % {:.3f} to {:.3f}".format(*ATE))
early = [x.indirect("hidden")[x.subject[0] : x.subject[1] + 1, :8].amax(1) for x in every]
early = [effects.argmax().item() + 1 == len(effects) for effects in early if len(effects) > 1]
print(f"several tokens, best early state at the last of them: {sum(early)} of {len(early)} facts")
peaks = table.loc[table.groupby(["role", "kind"])["effect"].idxmax()].set_index(["role", "kind"])
order = [(role, kind) for role in causal_trace.ROLES for kind in NAMES]
peaks.loc[order, ["layer", "effect", "low", "high"]].rename(NAMES).round(3)

# %%
layers, series, bands = sorted(set(table["layer"])), {}, {}
for (role, kind), part in table.groupby(["role", "kind"]):
    if role in ("last subject", "last"):
        line = f"{NAMES[kind]}, {'end' if role == 'last' else 'subject'}"
        series[line], bands[line] = part["effect"].to_numpy(), (part["low"], part["high"])
for line in ("states, subject", "states, end"):
    at = [x.subject[1] if "subject" in line else -1 for x in every]
    two = [x.indirect("hidden")[token, 11:13] for x, token in zip(every, at, strict=True)]
    before, after = torch.stack(two).T  # layers 22 and 24, fact by fact
    change = "{:+.3f} (95 % {:+.3f} to {:+.3f})".format(
        (after - before).mean(), *interval(after - before, None)
    )
    print(f"{line}, layer 22 {before.mean():.3f}, layer 24 {after.mean():.3f}: {change}")
print("MLPs, subject: {:.0f} % of the total".format(100 * max(series["MLPs, subject"]) / ATE[0]))
colors = dict(zip(series, plot.CYCLE[:3] * 2, strict=True))
dashes = {line: "--" if line.endswith("end") else "-" for line in series}
axes = "layer", "average indirect effect"
plot.lines(layers, series, *axes, bands=bands, colors=colors, dashes=dashes)

# %% [markdown]
# Full lines belong to the subject's last token, dashed ones to the prompt's. At the early site the
# MLPs bring back 0.257, which is 54 % of the total (in GPT-2 XL 6.6 of 18.6), and the attention
# 0.003. At the late site it is the attention that brings more, 0.357 against 0.074. Between layers
# 22 and 24 the states change places: that of the subject falls from 0.146 to 0.002, fact by fact by
# 0.144 (0.087 to 0.211), that of the end rises from 0.057 to 0.404, by 0.347 (0.268 to 0.423). The
# fact has been **picked up**.
#
# ## How wide a window?
#
# Up to ten MLPs at once were restored. Their peak is named after the layer in the middle, but which
# of them has done it? We make the window smaller, for twelve of the facts.
#
# **Predict.** The wide window peaks at layer 4, where it holds layers 0 to 8 (there is none below
# 0). Restored one by one, which layer is it?
#
# <details><summary>Answer</summary>
#
# Layer 0, and none of those in the middle: see what the wide window loses when it no longer
# reaches layer 0.
#
# </details>

# %%
windows = {}
for width in (10, 4, 1):
    some = traces(width)[: SETTINGS["windowed"]]
    windows[width] = torch.stack([x.indirect("mlp")[x.subject[1], :6] for x in some])  # (facts, 6)
alone, far, near = windows[1][:, 0], windows[10][:, 3], windows[10][:, 2]
for what, values in {
    "layer 0 alone": alone,
    "layers 0 to 8": near,
    "layers 1 to 10": far,
    "what leaves with layer 0, fact by fact": near - far,
}.items():
    low, high = interval(values, None)
    print(f"{what}: {values.mean():.3f} (95 %: {low:.3f} to {high:.3f})")
table = {f"{width} at once": one.mean(0).tolist() for width, one in windows.items()}
pd.DataFrame(table, index=[f"layer {2 * n}" for n in range(6)]).T.round(3)

# %% [markdown]
# The effect of the window of ten halves, from 0.278 to 0.140, when it no longer reaches layer 0;
# fact by fact 0.138 are lost (0.023 to 0.264). Layer 0 has 0.125 by itself, and no other layer here
# more than 0.011. So about half of the early peak hangs on layer 0, and with twelve facts it could
# as well be a tenth or nearly all of it. None of the other layers tried brings the rest alone. So
# "the fact sits in layer 4" would be a statement about the window: layer 4 alone has 0.011.
#
# So is layer 0 a place where the fact is stored? There is a simpler explanation. The first MLP
# sees little more than the token itself, and is known to **encode the token anew**: what it puts out
# is often called an extended embedding. To restore it then means to give back the *word* that the
# noise has hidden, and not something that is known about it.
#
# This can be tested in two ways. We read each subject's last token once more after other words, those
# before another subject's last token, and compare what the MLPs put out; as a baseline stands what
# they put out at two different tokens. And we restore at layer 0, in the corrupted run, what the MLP
# has put out after those other words.

# %%
watched = [lm.mlp_out(layer) for layer in range(0, lm.n_layers, 2)]


def at_the_end(row):  # what the MLPs put out at the last of these tokens (layers, d)
    seen = lm.run([row], watch=watched).seen
    return torch.stack([seen[name][1][0, -1].float() for name in watched])


own = [at_the_end(ids[: last + 1]) for ids, _, last in spans]
moved, cosines, unlike = [], [], []
for i, (ids, _, last) in enumerate(spans):
    other, _, end = spans[(i + 1) % len(spans)]
    moved.append(at_the_end(other[:end] + ids[last : last + 1]))
    cosines.append(cosine_similarity(own[i], moved[i]))
    if other[end] != ids[last]:
        unlike.append(cosine_similarity(own[i], own[(i + 1) % len(spans)]))
curves, shades = {}, {}
for what, one in {"same token, other words": cosines, "different tokens": unlike}.items():
    found = torch.stack(one).T.tolist()  # (layers, facts)
    curves[what], ends = list(map(mean, found)), [interval(x, None) for x in found]
    shades[what] = list(zip(*ends, strict=True))
    for n in (n for n in (0, 1, 2, 14) if n < len(ends)):
        low, high = ends[n]
        print(f"{what}, layer {2 * n}: {curves[what][n]:.2f}, 95 % {low:.2f} to {high:.2f}")
plot.lines(range(0, lm.n_layers, 2), curves, "layer", "mean cosine", bands=shades, height=2.6)

# %%
tested = {"as in the clean run": own, "the same token after other words": moved}
tested["another subject's token"] = own[1:] + own[:1]
back = {what: [] for what in tested}
for i, case in enumerate(cases[: SETTINGS["windowed"]]):
    _, *ends = spans[i]
    known = lm.next_token(case.fact.text).argmax().item()
    noisy = [(lm.arch.embed, partial(corrupt, noise=noise_for(*ends), first=ends[0]))]
    lost = probability(case.fact.text, known, noisy)
    for what, outputs in tested.items():
        state = outputs[i][0].expand(len(spans[i][0]), -1)  # layer 0
        change = partial(put_back, clean=state, token=ends[1])
        back[what].append(probability(case.fact.text, known, [*noisy, (watched[0], change)]) - lost)
back["other words instead of its own"] = [
    b - a for a, b in zip(*list(back.values())[:2], strict=True)
]
for what, effects in back.items():
    low, high = interval(effects, None)
    print(f"{what}: IE {mean(effects):.3f} (95 %: {low:.3f} to {high:.3f})")

# %% [markdown]
# At layer 0 the outputs agree with a mean cosine of 0.98 (0.97 to 0.98), although other words stand
# before, and those of different tokens with 0.31 (0.28 to 0.34). At layer 2 it is 0.45 against 0.07,
# at layer 4 0.38 against 0.09, and the 95 % intervals, the bands of the figure, are still far apart.
# That the upper curve is high again at layer 28 says little about the token, since the baseline rises
# with it (0.71 and 0.69, with intervals that overlap): there the outputs of all tokens have something
# in common.
#
# Restoring says the same. Layer 0's output after other words brings back 0.139 and that of the
# clean run 0.125, a difference of 0.014 (−0.002 to 0.036), so no loss is seen. Another subject's
# token is not seen to bring back anything. So for these twelve facts, as far as one can see, layer
# 0 gives back the token, and not something that the words before it tell about it.
#
# ## Is the peak the best place to write?
#
# ROME writes into one MLP at the subject's last token. A second stored run does so for eight facts
# at several layers, with $C = I$, and asks for the probability of the new answer on the edit's own
# prompt. Beside it stands the *scan* that chose notebook 00's layer: it has scored 16 facts, with
# $C$ from general text, by the harmonic mean of three shares (prompts that answer right, rewordings,
# neighbors).
#
# Of the scan only the three means over the facts are stored. A mean of shares from 0 to 1 can vary
# most if every fact has either 0 or 1, and for this case there is Wilson's interval. The score's
# ends below are the harmonic means of the three lower and of the three upper ends. That is no exact
# 95 % interval, but a cautious one, since three shares are seldom all too low at once. For the eight
# facts of the stored run the ends are 95 % intervals over the facts. They allow for half a fact more
# at 0 and half a fact more at 1, so a mean near 1 has little room above and much below.
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
make, again = partial(runs_03.edits, lm, cases[::5]), ["case", "layer", "edit"]
stored = pd.DataFrame(long_runs.known("03_edits", EDITS, make, 1, again, tolerance=0.05))
written = stored.groupby("layer")["edit"].agg(list)
edit = list(written.index), list(map(mean, written)), [*zip(*map(interval, written), strict=True)]
scanned = json.loads((root / "tests" / "benchmarks" / "sweeps.json").read_text("utf-8"))["rome"]
n, rated = len(scanned["cases"]), {}
for row in sorted(scanned["rows"], key=lambda row: row["layer"]):
    if row["v_lr"] == 0.25 and "enough" not in row:  # the same settings at every layer
        ends = zip(*(wilson(n * row[metric], n) for metric in METRICS), strict=True)
        rated[row["layer"]] = row["harmonic"], *map(harmonic_mean, ends)
scan, table, (score, *ends) = "scan's score, 16 facts", {}, zip(*rated.values(), strict=True)
curves = {"p(new answer), 8 facts": edit, scan: (list(rated), score, ends)}
for what, (x, y, sides) in curves.items():
    found = zip(x, y, *sides, strict=True)
    table[what] = {layer: "{:.2f} ({:.2f} to {:.2f})".format(*three) for layer, *three in found}
print(pd.DataFrame(table).sort_index().rename_axis("layer").fillna("–").to_string())
for kind in ("states", "MLPs"):
    band = [part / ATE[0] for part in bands[f"{kind}, subject"]]
    curves[f"{kind}: AIE / ATE, 40 facts"] = layers, series[f"{kind}, subject"] / ATE[0], band
x, y, shades = ({name: curve[i] for name, curve in curves.items()} for i in range(3))
del shades[scan]  # no shade between its layers, but an upright line at each
ax = plot.lines(x, y, "layer", "from 0 to 1", bands=shades, dashes={scan: " "}).axes[0]
ax.vlines(list(rated), *ends, color=ax.lines[1].get_color(), linewidth=1)
ax.figure

# %% [markdown]
# Writing works up to layer 20 (0.80 on average over the eight facts), and hardly at layer 24 (0.08)
# and above (at most 0.21), with intervals that end below that of layer 20. At layer 22 it is in
# between, 0.64. So it fails where the curve of the subject's *states* falls. The curve of the MLPs
# is flat from layer 14 on and shows nothing of it. (Both traces are divided by the ATE of 0.471. Their
# bands are those of the AIE, and the interval of the ATE is not in them.)
#
# The scan scores layer 3 highest, with 0.91, and layers 2 to 8 have 0.86 or more. Their intervals
# overlap almost wholly, and the scan does not allow comparing them fact by fact, so of these seven
# none can be called the best. Layers 15 and 20 have 0.70 and 0.71, and their intervals overlap with
# those of layers 2 to 8 as well.
#
# ## The hole at layer 11
#
# At layer 11 the scan's score falls to 0.12. Its interval ends at 0.36, below those of all other
# layers, which begin at 0.45 or higher, so the choice of these sixteen facts does not explain it.
# (Layers 9, 10 and 12 to 14 were not scanned.) The traces, made at even layers, show no dip at layers
# 10 and 12. But notebook 02 has a tool for this question. Writing at a key $k_i$ puts the share
# $\rho(i, j) = k_i^\top C^{-1} k_j / k_i^\top C^{-1} k_i$ of the residual on any other key $k_j$, and
# it is known before the edit. And one key is in every prompt: that of the *first* position, the
# attention sink of page 02b, for here nothing stands in front of the prompts. On page 02b it
# kept little of the word that stands there, and was nearly the same for all openers.
#
# **Predict.** $C$ is estimated from general text *without* the first positions, because one huge
# key would otherwise be nearly all of it. What share of the tower's residual lands on the first
# token, "The", at layers 3, 8 and 11, with this $C$ and with $C = I$? (The guess for layer 11 is
# `times.number`.)
#
# <details><summary>Work it out</summary>
#
# If the first token's key is longer than the subject's, $\rho$ can be larger than 1: an edit can do
# more to a key that it was not meant for than to its own. And $C^{-1}$ makes it worse, if the long
# key points where general text hardly goes: there $C$ is small, so by $C$ writing in this direction
# costs nearly nothing. An editor whose $C$ leaves out the first positions cannot know better.
#
# </details>

# %%
times = guess("How many times the tower's residual lands on “The” at layer 11, with C?", 0, 10_000)
asked = [layer for layer in (3, 8, 11, 20) if layer < lm.n_layers] or [1]
near = sorted({*asked, *(layer for layer in rated if layer < lm.n_layers)})  # the scan's layers

# %%
moments = {"C": lib.second_moment(lm, near), "I": dict.fromkeys(near)}
moments["C with first tokens"] = lib.second_moment(lm, asked, skip_first=False)
keys = {layer: ([], []) for layer in near}  # at the subject's last token, and at the first one
for case, (_, _, last) in zip(cases, spans, strict=True):
    if last:  # the others are the first token themselves
        seen = lm.run(case.fact.text, watch=[lm.mlp_out(layer) for layer in near]).seen
        for layer, ends in keys.items():
            inputs = seen[lm.mlp_out(layer)][0][0].cpu().double()  # (tokens, d_in)
            for end, token in zip(ends, (last, 0), strict=True):
                end.append(inputs[token])
table = []
for layer, ends in keys.items():
    K, F = (torch.stack(end, 1) for end in ends)  # (d_in, facts); the tower's comes first
    row = {"layer": layer, "‖k‖ of Tower": K[:, 0].norm(), "‖k‖ of The": F[:, 0].norm()}
    for kind, C in moments.items():
        if layer in C:
            U = C[layer].solve(K) if C[layer] else K  # C⁻¹ k
            rho = (U * F).sum(0) / (U * K).sum(0)
            row |= {f"ρ, {kind}": rho[0], f"median |ρ|, {kind}": rho.abs().median()}
    table.append({name: float(x) for name, x in row.items()})
table = pd.DataFrame(table).astype({"layer": int}).set_index("layer")
times.against(abs(table["ρ, C"].get(11, 0)))
print(f"medians of {K.shape[1]} facts; that of |ρ| with C at every layer of the scan:")
print(", ".join(f"layer {n} {x:.3f}" for n, x in table["median |ρ|, C"].items()))
table.loc[asked].T.map("{:,.3f}".format)

# %% [markdown]
# At layer 11 the key of "The" is hundreds of times as long as the tower's, and with $C$ an update
# whose residual is δ puts $-812\,\delta$ on it: that is $\rho$, in the table. With $C = I$ it is
# still 15 times the residual. At layers 3, 8 and 20 little lands there: for the tower at most
# 0.061 of it. And the remedy is in the table, too: if $C$ has seen the first positions, $\rho$ is
# only 0.031 at layer 11.
#
# The tower is one subject. Over the 39 of our forty subjects that are not the first token
# themselves, the median of $|\rho|$ at layer 11 is 94.9 with $C$, 3.647 with $C = I$ and 0.017
# with the first positions. The line above the table has this median with $C$ at all ten layers of
# the scan: at the nine others it is 0.016 at most. So $\rho$ with the first token singles out
# layer 11. At layers 15 and 20, with the next lowest scores, it is as small as at layer 4.
#
# Does the model agree? A stored run writes eight facts at four layers with the three matrices. The
# value is searched once and is the same for all three; only $C$ differs.

# %%
make, first = partial(runs_03.by_moment, lm, cases[::5]), 11 if lm.n_layers > 11 else 1
again = ["case", "layer", "moment", "edit"]
rows = long_runs.known("03_moments", runs_03.WRITTEN, make, first, again, tolerance=0.05)
print(f"before: {fact.text}{lm.answer(fact.text, 6)!r}")
for row in rows[:3]:
    print(f"written at layer {row['layer']} with {row['moment']}: {row['says']!r}")
table, spread = [], "{0:.{3}f} ({1:.{3}f} to {2:.{3}f})".format
for (layer, kind), part in pd.DataFrame(rows).groupby(["layer", "moment"], sort=False):
    line = {"layer": layer, "second moment": kind}
    line["p(new)"] = spread(part["edit"].mean(), *interval(part["edit"]), 2)
    kl = part["KL elsewhere"].to_numpy()
    table.append(line | {"KL elsewhere": spread(kl.mean(), *interval(kl, None), 3)})
    if kind == "C":
        of_C = kl
    else:
        less = spread((of_C - kl).mean(), *interval(of_C - kl, None), 3)
        print(f"KL at layer {layer}, C less {kind}: {less}")
pd.DataFrame(table).set_index(["layer", "second moment"])

# %% [markdown]
# It does. With the editors' $C$ an edit at layer 11 destroys the model: the KL divergence at seven
# other facts' prompts is 5.8 nats (2.8 to 8.9), and the tower's prompt is answered by empty lines.
# With $C = I$ the new answer has 0.80, at 0.063 nats. With a $C$ that has seen the first positions
# the same value, written at the same key, gives 0.83 at 0.011 nats. Fact by fact that is 5.8 nats
# less than with $C$ (2.8 to 8.9). At the other three layers the first positions change no printed
# digit of the table, and $C$ does less damage than $C = I$: by 0.016 nats at layer 3 (0.003 to
# 0.038), by 0.010 at layer 8 (0.005 to 0.015) and by 0.064 at layer 20 (0.042 to 0.091). So the
# failure at layer 11 can be foreseen, before any edit, from two keys and $C$. The traces of the
# *fact* do not show it: the key that is hit is not the fact's own. (The intervals are wide, and a
# bootstrap over only eight facts is rough.)
#
# ## Your own trace, and how to break it
#
# Trace a fact of your own, given as a prompt and the subject in it. Then look for another name of
# the same thing, after which the model gives the same answer, but the best early state brings back
# a clearly smaller share of the total effect. One such pair stands below, a city under its present
# name and an older one. It was chosen among many pairs that were tried, so it shows that there are
# such pairs, and not how common they are. Each name is traced with three sets of draws, since with
# five draws the share depends on them: it is 72 to 83 % for one name and 36 to 56 % for the other.
#
# Look at $p$ as well: where it is small there is little to lose, and a share of it says little. Many
# things have an older name, or a longer one. Which pieces is it made of, and how often has the model
# read them together? Here the two names have different numbers of pieces, four and three. Find a
# pair with equally many, or one with less than half of the share.

# %%
asked = {"kinds": ["hidden"], "layers": range(2, max(3, lm.n_layers // 2), 4), "samples": 5}
for name in ("Chongqing", "Chungking"):
    prompt, pieces, shares = f"{name} is a city in the country of", lm.tokenizer.tokenize(name), []
    for seed in (1, 2, 3):
        asked |= {"deviation": sigma, "seed": seed, "tokens": range(len(pieces))}
        one = causal_trace.trace(lm, prompt, name, **asked)
        shares.append(100 * one.indirect("hidden")[: len(pieces)].max().item() / one.total_effect)
    print(f"{' + '.join(pieces)} → {one.answer!r}: p {one.p_clean:.2f}, best early state, in % of")
    print("  the total effect, with three sets of draws:", ", ".join(f"{x:.0f}" for x in shares))

# %% [markdown]
# ## What we know now
#
# * On average over forty facts there are two sites: MLPs of the first layers at the subject's last
#   token, and attention at the end of the prompt, which picks the fact up, here around layer 23.
# * An indirect effect says what a state brings back alone, in this corrupted run. It is no share,
#   and it depends on the window. About half of the early peak, with a wide interval, hangs on layer
#   0, which gives back the word.
# * The peak of the MLPs does not say how far up a fact can be written. The curve of the states falls
#   where writing begins to fail, here between layers 20 and 24. The traces show nothing of the failure
#   at layer 11, but $\rho$ with the first token foresees it.
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
