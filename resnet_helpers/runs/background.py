"""A training run in a background thread that can be paused and stopped."""

import atexit
import contextlib
import threading
import time

import torch

from resnet_helpers.engine.cpu import end_workers
from resnet_helpers.errors import MemoryFullError, is_full
from resnet_helpers.history import History, Timer
from resnet_helpers.runs.recipes import prepare_run

ACTIVE = ("preparing", "training", "paused", "stopping")


class BackgroundRun:
    """A run in a thread of its own. It can be paused between two steps, and stopped within one.

    `on_progress` is called in that thread, `on_change` there and in the one that pauses, resumes
    or stops the run.

    Args:
        settings: `recipes.RunSettings`.
        device: where to train; None means `try_gpu()`.
        on_progress: function of the run and a `Progress`, called for each that `fit` yields.
        on_change: function of the run, called a few times a second and at every change of `state`.

    Attributes:
        state: one of `ACTIVE`, and in the end "finished", "stopped" or "failed".
        history: the `History` so far.
        net: the network; None while preparing.
        error: what went wrong, in words, if it failed; else None.
        fraction: how much of the run is done, 0 to 1.
    """

    def __init__(self, settings, device=None, on_progress=None, on_change=None):
        self.settings, self.device = settings, device
        self.on_progress = on_progress or (lambda *_: None)
        self.on_change = on_change or (lambda *_: None)
        self.history, self.net, self.error = History(), None, None
        self.state, self.fraction = "preparing", 0.0
        self._timer, self._spent, self._last_batch, self._next_notice = Timer(), 0.0, None, 0.0
        self._lock, self._num_threads = threading.Lock(), torch.get_num_threads()
        self._may_go_on, self._must_stop = threading.Event(), threading.Event()
        self._may_go_on.set()
        self._thread = threading.Thread(target=self._work, name="training", daemon=True)

    def start(self):
        """Begin; once per object."""
        end_workers()
        atexit.register(self.stop, wait=5.0)  # a thread that computes can crash Python's end
        self._thread.start()
        return self

    def pause(self):
        """Wait before the next step until `resume`. The time is not counted as training."""
        self._set_state("paused", only_from=("training",))

    def resume(self):
        """Go on after `pause`."""
        self._set_state("training", only_from=("paused",))

    def stop(self, wait=0.0):
        """End the run, and wait so many seconds for it; the last whole step keeps its weights."""
        self._must_stop.set()
        self._set_state("stopping", only_from=ACTIVE)
        self.join(wait)

    def join(self, timeout=None):
        """Wait for the end, at most `timeout` seconds; tell whether it has come."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_active(self):
        """Has it neither finished nor stopped nor failed?"""
        return self.state in ACTIVE

    @property
    def seconds_left(self):
        """An estimate from the speed so far, pauses left out; None at first."""
        return self._spent * (1 - self.fraction) / self.fraction if self._spent > 1 else None

    def _work(self):
        torch.set_num_threads(self._num_threads)  # not what an explorer has set for a moment
        oldest = torch.ones(1, requires_grad=True) * 1
        try:
            self._train()
            outcome = "finished"
        except _StopRequest:
            outcome = "stopped"
            # A backward pass that was left leaves its work in autograd's queue of this thread. It
            # would be freed after the thread's end, and where Python ends at that moment, crash
            # it. A pass through what is older than all that empties the queue.
            oldest.backward()
        except Exception as error:  # nobody looks at a thread's traceback
            outcome, self.error = "failed", in_plain_words(error)
        atexit.unregister(self.stop)
        self._set_state(outcome)

    def _train(self):
        run = prepare_run(self.settings, self.device)
        self._obey_stop()
        self.net = run.net
        share = 1 / (self.settings.num_epochs * len(run.train_iter))
        progress = run.fit(
            train_iter=self._watched(run.train_iter, self._timer, share),
            test_iter=self._watched(run.test_iter, Timer(), 0),
            history=self.history, timer=self._timer)
        self._set_state("training", only_from=("preparing",))
        with interruptible(run.net, self._obey_stop):
            for p in progress:
                self.on_progress(self, p)

    def _watched(self, batches, timer, share):
        """Batches before which the run pauses, with its timer, and stops.

        Args:
            share: what one of them is of the whole run.
        """
        def count(_):
            self.fraction = min(1.0, self.fraction + share)

        return WatchedBatches(batches, lambda: self._before_batch(timer), count)

    def _before_batch(self, timer):
        """Between two steps: wait while paused, leave if stopped, note the progress."""
        now = time.monotonic()
        self._spent += now - (self._last_batch or now)
        if not self._may_go_on.is_set():
            timer.stop()
            self._may_go_on.wait()
            timer.start()
        self._obey_stop()
        self._last_batch = time.monotonic()
        if self._last_batch >= self._next_notice:
            self._next_notice = self._last_batch + 0.25
            self.on_change(self)

    def _obey_stop(self):
        if self._must_stop.is_set():
            raise _StopRequest

    def _set_state(self, state, only_from=None):
        """Change the state, if it is one of `only_from`, and tell."""
        with self._lock:
            if only_from and self.state not in only_from:
                return
            self.state = state
            if state == "paused":
                self._may_go_on.clear()
            else:
                self._may_go_on.set()
        self.on_change(self)


class _StopRequest(BaseException):
    """Leaves the training loop; no error, so that nothing takes it for one on its way."""


class WatchedBatches:
    """Batches with a function that is called before each, and one that gets each after its use."""

    def __init__(self, batches, before=lambda: None, after=lambda batch: None):
        self.batches, self.before, self.after = batches, before, after

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            self.before()
            yield batch
            self.after(batch)


@contextlib.contextmanager
def interruptible(net, look):
    """Call `look` before each layer, forward and backward; what it raises ends the step.

    A step of a large batch takes seconds on a CPU. This way a stop need not wait for its end, and
    no weight has changed: the optimiser comes after the last gradient.
    """
    def look_in_backward(layer, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda _: look())

    layers = [module for module in net.modules() if not list(module.children())]
    handles = [layer.register_forward_pre_hook(lambda *_: look()) for layer in layers]
    handles += [layer.register_forward_hook(look_in_backward) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def in_plain_words(error):
    """What an error of a training run means for whoever started it."""
    if is_full(error) and not isinstance(error, MemoryFullError):
        return "The memory is full. Take a smaller batch, smaller images or a smaller model."
    message = str(error) or type(error).__name__
    return message[:1].upper() + message[1:]
