"""How an exercise is checked: the reader's code runs within limits, and whatever it does becomes a `Verdict`."""

import contextlib
import dis
import functools
import html
import inspect
import linecache
import signal
import sys
import threading
import traceback
import types
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import torch

from resnet_helpers.check import attempts
from resnet_helpers.training import in_mode

TIME_LIMIT_S = 20.0
WHAT_CUTS_GRADIENTS = "is there a no_grad, a detach or a .data in it?"
PACKAGE = str(Path(__file__).resolve().parents[1])
MARKS = {"solved": "✓", "wrong": "✗", "open": "○"}
COLOURS = {"solved": "var(--jp-success-color1, #007F5C)", "wrong": "var(--jp-warn-color1, #B84F00)",
           "open": "var(--jp-border-color1, #6b6b6b)"}


class Wrong(Exception):
    """An answer is wrong.

    Args:
        code: short name of the mistake, such as "relu_before_addition". It stays when the message is reworded.
        message: for the reader: it names the mistake, not only that there is one.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Open(Exception):
    """Nothing was attempted yet: the answers are what the notebook came with. The message says what to do."""


class TimeLimitError(Exception):
    """The reader's code did not come to an end."""


@dataclass(frozen=True)
class Verdict:
    """What a check says; as the last line of a cell it is shown as a box.

    Attributes:
        title: of the exercise.
        state: "solved", "wrong" or "open", which means not attempted.
        message: what is wrong and where to look, or what the right answer shows.
        code: short name of the mistake, for programs; empty unless the answer is wrong.
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
        message = html.escape(self.message).replace("\n", "<br>")
        return (f'<div role="status" style="border-left: 5px solid {COLOURS[self.state]}; padding: 4px 12px; '
                f'max-width: 860px; line-height: 1.4"><b>{MARKS[self.state]} {html.escape(self.title)}</b><br>'
                f'{message}</div>')


@dataclass(frozen=True)
class Exercise:
    """An exercise of a notebook: its name, where it stands, and what helps.

    Attributes:
        name: of the check, as in `check.residual_block`.
        notebook: 1 to 4.
        title: in a few words.
        hints: each says a little more than the one before.
    """

    name: str
    notebook: int
    title: str
    hints: tuple


EXERCISES = {}  # name -> Exercise, filled in as the files of checks are imported


def exercise(notebook, title, hints=(), seconds=TIME_LIMIT_S):
    """Make a check of a function that looks at the reader's answers.

    The function gets the answers, raises `Wrong` for a mistake and returns what to say about a right answer. The check
    that it becomes never raises: it gives a `Verdict`. Answers that are still blank are not looked at.

    Args:
        notebook, title, hints: see `Exercise`.
        seconds: how long the reader's code may take.
    """
    def decorate(examine):
        name = examine.__name__
        EXERCISES[name] = Exercise(name, notebook, title, tuple(hints))

        @functools.wraps(examine)
        def check(*answers, **named):
            signature = inspect.signature(examine)
            if all(map(is_blank, (*answers, *named.values()))):
                return Verdict(title, "open", "not attempted yet. Write your answer in place of ... and run the cell."
                               + (f' check.hint("{name}") helps.' if hints else ""))
            try:
                answers = signature.bind(*answers, **named).args
            except TypeError as error:
                number = len(signature.parameters)
                return Verdict(title, "wrong", f"this check takes {number} answer{'s' * (number > 1)}: "
                               f"check.{name}{signature}, but: {error}.", "wrong_number_of_answers")
            state, message, code = _examine(examine, answers, seconds)
            if state != "open":
                message += attempts.record(name, state == "solved")
            return Verdict(title, state, message, code)

        return check
    return decorate


def _examine(examine, answers, seconds):
    """(state, message, code) of the verdict."""
    try:
        with undisturbed(), time_limit(seconds):
            return "solved", examine(*answers), ""
    except Wrong as wrong:
        return "wrong", str(wrong), wrong.code
    except Open as blank:
        return "open", str(blank), ""
    except TimeLimitError:
        return "wrong", (f"your code was still running after {seconds:g} seconds and was stopped. Look for a loop "
                         f"that never ends: does what its condition asks for ever happen?"), "never_ends"
    except KeyboardInterrupt:
        return "wrong", "interrupted before there was a result. Run the cell again.", "interrupted"
    except BaseException as error:  # SystemExit too: whatever the reader's code does, the notebook goes on
        return "wrong", f"your code raised {_describe(error)}", "raised"


def _describe(error):
    """The error, and the line of the reader's code that it comes from."""
    text = f"{type(error).__name__}: {str(error)[:600]}" if str(error) else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_readers = not frame.filename.startswith(PACKAGE) and "site-packages" not in frame.filename \
            and not frame.filename.startswith(sys.base_prefix)
        if is_readers:
            line = linecache.getline(frame.filename, frame.lineno).strip()
            return f"{text}\nin {frame.name}, line {frame.lineno} of its cell" + (f": {line}" if line else "")
    return text


def is_blank(answer):
    """Is this what stands in the empty cell: `...`, or a function or class of which nothing is written yet?"""
    if answer is ...:
        return True
    if isinstance(answer, (list, tuple)):
        return bool(answer) and all(map(is_blank, answer))
    if isinstance(answer, dict):
        return bool(answer) and all(map(is_blank, answer.values()))
    if isinstance(answer, types.FunctionType):
        steps = list(dis.get_instructions(answer))
        constants = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
        return {step.opname for step in steps} <= BLANK and constants[-1] in (None, ...)
    if isinstance(answer, type) and answer.__module__ != "builtins":
        functions = [value for value in vars(answer).values() if isinstance(value, types.FunctionType)]
        inherits_all = not functions and answer.__bases__ not in ((torch.nn.Module,), (object,))
        return not inherits_all and all(map(is_blank, functions))
    return False


BLANK = {"RESUME", "NOP", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST"}  # what `...` and `pass` compile to


@contextlib.contextmanager
def undisturbed():
    """Gradients are recorded, and new tensors are float32 and on the CPU.

    Afterwards these and the random state are the reader's again.
    """
    has_grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        try:
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_grad_enabled(has_grad)
            torch.set_default_dtype(dtype)


@contextlib.contextmanager
def time_limit(seconds):
    """Interrupt what runs in the main thread when the time is up: TimeLimitError. In other threads there is no limit.

    It comes as the stop button's KeyboardInterrupt does, between two steps of Python or out of a sleep.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    done, expired = threading.Event(), threading.Event()

    def watch():
        if done.wait(seconds):
            return
        expired.set()
        while not done.is_set():  # again, if a bare `except` in the reader's loop has caught it
            _interrupt_main_thread()
            done.wait(1.0)

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
        if expired.is_set():
            raise TimeLimitError from None
        raise
    if expired.is_set():  # it ended by itself at the last moment, or caught the interrupt
        raise TimeLimitError


def _interrupt_main_thread():
    if hasattr(signal, "pthread_kill"):  # wakes the main thread from a sleep, too
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        import _thread
        _thread.interrupt_main()


def finish_lazy_layers(module, shape):
    """Let layers such as nn.LazyConv2d find their sizes, which they do on the first call; Wrong if it fails."""
    if any(isinstance(p, torch.nn.parameter.UninitializedParameter) for p in module.parameters()):
        try:
            with in_mode(module, training=False), torch.no_grad():  # for the sake of the running averages
                module(torch.rand(shape))
        except (RuntimeError, ValueError) as error:
            raise Wrong("does_not_run", f"it does not run on a batch of shape {shape}: {error}") from None


def call(function, *inputs, what="your code"):
    """Call the reader's function or module on copies of tensors; Wrong if it changes them.

    Returns:
        What it returns.
    """
    copies = [X.clone() if isinstance(X, torch.Tensor) else X for X in inputs]
    result = function(*copies)
    for X, copy in zip(inputs, copies, strict=True):
        if isinstance(X, torch.Tensor) and not torch.equal(X, copy.detach()):
            raise Wrong("changes_input",
                        f"{what} changes its input: after the call, the tensor that was passed in holds other numbers. "
                        f"Some operation works in place on it (`X += ...`, `relu_`, `inplace=True`); make it work on a "
                        f"new tensor instead.")
    return result


def expect_tensor(Y, shape, what="your code"):
    """Wrong unless Y is a tensor of this shape that holds finite numbers."""
    if Y is None:
        raise Wrong("returns_none", f"{what} returns None: is the last line a `return`?")
    if not isinstance(Y, torch.Tensor):
        raise Wrong("returns_no_tensor",
                    f"{what} returns {kind_of(Y)}, where a tensor of shape {tuple(shape)} was expected.")
    if tuple(Y.shape) != tuple(shape):
        raise Wrong("wrong_shape",
                    f"{what} returns a tensor of shape {tuple(Y.shape)}, where {tuple(shape)} was expected.")
    if not Y.isfinite().all():
        raise Wrong("not_finite", f"{what} returns numbers that are infinite or not a number.")


def expect_number(answer, what="the answer"):
    """The answer as a float; Wrong if it is not a number."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, Real):  # NumPy's numbers are such, too
        raise Wrong("no_number", f"{what} must be a number, got {kind_of(answer)}.")
    return float(answer)


def expect_class(answer, base=torch.nn.Module, what="the answer"):
    """Wrong unless the answer is a class derived from `base`; an object of such a class is no class."""
    if isinstance(answer, base):
        raise Wrong("object_for_class",
                    f"{what} must be the class itself, not an object of it: pass {type(answer).__name__}, without "
                    f"brackets.")
    if not (isinstance(answer, type) and issubclass(answer, base)):
        raise Wrong("no_class", f"{what} must be a class derived from nn.Module, got {kind_of(answer)}.")


def expect_function(answer, *arguments):
    """Wrong unless the answer is a function that can be called with so many arguments."""
    text = f"({', '.join(arguments)})"
    if isinstance(answer, (type, torch.nn.Module)) or not callable(answer):
        raise Wrong("no_function", f"the answer must be the function itself, without brackets behind its name; got "
                    f"{kind_of(answer)}. It takes {text}.")
    expect_arguments(answer, f"your function must take the arguments {text}, in this order", *arguments)


def expect_arguments(function, demand, *args, advice="", **kwargs):
    """Wrong, with the demand and what contradicts it, unless a function or class can be called with these arguments."""
    with contextlib.suppress(ValueError):  # one that cannot say what it takes
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise Wrong("wrong_arguments", f"{demand}, but: {error}.{advice}") from None


def diagnose(output, mistakes, otherwise):
    """Wrong, as the first mistake that gives just this output.

    Args:
        output: what the reader's code gave.
        mistakes: triples of a code, a message, and a function without arguments that computes what this mistake gives.
        otherwise: code and message if it is none of them.
    """
    for code, message, compute in mistakes:
        try:
            expected = compute()
        except Exception:  # a mistake that is not possible with these layers or shapes
            continue
        if close(output, expected):
            raise Wrong(code, message)
    raise Wrong(*otherwise)


def choose(answers, questions):
    """Check answers to questions with lettered options; Wrong with the explanation of the first that is wrong.

    The code of a wrong letter names question and letter: "question_2_a".

    Args:
        answers: {question: letter}.
        questions: {question: (right letter, {letter: why it is right or wrong})}.

    Returns:
        The explanations of the right answers.
    """
    if not isinstance(answers, dict):
        raise Wrong("no_dict",
                    f"the answers must be a dict such as {{{next(iter(questions))!r}: \"a\"}}, got {kind_of(answers)}.")
    right, answers = [], {str(question): answer for question, answer in answers.items()}
    for question, (letter, why) in questions.items():
        answer = answers.get(question, ...)
        if answer is ...:
            raise Wrong("no_answer", f"question {question} has no answer yet.")
        given = answer.strip().lower() if isinstance(answer, str) else None
        if given not in why:
            raise Wrong("no_letter",
                        f"question {question}: answer with one of the letters {', '.join(why)}, got {answer!r}.")
        if given != letter:
            raise Wrong(f"question_{question}_{given}", f"question {question}: not {given}. {why[given]}")
        right.append(f"{question}: {why[given]}")
    return "all right.\n" + "\n".join(right)


def close(a, b, tolerance=1e-4):
    """Are two tensors equal, but for rounding?"""
    return a.shape == b.shape and (a - b).abs().max().item() <= tolerance * max(1.0, b.abs().max().item())


def same_gradient(function, formula, X, tolerance=1e-3):
    """Have the gradients of two functions of a tensor, for that tensor, the same numbers?"""
    gradients = []
    for f in (function, formula):
        X_copy = X.detach().clone().requires_grad_()
        Y = f(X_copy.clone())  # what works in place works on no leaf
        weights = torch.linspace(-1, 1, Y.numel(), device=Y.device, dtype=Y.dtype).view_as(Y)
        gradients += torch.autograd.grad((Y * weights).sum(), X_copy, allow_unused=True, materialize_grads=True) \
            if Y.requires_grad else (torch.zeros_like(X),)
    return close(*gradients, tolerance)


def kind_of(value):
    """What a value is, in words for a reader."""
    if value is None or value is ...:
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a {type(value).__name__}"
