"""How an answer is checked: it runs within limits, and whatever it does becomes a `Verdict`."""

import _thread
import contextlib
import functools
import inspect
import os
import signal
import sys
import threading
import traceback
import types
from dataclasses import dataclass
from html import escape
from numbers import Real
from pathlib import Path

import torch

from resnet_helpers.check import attempts
from resnet_helpers.models import in_mode

TIME_LIMIT_S = 20.0
WHAT_CUTS_GRADIENTS = "is there a no_grad, a detach or a .data in it?"
PACKAGE = str(Path(__file__).resolve().parents[1])
MARKS = {"solved": "✓", "wrong": "✗", "open": "○"}
COLOURS = {
    "solved": "var(--jp-success-color1, #007F5C)", "wrong": "var(--jp-warn-color1, #B84F00)",
    "open": "var(--jp-border-color1, #6b6b6b)",
}


class Wrong(Exception):
    """An answer is wrong: a code such as "relu_before_addition", and what the reader is told."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Open(Exception):
    """The answers are what the notebook came with. The message says what to do."""


class TimeLimitError(Exception):
    """The reader's code did not come to an end."""


@dataclass(frozen=True)
class Verdict:
    """What a check says; as the last line of a cell it is shown as a box.

    Attributes:
        title: of the exercise.
        state: "solved", "wrong" or "open", which means not attempted.
        message: what is wrong and where to look, or what the right answer shows.
        code: of the mistake, see `Wrong`; "" if there is none.
    """

    title: str
    state: str
    message: str
    code: str = ""

    @property
    def solved(self):
        """Is the answer right?"""
        return self.state == "solved"

    def __repr__(self):
        return f"{MARKS[self.state]} {self.title}: {self.message}"

    def _repr_html_(self):
        message = escape(self.message).replace("\n", "<br>")
        return (f'<div role="status" style="border-left: 5px solid {COLOURS[self.state]}; '
                f'padding: 4px 12px; max-width: 860px; line-height: 1.4">'
                f'<b>{MARKS[self.state]} {escape(self.title)}</b><br>{message}</div>')


@dataclass(frozen=True)
class Exercise:
    """The name of a check, the number of its notebook, and for the reader a title and hints."""

    name: str
    notebook: int
    title: str
    hints: tuple


EXERCISES = {}  # name -> Exercise, filled in as the files of checks are imported


def exercise(notebook, title, hints=(), seconds=TIME_LIMIT_S):
    """Make a check of a function that looks at the reader's answers.

    The function raises `Wrong` for a mistake and returns what to say about right answers. The check
    never raises: it returns a `Verdict`. Answers that are still blank are not looked at.

    Args:
        notebook: 1 to 4, or a number of `attempts.FURTHER`.
        title: of the exercise, in a few words.
        hints: each says a little more than the one before.
        seconds: how long the reader's code may take.
    """
    def decorate(examine):
        name, signature = examine.__name__, inspect.signature(examine)
        EXERCISES[name] = Exercise(name, notebook, title, tuple(hints))

        @functools.wraps(examine)
        def check(*answers, **named):
            if all(map(is_blank, (*answers, *named.values()))):
                return Verdict(title, "open", "not attempted yet. Write your answer in place of "
                               f'... and run the cell. check.hint("{name}") helps.')
            try:
                answers = signature.bind(*answers, **named).args
            except TypeError as error:
                return Verdict(title, "wrong", f"call check.{name}{signature}, but: {error}.",
                               "wrong_number_of_answers")
            state, message, code = _examine(examine, answers, seconds)
            if state != "open" and code != "interrupted":
                message += attempts.record(name, state == "solved")
            return Verdict(title, state, message, code)

        return check
    return decorate


def _examine(examine, answers, seconds):
    """State, message and code of the verdict."""
    try:
        with undisturbed(), time_limit(seconds):
            return "solved", examine(*answers), ""
    except Wrong as wrong:
        return "wrong", str(wrong), wrong.code
    except Open as blank:
        return "open", str(blank), ""
    except TimeLimitError:
        return "wrong", (f"your code was still running after {seconds:g} seconds and was stopped. "
                         f"Does it have a loop that never ends?"), "never_ends"
    except KeyboardInterrupt:
        return "wrong", "interrupted before there was a result. Run the cell again.", "interrupted"
    except BaseException as error:  # SystemExit too: the notebook goes on
        return "wrong", f"your code raised {_describe(error)}", "raised"


def _describe(error):
    """The error, and the line of the reader's code that it comes from."""
    text = f"{type(error).__name__}: {error}"[:600].rstrip(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_ours = frame.filename.startswith((PACKAGE + os.sep, sys.base_prefix))
        if not is_ours and "-packages" not in frame.filename:
            return f"{text}\nin {frame.name}, line {frame.lineno} of its cell: {frame.line}"
    return text


def is_blank(answer):
    """Is this what stands in the empty cell: `...`, or functions of which nothing is written?"""
    if answer is ...:
        return True
    if isinstance(answer, types.FunctionType):
        code = answer.__code__
        has_only_docstring = set(code.co_consts) <= {None, ..., answer.__doc__}
        return has_only_docstring and code.co_code in BLANK
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, type):
        answer = [part for part in vars(answer).values() if isinstance(part, types.FunctionType)]
    return isinstance(answer, (list, tuple)) and bool(answer) and all(map(is_blank, answer))


def _empty(): ...


def _empty_but_docstring():
    """To be written."""


BLANK = {function.__code__.co_code for function in (_empty, _empty_but_docstring)}


@contextlib.contextmanager
def undisturbed():
    """Record gradients, and make tensors of float32 on the CPU; then all is as it was before."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.enable_grad():
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextlib.contextmanager
def time_limit(seconds):
    """Raise TimeLimitError in the main thread when the time is up, as the stop button would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    done, expired = threading.Event(), threading.Event()

    def watch():
        pause = seconds
        while not done.wait(pause):  # again, if a bare `except` in the reader's loop has caught it
            expired.set()
            pause = 1.0
            if hasattr(signal, "pthread_kill"):  # wakes the main thread from a sleep, too
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            else:
                _thread.interrupt_main()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            done.set()
            watcher.join()
    except KeyboardInterrupt:
        done.set()
        if not expired.is_set():
            raise
    if expired.is_set():  # also if it ended by itself at the last moment, or caught the interrupt
        raise TimeLimitError


# --- what checks look at ---

def expect(is_right, code, message):
    """Wrong with this code and message, unless all is right."""
    if not is_right:
        raise Wrong(code, message)


def initialize_lazy_layers(module, shape):
    """Let layers such as nn.LazyConv2d find their sizes, which they do on the first call."""
    if any(map(torch.nn.parameter.is_lazy, (*module.parameters(), *module.buffers()))):
        try:
            with in_mode(module, training=False), torch.no_grad():  # running averages stay
                module(torch.rand(shape))
        except (RuntimeError, ValueError) as error:
            raise Wrong("does_not_run", f"it does not run on a batch of shape {shape}: "
                        f"{error}") from None


def call(function, *inputs, what="your code"):
    """What the reader's function gives for copies of tensors; Wrong if it changes them."""
    copies = [X.clone() if isinstance(X, torch.Tensor) else X for X in inputs]
    result = function(*copies)
    for X, copy in zip(inputs, copies, strict=True):
        expect(not isinstance(X, torch.Tensor) or torch.equal(X, copy.detach()), "changes_input",
               f"{what} changes its input: after the call, the tensor that was passed in holds "
               f"other numbers. Some operation works in place on it (`X += ...`, `relu_`, "
               f"`inplace=True`); make it work on a new tensor instead.")
    return result


def expect_tensor(Y, shape, what="your code"):
    """Wrong unless Y is a tensor of this shape that holds finite numbers."""
    shape = tuple(shape)
    expect(Y is not None, "returns_none", f"{what} returns None: is the last line a `return`?")
    expect(isinstance(Y, torch.Tensor), "returns_no_tensor",
           f"{what} returns {kind_of(Y)}, where a tensor of shape {shape} was expected.")
    expect(tuple(Y.shape) == shape, "wrong_shape",
           f"{what} returns a tensor of shape {tuple(Y.shape)}, where {shape} was expected.")
    expect(Y.isfinite().all(), "not_finite",
           f"{what} returns numbers that are infinite or not a number.")


def expect_number(answer, what="the answer"):
    """The answer as a float; Wrong if it is not a number."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    is_number = isinstance(answer, Real) and not isinstance(answer, bool)  # NumPy's are Real, too
    expect(is_number, "no_number", f"{what} must be a number, got {kind_of(answer)}.")
    return float(answer)


def expect_class(answer, what="the answer"):
    """Wrong unless the answer is a class derived from nn.Module."""
    expect(not isinstance(answer, torch.nn.Module), "object_for_class",
           f"{what} must be the class itself, not an object of it: pass {type(answer).__name__}, "
           f"without brackets.")
    expect(isinstance(answer, type) and issubclass(answer, torch.nn.Module), "no_class",
           f"{what} must be a class derived from nn.Module, got {kind_of(answer)}.")


def expect_function(answer, *arguments):
    """Wrong unless the answer is a function that can be called with so many arguments."""
    text = f"({', '.join(arguments)})"
    is_function = callable(answer) and not isinstance(answer, (type, torch.nn.Module))
    expect(is_function, "no_function", f"the answer must be the function itself, without brackets "
           f"behind its name; got {kind_of(answer)}. It takes {text}.")
    expect_arguments(answer, f"your function must take the arguments {text}, in this order",
                     *arguments)


def expect_arguments(function, demand, *args, advice="", **kwargs):
    """Wrong, with the demand and what contradicts it, unless these arguments are possible."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise Wrong("wrong_arguments", f"{demand}, but: {error}.{advice}") from None
    except ValueError:  # one that cannot say what it takes
        pass


def diagnose(output, mistakes, otherwise):
    """Wrong, as the first mistake that gives just this output.

    Args:
        output: what the reader's code gave.
        mistakes: triples: code, message, and a function that computes what this mistake gives.
        otherwise: code and message if it is none of them.
    """
    for code, message, compute in mistakes:
        try:
            is_it = close(output, compute())
        except Exception:  # not possible with these layers or shapes
            continue
        expect(not is_it, code, message)
    raise Wrong(*otherwise)


def choose(answers, questions):
    """The explanations of the right answers; Wrong with that of the first wrong letter.

    Args:
        answers: {question: letter}.
        questions: {question: (right letter, {letter: why it is right or wrong})}.
    """
    expect(isinstance(answers, dict), "no_dict",
           f"the answers must be a dict such as {{{next(iter(questions))!r}: \"a\"}}, got "
           f"{kind_of(answers)}.")
    answers = {str(question): answer for question, answer in answers.items()}
    right = ["all right."]
    for question, (letter, why) in questions.items():
        answer = answers.get(question, ...)
        expect(answer is not ..., "no_answer", f"question {question} has no answer yet.")
        given = str(answer).strip().lower()
        expect(given in why, "no_letter", f"question {question}: answer with one of the letters "
               f"{', '.join(why)}, got {answer!r}.")
        expect(given == letter, f"question_{question}_{given}",
               f"question {question}: not {given}. {why[given]}")
        right.append(f"{question}: {why[given]}")
    return "\n".join(right)


def close(a, b, tolerance=1e-4):
    """Are two tensors equal, but for rounding?"""
    limit = tolerance * max(1.0, b.abs().max().item())
    return a.shape == b.shape and (a - b).abs().max().item() <= limit


def same_gradient(function, formula, X, tolerance=1e-3):
    """Have the gradients of two functions of a tensor, for that tensor, the same numbers?"""
    gradients = []
    for f in (function, formula):
        leaf = X.detach().clone().requires_grad_()
        Y = f(leaf.clone())  # nothing may work in place on a leaf
        loss = (Y * torch.linspace(-1, 1, Y.numel()).view_as(Y)).sum() + 0 * leaf.sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    return close(*gradients, tolerance)


def kind_of(value):
    """What a value is, in words for a reader."""
    if value is None or isinstance(value, (type(...), bool, int, float)):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    return f"a {type(value).__name__}"
