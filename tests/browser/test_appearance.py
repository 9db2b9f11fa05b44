"""How all explorers look in JupyterLab: readable in both themes, and nothing cut off or covered in
narrow windows.
"""

import pytest

CELLS = ["""
import torch
from resnet_helpers import History
from resnet_helpers.data import load_fashion_mnist_subset
from resnet_helpers.predictions import Predictions
from resnet_helpers.widgets import *

data = load_fashion_mnist_subset()
logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
logits += 2 * torch.nn.functional.one_hot(data.test_labels.long(), 10)
predictions = Predictions(data.test_images, data.test_labels, logits.softmax(1))
for name in ("first run", "second run"):
    history = History(config={"num_epochs": 2, "model": "ResNet-18", "data": "subset", "image_size": 28, "name": name,
                              "optimizer": "SGD, momentum 0.9", "lr": 0.05, "schedule": "linear", "batch_size": 64})
    history.add(1, 10, 2.0, 0.5, None, 100, 1.0)
    history.add(2, 20, 1.0, 0.75, 0.625, 200, 4.0)
    history.save(f"{name}.json")
""",
         "FunctionClassExplorer(complexity=6, noise=0.2)",
         "FunctionClassExplorer(complexity=6, nested=True)",
         "BlockExplorer(input_channels=3, num_channels=6, strides=2)",
         "BlockExplorer(use_1x1conv=True, strides=2)",
         "ModelExplorer(depth=50)", "ModelExplorer(depth=18, shortcuts=False)",
         "panel = TrainingPanel()\npanel.load('first run.json')\npanel.load('second "
         "run.json')\npanel",
         "PredictionBrowser(predictions=predictions, true=4, predicted=6)",
         "PredictionBrowser(predictions=predictions, true=4)"]

# Every text whose colour stands out too little from those that lie behind its middle. WCAG asks for
# a contrast of 4.5, for large text of 3. Left out is what has JupyterLab's own colours: disabled
# controls and the blue button.
TOO_PALE = r"""output => {
    const parse = css => { const [r, g, b, a = 1] = css.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
    const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
    const luminance = rgb => rgb.map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const isDrawn = element => element instanceof SVGElement && !(element instanceof SVGSVGElement);
    const paint = element => {
        const style = getComputedStyle(element);
        if (!isDrawn(element)) return parse(style.backgroundColor);
        if (style.fill === 'none') return [0, 0, 0, 0];
        const [r, g, b, a] = parse(style.fill);
        return [r, g, b, a * style.fillOpacity * style.opacity];
    };
    const background = ({x, y, width, height}) => {
        const layers = document.elementsFromPoint(x + width / 2, y + height / 2)
            .filter(layer => !(layer instanceof SVGTextContentElement));
        if (!layers.length) throw new Error(`there is nothing at ${x}, ${y}`);
        return layers.map(paint).reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const isLarge = element => {
        const style = getComputedStyle(element), scale = isDrawn(element) ? element.getScreenCTM().a : 1;
        return parseFloat(style.fontSize) * scale >= (style.fontWeight >= 700 ? 18.66 : 24);
    };
    const found = [], walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement, range = document.createRange();
        if (!node.data.trim() || element.closest('style, option, :disabled, .mod-primary')) continue;
        if (!element.closest('.jupyter-widgets') || !element.checkVisibility({visibilityProperty: true})) continue;
        range.selectNodeContents(node);
        const behind = background(range.getClientRects()[0]), style = getComputedStyle(element);
        const value = contrast(over(parse(isDrawn(element) ? style.fill : style.color), behind), behind);
        const text = node.data.trim();
        if (value < (isLarge(element) ? 3 : 4.5)) found.push(`"${text}" has a contrast of ${value.toFixed(2)}`);
    }
    return found;
}"""

# Controls, texts and pictures that cover each other, stick out or are cut off. Only tables may
# scroll to the side.
TROUBLE = r"""output => {
    const leaves = 'input, select, button, label, .progress, .rh-picture, .rh-table, .rh-line, p';
    const isVisible = element => element.checkVisibility({visibilityProperty: true})
        && element.getBoundingClientRect().width > 0;
    const elements = [...output.querySelectorAll(leaves)].filter(isVisible);
    const name = element => {
        const text = (element.innerText || element.labels?.[0]?.innerText || element.ariaLabel || element.getAttribute('class') || '');
        return `${element.tagName.toLowerCase()} ${text.trim().replace(/\s+/g, ' ').slice(0, 40)}`;
    };
    const area = output.querySelector('.jp-OutputArea-output');
    const right = area.getBoundingClientRect().left + area.clientWidth;
    const cover = (one, other) => {
        const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
        return !one.contains(other) && !other.contains(one) && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    };
    const isTooWide = element => element.scrollWidth > element.clientWidth + 1;
    const scrolls = element => isTooWide(element) && /auto|scroll/.test(getComputedStyle(element).overflowX)
        && element.firstElementChild?.className !== 'rh-table';
    return [
        ...elements.flatMap((one, i) => elements.slice(i + 1).filter(other => cover(one, other))
            .map(other => `${name(one)} and ${name(other)} cover each other`)),
        ...elements.filter(element => !element.matches('.rh-table')
            && element.getBoundingClientRect().right > right + 1).map(element => `${name(element)} sticks out`),
        ...[area, ...area.querySelectorAll('*')].filter(scrolls).map(element => `${name(element)} scrolls`),
        ...elements.filter(element => element.matches('button:not(.rh-first-line), label.widget-label')
            && isTooWide(element)).map(element => `${name(element)} is cut off`),
    ];
}"""


@pytest.fixture(scope="module")
def gallery(shared_lab):
    """A notebook with all explorers, some of them in two states."""
    notebook = shared_lab.new(CELLS)
    notebook.run_all()
    assert notebook.errors() == []
    for cell in range(1, len(CELLS)):
        notebook.cell_output(cell).locator(".rh-picture").first.wait_for()
    return notebook


def check_each(gallery, problems):
    """Does this function of the page find no problem in the output of any explorer?"""
    found = [f"{CELLS[cell].splitlines()[0]}: {problem}" for cell in range(1, len(CELLS))
             for problem in gallery.cell_output(cell).evaluate(problems)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(gallery, theme):
    gallery.resize(1600, 14_000)  # all is in the window: what is not has no background
    gallery.set_theme(theme)
    check_each(gallery, TOO_PALE)


@pytest.fixture(params=[(1280, 1, True), (1024, 1, True), (1280, 2, False)],
                ids=["1280px", "1024px", "200%"])
def window(gallery, request):
    """A width of the window; zoomed to 200 % it has no room for the side bar."""
    width, zoom, has_side_bar = request.param
    gallery.resize(width, 800, zoom)
    if not has_side_bar:
        gallery.toggle_side_bar()
    yield
    if not has_side_bar:
        gallery.toggle_side_bar()


def test_nothing_is_covered_or_cut_off(gallery, window):
    check_each(gallery, TROUBLE)
