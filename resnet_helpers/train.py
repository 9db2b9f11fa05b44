"""Train a residual network on Fashion-MNIST from the shell: `python -m resnet_helpers.train --help`."""

import argparse
import itertools
import os
import shlex
import sys
import textwrap
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from tqdm import tqdm

from resnet_helpers.engine.arithmetic import lay_channels_last
from resnet_helpers.history import History, results
from resnet_helpers.runs.background import in_plain_words
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.files import (
    is_special,
    picture_kind,
    picture_obstacle,
    write_obstacle,
    written_whole,
)
from resnet_helpers.runs.processes import is_main_process, process_group
from resnet_helpers.runs.recipes import CHOICES, RECIPES, RunSettings, prepare_run

INTERRUPTED = 130  # what shells answer after Ctrl+C
HELP = {
    "data": "the 7,000 images that come with the package, or all 70,000",
    "image_size": "pixels that the images are resized to",
    "depth": "layers of the network",
    "shortcuts": "residual connections, or a plain network of the same layers",
    "stem": "first convolution; 7x7 has stride 2, the others 1, and all but 3x3 are followed by pooling",
    "normalize": "subtract the mean of the training images, divide by their standard deviation",
    "flip": "mirror training images at random",
    "shift": "move training images at random by up to so many pixels",
    "optimizer": "kind of gradient descent",
    "lr": "learning rate; with a schedule, the highest",
    "weight_decay": "for the weights of convolutions and linear layers",
    "schedule": "how the learning rate changes",
    "label_smoothing": "share of the probability that is taken from the right class and spread over all",
    "batch_size": "images a step, of all processes together",
    "num_epochs": "passes over the training images",
    "seed": "of weights and batches",
    "precision": "arithmetic; auto takes bfloat16 where this machine is much faster in it",
    "sync_batch_norm": "with several processes: batch norm over all of a batch, not each process's part",
    "held_out": "measure accuracy on training images that are held back, not on the test images",
}
EPILOG = """\
Options that are not given are those of the recipe; in brackets, those of quick.
With several processes, for example
  torchrun --nproc-per-node=2 -m resnet_helpers.train --recipe article
each computes on its part of every batch, and the first one prints and saves. On CPUs torchrun lets each use one core;
OMP_NUM_THREADS=4 in front of the command makes it four.
Exit status: 0 trained to the end; 1 failed; 2 wrong options; 130 interrupted.

Recipes:
"""


def options_of(settings, others=None):
    """`RunSettings` as a list of options; without those whose value is the same in `others`, other settings."""
    options = []
    for name, value in asdict(settings).items():
        option = name.replace("_", "-")
        if others is not None and value == getattr(others, name):
            continue
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", str(value)]
    return options


def describe_recipe(name):
    """A recipe as lines of help: its name, and the options that it stands for."""
    options = shlex.join(options_of(RECIPES[name], RECIPES["quick"])) or "what stands in brackets above"
    return textwrap.fill(f"{name:9}{options}", 110, initial_indent="  ", subsequent_indent=11 * " ",
                         break_on_hyphens=False)


def make_parser():
    """The options."""
    epilog = EPILOG + "\n".join(map(describe_recipe, RECIPES))
    parser = argparse.ArgumentParser(prog="python -m resnet_helpers.train", epilog=epilog,
                                     description="Train a residual network on Fashion-MNIST.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, help="settings to begin with, see below (quick)")
    settings = parser.add_argument_group("settings")
    for field in fields(RunSettings):
        choices, text = CHOICES.get(field.name), HELP[field.name]
        kind = (dict(action=argparse.BooleanOptionalAction) if field.type is bool else
                dict(type=field.type, choices=choices, metavar="X"))
        if choices:
            text += f": {', '.join(map(shlex.quote, map(str, choices)))}"
        text += f" [{field.default}]"
        settings.add_argument(f"--{field.name.replace('_', '-')}", default=argparse.SUPPRESS, help=text, **kind)
    files = parser.add_argument_group("files")
    files.add_argument("--root", metavar="FOLDER", help="where the full data set is (see README)")
    files.add_argument("--checkpoint", type=Path, metavar="FILE", help="after every epoch, write all that is needed to "
                       "go on to FILE")
    files.add_argument("--resume", action="store_true", help="go on from the checkpoint, if it is there; "
                       "with its settings, which stay as they are")
    files.add_argument("--history", type=Path, metavar="FILE", help="write what was measured to FILE (JSON)")
    files.add_argument("--picture", type=Path, metavar="FILE", help="draw the curves in FILE (.png, .svg, .pdf)")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, cuda:1, mps, ... (a GPU if there is one)")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something goes wrong")
    return parser


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    given = {field.name: getattr(options, field.name) for field in fields(RunSettings) if hasattr(options, field.name)}
    try:
        settings = replace(RECIPES[options.recipe or "quick"], **given)
    except ValueError as error:
        parser.error(str(error))
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint FILE, the file to go on from")
    if is_main_process():
        check_files(options, parser)
    try:
        with process_group(options.device) as group:
            history = train(settings, options, group, asked=given if options.recipe is None else asdict(settings))
    except KeyboardInterrupt:
        history = None
    except Exception as error:  # a person at a shell wants to know what went wrong, not where in this package
        print(f"{parser.prog}: error: {in_plain_words(error)}", file=sys.stderr)
        return 1
    if history is None or not history.completed:
        is_kept = options.checkpoint and options.checkpoint.exists()
        kept = f"; --resume goes on from {options.checkpoint}" if is_kept else ""
        if is_main_process():
            print(f"{parser.prog}: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    return 0


def device_name(text):
    """The name of a device, checked; for `argparse`."""
    try:
        return str(torch.device(text))
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"no device is called {text!r}; try cpu, cuda, cuda:1 or mps") from None


def check_files(options, parser):
    """End with status 2 and advice if a file surely cannot be written, or a checkpoint would be lost by it."""
    if options.checkpoint and os.path.exists(options.checkpoint) and not options.resume:
        parser.error(f"{options.checkpoint} is there already: add --resume to go on from it, or name another file")
    checks = ((options.checkpoint, write_obstacle), (options.history, write_obstacle),
              (options.picture, picture_obstacle))
    for path, find_obstacle in checks:
        if path and (obstacle := find_obstacle(path)):
            parser.error(obstacle)
    paths = [path for path, _ in checks if path]
    for path, other in itertools.combinations(paths, 2):
        if os.path.realpath(path) == os.path.realpath(other) and not is_special(path):
            parser.error(f"{path} cannot hold two things: name a file for each")


def train(settings, options, group, asked):
    """Train, print, and write the files that `options` name; returns the `History`.

    Args:
        asked: settings, as {name: value}, that a checkpoint must not contradict.
    """
    checkpoint = load_checkpoint(options.checkpoint) if options.resume and options.checkpoint.exists() else None
    if checkpoint:
        settings = checkpoint.settings
        others = [f"{name}={getattr(settings, name)!r}, not {value!r}" for name, value in asked.items()
                  if getattr(settings, name) != value]
        if others:
            raise ValueError(f"{options.checkpoint} was trained with {'; '.join(others)}. Leave out the options that "
                             f"differ, or begin anew with another file")
    steps = checkpoint.history.records[-1].step if checkpoint and checkpoint.history.records else 0
    group.check_agreement(settings, steps)
    run = prepare_run(settings, group.device, options.root)
    history = History()
    if checkpoint:
        try:
            run.load_state_dict(checkpoint.state)
        except ValueError as error:
            raise ValueError(f"{options.checkpoint} cannot be gone on from: {error}") from None
        history = checkpoint.history
    report = Report(run, history, options, group)
    if history.completed:
        report.say("This run was complete already.")
        report.save(checkpoint=False)
    else:
        if options.resume and not checkpoint:
            report.say(f"{options.checkpoint} is not there (yet): beginning with the first epoch")
        report.train()
    if history.records:
        report.say(results(history))
    if history.examples_per_second:
        report.say(f"{history.examples_per_second:.1f} examples/sec on {group.device}")
    if history.completed and report.unwritten:
        again = " and run this again with --resume" if options.checkpoint else ""
        raise OSError(f"the training is complete, but could not be written to {', '.join(map(str, report.unwritten))}. "
                      f"Make room there{again}")
    return history


class Report:
    """A run that tells on the screen and in files how it goes."""

    def __init__(self, run, history, options, group):
        self.run, self.history, self.options, self.group = run, history, options, group
        self.is_quiet, self.next_picture = options.quiet or not group.is_main, 0.0
        self.written, self.unwritten = {}, []  # {file: epoch that it holds}; files that the last attempt did not reach

    def train(self):
        """The loop: one line, and new files, after every epoch."""
        run, history, group = self.run, self.history, self.group
        precision = group.choose_precision(run.settings.precision)
        if group.world_size > 1 and precision == "bfloat16":
            lay_channels_last(run.net)  # as `fit` does, but before DDP lays out its gradients
        net = group.wrap(run.net, run.settings.sync_batch_norm)
        batches = [batches.share(group.rank, group.world_size) for batches in (run.train_iter, run.test_iter)]
        done = history.records[-1].examples if history.records else 0
        images = run.settings.num_epochs * len(run.train_iter.images)
        processes = f", {group.world_size} processes" if group.world_size > 1 else ""
        again = f", going on after epoch {history.records[-1].epoch:.0f}" if history.records else ""
        with tqdm(total=images, initial=done, unit=" images", leave=False,
                  disable=True if self.is_quiet else None) as bar:  # None: not where nobody looks, as in a file
            self.say(f"training {run.settings.model} on {group.device}{processes}{again}")
            progress = run.fit(net=net, train_iter=_Counted(batches[0], bar, group.world_size), test_iter=batches[1],
                               history=history, resume=bool(history.records), precision=precision,
                               all_reduce=group.all_reduce if group.world_size > 1 else None)
            history.config["processes"] = group.world_size
            for p in progress:
                if p.test_acc is not None:
                    self.say(f"epoch {p.epoch:.0f} of {run.settings.num_epochs}: loss {p.train_loss:.3f}, train acc "
                             f"{p.train_acc:.3f}, {history.tested_on} acc {p.test_acc:.3f}, "
                             f"{history.examples_per_second:.1f} examples/sec")
                    self.save()
        if group.is_main and history.records and not history.completed:
            self._draw(in_any_case=True)

    def save(self, checkpoint=True):
        """Write the files, if this is the process that does; the checkpoint first, as it is worth the most.

        What could be written before need not stop the training when it no longer can: it is told, and tried again
        after the next epoch.

        Args:
            checkpoint: write it too.

        Raises:
            OSError: a file could not be written, and never could.
        """
        self.unwritten = []
        if not self.group.is_main:
            return
        if self.options.checkpoint and checkpoint:
            self._write(self.options.checkpoint, lambda path: save_checkpoint(path, self.run, self.history))
        if self.options.history:
            self._write(self.options.history, self.history.save)
        self._draw(in_any_case=self.history.completed)

    def _draw(self, in_any_case):
        """Draw the curves; if not in any case, then only as often as takes 1% of the time."""
        path, begin = self.options.picture, time.perf_counter()
        if path and (in_any_case or begin >= self.next_picture):
            self._write(path, lambda path: draw(self.history, path))
            end = time.perf_counter()
            self.next_picture = begin if path in self.unwritten else end + 99 * (end - begin)

    def _write(self, path, write):
        try:
            write(path)
            self.written[path] = f"{self.history.records[-1].epoch:.0f}"
        except Exception as error:  # whatever it is: a picture that cannot be drawn is no reason to lose weights
            failure = f"could not write {path}: {getattr(error, 'strerror', None) or in_plain_words(error)}"
            if path not in self.written:
                raise OSError(f"{failure}. Name another file, or make it possible to write this one") from error
            self.unwritten.append(path)
            again = "" if self.history.completed else "; trying again after the next epoch"
            tqdm.write(f"{failure}; what epoch {self.written[path]} left there stays{again}", file=sys.stderr)

    def say(self, line):
        """Print, above the progress bar."""
        if not self.is_quiet:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()


def draw(history, path):
    """The curves of a run as a picture file; its name's ending says which kind."""
    from resnet_helpers.plotting import RUN_CURVES, Animator
    legend = (*RUN_CURVES[:2], f"{history.tested_on} acc")
    animator = Animator(xlabel="epoch", xlim=[0, history.config["num_epochs"]], legend=legend)
    for p in history.records:
        animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))
    with written_whole(path) as temporary:
        animator.savefig(temporary, format=picture_kind(path))


class _Counted:
    """Batches that move a progress bar on."""

    def __init__(self, batches, bar, world_size):
        self.batches, self.bar, self.world_size = batches, bar, world_size

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for X, y in self.batches:
            yield X, y
            self.bar.update(self.world_size * len(y))


if __name__ == "__main__":
    sys.exit(main())
