"""The training panel in JupyterLab: a run that can be watched, paused and stopped, and the list of
runs.
"""

import re
import time

import pytest

from .explorers import Explorer, picked, radio, slid, ticked, typed

# 200 + 40 images in place of 6,000 + 1,000: an epoch takes less than a second, so a test decides
# how long a run is.
SETUP = """
import threading
from resnet_helpers.runs import recipes
from resnet_helpers.data import FashionMNIST, load_fashion_mnist_subset
from resnet_helpers.widgets import TrainingPanel

data = load_fashion_mnist_subset()
few = FashionMNIST(data.train_images[:200], data.train_labels[:200], data.test_images[:40], data.test_labels[:40])
recipes.load_fashion_mnist_subset = recipes.load_fashion_mnist = lambda root=None: few
"""
PANEL = "panel = TrainingPanel(num_epochs=100, batch_size=50)\npanel"
NUM_RUNS_AT_WORK = "[thread.name for thread in threading.enumerate()].count('training')"

SETTINGS = (radio("full: 70,000 images", data="full"), picked("model", "ResNet-34", depth=34),
            ticked("residual connections", False, shortcuts=...),
            typed("image size", 29, image_size=...),
            slid("image size", 32, image_size=...), picked("optimizer", "Adam", optimizer="Adam"),
            typed("learning rate", 0.25, lr=...),
            picked("schedule", "rises, then falls to zero", schedule="one-cycle"),
            typed("batch size", 128, batch_size=...), slid("batch size", 136, batch_size=...),
            typed("epochs", 98, num_epochs=...), slid("epochs", 90, num_epochs=...))
TAB_STOPS = ("subset: 7,000 images", "full: 70,000 images", "model", "residual connections",
             "image size", "slider image size", "optimizer", "learning rate", "schedule",
             "batch size", "slider batch size", "epochs", "slider epochs", "Train", "saved run", "Load")


class Panel(Explorer):
    """The panel in an open notebook."""

    def __init__(self, notebook):
        super().__init__(notebook, "TrainingPanel(num")
        self.sentence = self.output.locator(".widget-html").filter(has=notebook.page.get_by_role("status")).first

    def press(self, button, says, by="mouse"):
        """Press a button; return the milliseconds until the sentence has these words."""
        return self.notebook.time_change(lambda: self.choose(button, True, by, "button"),
                                         self.sentence, says)

    def epochs(self):
        """How many epochs are done, as the sentence says."""
        found = re.search(r"([\d.]+) of \d+ epochs", self.words())
        return float(found[1]) if found else 0.0

    def bar(self):
        """How long the progress bar is, in percent."""
        return self.output.locator(".progress-bar").evaluate("bar => parseFloat(bar.style.width)")

    def enabled(self):
        """Which of the buttons for a run can be pressed."""
        return [name for name in ("Train", "Pause", "Resume", "Stop")
                if (button := self.control(name, "button")).count() and button.is_enabled()]

    def wait_for_epochs(self, number):
        """Wait until so many epochs are done."""
        assert self.notebook.eventually(lambda: self.epochs() >= number)

    def wait_for(self, beginning):
        """Wait until the sentence begins with these words."""
        assert self.notebook.eventually(lambda: self.words()[:len(beginning)],
                                        beginning) == beginning

    def train_to_the_end(self):
        """A run of one epoch."""
        self.choose("epochs", 1, role="spinbutton")
        runs = len(self.listed())
        self.choose("Train")
        assert self.notebook.eventually(lambda: len(self.listed()), runs + 1) == runs + 1

    def wait_for_answer(self, code, answer):
        """Wait until the kernel says this when asked for the value of some code."""
        assert self.notebook.eventually(lambda: self.notebook.ask(code), answer) == answer

    def listed(self):
        """Names of the runs in the table."""
        return [row[0] for row in self.seen()["rows"][1:]]

    def wait_until_listed(self, *runs):
        """Wait until these runs are in the table, and each can be shown and removed."""
        def shown():
            return self.listed(), [text for text in self.seen()["buttons"]
                                   if text.startswith("Remove")]
        expected = list(runs), [f"Remove {run}" for run in runs]
        assert self.notebook.eventually(shown, expected) == expected

    def wait_until_compared(self, *runs):
        """Wait until the second picture is there and shows these runs, or no second picture if
        there are none.
        """
        expected = [f"Training loss and test accuracy against epoch of {', '.join(runs)}"] if runs else []
        assert self.notebook.eventually(lambda: self.seen()["descriptions"][1:],
                                        expected) == expected

    def wait_until_files_say(self, sentence):
        """Wait for this sentence about saving and loading."""
        assert self.notebook.eventually(lambda: self.seen()["words"][1:], [sentence]) == [sentence]

    def load(self, file, says, by="mouse"):
        """Load a file and wait for what the panel says about it."""
        self.choose("saved run", file, by)
        self.choose("Load", by=by)
        self.wait_until_files_say(says)


@pytest.fixture(scope="module")
def notebook(shared_lab):
    """A notebook for all tests here."""
    notebook = shared_lab.new([SETUP, PANEL, ""])
    notebook.run_cell(0)
    return notebook


@pytest.fixture
def panel(notebook):
    """A new panel, without runs."""
    notebook.console_errors.clear()
    notebook.ask("if 'panel' in globals(): panel.close()")
    notebook.run_cell(1)
    panel = Panel(notebook)
    panel.wait_for("Ready.")
    return panel


def assert_no_errors(panel):
    assert panel.notebook.errors() == [] and panel.notebook.console_errors == []


def test_page_follows_a_run(panel):
    assert panel.enabled() == ["Train"]
    panel.choose("Train")
    pictures, epochs, bars = set(), [], []

    def has_seen_enough():
        pictures.add(panel.drawn())
        epochs.append(panel.epochs())
        bars.append(panel.bar())
        return len(pictures) >= 4 and epochs[-1] >= 2

    assert panel.notebook.eventually(has_seen_enough)
    assert epochs == sorted(epochs) and bars == sorted(bars) and 0 < bars[-1] < 100
    assert panel.enabled() == ["Pause", "Stop"]
    assert re.search(r"^Training ResNet-18 on \w+: .* Loss \d\.\d{3}, train acc [01]\.\d{3}",
                     panel.words())
    assert panel.seen()["descriptions"][0] == "Curves of train loss, train acc, test acc against epoch"
    assert_no_errors(panel)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_pause_resume_stop_and_train_again(panel, by, measure):
    panel.press("Train", "Training ResNet-18", by)
    panel.wait_for_epochs(1)
    measure(f"training panel, {by}, Pause to paused", [panel.press("Pause", "Paused after", by)])
    assert panel.enabled() == ["Resume", "Stop"]

    def stands_still():  # the step that was going on may still be drawn
        before = panel.words(), panel.bar(), panel.drawn()
        panel.notebook.page.wait_for_timeout(1500)  # four epochs, if it does not
        return (panel.words(), panel.bar(), panel.drawn()) == before
    assert panel.notebook.eventually(stands_still, timeout=20)
    measure(f"training panel, {by}, Resume to training",
            [panel.press("Resume", "Training ResNet-18", by)])
    panel.wait_for_epochs(panel.epochs() + 0.5)
    measure(f"training panel, {by}, Stop to stopped", [panel.press("Stop", "Stopped after", by)])
    assert panel.enabled() == ["Train"]
    panel.wait_until_listed("run 1")
    panel.press("Train", "Training ResNet-18", by)
    assert panel.epochs() < 1 and panel.enabled() == ["Pause", "Stop"]
    panel.wait_for_epochs(1)
    panel.press("Stop", "Stopped after", by)
    panel.wait_until_listed("run 1", "run 2")
    assert_no_errors(panel)


def test_a_step_that_takes_seconds_can_be_stopped(panel, measure):
    panel.choose("image size", 128, role="spinbutton")
    panel.choose("batch size", 200, role="spinbutton")
    panel.press("Train", "Training ResNet-18")
    measure("training panel, Stop to stopped, in a long step",
            [panel.press("Stop", "Stopped after")])
    assert panel.enabled() == ["Train"]
    assert_no_errors(panel)


def test_only_one_run_goes_at_a_time(panel):
    panel.control("Train", "button").dblclick()
    panel.wait_for("Training")
    panel.wait_for_epochs(1)
    panel.control("Train", "button").click(force=True)  # it is disabled: nothing must happen
    assert panel.notebook.ask(NUM_RUNS_AT_WORK) == "1"
    panel.press("Stop", "Stopped after")
    panel.wait_for_answer(NUM_RUNS_AT_WORK + ", len(panel.runs)", "(0, 1)")
    assert_no_errors(panel)


def test_notebook_stays_usable_and_running_the_cell_again_ends_the_run(panel, measure):
    panel.press("Train", "Training ResNet-18")
    begin = time.perf_counter()
    assert panel.notebook.ask("6 * 7") == "42"
    measure("another cell while it trains", [1000 * (time.perf_counter() - begin)])
    assert panel.enabled() == ["Pause", "Stop"]
    panel.wait_for_epochs(1)
    panel.notebook.run_cell(panel.cell)
    panel.wait_for("Ready.")
    assert panel.enabled() == ["Train"] and panel.output.get_by_role("button",
                                                                     name="Train").count() == 1
    panel.wait_for_answer(NUM_RUNS_AT_WORK, "0")
    panel.wait_until_listed("run 1")
    assert_no_errors(panel)


# --- the list of runs ---

def test_finished_runs_are_listed_and_compared(panel):
    panel.train_to_the_end()
    panel.train_to_the_end()
    assert panel.words().startswith("Finished 1.0 of 1 epochs.") and panel.bar() == 100
    panel.wait_until_listed("run 1", "run 2")
    panel.wait_until_compared("run 1", "run 2")
    panel.choose("show run 1", False)
    panel.wait_until_compared("run 2")
    panel.choose("show run 2", False, by="keyboard")
    panel.wait_until_compared()
    panel.choose("show run 2", True, by="keyboard")
    panel.wait_until_compared("run 2")
    assert_no_errors(panel)


def test_a_run_can_be_renamed_saved_removed_and_loaded(panel):
    panel.train_to_the_end()
    panel.choose("name", "fast", role="textbox")
    panel.wait_until_listed("fast")
    panel.choose("Save fast")
    panel.wait_until_files_say("Saved as fast.json.")
    assert (panel.notebook.folder / "fast.json").is_file()
    row = panel.seen()["rows"][1]
    panel.choose("Remove fast", by="keyboard")
    panel.wait_until_listed()
    panel.load("fast.json", "Loaded fast.json.")
    panel.wait_until_listed("fast")
    assert panel.seen()["rows"][1] == row
    panel.load("fast.json", "Loaded fast.json.", by="keyboard")
    panel.wait_until_listed("fast", "fast (2)")
    panel.load("slow.json", "That did not work: slow.json: No such file or directory.")
    assert_no_errors(panel)


# --- settings ---

@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_every_control_sets_its_setting(panel, by):
    for change in SETTINGS:
        panel.choose(change.label, change.value, by, change.role)
        (name, value), = change.state.items()
        if change.role == "slider" and by == "mouse":
            value = panel.seen()["numbers"][change.label][1]
            assert abs(value - change.value) <= 2  # there are fewer pixels than numbers
        panel.wait_for_answer(f"panel.{name}", repr(value))
    assert all(typed == slid for typed, slid in panel.seen()["numbers"].values())
    assert_no_errors(panel)


def test_tab_key_stops_at_every_control(panel):
    assert tuple(panel.notebook.tab_stops(panel.output)) == TAB_STOPS
