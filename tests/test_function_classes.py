"""Families of functions, their best fits, and the regions picture."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
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
    pieces = fc.indicators(torch.tensor([0.0, 1.0]), fc.piece_edges(4, False))
    assert pieces.argmax(dim=1).tolist() == [0, 3]


def test_distance_of_the_ramp_is_known():
    # The best constant for f(x) = x is 1/2, at root mean square distance 1 / sqrt(12); k equal
    # pieces divide it by k.
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
    areas = {nested: [area(outline) for outline in fc.region_outlines(nested)]
             for nested in (False, True)}
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


# --- fit_class ---

FITS = {"complexity": st.integers(1, 6), "nested": st.booleans(),
        "target": st.sampled_from(sorted(fc.TARGETS)),
        "noise": st.floats(0, 2), "num_points": st.integers(1, 200)}


def exact_edges(k, nested):
    """Ends of the pieces: k equal ones, or the leftmost of the widest halved again and again."""
    edges = [Fraction(i, k) for i in range(k + 1)] if not nested else [Fraction(0), Fraction(1)]
    while len(edges) < k + 1:
        i = max(range(len(edges) - 1), key=lambda i: (edges[i + 1] - edges[i], -i))
        edges.insert(i + 1, (edges[i] + edges[i + 1]) / 2)
    return np.array(edges, dtype=np.float64)


def step_matrix(x, edges):
    """Entry (i, j) is 1 if x[i] lies in piece j."""
    return ((x[:, None] >= edges[:-1]) & (x[:, None] < edges[1:])).astype(np.float64)


def root_mean_square(values):
    return np.sqrt(np.mean(np.square(values)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(**FITS)
@example(complexity=6, nested=True, target="jump", noise=0.0, num_points=2)  # pieces without data
def test_fit_is_the_least_squares_solution_on_its_data(
        complexity, nested, target, noise, num_points):
    fit = fc.fit_class(complexity, nested, target, noise, num_points)
    x, y, edges = fit.x.numpy(), fit.y.numpy(), exact_edges(complexity, nested)
    A = step_matrix(x, edges)
    heights = np.linalg.lstsq(A, y, rcond=None)[0]
    assert x.shape == y.shape == (num_points,)
    assert (0 <= x).all() and (x < 1).all() and (np.diff(x) > 0).all()
    np.testing.assert_allclose(fit.edges, edges, atol=1e-7)
    np.testing.assert_allclose(fit.heights, heights, atol=1e-9)
    assert fit.loss == pytest.approx(np.mean((A @ heights - y) ** 2), abs=1e-12)
    fitted = step_matrix(fit.grid.numpy(), edges) @ heights
    assert fit.distance == pytest.approx(root_mean_square(fitted - fit.f_star.numpy()), abs=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**FITS)
def test_no_function_of_the_class_is_nearer_than_its_best(
        complexity, nested, target, noise, num_points):
    fit = fc.fit_class(complexity, nested, target, noise, num_points)
    assert fit.distance >= fit.class_distances[nested][complexity - 1] - 2e-3  # the grids differ


@pytest.mark.parametrize("target", fc.TARGETS)
@pytest.mark.parametrize("nested", [False, True])
def test_class_distances_are_those_of_the_best_functions(target, nested):
    distances = fc.fit_class(2, nested, target).class_distances[nested]
    x = (np.arange(30_000) + 0.5) / 30_000
    y = fc.TARGETS[target](torch.from_numpy(x)).numpy()
    for k, distance in enumerate(distances, start=1):
        A = step_matrix(x, exact_edges(k, nested))
        residuals = A @ np.linalg.lstsq(A, y, rcond=None)[0] - y
        assert distance == pytest.approx(root_mean_square(residuals), abs=2e-4)
    assert len(distances) == 6
    if nested:
        assert all(after <= before + 1e-12
                   for before, after in zip(distances, distances[1:], strict=False))


def test_many_points_without_noise_lead_to_the_best_function_of_the_class():
    fit = fc.fit_class(4, True, "wave", num_points=20_000)
    assert fit.distance == pytest.approx(fit.class_distances[True][3], rel=0.01)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(fc.TARGETS)), st.floats(0.01, 2), st.integers(1, 200))
def test_noise_only_scales_and_places_stay(target, noise, num_points):
    before = torch.get_rng_state()
    clean, noisy = (fc.fit_class(1, False, target, size, num_points) for size in (0, noise))
    unit = fc.fit_class(3, True, target, 1, num_points)
    assert torch.equal(clean.x, noisy.x) and torch.equal(clean.x, unit.x)
    torch.testing.assert_close(noisy.y - clean.y, noise * (unit.y - clean.y))
    torch.testing.assert_close(clean.y, fc.TARGETS[target](clean.x))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_has_the_standard_deviation_that_was_asked_for():
    fit = fc.fit_class(1, False, "ramp", noise=0.3, num_points=20_000)
    assert (fit.y - fit.x).std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"complexity": 0}, "complexity must be .* got 0"), ({"complexity": 7}, "from 1 to 6, got 7"),
    ({"complexity": 2.5}, "complexity must be .* got 2.5"),
    ({"complexity": "3"}, "complexity must be .* got '3'"),
    ({"complexity": 2.0}, "complexity"), ({"complexity": True}, "complexity"),
    ({"target": "step"}, "target must be one of jump, ramp, wave, bump, got 'step'"),
    ({"noise": -0.1}, "noise must be at least 0 .* got -0.1"),
    ({"noise": float("nan")}, "noise must be .* got nan"), ({"noise": float("inf")}, "noise"),
    ({"num_points": 0}, "num_points must be .* got 0"), ({"num_points": 2.5}, "num_points"),
    ({"num_points": -3}, "num_points must be .* got -3"), ({"num_points": True}, "num_points")])
def test_impossible_fits_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        fc.fit_class(**{"complexity": 2, "nested": True, **arguments})


@pytest.mark.parametrize(("num_points", "nearest"), [(5, 1), (200, 6)])  # as in section 1.3
def test_more_points_pay_for_a_larger_class(num_points, nearest):
    distances = [fc.fit_class(k, True, "wave", 0.5, num_points).distance for k in range(1, 7)]
    assert distances.index(min(distances)) + 1 == nearest
