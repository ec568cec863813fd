# %% [markdown]
# <!-- badge -->
#
# # 00 · Can we change one belief, and only one?
#
# A language model says that the Eiffel Tower is in Paris. In the next minute you will make it say
# Rome, see what else changed with it, and take everything back to the last byte.
#
# **You will** edit one fact of a real model and read its answers before and after · undo the edit
# exactly, save it, load it, stack a second one on top · write the logit lens, and see where the
# answer turns · measure the edit, and write the number that says how far another answer moved.
#
# **Needs** nothing but Python. Nothing is derived here: this is one edit from start to end. The
# notebooks that follow take it apart.
#
# **Minutes** 25 to read and 20 to work: two exercises of [session 1](../lessons/session_1.md), two
# guesses and a fact of your own.
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

# %% [markdown]
# The model is SmolLM2-135M-Instruct: small enough for a laptop. It knows less than its large
# relatives, but it is built as they are.
#
# <details><summary>How these notebooks are run: scales and stored runs</summary>
#
# Two things return in every notebook and are explained only here. The variable `SCALE` comes from
# the environment variable `EDIT_SCALE`. At "small", the default, everything runs on the model above
# and needs at most three minutes per notebook. "tiny" takes a random model that knows nothing, so
# that the tests can run every cell in seconds. "full" takes a model of 8 billion parameters and
# needs a GPU. The numbers in the text are those of "small".
#
# The environment variable `EDIT_MODEL` puts another model in the place of the one above, such as
# `gemma-3-270m` (Gemma 3 270M, under Google's Gemma Terms of Use, ai.google.dev/gemma/terms). All
# cells then run on it, while the text goes on to describe SmolLM2-135M-Instruct.
#
# Some experiments take longer than that. They were made beforehand by one command, and their rows
# are kept in `notebooks/data` together with the command, the date and the settings: a **stored
# run**. `long_runs.stored(…)` reads such a run and refuses it if its settings are not those that the
# notebook asks for. `long_runs.repeats(…)` then makes its first rows again while you watch, and stops
# with an error if they differ from what was stored.
#
# </details>

# %%
import hashlib
import tempfile

import torch

import lib
from lib.data.facts import encode_target
from lib.model.generation import generate
from lib.workbench import widgets
from lib.workbench.interpret.logit_lens import lens
from notebooks.support import drawings_00, models, score_tables, show
from notebooks.support.holes import guess, use

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
size = sum(p.numel() for p in lm.model.parameters())
print(f"{lm.name}: {lm.n_layers} layers, {size / 1e6:,.0f} million numbers")

# %% [markdown]
# ## Ask it
#
# A **fact** has a subject, a prompt in which `{}` stands for the subject, and an answer. One right
# answer proves little, so we put three more groups of prompts around it. **Rewordings** ask for the
# same fact and should follow the edit. **Neighbors** ask something similar about somebody else, and
# **unrelated** prompts ask something else altogether. Both should stay as they are. Every answer is
# cut off after six tokens, the pieces of words that the model reads and writes.

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
# We use **ROME** ("rank-one model editing"). It looks for an output of one layer that makes the model
# end this sentence with the new answer. Then it changes one matrix of that layer as little as it can,
# so that the layer gives this output. Notebook 04 derives the first half, notebook 02 the second.
#
# The edit does not touch the model. It comes back as a value, a **patch**. The model obeys the
# patch inside a block `with lm.patched(patch):` and nowhere else.

# %%
editor = lib.EDITORS["rome"](lm)
patch = editor.edit([fact])

with lm.patched(patch):
    after = lm.answer(prompts, max_new_tokens=6)

if SCALE != "tiny":
    assert before[0].startswith(" Paris") and after[0].startswith(" Rome")
for group in ("rewording", "neighbor", "unrelated"):
    own = [i for i, prompt in enumerate(prompts) if asked[prompt] == group]
    stayed = [i for i in own if before[i].split()[:1] == after[i].split()[:1]]
    print(f"{group}: {len(stayed)} of {len(own)} answers begin with the same word as before")
show.Table([{**row, "after": after[i]} for i, row in enumerate(rows)])

# %% [markdown]
# The answer moved, and so did that of both rewordings, which the edit has never seen. The four
# neighbors and the two unrelated prompts are answered as before, so for these six the hope came
# true.
#
# The answers show only the most probable word. Press *Edit*: this panel makes the edit again and also
# draws the most probable next tokens. It is for trying: change a line, press *Edit*, read the answers
# below. (On a page without a kernel it stands still.)

# %%
looked_at = [prompts[i] for i in (1, 5, 8)]
widgets.EditAndLook(lm, fact, {prompt: asked[prompt] for prompt in looked_at})

# %% [markdown]
# Gray is the base model and orange the edited one, in every figure that compares the two. The sign
# `␣` is a space: to the model "Rome" with a space in front of it is one token, another one than
# "Rome" at the beginning of a line. The probability has gone from "Paris" to "Rome", which now has
# 0.998, so hardly anything is left for other cities. (The panel counts 1 of the 3 other answers as
# changed. It is the rewording, which should change.)
#
# ## Take it back
#
# What exactly was changed? A transformer is a stack of layers. Each layer of this model has seven
# matrices: four belong to its attention, which fetches information from earlier words (q, k, v, o),
# and three to its MLP, which works on each word by itself (gate, up, down). Here they all are, with
# the one that the patch changes.

# %%
drawings_00.touched(lm, patch)

# %% [markdown]
# One matrix $W$ of 210 gets a change $\Delta$, and the patch stores this change as the product of
# two thin matrices, $\Delta = A B$. To apply the patch by hand is one addition:
#
# $$W' = W + A B .$$
#
# We do that first in the obvious way, then with the library, and compare the model's predictions.

# %%
name, update = next(iter(patch.weights.items()))
module = lm.model.get_submodule(name)
W = module.weight
change = update.dense().to(W)  # A B
print(f"{name}: {W.shape[0]} × {W.shape[1]}, the change has rank {update.rank}")

module.weight = torch.nn.Parameter(W + change, requires_grad=False)
by_hand = lm.next_token(fact.text)
module.weight = W

with lm.patched(patch):
    by_library = lm.next_token(fact.text)
models.same(lm, by_hand, by_library)
away = (by_hand - by_library).abs().max().item()
print(f"log-probabilities of all words: by hand and by the library {away:.0e} apart at most")

# %% [markdown]
# The two agree in every digit. The rank is 2, although ROME's name promises one: this library writes
# each fact under two inputs of the matrix. Notebook 04 says why.
#
# **Predict.** To undo an edit in place, could we simply subtract $AB$ again?
#
# <details><summary>Answer</summary>
#
# Almost. Floating-point addition rounds, so $(W + AB) - AB$ is not always $W$, and some entries come
# back with another last bit.
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


rounded = ((W + change) - change != W).float().mean().item()
print(f"subtracting leaves {100 * rounded:.1f} % of the matrix different from before")
base_bytes = all_bytes()
with lm.patched(patch):
    inside = all_bytes()
print(f"bytes before {base_bytes}, inside {inside}, after {all_bytes()}")
assert inside != base_bytes == all_bytes()

# %% [markdown]
# Subtracting changes some entries for good. Leaving the block changes not one byte.
#
# ## An edit is a value
#
# A patch can be saved, sent to somebody with the same model, and loaded. A second edit goes *on
# top* with `after=`, and the first patch is still there, unchanged. Our second fact answers
# another question: what do you call a young sheep?
#
# To go back is to use an earlier value. Every patch also carries a log of its edits. So the *first*
# edit can be taken out and the second kept: `without` leaves one edit out and makes those after it
# again.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = patch.save(f"{folder}/tower.safetensors")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    tower = lib.Patch.load(path)

sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
both = editor.edit([sheep], after=tower)
only_sheep = both.without(0, lm)
patches = {"none": lib.EMPTY, "tower": tower, "tower, sheep": both, "sheep": only_sheep}
rows = []
for name, held in {**patches, "none again": lib.EMPTY}.items():
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
# us from doing so after *any* layer $\ell$. Let $h_\ell$ be the sum there, after the norm, and $U$
# the last matrix, with one row for every token of the vocabulary. Then the scores are
#
# $$s_\ell = U h_\ell ,$$
#
# and we ask at what rank the two answers stand among them. This is the **logit lens**.
#
# **Your turn · exercise 1.5 · ★★ · 6 minutes.** Write `ranks`: the rank of one word behind every
# layer, 1 for the word with the largest score. Two lines; the next figure is drawn from them. While
# the body is still `...`, the page goes on with the solution. Once it is right, it is also put into a
# file of the folder `my/`, which is named below the cell: this file can be handed in.


# %%
def ranks(states, U, word):
    """states (layers, d), U (words, d), the word's row in U -> (layers,), whole numbers from 1."""
    ...


ranks = use("1.5", ranks)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many words are ahead of it? Nothing has to be sorted.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ranks(states, U, word):
#     scores = states @ U.T  # (layers, words)
#     return 1 + (scores > scores[:, [word]]).sum(1)
# ```
#
# </details>
#
# **Predict.** The edit changes a matrix in layer 3. Does the new answer lead right after it? The next
# cell asks for the first layer in which the rank of one of the two answers differs tenfold between
# the base and the edited model. Type it into the field. Where there is no field, write
# `turn.number = …` in a cell of your own.
#
# <details><summary>Answer</summary>
#
# No. What is written stands at the *subject's* last token, and we read at the *end* of the prompt.
# The attention of later layers has to carry it there.
#
# </details>

# %%
turn = guess("In which layer does a rank first differ tenfold?", 0, lm.n_layers - 1)
norm = lm.model.get_submodule(lm.arch.final_norm)
U = lm.model.get_output_embeddings().weight.float()


def rank_of(answers, held):  # {answer: its rank in the vocabulary after every layer}
    names = [lm.above(layer) for layer in range(lm.n_layers)]  # each reads what a layer leaves
    with lm.patched(held):
        seen = lm.run(fact.text, watch=names).seen
        states = norm(torch.stack([seen[name][0][0, -1] for name in names])).float()
    words = {answer: encode_target(lm.tokenizer, answer)[0] for answer in answers}
    return {answer: ranks(states, U, word).tolist() for answer, word in words.items()}


answers = [fact.target_true, fact.target_new]
base = rank_of(answers, lib.EMPTY)
edited = rank_of(answers, patch)
library = lens(lm, fact.text, answers, patch)
for answer in answers:
    by_library = library.loc[library["answer"] == answer, "rank"]
    models.same(lm, torch.tensor(edited[answer]).log(), torch.tensor(by_library.tolist()).log())

# %%
written_in = editor.config.layer


def differs_tenfold(layer):
    pairs = [(base[answer][layer], edited[answer][layer]) for answer in answers]
    return any(max(pair) > 10 * min(pair) for pair in pairs)


parted = [layer for layer in range(lm.n_layers) if differs_tenfold(layer)]
print(f"written in layer {written_in}; a rank first differs tenfold in layer {min(parted or [0])}")
turn.against(min(parted or [0]))
drawings_00.ranks(base, edited, written_in)

# %% [markdown]
# Rank 1 is at the top, and the shaded band is the layer that was edited. Full lines are the rank of
# "Paris", dashed ones the rank of "Rome". For most of the way the edited model (orange) can hardly be
# told from the base model (gray). A rank first differs tenfold in layer 23, twenty layers above the
# one that we touched. Notebook 03 follows the fact on its way.
#
# ## Measure it
#
# Two edits that went well are no measurement. The library has a *classroom* of facts that this model
# knows, each with its own rewordings, neighbors and unrelated prompts. We take six by a rule, not by
# taste (odd numbers, because the settings were tuned on even ones), and edit each by itself on a fresh
# model. An answer counts as right when the model, left to write freely, begins with it.

# %%
cases = lib.classroom()[1::34]
print(", ".join(f"{case.fact.subject} → {case.fact.target_new}" for case in cases))
scores = lib.singly(editor, cases, metrics=list(score_tables.METRICS))
compared = {"base model": scores.base.scores, "each one edited": scores}
count = {of: sum(len(getattr(c, of)) for c in cases) for of in ("paraphrases", "neighborhood")}
print(f"{len(cases)} facts, {count['paraphrases']} rewordings, {count['neighborhood']} neighbors")
paired = lib.compare(scores, scores.base.scores, [("specificity", "generation")]).iloc[0]
points = "{:+.0f} points, 95 % {:+.0f} to {:+.0f}".format(
    *100 * paired[["difference", "low", "high"]]
)
print(f"neighbors, edited less base model, fact by fact: {points}")
score_tables.by_metric(compared, "generation")

# %% [markdown]
# The rows are the groups of prompts. For the edit's own prompt and its rewordings the *new* answer
# is right, for the neighbors their own true one. The first column is the **base model**, which
# these notebooks set beside the edited one: it gives none of the new answers here and knows all
# the neighbors. After the edits 92 % of these are left.
#
# Each share is a mean over the six facts, and in brackets stands its 95 % interval, from a
# Bayesian bootstrap over the facts ([notebook 15](15_judging.ipynb) compares such intervals). Such
# an interval counts one imagined fact more, half of it at either extreme. So the 8 points that the
# neighbors lose have an interval from 36 fewer to 24 more, although no neighbor could be gained:
# with six facts a loss cannot be told from none. A fact's rewordings are not independent of each
# other, so the six facts count, not their prompts. The intervals are wide: six facts show that
# such edits can work, but hardly how many rewordings and neighbors of other facts would follow or
# stay.
#
# What counts as right is our choice, and it is called the **event**. Here are the rewordings again,
# judged in four ways.

# %%
score_tables.by_event(compared, "generalization")

# %% [markdown]
# These are the same edits on the same prompts, but the share of rewordings that follow differs. By
# probability all of them do, and when the model writes freely and may add nothing, about a third.
# Nothing was measured wrongly; each event asks another question. In these notebooks the event is
# *generation* unless a sentence says otherwise, because that is what a reader of the model sees.
# Notebook 15 says how to read such tables.
#
# ## Exercise: your own edit, and its weak spot
#
# Find a fact of your own, and a prompt about the same subject on which the edit *fails*: the new
# answer would be right there, but the edited model says something else. An answer of one word is
# easiest.
#
# <details><summary>A hint</summary>
#
# An edit hangs on the subject's last token. Ask without saying the subject as you wrote it, or turn
# the question round, so that the subject comes last.
#
# </details>
#
# <details><summary>The example in the cell</summary>
#
# The Colosseum is put into Madrid. "The largest ancient amphitheater stands in the city of" means the
# same building but never says its name, so the subject's last token, on which the edit hangs, does
# not come up.
#
# </details>
#
# The cell prints what the model says before and after, of the example first and then of your edit.
# In the example the edited prompt goes from Rome to Madrid, and the other one stays in Rome.

# %%
example = lib.Fact("The Colosseum", "{} is located in the city of", "Madrid")
tried = {example: "The largest ancient amphitheater stands in the city of"}
my_fact = None  # lib.Fact("…", "{} …", "…")
my_prompt = None  # "… is in the city of"
if my_fact is None or my_prompt is None:
    print("not attempted: your fact and your prompt are still missing.")
else:
    tried[my_fact] = my_prompt
for edited_fact, prompt in tried.items():
    both_prompts = [edited_fact.text, prompt]
    with lm.patched(editor.edit([edited_fact])):
        said = lm.answer(both_prompts, 6)
    for text, unedited, now in zip(both_prompts, lm.answer(both_prompts, 6), said, strict=True):
        print(f"{text} … {unedited!r} before, {now!r} after")
    new = [now.strip().startswith(edited_fact.target_new) for now in said]
    print("this is a weak spot" if new == [True, False] else "not yet a weak spot")

# %% [markdown]
# ## What we know now
#
# * One matrix of one layer, changed at very low rank, was enough to change each fact of this page,
#   and with it most answers to the rewordings that we asked.
# * An edit is a value: applied by entering a `with` block, undone exactly by leaving it.
# * Whether an edit *worked* depends on what is asked and on the event that counts as right. To
#   judge it, one needs the base model's answers, too.
#
# ## Where it breaks
#
# Take the patch in which only the sheep was edited. What does the model now say about fourteen
# other animals, and about a car? We want one number for each that says how far its answer moved.
# The first token alone will not do, because this model puts some of its answers into quotation
# marks, and then the first token is the quotation mark. So we take the first four tokens of the
# base model's answer, let both models read the prompt and that answer, and compare what they expect
# at each of these tokens $t$. With $p_t(w)$ for the probability of the word $w$ there in the base
# model, and $p'_t(w)$ in the edited one:
#
# $$\mathrm{KL} = \sum_t \sum_w p_t(w) \log \frac{p_t(w)}{p'_t(w)} .$$
#
# This is the Kullback–Leibler divergence in nats, summed over the four tokens. It is 0 where nothing
# moved, and large where words that were likely have lost much of their probability.
#
# **Your turn · exercise 1.4 · ★★ · 6 minutes.** Write `answer_kl`, from the scores that the two
# models give. Two lines; the animals below are put in order by them.


# %%
def answer_kl(before, after):
    """Scores (logits) of every word at the answer's tokens, both (tokens, words) -> one number."""
    ...


answer_kl = use("1.4", answer_kl)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Scores are not yet probabilities. What has to be true of $p_t$ when it is summed over all words?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def answer_kl(before, after):
#     p, q = before.log_softmax(-1), after.log_softmax(-1)
#     return (p.exp() * (p - q)).sum()
# ```
#
# </details>
#
# **Predict.** Which of the fifteen move most, and how many begin their answer with another word?
#
# <details><summary>What one could think of</summary>
#
# The animals that are most like a sheep, or those whose names or answers are written most like the
# sheep's. Write your order down. The table below has a column for either idea, and notebook 02 has
# a third.
#
# </details>
#
# In the table, *kin* is the narrowest rank of zoology that an animal shares with the sheep, from
# the species up to the phylum, and *letters* says how many of the four different letters of
# "sheep" its name has.

# %%
kin = {"ram": "species", "goat": "subfamily", "cow": "family", "pig": "order", "whale": "order"}
kin |= dict.fromkeys("sheepdog horse dog cat bear lion kangaroo".split(), "class")
animals = kin | {"duck": "phylum", "frog": "phylum", "car": "none"}
changed = guess("How many of the fifteen begin their answer with another word?", 0, len(animals))


# %%
def at_the_answer(ids, said, held):  # the scores from which each token of the answer is chosen
    with lm.patched(held):
        logits = lm.run([[*ids, *said]]).logits[0].float()
    return logits[len(ids) - 1 : -1]  # what stands at a token says what comes after it


rows = []
for animal, rank in animals.items():
    prompt = sheep.prompt.format(animal)
    (ids,), _ = lm.rows([prompt])
    (said,) = generate(lm, [ids], 4).ids
    before, after = (at_the_answer(ids, said, held) for held in (lib.EMPTY, only_sheep))
    with lm.patched(only_sheep):
        says = lm.answer(prompt, 4)
    row = {"animal": animal, "kin": rank, "letters": len(set(animal) & set("sheep"))}
    row |= {"before": lm.answer(prompt, 4), "after": says}
    rows.append(row | {"KL (nats)": answer_kl(before, after).item()})
rows.sort(key=lambda row: -row["KL (nats)"])
changed.against(sum(row["before"].split()[:1] != row["after"].split()[:1] for row in rows))
show.Table(rows)

# %% [markdown]
# Nobody edited the sheepdog, and it has a new answer, as have the dog, the goat and the pig. The
# bear and the ram get other words as well, although their KL is small: where two words are nearly
# equally probable, a small change can decide between them. The order is not that of kinship: the
# ram is of the sheep's own species and yet second to last, and the kangaroo, which shares only the
# class with the sheep, moves more than the pig, which shares the order. It is not that of spelling
# either: the sheepdog has all four letters and comes first, but goat and cow, with none of them,
# come next, before the horse with three and the whale with two.
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
