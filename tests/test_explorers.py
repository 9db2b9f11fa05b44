"""The three explorers and the drawings in them: any state is drawn and described, and controls and traits agree."""

import base64
import contextlib
import gc
import html
import io
import itertools
import re
import weakref
import xml.etree.ElementTree as ET

import ipywidgets as widgets
import pytest
import torch
import traitlets
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from traitlets import TraitError

from resnet_helpers.costs import block_costs, model_costs
from resnet_helpers.diagrams import draw_block, draw_class_fit, draw_function_classes, draw_resnet
from resnet_helpers.engine.cpu import one_thread
from resnet_helpers.errors import DatasetUnavailableError
from resnet_helpers.experiments import block_feature_maps
from resnet_helpers.function_classes import fit_class
from resnet_helpers.models import Residual
from resnet_helpers.plotting import drawing
from resnet_helpers.widgets import BlockExplorer, FunctionClassExplorer, ModelExplorer
from resnet_helpers.widgets.block_explorer import describe_block
from resnet_helpers.widgets.explorer import Explorer, status, switch
from resnet_helpers.widgets.model_explorer import bytes_in_words, describe_model, stage_table

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# For each explorer: what its controls are called on the page, and every value that they can have.
LABELS = {
    FunctionClassExplorer: {"nested": "nested", "complexity": "complexity k", "target": "f*", "noise": "noise",
                            "num_points": "points"},
    BlockExplorer: {"use_1x1conv": "use_1x1conv", "strides": "strides", "shortcut_kernel_size": "conv3",
                    "input_channels": "input_channels", "num_channels": "num_channels", "size": "image size",
                    "image": "image"},
    ModelExplorer: {"depth": "depth", "shortcuts": "residual connections", "size": "image size",
                    "in_channels": "image channels", "num_classes": "classes", "batch_size": "batch size"}}
VALUES = {
    FunctionClassExplorer: {
        "nested": st.booleans(), "complexity": st.integers(1, 6), "noise": st.floats(0, 0.5),
        "target": st.sampled_from(("jump", "ramp", "wave", "bump")), "num_points": st.integers(5, 200)},
    BlockExplorer: {
        "use_1x1conv": st.booleans(), "strides": st.sampled_from((1, 2)),
        "shortcut_kernel_size": st.sampled_from((1, 3)), "input_channels": st.integers(1, 64),
        "num_channels": st.integers(1, 64), "size": st.integers(1, 56), "image": st.sampled_from(CLASSES)},
    ModelExplorer: {
        "depth": st.sampled_from((18, 34, 50, 101, 152)), "shortcuts": st.booleans(), "size": st.integers(32, 256),
        "in_channels": st.integers(1, 4), "num_classes": st.integers(1, 1000), "batch_size": st.integers(1, 512)}}
IMPOSSIBLE = [
    (FunctionClassExplorer, {"complexity": (0, 7, 2.5, "3", None), "nested": ("yes", None), "target": ("step", 3, None),
                             "noise": (-0.1, 0.51, float("inf"), "0.1", None), "num_points": (4, 201, 40.5, None)}),
    (BlockExplorer, {"use_1x1conv": ("yes", 2, None), "strides": (0, 3, -1, "2", None), "image": ("boot", 3, None),
                     "shortcut_kernel_size": (0, 2, None), "input_channels": (0, -1, 65, 1.5, None),
                     "num_channels": (0, 65, "6", None), "size": (0, 57, float("nan"), None)}),
    (ModelExplorer, {"depth": (20, "18", None), "shortcuts": ("no", None), "size": (31, 257, 64.5, None),
                     "in_channels": (0, 5, None), "num_classes": (0, 1001, None), "batch_size": (0, 513, None)})]
IMPOSSIBLE = [(kind, trait, value) for kind, traits in IMPOSSIBLE for trait, values in traits.items()
              for value in values]
EXPLORERS = pytest.mark.parametrize("kind", tuple(LABELS))


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
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in everything(child))]


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
    """An explorer of a `kind`, with an empty drawing, for tests of what is around it; `draws` counts the drawings."""
    class Undrawn(kind):
        draws = 0

        def _picture(self):
            self.draws += 1
            return drawing(1, 1)[0], f"{state(self)}"

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
        assert f'<svg class="rh-picture" role="img" aria-label="{html.escape(explorer.text)}"' in picture(explorer)
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
    sentence = describe_block(block_costs(**block, size=size), block["use_1x1conv"], block["strides"])
    call = ", ".join(f"{block[name]}" for name in ("input_channels", "num_channels"))
    assert sentence.startswith(f"Residual({call}, use_1x1conv={block['use_1x1conv']}, strides={block['strides']})")
    try:
        assert f"output shape {tuple(real(X).shape[1:])}." in sentence
    except ValueError:
        is_stretched = block["input_channels"] == 1 and (block["strides"] == 1 or size == 1)
        assert ("is refused" if is_stretched else "cannot be added") in sentence and "output shape" not in sentence
        assert ("stretch the shortcut" in sentence) == is_stretched


@pytest.mark.parametrize(("complexity", "nested", "end"), [
    (1, False, "."), (2, False, "F2 is nearer to f* than F1."), (3, False, "F3 is farther from f* than F2."),
    (3, True, "F3 is as far from f* as F2.")])
def test_sentence_about_a_fit_says_where_the_last_step_led(complexity, nested, end):
    text = FunctionClassExplorer(complexity=complexity, nested=nested).text
    assert text.startswith(f"F{complexity} ({'nested' if nested else 'not nested'}): its best function is 0.")
    assert text.endswith(end) and text.count("F") == (1 if complexity == 1 else 3)


def test_sentence_about_a_model_has_the_numbers_of_the_article_and_the_paper():
    text = ModelExplorer(size=224, num_classes=10, in_channels=1, batch_size=1).text
    assert text.startswith("ResNet-18: 11,178,378 parameters, 1.73 billion multiply-adds for one image;")
    assert "1.81 billion" in ModelExplorer(in_channels=3, num_classes=1000).text  # table 1 says 1.8
    assert ModelExplorer(shortcuts=False, depth=34).text.startswith("Plain net of 34 layers: ")


def test_table_of_a_model_has_a_row_per_stage_and_their_sum():
    table = ET.fromstring(re.search("<table.*</table>", stage_table(model_costs(18), batch_size=64)).group())
    rows = [["".join(cell.itertext()).replace(" ", "") for cell in row] for row in table.iter("tr")]
    assert rows[0][:5] == ["stage", "blocks", "outputshape", "parameters", "multiply-adds"] and "64" in rows[0][5]
    assert [row[:3] for row in rows[1:]] == [
        ["b1", "", "64×56×56"], ["b2", "2", "64×56×56"], ["b3", "2", "128×28×28"],
        ["b4", "2", "256×14×14"], ["b5", "2", "512×7×7"], ["linear", "", "10"], ["together", "8", ""]]
    assert rows[-1][3] == "11,178,378"
    for column in (3, 4):
        numbers = [int(row[column].replace(",", "")) for row in rows[1:]]
        assert sum(numbers[:-1]) == numbers[-1] > 0


@pytest.mark.parametrize(("n", "text"), [
    (0, "0.0 KiB"), (1024, "1.0 KiB"), (12_345_678, "11.8 MiB"), (2 ** 20, "1.0 MiB"), (2 ** 30, "1.00 GiB"),
    (5 * 2 ** 38, "1280.00 GiB")])
def test_bytes_are_written_in_a_unit_that_suits(n, text):
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
    small = {trait: st.integers(1, 8) for trait in ("input_channels", "num_channels")} if kind is BlockExplorer else {}

    @examples(6)
    @given(st.lists(st.fixed_dictionaries({**VALUES[kind], **small}), min_size=1, max_size=3))
    def check(states):
        for values in states:
            set_at_once(explorer, values)
        assert (html_of(explorer), explorer.text) == (html_of(fresh := kind(**states[-1])), fresh.text)
        fresh.close()
    check()


def test_hostile_text_is_shown_as_text():
    hostile = '"><script>alert("1 & 2")</script>'
    explorer = type("Hostile", (ModelExplorer,), {"_picture": lambda self: (drawing(1, 1)[0], hostile)})()
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
        assert all(isinstance(slider, (widgets.IntSlider, widgets.FloatSlider)) for slider in sliders)
    values = [w for w in everything(explorer) if hasattr(w, "value") and not isinstance(w, widgets.HTML)]
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
    change = st.sampled_from(tuple(VALUES[kind])).flatmap(
        lambda trait: st.tuples(st.just(trait), VALUES[kind][trait], st.sampled_from(("trait", "first", "last"))))

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


LOOK_LIKE_NUMBERS = [
    (FunctionClassExplorer, "noise", float("nan")), (FunctionClassExplorer, "complexity", True),
    (BlockExplorer, "strides", True), (BlockExplorer, "strides", 2.0), (BlockExplorer, "size", True),
    (BlockExplorer, "shortcut_kernel_size", 3.0), (ModelExplorer, "depth", 34.0), (ModelExplorer, "batch_size", True)]


@EXPLORERS
def test_impossible_values_are_refused_and_nothing_changes(kind):
    values = [(trait, value) for other, trait, value in (*IMPOSSIBLE, *LOOK_LIKE_NUMBERS) if other is kind]
    explorer, accepted = undrawn(kind)(), []
    before = shown(explorer)
    for trait, value in values:
        with contextlib.suppress(TraitError):
            setattr(explorer, trait, value)
            accepted.append((trait, value))
        with contextlib.suppress(TraitError):
            undrawn(kind)(**{trait: value})
            accepted.append((trait, value))
        assert shown(explorer) == before and getattr(explorer, trait) is not value, (trait, value)
    assert accepted == [] and len(values) > 10


@EXPLORERS
def test_one_impossible_value_among_several_undoes_them_all(kind):
    explorer = kind()
    before = shown(explorer)
    changed = {trait: not value for trait, value in state(explorer).items() if isinstance(value, bool)}
    _, trait, value = next(case for case in IMPOSSIBLE if case[0] is kind and case[1] not in changed)
    with pytest.raises(TraitError):
        set_at_once(explorer, {**changed, trait: value})
    assert shown(explorer) == before


@EXPLORERS
def test_number_outside_its_range_becomes_the_nearest_that_is_possible(kind):
    explorer = undrawn(kind)()
    for trait in LABELS[kind]:
        for control in inputs(explorer, trait):
            if hasattr(control, "max"):
                for far, nearest in ((control.max + 1000, control.max), (control.min - 1000, control.min)):
                    control.value = far
                    assert getattr(explorer, trait) == nearest
                    assert {w.value for w in inputs(explorer, trait)} == {nearest}


@EXPLORERS
def test_unknown_argument_is_refused_by_name(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__} has no color, colour; it takes .*{list(LABELS[kind])[-1]}"):
        kind(colour=1, color=2)


@EXPLORERS
def test_text_cannot_be_set(kind):
    with pytest.raises(TraitError):
        kind().text = "something else"


# --- mending a block ---

def mending_buttons(explorer):
    return [w for w in everything(explorer) if isinstance(w, widgets.Button)]


@examples(18)
@given(st.fixed_dictionaries({"input_channels": st.integers(1, 5), "num_channels": st.integers(1, 5),
                              "strides": st.sampled_from((1, 2)), "use_1x1conv": st.booleans(),
                              "size": st.integers(1, 6), "shortcut_kernel_size": st.sampled_from((1, 3))}))
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
        assert {name: value for name, value in after.items() if name not in promised} == {
            **{name: value for name, value in values.items() if name not in promised}, "image": "ankle boot"}
        block = Residual(*(after[name] for name in ("input_channels", "num_channels", "use_1x1conv", "strides")))
        assert block(torch.rand(4, values["input_channels"], values["size"], values["size"])).numel() > 0
    explorer.close()


def test_mending_two_things_draws_once():
    class Counted(BlockExplorer):
        draws = 0

        def _picture(self):
            self.draws += 1
            return super()._picture()

    explorer = Counted(strides=2, num_channels=6)
    button = next(b for b in mending_buttons(explorer) if "strides" in b.description and "channels" in b.description)
    button.click()
    assert explorer.draws == 2 and (explorer.strides, explorer.num_channels) == (1, 3)


def test_buttons_that_are_no_longer_offered_are_closed():
    explorer = BlockExplorer(strides=2, size=4)
    offered = mending_buttons(explorer)
    explorer.size = 5
    assert offered and all(button.comm is None for button in offered)
    assert all(button.comm is not None for button in mending_buttons(explorer))


# --- what stays on the page, and what goes ---

@EXPLORERS
def test_page_without_a_kernel_gets_a_picture_and_its_description(kind):
    explorer = kind()
    data, metadata = explorer._repr_mimebundle_()
    view = data["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.model_id
    assert data["text/plain"] == f"{kind.__name__}: {explorer.text}"
    assert metadata["image/png"]["alt"] == explorer.text
    width, _ = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
    assert width == 2 * metadata["image/png"]["width"]


@EXPLORERS
def test_picture_for_a_page_without_a_kernel_follows_the_state(kind):
    explorer, pictures = kind(), set()
    flag = next(trait for trait, value in state(explorer).items() if isinstance(value, bool))
    for value in (False, True, False):
        setattr(explorer, flag, value)
        pictures.add(explorer._repr_mimebundle_()[0]["image/png"])
    assert len(pictures) == 2


@EXPLORERS
def test_close_closes_all_widgets_and_may_be_called_again(kind):
    explorer = kind(strides=2) if kind is BlockExplorer else kind()
    opened, draws = everything(explorer), explorer.text
    assert all(w.comm is not None for w in opened) and len(opened) > 8
    explorer.close()
    explorer.close()
    assert all(w.comm is None for w in opened)
    flag = next(trait for trait, value in state(explorer).items() if isinstance(value, bool))
    setattr(explorer, flag, not getattr(explorer, flag))  # an old reference in a cell does no harm
    assert explorer.text == draws


@EXPLORERS
def test_closed_explorer_can_be_collected(kind):
    explorer = kind()
    reference = weakref.ref(explorer)
    explorer.close()
    del explorer
    gc.collect()
    assert reference() is None


@EXPLORERS
def test_close_leaves_nothing_in_the_kernel(kind):
    explorer = kind()
    explorer.close()
    assert not _instances


def test_drawing_again_leaves_nothing_more_in_the_kernel():
    explorer = BlockExplorer(strides=2, size=4)
    before = len(_instances)
    for size in (5, 6, 7):
        explorer.size = size
    assert len(_instances) == before


@EXPLORERS
@pytest.mark.parametrize(("arguments", "error"), [({"colour": 1}, TypeError), ({"size": 0, "noise": -1}, Exception)])
def test_refused_constructor_leaves_nothing_in_the_kernel(kind, arguments, error):
    with pytest.raises(error):
        kind(**arguments)
    assert not _instances


def test_a_new_explorer_needs_a_trait_a_control_and_a_picture():
    class Coin(Explorer):
        heads = traitlets.Bool(True)

        def _make_controls(self):
            return {"heads": switch("heads")}

        def _picture(self):
            return drawing(1, 1)[0], f"It shows {'heads' if self.heads else 'tails'}."

    coin = Coin(heads=False)
    assert coin.text == "It shows tails."
    coin.heads = True
    assert coin.text == "It shows heads."


# --- drawings ---

def texts(fig):
    return [text.get_text() for text in fig.axes[0].texts if text.get_text()]


def test_drawing_of_a_block_names_every_shape():
    shown = texts(draw_block(block_costs(3, 6, True, 2)))
    assert shown.count("6×3×3") == 8 and shown.count("3×6×6") == 1 and "+" in shown


def test_drawing_of_a_block_says_which_shapes_do_not_fit_and_quotes_torch():
    shown = texts(draw_block(block_costs(3, 6, False, 2)))
    assert "6×3×3 and 3×6×6 do not fit" in [text.replace("\n", " ") for text in shown]
    assert "×" in shown and "+" not in shown
    message = next(text for text in shown if text.startswith("torch says")).replace("\n", " ").replace("- ", "-")
    assert message == ('torch says: "The size of tensor a (3) must match the size of tensor b (6) at non-singleton '
                       'dimension 3"')
    assert any("torch says nothing" in text.replace("\n", " ") for text in texts(draw_block(block_costs(1, 6))))


def test_drawing_of_a_block_has_the_costs_of_both_paths():
    shown = texts(draw_block(block_costs(3, 6, True, 2, size=6)))
    branch, shortcut = (3 * 9 + 1) * 6 + 12 + (6 * 9 + 1) * 6 + 12, (3 + 1) * 6
    assert f"branch g(x): {branch} parameters, {9 * 6 * 9 * (3 + 6):,} multiply-adds" in shown
    assert f"shortcut: {shortcut} parameters, {9 * 3 * 6} multiply-adds" in shown
    assert "shortcut: x unchanged, costs nothing" in texts(draw_block(block_costs(3, 3)))


def pictures(fig):
    return list(fig.axes[0].images)


def test_drawing_of_a_block_shows_a_map_for_each_edge():
    block = {"input_channels": 3, "num_channels": 3, "size": 12}
    maps = block_feature_maps(0, **block)
    assert len(pictures(draw_block(block_costs(**block), maps))) == len(maps) == 9
    assert len(pictures(draw_block(block_costs(**block)))) == 0


def test_drawing_of_a_model_has_the_shapes_of_table_1():
    shown = texts(draw_resnet(model_costs(50, 224, 1000, 3), 224, 3))
    labels = [text for text in shown if "\n" in text]
    assert labels == [
        "b1\nstem\n64×56×56", "b2\n3 blocks\n256×56×56", "b3\n4 blocks\n512×28×28", "b4\n6 blocks\n1024×14×14",
        "b5\n3 blocks\n2048×7×7", "linear\nclassifier\n2048 → 1000", "image\nat ¼ scale\n3×224×224"]


@pytest.mark.parametrize(("depth", "shortcuts", "arcs", "dashed"), [
    (34, True, 3 + 4 + 6 + 3, 3), (50, True, 3 + 4 + 6 + 3, 4), (34, False, 0, 0)])
def test_drawing_of_a_model_has_an_arc_per_shortcut_dashed_where_the_shape_changes(depth, shortcuts, arcs, dashed):
    fig = draw_resnet(model_costs(depth, shortcuts=shortcuts), 224, shortcuts=shortcuts)
    lines = [line for line in fig.axes[0].collections if isinstance(line, LineCollection)]
    styles = [style for line in lines for style in line.get_linestyle()]
    assert sum(len(line.get_segments()) for line in lines) == len(styles) == arcs
    assert sum(dashes is not None for _, dashes in styles) == dashed


def test_regions_picture_names_all_regions():
    for ax in draw_function_classes().axes:
        assert {f"$F_{k}$" for k in range(1, 7)} | {"$f^*$"} == {text.get_text() for text in ax.texts}


def clashes(fig):
    """Texts that leave the figure, or run into each other, an image, or a box that they are not written in."""
    renderer = FigureCanvasAgg(fig).get_renderer()
    inside = fig.bbox.padded(1)
    extents = {text: text.get_window_extent(renderer).padded(-1) for text in fig.axes[0].texts if text.get_text()}
    found = [text.get_text() for text, extent in extents.items()
             if not (inside.contains(*extent.min) and inside.contains(*extent.max))]
    found += [(a.get_text(), b.get_text()) for a, b in itertools.combinations(extents, 2)
              if extents[a].overlaps(extents[b])]
    boxes = [patch.get_window_extent(renderer) for patch in fig.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    for box in (*boxes, *(image.get_window_extent(renderer) for image in pictures(fig))):
        found += [text.get_text() for text, extent in extents.items() if extent.overlaps(box) and not (
            box.contains(*extent.min) and box.contains(*extent.max))]
    return found


BLOCKS = st.fixed_dictionaries({trait: values for trait, values in VALUES[BlockExplorer].items() if trait != "image"})
LARGEST = {"input_channels": 64, "num_channels": 64, "use_1x1conv": True, "strides": 1, "size": 56,
           "shortcut_kernel_size": 3}
NO_PIXELS = {name: torch.zeros(1, 1) for name in ("x", "conv1", "bn1", "relu", "conv2", "bn2", "shortcut")}


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
@given(**{trait: values for trait, values in VALUES[ModelExplorer].items() if trait != "batch_size"})
def test_nothing_overlaps_in_the_drawing_of_any_model(depth, size, **more):
    stages = model_costs(depth, size, **more)
    assert clashes(draw_resnet(stages, size, more["in_channels"], more["shortcuts"])) == []


@examples(20)
@given(**VALUES[FunctionClassExplorer])
def test_nothing_overlaps_in_the_drawing_of_any_fit(**arguments):
    assert clashes(draw_class_fit(fit_class(**arguments))) == []
