# %% [markdown]
# <!-- badge -->
#
# # 03 · Where does the model look up a fact?
#
# Every token of a prompt is a key, in every layer. At which of them does the model find the fact? By the end of this
# page you will have seen it travel, and you'll know what such a picture cannot show.
#
# **You will** write the restored run of causal tracing, using it to trace the Eiffel Tower and your own fact · find out
# where MLPs and where attention matter · take a window of layers apart · see a layer in which an edit reaches every
# text, and a token preventing it.
#
# **Needs** [notebook 00](00_first_edit.ipynb), and the question at the end of [notebook 02](02_insert.ipynb), along
# with its $\rho$.
#
# **Minutes** 25 for reading and 25 for working: two exercises from [session 4](../lessons/session_4.md).

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
from dataclasses import replace
from functools import partial
from statistics import mean, median

import torch
from IPython.display import display

import lib
from lib.keys_values.general_text import general_text
from lib.keys_values.second_moment import windows
from lib.model.activations import module_inputs
from lib.workbench.interpret import causal_trace, corrupted_runs
from notebooks.support import drawings_03, figures, long_runs, models, own_fact, show, tracing
from notebooks.support import runs_03_where as runs_03
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
rows = long_runs.rows("03_traces")  # of six facts that the model knows; the first is the tower
known = {case.id: case for case in lib.classroom()}
cases = [known[row["case"]] for row in rows if row["window"] == runs_03.WINDOWS[0]]
spans = [corrupted_runs.span(lm, case.fact) for case in cases]  # ids, the subject's first and last
sigma = causal_trace.embedding_deviation(lm, [case.fact for case in cases])
layers = range(lm.n_layers)

# %% [markdown]
# ## Three runs
#
# A prompt of eleven tokens passes through thirty layers. To find out which of the 330 states the answer depends on,
# we run the model three times on the same prompt. Each state gets one number: how much of a lost answer it can
# bring back.
#
# 1. **Clean.** The model gives its answer with probability $p$.
# 2. **Corrupted.** We add noise from $\mathcal N\big(0, (3\sigma)^2\big)$ to every entry of the embeddings of the
#    *subject's* tokens, where $\sigma$ is the standard deviation of such entries. The probability $p$ then falls to
#    $p_*$.
# 3. **Restored.** We corrupt the subject again, using the same noise but replacing *one* state by its value from
#    the clean run. All later computations can use it, and $p$ rises to $p_*(\text{state})$.
#
# The **total effect** $\mathrm{TE} = p - p_*$ is the loss due to the noise. The **indirect effect** of a state,
# $\mathrm{IE} = p_*(\text{state}) - p_*$, is the gain from restoring this single state. Both $p_*$ are means over
# several samples of the noise, which are processed as the rows of one batch.
#
# **Why $3\sigma$?** With noise of standard deviation $s\sigma$, the embedding accounts for $1/(1 + s^2)$ of the
# squared length of the sum: half of it at $\sigma$, and a tenth at $3\sigma$. Every block normalizes its input, so
# adding still more noise changes little.
#
# **Your turn · exercise 4.1 · ★ · 6 minutes.** The runs differ in two places: at the embeddings, and after one
# layer, which the program calls a block. Write the changes made there, `corrupt` and `put_back`.


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
# Is the noise added to the embeddings, or does it replace them? And may you write into the model's own tensor, or
# should you be writing into a copy of it?
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
# `probability` makes such changes using hooks, in any module: the fast form. The restored run itself doesn't need a
# hook.
#
# **Your turn · exercise 4.2, first step · ★★ · 8 minutes.** Write `restored`: run the blocks one after another,
# putting back the given states after each of them. `block(n, x)` is the output of block $n$ for the states $x$.


# %%
def restored(block, layers, x, clean, cells):
    """x (draws, tokens, d) in front of block 0, clean[n] (tokens, d), cells [(token, layer)] ->
    the states after the last block."""
    ...


restored = use("4.2", restored)

# %% [markdown]
# <details><summary>Hint</summary>
#
# At which point must a state be put back so that all later computations can use it?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def restored(block, layers, x, clean, cells):
#     for n in range(layers):
#         x = block(n, x).clone()
#         for token, layer in cells:
#             if layer == n:
#                 x[:, token] = clean[n][token]
#     return x
# ```
#
# </details>


# %%
def probability(text, answer, changes, draws=3):  # changes: [(name of a module, its change)]
    def hook(change, module, inputs, output):  # some modules return a tuple
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    modules = [(lm.model.get_submodule(name), change) for name, change in changes]
    handles = [module.register_forward_hook(partial(hook, change)) for module, change in modules]
    batch = torch.tensor(draws * lm.rows([text])[0], device=lm.device)
    states = lm.backbone(batch, torch.ones_like(batch), use_cache=False).last_hidden_state
    for handle in handles:
        handle.remove()
    return lm.head(states[:, -1]).softmax(-1)[:, answer].mean().item()


def noise_for(first, last, size=3, seed=1, draws=3):  # the same samples on every call
    d = lm.model.get_submodule(lm.arch.embed).weight.shape[1]
    draw = torch.Generator().manual_seed(seed)
    return (size * sigma * torch.randn(draws, last - first + 1, d, generator=draw)).to(lm.device)


# %%
ids, first, last = corrupted_runs.span(lm, fact)  # the subject is tokens first … last
tokens = [lm.tokenizer.decode([i]) for i in ids]
lost = {size: [] for size in (0, 1, 3, 10)}
for case, (_, *ends) in zip(cases[::2], spans[::2], strict=True):
    answer = lm.next_token(case.fact.text).argmax().item()
    for size, found in lost.items():
        change = partial(corrupt, noise=noise_for(*ends, size), first=ends[0])
        found.append(probability(case.fact.text, answer, [(lm.arch.embed, change)]))
print(f"p of the answer, mean of {len(cases[::2])} facts, with noise of")
print(", ".join(f"{size}σ: {mean(found):.3f}" for size, found in lost.items()))

# %%
runs = tracing.Runs(lm, fact, probability, noise_for, corrupt, put_back, restored)
run = runs.run  # run(noisy, [(token, layer), …]) -> p of the answer
place = (first + 2, 1)  # the token "iffel", and block 1
p, p_noisy, p_restored = run(False, []), run(True, []), run(True, [place])
assert abs(p_restored - runs.by_hooks(True, [place])) < (1e-4 if SCALE != "full" else 0.02)
print(
    f"TE {p - p_noisy:.3f}, and IE of the state at {tokens[place[0]]!r}: {p_restored - p_noisy:.3f}"
)
for whose, f in both(restored).items():
    print(f"{whose}: p of the restored run {run(True, [place], by=f):.3f}")
drawings_03.three_runs(tokens, (first, last), place, (p, p_noisy, p_restored))

# %% [markdown]
# The first row is the token that `lib.load()` prepends to every text. It comes before the noise, leaving nothing to
# restore there. The output above the grids shows the effect of the noise on three facts: one $\sigma$ already removes
# nine tenths of $p$, and three remove no more. We keep $3\sigma$, following the paper.
#
# ## One fact, everywhere
#
# Now we trace every token, and every fourth layer.
#
# **Exercise 4.2, two more steps · ★★ · 10 minutes.** `indirect` is the IE of some states that are put back
# together, and TE. `trace` calls it for every token and every window: one MLP adds little, so several neighboring
# MLPs are restored at once. `around`, which is given, returns the layers of a window. A window of one is a single
# state.


# %%
def indirect(run, cells):
    """run(noisy, [(token, layer), …]) is p of the answer -> IE of these cells together, and TE."""
    ...


def trace(run, tokens, windows):
    """The IE of every token with every window, a list of layers -> (tokens, windows)."""
    ...


indirect = use("4.2", indirect)
trace = use("4.2", trace)


def around(layer, width, layers):  # 10 around 7 are 2 to 11; layers that do not exist are left out
    begin = layer - width // 2
    return [n for n in range(begin, begin + width) if 0 <= n < layers]


# %% [markdown]
# <details><summary>Hint</summary>
#
# Relative to which run is an effect measured?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def indirect(run, cells):
#     noisy = run(True, [])
#     return run(True, cells) - noisy, run(False, []) - noisy
#
#
# def trace(run, tokens, windows):
#     found = torch.zeros(tokens, len(windows))
#     for place, window in enumerate(windows):
#         for token in range(tokens):
#             found[token, place] = indirect(run, [(token, n) for n in window])[0]
#     return found
# ```
#
# </details>
#
# Your trace of the states is the left panel below. The other two panels restore the outputs of ten MLPs at once,
# and of ten attention layers.
#
# **Predict.** ROME wrote at "Tower", the name's last token, in the orange frame. At which tokens is there something
# to find, early and late? Are MLPs and attention bright in the same places?
#
# <details><summary>Answer</summary>
#
# Early, it is the MLPs at the subject. Late, it is the attention at the end of the prompt, where the answer is
# read. And within the name it is mainly the piece that only this tower has: there are many towers.
#
# </details>

# %%
edited = lib.EDITORS["rome"](lm).config.layer
shown = range(edited % 4, lm.n_layers, 4)
NAMES = {"hidden": "states", "mlp": "MLPs", "attention": "attention"}
asked = {"samples": 3, "deviation": sigma}
mine = {whose: f(run, len(ids), [[n] for n in shown]) for whose, f in both(trace).items()}
states, *wrong = mine.values()
again = causal_trace.trace(lm, fact, kinds=["hidden"], layers=shown[:2], **asked)
models.same(lm, states[:, :2], again.indirect("hidden"))
for layer in layers:
    assert around(layer, 10, lm.n_layers) == [*causal_trace.layers_around(lm, "mlp", layer, 10)]
found = causal_trace.trace(lm, fact, kinds=["mlp", "attention"], layers=shown, **asked)
beside = {} if not wrong else {"yours": wrong[0] + p_noisy}
found = replace(found, table={"hidden": states + p_noisy} | beside | found.table)
drawings_03.trace(found, NAMES | {"yours": "states, yours"}, (last, edited))

# %% [markdown]
# The figure shows two sites. One is in the low layers, where the MLPs at "iffel" bring the answer back. The other
# is in the upper layers, where the attention at the prompt's last token has fetched it.
#
# Then we trace your own fact, if you entered one in notebook 00, using the answer that the model *currently* gives. If
# that answer is improbable, the picture will stay pale.

# %%
own = own_fact.read()
if own is not None:
    traced = causal_trace.trace(lm, own, kinds=["hidden"], layers=shown, **asked)
    print(f"traced: {own.text} →{traced.answer}, TE {traced.total_effect:.3f}")
own and drawings_03.trace(traced, NAMES, (traced.subject[1], edited))

# %% [markdown]
# ## What an indirect effect does and doesn't show
#
# It shows that in this corrupted run, restoring just this state brings back that much. It does not show that the
# others are not needed.
#
# **Predict.** After block 1, how much do all tokens of the subject bring back together? And all tokens of the
# prompt?
#
# <details><summary>Answer</summary>
#
# Putting back all tokens of the prompt brings back exactly the total effect, because then every state of this layer
# is the clean one. Putting back the subject's tokens can bring back less than their sum or more, and even more than
# there was to lose. Two states may be worth nothing apart and everything together, or each may be enough without
# the other.
#
# The question below is a trap: it asks for a percentage.
#
# </details>

# %%
four = guess("How much do the tokens of the subject bring back together, in % of TE?", 0, 200)

# %%
subject = tuple(range(first, last + 1))
sets = {tokens[t].strip(): (t,) for t in subject}
sets |= {"all pieces except “The”": subject[1:], "the whole subject": subject}
sets |= {"all after the subject": tuple(range(last + 1, len(ids))), "all": tuple(range(len(ids)))}
seeds = 1, 2, 3
effects = {
    name: [indirect(partial(run, seed=seed), [(t, 1) for t in some])[0] for seed in seeds]
    for name, some in sets.items()
}
four.against(100 * mean(effects["the whole subject"]) / mean(effects["all"]))
lines = [{"put back": name, "IE": mean(found)} for name, found in effects.items()]
for line, found in zip(lines, effects.values(), strict=True):
    line |= {"smallest of three draws": min(found), "largest": max(found)}
show.Table(lines)

# %% [markdown]
# Putting back all tokens of the prompt recovers the total effect by construction. **An indirect effect is not a
# fraction of a whole**: the effects of the single tokens do not add up to the subject's effect, and the subject on its
# own brings back more than there was to lose. So we don't express effects as percentages.
#
# ## Six facts
#
# The stored run has six facts that the model knows, one of them with a subject of a single token. The figure shows
# their traces at the two tokens that matter. A dotted line marks the layer from which the states at the prompt's
# end bring back more than the subject's states.
#
# **Predict.** In GPT-2 XL, with 48 layers and a thousand facts (Meng et al.), the early site was the MLPs at the
# subject's *last* token, most of all around layer 15. And here?
#
# <details><summary>Answer</summary>
#
# The same token, and MLPs rather than attention, but in the very first layers.
#
# </details>

# %%
wide = runs_03.traces(rows, runs_03.WINDOWS[0])
narrow = runs_03.traces(rows, runs_03.WINDOWS[1])
again = partial(runs_03.effect, lm, cases[0], runs_03.WINDOWS[1], sigma)
long_runs.repeats([row for row in rows if row["window"] == 1], again, tolerance=0.02)


def at(kind, where, some=wide):  # for every fact the layers, and the IE there
    return [(x.layers, x.indirect(kind)[x.subject[1] if where else -1].tolist()) for x in some]


early = [x.indirect("hidden")[x.subject[0] : x.subject[1] + 1, :7].amax(1) for x in wide]
several = [found for found in early if len(found) > 1]
most = sum(found.argmax().item() + 1 == len(found) for found in several)
print(f"mean TE {mean(x.total_effect for x in wide):.3f}; subjects of several tokens with the")
print(f"best early state at the last of them: {most} of {len(several)}")
titles = [case.fact.subject.removeprefix("The ").removeprefix("the ") for case in cases]
drawings_03.each_fact(dict(zip(titles, wide, strict=True)), NAMES)

# %% [markdown]
# Again there are two sites, and in most of the six facts the early one is where GPT-2 XL has it, at the subject's
# last token; the tower is the exception. At that token the MLPs of the first layers bring much of the answer back,
# and the attention layers do not. At the end of the prompt, it is attention that does so, and barely the MLPs. The
# states show the handover: between layers 21 and 24 the effect of the subject's states falls to nothing, while the
# effect of the states at the end rises. The fact has been **picked up**.
#
# ## How wide a window?
#
# We restored ten MLPs at once, naming their peak after the layer in the middle. Which of them is responsible? In
# the figure your function traces the tower, at the brightest piece of its name, and the slider sets the width of the
# window. The table has all six facts, at the subject's last token.
#
# **Predict.** Around layer 4, the wide window covers layers 0 to 8. When they are restored one by one, which layer
# is it?
#
# <details><summary>Answer</summary>
#
# Layer 0, if it is a single layer at all; otherwise no layer does it on its own.
#
# </details>

# %%
bright = first + states[first : last + 1].amax(1).argmax().item()  # the brightest piece of the name


def at_bright(noisy, cells):
    return runs.by_hooks(noisy, [(bright, n) for _, n in cells], "MLPs")


low = layers[:16]


def figure(width):
    curves = {}
    for whose, f in both(trace).items():
        line = f"{width} at once" + (", yours" if whose == "yours" and len(both(trace)) > 1 else "")
        windows = [around(layer, int(width), len(low)) for layer in low]
        curves[line] = [(low, f(at_bright, 1, windows)[0].tolist())]
    return figures.curves({f"IE of MLPs at {tokens[bright].strip()!r}": curves}, "layer")


lines = []
for name, (shown, single), (_, ten) in zip(
    titles, at("mlp", True, narrow), at("mlp", True), strict=True
):
    line = {
        "MLPs restored, IE": name,
        "layer 0": single[0],
        "another layer, at most": max(single[1:]),
    }
    for what, there in {"ten with layer 0": True, "ten without it": False}.items():
        some = [x for n, x in zip(shown, ten, strict=True) if (0 in around(n, 10, 30)) == there]
        line[f"{what}, at most"] = max(some)
    lines.append(line)
display(show.Table(lines))
Slider(figure, "MLPs restored at once", [1, 2, 4, 6, 10, 16], 4)

# %% [markdown]
# It depends on the fact. For Las Vegas and iron, restoring just layer 0 brings the answer back, and the wide window
# brings little back without layer 0. For the other four, no single MLP does. For the zebras, the koalas and Michael
# Jordan, several MLPs do so together. So "the fact is in layer 4" would be a statement about the window.
#
# Is the fact stored in layer 0, then? There is a simpler explanation. The first MLP sees little more than the token
# itself, and is known to **re-encode the token**. If so, restoring it returns the *word* hidden by the noise, and
# nothing that is known about the word.
#
# To test this, the model reads each subject's last token after completely different words. We then insert the first
# MLP's output *there* into the corrupted run. The control is the output for another subject's token.


# %%
def first_mlp(row):  # its output at the last of these tokens (d,)
    return lm.run([row], watch=[lm.mlp_out(0)]).seen[lm.mlp_out(0)][1][0, -1]


before = lm.rows(["They had often heard people talk about"])[0][0]
own_words = [first_mlp(ids[: last + 1]) for ids, _, last in spans]
tested = {
    "as in the clean run": own_words,
    "same token, other words": [first_mlp([*before, ids[last]]) for ids, _, last in spans],
    "another subject's token": own_words[1:] + own_words[:1],
}
back = {what: [] for what in tested}
for i, (case, (row, *ends)) in enumerate(zip(cases, spans, strict=True)):
    said = lm.next_token(case.fact.text).argmax().item()
    noisy = (lm.arch.embed, partial(corrupt, noise=noise_for(*ends), first=ends[0]))
    nothing = probability(case.fact.text, said, [noisy])
    for what, outputs in tested.items():
        change = partial(put_back, clean=outputs[i].expand(len(row), -1), token=ends[1])
        p_back = probability(case.fact.text, said, [noisy, (lm.mlp_out(0), change)])
        back[what].append(p_back - nothing)
names_of = [case.fact.subject for case in cases]
show.Table([{"first MLP's output": what} | dict(zip(names_of, found, strict=True))
            for what, found in back.items()])  # fmt: skip

# %% [markdown]
# For the two facts for which restoring the first MLP brings much back, inserting its output after completely different
# words brings back about as much or more, whereas inserting the output for another subject's token brings back nothing.
# So in these two examples layer 0 returns the word.
#
# ## Is the peak the best place to write?
#
# ROME writes into one MLP at the subject's last token. The second stored run does so for three of the facts at
# seven layers, each time starting from the unedited model and measuring the probability of the new answer on the
# edit's own prompt.
#
# **Predict.** In the figure of the six facts, the MLPs bring back nothing from layer 14 on. Will an edit at layer
# 20 fail?
#
# <details><summary>Answer</summary>
#
# No. Attention reads the *state*, and an edit can put anything into it, as long as some later layer still reads
# this token. Tracing MLPs shows where the model writes, not where we can.
#
# </details>

# %%
edits = long_runs.rows("03_written")
plain = [row for row in edits if "reading" in row]  # without the prepended token
edits = [row for row in edits if "reading" not in row]
late = long_runs.rows("03_late")
some = [known[i] for i in dict.fromkeys(row["case"] for row in edits)]
make = partial(runs_03.written, lm, some, some[0], runs_03.LAYERS[:1])
long_runs.repeats(edits, make, ["case", "layer", "edit"], tolerance=0.05)


def by_layer(column, moment="C"):  # for every fact the layers, and its values there
    both_runs = [row for row in (*edits, *late) if row["moment"] == moment]
    chosen = sorted({row["layer"] for row in both_runs})
    found = {(row["case"], row["layer"]): row[column] for row in both_runs}
    return [(chosen, [found[case.id, layer] for layer in chosen]) for case in some]


written = {"p of the new answer": {"three facts, written by ROME": by_layer("edit")}}
effects = {"IE, subject's last token": {"six facts, ten MLPs restored": at("mlp", True)}}
figures.curves(effects | written, "layer", mean=True)

# %% [markdown]
# The edits succeed in layers where the MLPs bring back nothing, and even at layer 24, where the subject's *states* no
# longer bring back anything: the later layers still read what we put there. At layer 24 all three new answers have a
# high probability, at layer 28 only two. A trace shows where the model's own fact passes; when choosing a layer for
# editing, test it.
#
# ## Where it breaks: a key that is in every prompt
#
# A layer can also be a bad choice for a reason that no trace of a fact shows. As derived in notebook 02, writing at
# a key $k_i$ adds the fraction $\rho(i, j) = k_i^\top C^{-1} k_j / k_i^\top C^{-1} k_i$ of the residual at any
# other key $k_j$. One key is in every prompt: the first token's key, $k_0$. An edit reaching it reaches every text.
# In some layers, among them layer 11, it is hundreds of times as long as most later keys. (In ROME's early layer $k_0$
# is short after whitening.)
#
# **Predict.** The models in the papers read no prepended token. Their first position is the first *word* of the
# prompt, and $C$ excludes first positions. If we edit the tower at layer 11, how much is added at "The" there, as a
# multiple of the residual?
#
# <details><summary>Work it out</summary>
#
# The fraction is at most the quotient of the two keys' lengths, measured by $C^{-1}$. Without first positions, this
# measure treats the direction of $k_0$ as one that no text uses.
#
# </details>

# %%
times = guess("How many times the residual reaches the first word, without the token?", 0, 10_000)
without = models.load(SCALE, sink=None)


def on_first(model, chosen, skip):  # for every fact the layers and |ρ|, from C, k and k₀
    moments, found = lib.second_moment(model, chosen, skip_first=skip), []
    for case in cases:
        last = corrupted_runs.span(model, case.fact)[2]
        if not last:  # this subject is the first token itself
            continue
        seen = model.run(case.fact.text, watch=[model.mlp_out(n) for n in chosen]).seen
        found.append([])
        for n in chosen:
            pair = seen[model.mlp_out(n)][0][0][[last, 0]].cpu().double().T  # kᵢ and k₀
            k = moments[n].solve(pair)[:, 0]  # C⁻¹ kᵢ
            found[-1].append(abs((k @ pair[:, 1]) / (k @ pair[:, 0])).item())
    return [(chosen, ys) for ys in found]


# %%
worst = min(runs_03.LAYERS[0], lm.n_layers - 1)  # layer 11
asked = [n for n in runs_03.KEYS if n < lm.n_layers]
lands, moves = "|ρ| with the first token", "KL at other prompts (nats)"
hole = {lands: {}, moves: {}}
for what, skip in runs_03.FRONT.items():
    hole[lands][what] = on_first(lm, asked, skip)
    hole[moves][what] = by_layer("KL elsewhere", what)
hole[lands]["without the token"] = on_first(without, [worst], None)
times.against(hole[lands]["without the token"][0][1][0])
damage = [row for row in plain if row["moment"] == "C"]  # only at layer 11
hole[moves]["without the token"] = [([worst], [row["KL elsewhere"]]) for row in damage]
figures.curves(hole, "layer", log=[lands, moves], mean=True, mark=runs_03.LAYERS[0])

# %%
for what, model in {"with the token": lm, "without the token": without}.items():
    texts, name = windows(model, general_text(None), 2048), model.mlp_out(worst)
    sizes = [module_inputs(model, [ids], [name])[name].norm(dim=1).tolist() for ids in texts]
    every = [[*zip(ids, own, strict=True)] for ids, own in zip(texts, sizes, strict=True)]
    later = [pair for pairs in every for pair in pairs[1:]]
    middle = median(size for _, size in later)
    long = [lm.tokenizer.decode([token]) for token, size in later if size > 10 * middle]
    print(f"{what}, general text: ‖k₀‖ {median(own[0] for own in sizes):,.0f};", end=" ")
    print(
        f"later keys {middle:.1f} (median), {len(long)} of {len(later)} over ten times that: {long}"
    )
lines = []
for what, found in {
    "C": [row for row in edits if row["moment"] == "C"],
    "C without first positions": [row for row in edits if row["moment"] != "C"],
    "without the token": damage,
}.items():
    here = [row for row in found if row["layer"] == runs_03.LAYERS[0]]
    line = {"model edited at layer 11": what, "the tower's prompt continues": repr(here[0]["says"])}
    line["facts written"] = f"{sum(row['edit'] > 0.5 for row in here)} of {len(here)}"
    shares = [y[x.index(worst)] for x, y in hole[lands][what]]
    ends = f"{median(shares):.3g}", f"{max(shares):.3g}"
    line |= dict(zip(("|ρ| with the first token, median", "largest"), ends, strict=True))
    lines.append(line | {"KL elsewhere (nats)": mean(row["KL elsewhere"] for row in here)})
show.Table(lines)

# %% [markdown]
# Without the token all three edits destroy the model, as $\rho$ predicted before any edit was made: the first word
# receives a multiple of the residual, the largest for the tower.
#
# **With the token this does not happen**, whether $C$ includes first positions or not. Either way a part of the
# residual reaches the first token, never a multiple, and other prompts shift equally little. So on this model it is the
# token that protects the layer. If $C$ includes first positions, even less reaches the token, as explained in the
# folded section below.
#
# <details><summary>Why does less reach the first token if C includes it?</summary>
#
# Let $\pi$ be the fraction of first positions among all tokens of the text, and $A$ the second moment of all other
# positions, times $1 - \pi$. Then $C = A + \pi k_0 k_0^\top$. By the Sherman–Morrison formula
#
# $$C^{-1} k_0 = \frac{A^{-1} k_0}{1 + \pi\, c}, \qquad c = k_0^\top A^{-1} k_0 ,$$
#
# so $k_i^\top C^{-1} k_0$, the numerator of $\rho$, is $1 + \pi c$ times smaller than with $A$. A long key in a
# direction that other text rarely uses has a huge $c$. With the token, a few later positions, here two hyphens and a
# line break, also have long keys at layer 11: these are called **massive activations** (Sun et al., 2024). So even
# $A$ represents the direction there, which it does not without the token.
#
# </details>
#
# ## What we know now
#
# * Causal tracing is three runs: clean, corrupted, and corrupted with one state put back. The probability that the
#   state brings back is its indirect effect.
# * Over facts there are two sites: MLPs of the first layers at the subject's last token, and attention at the end of
#   the prompt, picking the fact up.
# * An indirect effect is not a fraction of a whole. States need each other, and effects do not add up.
# * The peak does not show where to write. Writing works over a wide range of layers, even when no trace shows
#   anything there, and it can fail for reasons that no trace shows.
# * Without the prepended token, an edit in one of these layers destroys the model, as predicted by $\rho$ with the
#   key of the first token. With the token it does not.
#
# We know the place: the MLP's key at the subject's last token, before the fact is picked up. Restoring *Paris*
# there was easy because the clean run had the state. No run has the state for *Rome*. **We know where to write;
# what should we write?** [Notebook 04](04_rome.ipynb) searches for it.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): causal tracing, and GPT-2 XL's numbers.
# * Hase, Bansal, Kim, Ghandeharioun: *Does Localization Inform Editing?*, 2023,
#   [arXiv:2301.04213](https://arxiv.org/abs/2301.04213): over many facts, the layer with the largest effect reveals
#   almost nothing about the layer at which editing works best.
# * McDougall et al.: *Copy Suppression*, 2023,
#   [arXiv:2310.04625](https://arxiv.org/abs/2310.04625): the first MLP as an extended embedding.
# * Sun, Chen, Kolter, Liu: *Massive Activations in Large Language Models*, 2024,
#   [arXiv:2402.17762](https://arxiv.org/abs/2402.17762).
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
