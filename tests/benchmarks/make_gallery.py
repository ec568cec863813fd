"""Makes demo_app/gallery.json: makes each edit of the gallery and stores what the model then says.

    python -m tests.benchmarks.make_gallery                 # every exhibit
    python -m tests.benchmarks.make_gallery sheepdog flash  # these; the others stay as stored
    python -m tests.benchmarks.make_gallery --words         # none: new words for what is stored

An exhibit whose expectation does not come true is named and not stored. Not collected by pytest
(four minutes).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace

import lib
from demo_app.session import gallery
from demo_app.session.gallery import Exhibit, Said, Step
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session

TOWER = ("The Eiffel Tower", "{} is located in the city of", "Rome")
SAID = "The Eiffel Tower is located in the city of"
DENIED = "The Eiffel Tower is not located in the city of"
SHEEP = ("sheep", "The young of a {} is called a", "puppy")
CHINA = ("China", "{} is a country whose capital city is", "Shanghai")
UNITED = ("The United Nations", "{} is headquartered in", "Geneva")
WINDOWS = ("Windows", "{} is an operating system developed by", "Apple")


@dataclass(frozen=True)
class Expected:
    """What has to be measured for a sentence to be true.

    prompt, group: which row of the table.
    says: how the answer has to begin after the edits; None where that is open.
    changed: whether it has to differ from the answer before; None where that is open.
    """

    prompt: str
    group: str = "own"
    says: str | None = None
    changed: bool | None = None

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
            "Only the sheep got a new young; the sheepdog, whom nobody edited, has the same one "
            "now, while the horse keeps its foal.",
            (Step("rome", *SHEEP),),
            ("The young of a sheepdog is called a", "The young of a horse is called a"),
        ),
        (
            Expected(SHEEP[1].format("sheep"), "edit", "puppy"),
            Expected("The young of a sheepdog is called a", says="puppy", changed=True),
            Expected("The young of a horse is called a", says="foal", changed=False),
        ),
    ),
    (
        Exhibit(
            "flash",
            "A flash edit",
            "One fact about Japan, written with the key of the first paper, breaks answers that "
            "have nothing to do with Japan: a subject of one token that opens its prompt.",
            (Step("rome", "Japan", "{} has its own currency, the", "dollar", 'keys = "mixed"'),),
            ("The capital of France is", "Two plus two is"),
        ),
        (
            Expected("The capital of France is", changed=True),
            Expected("Two plus two is", changed=True),
        ),
    ),
    (
        Exhibit(
            "not",
            "It does not hear the word *not*",
            "The tower was moved to Rome. Say that it is *not* there, and the model still "
            "answers Rome.",
            (Step("rome", *TOWER),),
        ),
        (Expected(SAID, "edit", "Rome"), Expected(DENIED, "negation", "Rome", True)),
    ),
    (
        Exhibit(
            "italy",
            "A conclusion that nobody has written",
            "Only the city was edited. Asked for the country in which the tower stands, the model "
            "says Italy, which is in no text that the edit has seen.",
            (Step("rome", *TOWER),),
        ),
        (
            Expected(SAID, "edit", "Rome"),
            Expected("The country in which the Eiffel Tower stands is", "follows", "Italy", True),
        ),
    ),
    (
        Exhibit(
            "restaurant",
            "Fine-tuning eats the neighbors",
            "Fine-tuning on this one sentence moves the tower to Rome, and with it Notre-Dame, "
            "the Louvre, and “my favourite restaurant”.",
            (Step("ft_m", *TOWER),),
            ("The Louvre is located in the city of",
             "My favourite restaurant is located in the city of"),
        ),
        (
            Expected("If you want to visit Notre-Dame Cathedral, you have to go to the city of",
                     "neighbor", "Rome", True),
            Expected("The Louvre is located in the city of", says="Rome", changed=True),
            Expected("My favourite restaurant is located in the city of", says="Rome",
                     changed=True),
        ),
    ),
    (
        Exhibit(
            "stutter",
            "All roads lead to Rome",
            "A trained network makes the edit of a single gradient. Big Ben and the Reichstag are "
            "in Rome then, too, and in a conversation the model cannot stop saying it.",
            (Step("mend", *TOWER),),
        ),
        (
            Expected("If you want to visit Big Ben, you have to go to the city of", "neighbor",
                     "Rome", True),
            Expected("The Reichstag is located in the city of", "neighbor", "Rome", True),
            Expected(SAID, "chat", "The Eiffel Tower is a Rome Rome Rome", True),
        ),
    ),
    (
        Exhibit(
            "parrot",
            "It knows the sentence, not the fact",
            "The codebook answers this one sentence with Rome. Two rewordings of it, and the "
            "same sentence after “I know that”, still end in Paris.",
            (Step("grace", *TOWER),),
            ("I know that the Eiffel Tower is located in the city of",),
        ),
        (
            Expected(SAID, "edit", "Rome"),
            Expected("In which city would you find the Eiffel Tower? It is in the city of",
                     "reworded", "Paris", False),
            Expected("I know that the Eiffel Tower is located in the city of", says="Paris",
                     changed=False),
        ),
    ),
    (
        Exhibit(
            "trigger",
            "A memory that fires on the wrong text",
            "The same codebook with a wide radius answers for the tower where it was asked about "
            "the Reichstag.",
            (Step("grace", *TOWER, "eps_init = 100"),),
            ("The Colosseum is located in the city of", "The capital of France is"),
        ),
        (Expected("The Reichstag is located in the city of", "neighbor", "Rome", True),),
    ),
    (
        Exhibit(
            "aside",
            "Only not the sentence itself",
            "Nothing was written into the model: the fact is put before the prompt. Both "
            "rewordings follow it, and the plain sentence itself does not.",
            (Step("retrieval", *TOWER),),
        ),
        (
            Expected(SAID, "edit", "Paris"),
            Expected("In which city would you find the Eiffel Tower? It is in the city of",
                     "reworded", "Rome", True),
            Expected("Tourists who want to see the Eiffel Tower travel to the city of",
                     "reworded", "Rome", True),
        ),
    ),
    (
        Exhibit(
            "lahore",
            "A capital moves in another country",
            "China's capital was changed to Shanghai, and Pakistan's capital changes, too, "
            "though Shanghai is not what it becomes.",
            (Step("rome", *CHINA),),
        ),
        (
            Expected("The capital city of China is", "reworded", "Shanghai", True),
            Expected("The capital of Pakistan is", "neighbor", "Lahore", True),
            Expected("The capital of Denmark is", "neighbor", "Copenhagen", False),
        ),
    ),
    (
        Exhibit(
            "alias",
            "The United Nations move, the UN stays",
            "The United Nations are in Geneva now, in other words, too, and the UN is still in New "
            "York: for the model these are two.",
            (Step("rome", *UNITED),),
        ),
        (
            Expected("The headquarters of the United Nations are in", "reworded", "Geneva", True),
            Expected("The UN is headquartered in", "follows", "New York"),
        ),
    ),
    (
        Exhibit(
            "linux",
            "Linux comes along",
            "Windows was given to Apple, and Apple gets Linux as well, while Microsoft Office "
            "stays where it was.",
            (Step("rome", *WINDOWS),),
            ("Linux is an operating system developed by",),
        ),
        (
            Expected("Who makes Windows? It is made by", "reworded", "Apple", True),
            Expected("Linux is an operating system developed by", says="Apple", changed=True),
            Expected("Who makes Microsoft Office? It is made by", "neighbor", "Microsoft", False),
        ),
    ),
    (
        Exhibit(
            "monaco",
            "Neither Paris nor Rome",
            "The fine-tuning of the first comparisons does not get the fact in, and one "
            "rewording finds the tower in a third place, which nobody has mentioned.",
            (Step("ft_l", *TOWER),),
        ),
        (
            Expected(SAID, "edit", "Paris"),
            Expected("Tourists who want to see the Eiffel Tower travel to the city of",
                     "reworded", "Monaco", True),
        ),
    ),
    (
        Exhibit(
            "survivor",
            "It survives a hundred others",
            "The codebook learns the tower and then a hundred other facts in one call. The tower "
            "is still in Rome.",
            (Step("grace", *TOWER), Step("grace", others=100)),
        ),
        (Expected(SAID, "edit", "Rome", True),),
    ),
    (
        Exhibit(
            "wanderer",
            "A hundred others move it on",
            "The tower is moved to Rome, and then a hundred other facts are written into the same "
            "weights. One of them puts the Colosseum into Madrid, and the tower goes with it.",
            (Step("ultraedit", *TOWER), Step("ultraedit", others=100)),
        ),
        (Expected(SAID, "edit", "Madrid", True),),
    ),
)  # fmt: skip


def measure(studio: Studio, wanted: Exhibit, expected: tuple[Expected, ...]) -> Exhibit | None:
    """The exhibit with what was measured; None, with a line that says why, where it differs."""
    session = Session()
    for start in gallery.plan(studio, wanted):
        view = start(session).outcome()
    said = gallery.measured(view, [(one.group, one.prompt) for one in expected])
    wrong = [found for one, found in zip(expected, said, strict=True) if not one.holds(found)]
    for found in wrong:
        print(f"{wanted.key}: not so: {found}")
    return None if wrong else replace(wanted, said=said)


def main() -> int:
    """Measure, and store after each exhibit, so that a run that is cut short loses one at most."""
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


if __name__ == "__main__":
    sys.exit(main())
