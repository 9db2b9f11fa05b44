"""Training with buttons: settings, live curves, and a list of runs to compare."""

import contextlib
import errno
import threading
import time
from pathlib import Path

import ipywidgets as widgets
import traitlets

from resnet_helpers.cells import forget, replaced_by, widget_output
from resnet_helpers.diagrams import draw_runs, draw_training
from resnet_helpers.history import History
from resnet_helpers.models import MODELS
from resnet_helpers.plotting import RUN_CURVES
from resnet_helpers.runs.background import ACTIVE, BackgroundRun
from resnet_helpers.runs.recipes import OPTIMIZERS, SCHEDULES, RunSettings
from resnet_helpers.widgets.explorer import (
    FITTING,
    ROW,
    WIDE,
    OneOf,
    Real,
    Whole,
    choice,
    close_all,
    control_row,
    dropdown,
    field,
    link_controls,
    number,
    page_style,
    status,
    switch,
    table,
    view_metadata,
)

SECONDS_BETWEEN_PICTURES = 0.25
MAX_NAME = 100  # characters; a longer one in a file is no name, and would fill the page


class TrainingPanel(widgets.VBox):
    """Choose settings, train in the background, watch, pause, stop, and compare the runs.

    The notebook stays usable meanwhile. One run goes at a time. Running the cell again, or
    `close()`, ends it; runs that are done stay in the list of the new panel.

    Args, and attributes to read or set:
        data, image_size, depth, shortcuts, optimizer, lr, schedule, batch_size, num_epochs: see
            `recipes.RunSettings`.
        folder: where histories are saved and looked for; the notebook's own by default.

    Attributes:
        state: of the current run, as `runs.BackgroundRun`; "ready" before the first.
        text: the same in a sentence.
        net: the network of the last run.
        runs: the runs that are done, as `FinishedRun`.
    """

    data = OneOf(("subset", "full"), "subset")
    image_size = Whole(28, min=28, max=224)
    depth = OneOf(tuple(MODELS), 18)
    shortcuts = traitlets.Bool(True)
    optimizer = OneOf(tuple(OPTIMIZERS), "SGD")
    lr = Real(0.05, min=1e-4, max=10)  # a multiple of the control's step: it counts from there
    schedule = OneOf(SCHEDULES, "linear")
    batch_size = Whole(64, min=2, max=1024)  # batch norm cannot compare a single image with others
    num_epochs = Whole(6, min=1, max=100)
    state = traitlets.Unicode("ready", read_only=True)
    text = traitlets.Unicode("Ready.", read_only=True)
    _run = None  # ipywidgets calls `close` on a panel that could not be made, too
    _is_closed, _lock = False, threading.RLock()

    def __init__(self, *, folder=".", **settings):
        self._controls = _setting_controls(self.traits())
        self.folder, self.runs = Path(folder), []
        self._lock = threading.RLock()  # a run ends in a thread of its own
        self._listed, self._num_listed, self._rows = None, 0, {}  # {FinishedRun: its row}
        self._make_widgets()
        buttons = widgets.HBox([self._train, self._pause, self._stop, self._bar], layout=ROW)
        super().__init__([
            control_row(self._controls), buttons, self._status, self._curves, self._list,
            self._files, self._file_status, self._comparison, page_style()])
        try:
            link_controls(self, self._controls, settings)
        except Exception:
            self.close()
            raise
        self._replace_panel_of_this_cell()
        self._draw_curves()
        self._show_state()
        self._show_runs()

    def _make_widgets(self):
        self._train = _action("Train", "start a run with these settings", self.train,
                              button_style="primary")
        self._pause = _action("Pause", "wait after the current step, or go on", self.pause)
        self._stop = _action("Stop", "end the run and keep what was measured", self.stop)
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "300px"},
                                          tooltip="progress of the run")
        self._status, self._curves, self._comparison, self._file_status = (
            widgets.HTML() for _ in range(4))
        self._list = widgets.VBox()
        self._file = widgets.Combobox(description="saved run", placeholder="run 1.json", style=WIDE,
                                      layout={"width": "320px"})
        load = _action("Load", "add a saved run to the list", self._load_named)
        self._files = widgets.HBox([self._file, load], layout=ROW)

    def _replace_panel_of_this_cell(self):
        """End the run of the panel that this cell made before, and take over its list."""
        for former in replaced_by(self, of_unknown_cells=True):
            if isinstance(former, TrainingPanel):
                if former._run:
                    former._run.stop(wait=1.0)  # long enough to list what it measured
                with former._lock:
                    for run in former.runs:
                        run.name = self._free_name(run.name)
                        self.runs.append(run)
                    self._num_listed = max(self._num_listed, former._num_listed)
                    former._run = None
            former.close()

    @property
    def net(self):
        """The network of the last run; None before the first."""
        return self._run.net if self._run else None

    def train(self, _=None):
        """Start a run with the present settings, unless one is going."""
        with self._lock:
            if self._is_closed or self._run and self._run.is_active():
                return
            if self._run:
                self._changed(self._run)  # if it has just ended, it may not be in the list yet
            settings = RunSettings(**{name: getattr(self, name) for name in self._controls})
            self._run = BackgroundRun(settings, on_progress=self._follow, on_change=self._changed)
            self._draw_curves()
            self._changed(self._run)
            self._run.start()

    def pause(self, _=None):
        """Pause the run, or go on with it."""
        if self._run:
            (self._run.resume if self._run.state == "paused" else self._run.pause)()

    def stop(self, _=None):
        """End the run; what was measured stays."""
        if self._run:
            self._run.stop()

    def close(self):
        """End the run and remove the panel from the page."""
        with self._lock:
            self._is_closed = True
        self.stop()
        self.unobserve_all()
        close_all(self)
        forget(self)

    def load(self, path):
        """Add a saved history to the list.

        Raises:
            ValueError, OSError: as `History.load`.
        """
        history = History.load(path)
        name = history.config.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            name = Path(path).stem.encode(errors="replace").decode()
        self._add(FinishedRun(self._free_name(name), history))

    def save(self, run, path=None):
        """Write a run of the list to a file.

        Args:
            path: None means NAME.json in the folder, under a name that is free.

        Returns:
            The path.
        """
        claimed = None
        if path is None:
            path = claimed = _claim_file(self.folder, run.name)
        run.history.config["name"] = run.name
        try:
            run.history.save(path)
        except Exception:
            if claimed:
                claimed.unlink(missing_ok=True)
            raise
        return path

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and its present curves for pages without a kernel."""
        view = super()._repr_mimebundle_(**kwargs)
        with self._lock:
            fig, has_points = self._sketch().figure(), bool(self._records())
        seen = "curves of" if has_points else "empty axes for"
        alt = f"Training panel with {seen} {', '.join(RUN_CURVES)}: {self.text}"
        return widget_output(view, f"TrainingPanel: {self.text}", fig, alt,
                             view_metadata(self._controls))

    # --- the current run ---

    def _records(self):
        return self._run.history.records if self._run else []

    def _sketch(self):
        num_epochs = self._run.settings.num_epochs if self._run else self.num_epochs
        return draw_training(self._records(), num_epochs)

    def _draw_curves(self):
        with self._lock:
            self._next_picture = time.monotonic() + SECONDS_BETWEEN_PICTURES
            self._curves.value = self._sketch().svg(f"Curves of {', '.join(RUN_CURVES)} against "
                                                    f"epoch")

    def _follow(self, run, _):
        with self._lock:
            if run is self._run and time.monotonic() >= self._next_picture:
                self._draw_curves()

    def _changed(self, run):
        """The run's state or progress has changed; its thread and a button may say so at once."""
        with self._lock:
            if run is not self._run:
                return
            state = self._show_state()
            if self._is_closed or state in ACTIVE or run is self._listed:
                return
            self._listed = run
            self._draw_curves()
            if run.history.records:
                self._num_listed += 1
                self._add(FinishedRun(self._free_name(f"run {self._num_listed}"), run.history))

    def _show_state(self):
        """Bring all that depends on the run's state up to date; returns that state."""
        run = self._run
        state = run.state if run else "ready"  # once: it changes in the run's thread
        is_active = state in ACTIVE
        self.set_trait("state", state)
        self._train.disabled = is_active
        self._pause.disabled = state not in ("training", "paused")
        self._pause.description = "Resume" if state == "paused" else "Pause"
        self._stop.disabled = not is_active or state == "stopping"
        self.set_trait("text", describe_run(run, state) if run else
                       "Ready. Train starts a run with these settings.")
        # While it trains, the sentence would be read out all the time.
        self._status.value = status(self.text, is_announced=state != "training")
        self._bar.value = run.fraction if run else 0.0
        return state

    # --- the list of runs ---

    def _add(self, run):
        with self._lock:
            self.runs.append(run)
            self._show_runs()

    def _remove(self, run):
        with self._lock:
            self.runs.remove(run)
            self._show_runs()

    def _rename(self, run, name):
        with self._lock:
            name = name.strip()[:MAX_NAME]
            if name and name != run.name:
                run.name = self._free_name(name, renamed=run)
                self._show_comparison()

    def _free_name(self, name, renamed=None):
        """A name as near to this one as the other runs leave it."""
        taken = {run.name for run in self.runs if run is not renamed}
        candidates = (name, *(f"{name} ({n})" for n in range(2, 1000)))
        return next(candidate for candidate in candidates if candidate not in taken)

    def _show_runs(self):
        with self._lock:
            for run in self._rows.keys() - set(self.runs):
                close_all(self._rows.pop(run))
            for run in self.runs:  # a row that is there stays: the reader may be typing in it
                if run not in self._rows:
                    self._rows[run] = self._row(run)
            self._list.children = [self._rows[run] for run in self.runs]
            self._file.options = self._saved_runs()
            self._show_comparison()

    def _row(self, run):
        """The controls of one run: overlay it, rename it, save it, take it off the list."""
        shown = widgets.Checkbox(run.shown, indent=False, layout=FITTING,
                                 tooltip="draw this run below")
        name = widgets.Text(description="name", continuous_update=False, style=WIDE,
                            layout={"width": "220px"})
        save = widgets.Button(layout=FITTING, tooltip="write this run's history to a JSON file")
        remove = widgets.Button(layout=FITTING, tooltip="take this run off the list")

        def say_name():
            name.value, name.tooltip = run.name, f"another name for {run.name}"
            for widget, verb in ((shown, "show"), (save, "Save"), (remove, "Remove")):
                widget.description = f"{verb} {run.name}"

        def show_or_hide(change):
            run.shown = change.new
            self._show_comparison()

        def rename(change):
            self._rename(run, change.new)
            say_name()

        say_name()
        shown.observe(show_or_hide, "value")
        name.observe(rename, "value")
        save.on_click(lambda _: self._try(lambda: f"Saved as {self.save(run).name}."))
        remove.on_click(lambda _: self._remove(run))
        return widgets.HBox([shown, name, save, remove], layout=ROW)

    def _show_comparison(self):
        with self._lock:
            shown = [run for run in self.runs if run.shown]
            page = run_table(self.runs)
            if shown:
                names = ", ".join(run.name for run in shown)
                page += draw_runs({run.name: run.history for run in shown}).svg(
                    f"Training loss and test accuracy against epoch of {names}")
            self._comparison.value = page

    # --- files ---

    def _saved_runs(self):
        """The names of files that may hold runs, those left out that no page can show."""
        names = (path.name for path in sorted(self.folder.glob("*.json")))
        return tuple(name for name in names if name.isprintable())

    def _load_named(self, _):
        def load():
            name = self._file.value.strip()
            if not name:
                return "Name a file to load, for example one that was saved here."
            self.load(self.folder / name)
            return f"Loaded {name}."
        self._try(load)

    def _try(self, action):
        """Do something with files and say how it went."""
        try:
            text = action()
        except (OSError, ValueError) as error:
            name = f"{Path(error.filename).name}: " if getattr(error, "filename", None) else ""
            text = f"That did not work: {name}{getattr(error, 'strerror', None) or error}."
        self._file_status.value = status(text)
        self._file.options = self._saved_runs()


class FinishedRun:
    """A run of the list: its `name`, its `history`, and whether the comparison shows it."""

    def __init__(self, name, history):
        self.name, self.history, self.shown = name, history, True


def _setting_controls(traits):
    data = (("subset: 7,000 images", "subset"), ("full: 70,000 images", "full"))
    schedules = [("stays as it is", "constant"), ("falls to zero", "linear"),
                 ("rises, then falls to zero", "one-cycle")]
    return {"data": choice("data", data),
            "depth": dropdown("model", [(f"ResNet-{depth}", depth) for depth in MODELS]),
            "shortcuts": switch("residual connections"),
            "image_size": number("image size", traits["image_size"]),
            "optimizer": dropdown("optimizer", tuple(OPTIMIZERS)),
            "lr": field("learning rate", traits["lr"], step=1e-4),
            "schedule": dropdown("schedule", schedules),
            "batch_size": number("batch size", traits["batch_size"]),
            "num_epochs": number("epochs", traits["num_epochs"])}


def _action(description, tooltip, on_click, **kwargs):
    button = widgets.Button(description=description, tooltip=tooltip, layout={"width": "110px"},
                            **kwargs)
    button.on_click(on_click)
    return button


def _claim_file(folder, name):
    """Create a file NAME.json, NAME-2.json, ...: the first that no other notebook has made."""
    stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(". ") or "run"
    for ending in ("", *(f"-{n}" for n in range(2, 1000))):
        path = folder / f"{stem}{ending}.json"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise FileExistsError(errno.EEXIST, "there are a thousand files of this name", str(path))


# --- words ---

def describe_run(run, state):
    """Where a `BackgroundRun` stands that is in this state, in a sentence."""
    model, num_epochs, history = run.settings.model, run.settings.num_epochs, run.history
    if state == "preparing":
        return f"Preparing {model}: loading the data."
    done = f"{run.fraction * num_epochs:.1f} of {num_epochs} epochs"
    if state == "failed":
        return f"Training stopped after {done}. {run.error.rstrip('.')}."
    numbers = ""
    if history.records:
        numbers = f" Loss {history.train_loss:.3f}, train acc {history.train_acc:.3f}"
        if history.test_acc is not None:
            numbers += f", {history.tested_on} acc {history.test_acc:.3f}"
        numbers += "."
    if state == "training":
        left = f", about {duration(run.seconds_left)} left" if run.seconds_left is not None else ""
        return f"Training {model} on {history.hardware['device']}: {done}{left}.{numbers}"
    verb = {"paused": "Paused after", "stopping": "Stopping after", "stopped": "Stopped after",
            "finished": "Finished"}
    return f"{verb[state]} {done}.{numbers}"


def duration(seconds):
    """Seconds as text for people: 45 s, 12 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def run_table(runs):
    """Settings and results of `FinishedRun`s as an HTML table; empty without any."""
    head = ("run", "model", "images", "optimizer", "learning rate", "batch", "epochs", "loss",
            "train acc", "test acc", "images/s")
    return table(head, [_run_values(run) for run in runs]) if runs else ""


def _run_values(run):
    def rounded(value, digits=3):
        return "" if value is None else f"{value:.{digits}f}"

    config, history = run.history.config, run.history
    data = f"{config['data']} {config.get('image_size', '')} px" if "data" in config else ""
    schedule = f", {config['schedule']}" if "schedule" in config else ""
    epochs = "0"
    if history.records:
        epochs = f"{history.records[-1].epoch:.3g} of {config.get('num_epochs', '?')}"
    test_acc = rounded(history.test_acc)
    if test_acc and history.tested_on == "held-out":
        test_acc += " held-out"
    return (run.name, config.get("model", ""), data, config.get("optimizer", ""),
            f"{config.get('lr', '')}{schedule}", config.get("batch_size", ""), epochs,
            rounded(history.train_loss), rounded(history.train_acc), test_acc,
            rounded(history.examples_per_second, 0))
