# %% [markdown]
# <!-- badge -->
#
# # 12 · WISE: a side memory and a router
#
# GRACE leaves the weights unchanged, but it misses two of three rewordings. WISE writes into a second copy of a
# single matrix, and a **router** decides for each prompt which of the two matrices answers. Does this router know the
# edited fact, letting in rewordings but not neighbors?
#
# **You will** derive a router from the edit itself · train it with margins · merge memories that were trained
# separately · decide which of them answers, and from which score on · see the door open as facts are added · keep the
# whole editor in your own file.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb) for gradients, [notebook 11](11_grace.ipynb).
#
# **Minutes** 20 to read and 35 to work: exercises 7.1 and 7.3, the latter in four steps, of [session
# 7](../lessons/session_7.md).

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

# %% [markdown]
# ## Two paths
#
# WISE copies one matrix of the model, the output projection $W$ of one MLP. $W$ itself is never written again; it is
# the **main memory**. The copy $W' = W + \tau$, called the **side memory**, is trained on the edits. A prompt reaches
# the layer with one input $a_p$ for each of its tokens. Using only these inputs, the layer chooses one of the two
# matrices for the whole answer.

# %%
from dataclasses import replace
from statistics import mean

import torch
from IPython.display import display
from torch.nn.functional import normalize

import lib
from lib.data import texts
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses
from lib.editors.wise import merging
from lib.editors.wise.route import ActivationDifference, Side, SideMemory, draw_mask, hinges
from lib.model import activations
from lib.workbench import plot
from notebooks.support import drawings_12, figures, hand_ins, long_runs, models, own_fact, show
from notebooks.support import runs_12_wise as runs_12
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream, detects
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)
drawings_12.two_paths()

# %% [markdown]
# To choose, WISE measures how far the two matrices disagree. At each token of the prompt, it computes the distance
# between the two outputs, and then it takes the mean of the distances over the prompt. The side memory answers if
# this score is as large as it is for the edits themselves:
#
# $$\Delta(x) = \frac1n \sum_p \delta_p, \qquad \delta_p = \|W'a_p - W a_p\| = \|\tau a_p\|,
# \qquad \Delta(x) \ge \varepsilon = \min_{\text{edits } e} \Delta(x_e).$$
#
# Here, $\tau$ is the change of the weights, written $\Delta$ on earlier pages.
#
# ## A router for free
#
# Why should $\Delta$ recognize an edit if we never train this router? A gradient is a sum of pairs, as notebook 09
# derives. So a change made by following gradients is $\tau = \sum_i v_i k_i^\top$, where the $k_i$ are inputs at the
# training tokens. At an input $q$ it gives $\tau q = \sum_i v_i \langle k_i, q\rangle$, which is large when $q$ is
# similar to one of the $k_i$.
#
# **Predict.** Take $n$ random keys of unit length in $d$ dimensions, with values of unit length. How long is $\tau q$
# at a key? And at a random $q$ of unit length, if $n = d$?
#
# <details><summary>Work it out</summary>
#
# Terms with random signs add up in squares, so $E\|\tau q\|^2 = \sum_i E\langle k_i, q\rangle^2 = n/d$. At a key, the
# key's own pair is added, giving $\sqrt{1 + (n-1)/d}$. With $n = d$ the length is 1 at a random input and 1.4 at a
# key. The more we write, the less they differ.
#
# </details>
#
# A prompt has many tokens, and $\Delta$ is their mean. Words such as "is" and "of" also appear in other prompts,
# where their inputs also resemble trained keys. The third group in the figure is a prompt in which half of the tokens
# are trained keys.


# %%
def normal(*shape):
    return torch.randn(*shape, generator=draw)


def lengths(pairs, d=256):  # δ at keys and at random inputs, and Δ of prompts of ten tokens
    found = []
    while len(found) * pairs < 512:
        K, V = (normalize(normal(rows, pairs), dim=0) for rows in (d, 64))
        q = torch.cat([K, normalize(normal(d, pairs), dim=0)], 1)
        found.append((V @ (K.T @ q)).norm(dim=0).view(2, pairs))
    key, other = torch.cat(found, 1)
    prompts = torch.cat([key[:500].view(-1, 5), other[:500].view(-1, 5)], 1).mean(1)
    return {"a key": key, "a random input": other, "Δ, half of the tokens keys": prompts}


def spread(pairs):
    return plot.histogram(lengths(pairs), "length of τq")


for pairs in (8, 64, 256):
    key, other, _ = (some.square().mean().item() for some in lengths(pairs).values())
    assert abs(other - pairs / 256) < 0.1 and abs(key - 1 - (pairs - 1) / 256) < 0.15
Slider(spread, "pairs", [2, 4, 8, 16, 32, 64, 128, 256], 32)

# %% [markdown]
# With few pairs, the lengths at keys and at other inputs are well separated. Once there are as many pairs as
# dimensions, the two distributions overlap. **If a prompt has half of its tokens in common with an edit, its score is
# halfway between**, since $\Delta$ is a mean.
#
# **Your turn · exercise 7.3, first step · ★★ · 2 minutes.** Write `delta`, which computes the score $\Delta$ of a
# prompt.


# %%
def delta(tau, a):
    """tau (d_out, d_in); a (n, d_in), inputs at the prompt's tokens -> Δ, a tensor of one number."""
    ...


delta = use("7.3", delta)
some, tau = [normal(4, 6) for _ in range(5)], normal(3, 6)
slow = sum((tau @ token).square().sum().sqrt() for token in some[0]) / 4  # token by token
assert torch.isclose(torch.as_tensor(delta(tau, some[0])), slow)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which comes first when you compute the score, taking the length or taking the mean?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def delta(tau, a):
#     return (a @ tau.T).norm(dim=1).mean()
# ```
#
# </details>
#
# ## Margins
#
# The gap shrinks as pairs are added, so WISE trains it. Every training step also looks at $\Delta_e$ of the fact's
# own prompts, and at $\Delta_i$ of texts that have nothing to do with the fact. Both must end on the right side of a
# fixed margin, and far enough from each other. A **hinge** $\max(0, \cdot)$ is zero as soon as its requirement is
# met:
#
# $$\max(0, \Delta_i - \alpha) + \max(0, \beta - \Delta_e) +
# \max\big(0, \gamma - (\Delta_e - \Delta_i)\big).$$
#
# Each hinge is the mean over its positive terms, or 0 if there are none: the first has a term for each text, the
# second for each prompt of the fact, the third for each pair of the two.
#
# **Your turn · exercise 7.1 · ★★ · 8 minutes.** Write `margin_loss`, the sum of the three hinges.


# %%
def margin_loss(edits, calm, margins):
    """Δ of edits (n,) and of texts, calm (m,); margins: (alpha, beta, gamma) -> one number."""
    ...


margin_loss = use("7.1", margin_loss)
deltas, margins = torch.stack([delta(tau, a) for a in some]), (0.25, 1.5, 1.0)
theirs = sum(hinges(deltas[:2], deltas[2:], *margins))  # the library's margin loss
assert torch.isclose(margin_loss(deltas[:2], deltas[2:], margins), theirs)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Is $\max(0, x) + \max(0, y)$ the same as $\max(0, x + y)$? And what shape do you get for all pairs of $\Delta_e$ and
# $\Delta_i$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def margin_loss(edits, calm, margins):
#     alpha, beta, gamma = margins
#     gaps = gamma - (edits[None] - calm[:, None])
#     hinges = [terms.clamp(min=0) for terms in (calm - alpha, beta - edits, gaps)]
#     return sum(hinge.sum() / max(1, int((hinge > 0).sum())) for hinge in hinges)
# ```
#
# </details>
#
# Now we train a side memory for the tower in the real model in two ways: using only the answer's loss, and using your
# `margin_loss` for an additional step after every step for the answer. The memory may only change a fifth of the
# entries of $\tau$, chosen at random: its **mask**. Margins are in units of the mean length of $Wa$ on irrelevant
# texts.
#
# **Predict.** At the start $\tau = 0$, so $\Delta = 0$ everywhere, and the hinge for the edit is wide open. Could the
# training start with only the margins, without the answer?
#
# <details><summary>Answer</summary>
#
# No. $\|\tau a\|$ has no derivative at $\tau = 0$: it grows equally in every output direction, and PyTorch uses 0
# there. The answer's loss has to determine the direction in which the output should move. The margins only determine
# how far.
#
# </details>

# %%
lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
mine, every = own_fact.read(), lib.classroom()
module = lm.mlp_out(round(0.8 * lm.n_layers))
W = lm.weight(module).cpu().float()


def inputs(lm, module, text):  # a (n, d_in), the matrix's input at each token of a text
    ids = encode_prompt(lm.tokenizer, text)
    skip = int(len(ids) > 1 and ids[0] == lm.leading_bos)  # the prepended token never counts
    read = activations.module_inputs(lm, [ids], [module], skip)[module]
    return read.float().cpu()


calm, rest = [[inputs(lm, module, t) for t in texts.irrelevant()[i : i + 16]] for i in (0, 16)]
unit = sum(float(delta(W, a)) for a in calm) / len(calm)  # the mean length of W a


# %%
def margin_step(loss, tau, mask, own, others, margins, lr):
    """One step of τ downhill in a margin loss, inside the mask; own, others: lists of inputs."""
    tau = tau.clone().requires_grad_()
    edits, calm = (torch.stack([delta(tau, a) for a in some]) for some in (own, others))
    (gradient,) = torch.autograd.grad(loss(edits, calm, margins), tau)
    return tau.detach() - lr * mask * gradient


def shard(lm, bare, module, fact, mask, calm, unit, loss):
    """τ of one fact on top of the patch `bare`: a step for the answer, then one for the margins."""
    tau, own = torch.zeros(mask.shape), [inputs(lm, module, fact.text)]
    ids, answer = (
        encode_prompt(lm.tokenizer, fact.text),
        encode_target(lm.tokenizer, fact.target_new),
    )
    for _ in range(10):
        grads = losses.outcome(lm, bare, {module: tau}, [losses.Text(ids, answer, 1.0)], []).grads
        tau = tau - 5.0 * mask * grads[module].cpu()
        if loss:
            margins = 0.25 * unit, 1.5 * unit, unit
            tau = margin_step(loss, tau, mask, own, calm, margins, 25.0 / unit)
    return tau


# %%
def trained(fact, number, loss):
    mask = draw_mask(tuple(W.shape), 0.2, seed=0, shard=number)
    return shard(lm, lib.EMPTY, module, fact, mask, calm, unit, loss)


def beside(memories):  # a patch: the library's route with these (τ, ε)
    sides = tuple(SideMemory(tau, eps, 1) for tau, eps in memories)
    return lib.Patch(
        routes={module: Side(sides, 1.0, ActivationDifference(bos=lm.leading_bos), module)}
    )


ways = {"only the answer": None}
names = "with margins", "with margins, yours"
ways |= dict(zip(names, both(margin_loss).values(), strict=False))
print("Δ in units of ‖Wa‖:")
for name, loss in ways.items():
    tau = trained(tower, 0, loss)
    one = float(delta(tau, inputs(lm, module, tower.text))) / unit
    text = max(float(delta(tau, a)) for a in rest) / unit
    print(f"{name}: the edit {one:.2f}, the highest of {len(rest)} other texts {text:.2f}")

# %% [markdown]
# Training only for the answer already opens a gap between the edit and texts not seen in training. **The margins
# widen it**, pulling the edit up far more than the texts. They don't constrain rewordings and neighbors.
#
# ## Five shards, one memory
#
# Training a fact after another can overwrite the earlier fact. So WISE deals its facts into **shards**. Each shard
# has its own random mask and its own $\tau_s$, and in the end all of them are merged into a single $\tau$. If two
# masks each cover a fifth of the entries, they have only a twenty-fifth in common. So most entries were changed by
# only one shard, and taking the plain mean of five shards shrinks each of these changes to a fifth.
#
# WISE's rule for merging is **TIES**, which has three steps. *Trim:* in every $\tau_s$, keep only the largest
# entries, making up the fraction `density`. *Elect:* each entry gets a single sign, the sign of the sum of the
# trimmed $\tau_s$, so a large change has a louder voice than a small one. *Merge:* the entry becomes the mean over
# those $\tau_s$ that have this sign. For example, $+4, -2, +3$ becomes $3.5$, and $+4, 0, 0$ becomes $4$.
#
# **Your turn · exercise 7.3, second step · ★★ · 10 minutes.** Write `ties`.


# %%
def ties(taus, density):
    """taus: a list of tensors of one shape -> one tensor of this shape.

    Of every τ round(density · number of entries) are kept.
    """
    ...


ties = use("7.3", ties)
few = [normal(3, 4) * (normal(3, 4) > -0.5) for _ in range(4)]
found = ties(few, 0.5)
assert torch.allclose(found, merging.ties(few, density=0.5), atol=1e-6)  # the library's
kept = [tau * (tau.abs() >= tau.abs().flatten().sort().values[-6]) for tau in few]
for i in range(3):  # entry by entry
    for j in range(4):
        total = sum(tau[i, j].item() for tau in kept)
        same = [tau[i, j].item() for tau in kept if tau[i, j].item() * total > 0]
        assert abs(found[i, j].item() - sum(same) / max(1, len(same))) < 1e-5

# %% [markdown]
# <details><summary>Hint</summary>
#
# `tau.abs().flatten().topk(count).indices` gives the positions of the largest entries. Does a zero have a sign, and
# does it count in a mean?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ties(taus, density):
#     trimmed = []
#     for tau in taus:
#         kept = torch.zeros_like(tau).flatten()
#         places = tau.abs().flatten().topk(round(density * tau.numel())).indices
#         kept[places] = tau.flatten()[places]
#         trimmed.append(kept.view_as(tau))
#     stack = torch.stack(trimmed)
#     chosen = (stack.sign() == stack.sum(0).sign()) & (stack != 0)
#     return (stack * chosen).sum(0) / chosen.sum(0).clamp(min=1)
# ```
#
# </details>
#
# Now we train one shard for each of five facts: the tower, the sheep, three others, and your own fact if you have
# typed one.
#
# We merge the same shards in three ways: using TIES, taking the mean, and taking the plain sum. WISE uses a density of
# 0.53. Each $\tau_s$ has only a fifth of its entries, so trimming removes nothing: here TIES is elect and merge.
#
# **Predict.** Which of them loses facts?
#
# <details><summary>Answer</summary>
#
# The mean. When masks barely overlap, the sum is almost the same as TIES.
#
# </details>

# %%
facts = [tower, sheep, *(case.fact for case in every[1:18:6])][: 2 if SCALE == "tiny" else None]
facts += [mine] if mine else []
taus = [trained(fact, number, margin_loss) for number, fact in enumerate(facts)]
own = [inputs(lm, module, fact.text) for fact in facts]
merges = dict(
    zip(("TIES", "TIES, yours"), [f(taus, 0.53) for f in both(ties).values()], strict=False)
)
merges |= {"mean": sum(taus) / len(taus), "sum": sum(taus)}
table = []
for name, tau in merges.items():
    with lm.patched(beside([(tau, 0.0)])):  # it always answers
        said = lm.answer([fact.text for fact in facts], 2)
        nats = [
            -x.sum().item()
            for x in lm.score([f.text for f in facts], [f.target_new for f in facts])
        ]
    right = sum(s.strip().startswith(f.target_new) for s, f in zip(said, facts, strict=True))
    row = {
        "merge": name,
        "facts given": f"{right} of {len(facts)}",
        "−log p, worst fact": max(nats),
    }
    table.append(row | {"Δ of the tower": float(delta(tau, own[0])) / unit})
show.Table(table)

# %% [markdown]
# **The mean fails because of its divisor, not because of conflict**: the fact that fails is still there, at a fifth
# of its size. With so few shards, we can't see any advantage of TIES over a plain sum, since the masks rarely
# overlap.
#
# ## Which memory answers?
#
# A later edit adds another memory, and each prompt gets a score from each memory. First, we check for every memory
# whether the prompt reaches its $\varepsilon$. Among the memories it reaches, the one with the largest $\Delta$
# answers, and if there is none, $W$ does. The choice is made once, using only the prompt, and applies to the whole
# answer.
#
# **Your turn · exercise 7.3, two more steps · ★★ · 12 minutes.** Write `threshold`, which computes the $\varepsilon$
# of a memory. The facts change $\tau$ one after another, so `taus` contains the memory after each of them. Then write
# `routed`.


# %%
def threshold(taus, prompts, slack=1e-3):
    """taus: the memory after each fact; prompts: each fact's inputs (n, d_in) -> ε, a number.

    ε is 1 − slack times the least Δ.
    """
    ...


def routed(W, memories, a, prompt):
    """memories: a list of (τ, ε); a (n, d_in), of which the first `prompt` are the prompt's.

    -> the output rows (n, d_out), and the number of the memory that answers, −1 for none
    """
    ...


threshold = use("7.3", threshold)
routed = use("7.3", routed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the `taus` answers when the editor is used? In `routed`, can a memory that isn't reached have the largest
# $\Delta$? And which tokens don't exist yet when the choice is made?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def threshold(taus, prompts, slack=1e-3):
#     return (1 - slack) * min(float(delta(taus[-1], a)) for a in prompts)
#
#
# def routed(W, memories, a, prompt):
#     found = [float(delta(tau, a[:prompt])) for tau, _ in memories]
#     passed = [i for i, (_, eps) in enumerate(memories) if found[i] >= eps]
#     chosen = max(passed, key=lambda i: found[i], default=-1)
#     rows = a @ W.T
#     return (rows + a @ memories[chosen][0].T if passed else rows), chosen
# ```
#
# </details>

# %%
asked = {
    "edit": tower.text,
    "rewording": "The Eiffel Tower stands in the city of",
    "another rewording": "Tourists who want to see the Eiffel Tower travel to the city of",
    "neighbor": "The Reichstag is located in the city of",
    "another neighbor": "The Colosseum is located in the city of",
    "unrelated": "The recipe for bread begins with",
}
apart = [(tau, threshold([tau], [a])) for tau, a in zip(taus, own, strict=True)]
merged = [(merges["TIES"], threshold([*taus, merges["TIES"]], own))]
for memories in (apart, merged):  # the library's route does the same, in a padded batch
    with lm.patched(beside(memories)):
        a, out = (x.float().cpu() for x in lm.run([*asked.values()], [module]).seen[module])
        _, notes = lm.answer([*asked.values()], 1, explain=True)
    for i, text in enumerate(asked.values()):
        n = len(inputs(lm, module, text))
        rows, chosen = routed(W, memories, a[i, -n:], n)
        models.same(lm, rows, out[i, -n:])
        assert chosen == notes[i][0]["entry"]
print(
    f"Δ of the tower: {float(delta(merged[0][0], own[0])):.9g} here, {notes[0][0]['score']:.9g} in the batch"
)

# %% [markdown]
# Both programs compute the same $\Delta$, up to its last digits. If $\varepsilon$ were exactly the smallest $\Delta$,
# rounding would decide whether the fact with this $\Delta$ is let in. The published program opens its door wider:
# reaching a fraction of $\varepsilon$ is enough, set by `act_ratio`.
#
# The figure below shows $\delta_p$ at each token of six prompts, using the merged memory. Above each prompt you see
# its $\Delta$, which matrix answers by your `routed`, and the model's answers before and after.

# %%
before = lm.answer([*asked.values()], 2)
with lm.patched(beside(merged)):
    after = lm.answer([*asked.values()], 2)
shown, ((tau, eps),) = [], merged
for (group, text), *said in zip(asked.items(), before, after, strict=True):
    a = inputs(lm, module, text)
    words = [lm.tokenizer.decode([i]) for i in encode_prompt(lm.tokenizer, text)[-len(a) :]]
    who = [f(W, merged, a, len(a))[1] >= 0 for f in both(routed).values()]
    name = f"{group}: Δ = {float(delta(tau, a)) / eps:.2f} ε, " + ", yours: ".join(
        "W'" if x else "W" for x in who
    )
    change = " → ".join(f"“{answer.strip()}”" for answer in said)
    shown.append((f"{name} answers, {change}", words, (a @ tau.T).norm(dim=1).tolist(), who[-1]))
drawings_12.tokens(shown)

# %% [markdown]
# It is not the tower that lights up most. In the edit, the largest $\delta$ is at words of its sentence, and both
# neighbors contain the same words. The rewording about tourists contains the tower in another sentence, and it stays
# below $\varepsilon$. So **the sentence determines the mean**, and the Reichstag is in Rome.
#
# ## The door opens
#
# $\varepsilon$ is a minimum over facts. So what happens to it as facts are added? To see this without training for an
# hour, we build a memory from pairs, $\tau = \sum_i v_i k_i^\top$, in which $k_i$ is the real input at the last token
# of fact $i$ and $v_i$ is random.
#
# **Predict.** After adding ten times as many facts, is the door wider or narrower?
#
# <details><summary>Work it out</summary>
#
# Wider. In the same memory, adding a fact can only lower the minimum. And $\tau$ grows with each fact, so the scores
# of all prompts grow, including prompts that were never edited.
#
# </details>

# %%
some = [case for case in every if case.paraphrases and case.neighborhood and case.locality]
some, counts = (
    some[: 3 if SCALE == "tiny" else 30],
    (1, 2, 3) if SCALE == "tiny" else (1, 3, 10, 30),
)
groups = {"rewordings": [case.paraphrases[0] for case in some]}
groups |= {"neighbors": [case.neighborhood[0].prompt for case in some]}
groups |= {"unrelated": [case.locality[0] for case in some]}
read = {group: [inputs(lm, module, text) for text in prompts] for group, prompts in groups.items()}
written = [inputs(lm, module, case.fact.text) for case in some]
through = guess("With thirty facts, how many of their neighbors are let in, in %?", 0, 100)

# %%
opened = {}
for _ in range(3):  # orders of the facts
    order, tau, history = torch.randperm(len(some), generator=draw).tolist(), 0 * W, []
    for i in order:
        value, key = normalize(normal(len(W)), dim=0), normalize(written[i][-1], dim=0)
        tau = tau + torch.outer(value, key)
        history.append(tau)
    for n in counts:
        prompts = [written[i] for i in order[:n]]
        for whose, f in zip(("", ", yours"), both(threshold).values(), strict=False):
            eps = f(history[:n], prompts)
            for group, each in read.items():
                passed = [float(delta(history[n - 1], each[i])) >= eps for i in order[:n]]
                opened.setdefault(group + whose, {}).setdefault(n, []).append(100 * sum(passed) / n)
lines, *ends = (
    {k: [f(x) for x in v.values()] for k, v in opened.items()} for f in (mean, min, max)
)
bands = {name: (ends[0][name], ends[1][name]) for name in lines}
through.against(lines["neighbors"][-1])
plot.lines(
    counts, lines, "facts in the memory", "let in (%)", bands=bands, xlog=True, ylim=(-2, 104)
)

# %% [markdown]
# With one fact nothing gets in, not even its rewording; with three, almost half of both; with 30, almost everything
# resembling an edit. There the three orders contain the same facts, so the band comes only from the random values.
# Unrelated prompts come later. A memory of pairs has no margins for pushing unrelated texts down, and neighbors are not
# pushed down in either case.
#
# ## Which prompts get in?
#
# So far we have looked at one memory. Now three streams of 12 facts, with no fact in common, have a memory each,
# trained by the library in our form (`preset="ours"`). It differs from the paper's WISE, which is the default.
# Earlier facts are trained again with each new fact (*rehearsal*), and there is no mask. The gradient is multiplied
# by $C^{-1}$ of general text, and $\varepsilon$ is somewhat below the smallest $\Delta$. Every threshold lets in a
# certain fraction of the rewordings and a certain fraction of other prompts: neighbors, *strangers* (edits of another
# stream), or unrelated prompts. Each line is a stream.
#
# **Predict.** Is there a threshold letting in rewordings but not neighbors?
#
# <details><summary>Answer</summary>
#
# We don't see any. Unrelated prompts are far below both.
#
# </details>

# %%
rows = [row for row in long_runs.rows("12_streams") if row["line"] == "WISE"]


def above(one, other):  # how often a prompt of the first group has the larger Δ, in %
    return 100 * (torch.tensor(one)[:, None] > torch.tensor(other)).float().mean().item()


reach, curves = [row["deltas"] for row in rows if "deltas" in row], {}  # all facts are written
for kind in ("neighbor", "stranger", "unrelated"):
    curves[kind] = {"WISE's Δ": [runs_12.curve(one["rewording"], one[kind]) for one in reach]}
    ranks = [above(one["rewording"], one[kind]) for one in reach]
    often = "{:.0f} [{:.0f}, {:.0f}]".format(*(min(x, 100) for x in by_stream(ranks)))
    print(f"a rewording has a larger Δ than a prompt of kind {kind}: in {often} % of pairs")
    if kind == "neighbor":
        print(f"an advantage of {detects(ranks):.0f} points would be detected")
figures.curves(curves, "others let in (%)", "rewordings let in (%)", ylim=(0, 104), xlim=(-2, 104))

# %% [markdown]
# Against neighbors, the lines stay near the diagonal: a rewording has the larger $\Delta$ in about half of the pairs,
# as it would by chance. Against strangers the score is better in each stream, although the interval contains 50, and
# against unrelated prompts it is almost always right.
# **The router recognizes prompts that look like the edits. We see no evidence that it knows which fact is meant.**
#
# ## WISE in your own file
#
# Combining your functions gives an editor, which the cell below saves in `my/wise.py`. Every call makes a new memory,
# training a shard for each fact, merging the shards with your `ties` and guarding the result with your `threshold`.
# Memories of earlier calls stay, and the library's route chooses among them, following the rule of your `routed`.


# %%
def edit(lm, facts, after):
    """WISE: `after` with one more side memory for one matrix, four fifths up."""
    module, bare = lm.mlp_out(round(0.8 * lm.n_layers)), replace(after, routes={})
    old = after.routes[module].memories if module in after.routes else ()
    W, taus = lm.weight(module).cpu().float(), []
    with lm.patched(bare, only=True):  # trains as if no side memory answered
        calm = [inputs(lm, module, text) for text in texts.irrelevant()[:16]]
        unit = sum(float(delta(W, a)) for a in calm) / len(calm)
        for fact in facts:
            number = sum(memory.facts for memory in old) + len(taus)
            mask = draw_mask(tuple(W.shape), 0.2, seed=0, shard=number)
            taus.append(shard(lm, bare, module, fact, mask, calm, unit, margin_loss))
        merged = ties(taus, 0.53)
        eps = threshold([*taus, merged], [inputs(lm, module, fact.text) for fact in facts])
    sides = *old, SideMemory(merged, eps, len(facts))
    route = Side(sides, 1.0, ActivationDifference(bos=lm.leading_bos), module)
    return replace(after, routes={**after.routes, module: route})


# %%
parts = [inputs, delta, margin_loss, margin_step, shard, ties, threshold, edit]
hand_ins.Editor("wise.py").grow(*parts)
done = {who for f in (delta, margin_loss, ties, threshold, routed) for who in both(f)} == {"yours"}
file = "your file" if done else "the solution's file"
first = edit(lm, [tower, sheep], lib.EMPTY)
patch = edit(lm, [mine], first) if mine else first
prompts = [fact.text for fact in [tower, sheep] + ([mine] if mine else [])]
prompts += [asked[group] for group in ("rewording", "neighbor", "unrelated")]
with lm.patched(patch):
    after = lm.answer(prompts, 2)
rows = zip(prompts, lm.answer(prompts, 2), after, strict=True)
display(show.Table([{"prompt": p, "the model": a.strip(), file: b.strip()} for p, a, b in rows]))
if SCALE == "small" and not models.another():
    assert after[0].strip().startswith("Rome") and after[1].strip().startswith("puppy")
    print(f"{file} gives both edits" + ": your own editor." * done)

# %% [markdown]
# `python -m lessons.leaderboard my/wise.py` tests it on facts that you haven't seen. What would you change first: the
# margins, the threshold, or the tokens over which $\Delta$ is averaged?
#
# ## The impossible triangle
#
# An editor should keep its facts, rewordings should follow, and everything else should stay unchanged. WISE's authors
# call this the *impossible triangle*. The figure shows the streams of [notebook 14](14_lifelong.ipynb), in which all of
# these editors keep most of their facts. WISE is again used in our form. A neighbor is kept if the model still gives
# its true answer, an unrelated text if it continues as before; the dotted line is the unedited model. Large marks are
# means, small marks are streams, and the upper right corner is best.
#
# **Predict.** Lowering $\varepsilon$ lets more in. In which direction would this move WISE?
#
# <details><summary>Answer</summary>
#
# Up and to the left: rewordings follow, and the neighbors getting in with them are lost. Only a router with more
# knowledge would move it straight up.
#
# </details>

# %%
five = long_runs.rows("14_five")
columns = {"neighbors": "neighbors", "unrelated texts": "unrelated"}  # {panel: column}
shares = {c: runs_14.streams(five, c) for c in ("reworded", *columns.values())}
names = {"WISE": "WISE", "GRACE": "GRACE, radius 8", "UltraEdit": "UltraEdit", "MEMIT": "MEMIT"}
COLORS = dict(zip(names.values(), (plot.EDITED, *plot.CYCLE[:3]), strict=True))


def places(name, column):  # (kept, rewordings that follow), in %, for each stream
    pairs = zip(shares[column][name], shares["reworded"][name], strict=True)
    return [tuple(100 * sum(some) / len(some) for some in pair) for pair in pairs]


plots = {
    panel: {said: [places(name, column)] for name, said in names.items()}
    for panel, column in columns.items()
}
figure = figures.tradeoff(plots, "kept (%)", "rewordings that follow (%)", COLORS)
for ax, column in zip(figure.axes, columns.values(), strict=True):
    ax.axvline(100 * runs_14.mean(shares[column]["base"]), color=plot.QUIET, linestyle=":")
lost = [
    100 * (mean(a) - mean(b))
    for a, b in zip(*(shares["unrelated"][n] for n in ("MEMIT", "base")), strict=True)
]
ends = "{:.0f} [{:.0f}, {:.1f}]".format(*by_stream(lost))
print(f"unrelated texts, MEMIT less the unedited model: {ends} points")
figure

# %% [markdown]
# No editor is in the corner of both panels. With WISE, rewordings follow but most of the neighbors are lost, while
# GRACE, using the small radius of its preset, does the opposite. MEMIT gets most rewordings right and keeps the
# neighbors, paying with unrelated texts (the printed line). On the right, the marks of the three others overlap.
#
# ## What we know now
#
# * $\Delta$ measures how far the side memory moves the output at a prompt. It comes for free, from the gradient, and
#   it is a mean over tokens, so matching the sentence counts as much as matching the subject.
# * Margins make it small for texts like those used in training, and large for edits. They don't constrain neighbors,
#   and in three streams most of them are let in with the rewordings.
# * If shards have masks, they barely overlap, so a merge must not divide by the number of shards.
# * If the threshold is the smallest $\Delta$ of the facts, it opens as facts are added.
#
# ## Where it breaks
#
# The memories held their facts, but the router failed: as a ranking, $\Delta$ does not separate rewordings from
# neighbors. Is that because it is a mean over words? We score the prompts of the same three memories again, using
# $\delta$ at the last token, its mean over the tokens of the prompt's subject, and its maximum.
#
# **Predict.** Which of the three ranks rewordings above neighbors more often than the mean does?

# %%
rows, ranks = long_runs.rows("12_tokens"), {}
for i, how in enumerate(runs_12.SCORES):
    each = [[[one[i] for one in row[kind]] for kind in ("rewording", "neighbor")] for row in rows]
    ranks[how] = [above(*pair) for pair in each]
table = []
for how, some in ranks.items():
    gaps = [a - b for a, b in zip(some, ranks["mean"], strict=True)]
    ends = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*by_stream(gaps))
    row = {
        "δ over the prompt": how,
        "right pairs (%), by stream": ", ".join(f"{x:.0f}" for x in some),
    }
    more = {"more than the mean": ends, "would be detected": f"{detects(gaps):.0f}"}
    table.append(row | (more if any(gaps) else dict.fromkeys(more, "–")))
show.Table(table)

# %% [markdown]
# **The mean is a part of the reason**: each of the three ranks better than the mean in every stream. But even over the
# subject's tokens, three of ten pairs remain in the wrong order, and raising $\varepsilon$ shuts out both. What if each
# batch of facts had its own memory, and a router were *trained* to find it? That is the topic of [notebook
# 13](13_lemoe.ipynb).
#
# ## References
#
# * Wang et al.: *WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768).
# * Yadav et al.: *TIES-Merging*, 2023, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708).
