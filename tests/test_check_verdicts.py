"""How checks treat answers: blank ones, broken ones, endless ones; and how progress is kept."""

import json
import os
import threading
import time

import filelock
import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch import nn

from resnet_helpers import check
from resnet_helpers.check import attempts
from resnet_helpers.check import verdicts as engine
from resnet_helpers.check.grade import CurrentPython
from resnet_helpers.check.verdicts import (
    Open,
    Verdict,
    Wrong,
    call,
    choose,
    diagnose,
    exercise,
    expect_arguments,
    expect_class,
    expect_function,
    expect_number,
    expect_tensor,
    initialize_lazy_layers,
    is_blank,
)


@pytest.fixture(autouse=True)
def own_progress_file(monkeypatch, tmp_path):
    path = tmp_path / "progress" / "progress.json"
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(path))
    return path


@pytest.fixture
def make_check(monkeypatch):
    """A check of one answer, made of a function; it takes the name "sample"."""
    monkeypatch.setattr(engine, "EXERCISES", {})

    def make(examine, seconds=5.0):
        def sample(answer):
            return examine(answer)
        return exercise(1, "a sample", ("try",), seconds)(sample)
    return make


def raises(error):
    def run(_):
        raise error
    return run


# --- blank answers ---

def blank(x): ...


def blank_with_docstring(x):
    """To be written."""


def blank_with_pass(x, y=3):
    pass


class BlankMethods(nn.Module):
    """To be written."""

    def __init__(self, input_channels):
        ...

    def forward(self, X):
        pass


class HalfWritten(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, X):
        ...


class Inheriting(HalfWritten):
    sizes = (1, 2)


def test_blank_answers_are_open_and_not_counted(make_check, own_progress_file):
    looked_at = make_check(pytest.fail)
    for answer in (..., blank, blank_with_docstring, blank_with_pass, BlankMethods, [..., ...],
                   {"a": ..., "b": ...}):
        assert (looked_at(answer).state, looked_at(answer=answer).code) == ("open", ""), answer
    assert "not attempted yet" in looked_at().message and "check.hint" in looked_at().message
    assert not own_progress_file.exists()


def test_what_is_written_is_looked_at():
    assert [answer for answer in (
        None, 0, "", [], {}, [..., 1], {"a": ..., "b": 2}, HalfWritten, Inheriting, nn.Module, int,
        len, lambda x: x, lambda: 5, lambda: "text", lambda: (1, 2), lambda x: x + 1)
        if is_blank(answer)] == []


def test_the_number_of_answers_must_be_right(make_check):
    looked_at = make_check(lambda answer: f"right, {answer}")
    assert looked_at(answer=3).message.startswith("right, 3")
    for verdict in (looked_at(1, 2), looked_at(count=3)):
        assert (verdict.state, verdict.code) == ("wrong", "wrong_number_of_answers")
    assert "call check.sample(answer), but: too many" in looked_at(1, 2).message


# --- whatever the reader's code does ---

def test_checks_and_the_readers_state_leave_each_other_alone(make_check):
    def meddle(answer):
        found = f"{torch.is_grad_enabled()}, {torch.zeros(1).dtype}"
        torch.manual_seed(5)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float16)
        return found

    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    state = torch.get_rng_state()
    try:
        assert make_check(meddle)(1).message == "True, torch.float32"
        assert not torch.is_grad_enabled() and torch.get_default_dtype() == torch.float64
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("error, code, told", [
    (Wrong("one_too_many", "there is one too many"), "one_too_many", "there is one too many"),
    (ZeroDivisionError("by zero"), "raised", "your code raised ZeroDivisionError: by zero"),
    (SystemExit(3), "raised", "your code raised SystemExit: 3"),
    (RecursionError(), "raised", "your code raised RecursionError"),
    (KeyboardInterrupt(), "interrupted", "interrupted before there was a result"),
])
def test_no_error_gets_out(make_check, error, code, told):
    verdict = make_check(raises(error))(1)
    assert (verdict.state, verdict.solved, verdict.code) == ("wrong", False, code)
    assert verdict.message.startswith(told)


def test_a_right_answer_and_an_open_one_have_no_code(make_check):
    right, blank = make_check(lambda _: "right")(1), make_check(raises(Open("all broken")))(1)
    assert (right.state, right.code, blank.state, blank.code) == ("solved", "", "open", "")


def test_the_line_that_failed_is_named(make_check):
    def readers_code(x):
        return x / torch.zeros(1, 2) @ torch.zeros(1)  # here

    message = make_check(lambda answer: answer(1))(readers_code).message
    assert "in readers_code, line" in message and message.endswith("@ torch.zeros(1)  # here")


def test_endless_code_is_stopped(make_check):
    caught = []

    def stubborn():
        while len(caught) < 2:
            try:
                time.sleep(0.01)
            except BaseException as error:
                caught.append(error)

    looked_at = make_check(lambda answer: answer(), seconds=0.1)
    verdicts = [looked_at(answer) for answer in (
        lambda: all(True for _ in iter(int, 1)), lambda: time.sleep(1e6),
        lambda: threading.Event().wait(), stubborn)]
    assert [verdict.code for verdict in verdicts] == ["never_ends"] * 4 and len(caught) == 2
    assert "still running after 0.1 seconds" in verdicts[0].message


def test_outside_of_the_main_thread_a_check_still_works(make_check):
    looked_at, verdicts = make_check(lambda answer: "right"), []
    thread = threading.Thread(target=lambda: verdicts.append(looked_at(1)))
    thread.start()
    thread.join()
    assert verdicts[0].solved


CELL = """
from resnet_helpers.check.verdicts import exercise
@exercise(1, "endless", seconds=0.5)
def sample(answer):
    return answer()
def answer():
    while True:
        pass
verdict = sample(answer)
print(verdict)
"""


def test_in_a_notebook_an_endless_answer_is_stopped_and_the_kernel_goes_on():
    sources = (CELL, "print('still here')",
               "def broken():\n    return undefined_name\nprint(sample(broken))")
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3",
                   kernel_manager_class=CurrentPython).execute()
    stopped, after, failed = ("".join(output["text"] for output in cell.outputs)
                              for cell in notebook.cells)
    assert "still running after 0.5 seconds" in stopped and after == "still here\n"
    assert "NameError" in failed
    assert failed.rstrip().endswith("in broken, line 2 of its cell: return undefined_name")


# --- what checks look at ---

def refusal(look, *args):
    """Code and message of the Wrong that this raises; two None if it raises none."""
    try:
        look(*args)
    except Wrong as wrong:
        return wrong.code, str(wrong)
    return None, None


def initialize(width):
    initialize_lazy_layers(nn.Sequential(nn.LazyLinear(3), nn.Linear(width, 2)), (1, 5))


@pytest.mark.parametrize("code, told, look, args", [
    ("changes_input", "your code changes its input", call, (lambda X: X.add_(1), torch.zeros(2))),
    (None, None, call, (lambda X, n: X + n, torch.zeros(2), 3)),
    ("returns_none", "is the last line a `return`", expect_tensor, (None, (2,))),
    ("returns_no_tensor", "returns 3", expect_tensor, (3, (2,))),
    ("returns_no_tensor", "the string", expect_tensor, ("x" * 100, (2,))),
    ("returns_no_tensor", "the class Linear", expect_tensor, (nn.Linear, (2,))),
    ("returns_no_tensor", "a list", expect_tensor, ([1], (2,))),
    ("wrong_shape", "shape (3,), where (2,)", expect_tensor, (torch.zeros(3), (2,))),
    ("not_finite", "not a number", expect_tensor, (torch.tensor([1.0, float("nan")]), (2,))),
    (None, None, expect_tensor, (torch.zeros(2), (2,))),
    ("no_number", "got the string '3'", expect_number, ("3",)),
    ("no_number", "got True", expect_number, (True,)),
    (None, None, expect_number, (torch.tensor(3),)),
    ("object_for_class", "pass ReLU", expect_class, (nn.ReLU(),)),
    ("no_class", "got the class int", expect_class, (int,)),
    (None, None, expect_class, (nn.ReLU,)),
    ("no_function", "It takes (X)", expect_function, (nn.ReLU(), "X")),
    ("no_function", "got 3", expect_function, (3, "X")),
    ("wrong_arguments", "the arguments (X)", expect_function, (lambda X, Y: X, "X")),
    (None, None, expect_function, (lambda X: X, "X")),
    ("wrong_arguments", "it takes X, but", expect_arguments, (lambda X: X, "it takes X")),
    ("does_not_run", "a batch of shape (1, 5)", initialize, (4,)),
    (None, None, initialize, (3,)),
])
def test_what_is_not_as_it_must_be_has_a_code_and_is_described(code, told, look, args):
    found = refusal(look, *args)
    assert found[0] == code and (code is None or told in found[1])


def test_a_mistake_is_found_by_what_it_computes():
    mistakes = (
        ("impossible", "not with these shapes.", lambda: torch.zeros(2) + torch.zeros(3)),
        ("zeros", "all is zero.", lambda: torch.zeros(2)),
        ("ones", "all is one.", lambda: torch.ones(2)),
        ("ones_again", "never reached.", lambda: torch.ones(2)),
    )
    otherwise = ("wrong_output", "something else.")
    assert refusal(diagnose, torch.zeros(2), mistakes, otherwise) == ("zeros", "all is zero.")
    assert refusal(diagnose, torch.ones(2), mistakes, otherwise) == ("ones", "all is one.")
    assert refusal(diagnose, torch.ones(3), mistakes, otherwise) == otherwise


QUESTIONS = {"1": ("b", {"a": "too small", "b": "just right"}), "2": ("a", {"a": "yes", "b": "no"})}


def test_answers_to_questions_are_explained():
    for answers in ({"1": " B ", "2": "a"}, {1: "b", 2: "a"}):
        assert choose(answers, QUESTIONS) == "all right.\n1: just right\n2: yes"
    for answers, code, told in (
        ({"1": "a", "2": "a"}, "question_1_a", "question 1: not a. too small"),
        ({1: " B ", 2: "B"}, "question_2_b", "question 2: not b. no"),
        ({"1": "b"}, "no_answer", "question 2 has no answer"),
        ({"1": "c", "2": "a"}, "no_letter", "letters a, b, got 'c'"),
        ({"1": ["a"], "2": "a"}, "no_letter", "got ['a']"),
        ("ba", "no_dict", "must be a dict"),
        ([], "no_dict", "a list"),
    ):
        found = refusal(choose, answers, QUESTIONS)
        assert found[0] == code and told in found[1]


# --- what readers see ---

def test_a_verdict_is_text_and_a_box_without_its_code():
    verdict = Verdict("a block", "wrong", "the input is never added.\nAnd more", "input_lost")
    assert repr(verdict) == "✗ a block: the input is never added.\nAnd more"
    page = verdict._repr_html_()
    assert "input_lost" not in page and "<br>And more" in page and 'role="status"' in page


def test_hints_come_one_by_one_and_begin_again(monkeypatch):
    monkeypatch.setattr(check, "_hints_given", {})
    hints = check.EXERCISES["residual_block"].hints
    texts = [check.hint("residual_block").message for _ in range(len(hints) + 1)]
    assert all(hint in text for hint, text in zip(hints, texts, strict=False))
    assert texts[0].startswith(f"hint 1 of {len(hints)}") and "last one" in texts[len(hints) - 1]
    assert texts[-1] == texts[0]
    assert check.hint(check.residual_block).message.startswith("hint 2")
    with pytest.raises(ValueError, match="no exercise 'residual'.*residual_block"):
        check.hint("residual")


def test_every_exercise_can_be_called_by_its_name_and_has_hints():
    assert len(check.EXERCISES) == 29
    for name, e in check.EXERCISES.items():
        assert getattr(check, name)(...).state == "open" and name in check.__all__
        assert e.notebook in (1, 2, 3, 4, *attempts.FURTHER) and e.hints and all(e.hints)


# --- progress ---

def test_progress_is_kept_in_a_file_and_what_is_solved_stays_solved(make_check, own_progress_file):
    looked_at = make_check(lambda answer: "right" if answer else raises(Wrong("no", "no"))(0))
    for answer in (False, True, False):
        looked_at(answer)
    content = json.loads(own_progress_file.read_text(encoding="utf-8"))
    assert content["exercises"] == {"sample": {"solved": True, "attempts": 3}}
    assert attempts.load() == content["exercises"]
    own_progress_file.unlink()
    assert attempts.load() == {}


def test_the_summary_names_every_exercise_and_its_state(own_progress_file):
    attempts.record("residual_block", True)
    attempts.record("bottleneck_block", False)
    summary = check.progress()
    assert summary.solved == ["residual_block"]
    text, page = repr(summary), summary._repr_html_()
    for titled in ("✓ write the block", "… bottleneck", "○ predict shapes"):
        assert titled in text
    for shown in (text, page):
        assert f"1 of {len(check.EXERCISES)} exercises solved" in shown
        assert "check.progress_file() names" in shown and str(own_progress_file) not in shown
    assert check.progress_file() == own_progress_file


DAMAGED = ["", "{", "[]", "null", '{"format": "other", "exercises": {}}', "\x00" * 10,
           *(json.dumps({"format": attempts.FORMAT, "exercises": exercises})
             for exercises in ([1], {"a": 1}, {"a": {}}, {"a": {"solved": True, "attempts": "x"}}))]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_left_as_it_is(make_check, own_progress_file, content):
    own_progress_file.parent.mkdir()
    own_progress_file.write_text(content, encoding="utf-8")
    verdict = make_check(lambda answer: "right")(1)
    assert verdict.solved and "not kept" in verdict.message
    assert "Move or delete it" in verdict.message and "Move or delete it" in repr(check.progress())
    assert own_progress_file.read_text(encoding="utf-8") == content


def no_locks(*_, **__):
    raise NotImplementedError("FileSystem does not appear to support flock")


def full_disk(_):
    raise OSError(28, "No space left")


@pytest.mark.parametrize("place, name, fails, told", [
    (filelock.FileLock, "acquire", no_locks, "support flock"),
    (attempts, "written_whole", full_disk, "No space left"),
])
def test_what_cannot_be_written_is_told_and_what_was_solved_stays(
        monkeypatch, own_progress_file, place, name, fails, told):
    attempts.record("a", True)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, fails)
        assert told in attempts.record("b", True)
        summary = attempts.summarize({"a": engine.Exercise("a", 1, "first", ())})
        assert summary.solved == ["a"]
        for shown in (repr(summary), summary._repr_html_()):
            assert "not kept" in shown and told in shown and "Kept in" not in shown
    assert attempts.record("a", False) == ""
    assert attempts.load() == {"a": {"solved": True, "attempts": 2}}


def test_a_file_in_the_place_of_the_folder_is_told(make_check, own_progress_file):
    own_progress_file.parent.write_text("in the way")
    verdict = make_check(lambda answer: "right")(1)
    assert verdict.solved and "not kept" in verdict.message
    assert "not kept" in repr(check.progress())


def test_a_home_that_cannot_be_written_to_is_told(own_progress_file):
    own_progress_file.parent.mkdir()
    own_progress_file.parent.chmod(0o500)
    if os.access(own_progress_file.parent, os.W_OK):
        pytest.skip("administrators, and all users of Windows, may write there")
    try:
        assert "not kept" in repr(check.progress()) and "Kept in" not in repr(check.progress())
    finally:
        own_progress_file.parent.chmod(0o700)
    assert "Kept in a file of yours" in repr(check.progress())


def test_several_writers_lose_nothing(own_progress_file):
    threads = [threading.Thread(target=attempts.record, args=(f"exercise {i}", True))
               for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attempts.load()) == 12
    assert list(own_progress_file.parent.glob("*.tmp")) == []
