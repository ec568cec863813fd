"""Order planning: neighbors together, the same plan every time, every fact exactly once."""

from __future__ import annotations

import pytest
import torch

from lib.editors.lemoe import clusters
from lib.editors.lemoe.clusters import cluster_facts


def test_points_on_a_line():
    line = torch.tensor([[0.0], [10.0], [0.1], [10.1]])
    assert cluster_facts(line, 2) == [[0, 2], [1, 3]] == cluster_facts(line, 2)
    assert cluster_facts(line, 2, "given") == [[0, 1], [2, 3]]
    assert cluster_facts(line, 4) == [[0, 1, 2, 3]]
    assert cluster_facts(torch.zeros(4, 2), 2) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("order", ["cluster", "given"])
@pytest.mark.parametrize(("n", "size"), [(1, 4), (7, 3), (20, 5), (23, 1)])
def test_every_fact_once_and_no_batch_too_large(order, n, size):
    points = torch.randn(n, 6, generator=torch.Generator().manual_seed(n))
    batches = cluster_facts(points, size, order)
    assert sorted(i for batch in batches for i in batch) == list(range(n))
    assert max(map(len, batches)) <= size and all(batches)
    assert cluster_facts(points, size, order) == batches


def test_clusters_are_found_whatever_the_order_of_facts():
    draw = torch.Generator().manual_seed(0)
    centers = 20 * torch.randn(4, 8, generator=draw)
    owner = torch.arange(20) % 4
    points = centers[owner] + torch.randn(20, 8, generator=draw)
    for batch in cluster_facts(points, 5):
        assert len(batch) == 5 and len({int(owner[i]) for i in batch}) == 1
    first = [batch[0] for batch in cluster_facts(points, 5)]
    assert first == [0, 1, 2, 3]  # by their smallest number


def test_distances_in_parts_are_bit_equal_and_need_no_more_room_than_a_part(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    e, largest = torch.randn(40, 24, generator=draw).double(), []
    centers, norm = e[::5], torch.Tensor.norm
    whole = clusters.assign(e, centers, 6)

    def watched(self, *args, **named):
        largest.append(self.numel())
        found = norm(self, *args, **named)
        distances.append(found)
        return found

    distances: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "norm", watched)
    for numbers in (1, 3 * centers.numel(), 40 * centers.numel()):
        distances.clear()
        largest.clear()
        monkeypatch.setattr(clusters, "NUMBERS", numbers)
        assert torch.equal(clusters.assign(e, centers, 6), whole)
        assert max(largest) <= max(numbers, centers.numel())
        assert torch.equal(torch.cat(distances), norm(e[:, None] - centers[None], dim=2))
