"""Histories and checkpoints that are damaged, of another version, or something else.

Each is read, or there is one sentence that names the file, and no code in it is run.
"""

import json
import os
import pickle
from dataclasses import asdict

import pytest
import torch

import resnet_helpers as d2l
from resnet_helpers import train
from resnet_helpers.history import History
from resnet_helpers.runs import checkpoints
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.recipes import OPTIMIZERS, SCHEDULES, RunSettings, prepare_run
from resnet_helpers.widgets import TrainingPanel


def whole_history():
    history = History(config={"model": "ResNet-18", "num_epochs": 2, "lr": 0.05, "scheduler": None},
                      hardware={"device": "cpu", "name": "CPU", "cores": 2},
                      versions={"torch": "2.14.1+cpu"}, completed=True)
    for epoch, test_acc in ((0.5, None), (1, 0.5), (1.5, None), (2, 0.75)):
        history.add(epoch, 10, 1.5, 0.5, test_acc, 100, 2.0 * epoch)
    return history


# --- histories ---

WHOLE = json.dumps(whole_history().to_dict())


@pytest.mark.parametrize("content", [
    b"", b"null", b"[]", b"{}", b'"', b"9" * 10_000, b"1e999", b"\xff\xfe\x00", b"\0" * 100,
    b"[" * 100_000, WHOLE.encode()[:-40],
    *(WHOLE.replace(old, new).encode() for old, new in (
        ("version 1", "version 2"), ('"config"', '"settings"'), ('"step"', '"steps"'),
        ('"test_acc"', '"acc"'), ("0.75", "NaN"), ("0.75", "1e400"), ("0.75", '"ja"')))],
    ids=range(18))
def test_another_history_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        History.load(path)
    assert str(error.value).startswith(f"{path} is not a training history that this version")


def test_histories_that_were_saved_are_read(tmp_path):
    for history in (whole_history(), History(), History(config={"note": ["a", {"b": 1}]}),
                    d2l.load_recording("fast-seed0")):
        history.save(tmp_path / "run.json")
        assert History.load(tmp_path / "run.json") == history


def test_a_history_that_went_through_an_editor_of_windows_is_read(tmp_path):
    text = json.dumps(whole_history().to_dict(), indent=1).replace("\n", "\r\n")
    (tmp_path / "run.json").write_bytes(text.encode("utf-8-sig"))
    assert History.load(tmp_path / "run.json") == whole_history()


@pytest.mark.parametrize(("name", "said"), [("folder.json", "a folder or a device"),
                                            ("a\0b", "null"), ("large.json", "33,554,432 bytes")])
def test_the_panel_tells_what_is_wrong_with_a_file(tmp_path, name, said):
    (tmp_path / "folder.json").mkdir()
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(2 * 10**9)
    panel = TrainingPanel(folder=tmp_path)
    panel._file.value = name
    panel._load_named(None)
    assert "That did not work" in panel._file_status.value and said in panel._file_status.value
    assert not panel.runs
    panel.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("read", [History.load, load_checkpoint])
def test_a_named_pipe_is_not_waited_for_and_a_missing_file_is_no_damaged_one(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe .*it is a folder or a device, not a file"):
        read(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="run.pt"):
        read(tmp_path / "run.pt")


# --- checkpoints ---

class Command:  # what pickle runs when it loads it
    def __reduce__(self):
        return os.system, ("echo owned > owned",)


def content_with(**parts):
    return {"format": checkpoints.FORMAT, "settings": asdict(RunSettings()),
            "state": {"a": torch.arange(7.0)}, "history": whole_history().to_dict(), **parts}


def test_what_a_checkpoint_holds_is_read(tmp_path):
    settings = {"lr": 1, "shortcuts": 0, "weight_decay": 0}  # whole numbers in the place of others
    torch.save(content_with(settings=settings), tmp_path / "run.pt")
    read = load_checkpoint(tmp_path / "run.pt")
    assert read.settings == RunSettings(lr=1, shortcuts=False) and read.history == whole_history()
    assert torch.equal(read.state["a"], torch.arange(7.0))


@pytest.mark.parametrize(("content", "reason"), [
    ([1], "TypeError"), ({"format": [1]}, "unknown format"), ({}, "'format'"),
    (content_with(format=checkpoints.FORMAT.replace("1", "2")), "unknown format .*version 2"),
    (content_with(settings=None), "TypeError"), (content_with(settings={"deep": 18}), "deep"),
    (content_with(settings={"depth": 19}), "depth must be one of"),
    (content_with(settings={"\x1b[2Jowned": 1}), r"\?\[2Jowned"),  # commands no terminal
    (content_with(history={}), "ValueError"), (content_with(history=None), "ValueError"),
    (content_with(state=Command()), "more than tensors"), (torch.nn.Linear(1, 1), "more than"),
    ({"a.weight": torch.ones(1)}, r"a state_dict: net.load_state_dict\(torch.load\(path"),
], ids=range(13))
def test_another_checkpoint_is_refused_in_a_sentence(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "run.pt")
    with pytest.raises(ValueError, match=reason) as error:
        load_checkpoint("run.pt")
    assert str(error.value).startswith("run.pt is not a checkpoint that this version can read (")
    assert str(error.value).isprintable() and not os.path.exists("owned")
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_file_that_is_larger_than_any_checkpoint_is_not_read(tmp_path):
    with open(tmp_path / "run.pt", "wb") as file:
        file.truncate(2 * 10**9)
    with pytest.raises(ValueError, match="run.pt is not a checkpoint .*2,000,000,000 bytes"):
        load_checkpoint(tmp_path / "run.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["empty", "text", "PK", "start", "half", "cut", "pickle"])
def test_a_file_that_is_no_checkpoint_is_refused_in_a_line_and_stays(
        tmp_path, monkeypatch, capsys, how):
    monkeypatch.chdir(tmp_path)
    torch.save(content_with(), "run.pt")
    path = tmp_path / "run.pt"
    whole = path.read_bytes()
    contents = {"empty": b"", "text": b"no checkpoint", "PK": b"PK\x03\x04",
                "start": whole[:300], "half": whole[:len(whole) // 2], "cut": whole[:-10],
                "pickle": pickle.dumps(Command())}
    path.write_bytes(contents[how])
    assert train.main(["--checkpoint", str(path), "--resume"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path} is not a checkpoint that this version can read" in error
    assert path.read_bytes() == contents[how] and list(tmp_path.iterdir()) == [path]


# --- going on ---

@pytest.mark.parametrize(("optimizer", "schedule"),
                         list(zip(OPTIMIZERS, (*SCHEDULES, "one-cycle"), strict=True)))
def test_a_state_that_is_read_is_the_state_that_was_written(
        few_images, narrow_net, tmp_path, optimizer, schedule):
    chosen = RunSettings(optimizer=optimizer, schedule=schedule, batch_size=20, num_epochs=3,
                         precision="float32", weight_decay=1e-4)
    run, history = prepare_run(chosen, "cpu"), History()
    next(p for p in run.fit(history=history) if p.test_acc is not None)
    save_checkpoint(tmp_path / "run.pt", run, history)
    written = run.state_dict()
    read = load_checkpoint(tmp_path / "run.pt")
    other = prepare_run(read.settings, "cpu")
    torch.rand(3)  # the state of random numbers is read, too
    assert not are_same(other.state_dict(), written)
    other.load_state_dict(read.state)
    assert are_same(other.state_dict(), written)
    assert read.history == history and read.settings == chosen


def are_same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(are_same(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(are_same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


@pytest.mark.parametrize("change", [
    dict.clear, lambda state: state["net"].clear(), lambda state: state.update(net=[1]),
    lambda state: state["optimizer"].update(param_groups=[]),
    lambda state: state.update(scheduler=None), lambda state: state.update(torch="seed"),
    lambda state: state.update(batches=torch.zeros(3, dtype=torch.uint8))], ids=range(7))
def test_another_state_is_refused_in_a_line_and_stays(
        few_images, narrow_net, tmp_path, capsys, change):
    path, run = tmp_path / "run.pt", prepare_run(RunSettings(batch_size=20), "cpu")
    save_checkpoint(path, run, History())
    content = torch.load(path, weights_only=True)
    change(content["state"])
    torch.save(content, path)
    before = path.read_bytes()
    assert train.main(["--checkpoint", str(path), "--resume", "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path} cannot be gone on from: this is not the state of a run of ResNet-18" in error
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
