"""The papers' experiments at the smallest scale, from an empty cache and after a kill."""

from __future__ import annotations

import json
import math

import pytest
import torch

import lib
from lib.evaluation.superposition import Superposition, kurtosis
from lib.keys_values import answer_gradients
from notebooks.support import stored_runs
from notebooks.support.drawings_07 import overlaps_by_layer

from ..benchmarks.papers import __main__ as command
from ..benchmarks.papers import lemoe, superposition, ultraedit, wilke, wise
from ..benchmarks.papers.frame import CLAIMS, Given, make
from ..benchmarks.papers.verdicts import OPPOSITE, SAME, UNSEEN, detectable, overall, verdict
from ..support import tiny
from ..support.data_files import FULL
from ..support.usual import few

NAMES = ("Ann", "Bob", "Eve")
SECONDS = ("cpu", "seconds", "turns")  # of a row: they differ from run to run
FAMILIES = ("gpt2", "gptj", "llama", "mistral", "qwen2")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def rows_of(given, folder, say=lambda text: None, paper=superposition):
    """All rows of a paper's experiments, by the name of their file."""
    return {
        experiment.run.name: stored_runs.read(make(experiment, folder, math.inf, say))["rows"]
        for experiment in paper.experiments(given)
    }


@pytest.mark.parametrize("family", few(FAMILIES, ("llama",), drawn=1))
def test_superposition_from_an_empty_cache(family, cache):
    said: list[str] = []
    found = rows_of(Given("tiny", (tiny.model(family),)), cache / "rows", said.append)
    by_layer, (stream,) = found[superposition.LAYERS], found[superposition.STREAM]
    kinds = ("facts", "things", "text", "Gaussian", "random weights")
    assert [(row["set"], row["layer"]) for row in by_layer] == [
        (kind, layer) for kind in kinds for layer in (0, 3, None)
    ]
    assert len(said) == len(kinds) + 1 and "(5 of 5)" in said[4]
    assert all(superposition.shown(row) for row in (*by_layer, stream))
    assert all(row["commit"] and row["cpu"] >= 0 for row in (*by_layer, stream))
    assert max(stream["error"]) < 1e-3  # the sum is exact up to rounding
    drawn = overlaps_by_layer(by_layer)
    assert [len(ax.get_lines()) for ax in drawn.axes] == [len(kinds) + 1] * 3


@pytest.mark.parametrize("family", few(FAMILIES, 0, drawn=1))
def test_suspects_from_an_empty_cache(family, cache):
    lm = tiny.model(family)
    found = rows_of(Given("tiny", (lm,)), cache / "rows", paper=ultraedit)
    rows = {row["arm"]: row for row in found[ultraedit.SUSPECTS]}
    assert tuple(rows) == (ultraedit.UNEDITED, *ultraedit.ARMS)
    assert all(ultraedit.shown(row) and len(row["kl"]) == 2 for row in rows.values())
    assert max(rows["unedited"]["kl"]) == 0 < min(rows["plain"]["kl"])
    likelier = [sum(rows[arm]["facts"]["teacher_forced"]) for arm in ("unedited", "plain")]
    assert likelier[0] < likelier[1]
    up = ultraedit.editor(lm, ultraedit.MODULES).modules()
    assert set(up).isdisjoint(ultraedit.editor(lm, ultraedit.PLAIN).modules())


@pytest.mark.parametrize("family", few(FAMILIES, 0, drawn=1))
def test_long_streams_from_an_empty_cache(family, cache):
    given = Given("tiny", (tiny.model(family),))
    path = make(ultraedit.long_streams(given), cache / "rows", math.inf, lambda text: None)
    rows = stored_runs.read(path)["rows"]
    long = [row for row in rows if row["kind"] == "long"]
    kinds = {(row["way"], row["scale"]) for row in long}
    assert len(kinds) == len(ultraedit.WAYS) * len(ultraedit.SCALES)
    assert all(ultraedit.shown(row) and row["norm"] > 0 for row in long)
    # every way takes the same first step, up to its median, and then goes its own way
    first = {row["way"]: row["norm"] for row in long if (row["turn"], row["scale"]) == (1, 1.0)}
    assert first["lifelong"] == first["first turn"] == first["per turn"]
    second = {row["way"]: row["norm"] for row in long if (row["turn"], row["scale"]) == (2, 1.0)}
    assert len(set(second.values())) == len(second)
    assert [row["way"] for row in rows if row["kind"] == "cost"] == list(ultraedit.OTHERS)
    found = ultraedit.measures(rows)
    assert len(found["cost"]) == len(found["collapses"]) == 1 and found["cost"][0] > 0
    assert not found["flat"]
    turns = [{"turn": turn, "ms": ms} for turn, ms in ((1, 90), (2, 10), (3, 12), (4, 10))]
    assert ultraedit.later(turns) == pytest.approx(0.1)


def test_ways_are_compared_where_they_have_the_same_kl():
    def row(way, kl, tokens):
        return {"way": way, "scale": kl, "turn": 1, "kl": [kl], "tokens": [tokens]}

    rows = [row("a", 1.0, 0.2), row("a", 4.0, 0.6), row("b", 1.0, 0.1), row("b", 4.0, 0.3)]
    assert ultraedit.at_equal_kl(rows, "a", "b") == pytest.approx(0.2)
    rows = [row("a", 1.0, 0.2), row("b", 4.0, 0.3)]
    assert ultraedit.at_equal_kl(rows, "a", "b") is None


@pytest.mark.parametrize("family", few(FAMILIES, 0, drawn=1))
def test_wilke_from_an_empty_cache(family, cache):
    lm = tiny.model(family)
    found = rows_of(Given("tiny", (lm,)), cache / "rows", paper=wilke)
    six, rolled = found["wilke_six_1"], found["wilke_rollback_1"]
    assert [row["arm"] for row in six] == [arm for arm in wilke.ARMS for _ in range(2)]
    assert [row["edit"] for row in rolled] == [0, 1, 2] * 3
    assert all(wilke.shown(row) for row in (*six, *rolled))
    arms = {row["arm"]: row for row in six if row["edit"] == 2}
    tried = arms["WilKE published"]["scores"]
    assert str(arms["WilKE published"]["layer"]) == min(tried, key=tried.get)
    assert len(arms["ROME published"]["logp"]) == 2 and arms["ROME published"]["kl"] > 0
    values = wilke.measures([*six, *rolled])
    assert len(values["ahead"][0]) == len(values["layer"][0]) == 1


def test_the_guard_leaves_a_fact_unwritten_and_the_careful_arm_keeps_both_keys(monkeypatch):
    lm = tiny.model("gpt2")
    given, fact = Given("tiny", (lm,)), lib.Fact("Ann", "{} speaks", "xy")
    made = {arm: wilke.editor(given, lm, arm) for arm in ("guard", "careful", "ROME published")}
    monkeypatch.setattr(wilke.runs_08, "opens", lambda lm, fact: True)
    assert not made["guard"].edit([fact], check=False).weights
    plain = made["ROME published"].edit([fact], check=False)
    name = lm.mlp_out(made["careful"].config.layer)
    ranks = []
    for far in (1.0, wilke.LIMIT + 1):
        monkeypatch.setattr(wilke, "factor", lambda *_, far=far: far)
        ranks.append(made["careful"].edit([fact], check=False).weights[name])
    assert torch.equal(ranks[0].dense(), plain.weights[name].dense())


def test_the_score_is_the_harmonic_mean_of_five_shares():
    rows = [
        {"edit": 0, "ors": [1, 1]},
        {"edit": 1, "es": 1.0, "gs": 0.5, "ls": 0.5, "ers": [1], "ors": [1, 1]},
        {"edit": 2, "es": 0.0, "gs": 0.5, "ls": 0.5, "ers": [0, 1], "ors": [0, 1]},
    ]
    assert wilke.parts(rows, 2) == pytest.approx(dict.fromkeys((*wilke.PARTS, "S"), 0.5))
    rows[2]["ors"] = [0, 0]
    assert wilke.parts(rows, 2)["S"] == pytest.approx(5 / (4 / 0.5 + 1 / wilke.ZERO))


def test_rises_and_layers_of_a_stream():
    rows = [
        {"kl": kl, "opens": kl == 0.3, "layer": layer}
        for kl, layer in ((0.1, 0), (0.3, 2), (0.2, 0), (0.2, 2))
    ]
    assert wilke.of_openers(rows) == pytest.approx(2 / 3)
    assert wilke.entropy(rows) == pytest.approx(1.0)
    assert wilke.entropy(rows[:1]) == 0


def test_pairs_at_the_subject_are_those_of_the_subjects_last_token():
    lm = tiny.model("llama")
    facts = [lib.Fact("Ann", "{} speaks", "xy"), lib.Fact("Bo", "The tongue of {} is", "qz")]
    module = lm.mlp_out(1)
    with ultraedit.at_subjects(answer_gradients.read):
        pairs = answer_gradients.read(lm, facts, [module])[module]
    wanted = lm.keys(facts[::-1], 1)  # the longest text first
    torch.testing.assert_close(pairs.K, wanted)
    assert pairs.G.shape[1] == len(pairs.group) == 2 and (pairs.G != 0).any(0).all()


@pytest.mark.parametrize("paper", few((superposition, lemoe, wise, ultraedit, wilke), 1, drawn=1))
def test_killed_in_the_middle_the_command_goes_on_and_makes_the_same_rows(paper, cache):
    given, folder = Given("tiny", (tiny.model("llama"),)), cache / "rows"
    begun: list[str] = []

    def until_third(text):
        begun.append(text)
        if len(begun) == 3:
            raise KeyboardInterrupt

    experiment = paper.experiments(given)[0]
    with pytest.raises(KeyboardInterrupt):
        make(experiment, folder, math.inf, until_third)
    part = folder / f"{experiment.run.name}.part.jsonl"
    part.write_text(part.read_text("utf-8")[:-40], "utf-8")  # the second job's line was cut off
    again: list[str] = []
    path = make(experiment, folder, math.inf, again.append)
    assert len(again) == len(experiment.run.jobs) - 1 and not part.exists()
    whole = make(experiment, cache / "whole", math.inf, again.append)
    rows = [stored_runs.read(one)["rows"] for one in (path, whole)]
    once, twice = ([{k: r[k] for k in r if k not in SECONDS} for r in each] for each in rows)
    assert once == twice


def test_facts_of_a_file_are_those_that_the_model_says(cache, monkeypatch):
    lm, folder = tiny.model("gpt2"), cache / "data"
    folder.mkdir()
    first = FULL[0]["requested_rewrite"]["subject"]
    every = [json.loads(json.dumps(FULL[0]).replace(first, name)) for name in NAMES]
    (folder / "counterfact.json").write_text(json.dumps(every), "utf-8")
    given = Given("tiny", (lm,), folder)
    with pytest.raises(ValueError, match="knows 0 subjects of 2"):
        superposition.facts(given, lm, 2)
    monkeypatch.setattr(superposition, "known", lambda lm, cases: list(cases)[1:])
    assert [fact.subject for fact in superposition.facts(given, lm, 2)] == list(NAMES[1:])
    (folder / "counterfact.json").unlink()
    with pytest.raises(ValueError, match="there is no .*counterfact.json"):
        superposition.facts(given, lm, 2)


def test_measures_are_those_of_all_pairs_and_a_draw_leaves_out_a_subject_with_itself():
    draw = torch.Generator().manual_seed(0)
    K = torch.randn(12, 6, generator=draw, dtype=torch.float64) + 0.3
    over = Superposition.of(K)
    times = torch.tensor([[2, 0, 1, 1, 1, 1]]).double()
    found = superposition.measures(over, times)
    plain = over.statistics()
    assert found["kurtosis"][0].item() == pytest.approx(plain["kurtosis"])
    assert found["mean/sd"][0].item() == pytest.approx(plain["mean"] / plain["std"])
    assert found["overlap"][0].item() == pytest.approx(plain["rms"] * plain["mean_q"] ** 0.5)
    mean = K.mean(1).square().sum() / K.square().sum(0).mean()
    assert found["common"][0].item() == pytest.approx(mean.item())
    chosen = [0, 0, 2, 3, 4, 5]  # with repeats, as the draw has them
    entries = [over.rho[i, j] for i in chosen for j in chosen if i != j]
    assert found["kurtosis"][1].item() == pytest.approx(kurtosis(torch.stack(entries)))


def test_a_curve_that_falls_has_rank_one():
    curves = torch.tensor([[9.0, 5.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
    assert superposition.falling(curves, [0, 5, 9]).tolist() == pytest.approx([1.0, -1.0, -0.5])


def test_verdicts():
    assert verdict((0.2, 0.4)) == SAME and verdict((-0.4, -0.2)) == OPPOSITE
    assert verdict((-0.1, 0.4)) == UNSEEN and verdict((1.2, 2.0), 1.5, 1.1) == UNSEEN
    assert overall([SAME, SAME]) == SAME and overall([SAME, UNSEEN]) == UNSEEN
    assert overall([OPPOSITE, OPPOSITE, SAME]) == OPPOSITE
    assert superposition.against([-0.2, 0.1]) == (-0.2, 0.0)
    assert superposition.against([0.6, 0.9]) == (-0.9, -0.6)
    rule = {"same": 0.0, "opposite": 0.0}
    assert ultraedit.judged("3 facts", (-0.2, -0.1), rule) == ("3 facts", OPPOSITE)
    assert (
        "smallest detectable difference: 14 points"
        in ultraedit.judged("3 facts", (-0.1, 0.1), rule)[0]
    )
    assert detectable((-1.96, 1.96)) == pytest.approx(2.8)


def test_every_paper_has_claims_and_every_rule_two_numbers():
    claims = CLAIMS["claims"]
    assert len(claims) >= 17 and {c["paper"] for c in claims} == set(CLAIMS["papers"])
    assert all({"same", "opposite"} <= c.keys() for c in claims if "measure" in c)
    assert all(c["same"] >= c["opposite"] for c in claims if "measure" in c)
    assert set(command.PAPERS) <= set(CLAIMS["papers"])


def test_the_command_says_what_it_costs_before_it_begins(cache, capsys, monkeypatch):
    given = Given("tiny", (tiny.model("gpt2"),))
    monkeypatch.setattr(command, "Given", lambda *_: given)
    command.main(["--paper", "superposition", "--scale", "tiny", "--to", str(cache), "--plan"])
    told = capsys.readouterr()
    assert told.err.count("at most") == 2 and "GB" in told.err and not told.out
    assert not list(cache.glob("*.json*"))
    command.main(["--paper", "superposition", "--scale", "tiny", "--to", str(cache)])
    assert "paper, GPT-2 small at this depth: 0 and 73" in capsys.readouterr().out


def test_another_paper_is_refused_until_its_experiments_are_there(capsys):
    with pytest.raises(SystemExit):
        command.main(["--paper", "none"])
    assert "superposition" in capsys.readouterr().err
