"""Facts, where the subject ends in tokens, and the readers of the public data files."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lib.data import readers
from lib.data.facts import (
    Case,
    Fact,
    Probe,
    encode_prompt,
    encode_target,
    fill,
    lookup,
)
from lib.data.negation import negate
from lib.data.readers import classroom, read_cases
from lib.errors import Error, FactError
from lib.model.packaged_models import packaged_model

from ..support.data_files import (
    CLASSROOM,
    FILES,
    FLAT,
    FULL,
    KNOWN,
    SELFCHECK,
    TEMPORAL,
    ZSRE,
)

# ---------------------------------------------------------------- facts


def test_text_fills_the_one_mark_and_nothing_else():
    assert Fact("The Eiffel Tower", "{} is in", "Rome").text == "The Eiffel Tower is in"
    assert Fact("{0} {} {x}", "In { y } {} is", "Rome").text == "In { y } {0} {} {x} is"
    assert Fact(None, "Set {1} is", "Rome").text == "Set {1} is"
    assert fill("Yes {no}. {}", "{} {a}") == "Yes {no}. {} {a}"


def test_facts_are_values():
    fact = Fact("Lyon", "{} is in", "Spain", "France")
    assert fact == Fact("Lyon", "{} is in", "Spain", "France") and hash(fact) == hash(
        pickle.loads(pickle.dumps(fact))
    )
    assert fact != Fact("Lyon", "{} is in", "Spain")
    assert Fact("Lyon", "{} is in", " Spain ").target_new == "Spain"
    case = Case(fact, ["Lyon lies in"], [Probe("Nice is in", "France")])
    assert case.paraphrases == ("Lyon lies in",) and len({case, copy.deepcopy(case)}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("Eifel Tower", "The Eiffel Tower is in", "Rome"),
            "Subject 'Eifel Tower' does not occur in the prompt 'The Eiffel Tower is in'",
        ),
        (("Lyon", "Lyon is in", "Rome"), "has no {}. Use exactly one"),
        (("Lyon", "{} and {} are in", "Rome"), "has 2 {}. Use exactly one"),
        ((None, "{} is in", "Rome"), "there is no subject"),
        (("Lyon", "{} is in", " \n"), "target_new is empty"),
        (("Lyon", "{} is in", "Rome", ""), "target_true is empty"),
        (("Lyon", "{} is in", None), "target_new is null"),
        ((" ", "{} is in", "Rome"), "The subject is empty"),
        ((7, "{} is in", "Rome"), "The subject is 7"),
        ((None, "", "Rome"), "The prompt is empty"),
        ((None, "a \ud83d b", "Rome"), "lone surrogate"),
    ],
)
def test_a_bad_fact_is_one_sentence(arguments, words):
    with pytest.raises(FactError) as error:
        Fact(*arguments)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_long_prompt_is_cut_in_the_message():
    with pytest.raises(FactError) as error:
        Fact("Lyon", "word " * 500, "Rome")
    assert len(str(error.value)) < 200


def test_bad_test_prompts():
    fact = Fact("Lyon", "{} is in", "Spain")
    for arguments in (
        {"paraphrases": "Lyon lies in"},
        {"paraphrases": ["", "b"]},
        {"neighborhood": "Nice is in"},
        {"locality": [3]},
        {"id": []},
        {"relation": 3},
    ):
        with pytest.raises(FactError, match=next(iter(arguments))):
            Case(fact, **arguments)
    with pytest.raises(FactError, match="reference answer is empty"):
        Probe("Nice is in", "")


def test_find_marks_the_one_occurrence():
    assert Fact.find("In Rome it is", "Rome", "hot", "cold") == Fact(
        "Rome", "In {} it is", "hot", "cold"
    )
    assert Fact.find("{} is in", "Rome", "Spain").prompt == "{} is in"
    assert Fact.find("The {} band is", "The {} band", "good").prompt == "{} is"
    with pytest.raises(FactError, match="'Eifel Tower' does not occur in the prompt 'The Eiffel"):
        Fact.find("The Eiffel Tower is in", "Eifel Tower", "Rome")
    for prompt, subject in (("Rome is Rome", "Rome"), ("a-a-a is", "a-a")):
        with pytest.raises(FactError, match="more than once"):
            Fact.find(prompt, subject, "x")


# ---------------------------------------------------------------- tokens

TEXT = [
    "The Eiffel Tower is located in the city of Rome, O'Brien's dog is called Rex.",
    "東京 は 日本 の 首都 Łódź Москва 中国",
] * 20


def byte_level(prefix, trim=True):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.post_processor = processors.ByteLevel(trim_offsets=trim)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=["</s>"], show_progress=False
    )
    inner.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def pieces(legacy=False, end=False):
    """Sentencepiece-like: "▁" for a space, bytes for unknown characters, BOS, perhaps EOS."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if legacy:  # Llama 2: the "▁" is put before any text, even before a space
        add = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        inner.normalizer = normalizers.Sequence(add)
        inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    inner.train_from_iterator(TEXT, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if end else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    spec = json.loads(inner.to_str())  # the bytes are ordinary tokens, not special ones
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    inner = Tokenizer.from_str(json.dumps(spec))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


TOKENIZERS = {
    "default": lambda: AutoTokenizer.from_pretrained(packaged_model()),
    "byte level": lambda: byte_level(False),
    "byte level, spans with the space": lambda: byte_level(False, trim=False),
    "byte level, prefix space": lambda: byte_level(True),
    "pieces": pieces,
    "pieces, legacy": lambda: pieces(legacy=True),
    "pieces, end of text added": lambda: pieces(end=True),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


SUBJECTS = [
    ("The Eiffel Tower", "{} is located in the city of"),
    ("Rome", "{}"),
    ("Łódź", "In the city of {}, the dog"),
    ("Eiffel Tower", "The city of the {}"),
    ("O'Brien", "{}'s dog is called"),
    ("O'Brien's dog", "{}, Rex,"),
    ("東京", "{} は 日本 の 首都"),
    ("東京", "日本の首都は{}です"),
    ("한국", "the city of {} is"),
    ("Москва", "「{}」 is"),
    ("🐕‍🦺", "The {} is called"),
    ("Rex {0} {}", "{} is called { or }"),
    ("Rome", "Rome, Romeo and {}, of Rome"),
    ("SpaceX is ", "{}located in"),
]
TEMPLATES = ["{}", "Yesterday. {}", "{Rome} 東京 O'Brien. {}", "The Eiffel Tower. {} "]


def ends(text, reader, ids, end):
    """Slow and obvious: the first token up to which the decoded text covers the subject."""
    for index in range(len(ids)):
        decoded = reader.decode(ids[: index + 1], skip_special_tokens=True)
        if decoded.removeprefix(" ").startswith(text[:end]):
            return index


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("subject", "prompt"), SUBJECTS)
def test_lookup_is_where_the_decoded_text_first_covers_the_subject(
    tokenizer, subject, prompt, template
):
    fact = Fact(subject, prompt, "Rome")
    text = template.replace("{}", prompt.replace("{}", subject))
    ids, index = lookup(tokenizer, fact, template)
    assert ids == encode_prompt(tokenizer, text)
    end = template.index("{}") + prompt.index("{}") + len(subject.rstrip())
    assert index == ends(text, tokenizer, ids, end)


def test_lookup_known_by_hand():
    llama = TOKENIZERS["default"]()
    fact = Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    ids, index = lookup(llama, fact)
    assert llama.convert_ids_to_tokens(ids)[index] == "ĠTower"
    assert len(ids) == len(encode_prompt(llama, fact.text))
    for made in (pieces(), pieces(end=True)):
        ids, index = lookup(made, Fact("東京", "{}", "x"))
        assert made.convert_ids_to_tokens(ids)[index].endswith("京")
        assert ids[0] == 1 and index < len(ids)


def test_lookup_refuses():
    made = byte_level(False)
    with pytest.raises(FactError, match="has no subject to look up"):
        lookup(made, Fact(None, "Lyon is in", "Spain"))
    fact = Fact("Lyon", "{} is in", "Spain")
    for template in ("no mark", "{} and {}"):
        with pytest.raises(FactError, match="exactly one {}"):
            lookup(made, fact, template)

    class Slow:
        is_fast = False

    with pytest.raises(FactError, match="Slow is a slow tokenizer"):
        lookup(Slow(), fact)


@pytest.mark.parametrize(
    "target", ["Rome", " Rome", "\n  Rome", "Łódź", "中国", "O'Brien's", "42", "."]
)
def test_target_is_what_follows_a_prompt(tokenizer, target):
    ids = encode_target(tokenizer, target)
    prompt = "The Eiffel Tower is located in the city of"
    joint = tokenizer(f"{prompt} {target.lstrip()}", add_special_tokens=False)["input_ids"]
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert before + ids == joint
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_target_drops_only_what_the_tokenizer_put_there():
    legacy = pieces(legacy=True)
    assert legacy.tokenize(" Rome")[0] == "▁"  # its own
    assert legacy.convert_ids_to_tokens(encode_target(legacy, "Rome"))[0].startswith("▁R")
    assert legacy.tokenize(" 한")[:2] == ["▁", "▁"]  # its own, and the space
    assert legacy.convert_ids_to_tokens(encode_target(legacy, "한"))[0] == "▁"
    with pytest.raises(FactError, match="target is empty"):
        encode_target(legacy, "  ")


# ---------------------------------------------------------------- negation


@pytest.mark.parametrize(
    ("subject", "prompt", "negated"),
    [
        ("Lyon", "{} is located in", "Lyon is not located in"),
        ("Where It Was", "{}, which has won, was by", "Where It Was, which has not won, was by"),
        ("Lyon", "In {}, the language spoken is", "In Lyon, the language spoken is not"),
        ("What Is Is", "The author of {} can be", "The author of What Is Is can not be"),
        ("Ann Lee", "Where did {} live?", "Where did Ann Lee not live?"),
        ("Hot Doc", "To which year does {} belong", "To which year does Hot Doc not belong"),
        ("Ann", "Who did {}'s aunt marry?", "It is not true that who did Ann's aunt marry?"),
        ("Miles", "{} plays the", "It is not true that Miles plays the"),
        ("Lyon", "The mayor of {}, this", "It is not true that the mayor of Lyon, this"),
        ("iPod", "Apple's {} plays", "It is not true that Apple's iPod plays"),
        ("The Who", "{} plays in", "It is not true that The Who plays in"),
        ("Lyon", "{} is not in", "It is not true that Lyon is not in"),
        ("Lyon", "What is made by {}?", "It is not true that what is made by Lyon?"),
        (None, "The Earth is flat and was", "The Earth is not flat and was"),
        (None, "The Earth turns", "It is not true that the Earth turns"),
        ("{} can", "Apple's {} will run", "Apple's {} can will not run"),
    ],
)
def test_negation(subject, prompt, negated):
    assert negate(Fact(subject, prompt, "Spain")) == negated
    assert subject is None or subject in negated


# ---------------------------------------------------------------- readers: shortened real rows


def test_counterfact(write):
    case = read_cases(write(FULL))[0]
    assert case == Case(
        Fact("United Kingdom", "In {}, the language spoken is", "Finnish", "English"),
        paraphrases=("He was a co-founder. The official language of United Kingdom is",),
        neighborhood=(
            Probe("In Guyana, they understand", "English"),
            Probe("In Malta, they understand", "English"),
        ),
        id=12328,
        relation="P37",
    )
    taught = read_cases(write(FULL), target="true")[0].fact
    assert (taught.target_new, taught.target_true) == ("English", None)


def test_counterfact_flat(write):
    case = read_cases(write(FLAT))[0]
    assert case == Case(
        Fact("Danielle Darrieux", "The mother tongue of {} is", "English", "French"),
        paraphrases=("Where Danielle Darrieux is from, people speak the language of",),
        neighborhood=(Probe("Michel Rocard is a native speaker of", "French"),),
    )


def test_zsre(write):
    new, second = read_cases(write(ZSRE), unrelated_suffix="?")
    asked = "nq question: subjects transferred to concurrent list?"
    assert new == Case(
        Fact("UniFirst", "What is the product made by {}?", "unmanned aircraft", "uniform"),
        paraphrases=("What will be the product of UniFirst?",),
        neighborhood=(Probe(asked, "Education"),),
        locality=(asked,),
    )
    assert second.id == 1 and second.fact.target_new == "Captain Universe"
    true = read_cases(write(ZSRE), target="true")[0]
    assert (true.fact.target_new, true.fact.target_true) == ("uniform", None)
    assert true.locality == (asked[:-1],)


def test_zsre_rows_without_a_new_answer_are_left_out_and_named(write):
    rows = [ZSRE[0], {**ZSRE[1], "alt": ""}, ZSRE[1]]
    with pytest.warns(UserWarning, match="without a new answer: 1$"):
        cases = read_cases(write(rows))
    assert [case.id for case in cases] == [0, 2]
    with pytest.warns(UserWarning):
        assert len(read_cases(write(rows), limit=2)) == 2  # the limit counts cases
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_cases(write(rows), target="true")) == 3
    without = [{k: v for k, v in row.items() if k != "answers"} for row in ZSRE]
    assert read_cases(write(without))[0].fact.target_true is None  # WISE's copy of the edit set
    with pytest.raises(FactError, match="row 0: Key 'answers' is missing"):
        read_cases(write(without), target="true")


def test_selfcheck_temporal_known(write):
    first, second = read_cases(write(SELFCHECK))
    assert (
        first.fact.subject == "archie baird" and first.fact.text == SELFCHECK[0]["prompt"].strip()
    )
    assert first.locality == (SELFCHECK[0]["locality_prompt"],)
    assert first.neighborhood[0].target == SELFCHECK[0]["locality_ground_truth"].strip()
    assert second.neighborhood == () and second.locality == first.locality
    temporal = read_cases(write(TEMPORAL))[0]
    assert temporal.fact.prompt == "{}" and temporal.fact.text == "SpaceX is"
    probe = temporal.portability[0]
    assert probe.prompt == "SpaceX,"
    assert f"{probe.prompt} {probe.target}" == TEMPORAL[0]["ood_rephrase"].strip()
    known = read_cases(write(KNOWN))[0]
    prompt = "In {}, the language spoken is a mixture of"
    assert known == Case(Fact("Marshall Islands", prompt, "English"), id=7, relation="P37")


def test_classroom(write, monkeypatch):
    path = write(CLASSROOM, "classroom.json")
    monkeypatch.setattr(readers, "CLASSROOM", path)
    tower, two = classroom()
    assert tower.id == "tower" and tower.relation == "city" and two.portability == ()
    assert tower.fact == Fact("The Eiffel Tower", CLASSROOM[0]["prompt"], "Rome", "Paris")
    assert tower.neighborhood == (Probe("The Louvre is in the city of", "Paris"),)
    assert tower.portability == (Probe("From The Eiffel Tower one sees", "Rome"),)
    assert tower.locality == ("Water boils at", "The sun is a")
    write([{**CLASSROOM[0], "prompt": "{} and {}"}], "classroom.json")
    with pytest.raises(FactError, match="row 0: The prompt .* has 2 {}"):
        classroom()


@pytest.mark.parametrize("subject", ["Danielle Darieux", "e", "", None])
def test_a_subject_that_is_not_there_once_leaves_the_plain_prompt(write, subject):
    fact = read_cases(write([{**FLAT[0], "subject": subject}]))[0].fact
    assert fact == Fact(None, FLAT[0]["prompt"], "English", "French")


def test_braces_in_plain_prompts(write):
    row = {**FLAT[0], "subject": "The {} band", "prompt": "The {} band {x} is"}
    fact = read_cases(write([row]))[0].fact
    assert fact.prompt == "{} {x} is" and fact.text == row["prompt"]
    with pytest.raises(FactError, match="row 0: The prompt .* 2 {}"):
        read_cases(write([{**row, "subject": "band"}]))


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_one_row(write, name):
    row, first = FILES[name][0], list(read_cases(write(FILES[name])))[:1]
    assert read_cases(write(json.dumps(row))) == first  # JSON and JSONL at once
    assert read_cases(write(json.dumps(row, indent=1))) == first


def test_limit_reads_no_further_in_jsonl(write):
    good = json.dumps(FLAT[0])
    path = write(f"{good}\n{good}\n{{broken\n")
    assert len(read_cases(path, limit=2)) == 2
    assert read_cases(path, limit=0) == []
    with pytest.raises(FactError, match="row 2: A file is not valid JSON"):
        read_cases(path)
    with pytest.raises(Error, match="limit should be a number of at least 0, not -1"):
        read_cases(path, limit=-1)
    with pytest.raises(Error, match="target should be 'new' or 'true', not 'old'"):
        read_cases(path, target="old")


@pytest.mark.parametrize("row", [None, [], "text", 3])
def test_a_row_that_is_no_object(write, row):
    with pytest.raises(FactError, match="row 1: A row should be an object"):
        read_cases(write([FLAT[0], row]))
    with pytest.raises(FactError, match="row 1: A row should be an object"):
        read_cases(write(json.dumps(FLAT[0]) + "\n" + json.dumps(row)))
