"""Kept memory, threads, and weight gradients of small maps: equal to PyTorch's own, and used where
they pay.
"""

import contextlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_python
from torch import nn

import resnet_helpers as d2l
from resnet_helpers.engine import cpu
from resnet_helpers.engine.cpu import SmallMaps, kept_memory
from resnet_helpers.experiments import train_small_net

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc",
                                 reason="another C library: nothing is changed")


# --- small maps ---

def is_ours(Y):
    return "SmallMap" in Y.grad_fn.name()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 3), size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
       channels=st.integers(1, 4),
       out=st.integers(1, 4), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       stride=st.integers(1, 3), padding=st.integers(0, 2), bias=st.booleans())
def test_gradients_are_those_of_the_convolution(n, size, channels, out, kernel, stride, padding,
                                                bias):
    if any(s + 2 * padding < k for s, k in zip(size, kernel, strict=True)):
        return  # no output
    generator = torch.Generator().manual_seed(0)
    X, weight, b = (torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
                    for shape in ((n, channels, *size), (out, channels, *kernel), (out,)))
    b = b if bias else None
    plain = torch.conv2d(X, weight, b, stride, padding)
    ours = cpu._SmallMapConvolution.apply(X, weight, b, (stride, stride), (padding, padding))
    assert torch.equal(ours, plain)
    wanted = [t for t in (X, weight, b) if t is not None]
    direction = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    for gradient, expected in zip(torch.autograd.grad(ours, wanted, direction),
                                  torch.autograd.grad(plain, wanted, direction), strict=True):
        assert torch.allclose(gradient, expected, atol=1e-12)


def test_gradients_have_gradients():
    X, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in
                       ((2, 2, 3, 3), (3, 2, 3, 3), (3,)))
    assert torch.autograd.gradgradcheck(cpu._SmallMapConvolution.apply,
                                        (X, weight, bias, (1, 1), (1, 1)))


@pytest.mark.parametrize(("make", "size", "expected"), [
    (dict(kernel_size=3, padding=1), 4, True), (dict(kernel_size=3, padding=1), 5, False),
    (dict(kernel_size=3, padding=1, stride=2), 8, True), (dict(kernel_size=1), (2, 8), True),
    (dict(kernel_size=3, padding="same"), 4, False),
    (dict(kernel_size=3, padding=2, dilation=2), 4, False),
    (dict(kernel_size=3, padding=1, groups=2), 4, False),
    (dict(kernel_size=3, padding=1, bias=False), 1, True)])
def test_small_maps_of_ordinary_convolutions_are_meant(make, size, expected):
    conv, X = nn.Conv2d(2, 4, **make), torch.rand(3, 2, *cpu._both(size))
    with SmallMaps():
        Y = conv(X)
        assert is_ours(Y) == expected and Y.dtype == (torch.bfloat16 if expected else torch.float32)
        with torch.no_grad():
            assert conv(X).dtype == torch.float32
        conv.weight.requires_grad_(False)
        assert not conv(X).requires_grad or not is_ours(conv(X))
    assert torch.allclose(Y.float(),
                          nn.functional.conv2d(X, conv.weight, conv.bias, conv.stride, conv.padding,
                                                          conv.dilation, conv.groups), atol=0.03)


def test_networks_of_float64_are_left_to_autocast_which_leaves_them_as_they_are():
    conv = nn.Conv2d(2, 4, 3, padding=1).double()
    with torch.autocast("cpu", torch.bfloat16), SmallMaps():
        assert conv(torch.rand(3, 2, 4, 4, dtype=torch.float64)).dtype == torch.float64


def test_every_way_to_call_it():
    X, weight = torch.rand(1, 2, 3, 3), torch.rand(2, 2, 1, 1, requires_grad=True)
    with SmallMaps():
        ways = [torch.conv2d(X, weight),
                nn.functional.conv2d(input=X, weight=weight, stride=[1, 1], padding=(0,)),
                torch.conv2d(X, weight, None, (1,), padding=0)]
        assert all(map(is_ours, ways)) and all(torch.equal(ways[0], way) for way in ways)
        assert torch.conv2d(X[0], weight).shape == (2, 3, 3)  # without a batch: as ever
        with pytest.raises(RuntimeError, match="channels"):
            torch.conv2d(X[:, :1], weight)
        with pytest.raises(RuntimeError, match="[Kk]ernel size"):
            torch.conv2d(X, torch.rand(2, 2, 5, 5, requires_grad=True))
    assert not is_ours(torch.conv2d(X, weight))


def test_a_step_in_bfloat16_takes_that_way_and_float32_does_not():
    used = {}
    for precision in ("bfloat16", "float32"):
        net, names = d2l.resnet18(), []
        for block in net.modules():
            if isinstance(block, nn.Conv2d):
                block.register_forward_hook(lambda _, __, Y, names=names: names.append(is_ours(Y)))
        X, y = torch.rand(4, 1, 28, 28), torch.arange(4)
        for _ in d2l.fit(net, [(X, y)], None, 1, 0.01, precision=precision):
            pass
        used[precision] = sum(names)
    assert used == {"bfloat16": 15, "float32": 0}  # of 20, those of the maps 4x4, 2x2 and 1x1


def test_all_gradients_of_a_network_are_nearly_those_of_plain_bfloat16():
    gradients = []
    for context in (contextlib.nullcontext(), SmallMaps()):
        torch.manual_seed(0)
        net = d2l.resnet18().to(memory_format=torch.channels_last)
        net.apply(d2l.init_weights)
        X, y = torch.rand(32, 1, 28, 28), torch.arange(32) % 10
        with torch.autocast("cpu", torch.bfloat16), context:
            y_hat = net(X)
        nn.functional.cross_entropy(y_hat.float(), y).backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    for name, expected in gradients[0].items():
        # a bias before batch norm has no gradient but rounding
        if "bn" in name or name.endswith("weight"):
            assert (gradients[1][name] - expected).norm() < 0.05 * expected.norm(), name


# --- memory ---

class FakeGlibc:
    def __init__(self):
        self.calls = []

    def mallopt(self, name, value):
        self.calls.append((name, value))
        return 1

    def malloc_trim(self, pad):
        self.calls.append("trim")


def test_memory_is_kept_until_the_last_one_leaves(monkeypatch):
    libc = FakeGlibc()
    monkeypatch.setattr(cpu, "glibc", lambda: libc)
    with pytest.raises(KeyError), kept_memory():
        with kept_memory():
            assert (cpu.M_MMAP_MAX, 0) in libc.calls
        assert "trim" not in libc.calls
        raise KeyError
    assert libc.calls[-1] == "trim" and (cpu.M_MMAP_MAX, 65_536) in libc.calls and cpu._users == 0


def test_memory_is_given_back_unless_a_training_goes_on(monkeypatch):
    libc = FakeGlibc()
    monkeypatch.setattr(cpu, "glibc", lambda: libc)
    with kept_memory():
        cpu.give_back_memory()
        assert "trim" not in libc.calls
    libc.calls.clear()
    cpu.give_back_memory()
    assert libc.calls == ["trim"]


def test_without_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with kept_memory():
        assert cpu._users == 0


# What a process gets from the system depends on what it did before, so these processes do nothing
# else.

PAGE_FAULTS = """
import resource
from resnet_helpers.engine.cpu import kept_memory
import torch

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

page_faults()
outside = page_faults()
with kept_memory():
    page_faults()  # the first blocks have yet to come from the system
    within = page_faults()
assert within < outside / 4, (within, outside)
"""

RESIDENT = """
import os
from pathlib import Path
from resnet_helpers.engine.cpu import kept_memory
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

with kept_memory():
    before = resident()
    blocks = [torch.ones(2**18) for _ in range(200)]  # 200 MiB
    assert resident() - before > 150 * 2**20
    del blocks
    assert resident() - before > 150 * 2**20
assert resident() - before < 50 * 2**20, resident() - before
"""


@needs_glibc
@pytest.mark.slow
@pytest.mark.parametrize("code", [PAGE_FAULTS, RESIDENT],
                         ids=["again without page faults", "back to the system"])
def test_memory_is_kept_during_a_run_and_given_back(code):
    run_python("-c", code, without=("OMP_NUM_THREADS",))


def test_a_run_keeps_memory_and_ends_with_it_however_it_is_left(monkeypatch):
    libc = FakeGlibc()
    monkeypatch.setattr(cpu, "glibc", lambda: libc)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    data = 4 * [(torch.rand(3, 4), torch.tensor([0, 1, 0]))]
    run = d2l.fit(net, data, num_epochs=2)
    next(run)
    assert cpu._users == 1
    run.close()
    assert cpu._users == 0 and libc.calls[-1] == "trim"
    for _ in d2l.fit(net, data, num_epochs=1):
        assert cpu._users == 1
    assert cpu._users == 0


# --- threads ---

WORKERS = """
import ctypes, os
from resnet_helpers.engine import cpu
import torch

def num_threads():
    return len(os.listdir("/proc/self/task"))

def compute():
    torch.rand(1000, 1000).exp_().sum()
    return num_threads()

if not hasattr(ctypes.CDLL(torch._C.__file__), "omp_pause_resource_all"):
    print("an OpenMP that cannot end its workers, such as that of PyTorch 2.4")
elif torch.get_num_threads() == 1:
    print("one core: no workers")
else:
    before = compute()
    cpu.end_workers()
    assert num_threads() == before - (torch.get_num_threads() - 1), (num_threads(), before)
    assert compute() == before
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_the_workers_of_this_thread_end_and_come_back():
    if why := run_python("-c", WORKERS, without=("OMP_NUM_THREADS",)):
        pytest.skip(why)


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setattr(cpu, "IS_FIXED", False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A machine with eight cores on which time passes when it is told to; others compute all the
    time.
    """

    def __init__(self, others=0.0):
        self.others, self.now, self.everything, self.own = others, 100.0, 5000.0, 30.0

    def pass_time(self, seconds, own=1.0):
        self.now += seconds
        self.own += own * seconds
        self.everything += (own + self.others) * seconds

    def install(self, monkeypatch):
        monkeypatch.setattr(cpu.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(cpu, "computing_time", lambda: (self.everything, self.own))
        monkeypatch.setattr(cpu, "usable_cores", lambda: 8)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        return self


def test_threads_make_room_for_others_and_come_back(monkeypatch, four_threads):
    machine = Machine().install(monkeypatch)
    cores = cpu.SharedCores()
    with cores.in_use():
        for others, threads in ((0, 4), (3.9, 4), (5, 3), (6.6, 1), (8, 1), (6, 2), (0.5, 4)):
            machine.others = others
            machine.pass_time(cores.INTERVAL, own=torch.get_num_threads())
            cores.look()
            assert torch.get_num_threads() == threads, others
        machine.others = 8
        machine.pass_time(cores.INTERVAL / 2)
        cores.look()
        assert torch.get_num_threads() == 4  # too early to tell
        machine.pass_time(cores.INTERVAL / 2)
        cores.look()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("why", ["fixed", "unknown", "unknown later"])
def test_the_number_of_threads_is_left_alone(monkeypatch, four_threads, why):
    machine = Machine(others=8).install(monkeypatch)
    if why == "fixed":
        monkeypatch.setattr(cpu, "IS_FIXED", True)
    elif why == "unknown":
        monkeypatch.setattr(cpu, "computing_time", lambda: None)
    cores = cpu.SharedCores()
    if why == "unknown later":  # too many files are open, say
        monkeypatch.setattr(cpu, "computing_time", lambda: None)
    machine.pass_time(cores.INTERVAL)
    cores.look()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("precision", "threads"),
                         [("auto", {4, 1}), ("float32", {4}), ("bfloat16", {4})])
@pytest.mark.parametrize("ends", ["by itself", "when it is left"])
def test_only_a_run_that_may_choose_changes_threads_and_gives_them_back(monkeypatch, four_threads,
                                                                        precision, threads, ends):
    machine, seen = Machine(others=8).install(monkeypatch), set()

    class Net(nn.Linear):
        def forward(self, X):
            seen.add(torch.get_num_threads())
            machine.pass_time(1.0)
            return super().forward(X.flatten(1))

    data = [(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))] * 20
    records = d2l.fit(Net(4, 3), data, num_epochs=2, lr=0.1, precision=precision)
    if ends == "by itself":
        list(records)
    else:
        next(record for record in records if record.step >= 12)
        records.close()
    assert seen == threads and torch.get_num_threads() == 4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").is_file(),
                    reason="the system does not tell how busy it is")
def test_busy_programs_are_noticed(four_threads):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count())]
    try:
        time.sleep(0.5)
        cores = cpu.SharedCores()
        with cores.in_use():
            time.sleep(cores.INTERVAL)
            cores.look()
            assert torch.get_num_threads() == 1
    finally:
        for program in busy:
            program.kill()
            program.wait()


def test_small_nets_are_trained_in_one_thread_wherever_that_happens(four_threads, few_images):
    net, loss = train_small_net(4, num_epochs=1)
    assert torch.get_num_threads() == 4
    torch.set_num_threads(1)
    again, same_loss = train_small_net(4, num_epochs=1)
    assert loss == same_loss
    assert all(a.equal(b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
