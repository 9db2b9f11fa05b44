"""The pictures of further/better_recipes: rates, moved images, and runs."""

import torch

from resnet_helpers.plotting import (
    BLACK,
    GREEN,
    GREY,
    PINK,
    SKY,
    YELLOW,
    show,
    show_images,
    subplots,
)

CONSTANT = {"color": GREY, "linestyle": ":", "marker": "o"}
LINEAR = {"color": SKY, "linestyle": "-.", "marker": "^"}
ONE_CYCLE = {"color": GREEN, "linestyle": "-", "marker": "D"}
SMALL_STEM = {"color": PINK, "linestyle": "--", "marker": "v"}
PLAIN_LABELS = {"color": BLACK, "linestyle": "-", "marker": "o"}
ONE_CHANGE = {"color": YELLOW, "linestyle": "-.", "marker": "s"}
SCHEDULES = {"constant": CONSTANT, "linear": LINEAR, "one-cycle": ONE_CYCLE}


def rate_curves(schedules, lr, num_epochs, steps_per_epoch):
    """The learning rate of each step under several schedules.

    Args:
        schedules: {"constant", "linear" or "one-cycle": function of an optimiser and the number of
            steps that makes a scheduler}.
        lr: of the optimiser.
        num_epochs, steps_per_epoch: length of the run.
    """
    fig, ax = subplots(figsize=(7, 3.4))
    steps, words = num_epochs * steps_per_epoch, []
    for name, make_scheduler in schedules.items():
        optimizer, rates = torch.optim.SGD([torch.zeros(1)], lr=lr), []
        scheduler = make_scheduler(optimizer, steps)
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        epochs = [step / steps_per_epoch for step in range(steps)]
        ax.plot(epochs, rates, label=name, linewidth=2.5, **{**SCHEDULES[name], "marker": None})
        top = max(range(steps), key=rates.__getitem__)
        words.append(f"{name}: from {rates[0]:.3f}, highest {rates[top]:.3f} in epoch "
                     f"{epochs[top]:.2f}, at the end {rates[-1]:.3f}")
    ax.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    ax.legend(fontsize=13)
    show(fig, f"Learning rate against epoch\n{'; '.join(words)}.")


def stored_and_moved(stored, epochs):
    """Images as they are stored, and below them the same images as some epochs show them.

    Args:
        stored: tensor (n, 1, H, W).
        epochs: list of such tensors.
    """
    rows = [stored, *epochs]
    axes = show_images([image for row in rows for image in row.cpu()], len(rows), len(stored),
                       scale=1.1)
    names = ["stored", *(f"epoch {i}" for i in range(1, len(rows)))]
    for name, ax in zip(names, axes[::len(stored)], strict=True):
        ax.text(-0.15, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=13)
    changed = [sum(not (a == b).all() for a, b in zip(row, stored, strict=True)) for row in epochs]
    show(axes[0].figure,
         f"The same images in several epochs\nIn the upper row {len(stored)} images as they are "
         f"stored; in each row below, the same images, mirrored or not and moved a little: "
         f"{' and '.join(map(str, changed))} of them differ from those above.")


def losses_by_lead(leads, losses):
    """The loss against the lead of the right class's logit, with the lowest point of each curve.

    Args:
        leads: tensor (n,), by how much the logit of the right class is above the others.
        losses: {name: tensor (n,)}; the name says how the labels are smoothed.
    """
    fig, ax = subplots(figsize=(6.5, 3.6))
    words = []
    for (name, curve), style in zip(losses.items(), (PLAIN_LABELS, ONE_CHANGE), strict=True):
        ax.plot(leads, curve, label=name, linewidth=2.5, **{**style, "marker": None})
        i = curve.argmin().item()
        ax.plot(leads[i], curve[i], style["marker"], color=style["color"], markersize=9,
                clip_on=False)
        words.append(f"{name}: lowest, {curve[i]:.2f}, at a lead of {leads[i]:.1f}")
    ax.set(xlabel="lead of the right logit", ylabel="loss", ylim=(0, None))
    ax.legend(fontsize=13)
    show(fig, f"Loss against the lead of the right logit\n{'; '.join(words)}.")


def held_out_curves(runs):
    """The held-out accuracy of several seeds of a few recipes, epoch by epoch.

    Args:
        runs: {name: list of `History`, one a seed}; the name is that of a schedule, or stands for
            the one change that is tried.
    """
    fig, ax = subplots(figsize=(7, 3.8))
    words = []
    for name, histories in runs.items():
        style = SCHEDULES.get(name, ONE_CHANGE)
        for i, history in enumerate(histories):
            _draw_accuracy(ax, history, style, label=name if i == 0 else None)
        ends = ", ".join(f"{history.test_acc:.2f}" for history in histories)
        words.append(f"{name}: {ends} at the end")
    ax.set(xlabel="epoch", ylabel="held-out accuracy")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=13)
    show(fig, f"Held-out accuracy against epoch\nA curve for each seed. {'; '.join(words)}.")


def ladder_curves(runs):
    """The held-out accuracy of the runs on the ladder, by the schedule and the stem they have.

    Args:
        runs: {name of the change: `History`}, in the order of the ladder.
    """
    fig, ax = subplots(figsize=(7.5, 4.2))
    looks = {"constant rate": CONSTANT, "falling rate": ONE_CYCLE,
             "falling rate, small stem": SMALL_STEM}
    ends = {look: [] for look in looks}
    for history in runs.values():
        look = "falling rate" if history.config["schedule"] != "constant" else "constant rate"
        look += ", small stem" if history.config["stem"] == "3x3" else ""
        _draw_accuracy(ax, history, looks[look], label=None if ends[look] else look)
        ends[look].append(history.test_acc)
    ax.set(xlabel="epoch", ylabel="held-out accuracy")
    ax.legend(fontsize=13, loc="lower right")
    words = "; ".join(f"{look}: {', '.join(f'{end:.3f}' for end in found)} at the end"
                      for look, found in ends.items())
    show(fig, f"Held-out accuracy against epoch\nA curve for each run. {words}.")


def two_recipes(runs):
    """Train and test accuracy of two recipes side by side, epoch by epoch.

    Args:
        runs: {"article": `History`, "modern": `History`}.
    """
    fig, axes = subplots(1, 2, figsize=(9, 3.8), sharey=True)
    words = []
    for ax, (name, history), style in zip(axes, runs.items(), (CONSTANT, SMALL_STEM), strict=True):
        whole = [record for record in history.records if record.test_acc is not None]
        ax.plot([r.epoch for r in whole], [r.train_acc for r in whole], color=BLACK, linewidth=1.5,
                label="train")
        _draw_accuracy(ax, history, style, label="test")
        ax.set(xlabel="epoch", title=name)
        ax.title.set_fontsize(14)
        ax.legend(fontsize=13, loc="lower right")
        accuracies = ", ".join(f"{r.test_acc:.3f}" for r in whole)
        words.append(f"{name}: test accuracy {accuracies}, train accuracy at the end "
                     f"{history.train_acc:.3f}")
    axes[0].set(ylabel="accuracy")
    show(fig, f"Train and test accuracy against epoch\n{'; '.join(words)}.")


def _draw_accuracy(ax, history, style, label):
    """The accuracy after each epoch of a run, as a curve."""
    tested = [record for record in history.records if record.test_acc is not None]
    ax.plot([r.epoch for r in tested], [r.test_acc for r in tested], markersize=5, linewidth=2,
            label=label, **style)
