"""The command line: what it prints and writes, and going on after an end that nobody planned."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from processes import run_python
from tqdm import tqdm

import resnet_helpers as d2l
from resnet_helpers import plotting, train, training
from resnet_helpers.models import MODELS
from resnet_helpers.runs import recipes
from resnet_helpers.runs.checkpoints import load_checkpoint
from resnet_helpers.runs.processes import Group
from resnet_helpers.runs.recipes import RECIPES, RunSettings, prepare_run

pytestmark = pytest.mark.usefixtures("narrow_net")  # processes of their own train ResNet-18
QUICK = ["--num-epochs", "3", "--batch-size", "10", "--precision", "float32", "--flip",
         "--optimizer", "SGD, momentum 0.9", "--device", "cpu"]
COMMAND = [sys.executable, "-m", "resnet_helpers.train", "--image-size", "8",
           "--batch-size", "500"]  # twelve steps


def weights(path):
    return load_checkpoint(path).state["net"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- a run ---

def test_run_prints_a_line_per_epoch_and_writes_its_files(few_images, tmp_path, capsys):
    checkpoint, history, picture = (tmp_path / f"run.{kind}" for kind in ("pt", "json", "png"))
    assert train.main([*QUICK, "--checkpoint", str(checkpoint), "--history", str(history),
                       "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training ResNet-18 on cpu"
    results = r"loss \d\.\d{3}, train acc \d\.\d{3}, test acc \d\.\d{3}"
    for epoch, line in enumerate(lines[1:4], start=1):
        assert re.fullmatch(rf"epoch {epoch} of 3: {results}, \d+\.\d examples/sec", line)
    assert re.fullmatch(results, lines[4])
    assert re.fullmatch(r"\d+\.\d examples/sec on cpu", lines[5])
    run = d2l.History.load(history)
    assert run.completed and run.config["flip"] is True and run.config["model"] == "ResNet-18"
    assert f"loss {run.train_loss:.3f}," in lines[4]
    assert run == load_checkpoint(checkpoint).history
    content = json.loads(history.read_text())
    assert content["completed"] and len(content["records"]) == 3 * 4  # four batches an epoch
    assert sorted(tmp_path.iterdir()) == sorted([checkpoint, history, picture])


def test_it_is_the_run_that_fit_gives_and_quiet_prints_nothing(few_images, tmp_path, capfd):
    assert train.main([*QUICK, "--quiet", "--history", str(tmp_path / "run.json")]) == 0
    assert capfd.readouterr() == ("", "")
    records = d2l.History.load(tmp_path / "run.json").records
    run = prepare_run(RunSettings(num_epochs=3, batch_size=10, precision="float32", flip=True,
                                  optimizer="SGD, momentum 0.9"), "cpu")
    assert [p.train_loss for p in run.fit()] == [p.train_loss for p in records]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_float32_losses_in_another_process(tmp_path):
    losses = []
    for name in ("first.json", "again.json"):
        run_python(*COMMAND[1:], "--num-epochs", "1", "--precision", "float32", "--flip",
                   "--device", "cpu", "--history", tmp_path / name)
        records = d2l.History.load(tmp_path / name).records
        losses.append([(p.train_loss, p.test_acc) for p in records])
    assert losses[0] == losses[1] and len(losses[0]) == 5


def test_accuracy_on_held_out_images_is_not_called_test_accuracy(
        few_images, tmp_path, monkeypatch, capsys):
    drawn = []

    def savefig(animator, path, format):
        drawn.append(animator.legend)
        Path(path).touch()

    monkeypatch.setattr(plotting.Animator, "savefig", savefig)
    assert train.main([*QUICK, "--held-out", "--picture", str(tmp_path / "run.png")]) == 0
    out = capsys.readouterr().out
    assert out.count("held-out acc") == 4 and "test acc" not in out
    assert drawn == 3 * [["train loss", "train acc", "held-out acc"]]  # after every epoch


@pytest.mark.parametrize(
    ("ending", "begin"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_a_picture_is_of_the_kind_that_its_name_says(few_images, tmp_path, ending, begin):
    picture = tmp_path / f"run{ending}"
    assert train.main([*QUICK, "--num-epochs", "1", "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(begin)


def test_weights_of_a_checkpoint_can_be_used_as_the_readme_says(few_images, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "MODELS", MODELS)  # ResNet-18 itself
    path = tmp_path / "run.pt"
    assert train.main(["--num-epochs", "1", "--quiet", "--checkpoint", str(path)]) == 0
    d2l.resnet18().load_state_dict(weights(path))


def test_a_bar_tells_how_many_images_of_the_whole_run_are_done(few_images, tmp_path, monkeypatch):
    bars, save = [], train.ShellRun.save

    class Bar(tqdm):
        def __init__(self, **kwargs):
            assert kwargs.pop("disable") is None  # tqdm finds out whether anybody looks
            super().__init__(file=io.StringIO(), disable=False, **kwargs)
            bars.append(self)
            self.begin = self.n

    def save_and_stop_the_first(report):
        save(report)
        if len(bars) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "tqdm", Bar)
    monkeypatch.setattr(train.ShellRun, "save", save_and_stop_the_first)
    path = str(tmp_path / "run.pt")
    assert train.main([*QUICK, "--checkpoint", path]) == train.INTERRUPTED
    assert train.main([*QUICK, "--checkpoint", path, "--resume"]) == 0
    assert [(bar.begin, bar.n, bar.total) for bar in bars] == [(0, 40, 120), (40, 120, 120)]


@pytest.mark.parametrize("is_asked", [False, True])
def test_synchronised_batch_norm_is_asked_for_by_an_option(few_images, monkeypatch, is_asked):
    wrapped = []
    monkeypatch.setattr(
        Group, "wrap", lambda group, net, synchronize: wrapped.append(synchronize) or net)
    options = ["--sync-batch-norm"] if is_asked else []
    assert train.main([*QUICK, "--quiet", *options]) == 0 and wrapped == [is_asked]


# --- options ---

def test_recipe_and_options_make_the_settings(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "train_and_report", lambda settings, *_, **__:
                        seen.append(settings) or d2l.History(completed=True))
    train.main(["--recipe", "article", "--depth", "34", "--no-shortcuts", "--precision", "float32",
                "--held-out"])
    assert seen == [RunSettings(
        data="full", image_size=96, depth=34, shortcuts=False, batch_size=256, num_epochs=10,
        schedule="constant", precision="float32", held_out=True)]


def test_every_setting_is_an_option_with_a_help():
    text = re.sub(r"\s+", " ", train.training_parser().format_help())
    for setting in fields(RunSettings):
        assert f"--{setting.name.replace('_', '-')}" in text
        assert setting.metadata["help"] in text and f"[{setting.default}]" in text
    assert "0.9', Adam [SGD]" in text  # the choices


@pytest.mark.parametrize("name", RECIPES)
def test_the_help_says_what_a_recipe_stands_for(name):
    options = train.options_of(RECIPES[name], RECIPES["quick"])
    text = re.sub(r"\s+", " ", train.training_parser().format_help())
    assert f" {name} {shlex.join(options) or 'what stands in brackets above'}" in text
    given = vars(train.training_parser().parse_args(options))
    chosen = {key: given[key] for key in asdict(RECIPES[name]) if key in given}
    assert replace(RECIPES["quick"], **chosen) == RECIPES[name]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--depth", "20"], "invalid choice"),
    (["--lr", "-1"], "lr must be above 0"),
    (["--resume"], "needs --checkpoint"),
    (["--history", "nowhere/run.json"], "there is no folder nowhere"),
    (["--checkpoint", ".", "--resume"], "is a folder; name a file"),
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


# --- failures ---

@pytest.mark.parametrize(("options", "messages"), [
    (["--device", "cuda:63"], ["cuda:63 cannot be used", "Leave --device out"]),
    (["--device", "xpu"], ["xpu cannot be used", "Leave --device out"]),
    (["--device", "gpu"], ["Expected one of cpu, cuda", "gpu"]),
    (["--lr", "1e30", "--quiet"], ["learning rate ten times smaller"]),
    (["--data", "full", "--root", "."], ["name another folder with the four files"])])
def test_a_failure_ends_with_status_1_and_a_line_of_advice(
        few, monkeypatch, tmp_path, capsys, options, messages):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "load_fashion_mnist_subset", lambda: few)
    assert train.main([*QUICK, *options]) == 1
    error = capsys.readouterr().err
    assert all(message in error for message in messages) and "Traceback" not in error
    assert error.count("\n") == 1 or "--data" in options  # there are several ways to get it


def test_too_large_a_batch_fails_before_the_system_kills_the_process(
        few_images, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "MODELS", MODELS)  # ResNet-18 itself
    monkeypatch.setattr(training, "available_memory", lambda: 20 * 2**20)
    assert train.main(["--batch-size", "40", "--image-size", "64", "--device", "cpu"]) == 1
    assert re.search(r"40 images of 1x64x64 does not fit. Take a smaller batch, of \d+ images",
                     capsys.readouterr().err)


@pytest.mark.parametrize(("ending", "epochs"), [(".pt", 1), (".json", 2), (".png", 2)])
def test_a_full_disk_ends_a_run_that_goes_on_from_the_checkpoint_later(
        few_images, tmp_path, monkeypatch, capsys, ending, epochs):
    checkpoint, history, picture = (tmp_path / f"run{kind}" for kind in (".pt", ".json", ".png"))
    options = [*QUICK, "--quiet", "--checkpoint", str(checkpoint), "--history", str(history),
               "--picture", str(picture)]
    written, rename = [], os.replace

    def fill_up(temporary, path):
        written.append(path.suffix)
        if written.count(ending) == 2:
            raise OSError(28, "No space left on device")
        rename(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fill_up)
        assert train.main(options) == 1
    error = capsys.readouterr().err
    assert f"Could not write {tmp_path / 'run'}{ending}: No space left on device. Name " in error
    assert error.count("\n") == 1 and "go on with --resume" in error
    assert load_checkpoint(checkpoint).history.records[-1].epoch == epochs
    assert sorted(tmp_path.iterdir()) == sorted([checkpoint, history, picture])
    assert train.main([*options, "--resume"]) == 0
    assert d2l.History.load(history).completed and load_checkpoint(checkpoint).history.completed


# --- going on ---

def test_a_checkpoint_goes_on_with_its_settings_and_no_others(few_images, tmp_path, capsys):
    path, history = str(tmp_path / "run.pt"), tmp_path / "run.json"
    assert train.main([*QUICK, "--checkpoint", path, "--quiet"]) == 0
    assert train.main([*QUICK, "--checkpoint", path, "--resume", "--lr", "0.1"]) == 1
    assert "was trained with lr=0.05, not 0.1" in capsys.readouterr().err
    assert train.main(["--checkpoint", path, "--resume", "--history", str(history)]) == 0
    assert capsys.readouterr().out.startswith("This run was complete already.\nloss")
    assert d2l.History.load(history) == load_checkpoint(path).history


def test_resume_says_where_it_begins(few_images, tmp_path, capsys):
    path = tmp_path / "run.pt"
    assert train.main([*QUICK, "--num-epochs", "1", "--checkpoint", str(path), "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{path} is not there (yet): beginning with the first epoch", "training ResNet-18 on cpu"]
    content = torch.load(path, weights_only=True)
    content["settings"]["num_epochs"] = 2
    content["history"]["completed"] = False
    torch.save(content, path)
    assert train.main(["--checkpoint", str(path), "--resume", "--device", "cpu"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line == "training ResNet-18 on cpu, going on after epoch 1"


def test_processes_compare_their_settings_and_how_far_their_checkpoints_are(
        few_images, tmp_path, monkeypatch):
    compared, path = [], str(tmp_path / "run.pt")
    monkeypatch.setattr(Group, "expect_agreement", lambda group, *values: compared.append(values))
    assert train.main(["--num-epochs", "1", "--quiet", "--checkpoint", path]) == 0
    assert train.main(["--quiet", "--checkpoint", path, "--resume"]) == 0
    settings, last = RunSettings(num_epochs=1), load_checkpoint(path).history.records[-1]
    assert compared == [(settings, 0), (settings, last.step)]


@pytest.mark.parametrize("optimizer", ["SGD, momentum 0.9", "Adam"])
@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_run_ends_with_the_same_weights_bit_for_bit(
        few_images, tmp_path, monkeypatch, optimizer, stop_after):
    arguments = [*QUICK, "--optimizer", optimizer, "--schedule", "one-cycle", "--shift", "2",
                 "--quiet", "--checkpoint"]
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
    seconds = [p.seconds for p in parts.history.records]
    assert seconds == sorted(seconds)
    for p, q in zip(whole.history.records, parts.history.records, strict=True):
        assert replace(p, seconds=0) == replace(q, seconds=0)


@pytest.mark.slow
def test_killed_process_leaves_a_checkpoint_that_goes_on_to_the_same_weights(tmp_path):
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
    process = subprocess.Popen(
        [*COMMAND, "--num-epochs", "1000", "--checkpoint", str(tmp_path / "run.pt")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("training ResNet-18 on ")
    assert process.stdout.readline().startswith("epoch 1 of 1000")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == train.INTERRUPTED and "Traceback" not in error
    assert error.splitlines()[-1].endswith(f"--resume goes on from {tmp_path / 'run.pt'}")
