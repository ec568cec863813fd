"""What the page does and what its numbers mean, in plain words; folded at the foot of the page."""

from __future__ import annotations

from html import escape

LICENSES = {
    "SmolLM2-135M-Instruct": "by Hugging Face, 135 million numbers, Apache License 2.0",
    "gemma-3-270m": "by Google, 268 million numbers, under Google’s Gemma Terms of Use "
    "(ai.google.dev/gemma/terms)",
}

TEXT = """
<p>A language model has no list of facts. What it knows is spread over millions of numbers, its
weights. An editor changes a few of them, or answers in their place, so that one answer becomes
another. The question is what else moves. So every edit is asked about: the edit itself, the same in
other words, what follows from it, neighbors (other subjects, the same kind of question), and text
that has nothing to do with it. Nothing is written into the model: an edit is kept beside it and
laid over it for as long as an answer takes. That is why undo is exact, byte for byte.</p>
<dl>
<dt>Before</dt>
<dd>Always the unedited model, also when you have several edits live.</dd>
<dt>p(answer), probability</dt>
<dd>How likely the model finds the whole new answer right after the prompt, from 0 to 1.</dd>
<dt>KL, in nats</dt>
<dd>How far the model's expectation of the next word has moved from that of the unedited model. 0
is not at all; above 1 it mostly expects something else.</dd>
<dt>Green and red</dt>
<dd>Green is as one would wish, red is not, gray is not judged. It is judged by what the model
writes by itself, always choosing its most probable next token: a rewording counts when the answer
begins with the new one, a neighbor when it still begins with its own, a consequence only if the
unedited model knows the other facts that it takes. An edit whose answer the model does not say is
live only if you keep it; a program's edit always is.</dd>
<dt>ρ, interference</dt>
<dd>How alike the keys of two facts are for the edited layer: what one edit writes lands on the
other fact in this share. 1 is all of it, 0 nothing; below 0 the opposite lands.</dd>
<dt>Begins to break</dt>
<dd>Said when the edited model finds plain text a quarter less predictable than before.</dd>
</dl>
<p>The model is <b>{model}</b>{license}. The examples are facts that it knows, checked one by one.
Everything runs on the machine this page is served from. Nothing you type leaves it or is kept: your
edits are dropped when you close the page, or after an hour of silence.</p>
"""


def about(model: str) -> str:
    """The text, for the model at hand."""
    license = f", {LICENSES[model]}" if model in LICENSES else ""
    text = TEXT.format(model=escape(model), license=escape(license))
    title = "What happens here, and what the numbers mean"
    return f'<details class="about"><summary>{title}</summary>{text}</details>'
