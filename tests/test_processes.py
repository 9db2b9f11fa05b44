"""Two processes under torchrun train as one does; and one that dies ends the job."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distributed_step import SETTINGS, few
from torch import nn

import resnet_helpers as d2l
from resnet_helpers.runs import processes
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.processes import (
    Group,
    SynchronizedBatchNorm2d,
    own_device,
    process_group,
    synchronize_batch_norms,
)
from resnet_helpers.runs.recipes import RunSettings, prepare_run

ROOT = Path(__file__).parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="this PyTorch cannot start several processes here")


def torchrun(*arguments):
    """What a job of two processes wrote, and how it ended."""
    return subprocess.run([*TORCHRUN, *map(str, arguments)], capture_output=True, text=True,
                          timeout=300, cwd=ROOT)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two processes ended with, by whether batch norm was synchronised."""
    ends = {}
    for mode in ("synchronize", "apart"):
        folder = tmp_path_factory.mktemp(mode)
        done = torchrun("tests/distributed_step.py", folder, mode)
        assert done.returncode == 0, done.stderr
        ends[mode] = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return ends


def assert_close(a, b):
    """Two nets are the same but for rounding, which each of two steps makes 100 times larger."""
    for name in a:
        torch.testing.assert_close(a[name].double(), b[name].double(), rtol=1e-3, atol=2e-4,
                                   msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow
def test_with_synchronised_batch_norm_two_processes_do_what_one_does(two_processes):
    run = few(prepare_run(SETTINGS, "cpu"))
    records = list(run.fit())
    first, second = two_processes["synchronize"]
    assert_close(first["net"], run.net.state_dict())
    for p, q in zip(records, first["records"], strict=True):
        assert (p.step, p.examples, p.epoch) == (q["step"], q["examples"], q["epoch"])
        assert q["train_loss"] == pytest.approx(p.train_loss, rel=1e-4)
        assert q["train_acc"] == pytest.approx(p.train_acc, abs=1e-6)
    assert first["records"][-1]["test_acc"] == records[-1].test_acc is not None


@pytest.mark.slow
def test_without_each_part_is_normalised_by_itself_and_the_gradients_are_averaged(two_processes):
    run = few(prepare_run(SETTINGS, "cpu"))
    net, other = run.net.train(), copy.deepcopy(run.net).train()  # of the first, of the second
    for X, y in run.train_iter:
        run.optimizer.zero_grad()
        other.load_state_dict(net.state_dict())
        other.zero_grad()
        run.loss(net(X[0::2]), y[0::2]).backward()
        run.loss(other(X[1::2]), y[1::2]).backward()
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            p.grad = (p.grad + q.grad) / 2
        run.optimizer.step()
        run.scheduler.step()
    first, _ = two_processes["apart"]
    assert_close(first["net"], net.state_dict())


@pytest.mark.slow
def test_all_processes_end_with_the_same_weights_and_records(two_processes):
    for first, second in two_processes.values():
        for (name, a), b in zip(first["net"].items(), second["net"].values(), strict=True):
            if "running" not in name:  # the others' are those of their own last part, and not saved
                assert torch.equal(a, b), name
        for p, q in zip(first["records"], second["records"], strict=True):
            assert {**p, "seconds": 0} == {**q, "seconds": 0}


def test_synchronised_batch_norm_of_one_process_is_batch_norm(group_of_one):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(nn.BatchNorm2d(3, momentum=0.3)))
    nn.init.uniform_(net[1][0].weight), nn.init.uniform_(net[1][0].bias)
    other, X = copy.deepcopy(net), 5 + 3 * torch.randn(4, 2, 6, 6)
    synchronize_batch_norms(other)
    assert type(other[1][0]) is SynchronizedBatchNorm2d
    assert other.state_dict().keys() == net.state_dict().keys()
    for model in (net, other):
        (model(X) ** 3).sum().backward()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)
    for a, b in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(net.eval()(X), other.eval()(X))


def test_one_process_needs_no_group():
    with process_group("cpu") as group:
        assert (group.rank, group.world_size, group.is_main) == (0, 1, True)
        net, tensor = nn.Linear(2, 2), torch.ones(2)
        assert group.wrap(net) is net and group.all_reduce(tensor) is tensor
    assert not Group(torch.device("cpu"), 1, 2).is_main


@pytest.mark.parametrize(("device", "rank", "number", "gpus", "expected"), [
    (None, 1, 2, 2, "cuda:1"), ("cuda", 0, 2, 4, "cuda:0"), ("cuda", 1, 2, 4, "cuda:1"),
    (None, 1, 2, 0, "cpu"), ("cpu", 1, 4, 2, "cpu"), ("cuda:1", 0, 1, 2, "cuda:1"),
    (None, 3, 4, 2, "4 processes need as many GPUs, and there are 2: start a process for each GPU"),
    ("cuda", 3, 4, 2, "4 processes need as many GPUs"),
    ("cuda:1", 3, 4, 2, "4 processes cannot share cuda:1: with --device cuda"),
    ("mps", 3, 4, 2, "not on mps: add --device cpu")])
def test_each_process_takes_a_gpu_of_its_own_or_says_that_there_are_too_few(
        monkeypatch, device, rank, number, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    try:
        found = str(own_device(device, rank, number))
    except ValueError as error:
        found = f"refused: {error}"
    assert expected in found and found.startswith("refused") == (" " in expected)


@pytest.mark.parametrize(("gain", "expected"), [(3.0, "bfloat16"), (1.1, "float32")])
def test_several_processes_take_the_precision_that_suits_the_first(monkeypatch, gain, expected):
    monkeypatch.setattr(processes, "bfloat16_gain", lambda device: gain)
    given, cpu = [], torch.device("cpu")
    monkeypatch.setattr(Group, "all_reduce", lambda group, tensor:
                        given.append(tensor.item()) or torch.tensor([gain]))
    assert [Group(cpu, rank, 2).choose_precision("auto") for rank in range(2)] == 2 * [expected]
    assert given == pytest.approx([gain, 0])  # the others add nothing
    assert Group(cpu, 0, 2).choose_precision("float32") == "float32"


@pytest.mark.slow
def test_process_that_does_not_answer_ends_the_job(tmp_path):
    done = torchrun("tests/distributed_step.py", tmp_path, "freeze")  # it would sleep for an hour
    assert done.returncode != 0
    assert re.search("[Tt]imed? ?out", done.stderr) and not list(tmp_path.iterdir())


# --- the command line in two processes ---

QUICK = ["-m", "resnet_helpers.train", "--num-epochs", "2", "--image-size", "8",
         "--batch-size", "500", "--precision", "float32", "--device", "cpu"]


@pytest.mark.slow
def test_only_the_first_process_prints_and_saves(tmp_path):
    done = torchrun(*QUICK, "--checkpoint", tmp_path / "run.pt", "--history", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "training ResNet-18 on cpu, 2 processes"
    assert [line[:12] for line in lines[1:3]] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert len(lines) == 5
    history = d2l.History.load(tmp_path / "run.json")
    assert history.completed and history.records[-1].examples == 12_000
    assert history.config["model"] == "ResNet-18" and ", 2 processes, torch" in history.machine
    assert load_checkpoint(tmp_path / "run.pt").history == history


@pytest.mark.slow
def test_batch_that_cannot_be_shared_ends_the_job_with_advice():
    done = torchrun(*QUICK, "--batch-size", "33")
    assert done.returncode != 0 and "take batches of 32 or 34" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--seed $RANK", "--checkpoint run$RANK.pt --resume"])
def test_processes_that_would_train_different_things_end_the_job_with_advice(tmp_path, options):
    run = prepare_run(
        RunSettings(num_epochs=2, image_size=8, batch_size=500, precision="float32"), "cpu")
    history = d2l.History(records=[d2l.Progress(1, 94, 1.0, 0.5, 0.5, 6000, 1.0)])
    save_checkpoint(tmp_path / "run1.pt", run, history)
    command = f"cd {tmp_path} && {sys.executable} {' '.join(QUICK)} {options}"
    done = torchrun("--no-python", "sh", "-c", command)
    assert "were started with different options or checkpoints" in done.stderr
    assert done.returncode != 0 and "epoch 1" not in done.stdout


@pytest.mark.slow
def test_two_processes_choose_their_precision_together(tmp_path):
    history = tmp_path / "run.json"
    done = torchrun(*QUICK, "--precision", "auto", "--sync-batch-norm", "--num-epochs", "1",
                    "--history", history)
    assert done.returncode == 0, done.stderr
    config = d2l.History.load(history).config
    assert config["precision"] in ("bfloat16", "float32")
    assert config["sync_batch_norm"] and config["processes"] == 2


@pytest.mark.slow
def test_process_that_dies_ends_the_job_and_a_restart_goes_on_from_the_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    arguments = [*QUICK, "--checkpoint", str(path), "--resume"]
    job = subprocess.Popen([*TORCHRUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, cwd=ROOT)
    try:
        assert any(line.startswith("epoch 1") for line in job.stdout)
        end = time.monotonic() + 60
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.01)
        workers = subprocess.run(["pgrep", "-P", str(job.pid), "-f", "resnet_helpers.train"],
                                 capture_output=True, text=True).stdout.split()
        assert len(workers) == 2
        os.kill(int(workers[1]), signal.SIGKILL)
        _, error = job.communicate(timeout=120)
    finally:
        job.terminate()  # torchrun ends its workers
    assert job.returncode != 0 and "SIGKILL" in error
    assert load_checkpoint(path).history.records[-1].epoch == 1
    again = torchrun(*arguments)
    assert again.returncode == 0, again.stderr
    assert "epoch 2 of 2" in again.stdout and "epoch 1 of 2" not in again.stdout
