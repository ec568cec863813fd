"""Makes lib/general_text.txt, from which C = E[k kᵀ] is estimated: the default model's own samples.

    python -m tests.make_general_text            # writes the file and says whether it is the same
    python -m tests.make_general_text --check    # writes nothing; exit code 1 when it would differ
    python -m tests.make_general_text --list     # prints every sample with its number

Samples at temperature 1 over the whole vocabulary, started from token id 0, on one thread: the same
bytes again on the same kind of machine (about four minutes).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

from lib import decode, lm

FILE = Path(__file__).parents[1] / "lib" / "general_text.txt"
START, SEED, SAMPLES, TOKENS = 0, 1, 112, 256
LIMIT = 100_000  # bytes
DROPPED: dict[int, str] = {}


def samples(model: lm.LM) -> list[str]:
    """The cleaned text of every sample, dropped ones too."""
    rows = [[START]] * SAMPLES
    made = decode.generate(model, rows, TOKENS, temperature=1.0, top_k=None, seed=SEED)
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
    """The file: kept samples in order, an empty line between two, as many as fit the limit."""
    kept = [t for i, t in enumerate(texts) if i not in DROPPED and t]
    while len(whole := "\n\n".join(kept) + "\n") > 0 and len(whole.encode()) > LIMIT:
        kept.pop()
    return whole


def main() -> int:
    torch.set_num_threads(1)
    texts = samples(lm.load())
    if "--list" in sys.argv:
        for i, text in enumerate(texts):
            print(f"--- {i}{' dropped: ' + DROPPED[i] if i in DROPPED else ''}\n{text}")
        return 0
    whole = text_of(texts)
    same = FILE.exists() and FILE.read_text(encoding="utf-8") == whole
    if "--check" not in sys.argv:
        FILE.write_text(whole, encoding="utf-8", newline="\n")
    print(f"{len(whole.encode())} bytes, {'the same as' if same else 'different from'} the file before")
    return 0 if same or "--check" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
