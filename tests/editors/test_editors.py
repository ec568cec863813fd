"""The conformance suite: every editor × tiny random models of five families, by its declarations.

A new editor is finished when adding its name to EDITORS (and, where its published settings make no
sense on a random 32-wide model, a row to TINY below) keeps this green. The usual suite runs one
family for each editor, `-m slow` another one, and with EVERY_CASE=1 all of them.
"""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
import torch

import lib
from lib.model import generation, read_once, scoring
from lib.patch.patch import LowRank

from ..support import tiny
from ..support.editor_settings import ELSEWHERE, TINY, A, B, model, settings
from ..support.usual import EVERY

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen3", "gemma3_text")  # the embedded model's first


# name -> (writes, needs_subject, trained, keeps, factual, inner): a relaxed promise shows in review
DECLARED = {
    "rome": ("weights", True, False, False, True, False),
    "wilke": ("weights", True, False, False, True, False),
    "memit": ("weights", True, False, False, True, False),
    "norm_anchor": ("weights", True, False, False, True, False),
    "emmet": ("weights", True, False, False, True, False),
    "alphaedit": ("weights", True, False, True, True, False),
    "pmet": ("weights", True, False, False, True, False),
    "rect": ("weights", True, False, False, True, True),
    "prune": ("weights", True, False, False, True, True),
    "ultraedit": ("weights", False, False, False, True, False),
    "mend": ("weights", False, True, False, True, False),
    "malmen": ("weights", False, True, False, True, False),
    "rledit": ("weights", False, True, False, True, False),
    "ft": ("weights", False, False, False, True, False),
    "ft_m": ("weights", False, False, False, True, False),
    "ft_l": ("weights", False, False, False, True, False),
    "crispedit": ("weights", False, False, False, True, False),
    "lora": ("weights", False, False, False, True, False),
    "sdf": ("weights", False, False, False, True, False),
    "retrieval": ("prompt", False, False, True, True, False),
    "grace": ("routes", False, False, True, True, False),
    "horen": ("routes", False, False, True, True, False),
    "wise": ("routes", False, False, False, True, False),
    "memoir": ("routes", False, False, False, True, False),
    "steer": ("routes", False, False, False, False, False),
    "lemoe": ("routes", False, False, True, True, False),
}


def test_every_editor_declares_what_it_promises():
    found = {
        name: (e.writes, e.needs_subject, e.trained, e.keeps, e.factual, e.inner)
        for name, e in lib.EDITORS.items()
    }
    assert found == DECLARED
    for name, editor in lib.EDITORS.items():
        assert editor.name == name and editor.paper and editor.__doc__.strip()


def test_an_unknown_editor_is_a_sentence_that_lists_the_known():
    with pytest.raises(
        lib.errors.EditError, match="no editor 'roem'. Available editors: alphaedit, .*rome"
    ):
        lib.EDITORS["roem"]
    assert "roem" not in lib.EDITORS and lib.EDITORS.get("roem") is None


@cache
def edited(name: str, family: str) -> tuple[lib.LM, lib.Editor, lib.Patch]:
    """One edit per (editor, family), shared by the tests below; it must leave the model alone."""
    lm = model(family)
    editor = lib.EDITORS[name](lm, **settings(name, family))
    before = state_of(lm)
    patch = editor.edit([A])
    assert state_of(lm) == before
    return lm, editor, patch


@cache
def further(name: str, family: str) -> lib.Patch:
    """A second edit, after the first; it must leave the model alone as well."""
    lm, editor, patch = edited(name, family)
    before = state_of(lm)
    both = editor.edit([B], after=patch)
    assert state_of(lm) == before
    return both


def pairs(promise=lambda editor: True, usual=True):
    """All editors that promise it × families; what only a real model can show is elsewhere.

    Each editor has one of the families by turns: in the usual suite, or else in the slow suite.
    """
    found = []
    for place, name in enumerate(sorted(lib.EDITORS)):
        if promise(lib.EDITORS[name]):
            turn = FAMILIES[(place + (not usual)) % len(FAMILIES)]
            found += [
                pytest.param(name, one, marks=() if usual and one == turn else pytest.mark.slow)
                for one in (FAMILIES if EVERY else [turn])
            ]
    return pytest.mark.parametrize(("name", "family"), found)


def state_of(lm: lib.LM) -> tuple:
    """Bytes, pointers and hooks of the whole model."""
    parameters = [
        (
            n,
            p.data_ptr(),
            hashlib.sha256(p.detach().view(torch.uint8).numpy().tobytes()).hexdigest(),
        )
        for n, p in lm.model.named_parameters()
    ]
    hooks = [
        (n, len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in lm.model.named_modules()
    ]
    grads = [p.grad is None and not p.requires_grad for p in lm.model.parameters()]
    return parameters, hooks, all(grads)


def logits(lm: lib.LM, *texts: str) -> list[torch.Tensor]:
    return [lm.run([text]).logits[0, -1] for text in texts]


def same_patch(p: lib.Patch, q: lib.Patch) -> bool:
    assert p.weights.keys() == q.weights.keys() and p.routes.keys() == q.routes.keys()
    for module, value in p.weights.items():
        other = q.weights[module]
        mine = value.dense() if isinstance(value, LowRank) else value
        theirs = other.dense() if isinstance(other, LowRank) else other
        assert torch.equal(mine, theirs)
    for module, route in p.routes.items():
        mine, theirs = route.tensors(), q.routes[module].tensors()
        assert mine.keys() == theirs.keys() and route.header() == q.routes[module].header()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert [r.header() for r in p.rewrites] == [r.header() for r in q.rewrites]
    assert p.log == q.log and p.base == q.base
    return True


@pairs()
def test_edit_leaves_the_model_untouched_and_patched_undoes_exactly(name, family):
    lm, _, patch = edited(name, family)
    before = state_of(lm)
    plain = logits(lm, A.text, *ELSEWHERE)
    for _ in range(2):  # entered again
        with lm.patched(patch):
            inside = logits(lm, A.text)
            assert not torch.equal(inside[0], plain[0])
            with lm.patched(lib.EMPTY), lm.patched(patch):  # nested
                assert torch.equal(logits(lm, A.text)[0], inside[0])
        assert state_of(lm) == before
        assert all(
            torch.equal(a, b) for a, b in zip(logits(lm, A.text, *ELSEWHERE), plain, strict=True)
        )
    with pytest.raises(KeyError), lm.patched(patch):
        raise KeyError
    assert state_of(lm) == before


@pairs(usual=False)
def test_an_edit_after_another_leaves_the_model_untouched(name, family):
    patch, both = edited(name, family)[2], further(name, family)
    assert both.facts == (A, B) and patch.facts == (A,)


@pairs()
def test_same_seed_same_patch_and_editing_inside_another_patch_sees_only_after(name, family):
    lm, _, patch = edited(name, family)
    again = lib.EDITORS[name](lm, **settings(name, family))
    with lm.patched(patch):  # an edit that saw it would come out otherwise
        assert same_patch(again.edit([A]), patch)


@pairs(usual=False)
def test_cached_uncached_padded_and_batched_runs_agree(name, family):
    lm, _, patch = edited(name, family)
    texts = [A.text, *ELSEWHERE]
    with lm.patched(patch):
        rows, _ = lm.rows(texts)
        cached = generation.generate(lm, rows, 6).ids
        assert cached == generation.generate(lm, rows, 6, cache=False).ids
        assert cached == [generation.generate(lm, [row], 6).ids[0] for row in rows]
        together = lm.run(texts).logits[:, -1]  # padded on the left
        for i, row in enumerate(rows):
            alone = lm.run([row]).logits[0, -1]
            torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=1e-4)
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)  # padded on the right
        real = torch.zeros_like(ids, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], real[i, : len(row)] = torch.tensor(row), True
        last = torch.tensor([len(row) - 1 for row in rows])
        with lm.opened(lib.model.sequences.Sequences(ids, real, real, last)):
            hidden = lm.backbone(ids, real, use_cache=False).last_hidden_state
        for i in range(len(rows)):
            torch.testing.assert_close(
                lm.head(hidden[i, last[i]]), together[i], atol=1e-4, rtol=1e-4
            )


@pairs(usual=False)
def test_prompts_read_once_and_drafts_change_no_token_and_no_score(name, family):
    lm, _, patch = edited(name, family)
    texts = [A.text, B.text, *ELSEWHERE, "I saw a cat"]
    base = generation.generate(lm, lm.rows(texts)[0], 12).ids
    with lm.patched(patch):
        rows, _ = lm.rows(texts)
        said = generation.generate(lm, rows, 12).ids
        targets = [tuple(lm.rows(["xy"])[0][0]), (5, 6, 7), (5, 6, 9, 9), (8,)]
        scores = [scoring.score(lm, [row] * len(targets), targets) for row in rows]
        table = scoring.next_token(lm, rows)
        drafts = {
            "none": [[]] * len(rows),
            "base": base,
            "right": said,
            "wrong from the third token on": [[*ids[:2], 9, 9, 9, 9] for ids in said],
            "right, then too long": [[*ids, 7, 7, 7] for ids in said],
        }
        for title, given in drafts.items():
            wanted = [*targets, tuple(said[0])] if title == "base" and said[0] else targets
            asked = [
                read_once.Question(row, wanted, True, 12, draft)
                for row, draft in zip(rows, given, strict=True)
            ]
            replies = read_once.ask(lm, asked)
            assert [reply.ids for reply in replies] == said, title
            for reply, expected, row in zip(replies, scores, table, strict=True):
                torch.testing.assert_close(
                    lm.head(reply.state).log_softmax(-1), row, atol=1e-4, rtol=1e-4
                )
                for target, score in zip(targets, expected, strict=True):
                    found = reply.scores[target]
                    torch.testing.assert_close(
                        found.log_probs, score.log_probs, atol=1e-4, rtol=1e-4
                    )
                    assert found.hits.tolist() == score.hits.tolist()


@pairs()
def test_a_saved_patch_goes_on_identically(name, family, tmp_path):
    lm, editor, patch = edited(name, family)
    again = lib.Patch.load(patch.save(tmp_path / "patch.safetensors"))
    assert same_patch(again, patch)
    with lm.patched(patch):
        wanted = logits(lm, A.text)
    with lm.patched(again):
        assert torch.equal(logits(lm, A.text)[0], wanted[0])
    assert same_patch(editor.edit([B], after=again), further(name, family))


@pairs(usual=False)
def test_bf16_models_keep_float32_masters(name, family):
    lm = tiny.model(family, dtype=torch.bfloat16)
    patch = lib.EDITORS[name](lm, **settings(name, family)).edit([A])
    for value in patch.weights.values():
        parts = [value] if isinstance(value, torch.Tensor) else [t for c in value.chunks for t in c]
        assert all(part.dtype == torch.float32 for part in parts)
    plain = logits(lm, A.text)[0]
    with lm.patched(patch):
        assert not torch.equal(logits(lm, A.text)[0], plain)
        assert all(p.dtype == torch.bfloat16 for p in lm.model.parameters())
    assert torch.equal(logits(lm, A.text)[0], plain)


@pairs()
def test_errors_change_nothing(name, family):
    lm, editor, patch = edited(name, family)
    before = state_of(lm)
    with pytest.raises(lib.errors.EditError, match="no fact"):
        editor.edit([], after=patch)
    if editor.needs_subject:
        with pytest.raises(lib.errors.EditError, match="row 1 has no subject"):
            editor.edit([A, lib.Fact(None, "plain text", "xy")])
    for setting, wrong in (("layer", 99), ("layers", (1, 99))):
        if setting in TINY.get(name, {}) and not (setting == "layer" and "layers" in TINY[name]):
            with pytest.raises(ValueError, match="layer 99 does not exist"):
                lib.EDITORS[name](lm, **{**TINY[name], setting: wrong}).edit([A])
    if editor.writes == "weights":
        with pytest.raises(ValueError, match="exceeds the context of 256|the context has 256"):
            editor.edit([lib.Fact("tower", "x" * 300 + "{}", "xy")])
    assert state_of(lm) == before
    with pytest.raises(lib.errors.EditError, match="has no setting 'laier'"):
        lib.EDITORS[name](lm, laier=3)


@pairs(lambda e: e.writes != "prompt" and e.factual)  # no random model copies: test_retrieval
def test_the_fact_is_written(name, family):
    lm, editor, patch = edited(name, family)
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " " + A.target_new
    assert [edit.editor for edit in patch.log] == [name] and patch.facts == (A,)
    assert patch.base == lm.identity


@pairs(lambda e: e.keeps and e.writes != "prompt")
def test_what_keeps_holds_both_facts_about_one_subject(name, family):
    lm, _, patch = edited(name, family)
    both = further(name, family)
    assert both.facts == (A, B) and patch.facts == (A,)
    with lm.patched(both):
        assert lm.answer([A.text, B.text], 1) == [" " + A.target_new, " " + B.target_new]


@pairs(lambda e: e.factual and e.writes != "weights")
def test_what_is_beside_the_weights_is_bit_equal_elsewhere(name, family):
    lm, editor, patch = edited(name, family)
    plain = logits(lm, *ELSEWHERE)
    with lm.patched(patch):
        assert all(torch.equal(a, b) for a, b in zip(logits(lm, *ELSEWHERE), plain, strict=True))
