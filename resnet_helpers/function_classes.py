"""Nested and non-nested function classes: pictures of regions, and families whose best fits can be computed.

The families are step functions on [0, 1]: a function of F_k is constant on each of k pieces. Both families have
k free numbers in F_k; they differ only in where the pieces end, which decides whether F_k contains F_(k-1).
"""

import math

import torch

TARGETS = {
    "jump": lambda x: torch.where(x < 0.5, 0.0, 1.0) + 0.15 * torch.sin(2 * math.pi * x),
    "ramp": lambda x: x,
    "wave": lambda x: 0.5 + 0.5 * torch.sin(3 * math.pi * x),
    "bump": lambda x: torch.exp(-((x - 0.3) / 0.12) ** 2),
}


def piece_edges(k, nested):
    """Ends of the k pieces of F_k, as a sorted tensor (k + 1,) from 0 to 1.

    Not nested: k pieces of equal width. Nested: F_(k+1) keeps the pieces of F_k and halves the widest one, the
    leftmost if there are several.

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
    """Matrix (n, k): entry (i, j) is 1 if x[i] lies in piece j, else 0. A step function is this matrix times
    its k heights."""
    piece = torch.bucketize(x, edges[1:-1], right=True)
    return torch.nn.functional.one_hot(piece, len(edges) - 1).to(x.dtype)


def best_fit(x, y, edges):
    """Heights (k,) of the step function with the least mean squared error on the data (x, y).

    A piece without data gets height 0.
    """
    A = indicators(x, edges)
    return torch.linalg.lstsq(A, y[:, None], driver="gelsd").solution[:, 0]


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
    x = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    y = target(x)
    distances = []
    for k in range(1, max_k + 1):
        edges = piece_edges(k, nested).double()
        distances.append(distance(indicators(x, edges) @ best_fit(x, y, edges), y))
    return distances


def region_outlines(nested, num_regions=6, num_points=360):
    """Outlines of regions F_1 .. F_n of growing area for the picture of function classes.

    The areas are the same for both families. Nested regions share their centre, so each contains the one
    before; the others drift away from it.

    Returns:
        List of tensors (num_points, 2), closed curves in a plane of arbitrary units.
    """
    angle = torch.linspace(0, 2 * math.pi, num_points + 1)[:-1]
    outlines = []
    for k in range(1, num_regions + 1):
        turn = 0.0 if nested else 0.9 * k
        radius = 0.35 * k ** 0.75 * (1 + 0.13 * torch.cos(2 * (angle - turn)) + 0.06 * torch.cos(3 * angle - turn))
        outline = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        if not nested:  # up towards f*, past it to the right, and away downwards
            outline += torch.tensor([[-0.9, -0.5], [-0.1, 0.35], [0.95, 1.0], [0.2, -0.45], [-0.75, -0.55],
                                     [-0.85, -1.0]][k - 1])
        outlines.append(outline)
    return outlines


REGION_TARGET = torch.tensor([1.9, 1.5])  # f* in the picture of regions


def distance_to_region(point, outline):
    """Distance of `point` (2,) to the region inside `outline` (n, 2), 0 inside; and its nearest point (2,)."""
    from matplotlib.path import Path
    if Path(outline.numpy()).contains_point(point.numpy()):
        return 0.0, point
    distances = (outline - point).norm(dim=1)
    return distances.min().item(), outline[distances.argmin()]
