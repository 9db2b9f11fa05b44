"""Loops of the reader's, run on a tiny net that notes what is done with it.

What a right loop does with it is known, and the first difference is named.
"""

import math
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.optim.optimizer import register_optimizer_step_pre_hook

from resnet_helpers.check.verdicts import Wrong, close, expect_number
from resnet_helpers.training import accuracy

# --- the net, and what it notes ---


class BatchPass(NamedTuple):
    """A batch went through the net."""

    data: str  # "training" or "test"; "other" if it was in neither
    number: int  # of the batch there, from 1
    in_train_mode: bool
    is_recorded: bool  # for a backward pass


class Batches(list):
    """Batches (X, y) of which everyone who goes through them gets copies."""

    def __iter__(self):
        return iter([(X.clone(), y.clone()) for X, y in super().__iter__()])


class Probe(nn.Module):
    """A tiny net with batch norm that notes what is done with it.

    Shapes: (N, 4) -> (N, num_classes).

    Args:
        num_classes: length of the output.
        seed: of its weights.
        data: `Batches`, as training=... and test=...

    Attributes:
        passes: each `BatchPass`, in order.
        backwards: for each backward pass, whether it found no older gradient to add to.
        steps: for each step of an optimiser, whether it had a gradient to go by.
    """

    def __init__(self, num_classes, seed, **data):
        super().__init__()
        torch.default_generator.manual_seed(seed)  # checks put the reader's state back
        self.hidden = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, num_classes)
        self.data = data
        self.passes, self.backwards, self.steps = [], [], []

    def forward(self, X):
        Y = self.out(F.relu(self.norm(self.hidden(X))))
        self.passes.append(BatchPass(*self._find(X), self.norm.training, Y.requires_grad))
        return Y

    def _find(self, X):
        for data, batches in self.data.items():
            for number, (batch, _) in enumerate(batches, start=1):
                if X.shape == batch.shape and torch.equal(X.detach().cpu(), batch):
                    return data, number
        return "other", 0

    def passes_of(self, data):
        """Those of "training", "test" or "other" batches."""
        return [batch for batch in self.passes if batch.data == data]

    def weights(self):
        """All parameters as one vector."""
        return parameters_to_vector(self.parameters()).detach().cpu()

    def watch(self, function, *arguments):
        """Call a function of (net, *arguments), note what it does, and return what it returns."""
        hooks = (register_optimizer_step_pre_hook(self._note_step),
                 self.out.bias.register_hook(self._note_backward))
        try:
            with torch.enable_grad():
                result = function(self, *arguments)
                is_enabled = torch.is_grad_enabled()
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            is_enabled = False
        finally:
            for hook in hooks:
                hook.remove()
        if not is_enabled:
            raise Wrong("gradients_off",
                        "gradients are switched off while the net trains, or stay so after your "
                        "function. `with torch.no_grad():` must hold the evaluation alone.")
        if result is None:
            raise Wrong("returns_none", "your function returns None: is its last line a `return`?")
        return result

    def _note_backward(self, gradient):
        older = self.out.bias.grad
        self.backwards.append(older is None or not older.any())

    def _note_step(self, optimizer, args, kwargs):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if any(p is self.out.bias for p in parameters):  # not that of a run in the background
            self.steps.append(any(p.grad is not None and p.grad.any() for p in parameters))


def reference_loop(net, train_iter, test_iter, num_epochs, lr):
    """Train as a loop should.

    Returns:
        For each epoch three pairs (sums, sizes), for train loss, train accuracy and test accuracy:
        sums over the examples of each batch, and the sizes of the batches.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    epochs = []
    for _ in range(num_epochs):
        net.train()
        rows = []
        for X, y in train_iter:
            optimizer.zero_grad()
            y_hat = net(X)
            l = F.cross_entropy(y_hat, y)
            l.backward()
            optimizer.step()
            rows.append((l.item() * len(y), accuracy(y_hat, y), len(y)))
        losses, correct, sizes = torch.tensor(rows, dtype=torch.float64).T
        net.eval()
        with torch.no_grad():
            rows = [(accuracy(net(X), y), len(y)) for X, y in test_iter]
        test = torch.tensor(rows, dtype=torch.float64).T
        epochs.append(((losses, sizes), (correct, sizes), tuple(test)))
    return epochs


# --- what may differ ---

def expect_passes(net):
    """Wrong unless it was this net, and its batches, that the reader's function used."""
    if not net.passes:
        raise Wrong("net_not_called",
                    "your function never calls the net that it gets. Does it use another one, from "
                    "outside? Or is there a `yield` in it?")
    if net.passes_of("other"):
        raise Wrong("foreign_batch",
                    "the net got a batch that was not passed to your function. Go through its own "
                    "arguments, and pass X on as it comes.")


def expect_order(net, num_epochs):
    """Wrong unless each epoch puts all training batches, then all test batches through the net."""
    expect_passes(net)
    seen = [f"{batch.data} batch {batch.number}" for batch in net.passes]
    epoch = [f"{data} batch {i + 1}" for data, batches in net.data.items()
             for i in range(len(batches))]
    pairs = zip_longest(seen, num_epochs * epoch, fillvalue="the end")
    for i, (found, expected) in enumerate(pairs):
        if found != expected:
            raise Wrong("wrong_batch_order",
                        f"in epoch {1 + i // len(epoch)} of {num_epochs} comes {found} where "
                        f"{expected} was expected. All of train_iter once, then all of test_iter "
                        f"once: where is each loop, and each `return`, indented to?")


def training_faults(net):
    """(code, message) of the faults in steps and evaluation, three at most."""
    faults = []
    later = net.backwards[1:]  # the first always finds none
    if net.backwards and net.steps and not any(net.steps):
        faults.append(("zero_grad_before_step",
                       "optimizer.zero_grad() stands between backward and step, and wipes out the "
                       "gradient that step needs. It belongs before backward, or after step."))
    elif later and not any(later):
        faults.append(("no_zero_grad",
                       "optimizer.zero_grad() is still missing: backward adds to the gradients "
                       "that are there, so each step goes along the sum of all so far."))
    elif not all(later):
        faults.append(("zero_grad_per_epoch",
                       "optimizer.zero_grad() does not run for each batch, so gradients still add "
                       "up within an epoch: it belongs into the loop over train_iter."))
    return faults + evaluation_faults(net)


def evaluation_faults(net):
    """(code, message) for test batches that are answered in train mode, or recorded."""
    faults, test = [], net.passes_of("test")
    in_train_mode = [batch.number for batch in test if batch.in_train_mode]
    recorded = [batch.number for batch in test if batch.is_recorded]
    if in_train_mode:
        faults.append(("eval_mode_missing",
                       f"test batch {in_train_mode[0]} is answered in train mode: net.eval() must "
                       f"stand before the loop over the test batches. Otherwise batch norm takes "
                       f"the statistics of each batch, and moves its running averages."))
    if recorded:
        faults.append(("no_grad_missing",
                       f"test batch {recorded[0]} is recorded for a backward pass that never "
                       f"comes, which costs time and memory: `with torch.no_grad():` must hold "
                       f"the loop over the test batches."))
    return faults


def expect_train_mode(net):
    """Wrong unless all training batches came in train mode."""
    for i, batch in enumerate(net.passes_of("training")):
        if not batch.in_train_mode:
            raise Wrong("train_mode_missing",
                        f"training batch {batch.number} of epoch "
                        f"{1 + i // len(net.data['training'])} comes in eval mode, as the net was "
                        f"passed or the last evaluation left it. net.train() must stand before the "
                        f"loop over train_iter, inside the loop over epochs.")


def expect_weights(net, weights):
    """Wrong unless the net ends with these weights."""
    if close(net.weights(), weights, 1e-3):
        return
    raise Wrong("other_weights",
                f"after training, the weights are not those of plain SGD with the given lr. (For "
                f"{len(net.passes_of('training'))} training batches there were "
                f"{len(net.backwards)} backward passes and {len(net.steps)} steps.) Go through the "
                f"five lines of section 4.3: zero_grad, net(X), loss, backward, step.")


def expect_results(rows, epochs):
    """Wrong unless rows are the numbers of these epochs, see `reference_loop`."""
    names = ("train loss", "train accuracy", "test accuracy")
    is_table = isinstance(rows, (list, tuple)) and len(rows) == len(epochs) and all(
        isinstance(row, (list, tuple)) and len(row) == len(names) for row in rows)
    if not is_table:
        raise Wrong("no_tuple_per_epoch",
                    f"after {len(epochs)} epochs your function must return a list of as many "
                    f"tuples ({', '.join(names)}); got {rows!r:.200}.")
    for i, (row, epoch) in enumerate(zip(rows, epochs, strict=True), start=1):
        for name, answer, (sums, sizes) in zip(names, row, epoch, strict=True):
            what = f"the {name} of epoch {i}"
            expect_average(expect_number(answer, what), sums, sizes, what)


def expect_average(answer, sums, sizes, what):
    """Wrong, with the reason, unless a number is the mean over all examples.

    Args:
        answer: the number.
        sums, sizes: float64 tensors, for each batch the sum over its examples and their number.
        what: what the number is, for the message.
    """
    def is_like(*values):
        return any(math.isclose(answer, value, rel_tol=1e-4, abs_tol=1e-6) for value in values)

    total, n = sums.sum(), sizes.sum()
    if is_like(total / n):
        return
    for code, text, *values in (
        ("mean_of_means",
         "is the mean of the batches' means: a smaller last batch then weighs as much as a full "
         "one. Add up over the examples, then divide by their number.", (sums / sizes).mean()),
        ("not_divided", "is a sum that was not divided by the number of examples.", total),
        ("divided_by_batches",
         "is divided by the number of batches, not of examples.", total / len(sizes)),
        ("first_batch_alone",
         "is that of the first batch alone. Is the `return` inside the loop?", sums[0] / sizes[0]),
        ("last_batch_alone",
         "counts the last batch alone: each batch overwrites what was counted before. Use `+=`.",
         sums[-1] / sizes[-1], sums[-1] / n, total / sizes[-1]),
        ("in_percent", "is in percent. It must be a share, between 0 and 1.", 100 * total / n),
    ):
        if is_like(*values):
            raise Wrong(code, f"{what} {text}")
    raise Wrong("other_average",
                f"{what} is {answer:.6g}, where {total / n:.6g} was expected. Begin at zero, add "
                f"up over the examples of all batches, then divide by their number.")
