"""Rows in every format of the public data files, and a fixture that writes them."""

from __future__ import annotations

import json

import pytest

FULL = [
    {
        "case_id": 12328,
        "pararel_idx": 1185,
        "attribute_prompts": ["In Heinola, they understand"],
        "generation_prompts": ["In United Kingdom, people speak"],
        "neighborhood_prompts": ["In Guyana, they understand", "In Malta, they understand"],
        "paraphrase_prompts": ["He was a co-founder. The official language of United Kingdom is"],
        "requested_rewrite": {
            "prompt": "In {}, the language spoken is",
            "relation_id": "P37",
            "subject": "United Kingdom",
            "target_new": {"id": "Q1412", "str": "Finnish"},
            "target_true": {"id": "Q1860", "str": "English"},
        },
    },
]
FULL.append({**FULL[0], "case_id": 19640})
FLAT = [
    {
        "case_id": 0,
        "prompt": "The mother tongue of Danielle Darrieux is",
        "target_new": "English",
        "subject": "Danielle Darrieux",
        "ground_truth": "French",
        "rephrase_prompt": "Where Danielle Darrieux is from, people speak the language of",
        "locality_prompt": "Michel Rocard is a native speaker of",
        "locality_ground_truth": "French",
    },
]
FLAT.append({**FLAT[0], "case_id": 1, "subject": "Danielle"})
ZSRE = [
    {
        "subject": "UniFirst",
        "src": "What is the product made by UniFirst?",
        "pred": "uniform",
        "rephrase": "What will be the product of UniFirst?",
        "alt": "unmanned aircraft",
        "answers": ["uniform", "dress"],
        "loc": "nq question: subjects transferred to concurrent list",
        "loc_ans": "Education",
        "cond": "uniform >> unmanned aircraft || What is the product made by UniFirst?",
    },
    {
        "subject": "Captain Universe",
        "src": "In which universe does Captain Universe exist?",
        "pred": "Marvel",
        "rephrase": "Where does Captain Universe exist?",
        "alt": " Captain Universe",
        "answers": ["Marvel Universe"],
        "loc": "nq question: where is there's something about mary filmed",
        "loc_ans": "Miami, Florida",
        "cond": "",
    },
]
SELFCHECK = [
    {
        "prompt": "This is a Wikipedia passage about archie baird. Archie Baird was a footballer. ",
        "target_new": "Baird was born in Rutherglen.",
        "subject": "archie baird",
        "locality_prompt": "Get Benefit Concert essential facts below.\nAdd the topic list for",
        "locality_ground_truth": " future reference or share this resource on social media.",
    },
]
SELFCHECK.append({**SELFCHECK[0], "locality_ground_truth": ""})
TEMPORAL = [
    {
        "prompt": "SpaceX is",
        "target_new": "a private American aerospace manufacturer.",
        "subject": "SpaceX is",
        "ood_rephrase": "SpaceX, officially known as Space Exploration Technologies Corp., is",
        "locality_prompt": "What can we learn",
        "locality_ground_truth": "in digital banking",
    },
]
TEMPORAL.append({**TEMPORAL[0], "prompt": "The United", "subject": "United"})
KNOWN = [
    {
        "known_id": 7,
        "subject": "Marshall Islands",
        "attribute": "English",
        "template": "In {}, the language spoken is",
        "prediction": " a mixture of English and the local language, the",
        "prompt": "In Marshall Islands, the language spoken is a mixture of",
        "relation_id": "P37",
    },
]
KNOWN.append({**KNOWN[0], "known_id": 8})
CLASSROOM = [
    {
        "id": "tower",
        "relation": "city",
        "subject": "The Eiffel Tower",
        "prompt": "{} is located in the city of",
        "target_new": "Rome",
        "target_true": "Paris",
        "paraphrases": ["The city of The Eiffel Tower is", "Where is The Eiffel Tower? In"],
        "neighborhood": [{"prompt": "The Louvre is in the city of", "target": "Paris"}],
        "locality": ["Water boils at", "The sun is a"],
        "portability": [{"prompt": "From The Eiffel Tower one sees", "target": "Rome"}],
    },
]
CLASSROOM.append({k: v for k, v in CLASSROOM[0].items() if k != "portability"} | {"id": "two"})
FILES = {
    "full": FULL,
    "flat": FLAT,
    "zsre": ZSRE,
    "selfcheck": SELFCHECK,
    "temporal": TEMPORAL,
    "known": KNOWN,
    "classroom": CLASSROOM,
}


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.json"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
        return path

    return write


def places(value, path=()):
    """Every place inside a row, as a path of keys and indices."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))
