"""Families of functions, their best fits, and the regions picture."""

import pytest
import torch
from matplotlib.path import Path

from resnet_helpers import function_classes as fc


@pytest.mark.parametrize("k", range(1, 13))
def test_families_have_k_pieces(k):
    for nested in (False, True):
        edges = fc.piece_edges(k, nested)
        assert len(edges) == k + 1 and edges[0] == 0 and edges[-1] == 1 and (edges.diff() > 0).all()


@pytest.mark.parametrize("k", range(1, 12))
def test_nested_family_keeps_every_edge(k):
    assert set(fc.piece_edges(k, True).tolist()) < set(fc.piece_edges(k + 1, True).tolist())


def test_equal_pieces_are_not_nested():
    assert not set(fc.piece_edges(2, False).tolist()) <= set(fc.piece_edges(3, False).tolist())


def test_complexity_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        fc.piece_edges(0, True)


def test_best_fit_is_the_mean_of_each_piece():
    x = torch.rand(200, dtype=torch.float64)
    y = torch.randn(200, dtype=torch.float64)
    edges = fc.piece_edges(3, False).double()
    means = [y[(x >= low) & (x < high)].mean() for low, high in zip(edges, edges[1:], strict=False)]
    torch.testing.assert_close(fc.best_fit(x, y, edges), torch.stack(means))


def test_piece_without_data_gets_height_zero():
    x = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert fc.best_fit(x, x, fc.piece_edges(2, False).double())[1].item() == pytest.approx(0)


def test_right_end_belongs_to_the_last_piece():
    assert fc.indicators(torch.tensor([0.0, 1.0]), fc.piece_edges(4, False)).argmax(dim=1).tolist() == [0, 3]


def test_distance_of_the_ramp_is_known():
    # best constant for f(x) = x is 1/2, at root mean square distance 1 / sqrt(12); k equal pieces divide it by k
    for k, d in enumerate(fc.best_distances(fc.TARGETS["ramp"], 5, nested=False), start=1):
        assert d == pytest.approx(12 ** -0.5 / k, rel=1e-3)


@pytest.mark.parametrize("name", fc.TARGETS)
def test_nested_classes_never_move_away(name):
    d = fc.best_distances(fc.TARGETS[name], 16, nested=True)
    assert all(after <= before + 1e-12 for before, after in zip(d, d[1:], strict=False))


def test_classes_that_are_not_nested_can_move_away():
    d = fc.best_distances(fc.TARGETS["jump"], 6, nested=False)
    assert d[2] > 2 * d[1] and d[4] > 2 * d[3]


def area(outline):
    x, y = outline.T
    return 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().abs().item()


def test_regions_grow_alike_in_both_pictures():
    areas = {nested: [area(outline) for outline in fc.region_outlines(nested)] for nested in (False, True)}
    assert areas[False] == pytest.approx(areas[True], rel=0.02)
    assert areas[True] == sorted(areas[True])


def test_nested_regions_contain_each_other_and_the_others_do_not():
    contained = {nested: [Path(outer).contains_points(inner).all()
                          for inner, outer in zip(outlines, outlines[1:], strict=False)]
                 for nested in (False, True) if (outlines := fc.region_outlines(nested))}
    assert all(contained[True]) and not any(contained[False])


def test_third_region_is_nearest_when_not_nested_and_last_when_nested():
    distances = {nested: [fc.distance_to_region(fc.REGION_TARGET, outline)[0]
                          for outline in fc.region_outlines(nested)] for nested in (False, True)}
    assert min(distances[False]) == distances[False][2] > 0
    assert distances[True] == sorted(distances[True], reverse=True)


def test_distance_is_zero_inside_a_region():
    assert fc.distance_to_region(torch.zeros(2), fc.region_outlines(True)[0])[0] == 0
