"""The three explorers and their drawings: any state is drawn, and controls and traits agree."""

import base64
import contextlib
import gc
import html
import io
import itertools
import re
import sys
import weakref
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import ipywidgets as widgets
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from traitlets import TraitError

from resnet_helpers.costs import block_costs, block_remedies, model_costs
from resnet_helpers.diagrams import draw_block, draw_class_fit, draw_function_classes, draw_resnet
from resnet_helpers.engine.cpu import one_thread
from resnet_helpers.errors import DatasetUnavailableError
from resnet_helpers.experiments import block_feature_maps
from resnet_helpers.function_classes import fit_class
from resnet_helpers.models import Residual
from resnet_helpers.plotting import BLUE
from resnet_helpers.sketch import Sketch
from resnet_helpers.widgets import (
    BlockExplorer,
    FunctionClassExplorer,
    ModelExplorer,
    TrainingPanel,
)
from resnet_helpers.widgets.block_explorer import MOST_REMEDIES, describe_block
from resnet_helpers.widgets.explorer import status
from resnet_helpers.widgets.model_explorer import bytes_in_words, describe_model, stage_table
from resnet_helpers.widgets.slider import Slider

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
           "ankle boot")
WHOLE = st.integers

# For each explorer's traits: the control's name on the page, every value, some impossible ones.
TRAITS = {
    FunctionClassExplorer: {
        "nested": ("nested", st.booleans(), ("yes", None)),
        "complexity": ("complexity k", WHOLE(1, 6), (0, 7, 2.5, "3", None, True)),
        "target": ("f*", st.sampled_from(("jump", "ramp", "wave", "bump")), ("step", 3, None)),
        "noise": ("noise", st.floats(0, 0.5),
                  (-0.1, 0.51, float("inf"), float("nan"), "0.1", None)),
        "num_points": ("points", WHOLE(5, 200), (4, 201, 40.5, None))},
    BlockExplorer: {
        "use_1x1conv": ("use_1x1conv", st.booleans(), ("yes", 2, None)),
        "strides": ("strides", st.sampled_from((1, 2)), (0, 3, -1, "2", None, True, 2.0)),
        "shortcut_kernel_size": ("conv3", st.sampled_from((1, 3)), (0, 2, None, 3.0)),
        "input_channels": ("input_channels", WHOLE(1, 64), (0, -1, 65, 1.5, None)),
        "num_channels": ("num_channels", WHOLE(1, 64), (0, 65, "6", None)),
        "size": ("image size", WHOLE(1, 56), (0, 57, float("nan"), None, True)),
        "image": ("image", st.sampled_from(CLASSES), ("boot", 3, None))},
    ModelExplorer: {
        "depth": ("depth", st.sampled_from((18, 34, 50, 101, 152)), (20, "18", None, 34.0)),
        "shortcuts": ("residual connections", st.booleans(), ("no", None)),
        "size": ("image size", WHOLE(32, 256), (31, 257, 64.5, None)),
        "in_channels": ("image channels", WHOLE(1, 4), (0, 5, None)),
        "num_classes": ("classes", WHOLE(1, 1000), (0, 1001, None)),
        "batch_size": ("batch size", WHOLE(1, 512), (0, 513, None, True))}}
LABELS, VALUES, IMPOSSIBLE = (
    {kind: {trait: parts[i] for trait, parts in traits.items()} for kind, traits in TRAITS.items()}
    for i in range(3))
EXPLORERS = pytest.mark.parametrize("kind", tuple(TRAITS))


def examples(n):
    return settings(max_examples=n, deadline=None, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def in_one_thread():
    """Many small blocks: threads would wait for each other longer than they compute."""
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def close_what_is_open():
    widgets.Widget.close_all()
    yield
    widgets.Widget.close_all()


def everything(widget):
    """A widget and all that it contains."""
    children = getattr(widget, "children", ())
    return [widget, *(inner for child in children for inner in everything(child))]


def inputs(explorer, trait):
    """The widgets on the page that hold the value of a trait: one, or a field and a slider."""
    label = LABELS[kind_of(explorer)][trait]
    return [w for w in everything(explorer) if hasattr(w, "value") and label in (
        getattr(w, "description", None), getattr(w, "tooltip", None))]


def kind_of(explorer):
    return next(kind for kind in LABELS if isinstance(explorer, kind))


def html_of(explorer):
    return [w.value for w in everything(explorer) if isinstance(w, widgets.HTML)]


def picture(explorer):
    return next(value for value in html_of(explorer) if "<svg" in value)


def state(explorer):
    return {trait: getattr(explorer, trait) for trait in LABELS[kind_of(explorer)]}


def shown(explorer):
    """All that the reader sees."""
    return state(explorer), html_of(explorer), explorer.text, {
        trait: [w.value for w in inputs(explorer, trait)] for trait in state(explorer)}


def set_at_once(explorer, values):
    with explorer.hold_trait_notifications():
        for trait, value in values.items():
            setattr(explorer, trait, value)


def undrawn(kind):
    """A `kind` with an empty drawing, for tests of what is around it; `draws` counts them."""
    class Undrawn(kind):
        draws = 0

        def _picture(self):
            self.draws += 1
            return Sketch(1, 1), f"{state(self)}"

    return Undrawn


# --- any state is drawn and described ---

@EXPLORERS
def test_any_state_is_drawn_and_described(kind):
    explorer = kind()

    @examples(15)
    @given(st.fixed_dictionaries(VALUES[kind]))
    def check(values):
        set_at_once(explorer, values)
        assert state(explorer) == values
        assert re.fullmatch(r"[A-Z].+\.", explorer.text) and "nan" not in explorer.text
        label = f'role="img" aria-label="{html.escape(explorer.text)}"'
        assert f'<svg class="rh-picture" {label}' in picture(explorer)
        announced = [value for value in html_of(explorer) if 'role="status"' in value]
        assert len(announced) == 1 and html.escape(explorer.text) in announced[0]
    check()


@examples(300)
@given(st.fixed_dictionaries({trait: VALUES[BlockExplorer][trait] for trait in (
    "input_channels", "num_channels", "use_1x1conv", "strides")}), st.integers(1, 56))
@example({"input_channels": 1, "num_channels": 6, "use_1x1conv": False, "strides": 1}, 28)
def test_sentence_about_a_block_gives_its_output_shape_or_says_why_there_is_none(block, size):
    with torch.device("meta"):
        real, X = Residual(**block).eval(), torch.empty(2, block["input_channels"], size, size)
    use_1x1conv, strides = block["use_1x1conv"], block["strides"]
    sentence = describe_block(block_costs(**block, size=size), use_1x1conv, strides)
    call = f"{block['input_channels']}, {block['num_channels']}"
    assert sentence.startswith(f"Residual({call}, use_1x1conv={use_1x1conv}, strides={strides})")
    try:
        assert f"output shape {tuple(real(X).shape[1:])}." in sentence
    except ValueError:
        is_stretched = block["input_channels"] == 1 and (block["strides"] == 1 or size == 1)
        assert ("is refused" if is_stretched else "cannot be added") in sentence
        assert "output shape" not in sentence
        assert ("stretch the shortcut" in sentence) == is_stretched


@pytest.mark.parametrize(("complexity", "nested", "end"), [
    (1, False, "."), (2, False, "F2 is nearer to f* than F1."),
    (3, False, "F3 is farther from f* than F2."), (3, True, "F3 is as far from f* as F2.")])
def test_sentence_about_a_fit_says_where_the_last_step_led(complexity, nested, end):
    text = FunctionClassExplorer(complexity=complexity, nested=nested).text
    family = "nested" if nested else "not nested"
    assert text.startswith(f"F{complexity} ({family}): its best function is 0.")
    assert text.endswith(end) and text.count("F") == (1 if complexity == 1 else 3)


def test_sentence_about_a_model_has_the_numbers_of_the_article_and_the_paper():
    text = ModelExplorer(size=224, num_classes=10, in_channels=1, batch_size=1).text
    assert text.startswith("ResNet-18: 11,178,378 parameters, 1.73 billion multiply-adds for one "
                           "image;")
    assert "1.81 billion" in ModelExplorer(in_channels=3, num_classes=1000).text  # table 1 says 1.8
    assert ModelExplorer(shortcuts=False, depth=34).text.startswith("Plain net of 34 layers: ")


def test_table_of_a_model_has_a_row_per_stage_and_their_sum():
    page = stage_table(model_costs(18), batch_size=64)
    table = ET.fromstring(re.search("<table.*</table>", page).group())
    rows = [["".join(cell.itertext()).replace(" ", "") for cell in row] for row in table.iter("tr")]
    assert rows[0][:5] == ["stage", "blocks", "outputshape", "parameters", "multiply-adds"]
    assert "64" in rows[0][5]
    assert [row[:3] for row in rows[1:]] == [
        ["b1", "", "64×56×56"], ["b2", "2", "64×56×56"], ["b3", "2", "128×28×28"],
        ["b4", "2", "256×14×14"], ["b5", "2", "512×7×7"], ["linear", "", "10"],
        ["together", "8", ""]]
    assert rows[-1][3] == "11,178,378"
    for column in (3, 4):
        numbers = [int(row[column].replace(",", "")) for row in rows[1:]]
        assert sum(numbers[:-1]) == numbers[-1] > 0


def test_bytes_are_written_in_a_unit_that_suits():
    for n, text in ((0, "0.0 KiB"), (1024, "1.0 KiB"), (12_345_678, "11.8 MiB"),
                    (2 ** 20, "1.0 MiB"), (2 ** 30, "1.00 GiB"), (5 * 2 ** 38, "1280.00 GiB")):
        assert bytes_in_words(n) == text


def test_memory_grows_with_the_batch():
    stages = model_costs(18, 224)
    one = sum(stage.activation_bytes for stage in stages)
    for batch in (128, 256):
        text = f"a batch of {batch} keeps {batch * one / 2 ** 30:.2f} GiB"
        assert text in describe_model("net", stages, batch)


def test_an_explorer_that_cannot_draw_leaves_no_widgets(monkeypatch):
    def fail(_):
        raise DatasetUnavailableError("the images are gone")
    monkeypatch.setattr(BlockExplorer, "_picture", fail)
    before = set(_instances)
    with pytest.raises(DatasetUnavailableError):
        BlockExplorer()
    assert set(_instances) == before


@EXPLORERS
def test_same_state_gives_the_same_picture_however_it_was_reached(kind):
    explorer = kind()
    values = dict(VALUES[kind])
    if kind is BlockExplorer:
        values.update(input_channels=st.integers(1, 8), num_channels=st.integers(1, 8))

    @examples(6)
    @given(st.lists(st.fixed_dictionaries(values), min_size=1, max_size=3))
    def check(states):
        for values in states:
            set_at_once(explorer, values)
        fresh = kind(**states[-1])
        assert (html_of(explorer), explorer.text) == (html_of(fresh), fresh.text)
        fresh.close()
    check()


def test_hostile_text_is_shown_as_text():
    hostile = '"><script>alert("1 & 2")</script>'
    class Hostile(ModelExplorer):
        def _picture(self):
            return Sketch(1, 1), hostile

    explorer = Hostile()
    assert explorer.text == hostile
    shown = "".join(html_of(explorer))
    assert "<script" not in shown and shown.count(html.escape(hostile)) == 2
    assert "".join(ET.fromstring(status(hostile)).itertext()) == hostile


# --- controls and traits ---

@EXPLORERS
def test_every_control_says_what_it_is_for(kind):
    explorer = kind()
    for trait, label in LABELS[kind].items():
        first, *sliders = inputs(explorer, trait)
        if isinstance(first, widgets.RadioButtons):
            assert all(name.strip() and not name.strip().isdigit() for name, _ in first.options)
        else:
            assert first.description == label
        assert all(isinstance(w, Slider) and w.description == label for w in sliders)
    values = [w for w in everything(explorer)
              if hasattr(w, "value") and not isinstance(w, widgets.HTML)]
    assert len(values) == sum(len(inputs(explorer, trait)) for trait in LABELS[kind])


@EXPLORERS
def test_start_values_reach_the_controls(kind):
    @examples(15)
    @given(st.fixed_dictionaries({}, optional=VALUES[kind]))
    def check(values):
        explorer = undrawn(kind)(**values)
        assert state(explorer) == {**state(undrawn(kind)()), **values}
        assert explorer.text == f"{state(explorer)}" and explorer.draws == 1
        for trait, value in state(explorer).items():
            assert {w.value for w in inputs(explorer, trait)} == {value}
        widgets.Widget.close_all()
    check()


@EXPLORERS
def test_traits_and_controls_follow_each_other_and_each_change_draws_once(kind):
    explorer = undrawn(kind)()
    how = st.sampled_from(("trait", "first", "last"))
    change = st.sampled_from(tuple(VALUES[kind])).flatmap(
        lambda trait: st.tuples(st.just(trait), VALUES[kind][trait], how))

    @examples(200)
    @given(change)
    def check(change):
        trait, value, moved = change
        before, draws = state(explorer), explorer.draws
        if moved == "trait":
            setattr(explorer, trait, value)
        else:
            inputs(explorer, trait)[0 if moved == "first" else -1].value = value
        assert state(explorer) == {**before, trait: value}
        assert {w.value for w in inputs(explorer, trait)} == {value}
        assert explorer.draws == draws + (value != before[trait])
        assert explorer.text == f"{state(explorer)}"
    check()


@EXPLORERS
def test_several_traits_at_once_draw_once(kind):
    explorer = undrawn(kind)()

    @examples(60)
    @given(st.fixed_dictionaries(VALUES[kind]))
    def check(values):
        draws, changes = explorer.draws, state(explorer) != values
        set_at_once(explorer, values)
        assert explorer.draws == draws + changes
        for trait, value in values.items():
            assert {w.value for w in inputs(explorer, trait)} == {value}
        set_at_once(explorer, values)
        assert explorer.draws == draws + changes
    check()


@EXPLORERS
def test_impossible_values_are_refused_and_nothing_changes(kind):
    explorer, accepted = undrawn(kind)(), []
    before = shown(explorer)
    for trait, values in IMPOSSIBLE[kind].items():
        for value in values:
            with contextlib.suppress(TraitError):
                setattr(explorer, trait, value)
                accepted.append((trait, value))
            with contextlib.suppress(TraitError):
                undrawn(kind)(**{trait: value})
                accepted.append((trait, value))
            assert shown(explorer) == before, (trait, value)
            assert getattr(explorer, trait) is not value, (trait, value)
    assert accepted == []


@EXPLORERS
def test_one_impossible_value_among_several_undoes_them_all(kind):
    explorer = kind()
    before = shown(explorer)
    changed = {trait: not value for trait, value in state(explorer).items()
               if isinstance(value, bool)}
    trait = next(trait for trait in IMPOSSIBLE[kind] if trait not in changed)
    with pytest.raises(TraitError):
        set_at_once(explorer, {**changed, trait: IMPOSSIBLE[kind][trait][0]})
    assert shown(explorer) == before


@EXPLORERS
def test_number_outside_its_range_becomes_the_nearest_that_is_possible(kind):
    explorer = undrawn(kind)()
    for trait in LABELS[kind]:
        for control in inputs(explorer, trait)[:1]:
            if hasattr(control, "max"):
                for far, nearest in ((1000, control.max), (-1000, control.min)):
                    control.value = nearest + far
                    assert getattr(explorer, trait) == nearest
                    assert {w.value for w in inputs(explorer, trait)} == {nearest}


@EXPLORERS
def test_unknown_argument_is_refused_by_name(kind):
    known = ", ".join(kind()._controls)
    message = f"{kind.__name__} has no color, colour; it takes {known}"
    with pytest.raises(TypeError, match=message):
        kind(colour=1, color=2)


@EXPLORERS
def test_text_cannot_be_set(kind):
    with pytest.raises(TraitError):
        kind().text = "something else"


# --- mending a block ---

def mending_buttons(explorer):
    """Those that are to be seen."""
    return [w for w in everything(explorer) if isinstance(w, widgets.Button)
            and w.layout.display != "none"]


@examples(18)
@given(st.fixed_dictionaries({
    "input_channels": st.integers(1, 5), "num_channels": st.integers(1, 5),
    "strides": st.sampled_from((1, 2)), "use_1x1conv": st.booleans(), "size": st.integers(1, 6),
    "shortcut_kernel_size": st.sampled_from((1, 3))}))
def test_each_mending_button_mends_the_block_and_a_sound_block_has_none(values):
    number = len(mending_buttons(explorer := BlockExplorer(**values)))
    assert (number > 0) == ("cannot be added" in explorer.text or "is refused" in explorer.text)
    for i in range(number):
        set_at_once(explorer, values)
        button = mending_buttons(explorer)[i]
        promised = dict(re.findall(r"(\w+)=(\w+)", button.description))
        button.click()
        assert "output shape" in explorer.text and mending_buttons(explorer) == []
        after = state(explorer)
        assert {name: str(after[name]) for name in promised} == promised
        for name, value in {**values, "image": "ankle boot"}.items():
            assert name in promised or after[name] == value
        block = Residual(*(after[name] for name in (
            "input_channels", "num_channels", "use_1x1conv", "strides")))
        size = values["size"]
        assert block(torch.rand(4, values["input_channels"], size, size)).numel() > 0
    explorer.close()


def test_mending_two_things_draws_once():
    class Counted(BlockExplorer):
        draws = 0

        def _picture(self):
            self.draws += 1
            return super()._picture()

    explorer = Counted(strides=2, num_channels=6)
    button = next(b for b in mending_buttons(explorer)
                  if "strides" in b.description and "channels" in b.description)
    button.click()
    assert explorer.draws == 2 and (explorer.strides, explorer.num_channels) == (1, 3)


def test_the_first_control_has_the_focus_when_the_button_that_mends_is_gone(monkeypatch):
    focused = []
    monkeypatch.setattr(widgets.DOMWidget, "focus", lambda widget: focused.append(widget))
    explorer = BlockExplorer(strides=2)
    button = next(b for b in mending_buttons(explorer) if "use_1x1conv" in b.description)
    button.click()
    assert [widget.description for widget in focused] == ["use_1x1conv"]


def test_there_are_buttons_enough_for_all_that_mends_a_block():
    most = max(len(block_remedies(a, b, use_1x1conv, strides, size))
               for a in (1, 2, 3) for b in (1, 2, 3) for use_1x1conv in (False, True)
               for strides in (1, 2) for size in (1, 2, 5))
    assert most == MOST_REMEDIES


# --- what stays on the page, and what goes ---

def flip(explorer):
    """Change the first of its switches."""
    flag = next(trait for trait, value in state(explorer).items() if isinstance(value, bool))
    setattr(explorer, flag, not getattr(explorer, flag))


@EXPLORERS
def test_page_without_a_kernel_gets_a_picture_of_the_state_and_its_description(kind):
    explorer, pictures = kind(), set()
    for _ in range(3):
        data, metadata = explorer._repr_mimebundle_()
        view = data["application/vnd.jupyter.widget-view+json"]
        assert view["model_id"] == explorer.model_id
        assert data["text/plain"] == f"{kind.__name__}: {explorer.text}"
        assert metadata["image/png"]["alt"] == explorer.text
        width, _ = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
        assert width == 2 * metadata["image/png"]["width"]
        pictures.add(data["image/png"])
        flip(explorer)
    assert len(pictures) == 2


def test_colab_is_told_where_sliders_come_from(monkeypatch):
    url = "https://colab.example/manager.js"
    colab = SimpleNamespace(enable_custom_widget_manager=lambda: None,
                            _widgets=SimpleNamespace(_installed_url=url))
    explorer, panel = ModelExplorer(), TrainingPanel()
    view = "application/vnd.jupyter.widget-view+json"
    assert view not in explorer._repr_mimebundle_()[1]
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    for widget in (explorer, panel):
        _, metadata = widget._repr_mimebundle_()
        assert metadata[view] == {"colab": {"custom_widget_manager": {"url": url}}}
        assert metadata["image/png"]["alt"]


@EXPLORERS
def test_close_closes_all_widgets_leaves_nothing_and_may_be_called_again(kind):
    explorer = kind(strides=2) if kind is BlockExplorer else kind()
    opened, text = everything(explorer), explorer.text
    assert all(w.comm is not None for w in opened) and len(opened) > 8
    explorer.close()
    explorer.close()
    assert all(w.comm is None for w in opened) and not _instances
    flip(explorer)  # an old reference in a cell does no harm
    assert explorer.text == text
    reference = weakref.ref(explorer)
    del explorer, opened
    gc.collect()
    assert reference() is None


def test_drawing_again_leaves_nothing_more_in_the_kernel():
    explorer = BlockExplorer(strides=2, size=4)
    before = len(_instances)
    for size in (5, 6, 7):
        explorer.size = size
    assert len(_instances) == before


@EXPLORERS
def test_refused_constructor_leaves_nothing_in_the_kernel(kind):
    for arguments in ({"colour": 1}, {"size": 0, "noise": -1}):
        with pytest.raises((TypeError, TraitError)):
            kind(**arguments)
        assert not _instances


# --- drawings ---

def texts(sketch):
    return [text.get_text() for text in sketch.figure().axes[0].texts if text.get_text()]


def test_drawing_of_a_block_names_every_shape():
    shown = texts(draw_block(block_costs(3, 6, True, 2)))
    assert shown.count("6×3×3") == 8 and shown.count("3×6×6") == 1 and "+" in shown


def test_drawing_of_a_block_says_which_shapes_do_not_fit_and_quotes_torch():
    shown = texts(draw_block(block_costs(3, 6, False, 2)))
    assert "6×3×3 and 3×6×6 do not fit" in [text.replace("\n", " ") for text in shown]
    assert "×" in shown and "+" not in shown
    message = next(text for text in shown if text.startswith("torch says")).replace("\n", " ")
    assert message.replace("- ", "-") == (
        'torch says: "The size of tensor a (3) must match the size of tensor b (6) at '
        'non-singleton dimension 3"')
    stretched = " ".join(texts(draw_block(block_costs(1, 6)))).replace("\n", " ")
    assert "torch says nothing" in stretched


def test_drawing_of_a_block_has_the_costs_of_both_paths():
    shown = texts(draw_block(block_costs(3, 6, True, 2, size=6)))
    branch, shortcut = (3 * 9 + 1) * 6 + 12 + (6 * 9 + 1) * 6 + 12, (3 + 1) * 6
    assert f"branch g(x): {branch} parameters, {9 * 6 * 9 * (3 + 6):,} multiply-adds" in shown
    assert f"shortcut: {shortcut} parameters, {9 * 3 * 6} multiply-adds" in shown
    assert "shortcut: x unchanged, costs nothing" in texts(draw_block(block_costs(3, 3)))


def test_drawing_of_a_block_shows_a_map_for_each_edge():
    block = {"input_channels": 3, "num_channels": 3, "size": 12}
    maps = block_feature_maps(0, **block)
    assert draw_block(block_costs(**block), maps).svg("").count("<image") == len(maps) == 9
    assert "<image" not in draw_block(block_costs(**block)).svg("")


def test_drawing_of_a_model_has_the_shapes_of_table_1():
    shown = texts(draw_resnet(model_costs(50, 224, 1000, 3), 224, 3))
    labels = [text for text in shown if "\n" in text]
    assert labels == [
        "b1\nstem\n64×56×56", "b2\n3 blocks\n256×56×56", "b3\n4 blocks\n512×28×28",
        "b4\n6 blocks\n1024×14×14", "b5\n3 blocks\n2048×7×7", "linear\nclassifier\n2048 → 1000",
        "image\nat ¼ scale\n3×224×224"]


@pytest.mark.parametrize(("depth", "shortcuts", "arcs", "dashed"), [
    (34, True, 3 + 4 + 6 + 3, 3), (50, True, 3 + 4 + 6 + 3, 4), (34, False, 0, 0)])
def test_drawing_of_a_model_has_an_arc_per_shortcut_dashed_where_the_shape_changes(
        depth, shortcuts, arcs, dashed):
    fig = draw_resnet(model_costs(depth, shortcuts=shortcuts), 224, shortcuts=shortcuts).figure()
    lines = [line for line in fig.axes[0].collections if isinstance(line, LineCollection)
             and to_hex(line.get_color()[0]) == BLUE.lower()]
    is_dashed = {line: line.get_linestyle()[0][1] is not None for line in lines}
    assert sum(len(line.get_segments()) for line in lines) == arcs
    assert sum(len(line.get_segments()) for line in lines if is_dashed[line]) == dashed


def test_regions_picture_names_all_regions():
    expected = 2 * [*(f"F{digit}" for digit in "₁₂₃₄₅₆"), "f*"] + ["not nested", "nested"]
    assert sorted(texts(draw_function_classes())) == sorted(expected)


def clashes(sketch):
    """Texts that leave the drawing, or run into each other, an image, or a box of other texts."""
    fig = sketch.figure()
    renderer, ax = FigureCanvasAgg(fig).get_renderer(), fig.axes[0]

    def holds(box, extent):
        return box.contains(*extent.min) and box.contains(*extent.max)

    extents = [(text.get_text(), text.get_window_extent(renderer).padded(-1)) for text in ax.texts
               if text.get_text()]
    found = [text for text, extent in extents if not holds(fig.bbox.padded(1), extent)]
    found += [(text, other) for (text, extent), (other, its) in itertools.combinations(extents, 2)
              if extent.overlaps(its)]
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for box in (artist.get_window_extent(renderer) for artist in (*boxes, *ax.images)):
        found += [text for text, extent in extents
                  if extent.overlaps(box) and not holds(box, extent)]
    return found


BLOCKS = st.fixed_dictionaries({trait: values for trait, values in VALUES[BlockExplorer].items()
                                if trait != "image"})
LARGEST = {"input_channels": 64, "num_channels": 64, "use_1x1conv": True, "strides": 1, "size": 56,
           "shortcut_kernel_size": 3}
NO_PIXELS = {name: torch.zeros(1, 1) for name in (
    "x", "conv1", "bn1", "relu", "conv2", "bn2", "shortcut")}


@examples(40)
@given(BLOCKS)
@example(LARGEST)
def test_nothing_overlaps_in_the_drawing_of_any_block(block):
    assert clashes(draw_block(block_costs(**block), NO_PIXELS)) == []


@examples(30)
@given(BLOCKS)
@example({**LARGEST, "num_channels": 32, "use_1x1conv": False})
def test_nothing_is_cut_off_in_the_drawing_of_any_block_without_maps(block):
    assert clashes(draw_block(block_costs(**{**block, "shortcut_kernel_size": 1}))) == []


@examples(20)
@given(**{trait: values for trait, values in VALUES[ModelExplorer].items()
          if trait != "batch_size"})
def test_nothing_overlaps_in_the_drawing_of_any_model(depth, size, **more):
    stages = model_costs(depth, size, **more)
    assert clashes(draw_resnet(stages, size, more["in_channels"], more["shortcuts"])) == []


@examples(20)
@given(**VALUES[FunctionClassExplorer])
def test_nothing_overlaps_in_the_drawing_of_any_fit(**arguments):
    assert clashes(draw_class_fit(fit_class(**arguments))) == []
