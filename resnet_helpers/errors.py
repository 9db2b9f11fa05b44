"""Errors whose message says all there is to say: a notebook shows it without a traceback."""

GET_ASSETS_AGAIN = "`git checkout -- resnet_helpers/assets` in the repository's folder, or clone or install it anew."


class PlainError(Exception):
    """Base of errors that a reader can mend without seeing where in the package they arose."""

    def _render_traceback_(self):
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class DatasetUnavailableError(PlainError, OSError):
    """The full data set is not on this machine and could not be fetched, or a file of it is damaged."""


class NonFiniteLossError(PlainError, ArithmeticError):
    """The training loss became infinite or not a number.

    Attributes:
        history: the `History` up to the last record before.
    """

    def __init__(self, value, step, history):
        self.history = history
        since = f" (after epoch {history.records[-1].epoch:.3g} it was still finite)" if history.records else ""
        lr = history.config.get("lr")
        advice = f"a learning rate ten times smaller than {lr:g}" if lr else "a smaller learning rate"
        if history.config.get("optimizer", "SGD") != "SGD" or history.config.get("momentum"):
            advice += ", and with a new optimizer, as this one still remembers the numbers that grew too large"
        super().__init__(
            f"the training loss became {value} at step {step}{since}. Training has stopped, and the weights are lost: "
            f"start again from fresh ones with {advice}. (With --checkpoint a run from the shell keeps the last whole "
            f"epoch.) If that does not help, look for inputs that are not finite (torch.isfinite(X).all()), or logits "
            f"that went through softmax or log before the loss.")


class UnsuitableBatchError(PlainError, ValueError):
    """A batch that the net cannot compute with: its type, its shape, or its labels."""


class MemoryFullError(PlainError, MemoryError):
    """A training step needs more memory than there is."""
