# %% [markdown]
# <!-- badge -->
#
# # 00 · Can we change one belief, and only one?
#
# A language model says that the Eiffel Tower is in Paris. In the next minute you'll make it say Rome, see what else
# changed, and undo everything down to the last byte.
#
# **You will** edit a fact, then one of your own · undo it exactly · measure what else changed · look inside the
# layers.
#
# **Needs** Python, and a little torch for the two exercises in the second half. Nothing is derived here.
#
# **Minutes** 20 for reading and 25 for working: two exercises from [session 1](../lessons/session_1.md), and a fact
# of your own.
#
# The folded cell below finds the library and sets the number of threads. Run it and keep reading.

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
# The model is SmolLM2-135M-Instruct, which is small enough for a laptop and has the same design as larger models. All
# notebooks load it using `lib.load()`, with one token prepended to every text. Notebook 02b shows why that token helps.
#
# <details><summary>How these notebooks are run: scales and stored runs</summary>
#
# Two things that come up in every notebook are explained only here. The variable `SCALE` is set by the environment
# variable `EDIT_SCALE`. At "small", the default, everything runs on the model above and takes at most three minutes
# per notebook. "tiny" uses a random model that has learned nothing, which lets the tests run every cell in seconds.
# "full" uses a model with 8 billion parameters and needs a GPU. The numbers in the text were measured at "small".
#
# The environment variable `EDIT_MODEL` replaces the model above with another, such as `gemma-3-270m` (Gemma 3 270M,
# under Google's Gemma Terms of Use, ai.google.dev/gemma/terms). All cells then run on that model, but the text
# still describes SmolLM2-135M-Instruct.
#
# Some experiments take longer than that. We ran each of them in advance with a single command and keep the results
# in `notebooks/data`, along with the command, the date, and the settings. This is called a **stored run**.
# `long_runs.rows(…)` reads its rows, and a test compares its settings with the current ones. `long_runs.repeats(…)`
# then recomputes the first rows while you watch, stopping with an error if they differ from the stored rows.
#
# </details>

# %%
import hashlib
import statistics
import tempfile

import torch
from IPython.display import display

import lib
from lib.data.facts import encode_target
from lib.model.generation import generate
from lib.workbench import plot, widgets
from lib.workbench.interpret.logit_lens import lens
from notebooks.support import drawings_00, models, own_fact, show
from notebooks.support.figures import whiskers
from notebooks.support.holes import both, guess, use
from notebooks.support.runs_02_insert import rank_correlation

lm = models.load(SCALE, sink="own")  # at "small" the same as `lib.load()`
size = sum(p.numel() for p in lm.model.parameters())
print(f"{lm.name}: {lm.n_layers} layers, {size / 1e6:,.0f} million numbers")

# %% [markdown]
# ## Ask it
#
# A **fact** has a subject, a prompt in which `{}` marks the subject, and an answer. One right answer proves little,
# so we add three more groups of prompts. **Rewordings** ask for the same fact and should follow the edit.
# **Neighbors** ask something similar about another subject, and **unrelated** prompts ask something else entirely.
# The answers to both should stay the same. Every answer is cut off after six tokens, the pieces of words that the
# model reads and writes.

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
print(f"{fact.text} …{before[0]}".strip())

# %% [markdown]
# **Predict.** In a moment the model will believe that the Eiffel Tower is in Rome. What will it say about the
# Louvre, in the same city? About the Colosseum, which really is in Rome? About bread?
#
# <details><summary>What you might hope for</summary>
#
# Nothing but the Eiffel Tower changes. But the model is never told where the new belief should end: the edit sees
# only a single sentence. Keeping the other answers unchanged is up to the *method*, and has to be measured.
#
# </details>
#
# ## Edit it
#
# We use **ROME** ("rank-one model editing"). It searches for an output of one layer that makes the model complete
# this sentence with the new answer. Then it changes one matrix of that layer as little as possible, just enough for
# the layer to produce this output. Notebook 04 derives the first half, notebook 02 the second.
#
# Editing doesn't touch the model. The edit is returned as a value, a **patch**, which applies inside a block
# `with lm.patched(patch):` and nowhere else.

# %%
editor = lib.EDITORS["rome"](lm)
patch = editor.edit([fact])

with lm.patched(patch):
    after = lm.answer(prompts, max_new_tokens=6)

if SCALE != "tiny":
    assert before[0].startswith(" Paris") and after[0].startswith(" Rome")
columns = {"group": asked.values(), "prompt": prompts, "before": before, "after": after}
show.Table([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

# %% [markdown]
# The answer changed, and so did the answers to both rewordings, even though the edit never saw them. All other
# answers are unchanged.
#
# An answer shows only the winning words. This panel draws the most probable next tokens, gray for the unedited
# (base) model and orange for the edited one. Change a line, press *Edit*, and read the answers below.

# %%
looked_at = [prompts[i] for i in (1, 5, 8)]
widgets.EditAndLook(lm, fact, {prompt: asked[prompt] for prompt in looked_at})

# %% [markdown]
# The sign `␣` is a space: "Rome" with a leading space is a different token than "Rome" at the beginning of a line.
# The probability moved from Paris to Rome, leaving almost none for a third city.
#
# ## A fact of your own
#
# Now choose a fact, type it into the next cell, and run it. It is saved in the folder `my/`, and later notebooks
# will use it again. Choose something that the model knows, with an answer of one word. Then look for a weak spot:
# another prompt about the same subject for which the new answer would be right but the edited model says something
# else.
#
# <details><summary>A hint</summary>
#
# An edit depends on the subject's last token. Try asking without using the subject as you wrote it, or turn the
# question around so that the subject comes last.
#
# </details>
#
# We start with our own example; its second prompt refers to the same tower without naming it.

# %%
my_subject, my_prompt, my_answer = "", "", ""  # "The Great Wall", "{} was built in", "Peru"
my_other = ""  # another prompt, at which the edit fails

mine = own_fact.keep(my_subject, my_prompt, my_answer)
tried = [(fact, patch, "The tower that Gustave Eiffel built stands in the city of")]
if mine is not None:
    tried.append((mine, editor.edit([mine]), my_other or mine.text))
for one, held, other in tried:
    pair = [one.text, other]
    with lm.patched(held):
        said = lm.answer(pair, 6)
    for text, unedited, now in zip(pair, lm.answer(pair, 6), said, strict=True):
        print(f"{text} … {unedited.strip()!r} before, {now.strip()!r} after")
    new = [now.strip().startswith(one.target_new) for now in said]
    print("this is a weak spot" if new == [True, False] else "not yet a weak spot")

# %% [markdown]
# The tower that Gustave Eiffel built is still in Paris: the edited model's answer about one building depends on the
# wording of the question.
#
# ## Take it back
#
# What exactly was changed? A transformer is a stack of layers. Each layer of this model has seven matrices: four
# belong to its attention, which fetches information from earlier words (q, k, v, o), and three to its MLP, which
# processes each word by itself (gate, up, down).
#
# The edit adds a change $\Delta$ to one matrix $W$, and the patch stores the change as the product of two thin
# matrices, $\Delta = A B$. Applying the patch by hand takes one addition:
#
# $$W' = W + A B .$$

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
print(
    f"log-probabilities of all words: by hand and by the library, they differ by at most {away:.0e}"
)
drawings_00.touched(lm, patch)

# %% [markdown]
# The change has rank one, as ROME's name promises.
#
# **Predict.** To undo an edit in place, could we simply subtract $AB$ again?
#
# <details><summary>Answer</summary>
#
# Almost. Floating-point addition rounds, so $(W + AB) - AB$ is not always $W$, and some entries come back with a
# different last bit.
#
# </details>
#
# `patched` never subtracts. It sets the original tensor aside, putting it back when the block ends, even if the code
# inside fails. To make sure, we hash every byte of every parameter.


# %%
def all_bytes():
    digest = hashlib.blake2b()
    for p in lm.model.parameters():
        digest.update(p.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


rounded = ((W + change) - change != W).float().mean().item()
print(f"subtracting leaves {100 * rounded:.1f} % of the matrix changed")
base_bytes = all_bytes()
with lm.patched(patch):
    inside = all_bytes()
assert inside != base_bytes == all_bytes()
print("the bytes: changed inside the block, restored after it")

# %% [markdown]
# ## An edit is a value
#
# A patch can be saved and loaded. You can write a second edit *on top* of it by passing `after=`, which leaves the
# first patch unchanged. Our second fact: what do you call a young sheep?
#
# Going back means using an earlier value. Every patch also keeps a log of its edits, so you can remove the *first* edit
# while keeping the second: `without` leaves one edit out, repeating the later edits without it.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = patch.save(f"{folder}/tower.safetensors")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    tower = lib.Patch.load(path)

sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
two = editor.edit([sheep], after=tower)
only_sheep = two.without(0, lm)
patches = {"none": lib.EMPTY, "tower": tower, "tower, sheep": two, "sheep": only_sheep}
rows = []
for name, held in {**patches, "none again": lib.EMPTY}.items():
    with lm.patched(held):
        answers = lm.answer([fact.text, sheep.text], max_new_tokens=3)
    rows.append({"patch": name, "The Eiffel Tower …": answers[0], "A young sheep …": answers[1]})
show.Table(rows)

# %% [markdown]
# Each row is one `with` block.
#
# ## Measure it
#
# The library has a built-in fact set, the *classroom*: facts that this model knows, each with its own rewordings and
# neighbors. We take six by a rule, not by taste, editing each individually. In the figure every square is a prompt.
#
# The criterion for a right answer is our choice, and it is called the **event**. There are four. By *probability*,
# the new answer must be more probable than the old one. *Teacher-forced*, each of its tokens must be the first
# choice, given the tokens before it. Under *generation* the model writes freely and must begin with the answer, and
# under *exact* generation it must write nothing after it.

# %%
cases = lib.classroom()[1::34]  # odd indices: the settings were tuned on even indices
names = [f"{case.fact.subject} → {case.fact.target_new}" for case in cases]
scores = lib.singly(editor, cases, metrics=list(drawings_00.GROUPS))
drawings_00.answered(scores, names)

# %% [markdown]
# Three neighbors are wrong after the edits, and the missing dots show why: the unedited model gave no right answer
# there either. It calls the sports of Maradona and Nadal football, and credits Sears with the Walkman. So report
# every score next to the **unedited model's**. Otherwise an edit gets blamed for errors that the model was already
# making.
#
# The lower row judges the same rewordings by each event. Exact generation counts five fewer than generation does,
# because the model keeps writing after the right answer. In these notebooks the event is *generation* unless noted
# otherwise, because that is what users of the model see.
#
# These are counts of six facts, not a rate. How certain could a rate be? It's tempting to count every prompt as an
# observation. However, the prompts of one fact share a subject, a kind of question and an edit, so they tend to be
# right or wrong together.
#
# **Predict.** Suppose that the $m$ prompts of a fact always agree. How much too narrow is an interval over prompts?
#
# <details><summary>Work it out</summary>
#
# The mean of $n$ independent observations has the standard deviation $\sigma/\sqrt n$. If all prompts of a fact
# agree, $n$ facts with $m$ prompts each amount to only $n$ observations, written down $m$ times. Computing the
# interval over prompts means dividing by $\sqrt{nm}$, which makes it too narrow by $\sqrt m$. If any two prompts of
# a fact have the correlation $c$, the factor is $\sqrt{1 + (m-1)\,c}$.
#
# </details>

# %%
right = scores.rows[
    (scores.rows["event"] == "generation") & (scores.rows["metric"] == "specificity")
]
facts_right = [(100 * some["value"]).tolist() for _, some in right.groupby("case")]
prompts_right = [value for some in facts_right for value in some]


def deviation(values):  # of their mean
    return statistics.stdev(values) / len(values) ** 0.5


means = [statistics.mean(some) for some in facts_right]
over_facts = deviation(means)
print(f"neighbors: {len(prompts_right)} prompts of {len(facts_right)} facts;", end=" ")
print(
    f"the mean's deviation over prompts {deviation(prompts_right):.1f}, over facts {over_facts:.1f} points"
)
T = 2.57  # 95 % of Student's distribution for six facts lie within ± T
print(
    f"95 % interval over facts: {statistics.mean(means):.0f} ± {T * over_facts:.0f} points;",
    end=" ",
)
keys = ["case", "metric", "event", "prompt"]
pairs = right.merge(scores.base.scores.rows, on=keys, suffixes=("", " before"))
wrong = pairs[pairs["value"] == 0]
print(f"of the {len(wrong)} wrong, {(wrong['value before'] == 0).sum()} were wrong before the edit")

# %% [markdown]
# Over facts, the deviation is half again as large. Here the edit isn't the cause, since the three neighbors were
# wrong before it: their facts are hard. **So intervals in this course are computed over facts**, or over whole
# streams (sequences of edits) if the facts of a stream share a model.
#
# An interval that contains 0 doesn't show that nothing differs. So **say what you could have detected**: with five
# streams, a true difference of 1.35 half-widths is found in four cases of five.
#
# ## What moved without being asked?
#
# Take the patch in which only the sheep was edited. What does the model now say about fourteen other animals, and
# about a car? The unedited model is small, and many of its answers are poor. So instead of judging them, we measure
# how far each has shifted. The first token isn't enough: this model puts some answers in quotation marks, and then
# the first token is the mark. So both models read the prompt and the first four tokens of the unedited model's
# answer, and we compare their predictions at each of these tokens $t$. With $p_t(w)$ for the probability of the word
# $w$ there in the unedited model, and $p'_t(w)$ in the edited model:
#
# $$\mathrm{KL} = \sum_t \sum_w p_t(w) \log \frac{p_t(w)}{p'_t(w)} .$$
#
# This is the Kullback–Leibler divergence in nats, summed over the four tokens. It is large if words that were
# likely have lost much of their probability.
#
# **Your turn · exercise 1.4 · ★★ · 10 minutes.** Write it in two steps. Running a model over a prompt and its
# answer gives scores at every token, and `at_answer` picks the scores from which the answer's tokens were chosen.
# `answer_kl` calls it for both models and computes the sum. While a body is still `...`, the page continues with
# the solution. If your function runs but is wrong, its result is drawn next to the solution's. If it is right, it
# is saved to a file in `my/`, ready to be handed in.


# %%
def at_answer(logits, said):
    """logits (tokens, words) over a prompt and an answer of `said` tokens -> (said, words)."""
    ...


def answer_kl(before, after, said):
    """The logits (tokens, words) of both models, and the tokens of the answer -> one number."""
    ...


at_answer = use("1.4", at_answer)
answer_kl = use("1.4", answer_kl)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The model's output at a token predicts the token after it. And scores are not yet probabilities: what has to be
# true of $p_t$ when it is summed over all words?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def at_answer(logits, said):
#     return logits[-said - 1 : -1]
# ```
#
# ```python
# def answer_kl(before, after, said):
#     p = at_answer(before, said).log_softmax(-1)
#     q = at_answer(after, said).log_softmax(-1)
#     return (p.exp() * (p - q)).sum()
# ```
#
# </details>
#
# **Predict.** Which of the fifteen shift most, and how many begin their answer with another word?
#
# <details><summary>Possible answers</summary>
#
# The animals most similar to a sheep, or those with the most similar spelling. Write your order down. The figure
# has a note for either idea, and notebook 02 has a third.
#
# </details>
#
# We start with the sheepdog, which was never edited. From top to bottom, the figure shows the first four tokens of
# the unedited model's answer and how probable each model finds them.


# %%
def read(
    animal,
):  # run both models on the prompt and the unedited model's answer -> logits, its tokens
    (ids,), _ = lm.rows([sheep.prompt.format(animal)])
    (said,) = generate(lm, [ids], 4).ids
    logits = []
    for held in (lib.EMPTY, only_sheep):
        with lm.patched(held):
            logits.append(lm.run([[*ids, *said]]).logits[0].float())
    return logits, list(said)


kin = {"ram": "species", "goat": "subfamily", "cow": "family", "pig": "order", "whale": "order"}
kin |= dict.fromkeys("sheepdog horse dog cat bear lion kangaroo".split(), "class")
kin |= {"duck": "phylum", "frog": "phylum", "car": "none"}
changed = guess("How many of the fifteen begin their answer with another word?", 0, len(kin))

logits, said = read("sheepdog")
words = [lm.tokenizer.decode(word) for word in said]
for whose, pick in both(at_answer).items():
    p = [pick(one, len(said)).softmax(-1)[range(len(said)), said].tolist() for one in logits]
    bars = (list(zip(words, side, strict=True)) for side in p)
    display(plot.token_bars(*bars, title=f"The unedited model's answer for the sheepdog ({whose})"))

# %% [markdown]
# The edited model would be very unlikely to give either piece of "shep". At the two tokens after the word, the models
# differ much less.
#
# Next come all fifteen. Each name is followed by the narrowest zoological rank shared with the sheep, and by how many
# of the four different letters of "sheep" it contains.

# %%
notes, found = {}, {}
for animal, rank in kin.items():
    prompt = sheep.prompt.format(animal)
    (base, edited), said = read(animal)
    found[animal] = [one(base, edited, len(said)).item() for one in both(answer_kl).values()]
    was = lm.answer(prompt, 4).split("\n")[0].strip()
    with lm.patched(only_sheep):
        now = lm.answer(prompt, 4).split("\n")[0].strip()
    notes[animal] = f"{animal} ({rank}, {len(set(animal) & set('sheep'))})", was, now
order = sorted(kin, key=lambda animal: -found[animal][0])
changed.against(sum(was.split()[:1] != now.split()[:1] for _, was, now in notes.values()))
closer = ["none", "phylum", "class", "order", "family", "subfamily", "species"]
rest = [animal for animal in kin if animal != "sheepdog"]
near, far = [closer.index(kin[animal]) for animal in rest], [found[animal][0] for animal in rest]
print(
    f"without the sheepdog, rank correlation of kinship with KL {rank_correlation(near, far)[0]:.2f};"
)
print(f"of {len(rest)} pairs, chance exceeds ±.54 in one case of twenty")
labels = [f"{name}:  {was} → {now}" for name, was, now in map(notes.get, order)]
points = {
    whose: [3 * [found[animal][i]] for animal in order] for i, whose in enumerate(both(answer_kl))
}
made = whiskers(labels, points, "KL of the answer (nats)", height=5.2)
made.axes[0].set_xscale("log")
made

# %% [markdown]
# The sheepdog's answer shifted most by far, from *shep* to *puppy*. This happens to be right, but the edit contains
# no knowledge about dogs. Of the seven answers that changed, six were wrong before. The dog's was right and went from
# *pup* to *puppy*, the very word that was written.
#
# Is there an ordering by kinship among the others? The rank correlation is positive, but chance often gives as much,
# so this edit cannot tell. We see no ordering by spelling, except for the word containing the edited one: goat and
# cow have none of its letters.
#
# ## Where does the answer change?
#
# A transformer works by adding: every layer reads a running sum, the residual stream, and adds to it. At the end
# that sum passes through a norm and one last matrix $U$, which has a row for every token and gives it a score.
# Nothing stops us from doing this after *any* layer $\ell$. With $h_\ell$ for the sum there, after the norm, the
# scores are
#
# $$s_\ell = U h_\ell ,$$
#
# and we compute the ranks of the two answers among them. This is the **logit lens**: it reads the sum after a layer *as
# if* no further layer followed. Only the last layer was trained to be read this way, so a rank in the thousands may
# simply mean that the lens cannot read the answer there.
#
# **Your turn · exercise 1.5 · ★★ · 6 minutes.** Write `ranks`: the rank of one word after every layer, 1 for the
# word with the largest score.


# %%
def ranks(states, U, word):
    """states (layers, d), U (words, d), the word's row in U -> (layers,), whole numbers from 1."""
    ...


ranks = use("1.5", ranks)
turn = guess("In which layer does a rank first differ tenfold?", 0, lm.n_layers - 1)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many words score higher? Nothing has to be sorted.
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
# **Predict.** Editing the tower changes a matrix in layer 3. Does the new answer lead right after it? Say in which
# layer the rank of one of the two answers first differs tenfold between the unedited and the edited model. Type it
# into the field above, or write `turn.number = …`.
#
# <details><summary>Answer</summary>
#
# No. The edit is written at the *subject's* last token, and we read at the *end* of the prompt. The attention of
# later layers has to carry it there.
#
# </details>

# %%
norm = lm.model.get_submodule(lm.arch.final_norm)
U = lm.model.get_output_embeddings().weight.float()
answers = {answer: encode_target(lm.tokenizer, answer)[0] for answer in ("Paris", "Rome")}


def at_the_end(held):  # (layers, d): the residual stream after every layer at the last token
    names = [lm.above(layer) for layer in range(lm.n_layers)]
    with lm.patched(held):
        seen = lm.run(fact.text, watch=names).seen
    return torch.stack([seen[name][0][0, -1] for name in names])


def over_layers(held, how):  # {answer: its rank in the vocabulary after every layer}
    states = norm(at_the_end(held)).float()
    return {answer: how(states, U, word).tolist() for answer, word in answers.items()}


base, edited = (over_layers(held, ranks) for held in (lib.EMPTY, patch))
library = lens(lm, fact.text, [*answers], patch)
for answer, found in edited.items():
    by_library = library.loc[library["answer"] == answer, "rank"]
    models.same(lm, torch.tensor(found).log(), torch.tensor(by_library.tolist()).log())
ratios = torch.tensor([*edited.values()]) / torch.tensor([*base.values()])  # (answers, layers)
parted = (ratios.log10().abs() > 1).any(0).nonzero().flatten().tolist()
turn.against(min(parted, default=0))
for whose, how in [*both(ranks).items()][1:]:
    edited |= {f"{answer}, {whose}": found for answer, found in over_layers(patch, how).items()}
layers = range(lm.n_layers)
plot.rank_over_layers(layers, edited, before=base, highlight=editor.config.layer)

# %%
h, moved = (at_the_end(held).float() for held in (lib.EMPTY, patch))
away = 100 * (moved - h).norm(dim=1) / h.norm(dim=1)
for layer in (editor.config.layer, 4, 9, 14, 19, 21, 22, 23, 29):
    if layer < lm.n_layers:
        print(f"after layer {layer}: {away[layer]:.1f} %;", end=" ")
plot.lines(
    layers, {"the edited model": away.tolist()}, "layer", "‖h′ − h‖ / ‖h‖ at the last token (%)"
)

# %% [markdown]
# In the first figure rank 1 is at the top, gray is "Paris" and orange is "Rome", and the dashed lines show the
# model before the edit. Up to layer 22, both answers rank in the thousands in *both* models. The lens can't read
# either of them there, so it cannot show whether anything has changed.
#
# The second figure needs no lens. In the edited layer, the last token already changes a little. Nothing has been
# carried there yet: its own key resembles the tower's a little (notebook 04). Above, attention brings the change,
# which grows to a fifth of the state by layer 21 and jumps in layer 23, where the answer changes. Neither figure
# shows what information the earlier layers carry; notebook 03 follows the fact on its way.
#
# ## What we know now
#
# * We can change one belief: a rank-one change to a single matrix was enough for each fact on this page and for most of
#   its rewordings. We cannot say that we changed only one: with the sheep, other answers shifted as well.
# * An edit is a value: applied by entering a `with` block, undone to the last bit by leaving it.
# * Whether an edit *worked* depends on the prompts and on the event that counts as right. Report every score next to
#   the unedited model's.
# * Editing a lower layer changes the answer in the upper layers. The logit lens shows this switch, and nothing of the
#   change below it.
#
# **Why did *that* neighbor change?** To answer this we need to know how a matrix stores anything at all. [Notebook
# 01](01_linear_memory.ipynb) begins there.
#
# ## References
#
# * Meng, Bau, Andonian, Belinkov: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): ROME.
# * nostalgebraist: *interpreting GPT: the logit lens*, LessWrong, 2020.
# * Allal et al.: *SmolLM2: When Smol Goes Big*, 2025,
#   [arXiv:2502.02737](https://arxiv.org/abs/2502.02737).
