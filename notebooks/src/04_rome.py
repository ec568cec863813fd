# %% [markdown]
# <!-- badge -->
#
# # 04 · ROME: one fact into one layer
#
# We know where to write. By the end of this page you will know *what* to write, and you'll be able to build ROME
# yourself.
#
# **You will** write the value search step by step, and run it on the model · find out what a key has to fit · remove
# the parts of ROME one at a time · write facts one after another, and see which prompts suffer.
#
# **Needs** the insert and $\rho$ of [notebook 02](02_insert.ipynb), and the layer found in [03](03_where.ipynb).
#
# **Minutes** 25 for reading and 25 for working: two exercises from [session 2](../lessons/session_2.md).

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
import math
import time
from dataclasses import replace
from itertools import islice
from statistics import mean, stdev

import torch

import lib
from lib import associative_memory as memory
from lib.data.facts import encode_target, lookup
from lib.keys_values import value_search
from lib.model.activations import module_inputs
from lib.workbench import plot
from notebooks.support import drawings_04, figures, long_runs, models, own_fact, show
from notebooks.support import runs_04_rome as runs_04
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream, detects

lm = models.load(SCALE, sink="own")
editor = lib.EDITORS["rome"](lm)
config = editor.config
layer = config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu()
w, decay = config.kl_factor, config.decay  # of the loss

# %% [markdown]
# ## What to write
#
# The insert of notebook 02 needs a key and a value. We can read the key directly: it is the input of the MLP's last
# matrix at the subject's last token. But which value makes the model say "Rome", many layers later and at another
# token? Those layers have no closed-form inverse, but they are differentiable, so we can search for the value using
# gradient descent.
#
# The weights stay frozen during the search. We add a vector $\delta$ to the output $v_0$ of the edited matrix at that
# one token, and keep updating it until the model gives the new answer. The value to write is then
# $v^\star = v_0 + \delta$. At the bare prompt's key $k_0$, the matrix gives $Wk_0 = v_0$, so there $\delta$ is the
# residual of notebook 02, $v^\star - Wk_0$.

# %%
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
templates = editor.templates()
print("templates:", *map(repr, templates[:3]), "…", sep="\n  ")
ids, at = lookup(lm.tokenizer, fact)
drawings_04.rome([lm.tokenizer.decode([i]) for i in ids], at, layer)

# %% [markdown]
# What do we minimize? The loss has three terms:
#
# $$L(\delta) = -\frac1n\sum_{j=1}^{n} \log p_\delta(\text{Rome} \mid \text{template}_j)
# + w\,\mathrm{KL}(\text{now} \,\|\, \text{before})
# + \text{decay}\cdot\frac{\|\delta\|}{\|v_0\|^2}.$$
#
# 1. **The new answer.** A $\delta$ that works in only one sentence would be worth little. So we average over the prompt
#    itself and the prompt with other beginnings, the **templates**. If an answer has several tokens, we also average
#    over them.
# 2. **The same subject.** The tower should move, not become an Italian. We compare the model's predictions right after
#    "The Eiffel Tower" with those before, by $\mathrm{KL} = \sum p_\text{now} \log (p_\text{now}/p_\text{before})$ over
#    all words, with a small weight $w$.
# 3. **Not too far.** A long $\delta$ is penalized by a quotient taken from the authors' program. In addition, after
#    every step $\|\delta\|$ is clipped to a multiple of $\|v_0\|$, the *clamp*.
#
# **Your turn · exercise 2.5 · ★★★ · 12 minutes.** Write the search in four steps. The first two are terms 1 and 2,
# computed from the model's log-probabilities; the third combines all terms.


# %%
def nll(answer, tokens):
    """The first term. answer (T, words) log-probabilities where the answer's tokens (T,) stand."""
    ...


def drift(now, before):
    """KL(now ‖ before), from log-probabilities (words,) right after the subject."""
    ...


def search_loss(answer, tokens, now, before, delta, v0, w, decay):
    """All three terms, one number; delta, v0 (d_out,). It may call the two above."""
    ...


nll = use("2.5", nll)
drift = use("2.5", drift)
search_loss = use("2.5", search_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The model only gives log-probabilities. Which of them do you have to turn into a probability first?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def nll(answer, tokens):
#     return -answer[torch.arange(len(tokens)), tokens].mean()
#
#
# def drift(now, before):
#     return (now.exp() * (now - before)).sum()
#
#
# def search_loss(answer, tokens, now, before, delta, v0, w, decay):
#     return nll(answer, tokens) + w * drift(now, before) + decay * delta.norm() / v0.norm() ** 2
# ```
#
# </details>
#
# The fourth step is the descent itself. It doesn't depend on the model: `look` returns the loss at a $\delta$ and the
# gradient there. Start at $\delta = 0$. Stop if the loss is small enough; otherwise let `step` move $\delta$ downhill,
# and clip it. Stop after `moves` steps in any case.


# %%
def descend(look, step, v0, moves, clamp, enough):
    """look(δ) -> the loss, its gradient; step(δ, gradient) -> the next δ. Returns δ (d_out,)."""
    ...


descend = use("2.5", descend)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Multiplying $\delta$ by $\text{clamp}\cdot\|v_0\|/\|\delta\|$ gives it exactly the maximal length. When should that
# not happen?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def descend(look, step, v0, moves, clamp, enough):
#     delta = torch.zeros_like(v0)
#     for _ in range(moves):
#         loss, slope = look(delta)
#         if loss < enough:
#             break
#         delta = step(delta, slope)
#         delta = delta * (clamp * v0.norm() / delta.norm()).clamp(max=1)
#     return delta
# ```
#
# </details>
#
# We write `look` for the real model in the obvious way, using a hook that adds $\delta$ and running the whole model for
# every prompt in every step. Each step is a step of Adam.
#
# **Predict.** Which of the three terms dominates at the beginning, and which at the end?
#
# <details><summary>Answer</summary>
#
# At the start $\delta = 0$, so KL and decay are 0, leaving only the answer. As the answer becomes probable, the other
# two terms remain: the new value also changes the predictions right after the subject, and it has a length.
#
# </details>


# %%
def run_with(delta, ids, at):  # log p of every next token (tokens, words), and v₀ (d_out,)
    seen = []

    def add(module, inputs, output):
        seen.append(output[0, at].detach())
        return torch.cat([output[:, :at], output[:, at : at + 1] + delta, output[:, at + 1 :]], 1)

    with lm.model.get_submodule(name).register_forward_hook(add):
        logits = lm.model(torch.tensor([ids], device=lm.device)).logits[0]
    return logits.float().log_softmax(-1), seen[0]


def ask(fact, delta):  # log p (T, words), the answer's tokens (T,), log p after the subject, and v₀
    answer, found = encode_target(lm.tokenizer, fact.target_new), []
    for template in templates:  # stacked: T = templates × tokens of the answer
        ids, at = lookup(lm.tokenizer, fact, template)
        log_p, v0 = run_with(delta, ids + answer[:-1], at)
        found.append((log_p[-len(answer) :], v0))
    tokens = torch.tensor(answer * len(templates), device=lm.device)
    ids, at = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
    now = run_with(delta, ids[: at + 1], at)[0][-1]
    log_p, v0 = zip(*found, strict=True)
    return torch.cat(log_p), tokens, now, v0[0]  # the first template is the bare prompt


# %%
settings = replace(config.search(), steps=12)  # of its twenty steps; the rest changes little


def each(term, function, *args):  # {line: value}; a wrong function gets a separate line
    return {term + i * ", yours": f(*args) for i, f in enumerate(both(function).values())}


# %%
def searched(loss_of, walk):  # δ, and what every term was at every step
    curve, at = {}, torch.zeros(W.shape[0], device=lm.device)
    adam = torch.optim.Adam([at], lr=settings.v_lr)
    before, v0 = (found.detach() for found in ask(fact, at)[2:])

    def look(delta):
        if not delta.any():  # a search begins
            curve.clear()
            adam.state.clear()
        delta = delta.clone().requires_grad_()
        answer, tokens, now, _ = ask(fact, delta)
        loss = loss_of(answer, tokens, now, before, delta, v0, w, decay)
        terms = {"total": loss} | each("new answer", nll, answer, tokens)
        terms |= {line: w * kl for line, kl in each("KL", drift, now, before).items()}
        for line, value in (terms | {"decay": decay * delta.norm() / v0.norm() ** 2}).items():
            curve.setdefault(line, []).append(value.item())
        return loss.detach(), torch.autograd.grad(loss + 0 * delta.sum(), delta)[0]

    def step(delta, slope):
        at[:], at.grad = delta, slope
        adam.step()
        return at.clone()

    return walk(look, step, v0, settings.steps - 1, settings.clamp, settings.enough), curve


# %%
wrong = [(f, descend) for f in [*both(search_loss).values()][1:]]
wrong += [(search_loss, f) for f in [*both(descend).values()][1:]]
tries = dict(zip(("total", "total, yours"), [(search_loss, descend), *wrong], strict=False))
start = time.perf_counter()
made = {line: searched(*pair) for line, pair in tries.items()}
middle = time.perf_counter()
fast = value_search.search(lm, [fact], layer, templates, settings)[0]
end = time.perf_counter()
delta, curve = made["total"]
models.same(lm, delta, fast.delta)
print(
    f"the same δ as the library's, which takes {(end - middle) / (middle - start):.0%} of the time"
)
print(f"‖δ‖ is {delta.norm() / fast.init.norm():.1f} times ‖v₀‖, and may be {config.clamp:g} times")
lines = curve | {line: own["total"] for line, (_, own) in made.items()}
lines = {line: [y or None for y in values] for line, values in lines.items()}  # no 0 on a log axis
steps = {line: range(len(values)) for line, values in lines.items()}
own = {"total": plot.QUIET, "new answer": plot.EDITED, "KL": plot.NEIGHBOR, "decay": plot.UNRELATED}
colors = {line: own[line.removesuffix(", yours")] for line in lines}
dashes = {line: "--" for line in lines if "yours" in line or line == "total"}
plot.lines(steps, lines, "step", "term of the loss", ylog=True, colors=colors, dashes=dashes)

# %% [markdown]
# The search finds the library's $\delta$. The library is faster because it caches the pale states of the drawing, which
# never change, running only the blocks above them.
#
# Once the new answer is almost certain, the other two terms are larger, and any further gain requires a longer
# $\delta$.
#
# ## Under which key?
#
# We have found the value, but so far it is only added at one token of one run. Notebook 02's rank-one insert makes the
# layer output this value at a key, disturbing all other keys as little as possible. Which key should we use? The value
# has to come out in *every* sentence containing the subject, and the key is slightly different after every beginning.
# Let $k_1, \dots, k_n$ be the keys under the templates. Because the layer is linear, a change written at a key $k$
# reaches another key only in part. Notebook 02 derived the fraction:
#
# $$\rho(k, k_j) = \frac{k^\top C^{-1} k_j}{k^\top C^{-1} k} .$$
#
# A key fits a sentence if this fraction is near 1. The bare prompt's key $k_0$ is certain to fit one sentence, its own.
# The mean $\bar k$ is certain to fit none of them, but it fits their average:
#
# $$\frac1n\sum_{j=1}^n \rho(\bar k, k_j)
# = \frac{\bar k^\top C^{-1}\big(\frac1n\sum_j k_j\big)}{\bar k^\top C^{-1}\bar k} = 1 ,$$
#
# for any keys. This is the reason for averaging keys over contexts. There are four variants:
#
# * `prompt` inserts at $k_0$ and `mean` at $\bar k$. These are the two forms of R-ROME, and `mean` is this library's
#   default.
# * `both` requires $v^\star$ at $k_0$ and at $\bar k$, inserting two columns.
# * `mixed` is ROME as published, due to a slip in its code. It uses the direction $u = C^{-1}\bar k$ from the mean,
#   choosing the length so that the bare prompt gets its value: $\Delta = (v^\star - Wk_0)\,u^\top / (u^\top k_0)$.
#
# With the slip, a sentence gets the fraction $u^\top k_j / u^\top k_0$. If the bare prompt's key has little in common
# with the mean, the denominator is close to zero.
#
# **Your turn · exercise 2.3 · ★★ · 8 minutes.** Write `published`: the matrix after the change called `mixed`, and the
# factor by which this change is longer than with only $\bar k$, the quotient $|u^\top\bar k / u^\top k_0|$ of the two
# denominators.


# %%
def published(W, k0, k_mean, v_star, C):
    """W (d_out, d_in), k0, k_mean (d_in,), v_star (d_out,), C (d_in, d_in) -> new W, a number."""
    ...


published = use("2.3", published)
tower, china = lib.classroom()[:2]
mine = own_fact.read()
half = guess("Written at China's bare prompt: which fraction reaches another sentence?", 0, 2)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the two keys gives the direction, and which one determines the residual? Check what your new matrix outputs
# at $k_0$.
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
# We can compute these fractions without a search, by writing the value 1 into a matrix of zeros with one output, and
# reading its output. The sentences are the bare prompt, the other templates, and two rewordings that weren't used for
# any key.
#
# **Predict.** "China" is one token and starts its prompt. "The Eiffel Tower" ends with a token that follows two others
# of the name. Which of the two keys depends more on the text before the subject?
#
# <details><summary>Answer</summary>
#
# China's. Its token has only read the text before the subject, which differs between sentences. The tower's last token
# has read "The Eiffel" in each of them.
#
# </details>


# %%
def shares(model, fact, rewordings):  # {way: the fraction that arrives in each sentence}
    K = model.keys([fact], layer, templates)[:, :, 0].T, model.keys(rewordings, layer)
    K = torch.cat(K, 1).cpu().double()  # (d_in, sentences)
    k0, mean = K[:, 0], K[:, : len(templates)].mean(1)
    C, empty = lib.second_moment(model, [layer])[layer], torch.zeros(1, len(K)).double()
    one, pair = torch.ones(1).double(), torch.stack([k0, mean], 1)
    factors = {way: memory.insert(empty, k, one, C) for way, k in (("mean", mean), ("prompt", k0))}
    factors["both"] = memory.insert_many(empty, pair, one.expand(1, 2), C, ridge=1e-6)
    found = {way: (A @ B @ K)[0].tolist() for way, (A, B) in factors.items()}
    for line, (new, _) in each("mixed", published, empty, k0, mean, one, C.C).items():
        found[line] = (new @ K)[0].tolist()
    assert abs(sum(found["mean"][: len(templates)]) / len(templates) - 1) < 1e-6
    return found


def answered(fact, times):  # the probability of the new answer when a fraction of δ arrives
    value = value_search.search(lm, [fact], layer, templates, config.search())[0]
    moment = lib.second_moment(lm, [layer])[layer]
    A, B = memory.insert(W, value.keys[0].cpu(), value.v_star.cpu(), moment)
    p = []
    for share in times:
        with lm.patched(lib.Patch(weights={name: lib.LowRank(((share * A, B),))})):
            p.append(lm.score(fact.text, fact.target_new).sum().exp().item())
    return times, p


# %%
plain = models.load(SCALE, sink=None)  # without the token that `lib.load()` prepends
facts = {"the Eiffel Tower": tower.fact, "China": china.fact}
others = {
    what: [lib.Fact.find(text, case.fact.subject, "-") for text in case.paraphrases[:2]]
    for what, case in zip(facts, (tower, china), strict=True)
}
if mine is not None:
    facts["your fact"] = mine
    others["your fact"] = [replace(mine, prompt=f"{x} {mine.prompt}") for x in ("So", "They say")]
found = {what: shares(lm, one, others[what]) for what, one in facts.items()}
found["China, no token prepended"] = shares(plain, china.fact, others["China"])
half.against(sum(found["China"]["prompt"][1:]) / len(found["China"]["prompt"][1:]))
times = torch.logspace(-1, 1.7, 19).tolist()
turns = {one.target_new: answered(one, times) for one in facts.values()}
drawings_04.shares(found, turns, len(templates))

# %% [markdown]
# The gray band contains fractions between half and twice the value. The first two panels show the model of this course.
# The tower's key barely depends on the sentence, and every variant fits every sentence. China's key does depend on it:
# when writing at the bare prompt, little more than half of the change reaches other sentences. Using the mean key,
# about the whole change reaches each of them, including the rewordings. Half is not too little, as the last panel
# shows: the answers change at smaller fractions, and are lost again if several times too much arrives.
#
# **The third panel shows the case of the papers' models.** GPT-2 and GPT-J, on which ROME was published, prepend no
# token to a text; here our model doesn't either. China is then the very first token. In this layer, whitened by $C$,
# the key of a first position is short and almost the same for every subject (page 02b); raw, and in other layers, it
# can be very long (page 03). Writing at the bare prompt barely reaches other sentences, and writing at the mean barely
# reaches the bare prompt. And `mixed`, while exact at the bare prompt, writes some fifty times too much everywhere
# else. The last panel shows the effect on an answer. Such edits ruined whole models and were called *disabling*, until
# R-ROME found the slip.
#
# Does it matter for the model of this course? The stored run writes twelve facts individually into the unedited model,
# using each of the four keys with the same value. Half of the facts have a one-token subject starting the prompt. One
# more stored edit uses the model without the prepended token.

# %%
rows = long_runs.rows("04_keys")
columns = ["case", "key", "held", "reworded", "neighbors"]
again = runs_04.by_key(editor, [lib.classroom()[rows[0]["case"]]])
long_runs.repeats(rows, lambda: islice(again, 2), columns, tolerance=0.02)


def of(key):  # the line of the table
    own = [row for row in rows if row["key"] == key]
    line = {"key": key, "facts written": f"{sum(row['held'] for row in own):.0f} of {len(own)}"}
    for what in ("reworded", "neighbors"):
        line[f"{what} (%)"] = round(100 * sum(row[what] for row in own) / len(own))
    return line


one = long_runs.rows("04_rows_plain")[1]  # after the unedited model's
print(
    f"No token prepended, key `mean`, {one['each']['subject']}: the probability of the new answer"
)
print(
    f"is {one['each']['p'][0]:.2f} at the prompt, and {one['reworded'][0]:.0%} of rewordings follow."
)
show.Table([of(key) for key in ("unedited", *runs_04.KEYS)])

# %% [markdown]
# With each of the four keys, the model gives all twelve new answers. One of them tests nothing: the unedited model also
# calls a young pig a calf. When testing eleven facts, we would more often than not miss a key that fails in one case in
# twenty, so this doesn't show that the keys are equal. Without the prepended token, the edit does what the third panel
# predicts for the mean key, missing the prompt and reaching the rewordings.
#
# ## Take one part away
#
# The stored run edits six other facts, each on the unedited model, changing one part: removing the KL term, setting
# $C = I$, using the bare prompt as the only template, or giving the KL term full weight. Each point is a fact, compared
# with the same fact under unchanged ROME.
#
# **Predict.** Which group of prompts suffers without which part: the edit itself, its rewordings, unrelated text?
#
# <details><summary>Answer</summary>
#
# The edit should need none of them. The templates are there for the rewordings, $C$ for unrelated text, and the KL term
# for other facts about the subject.
#
# </details>

# %%
rows = long_runs.rows("04_parts")


def by_part(column, scale=1):  # {part: one value for each fact}
    return {part: [scale * r[column] for r in rows if r["part"] == part] for part in runs_04.WAYS}


held = {part: f"{sum(values):.0f} of {len(values)}" for part, values in by_part("held").items()}
print("facts written:", ", ".join(f"{part} {count}" for part, count in held.items()))
unrelated = "KL at unrelated prompts, relative to unchanged ROME"
drawn = {"change in rewordings that follow (points)": {}, unrelated: {}}
for column, shown in zip(("reworded", "kl"), drawn, strict=True):
    as_set, *parts = by_part(column).items()
    for part, values in parts:
        pairs = zip(values, as_set[1], strict=True)
        drawn[shown][part] = [a / b if column == "kl" else 100 * (a - b) for a, b in pairs]
for part, ratios in drawn[unrelated].items():
    gaps = [math.log(ratio) for ratio in ratios]
    middle, low, high = by_stream(gaps)
    ends = "{:.2f} [{:.2f}, {:.2f}]".format(*map(math.exp, (middle, low, high)))
    print(f"{part}: KL at unrelated prompts {ends} times;", end=" ")
    print(f"{math.exp(detects(gaps)):.1f} would be detected")
subjects = [lib.classroom()[row["case"]].fact.subject for row in rows if row["part"] == "as set"]
figure = figures.dots(drawn, subjects, log=[unrelated], flat=True)
figure.set_figheight(4.6)
figure.axes[1].axvline(1, color=plot.QUIET, linewidth=1, zorder=0)
figure

# %% [markdown]
# **Only $C$ has an effect that six facts can show**: without it unrelated text changes several times as much. Without
# the KL term, with its full weight or without templates, the interval contains 1. The first two would have been
# detected from about one and a half times on, the last only from sevenfold. The edit's own prompt shows none of this:
# the same five facts are written no matter what we remove.
#
# ## One way only
#
# After learning that the Eiffel Tower is in Rome, a person can also tell you which famous tower Rome has.
#
# **Predict.** The next cell asks about the tower in other words, and then *backward*, from the city to the tower. Which
# question does the edit answer? The figure shows which tokens the edit reaches.
#
# <details><summary>Answer</summary>
#
# The question in other words contains the key that was written. The backward question doesn't contain the subject's
# name. Training has the same gap (Berglund et al., 2023).
#
# </details>

# %%
A, B = editor.update(fact)[0]
patch = lib.Patch(weights={name: lib.LowRank(((A, B),))})
own = lm.keys([fact], layer, templates)[:, :, 0].mean(0).cpu()
asked = {
    "in other words": "Tourists who want to see the Eiffel Tower travel to the city of",
    "backward": "The famous tower that stands in Rome is called the",
}
texts, table = [], []
for way, text in asked.items():
    seen = lm.run(text, watch=[name])
    tokens = [lm.tokenizer.decode([i]) for i in seen.ids[0].tolist()]
    texts.append((tokens, (seen.seen[name][0][0].cpu().float() @ B[0] / (B[0] @ own)).tolist()))
    line = {"asked": way, "before": lm.answer(text, 5)}
    with lm.patched(patch):
        table.append(line | {"after": lm.answer(text, 5)})
print(show.Table(table))
drawings_04.along(texts, list(asked))

# %% [markdown]
# The edit is keyed to the last token of the subject's name. The question in other words contains that token, gets the
# whole value there and is answered with the new city. In the backward question no token gets more than an eighth of the
# edit, at *tower*, and the answer doesn't change. One question of each kind is an example, but the reason is general: a
# rank-one change responds to one direction, so it cannot answer a question whose tokens barely contain it. Even in full
# it would push "Rome", which the backward question already contains.
#
# ## Where it breaks
#
# The stored runs write twenty facts, each on top of the last, in three streams. Two have no fact in common; the third
# overlaps with both, so the three aren't independent and get no interval. We also write each of the 53 facts
# individually, on the unedited model, where the fact is the observation.
#
# <details><summary>Settings of the runs on this page</summary>
#
# Layer 3, the key `mean` unless stated otherwise, twenty search steps, $\delta$ at most four times as long as $v_0$,
# the bare prompt and four templates. The learning rate is 0.25 in the streams, both in a row and individually, and 0.5
# in the runs on keys and on parts.
#
# </details>
#
# **Predict.** What suffers when facts are written in a row: the facts themselves, their rewordings, or their neighbors?
#
# <details><summary>Answer</summary>
#
# Neighbors and rewordings, but part of the neighbors' loss also occurs when each fact is written individually. Most
# facts hold.
#
# </details>

# %%
rows = long_runs.rows("04_rows")
single = {row["draw"]: row for row in long_runs.rows("04_alone")}
before = {row["draw"]: row for row in rows if row["edits"] == 0}
after = {row["draw"]: row for row in rows if row["edits"] == runs_04.POINTS[-1]}
print("held, in a row:", ", ".join(f"{sum(row['held']):.0f}" for row in after.values()), "of 20")


def points(row, what):
    return 100 * sum(row[what]) / len(row[what])


for what, more, less in (
    ("neighbors", "in a row", "unedited"),
    ("neighbors", "in a row", "each alone"),
    ("reworded", "in a row", "each alone"),
):
    base = before if less == "unedited" else single
    streams = ", ".join(f"{points(after[d], what) - points(base[d], what):+.1f}" for d in single)
    print(f"{what}, {more} less {less}, by stream: {streams} points")
change = {}  # of each distinct fact's neighbors when it is written alone
for draw, row in single.items():
    pairs = zip(row["neighbors"], before[draw]["neighbors"], strict=True)
    change |= dict(zip(row["cases"], (100 * (a - b) for a, b in pairs), strict=True))
n, middle = len(change), mean(change.values())
half = 2.007 * stdev(change.values()) / n**0.5  # Student, 52 degrees of freedom
print(f"neighbors, each alone less unedited: {middle:+.1f} points [{middle - half:+.1f},", end=" ")
print(f"{middle + half:+.1f}], {n} facts, of which", end=" ")
print(
    f"{sum(x < 0 for x in change.values())} lost and {sum(x > 0 for x in change.values())} gained"
)
names = {"held": "facts held (%)", "reworded": "rewordings (%)"}
drawn = {
    shown: {when: [points(row, what) for row in those.values()]
            for when, those in {"each alone": single, "in a row": after}.items()}
    for what, shown in names.items()
}  # fmt: skip
drawn["neighbors kept, points above the unedited model's"] = {
    when: [points(those[d], "neighbors") - points(before[d], "neighbors") for d in single]
    for when, those in {"each alone": single, "in a row": after}.items()
}
first, second, mixed = (set(row["cases"]) for row in rows if row["edits"] == 0)
print(
    f"the third stream has {len(mixed & first)} facts of the first and {len(mixed & second)} of the second"
)
figure = figures.dots(drawn, [f"{draw} stream" for draw in single], flat=True)
for ax in figure.axes[:2]:
    ax.set_xlim(60, 102)
figure

# %%
moment = lib.second_moment(lm, [layer])[layer]
own = {}  # of each distinct fact's change, the fraction that reaches its neighbors
for draw, cases in runs_04.draws().items():
    K = lm.keys([case.fact for case in cases], layer, templates).mean(0).cpu().double()
    U = moment.solve(K)
    reach = U / (K * U).sum(0)  # its column i gives the fraction of edit i
    lands = torch.zeros(len(cases), len(cases))
    for j, case in enumerate(cases):  # at the neighbor's token that gets most of edit i
        texts = lm.rows([probe.prompt for probe in case.neighborhood])[0]
        every = [module_inputs(lm, [ids], [name])[name].cpu().double() @ reach for ids in texts]
        lands[:, j] = torch.stack([share.abs().amax(0) for share in every]).mean(0)
    foreign = lands[~torch.eye(len(cases), dtype=torch.bool)].mean()
    print(f"{draw}: a neighbor gets {lands.diag().mean():.2f} of its own fact's change,", end=" ")
    print(f"{foreign:.2f} of another fact's")
    own |= dict(zip((case.id for case in cases), lands.diag().tolist(), strict=True))
lost = torch.tensor([change[case] < 0 for case in own])
share = torch.tensor([*own.values()])
gap = share[lost].mean() - share[~lost].mean()
draw = torch.Generator().manual_seed(0)
orders = [torch.randperm(len(lost), generator=draw) for _ in range(2000)]
p = sum(share[lost[i]].mean() - share[~lost[i]].mean() >= gap for i in orders) / len(orders)
print(
    f"{lost.sum()} facts that lost neighbors when written alone: {share[lost].mean():.2f} of their own;"
)
print(
    f"the other {(~lost).sum()}: {share[~lost].mean():.2f}; labels shuffled over facts, p {p:.3f}"
)

# %% [markdown]
# In a row, 19, 19 and 17 of 20 facts hold. **Neighbors suffer even if each fact is written individually**: 3.9 points
# fewer keep their answer than on the unedited model. Writing in a row costs more neighbors and more rewordings in all
# three streams. Three streams agree by chance in one of four cases, so this is a hint, not a finding.
#
# A neighbor asks the same question about a similar subject, so its key is close: at the token hit most it gets about
# an eighth of the change for its fact and half as much of another fact's. Over all facts, this fraction is larger for
# those that lost neighbors when written alone. This is notebook 02's interference.
#
# ## What we know now
#
# * We find $v^\star$ using gradient descent through the frozen layers, for one vector at one token. The loss asks for
#   the new answer, the same subject, and a short vector.
# * It is written under a key that has to fit every sentence with the subject. The mean over contexts fits them on
#   average by construction.
# * If no token is prepended and the subject starts the text, no single key fits, and the published quotient explodes.
#   With a token prepended every key wrote the twelve facts.
# * Checking that an edit is written doesn't test the editor. The effect of $C$ shows in unrelated text.
# * An edit responds to one direction: it works in other words, not backward.
#
# Each insert protects general text, using $C$, but no particular neighbor and none of the other nineteen facts. **Would
# twenty facts, all written at once, spare them?** [Notebook 05](05_memit.ipynb) compares both ways.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): ROME.
# * Gupta, Baskaran, Anumanchipalli: *Rebuilding ROME*, 2024, [arXiv:2403.07175](https://arxiv.org/abs/2403.07175): the
#   slip in the choice of the key.
# * Berglund et al.: *The Reversal Curse*, 2023, [arXiv:2309.12288](https://arxiv.org/abs/2309.12288): facts trained
#   forward don't hold backward.
