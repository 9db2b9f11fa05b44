"""The training panel without a browser: its buttons, its list of runs, its files."""

import functools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from traitlets import TraitError

import resnet_helpers as d2l
from resnet_helpers import cells
from resnet_helpers.diagrams import draw_runs
from resnet_helpers.history import Progress
from resnet_helpers.runs import recipes
from resnet_helpers.runs.background import BackgroundRun
from resnet_helpers.runs.recipes import RunSettings
from resnet_helpers.widgets import TrainingPanel
from resnet_helpers.widgets.training_panel import FinishedRun, describe_run, duration, run_table

SETTINGS = {"num_epochs": 1, "batch_size": 10}


@pytest.fixture
def panel(few_images, tmp_path):
    panel = TrainingPanel(folder=tmp_path, **SETTINGS)
    yield panel
    panel.close()


def wait_for_end(panel):
    assert panel._run.join(60)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def finished(name="a", **config):
    history = d2l.History(config={"num_epochs": 2, **config})
    history.add(1, 10, 2.0, 0.5, None, 100, 1.0)
    history.add(2, 20, 1.0, 0.75, 0.625, 200, 4.0)
    return FinishedRun(name, history)


# --- training ---

def test_train_shows_curves_progress_and_results(panel):
    assert panel.state == "ready" and panel.net is None
    assert not panel._train.disabled and panel._stop.disabled
    before = panel._curves.value
    panel._train.click()
    assert panel._train.disabled
    wait_for_end(panel)
    assert panel.state == "finished" and panel._bar.value == pytest.approx(1)
    assert re.search(r"Finished 1.0 of 1 epochs. Loss \d\.\d{3}, train acc 0\.\d{3}, "
                     r"test acc 0\.\d{3}", panel.text)
    assert panel._curves.value != before and panel.text in panel._status.value
    assert panel._records()[-1].test_acc == panel.runs[0].history.test_acc
    assert not panel._train.disabled and panel.net is not None


def test_a_second_click_does_not_start_a_second_run(panel):
    panel.num_epochs = 100
    panel.train()
    run = panel._run
    panel.train()
    panel._train.click()
    assert panel._run is run
    panel.stop()
    wait_for_end(panel)
    assert len(panel.runs) <= 1


def test_pause_becomes_resume_and_back(panel):
    panel.num_epochs = 100
    panel.train()
    wait_for(lambda: panel.state == "training")
    panel._pause.click()
    assert panel.state == "paused" and panel.text.startswith("Paused")
    assert panel._pause.description == "Resume"
    panel._pause.click()
    assert panel.state == "training" and panel._pause.description == "Pause"
    panel._stop.click()
    wait_for_end(panel)
    assert panel.state == "stopped" and panel._pause.disabled


def begin_long_run(panel):
    """A run that has measured something and goes on."""
    panel.num_epochs = 100
    panel.train()
    wait_for(lambda: panel._run.history.records)


def train_and_stop(panel):
    """A run that was stopped after it had measured something."""
    begin_long_run(panel)
    panel.stop()
    wait_for_end(panel)


def test_train_again_after_stop(panel):
    train_and_stop(panel)
    panel.num_epochs = 1
    panel.train()
    wait_for_end(panel)
    assert [run.history.completed for run in panel.runs] == [False, True]
    assert panel.runs[0].history.config["seed"] == panel.runs[1].history.config["seed"]


def test_run_that_ends_while_the_stop_button_speaks_is_listed_once(panel):
    train_and_stop(panel)
    panel._changed(panel._run)  # the button's thread tells of "stopping", and finds it stopped
    assert len(panel.runs) == 1


def test_an_error_shows_in_plain_words_and_the_panel_goes_on(panel, monkeypatch):
    with monkeypatch.context() as diverging:
        diverging.setattr(recipes, "OPTIMIZERS", {
            "SGD": (functools.partial(torch.optim.SGD, momentum=1e30), {})})
        panel.train()
        wait_for_end(panel)
    assert panel.state == "failed" and "learning rate ten times smaller" in panel.text
    assert "Traceback" not in panel._status.value and not panel._train.disabled
    panel.train()
    wait_for_end(panel)
    assert panel.state == "finished"


def test_screen_readers_are_told_of_a_change_of_state_and_not_of_every_step(panel):
    begin_long_run(panel)
    assert 'aria-live="off"' in panel._status.value
    panel.pause()
    assert 'aria-live="polite"' in panel._status.value and "Paused" in panel._status.value
    panel.stop()
    wait_for_end(panel)


def test_a_panel_that_is_closed_trains_no_more(panel):
    panel.close()
    panel.train()
    assert panel._run is None


def test_a_run_that_has_ended_and_could_not_tell_yet_is_listed_when_the_next_begins(panel):
    panel._changed, told = lambda run: None, panel._changed
    panel.train()
    wait_for_end(panel)
    panel._changed = told
    panel.train()
    assert len(panel.runs) == 1
    panel.stop()
    wait_for_end(panel)


def test_closing_ends_the_run(panel):
    panel.num_epochs = 100
    panel.train()
    run = panel._run
    panel.close()
    assert run.join(30) and run.state == "stopped"


def test_running_the_cell_again_ends_the_old_run_and_keeps_the_list(few_images, tmp_path):
    old = TrainingPanel(folder=tmp_path, num_epochs=100, batch_size=10)
    old.train()
    run = old._run
    wait_for(lambda: run.history.records)
    new = TrainingPanel(folder=tmp_path, **SETTINGS)
    assert run.join(30) and run.state == "stopped"
    assert [listed.history for listed in new.runs] == [run.history]
    assert "run 1" in new._comparison.value
    new.close()


def test_running_a_cell_with_two_panels_again_keeps_both_lists(few_images, tmp_path, monkeypatch):
    def run_cell(number):
        monkeypatch.setattr(cells, "running_cell", lambda: ("cell", number))
        return [TrainingPanel(folder=tmp_path, **SETTINGS) for _ in range(2)]

    old = run_cell(1)
    for panel in old:
        panel._add(finished("a"))
    new = run_cell(2)
    assert [[run.name for run in panel.runs] for panel in new] == [["a", "a (2)"], []]
    for panel in new:
        panel.close()


# --- state ---

@pytest.mark.parametrize(("trait", "value"), [
    ("data", "full"), ("image_size", 96), ("depth", 50), ("shortcuts", False),
    ("optimizer", "Adam"), ("lr", 0.3),
    ("schedule", "one-cycle"), ("batch_size", 256), ("num_epochs", 10)])
def test_traits_and_controls_follow_each_other(panel, trait, value):
    default = getattr(panel, trait)
    setattr(panel, trait, value)
    assert panel._controls[trait].input.value == value
    panel._controls[trait].input.value = default
    assert getattr(panel, trait) == default


def test_impossible_values_are_refused(panel):
    for trait, value in (("data", "half"), ("image_size", 5), ("depth", 19),
                         ("optimizer", "sgd"), ("lr", -1.0), ("lr", "fast"), ("batch_size", 1),
                         ("num_epochs", 0), ("state", "finished")):
        before = getattr(panel, trait)
        with pytest.raises(TraitError):
            setattr(panel, trait, value)
            pytest.fail(f"{trait} = {value!r} was accepted")
        assert getattr(panel, trait) == before, (trait, value)


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="no learning_rate"):
        TrainingPanel(learning_rate=1)


def test_saved_notebook_has_a_picture_beside_the_widget(panel):
    data, metadata = panel._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= data.keys()
    assert "empty axes for train loss" in metadata["image/png"]["alt"]
    panel._run = FinishedRun("a", d2l.History(records=[Progress(0.2, 1, 2.0, 0.3, None, 64, 1.0)]))
    panel._run.settings, panel._run.stop = panel, lambda: None
    assert "curves of train loss" in panel._repr_mimebundle_()[1]["image/png"]["alt"]


# --- the list ---

def rows(panel):
    return [[child.description for child in row.children] for row in panel._list.children]


def test_a_run_can_be_saved_removed_and_loaded_again(panel, tmp_path):
    panel._add(finished("first try"))
    save, remove = panel._list.children[0].children[2:]
    save.click()
    assert "Saved as first try.json" in panel._file_status.value
    assert "first try.json" in panel._file.options
    remove.click()
    assert not panel.runs and not panel._list.children and panel._comparison.value == ""
    panel._file.value = "first try.json"
    panel._files.children[1].click()
    assert [run.name for run in panel.runs] == ["first try"]
    assert panel.runs[0].history.test_acc == 0.625


def test_saving_never_overwrites(panel, tmp_path):
    panel._add(finished())
    assert [panel.save(panel.runs[0]).name for _ in range(3)] == ["a.json", "a-2.json", "a-3.json"]


def test_notebooks_that_save_at_the_same_moment_take_different_names(panel, tmp_path):
    panel._add(finished())
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(panel.save, 40 * panel.runs))
    assert len(set(paths)) == 40 and all(d2l.History.load(path).test_acc == 0.625 for path in paths)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a\\b", "...", "C:", "<b>"])
def test_a_name_cannot_lead_out_of_the_folder(panel, tmp_path, name):
    panel._add(finished(name))
    path = panel.save(panel.runs[0])
    assert path.parent == tmp_path and path.is_file()


def test_renaming_changes_table_and_labels(panel):
    panel._add(finished())
    panel._list.children[0].children[1].value = "slow & steady"
    assert panel.runs[0].name == "slow & steady" and rows(panel)[0][0] == "show slow & steady"
    assert "slow &amp; steady" in panel._comparison.value


def test_names_stay_different(panel):
    panel._add(finished("a"))
    panel._add(finished("b"))
    panel._list.children[1].children[1].value = "a"
    assert [run.name for run in panel.runs] == ["a", "a (2)"]
    for same in ("  ", "a ", " a"):
        panel._list.children[0].children[1].value = same
        assert [run.name for run in panel.runs] == ["a", "a (2)"]
        assert panel._list.children[0].children[1].value == "a"
    panel._list.children[1].children[1].value = "a"  # its own name is no obstacle
    assert [run.name for run in panel.runs] == ["a", "a (2)"]


def test_a_name_has_an_end(panel):
    panel._add(finished())
    panel._list.children[0].children[1].value = 5000 * "a"
    assert panel.runs[0].name == 100 * "a"


def test_a_row_stays_when_another_run_comes_or_goes(panel):
    panel._add(finished("a"))
    row = panel._list.children[0]
    panel._add(finished("b"))
    other = panel._list.children[1]
    other.children[1].value = "c"
    assert panel._list.children == (row, other)
    row.children[3].click()
    assert panel._list.children == (other,) and rows(panel)[0][0] == "show c" and row.comm is None


def test_the_number_of_a_run_is_not_given_twice(panel):
    for _ in range(2):
        panel.train()
        wait_for_end(panel)
    panel._list.children[0].children[3].click()
    panel.train()
    wait_for_end(panel)
    assert [run.name for run in panel.runs] == ["run 2", "run 3"]


def test_a_panel_that_is_closed_during_a_run_makes_no_widgets_any_more(panel):
    begin_long_run(panel)
    panel.close()
    wait_for_end(panel)
    assert panel.state == "stopped" and not panel.runs and not panel._list.children


def test_only_ticked_runs_are_drawn_and_all_are_in_the_table(panel):
    panel._add(finished("a"))
    panel._add(finished("b"))
    panel._list.children[0].children[0].value = False
    assert 'test accuracy against epoch of b"' in panel._comparison.value
    panel._list.children[1].children[0].value = False
    assert "<svg" not in panel._comparison.value and panel._comparison.value.count("<tr>") == 3


@pytest.mark.parametrize("content", [
    "", "[]", "{}", "no json", '{"format": "resnet_helpers history, version 9"}',
    json.dumps({"format": d2l.History.FORMAT, "records": [{"epoch": 1}]}),
    json.dumps({"format": d2l.History.FORMAT, "config": [], "records": []}),
    json.dumps({"format": d2l.History.FORMAT, "records": [dict.fromkeys(
        ("epoch", "step", "train_loss", "train_acc", "test_acc", "examples", "seconds"),
        "<script>")]})])
def test_a_file_that_is_no_run_is_refused_in_words_and_nothing_is_lost(panel, tmp_path, content):
    panel._add(finished())
    (tmp_path / "bad.json").write_text(content)
    panel._file.value = "bad.json"
    panel._files.children[1].click()
    said = panel._file_status.value
    assert "That did not work" in said and "not a training history" in said
    assert len(panel.runs) == 1


def test_a_file_that_is_not_there_is_told(panel):
    panel._file.value = "nothing.json"
    panel._files.children[1].click()
    assert "nothing.json: No such file" in panel._file_status.value
    panel._file.value = " "
    panel._files.children[1].click()
    assert "Name a file" in panel._file_status.value


def test_a_disk_that_is_full_leaves_no_empty_file(panel, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")
    panel._add(finished())
    monkeypatch.setattr("pathlib.Path.write_text", full)
    panel._list.children[0].children[2].click()
    assert "No space left on device" in panel._file_status.value and list(tmp_path.glob("*")) == []


def test_a_folder_that_cannot_be_written_is_told(panel, tmp_path):
    panel._add(finished())
    panel.folder = tmp_path / "missing"
    panel._list.children[0].children[2].click()
    assert "That did not work" in panel._file_status.value and len(panel.runs) == 1


def test_table_escapes_what_files_and_users_say():
    table = run_table([finished("<script>", model="<b>", optimizer="<i>", lr="<u>")])
    assert not re.search("<(script|b|i|u)>", table) and "&lt;script&gt;" in table


def test_accuracy_on_held_out_images_is_not_taken_for_test_accuracy():
    run = finished("a", held_out=True)
    assert "<td>0.625 held-out</td>" in run_table([run])
    untested = FinishedRun("a", d2l.History(config=run.history.config))
    assert "held-out" not in run_table([untested])
    assert ">held-out acc<" in draw_runs({"a": run.history}).svg("")
    both = draw_runs({"a": run.history, "b": finished().history})
    assert ">test / held-out acc<" in both.svg("")


def test_table_shows_settings_and_results():
    run = finished("a", model="ResNet-18", data="subset", image_size=28, lr=0.05,
                   schedule="linear", batch_size=64)
    body = run_table([run]).partition("<tbody>")[2]
    cells = re.findall(r'<t[hd](?: scope="row")?>([^<]*)</t[hd]>', body)
    assert cells == ["a", "ResNet-18", "subset 28 px", "", "0.05, linear", "64", "2 of 2",
                     "1.000", "0.750", "0.625", "50"]
    assert run_table([FinishedRun("old", d2l.History())])  # knows nothing, and still is a row


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "0 s"), (45.4, "45 s"), (100, "2 min"), (2400, "40 min"), (6000, "1 h 40 min")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_every_state_has_a_sentence():
    run = BackgroundRun(RunSettings())
    run.history.hardware = {"device": "cpu"}
    for state in ("preparing", "training", "paused", "stopping", "stopped", "finished", "failed"):
        for run.error in ("The memory is full.", "KeyError"):
            text = describe_run(run, state)
            assert text.endswith(".") and not text.endswith("..")
