"""★ One answer, three events

An edit should make the model answer with the target. Whether it did depends on the criterion:

    probability      the mean log-probability of the target's tokens is above that of the old answer
    teacher forced   the fraction of the target's tokens that are the model's first choice, each
                     given the right tokens before it
    generation       the model writes freely, and its text begins with the target, as whole words

The first two are given; fill in the third, for `said` and `wanted`, which are in lowercase. "rome,
italy" begins with "rome", "romeo" does not, and neither does "the city of rome".

    new, old  (n,), (m,)    log-probabilities of the tokens of the new and the old answer
    hits      (n,)          True if a token of the target is the first choice
    text, target            strings: the model's text, and the text it should write
    returns three numbers, 0 or 1, a fraction, 0 or 1

Hint: text.startswith(target); then look at the character after it, if there is one. "x".isalnum()
tests whether a character is a letter or a digit.
"""

import torch
from torch import Tensor


def events(new: Tensor, old: Tensor, hits: Tensor, text: str, target: str) -> list[float]:
    probability = float(new.mean() > old.mean())
    forced = hits.double().mean().item()
    said, wanted = text.strip().casefold(), target.strip().casefold()
    # solution
    begins = said.startswith(wanted) and not said[len(wanted) :][:1].isalnum()
    # end
    return [probability, forced, float(begins)]


# --- checks
from lessons.marking import Wrong, normal, tensor

WRONG = [
    ("begins = wanted in said", "later in the text"),
    ("begins = said.startswith(wanted)", "another word"),
    ("begins = said == wanted", "then continues"),
    ("begins = said.split()[:1] == [wanted]", "punctuation"),
    ("begins = bool(hits.all())", "the written text"),
]
TARGETS = ("Rome", "Oslo", "Lima", "Rabat", "Sofia")
SAID = [  # (text, verdict, what it shows)
    (" {}", 1, "only the target"),
    (" {}o and his friends", 0, "the text begins with another word, which starts like the target"),
    (" {} is where it is now", 1, "the text begins with the target and then continues"),
    ("{}, as everybody knows", 1, "punctuation after the target ends it"),
    (" the old town of {}", 0, "the target appears later in the text, after another answer"),
    (" {}", 1, "case does not count"),
    ("{} City", 1, "targets have spaces"),
    (" {}2 is its name", 0, "a digit after it makes it another word"),
]


def check(ask, draw):
    names = [TARGETS[i] for i in torch.randperm(len(TARGETS), generator=draw)]
    rows = [(SAID[i], names[i % 5]) for i in (0, 4, 1, 2, 3, 5, 7)] + [(SAID[6], "New York")]
    for (form, verdict, why), name in rows:
        new, old = normal(draw, 2), normal(draw, 3)
        hits = torch.tensor([True, verdict == 0])
        text = form.format(name.lower() if "case" in why else name)
        found = tensor(ask("events", new, old, hits, text, name), (3,), "the three numbers")
        given = torch.tensor([float(new.mean() > old.mean()), hits.double().mean()]).double()
        if not torch.allclose(found[:2], given):
            raise Wrong("The first two events were right as given.")
        if found[2] != verdict:
            raise Wrong(
                f"generation: {text!r} for {name!r} counts as {verdict}, not {found[2]:g}: {why}. "
                "For this event, the written text counts, not `hits`."
            )
    return "solved: teacher forcing gave half a point for answers that were never written."
