"""Training with buttons: settings, live curves, and a list of runs to compare."""

import base64
import contextlib
import errno
import threading
from pathlib import Path

import ipywidgets as widgets
import traitlets

from resnet_helpers.diagrams import draw_runs
from resnet_helpers.history import History
from resnet_helpers.models import MODELS
from resnet_helpers.plotting import RUN_CURVES, Animator, to_png, to_svg
from resnet_helpers.runs.background import ACTIVE, BackgroundRun
from resnet_helpers.runs.recipes import OPTIMIZERS, SCHEDULES, RunSettings
from resnet_helpers.widgets.explorer import (
    ROW,
    OneOf,
    Real,
    Whole,
    choice,
    close_all,
    dropdown,
    field,
    forget,
    link_controls,
    number,
    replaced_by,
    status,
    switch,
    table,
)

WIDE = {"description_width": "initial"}
MAX_NAME = 100  # characters; a longer one in a file is no name, and would fill the page


class TrainingPanel(widgets.VBox):
    """Choose settings, train in the background, watch, pause, stop, and compare what was trained.

    The notebook stays usable meanwhile. One run goes at a time. Running the cell again, or `close()`, ends it; runs
    that are done stay in the list of the new panel.

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
    batch_size = Whole(64, min=2, max=1024)  # batch norm has nothing to compare a single image with
    num_epochs = Whole(6, min=1, max=100)
    state = traitlets.Unicode("ready", read_only=True)
    text = traitlets.Unicode("Ready.", read_only=True)
    _is_closed, _lock = False, threading.RLock()
    _run = None  # ipywidgets calls `close` on a panel that could not be made, too

    def __init__(self, *, folder=".", **settings):
        self._controls = _make_controls(self.traits())
        self.folder, self.runs = Path(folder), []
        self._listed, self._num_listed, self._lock = None, 0, threading.RLock()  # a run ends in a thread of its own
        self._rows = {}  # {FinishedRun: its controls}
        self._make_widgets()
        super().__init__([widgets.HBox([control.box for control in self._controls.values()], layout=ROW),
                          widgets.HBox([self._train, self._pause, self._stop, self._bar], layout=ROW),
                          self._status, self._curves, self._list, self._files, self._file_status, self._comparison])
        try:
            link_controls(self, self._controls, settings)
        except Exception:
            self.close()
            raise
        self._replace_panel_of_this_cell()
        self._animator = self._new_animator()
        self._show_state()
        self._show_runs()

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
            self._animator = self._new_animator()
            self._run = BackgroundRun(settings, on_progress=self._draw, on_change=self._changed)
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
        """Write a run of the list to `path`; by default to NAME.json in the folder, under a name that is free.

        Returns:
            The path.
        """
        claimed = None
        if path is None:
            stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in run.name).strip(". ") or "run"
            endings = ("", *(f"-{n}" for n in range(2, 1000)))
            path = claimed = _claim(self.folder / f"{stem}{ending}.json" for ending in endings)
        run.history.config["name"] = run.name
        try:
            run.history.save(path)
        except Exception:
            if claimed:
                claimed.unlink(missing_ok=True)
            raise
        return path

    # --- the current run ---

    def _draw(self, _, p):
        with self._lock:
            self._animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))

    def _changed(self, run):
        """The run's state or progress has changed. Called in its thread too, maybe at the same time as by a button."""
        with self._lock:
            if run is not self._run:
                return
            state = self._show_state()
            if self._is_closed:
                return
            if state not in ACTIVE and run is not self._listed:
                self._listed = run
                self._animator.draw()
                if run.history.records:
                    self._num_listed += 1
                    self._add(FinishedRun(self._free_name(f"run {self._num_listed}"), run.history))

    def _show_state(self):
        """Bring all that depends on the run's state up to date; returns that state."""
        run = self._run
        state = run.state if run else "ready"  # once: it changes in the run's thread
        active = state in ACTIVE
        self.set_trait("state", state)
        self._train.disabled = active
        self._pause.disabled = state not in ("training", "paused")
        self._pause.description = "Resume" if state == "paused" else "Pause"
        self._stop.disabled = not active or state == "stopping"
        self.set_trait("text", describe_run(run, state) if run else "Ready. Train starts a run with these settings.")
        self._status.value = status(self.text, is_announced=state != "training")  # or it would be read out all the time
        self._bar.value = run.fraction if run else 0.0
        return state

    def _new_animator(self):
        animator = Animator(xlabel="epoch", xlim=[0, self.num_epochs], legend=RUN_CURVES, figsize=(7, 3.3),
                            picture=_PagePicture(self._curves))
        animator.add(None, (None,) * len(RUN_CURVES))
        animator.draw()
        return animator

    # --- the list of runs ---

    def _add(self, run):
        with self._lock:
            self.runs.append(run)
            self._show_runs()

    def _free_name(self, name, renamed=None):
        """A name as near to this one as the other runs leave it."""
        taken = {run.name for run in self.runs if run is not renamed}
        return next(candidate for candidate in (name, *(f"{name} ({n})" for n in range(2, 1000)))
                    if candidate not in taken)

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

    def _saved_runs(self):
        """The names of files that may hold runs, those left out that no page can show."""
        names = (path.name for path in sorted(self.folder.glob("*.json")))
        return tuple(name for name in names if name.isprintable())

    def _row(self, run):
        """The controls of one run: overlay it, rename it, save it, take it off the list."""
        fitting = {"width": "max-content"}
        shown = widgets.Checkbox(run.shown, indent=False, layout=fitting, tooltip="draw this run below")
        name = widgets.Text(description="name", continuous_update=False, style=WIDE, layout={"width": "220px"})
        save = widgets.Button(layout=fitting, tooltip="write this run's history to a JSON file")
        remove = widgets.Button(layout=fitting, tooltip="take this run off the list")

        def say_name():
            name.value, name.tooltip = run.name, f"another name for {run.name}"
            for widget, verb in ((shown, "show"), (save, "Save"), (remove, "Remove")):
                widget.description = f"{verb} {run.name}"

        def show(change):
            run.shown = change.new
            self._show_comparison()

        def rename(change):
            with self._lock:
                new = change.new.strip()[:MAX_NAME]
                if new and new != run.name:
                    run.name = self._free_name(new, renamed=run)
                    self._show_comparison()
                say_name()

        def take_off(_):
            with self._lock:
                self.runs.remove(run)
                self._show_runs()

        say_name()
        shown.observe(show, "value")
        name.observe(rename, "value")
        save.on_click(lambda _: self._try(lambda: f"Saved as {self.save(run).name}."))
        remove.on_click(take_off)
        return widgets.HBox([shown, name, save, remove], layout=ROW)

    def _show_comparison(self):
        with self._lock:
            shown = [run for run in self.runs if run.shown]
            page = run_table(self.runs)
            if shown:
                alt = f"Training loss and test accuracy against epoch of {', '.join(run.name for run in shown)}"
                page += to_svg(draw_runs({run.name: run.history for run in shown}), alt)
            self._comparison.value = page

    def _load_named(self, _):
        def load():
            if not self._file.value.strip():
                return "Name a file to load, for example one that was saved here."
            self.load(self.folder / self._file.value.strip())
            return f"Loaded {self._file.value.strip()}."
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

    # --- the page ---

    def _make_widgets(self):
        def button(description, tooltip, action, **kwargs):
            widget = widgets.Button(description=description, tooltip=tooltip, layout={"width": "110px"}, **kwargs)
            widget.on_click(action)
            return widget

        self._train = button("Train", "start a run with these settings", self.train, button_style="primary")
        self._pause = button("Pause", "wait after the current step, or go on", self.pause)
        self._stop = button("Stop", "end the run and keep what was measured", self.stop)
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "300px"}, tooltip="progress of the run")
        self._status, self._curves, self._comparison = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._file_status, self._list = widgets.HTML(), widgets.VBox()
        self._file = widgets.Combobox(description="saved run", placeholder="run 1.json", style=WIDE,
                                      layout={"width": "320px"})
        load = button("Load", "add a saved run to the list", self._load_named)
        self._files = widgets.HBox([self._file, load], layout=ROW)

    def _replace_panel_of_this_cell(self):
        """End the run of the panel that this cell made before, and take over its list."""
        for former in replaced_by(self, of_unknown_cells=True):
            if isinstance(former, TrainingPanel):
                if former._run:
                    former._run.stop(wait=1.0)  # long enough for what it measured to get into the list
                with former._lock:
                    for run in former.runs:
                        run.name = self._free_name(run.name)
                        self.runs.append(run)
                    self._num_listed, former._run = max(self._num_listed, former._num_listed), None
            former.close()

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and its present curves for pages without a kernel."""
        with self._lock:
            png, seen = to_png(self._animator.fig), "curves of" if any(self._animator.X) else "empty axes for"
        data = {**super()._repr_mimebundle_(**kwargs), "text/plain": f"TrainingPanel: {self.text}",
                "image/png": base64.b64encode(png).decode()}
        alt = f"Training panel with {seen} {', '.join(RUN_CURVES)}: {self.text}"
        return data, {"image/png": {"width": 700, "alt": alt}}


def _claim(paths):
    """Create the first of these files that is not there yet; another notebook may be about to do the same."""
    for path in paths:
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise FileExistsError(errno.EEXIST, "there are a thousand files of this name", str(path))


class FinishedRun:
    """A run of the list: its `name`, its `history`, and whether it is `shown` in the comparison."""

    def __init__(self, name, history):
        self.name, self.history, self.shown = name, history, True


def _make_controls(traits):
    return {"data": choice("data", (("subset: 7,000 images", "subset"), ("full: 70,000 images", "full"))),
            "depth": dropdown("model", [(f"ResNet-{depth}", depth) for depth in MODELS]),
            "shortcuts": switch("residual connections"),
            "image_size": number("image size", traits["image_size"]),
            "optimizer": dropdown("optimizer", tuple(OPTIMIZERS)),
            "lr": field("learning rate", traits["lr"], step=1e-4),
            "schedule": dropdown("schedule", [("stays as it is", "constant"), ("falls to zero", "linear"),
                                              ("rises, then falls to zero", "one-cycle")]),
            "batch_size": number("batch size", traits["batch_size"]),
            "num_epochs": number("epochs", traits["num_epochs"])}


def describe_run(run, state):
    """Where a `BackgroundRun` stands that is in this state, in a sentence."""
    if state == "preparing":
        return f"Preparing {run.settings.model}: loading the data."
    done = f"{run.fraction * run.settings.num_epochs:.1f} of {run.settings.num_epochs} epochs"
    if state == "failed":
        return f"Training stopped after {done}. {run.error.rstrip('.')}."
    history = run.history
    numbers = ""
    if history.records:
        numbers = f" Loss {history.train_loss:.3f}, train acc {history.train_acc:.3f}"
        numbers += f", {history.tested_on} acc {history.test_acc:.3f}." if history.test_acc is not None else "."
    if state == "training":
        left = f", about {duration(run.seconds_left)} left" if run.seconds_left is not None else ""
        return f"Training {run.settings.model} on {history.hardware['device']}: {done}{left}.{numbers}"
    verb = {"paused": "Paused after", "stopping": "Stopping after", "stopped": "Stopped after", "finished": "Finished"}
    return f"{verb[state]} {done}.{numbers}"


def duration(seconds):
    """Seconds as text for people: 45 s, 12 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def run_table(runs):
    """Settings and results of `FinishedRun`s as an HTML table; empty without any."""
    if not runs:
        return ""
    head = ("run", "model", "images", "optimizer", "learning rate", "batch", "epochs", "loss", "train acc", "test acc",
            "images/s")
    return table(head, [_row_values(run) for run in runs])


def _row_values(run):
    config, history = run.history.config, run.history
    def rounded(value, digits=3):
        return "" if value is None else f"{value:.{digits}f}"
    data = f"{config.get('data', '')} {config.get('image_size', '')} px" if "data" in config else ""
    schedule = f", {config['schedule']}" if "schedule" in config else ""
    rate = f"{config.get('lr', '')}{schedule}"
    epochs = f"{history.records[-1].epoch:.3g} of {config.get('num_epochs', '?')}" if history.records else "0"
    test_acc = rounded(history.test_acc)
    if test_acc and history.tested_on == "held-out":
        test_acc += " held-out"
    return (run.name, config.get("model", ""), data, config.get("optimizer", ""), rate, config.get("batch_size", ""),
            epochs, rounded(history.train_loss), rounded(history.train_acc), test_acc,
            rounded(history.examples_per_second, 0))


class _PagePicture:
    """Where an `Animator` draws in a panel: an HTML widget instead of the output of a cell."""

    def __init__(self, widget):
        self.widget = widget

    def is_possible(self):
        return True

    def is_current(self):
        return True

    def update(self, fig, alt, at_end_of_cell=None, png=None):
        self.widget.value = to_svg(fig, alt)
