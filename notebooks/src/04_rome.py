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
from lib.keys_values import target_value
from notebooks.support import checks_04_rome as checks_04
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_04_rome as runs_04

lm = models.load(SCALE)
editor = lib.EDITORS["rome"](lm)
config = editor.config
layer, name = config.layer, lm.mlp_out(config.layer)
W, moment = lm.weight(name).cpu(), lib.second_moment(lm, [layer])[layer]
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")

# %% [markdown]
# ## What to write
#
# The insert of notebook 02 takes a key and a value. The key we can read. But which value $v^\star$
# at the tower's last token makes the model say "Rome", many layers later? No formula inverts those
# layers, but they are differentiable: we add a vector $\delta$ to the edited layer's output at that
# one token, leave every weight alone, and go downhill until the answer comes. Then
# $v^\star = v_0 + \delta$, with $v_0$ what the layer gave before.
#
# Downhill in what? Three terms:
#
# 1. **The new answer.** $-\log p(\text{Rome})$. A $\delta$ that works in one sentence only would be
#    worth little, so the mean over the prompt itself and the prompt behind other beginnings, the
#    **templates**. The model wrote them itself; they need not make sense, only differ.
# 2. **The same thing as before.** The tower should move, not become an Italian. Right behind "The
#    Eiffel Tower" the next token should stay what it was: plus $\tfrac1{16}$ of the KL (now ‖ before).
# 3. **Not too far.** Plus $\tfrac12\|\delta\|/\|v_0\|^2$ (*decay*), and a bound on $\|\delta\|$.

# %%
templates = editor.templates()
show.Table([{"template": template} for template in templates])

# %% [markdown]
# First the obvious way: a hook adds $\delta$, the whole model runs for every prompt in every step.


# %%
def log_probs(ids, at, delta):  # of every next token, with δ added to the layer's output at `at`
    def add(module, inputs, output):
        values.append(output[0, at].detach())
        return torch.cat([output[:, :at], output[:, at : at + 1] + delta, output[:, at + 1 :]], 1)

    with lm.model.get_submodule(name).register_forward_hook(add):
        return lm.model(torch.tensor([ids], device=lm.device)).logits[0].float().log_softmax(-1)


def slow_search(fact, steps):
    answer = lib.data.facts.encode_target(lm.tokenizer, fact.target_new)
    asked = [lib.data.facts.lookup(lm.tokenizer, fact, template) for template in templates]
    ids, last = lib.data.facts.lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
    delta = torch.zeros(W.shape[0], device=lm.device, requires_grad=True)
    adam, before = torch.optim.Adam([delta], lr=config.v_lr), None
    for step in range(steps):
        rows = [log_probs(i + answer[:-1], at, delta)[-len(answer) :] for i, at in asked]
        nll = -sum(row[range(len(answer)), answer].mean() for row in rows) / len(rows)
        now = log_probs(ids[: last + 1], last, delta)[-1]  # right behind the subject
        before = now.detach() if before is None else before
        kl = config.kl_factor * (now.exp() * (now - before)).sum()
        size = values[0].norm()  # of the layer's own output, at the bare prompt
        loss = nll + kl + config.decay * delta.norm() / size**2
        if loss < 0.05 or step == steps - 1:  # the last step only looks
            return delta.detach()
        (delta.grad,) = torch.autograd.grad(loss, delta)
        adam.step()
        delta.data *= (config.clamp * size / delta.data.norm()).clamp(max=1)


names = "v_lr", "steps", "decay", "clamp", "kl_factor", "target_eos"
settings = target_value.Search(**{key: getattr(config, key) for key in names})
values, start = [], time.perf_counter()
by_loop, middle = slow_search(fact, 4), time.perf_counter()
fast = target_value.search(lm, [fact], layer, templates, replace(settings, steps=4))[0]
end = time.perf_counter()
assert (by_loop - fast.delta).norm() < 1e-3 * fast.delta.norm() or lm.dtype != torch.float32
print(f"the same δ; four steps in {(end - middle) / (middle - start):.0%} of the loop's time")

# %% [markdown]
# **Predict.** The whole search has 20 steps. Which term falls, which rises, and which decides in
# the end?
#
# <details><summary>Answer</summary>
#
# At the start $\delta = 0$, so KL and decay are 0 and the answer is everything. As it gets probable
# the KL rises: the new value is felt behind the subject, too. At the end the three hold each other.
#
# </details>


# %%
def search(fact):  # v* and the keys, on the CPU like W
    value = target_value.search(lm, [fact], layer, templates, settings)[0]
    return replace(value, v_star=value.v_star.cpu(), keys=value.keys.cpu())


found = search(fact)
columns = "total", "nll", "kl", "decay", "probability"
curve = [{c: x or None for c, x in zip(columns, row, strict=True)} for row in found.loss]
first, last = (curve[i]["probability"] for i in (0, -1))
print(f"p({fact.target_new}) from {first:.4f} to {last:.3f}")
print(f"‖δ‖ is {found.delta.norm() / found.init.norm():.2f} times ‖v₀‖, its bound {config.clamp:g}")
plot.loss_curve(curve, ylog=True)

# %% [markdown]
# The answer has won by step 8, and from step 10 on KL and decay are the larger terms: the KL goes
# down again, from 0.057 to 0.042, while $\delta$ is still growing.
#
# ## The same numbers, faster
#
# Where did the time go? Below the edited layer nothing ever changes: keep what enters the next
# block, and run only the blocks above (**along layers**). And in a model that reads from left to
# right nothing *before* the token changes: keep the attention's keys and values there, and run only
# from the token on (**along positions**).
#
# **Predict.** What does each save, for layer 3 of 30? Which one more?
#
# <details><summary>Work it out</summary>
#
# Layers: 26 of 30 are left, so hardly anything; more when one edits higher up. Positions: about
# half of the tokens remain, fewer behind long templates.
#
# </details>

# %%
pairs = [lib.data.facts.lookup(lm.tokenizer, fact, template) for template in templates]
rows, at = [ids for ids, _ in pairs], [i for _, i in pairs]
ways = {
    "all layers, all positions": lib.model.partial_forward.Replay(lm, rows, 0),
    "layers above, all positions": lib.model.partial_forward.Replay(lm, rows, layer + 1),
    "layers above, from the token on": lib.model.partial_forward.Replay(
        lm, rows, layer + 1, lookup=at
    ),
}
ends, table = [], []
for way, replay in ways.items():
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        states = replay.run(replay.hidden)
        seconds.append(time.perf_counter() - start)
    last = [replay.column(i, len(ids) - 1) for i, ids in enumerate(rows)]
    ends.append(lm.head(states[range(len(rows)), last]).detach())
    table.append({"what runs": way, "seconds": min(seconds)})
assert all(torch.allclose(end, ends[0], atol=1e-3) for end in ends) or lm.dtype != torch.float32
show.Table([row | {"share": row["seconds"] / table[0]["seconds"]} for row in table])

# %% [markdown]
# The same numbers in less than half of the time: the layers save a little here, the positions more.
#
# ## Under which key?
#
# The key is the layer's input at the subject's last token, and behind every template it is a little
# different. Let $k_0$ be that of the bare prompt and $\bar k$ the mean over all of them.
#
# * `mean` inserts at $\bar k$, `prompt` at $k_0$ (the two forms of R-ROME).
# * `mixed` is ROME as published, by a slip in its code: the direction $u = C^{-1}\bar k$ from the
#   mean, the residual from the bare prompt, $\Delta = (v^\star - Wk_0)\,u^\top / (u^\top k_0)$.
# * `both` asks for $k_0$ and $\bar k$ at once, the same derivation with two columns: with
#   $K = [k_0\ \bar k]$ and what is missing at them, $R$, it gives
#   $\Delta = R\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}$ (notebook 05). Our default, of rank 2.
#
# For the tower it hardly matters. **Predict.** For "China", one token that *opens* its prompt?
#
# <details><summary>Work it out</summary>
#
# At the first position the model keeps an attention sink (notebook 02), behind a template it has a
# word. So $k_0$ and $\bar k$ have little in common: an insert at one misses the other, and the
# mixture divides by $u^\top k_0$, which is nearly nothing.
#
# </details>


# %%
def mixed(found):
    u, bare = moment.solve(found.keys.mean(0)[:, None])[:, 0], found.keys[0]
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
assert torch.allclose(A @ B, A_lib @ B_lib, atol=1e-4)
some = [case for case in lib.classroom() if case.id in (1, 27, 187)]
print("; ".join(f"{case.fact.text} {case.fact.target_new}" for case in some))
asked = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
base, rows = lib.baseline(lm, some, **asked), {way: {} for way in ways}
for case in some:
    value = search(case.fact)
    for way, write in ways.items():
        patch = lib.Patch(weights={name: lib.LowRank((write(value),))})
        scores = lib.evaluate(lm, case, patch, base=base, **asked).json()
        for metric in ("efficacy", *asked["metrics"]):
            rows[way][metric] = rows[way].get(metric, 0.0) + scores[metric]["generation"]
for way, row in rows.items():
    rows[way] = {"key": way} | {what: round(100 * sum / len(some)) for what, sum in row.items()}
show.Table(list(rows.values()))

# %% [markdown]
# Shares in %. `mean` never writes the prompt itself, `prompt` no rewording, and `mixed` leaves
# nothing of the neighbors: a *disabling* edit. `both` gets 67 % of either. For subjects that do not
# open their prompt all four agree (`tests/benchmarks/rome_keys.json`).
#
# ## Take one part away
#
# The stored run edits 18 facts (none opens its prompt), each on the base model: with ROME as set,
# without the KL term, with $C = I$, and with the bare prompt as only template.
#
# **Predict.** Which group of prompts pays for which part: the edit itself, rewordings, neighbors,
# other questions about the subject?
#
# <details><summary>Answer</summary>
#
# The edit needs none of them. Templates are there for the rewordings, $C$ for everybody else, the
# KL for the subject's other sides. Whether they deliver is to be measured.
#
# </details>

# %%
PARTS = {
    "as set": {},
    "no KL": {"kl_factor": 0.0},
    "C = I": {"second_moment": False},
    "no templates": {"templates": ["{}"]},
}
ABLATION = {"editor": "rome", "layer": 3, "cases": "18 odd, not first words", "parts": PARTS}
behind = [c for c in lib.classroom() if c.id % 2 and lib.data.facts.lookup(lm.tokenizer, c.fact)[1]]
cases = behind[::5][:18]
if stored_runs.long():
    stored_runs.save("04_ablation", ABLATION, runs_04.without(editor, PARTS, cases, templates))
rows = stored_runs.load("04_ablation", ABLATION)["rows"]
live = list(runs_04.without(editor, PARTS, cases[:1], templates))
if SCALE == "small":
    stored_runs.begins_with(rows, live, list(live[0]), tolerance=0.02)
pays = {"no templates": "rewordings", "C = I": "KL unrelated", "no KL": "KL “… is a”"}
for part, column in pays.items():
    mean, low, high = runs_04.difference(rows, part, column)
    print(f"{part}: {column} {mean:+.3f} (95 %: {low:+.3f} to {high:+.3f}) against ROME as set")
show.Table(runs_04.means(rows, PARTS))

# %% [markdown]
# Shares in %, divergences in nats. The edit is the same in all four. Without templates a fifth of
# the rewordings is lost, and with $C = I$ unrelated text moves twenty times as far: these two earn
# their place. The KL term, with its weight of 1/16, does not show: what comes behind "… is a" moves
# just as far without it. The other columns differ by less than 18 facts can tell.
#
# ## Exercise: one way only
#
# A person who learns that the Eiffel Tower is in Rome can also say which famous tower Rome has.
# Find an edit that holds in a reworded question but *not backward*, from the answer to the subject,
# where the base model does know the old fact backward. (Which of your questions contains the key?)

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
# One fact is written. The stored run writes 50, each on top of the last, and looks back every ten.

# %%
ROW = {"editor": "rome", "layer": 3, "cases": "classroom()[1::4][:50]"}
ROW["points"] = points = [1, 10, 20, 30, 40, 50]
cases = lib.classroom()[1::4][:50]
if stored_runs.long():
    stored_runs.save("04_row", ROW, runs_04.in_a_row(editor, cases, points, 50))
rows, live = (
    stored_runs.load("04_row", ROW)["rows"],
    list(runs_04.in_a_row(editor, cases, points, 2)),
)
if SCALE == "small":
    stored_runs.begins_with(rows, live, ["edits", "written"])
seen = [row for row in rows if row["edits"] in points]
columns = {"still held": "retention", "reworded": "generalization", "neighbor": "specificity"}
y = {label: [100 * row[column] for row in seen] for label, column in columns.items()}
perplexity = {"perplexity of held-out text": [row["perplexity"] for row in seen]}
print(f"written when it was their turn: {sum(row['written'] for row in rows):.0f} of {len(rows)}")
for label, line in (y | perplexity).items():
    print(f"{label}:", ", ".join(f"{value:.1f}" for value in line))
colors = {"still held": plot.EDITED, "reworded": plot.CYCLE[0]}
axes = "edits in a row", "prompts answered as wanted (%)"
plot.lines(points, y, *axes, colors=colors, ylim=(0, 105))

# %% [markdown]
# The facts themselves hold, 92 % of them. The neighbors pay: 68 % after ten edits, 54 % after
# fifty, and held-out text gets harder to read. Every edit takes care of general text, none of the
# others. **Could facts that are known beforehand be written together?** [Notebook
# 05](05_memit.ipynb) does.
#
# ## References
#
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022.
# * Gupta et al.: *Rebuilding ROME*, 2024, [arXiv:2403.07175](https://arxiv.org/abs/2403.07175).
# * Berglund et al.: *The Reversal Curse*, 2023, [2309.12288](https://arxiv.org/abs/2309.12288).
