"""Files that are written while processes are killed, disks full, folders closed, and others write them too."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from resnet_helpers import train
from resnet_helpers.history import History
from resnet_helpers.runs.checkpoints import load_checkpoint
from resnet_helpers.runs.files import ABANDONED, written_whole

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, no SIGKILL, no limits of this kind")
NAMES = ["run.json", "my run.json", "Übung 训练.json", "run [1]*?.json" if os.name == "posix" else "run [1].json"]


def write(path, text="new"):
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def content(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


# --- names, links, neighbours ---

@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_written_and_replaced(tmp_path, name):
    write(tmp_path / name, "old")
    write(str(tmp_path / name))
    assert content(tmp_path) == {name: "new"}


@pytest.mark.parametrize("name", NAMES)
def test_what_killed_processes_left_is_removed_after_an_hour(tmp_path, name):
    with contextlib.suppress(KeyboardInterrupt), written_whole(tmp_path / name) as temporary:
        temporary.write_text("half", encoding="utf-8")
        left_over = temporary.name
        raise KeyboardInterrupt
    assert content(tmp_path) == {}
    now = time.time()
    ages = {left_over: ABANDONED + 60, left_over.replace(name, "other" + name): 2 * ABANDONED,
            left_over.replace(".tmp", ".temp"): 2 * ABANDONED, f"{name}.2024.tmp": 2 * ABANDONED,
            f"{name}.{'0' * 16}.tmp": ABANDONED - 60}
    for other, age in ages.items():
        (tmp_path / other).write_text("half", encoding="utf-8")
        os.utime(tmp_path / other, (now - age, now - age))
    write(tmp_path / name)
    assert content(tmp_path).keys() == {name, *ages} - {left_over}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write(tmp_path / "run.json", "old")
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "run.json") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert content(tmp_path) == {"run.json": "old"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users of Windows rarely have")
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, exists):
    here, disk = tmp_path / "here", tmp_path / "disk"
    here.mkdir(), disk.mkdir()
    if exists:
        (disk / "real.json").write_text("old")
    (here / "middle.json").symlink_to(disk / "real.json")
    (here / "run.json").symlink_to("middle.json")
    with written_whole(here / "run.json") as temporary:
        assert temporary.parent == disk  # else it could not be moved to the other disk
        temporary.write_text("new")
    assert (here / "run.json").is_symlink() and (here / "middle.json").is_symlink() and not list(here.glob("*.tmp"))
    assert content(disk) == {"real.json": "new"}


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert read == ["new"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(("name", "error"), [("missing/run.json", FileNotFoundError), ("folder", OSError)])
def test_the_error_names_the_file_and_not_the_temporary_one(tmp_path, name, error):
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        History().save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name) and ".tmp" not in str(caught.value)
    assert content(tmp_path / "folder") == {}


def test_two_threads_that_write_the_same_file_leave_it_whole(tmp_path):
    texts = [str(i) * 10**6 for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: write(tmp_path / "run", text), 5 * texts))
    assert content(tmp_path).keys() == {"run"} and (tmp_path / "run").read_text() in texts


# --- kill -9 ---

SAVE_IN_A_LOOP = '''
import os, random, signal, sys, time
import torch
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.recipes import RunSettings, prepare_run
from resnet_helpers.training import History

torch.set_num_threads(1)
path, kills = sys.argv[1], int(sys.argv[2])
run = prepare_run(RunSettings(), "cpu")

def save(epoch):
    history = History()
    history.add(epoch, 1, 1.0, 0.5, 0.5, 1, 1.0)
    save_checkpoint(path, run, history)

def start(first, step, tell):
    """A child that saves epochs first, first + step, ..., and tells what has been saved."""
    child = os.fork()
    if child:
        return child
    while True:
        save(first)
        os.write(tell, b"%d\\n" % first)
        first += step

save(0)
saved, halves, rng = 0, 0, random.Random(0)
for _ in range(kills):
    read, tell = os.pipe()
    child = start(saved + 1, 1, tell)
    os.close(tell)
    time.sleep(rng.uniform(0.005, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = os.fdopen(read).read().split()
    saved = int(told[-1]) if told else saved
    found = load_checkpoint(path).history.records[-1].epoch
    assert found in (saved, saved + 1), (found, saved)
    saved = found
    for name in os.listdir(os.path.dirname(path)):
        if name.endswith(".tmp"):
            halves += 1
            os.unlink(os.path.join(os.path.dirname(path), name))

read, tell = os.pipe()  # two at once
children = [start(first, 2, tell) for first in (10**6, 10**6 + 1)]
for _ in range(8):
    os.read(read, 8)
    load_checkpoint(path)
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
assert load_checkpoint(path).history.records[-1].epoch >= 10**6
print(halves)
'''


@pytest.mark.slow
@posix
def test_killed_while_it_is_saved_a_checkpoint_is_the_last_or_the_one_before(tmp_path):
    process = subprocess.run([sys.executable, "-c", SAVE_IN_A_LOOP, str(tmp_path / "run.pt"), "50"],
                             capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 0, "no kill came while a file was being written"


# --- the command line, on a disk that is full at times ---

TRAIN = '''
import contextlib, io, json, os, resource, sys
from resnet_helpers import recipes, train
from resnet_helpers.data import FashionMNIST, load_fashion_mnist_subset
from resnet_helpers.training import History

data = load_fashion_mnist_subset()
few = FashionMNIST(data.train_images[:40], data.train_labels[:40], data.test_images[:20], data.test_labels[:20])
recipes.load_fashion_mnist_subset = lambda: few
save = train.Report.save

def save_with_trouble(report, **kwargs):
    trouble = plan.get(round(report.history.records[-1].epoch))
    try:
        if trouble == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, resource.RLIM_INFINITY))
        elif trouble == "folder":  # one is in the way of the history
            os.rename("run.json", "before.json")
            os.mkdir("run.json")
        save(report, **kwargs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        if trouble == "folder":
            os.rmdir("run.json")
            os.rename("before.json", "run.json")

train.Report.save = save_with_trouble
outcomes = []
for folder, plan, options in json.loads(sys.argv[1]):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    plan = {int(epoch): trouble for epoch, trouble in plan.items()}
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = train.main(["--num-epochs", "4", "--batch-size", "20", "--image-size", "8", "--precision", "float32",
                             "--device", "cpu", "--checkpoint", "run.pt", *options])
    outcomes.append([status, errors.getvalue(), sorted(os.listdir("."))])
    os.chdir("..")

os.mkdir("closed")
os.chmod("closed", 0o555)
if os.getuid() == 0:  # who may write anywhere
    os.setuid(65534)
errors = io.StringIO()
with contextlib.redirect_stderr(errors):
    try:
        train.main(["--checkpoint", "closed/run.pt"])
    except SystemExit as end:
        outcomes.append([end.code, errors.getvalue(), os.listdir("closed")])
try:
    History().save("closed/run.json")
except OSError as error:
    outcomes.append(str(error))
print(json.dumps(outcomes))
'''
FULL, WAY = "full", "folder"
PLANS = {  # folder: (epoch: trouble, options)
    "at times": ({2: FULL, 3: FULL}, ["--history", "run.json"]),
    "at the end": ({4: FULL}, ["--history", "run.json"]),
    "at first": ({1: FULL}, []),
    "history": ({3: WAY}, ["--history", "run.json", "--picture", "run.png"]),
    "history at the end": ({4: WAY}, ["--history", "run.json"]),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """(folder, {name of the plan: [exit status, what it said, files]}); "closed" is about a folder of somebody else."""
    if sys.platform == "win32":
        pytest.skip("Windows has no limits of this kind")
    folder = tmp_path_factory.mktemp("disk")
    folder.chmod(0o755)
    plans = [(name, *plan) for name, plan in PLANS.items()]
    plans += [("at the end", {}, ["--resume"]), ("history at the end", {}, ["--resume", "--history", "run.json"])]
    process = subprocess.run([sys.executable, "-c", TRAIN, json.dumps(plans)], capture_output=True, text=True,
                             cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                             timeout=300)
    assert process.returncode == 0, process.stderr
    names = [*PLANS, "resumed at the end", "resumed history", "closed", "closed history"]
    return folder, dict(zip(names, json.loads(process.stdout.splitlines()[-1]), strict=True))


def epoch_of(path):
    return load_checkpoint(path).history.records[-1].epoch


STAYS = "could not write run.pt: File too large; what epoch {} left there stays"


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while_costs_nothing_and_is_told_once_per_epoch(outcomes):
    folder, found = outcomes
    status, said, files = found["at times"]
    assert status == 0 and files == ["run.json", "run.pt"]
    assert said.splitlines() == 2 * [STAYS.format(1) + "; trying again after the next epoch"]
    assert epoch_of(folder / "at times/run.pt") == 4 and History.load(folder / "at times/run.json").completed


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_is_a_failure_that_can_be_gone_on_from(outcomes):
    folder, found = outcomes
    status, said, files = found["at the end"]
    assert status == 1 and files == ["run.json", "run.pt"]  # the history could be written
    stays, end = said.splitlines()
    assert stays == STAYS.format(3) and "complete, but could not be written to run.pt. Make room" in end
    assert "run this again with --resume" in end
    assert found["resumed at the end"][0] == 0 and epoch_of(folder / "at the end/run.pt") == 4


@pytest.mark.slow
def test_a_first_write_that_fails_ends_the_run_at_once_with_what_the_system_said(outcomes):
    status, said, files = outcomes[1]["at first"]
    assert status == 1 and files == []
    assert said.count("\n") == 1 and "Could not write run.pt: File too large. Name another file" in said


@pytest.mark.slow
def test_a_history_that_cannot_be_written_keeps_neither_checkpoint_nor_picture_from_it(outcomes):
    folder, found = outcomes
    status, said, files = found["history"]
    assert status == 0 and files == ["run.json", "run.png", "run.pt"] and epoch_of(folder / "history/run.pt") == 4
    assert said.count("\n") == 1 and said.startswith("could not write run.json: Is a directory; what epoch 2 left")


@pytest.mark.slow
def test_a_history_that_was_not_written_at_the_end_can_be_had_from_the_checkpoint(outcomes):
    folder, found = outcomes
    status, said, _ = found["history at the end"]
    assert status == 1 and "could not be written to run.json" in said.splitlines()[-1]
    assert found["resumed history"][:2] == [0, ""]
    assert History.load(folder / "history at the end/run.json").completed


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_to_is_told_before_training(outcomes):
    status, said, files = outcomes[1]["closed"]
    assert status == 2 and files == [] and "you may not write to the folder closed" in said
    assert outcomes[1]["closed history"] == "[Errno 13] Permission denied: 'closed/run.json'"


def test_a_folder_in_the_place_of_a_file_is_told_before_training(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["--history", str(tmp_path)])
    assert end.value.code == 2 and f"{tmp_path} is a folder; name a file" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users of Windows rarely have")
def test_a_checkpoint_can_be_a_link_to_another_disk(few_images, narrow_net, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.pt").symlink_to(tmp_path / "disk/real.pt")
    arguments = ["--num-epochs", "1", "--batch-size", "20", "--precision", "float32", "--device", "cpu", "--quiet",
                 "--checkpoint", str(tmp_path / "run.pt")]
    assert train.main(arguments) == 0 and (tmp_path / "run.pt").is_symlink()
    assert epoch_of(tmp_path / "disk/real.pt") == 1 and train.main([*arguments, "--resume"]) == 0
