# %% [markdown]
# <!-- badge -->
#
# # 12 · WISE: a side memory and a router
#
# GRACE leaves the weights alone, and two of three rewordings are not reached. WISE writes into a second copy of one
# matrix, and a **router** decides at each prompt which of the two matrices answers. Does this router know the edited
# fact, so that rewordings get in and neighbors do not?
#
# **You will** derive a router from the edit itself · train it with margins · see token by token how a prompt gets
# its score · tell a memory that forgets from one that is full · keep one in a file of your own · see what two
# settings move along the triangle.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb) for gradients, [notebook 11](11_grace.ipynb).
#
# **Minutes** 20 to read and 12 to work: exercise 7.1, in two steps, of [session 7](../lessons/session_7.md).
#
# Run the folded cell below, and read on.

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
# One matrix of the model is copied: the output projection $W$ of one MLP. $W$ itself is never written again; it is
# the **main memory**. The copy $W' = W + \tau$ is trained on the edits; it is the **side memory**. A prompt arrives
# at the layer with one input $a_p$ for each of its tokens. The layer chooses one of the two matrices for the whole
# answer, from these inputs alone.

# %%
from dataclasses import replace

import torch
from IPython.display import display
from torch.nn.functional import normalize

import lib
from lib.data import texts
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses
from lib.editors.wise.route import ActivationDifference, Side, SideMemory, draw_mask, hinges
from lib.model import activations
from lib.workbench import plot
from notebooks.support import drawings_12, figures, hand_ins, long_runs, models, own_fact, show
from notebooks.support import runs_12_wise as runs_12
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)
drawings_12.two_paths()

# %% [markdown]
# WISE asks how far the two matrices disagree. At each token of the prompt it measures the distance of
# the two outputs, and it takes the mean of the distances over the prompt. The side memory answers if
# this score is as large as it is for the edits themselves:
#
# $$\Delta(x) = \frac1n \sum_p \delta_p, \qquad \delta_p = \|W'a_p - W a_p\| = \|\tau a_p\|,
# \qquad \Delta(x) \ge \varepsilon = \min_{\text{edits } e} \Delta(x_e).$$
#
# The change of the weights, $\Delta$ on earlier pages, is $\tau$ here.
#
# ## A router for nothing
#
# Why should $\Delta$ know an edit if nobody trains this router? A gradient is
# a sum of pairs, as notebook 09 derives. So a change that was made by gradients is $\tau = \sum_i v_i
# k_i^\top$, where the $k_i$ are inputs at tokens that were trained. At an input $q$ it gives $\tau q
# = \sum_i v_i \langle k_i, q\rangle$, which is large where $q$ is like one of the $k_i$.
#
# **Predict.** Take $n$ random keys of unit length in $d$ dimensions, with values of unit length. How
# long is $\tau q$ at a key? And at a random $q$ of unit length, for $n = d$?
#
# <details><summary>Work it out</summary>
#
# Terms with random signs add in squares, so $E\|\tau q\|^2 = \sum_i E\langle k_i, q\rangle^2 = n/d$.
# At a key its own pair comes on top, which gives $\sqrt{1 + (n-1)/d}$. With $n = d$ it is 1 at a
# random input and 1.4 at a key. The more is written, the less they differ.
#
# </details>
#
# A prompt has many tokens, and $\Delta$ is their mean. Words such as "is" and "of" stand in other prompts too, and
# their inputs resemble trained keys there as well. The third group of the figure is a prompt of which half of the
# tokens are trained keys.


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
# With few pairs keys and other inputs stand far apart, and with as many pairs as dimensions they run into each
# other. **A prompt that shares half of its tokens with an edit stands halfway between**, since $\Delta$ is a mean.
#
# ## Margins
#
# The gap becomes smaller as pairs are added, so WISE trains it. Every step of training also sees $\Delta_e$ of the
# fact's own prompts, and $\Delta_i$ of texts that have nothing to do with it. Both must end on the right side of a
# fixed margin, and far enough from each other. A **hinge** $\max(0, \cdot)$ is zero as soon as its demand is met:
#
# $$\max(0, \Delta_i - \alpha) + \max(0, \beta - \Delta_e) +
# \max\big(0, \gamma - (\Delta_e - \Delta_i)\big).$$
#
# Each hinge is the mean over its terms above 0, and 0 where there are none: the first has one for each text, the
# second one for each prompt of the fact, the third one for each pair of the two. Our margins count in units of the
# mean length of $Wa$ on irrelevant texts. A memory may only change some of the entries of $\tau$, those of its
# **mask**; what this is for comes below.
#
# **Your turn · exercise 7.1 · ★★ · 12 minutes.** Write `margin_loss`, the sum of the three hinges. Then write
# `margin_step`: it gets the inputs at the tokens of each text, makes $\Delta$ of them, and returns the new $\tau$
# after one step downhill in your loss.


# %%
def margin_loss(edits, calm, margins):
    """Δ of edits (n,) and of texts, calm (m,); margins: (alpha, beta, gamma) -> one number."""
    ...


def margin_step(tau, mask, own, others, margins, lr):
    """tau, mask (d_out, d_in); own, others: lists of inputs (tokens, d_in) -> the new τ.

    own are the edit's prompts, others irrelevant texts
    """
    ...


margin_loss = use("7.1", margin_loss)
margin_step = use("7.1", margin_step)
margins = 0.25, 1.5, 1.0  # those of preset="ours"
some, tau = [normal(4, 6) for _ in range(5)], normal(3, 6).requires_grad_()
deltas = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in some])
theirs = sum(hinges(deltas[:2], deltas[2:], *margins))  # the library's margin loss
assert torch.isclose(margin_loss(deltas[:2], deltas[2:], margins), theirs)
theirs = tau - torch.autograd.grad(theirs, tau)[0]
ours = margin_step(tau.detach(), torch.ones(3, 6), some[:2], some[2:], margins, 1.0)
assert torch.allclose(ours, theirs, atol=1e-5)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Is $\max(0, x) + \max(0, y)$ the same as $\max(0, x + y)$? What shape do all pairs of $\Delta_e$ and
# $\Delta_i$ have? And which of the two is masked, $\tau$ or its gradient?
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
#
#
# def margin_step(tau, mask, own, others, margins, lr):
#     tau = tau.clone().requires_grad_()
#     edits = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in own])
#     calm = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in others])
#     loss = margin_loss(edits, calm, margins)
#     return tau.detach() - lr * mask * torch.autograd.grad(loss, tau)[0]
# ```
#
# </details>
#
# Now we train a side memory for the tower, once with the answer's loss alone, and once with a step of
# yours behind every step for the answer.
#
# **Predict.** At the start $\tau = 0$, so $\Delta = 0$ everywhere, and the hinge for the edit is wide
# open. Could your step begin the training alone, without the answer?
#
# <details><summary>Answer</summary>
#
# No. $\|\tau a\|$ has no derivative at $\tau = 0$: it grows alike in every output direction, and PyTorch takes
# 0 there. The answer has to say in which direction the output should move; the margin only says how far.
#
# </details>

# %%
lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
mine = own_fact.read()
module = lm.mlp_out(lib.EDITORS["wise"](lm).config.layer)
W = lm.weight(module).cpu().float()


def inputs(lm, module, text):  # a (n, d_in), what the matrix reads at each token of a text
    ids = encode_prompt(lm.tokenizer, text)
    skip = int(len(ids) > 1 and ids[0] == lm.leading_bos)  # the token in front counts nowhere
    read = activations.module_inputs(lm, [ids], [module], skip)[module]
    return read.float().cpu()


def score(tau, a):  # Δ, for the inputs a of a prompt
    return (a @ tau.T).norm(dim=1).mean().item()


prompts = [tower.text, f"I have heard it again. {tower.text}"]
calm = [inputs(lm, module, text) for text in texts.irrelevant()[:32]]
unit = sum(score(W, a) for a in calm) / len(calm)  # the mean length of W a
own, others = [inputs(lm, module, text) / unit for text in prompts], [a / unit for a in calm]
answer = encode_target(lm.tokenizer, tower.target_new)
rows = [losses.Text(encode_prompt(lm.tokenizer, text), answer, 0.5) for text in prompts]


# %%
mask, steps = draw_mask(tuple(W.shape), 0.2, seed=0, shard=0), 3 if SCALE == "tiny" else 10


def train(step=None):  # the loss at the end, Δ of the edit and of the highest text
    tau = torch.zeros_like(W)
    for _ in range(steps):
        found = losses.outcome(lm, lib.EMPTY, {module: tau}, rows, [])
        tau = tau - 5.0 * mask * found.grads[module].cpu()  # the answer
        if step:  # and the router
            tau = step(tau, mask, own, others, margins, 25.0)
    return found.edit, score(tau, own[0]), max(score(tau, a) for a in others)


ways = {"answer alone": None}
ways |= dict(zip(("with margins", "with margins, yours"), both(margin_step).values(), strict=False))
print("Δ in units of ‖Wa‖:")
for name, step in ways.items():
    loss, edit, text = train(step)
    print(f"{name}: the edit {edit:.2f}, the highest text {text:.2f}, loss {loss:.2f}")

# %% [markdown]
# The answer alone leaves a narrow gap between the edit and the highest of the texts. Your steps pull the edit up far
# more than the texts. **It is the margins that open the gap.** Of rewordings and neighbors they ask nothing.
#
# ## Who is sent where?
#
# Now a memory with several facts, written by the library with `preset="ours"`: the tower, the sheep, three others, and
# your own fact where you have typed one. This is not the paper's WISE, which is the default: earlier facts are trained
# along, which we call *rehearsal*, there is no mask, the gradient is multiplied by $C^{-1}$ of general text, and
# $\varepsilon$ is somewhat lower than the least $\Delta$ of an edit. From here on WISE on this page means our form.
#
# **Predict.** Is there a threshold that lets rewordings in and neighbors not?
#
# <details><summary>Answer</summary>
#
# None is seen. Unrelated prompts stand far below both.
#
# </details>

# %%
every = lib.classroom()
cases = [every[0], *every[1:18:6], lib.Case(sheep)]
cases = cases[: 2 if SCALE == "tiny" else None] + ([lib.Case(mine)] if mine else [])
patch = lib.EDITORS["wise"](lm, preset="ours").edit([case.fact for case in cases])
(side,) = patch.routes[module].memories


def layer(a, prompt):  # WISE's layer: the inputs of a row, of which so many are the prompt's
    return a @ (W + side.tau).T if score(side.tau, a[-prompt:]) >= side.eps else a @ W.T


for text in (tower.text, cases[0].locality[0]):  # the library's route does the same
    with lm.patched(patch):
        a, out = lm.run([text], [module]).seen[module]
    models.same(lm, layer(a[0].float().cpu(), len(inputs(lm, module, text))), out[0].float().cpu())
ranked = guess("How often has a rewording a larger Δ than a neighbor, in % of pairs?", 0, 100)

# %% [markdown]
# That is one memory. Three streams of twelve facts, which share no fact, have a memory each. Every threshold lets a
# share of the rewordings in, and a share of others: neighbors, *strangers*, which are edits of another stream, or
# unrelated prompts. Each line is a stream.

# %%
stored = long_runs.rows("12_streams")
last = {}
for row in stored:
    if "reworded" in row:  # all facts are written: {line: its row of each stream}
        last.setdefault(row["line"], []).append(row)


def means(rows, key, count=None, times=100):  # of each stream
    return [times * sum(row[key][:count]) / len(row[key][:count]) for row in rows]


def above(one, other):  # how often a prompt of the one group has the larger Δ, in %
    return 100 * (torch.tensor(one)[:, None] > torch.tensor(other)).float().mean().item()


reach, curves = [row["deltas"] for row in last["WISE"]], {}
for kind in ("neighbor", "stranger", "unrelated"):
    curves[kind] = {"WISE's Δ": [runs_12.curve(one["rewording"], one[kind]) for one in reach]}
    ranks = [above(one["rewording"], one[kind]) for one in reach]
    often = "{:.0f} [{:.0f}, {:.0f}]".format(*(min(x, 100) for x in by_stream(ranks)))
    print(f"a rewording has a larger Δ than a prompt of kind {kind}: in {often} % of pairs")
    if kind == "neighbor":
        ranked.against(sum(ranks) / len(ranks))
figures.curves(curves, "others let in (%)", "rewordings let in (%)", ylim=(0, 104))

# %% [markdown]
# Against neighbors the lines stay near the diagonal: a rewording has the larger $\Delta$ in about half of the pairs,
# as chance would have it. Three streams could have shown an advantage of sixteen points or more. Against strangers it
# is better in each stream, and against unrelated prompts nearly always right. **The router knows that a prompt looks
# like the edits. That it knows which fact is meant is not seen.**
#
# Why do neighbors get in? The next figure has $\delta_p$ at each token of six prompts, and behind each prompt what
# the model says to it before and after the edits.

# %%
asked = {
    "edit": tower.text,
    "rewording": "The Eiffel Tower stands in the city of",
    "another rewording": "Tourists who want to see the Eiffel Tower travel to the city of",
    "neighbor": "The Reichstag is located in the city of",
    "another neighbor": "The Colosseum is located in the city of",
    "unrelated": "The recipe for bread begins with",
}
before = lm.answer(list(asked.values()), 2)
with lm.patched(patch):
    after = lm.answer(list(asked.values()), 2)
shown = []
for (group, text), *said in zip(asked.items(), before, after, strict=True):
    a = inputs(lm, module, text)
    words = [lm.tokenizer.decode([i]) for i in encode_prompt(lm.tokenizer, text)[-len(a) :]]
    change = " → ".join(f"“{answer.strip()}”" for answer in said)
    shown.append((f"{group}, {change}", words, (a @ side.tau.T).norm(dim=1).tolist()))
drawings_12.tokens(shown, side.eps)

# %% [markdown]
# It is not the tower that lights up most. The largest $\delta$ of the edit is at "of" and "in", words of its
# sentence, and both neighbors have the same words. The rewording with tourists has the tower and another sentence,
# and stays below $\varepsilon$. So **the mean is carried by the sentence**, and the Reichstag stands in Rome.
#
# ## Is a memory full, or does it forget?
#
# A memory **forgets** where later facts damage earlier ones. It is **full** where its entries cannot hold so many
# facts at all. To tell the two apart, the same facts are written with rehearsal of all earlier facts, and without it.
# What is held with rehearsal shows that there is room. What is then lost without it was forgotten.
#
# As published, WISE has no rehearsal. It deals its facts into *shards*, each with a random mask of its own, and
# afterwards merges the shards by a rule called TIES, which [exercise 7.3](../lessons/session_7.md) writes. So we ask
# this of a memory with a mask.
#
# First on a small matrix: sixteen pairs are written one after another, by gradient descent inside a random mask. The
# figure has the error of each pair at the end, as the mean of three masks, with a shade from the lowest to the
# highest. **Move the share of the mask.**
#
# **Predict.** The matrix has 64 inputs. From which share on can a mask hold sixteen pairs?
#
# <details><summary>Work it out</summary>
#
# Each output has as many free entries as its row of the mask, 64 times the share, and sixteen conditions. So a
# quarter is the border, and where chance leaves a row fewer entries, it is somewhat higher.
#
# </details>


# %%
def learn(K, V, mask, rehearse=True):  # τ after pair by pair
    tau = torch.zeros_like(mask)
    for t in range(K.shape[1]):
        some = slice(0 if rehearse else t, t + 1)
        for _ in range(100):
            error = V[:, some] - tau @ K[:, some]
            tau = tau + 0.2 / mask.mean() * mask * (error @ K[:, some].T)
    return tau


def by_age(share):
    lines, bands = {}, {}
    for name, rehearse in {"without rehearsal": False, "with rehearsal": True}.items():
        found = []
        for K, V, mask in (runs_12.toy(seed, share) for seed in range(3)):
            found.append(100 * (V - learn(K, V, mask, rehearse) @ K).norm(dim=0))
        each = torch.stack(found)
        lines[name], bands[name] = each.mean(0), (each.amin(0), each.amax(0))
    said = "pair, in the order of writing", "error at the end (%)"
    return plot.lines(range(1, 17), lines, *said, bands=bands)


Slider(by_age, "share of the mask", [0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0], 0.4)

# %% [markdown]
# With two fifths of the entries the memory is not full: with rehearsal it holds every pair, up to some percent. Without
# it the oldest pairs are all but lost, and the last one is perfect. **That is forgetting.** With a fifth, rehearsal
# leaves an error that is the same for old and new pairs: **that is a full memory.**
#
# And in the model? In each stream the first six facts are asked when they have just been written, and again when six
# others have followed, with $-\log p$ of the answer. **The observation is the stream and not the fact**: twelve facts
# share one matrix, and a bad step harms them together. Without rehearsal one stream was run, an example.

# %%
half = runs_12.HALF
for name in ("WISE", "WISE, no rehearsal"):
    for edits, when in ((half, "at once"), (2 * half, "at the end")):
        some = [row for row in stored if row["line"] == name and row["edits"] == edits]
        held, nats = means(some, "held", half), means(some, "nats", half, 1)
        said = ", ".join(f"{x:.0f} % ({y:.2f} nats)" for x, y in zip(held, nats, strict=True))
        print(f"{name}, first six facts {when}, by stream: {said}")

# %% [markdown]
# Nothing is lost, with rehearsal or without: twelve facts are few for a matrix of this size. **In these streams it is
# not the memory that limits WISE, but the router.**
#
# ## A side memory in your own file
#
# Your margins and the library's route make an editor, which the cell below keeps in `my/wise.py`. Beside it stands the
# library's memory of this page.


# %%
def edit(lm, facts, after):
    """WISE: `after` with a side memory beside one matrix, four fifths up."""
    module, learned = lm.mlp_out(round(0.8 * lm.n_layers)), [*after.memory.get("mine", ())]
    W, bare, tok = lm.weight(module).cpu().float(), replace(after, routes={}), lm.tokenizer
    tau = after.routes[module].memories[0].tau if module in after.routes else torch.zeros_like(W)
    with lm.patched(bare, only=True):  # learned as if no side memory answered
        calm = [inputs(lm, module, text) for text in texts.irrelevant()[:16]]
        unit = sum((a @ W.T).norm(dim=1).mean().item() for a in calm) / len(calm)
        margins = 0.25 * unit, 1.5 * unit, unit
        for fact in facts:
            learned.append((fact.text, fact.target_new))
            own = [inputs(lm, module, text) for text, _ in learned]
            ids = [(encode_prompt(tok, a), encode_target(tok, b)) for a, b in learned]
            rows = [losses.Text(*pair, 1 / len(ids)) for pair in ids]
            for _ in range(8):
                grads = losses.outcome(lm, bare, {module: tau}, rows, []).grads
                tau = tau - 5.0 * grads[module].cpu()
                tau = margin_step(tau, W == W, own, calm, margins, 25.0 / unit)
    eps = min((a @ tau.T).norm(dim=1).mean().item() for a in own)
    side, score = SideMemory(tau, eps, len(learned)), ActivationDifference(bos=lm.leading_bos)
    routes = {**after.routes, module: Side((side,), 1.0, score, module)}
    return replace(after, routes=routes, memory={**after.memory, "mine": tuple(learned)})


# %%
hand_ins.Editor("wise.py").grow(inputs, margin_loss, margin_step, edit)
some = [tower, sheep] + ([mine] if mine else [])
patches = {"your file": edit(lm, some, lib.EMPTY), "the library": patch}
asked = [fact.text for fact in some] + [asked["rewording"], asked["neighbor"], asked["unrelated"]]
said = {"the model": lm.answer(asked, 2)}
for name, one in patches.items():
    with lm.patched(one):
        said[name] = lm.answer(asked, 2)
show.Table([{"prompt": p, **{n: said[n][i].strip() for n in said}} for i, p in enumerate(asked)])

# %% [markdown]
# Both say the edits. The library lets the near rewording in, and the neighbor with it; your file shuts both out.
# `python -m lessons.leaderboard my/wise.py` tries it on facts that you have not seen. What would you change
# first: the margins, the threshold, or what $\Delta$ is a mean of?
#
# ## The impossible triangle
#
# An editor should hold its facts, rewordings should follow, and everything else should stay. The authors of WISE call
# this the *impossible triangle*. The figure has the five streams of [notebook 14](14_lifelong.ipynb), in which all of
# these editors hold most of their facts. Large marks are means, small ones streams, and upper right is best.
#
# Four settings of our form of WISE are not the paper's. Earlier facts are rehearsed (`rehearse`), gradients are
# whitened by the second moment of texts (`whiten`), $\Delta$ of all facts is measured again after each edit (`track`), and
# $\varepsilon$ lies between texts that must stay and the least fact (`calibrate`). What does each give? WISE wrote the same
# streams once more with one left out at a time. Two of these stand in the figure, with an arrow from each to WISE, and
# the table has all.
#
# **Predict.** Where does the arrow of a setting that makes the *router* better point?
#
# <details><summary>Answer</summary>
#
# To the upper right, or straight up: more rewordings and no neighbor lost.
#
# </details>

# %%
five, less = long_runs.rows("14_five"), long_runs.rows("14_settings")
columns = {"neighbors": "neighbors", "unrelated texts": "unrelated"}  # {panel: column}
shares = {c: runs_14.streams([*five, *less], c) for c in ("reworded", *columns.values())}
names = {"WISE": "WISE", "GRACE": "GRACE, radius 8", "UltraEdit": "UltraEdit", "MEMIT": "MEMIT"}
names |= {left: f"WISE without {left}" for left in ("calibrate", "track")}
looks = (plot.EDITED, *plot.CYCLE[:3], plot.BASE, plot.QUIET)
COLORS = dict(zip(names.values(), looks, strict=True))


def places(name, column):  # (what is kept, rewordings that follow), in %, of each stream
    pairs = zip(shares[column][name], shares["reworded"][name], strict=True)
    return [tuple(100 * sum(some) / len(some) for some in pair) for pair in pairs]


# %%
plots = {
    panel: {said: [places(name, column)] for name, said in names.items()}
    for panel, column in columns.items()
}
figure = figures.tradeoff(plots, "kept (%)", "rewordings that follow (%)", COLORS)
for ax, lines in zip(figure.axes, plots.values(), strict=True):
    wise, *ends = (torch.tensor(lines[names[n]][0]).mean(0) for n in ("WISE", "calibrate", "track"))
    for end in ends:
        figures.arrow(ax, wise.tolist(), plot.EDITED, end.tolist(), linewidth=1.2, shrinkB=5)
display(figure)
settings = []
for name, row in runs_14.gains(five, less).items():
    gained = {key: "{:+.0f} [{:+.0f}, {:+.0f}]".format(*(100 * x for x in row[key])) for key in row}
    settings.append({"points gained by": name} | gained)
show.Table(settings)

# %% [markdown]
# No editor stands in the corner of both panels. WISE lets rewordings follow and loses most of its neighbors, and GRACE,
# with the small radius of its preset, is its opposite. MEMIT has the rewordings and the neighbors, and pays with
# unrelated prompts.
#
# `calibrate` and `track` bring the rewordings in, and the neighbors pay for it: both arrows of the left panel go up
# and to the left. **These two settings do not make the router know more. They move WISE along one side of the
# triangle.** For rehearsal and whitening these short streams show no gain, where one of more than eight points would
# have been seen.
#
# ## What we know now
#
# * $\Delta$ says how far the side memory moves the output at a prompt. It comes for nothing, from the gradient, and it is
#   a mean over tokens, so a sentence that is shared counts as much as a subject.
# * Margins make it small at texts like those they were trained on, and large at edits. Nothing is asked of
#   neighbors, and in three streams most of them are let in with the rewordings.
# * A memory that **forgets** loses old facts and keeps the last one; rehearsal brings them back. A **full** one misses
#   all of them a little, and rehearsal does not help.
# * A lower threshold brings rewordings in, and neighbors with them. Only a better router could do one without the other.
# * Facts of one stream share a matrix, so the stream is the observation.
#
# ## Where it breaks
#
# Twelve facts did not fill this memory nor make it forget; the small matrix says that more would. What failed here is the
# router: neighbors come in with the rewordings, probably because $\Delta$ is a mean over words. What if each batch of
# facts had a memory of its own, and a router were *trained* to find it? That is [notebook 13](13_lemoe.ipynb).
#
# ## References
#
# * Wang et al.: *WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768).
# * Yadav et al.: *TIES-Merging*, 2023, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708).
