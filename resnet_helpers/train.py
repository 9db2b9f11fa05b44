"""Train a residual network on Fashion-MNIST: `python -m resnet_helpers.train --help`."""

import argparse
import os
import shlex
import sys
import textwrap
from dataclasses import asdict, fields, replace
from pathlib import Path

from tqdm import tqdm

from resnet_helpers.engine.arithmetic import lay_channels_last
from resnet_helpers.history import History, results
from resnet_helpers.runs.background import WatchedBatches, in_plain_words
from resnet_helpers.runs.checkpoints import load_checkpoint, save_checkpoint
from resnet_helpers.runs.files import (
    is_special,
    picture_kind,
    picture_obstacle,
    write_obstacle,
    written_whole,
)
from resnet_helpers.runs.processes import is_main_process, process_group
from resnet_helpers.runs.recipes import RECIPES, RunSettings, prepare_run

INTERRUPTED = 130  # what shells answer after Ctrl+C
EPILOG = """\
Options that are not given are those of the recipe; in brackets, those of quick.
With several processes, for example
  torchrun --nproc-per-node=2 -m resnet_helpers.train --recipe article
each computes on its part of every batch, and the first one prints and saves. On CPUs torchrun
lets each use one core; OMP_NUM_THREADS=4 in front of the command makes it four.
Exit status: 0 trained to the end; 1 failed; 2 wrong options; 130 interrupted.

Recipes:
"""


# --- options ---

def options_of(settings, others=None):
    """`RunSettings` as a list of options, without those of the same value in `others`."""
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
    options = shlex.join(options_of(RECIPES[name], RECIPES["quick"]))
    return textwrap.fill(
        f"{name:9}{options or 'what stands in brackets above'}", initial_indent="  ",
        subsequent_indent=11 * " ", width=100, break_on_hyphens=False)


def add_setting(group, setting):
    """Add the option for a field of `RunSettings` to a group of a parser."""
    choices, text = setting.metadata["choices"], setting.metadata["help"]
    if choices:
        text += f": {', '.join(map(shlex.quote, map(str, choices)))}"
    kind = {"type": setting.type, "choices": choices, "metavar": "X"}
    if setting.type is bool:
        kind = {"action": argparse.BooleanOptionalAction}
    group.add_argument(f"--{setting.name.replace('_', '-')}", default=argparse.SUPPRESS,
                       help=f"{text} [{setting.default}]", **kind)


def training_parser():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_helpers.train",
        description="Train a residual network on Fashion-MNIST.",
        epilog=EPILOG + "\n".join(map(describe_recipe, RECIPES)),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, help="settings to begin with, see below")
    settings = parser.add_argument_group("settings")
    for setting in fields(RunSettings):
        add_setting(settings, setting)
    files = parser.add_argument_group("files, written after every epoch")
    files.add_argument("--checkpoint", type=Path, metavar="FILE", help="all that --resume needs")
    files.add_argument("--resume", action="store_true",
                       help="go on from the checkpoint, if it is there, with its settings")
    files.add_argument("--history", type=Path, metavar="FILE", help="what was measured (JSON)")
    files.add_argument("--picture", type=Path, metavar="FILE", help="curves (.png, .svg, .pdf)")
    parser.add_argument("--root", metavar="FOLDER", help="where the full data set is (see README)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (a GPU if there is one)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but what goes wrong")
    return parser


def expect_files(options, parser):
    """End with status 2 and advice if the files surely cannot be written, or one would be lost."""
    if options.checkpoint and os.path.exists(options.checkpoint) and not options.resume:
        parser.error(f"{options.checkpoint} is there already: add --resume to go on from it, or "
                     f"name another file")
    places = []
    for path in filter(None, (options.checkpoint, options.history, options.picture)):
        obstacle_to = picture_obstacle if path == options.picture else write_obstacle
        if obstacle := obstacle_to(path):
            parser.error(obstacle)
        if os.path.realpath(path) in places and not is_special(path):
            parser.error(f"{path} cannot hold two things: name a file for each")
        places.append(os.path.realpath(path))


# --- a run ---

def main(arguments=None):
    """The command line; returns the exit status."""
    parser = training_parser()
    options = parser.parse_args(arguments)
    given = {name: value for name, value in vars(options).items()
             if name in RunSettings.__dataclass_fields__}
    try:
        settings = replace(RECIPES[options.recipe or "quick"], **given)
    except ValueError as error:
        parser.error(str(error))
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint FILE, the file to go on from")
    if is_main_process():
        expect_files(options, parser)
    asked = asdict(settings) if options.recipe else given
    is_complete = False
    try:
        with process_group(options.device) as group:
            is_complete = train_and_report(settings, options, group, asked).completed
    except KeyboardInterrupt:
        pass
    except Exception as error:  # a shell wants to know what went wrong, not where in this package
        print(f"{parser.prog}: error: {in_plain_words(error)}", file=sys.stderr)
        return 1
    if is_complete:
        return 0
    if is_main_process():
        is_kept = options.checkpoint and options.checkpoint.exists()
        kept = f"; --resume goes on from {options.checkpoint}" if is_kept else ""
        print(f"{parser.prog}: interrupted{kept}", file=sys.stderr)
    return INTERRUPTED


def train_and_report(settings, options, group, asked):
    """Train, print, and write the files that `options` name; returns the `History`.

    Args:
        asked: settings, as {name: value}, that a checkpoint must not contradict.
    """
    history, checkpoint = History(), None
    if options.resume and options.checkpoint.exists():
        checkpoint = load_checkpoint(options.checkpoint)
        history, settings = checkpoint.history, checkpoint.settings
        expect_settings(asked, settings, options.checkpoint)
    group.expect_agreement(settings, history.records[-1].step if history.records else 0)
    run = prepare_run(settings, group.device, options.root)
    report = ShellRun(run, history, options, group)
    if checkpoint:
        try:
            run.load_state_dict(checkpoint.state)
        except ValueError as error:
            raise ValueError(f"{options.checkpoint} cannot be gone on from: {error}") from None
    elif options.resume:
        report.say(f"{options.checkpoint} is not there (yet): beginning with the first epoch")
    if history.completed:
        report.say("This run was complete already.")
        report.save()
    else:
        report.train()
    if history.records:
        report.say(results(history))
        report.say(f"{history.examples_per_second:.1f} examples/sec on {group.device}")
    return history


def expect_settings(asked, settings, path):
    """Raise ValueError if a checkpoint's settings are not those that were asked for."""
    others = [f"{name}={getattr(settings, name)!r}, not {value!r}"
              for name, value in asked.items() if getattr(settings, name) != value]
    if others:
        raise ValueError(f"{path} was trained with {'; '.join(others)}. Leave out the options "
                         f"that differ, or begin anew with another file")


class ShellRun:
    """A run that tells on the screen and in files how it goes, if this is the main process."""

    def __init__(self, run, history, options, group):
        self.run, self.history, self.options, self.group = run, history, options, group
        self.is_quiet = options.quiet or not group.is_main

    def train(self):
        """The loop: one line, and new files, after every epoch."""
        run, history, group = self.run, self.history, self.group
        is_resumed, is_shared = bool(history.records), group.world_size > 1
        precision = group.choose_precision(run.settings.precision)
        if is_shared and precision == "bfloat16":
            lay_channels_last(run.net)  # as `fit` does, but before DDP lays out its gradients
        net = group.wrap(run.net, run.settings.sync_batch_norm)
        train_iter, test_iter = (batches.share(group.rank, group.world_size)
                                 for batches in (run.train_iter, run.test_iter))
        processes = f", {group.world_size} processes" if is_shared else ""
        again = f", going on after epoch {history.records[-1].epoch:.0f}" if is_resumed else ""
        self.say(f"training {run.settings.model} on {group.device}{processes}{again}")
        with tqdm(total=run.settings.num_epochs * len(run.train_iter.images), unit=" images",
                  initial=history.records[-1].examples if is_resumed else 0, leave=False,
                  disable=True if self.is_quiet else None) as bar:  # None: if somebody looks
            train_iter = WatchedBatches(
                train_iter, after=lambda batch: bar.update(group.world_size * len(batch[1])))
            progress = run.fit(
                net=net, train_iter=train_iter, test_iter=test_iter, history=history,
                resume=is_resumed, precision=precision,
                all_reduce=group.all_reduce if is_shared else None)
            history.config["processes"] = group.world_size
            for p in progress:
                if p.test_acc is not None:
                    self.say(f"epoch {p.epoch:.0f} of {run.settings.num_epochs}: "
                             f"{results(history)}, {history.examples_per_second:.1f} examples/sec")
                    self.save()

    def save(self):
        """Write the files; the checkpoint first, as it is worth the most.

        Raises:
            OSError: one could not be written.
        """
        options, run, history = self.options, self.run, self.history
        if not self.group.is_main:
            return
        try:
            if path := options.checkpoint:
                save_checkpoint(path, run, history)
            if path := options.history:
                history.save(path)
            if path := options.picture:
                draw_curves(history, path)
        except OSError as error:
            again = "; then go on with --resume" if options.checkpoint else ""
            raise OSError(f"could not write {path}: {error.strerror or error}. Name another file, "
                          f"or make room for this one{again}") from error

    def say(self, line):
        """Print, above the progress bar."""
        if not self.is_quiet:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()


def draw_curves(history, path):
    """The curves of a run as a picture file; its name's ending says which kind."""
    from resnet_helpers.plotting import RUN_CURVES, Animator
    animator = Animator(xlabel="epoch", xlim=[0, history.config["num_epochs"]],
                        legend=(*RUN_CURVES[:2], f"{history.tested_on} acc"))
    for p in history.records:
        animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))
    with written_whole(path) as temporary:
        animator.savefig(temporary, format=picture_kind(path))


if __name__ == "__main__":
    sys.exit(main())
