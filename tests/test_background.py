"""Runs in the background: pause, stop, failure."""

import threading
import time
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import resnet_helpers as d2l
from resnet_helpers.engine import cpu
from resnet_helpers.history import Timer
from resnet_helpers.runs import background, recipes
from resnet_helpers.runs.background import ACTIVE, BackgroundRun, in_plain_words, interruptible
from resnet_helpers.runs.recipes import RunSettings, prepare_run

SHORT = RunSettings(num_epochs=1, batch_size=10, precision="float32")
LONG = RunSettings(num_epochs=1000, batch_size=10, precision="float32", schedule="constant")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_a_run_gives_the_losses_of_the_same_run_in_the_foreground(few_images):
    run = BackgroundRun(SHORT).start()
    assert run.join(60) and run.state == "finished" and run.error is None
    records = list(prepare_run(SHORT).fit())
    losses = [p.train_loss for p in run.history.records]
    assert losses == pytest.approx([p.train_loss for p in records])
    assert run.history.completed and run.fraction == pytest.approx(1)
    assert run.history.config["model"] == "ResNet-18" and run.history.config["batch_size"] == 10


def test_progress_and_changes_are_told_in_order_and_an_ended_run_stays_so(few_images):
    states, epochs = [], []
    run = BackgroundRun(SHORT, on_progress=lambda _, p: epochs.append(p.epoch),
                        on_change=lambda run: states.append(run.state)).start()
    run.join(60)
    run.pause()
    run.resume()
    run.stop()
    assert states[0] == "training" and set(states) == {"training", "finished"}
    assert run.state == states[-1] == "finished" and not run.is_active()
    assert epochs == sorted(epochs) and epochs[-1] == 1


def test_what_is_done_and_how_long_the_rest_takes_is_told_from_whole_steps(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: now[0])
    run, told = BackgroundRun(SHORT), []
    for _ in run._watched(range(4), Timer(), 1 / 8):
        told.append((run.fraction, run.seconds_left))
        now[0] += 10
    assert told == [(0, None), (1 / 8, 70), (2 / 8, 60), (3 / 8, 50)] and run.fraction == 4 / 8


def test_threads_set_aside_by_an_explorer_do_not_slow_a_run(few_images, monkeypatch):
    monkeypatch.setattr(cpu.SharedCores, "INTERVAL", float("inf"))  # whatever else computes
    before, seen = torch.get_num_threads(), []
    run = BackgroundRun(SHORT, on_progress=lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(before + 1)
    try:
        run.start().join(60)
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before}


# --- pause and stop ---

def test_pause_waits(few_images):
    run = BackgroundRun(LONG).start()
    wait_for(lambda: run.history.records)
    run.pause()
    assert run.state == "paused"

    def is_still():
        before = run.fraction
        time.sleep(1)
        return run.fraction == before

    wait_for(is_still)  # the step that was going on ends
    steps = run.fraction
    time.sleep(1)
    assert run.fraction == steps
    run.resume()
    wait_for(lambda: run.fraction > steps)
    run.stop(wait=20)
    assert run.state == "stopped" and not run.history.completed


def test_the_time_of_a_pause_is_not_counted():
    timer, run = Mock(), BackgroundRun(SHORT)
    run._before_batch(timer)
    assert timer.mock_calls == []
    run.state = "training"
    run.pause()
    threading.Timer(0.1, lambda: [timer.resume(), run.resume()]).start()
    run._before_batch(timer)
    assert [name for name, *_ in timer.mock_calls] == ["stop", "resume", "start"]


@pytest.mark.parametrize("when", ["at once", "training", "paused"])
def test_stop_ends_it_and_keeps_what_was_measured(few_images, when):
    run = BackgroundRun(LONG).start()
    if when != "at once":
        wait_for(lambda: run.history.records)
    if when == "paused":
        run.pause()
    run.stop()
    assert run.join(20) and run.state == "stopped"
    assert bool(run.history.records) == (when != "at once")


def test_stop_does_not_wait_for_the_end_of_a_step():
    stop = threading.Event()

    def look():
        if stop.is_set():
            raise InterruptedError

    class Stopper(nn.Module):
        def forward(self, X):
            stop.set()
            return X

    class Never(nn.Module):
        def forward(self, X):
            raise AssertionError("the layer after the stop was computed")

    net = nn.Sequential(nn.Linear(2, 2), Stopper(), Never())
    with interruptible(net, look), pytest.raises(InterruptedError):
        net(torch.rand(1, 2))
    stop.clear()
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with interruptible(net, look):
        loss = net(torch.rand(1, 2)).sum()
        stop.set()
        with pytest.raises(InterruptedError):
            loss.backward()
    assert net[0].weight.grad is None  # the gradient of the first layer would have come last
    net(torch.rand(1, 2)).sum().backward()  # and nothing is left behind


def test_stopped_weights_are_those_of_the_last_whole_step(few_images):
    run, same = BackgroundRun(LONG, "cpu").start(), False
    wait_for(lambda: run.history.records)
    run.stop(wait=20)
    again, last = prepare_run(LONG, "cpu"), run.history.records[-1].step
    for p in again.fit(reports_per_epoch=4):  # a record for each step
        same = all(map(torch.equal, again.net.parameters(), run.net.parameters()))
        if same or p.step > last + 4:
            break
    assert same and p.step >= last


def test_stop_ends_a_run_that_another_thread_pauses_at_the_same_moment(few_images):
    run = BackgroundRun(LONG).start()
    wait_for(lambda: run.state == "training")
    is_over = threading.Event()

    def press():
        while not is_over.is_set():
            run.pause()
            run.resume()

    thread = threading.Thread(target=press)
    thread.start()
    time.sleep(0.2)
    run.stop()
    ended = run.join(20)
    is_over.set()
    thread.join()
    assert ended and run.state == "stopped"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["pause", "resume", "stop", "wait"]), max_size=8))
def test_any_sequence_of_buttons_ends_well(actions):
    run = BackgroundRun(RunSettings(num_epochs=1, batch_size=500)).start()
    for action in actions:
        time.sleep(0.05) if action == "wait" else getattr(run, action)()
        assert run.state in (*ACTIVE, "finished", "stopped", "failed")
    run.stop()
    assert run.join(30) and run.state in ("stopped", "finished")


# --- failure ---

@pytest.mark.parametrize(("wrong", "message"), [
    ({"lr": 1e30}, "The training loss became "),
    ({"data": "full"}, "The full Fashion-MNIST is not on this machine")])
def test_failure_is_told_in_words(few_images, monkeypatch, wrong, message):
    def load(*args, **kwargs):
        raise d2l.DatasetUnavailableError("the full Fashion-MNIST is not on this machine")

    monkeypatch.setattr(recipes, "load_fashion_mnist", load)
    run = BackgroundRun(RunSettings(num_epochs=1, batch_size=10, **wrong)).start()
    run.join(60)
    assert run.state == "failed" and run.error.startswith(message)


@pytest.mark.parametrize(("error", "words"), [
    (MemoryError(), "smaller batch,"), (torch.OutOfMemoryError("CUDA out"), "smaller batch,"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "smaller batch,"),
    (KeyError(), "KeyError"), (ValueError("what it is"), "What it is")])
def test_an_error_is_put_into_words(error, words):
    assert words in in_plain_words(error)
