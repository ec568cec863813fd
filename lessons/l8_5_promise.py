"""★★★ The experiment itself: which rule keeps its word?

E editors have written the same m streams, and a rule calls some of them worse than the best. To
find out whether the rule keeps its word, simulate a world in which you know the truth. Four steps:

`world`: every fact has a difficulty, a standard normal number, and an editor with the true mean p
gets it right if the difficulty is below Φ⁻¹(p). A fraction r of the difficulty's variance comes
from the stream, and a fraction c of that part is the same for all editors:

    z = √c hard + √(1 − c) own,      difficulty = √r z + √(1 − r) luck

`beaten`, a common rule: the leader is the editor with the highest mean, and an editor is beaten if
Student's 95% interval for the leader's lead over it, computed from the streams, is above 0:

    x̄ − t s / √m > 0,      s² = Σ (xⱼ − x̄)² / (m − 1)

`possible_best`, another rule: suppose that b is the best. Then a rival that is as good as b leads
in a stream as often as it trails. So flip the signs of whole streams, in all 2ᵐ ways, each time
taking the largest of the rivals' mean leads. If a rival is much worse than b, flipping would make
its leads large for no reason, so first set every rival with a negative mean lead level with b:

    (lead − mean lead) √(m / (m − 1))

b remains possible if in more than 5% of the ways this is at least as large as the largest mean lead
without flips (minus 1e-9, for rounding). b itself is included, with a lead of 0.

`promise`: how often a rule calls one of the truly best editors worse (as a fraction of all cases in
which it could), and the fraction of experiments in which it does so to at least one of them.

    means  (E,)           true means; torch.special.ndtri is Φ⁻¹
    hard   (m,)           standard normal, one per stream
    own    (E, m)         standard normal, one per editor and stream
    luck   (E, m, facts)  standard normal
    r      (E,)           the fraction from the stream, 0 to 1; c is one number
    x      (E, m)         the mean of each editor in each stream
    t                     the factor of Student's distribution for m streams
    out    (R, E)         bool, for each experiment: whether the rule calls the editor worse
    best   (E,)           bool: whether the editor is truly best

    world returns 0 or 1 for each fact, (E, m, facts); beaten and possible_best return bool (E,),
    and promise two numbers

Hint: each stream has one sign, for all editors. `torch.cartesian_prod` returns all rows of signs,
beginning with the row in which nothing is flipped.
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
from lessons.marking import agree, mistaken, normal, several, tensor

Z, LEVEL = (
    "c**0.5 * hard + (1 - c) ** 0.5 * own",
    ("torch.where(means < 0, (leads - means) * (m / (m - 1)) ** 0.5, leads)"),
)
WORLD = {  # message: the pieces of the solution that the mistake replaces
    "The weights in z are roots of c and 1 − c, because variances add, here to a sum of 1.": {
        Z: "c * hard + (1 - c) * own"
    },
    "You only use own. And where is hard, the part that all editors have in common?": {Z: "own"},
    "c is the fraction of hard, the part common to all editors. You have exchanged the two.": {
        Z: "(1 - c) ** 0.5 * hard + c**0.5 * own"
    },
    "r and 1 − r are fractions of a variance, and its parts add as squares. Use their roots.": {
        "r.sqrt() * z[..., None] + (1 - r).sqrt()": "r * z[..., None] + (1 - r)"
    },
    "You compare a mean with a difficulty. Use the mean's quantile instead, Φ⁻¹(p).": {
        "torch.special.ndtri(means)": "means"
    },
    "Editors get the easy facts right, whose difficulty is below the quantile.": {
        "(difficulty <": "(difficulty >"
    },
    "The stream's part is missing: all facts are independent here.": {
        "r.sqrt() * z[..., None] + (1 - r).sqrt() * luck": "luck"
    },
}
BEATEN = {
    "1.96 would be right for a known s, but s is estimated from m streams. Use the given t.": {
        "t * leads": "1.96 * leads"
    },
    "The standard error of a mean of m streams is s / √m.": {" / x.shape[1] ** 0.5": ""},
    "Both means contain the stream's difficulty. Subtract within the stream.": {
        "leads.std(1)": "(x[x.mean(1).argmax()].var() + x.var(1)) ** 0.5"
    },
    "The low end of the interval has to be above 0.": {"leads.mean(1) - t": "leads.mean(1) + t"},
    "You choose a leader in each stream. It should have the highest mean of all streams.": {
        "x[x.mean(1).argmax()] - x": "x.amax(0) - x"
    },
    "These are the editors that are not beaten.": {"> 0": "<= 0"},
}
POSSIBLE = {
    "You only use the leader's leads. The leader changes from experiment to experiment, so use "
    "the largest lead of all rivals instead, in each way of flipping.": {
        "T / m).amax(1)": "T / m)[:, x.mean(1).argmax()]"
    },
    "You measure how far a rival is from b, on either side. A rival that is much worse isn't "
    "evidence against b, so keep the signs.": {"T / m).amax(1)": "T / m).abs().amax(1)"},
    "Flipping turns the deficit of a rival that is much worse into a lead, hiding all others. "
    "Set it level with b first.": {LEVEL: "leads"},
    "Set only rivals with a negative mean lead level with b, and keep the other leads.": {
        LEVEL: "(leads - means) * (m / (m - 1)) ** 0.5"
    },
    "This is reversed: b is *not* possible if the observed lead is rare among the flips.": {
        "> 0.05": "<= 0.05"
    },
    "Flip the signs of leads over b, not of the means themselves.": {
        "(leads @ signs.T / m).amax(1)": "x @ signs.T / m"
    },
    "You use the mean of the rivals' leads. Use the largest instead.": {
        "T / m).amax(1)": "T / m).mean(1)"
    },
}
PROMISE = {
    "You also count editors that are truly worse. Calling them worse is not a mistake.": {
        "out[:, best]": "out"
    },
    "Count experiments in which at least one is called worse, not those in which all are.": {
        "called.any(1)": "called.all(1)"
    },
    "The second number is a fraction of experiments, not of editors.": {
        "called.any(1)": "called.any(0)"
    },
    "The first number should be a fraction, but it is the number of calls per experiment.": {
        "called.double()": "called.double().sum(1)"
    },
}
WRONG = [(pieces, why) for why, pieces in (WORLD | BEATEN | POSSIBLE | PROMISE).items()]


def check(ask, draw):
    E, m, facts = 5, 6, 20
    means, r = (
        torch.tensor([0.3, 0.6, 0.7, 0.8, 0.9]).double(),
        torch.linspace(0.1, 0.6, E).double(),
    )
    streams = normal(draw, m), normal(draw, E, m), normal(draw, E, m, facts)
    given = means, *streams, r, 0.3
    likely = {why: mistaken(world, how)(*given) for why, how in WORLD.items()}
    agree(ask("world", *given), world(*given), "world", likely)
    several_x = [draw_means(draw) for _ in range(8)]
    for rule, more, mistakes in ((beaten, [2.447], BEATEN), (possible_best, [], POSSIBLE)):
        name = rule.__name__

        def each(f, more=more):
            return torch.stack([f(x, *more).double() for x in several_x])

        likely = {why: each(mistaken(rule, how)) for why, how in mistakes.items()}
        found = each(lambda *x, name=name: tensor(ask(name, *x), (9,), name, "one per editor"))
        agree(found, each(rule), name, likely)
    given = normal(draw, 40, 6) > 1.2, torch.tensor([True, False, True, True, False, True])
    likely = {why: mistaken(promise, how)(*given) for why, how in PROMISE.items()}
    found = several(ask("promise", *given), 2, "promise: return two numbers.")
    found = torch.stack([tensor(one, (), "a fraction") for one in found])
    agree(found, torch.tensor(promise(*given)), "promise", likely)
    return "solved: a world, two rules, and the promise that each of them keeps."


def draw_means(draw):
    """Means (9, 7): some editors are worse, some may be the best, and the last two are bad."""
    hard, spread = 0.3 * normal(draw, 7), 0.05 + 0.2 * torch.rand(9, 1, generator=draw).double()
    level = 0.5 + 0.25 * torch.rand(9, 1, generator=draw).double()
    level[-2:] -= 0.6
    return level + hard + spread * normal(draw, 9, 7)
