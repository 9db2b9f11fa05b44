"""Nested and non-nested function classes: regions to draw, and families with known best fits.

For notebook 1 and its explorer. The families are step functions on [0, 1]: a function of F_k is
constant on each of k pieces. Both families have k free numbers in F_k; they differ only in where
the pieces end, which decides whether F_k contains F_(k-1).
"""

import functools
import math
from dataclasses import dataclass

import torch

from resnet_helpers.models import expect_sizes

TARGETS = {
    "jump": lambda x: torch.where(x < 0.5, 0.0, 1.0) + 0.15 * torch.sin(2 * math.pi * x),
    "ramp": lambda x: x,
    "wave": lambda x: 0.5 + 0.5 * torch.sin(3 * math.pi * x),
    "bump": lambda x: torch.exp(-((x - 0.3) / 0.12) ** 2),
}
MAX_COMPLEXITY = 6


# --- families ---

def piece_edges(k, nested):
    """Ends of the k pieces of F_k, as a sorted tensor (k + 1,) from 0 to 1.

    Not nested: k pieces of equal width. Nested: F_(k+1) keeps the pieces of F_k and halves the
    widest one, the leftmost if there are several.

    Args:
        k: complexity, at least 1.
        nested: which family.
    """
    if k < 1:
        raise ValueError(f"complexity must be at least 1, got {k}")
    if not nested:
        return torch.linspace(0, 1, k + 1)
    edges = torch.tensor([0.0, 1.0])
    for _ in range(k - 1):
        widest = edges.diff().argmax()
        middle = (edges[widest] + edges[widest + 1]) / 2
        edges = torch.cat([edges, middle[None]]).sort().values
    return edges


def indicators(x, edges):
    """Matrix (n, k): entry (i, j) is 1 if x[i] lies in piece j, else 0.

    A step function is this matrix times its k heights.
    """
    piece = torch.bucketize(x, edges[1:-1], right=True)
    return torch.nn.functional.one_hot(piece, len(edges) - 1).to(x.dtype)


def best_fit(x, y, edges):
    """Heights (k,) of the step function with the least mean squared error on the data (x, y).

    On each piece that is the mean of y; a piece without data gets height 0.
    """
    A = indicators(x, edges)
    return A.T @ y / A.sum(dim=0).clamp(min=1)


def distance(f, g):
    """Root mean square of f - g, for two functions given by their values on a grid."""
    return (f - g).square().mean().sqrt().item()


def best_distances(target, max_k, nested, num_points=10_000):
    """How near each class comes to f*: the distances of the best functions of F_1 .. F_max_k.

    Args:
        target: f*, a function of a tensor.
        max_k: largest complexity.
        nested: which family.
        num_points: size of the grid on [0, 1] on which f* is fitted and distances are measured.
    """
    return [best_distance(target, piece_edges(k, nested).double(), num_points)
            for k in range(1, max_k + 1)]


def best_distance(target, edges, num_points=10_000):
    """How near step functions with pieces that end at `edges` (k + 1,) come to f*.

    The other arguments are those of `best_distances`.
    """
    x = _middles(num_points)
    y = target(x)
    return distance(indicators(x, edges) @ best_fit(x, y, edges), y)


def _middles(n):
    """Middles of n equal pieces of [0, 1]."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


@dataclass(frozen=True)
class ClassFit:
    """The best function of one class on noisy data, beside what the classes could do.

    Attributes:
        complexity, nested: the class F_k, and the family it belongs to.
        x, y: the data, tensors (num_points,).
        grid, f_star: tensors with which f* can be drawn.
        edges, heights: the fitted step function, k + 1 and k numbers.
        loss: its mean squared error on the data.
        distance: of the fitted function to f*.
        class_distances: {nested: distances to f* of the best functions of F_1 .. F_6}.
    """

    complexity: int
    nested: bool
    x: torch.Tensor
    y: torch.Tensor
    grid: torch.Tensor
    f_star: torch.Tensor
    edges: torch.Tensor
    heights: torch.Tensor
    loss: float
    distance: float
    class_distances: dict


def fit_class(complexity, nested, target="jump", noise=0.0, num_points=40):
    """Fit the step functions of F_k to noisy values of a target at random places.

    Args:
        complexity: k, 1 to 6.
        nested: which family.
        target: a name in `TARGETS`.
        noise: standard deviation of what is added to f*, at least 0.
        num_points: size of the data, at least 1.

    Returns:
        `ClassFit`. The places and the noise, but for its size, are the same for the same number of
        points.

    Raises:
        ValueError: an argument outside its range.
    """
    expect_sizes(complexity=complexity, num_points=num_points)
    if complexity > MAX_COMPLEXITY:
        raise ValueError(f"complexity must be a whole number from 1 to {MAX_COMPLEXITY}, got "
                         f"{complexity!r}")
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be at least 0 and finite, got {noise!r}")
    f_star, generator = TARGETS[target], torch.Generator().manual_seed(1)
    x = torch.rand(num_points, generator=generator, dtype=torch.float64).sort().values
    y = f_star(x) + noise * torch.randn(num_points, generator=generator, dtype=torch.float64)
    edges = piece_edges(complexity, nested).double()
    heights, grid = best_fit(x, y, edges), _middles(500)
    return ClassFit(
        complexity, nested, x, y, grid, f_star(grid), edges, heights,
        loss=distance(indicators(x, edges) @ heights, y) ** 2,
        distance=distance(indicators(grid, edges) @ heights, f_star(grid)),
        class_distances={family: _class_distances(target, family) for family in (False, True)})


@functools.cache
def _class_distances(target, nested):
    return best_distances(TARGETS[target], MAX_COMPLEXITY, nested)


# --- regions ---

REGION_TARGET = torch.tensor([1.9, 1.5])  # f* in the picture of regions
# Where regions that are not nested go: up towards f*, past it to the right, and away downwards.
DRIFT = torch.tensor([[-0.9, -0.5], [-0.1, 0.35], [0.95, 1.0], [0.2, -0.45], [-0.75, -0.55],
                      [-0.85, -1.0]])


def region_outlines(nested, num_regions=6, num_points=360):
    """Outlines of regions F_1 .. F_n of growing area for the picture of function classes.

    The areas are the same for both families. Nested regions share their centre, so each contains
    the one before; the others drift away from it.

    Returns:
        List of tensors (num_points, 2), closed curves in a plane of arbitrary units.
    """
    angle = torch.linspace(0, 2 * math.pi, num_points + 1)[:-1]
    outlines = []
    for k in range(1, num_regions + 1):
        turn = 0.0 if nested else 0.9 * k
        radius = 0.35 * k ** 0.75 * (
            1 + 0.13 * torch.cos(2 * (angle - turn)) + 0.06 * torch.cos(3 * angle - turn))
        outline = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        outlines.append(outline if nested else outline + DRIFT[k - 1])
    return outlines


def distance_to_region(point, outline):
    """Distance of `point` (2,) to the region inside `outline` (n, 2), and its nearest point (2,).

    The distance is 0 inside.
    """
    from matplotlib.path import Path
    if Path(outline.numpy()).contains_point(point.numpy()):
        return 0.0, point
    distances = (outline - point).norm(dim=1)
    return distances.min().item(), outline[distances.argmin()]
