"""Networks that edit: identity at first, the gradient rule against autograd, training, files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest
import torch

import lib
from lib.editors.hypernetwork import losses as phases
from lib.editors.hypernetwork import network_file, trainable
from lib.editors.hypernetwork.network import EditNet, ModuleUpdate
from lib.errors import NetworkError
from lib.keys_values.answer_gradients import KeyGradients
from lib.keys_values.running_moments import KeyGradientMoments
from lib.patch.patch import EMPTY
from lib.workbench.cli.main import main

from ..support import damaged_values, tiny
from ..support.networks import APART, CASES, SMALL, grads, naive, naive_log_probs, naive_nll


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def network(order, d=5, modules=("a",), moved=0.0, step=0.3, rank=4):
    """Float64; `moved` puts every parameter away from the start."""
    ridge = None if order == "mend" else 1.0
    net = EditNet(d, d, modules, rank, 2, order, step, seed=1, ridge=ridge).double()
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(moved * torch.randn(p.shape, generator=draw).double())
    return net


def pairs(n, d=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    K, G = (torch.randn(d, n, generator=draw).double() for _ in "KG")
    return KeyGradients(K, G, torch.zeros(n, dtype=torch.long))


# ---- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["mend", "malmen"])
def test_it_starts_as_the_identity_and_is_not_dead(order):
    net, pair = network(order), pairs(7)
    k, g = net(pair.K, pair.G, "a")
    assert torch.equal(k, pair.K) and torch.equal(g, pair.G)
    ((k * pairs(7, seed=3).K).sum() + (g * pairs(7, seed=3).G).sum()).backward()
    assert net.second.grad.abs().amin(dim=(1, 2)).min() > 0  # zero with relu in clamp's place
    assert net.bias.grad.abs().min() > 0 and net.shift.grad.abs().min() > 0


def editor_of(lm, order):
    """The editor whose rule is asked for; "network" is MALMEN's on the network's keys."""
    if order == "mend":
        return lib.EDITORS["mend"](lm)
    return lib.EDITORS["malmen"](lm, keys="network" if order == "network" else "raw")


# ---- the gradient rule ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["mend", "malmen", "network"])
@pytest.mark.parametrize("n", [1, 3, 5, 9])  # on both sides of d_in = 5
def test_two_phases_give_the_gradient_of_the_whole(lm, order, n):
    net = network("mend" if order == "mend" else "malmen", modules=("a", "b"), moved=0.2)
    draw = torch.Generator().manual_seed(5)
    W = [torch.randn(5, 5, generator=draw).double() for _ in "ab"]
    x, y = (torch.randn(5, 6, generator=draw).double() for _ in "xy")
    edits = {name: (pairs(n, seed=i), pairs(n, seed=i + 7)) for i, name in enumerate("ab")}

    def loss(da, db):
        return ((W[1] + db) @ torch.tanh((W[0] + da) @ x) - y).square().mean()

    whole = [naive(order, net, m, pair, (hat.K, hat.G)) for m, (pair, hat) in edits.items()]
    loss(*whole).backward()
    wanted, editor = grads(net), editor_of(lm, order)
    for chunk in (1000, 2):
        net.zero_grad()
        turns = [ModuleUpdate(net, m, p, (h.K, h.G), chunk) for m, (p, h) in edits.items()]
        deltas = [(A @ B).requires_grad_() for A, B in map(editor.update, turns)]
        for delta, one in zip(deltas, whole, strict=True):
            torch.testing.assert_close(delta, one, atol=1e-10, rtol=1e-10)
        found = torch.autograd.grad(loss(*deltas), deltas)  # the model's part: ∂L/∂W alone
        for turn, G in zip(turns, found, strict=True):
            editor.backward(turn, G)
        for name, value in grads(net).items():
            torch.testing.assert_close(value, wanted[name], atol=1e-8, rtol=1e-8)


# ---- the model's part ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_weight_gradients_are_those_of_the_loss_however_it_is_cut(family, monkeypatch):
    lm = tiny.model(family)
    name, draw = lm.mlp_out(1), Random(0)
    delta = 0.1 * torch.randn(lm.weight(name).shape, generator=torch.Generator().manual_seed(0))
    before = EMPTY.with_weights({name: lm.weight(name) + 0.05})
    said = phases.weighted(phases.rewordings(lm, CASES, draw), 1, 0.7)
    calm = phases.weighted(phases.unrelated(lm, CASES, draw, False), 1, 0.3)
    assert [len(text.answer) for text in calm] == [4, 1, 2]  # " cat", the next token, " x"
    whole = phases.outcome(lm, before, {name: delta}, said, calm)
    monkeypatch.setattr(phases, "TOKENS", 1)
    parts = phases.outcome(lm, before, {name: delta}, said, calm)
    W0 = lm.weight(name) + 0.05
    W = (W0 + delta).requires_grad_()
    edit = sum(naive_nll(lm, name, W, c.paraphrases[0], c.fact.target_new) for c in CASES)
    kl = 0.0
    for text in calm:
        p, q = (naive_log_probs(lm, name, w, text.ids)[-len(text.answer) :] for w in (W0, W))
        kl = kl + (p.exp() * (p - q)).sum(-1).mean()
    (wanted,) = torch.autograd.grad(0.7 * edit + 0.3 * kl, W)
    for seen in (whole, parts):
        assert abs(seen.edit - 0.7 * edit.item()) < 1e-4
        assert abs(seen.locality - 0.3 * kl.item()) < 1e-4 and seen.finite
        torch.testing.assert_close(seen.grads[name], wanted, atol=1e-5, rtol=1e-3)
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())


def test_the_own_prompt_counts_among_the_rewordings_only_when_asked(lm):
    def drawn(**own):
        return {tuple(phases.rewordings(lm, CASES[:1], Random(i), **own)[0].ids) for i in range(20)}

    answer = phases.encode_target(lm.tokenizer, "xyz")[:-1]
    own, other = (
        (*phases.encode_prompt(lm.tokenizer, prompt), *answer)
        for prompt in (CASES[0].fact.text, CASES[0].paraphrases[0])
    )
    assert drawn() == {other} and drawn(own=True) == {own, other}
    for own_prompt in (False, True):
        editor = lib.EDITORS["malmen"](lm, **SMALL, own_prompt=own_prompt)
        ids = {tuple(editor.texts(CASES[:1], Random(i))[0][0].ids) for i in range(20)}
        assert (own in ids) == own_prompt


def test_a_network_is_refused_where_it_has_learned_something_else(lm, tmp_path):
    path = tmp_path / "net.safetensors"
    lib.EDITORS["malmen"](lm, **SMALL).fit(CASES[:2], steps=1, checkpoint=path)
    for other, learned in (("tokens", "answer"), ("keys", "raw"), ("order", "malmen")):
        changed = {other: {"tokens": "all", "keys": "network", "order": "mend"}[other]}
        with pytest.raises(lib.errors.EditError, match=f"{other}={learned}"):
            lib.EDITORS["malmen"](lm, **SMALL, **changed, network=str(path)).edit(CASES[0].fact)


def test_varied_edits_are_of_all_sizes_and_validated_alone_and_in_batches(lm, monkeypatch):
    sizes = []

    def learn(self, networks, cases, texts, train=True):
        sizes.append(len(cases))
        return phases.Outcome(1.0, 0.0, {}), {}

    monkeypatch.setattr(trainable.Trainable, "learn", learn)
    cases = CASES * 2
    editor = lib.EDITORS["malmen"](lm, **{**SMALL, "batch": 3, "accumulate": 60}, varied=True)
    networks = editor.fresh()
    editor.gradients(networks, cases, 0)
    assert set(sizes) == {1, 2, 3} and len(sizes) == 60
    sizes.clear()
    assert editor.validate(networks, cases) == 1.0 and sizes == [1, 1, 1, 3]
    sizes.clear()
    editor = lib.EDITORS["malmen"](lm, **{**SMALL, "batch": 4})
    editor.validate(networks, cases)
    assert sizes == [4, 2]


def test_weights_are_sums_of_group_means(lm):
    texts = [phases.Text([1, 2], [3] * n) for n in (1, 3, 2)]
    assert [t.weight for t in phases.weighted(texts, 2, 2.0)] == [0.5, 0.5, 1.0]
    everywhere = phases.unrelated(lm, CASES[:1], Random(0), True)[0]
    assert len(everywhere.answer) == len(everywhere.ids) == len("A dog") + 3


# ---- trajectories --------------------------------------------------------------------------------


# ---- training and files --------------------------------------------------------------------------


TURNS = {**SMALL, "accumulate": 1, "turns": 3, "patience": 9}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [("mend", SMALL), ("malmen", SMALL), ("rledit", TURNS)]
)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(lm, name, settings, tmp_path):
    def fit(file, *stops):
        for steps in stops:
            editor = lib.EDITORS[name](lm, **settings)
            assert editor.fit(CASES, APART, tmp_path / file, steps) == tmp_path / file
        return editor

    editor = fit("straight.safetensors", 5)
    fit("stopped.safetensors", 1, 3, 5)
    for end in (".safetensors", ".training.safetensors"):
        one, two = ((tmp_path / f"{run}{end}").read_bytes() for run in ("straight", "stopped"))
        assert one == two
    header, state, content = network_file.load(
        tmp_path / "straight.safetensors", lm.fingerprint, name
    )
    assert header["settings"]["rank"] == 8 and header["data"] == {}
    (kept,) = state["now"].values()
    assert (
        kept["net"]["second"].dtype == torch.float16 and kept["net"]["step"].dtype == torch.float32
    )
    assert editor.networks().nets["32x48"].second.dtype == torch.float32
    assert [row[0] for row in header["history"]] == [0, 2, 4]
    assert header["base"] == lm.identity and len(content) == 16
    patch = editor.edit([CASES[0].fact])
    assert patch.memory[name]["network"] == content
    assert ("moments" in patch.memory[name]) == (name != "mend")
    more = editor.edit([CASES[1].fact], after=patch)
    if name == "malmen":  # they go on while editing
        counts = [
            KeyGradientMoments.load(p.memory[name]["moments"]["32x48"]).keys.n
            for p in (patch, more)
        ]
        assert counts[0] < counts[1]


@pytest.mark.slow
def test_training_helps_stops_early_and_keeps_the_best(lm, tmp_path):
    still = {**SMALL, "eta": 0.0, "lr": 0.0, "lr_step": 0.0, "patience": 4}
    path = lib.EDITORS["malmen"](lm, **still).fit(CASES, APART, tmp_path / "still.safetensors", 50)
    header, *_ = network_file.load(path, lm.fingerprint, "malmen")
    assert [row[0] for row in header["history"]] == [0, 2, 4] and header["step"] == 0
    learned = lib.EDITORS["malmen"](lm, **SMALL)
    path = learned.fit(CASES, CASES_AS_VALIDATION, tmp_path / "n.safetensors", 12)
    header, *_ = network_file.load(path, lm.fingerprint, "malmen")
    losses = [row[2] for row in header["history"]]
    assert header["best"] <= min(losses) < losses[0]
    validated = learned.validate(learned.networks(), CASES_AS_VALIDATION)
    assert validated == pytest.approx(header["best"], rel=1e-3)  # matrices are kept in float16


# the same texts behind other prompts: what is learned on CASES must help here
CASES_AS_VALIDATION = [
    lib.Case(lib.Fact(None, case.fact.text + ",", case.fact.target_new), case.paraphrases,
             case.neighborhood, case.locality) for case in CASES
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(lm, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("network") / "n.safetensors"
    return lib.EDITORS["malmen"](lm, **SMALL).fit(CASES, checkpoint=file, steps=1)


def test_a_network_that_does_not_fit_is_refused_in_one_sentence(lm, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fact, given = CASES[0].fact, {**SMALL, "network": str(trained)}
    assert lib.EDITORS["malmen"](lm, **given).edit([fact])
    with pytest.raises(
        lib.errors.EditError, match="python -m lib train --editor malmen` with the --model"
    ):
        lib.EDITORS["malmen"](lm, **SMALL).edit([fact])
    other = tiny.model("llama", seed=1)
    with pytest.raises(NetworkError, match="was trained for tiny-llama .*, but the model here has"):
        lib.EDITORS["malmen"](other, **given).edit([fact])
    with pytest.raises(NetworkError, match="was trained for malmen, not for mend"):
        lib.EDITORS["mend"](lm, **given).edit([fact])
    with pytest.raises(lib.errors.EditError, match="trained for other modules"):
        lib.EDITORS["malmen"](lm, **{**given, "down": (0, 2)}).edit([fact])
    with pytest.raises(lib.errors.EditError, match="different rank, depth or choice"):
        lib.EDITORS["malmen"](lm, **{**given, "rank": 4}).edit([fact])
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.read_bytes()[:500])
    with pytest.raises(NetworkError, match="is not a trained network, or is damaged"):
        lib.EDITORS["malmen"](lm, **{**given, "network": str(broken)}).edit([fact])


def test_a_network_is_looked_for_here_then_in_the_cache_then_in_the_library(
    lm, trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(network_file, "SHIPPED", tmp_path / "networks")
    fact, name = CASES[0].fact, f"malmen-{lm.fingerprint}.safetensors"
    content = network_file.load(trained, lm.fingerprint, "malmen")[2]

    def used(**more):
        return lib.EDITORS["malmen"](lm, **SMALL, **more).edit([fact]).memory["malmen"]["network"]

    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / name).write_bytes(trained.read_bytes())
    assert used() == content
    lib.EDITORS["malmen"](lm, **SMALL).fit(CASES, steps=2)  # into the cache
    own = tmp_path / "cache" / "model-editing" / "networks" / name
    assert used() == network_file.load(own, lm.fingerprint, "malmen")[2] != content
    assert used(network=str(trained)) == content
    with pytest.raises(
        lib.errors.EditError, match="no trained network"
    ):  # never another in its place
        used(network=str(tmp_path / "none.safetensors"))


def test_a_network_of_a_later_format_asks_for_an_update(lm, trained, tmp_path):
    data, path = trained.read_bytes(), tmp_path / "later.safetensors"
    header = {**damaged_values.header_of(data, "network"), "format": 2}
    path.write_bytes(damaged_values.with_header(Random(0), data, "network", header))
    with pytest.raises(NetworkError, match="has format 2. Update the library"):
        network_file.load(path, lm.fingerprint, "malmen")


# ---- the networks of the embedded model ----------------------------------------------------------


@pytest.mark.parametrize("name", ["mend", "malmen", "rledit"])
def test_the_library_ships_a_network_for_the_embedded_model(
    default_lm, name, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # not what somebody trained here
    editor = lib.EDITORS[name](default_lm)
    assert editor.shipped.stat().st_size < 4e6
    header, *_, content = network_file.load(editor.shipped, default_lm.fingerprint, name)
    assert header["base"] == default_lm.identity, "trained as lib.load() reads"
    assert editor.networks().hash == content
    settings, first = (
        json.loads(json.dumps({**asdict(config), "network": None}))
        for config in (editor.config, editor.Config())
    )
    # the preset is what it was trained with; what a file does not name yet was as published
    known = {name: v for name, v in header["settings"].items() if name in settings}
    assert {**first, **known} == settings
    data = header["data"]
    assert data["rows"][0] > data["validation_rows"][1] >= data["validation_rows"][0] >= 1500
    losses = [validation for _, _, validation in header["history"]]
    assert header["best"] <= min(losses) < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mend", "malmen", "rledit"])
def test_an_edit_with_the_shipped_network_is_written(default_lm, name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lm, facts = default_lm, [case.fact for case in lib.classroom()[1:8:2]]
    prompts, targets = [fact.text for fact in facts], [fact.target_new for fact in facts]
    before = lm.score(prompts, targets)
    patch = lib.EDITORS[name](lm).edit(facts[:1] if name == "mend" else facts)
    with lm.patched(patch):
        after = lm.score(prompts, targets)
    for one, two in list(zip(before, after, strict=True))[: 1 if name == "mend" else None]:
        assert two.mean() > one.mean() + 1


def test_a_patch_goes_on_with_its_own_network_only(lm, trained, tmp_path):
    patch = lib.EDITORS["malmen"](lm, **{**SMALL, "network": str(trained)}).edit([CASES[0].fact])
    other = lib.EDITORS["malmen"](lm, **SMALL)
    other.fit(CASES, checkpoint=tmp_path / "other.safetensors", steps=2)
    with pytest.raises(lib.errors.EditError, match="The patch was written using network"):
        other.edit([CASES[1].fact], after=patch)


def test_bad_training_input_is_a_sentence(lm, tmp_path):
    file = tmp_path / "n.safetensors"
    editor = lib.EDITORS["malmen"](lm, **SMALL)
    with pytest.raises(lib.errors.EditError, match="'Who' is in both the training and"):
        editor.fit(CASES, CASES[2:], file, 1)
    with pytest.raises(lib.errors.EditError, match="no case to train on"):
        editor.fit([], [], file, 1)
    assert not list(tmp_path.iterdir())
    editor.fit(CASES, checkpoint=file, steps=0)
    with pytest.raises(lib.errors.EditError, match="begun with other settings or cases"):
        lib.EDITORS["malmen"](lm, **{**SMALL, "lr": 1e-4}).fit(CASES, checkpoint=file, steps=1)
    with pytest.raises(lib.errors.EditError, match="gate and up in one matrix"):
        lib.EDITORS["mend"](tiny.model("phi3"), up=(1,)).modules()
    with pytest.raises(ValueError, match="layer 9 does not exist"):
        lib.EDITORS["mend"](lm, up=(9,)).modules()
    long = [lib.Case(CASES[0].fact, ("x" * 300,))]
    with pytest.raises(ValueError, match="the context has 256"):
        editor.fit(long, checkpoint=tmp_path / "long.safetensors", steps=1)
    assert len(lib.EDITORS["mend"](tiny.model("phi3")).modules()) == 3
    assert len(lib.EDITORS["mend"](lm).modules()) == 9


def test_an_edit_that_is_not_finite_is_left_out(lm, monkeypatch):
    editor = lib.EDITORS["malmen"](lm, **SMALL)
    networks = editor.fresh(CASES)
    real, count = phases.outcome, [0]

    def sometimes(*given):
        count[0] += 1
        seen = real(*given)
        wrong = {name: g * float("nan") for name, g in seen.grads.items()}
        return seen._replace(edit=float("nan"), grads=wrong) if count[0] == 1 else seen

    monkeypatch.setattr(phases, "outcome", sometimes)
    loss = editor.gradients(networks, CASES, 0)
    (net,) = networks.nets.values()
    assert count[0] == 2 and loss == loss and net.second.grad.isfinite().all()


# ---- the command line ----------------------------------------------------------------------------


def test_the_command_trains_and_the_editor_finds_the_network(lm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [
        {"case_id": i, "prompt": f"I saw a {w}", "subject": w, "target_new": "xy",
         "ground_truth": "qz", "rephrase_prompt": f"Look, a {w}", "locality_prompt": "A dog",
         "locality_ground_truth": "qz"} for i, w in enumerate(("cat", "bat", "rat", "hen"))
    ]  # fmt: skip
    data = tmp_path / "flat.json"
    data.write_text(json.dumps(rows))
    words = [f"{k}={json.dumps(v)}" for k, v in SMALL.items()]
    settings = [word for pair in words for word in ("--set", pair)]
    command = ["train", "--editor", "malmen", "--data", str(data), "--validation", "1"]
    assert main([*command, "--steps", "2", *settings]) == 0
    shown = capsys.readouterr().out
    assert "malmen on tiny-llama: 3 cases, 1 kept apart" in shown
    assert "step 2: training loss" in shown and "saved: " in shown
    spans = ["--rows", "1-3", "--validation-rows", "0-0", "--checkpoint", str(tmp_path / "n.st")]
    assert main(["train", "--editor", "malmen", "--data", str(data), *spans, "--steps", "1",
                 *settings]) == 0  # fmt: skip
    assert "malmen on tiny-llama: 3 cases, 1 kept apart" in capsys.readouterr().out
    told = network_file.load(tmp_path / "n.st", lm.fingerprint, "malmen")[0]["data"]
    assert told == {"file": "flat.json", "target": "new", "cases": 3, "rows": [1, 3],
                    "validation": 1, "validation_rows": [0, 0]}  # fmt: skip
    lm_patch = lib.EDITORS["malmen"](lm, **SMALL).edit([CASES[0].fact])
    assert lm_patch.memory["malmen"]["network"]
    for words, sentence in (
        (
            ["train", "--editor", "rome"],
            "rome does not need training. These editors have a network: mend",
        ),
        ([*command[:-1], "4"], "--validation 4 leaves nothing of 4 cases"),
        ([*command, "--rows", "2-4"], "Rows 2-4 were requested, but the file has 4"),
        ([*command, "--validation-rows", "0-0"], "exclude each other"),
        (
            ["train", "--editor", "mend", "--steps", "-1"],
            "--steps should be a number of at least 0, not -1",
        ),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err
