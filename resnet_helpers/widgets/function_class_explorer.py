"""Nested and non-nested classes, one step of complexity at a time."""

import traitlets

from resnet_helpers.diagrams import draw_class_fit
from resnet_helpers.function_classes import MAX_COMPLEXITY, TARGETS, fit_class
from resnet_helpers.widgets.explorer import Explorer, OneOf, Real, Whole, choice, number, switch


class FunctionClassExplorer(Explorer):
    """Fits step functions of growing complexity to data, and shows how near they come to f*.

    Args, and attributes to read or set:
        complexity: k, 1 to 6.
        nested: the family whose classes contain each other, or the one of equal pieces.
        target: f*: "jump", "ramp", "wave" or "bump".
        noise: standard deviation of the noise in the data, 0 to 0.5.
        num_points: size of the data, 5 to 200.
    """

    complexity = Whole(3, min=1, max=MAX_COMPLEXITY)
    nested = traitlets.Bool(False)
    target = OneOf(tuple(TARGETS), "jump")
    noise = Real(0.1, min=0, max=0.5)
    num_points = Whole(40, min=5, max=200)

    def _make_controls(self):
        traits = self.traits()
        return {"nested": switch("nested"),
                "complexity": number("complexity k", traits["complexity"]),
                "target": choice("f*", tuple(TARGETS)),
                "noise": number("noise", traits["noise"], step=0.05),
                "num_points": number("points", traits["num_points"], step=5)}

    def _picture(self):
        fit = fit_class(self.complexity, self.nested, self.target, self.noise, self.num_points)
        return draw_class_fit(fit), describe_class_fit(fit)


def describe_class_fit(fit):
    """A `ClassFit` in a sentence: the distances, and where the last step of complexity led."""
    k, distances = fit.complexity, fit.class_distances[fit.nested]
    family = "nested" if fit.nested else "not nested"
    text = (f"F{k} ({family}): its best function is {distances[k - 1]:.3f} from f*, "
            f"the fit to the data {fit.distance:.3f}.")
    if k == 1:
        return text
    step = distances[k - 1] - distances[k - 2]
    change = "is as far from f* as"
    if abs(step) > 1e-9:
        change = "is farther from f* than" if step > 0 else "is nearer to f* than"
    return f"{text} F{k} {change} F{k - 1}."
