"""The exercises of notebook 4: what guessing gives, loops, and runs of the reader's own."""

import math
import time
from dataclasses import asdict

import torch
from torch import nn

from resnet_helpers.check import loops
from resnet_helpers.check.verdicts import (
    Open,
    Wrong,
    choose,
    close,
    exercise,
    expect_arguments,
    expect_function,
    expect_number,
    expect_tensor,
    kind_of,
)
from resnet_helpers.data import FASHION_MNIST_CLASSES, load_data_fashion_mnist
from resnet_helpers.errors import NonFiniteLossError
from resnet_helpers.history import History
from resnet_helpers.models import count_parameters, resnet18
from resnet_helpers.runs.recipes import RECIPES
from resnet_helpers.training import evaluate_accuracy_gpu, fit

QUICK = RECIPES["quick"]
CLASSES = len(FASHION_MNIST_CLASSES)

# --- what guessing gives ---

ROUND_UP = "the full batches leave {} images over. They are a batch, too: round up."
NO_PART = "there is no part of a step: the last batch is smaller, and a step all the same."
FULL_SET = "that is for all 60,000 images. The subset has 6,000 to train on."
NUMBERS = {  # name -> (right, what to say about any other number, {number: (code, what it is)})
    "accuracy": (0.1, "in how many of ten cases is a guess right, if all are as likely?", {
        10: ("in_percent", "that is in percent. An accuracy is a share, between 0 and 1."),
        0.9: ("error_rate", "that is how often a guess is wrong."),
        0.5: ("two_outcomes", "right and wrong are two outcomes, but not equally likely ones."),
    }),
    "loss": (math.log(10), "it is -log p, the natural logarithm. Which p has the right class?", {
        1: ("base_10", "that is the logarithm to base 10. Take the natural one, math.log."),
        math.log2(10): ("base_2", "that is the logarithm to base 2. Take math.log."),
        math.log(0.1): ("sign_missing", "log p is negative, and the loss is minus that."),
        0.1: ("no_logarithm", "that is p of the right class. The loss is minus its logarithm."),
    }),
    "steps_64": (94, "how many times 64 images are 6,000?", {
        93: ("rounded_down", ROUND_UP.format(48)),
        93.75: ("part_of_step", NO_PART),
        24: ("other_batch_size", "that is for batches of 256."),
        938: ("full_set", FULL_SET),
    }),
    "steps_256": (24, "how many times 256 images are 6,000?", {
        23: ("rounded_down", ROUND_UP.format(112)),
        23.4375: ("part_of_step", NO_PART),
        94: ("other_batch_size", "that is for batches of 64."),
        235: ("full_set", FULL_SET),
    }),
    "row_sum": (100, "a row holds every test image of one true class. How many are there?", {
        1000: ("whole_matrix", "that is the whole matrix. A row holds those of one class."),
        600: ("training_images", "those are training images. The matrix counts test images."),
    }),
}


@exercise(4, "what guessing gives", hints=(
    "accuracy and loss: each class gets the probability 1/10, the right one too, and the loss is "
    "minus the natural logarithm of what the right one gets.",
    "steps: one per batch, and the last batch may be smaller: it is a batch all the same. Section "
    "4.1 prints the number of batches of 64.",
    "row_sum: a row of the confusion matrix holds all test images of one class. The subset has "
    "1,000 test images, the same number of each of the ten classes.",
))
def chance_level(numbers):
    """A dict with the numbers accuracy, loss, steps_64, steps_256 and row_sum."""
    keys = ", ".join(NUMBERS)
    if not isinstance(numbers, dict):
        raise Wrong("no_dict", f"the answer must be a dict with the keys {keys}.")

    def is_like(answer, value):
        return math.isclose(answer, value, rel_tol=2e-3)  # 2.3 is 2.303, but 93.75 is not 94

    for name, (right, otherwise, mistakes) in NUMBERS.items():
        if numbers.get(name, ...) is ...:
            raise Wrong("no_answer", f"{name!r} has no answer yet: the dict needs {keys}.")
        answer = expect_number(numbers[name], f"{name!r}")
        for value, (code, text) in mistakes.items():
            if is_like(answer, value):
                raise Wrong(code, f"{name}: {text}")
        if not is_like(answer, right):
            raise Wrong(f"wrong_{name}", f"{name}: {otherwise}")
    return ("right. A uniform guess has an accuracy of 0.1 and a loss of 2.303: compare each run "
            "with that. An epoch is 94 steps with batches of 64, but only 24 with 256; and a "
            "number in the confusion matrix is one of 100 images.")


# --- mend the training loop ---

FAULTS = ["no_zero_grad", "eval_mode_missing", "no_grad_missing"]  # what the notebook comes with
LOOP_RUNS = ((2, 0.1, True), (3, 0.2, False))  # epochs, learning rate, net passed in train mode?


@exercise(4, "mend the training loop", hints=(
    "Compare it with the five lines of a step and with the evaluation function (sections 4.2 and "
    "4.3). Three things are missing, and none of them raises an error.",
    "One of them belongs to the five lines. The other two are what evaluate_accuracy_gpu does "
    "before its loop; and one of those has to be undone before the next epoch trains.",
    "optimizer.zero_grad() before backward; net.eval() and torch.no_grad() around the evaluation; "
    "net.train() at the start of each epoch, inside the loop.",
))
def mend_training_loop(train):
    """A function that trains and returns (train loss, train accuracy, test accuracy) per epoch."""
    expect_function(train, "net", "train_iter", "test_iter", "num_epochs", "lr")
    for seed, (num_epochs, lr, in_train_mode) in enumerate(LOOP_RUNS):
        net, right_net = (_net_to_train(seed).train(in_train_mode) for _ in range(2))
        arguments = net.data["training"], net.data["test"], num_epochs, lr
        results = net.watch(train, *arguments)
        loops.expect_order(net, num_epochs)
        faults = loops.training_faults(net)
        if [code for code, _ in faults] == FAULTS:
            raise Open("all three faults are still there. Mend them where they stand, run that "
                       "cell again, and then this one.")
        if faults:
            code, text = faults[0]
            raise Wrong(code, f"{len(FAULTS) - len(faults)} of {len(FAULTS)} mended. {text}")
        loops.expect_train_mode(net)
        epochs = loops.reference_loop(right_net, *arguments)
        loops.expect_weights(net, right_net.weights())
        loops.expect_results(results, epochs)
    return ("all three mended. The weights move exactly as with fresh gradients in every step, the "
            "test batches are answered in eval mode and without a graph, and each epoch trains in "
            "train mode again.")


def _net_to_train(seed):
    """A `Probe` with batches whose classes can be learnt, but not all of them at once."""
    generator = torch.Generator().manual_seed(seed)
    data = {"training": loops.Batches(), "test": loops.Batches()}
    for name, sizes in (("training", (8, 8, 3)), ("test", (7, 7, 4))):
        for size in sizes:
            X = torch.randn(size, 4, generator=generator)
            noise = torch.randn(size, 3, generator=generator)
            data[name].append((3 * X + 2, (X[:, :3] + 0.5 * noise).argmax(dim=1)))
    return loops.Probe(3, seed, **data)


# --- write the evaluation ---

CORRECT = (((2, 9), (9, 10), (3, 4)), ((7, 9), (1, 5)))  # right answers and size of each batch


@exercise(4, "write the evaluation", hints=(
    "Before the loop: eval mode. Around the loop: no gradients. In the loop: count right answers "
    "and images, with `+=`. After it: one division.",
    "net(X).argmax(dim=1) are the predicted classes of a batch; (predicted == y).sum().item() is "
    "how many are right; len(y) is how many there are.",
))
def evaluate_accuracy(my_accuracy):
    """A function of (net, data_iter) that gives the share of right answers."""
    expect_function(my_accuracy, "net", "data_iter")
    for seed, counts in enumerate(CORRECT):
        net = _net_to_evaluate(seed, counts)
        try:
            answer = net.watch(my_accuracy, net.data["test"])
        except RuntimeError as error:
            if "size of tensor a" not in str(error):
                raise
            raise Wrong("shapes_differ",
                        "predictions and labels of a batch differ in shape: logits are (images, "
                        "classes), so argmax(dim=1) gives a class for each image.") from None
        loops.expect_passes(net)
        for code, message in loops.evaluation_faults(net):
            raise Wrong(code, message)
        answer = expect_number(answer, "what your function returns")
        if answer == 0:
            raise Wrong("none_right",
                        "no answer counts as right. Are class numbers compared with y, from "
                        "argmax(dim=1)? And is it divided with `/`, not `//`?")
        correct, sizes = torch.tensor(counts, dtype=torch.float64).T
        loops.expect_average(answer, correct, sizes, "the accuracy")
    return ("right, with batches of any size: eval mode, no graph, and correct / total over all "
            "images. A mean of the batches' accuracies would have weighed the images of a small "
            "last batch too much.")


def _net_to_evaluate(seed, counts):
    """A `Probe` with test batches, of which it gets these numbers right in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    net = loops.Probe(CLASSES, seed, test=loops.Batches()).eval()
    for correct, size in counts:
        X = torch.randn(size, 4, generator=generator)
        predicted = net(X).argmax(dim=1)
        is_right = torch.arange(size) < correct
        net.data["test"].append((X, torch.where(is_right, predicted, (predicted + 1) % CLASSES)))
    net.passes.clear()
    return net.train()


# --- a quick run of the reader's own ---

MIN_TEST_ACC = 0.80  # the quick run ends near 0.88; the notebook asserts the same
LINEAR = ("LinearLR", "PolynomialLR", "LambdaLR")  # schedulers that can fall in a straight line


@exercise(4, "a quick run of your own", hints=(
    "Take the two cells of section 4.5 as a pattern; you need no Animator: `for p in d2l.fit(...): "
    "pass` trains.",
    "d2l.fit(net, train_iter, test_iter, num_epochs, optimizer=optimizer, scheduler=scheduler, "
    "history=my_history), with my_history = d2l.History() made before, and total_iters = "
    "num_epochs * len(train_iter) for the scheduler.",
))
def quick_run(history):
    """The `History` of a run with the settings of section 4.5."""
    how = ("d2l.fit trains only while somebody goes through it: `for p in d2l.fit(..., "
           "history=my_history): pass`, with my_history = d2l.History() made before.")
    if not isinstance(history, History):
        raise Wrong("no_history",
                    f"the answer must be a d2l.History, got {kind_of(history)}. {how}")
    if not history.records:
        raise Wrong("nothing_recorded", f"nothing is recorded in this history. {how}")
    _expect_settings(history.config)
    if not history.completed:
        raise Wrong("stopped_early",
                    f"the run was stopped after {history.records[-1].epoch:.3g} of "
                    f"{QUICK.num_epochs} epochs. Let it come to its end.")
    _expect_batches(history)
    _expect_curve(history)
    gap = history.train_acc - history.test_acc
    return (f"the curve of the quick run: test accuracy {history.test_acc:.3f} after "
            f"{QUICK.num_epochs} epochs, training loss {history.train_loss:.3f}. Train accuracy is "
            f"{gap:.3f} above test accuracy: the network does better on images it has trained on.")


def _expect_settings(config):
    """Wrong unless the settings that `fit` or a `PreparedRun` noted are those of the quick run."""
    expected = {**asdict(QUICK), "parameters": _parameters_of_resnet18(), "momentum": 0}
    for name, value in expected.items():
        if name not in ("seed", "precision") and config.get(name, value) != value:
            raise Wrong(f"other_{name}",
                        f"the run had {name}={config[name]!r}; section 4.5 has {name}={value!r}.")
    if config.get("scheduler") not in LINEAR:
        raise Wrong("other_scheduler",
                    f"the scheduler was {config.get('scheduler')}. Pass a LinearLR as scheduler= "
                    f"to d2l.fit, with optimizer=: the weights come to rest as the rate falls.")


def _parameters_of_resnet18():
    with torch.device("meta"):  # counts without making the weights
        return count_parameters(resnet18())


def _expect_batches(history):
    """Wrong unless it trained on the subset, in batches of the right size, and was tested."""
    train_iter, _ = load_data_fashion_mnist(QUICK.batch_size, subset=True)
    last = history.records[-1]
    images, steps = last.examples / QUICK.num_epochs, last.step / QUICK.num_epochs
    if images != len(train_iter.images):
        raise Wrong("other_num_images",
                    f"an epoch had {images:,g} images, not {len(train_iter.images):,}. Train on "
                    f"those of d2l.load_data_fashion_mnist({QUICK.batch_size}, subset=True).")
    if steps != len(train_iter):
        raise Wrong("other_batch_size",
                    f"an epoch had {steps:g} steps; the quick run has {len(train_iter)}, with "
                    f"batches of {QUICK.batch_size}. With few steps batch norm's running averages "
                    f"lag behind (section 4.4).")
    if history.test_acc is None:
        raise Wrong("no_test_accuracy",
                    "there is no test accuracy: pass test_iter to d2l.fit, after train_iter.")


def _expect_curve(history):
    """Wrong unless the loss has fallen and the test accuracy risen as they should."""
    first = next(record.train_loss for record in history.records if record.epoch >= 1)
    loss, test_acc = history.train_loss, history.test_acc
    if not loss < 0.5 * first:
        raise Wrong("loss_does_not_fall",
                    f"the training loss was {first:.3f} after epoch 1 and {loss:.3f} at the end, "
                    f"not less than half. Did the learning rate reach zero too early? total_iters "
                    f"of LinearLR counts steps ({history.records[-1].step}), not epochs.")
    if test_acc > history.train_acc:
        raise Wrong("tested_on_training_images",
                    f"the test accuracy {test_acc:.3f} is above the train accuracy "
                    f"{history.train_acc:.3f}. Were the training images passed in both places?")
    if not test_acc >= MIN_TEST_ACC:
        raise Wrong("low_test_accuracy",
                    f"the training loss falls as it should, but the test accuracy is "
                    f"{test_acc:.3f}, not {MIN_TEST_ACC:.2f} or more. Did the learning rate really "
                    f"fall to zero? (LinearLR needs 1.0, 0.0, total_iters and your optimizer.)")


# --- a small net ---

MAX_PARAMETERS, GOAL, SECONDS = 300_000, 0.85, 120


@exercise(4, "a small net", seconds=SECONDS, hints=(
    "Most parameters of ResNet-18 are in its last modules: a 3x3 convolution from 512 to 512 "
    "channels alone has more than two million. Half the channels are a quarter of the parameters.",
    "Keep what makes it learn fast: batch norm after each convolution, shortcuts, global average "
    "pooling before the one linear layer. And do not shrink images of 28 pixels as fast as the 7x7 "
    "stem does.",
    "A 3x3 stem with 16 channels and pooling, then modules of 16, 32 and 64 channels: "
    "d2l.resnet_block(16, 16, 2, first_block=True), d2l.resnet_block(16, 32, 2), "
    "d2l.resnet_block(32, 64, 2).",
))
def small_net(make_net):
    """A class or function that makes a net; it is trained with the settings of the quick run."""
    start = time.monotonic()
    train_iter, test_iter = load_data_fashion_mnist(QUICK.batch_size, subset=True)
    net = _call_maker(make_net)
    _expect_logits(net, next(iter(train_iter))[0])
    num_parameters = _expect_few_parameters(net)
    untrained = evaluate_accuracy_gpu(net, test_iter)
    if untrained > 0.5:
        raise Wrong("trained_before",
                    f"before the first step the net already has a test accuracy of "
                    f"{untrained:.3f}. It must be made anew, with random weights, at each call.")
    history = _train_quickly(net, train_iter, test_iter, start)
    text = f"test accuracy {history.test_acc:.3f} with {num_parameters:,} parameters"
    if not history.test_acc >= GOAL:
        code, advice = _advice(net, history.train_acc)
        raise Wrong(code, f"{text}: {GOAL - history.test_acc:.3f} short of {GOAL:.2f}. {advice}")
    return (f"{text}, after {QUICK.num_epochs} epochs. ResNet-18 has "
            f"{_parameters_of_resnet18() / num_parameters:.0f} times as many parameters: for "
            f"images this small and this few, most of them are not needed.")


def _call_maker(make_net):
    """A net of the reader's, with fresh weights."""
    if isinstance(make_net, nn.Module) or not callable(make_net):
        raise Wrong("no_class_or_function",
                    f"the answer must be a class derived from nn.Module or a function that returns "
                    f"a net, without brackets behind its name; got {kind_of(make_net)}.")
    expect_arguments(make_net, "it must be possible to make the net without arguments",
                     advice=" Give them default values.")
    torch.default_generator.manual_seed(QUICK.seed)
    net = make_net()
    if not isinstance(net, nn.Module):
        raise Wrong("no_module", f"your function must return an nn.Module, got {kind_of(net)}.")
    return net.to("cpu")


def _expect_logits(net, images):
    """Wrong unless the net turns batches of images of any number into logits."""
    net.eval()
    for X in (images, images[:len(images) // 2]):
        try:
            with torch.no_grad():
                Y = net(X)
        except RuntimeError as error:
            raise Wrong("does_not_run",
                        f"your net cannot take a batch of shape {tuple(X.shape)}: {error}. Print "
                        f"the shape after each layer, as in notebook 3.") from None
        expect_tensor(Y, (len(X), CLASSES), "your net")
    if (Y >= 0).all() and close(Y.sum(dim=1), torch.ones(len(Y))):
        raise Wrong("softmax_at_end",
                    "each row of your net's output adds up to 1, so there is a softmax at its end. "
                    "Leave it out: cross-entropy takes logits, and learns slowly from these.")


def _expect_few_parameters(net):
    """Their number; Wrong if there are too many, or some that the net does not know of."""
    known = set(net.modules())
    for module in known:
        for name, value in vars(module).items():
            layers = value if isinstance(value, (list, tuple)) else ()
            if any(isinstance(layer, nn.Module) and layer not in known for layer in layers):
                raise Wrong("plain_container",
                            f"{name} holds layers in a plain {type(value).__name__}, where they "
                            f"are not trained. Use nn.Sequential or nn.ModuleList.")
    num_parameters = count_parameters(net)
    if num_parameters >= MAX_PARAMETERS:
        name, largest = max(net.named_parameters(), key=lambda pair: pair[1].numel())
        raise Wrong("too_many_parameters",
                    f"your net has {num_parameters:,} parameters, and must have fewer than "
                    f"{MAX_PARAMETERS:,}. Most of them at one place are in {name}, "
                    f"{tuple(largest.shape)}: {largest.numel():,}.")
    return num_parameters


def _train_quickly(net, train_iter, test_iter, start):
    """The `History` of the quick run with this net; the check began at `start`."""
    torch.default_generator.manual_seed(QUICK.seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=QUICK.lr)
    steps = QUICK.num_epochs * len(train_iter)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    history = History()
    try:
        for _ in fit(net, train_iter, test_iter, QUICK.num_epochs, optimizer=optimizer,
                     scheduler=scheduler, history=history, precision="float32"):
            pass
    except NonFiniteLossError:
        raise Wrong("loss_not_finite",
                    f"the loss became infinite or not a number, with a learning rate of "
                    f"{QUICK.lr:g}. Batch norm after each convolution helps.") from None
    except KeyboardInterrupt:  # `fit` ends quietly on most of them
        pass
    if history.completed:
        return history
    if time.monotonic() - start < SECONDS - 1:
        raise KeyboardInterrupt  # the stop button, not the time limit
    epoch = history.records[-1].epoch if history.records else 0
    raise Wrong("too_slow",
                f"after {SECONDS} seconds it had come to epoch {epoch:.1f} of {QUICK.num_epochs} "
                f"and was stopped. Few parameters do not mean little work: halve height and width "
                f"early, by pooling or a stride of 2, and what follows takes a quarter of it.")


def _advice(net, train_acc):
    """(code, message): why the test accuracy may be too low, and what to try."""
    def has(*kinds):
        return any(isinstance(module, kinds) for module in net.modules())

    if not has(nn.Conv2d):
        return "no_convolution", ("Without a convolution it cannot use that neighbouring pixels "
                                  "belong together.")
    if not has(nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm):
        return "no_batch_norm", ("Batch norm after each convolution would let it learn much faster "
                                 "in so few epochs.")
    if train_acc < GOAL + 0.02:
        return "underfits", (f"On the training images it reaches only {train_acc:.3f}: it can do "
                             f"too little. More channels, or less shrinking at the start?")
    return "overfits", (f"On the training images it reaches {train_acc:.3f}, so it fits those "
                        f"better than new ones. Fewer parameters in linear layers (global average "
                        f"pooling before the last one) help against that.")


# --- five questions ---

QUESTIONS = {
    "1": ("b", {
        "a": "Whoever has learnt images by heart still does better than chance on new ones. And "
             "once the averages had caught up, the same weights recognised most test images "
             "(section 4.4).",
        "b": "In eval mode batch norm uses running averages, which follow the weights slowly: "
             "after few steps they describe a network that no longer exists.",
        "c": "Test and training images are of one kind. In section 4.4 neither they nor the "
             "weights changed, and the accuracy rose.",
    }),
    "2": ("c", {
        "a": "It runs without any error, which is what makes this mistake hard to find.",
        "b": "backward does not overwrite: it adds to the gradients that are there.",
        "c": "backward adds to what is there, so old gradients, of weights that have changed "
             "since, count in every step.",
    }),
    "3": ("a", {
        "a": "Among many settings, some do well on just these images by luck. Choosing by them "
             "picks the luck as well, and the number no longer says how the network does on new "
             "images. Images held out of the training set are for choosing.",
        "b": "A large test set makes the number less noisy, but a choice by it is still a choice "
             "by the images meant for the last exam.",
        "c": "Eval mode is right for measuring, whatever the number is used for.",
    }),
    "4": ("b", {
        "a": "The loss has no upper end: a network that is sure, and wrong, has a larger one.",
        "b": "It is the loss of a uniform guess: on average over the logarithms, the right class "
             "gets a probability of a tenth. A network with random weights does no better: mostly "
             "worse, since it is sure of something.",
        "c": "The loss does not count wrong answers: it measures the right class's probability.",
    }),
    "5": ("a", {
        "a": "Overfitting shows on new images, while the training images are fitted well. Here "
             "the deeper network fits the training images themselves less well, although it could "
             "compute all that the shallower one does: it is harder to train.",
        "b": "Look at the table again: its test accuracy is below its training accuracy, as it "
             "is for all four. And that comparison says nothing about depth.",
        "c": "It has more: sixteen more layers have weights of their own.",
    }),
}


@exercise(4, "five questions about training", hints=(
    "Section 4.4 for question 1, 4.3 for 2, 4.2 for 4, and the table of 4.8 for 5.",
    "Question 3: what is the test set for, and what is left of that once it has been used to "
    "choose?",
))
def training_questions(answers):
    """Letters for questions 1 to 5."""
    return choose(answers, QUESTIONS)
