"""★★★ The experiment itself: which rule keeps its word?

E editors have written the same m streams, and a rule calls some of them worse than the best.
Whether it keeps its word can be tried in a world whose truth is known. Four steps:

`world`: every fact has a difficulty, a standard normal number, and an editor with the true mean p
gets it right if the difficulty is below Φ⁻¹(p). A part of its variance, r, belongs to the stream,
and of that part a share c is the same for all editors:

    z = √c hard + √(1 − c) own,      difficulty = √r z + √(1 − r) luck

`beaten`, a common rule: the leader is the editor with the highest mean, and an editor is beaten if
Student's 95 % interval of the leader's lead over it, stream by stream, is clear of 0:

    x̄ − t s / √m > 0,      s² = Σ (xⱼ − x̄)² / (m − 1)

`possible_best`, another rule: suppose that b is the best. Then a rival that isn't behind b leads in
a stream as often as it trails. So flip the sign of whole streams, in all 2ᵐ ways, and each time
take the largest of the rivals' mean leads. Flipping the leads of a rival that is far behind would
make them large for no reason, so a rival with a negative mean lead is first set level with b:

    (lead − mean lead) √(m / (m − 1))

b stays possible if in more than 5 % of the ways the largest is at least as large as the largest
mean lead without a flip (less 1e-9, for rounding). b itself takes part, with a lead of 0.

`promise`: how often a rule calls one of the truly best editors worse (as a share of all cases in
which it could), and in what share of experiments it does so to at least one of them.

    means  (E,)           true means; torch.special.ndtri is Φ⁻¹
    hard   (m,)           standard normal, one per stream
    own    (E, m)         standard normal, one per editor and stream
    luck   (E, m, facts)  standard normal
    r      (E,)           the stream's part, from 0 to 1; c is one number
    x      (E, m)         the mean of each editor in each stream
    t                     the factor of Student's distribution for m streams
    out    (R, E)         bool, for each experiment: whether the rule calls the editor worse
    best   (E,)           bool: whether the editor is truly best

    world returns 0 or 1 for each fact, (E, m, facts); beaten and possible_best return bool (E,),
    and promise two numbers

Hint: there is one sign per stream, whichever editors are compared. `torch.cartesian_prod` gives all
rows of signs; in the first row nothing is flipped.
"""

import torch
from torch import Tensor


def world(means: Tensor, hard: Tensor, own: Tensor, luck: Tensor, r: Tensor, c: float) -> Tensor:
    # solution
    z = c**0.5 * hard + (1 - c) ** 0.5 * own
    r = r[:, None, None]
    difficulty = r.sqrt() * z[..., None] + (1 - r).sqrt() * luck
    return (difficulty < torch.special.ndtri(means)[:, None, None]).double()


def beaten(x: Tensor, t: float) -> Tensor:
    # solution
    leads = x[x.mean(1).argmax()] - x
    return leads.mean(1) - t * leads.std(1) / x.shape[1] ** 0.5 > 0


def possible_best(x: Tensor) -> Tensor:
    # solution
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=x.dtype)] * x.shape[1])
    leads, m = x[None] - x[:, None], x.shape[1]  # [b, e]: of e over b, in each stream
    means = leads.mean(2, keepdim=True)
    leads = torch.where(means < 0, (leads - means) * (m / (m - 1)) ** 0.5, leads)
    largest = (leads @ signs.T / m).amax(1)
    return (largest >= means.amax(1) - 1e-9).double().mean(1) > 0.05


def promise(out: Tensor, best: Tensor) -> tuple[float, float]:
    # solution
    called = out[:, best]
    return called.double().mean().item(), called.any(1).double().mean().item()


# --- checks
from lessons.marking import agree, normal, several, tensor

WRONG = [
    ({"c**0.5 * hard + (1 - c) ** 0.5 * own": "c * hard + (1 - c) * own"}, "of z are roots"),
    ({"c**0.5 * hard + (1 - c) ** 0.5 * own": "own"}, "where is hard"),
    ({"r.sqrt() * z[..., None] + (1 - r).sqrt()": "r * z[..., None] + (1 - r)"}, "add as squares"),
    ({"c**0.5 * hard + (1 - c) ** 0.5": "(1 - c) ** 0.5 * hard + c**0.5"}, "exchanged"),
    ({"torch.special.ndtri(means)": "means"}, "quantile"),
    ({"(difficulty <": "(difficulty >"}, "easy"),
    ({"t * leads": "1.96 * leads"}, "1.96"),
    ({" / x.shape[1] ** 0.5 > 0": " > 0"}, "√m"),
    ({"t * leads.std(1)": "t * (x[x.mean(1).argmax()].var() + x.var(1)) ** 0.5"},
     "within the stream"),
    ({"leads.mean(1) - t": "leads.mean(1) + t"}, "low end"),
    ({"leads = x[x.mean(1).argmax()] - x": "leads = x.amax(0) - x"}, "in each stream anew"),
    ({"T / m).amax(1)": "T / m)[:, x.mean(1).argmax()]"}, "leader changes"),
    ({"@ signs.T / m).amax(1)": "@ signs.T / m).abs().amax(1)"}, "how far"),
    ({"torch.where(means < 0, (leads - means) * (m / (m - 1)) ** 0.5, leads)": "leads"},
     "far behind"),
    ({"torch.where(means < 0, (leads - means) * (m / (m - 1)) ** 0.5, leads)":
      "(leads - means) * (m / (m - 1)) ** 0.5"}, "Set only rivals"),
    ({"mean(1) > 0.05": "mean(1) <= 0.05"}, "turned round"),
    ({"(leads @ signs.T / m).amax(1)": "x @ signs.T / m"}, "of leads"),
    ({"called = out[:, best]": "called = out"}, "truly worse"),
    ({"called.any(1)": "called.all(1)"}, "at least one"),
    ({"called.any(1)": "called.any(0)"}, "experiments, not"),
    ({"called.double().mean()": "called.double().sum(1).mean()"}, "number of calls"),
]  # fmt: skip


def rights(means, z, luck, r, difficulty=None):
    if difficulty is None:
        difficulty = r[:, None, None].sqrt() * z[..., None] + (1 - r[:, None, None]).sqrt() * luck
    return (difficulty < torch.special.ndtri(means)[:, None, None]).double()


def check(ask, draw):
    E, m, facts, c = 5, 6, 20, 0.3
    means, r = (
        torch.tensor([0.3, 0.6, 0.7, 0.8, 0.9]).double(),
        torch.linspace(0.1, 0.6, E).double(),
    )
    hard, own, luck = normal(draw, m), normal(draw, E, m), normal(draw, E, m, facts)
    z = c**0.5 * hard + (1 - c) ** 0.5 * own
    wanted = rights(means, z, luck, r)
    R = r[:, None, None]
    likely = {
        "The parts of z are roots of c and 1 − c: variances add, and they should add to 1.": (
            rights(means, c * hard + (1 - c) * own, luck, r)
        ),
        "Each editor has streams of its own here; where is hard, which all share?": (
            rights(means, own, luck, r)
        ),
        "r and 1 − r are parts of a variance, which add as squares: take their roots.": (
            rights(means, z, luck, r, R * z[..., None] + (1 - R) * luck)
        ),
        "c is the share of hard, which all editors have in common; the two are exchanged.": (
            rights(means, (1 - c) ** 0.5 * hard + c**0.5 * own, luck, r)
        ),
        "A mean is compared with a difficulty: take its quantile, Φ⁻¹(p).": (
            rights(torch.special.ndtr(means), z, luck, r)
        ),
        "It is the easy facts that are right, those with a difficulty below the quantile.": 1
        - wanted,
        "The stream's part is missing: all facts are independent here.": (
            rights(means, z, luck, r, luck)
        ),
    }
    agree(ask("world", means, hard, own, luck, r, c), wanted, "world", likely)

    several_x = [draw_means(draw) for _ in range(8)]
    t, m = 2.447, several_x[0].shape[1]

    def each(f):
        return torch.stack([f(x).double() for x in several_x])

    def student(x, t=t, lead=None, root=m**0.5, sign=-1):
        leads = (x[x.mean(1).argmax()] if lead is None else lead(x)) - x
        return leads.mean(1) + sign * t * leads.std(1) / root > 0

    def unpaired(x):
        best = x[x.mean(1).argmax()]
        return best.mean() - x.mean(1) - t * (best.var() + x.var(1)).sqrt() / m**0.5 > 0

    likely = {
        "1.96 is for an s that is known; s comes from m streams, and t is given.": (
            each(lambda x: student(x, 1.96))
        ),
        "The standard error of a mean of m streams is s / √m.": each(lambda x: student(x, root=1)),
        "The stream's difficulty is in both; subtract within the stream.": each(unpaired),
        "The low end of the interval has to be above 0.": each(lambda x: student(x, sign=1)),
        "The leader is chosen in each stream anew; it is the one with the highest mean of all.": (
            each(lambda x: student(x, lead=lambda x: x.amax(0)))
        ),
        "This says who is not beaten.": each(lambda x: ~student(x)),
    }
    found = [tensor(ask("beaten", x, t), (len(x),), "beaten", "one per editor") for x in several_x]
    agree(torch.stack(found), each(student), "beaten", likely)

    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0]).double()] * m).T

    def flipped(x, of=lambda leads: leads.amax(1), level=lambda means: means < 0):
        leads = x[None] - x[:, None]
        means = leads.mean(2, keepdim=True)
        leads = torch.where(level(means), (leads - means) * (m / (m - 1)) ** 0.5, leads)
        return (of(leads @ signs / m) >= means.amax(1) - 1e-9).double().mean(1) > 0.05

    likely = {
        "Only the leader's leads are looked at. The leader changes from experiment to experiment, "
        "and so must the test: take the largest of all rivals, flip by flip.": (
            each(lambda x: flipped(x, lambda leads: leads[:, x.mean(1).argmax()]))
        ),
        "The largest is not how far a rival is away on either side: one that is far behind is no "
        "reason against b.": each(lambda x: flipped(x, lambda leads: leads.abs().amax(1))),
        "A rival that is far behind hides every lead, since flipping turns its deficit into one. "
        "Set it level with b first.": each(lambda x: flipped(x, level=lambda means: means > 9)),
        "Set only rivals that are behind level with b; leads of the others stay as they are.": (
            each(lambda x: flipped(x, level=lambda means: means < 9))
        ),
        "This is turned round: what was seen is rare among the flips where b is *not* possible.": (
            each(lambda x: ~flipped(x))
        ),
        "The signs are those of leads over b, not of the means themselves.": (
            each(lambda x: flipped(x, lambda _: x @ signs / m))
        ),
        "The mean of the rivals' leads is taken, and not the largest.": (
            each(lambda x: flipped(x, lambda leads: leads.mean(1)))
        ),
    }
    found = [tensor(ask("possible_best", x), (len(x),), "possible_best", "one per editor")
             for x in several_x]  # fmt: skip
    agree(torch.stack(found), each(flipped), "possible_best", likely)

    out, best = normal(draw, 40, 6) > 1.2, torch.tensor([True, False, True, True, False, True])
    called = out[:, best].double()

    def two(one, any_of=None):
        return torch.stack([one, called.amax(1).mean() if any_of is None else any_of])

    likely = {
        "Editors that are truly worse are counted, too; to call them so is no mistake.": (
            two(out.double().mean(), out.any(1).double().mean())
        ),
        "In what share of experiments is at least one called worse? This is the share with all.": (
            two(called.mean(), called.amin(1).mean())
        ),
        "The second is a share of experiments, not of editors.": two(
            called.mean(), called.amax(0).mean()
        ),
        "The first is a share; this is the number of calls in an experiment.": two(
            called.sum(1).mean()
        ),
    }
    found = several(ask("promise", out, best), 2, "promise: return two numbers.")
    agree(
        torch.stack([tensor(one, (), "a share") for one in found]),
        two(called.mean()),
        "promise",
        likely,
    )
    return "solved: a world, two rules, and what each of them promises."


def draw_means(draw):
    """Means (9, 7): some editors are behind, some may be the best, and the last two are bad."""
    hard, spread = 0.3 * normal(draw, 7), 0.05 + 0.2 * torch.rand(9, 1, generator=draw).double()
    level = 0.5 + 0.25 * torch.rand(9, 1, generator=draw).double()
    level[-2:] -= 0.6
    return level + hard + spread * normal(draw, 9, 7)
