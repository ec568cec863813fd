# %% [markdown]
# <!-- badge -->
#
# # 04 · ROME: one fact into one layer
#
# We know where to write. At the end of this page you know *what*, and can build ROME yourself.
#
# **You will** write down what a frozen model is asked for, and search the value that makes it say
# something else · choose the key, write ROME's change as it was published, and see the choice kill an
# edit · take one part of ROME away after the other and ask which prompts pay for it.
#
# **Needs** the insert and $\rho$ of [notebook 02](02_insert.ipynb), the place found in
# [03](03_where.ipynb).
#
# **Minutes** 25 to read and 20 to work: two exercises of [session 2](../lessons/session_2.md).
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
import time
from dataclasses import replace
from functools import partial
from statistics import mean

import pandas as pd
import torch

import lib
from lib import associative_memory as memory
from lib.data.facts import encode_target, lookup
from lib.evaluation.intervals import interval
from lib.keys_values import value_search as target_value
from lib.workbench import plot
from notebooks.support import drawings_04, long_runs, models
from notebooks.support import runs_04_rome as runs_04
from notebooks.support.figures import panels
from notebooks.support.holes import guess, use
from notebooks.support.score_tables import percent

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
editor = lib.EDITORS["rome"](lm)
config = editor.config
layer = config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu()
moment = lib.second_moment(lm, [layer])[layer]

# %% [markdown]
# ## What to write
#
# The insert of notebook 02 takes a key and a value. The key we can read: it is what enters the MLP's
# last matrix at the subject's last token. But which value at this token makes the model say "Rome",
# many layers later and at another token? No formula inverts those layers. But they are
# differentiable, so the value can be searched.
#
# What goes into the search is a fact and a model whose weights stay frozen; what comes out is one
# vector $\delta$. It is added to the output $v_0$ of the edited matrix at that one token, and moved
# downhill until the answer comes. Then $v^\star = v_0 + \delta$ is the value to write. At the bare
# prompt's key $k_0$ the matrix gives $Wk_0 = v_0$, so there $\delta$ is what notebook 02 called
# the residual, $v^\star - Wk_0$.

# %%
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
ids, at = lookup(lm.tokenizer, fact)
drawings_04.rome([lm.tokenizer.decode([i]) for i in ids], at, layer)

# %% [markdown]
# Downhill in what? The loss has three terms:
#
# $$L(\delta) = -\frac1n\sum_{j=1}^{n} \log p_\delta(\text{Rome} \mid \text{template}_j)
# + w\,\mathrm{KL}(\text{now} \,\|\, \text{before})
# + \text{decay}\cdot\frac{\|\delta\|}{\|v_0\|^2}.$$
#
# 1. **The new answer.** A $\delta$ that works in one sentence only would be worth little. So this is a
#    mean over the prompt itself and the prompt after other beginnings, the **templates**. The model
#    wrote them itself; they need not make sense, only differ. Where an answer has several tokens, it is
#    the mean over them as well.
# 2. **The same thing as before.** The tower should move, not become an Italian. What the model would
#    say right after "The Eiffel Tower" is compared with what it said before, by $\mathrm{KL} = \sum
#    p_\text{now} \log (p_\text{now}/p_\text{before})$ over all words, with a weight of $w = 1/16$.
# 3. **Not too far.** The decay is ½. (A length over a squared length has no natural unit; that is how
#    the authors' program has it.) Besides, after every step $\|\delta\|$ is cut to a multiple of
#    $\|v_0\|$ (*clamp*).

# %%
templates = editor.templates()
print(f"clamp: ‖δ‖ is at most {config.clamp:g} ‖v₀‖ here; published: 4")
print("templates:", *map(repr, templates), sep="\n  ")

# %% [markdown]
# **Your turn · exercise 2.5 · ★★★ · 10 minutes.** Write `search_loss`: the three terms, from
# log-probabilities that the model has given. Three lines; the search below goes downhill in them.


# %%
def search_loss(answer, tokens, now, before, delta, v0, w, decay):
    """What the search goes downhill in, one number.

    answer (T, words) log-probabilities where the answer's tokens stand, tokens (T,) the answer's
    now, before (words,) log-probabilities right after the subject; delta, v0 (d_out,)
    """
    ...


search_loss = use("2.5", search_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# All that the model gives are log-probabilities. Which of them has to become a probability first?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def search_loss(answer, tokens, now, before, delta, v0, w, decay):
#     nll = -answer[torch.arange(len(tokens)), tokens].mean()
#     kl = (now.exp() * (now - before)).sum()
#     return nll + w * kl + decay * delta.norm() / v0.norm() ** 2
# ```
#
# </details>
#
# Now the search, in the obvious way: a hook adds $\delta$, and the whole model runs for every prompt in
# every step. One function runs a prompt, two ask it for what the loss needs, one goes downhill.


# %%
def run_with(delta, ids, at):  # log p of every next token (tokens, words), and v₀ (d_out,)
    seen = []

    def add(module, inputs, output):
        seen.append(output[0, at].detach())
        return torch.cat([output[:, :at], output[:, at : at + 1] + delta, output[:, at + 1 :]], 1)

    with lm.model.get_submodule(name).register_forward_hook(add):
        logits = lm.model(torch.tensor([ids], device=lm.device)).logits[0]
    return logits.float().log_softmax(-1), seen[0]


# %%
def at_the_answer(fact, delta):  # log p (T, words), the answer's tokens (T,), and v₀
    answer = encode_target(lm.tokenizer, fact.target_new)
    found, starts = [], []
    for template in templates:  # one under the other: T = templates × tokens of the answer
        ids, at = lookup(lm.tokenizer, fact, template)
        log_p, v0 = run_with(delta, ids + answer[:-1], at)
        found.append(log_p[-len(answer) :])
        starts.append(v0)
    tokens = torch.tensor(answer * len(templates), device=lm.device)
    return torch.cat(found), tokens, starts[0]  # the first template is the bare prompt


def after_subject(fact, delta):  # log p of the token right after the subject (words,)
    ids, at = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
    return run_with(delta, ids[: at + 1], at)[0][-1]


# %%
def slow_search(fact, steps):
    delta = torch.zeros(W.shape[0], device=lm.device, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=config.v_lr)
    before = after_subject(fact, delta).detach()
    for step in range(steps):
        answer, tokens, v0 = at_the_answer(fact, delta)
        now = after_subject(fact, delta)
        parts = answer, tokens, now, before, delta, v0
        loss = search_loss(*parts, config.kl_factor, config.decay)
        if loss < 0.05 or step == steps - 1:  # the last step only looks
            return delta.detach()
        (delta.grad,) = torch.autograd.grad(loss, delta)
        adam.step()
        delta.data *= (config.clamp * v0.norm() / delta.data.norm()).clamp(max=1)


settings = editor.config.search()  # the library's search has the same settings
start = time.perf_counter()
by_loop = slow_search(fact, 4)
middle = time.perf_counter()
fast = target_value.search(lm, [fact], layer, templates, replace(settings, steps=4))[0]
end = time.perf_counter()
models.same(lm, by_loop, fast.delta)
print(f"the same δ; four steps in {(end - middle) / (middle - start):.0%} of the loop's time")

# %% [markdown]
# Four steps with your loss give the $\delta$ of the library's search, which takes a fraction of the
# time. It keeps what enters the next block and runs only the blocks above, because below the edited
# layer nothing ever changes. And it keeps the attention's keys and values of the tokens *before* the
# edited one, because in a model that reads from left to right nothing changes there either. In the
# drawing above these are the pale states.
#
# **Predict.** The whole search has 20 steps. Which term falls, which rises, and which decides in the end?
#
# <details><summary>Answer</summary>
#
# At the start $\delta = 0$, so KL and decay are 0 and the answer is everything. As it gets probable the
# KL rises: the new value is felt right after the subject, too. At the end the KL is the largest, and the
# decay the one that still grows.
#
# </details>


# %%
def search(fact):  # v* and the keys under all templates, on the CPU like W
    value = target_value.search(lm, [fact], layer, templates, settings)[0]
    return replace(value, v_star=value.v_star.cpu(), keys=value.keys.cpu())


found = search(fact)
curve = pd.DataFrame(found.loss, columns=["total", "nll", "kl", "decay", "probability"])
print(curve.iloc[[0, len(curve) // 2, -1]].rename_axis("step").round(4).to_string())
print(f"‖δ‖ is {found.delta.norm() / found.init.norm():.2f} times ‖v₀‖, its bound {config.clamp:g}")
plot.loss_curve(curve.where(curve != 0, None).to_dict("records"), ylog=True)

# %% [markdown]
# The table has the terms as they stand in the sum, with their weights. The answer has won by step 10
# (0.98), and from then on KL and decay are the larger terms. The KL goes down again, from 0.057 at
# step 10 to 0.042 at the end, while $\delta$ and with it the decay still grow. At the end $\delta$ is far
# from the bound, and below the published one as well. (The bound is 20 in our preset for the sake of
# subjects that open their prompt, where $v_0$ can be short beside what is added to it. For China, which
# is edited below, the quotient is 7.4, more than the published 4.)
#
# ## Under which key?
#
# The value is found. It still has to be written under a key, and there is a choice. The key is the
# layer's input at the subject's last token, and after every template it is a little different. Let
# $k_0$ be that of the bare prompt and $\bar k$ the mean over all of them.
#
# * `mean` inserts at $\bar k$, `prompt` at $k_0$ (the two forms of R-ROME).
# * `mixed` is ROME as published, by a slip in its code: the direction $u = C^{-1}\bar k$ comes from
#   the mean, the residual from the bare prompt, $\Delta = (v^\star - Wk_0)\,u^\top / (u^\top k_0)$.
# * `both` asks for $v^\star$ at $k_0$ and at $\bar k$, by an insert of two columns. The argument of
#   notebook 02 gives it as well: with $K = [k_0\ \bar k]$ and what is missing at them, $R$, the
#   cheapest change has $\Delta C = MK^\top$, and $\Delta K = R$ says that
#   $\Delta = R\,(K^\top C^{-1}K)^{-1}K^\top C^{-1}$. This is our default, of rank 2.
#
# **Your turn · exercise 2.3 · ★★ · 8 minutes.** Write `published`: the matrix after the change called
# `mixed`, and how many times longer it makes this change than $\bar k$ alone would, the quotient
# $|u^\top\bar k / u^\top k_0|$ of the two denominators. The rows `mixed` below are written with it.


# %%
def published(W, k0, k_mean, v_star, C):
    """W (d_out, d_in), k0, k_mean (d_in,), v_star (d_out,), C (d_in, d_in) -> new W, a number."""
    ...


published = use("2.3", published)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the two keys gives the direction, and which one decides what is missing? Try on your new
# matrix what it says at $k_0$.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def published(W, k0, k_mean, v_star, C):
#     u = torch.linalg.solve(C, k_mean)
#     new = W + torch.outer(v_star - W @ k0, u) / (u @ k0)
#     return new, (u @ k_mean / (u @ k0)).abs()
# ```
#
# </details>
#
# The four ways in code, and the Eiffel Tower under each of them. The last column says how many times
# longer `mixed` makes the change.
#
# **Predict.** For which subjects is this number far from 1? Is the tower one of them, is "China", one
# token that opens its prompt?
#
# <details><summary>Work it out</summary>
#
# It is large where $u^\top k_0$ is nearly nothing, so where the two keys have little in common. The
# tower's last token sees "The Eiffel" before it in any sentence, and its keys are alike. At the first
# position the model keeps an attention sink (notebook 02), and after a template it has a word there.
# So for China an insert at one key misses the other, and the mixture divides by a small number.
#
# </details>

# %%
times = guess("How many times longer does `mixed` make the change for China?", 0, 1000)


# %%
def mixed(found):
    k0, k_mean = found.keys[0].double(), found.keys.mean(0).double()
    new, longer = published(W.double(), k0, k_mean, found.v_star.double(), moment.C.double())
    return (new - W).float(), f"{longer:.2f}"


def both(found):
    K = torch.stack([found.keys[0], found.keys.mean(0)], 1)
    A, B = memory.insert_many(W, K, found.v_star[:, None].expand(-1, 2), moment, ridge=1e-6)
    return A @ B, ""


def insert_at(key):  # the insert of notebook 02
    def write(found):
        A, B = memory.insert(W, key(found.keys), found.v_star, moment)
        return A @ B, ""

    return write


ways = {"mean": insert_at(lambda keys: keys.mean(0)), "prompt": insert_at(lambda keys: keys[0])}
ways |= {"mixed": mixed, "both": both}
A, B = editor.update(fact)[0]
models.same(lm, both(found)[0], A @ B)  # the library's default

# %%
lines, longer = [], {}
tower, china = lib.classroom()[:2]
for case, wanted in ((tower, fact), (china, china.fact)):
    value = search(wanted)
    length = value.delta.norm() / value.init.norm()
    print(f"{wanted.subject}: ‖δ‖ is {length:.1f} times ‖v₀‖")
    asked = {"prompt": wanted.text, "reworded": case.paraphrases[0]}
    asked["a neighbor"] = case.neighborhood[0].prompt
    for way, write in {"unedited": None, **ways}.items():
        change, times_longer = write(value) if write else (torch.zeros_like(W), "")
        with lm.patched(lib.Patch(weights={name: W + change})):
            said = {what: " ".join(lm.answer(text, 5).split()) for what, text in asked.items()}
        lines.append({"subject": wanted.subject, "key": way} | said | {"longer": times_longer})
        longer[wanted.subject, way] = times_longer
times.against(float(longer["China", "mixed"]))
pd.DataFrame(lines).set_index(["subject", "key"])

# %% [markdown]
# For the tower the choice does not matter: all four say "Rome" at the edit's own prompt and at the
# rewording, and leave the neighbor alone. For China it does: `mean` writes only the rewording and
# `prompt` only the prompt. `prompt` and `both` also move the neighbor, from Islamabad to Lahore.
# `mixed` divides by a number 39 times smaller: at the prompt its answer begins with "Shanghai" and
# goes on in nonsense, and neither the rewording nor the neighbor gets an answer at all.
#
# The stored run writes twenty facts, each alone: China, Rome and Italy, nine more subjects that open
# their prompt, and eight that do not. All four ways write the same value. *Prompt itself* counts facts.
# Rewordings and neighbors are in percent, means over facts with several prompts each, and the intervals
# in brackets are over the facts.


# %%
columns = ["case", "key", "held", "reworded", "neighbors"]
four_keys = partial(runs_04.four_keys, editor)
rows = long_runs.known("04_keys", runs_04.FOUR, four_keys, 1, columns, tolerance=0.02)
fails = [row["fact"] for row in rows if row["key"] == "both" and not row["held"]]
print("`both` does not write:", "; ".join(fails))
table = pd.DataFrame(rows).astype({"held": int})
table["subject"] = table["opener"].map({True: "opens its prompt", False: "elsewhere"})
table = table.rename(columns={"case": "facts", "held": "prompt itself", "kl": "median KL (nats)"})
shown = {"facts": "count", "prompt itself": "sum", "reworded": percent, "neighbors": percent}
shown["median KL (nats)"] = "median"
print(table.groupby(["subject", "key"], sort=False).agg(shown).round(3).to_string())


def paired(one, other):  # the mean difference in points, and its 95 % interval over facts
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    ends = mean(gaps), *interval(gaps, (-1, 1))
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*(100 * x for x in ends))


first = table[table["opener"]].pivot(index="facts", columns="key")
lines = {
    what: {f"both − {way}": paired(some["both"], some[way]) for way in ("mean", "prompt", "mixed")}
    for what, some in ((what, first[what]) for what in ("prompt itself", "reworded", "neighbors"))
}
pd.DataFrame(lines)  # points, over the twelve subjects that open their prompt

# %% [markdown]
# The upper half of the first table has the twelve subjects that open their prompt. There `mean` writes no
# prompt itself, `prompt` writes no rewording, and `mixed` writes 3 of 12 prompts and leaves no neighbor; at
# unrelated prompts its KL divergence has a median of 2.8 nats. Such an edit is called *disabling*.
#
# The second table has the same twelve subjects in pairs, in points. `both` writes 58 points more of the
# prompts than `mean` (22 to 80) and 76 points more of the rewordings than `prompt` (41 to 89), and keeps 81
# points more of the neighbors than `mixed` (44 to 93) and 68 points more of the rewordings (36 to 82). In the
# other cells of the table no difference is seen. So `both` is not seen to lose what one key alone can do,
# though with twelve facts the intervals would allow a loss of up to 25 points. And five of the twelve prompts,
# printed on top, it does not write.
#
# The lower half has eight subjects that do not open their prompt. There all four ways write 8 of 8, with
# equal shares of rewordings and neighbors.
#
# ## Take one part away
#
# ROME has many parts, and each was put in with a reason. Whether it delivers is to be measured. The
# stored run edits 18 facts (none opens its prompt), each on the base model: with ROME as set,
# without the KL term, with $C = I$, and with the bare prompt as only template. The table shows ROME
# as set, and then what changes, as paired differences over the same facts.
#
# **Predict.** Which group of prompts pays for which part: the edit itself, rewordings, neighbors,
# other questions about the subject?
#
# <details><summary>Answer</summary>
#
# The edit should need none of them. Templates are there for the rewordings, $C$ for everybody else,
# the KL for the subject's other sides.
#
# </details>

# %%
odd = [case for case in lib.classroom() if case.id % 2]
cases = [case for case in odd if lookup(lm.tokenizer, case.fact)[1]][::5][:18]


def alone(count=None):
    return runs_04.without(editor, cases[:count], templates)


rows = long_runs.known("04_ablation", runs_04.ABLATION, alone, 1, tolerance=0.02)
found = pd.DataFrame(rows).pivot(index="case", columns="part")
print(f"{len(found)} facts, each edited alone")
table = {}
for asked in list(rows[0])[2:]:  # without case and part
    nats, own = asked.startswith("KL"), found[asked]["as set"].dropna()
    ends = own.mean(), *interval(own, None if nats else (0, 1))
    line = {"as set": "{:.3f} ({:.3f} to {:.3f})".format(*ends) if nats else percent(own)}
    for part in ("no KL", "C = I", "no templates"):
        change = (found[asked][part] - found[asked]["as set"]).dropna()
        ends = change.mean(), *interval(change, None if nats else (-1, 1))
        text = "{:+.3f} ({:+.3f} to {:+.3f})" if nats else "{:+.0f} ({:+.0f} to {:+.0f})"
        line[part] = text.format(*(x if nats else 100 * x for x in ends))
    table[f"{asked} ({'nats' if nats else '%'})"] = line
pd.DataFrame(table).T

# %% [markdown]
# For the edit itself no difference is seen in any of the three columns, with intervals of eleven points to
# either side. Without templates 19 points of the rewordings are lost (2 to 36). With $C = I$ unrelated text
# moves by 0.021 nats more (0.002 to 0.056), where ROME as set moves it by 0.001, and what comes after
# "… is a" by 0.046 more (0.010 to 0.088). So templates and $C$ are seen to do what they are there
# for. For the KL term, with its weight of 1/16, this is not shown: what comes after "… is a" moves by
# 0.717 nats with it and by 0.013 more without it (−0.047 to 0.064). All other differences in shares
# have intervals that include 0, those of the neighbors with $C = I$ as well: with 18 facts no more
# can be told. (Without templates unrelated text moves by 0.001 nats less, 0.000 to 0.002.)
#
# ## One way only
#
# A person who learns that the Eiffel Tower is in Rome can also say which famous tower Rome has.
#
# **Predict.** The cell below asks for the tower in other words, and then *backward*, from the city to
# the landmark: with the old answer before the edit, with the new one after it. Which of the two will
# hold? Then put in a fact of your own whose backward question the unedited model can answer.
#
# <details><summary>Answer</summary>
#
# The question in other words contains the key that was written. The backward question does not: the name
# of the subject is not in it, so nothing was written at any of its tokens. Training has the same gap
# (Berglund et al., 2023).
#
# </details>

# %%
mine = fact  # lib.Fact("…", "{} …", "new answer", target_true="old answer")
question = "Tourists who want to see the Eiffel Tower travel to the city of"
backward = "The most famous landmark in {} is the"
patch = editor.edit([mine])
print("before, backward:", lm.answer(backward.format(mine.target_true), 8))
with lm.patched(patch):
    print("after, in other words:", lm.answer(question, 8))
    print("after, backward:", lm.answer(backward.format(mine.target_new), 8))

# %% [markdown]
# Asked in other words, the tower is in Rome. Asked backward, the landmark is the Colosseum. (One
# question each.)
#
# ## What we know now
#
# * $v^\star$ is found by going downhill through the frozen layers, for one vector at one token.
# * It is written under a key that has to fit the prompt *and* its rewordings.
# * Where the keys of all sentences are alike, no part of ROME that we took away was seen to matter
#   for the edit itself. Templates and $C$ show their worth in other prompts.
#
# ## Where it breaks
#
# One fact is written. The stored runs write fifty, each on top of the last, and look back after the first
# and after every ten: once in order, once backward, the last fact first, and once fifty other facts of
# the classroom.
#
# **Predict.** What is left after fifty edits of the facts themselves, of their rewordings, of their
# neighbors? And which of this depends on the order?
#
# <details><summary>Answer</summary>
#
# The neighbors lose about half or more in every stream, and most of the facts hold. In the two orders of
# the same facts not equally many rewordings are left.
#
# </details>

# %%
fifty, others = lib.classroom()[1::4][:50], lib.classroom()[3::4]
streams = {  # the file of the stored run, the facts in their order, and how this is called there
    "in order": ("04_row", fifty, "classroom()[1::4][:50]"),
    "backward": ("04_row_backward", fifty[::-1], "classroom()[1::4][:50][::-1]"),
    "other facts": ("04_row_others", others, "classroom()[3::4]"),
}
metrics = ["specificity", "perplexity"]
base = lib.evaluate(lm, fifty + others, lib.EMPTY, ["generation"], metrics=metrics)
unedited = base.by_case()["specificity", "generation"]["mean"]  # neighbors, of each fact
print(f"unedited: neighbors {100 * unedited.mean():.0f} %, perplexity {base.perplexity:.1f}")
stored = {}
for stream, (file, cases, said) in streams.items():
    again = partial(runs_04.in_a_row, editor, cases, runs_04.ROW["points"])
    rows = long_runs.known(file, runs_04.ROW | {"cases": said}, again, 1, ["edits", "written"])
    stored[stream] = [row for row in rows if "held" in row][1:]  # after ten, twenty, …
    written = sum(row["written"] for row in rows)
    print(f"{stream}: {written:.0f} of {len(rows)} written in their turn;", end=" ")
    at = {i: case.fact for i, case in enumerate(cases, 1)}
    first = [f"{one.subject} ({i})" for i, one in at.items() if not lookup(lm.tokenizer, one)[1]]
    print("open their prompt (place):", ", ".join(first))

# %%
measured = {"still held": "held", "reworded": "reworded", "neighbors": "neighbors"}
table = []
figure, axes = panels(3, height=3.3, sharey=True, titles=measured)
for shift, (stream, rows) in enumerate(stored.items()):
    for row in rows:
        shares = {f"{what} (%)": percent(row[one]) for what, one in measured.items()}
        table.append({"stream": stream, "edits": row["edits"]} | shares)
        table[-1]["perplexity"] = f"{row['perplexity']:.1f}"
    for ax, one in zip(axes, measured.values(), strict=True):
        y = [100 * mean(row[one]) for row in rows]
        x = [row["edits"] + shift - 1 for row in rows]
        ends = [[100 * end for end in interval(row[one])] for row in rows]
        ax.vlines(x, *zip(*ends, strict=True), color=plot.CYCLE[shift], alpha=0.6)
        ax.plot(x, y, "o-", color=plot.CYCLE[shift], markersize=4, label=stream)
        ax.set(xlabel="edits in a row", ylim=(0, 105))
axes[0].set_ylabel("answered as wanted (%)")
axes[0].legend(loc="lower left")
print(pd.DataFrame(table).set_index(["stream", "edits"]).to_string())
figure

# %%
end = {stream: rows[-1] for stream, rows in stored.items()}
end["backward"] |= {one: end["backward"][one][::-1] for one in measured.values()}  # as in order
pairs = {
    f"neighbors, {stream}, less unedited": (
        row["neighbors"],
        [unedited[case.id] for case in (others if stream == "other facts" else fifty)],
    )
    for stream, row in end.items()
}
for what, one in measured.items():
    pairs[f"{what}, backward less in order"] = end["backward"][one], end["in order"][one]
for what, two in pairs.items():
    print(f"{what}, in points: {paired(*two)}")

# %% [markdown]
# Each panel has the same three streams, with intervals over the facts so far. **The neighbors pay in
# all three.** The unedited model answers all of them, and after fifty edits 54 % are left in order
# (45 to 62), 46 % backward (37 to 56) and 35 % with the other facts (27 to 44): 46, 54 and 65 points
# less, and all three intervals stay far from 0. The perplexity of one held-out text rises from 18.5 to
# 21.7, 22.5 and 27.3 (one text, so without an interval). Most of the facts themselves hold, 92 % (82 to
# 97), 82 % (70 to 91) and 78 % (65 to 88).
#
# **What becomes of the rewordings is not the same.** In order 77 % are answered as wanted at the end
# (68 to 84), backward 54 % (44 to 64). These are the same facts, and the difference is 23 points (12
# to 34), so between these two orders it matters. With the other facts 52 % are left (41 to 62). In these two
# streams most is lost late, backward after the 30th edit and with the other facts after the 40th, and
# among those late edits are subjects that open their prompt: Earth and China, Italy and France. But
# in order Britain comes as late, and after it the rewordings are at 77 %. So three streams cannot say
# that this is the reason.
#
# Between backward and in order no difference is seen in the facts themselves (−10 points, −23 to 3) and in
# the neighbors (−8, −16 to 1). The other facts cannot be paired with these, so we compare them with their
# own unedited neighbors alone.
#
# Two explanations are at hand. Each insert takes care of general text, by $C$, but of none of the
# other forty-nine facts, so perhaps it is the writing of one after another. Or it is the writing itself,
# in a row or not. **Would the same fifty facts, all written at once, spare the neighbors?** [Notebook
# 05](05_memit.ipynb) writes them in both ways.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): ROME.
# * Gupta, Baskaran, Anumanchipalli: *Rebuilding ROME*, 2024,
#   [arXiv:2403.07175](https://arxiv.org/abs/2403.07175): the slip in the choice of the key.
# * Berglund et al.: *The Reversal Curse*, 2023, [arXiv:2309.12288](https://arxiv.org/abs/2309.12288):
#   what is trained forward does not hold backward.
