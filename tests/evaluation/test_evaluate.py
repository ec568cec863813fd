from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.facts import Case, Fact, encode_target
from lib.data.readers import classroom
from lib.evaluation.answers import begins, contains, judge
from lib.evaluation.evaluate import baseline, evaluate
from lib.evaluation.intervals import interval
from lib.evaluation.metrics import METRICS
from lib.evaluation.perplexity import perplexity
from lib.evaluation.probe_prompts import probe_items
from lib.evaluation.prompt_batch import Queries, generated
from lib.evaluation.scores import Scores, compare
from lib.model import generation, read_once, scoring
from lib.patch.patch import EMPTY, Patch
from lib.patch.route import Rewrite

from ..support import tiny
from ..support.cases import CITY, small_cases, table

# ---- text predicates ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, target, expected",
    [
        (" Rome, Italy", "Rome", (True, False)),
        (" Rome.", "Rome", (True, True)),
        (" ROME.", "rome", (True, True)),
        (" “Rome” is", "'Rome'", (True, False)),
        (" Romeo.", "Rome", (False, False)),
        (" Rome\u0301", "Rome", (False, False)),
        (" the city of Rome.", "Rome", (False, False)),
        ("", "Rome", (False, False)),
        (" Washington, D.C.", "Washington, D.C", (True, True)),
        (" 日本。", "日本", (True, False)),
        (" 日本人", "日本", (False, False)),
    ],
)
def test_begins_and_exact(text, target, expected):
    assert (begins(text, target), judge(text, target).exact) == expected


def texts_and_targets():
    draw = random.Random(0)
    pieces = ["Rome", "rome", "Ro", "me", " ", "  ", "\n", ".", ",", '"', "'", "’s", "1", "é",
              "e\u0301", "-", "ß", "SS", "the", "\u00a0", "日"]  # fmt: skip
    for _ in range(4000):
        target = "".join(draw.choices(pieces, k=draw.randint(1, 3)))
        lead = draw.choice(["", " ", "\n", ' "', target, " " + target, f' "{target}"'])
        text = lead + "".join(draw.choices(pieces, k=draw.randint(0, 4)))
        if target.strip():
            yield text, target


def test_exact_implies_begins_implies_contains():
    seen = {(judge(*x).exact, begins(*x), contains(*x)) for x in texts_and_targets()}
    rising = [(False, False, False), (False, False, True), (False, True, True), (True, True, True)]
    assert seen == set(rising)


def test_exact_is_the_text_cut_at_the_first_period_or_newline():
    edge = r"[\s\"'`“”„‟‘’‚‛«»‹›]+"
    for text, target in texts_and_targets():
        if re.search(r"[.\n]", target) or not re.sub(edge, "", target):
            continue
        cut = re.split(r"[.\n]", re.sub(f"^{edge}", "", text), maxsplit=1)[0]
        bare = re.sub(f"{edge}$", "", cut), re.sub(f"^{edge}|{edge}$", "", target)
        assert judge(text, target).exact == (bare[0].casefold() == bare[1].casefold()), text


# ---- generation of a few tokens more than the target has ----------------------------------------


def all_32(lm, pairs):
    """The slow way: 32 tokens for every pair, judged afterwards."""
    texts = lm.answer([prompt for prompt, _ in pairs], max_new_tokens=32)
    return [judge(text, target)[:2] for text, (_, target) in zip(texts, pairs, strict=True)]


def targets_near(text: str, draw: random.Random) -> str:
    """A beginning of what the model says, changed or not."""
    words = text.replace("\ufffd", "").strip()
    part = words[: draw.randint(1, max(1, len(words)))] or "x"
    return draw.choice(
        [part, part.swapcase(), f'"{part}"', part + "q", "q" + part, part.split()[0]]
    )


def agrees_with_all_32(lm, prompts):
    draw = random.Random(1)
    said = lm.answer(prompts, max_new_tokens=32)
    pairs = [
        (p, targets_near(s, draw)) for p, s in zip(prompts, said, strict=True) for _ in range(3)
    ]
    fits = lambda t: t.strip() and len(encode_target(lm.tokenizer, t)) <= 32  # noqa: E731
    pairs = [(p, t) for p, t in pairs if fits(t)]
    found = generated(lm, pairs)
    slow = all_32(lm, pairs)
    assert [found[pair][1][:2] for pair in pairs] == slow
    assert len({verdict for verdict in slow}) > 1
    whole = dict(zip(prompts, said, strict=True))
    for (prompt, _), (text, _) in found.items():
        assert whole[prompt].startswith(text.rstrip("\ufffd"))


def test_a_few_tokens_have_the_verdict_of_32_tiny():
    draw = random.Random(2)
    prompts = ["".join(draw.choices("abcdef gh", k=draw.randint(3, 20))) for _ in range(30)]
    agrees_with_all_32(tiny.model("llama"), prompts)


def test_characters_of_several_tokens_are_whole(monkeypatch):
    lm = tiny.model("gpt2")
    answer = list(" Zürich, é".encode())
    letters = {value: lm.tokenizer.convert_tokens_to_ids(letter)
               for letter, value in byte_letters().items()}  # fmt: skip

    monkeypatch.setattr(read_once, "ask", says([letters[byte] for byte in answer]))
    found = generated(lm, [("a", "Zürich"), ("a", "Z"), ("a", "Zü"), ("a", "Zurich")])
    assert [v.begins for _, v in found.values()] == [True, False, False, False]
    assert next(iter(found.values()))[0].startswith(" Zürich,")


def says(tokens):
    """A model that generates these tokens behind every prompt."""

    def ask(lm, asked):
        replies = []
        for question in asked:
            reply = read_once.Reply()
            reply.ids.extend(tokens[: question.most])
            replies.append(reply)
        return replies

    return ask


def byte_letters():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: value for value, letter in bytes_to_unicode().items()}


# ---- the plan ---------------------------------------------------------------------------------


def prompts_of(items, metric):
    return {item.case: item.prompt for item in items if item.metric.name == metric}


def test_negatives_are_never_edited_facts_themselves():
    cases = small_cases()
    items = probe_items(cases)
    assert probe_items(cases) == items
    other = prompts_of(items, "same_relation")
    assert other["c0"] in (
        "Cleo is in the city of",
        "Dora is in the city of",
    )  # Bob's city is edited
    texts = {case.fact.text for case in cases}
    for metric in ("same_subject", "same_relation"):
        assert not texts & set(prompts_of(items, metric).values())
    for case in cases:
        prompt = prompts_of(items, "same_subject")[case.id]
        assert case.fact.subject in prompt and prompt != case.fact.text


def test_negatives_of_a_single_edit_come_from_the_pool():
    cases = small_cases()
    items = probe_items(cases[:1], pool=cases)
    assert prompts_of(items, "same_relation") == {"c0": "Bob is in the city of"}
    assert prompts_of(items, "same_subject")["c0"] in ("The country of Ann is", "Ann plays")
    items = probe_items(cases[:1], pool=cases, edited=[Fact("Bob", CITY, "Bonn")])
    assert prompts_of(items, "same_relation")["c0"] != "Bob is in the city of"
    assert not prompts_of(probe_items(cases[:1]), "same_relation")


def test_a_fact_without_subject_has_no_negatives_but_its_negation():
    items = probe_items([Case(Fact(None, "Two and two is", "five"))], pool=small_cases())
    assert [item.metric.name for item in items] == ["efficacy", "negation_leak", "chat"]


def test_equal_ids_are_replaced_by_numbers():
    cases = [Case(case.fact) for case in small_cases()]
    assert {item.case for item in probe_items(cases)} == {0, 1, 2, 3}


# ---- evaluate -----------------------------------------------------------------------------------


def random_patch(lm, size=0.1, seed=0):
    module_name = lm.mlp_out(1)
    W = lm.weight(module_name)
    torch.manual_seed(seed)
    return Patch({module_name: W + size * torch.randn_like(W)}, base=lm.identity)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def cases(lm):
    """Cases some of which the patched tiny model answers as wished."""
    made = []
    with lm.patched(random_patch(lm)):
        for i, case in enumerate(small_cases()):
            said = lm.answer(case.fact.text, max_new_tokens=3).strip().strip("\"'`") or "x"
            fact = case.fact if i % 2 else Fact(case.fact.subject, case.fact.prompt, said, "Paris")
            made.append(replace(case, fact=fact))
    return made


def one_by_one(lm, cases, patch, metrics=METRICS):
    """Every number once more, one prompt at a time and in the plainest way."""
    rows, asserted = {}, {}  # what the positive prompts say is asked once
    for item in probe_items(cases, metrics):
        where = item.case, item.metric.name, item.prompt
        if item.answer is None:
            before = lm.answer(item.prompt, max_new_tokens=8)
            old = lm.next_token(item.prompt)
            ids = generation.generate(lm, lm.rows([item.prompt])[0], 8).ids[0]
            end = re.search(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)", before)
            while end and len(lm.texts(lm.rows([item.prompt])[0], [ids[:-1]])[0]) >= end.end():
                ids = ids[:-1]
            with lm.patched(patch):
                row = lm.rows([item.prompt])[0]
                now = generation.generate(lm, row, len(ids)).ids[0]
                hits = scoring.score(lm, row, [ids])[0].hits.float().mean().item()
                new = lm.next_token(item.prompt)
            rows[(*where, "teacher_forced")] = hits
            rows[(*where, "generation")] = float(now == ids)
            if item.metric.name == "locality":
                rows[(*where, "kl_nats")] = (old.exp() * (old - new)).sum().item()
            continue
        if item.metric.chat:  # in conversation: see test_conversation.py
            continue
        model = EMPTY if item.metric.name == "negation_base" else patch
        positive = next(i.prompt for i in probe_items(cases) if i.case == item.case)
        with lm.patched(model):
            said = lm.answer(item.prompt, max_new_tokens=32)
            if item.metric.name.startswith("negation"):
                if (model is EMPTY, positive) not in asserted:
                    asserted[model is EMPTY, positive] = lm.answer(positive, max_new_tokens=32)
                if begins(asserted[model is EMPTY, positive], item.answer):
                    rows[(*where, "generation")] = float(begins(said, item.answer))
                continue
            score = scoring.score(lm, lm.rows([item.prompt])[0], [item.answer])[0]
            other = lm.score(item.prompt, item.other) if item.other else None
        rows[(*where, "teacher_forced")] = score.hits.float().mean().item()
        rows[(*where, "generation")] = float(begins(said, item.answer))
        rows[(*where, "generation_exact")] = float(judge(said, item.answer).exact)
        if other is not None:
            rows[(*where, "probability")] = float(score.log_probs.mean() > other.mean())
    return rows


def agree(scores, expected):
    found = table(scores)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=2e-5), key


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([" It", " is", ".", " Then", " it"], 3),
        ([" It", " is", " 3", ".", "14", " m"], 6),
        ([" one", " two"], 2),
    ],
)
def test_a_beginning_ends_behind_its_first_sentence(monkeypatch, tokens, expected):
    lm = tiny.model("gpt2")
    lm.texts = lambda rows, new: ["".join(tokens[i] for i in ids) for ids in new]
    monkeypatch.setattr(read_once, "ask", says(range(len(tokens))))
    queries = Queries(lm)
    queries.begin("a")
    assert queries.ask().beginnings["a"] == (tuple(range(expected)), "".join(tokens[:expected]))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_batched_equals_one_by_one_tiny(family):
    lm = tiny.model(family)
    patch = random_patch(lm, 0.05)
    cases = small_cases()
    scores = evaluate(lm, cases, patch)
    agree(scores, one_by_one(lm, cases, patch))
    values = scores.rows[scores.rows["event"] == "teacher_forced"]
    assert (
        0 < values[values["metric"] == "locality"]["value"].mean() < 1
    )  # there was something to see


@pytest.mark.slow
def test_the_base_of_the_default_model(default_lm):
    base = baseline(default_lm, classroom()[:3])
    found = base.scores.json()
    assert found["efficacy"]["generation"] == 0 and found["specificity"]["generation"] == 1
    assert found["locality"] == {"teacher_forced": 1, "generation": 1, "kl_nats": 0}
    assert found["same_subject"]["generation"] == found["same_relation"]["generation"] == 1
    assert found["chat"]["generation"] == 0 and found["negation_leak"]["generation"] is None
    assert found["negation_base"]["generation"] is not None
    assert found["perplexity"] is None or 5 < found["perplexity"] < 200


def test_a_negation_counts_only_where_the_fact_is_there(lm, cases):
    scores = evaluate(lm, cases, random_patch(lm))
    rows = scores.rows[scores.rows["event"] == "generation"]
    there = rows[(rows["metric"] == "efficacy") & (rows["value"] == 1)]
    assert 0 < len(there) < len(cases)
    assert set(rows[rows["metric"] == "negation_leak"]["case"]) == set(there["case"])


def test_events_without_meaning_are_null(lm):
    scores = evaluate(lm, [Case(Fact("Ann", CITY, "Rome"))])
    found = scores.json()
    assert found["efficacy"]["probability"] is None and found["efficacy"]["generation"] is not None
    events = ("generation", "generation_exact", "generation_named")
    assert found["chat"] == dict.fromkeys(events)  # no chat template
    assert found["specificity"] == dict.fromkeys(found["specificity"])
    assert json.loads(json.dumps(found)) == found
    same = evaluate(lm, [Case(Fact("Ann", CITY, "Rome", " rome "))]).json()
    assert same["efficacy"]["probability"] is None  # nothing to tell apart


def test_only_the_events_and_metrics_asked_for(lm, cases):
    scores = evaluate(lm, cases, events=["probability"], metrics=["specificity"])
    assert set(zip(scores.rows["metric"], scores.rows["event"], strict=True)) == {
        ("efficacy", "probability"), ("specificity", "probability")}  # fmt: skip
    assert scores.json().keys() == {"efficacy", "specificity", "perplexity"}
    scores = evaluate(lm, cases, events=["generation"])
    assert set(scores.rows["event"]) == {"generation", "generation_exact", "kl_nats"}
    for wrong in ({"events": ["guess"]}, {"metrics": ["luck"]}, {"events": "generation"}):
        with pytest.raises(ValueError, match="should be a list"):
            evaluate(lm, cases, **wrong)
    with pytest.raises(ValueError, match="kl_prompts should be a number of at least 0, not -1"):
        evaluate(lm, cases, kl_prompts=-1)
    with pytest.raises(ValueError, match="no case"):
        evaluate(lm, [])


def test_the_base_is_asked_once(lm, cases, monkeypatch):
    base = baseline(lm, cases)
    first = evaluate(lm, cases, random_patch(lm), base=base)
    assert first.base is base

    asked, real = [], read_once.ask

    def counted(lm, some):
        asked.extend([lm.is_patched] * bool(some))
        return real(lm, some)

    monkeypatch.setattr(read_once, "ask", counted)
    again = evaluate(lm, cases, random_patch(lm), base=first.base)
    assert asked == [True]
    assert table(again) == pytest.approx(table(first), abs=1e-5)
    with pytest.raises(ValueError, match="tiny-gpt2"):
        evaluate(tiny.model("gpt2"), cases, base=base)


def test_the_base_is_the_base_inside_another_patch(lm, cases):
    plain = baseline(lm, cases)
    with lm.patched(random_patch(lm, 0.5)):
        inside = baseline(lm, cases)
        edited = evaluate(lm, cases)
    assert edited.base.beginnings == inside.beginnings == plain.beginnings
    assert table(inside.scores) == pytest.approx(table(plain.scores), abs=1e-5)
    assert edited.json()["locality"]["teacher_forced"] < 1  # no patch given: as the caller has it
    assert plain.scores.json()["locality"]["kl_nats"] == 0


def test_kl_is_kept_for_as_many_prompts_as_asked(lm, cases):
    scores = evaluate(lm, cases, random_patch(lm), kl_prompts=2)
    assert len(scores.base.states) == 2
    kl = scores.rows[scores.rows["event"] == "kl_nats"]
    assert set(kl["prompt"]) == {"Once upon a time 0", "The sea is"}


class Cheat(Rewrite):
    """Says the answer in front of the prompt."""

    kind = "cheat-for-metrics"

    def __call__(self, prompts):
        return ["zzz " + p if "Ann" in p else p for p in prompts]

    def tensors(self):
        return {}

    def header(self):
        return {}

    @classmethod
    def load(cls, tensors, header):
        return cls()


def test_rewrites_act_on_test_prompts_but_not_on_the_base(lm):
    case = small_cases()[0]
    patch = Patch(rewrites=(Cheat(),), base=lm.identity)
    found = evaluate(lm, case, patch, metrics=["locality"])
    expected = judge(lm.answer("zzz " + case.fact.text, max_new_tokens=32), "Rome")
    text = found.rows[(found.rows["event"] == "generation") & (found.rows["metric"] == "efficacy")]
    said = text["text"].item()
    assert lm.answer("zzz " + case.fact.text, max_new_tokens=32).startswith(said.rstrip("\ufffd"))
    assert not lm.answer(case.fact.text, max_new_tokens=32).startswith(said)
    assert text["value"].item() == expected.begins
    locality = found.json()["locality"]
    assert (locality["teacher_forced"], locality["generation"]) == (1, 1)
    # not 0: prompts are padded for the longer ones beside them, which rounds differently
    assert abs(locality["kl_nats"]) < 1e-6


def test_perplexity(lm):
    text = "The quick brown fox jumps over the lazy dog. " * 9
    ids = lm.tokenizer(text).input_ids
    lost = []
    for start in range(0, len(ids), 100):
        part = ids[start : start + 100]
        logits = lm.run([part]).logits[0].log_softmax(-1)
        lost += [-logits[i, part[i + 1]].item() for i in range(len(part) - 1)]
    assert perplexity(lm, text, window=100) == pytest.approx(np.exp(np.mean(lost)), rel=1e-4)
    scores = evaluate(lm, small_cases()[:1], random_patch(lm), text=text)
    assert scores.perplexity == scores.json()["perplexity"] != perplexity(lm, text)
    with pytest.raises(ValueError, match="two tokens"):
        perplexity(lm, "a")


# ---- tables, comparison ------------------------------------------------------------


def made(values, metric="efficacy", event="generation", ids=None):
    import pandas as pd

    rows = []
    for case, value in zip(ids or range(len(values)), values, strict=True):
        for part in value if isinstance(value, list) else [value]:
            rows.append((case, "efficacy", "generation", f"p{case}", part, None, None))
            if (metric, event) != ("efficacy", "generation"):
                rows.append((case, metric, event, "q", part, None, None))
    rows = pd.DataFrame(
        rows, columns=["case", "metric", "event", "prompt", "value", "text", "answer"]
    )
    return Scores(rows, list(dict.fromkeys([("efficacy", "generation"), (metric, event)])), "made")


def test_the_case_is_the_unit():
    found = made([[1, 1, 1, 1], [0]]).summary()
    assert found["mean"].item() == 0.5 and found["cases"].item() == 2
    assert found["prompts"].item() == 5
    assert (found["low"].item(), found["high"].item()) == interval([1, 0])


def test_compare_pairs_cases():
    a, b = made([1, 1, 1, 1, 1, 0]), made([0, 0, 0, 0, 0, 1])
    found = compare(a, b).iloc[0]
    assert found["difference"] == pytest.approx(4 / 6) and found["n"] == 6
    assert compare(made([0.9] * 8), made([0.2] * 8)).iloc[0]["better"] == "a"
    assert compare(made([0.1] * 8), made([0.6] * 8)).iloc[0]["better"] == "b"
    assert compare(made([1, 0, 1]), made([0, 1, 1])).iloc[0]["better"] == "no difference"
    assert compare(made([1]), made([0])).iloc[0]["better"] == "no difference"
    leak = [made([v] * 8, "negation_leak") for v in (0.1, 0.6)]
    assert list(compare(*leak)["better"]) == ["b", "a"]
    part = compare(made([1, 0, 0.5], ids=["x", "y", "z"]), made([0, 0.25], ids=["y", "z"]))
    assert part["n"].item() == 2 and part["difference"].item() == pytest.approx(0.125)
    with pytest.raises(ValueError, match="no case in common"):
        compare(made([1], ids=["x"]), made([1], ids=["y"]))
