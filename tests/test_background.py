"""Runs from settings, and the same in the background: pause, stop, failure."""

import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import resnet_helpers as d2l
from resnet_helpers.engine import cpu
from resnet_helpers.runs import background as background_module
from resnet_helpers.runs import recipes
from resnet_helpers.runs.background import ACTIVE, BackgroundRun, in_plain_words, interruptible
from resnet_helpers.runs.recipes import RunSettings, prepare_run

QUICK = {"num_epochs": 1, "batch_size": 10}


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


# --- in the background ---

def test_background_run_gives_the_losses_of_the_same_run_in_the_foreground(few_images):
    settings = RunSettings(**QUICK, precision="float32")
    background = BackgroundRun(settings).start()
    assert background.join(60) and background.state == "finished" and background.error is None
    run = prepare_run(settings)
    records = list(d2l.fit(run.net, run.train_iter, run.test_iter, 1, optimizer=run.optimizer,
                           scheduler=run.scheduler, precision="float32"))
    assert [r.train_loss for r in background.history.records] == pytest.approx([r.train_loss for r in records])
    assert background.history.completed and background.fraction == pytest.approx(1)
    assert background.history.config["model"] == "ResNet-18" and background.history.config["batch_size"] == 10


def test_progress_and_changes_are_told_in_order(few_images):
    states, epochs = [], []
    run = BackgroundRun(RunSettings(**QUICK), on_progress=lambda _, p: epochs.append(p.epoch),
                        on_change=lambda run: states.append(run.state)).start()
    run.join(60)
    assert states[0] == "training" and states[-1] == "finished" and "stopped" not in states
    assert epochs == sorted(epochs) and epochs[-1] == 1


def test_what_is_done_and_how_long_the_rest_takes_is_told_from_whole_steps(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(background_module.time, "monotonic", lambda: now[0])
    run, told = BackgroundRun(RunSettings()), []
    for _ in run._watched(range(4), None, 1 / 8):
        told.append((run.fraction, run.seconds_left))
        now[0] += 10
    assert told == [(0, None), (1 / 8, 70), (2 / 8, 60), (3 / 8, 50)] and run.fraction == 4 / 8


def test_threads_set_aside_by_an_explorer_do_not_slow_a_run(few_images, monkeypatch):
    monkeypatch.setattr(cpu.SharedCores, "INTERVAL", float("inf"))  # whatever else the machine does
    run = BackgroundRun(RunSettings(**QUICK))
    before, seen = torch.get_num_threads(), []
    run.on_progress = lambda *_: seen.append(torch.get_num_threads())
    torch.set_num_threads(before + 1)
    try:
        run.start().join(60)
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before}


def test_pause_waits_and_its_time_is_not_counted(few_images):
    run = BackgroundRun(RunSettings(num_epochs=50, batch_size=10)).start()
    wait_for(lambda: run.history.records)
    run.pause()
    assert run.state == "paused"
    time.sleep(0.5)  # the step that was going on ends
    steps, counted = run.fraction, run._timer.sum()
    time.sleep(0.5)
    assert run.fraction == steps and run._timer.sum() == counted
    run.resume()
    wait_for(lambda: run.fraction > steps)
    run.stop(wait=20)
    assert run.state == "stopped" and not run.history.completed


@pytest.mark.parametrize("when", ["at once", "training", "paused"])
def test_stop_ends_it_and_keeps_what_was_measured(few_images, when):
    run = BackgroundRun(RunSettings(num_epochs=1000, batch_size=10)).start()
    if when != "at once":
        wait_for(lambda: run.history.records)
    if when == "paused":
        run.pause()
    run.stop()
    assert run.join(20) and run.state == "stopped"
    assert bool(run.history.records) == (when != "at once")


def test_stop_does_not_wait_for_the_end_of_a_step():
    stop = threading.Event()

    def check():
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
    with interruptible(net, check), pytest.raises(InterruptedError):
        net(torch.rand(1, 2))
    stop.clear()
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with interruptible(net, check):
        loss = net(torch.rand(1, 2)).sum()
        stop.set()
        with pytest.raises(InterruptedError):
            loss.backward()
    assert net[0].weight.grad is None  # the gradient of the first layer would have come last
    net(torch.rand(1, 2)).sum().backward()  # and nothing is left behind


def test_stopped_weights_are_those_of_the_last_whole_step(few_images):
    settings, whole = RunSettings(num_epochs=1000, batch_size=10, schedule="constant", precision="float32"), []
    run = BackgroundRun(settings, "cpu").start()
    wait_for(lambda: run.history.records)
    run.stop(wait=20)
    again = prepare_run(settings, "cpu")
    for p in again.fit(reports_per_epoch=4):  # a record for each step
        whole.append(all(map(torch.equal, again.net.parameters(), run.net.parameters())))
        if whole[-1] or p.step > run.history.records[-1].step + 4:
            break
    assert whole[-1] and p.step >= run.history.records[-1].step


def test_nothing_happens_to_a_run_that_has_ended(few_images):
    run = BackgroundRun(RunSettings(**QUICK)).start()
    run.join(60)
    run.pause()
    run.resume()
    run.stop()
    assert run.state == "finished"


def test_failure_is_told_in_words(few_images):
    run = BackgroundRun(RunSettings(lr=1e30, **QUICK)).start()
    run.join(60)
    assert run.state == "failed" and "learning rate" in run.error


def test_missing_data_is_told_in_words(monkeypatch):
    def load(*args, **kwargs):
        raise d2l.DatasetUnavailableError("the full Fashion-MNIST is not on this machine")
    monkeypatch.setattr(recipes, "load_fashion_mnist", load)
    run = BackgroundRun(RunSettings(data="full")).start()
    run.join(60)
    assert run.state == "failed" and run.error.startswith("The full Fashion-MNIST is not")


@pytest.mark.parametrize("error", [
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes")])
def test_full_memory_is_told_with_what_helps(error):
    assert "smaller batch," in in_plain_words(error)


def test_an_error_without_words_is_named():
    assert in_plain_words(KeyError()) == "KeyError"


def test_stop_ends_a_run_that_another_thread_pauses_at_the_same_moment(few_images):
    run = BackgroundRun(RunSettings(num_epochs=1000, batch_size=10)).start()
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
    run = BackgroundRun(RunSettings(num_epochs=1, batch_size=500, depth=18))
    run.start()
    for action in actions:
        time.sleep(0.05) if action == "wait" else getattr(run, action)()
        assert run.state in (*ACTIVE, "finished", "stopped", "failed")
    run.stop()
    assert run.join(30) and run.state in ("stopped", "finished")
