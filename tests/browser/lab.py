"""A JupyterLab of one's own, a notebook open in it, and the time from a click to the new picture.
"""

import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from ipykernel.kernelspec import write_kernel_spec
from kernels import WITHOUT_ASSERTIONS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PAGES = {"jupyterlab": "lab/tree/{path}?reset&", "notebook": "notebooks/{path}?"}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

ROLES = ("checkbox", "spinbutton", "textbox", "combobox", "listbox", "radio", "button", "slider")

# Promises of the page are raced against a clock: Playwright waits for them without end.
WITHIN_LIMIT = """limit => Promise.race([
    Promise.resolve(PROMISE).then(() => true), new Promise(resolve => setTimeout(resolve, limit, false))])"""

ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, i) =>
    cell.model.type !== 'code' ? [] : [
        ...cell.model.outputs.toJSON().filter(output => output.output_type === 'error')
            .map(output => `cell ${i}: ${output.ename}: ${output.evalue}`),
        ...[...cell.node.querySelectorAll('.jupyter-widgets-error-widget')]
            .map(() => `cell ${i}: a widget could not be shown`)])"""

SLIDER = "slider => [slider.min, slider.max, slider.value].map(Number)"
HANDLE = 16  # pixels: how wide the handle of Chromium's sliders is

# What has the keyboard focus, as its label or text; null if it is outside.
FOCUSED = """output => {
    const focused = document.activeElement;
    if (!output.contains(focused)) return null;
    if (focused.type === 'range') return `slider ${focused.ariaLabel}`;
    return (focused.labels?.length ? focused.labels[0] : focused).innerText.trim();
}"""
FIRST_STOP = "input:enabled, select:enabled, button:enabled, [tabindex='0']"

# The clock starts when the browser gets the first mouse or key event (not when the page handles
# it); for buttons that is the click, when mouse button or key go up, in a field for text or numbers
# the last one, Enter, and for a slider what moved it first. It stops when the contents have changed, their images are decoded,
# and the next frame has been laid out and painted: a message that is posted while a frame begins
# arrives then.
START_TIMER = """(container, [text, limit]) => {
    const before = container.innerHTML, inputs = ['pointerdown', 'pointermove', 'keydown', 'click', 'input', 'change'];
    const nextFrame = () => new Promise(requestAnimationFrame);
    const afterFrame = () => new Promise(resolve => {
        const channel = new MessageChannel();
        channel.port1.onmessage = resolve;
        channel.port2.postMessage(null);
    });
    let start, last;
    const isSlider = element => element.type === 'range';
    const isField = element => element.matches?.('[type=text], [type=number]');
    const isClick = event => event.type === 'click';
    const onInput = event => {
        if (event.type === 'pointermove' && !event.buttons) return;
        if (isSlider(event.target)) {
            if (event.type === 'input') start ??= last;
            last = event.timeStamp;
        } else if (start === undefined || isField(event.target) || isClick(event)) start = event.timeStamp;
    };
    inputs.forEach(name => window.addEventListener(name, onInput, true));
    const changed = new Promise(resolve => {
        const observer = new MutationObserver(() => {
            if (start === undefined || container.innerHTML === before || !container.innerText.includes(text)) return;
            observer.disconnect();
            resolve(start);
        });
        observer.observe(container, {attributes: true, characterData: true, childList: true, subtree: true});
        setTimeout(() => { observer.disconnect(); resolve(null); }, limit);
    });
    window.changeTime = changed.then(async began => {
        inputs.forEach(name => window.removeEventListener(name, onInput, true));
        if (began === null) return null;
        await Promise.all([...container.querySelectorAll('img')].map(img => img.decode().catch(() => null)));
        await nextFrame();
        await afterFrame();
        return performance.now() - began;
    });
}"""

# The layout has no event that says it is done: it is when nothing has moved for 10 frames.
SETTLED = """async panel => {
    const now = () => [panel.clientWidth, panel.clientHeight, panel.scrollHeight, panel.scrollTop].join();
    for (let before = now(), still = 0, end = Date.now() + 30000; still < 10 && Date.now() < end; before = now()) {
        await new Promise(requestAnimationFrame);
        still = now() === before ? still + 1 : 0;
    }
}"""

CONTENT_BOTTOM = """panel => [...panel.querySelectorAll('.jp-Cell')].pop().getBoundingClientRect().bottom
    + panel.scrollTop"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def point_on(slider, value):
    """Where in the window the middle of a slider's handle is at this value: x, y."""
    low, high, _ = slider.evaluate(SLIDER)
    box = slider.bounding_box()
    x = box["x"] + HANDLE / 2 + (box["width"] - HANDLE) * (value - low) / (high - low)
    return x, box["y"] + box["height"] / 2


def position(control, option):
    """Place of an option in a list, from 0; ipywidgets writes its spaces as non-breaking ones."""
    return [text.replace("\xa0", " ")
            for text in control.locator("option").all_text_contents()].index(str(option))


class Server:
    """A running JupyterLab of this Python, with settings, kernels and a root folder of its own in
    `folder`.

    Args:
        folder: an empty folder. The server's log is `folder/lab.log`.
        application: "jupyterlab", or "notebook" for Notebook 7 in its place.

    Raises:
        RuntimeError: JupyterLab did not start; the message has the end of its log.
    """

    def __init__(self, folder, application="jupyterlab"):
        self._application = application
        self.root, self.log = folder / "root", folder / "lab.log"
        self._settings = folder / "settings"
        self.root.mkdir()
        self.token = secrets.token_hex(16)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # All cells are in the page, also those that are scrolled away; nothing is fetched from
        # elsewhere.
        self._set("notebook-extension/tracker", {"windowingMode": "none"})
        self._set("apputils-extension/notification",
                  {"fetchNews": "false", "checkForUpdates": False})
        write_kernel_spec(folder / "data/kernels/python3", overrides={"env": WITHOUT_ASSERTIONS})
        command = [sys.executable, "-m", application, "--no-browser", "--expose-app-in-browser",
                   "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
                   f"--ServerApp.root_dir={self.root}"]
        if getattr(os, "geteuid", lambda: 1)() == 0:
            command.append("--allow-root")
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, env=self._environment(folder), stdout=log,
                                             stderr=subprocess.STDOUT)
        self._wait_until_up()

    def _environment(self, folder):
        """This process's environment without the user's Jupyter and IPython settings and kernels.
        """
        return dict(os.environ, JUPYTER_TOKEN=self.token, JUPYTER_PREFER_ENV_PATH="0",
                    JUPYTER_CONFIG_DIR=str(folder / "config"),
                    JUPYTER_DATA_DIR=str(folder / "data"),
                    JUPYTERLAB_SETTINGS_DIR=str(self._settings), IPYTHONDIR=str(folder / "ipython"),
                    JUPYTERLAB_WORKSPACES_DIR=str(folder / "workspaces"))

    def _set(self, plugin, settings):
        path = self._settings / f"@jupyterlab/{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))

    def _request(self, method, path):
        request = urllib.request.Request(self.url + path, method=method,
                                         headers={"Authorization": f"token {self.token}"})
        # loopback is never behind a proxy
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return json.loads(response.read() or "null")

    def _wait_until_up(self, seconds=90):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._request("GET", "/api/status")
                return
            time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"{self._application} did not start.\n{self.end_of_log()}")

    def page_of(self, path):
        """Address at which a notebook of the root folder opens."""
        return f"{self.url}/{PAGES[self._application].format(path=path)}token={self.token}"

    def end_of_log(self):
        return f"The end of its log:\n{self.log.read_text(errors='replace')[-3000:]}"

    def set_theme(self, theme):
        """What pages opened from now on look like."""
        self._set("apputils-extension/themes", {"theme": THEMES[theme]})

    def fresh_copy(self, name):
        """Copy `notebooks/` into a new folder, so that no test sees what another saved; return
        `folder/name`.
        """
        folder = self.root / secrets.token_hex(4)
        shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {NOTEBOOKS}")
        return f"{folder.name}/{name}"

    def write(self, cells):
        """Write a notebook with these code cells into a new folder; return `folder/scratch.ipynb`.
        """
        folder = self.root / secrets.token_hex(4)
        folder.mkdir()
        path = folder / "scratch.ipynb"
        path.write_text(json.dumps({
            "nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3",
                                        "language": "python"}},
            "cells": [{"cell_type": "code", "id": f"cell-{i}", "source": source, "metadata": {},
                       "outputs": [],
                       "execution_count": None} for i, source in enumerate(cells)]}),
                        encoding="utf-8")
        return f"{folder.name}/{path.name}"

    def stop_kernel(self, path):
        for session in self._request("GET", "/api/sessions"):
            if session["path"] == path:
                self._request("DELETE", f"/api/sessions/{session['id']}")

    def stop(self):
        """Stop the server and, through it, its kernels."""
        with contextlib.suppress(OSError):
            self._request("POST", "/api/shutdown")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class OpenNotebook:
    """A notebook open in a page of its own, with a kernel of its own.

    Args:
        browser: Playwright's browser.
        server: a `Server`.
        path: of the notebook, from the server's root: `server.fresh_copy(name)` or
            `server.write(cells)`.
        theme: "light" or "dark".
        width, height: of the window, in CSS pixels.

    Attributes:
        page: Playwright's page, for whatever has no method here.
        folder: the notebook's, where it reads and writes files.
        console_errors: what the page has written to the console as errors, and uncaught exceptions.
    """

    def __init__(self, browser, server, path, theme="light", width=1280, height=900):
        self.name, self.console_errors, self._server = path.split("/")[-1], [], server
        self._path = path
        self.folder = (server.root / path).parent
        server.set_theme(theme)
        self._context = browser.new_context(viewport={"width": width, "height": height},
                                            locale="en-US")
        self.page = self._context.new_page()
        self.page.on("console",
                     lambda m: self.console_errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        try:
            self._open()
        except Exception as error:
            self.close()
            raise RuntimeError(f"{self.name} did not open. {server.end_of_log()}") from error

    def _open(self):
        self.page.goto(self._server.page_of(self._path))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
        self._wait_for("window.jupyterapp.shell.currentWidget.sessionContext.ready", 60,
                       "starting its kernel")

    @property
    def _panel(self):
        """What scrolls, with all cells in it."""
        return self.page.locator(".jp-Notebook .jp-WindowedPanel-outer").first

    def _wait_for(self, promise, timeout, doing):
        if not self.page.evaluate(WITHIN_LIMIT.replace("PROMISE", promise), timeout * 1000):
            raise TimeoutError(f"{self.name}: still {doing} after {timeout:g} s. "
                               f"{self._server.end_of_log()}")

    def _command(self, name, timeout, doing, **arguments):
        self._wait_for(f"window.jupyterapp.commands.execute('{name}', {json.dumps(arguments)})",
                       timeout, doing)

    def close(self):
        """Close the page and stop the kernel."""
        self._context.close()
        self._server.stop_kernel(self._path)

    # --- cells ---

    def run_all(self, timeout=300):
        """Run all cells; return when the last has finished, or one has failed."""
        self._command("notebook:run-all-cells", timeout, "running")

    def run_cell(self, i, timeout=60):
        """Run cell i, counted from 0 and over all cells, as in the file."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = "
                           "i }", i)
        self._command("notebook:run-cell", timeout, f"running cell {i}")

    def ask(self, code, timeout=60):
        """Run code in the last cell, in place of what is there; return the text that it shows."""
        last = self.page.evaluate("""code => {
            const cells = window.jupyterapp.shell.currentWidget.content.widgets;
            cells[cells.length - 1].model.sharedModel.setSource(code);
            return cells.length - 1;
        }""", code)
        self.run_cell(last, timeout)
        # without the number of the output
        return self.cell_output(last).inner_text().partition(":")[2].strip()

    def find_cell(self, text):
        """Number of the first code cell whose source has this text."""
        sources = self.page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets.map(
            cell => cell.model.type === 'code' ? cell.model.sharedModel.getSource() : '')""")
        return next(i for i, source in enumerate(sources) if text in source)

    def cell_output(self, i):
        """Locator of what is shown below cell i."""
        return self.page.locator(".jp-Notebook-cell").nth(i).locator(".jp-Cell-outputArea")

    def execute(self, code):
        """Run code in the notebook's kernel, beside its cells."""
        self.page.evaluate("""code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({code, store_history: false}).done""", code)

    def errors(self):
        """One line for each error in a cell's output and each broken widget: "cell 3: ValueError:
        ...".
        """
        return self.page.evaluate(ERRORS)

    def set_theme(self, theme):
        """Change the look of the open page to "light" or "dark"."""
        self._command("apputils:change-theme", 30, f"changing to the {theme} theme",
                      theme=THEMES[theme])
        # Lab's splash screen fades after the change; another change during that time gives an error
        # in the page.
        self.page.wait_for_function("""name => document.body.dataset.jpThemeName === name
            && !document.querySelector('#jupyterlab-splash')""", arg=THEMES[theme])

    def resize(self, width, height=900, zoom=1.0):
        """Give the window this size in pixels of the screen, zoom the page as a browser does, and
        scroll to the top.
        """
        devtools = self._context.new_cdp_session(self.page)
        devtools.send("Emulation.setDeviceMetricsOverride", {
            "width": round(width / zoom), "height": round(height / zoom), "deviceScaleFactor": zoom,
            "mobile": False})
        self.page.wait_for_function("width => innerWidth === width", arg=round(width / zoom))
        self._panel.evaluate("panel => panel.scrollTo(0, 0)")
        self._panel.evaluate(SETTLED)

    def toggle_side_bar(self):
        """Open or close the file browser at the left."""
        self._command("application:toggle-left-area", 30, "opening or closing the side bar")
        self._panel.evaluate(SETTLED)

    def screenshot(self, path):
        """Save the whole notebook, top to bottom, as one picture (the first 16,000 pixels of it).
        """
        size = self.page.viewport_size
        panel = self._panel
        height = int(panel.evaluate(CONTENT_BOTTOM)) + 50
        scrolled = panel.evaluate("panel => panel.scrollTop")
        self.page.set_viewport_size({"width": size["width"],
                                     "height": min(max(height, size["height"]), 16_000)})
        panel.evaluate("panel => panel.scrollTo(0, 0)")
        panel.evaluate(SETTLED)
        self.page.screenshot(path=str(path))
        self.page.set_viewport_size(size)
        panel.evaluate("(panel, top) => panel.scrollTo(0, top)", scrolled)

    def eventually(self, read, expected=True, timeout=60):
        """What `read()` gives as soon as that is `expected`, else after `timeout` seconds: to
        compare in an assert.
        """
        end = time.monotonic() + timeout
        while (value := read()) != expected and time.monotonic() < end:
            self.page.wait_for_timeout(20)  # meanwhile the page's events are handled
        return value

    # --- controls, found by their label ---

    def widget(self, label, within=None):
        """Locator of the whole control (label, handle, number) whose visible label is this text."""
        exactly = re.compile(rf"^\s*{re.escape(label)}\s*$")
        kinds = (within
                 or self.page).locator(".widget-inline-hbox, .widget-radio, .widget-toggle-buttons")
        return kinds.filter(has=self.page.locator(".widget-label, .widget-label-basic").filter(has_text=exactly))

    def control(self, label, option=None, role=None, within=None):
        """Locator of what takes the keyboard focus in the control with this label.

        Args:
            label: the visible label, in full; of a button or a single radio button, the text on it
                or beside it. It must be the accessible name as well.
            option: in radio buttons and toggle buttons with a label of their own, the option's
                text.
            role: the accessible role, where several controls have this label ("slider",
                "spinbutton", ...).
            within: a locator to look in; the whole page if None.
        """
        found = [self._with_role(role, label, option, within)
                 for role in ([role] if role else ROLES)]
        return functools.reduce(lambda one, other: one.or_(other), found)

    def _with_role(self, role, label, option, within):
        scope = (within or self.page) if option is None else self.widget(label, within)
        name = re.escape(label if option is None else str(option))
        # icons come first
        return scope.get_by_role(role, name=re.compile(rf"^[\ue000-\uf8ff\s]*{name}\s*$"))

    def choose(self, label, value=True, by="mouse", role=None, within=None):
        """Give a control a value as a person would, whatever kind it is.

        Args:
            label: the visible label, in full; of a button or a single radio button, the text on it
                or beside it.
            value: True or False for a checkbox, the option for one of several, the number for a
                number field and a slider.
            by: "mouse" or "keyboard". With the keyboard, the keys are those that work in
                JupyterLab, where the notebook keeps the arrow keys from radio buttons and closed
                lists.
            role, within: as for `control`.
        """
        self.widget(label, within).or_(self.control(label, None, role, within)).first.wait_for()
        for kind in ([role] if role else ROLES):
            for option in (None, value):
                control = self._with_role(kind, label, option, within)
                if control.count():
                    return getattr(self, f"_choose_{kind}")(control, value, by)
        raise ValueError(f"no control that can be changed is labelled {label!r}")

    def press_or_click(self, control, by):
        """Activate a locator's button, checkbox or radio button by "mouse" or "keyboard"."""
        if by == "mouse":
            control.click()
        else:
            control.press("Space")

    def _choose_checkbox(self, control, value, by):
        if control.is_checked() != value:
            self.press_or_click(control, by)

    def _choose_radio(self, control, value, by):
        self.press_or_click(control, by)

    def _choose_textbox(self, control, value, by):
        if by == "mouse":
            control.click()
        control.press("ControlOrMeta+A")
        self.page.keyboard.type(str(value))
        self.page.keyboard.press("Enter")

    def _choose_spinbutton(self, control, value, by):
        """Near numbers by the field's arrows or the arrow keys, others typed."""
        step = float(control.get_attribute("step"))
        steps = round((value - float(control.input_value())) / step, 6)
        if steps not in (-2, -1, 1, 2):
            self._choose_textbox(control, value, by)
            return
        for _ in range(abs(int(steps))):
            if by == "mouse":
                box = control.bounding_box()
                control.click(position={"x": box["width"] - 10,
                                        "y": box["height"] * (0.3 if steps > 0 else 0.7)})
            else:
                control.press("ArrowUp" if steps > 0 else "ArrowDown")

    def _choose_listbox(self, control, value, by):
        control.select_option(index=position(control, value))

    def _choose_combobox(self, control, value, by):
        # a text field with suggestions
        if control.evaluate("control => control.tagName") == "INPUT":
            self._choose_textbox(control, value, by)
            return
        # the open list is no part of the page; Playwright chooses without opening it
        if by == "mouse":
            self._choose_listbox(control, value, by)
            return
        steps = position(control, value) - control.evaluate("select => select.selectedIndex")
        control.press("Space")
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
        self.page.keyboard.press("Enter")

    _choose_button = _choose_radio

    def _choose_slider(self, control, value, by):
        now = control.evaluate(SLIDER)[2]
        if by == "mouse":
            control.scroll_into_view_if_needed()
            self.page.mouse.move(*point_on(control, now))
            self.page.mouse.down()
            self.page.mouse.move(*point_on(control, value))
            self.page.mouse.up()
            return
        forward = now < value
        while abs(now - value) > 1e-9:
            control.press("ArrowRight" if forward else "ArrowLeft")
            before, now = now, control.evaluate(SLIDER)[2]
            if now == before or (now < value) != forward and abs(now - value) > 1e-9:
                raise ValueError(f"the slider goes from {before:g} to {now:g} and never stands at "
                                 f"{value:g}")

    def tab_stops(self, within):
        """Where the Tab key stops in this locator: labels or texts, "slider NAME" for a slider."""
        within.evaluate(f"output => output.querySelector(`{FIRST_STOP}`).focus()")
        stops = []
        while (stop := within.evaluate(FOCUSED)) is not None and len(stops) < 200:
            stops.append(stop)
            self.page.keyboard.press("Tab")
        return stops

    # --- time ---

    def time_change(self, action, container, text="", timeout=30):
        """Milliseconds from the first mouse or key event of `action` to the new contents on the
        screen.

        Args:
            action: a function that clicks or presses keys, for example `lambda:
                notebook.choose("strides", 2)`.
            container: locator of the element whose contents change: the drawing, without the
                controls.
            text: what must be in the new contents.
            timeout: seconds to wait for the change.

        Raises:
            TimeoutError: nothing in the container changed.
        """
        self.page.bring_to_front()  # a hidden page gets no frames
        container.evaluate(START_TIMER, [text, timeout * 1000])
        action()
        milliseconds = self.page.evaluate("() => window.changeTime")
        if milliseconds is None:
            raise TimeoutError(f"{self.name}: nothing changed within {timeout:g} s")
        return milliseconds
