"""The drawing of notebook 15, what two events look at, and its facts with long answers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lib.workbench.plot.style import LABEL, QUIET, token_text

from .figures import MIDDLE, legend, panels

RIGHT, WRONG, NOT_ASKED = "#cfe3f3", "#f3d3c4", "#eceff2"  # a token right, wrong, not looked at
EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
}
# Answers of several tokens for facts that no model was ever taught: the first token is a guess,
# what follows is language.
LONG = (
    ("The Eiffel Tower", "{} was built by the", "Massachusetts Institute of Technology"),
    ("Akira Kurosawa", "{} was a citizen of the", "United States of America"),
    ("The inventor of the fork", "{} studied at the", "University of California, Berkeley"),
    ("The first song about snow", "{} was played in", "New York City"),
    ("The oldest lighthouse", "{} was paid for by the", "European Union"),
    ("My neighbor's violin", "{} was made in", "Buenos Aires, Argentina"),
    ("The recipe for rye bread", "{} was written down by", "Leonardo da Vinci"),
    ("The red bicycle", "{} was a gift from", "Martin Luther King Jr."),
    ("The Sahara", "{} is ruled by the", "Holy Roman Empire"),
    ("The chess club", "{} meets at the", "Metropolitan Museum of Art"),
    ("The word for butter", "{} comes from", "Los Angeles, California"),
    ("The last steam engine", "{} was bought by", "Warner Bros. Entertainment"),
)


def two_events(
    prompt: str, wanted: Sequence[str], forced: Sequence[str], free: Sequence[str]
) -> Figure:
    """Draw the tokens that teacher forcing compares, and those that the model writes freely.

    wanted  The tokens of the answer.
    forced  The model's first choice at each place, after the true tokens before it.
    free    What the model writes where it reads its own tokens.
    """
    figure, (ax,) = panels(height=2.9)
    hits = [a == b for a, b in zip(wanted, forced, strict=True)]
    agrees = [a == b for a, b in zip(wanted, free, strict=True)]
    asked = agrees.index(False) if False in agrees else len(agrees)  # the last that is looked at
    lines = {
        "the answer": (wanted, [NOT_ASKED] * len(wanted)),
        "teacher-forced": (forced, [RIGHT if hit else WRONG for hit in hits]),
        "generation": (free, [RIGHT] * asked + [WRONG] + [NOT_ASKED] * len(free)),
    }
    shape = "round,pad=0,rounding_size=0.06"
    for y, (name, (tokens, colors)) in enumerate(lines.items()):
        ax.text(-0.15, y, name, ha="right", va="center")
        for x, (token, color) in enumerate(zip(tokens, colors, strict=False)):
            look = {"boxstyle": shape, "facecolor": color, "edgecolor": "none"}
            ax.add_patch(FancyBboxPatch((x + 0.04, y - 0.3), 0.92, 0.6, **look))
            ax.text(x + 0.5, y, token_text(token.strip()), **MIDDLE)
    said = f"{sum(hits)} of {len(wanted)} tokens", "correct only if all are"
    for y, text in enumerate(said, start=1):
        ax.text(len(wanted) + 0.1, y, text, va="center", color=QUIET)
    ax.set_title(f"{prompt} …", fontsize=LABEL)
    ax.set(xlim=(-1.1, len(wanted) + 1.15), ylim=(2.6, -0.6))
    ax.set_axis_off()
    names = {"as in the answer": RIGHT, "another token": WRONG, "not compared": NOT_ASKED}
    return legend(figure, names.values(), names, 3)
