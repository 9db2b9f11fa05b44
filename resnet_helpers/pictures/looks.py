"""How plain and residual networks look in every picture, and what guessing costs."""

import math

from resnet_helpers.plotting import BLUE, GREY, ORANGE

KINDS = {  # of networks and their blocks: the same look in all notebooks
    "plain": {"color": ORANGE, "linestyle": "--", "marker": "o"},
    "residual": {"color": BLUE, "linestyle": "-", "marker": "s"},
}
TRAINED = {"color": BLUE, "marker": "s", "linestyle": "-", "label": "trained"}
UNTRAINED = {"color": GREY, "marker": "D", "linestyle": ":", "label": "untrained"}
LEGEND = {"fontsize": 12, "frameon": False}
GUESSING = math.log(10)  # the loss of ten equal probabilities


def draw_guessing(ax, height=GUESSING):
    """A dotted line at the loss, or the accuracy, of guessing among ten classes."""
    ax.axhline(height, color=GREY, linewidth=1.5, linestyle=":", label="guessing")
