"""Files that are written while processes are killed, disks full, and others write them, too."""

import contextlib
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from resnet_helpers.history import History
from resnet_helpers.runs.checkpoints import save_checkpoint
from resnet_helpers.runs.files import ABANDONED, picture_obstacle, write_obstacle, written_whole
from resnet_helpers.runs.recipes import RunSettings, prepare_run

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes and no SIGKILL")
links = pytest.mark.skipif(sys.platform == "win32", reason="few users of Windows may make links")
NAMES = ["run.json", "my run.json", "Übung 训练.json",
         "run [1]*?.json" if os.name == "posix" else "run [1].json"]


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


def test_a_checkpoint_that_a_full_disk_cuts_leaves_the_older_one(few_images, tmp_path, monkeypatch):
    run, path = prepare_run(RunSettings(), "cpu"), tmp_path / "run.pt"
    save_checkpoint(path, run, History())
    before = path.read_bytes()

    def fill_up(content, file):
        file.write(b"some of it")
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 768 vs 662") from None  # as torch does

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(OSError, match="No space left on device: .*run.pt'"):
        save_checkpoint(path, run, History())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@links
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
    assert (here / "run.json").is_symlink() and (here / "middle.json").is_symlink()
    assert not list(here.glob("*.tmp")) and content(disk) == {"real.json": "new"}


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write(pipe)
    reader.join(10)
    assert read == ["new"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize(("name", "error"), [
    ("missing/run.json", FileNotFoundError), ("file/run.json", OSError), ("folder", OSError)])
def test_the_error_names_the_file_and_not_the_temporary_one(tmp_path, name, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error) as caught:
        History().save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name) and ".tmp" not in str(caught.value)
    assert content(tmp_path / "folder") == {}


def test_threads_that_write_the_same_file_leave_it_whole(tmp_path):
    texts = [str(i) * 10**6 for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: write(tmp_path / "run", text), 5 * texts))
    assert content(tmp_path).keys() == {"run"} and (tmp_path / "run").read_text() in texts


# --- what is known beforehand ---

def test_what_surely_keeps_a_file_from_being_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    assert write_obstacle(tmp_path / "run.json") == ""
    assert write_obstacle(tmp_path / "gone/run.json") == (
        f"there is no folder {tmp_path / 'gone'} for run.json")
    assert write_obstacle(tmp_path / "folder") == f"{tmp_path / 'folder'} is a folder; name a file"
    assert picture_obstacle(tmp_path / "run.png") == picture_obstacle(tmp_path / "run") == ""
    assert "pictures cannot be of the kind .doc" in picture_obstacle(tmp_path / "run.doc")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert write_obstacle(tmp_path / "run.json") == (
        f"you may not write to the folder {tmp_path}; name a file in another")


# --- kill -9 ---

SAVE_IN_A_LOOP = '''
import os, random, signal, sys, time
import torch
from resnet_helpers.history import History
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.recipes import RunSettings, prepare_run

torch.set_num_threads(1)
path, kills = sys.argv[1], int(sys.argv[2])
run = prepare_run(RunSettings(), "cpu")

def save(epoch):
    history = History()
    history.add(epoch, 1, 1.0, 0.5, 0.5, 1, 1.0)
    save_checkpoint(path, run, history)

save(0)
saved, halves, rng = 0, 0, random.Random(0)
for _ in range(kills):
    read, tell = os.pipe()
    child = os.fork()
    epoch = saved
    while not child:  # it saves one epoch after the other, and tells which are saved
        epoch += 1
        save(epoch)
        os.write(tell, b"%d\\n" % epoch)
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
print(halves)
'''


@pytest.mark.slow
@posix
def test_killed_while_it_is_saved_a_checkpoint_is_the_last_or_the_one_before(tmp_path):
    process = subprocess.run([sys.executable, "-c", SAVE_IN_A_LOOP, str(tmp_path / "run.pt"), "50"],
                             capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 0, "no kill came while a file was being written"
