"""The article's training function: `fit`, watched through an `Animator`."""

from resnet_helpers.history import History, results
from resnet_helpers.plotting import RUN_CURVES, Animator, notebook_shell
from resnet_helpers.training import finish_lazy_layers, fit, init_weights, try_gpu


def train_ch6(net, train_iter, test_iter, num_epochs, lr, device=None, *, precision="auto"):
    """Train `net` from Xavier-uniform weights by plain SGD, drawing the curves as it goes.

    Prints `training on DEVICE`, plots training loss and accuracy five times an epoch and test
    accuracy once, and ends with two lines: the results, and the training examples per second of
    wall-clock time. That counts fetching the batches too, which the article's figure leaves out.
    The stop button ends it early; curves, weights and history stay. In a script the curves are
    pyplot's current figure afterwards: `plt.show()` shows it.

    Args:
        net: any module that maps X to logits (n, classes).
        train_iter, test_iter: iterables of (X, y), each gone through once an epoch.
        num_epochs: passes over the training data.
        lr: learning rate.
        device: where to train; None means `try_gpu()`.
        precision: as for `fit`.

    Returns:
        The run's `History`.

    Raises:
        ValueError, NonFiniteLossError: as `fit`.
    """
    device = try_gpu() if device is None else device
    train_iter = finish_lazy_layers(net.to(device), train_iter, device)
    net.apply(init_weights)
    print("training on", device)
    animator = Animator(xlabel="epoch", xlim=[1, num_epochs], legend=RUN_CURVES,
                        in_pyplot=notebook_shell() is None)
    history = History()
    try:
        for p in fit(net, train_iter, test_iter, num_epochs, lr, device, history=history,
                     precision=precision):
            animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))
    except KeyboardInterrupt:
        # it came while the curves were being drawn; `fit` handles one that comes while it computes
        pass
    finally:
        animator.draw()
    if not history.completed:
        done = history.records[-1].epoch if history.records else 0
        print(f"stopped early; last measured after {done:.3g} of {num_epochs} epochs")
    if history.records:
        print(results(history))
        print(f"{history.examples_per_second:.1f} examples/sec on {device}")
    return history
