# %% [markdown]
# <!-- badge -->
#
# # 04 · ROME: one fact into one layer
#
# We know where to write. At the end of this page you know *what*, and can build ROME yourself.
#
# **You will** search the value that makes a frozen model say something else, term by term · make
# the search twice as fast without changing a number · choose the key, and see the choice
# kill an edit · take one part of ROME away after the other and ask which prompts pay for it.
#
# **Needs** the insert and $\rho$ of [notebook 02](02_insert.ipynb), the place found in
# [03](03_where.ipynb).
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
import time
from dataclasses import replace

import torch

import lib
from lib import memory, plot
from lib.data.facts import encode_target, lookup
from lib.keys_values import target_value
from notebooks.support import checks_04_rome as checks_04
from notebooks.support import drawings_04, long_runs, models, show
from notebooks.support import runs_04_rome as runs_04

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
editor = lib.EDITORS["rome"](lm)
config = editor.config
layer = config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu()
moment = lib.second_moment(lm, [layer])[layer]
tower = next(case for case in lib.classroom() if case.id == 0)
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")

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
ids, at = lookup(lm.tokenizer, fact)
drawings_04.rome([lm.tokenizer.decode([i]) for i in ids], at, layer)

# %% [markdown]
# Downhill in what? The loss has three terms:
#
# 1. **The new answer.** $-\log p(\text{Rome})$. A $\delta$ that works in one sentence only would be
#    worth little. So this is a mean over the prompt itself and the prompt after other beginnings,
#    the **templates**. The model wrote them itself; they need not make sense, only differ.
# 2. **The same thing as before.** The tower should move, not become an Italian. After "The Eiffel
#    Tower is a" the next word should stay what it was, and ROME asks for this right after the
#    subject's last token: plus $\tfrac1{16}$ of the KL divergence (now ‖ before) there.
# 3. **Not too far.** Plus $\tfrac12\|\delta\|/\|v_0\|^2$ (*decay*), and after every step a bound on
#    $\|\delta\|$, as a multiple of $\|v_0\|$ (*clamp*).

# %%
templates = editor.templates()
print(f"clamp: ‖δ‖ is at most {config.clamp:g} ‖v₀‖ here; published: 4")
show.Table([{"template": template} for template in templates])

# %% [markdown]
# First the obvious way: a hook adds $\delta$, and the whole model runs for every prompt in every
# step. One function runs a prompt, one computes the loss, one goes downhill.


# %%
def run_with(delta, ids, at):  # log p of every next token (tokens, vocabulary), and v₀ (d_out,)
    seen = []

    def add(module, inputs, output):
        seen.append(output[0, at].detach())
        return torch.cat([output[:, :at], output[:, at : at + 1] + delta, output[:, at + 1 :]], 1)

    with lm.model.get_submodule(name).register_forward_hook(add):
        logits = lm.model(torch.tensor([ids], device=lm.device)).logits[0]
    return logits.float().log_softmax(-1), seen[0]


# %%
def new_answer(fact, delta):  # −log p of the new answer, the mean over the templates; ‖v₀‖
    answer = encode_target(lm.tokenizer, fact.target_new)
    losses, lengths = [], []
    for template in templates:
        ids, at = lookup(lm.tokenizer, fact, template)
        log_p, v0 = run_with(delta, ids + answer[:-1], at)
        losses.append(-log_p[-len(answer) :][range(len(answer)), answer].mean())
        lengths.append(v0.norm())
    return sum(losses) / len(losses), lengths[0]  # the first template is the bare prompt


def after_subject(fact, delta):  # log p of the token right after the subject (vocabulary,)
    ids, at = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
    return run_with(delta, ids[: at + 1], at)[0][-1]


# %%
def slow_search(fact, steps):
    delta = torch.zeros(W.shape[0], device=lm.device, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=config.v_lr)
    before = after_subject(fact, delta).detach()
    for step in range(steps):
        nll, size = new_answer(fact, delta)
        now = after_subject(fact, delta)
        kl = config.kl_factor * (now.exp() * (now - before)).sum()
        decay = config.decay * delta.norm() / size**2
        loss = nll + kl + decay
        if loss < 0.05 or step == steps - 1:  # the last step only looks
            return delta.detach()
        (delta.grad,) = torch.autograd.grad(loss, delta)
        adam.step()
        delta.data *= (config.clamp * size / delta.data.norm()).clamp(max=1)


settings = editor.config.search()  # the library's search has the same settings
start = time.perf_counter()
by_loop = slow_search(fact, 4)
middle = time.perf_counter()
fast = target_value.search(lm, [fact], layer, templates, replace(settings, steps=4))[0]
end = time.perf_counter()
models.same(lm, by_loop, fast.delta)
print(f"the same δ; four steps in {(end - middle) / (middle - start):.0%} of the loop's time")

# %% [markdown]
# **Predict.** The whole search has 20 steps. Which term falls, which rises, and which decides in
# the end?
#
# <details><summary>Answer</summary>
#
# At the start $\delta = 0$, so KL and decay are 0 and the answer is everything. As it gets probable
# the KL rises: the new value is felt right after the subject, too. At the end the three hold each
# other.
#
# </details>


# %%
def search(fact):  # v* and the keys under all templates, on the CPU like W
    value = target_value.search(lm, [fact], layer, templates, settings)[0]
    return replace(value, v_star=value.v_star.cpu(), keys=value.keys.cpu())


found = search(fact)
columns = "total", "nll", "kl", "decay", "probability"
curve = [dict(zip(columns, row, strict=True)) for row in found.loss]
for step in (0, len(curve) // 2, len(curve) - 1):
    row = curve[step]
    terms = ", ".join(f"{c} {row[c]:.3f}" for c in ("nll", "kl", "decay"))
    print(f"step {step}: p({fact.target_new}) {row['probability']:.4f}, {terms}")
print(f"‖δ‖ is {found.delta.norm() / found.init.norm():.2f} times ‖v₀‖, its bound {config.clamp:g}")
plot.loss_curve([{c: x or None for c, x in row.items()} for row in curve], ylog=True)

# %% [markdown]
# The answer has won by step 10 (0.98), and from then on KL and decay are the larger terms. The KL
# goes down again, from 0.057 at step 10 to 0.042 at the end, while $\delta$ and with it the decay
# still grow. The bound is far away: with the published 4 the result would be the same. (It is 20
# in our preset for the sake of subjects that open their prompt, where $v_0$ is short beside what
# has to be added to it.)
#
# ## The same numbers, faster
#
# Where did the time go? Below the edited layer nothing ever changes: keep what enters the next
# block, and run only the blocks above (**along layers**). And in a model that reads from left to
# right nothing *before* the token changes: keep the attention's keys and values there, and run only
# from the token on (**along positions**). In the drawing above these are the pale states.
#
# **Predict.** What does each save, for layer 3 of 30? Which one more?
#
# <details><summary>Work it out</summary>
#
# Layers: 26 of 30 are left, so hardly anything; more when one edits higher up. Positions: about
# half of the tokens remain, fewer after long templates.
#
# </details>

# %%
prompts = [lookup(lm.tokenizer, fact, template) for template in templates]
table, ends = runs_04.timed(lm, layer, prompts)  # runs all prompts in three ways, best of five
for end in ends:
    models.same(lm, end, ends[0])
show.Table(table)

# %% [markdown]
# The same numbers in about half of the time: the layers save a little here, the positions more.
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
# * `both` asks for $v^\star$ at $k_0$ and at $\bar k$, by an insert of two columns. This is our
#   default, of rank 2, and you derive it now.
#
# ## Exercise: two keys at once
#
# Notebook 02 found the cheapest $\Delta$ with $\Delta k = \delta$. Now there are two keys,
# $K = [k_0\ \bar k]$, and what is missing at them, $R = [r_0\ \bar r]$. Find the $\Delta$ with
# $\Delta K = R$ that has the smallest $\mathrm{tr}(\Delta C\Delta^\top)$.
#
# <details><summary>A hint</summary>
#
# As in notebook 02 any other solution is $\Delta + H$ with $HK = 0$. For which $\Delta C$ does the
# mixed term $\mathrm{tr}(\Delta C H^\top)$ vanish for every such $H$? There is one unknown vector
# for each column of $K$, and the constraint fixes them.
#
# </details>
#
# <details><summary>A solution</summary>
#
# $\Delta C = MK^\top$, so $\Delta = MK^\top C^{-1}$, and $\Delta K = R$ gives
# $M = R\,(K^\top C^{-1}K)^{-1}$:
#
#     def two_keys(K, R, C):
#         U = torch.linalg.solve(C, K)
#         return R @ torch.linalg.solve(K.T @ U, U.T)
#
# </details>


# %%
def two_keys(K, R, C):  # (d_in, 2), (d_out, 2), (d_in, d_in) -> Δ (d_out, d_in)
    return "not attempted"


# %%
print(checks_04.two_keys(two_keys))

# %% [markdown]
# Now the four ways in code, and the Eiffel Tower under each of them.


# %%
def mixed(found):
    u = moment.solve(found.keys.mean(0)[:, None])[:, 0]
    bare = found.keys[0]
    return ((found.v_star - W @ bare) / (u @ bare))[:, None], u[None]


def both(found):
    K = torch.stack([found.keys[0], found.keys.mean(0)], 1)
    return memory.insert_many(W, K, found.v_star[:, None].expand(-1, 2), moment, ridge=1e-6)


ways = {
    "mean": lambda found: memory.insert(W, found.keys.mean(0), found.v_star, moment),
    "prompt": lambda found: memory.insert(W, found.keys[0], found.v_star, moment),
    "mixed": mixed,
    "both": both,
}
(A, B), (A_lib, B_lib) = both(found), editor.update(fact)[0]
models.same(lm, A @ B, A_lib @ B_lib)

# %%
asked = [fact.text, tower.paraphrases[0], tower.neighborhood[0].prompt]
lines = [{"key": "unedited"} | {text: lm.answer(text, 5) for text in asked}]
for way, write in ways.items():
    patch = lib.Patch(weights={name: lib.LowRank((write(found),))})
    with lm.patched(patch):
        lines.append({"key": way} | {text: lm.answer(text, 5) for text in asked})
show.Table(lines)

# %% [markdown]
# For the tower the choice does not matter: all four say "Rome" at the edit's own prompt and at the
# rewording, and leave the neighbor alone.
#
# **Predict.** And for "China", one token that *opens* its prompt?
#
# <details><summary>Work it out</summary>
#
# At the first position the model keeps an attention sink (notebook 02), and after a template it has
# a word there. So $k_0$ and $\bar k$ have little in common: an insert at one misses the other, and
# the mixture divides by $u^\top k_0$, which is nearly nothing.
#
# </details>
#
# The stored run writes twenty facts, each alone: China, Rome and Italy, nine more subjects that open
# their prompt, and eight that do not. All four ways write the same value. The first five rows are
# made again here.

# %%
four = runs_04.four_keys(lm)
rows = long_runs.stored("04_keys", runs_04.FOUR, lambda: runs_04.by_key(editor, four))
columns = ["case", "key", "held", "reworded", "neighbors"]
live = long_runs.repeats(rows, lambda: runs_04.by_key(editor, four[:1]), columns, tolerance=0.02)
print("wanted:", live[0]["fact"])
for row in live:
    print(f"{row['key']}: {' '.join(row['says'].split())!r}")
fails = [row["fact"] for row in rows if row["key"] == "both" and not row["held"]]
print("`both` does not write:", "; ".join(fails))
show.Table(runs_04.key_table(rows, opener=True))

# %%
show.Table(runs_04.key_table(rows, opener=False))

# %% [markdown]
# The first table has the twelve subjects that open their prompt. `mean` never writes the prompt
# itself, but the rewordings. `prompt` writes 7 of 12 and no rewording. `mixed` writes 3 of 12 and
# leaves nothing of the neighbors, with a median of 2.6 nats at unrelated prompts: a *disabling*
# edit. `both` has what the two halves have, 7 of 12 and 76 % of the rewordings, and keeps 81 % of
# the neighbors (58 to 93). Its five failures are printed above. With twelve facts these shares are
# rough; that `mixed` destroys the neighbors is beyond doubt.
#
# The second table has eight subjects that do not open their prompt. There all four ways write 8 of
# 8, with the same rewordings and neighbors.
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
PARTS, ABLATION = runs_04.PARTS, runs_04.ABLATION
odd = [case for case in lib.classroom() if case.id % 2]
cases = [case for case in odd if lookup(lm.tokenizer, case.fact)[1]][::5][:18]
rows = long_runs.stored(
    "04_ablation", ABLATION, lambda: runs_04.without(editor, PARTS, cases, templates)
)
long_runs.repeats(
    rows, lambda: runs_04.without(editor, PARTS, cases[:1], templates), tolerance=0.02
)
print(f"{len(rows) // len(PARTS)} facts, each edited alone")
show.Table(runs_04.parts_table(rows, PARTS))

# %% [markdown]
# The edit itself shows no difference in any of the four. Without templates 19 points of the
# rewordings are lost (2 to 36), and with $C = I$ unrelated text moves twenty times as far, by
# 0.021 nats more (0.002 to 0.056): these two earn their place. The KL term, with its weight of
# 1/16, does not show. What comes after "… is a" moves by 0.717 nats with it and by 0.013 more
# without it (−0.047 to 0.064). All other differences in shares have intervals that include 0: with
# 18 facts no more can be told.
#
# ## Exercise: one way only
#
# A person who learns that the Eiffel Tower is in Rome can also say which famous tower Rome has.
# Find an edit that holds in a reworded question but *not backward*, from the answer to the subject,
# where the base model does know the old fact backward.
#
# <details><summary>A hint</summary>
#
# Which of your questions contains the key that was written, and which does not?
#
# </details>
#
# <details><summary>A solution</summary>
#
# The Eiffel Tower itself, with "Tourists who want to see the Eiffel Tower travel to the city of" and
# "The most famous landmark in {} is the".
#
# </details>

# %%
my_fact = None  # lib.Fact("…", "{} …", "new answer", target_true="old answer")
my_question = None  # the same in other words, with the subject
my_backward = None  # "… {} …" with {} for the answer, such that the subject should come next

# %%
print(checks_04.one_way(editor, my_fact, my_question, my_backward))

# %% [markdown]
# ## What we know now
#
# * $v^\star$ is found by going downhill through the frozen layers, for one vector at one token.
# * It is written under a key that has to fit the prompt *and* its rewordings.
# * The edit itself always looks good. What the parts of ROME are for shows in other prompts.
#
# ## Where it breaks
#
# One fact is written. The stored run writes fifty, each on top of the last, and looks back every
# ten. At 0 edits stands the unedited model.

# %%
cases = lib.classroom()[1::4][:50]
ROW = runs_04.ROW
rows = long_runs.stored(
    "04_row", ROW, lambda: runs_04.in_a_row(editor, cases, ROW["points"], len(cases))
)
long_runs.repeats(
    rows, lambda: runs_04.in_a_row(editor, cases, ROW["points"], 2), ["edits", "written"]
)
first_words = [case.fact.subject for case in runs_04.openers(lm, cases)]
unedited = lib.perplexity(lm)
print(f"written when it was their turn: {sum(row['written'] for row in rows):.0f} of {len(rows)}")
print(f"subjects that open their prompt: {', '.join(first_words)}")
print(f"perplexity of the unedited model: {unedited:.1f}")
show.Table(runs_04.row_table(rows))

# %%
runs_04.row_figure(rows, unedited)

# %% [markdown]
# The facts themselves hold, 92 % of the fifty (81 to 97). The neighbors pay: of 100 % before the
# first edit 54 % are left after the last (40 to 67), and held-out text gets harder to read, with a
# perplexity of 21.7 instead of 18.5. (The figure leaves out the point after one edit. The rows
# have one mean for all facts, so the intervals count each fact as right or wrong as a whole. That
# makes them rather too wide.)
#
# Two explanations are at hand. Each insert takes care of general text, by $C$, but of none of the
# other forty-nine facts, so perhaps the order is to blame. Or it is the writing itself, in any
# order. **Would the same fifty facts, all written at once, spare the neighbors?** [Notebook
# 05](05_memit.ipynb) writes them in both ways.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): ROME.
# * Gupta, Baskaran, Anumanchipalli: *Rebuilding ROME*, 2024,
#   [arXiv:2403.07175](https://arxiv.org/abs/2403.07175): the slip in the choice of the key.
# * Berglund et al.: *The Reversal Curse*, 2023,
#   [arXiv:2309.12288](https://arxiv.org/abs/2309.12288): why an edit does not hold backward.
