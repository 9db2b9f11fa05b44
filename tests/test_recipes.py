"""Runs from settings: what each setting changes, and which are refused."""

import copy
from dataclasses import replace

import pytest
import torch

import resnet_helpers as d2l
from resnet_helpers.runs.recipes import RECIPES, RunSettings, prepare_run


@pytest.mark.parametrize(("wrong", "named"), [
    ({"data": "half"}, "subset, full"), ({"depth": 20}, "18, 34"), ({"optimizer": "sgd"}, "Adam"),
    ({"stem": "5x5"}, "3x3-pool"), ({"schedule": "cosine"}, "one-cycle"), ({"precision": "float16"}, "bfloat16"),
    ({"lr": 0}, "above 0"), ({"lr": float("nan")}, "above 0"), ({"batch_size": 0}, "at least 1"),
    ({"num_epochs": 1.5}, "whole number"), ({"image_size": -1}, "at least 1"), ({"weight_decay": -1}, "at least 0"),
    ({"label_smoothing": 1.0}, "below 1"), ({"shift": 28}, "27 pixels"), ({"shift": 1.5}, "whole number"),
    ({"flip": "no"}, "flip must be True or False"), ({"lr": "0.1"}, "lr must be a number"),
    ({"seed": 2**70}, "64 bits"), ({"lr": 10**400}, "lr must be a number"), ({"flip": 7}, "True or False"),
    ({"optimizer": None}, "optimizer must be a string")])
def test_wrong_settings_are_refused_with_what_is_allowed(wrong, named):
    with pytest.raises(ValueError, match=named):
        RunSettings(**wrong)


def test_settings_decide_network_optimiser_and_schedule():
    run = prepare_run(RunSettings(depth=34, shortcuts=False, stem="3x3", optimizer="SGD, momentum 0.9", lr=0.3,
                                  schedule="constant", label_smoothing=0.1))
    assert d2l.count_parameters(run.net) == d2l.count_parameters(d2l.resnet34(shortcuts=False, stem="3x3"))
    assert run.optimizer.defaults["momentum"] == 0.9 and run.optimizer.defaults["lr"] == 0.3
    assert run.scheduler is None and run.loss.label_smoothing == 0.1
    assert isinstance(prepare_run(RunSettings(optimizer="Adam")).optimizer, torch.optim.Adam)


def test_weight_decay_spares_biases_and_batch_norm():
    run = prepare_run(RunSettings(weight_decay=0.5, lr=1.0))
    before = {name: p.detach().clone() for name, p in run.net.named_parameters()}
    for p in run.net.parameters():
        p.grad = torch.zeros_like(p)
    run.optimizer.step()
    for name, p in run.net.named_parameters():
        assert torch.allclose(p, before[name] * (0.5 if p.dim() > 1 else 1.0)), name


@pytest.mark.parametrize(("schedule", "first", "highest_at"), [("constant", 0.05, 0), ("linear", 0.05, 0),
                                                               ("one-cycle", 0.002, 0.25)])
def test_schedules(schedule, first, highest_at):
    run = prepare_run(RunSettings(schedule=schedule))
    rates, steps = [], 6 * 94
    for _ in range(steps):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.optimizer.step()
        if run.scheduler:
            run.scheduler.step()
    assert rates[0] == pytest.approx(first) and max(rates) == pytest.approx(0.05)
    assert rates.index(max(rates)) / steps == pytest.approx(highest_at, abs=0.01)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 if schedule == "constant" else 0, abs=1e-6)


def test_a_run_depends_on_its_seed_alone_and_leaves_the_global_one_alone(monkeypatch):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = prepare_run(RunSettings(flip=True, shift=2))
    X, _ = next(iter(first.train_iter))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    monkeypatch.setattr(torch, "manual_seed", None)  # it would seed GPUs, too
    again, other = (prepare_run(RunSettings(flip=True, shift=2, seed=seed)) for seed in (0, 1))
    assert torch.equal(next(iter(again.train_iter))[0], X)
    assert torch.equal(again.net[0][0].weight, first.net[0][0].weight)
    assert not torch.equal(other.net[0][0].weight, first.net[0][0].weight)


def test_quick_run_of_the_notebook_is_the_default():
    run, settings = prepare_run(RunSettings()), RunSettings()
    assert settings == RECIPES["quick"] and (len(run.train_iter), len(run.test_iter)) == (94, 16)
    assert (settings.num_epochs, settings.lr, settings.image_size) == (6, 0.05, 28)


def test_recipe_of_the_article_has_its_numbers():
    article = RECIPES["article"]
    assert (article.data, article.image_size, article.batch_size, article.lr, article.num_epochs) == ("full", 96, 256,
                                                                                                      0.05, 10)
    assert (article.optimizer, article.schedule, article.weight_decay, article.flip) == ("SGD", "constant", 0, False)


def test_normalised_training_images_have_mean_0_and_deviation_1():
    run = prepare_run(RunSettings(normalize=True, batch_size=6000))
    X, _ = next(iter(run.train_iter))
    assert X.mean().item() == pytest.approx(0, abs=1e-4) and X.std().item() == pytest.approx(1, abs=1e-4)
    assert prepare_run(RunSettings()).train_iter.images.equal(run.train_iter.images)


def test_held_out_images_are_training_images_that_are_not_trained_on():
    data = d2l.load_fashion_mnist_subset()
    run, other = (prepare_run(RunSettings(held_out=True, seed=seed)) for seed in (0, 1))
    train, held_out = run.train_iter.images, run.test_iter.images
    assert (len(train), len(held_out)) == (5500, 500)
    assert torch.equal(torch.cat((train, held_out)).flatten(1).double().sum(1).sort().values,
                       data.train_images.flatten(1).double().sum(1).sort().values)
    assert torch.equal(other.test_iter.images, held_out)  # whatever the seed
    assert not run.test_iter.shuffle


def test_only_training_images_are_moved():
    run = prepare_run(RunSettings(flip=True, shift=2))
    assert run.train_iter.flip and run.train_iter.shift == 2
    assert not run.test_iter.flip and not run.test_iter.shift


def test_state_brings_a_run_back(few_images, narrow_net):
    run = prepare_run(RunSettings(batch_size=10, optimizer="Adam", schedule="one-cycle", num_epochs=2, flip=True))
    steps = run.fit()
    next(p for p in steps if p.epoch == 1)
    state, drawn = run.state_dict(), torch.rand(3)
    other = prepare_run(RunSettings(batch_size=10, optimizer="Adam", schedule="one-cycle", num_epochs=2, flip=True,
                                    seed=5))
    other.load_state_dict(state)
    assert torch.equal(torch.rand(3), drawn)  # as a net with dropout would
    assert other.optimizer.param_groups[0]["lr"] == run.optimizer.param_groups[0]["lr"]
    assert all(torch.equal(a, b) for a, b in zip(other.net.state_dict().values(), run.net.state_dict().values(),
                                                 strict=True))
    assert torch.equal(next(iter(other.train_iter))[0], next(iter(run.train_iter))[0])


def test_a_run_that_was_brought_back_goes_on_as_the_other_does(few_images, narrow_net):
    """To the end, bit for bit: moments and schedule must have come back too."""
    settings = RunSettings(batch_size=10, optimizer="Adam", schedule="one-cycle", num_epochs=2, precision="float32")
    run, other = prepare_run(settings), prepare_run(replace(settings, seed=5))
    steps = run.fit()
    next(p for p in steps if p.epoch == 1)
    other.load_state_dict(copy.deepcopy(run.state_dict()))
    before = copy.deepcopy(run.net.state_dict())
    list(steps)
    list(other.fit(history=d2l.History(records=[d2l.Progress(1, 0, 1.0, 0.5, 0.5, 0, 1.0)]), resume=True))
    ends = run.net.state_dict()
    assert all(torch.equal(ends[name], weight) for name, weight in other.net.state_dict().items())
    assert not any(torch.equal(ends[name], before[name]) for name in ends)


def test_history_names_the_epochs_that_are_trained(few_images):
    run, history = prepare_run(RunSettings(batch_size=10)), d2l.History()
    list(run.fit(num_epochs=1, history=history))
    assert history.completed and history.config["num_epochs"] == 1 and "1 of 1 epochs" in str(history)
