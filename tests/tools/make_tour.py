"""Film notebooks 2 and 4 in JupyterLab for README and the web site: OUT.gif, and a still, OUT.png.

    python tests/tools/make_tour.py .github/tour.gif

Needs Chromium, as the browser tests do. Nothing in it is staged but captions and the arrow: the
mouse works the explorers, and the curves are those of a training. Takes two minutes of processor
time. Prints what to say to readers who do not see it.
"""

import argparse
import io
import sys
import tempfile
from collections import Counter
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser.conftest import find_chromium
from browser.explorers import Explorer
from browser.lab import OpenNotebook, Server

from resnet_helpers.pages import FILM_WORDS

WINDOW = {"width": 1090, "height": 900}  # as narrow as an explorer with its widest picture
WIDTH, MARGIN, CAPTION = 880, 8, 38  # of the film, left of the picture, and above the controls
CURVES_MS = 1300  # in which they grow, however seldom the panel has drawn them
FEWER_EPOCHS = "num_epochs=6", "num_epochs=3"  # than notebook 4 trains: less to wait for

# A line of words above the output, and an arrow that follows the mouse with a ring while a button
# is down: no screenshot shows the mouse.
OVERLAY = """([left, top, width, height]) => {
    document.body.insertAdjacentHTML('beforeend', `
        <div id="caption" style="position: fixed; left: ${left}px; top: ${top}px; width: ${width}px;
            height: ${height}px; box-sizing: border-box; padding: 0 12px; z-index: 100000;
            background: #1a4f7a; color: white; font: 600 17px/${height}px sans-serif"></div>
        <svg id="arrow" width="40" height="40" viewBox="-16 -16 40 40" style="position: fixed;
            left: -16px; top: -16px; z-index: 100001; pointer-events: none; overflow: visible">
            <circle r="13" fill="none" stroke="#c04000" stroke-width="3" visibility="hidden"/>
            <path d="M0 0V19L4.6 14.8 7.6 22 11 20.5 8 13.6 14 13.2Z" stroke="white"
                stroke-width="1.5"/></svg>`);
    const arrow = document.getElementById('arrow'), ring = arrow.querySelector('circle');
    const listen = (name, act) => window.addEventListener(name, act, true);
    listen('pointermove', e => arrow.style.transform = `translate(${e.clientX}px, ${e.clientY}px)`);
    listen('pointerdown', () => ring.setAttribute('visibility', 'visible'));
    listen('pointerup', () => ring.setAttribute('visibility', 'hidden'));
}"""


class Film:
    """What the page shows of an explorer, from its controls to its (first) picture.

    Attributes:
        frames: PNGs, each with the milliseconds that it stays.
    """

    def __init__(self, notebook, explorer):
        self.page, self.explorer, self.frames = notebook.page, explorer, []
        explorer.output.evaluate("output => output.scrollIntoView()")
        self.top = round(explorer.output.bounding_box()["y"]) - CAPTION
        self.left = round(explorer.drawings.first.bounding_box()["x"]) - MARGIN
        self.page.evaluate(OVERLAY, [self.left, self.top, WIDTH, CAPTION])
        self.mouse = self.left + 0.6 * WIDTH, self.top + 0.4 * WIDTH
        self.page.mouse.move(*self.mouse)

    def say(self, caption):
        """Change the line above the explorer."""
        self.page.evaluate("text => { document.getElementById('caption').innerText = text }",
                           caption)

    def shoot(self, milliseconds):
        """Add a frame with what is to be seen now."""
        picture = self.explorer.pictures.first.bounding_box()
        clip = {"x": self.left, "y": self.top, "width": WIDTH,
                "height": round(picture["y"] + picture["height"]) - self.top}
        self.frames.append((self.page.screenshot(clip=clip), milliseconds))

    def click(self, label, role, num_steps=6):
        """Move the mouse to a control and click it; return when the explorer has answered."""
        box = self.explorer.control(label, role).bounding_box()
        start, end = self.mouse, (box["x"] + 0.75 * box["width"],
                                  box["y"] + 0.5 * box["height"])
        for step in range(1, num_steps + 1):
            share = (step / num_steps) ** 2 * (3 - 2 * step / num_steps)  # begins and ends slowly
            self.mouse = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
            self.page.mouse.move(*self.mouse)
            self.shoot(40)
        before = self.explorer.words()
        self.page.mouse.down()
        self.shoot(120)
        self.page.mouse.up()
        self.wait(lambda: self.explorer.words() != before)

    def wait(self, has_come):
        """Return a moment after `has_come()` has become true."""
        if not self.explorer.notebook.eventually(has_come):
            raise SystemExit(f"the explorer still says: {self.explorer.words()}")
        self.page.wait_for_timeout(200)


def film_block(notebook):
    """The `Film` of a block that is broken and mended, and which frame shows it broken."""
    film = Film(notebook, Explorer(notebook, "BlockExplorer("))
    film.say("Notebook 2: does a block work without its 1×1 convolution?")
    film.shoot(500)
    film.click("use_1x1conv", "checkbox")
    film.shoot(160)
    film.say("The shapes do not fit. Which change mends it?")
    film.shoot(1300)
    broken = len(film.frames) - 1
    film.click("Set use_1x1conv=True", "button")
    film.say("Mended: both ways bring the same shape.")
    film.shoot(800)
    return film, broken


def film_training(notebook):
    """The `Film` of a training, a frame for each picture that the panel draws."""
    panel = Explorer(notebook, "TrainingPanel(")
    film = Film(notebook, panel)
    film.say("Notebook 4: train ResNet-18 and watch it learn (time-lapse)")
    film.shoot(500)
    film.click("Train", "button")
    drawn, num_frames = None, len(film.frames)
    while panel.words().startswith(("Preparing", "Training ResNet")):
        if panel.drawn() != drawn:
            drawn = panel.drawn()
            film.shoot(0)
        film.page.wait_for_timeout(250)  # to ask takes time from the training
    film.wait(lambda: panel.words().startswith("Finished"))
    curves = film.frames[num_frames:]
    film.frames[num_frames:] = [(shot, CURVES_MS // len(curves)) for shot, _ in curves]
    film.shoot(900)
    return film


def film_both():
    """All frames, and which of them tells most when it stands still."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=find_chromium(playwright),
                                             args=["--disable-gpu"])
        server = Server(Path(folder))
        try:
            block, broken = film_block(open_at(browser, server, "02_residual_block.ipynb",
                                               "BlockExplorer("))
            training = film_training(open_at(browser, server, "04_training.ipynb",
                                             "TrainingPanel("))
        finally:
            server.stop()
    return block.frames + training.frames, broken


def open_at(browser, server, name, source):
    """A copy of a notebook, in which only the cell with this text has been run."""
    path = server.fresh_copy(name)
    file = server.root / path
    file.write_text(file.read_text("utf-8").replace(*FEWER_EPOCHS), "utf-8")
    notebook = OpenNotebook(browser, server, path, **WINDOW)
    notebook.toggle_side_bar()
    notebook.run_cell(notebook.find_cell(source))
    return notebook


def as_pictures(frames):
    """The frames' pictures, all as high as the highest, in one palette and without dithering."""
    shots = [Image.open(io.BytesIO(shot)).convert("RGB") for shot, _ in frames]
    height = max(shot.height for shot in shots)
    pictures = [Image.new("RGB", (WIDTH, height), "white") for _ in shots]
    for picture, shot in zip(pictures, shots, strict=True):
        picture.paste(shot)
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in choose_colors(pictures) for value in color])
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]


def choose_colors(pictures, num_colors=255, distance=8):
    """The most frequent colours that differ by more than `distance` from each other.

    Pillow's own palettes turn light greys pink or green, and colours nearer than that it mixes up.
    One of a GIF's 256 is left to say that a pixel stays as it was.
    """
    counts = Counter()
    for picture in pictures:
        counts.update({color: count for count, color in picture.getcolors(picture.width
                                                                          * picture.height)})
    chosen = []
    for color, _ in counts.most_common():
        if all(max(abs(a - b) for a, b in zip(color, other, strict=True)) > distance
               for other in chosen):
            chosen.append(color)
    return chosen[:num_colors]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT.gif")
    out = parser.parse_args().out
    frames, broken = film_both()
    first, *others = pictures = as_pictures(frames)
    durations = [milliseconds for _, milliseconds in frames]
    first.save(out, save_all=True, append_images=others, duration=durations, loop=0)
    still = out.with_suffix(".png")
    pictures[broken].save(still, optimize=True)
    print(f"{out}: {len(frames)} frames of {first.width} x {first.height} pixels, "
          f"{sum(durations) / 1000:.1f} s, {out.stat().st_size / 1e3:.0f} kB; "
          f"{still}: {still.stat().st_size / 1e3:.0f} kB\n{FILM_WORDS}")


if __name__ == "__main__":
    main()
