"""The block's trace, its drawing, and the explorer that shows them."""

import itertools

import pytest
import torch
from traitlets import TraitError

from resnet_helpers.diagrams import draw_block, draw_function_classes, draw_resnet, trace_block, trace_layers
from resnet_helpers.models import Residual, resnet18
from resnet_helpers.plotting import to_png
from resnet_helpers.widgets import BlockExplorer

SETTINGS = list(itertools.product((1, 3, 6), (False, True), (1, 2)))


def drawn_text(fig):
    return [text.get_text() for text in fig.axes[0].texts]


@pytest.mark.parametrize(("num_channels", "use_1x1conv", "strides"), SETTINGS)
def test_trace_gives_the_shapes_of_a_real_block(num_channels, use_1x1conv, strides):
    trace = trace_block(3, num_channels, use_1x1conv, strides, size=7)
    block, X = Residual(3, num_channels, use_1x1conv, strides), torch.rand(4, 3, 7, 7)
    try:
        assert trace.output_shape == tuple(block(X).shape[1:])
        assert trace.error is None
    except ValueError as error:
        assert trace.output_shape is None
        assert trace.error == str(error)
    assert trace.branch_shape == tuple(block.conv1(X).shape[1:])
    assert sum(step.parameters for step in (*trace.branch, *trace.shortcut)) == sum(
        p.numel() for p in block.parameters())


def test_drawing_names_every_shape():
    texts = drawn_text(draw_block(trace_block(3, 6, True, 2)))
    assert texts.count("6×3×3") == 7 and texts.count("3×6×6") == 1 and "+" in texts


def test_drawing_says_which_shapes_do_not_fit():
    texts = drawn_text(draw_block(trace_block(3, 6, False, 2)))
    assert "cannot be added:\n6×3×3\nand 3×6×6" in texts and "×" in texts


def test_drawing_of_the_model_has_the_traced_shapes():
    net, X = resnet18(), torch.rand(1, 1, 64, 64)
    assert [shape for _, shape in trace_layers(net, X)][:2] == [(64, 16, 16), (64, 16, 16)]
    assert "512×2×2" in drawn_text(draw_resnet(net, X))
    assert net.training


def test_regions_picture_names_all_regions():
    for ax in draw_function_classes().axes:
        assert {f"$F_{k}$" for k in range(1, 7)} | {"$f^*$"} == {text.get_text() for text in ax.texts}


def controls(explorer):
    return explorer.children[0].children


def test_setting_a_trait_moves_its_control_and_the_text():
    explorer = BlockExplorer()
    explorer.use_1x1conv, explorer.strides, explorer.num_channels = True, 2, 6
    assert [control.value for control in controls(explorer)] == [True, 2, 6]
    assert "output shape (6, 3, 3)" in explorer.text


def test_moving_a_control_sets_the_trait_and_draws_anew():
    explorer = BlockExplorer(use_1x1conv=True, num_channels=6)
    before = explorer.children[1].value
    controls(explorer)[0].value = False
    assert not explorer.use_1x1conv
    assert explorer.children[1].value != before
    assert "cannot be added" in explorer.text and "use_1x1conv=True" in explorer.text


@pytest.mark.parametrize(("trait", "value"), [("strides", 3), ("num_channels", 5), ("use_1x1conv", "yes")])
def test_impossible_state_is_refused_and_nothing_changes(trait, value):
    explorer = BlockExplorer()
    before = explorer.text
    with pytest.raises(TraitError):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) != value and explorer.text == before


def test_saved_notebook_has_a_picture_beside_the_widget():
    explorer = BlockExplorer(use_1x1conv=True, strides=2, num_channels=6)
    data, metadata = explorer._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= data.keys()
    assert "output shape (6, 3, 3)" in metadata["image/png"]["alt"]


def test_picture_has_alt_text():
    assert '<img alt="Drawing of Residual(3, 3' in BlockExplorer().children[1].value


def test_every_control_is_labelled_and_has_a_tooltip():
    for control in controls(BlockExplorer()):
        assert control.description and (control.tooltip or control.tooltips)


def test_same_state_gives_the_same_picture():
    assert to_png(draw_block(trace_block(3, 6, True, 2))) == to_png(draw_block(trace_block(3, 6, True, 2)))
