"""Runs from settings: what each setting changes, and which are refused."""

import copy
from dataclasses import asdict, replace

import pytest
import torch

import resnet_helpers as d2l
from resnet_helpers.runs.recipes import RECIPES, RunSettings, prepare_run


@pytest.mark.parametrize(("wrong", "message"), [
    ({"data": "half"}, "subset, full"), ({"depth": 20}, "18, 34"), ({"optimizer": "sgd"}, "Adam"),
    ({"stem": "5x5"}, "3x3-pool"), ({"schedule": "cosine"}, "one-cycle"),
    ({"precision": "float16"}, "bfloat16"), ({"optimizer": None}, "optimizer must be a string"),
    ({"lr": 0}, "above 0"), ({"lr": float("nan")}, "above 0"), ({"lr": "0.1"}, "lr must be a num"),
    ({"lr": 10**400}, "lr must be a num"), ({"weight_decay": -1}, "at least 0"),
    ({"label_smoothing": 1.0}, "below 1"), ({"batch_size": 0}, "at least 1"),
    ({"image_size": -1}, "at least 1"), ({"num_epochs": 1.5}, "whole number"),
    ({"shift": 28}, "27 pixels"), ({"shift": 1.5}, "whole number"), ({"seed": 2**70}, "64 bits"),
    ({"flip": "no"}, "flip must be True or False"), ({"flip": 7}, "True or False")])
def test_wrong_settings_are_refused_with_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        RunSettings(**wrong)


def test_settings_decide_network_optimiser_loss_and_batches():
    run = prepare_run(RunSettings(
        depth=34, shortcuts=False, stem="3x3", optimizer="SGD, momentum 0.9", lr=0.3,
        schedule="constant", label_smoothing=0.1, flip=True, shift=2))
    plain = d2l.resnet34(shortcuts=False, stem="3x3")
    assert d2l.count_parameters(run.net) == d2l.count_parameters(plain)
    assert run.optimizer.defaults["momentum"] == 0.9 and run.optimizer.defaults["lr"] == 0.3
    assert run.scheduler is None and run.loss.label_smoothing == 0.1
    assert run.train_iter.flip and run.train_iter.shift == 2
    assert not run.test_iter.flip and not run.test_iter.shift
    assert isinstance(prepare_run(RunSettings(optimizer="Adam")).optimizer, torch.optim.Adam)


def test_weight_decay_spares_biases_and_batch_norm():
    run = prepare_run(RunSettings(weight_decay=0.5, lr=1.0))
    before = {name: p.detach().clone() for name, p in run.net.named_parameters()}
    for p in run.net.parameters():
        p.grad = torch.zeros_like(p)
    run.optimizer.step()
    for name, p in run.net.named_parameters():
        assert torch.allclose(p, before[name] * (0.5 if p.dim() > 1 else 1.0)), name


@pytest.mark.parametrize(
    ("schedule", "first", "highest_at", "last"),
    [("constant", 0.05, 0, 0.05), ("linear", 0.05, 0, 0), ("one-cycle", 0.002, 0.25, 0)])
def test_schedules(schedule, first, highest_at, last):
    run = prepare_run(RunSettings(schedule=schedule))
    rates, steps = [], 6 * 94
    for _ in range(steps):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.optimizer.step()
        if run.scheduler:
            run.scheduler.step()
    assert rates[0] == pytest.approx(first) and max(rates) == pytest.approx(0.05)
    assert rates.index(max(rates)) / steps == pytest.approx(highest_at, abs=0.01)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(last, abs=1e-6)


def test_a_run_depends_on_its_seed_alone_and_leaves_the_global_one_alone(monkeypatch):
    torch.manual_seed(1)
    before, settings = torch.get_rng_state(), RunSettings(flip=True, shift=2)
    first = prepare_run(settings)
    X, _ = next(iter(first.train_iter))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    monkeypatch.setattr(torch, "manual_seed", None)  # it would seed GPUs, too
    again, other = (prepare_run(replace(settings, seed=seed)) for seed in (0, 1))
    assert torch.equal(next(iter(again.train_iter))[0], X)
    assert torch.equal(again.net[0][0].weight, first.net[0][0].weight)
    assert not torch.equal(other.net[0][0].weight, first.net[0][0].weight)


def test_quick_run_of_the_notebook_is_the_default_and_the_article_has_its_numbers():
    run = prepare_run(RunSettings())
    assert run.settings == RECIPES["quick"] and len(run.train_iter) == 94
    assert len(run.test_iter) == 16
    expected = {
        "quick": {"num_epochs": 6, "lr": 0.05, "image_size": 28},
        "article": {"num_epochs": 10, "lr": 0.05, "image_size": 96, "data": "full",
                    "batch_size": 256, "optimizer": "SGD", "schedule": "constant",
                    "weight_decay": 0, "flip": False},
        "fast": {"num_epochs": 3, "schedule": "one-cycle", "flip": False, "batch_size": 256}}
    for name, settings in expected.items():
        assert asdict(RECIPES[name]) | settings == asdict(RECIPES[name])


def test_normalised_training_images_have_mean_0_and_deviation_1():
    run = prepare_run(RunSettings(normalize=True, batch_size=6000))
    X, _ = next(iter(run.train_iter))
    assert X.mean().item() == pytest.approx(0, abs=1e-4)
    assert X.std().item() == pytest.approx(1, abs=1e-4)
    assert prepare_run(RunSettings()).train_iter.images.equal(run.train_iter.images)


def test_held_out_images_are_training_images_that_are_not_trained_on():
    data = d2l.load_fashion_mnist_subset()
    run, other = (prepare_run(RunSettings(held_out=True, seed=seed)) for seed in (0, 1))
    images, held_out = run.train_iter.images, run.test_iter.images
    assert (len(images), len(held_out)) == (5500, 500)
    sums = [X.flatten(1).double().sum(1).sort().values
            for X in (torch.cat((images, held_out)), data.train_images)]
    assert torch.equal(*sums)
    assert torch.equal(other.test_iter.images, held_out)  # whatever the seed
    assert not run.test_iter.shuffle


# --- states ---

SETTINGS = RunSettings(batch_size=10, optimizer="Adam", schedule="one-cycle", num_epochs=2,
                       flip=True, precision="float32")


def test_a_run_that_was_brought_back_goes_on_as_the_other_does(few_images, narrow_net):
    """To the end, bit for bit: moments, schedule and random states must have come back too."""
    run, other = prepare_run(SETTINGS), prepare_run(replace(SETTINGS, seed=5))
    steps = run.fit()
    next(p for p in steps if p.epoch == 1)
    state, before = copy.deepcopy(run.state_dict()), copy.deepcopy(run.net.state_dict())
    drawn = torch.rand(3)  # as a net with dropout would
    other.load_state_dict(state)
    assert torch.equal(torch.rand(3), drawn)
    list(steps)
    history = d2l.History(records=[d2l.Progress(1, 0, 1.0, 0.5, 0.5, 0, 1.0)])
    list(other.fit(history=history, resume=True))
    for name, weight in run.net.state_dict().items():
        assert torch.equal(other.net.state_dict()[name], weight), name
        assert not torch.equal(weight, before[name]), name


def test_weights_of_another_shape_are_refused():
    run, state = prepare_run(SETTINGS), prepare_run(replace(SETTINGS, stem="3x3")).state_dict()
    with pytest.raises(ValueError, match="not the state of a run of ResNet-18 with Adam") as error:
        run.load_state_dict(state)
    assert "\n" not in str(error.value)


def test_history_names_the_epochs_that_are_trained(few_images):
    run, history = prepare_run(RunSettings(batch_size=10)), d2l.History()
    list(run.fit(num_epochs=1, history=history))
    assert history.completed and history.config["num_epochs"] == 1
    assert "1 of 1 epochs" in str(history)
