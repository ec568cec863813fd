# %% [markdown]
# <!-- badge -->
#
# # 00 · Can we change one belief, and only one?
#
# A language model says that the Eiffel Tower is in Paris. In the next minute you will make it say
# Rome, see what else changed with it, and take everything back to the last byte.
#
# **You will** edit one fact of a real model and read its answers before and after · undo the edit
# exactly, save it, load it, stack a second one on top · look inside, to see where the answer turns
# · measure the edit, and find a question on which it fails.
#
# **Needs** nothing but Python. Nothing is derived here: this is the whole game once, from start to
# end. The notebooks after it take it apart.
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

# %% [markdown]
# The model is SmolLM2-135M-Instruct: small enough for a laptop. It knows less than its large
# relatives, but it is built as they are.

# %%
import hashlib
import tempfile

import torch

import lib
from lib import plot, widgets
from lib.interpret.logit_lens import lens
from notebooks.support import checks_common as checks
from notebooks.support import models, show

lm = models.load(SCALE)
size = sum(p.numel() for p in lm.model.parameters())
print(f"{lm.name}: {lm.n_layers} layers, {size / 1e6:,.0f} million numbers")

# %% [markdown]
# ## Ask it
#
# A **fact** has a subject, a prompt in which `{}` stands for the subject, and an answer. One right
# answer proves little, so we put three more groups of prompts around it. **Rewordings** ask for the
# same fact and should follow the edit. **Neighbors** ask something similar about somebody else,
# **unrelated** prompts something else altogether: both should stay as they are. Answers are cut off
# after six tokens.

# %%
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
asked = {
    fact.text: "the edit",
    "In which city would you find the Eiffel Tower? It is in the city of": "rewording",
    "Tourists who want to see the Eiffel Tower travel to the city of": "rewording",
    "The Louvre is located in the city of": "neighbor",
    "If you want to visit Notre-Dame Cathedral, you have to go to the city of": "neighbor",
    "The Colosseum is located in the city of": "neighbor",
    "The Reichstag is located in the city of": "neighbor",
    "The recipe for bread begins with": "unrelated",
    "The opposite of hot is": "unrelated",
}
prompts = list(asked)
before = lm.answer(prompts, max_new_tokens=6)
rows = [{"group": asked[p], "prompt": p, "before": before[i]} for i, p in enumerate(prompts)]
show.Table(rows)

# %% [markdown]
# **Predict.** In a moment the model will believe that the Eiffel Tower is in Rome. What will it say
# about the Louvre, in the same city? About the Colosseum, which really is in Rome? About bread?
#
# <details><summary>What one would hope for</summary>
#
# Nothing but the Eiffel Tower changes. But nobody tells the model where the belief ends: the edit
# sees a single sentence. That it leaves the others alone must come from the *method*, and has to be
# measured.
#
# </details>
#
# ## Edit it
#
# We use **ROME** ("rank-one model editing"). It looks for an output of one layer with which the
# model finishes this sentence by the new answer. Then it changes one matrix of that layer as little
# as it can, so that this output comes out. Notebooks 04 and 02 derive the two halves.
#
# The edit does not touch the model. It comes back as a value, a **patch**; the model obeys it
# inside `with lm.patched(patch):` and nowhere else.

# %%
editor = lib.EDITORS["rome"](lm)
patch = editor.edit([fact])

with lm.patched(patch):
    after = lm.answer(prompts, max_new_tokens=6)

show.Table([{**row, "after": after[i]} for i, row in enumerate(rows)])

# %%
assert SCALE == "tiny" or [before[0].split()[0], after[0].split()[0]] == ["Paris,", "Rome,"]
stayed = [before[i].split()[:1] == after[i].split()[:1] for i in range(len(prompts))]
for group in ("rewording", "neighbor", "unrelated"):
    own = [stayed[i] for i, p in enumerate(prompts) if asked[p] == group]
    print(f"{group}: {sum(own)} of {len(own)} answers begin with the same word as before")

# %% [markdown]
# The answer moved, in both rewordings too, whose words the edit has never seen. Neighbors and
# unrelated prompts are answered as before: the hope came true, for these six. Text shows only the
# winner; here are the most probable next tokens:

# %%
show.bars(lm, fact.text, patch)

# %% [markdown]
# Gray is the base model, orange the edited one, here and in all notebooks. The probability has gone
# from the old answer to the new one, and not to cities in general.
#
# ## Take it back
#
# A patch holds only what differs: here one matrix, as a product of two thin ones, $\Delta = A B$.
# Applying it by hand is one addition, $W' = W + A B$. First the obvious way, then the library's:

# %%
name, update = next(iter(patch.weights.items()))
module = lm.model.get_submodule(name)
W, change = module.weight, update.dense().to(module.weight)
print(f"{name}: {W.shape[0]} × {W.shape[1]}, the change has rank {update.rank}")

module.weight = torch.nn.Parameter(W + change, requires_grad=False)
by_hand = lm.next_token(fact.text)
module.weight = W

with lm.patched(patch):
    by_library = lm.next_token(fact.text)
assert torch.allclose(by_hand, by_library, atol=1e-3 if W.dtype == torch.float32 else 0.2)

# %% [markdown]
# Rank 2, though ROME promises one: this library writes each fact under two inputs of the matrix.
# Notebook 04 says why.
#
# **Predict.** To undo an edit in place, could we simply subtract $AB$ again?
#
# <details><summary>Answer</summary>
#
# Almost. Floating-point addition rounds, so $(W + AB) - AB$ is not always $W$. Each edit leaves a
# little dust, and after a thousand of them nobody knows which model it is.
#
# </details>
#
# `patched` never subtracts. It lays the original tensor aside and puts the same one back, also when
# the code inside fails. To be sure, we hash every byte of every parameter.


# %%
def all_bytes():
    digest = hashlib.blake2b()
    for p in lm.model.parameters():
        digest.update(p.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


dust = ((W + change) - change != W).float().mean().item()
print(f"subtracting leaves {100 * dust:.1f} % of the matrix different from before")
base_bytes = all_bytes()
with lm.patched(patch):
    inside = all_bytes()
print(f"bytes before {base_bytes}, inside {inside}, after {all_bytes()}")
assert inside != base_bytes == all_bytes()

# %% [markdown]
# Subtracting changes some entries for good; leaving the block changes not one byte.
#
# ## An edit is a value
#
# A patch can be saved, sent to somebody with the same model, and loaded. A second edit goes *on
# top* with `after=`, and the first patch is still there, unchanged. Our second fact is one that
# nobody expects in a laboratory: what do you call a young sheep?
#
# Going back is using an earlier value. And to take out the *first* edit but keep the second,
# `without` replays the log that every patch carries.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = patch.save(f"{folder}/tower.safetensors")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    tower = lib.Patch.load(path)

sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
both = editor.edit([sheep], after=tower)
only_sheep = both.without(0, lm)

steps = {"none": lib.EMPTY, "tower": tower, "tower, sheep": both, "sheep": only_sheep}
rows = []
for name, held in {**steps, "none again": lib.EMPTY}.items():
    with lm.patched(held):
        answers = lm.answer([fact.text, sheep.text], max_new_tokens=3)
    rows.append({"patch": name, "The Eiffel Tower …": answers[0], "A young sheep …": answers[1]})
show.Table(rows)

# %% [markdown]
# Each row is one `with` block, and nothing had to be repaired between them.
#
# ## Where does the answer turn?
#
# A transformer adds up: every layer reads a running sum, the residual stream, and adds to it. At
# the end that sum passes a norm and one last matrix, which gives every token a score. Nothing stops
# us from doing so after *any* layer, and asking at what rank the two answers stand there. This is
# the **logit lens**.
#
# **Predict.** The edit changes a matrix in one early layer. Does the new answer lead right after
# it?
#
# <details><summary>Answer</summary>
#
# No. What is written stands at the *subject's* last token, and we read at the *end* of the prompt.
# The attention of later layers has to carry it there.
#
# </details>

# %%
answers, tables = [fact.target_true, fact.target_new], []
for held in (lib.EMPTY, patch):
    found = lens(lm, fact.text, answers, held)
    tables.append({a: found.loc[found["answer"] == a, "rank"].tolist() for a in answers})
base, edited = tables  # {answer: its rank in the vocabulary after every layer}
layers, here = list(range(lm.n_layers)), editor.config.layer
late = [i for i in layers if any(not 0.1 < edited[a][i] / base[a][i] < 10 for a in answers)]
print(f"written in layer {here}; a rank first moves tenfold in layer {min(late or [0])}")
plot.rank_over_layers(layers, edited, before=base, highlight=here)

# %% [markdown]
# The shade marks the edited layer, dashes are the base model, and rank 1 is at the top. The answer
# turns some twenty layers above the one that we touched. Notebook 03 follows the fact on its way.
#
# ## Measure it
#
# Two anecdotes are no measurement. The library has a *classroom* of facts that this model knows,
# each with its own rewordings, neighbors and unrelated prompts. We take six by a rule, not by taste
# (odd numbers: the settings were tuned on even ones), and edit each by itself on a fresh model.
#
# What counts as "right" is called the **event**. *Probability*: the new answer is more probable
# than the old one. *Teacher-forced*: each token of the answer is the top choice, given those before
# it. *Generation*: the model, left to write freely, begins with the answer. The last is the honest
# one; its *exact* form allows nothing behind the answer.

# %%
cases = lib.classroom()[1::34]
print(", ".join(f"{c.fact.subject} → {c.fact.target_new}" for c in cases))
metrics = ["efficacy", "generalization", "specificity", "locality"]
scores = lib.singly(editor, cases, metrics=metrics)
scores.base.scores

# %% [markdown]
# This is the **base model**, the row to compare with. It gives none of the new answers (*efficacy*
# on the edit prompt, *generalization* on rewordings) and knows the neighbors (*specificity*).
# *Locality* compares with the base itself, so here it is perfect by definition. And after the
# edits:

# %%
scores

# %% [markdown]
# The same edits, three events, not the same result: of the rewordings 100 % follow by probability,
# 78 % when the model writes freely. Look at the brackets as well: six cases tell "works" from "does
# not work", and nothing finer. Notebook 15 reads such tables honestly.
#
# ## Exercise: your own edit, and its weak spot
#
# Find a fact of your own, and a prompt about the same subject on which the edit *fails*: the new
# answer would be right there, but the edited model says something else. This panel is for trying:
# change a line, press *Edit*, read the answers below. (On a page without a kernel it stands still.)
#
# <details><summary>A hint</summary>
#
# An edit hangs on the subject's last token. Ask without saying the subject as you wrote it, or turn
# the question round, so that the subject comes last. An answer of one word is easiest.
#
# </details>

# %%
young = {"A baby sheep is known as a": "rewording", "The young of a horse is called a": "neighbor"}
widgets.EditAndLook(lm, sheep, young | {"The opposite of hot is": "unrelated"})

# %% [markdown]
# What you have found goes here, and the check on the next line reads it.

# %%
my_fact = None  # lib.Fact("The Colosseum", "{} is located in the city of", "Madrid")
my_prompt = None  # "… is in the city of"


# %%
print(checks.own_fact(editor, my_fact, my_prompt))

# %% [markdown]
# ## What we know now
#
# * One matrix of one layer, changed at very low rank, is enough to change a fact, also in other
#   words.
# * An edit is a value: applied by entering a `with` block, undone exactly by leaving it.
# * Whether an edit *worked* depends on what is asked and on the event that counts as right, and the
#   base model stands beside every number.
#
# ## Where it breaks
#
# Only the sheep was edited. What does the model now say about other animals? The number is the
# Kullback–Leibler divergence of the next token $w$, $\sum_w p(w) \log (p(w)/p'(w))$ in nats, with
# $p$ of the base and $p'$ of the edited model: 0 means that nothing moved.

# %%
animals = "goat ram sheepdog cow horse pig dog cat bear lion duck whale kangaroo frog car".split()
prompts = [f"The young of a {animal} is called a" for animal in animals]
base, said = lm.next_token(prompts), lm.answer(prompts, 3)
with lm.patched(only_sheep):
    edited, says = lm.next_token(prompts), lm.answer(prompts, 3)
kl = (base.exp() * (base - edited)).sum(1).tolist()
order = sorted(range(len(animals)), key=lambda i: -kl[i])
show.Table(
    [{"animal": animals[i], "before": said[i], "after": says[i], "KL (nats)": kl[i]} for i in order]
)

# %% [markdown]
# Nobody edited the sheepdog, and it has a new answer. Find the ram, a sheep's father: he hardly
# moved. The order is not that of biology, and not quite that of spelling either.
#
# **Why did *that* neighbor move?** To answer this we have to know how a matrix stores anything at
# all. [Notebook 01](01_linear_memory.ipynb) begins there.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): ROME.
# * nostalgebraist: *interpreting GPT: the logit lens*, LessWrong, 2020.
# * Allal et al.: *SmolLM2: When Smol Goes Big*, 2025,
#   [arXiv:2502.02737](https://arxiv.org/abs/2502.02737).
