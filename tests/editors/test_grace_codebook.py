"""GRACE's codebook without a model: its rules by hand, ties, many keys, and what a file holds."""

from __future__ import annotations

import pytest
import torch

from lib.editors.grace.codebook import Codebook, lookup

A, B = (1, 2), (3,)


def line(*steps, strict: bool, eps_init: float = 1.0, **more) -> tuple[Codebook, list[str]]:
    """A codebook of keys on a line, written one fact after another; value = number of the fact."""
    book, kinds = Codebook.empty(1, 1), []
    for number, (query, label) in enumerate(steps):
        (event,) = book.write(
            torch.tensor([[query]]), [label], torch.tensor([[float(number)]]), [number],
            eps_init=eps_init, strict=strict, **more,
        )  # fmt: skip
        kinds.append(event.kind)
    return book, kinds


def answers(book: Codebook, *queries: float) -> list:
    entries = book.lookup(torch.tensor(queries)[:, None]).entry.tolist()
    return [book.labels[entry] if entry >= 0 else None for entry in entries]


BY_HAND = [(0.0, A), (0.8, A), (1.5, A), (2.0, B), (5.0, B), (4.5, A)]


@pytest.mark.parametrize("strict", [False, True])
def test_the_table_by_hand(strict):
    wanted = [
        ("add", [0.0], [1.0]),
        ("cover", [0.0], [1.0]),
        ("expand", [0.0], [1.5]),
        ("split", [0.0, 2.0], [0.99999, 1.0]),
        ("add", [0.0, 2.0, 5.0], [0.99999, 1.0, 1.0]),
        ("split", [0.0, 2.0, 5.0, 4.5], [0.99999, 1.0, 0.24999, 0.25]),
    ]
    for n, (kind, keys, eps) in enumerate(wanted, start=1):
        book, kinds = line(*BY_HAND[:n], strict=strict)
        assert kinds[-1] == kind
        assert book.K[0].tolist() == pytest.approx(keys)
        assert book.eps.tolist() == pytest.approx(eps, abs=3e-6)
    assert answers(book, 0.99, 1.01, -1.2, 4.6) == [A, B, None, A]
    assert answers(book, 1.5) == [B]  # written as A: a split forgets
    assert book.fact_of == [(0, 1, 2), (3,), (4,), (5,)]
    assert len(book) <= len(BY_HAND)
    assert book.V[0].tolist() == [0.0, 3.0, 4.0, 5.0]  # an untouched value stays, a new one is new


def test_a_list_is_written_like_its_facts_one_by_one():
    one, kinds = line(*BY_HAND, strict=True)
    book = Codebook.empty(1, 1)
    queries, labels = zip(*BY_HAND, strict=True)
    values = torch.arange(6.0)[:, None]
    events = book.write(torch.tensor(queries)[:, None], labels, values, range(6), eps_init=1.0)
    assert [event.kind for event in events] == kinds and book.labels == one.labels
    for name in ("K", "V", "eps"):
        assert torch.equal(getattr(book, name), getattr(one, name))


def test_strict_never_enlarges_a_ball_by_a_split():
    for strict, wanted in ((False, [0.54999, 0.55]), (True, [0.2, 0.55])):
        book, _ = line((0.0, A), strict=strict, eps_init=0.2)
        (event,) = book.write(
            torch.tensor([[1.1]]), [B], torch.zeros(1, 1), [1], eps_init=1.0, strict=strict
        )
        assert event.kind == "split" and event.nearest == 0
        assert book.eps.tolist() == pytest.approx(wanted)


def test_the_same_prompt_with_another_answer():
    old, kinds = line((1.0, A), (1.0, B), strict=False)  # published: the newer wins by luck
    assert kinds == ["add", "split"] and old.eps.tolist() == pytest.approx([-1e-5, 0.0])
    book, kinds = line((1.0, A), (1.0 + 5e-7, B), strict=True)
    assert kinds == ["add", "replace"] and len(book) == 1
    assert answers(book, 1.0) == [B] and book.fact_of == [(1,)] and book.V.tolist() == [[1.0]]
    # rounding of half precision: what lies under four times the noise is the same prompt
    book, kinds = line((1.0, A), (1.01, B), strict=True, noise=0.003)
    assert kinds == ["add", "replace"]
    assert line((1.0, A), (1.01, B), strict=True, noise=0.002)[1] == ["add", "split"]


def test_a_strict_ball_reaches_beyond_the_query_by_its_rounding():
    edge = torch.tensor([[1.5 + 1e-6]])
    assert line((0.0, A), (1.5, A), strict=False)[0].lookup(edge).entry.tolist() == [-1]
    assert line((0.0, A), (1.5, A), strict=True)[0].lookup(edge).entry.tolist() == [0]


def test_moving_average_moves_the_key_halfway():
    book, kinds = line((0.0, A), (1.5, A), (0.8, A), strict=False, expand="moving_average")
    assert kinds[1] == "expand" and book.K.tolist() == [[0.75]] and book.eps.tolist() == [1.5]
    assert kinds[2] == "cover"  # 0.05 from where the key is now


def test_writing_changes_no_tensor_that_the_codebook_was_made_with():
    book, _ = line(*BY_HAND[:3], strict=True)
    kept = [part.clone() for part in (book.K, book.V, book.eps)]
    again = Codebook.of(book.K, book.V, book.eps, book.state())
    again.write(torch.tensor([[2.0]]), [B], torch.zeros(1, 1), [3], eps_init=1.0)
    assert len(again) == 2 and len(book) == 1
    assert all(map(torch.equal, (book.K, book.V, book.eps), kept))


def test_state_holds_labels_and_facts():
    book, _ = line(*BY_HAND, strict=True)
    again = Codebook.of(book.K, book.V, book.eps, book.state())
    assert again.labels == book.labels and again.fact_of == book.fact_of


def test_the_nearest_key_decides_before_its_own_radius():
    K, eps = torch.tensor([[0.0, 3.0]]), torch.tensor([10.0, 0.5])
    found = lookup(K, eps, torch.tensor([[2.0], [1.0], [3.2]]))
    assert found.entry.tolist() == [-1, 0, 1]  # 2.0 lies in the large ball, but nearer to 3.0
    assert found.distance.tolist() == pytest.approx([1.0, 1.0, 0.2])


def test_ties_go_to_the_smallest_index():
    K = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    assert lookup(K, torch.full((4,), 2.0), torch.tensor([[0.0], [-1.0]])).entry.tolist() == [0, 1]


def test_near_keys_far_from_the_origin_are_told_apart():
    # ‖k‖² is 2.5e5 here: the product alone is off by more than the squared distance
    K = torch.full((4, 3), 250.0) + torch.tensor([0.0, 0.01, 0.02])
    assert lookup(K, torch.ones(3), K.T).nearest.tolist() == [0, 1, 2]
    assert lookup(K, torch.ones(3), K.T).distance.max() == 0
    assert lookup(K, torch.ones(3), K.T.double()).nearest.tolist() == [0, 1, 2]


def test_among_many_keys_the_product_finds_the_nearest():
    draw = torch.Generator().manual_seed(0)
    K = torch.randn(64, 1000, generator=draw)
    queries = torch.cat([K.T[:20] + 1e-4, torch.randn(20, 64, generator=draw)])
    found = lookup(K, torch.full((1000,), 0.5), queries)
    assert found.entry.tolist() == [*range(20), *[-1] * 20]
    distance, nearest = (K[None] - queries[..., None]).norm(dim=1).min(1)
    assert torch.equal(found.nearest, nearest)
    torch.testing.assert_close(found.distance, distance, rtol=1e-4, atol=0.0)


def test_radii_under_the_noise_of_a_key_are_reported():
    book, _ = line((0.0, A), (0.001, B), (5.0, A), strict=True)
    assert book.lost(1e-3) == [0, 1] and book.lost(1e-5) == []
