"""The tab that explains in plain words what the page does and what its numbers mean."""

from __future__ import annotations

from html import escape

LICENSES = {
    "SmolLM2-135M-Instruct": "by Hugging Face, 135 million numbers, Apache License 2.0",
    "gemma-3-270m": "by Google, 268 million numbers, under Google’s Gemma Terms of Use "
    "(ai.google.dev/gemma/terms)",
}

TEXT = """
<h2>What happens here</h2>
<p>A language model has no list of facts. What it knows is spread over millions of numbers, its
weights. An editor changes a few of them so that one answer becomes another: the Eiffel Tower is
in Rome. The question is what else moves. So every edit is asked about several kinds of prompts:
the edit itself, the same in other words or as a chat, what follows from it, its negation, neighbors
(other subjects, same kind of question), and text that has nothing to do with it. Choose several
editors and each of them makes the same edit; you keep one.</p>
<p>Your edits pile up in a list, each with a switch, and only you see them. Nothing is written into
the model: an edit is kept beside it and laid over it for as long as an answer takes. That is why
undo is exact, byte for byte.</p>
<h2>What ROME does</h2>
<p>The part of a layer that is edited works like a memory: a key goes in, a value comes out. ROME
reads the key that stands for the subject, searches the value that makes the model give the new
answer, and writes this one pair with the least change for all other keys. Of the other editors
some write many pairs at once, some turn gradients into the change, and some leave the weights
alone: they keep the facts in a memory beside a layer, or put a note before the prompt.</p>
<h2>What the numbers mean</h2>
<dl>
<dt>p(answer), probability</dt>
<dd>How likely the model finds the whole new answer right after the prompt, from 0 to 1, before
and after the edit.</dd>
<dt>KL, in nats</dt>
<dd>How far the model's expectation of the next word has moved from that of the unedited model. 0
is not at all; above 1 it mostly expects something else. On the edited prompt it should be large,
on neighbors and unrelated text close to 0.</dd>
<dt>Rewordings, neighbors kept</dt>
<dd>Judged by what the model writes by itself, always choosing its most probable next token: a
rewording counts when the answer begins with the new one, a neighbor when it still begins with its
own.</dd>
<dt>Consequences drawn</dt>
<dd>Questions about what follows: a tower that is in Rome is in Italy. The answer should begin with
that. A question counts only if the unedited model knows the other facts that it takes; what it says
before the edit stands beside it, since some are guessed right without any.</dd>
<dt>ρ, interference</dt>
<dd>How alike the keys of two facts are for the edited layer: what one edit writes lands on the
other fact in this share. 1 is all of it, 0 nothing; below 0 the opposite lands.</dd>
<dt>Begins to break</dt>
<dd>Said when the edited model finds plain text a quarter less predictable than before
(perplexity).</dd>
<dt>z, “Was this edited?”</dt>
<dd>How far a candidate stands above the median of all, in robust standard deviations, where a layer
stretches the direction in which it reads this candidate. From 8 on the page calls it a suspect; the
unedited embedded model stays below 6 in every layer, among the classroom's subjects. It proves
nothing, and methods that write elsewhere than at a subject are not seen by it.</dd>
<dt>Before</dt>
<dd>Always the unedited model, also when you have several edits live.</dd>
</dl>
<h2>Where it comes from</h2>
<p>The model is <b>{model}</b>{license}. The examples are facts that it knows, checked one by one
(<code>lib/data/classroom.json</code>). ROME: Meng, Bau, Andonian, Belinkov, <i>Locating and Editing
Factual Associations in GPT</i>, 2022.</p>
<p>Everything runs on the machine this page is served from. Nothing you type leaves it or is kept:
your edits are dropped when you close the page, or after an hour of silence.</p>
"""


def about(model: str) -> str:
    """The text, for the model at hand."""
    license = f", {LICENSES[model]}" if model in LICENSES else ""
    return f'<div class="about">{TEXT.format(model=escape(model), license=escape(license))}</div>'
