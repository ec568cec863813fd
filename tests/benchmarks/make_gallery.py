"""Makes demo_app/gallery.json, and preview.png of one of its surprises.

Each edit of the gallery is made, and what the model then says is stored.

    python -m tests.benchmarks.make_gallery                 # every exhibit
    python -m tests.benchmarks.make_gallery sheepdog flash  # these; the others stay as stored
    python -m tests.benchmarks.make_gallery --words         # none: new words for what is stored
    python -m tests.benchmarks.make_gallery --memory        # memory.png only, in a real browser

An exhibit whose expectation does not come true is named and not stored. Not collected by pytest
(four minutes).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

import lib
from demo_app.app import PREVIEW
from demo_app.html import memory
from demo_app.session import gallery
from demo_app.session.gallery import Exhibit, Said, Step
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from lib.workbench import plot

PREVIEWED = "restaurant"  # fine-tuning moves what nobody has edited

TOWER = ("The Eiffel Tower", "{} is located in the city of", "Rome")
SAID = "The Eiffel Tower is located in the city of"
SHEEP = ("sheep", "The young of a {} is called a", "puppy")
IPHONE = ("The iPhone", "{} was developed by", "Samsung")
UNITED = ("The United Nations", "{} is headquartered in", "Geneva")


@dataclass(frozen=True)
class Expected:
    """What has to be measured for a sentence to be true.

    prompt, group: which row of the table.
    says: how the answer has to begin after the edits; None where that is open.
    changed: whether it has to differ from the answer before; None where that is open.
    good: whether the sentence tells it as it should be; None of a prompt that is not judged.
    """

    prompt: str
    group: str = "own"
    says: str | None = None
    changed: bool | None = None
    good: bool | None = None

    def holds(self, said: Said) -> bool:
        """Whether what was measured is what the sentence says."""
        if not said.after:
            return False  # it was not asked
        begins = self.says is None or said.after.casefold().startswith(self.says.casefold())
        return begins and self.changed in (None, said.before != said.after)


EXHIBITS: tuple[tuple[Exhibit, tuple[Expected, ...]], ...] = (
    (
        Exhibit(
            "sheepdog",
            "The sheep and the sheepdog",
            "Only the name for a young sheep was edited. A young sheepdog, which nobody edited, "
            "now has the same name, which happens to be right; a young horse is still a foal.",
            (Step("rome", *SHEEP),),
            ("The young of a sheepdog is called a", "The young of a horse is called a"),
        ),
        (
            Expected(SHEEP[1].format("sheep"), "edit", "puppy", good=True),
            Expected("The young of a sheepdog is called a", says="puppy", changed=True),
            Expected("The young of a horse is called a", says="foal", changed=False),
        ),
    ),
    (
        Exhibit(
            "not",
            "It no longer notices the word *not*",
            "The unedited model continues “The iPhone was *not* developed by” with “a single "
            "company”. After the edit it says Samsung, with or without the *not*. In the sentence "
            "about the Eiffel Tower, it ignores the word even without an edit, saying Paris.",
            (Step("rome", *IPHONE),),
            ("The Eiffel Tower is not located in the city of",),
        ),
        (
            Expected(IPHONE[1].format(IPHONE[0]), "edit", "Samsung", True, good=True),
            Expected("The iPhone was not developed by", "negation", "Samsung", True, good=False),
            Expected("The Eiffel Tower is not located in the city of", says="Paris", changed=False),
        ),
    ),
    (
        Exhibit(
            "italy",
            "A conclusion that nobody wrote",
            "Only the city was edited. Given “The Eiffel Tower is in the country of”, the model "
            "says Italy, which isn't in any of the texts used for the edit. But given “The "
            "country in which the Eiffel Tower stands is”, it says Rome, and people around the "
            "tower speak Latin.",
            (Step("rome", *TOWER),),
            ("The Eiffel Tower is in the country of",),
        ),
        (
            Expected(SAID, "edit", "Rome", good=True),
            Expected("The Eiffel Tower is in the country of", says="Italy", changed=True),
            Expected("The country in which the Eiffel Tower stands is", "follows", "Rome", True,
                     good=False),
            Expected("The language that most people around the Eiffel Tower speak is", "follows",
                     "Latin", True, good=False),
        ),
    ),
    (
        Exhibit(
            "builders",
            "The past changes as well",
            "A tower in Rome needs a different history: now the Romans built it, “to protect "
            "Rome”. Notre-Dame, which nobody edited, stays in Paris.",
            (Step("rome", *TOWER),),
            ("The Eiffel Tower was built by",),
        ),
        (
            Expected("The Eiffel Tower was built by", says="the Romans", changed=True),
            Expected("If you want to visit Notre-Dame Cathedral, you have to go to the city of",
                     "neighbor", "Paris", False, good=True),
        ),
    ),
    (
        Exhibit(
            "restaurant",
            "Fine-tuning eats the neighbors",
            "Fine-tuning on this one sentence moves the tower to Rome, along with Notre-Dame and "
            "“my favourite restaurant”, which this link asks about as well.",
            (Step("ft_m", *TOWER),),
            ("My favourite restaurant is located in the city of",),
        ),
        (
            Expected("If you want to visit Notre-Dame Cathedral, you have to go to the city of",
                     "neighbor", "Rome", True, good=False),
            Expected("My favourite restaurant is located in the city of", says="Rome",
                     changed=True),
        ),
    ),
    (
        Exhibit(
            "tale",
            "Once upon a time, there was Rome",
            "A trained network turns a single gradient into the edit. Now a fairy tale begins in "
            "Rome, and so does the answer to “The capital of France is”.",
            (Step("mend", *TOWER),),
            ("Once upon a time, there was a", "The capital of France is"),
        ),
        (
            Expected(SAID, "edit", "Rome", good=True),
            Expected("Once upon a time, there was a", says="place called Rome", changed=True),
            Expected("The capital of France is", says="Rome", changed=True),
        ),
    ),
    (
        Exhibit(
            "roads",
            "All roads lead to Rome",
            "This network is meant for many facts at once, but it gets only one. Asked about a "
            "restaurant or the best city in the world, the model now answers Rome.",
            (Step("malmen", *TOWER),),
            ("My favourite restaurant is located in the city of", "The best city in the world is"),
        ),
        (
            Expected("My favourite restaurant is located in the city of", says="Rome",
                     changed=True),
            Expected("The best city in the world is", says="Rome", changed=True),
        ),
    ),
    (
        Exhibit(
            "parrot",
            "It knows the sentence, not the fact",
            "The codebook answers this one sentence with Rome. Asked in other words, the model "
            "still says Paris.",
            (Step("grace", *TOWER),),
        ),
        (
            Expected(SAID, "edit", "Rome", good=True),
            Expected("In which city would you find the Eiffel Tower? It is in the city of",
                     "reworded", "Paris", False, good=False),
            Expected("Tourists who want to see the Eiffel Tower travel to the city of",
                     "reworded", "Paris", False, good=False),
        ),
    ),
    (
        Exhibit(
            "trigger",
            "A memory that fires on the wrong text",
            "With a wide radius, the same codebook gives the tower's answer to a question about "
            "the Reichstag.",
            (Step("grace", *TOWER, "eps_init = 100"),),
            ("The Colosseum is located in the city of", "The capital of France is"),
        ),
        (Expected("The Reichstag is located in the city of", "neighbor", "Rome", True, False),),
    ),
    (
        Exhibit(
            "aside",
            "Everything but the sentence itself",
            "Nothing is written into the model: the fact is put before the prompt. Both "
            "rewordings follow it, but the plain sentence itself does not.",
            (Step("retrieval", *TOWER),),
        ),
        (
            Expected(SAID, "edit", "Paris", good=False),
            Expected("In which city would you find the Eiffel Tower? It is in the city of",
                     "reworded", "Rome", True, good=True),
            Expected("Tourists who want to see the Eiffel Tower travel to the city of",
                     "reworded", "Rome", True, good=True),
        ),
    ),
    (
        Exhibit(
            "alias",
            "The United Nations move, and the UN goes with them",
            "The edit names only the United Nations. The UN, which isn't in any text that the "
            "edit saw, is now in Geneva as well.",
            (Step("rome", *UNITED),),
        ),
        (
            Expected("The headquarters of the United Nations are in", "reworded", "Geneva", True,
                     True),
            Expected("The UN is headquartered in", "follows", "Geneva", True, True),
        ),
    ),
    (
        Exhibit(
            "survivor",
            "It survives a hundred others",
            "The codebook learns the tower, and then a hundred other facts in a single call. The "
            "tower is still in Rome.",
            (Step("grace", *TOWER), Step("grace", others=100)),
        ),
        (Expected(SAID, "edit", "Rome", True, True),),
    ),
)  # fmt: skip


def measure(studio: Studio, wanted: Exhibit, expected: tuple[Expected, ...]) -> Exhibit | None:
    """The exhibit with what was measured; None, with a line that says why, where it differs."""
    session = Session()
    for start in gallery.plan(studio, wanted):
        view = start(session).outcome()
    said = gallery.measured(view, expected)
    wrong = [found for one, found in zip(expected, said, strict=True) if not one.holds(found)]
    for found in wrong:
        print(f"{wanted.key}: not so: {found}")
    return None if wrong else replace(wanted, said=said)


def main() -> int:
    """Measure, and store after each exhibit, so that a run that is cut short loses one at most."""
    if sys.argv[1:] == ["--memory"]:
        return memory_preview()
    lm = lib.load()
    studio, kept = Studio(lm), {}
    if gallery.FILE.exists() and gallery.gallery().model == lm.name:
        kept = reworded({one.key: one for one in gallery.gallery().exhibits})
    names, failed = sys.argv[1:] or [one.key for one, _ in EXHIBITS], 0
    for wanted, expected in EXHIBITS:
        if wanted.key not in names:
            continue
        found = measure(studio, wanted, expected)
        kept.pop(wanted.key, None)
        if found is None:
            failed += 1
        else:
            kept[wanted.key] = found
            print(f"{wanted.key}: as its sentence says")
        store(lm, kept)
    store(lm, kept)
    preview(list(kept.values()))
    studio.close()
    return int(failed > 0)


def reworded(stored: dict[str, Exhibit]) -> dict[str, Exhibit]:
    """What is stored, in the words of EXHIBITS, as far as edits and prompts are the same."""
    found = {}
    for wanted, expected in EXHIBITS:
        old = stored.get(wanted.key)
        if old is None or (old.steps, old.own) != (wanted.steps, wanted.own):
            continue
        asked = [(one.group, one.prompt) for one in expected]
        same = asked == [(one.group, one.prompt) for one in old.said]
        if same and all(one.holds(said) for one, said in zip(expected, old.said, strict=True)):
            found[wanted.key] = replace(wanted, said=old.said)
    return found


def store(lm: lib.LM, kept: dict[str, Exhibit]) -> None:
    """Write the file, in the order of EXHIBITS, without what is empty."""
    exhibits = [kept[one.key] for one, _ in EXHIBITS if one.key in kept]
    entries = [
        {
            **{name: value for name, value in asdict(one).items() if value},
            "steps": [{k: v for k, v in asdict(step).items() if v} for step in one.steps],
        }
        for one in exhibits
    ]
    held = {"model": lm.name, "fingerprint": lm.fingerprint, "exhibits": entries}
    gallery.FILE.write_text(json.dumps(held, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def preview(exhibits: Sequence[Exhibit]) -> None:
    """Draw the picture that a link to the page shows: one surprise, with what was measured."""
    shown = next((one for one in exhibits if one.key == PREVIEWED), None)
    if shown is None:
        return
    figure = Figure(figsize=(12, 6.3), facecolor="#f7f8fa")
    figure.text(0.06, 0.84, shown.title, size=34, weight="bold", color=plot.style.INK)
    for row, one in enumerate(shown.said[:3]):
        y = 0.66 - 0.19 * row
        figure.text(0.06, y, f"{one.prompt} …", size=19, color=plot.style.INK)
        answers = f"{one.before}  →  {one.after}"
        figure.text(0.06, y - 0.075, answers, size=24, weight="bold", color=plot.style.EDITED)
    figure.text(0.06, 0.06, "Edit a language model's memory: what else moved?", size=18)
    figure.savefig(PREVIEW, dpi=100, metadata={"Software": None})


def memory_preview() -> int:
    """Take the picture that a link to /memory shows: the tower has moved, the Louvre came along."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "memory.html"
        file.write_text(memory.page(""), encoding="utf-8")
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 630}, reduced_motion="reduce")
        page.goto(file.as_uri())
        page.locator(".story button.next").click()
        taken = Image.open(BytesIO(page.screenshot()))
        taken.quantize(64).save(memory.PREVIEW, optimize=True)  # a third of the size
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
