"""The exercises of notebooks/further/beyond_one_machine: a batch in parts, on many or on one."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from resnet_helpers.check.verdicts import (
    Wrong,
    call,
    close,
    exercise,
    expect,
    expect_function,
    expect_tensor,
)

BEYOND_ONE_MACHINE = 7  # number of the notebook, see `attempts.FURTHER`

# --- gradients of unequal parts ---

@exercise(BEYOND_ONE_MACHINE, "gradients of unequal parts", hints=(
    "The mean over the whole batch is the sum over all its images, divided by how many there are. "
    "What is the sum over the images of one part, if you know its mean?",
    "The mean gradient of a part, times its number of images, is the sum over that part. Add these "
    "sums, and divide once, by the number of all images.",
    "sum(size * gradient for size, gradient in zip(sizes, gradients)) / sum(sizes)",
))
def combine_gradients(combine):
    """A function of gradients and sizes, two lists, that gives the gradient of the whole batch."""
    expect_function(combine, "gradients", "sizes")
    generator = torch.Generator().manual_seed(0)
    for sizes in ([32, 160, 64], [200, 56], [30, 20, 30, 20]):
        gradients = [torch.randn(8, generator=generator) for _ in sizes]
        copies, own_sizes = [gradient.clone() for gradient in gradients], list(sizes)
        combined = combine(copies, own_sizes)
        same = len(copies) == len(sizes) and all(map(torch.equal, copies, gradients))
        expect(same and own_sizes == sizes, "changes_input",
               "after the call the lists or the gradients in them hold other numbers than before. "
               "Beware of `+=` and `*=` on a gradient: begin with a sum of your own.")
        expect_tensor(combined, (8,), "your function")
        _expect_weights(combined, gradients, torch.tensor(sizes).float())
    return ("right. An image counts the same in a small part and in a large one. `fit` gives all "
            "processes equally many images, and then the plain mean is enough.")


def _expect_weights(combined, gradients, sizes):
    """Wrong, with what it is, unless each gradient has the weight of its share of the images."""
    columns, combined = torch.stack(gradients, dim=1), combined.detach().float()
    weights = torch.linalg.lstsq(columns, combined[:, None]).solution[:, 0]
    expect(close(columns @ weights, combined), "no_combination",
           "what comes out is no sum of the gradients with a weight for each. Every number of a "
           "gradient must get the same weight.")
    total, shares = weights.sum().item(), sizes / sizes.sum()
    if close(weights, shares):
        return
    shown = ", ".join(f"{weight:.3g}" for weight in weights)
    for code, message, weighting in (
        ("sum_of_all", "the gradients are added up. That counts every part as if it were the whole "
         "batch.", torch.ones_like(sizes)),
        ("plain_mean", "this is the plain mean: an image of a small part counts more than one of a "
         "large part. Weigh each gradient by its number of images.",
         torch.ones_like(sizes) / len(sizes)),
    ):
        expect(not close(weights, weighting), code, message)
    for code, message, weighting in (
        ("weights_do_not_sum_to_1", f"the weights have the right proportions, but their sum is "
         f"{total:.4g}, and must be 1. Divide once, by the number of all images.", sizes),
        ("squared", "the number of images of a part counts twice, as its square. The weight of a "
         "part is its share of the images.", sizes.square()),
        ("inverse", "the fewer images a part has, the more it counts. It should be the other way "
         "round.", 1 / sizes),
        ("other_order", "the sizes have come into another order than the gradients.",
         sizes.flip(0)),
    ):
        expect(not close(weights / total, weighting / weighting.sum()), code, message)
    counts = ", ".join(f"{size:.0f}" for size in sizes)
    raise Wrong("wrong_weights", f"for parts of {counts} images the gradients come in with the "
                f"weights {shown}. Each should be the share of its part in the {sizes.sum():.0f} "
                f"images.")


# --- a step in parts ---

class MemoryProbe(nn.Module):
    """A tiny net without batch norm that notes how many images it holds at a time.

    Shapes: (N, 4) -> (N, 3).

    Attributes:
        batches: the number of images of each forward pass.
        peak: the most images that were kept for a backward pass at once.
        backwards: for each backward pass, whether it found no older gradient to add to.
        steps: how many steps the optimiser has made.
    """

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(1)  # checks put the reader's state back
        self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 3)
        self.double()
        self.batches, self.backwards = [], []
        self.peak = self.steps = self._kept = 0

    def forward(self, X):
        Y = self.out(self.hidden(X).tanh())
        self.batches.append(len(X))
        if Y.requires_grad:
            self._keep(len(X))
            Y.register_hook(lambda _: self._keep(-len(X)))
        return Y

    def weights(self):
        """All parameters as one vector."""
        return parameters_to_vector(self.parameters()).detach()

    def watch(self, optimizer):
        """From now on, note backward passes and the steps of this optimiser."""
        self.out.bias.register_hook(self._note_backward)
        optimizer.register_step_pre_hook(self._note_step)
        self.batches.clear()
        self.peak = 0

    def _keep(self, count):
        self._kept += count
        self.peak = max(self.peak, self._kept)

    def _note_backward(self, _):
        older = self.out.bias.grad
        self.backwards.append(older is None or not older.any())

    def _note_step(self, *_):
        self.steps += 1


@exercise(BEYOND_ONE_MACHINE, "a large batch in a small memory", hints=(
    "backward() adds to the gradients that are there already. So the parts can go through the net "
    "one after the other, each with a forward and a backward pass, and the gradients add up.",
    "Three things happen once: zero_grad before the first part, and step after the last. And since "
    "gradients add up where a mean is wanted, each loss is divided by the number of parts.",
    "optimizer.zero_grad(); for part_X, part_y in zip(X.chunk(parts), y.chunk(parts)): "
    "(F.cross_entropy(net(part_X), part_y) / parts).backward(); then optimizer.step()",
))
def accumulated_step(my_step):
    """A function of net, optimizer, X, y and parts: the step of the whole batch, part by part."""
    expect_function(my_step, "net", "optimizer", "X", "y", "parts")
    generator = torch.Generator().manual_seed(0)
    for size, parts in ((4, 3), (2, 8)):  # images a part, and how many parts
        X = torch.randn(size * parts, 4, generator=generator, dtype=torch.float64)
        y = torch.randint(3, (size * parts,), generator=generator)
        net = MemoryProbe()
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)  # a step is minus the gradient
        right = torch.cat([g.flatten() for g in torch.autograd.grad(
            F.cross_entropy(net(X), y), list(net.parameters()))])
        F.cross_entropy(net(X.flip(1)), y).backward()  # gradients of an earlier step
        before = net.weights()
        net.watch(optimizer)
        call(my_step, net, optimizer, X, y, parts, what="your function")
        _expect_one_step(net, parts)
        _expect_small_memory(net, size, parts)
        _expect_step(net, before - net.weights(), right, size, parts)
    return ("right. It is called gradient accumulation: the arithmetic of section 4, with one "
            "process that does all the parts, one after the other. A batch norm would see only a "
            "part at a time here, too.")


def _expect_one_step(net, parts):
    """Wrong unless the net was used, its loss went backward, and there was one step."""
    expect(net.batches, "net_not_called", "your function never calls the net that it gets.")
    expect(net.backwards, "no_backward",
           "no gradient goes backward: call backward() on the loss of each part.")
    expect(net.steps, "no_step",
           "the optimiser makes no step: call optimizer.step() after the last part.")
    expect(net.steps == 1, "step_in_loop",
           f"the optimiser makes {net.steps} steps, where there should be one for all {parts} "
           f"parts. Is optimizer.step() inside the loop?")


def _expect_small_memory(net, size, parts):
    """Wrong unless the net had at most one part at a time."""
    largest, whole = max(net.batches), size * parts
    expect(largest < whole, "whole_batch",
           f"the step may be right, but all {whole} images go through the net at once, and there "
           f"is room for {size} only: give it one part after the other.")
    expect(largest <= size, "parts_too_large",
           f"the net gets {largest} images at once. {whole} images in {parts} parts are {size} at "
           f"a time. X.chunk(n) makes n parts, X.split(n) makes parts of n.")
    expect(net.peak <= size, "one_backward",
           f"the parts go forward one by one, but what backward needs is kept for {net.peak} "
           f"images at a time. Call backward() on each part's loss before the next part.")


def _expect_step(net, step, right, size, parts):
    """Wrong, with what it is, unless the weights have moved as by the step of the whole batch."""
    if close(step / right.norm(), right / right.norm(), 1e-5):
        return
    first, *later = net.backwards
    whole, seen = size * parts, sum(net.batches)
    expect(step.any(), "gradient_cleared",
           "the optimiser makes its step, but no weight moves: the gradients are gone by then. Is "
           "zero_grad between backward and step?")
    expect(first, "zero_grad_forgotten",
           "the first part adds its gradient to that of an earlier step. Call "
           "optimizer.zero_grad() before the first part.")
    expect(not any(later), "zero_grad_inside",
           "zero_grad inside the loop clears what the parts before have added: only the last one "
           "counts. Call it once, before the loop.")
    expect(seen >= whole, "images_missed",
           f"only {seen} of {whole} images go through the net. Is a part left out?")
    expect(len(net.batches) == parts, "other_parts",
           f"the net gets {len(net.batches)} parts, where {parts} were asked for. X.chunk(n) makes "
           f"n parts, X.split(n) makes parts of n.")
    _expect_length(step, right, parts)
    raise Wrong("wrong_step", "the step goes into another direction than that of the whole batch. "
                "Does each part of X meet its own part of y?")


def _expect_length(step, right, parts):
    """Wrong if the step has the right direction, and thus another length."""
    ratio = (step @ right / (right @ right)).item()
    if not close(step / right.norm(), ratio * right / right.norm(), 1e-5 * max(1, abs(ratio))):
        return
    told = f"the step has the right direction, but {ratio:.3g} times its length"
    expect(abs(ratio - parts) > 1e-3, "not_divided",
           f"{told}: the parts' gradients add up, where their mean is wanted. Divide each loss by "
           f"the number of parts.")
    expect(abs(ratio * parts - 1) > 1e-3, "divided_twice",
           f"{told}: it is divided by the number of parts once too often.")
    raise Wrong("other_length", f"{told}. Take the mean loss of each part, as F.cross_entropy "
                f"gives it, divided by the number of parts.")
