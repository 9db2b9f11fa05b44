"""Histories and checkpoints that were cut, damaged, written by another version, or made to harm.

Each is read, and can then be shown, played, saved or gone on from; or there is a ValueError that names the file.
"""

import contextlib
import json
import math
import os
import struct
import sys
import warnings
import zipfile
from dataclasses import asdict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import run_python

import resnet_helpers as d2l
from resnet_helpers import train
from resnet_helpers.check import attempts
from resnet_helpers.history import History, Progress, results
from resnet_helpers.runs import checkpoints, recipes
from resnet_helpers.runs.checkpoints import load_checkpoint
from resnet_helpers.runs.recipes import OPTIMIZERS, SCHEDULES, RunSettings, prepare_run
from resnet_helpers.widgets import TrainingPanel
from resnet_helpers.widgets.training_panel import run_table

HUGE = 10**11


def fuzz(examples):
    return settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                                           HealthCheck.function_scoped_fixture])


def whole_history():
    history = History(config={"model": "ResNet-18", "num_epochs": 2, "lr": 0.05, "scheduler": None, "flip": False},
                      hardware={"device": "cpu", "name": "CPU", "cores": 2}, versions={"torch": "2.14.1+cpu"},
                      completed=True)
    for epoch, test_acc in ((0.5, None), (1, 0.5), (1.5, None), (2, 0.75)):
        history.add(epoch, 10, 1.5, 0.5, test_acc, 100, 2.0 * epoch)
    return history


def use(history):
    """What readers and the package do with a history."""
    assert repr(history).startswith("History: ") and isinstance(history.machine, str)
    assert history.examples_per_second is None or isinstance(history.examples_per_second, float)
    if history.records:
        assert results(history).startswith("loss ")
    assert list(d2l.play(history, seconds=0)) == history.records
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    run_table([type("Run", (), {"name": "a", "history": history})]).encode()


# --- damage ---

@st.composite
def damaged(draw, content):
    """The bytes with some changed, cut off or doubled."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.one_of(st.integers(1, 8), st.integers(1, max(1, len(content)))))
        match draw(st.sampled_from(("flip", "write", "cut", "end", "double"))):
            case "flip":
                if content:
                    content[start] ^= 1 << draw(st.integers(0, 7))
            case "write":
                content[start:start + length] = draw(st.binary(max_size=8))
            case "cut":
                del content[start:start + length]
            case "end":
                del content[start:]
            case "double":
                content[start:start] = content[start:start + length]
    return bytes(content)


NUMBERS = (0, -1, 1e-320, 3e38, -3e38, 1e308, -1e308, 10**30, 10**400, math.nan, math.inf, -math.inf, 2**64, 0.1)
WORDS = ("", "num_epochs", "\ud800", "\0", "<b>", "$x$", "9" * 1000, "ja\n")
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.floats(), st.text())
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
                      max_leaves=6)
PLACES = ([("records",), ("config",), ("hardware",), ("versions",), ("completed",), ("format",), ("more",)]
          + [("records", i) for i in range(4)]
          + [("records", i, name) for i in (0, 3) for name in (*Progress.__dataclass_fields__, "more")]
          + [("config", name) for name in ("num_epochs", "lr", "model", "data", "schedule", "name", "more")]
          + [("hardware", name) for name in ("name", "cores", "device")] + [("versions", "torch")])


@st.composite
def changed_histories(draw):
    """The text of a history in which some parts are others, or missing."""
    content = whole_history().to_dict()
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        parent = content
        for step in place[:-1]:
            try:
                parent = parent[step]
            except (LookupError, TypeError):  # changed before
                break
        if not isinstance(parent, (dict, list)) or (isinstance(parent, list) and len(parent) <= 3):
            continue
        if draw(st.integers(0, 3)):
            parent[place[-1]] = draw(values)
        else:
            parent.pop(place[-1], None) if isinstance(parent, dict) else parent.pop(place[-1])
    return json.dumps(content).encode()


def read_or_refuse(path, content):
    path.write_bytes(content)
    try:
        history = History.load(path)
    except ValueError as error:
        assert str(error).startswith(f"{path} is not a training history") and len(str(error)) < 600
        str(error).encode()
        return None
    use(history)
    return history


@fuzz(300)
@given(content=changed_histories())
def test_changed_histories(tmp_path, content):
    read_or_refuse(tmp_path / "run.json", content)


@fuzz(1000)
@given(content=damaged(json.dumps(whole_history().to_dict()).encode()))
def test_damaged_histories(tmp_path, content):
    read_or_refuse(tmp_path / "run.json", content)


DEEP = 100_000
with_config = json.dumps(whole_history().to_dict()).replace


def test_histories_that_are_refused(tmp_path):
    contents = [
        b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"\xff\xfe\x00", b'"', b"9" * 10_000, b"null",
        b"1e999", b"\xff" * 100, b"\0" * 100, *(with_config("0.05", text).encode() for text in (
            "NaN", "Infinity", "1e400", "1" + "0" * 1000, "[" * 30 + "]" * 30, r'"\ud800"', str(list(range(2000))))),
        with_config("version 1", "version 2").encode(), with_config('"config"', '"settings"').encode()]
    read = [content[:40] for content in contents if read_or_refuse(tmp_path / "run.json", content) is not None]
    assert read == []


@pytest.mark.parametrize(("part", "without"), [("config", ["num_epochs"]), ("hardware", ["cores"]),
                                               ("hardware", ["name"]), ("versions", ["torch"])])
def test_a_history_that_knows_less_is_read(tmp_path, part, without):
    history = whole_history()
    for name in without:
        del getattr(history, part)[name]
    assert read_or_refuse(tmp_path / "run.json", json.dumps(history.to_dict()).encode()) == history


def test_histories_of_this_package_are_read(tmp_path):
    recorded = {name: d2l.load_recording(name) for name in d2l.list_recordings()}
    histories = recorded | {"nothing": History(), "a note": History(config={"note": ["a", {"b": 1}]})}
    for name, history in histories.items():
        history.save(tmp_path / "run.json")
        assert read_or_refuse(tmp_path / "run.json", (tmp_path / "run.json").read_bytes()) == history, name


def test_a_history_that_went_through_an_editor_of_windows_is_read(tmp_path):
    text = json.dumps(whole_history().to_dict(), indent=1).replace("\n", "\r\n")
    assert read_or_refuse(tmp_path / "run.json", text.encode("utf-8-sig")) == whole_history()


# --- on the page ---

@contextlib.contextmanager
def panel_in(folder):
    panel = TrainingPanel(folder=folder)
    yield panel
    panel.runs.clear()  # so that no later panel takes them over
    panel.close()


@fuzz(5)
@given(numbers=st.lists(st.one_of(st.sampled_from([x for x in NUMBERS if abs(x) < 1e39]), st.floats(-3e38, 3e38)),
                        min_size=12, max_size=12), word=st.sampled_from(WORDS))
def test_curves_and_table_of_any_history_that_is_read(tmp_path_factory, numbers, word):
    history = History(config=dict.fromkeys(("name", "lr", "schedule", "data", "num_epochs"), word))
    history.records = [Progress(*numbers[:4], None, *numbers[4:6]), Progress(*numbers[:7])]
    folder = tmp_path_factory.mktemp("runs")
    if read_or_refuse(folder / "run.json", json.dumps(history.to_dict()).encode()) is None:
        return
    with panel_in(folder) as panel, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that a font lacks
        panel.load(folder / "run.json")
        assert "<svg" in panel._comparison.value and panel._comparison.value.encode()
        animator = d2l.Animator(legend=["train loss", "train acc", "test acc"], xlim=[0, 2])
        for p in d2l.play(history, seconds=0):
            animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))
        animator.savefig(folder / "run.png")


@pytest.mark.parametrize(("name", "said"), [("folder.json", "a folder or a device"), ("a\0b", "null"),
                                            ("deep.json", "recursion|nested"), ("large.json", "33,554,432 bytes")])
def test_the_panel_tells_what_is_wrong_with_a_file(tmp_path, name, said):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "deep.json").write_bytes(b"[" * DEEP)
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(2 * 10**9)
    with panel_in(tmp_path) as panel:
        panel._file.value = name
        panel._load_named(None)
        assert "That did not work" in panel._file_status.value and not panel.runs
        assert any(word in panel._file_status.value for word in said.split("|"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names that are no text")
def test_the_panel_leaves_out_names_that_no_page_can_show(tmp_path):
    whole_history().save(tmp_path / "ja.json")
    for name in (b"\xff.json", b"a\nb.json"):
        whole_history().save(tmp_path / os.fsdecode(name))
    with panel_in(tmp_path) as panel:
        assert panel._file.options == ("ja.json",)
        panel.load(tmp_path / os.fsdecode(b"\xff.json"))
        assert panel.runs[0].name.isprintable()


def test_a_name_that_would_fill_the_page_is_replaced_by_that_of_the_file(tmp_path):
    history = whole_history()
    history.config["name"] = "x" * 10_000
    history.save(tmp_path / "run.json")
    with panel_in(tmp_path) as panel:
        panel.load(tmp_path / "run.json")
        assert panel.runs[0].name == "run"


def test_playing_takes_no_longer_than_asked_for_whatever_the_file_says(monkeypatch):
    naps = []
    monkeypatch.setattr(d2l.recordings.time, "sleep", naps.append)
    history = History(records=[Progress(1, 1, 1.0, 0.5, None, 1, seconds) for seconds in (1e38, -1e38, 3.0, 1e-320)])
    assert len(list(d2l.play(history, seconds=2))) == 4 and max(naps) <= 2


# --- checkpoints made by hand ---

def small_checkpoint(**parts):
    return {"format": checkpoints.FORMAT, "settings": asdict(RunSettings()), "state": {"a": torch.arange(7.0)},
            "history": whole_history().to_dict(), **parts}


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {part.filename: archive.read(part) for part in archive.infolist()}


def write_parts(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def number(n):
    """How a pickle writes a whole number."""
    return b"\x8a\x08" + struct.pack("<q", n)


def laughing(levels=60):
    """A list of twice the same list of twice the same list ...: few bytes, and more numbers than anybody can read."""
    inner = ["ha"]
    for _ in range(levels):
        inner = [inner, inner]
    return inner


SIZE = b"K\x07"  # the length of the tensor: of its storage, then of itself
STRIDE = b"K\x01\x85"
HERE = b"J" + struct.pack("<i", 12345678)  # a number in the place of the tensor
CRAFTED = {  # name: the state, and what to replace in the pickle by what
    "tensor and storage of 400 GB": (torch.arange(7.0), SIZE, number(HUGE)),
    "storage of 400 GB": (torch.arange(7.0), SIZE + b"t", number(HUGE) + b"t"),
    "storage of 40 MB": (torch.arange(7.0), SIZE + b"t", number(10**7) + b"t"),
    "tensor of 400 GB": (torch.arange(7.0), SIZE + b"\x85", number(HUGE) + b"\x85"),
    "tensor of another stride": (torch.arange(7.0), STRIDE, number(HUGE) + b"\x85"),
    "10 GB of zeros": (12345678, HERE, b"c__builtin__\nbytearray\n" + number(10**10) + b"\x85R"),
    "a tensor of 4 GB": (12345678, HERE, b"ctorch\nFloatTensor\n" + number(10**9) + b"\x85R"),
    "a command": (12345678, HERE, b"cos\nsystem\nX\x0b\x00\x00\x00touch owned\x85R"),
    "a list of lists of lists": (12345678, HERE, b"]" * DEEP + b"a" * (DEEP - 1)),
    "a list that grows exponentially": (laughing(), b"", b""),
}


def craft(name, path):
    zeros = name in ("10 GB of zeros under another name", "two structures, of which one is harmless")
    state, old, new = CRAFTED.get("10 GB of zeros" if zeros else name, (torch.arange(7.0), b"", b""))
    content = small_checkpoint(state={"a": state})
    if name == "settings that grow exponentially":
        content["settings"]["depth"] = laughing()
    elif name == "a history that grows exponentially":
        content["history"]["config"]["lr"] = laughing()
    torch.save(content, path)
    parts, compression = parts_of(path), zipfile.ZIP_STORED
    data = next(part for part in parts if part.endswith("data.pkl"))
    assert old in parts[data]
    parts[data] = parts[data].replace(old, new) if old else parts[data]
    if name == "300 MB in 0.3":
        parts = {part: bytes(3 * 10**8) if part.endswith("/data/0") else content for part, content in parts.items()}
        compression = zipfile.ZIP_DEFLATED
    elif name == "a structure of 300 MB in 0.3":
        parts[data] = parts[data][:2] + b"(" * 3 * 10**8
        compression = zipfile.ZIP_DEFLATED
    elif name == "a storage of 8 GB in another byte order":
        parts = {part: b"big" if part.endswith("byteorder") else content for part, content in parts.items()}
        parts[data] = parts[data].replace(SIZE + b"t", number(2**31) + b"t")
    elif name == "10 GB of zeros under another name":  # torch finds it all the same
        parts = {part.replace("data.pkl", "DATA.PKL"): content for part, content in parts.items()}
    elif name == "two structures, of which one is harmless":
        harmful = parts.pop(data)  # torch may take the last one, though its name is written in another way
        parts = {data: parts_of(path)[data], **parts, data.replace("data.pkl", "DATA.PKL"): harmful}
    write_parts(path, parts, compression)
    if name == "something before the parts":
        path.write_bytes(b"x" * 100 + path.read_bytes())


NAMES = (*CRAFTED, "settings that grow exponentially", "a history that grows exponentially", "300 MB in 0.3",
         "a structure of 300 MB in 0.3", "a storage of 8 GB in another byte order", "10 GB of zeros under another name",
         "two structures, of which one is harmless", "something before the parts")


@pytest.mark.parametrize("name", NAMES)
def test_a_crafted_checkpoint_is_refused_or_harmless(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    craft(name, tmp_path / "run.pt")
    try:
        checkpoint = load_checkpoint(tmp_path / "run.pt")
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path / 'run.pt'} is not a checkpoint") and len(str(error)) < 700
    else:
        assert name != "two structures, of which one is harmless"
        tensor = checkpoint.state["a"]
        assert not torch.is_tensor(tensor) or tensor.untyped_storage().nbytes() < 10_000
        use(checkpoint.history)
    assert not (tmp_path / "owned").exists()


MEASURE = """
import sys
from resnet_helpers.runs.checkpoints import load_checkpoint
from resnet_helpers.training import History

def kilobytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

for path in sys.argv[1:]:
    open("/proc/self/clear_refs", "w").write("5")  # the highest mark is the present one again
    before = kilobytes("VmRSS")
    try:
        (History.load if path.endswith("json") else load_checkpoint)(path)
    except ValueError as error:
        pass
    print(1024 * (kilobytes("VmHWM") - before), path)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells the most that was used")
def test_reading_takes_no_more_memory_than_a_file_is_long(tmp_path):
    for name in NAMES:
        craft(name, tmp_path / f"{name}.pt")
    for name in ("holes.pt", "holes.json"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2 * 10**9)
    paths = sorted(map(str, tmp_path.iterdir()))
    lines = run_python("-c", MEASURE, *paths).splitlines()
    assert len(lines) == len(paths) and [line for line in lines if int(line.split()[0]) > 80 * 10**6] == []


def test_what_a_checkpoint_says_does_not_command_the_terminal(tmp_path):
    content = small_checkpoint()
    content["settings"]["\x1b[2Jowned"] = 1
    torch.save(content, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="owned") as error:
        load_checkpoint(tmp_path / "run.pt")
    assert str(error.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for read in (load_checkpoint, History.load):
        with pytest.raises(ValueError, match="pipe is not a .*it is a folder or a device, not a file"):
            read(path)
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(path))
    with pytest.raises(ValueError, match="it is a folder or a device, not a file"):
        attempts.load()


@fuzz(500)
@given(data=st.data())
def test_damaged_checkpoints(tmp_path, data):
    path = tmp_path / "run.pt"
    torch.save(small_checkpoint(), path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        checkpoint = load_checkpoint(path)
    except ValueError as error:
        assert str(error).startswith(f"{path} is not a checkpoint")
    else:  # what was damaged is in no part that is read
        assert torch.equal(checkpoint.state["a"], torch.arange(7.0)) and checkpoint.history == whole_history()


@pytest.mark.parametrize("parts", [
    {"format": checkpoints.FORMAT.replace("1", "2")}, {"format": [1]}, {"settings": None}, {"settings": {"deep": 18}},
    {"settings": {"depth": 19}}, {"settings": {"depth": "18"}}, {"settings": {"lr": "fast"}}, {"settings": {"lr": -1}},
    {"settings": {"seed": 10**30}}, {"settings": {"seed": 0.5}}, {"settings": {"image_size": 28.0}},
    {"settings": {"shortcuts": "no"}}, {"settings": {"batch_size": torch.ones(1)}}, {"history": None},
    {"history": {}}, {"history": {**whole_history().to_dict(), "records": [1]}}], ids=repr)
def test_a_checkpoint_with_other_parts_is_refused(tmp_path, parts):
    torch.save(small_checkpoint(**parts), tmp_path / "run.pt")
    with pytest.raises(ValueError, match="run.pt is not a checkpoint that this version can read"):
        load_checkpoint(tmp_path / "run.pt")


def test_settings_given_as_whole_numbers_are_read(tmp_path):
    torch.save(small_checkpoint(settings={"lr": 1, "shortcuts": 0, "weight_decay": 0}), tmp_path / "run.pt")
    assert load_checkpoint(tmp_path / "run.pt").settings == RunSettings(lr=1, shortcuts=False)


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path):
    for read in (History.load, load_checkpoint):
        with pytest.raises(FileNotFoundError, match="run.pt"):
            read(tmp_path / "run.pt")


# --- going on ---

@pytest.fixture(scope="module")
def saved(tmp_path_factory, few):
    """A checkpoint after the first of three epochs."""
    path, history = tmp_path_factory.mktemp("run") / "run.pt", History()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "load_fashion_mnist_subset", lambda: few)
        run = prepare_run(RunSettings(num_epochs=3, batch_size=20, precision="float32", optimizer="Adam",
                                      schedule="one-cycle"), "cpu")
        next(p for p in run.fit(history=history) if p.test_acc is not None)
    checkpoints.save_checkpoint(path, run, history)
    return path


def change_weights(change):
    def change_state(state):
        weights = state["net"]
        name = next(iter(weights))
        weights[name] = change(weights[name])
    return change_state


def change_optimizer(name, change):
    def change_state(state):
        values = state["optimizer"]["state"][0]
        values[name] = change(values[name])
    return change_state


WRONG = {
    "nothing": dict.clear,
    "no weights": lambda state: state["net"].clear(),
    "weights that are a list": lambda state: state.update(net=[1]),
    "a weight too many": lambda state: state["net"].update(more=torch.zeros(1)),
    "a weight of another shape": change_weights(lambda w: w[:1]),
    "a weight of another type": change_weights(torch.Tensor.double),
    "a weight that is no tensor": change_weights(torch.Tensor.tolist),
    "another optimiser": lambda state: state["optimizer"].update(state={
        i: {"momentum_buffer": values["exp_avg"]} for i, values in state["optimizer"]["state"].items()}),
    "an optimiser of no weights": lambda state: state["optimizer"].update(state={}),
    "an optimiser of other weights": change_optimizer("exp_avg", lambda t: t[:1]),
    "an optimiser of other numbers": change_optimizer("exp_avg_sq", lambda t: t.to(torch.complex64)),
    "steps that are words": change_optimizer("step", lambda t: "many"),
    "a learning rate that is a word": lambda state: state["optimizer"]["param_groups"][0].update(lr="fast"),
    "no learning rates": lambda state: state["optimizer"].update(param_groups=[]),
    "another schedule": lambda state: state.update(scheduler=None),
    "steps of a schedule that are words": lambda state: state["scheduler"].update(last_epoch="a"),
    "steps after the end": lambda state: state["scheduler"].update(last_epoch=10**6),
    "no random state": lambda state: state.update(batches=torch.zeros(3, dtype=torch.uint8)),
    "a random state of zeros": lambda state: state.update(torch=torch.zeros_like(state["torch"])),
    "a random state that is a word": lambda state: state.update(torch="seed"),
    "GPUs that are a number": lambda state: state.update(cuda=5),
}


@pytest.fixture(scope="module")
def run(saved):
    return prepare_run(load_checkpoint(saved).settings, "cpu")


@pytest.mark.parametrize("name", WRONG)
def test_another_state_is_refused(run, saved, name):
    state = load_checkpoint(saved).state
    WRONG[name](state)
    with pytest.raises(ValueError, match="not the state of a run of ResNet-18 with Adam"):
        run.load_state_dict(state)


@pytest.mark.parametrize("name", ["a weight of another shape", "another optimiser", "another schedule"])
def test_that_is_told_in_a_line_and_nothing_is_overwritten(few_images, saved, tmp_path, capsys, name):
    content = torch.load(saved, weights_only=True)
    WRONG[name](content["state"])
    path = tmp_path / "run.pt"
    torch.save(content, path)
    before = path.read_bytes()
    assert train.main(["--checkpoint", str(path), "--resume"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{path} cannot be gone on from: this is not the state of a run of" in error
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_refused_in_a_line(few_images, saved, tmp_path, capsys, content):
    path = tmp_path / "run.pt"
    path.write_bytes(saved.read_bytes()[:-1000] if content is None else content)
    before = path.read_bytes()
    assert train.main(["--checkpoint", str(path), "--resume"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{path} is not a checkpoint that this version can read" in error
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_bit_that_a_disk_lost_in_the_weights_is_found(saved, tmp_path):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(tmp_path / "run.pt")


def test_weights_that_are_not_finite_are_weights(few_images, saved, tmp_path):
    content = torch.load(saved, weights_only=True)
    change_weights(lambda w: w * math.nan)(content["state"])
    torch.save(content, tmp_path / "run.pt")
    checkpoint = load_checkpoint(tmp_path / "run.pt")
    run = prepare_run(checkpoint.settings, "cpu")
    run.load_state_dict(checkpoint.state)
    assert next(run.net.parameters()).isnan().all()


@pytest.mark.parametrize(("optimizer", "schedule"), list(zip(OPTIMIZERS, (*SCHEDULES, "one-cycle"), strict=True)))
def test_a_state_that_is_read_is_the_state_that_was_written(few_images, tmp_path, optimizer, schedule):
    chosen = RunSettings(optimizer=optimizer, schedule=schedule, batch_size=20, num_epochs=3, precision="float32",
                         weight_decay=1e-4)
    run, history = prepare_run(chosen, "cpu"), History()
    next(p for p in run.fit(history=history) if p.test_acc is not None)
    checkpoints.save_checkpoint(tmp_path / "run.pt", run, history)
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
