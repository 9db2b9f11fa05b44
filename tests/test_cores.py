"""Limits of memory and cores, as systems and containers set them."""

import os
import sys
import time

import pytest
from processes import run_python

from resnet_helpers.engine import cores

linux = pytest.mark.skipif(not sys.platform.startswith("linux"),
                           reason="control groups are Linux's")
GROUP = {"memory.max": "1000\n", "memory.current": "700\n", "cpu.max": "max 100000\n",
         "memory.stat": "anon 1\ninactive_file 20\nactive_file 5\n"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A function that makes the control group at a path below the root; this process is in
    /user.slice/class.
    """
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUP", tmp_path / "own")
    monkeypatch.delenv("CPU_LIMIT", raising=False)
    (tmp_path / "own").write_text("0::/user.slice/class\n")

    def make(path, **changes):
        folder = tmp_path / "cgroup" / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**GROUP,
                              **{name.replace("_", "."): text for name,
                                 text in changes.items()}}.items():
            (folder / name).write_text(content)
    return make


def test_memory_limits_hold_up_the_tree(groups):
    groups("user.slice/class", memory_max="max\n")
    groups("user.slice")
    assert list(cores.memory_left_in_groups()) == [325]
    groups("user.slice/class", memory_max="800\n")
    assert sorted(cores.memory_left_in_groups()) == [125, 325]


@linux
def test_the_least_limit_counts(groups):
    free = cores.available_memory()
    assert free > 2**20
    groups("user.slice")
    assert cores.available_memory() == 325


@pytest.mark.parametrize("own", ["12:memory:/old\n", "", None])
def test_other_systems_have_no_groups(groups, tmp_path, own):
    (tmp_path / "own").unlink() if own is None else (tmp_path / "own").write_text(own)
    # the root group, if there is one, has no limits
    assert list(cores.memory_left_in_groups()) == []


@pytest.mark.parametrize(("quota", "number"),
                         [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1),
                                              ("nonsense", 64), ("1 0", 64)])
def test_a_share_of_the_time_is_rounded_up_to_cores(groups, monkeypatch, quota, number):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    groups("user.slice", cpu_max=quota)
    assert cores.usable_cores() == number


@pytest.mark.parametrize(("limit", "number"),
                         [("2", 2), ("0.5", 1), ("0", 1), ("100", 64), ("many", 64), ("inf", 64)])
def test_the_hubs_limit_is_read(groups, monkeypatch, limit, number):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setenv("CPU_LIMIT", limit)
    assert cores.usable_cores() == number


def test_cores_that_the_process_is_bound_to(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cores.usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.usable_cores() == os.cpu_count()


# hundredths of a second; 300, 20, 80, 6, 4, 10 are work
CLOCK = "cpu  300 20 80 5000 900 6 4 10 70 0\ncpu0 1 2 3\n"


@linux
def test_time_that_the_cores_have_computed(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "CLOCKS", tmp_path / "stat")
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    assert cores.computing_time() is None  # another system
    for damaged in ("", "cpu\n", "cpu a b c d e f g h\n"):
        (tmp_path / "stat").write_text(damaged)
        assert cores.computing_time() is None
    (tmp_path / "stat").write_text(CLOCK)
    before = time.process_time()
    everything, own = cores.computing_time()
    assert everything == 4.2 and before <= own <= time.process_time()


FIT = """
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
list(d2l.fit(net, [(torch.ones(3, 1, 2, 2), torch.tensor([0, 1, 1]))], num_epochs=1))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "variables", "threads"), [
    ("import torch, resnet_helpers as d2l; torch.set_num_threads(3)" + FIT, {"CPU_LIMIT": "1"}, 1),
    ("import torch, resnet_helpers as d2l; torch.set_num_threads(3)" + FIT,
     {"CPU_LIMIT": "1", "OMP_NUM_THREADS": "3"}, 3),
    ("import resnet_helpers, torch", {"CPU_LIMIT": "1"}, 1),
    ("import resnet_helpers, torch", {"CPU_LIMIT": "2", "OMP_NUM_THREADS": "1"}, 1),
    ("import resnet_helpers, torch", {}, None)])
def test_no_more_threads_than_cores_unless_the_user_says_so(code, variables, threads):
    printed = run_python("-c", f"{code}\nprint(torch.get_num_threads())",
                         without=("OMP_NUM_THREADS", "CPU_LIMIT"), **variables)
    assert int(printed) == threads if threads else int(printed) <= cores.usable_cores()


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "is_fixed"), [({"CPU_LIMIT": "1"}, False),
                                                     ({"CPU_LIMIT": "1", "OMP_NUM_THREADS": "2"},
                                                      True)])
def test_a_child_process_knows_whether_the_user_chose_the_number_of_threads(variables, is_fixed):
    child = "from resnet_helpers.engine import cores; print(cores.IS_FIXED)"
    parent = ("import resnet_helpers, subprocess, sys\n"
              f"subprocess.run([sys.executable, '-c', {child!r}], check=True)")
    printed = run_python("-c", parent, without=("OMP_NUM_THREADS", cores.OUR_NUM_THREADS),
                         **variables)
    assert printed.strip() == str(is_fixed)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "variables", "count"), [
    ("import resnet_helpers", {}, "2000"), ("import resnet_helpers", {"GOMP_SPINCOUNT": "7"}, "7"),
    ("import torch, resnet_helpers", {}, "None")])
def test_threads_are_told_before_they_exist_not_to_keep_cores_from_others(code, variables, count):
    printed = run_python("-c", f"{code}, os\nprint(os.environ.get('GOMP_SPINCOUNT'))",
                         without=("GOMP_SPINCOUNT",), **variables)
    assert printed.strip() == count
