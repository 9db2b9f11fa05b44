"""How checks treat answers: blank ones, broken ones, endless ones; and how progress is kept."""

import json
import os
import random
import threading
import time

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
    finish_lazy_layers,
    is_blank,
)


@pytest.fixture(autouse=True)
def own_progress_file(monkeypatch, tmp_path):
    path = tmp_path / "progress" / "progress.json"
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(path))
    monkeypatch.setattr(attempts, "_unsaved", {})
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


# --- blank answers ---

def blank(x): ...


def blank_with_docstring(x):
    """To be written."""


def blank_with_pass(x, y=3):
    pass


class Blank(nn.Module):
    """To be written."""


class BlankMethods(nn.Module):
    def __init__(self, input_channels):
        ...

    def forward(self, X):
        pass


class HalfWritten(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, X):
        ...


def test_blank_answers_are_open_and_not_counted(make_check, own_progress_file):
    looked_at = make_check(pytest.fail)
    verdicts = [(answer, looked_at(answer)) for answer in (
        ..., blank, blank_with_docstring, blank_with_pass, Blank, BlankMethods, [..., ...], {"a": ..., "b": ...})]
    assert [(answer, verdict) for answer, verdict in verdicts if (verdict.state, verdict.code) != ("open", "")] == []
    assert "not attempted yet" in verdicts[0][1].message and "check.hint" in verdicts[0][1].message
    assert not own_progress_file.exists()


class Inheriting(HalfWritten):
    sizes = (1, 2)


def test_what_is_written_is_looked_at():
    assert [answer for answer in (
        None, 0, "", [], {}, [..., 1], {"a": ..., "b": 2}, HalfWritten, Inheriting, nn.Module, len, lambda x: x,
        lambda: 5, lambda: "text", lambda: (1, 2), lambda x: x + 1) if is_blank(answer)] == []


def test_no_answer_is_open_and_too_many_are_explained(make_check):
    looked_at = make_check(lambda answer: "right")
    assert looked_at().state == "open"
    verdict = looked_at(1, 2)
    assert (verdict.state, verdict.code) == ("wrong", "wrong_number_of_answers")
    assert "takes 1 answer: check.sample(answer), but: too many" in verdict.message


def test_answers_may_be_named(make_check):
    looked_at = make_check(lambda answer: f"right, {answer}")
    assert looked_at(answer=3).message.startswith("right, 3")
    assert looked_at(answer=...).state == "open"
    assert looked_at(count=3).code == "wrong_number_of_answers"
    assert "but: missing a required argument: 'answer'" in looked_at(count=3).message


def test_what_a_check_finds_does_not_depend_on_what_is_switched_off_around_it(make_check):
    def examine(answer):
        return f"{torch.is_grad_enabled()}, {torch.zeros(1).dtype}"

    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    try:
        verdict = make_check(examine)(1)
        assert not torch.is_grad_enabled() and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    assert verdict.message.startswith("True, torch.float32")


# --- whatever the reader's code does ---

def raises(error):
    def run(_):
        raise error
    return run


def test_no_error_gets_out(make_check):
    expected = {  # error -> code and message
        Wrong("one_too_many", "there is one too many"): ("one_too_many", "there is one too many"),
        ZeroDivisionError("by zero"): ("raised", "your code raised ZeroDivisionError: by zero"),
        SystemExit(3): ("raised", "your code raised SystemExit: 3"),
        RecursionError(): ("raised", "your code raised RecursionError"),
        MemoryError(): ("raised", "your code raised MemoryError"),
        GeneratorExit(): ("raised", "your code raised GeneratorExit"),
        KeyboardInterrupt(): ("interrupted", "interrupted before there was a result"),
    }
    verdicts = {error: make_check(raises(error))(1) for error in expected}
    assert {error: (v.state, v.code, v.solved, v.message[:len(expected[error][1])]) for error, v in verdicts.items()} \
        == {error: ("wrong", code, False, told) for error, (code, told) in expected.items()}


def test_a_right_answer_and_an_open_one_have_no_code(make_check):
    right, blank = make_check(lambda answer: "right")(1), make_check(raises(Open("nothing changed")))(1)
    assert (right.state, right.code, blank.state, blank.code) == ("solved", "", "open", "")


def test_a_code_is_not_shown_and_stays_with_the_message():
    wrong = Wrong("input_never_added", "the input is never added.")
    assert (str(wrong), wrong.code) == ("the input is never added.", "input_never_added")
    verdict = Verdict("a block", "wrong", str(wrong), wrong.code)
    assert "input_never_added" not in repr(verdict) and "input_never_added" not in verdict._repr_html_()


def test_the_line_that_failed_is_named(make_check):
    def readers_code(x):
        return x / 0  # here

    message = make_check(lambda answer: answer(1))(readers_code).message
    assert "in readers_code, line" in message and message.endswith("return x / 0  # here")


def test_endless_code_is_stopped(make_check):
    looked_at = make_check(lambda answer: answer(), seconds=0.1)
    verdicts = {"loop": looked_at(lambda: all(True for _ in iter(int, 1))), "sleep": looked_at(lambda: time.sleep(1e6)),
                "wait": looked_at(lambda: threading.Event().wait())}
    assert {name: verdict.code for name, verdict in verdicts.items()} == dict.fromkeys(verdicts, "never_ends")
    assert "still running after 0.1 seconds" in verdicts["loop"].message


def test_a_loop_that_catches_everything_is_stopped_all_the_same(make_check):
    caught = []

    def stubborn():
        while len(caught) < 2:
            try:
                while True:
                    time.sleep(0.01)
            except BaseException as error:
                caught.append(error)

    assert make_check(lambda answer: answer(), seconds=0.1)(stubborn).code == "never_ends"
    assert len(caught) == 2


def test_without_a_main_thread_a_check_still_works(make_check):
    looked_at, verdicts = make_check(lambda answer: "right"), []
    thread = threading.Thread(target=lambda: verdicts.append(looked_at(1)))
    thread.start()
    thread.join()
    assert verdicts[0].solved


def test_checks_leave_the_readers_state_alone(make_check):
    def meddle(_):
        torch.manual_seed(5)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        return "right"

    state = torch.get_rng_state()
    assert make_check(meddle)(1).solved
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


# --- what checks look at ---

def refusal(look, *args, **kwargs):
    """(code, message) of the Wrong that this raises; two None if it raises none."""
    try:
        look(*args, **kwargs)
    except Wrong as wrong:
        return wrong.code, str(wrong)
    return None, None


def test_changed_inputs_are_found():
    code, message = refusal(call, lambda X: X.add_(1), torch.zeros(2), what="it")
    assert code == "changes_input" and message.startswith("it changes its input")
    assert call(lambda X, n: X + n, torch.zeros(2), 3).tolist() == [3, 3]


def test_what_is_no_such_tensor_is_described():
    expected = (
        (None, "returns_none", "returns None: is the last line a `return`"),
        (3, "returns_no_tensor", "returns 3"),
        ("x" * 100, "returns_no_tensor", "the string"),
        (nn.Linear, "returns_no_tensor", "the class Linear"),
        ([1], "returns_no_tensor", "a list"),
        (torch.zeros(3), "wrong_shape", "shape (3,), where (2,)"),
        (torch.tensor([1.0, float("nan")]), "not_finite", "not a number"),
    )
    refusals = [refusal(expect_tensor, value, (2,)) for value, _, _ in expected]
    assert [code for code, _ in refusals] == [code for _, code, _ in expected]
    assert [told for (_, _, told), (_, message) in zip(expected, refusals, strict=True) if told not in message] == []
    assert refusal(expect_tensor, torch.zeros(2), (2,)) == (None, None)


def test_what_is_no_number_class_or_function_has_a_code():
    def expect_layer_that_fits(width):
        finish_lazy_layers(nn.Sequential(nn.LazyLinear(3), nn.Linear(width, 2)), (1, 5))

    expected = (
        ("no_number", expect_number, "3"), ("no_number", expect_number, True), (None, expect_number, torch.tensor(3)),
        ("object_for_class", expect_class, nn.ReLU()), ("no_class", expect_class, int), (None, expect_class, nn.ReLU),
        ("no_function", expect_function, nn.ReLU, "X"), ("no_function", expect_function, 3, "X"),
        ("wrong_arguments", expect_function, lambda X, Y: X, "X"), (None, expect_function, lambda X: X, "X"),
        ("wrong_arguments", expect_arguments, lambda X: X, "it takes X"),
        ("does_not_run", expect_layer_that_fits, 4), (None, expect_layer_that_fits, 3),
    )
    assert [(refusal(look, *args)[0], look, *args) for _, look, *args in expected] == list(expected)


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


# --- questions ---

QUESTIONS = {"1": ("b", {"a": "too small", "b": "just right"}), "2": ("a", {"a": "yes", "b": "no"})}


def test_wrong_answers_to_questions_are_explained():
    expected = (
        ({"1": "a", "2": "a"}, "question_1_a", "question 1: not a. too small"),
        ({"1": "b", "2": "b"}, "question_2_b", "question 2: not b. no"),
        ({1: " B ", 2: "B"}, "question_2_b", "question 2: not b. no"),
        ({"1": "b"}, "no_answer", "question 2 has no answer"),
        ({"1": "c", "2": "a"}, "no_letter", "letters a, b, got 'c'"),
        ({"1": 7, "2": "a"}, "no_letter", "got 7"),
        ({"1": ["a"], "2": "a"}, "no_letter", "got ['a']"),
        ("ba", "no_dict", "must be a dict"),
        ([], "no_dict", "a list"),
    )
    refusals = [refusal(choose, answers, QUESTIONS) for answers, _, _ in expected]
    assert [code for code, _ in refusals] == [code for _, code, _ in expected]
    assert [told for (_, _, told), (_, message) in zip(expected, refusals, strict=True) if told not in message] == []


def test_right_answers_are_explained_too():
    assert choose({"1": " B ", "2": "a"}, QUESTIONS) == "all right.\n1: just right\n2: yes"
    assert choose({1: "b", 2: "a"}, QUESTIONS) == "all right.\n1: just right\n2: yes"


# --- the box ---

def test_a_verdict_is_text_and_a_box_in_which_nothing_is_taken_for_markup():
    verdict = Verdict("a <b>title</b>", "wrong", "<script>alert(1)</script>\nand more")
    assert repr(verdict) == "✗ a <b>title</b>: <script>alert(1)</script>\nand more"
    page = verdict._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<br>and more" in page and 'role="status"' in page


# --- hints ---

def test_hints_come_one_by_one_and_begin_again(monkeypatch):
    monkeypatch.setattr(check, "_hints_given", {})
    hints = check.EXERCISES["residual_block"].hints
    texts = [check.hint("residual_block").message for _ in range(len(hints) + 1)]
    assert all(hint in text for hint, text in zip(hints, texts, strict=False))
    assert texts[0].startswith(f"hint 1 of {len(hints)}") and "last one" in texts[len(hints) - 1]
    assert texts[-1] == texts[0]
    assert check.hint(check.residual_block).message.startswith("hint 2")


def test_an_unknown_exercise_is_refused_with_the_names():
    with pytest.raises(ValueError, match="no exercise 'residual'.*residual_block"):
        check.hint("residual")


def test_every_exercise_can_be_called_by_its_name_and_has_hints():
    assert len(check.EXERCISES) >= 14
    for name, e in check.EXERCISES.items():
        assert getattr(check, name)(...).state == "open" and name in check.__all__
        assert e.notebook in (1, 2, 3, 4) and e.hints


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


def test_nothing_attempted_is_not_counted(make_check):
    assert make_check(raises(Open("all broken")))(1).state == "open"
    assert attempts.load() == {}


def test_the_summary_names_every_exercise_and_its_state(own_progress_file):
    attempts.record("residual_block", True)
    attempts.record("bottleneck_block", False)
    summary = check.progress()
    assert summary.solved == ["residual_block"]
    text, page = repr(summary), summary._repr_html_()
    assert f"1 of {len(check.EXERCISES)} exercises solved" in text and f"1 of {len(check.EXERCISES)} exercises" in page
    assert "✓ write the block" in text and "… bottleneck" in text and "○ predict shapes" in text
    assert all("check.progress_file() names" in shown and str(own_progress_file) not in shown for shown in (text, page))
    assert check.progress_file() == own_progress_file


DAMAGED = ["", "{", "[]", "null", '{"format": "other", "exercises": {}}', '{"format": 1}', "\x00" * 10, "[" * 100_000,
           json.dumps({"format": attempts.FORMAT, "exercises": [1]}),
           json.dumps({"format": attempts.FORMAT, "exercises": {"a": 1}}),
           *(json.dumps({"format": attempts.FORMAT, "exercises": {"a": {"solved": True, "attempts": number}}})
             for number in ("x", float("inf"), float("nan")))]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_left_as_it_is_and_progress_kept_for_the_session(make_check, own_progress_file, content):
    own_progress_file.parent.mkdir()
    own_progress_file.write_text(content, encoding="utf-8")
    verdict = make_check(lambda answer: "right")(1)
    assert verdict.solved and "for this session only" in verdict.message and "Move or delete it" in verdict.message
    assert own_progress_file.read_text(encoding="utf-8") == content
    assert "cannot be read" in repr(check.progress())
    own_progress_file.unlink()
    assert attempts.load() == {"sample": {"solved": True, "attempts": 1}}  # and saved with the next attempt
    attempts.record("other", False)
    assert set(json.loads(own_progress_file.read_text(encoding="utf-8"))["exercises"]) == {"sample", "other"}


def test_a_folder_that_cannot_be_written_is_told_and_progress_kept_for_the_session(monkeypatch, tmp_path, make_check):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(tmp_path / "file" / "progress.json"))
    verdict = make_check(lambda answer: "right")(1)
    assert verdict.solved and "for this session only" in verdict.message
    assert attempts.load() == {"sample": {"solved": True, "attempts": 1}}


def test_what_was_solved_before_the_disk_was_full_stays_solved(monkeypatch, own_progress_file):
    attempts.record("a", True)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "written_whole", lambda path: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert "for this session only" in attempts.record("a", False)
        attempts.record("b", True)
    expected = {"a": {"solved": True, "attempts": 2}, "b": {"solved": True, "attempts": 1}}
    assert attempts.load() == expected
    assert attempts.record("b", False) == ""
    expected["b"]["attempts"] = 2
    assert attempts.load() == json.loads(own_progress_file.read_text(encoding="utf-8"))["exercises"] == expected


def test_random_files_give_a_value_or_a_clear_error(own_progress_file):
    own_progress_file.parent.mkdir()
    whole = json.dumps({"format": attempts.FORMAT, "exercises": {"a": {"solved": True, "attempts": 2}}}).encode()
    rng = random.Random(0)
    for _ in range(300):
        mutated = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        length = rng.randint(0, len(mutated)) if rng.random() < 0.3 else len(mutated)
        own_progress_file.write_bytes(bytes(mutated[:length]))
        try:
            entries = attempts.load()
        except ValueError as error:
            assert "cannot be read" in str(error)
        else:
            assert all(set(e) == {"solved", "attempts"} for e in entries.values())


def test_a_disk_that_knows_no_locks_is_told_and_progress_kept_for_the_session(own_progress_file, monkeypatch):
    import filelock
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    assert "does not appear to support flock" in attempts.record("sample", True)
    assert attempts.load() == {"sample": {"solved": True, "attempts": 1}}


def test_several_writers_lose_nothing(own_progress_file):
    threads = [threading.Thread(target=attempts.record, args=(f"exercise {i}", True)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(own_progress_file.read_text(encoding="utf-8"))["exercises"]) == 12
    assert not [name for name in os.listdir(own_progress_file.parent) if name.endswith(".tmp")]


# --- in a kernel, where answers are given ---

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


def test_in_a_notebook_an_endless_answer_is_stopped_and_the_kernel_goes_on(own_progress_file):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (
        CELL, "print('still here')", "def broken():\n    return undefined_name\nprint(sample(broken))")])
    NotebookClient(notebook, timeout=120, kernel_name="python3", kernel_manager_class=CurrentPython).execute()
    stopped, after, failed = ("".join(output["text"] for output in cell.outputs) for cell in notebook.cells)
    assert "still running after 0.5 seconds" in stopped
    assert after == "still here\n"
    assert "NameError" in failed and failed.rstrip().endswith("in broken, line 2 of its cell: return undefined_name")
