"""The command line: what it prints and writes, checkpoints, and going on after an end that nobody planned."""

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from processes import run_python
from tqdm import tqdm

import resnet_helpers as d2l
from resnet_helpers import plotting, train, training
from resnet_helpers.models import MODELS
from resnet_helpers.runs import checkpoints, recipes
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.processes import Group
from resnet_helpers.runs.recipes import RECIPES, RunSettings, prepare_run

pytestmark = pytest.mark.usefixtures("narrow_net")  # processes of their own train ResNet-18
QUICK = ["--num-epochs", "3", "--batch-size", "10", "--precision", "float32", "--flip", "--optimizer",
         "SGD, momentum 0.9", "--device", "cpu"]
COMMAND = [sys.executable, "-m", "resnet_helpers.train", "--image-size", "8", "--batch-size", "500"]  # twelve steps


def weights(path):
    return load_checkpoint(path).state["net"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- a run ---

def test_run_prints_a_line_per_epoch_and_writes_its_files(few_images, tmp_path, capsys):
    checkpoint, history, picture = tmp_path / "run.pt", tmp_path / "run.json", tmp_path / "run.png"
    assert train.main([*QUICK, "--checkpoint", str(checkpoint), "--history", str(history), "--picture",
                       str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training ResNet-18 on cpu"
    assert [line.split(":")[0] for line in lines[1:4]] == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    assert re.fullmatch(r"loss \d\.\d{3}, train acc \d\.\d{3}, test acc \d\.\d{3}", lines[4])
    assert re.fullmatch(r"\d+\.\d examples/sec on cpu", lines[5])
    assert picture.read_bytes().startswith(b"\x89PNG")
    run = d2l.History.load(history)
    assert run.completed and run.config["flip"] is True and run.config["model"] == "ResNet-18"
    assert f"loss {run.train_loss:.3f}," in lines[4] and run == load_checkpoint(checkpoint).history
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.png", "run.pt"]


def test_it_is_the_run_that_fit_gives(few_images, tmp_path):
    train.main([*QUICK, "--history", str(tmp_path / "run.json")])
    run = prepare_run(RunSettings(num_epochs=3, batch_size=10, precision="float32", flip=True,
                                  optimizer="SGD, momentum 0.9"), "cpu")
    assert [p.train_loss for p in run.fit()] == [r.train_loss for r in d2l.History.load(tmp_path / "run.json").records]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_float32_losses_in_another_process(tmp_path):
    losses = []
    for name in ("first.json", "again.json"):
        run_python(*COMMAND[1:], "--num-epochs", "1", "--precision", "float32", "--flip", "--device", "cpu",
                   "--history", tmp_path / name)
        losses.append([(r.train_loss, r.test_acc) for r in d2l.History.load(tmp_path / name).records])
    assert losses[0] == losses[1] and len(losses[0]) == 5


def test_quiet_run_prints_nothing(few_images, capfd):
    assert train.main([*QUICK, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_recipe_and_options_make_the_settings(monkeypatch):
    monkeypatch.setattr(train, "train", lambda settings, *_, **__: seen.append(settings) or d2l.History(completed=True))
    seen = []
    train.main(["--recipe", "article", "--depth", "34", "--no-shortcuts", "--precision", "float32", "--held-out"])
    assert seen == [RunSettings(data="full", image_size=96, depth=34, shortcuts=False, batch_size=256, num_epochs=10,
                                schedule="constant", precision="float32", held_out=True)]


def test_accuracy_on_held_out_images_is_not_called_test_accuracy(few_images, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(plotting.Animator, "savefig", lambda animator, path, format: drawn.append(animator.legend)
                        or Path(path).touch())
    assert train.main([*QUICK, "--held-out", "--picture", str(tmp_path / "run.png")]) == 0
    out = capsys.readouterr().out
    assert out.count("held-out acc") == 4 and "test acc" not in out
    assert drawn[-1] == ["train loss", "train acc", "held-out acc"]


def test_every_setting_is_an_option_with_a_help():
    text = re.sub(r"\s+", " ", train.make_parser().format_help())
    for name in RunSettings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text and train.HELP[name] in text


@pytest.mark.parametrize("name", RECIPES)
def test_the_help_says_what_a_recipe_stands_for(name):
    options = train.options_of(RECIPES[name], RECIPES["quick"])
    text = re.sub(r"\s+", " ", train.make_parser().format_help())
    assert f" {name} {shlex.join(options) or 'what stands in brackets above'}" in text
    given = vars(train.make_parser().parse_args(options))
    chosen = {key: given[key] for key in asdict(RECIPES[name]) if key in given}
    assert replace(RECIPES["quick"], **chosen) == RECIPES[name]


def test_weights_of_a_checkpoint_can_be_used_as_the_readme_says(few_images, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "MODELS", MODELS)  # ResNet-18 itself
    path = tmp_path / "run.pt"
    assert train.main(["--num-epochs", "1", "--quiet", "--checkpoint", str(path)]) == 0
    net = d2l.resnet18()
    net.load_state_dict(load_checkpoint(path).state["net"])


def test_a_bar_tells_how_many_images_of_the_whole_run_are_done(few_images, tmp_path, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, **kwargs):
            assert kwargs.pop("disable") is None  # tqdm finds out whether anybody looks
            super().__init__(file=io.StringIO(), disable=False, **kwargs)
            bars.append(self)
            self.begin = self.n

    monkeypatch.setattr(train, "tqdm", Bar)
    path = str(tmp_path / "run.pt")
    monkeypatch.setattr(train.Report, "save", lambda *args, save=train.Report.save: save(*args) or stop_after_one())

    def stop_after_one():
        if len(bars) == 1:
            raise KeyboardInterrupt

    assert train.main([*QUICK, "--checkpoint", path]) == train.INTERRUPTED
    assert train.main([*QUICK, "--checkpoint", path, "--resume"]) == 0
    assert [(bar.begin, bar.n, bar.total) for bar in bars] == [(0, 40, 120), (40, 120, 120)]


@pytest.mark.parametrize("is_asked", [False, True])
def test_synchronised_batch_norm_is_asked_for_by_an_option(few_images, monkeypatch, is_asked):
    wrapped = []
    monkeypatch.setattr(Group, "wrap", lambda group, net, synchronize: wrapped.append(synchronize) or net)
    assert train.main([*QUICK, "--quiet", *(["--sync-batch-norm"] if is_asked else [])]) == 0
    assert wrapped == [is_asked]


# --- what goes wrong ---

@pytest.mark.parametrize(("arguments", "message"), [
    (["--depth", "20"], "invalid choice"), (["--lr", "-1"], "lr must be above 0"), (["--resume"], "needs --checkpoint"),
    (["--history", "nowhere/run.json"], "there is no folder nowhere"), (["--shift", "40"], "27 pixels"),
    (["--device", "gpu"], "no device is called 'gpu'; try cpu"),
    (["--picture", "curves.txt"], "pictures cannot be of the kind .txt: name a .png"),
    (["--checkpoint", "run", "--history", "./run"], "run cannot hold two things"),
    (["--history", "run.svg", "--picture", "run.svg"], "run.svg cannot hold two things")])
def test_wrong_options_end_with_status_2_and_say_what_to_do(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_older_checkpoint_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "run.pt").write_bytes(b"precious")
    with pytest.raises(SystemExit):
        train.main([*QUICK, "--checkpoint", str(tmp_path / "run.pt")])
    assert "add --resume to go on from it" in capsys.readouterr().err
    assert (tmp_path / "run.pt").read_bytes() == b"precious"


@pytest.mark.parametrize("device", ["cuda:63", "xpu"])
def test_a_device_that_is_not_there_ends_with_status_1_and_advice(device, capsys):
    assert train.main([*QUICK, "--device", device]) == 1
    error = capsys.readouterr().err
    assert f"{device} cannot be used" in error and "Leave --device out" in error and error.count("\n") == 1


@pytest.mark.parametrize(("seconds", "drawn"), [(1.0, [1, 3]), (0.001, [1, 2, 3])])
def test_drawing_the_picture_takes_a_hundredth_of_the_time_but_the_last_is_always_drawn(
        few_images, tmp_path, monkeypatch, seconds, drawn):
    clock, epochs = time.perf_counter, []
    late = [0.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: clock() + late[0])

    def draw(history, path):
        epochs.append(history.records[-1].epoch)
        late[0] += seconds

    monkeypatch.setattr(train, "draw", draw)
    monkeypatch.setattr(train.Report, "say", lambda report, line: late.__setitem__(0, late[0] + 0.2))
    assert train.main([*QUICK, "--picture", str(tmp_path / "run.png")]) == 0
    assert epochs == drawn


def test_an_interrupted_run_draws_what_it_came_to(few_images, tmp_path, monkeypatch):
    epochs = []

    def draw(history, path):
        epochs.append(history.records[-1].epoch)
        monkeypatch.setattr(train._Counted, "__iter__", stop)

    def stop(batches):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(train, "draw", draw)
    assert train.main([*QUICK, "--picture", str(tmp_path / "run.png")]) == train.INTERRUPTED
    assert epochs == [1, 1]


@pytest.mark.parametrize(("ending", "begin"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_a_picture_is_of_the_kind_that_its_name_says(few_images, tmp_path, ending, begin):
    assert train.main([*QUICK, "--picture", str(tmp_path / f"run{ending}")]) == 0
    assert (tmp_path / f"run{ending}").read_bytes().startswith(begin)


def test_failure_ends_with_status_1_and_one_line(few_images, capsys):
    assert train.main([*QUICK, "--lr", "1e30", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "learning rate ten times smaller" in error


def test_too_large_a_batch_ends_with_status_1_before_the_system_kills_the_process(few_images, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "MODELS", MODELS)  # ResNet-18 itself
    monkeypatch.setattr(training, "available_memory", lambda: 20 * 2**20)
    assert train.main(["--batch-size", "40", "--image-size", "64", "--device", "cpu", "--quiet"]) == 1
    assert re.search(r"40 images of 1x64x64 does not fit. Batches of \d+ fit", capsys.readouterr().err)


def test_missing_data_ends_with_status_1_and_advice(tmp_path, capsys):
    assert train.main([*QUICK, "--data", "full", "--root", str(tmp_path)]) == 1
    assert "name another folder with the four files" in capsys.readouterr().err


def test_checkpoint_of_other_settings_is_refused(few_images, tmp_path, capsys):
    path = str(tmp_path / "run.pt")
    assert train.main([*QUICK, "--checkpoint", path, "--quiet"]) == 0
    assert train.main([*QUICK, "--checkpoint", path, "--resume", "--lr", "0.1"]) == 1
    assert "was trained with lr=0.05, not 0.1" in capsys.readouterr().err
    assert train.main(["--checkpoint", path, "--resume"]) == 0
    assert capsys.readouterr().out.startswith("This run was complete already.\nloss")


def test_resume_says_where_it_begins(few_images, tmp_path, capsys):
    path = tmp_path / "run.pt"
    assert train.main([*QUICK, "--num-epochs", "1", "--checkpoint", str(path), "--resume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{path} is not there (yet): beginning with the first epoch", "training ResNet-18 on cpu"]
    content = torch.load(path, weights_only=True)
    content["settings"]["num_epochs"] = 2
    content["history"]["completed"] = False
    torch.save(content, path)
    assert train.main(["--checkpoint", str(path), "--resume", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "training ResNet-18 on cpu, going on after epoch 1"


def test_processes_compare_their_settings_and_how_far_their_checkpoints_are(few_images, tmp_path, monkeypatch):
    compared, path = [], str(tmp_path / "run.pt")
    monkeypatch.setattr(Group, "check_agreement", lambda group, *values: compared.append(values))
    assert train.main(["--num-epochs", "1", "--quiet", "--checkpoint", path]) == 0
    assert train.main(["--quiet", "--checkpoint", path, "--resume"]) == 0
    settings = RunSettings(num_epochs=1)
    assert compared == [(settings, 0), (settings, load_checkpoint(path).history.records[-1].step)]


# --- checkpoints ---

def test_damaged_or_foreign_files_are_no_checkpoints(few_images, tmp_path):
    path = tmp_path / "run.pt"
    train.main([*QUICK, "--checkpoint", str(path), "--quiet"])
    whole = path.read_bytes()
    foreign = {"format": checkpoints.FORMAT.replace("1", "2")}
    torch.save(foreign, tmp_path / "newer.pt")
    torch.save(Path("x"), tmp_path / "object.pt")  # not tensors and numbers: reading it would run code
    for name, content in {"empty": b"", "text": b"no checkpoint", "half": whole[:len(whole) // 2],
                          "start": whole[:1000], "list": None}.items():
        (tmp_path / f"{name}.pt").write_bytes(content) if content is not None else torch.save([1], tmp_path / "list.pt")
    for name in ("empty", "text", "half", "start", "list", "newer", "object"):
        with pytest.raises(ValueError, match=f"{name}.pt is not a checkpoint that this version can read"):
            load_checkpoint(tmp_path / f"{name}.pt")


def test_weights_alone_are_told_from_a_checkpoint_with_how_to_load_them(tmp_path):
    torch.save(d2l.resnet18().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net.pt is not a checkpoint .*a state_dict: net.load_state_dict\(torch.load"):
        load_checkpoint(tmp_path / "net.pt")


def test_failed_write_leaves_the_older_file(few_images, tmp_path, monkeypatch):
    run, path = prepare_run(RunSettings()), tmp_path / "run.pt"
    save_checkpoint(path, run, d2l.History())
    before = path.read_bytes()

    def full_disk(content, file):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, run, d2l.History())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("optimizer", ["SGD, momentum 0.9", "Adam"])
@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_run_ends_with_the_same_weights_bit_for_bit(few_images, tmp_path, monkeypatch, optimizer, stop_after):
    arguments = [*QUICK, "--optimizer", optimizer, "--schedule", "one-cycle", "--shift", "2", "--quiet", "--checkpoint"]
    assert train.main([*arguments, str(tmp_path / "whole.pt")]) == 0
    path = tmp_path / "parts.pt"
    real_save = train.save_checkpoint

    def save_and_stop(path, run, history):
        real_save(path, run, history)
        if history.records[-1].epoch == stop_after:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", save_and_stop)
        assert train.main([*arguments, str(path)]) == train.INTERRUPTED
    assert load_checkpoint(path).history.records[-1].epoch == stop_after
    torch.rand(3)  # the random state of the new process is another one
    assert train.main([*arguments, str(path), "--resume"]) == 0
    whole, parts = load_checkpoint(tmp_path / "whole.pt"), load_checkpoint(path)
    assert equal(whole.state["net"], parts.state["net"])
    def numbers(checkpoint):
        return [(p.epoch, p.step, p.train_loss, p.train_acc, p.test_acc, p.examples)
                for p in checkpoint.history.records]
    assert numbers(whole) == numbers(parts)
    assert [p.seconds for p in parts.history.records] == sorted(p.seconds for p in parts.history.records)


@pytest.mark.slow
def test_killed_process_leaves_a_whole_checkpoint_that_goes_on_to_the_same_weights(tmp_path):
    arguments = [*COMMAND, "--num-epochs", "2", "--precision", "float32", "--checkpoint"]
    reference, path = tmp_path / "whole.pt", tmp_path / "killed.pt"
    process = subprocess.Popen([*arguments, str(path)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 1"):  # it is being saved, or the next epoch has begun
            break
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert load_checkpoint(path).history.records[-1].epoch == 1
    finished = run_python(*arguments[1:], path, "--resume")
    assert "epoch 1 of" not in finished and "epoch 2 of 2" in finished
    run_python(*arguments[1:], reference)
    assert equal(weights(reference), weights(path))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a process")
def test_ctrl_c_ends_with_status_130_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen([*COMMAND, "--num-epochs", "1000", "--checkpoint", str(tmp_path / "run.pt")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("training ResNet-18 on ")
    assert process.stdout.readline().startswith("epoch 1 of 1000")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.splitlines()[-1].endswith(f"--resume goes on from {tmp_path / 'run.pt'}")
    assert "Traceback" not in error


def test_history_is_json_for_anyone(few_images, tmp_path):
    train.main([*QUICK, "--quiet", "--history", str(tmp_path / "run.json")])
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["completed"] is True and len(content["records"]) == 3 * 4  # four batches an epoch
