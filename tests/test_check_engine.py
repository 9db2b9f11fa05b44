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
from resnet_helpers.check import attempts, engine
from resnet_helpers.check.engine import Open, Verdict, Wrong, call, choose, exercise, expect_tensor, is_blank
from resnet_helpers.check.grade import CurrentPython


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


@pytest.mark.parametrize("answer", [..., blank, blank_with_docstring, blank_with_pass, Blank, BlankMethods, [..., ...],
                                    {"a": ..., "b": ...}])
def test_blank_answers_are_open_and_not_counted(make_check, own_progress_file, answer):
    verdict = make_check(pytest.fail)(answer)
    assert verdict.state == "open" and "not attempted yet" in verdict.message and "check.hint" in verdict.message
    assert not own_progress_file.exists()


class Inheriting(HalfWritten):
    sizes = (1, 2)


@pytest.mark.parametrize("answer", [None, 0, "", [], {}, [..., 1], {"a": ..., "b": 2}, HalfWritten, Inheriting,
                                    nn.Module, len, lambda x: x, lambda: 5, lambda: "text", lambda: (1, 2),
                                    lambda x: x + 1])
def test_what_is_written_is_looked_at(answer):
    assert not is_blank(answer)


def test_no_answer_is_open_and_too_many_are_explained(make_check):
    looked_at = make_check(lambda answer: "right")
    assert looked_at().state == "open"
    verdict = looked_at(1, 2)
    assert verdict.state == "wrong" and "takes 1 answer: check.sample(answer), but: too many" in verdict.message


def test_answers_may_be_named(make_check):
    looked_at = make_check(lambda answer: f"right, {answer}")
    assert looked_at(answer=3).message.startswith("right, 3")
    assert looked_at(answer=...).state == "open"
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


@pytest.mark.parametrize(("error", "told"), [
    (Wrong("one too many"), "one too many"),
    (ZeroDivisionError("division by zero"), "your code raised ZeroDivisionError: division by zero"),
    (SystemExit(3), "your code raised SystemExit: 3"),
    (RecursionError(), "your code raised RecursionError"),
    (MemoryError(), "your code raised MemoryError"),
    (KeyboardInterrupt(), "interrupted"),
    (GeneratorExit(), "your code raised GeneratorExit"),
])
def test_no_error_gets_out(make_check, error, told):
    verdict = make_check(raises(error))(1)
    assert verdict.state == "wrong" and not verdict.solved and told in verdict.message


def test_the_line_that_failed_is_named(make_check):
    def readers_code(x):
        return x / 0  # here

    message = make_check(lambda answer: answer(1))(readers_code).message
    assert "in readers_code, line" in message and message.endswith("return x / 0  # here")


@pytest.mark.parametrize("endless", [
    lambda: next(iter(int, 1)) if all(True for _ in iter(int, 1)) else None,
    lambda: time.sleep(1e6),
    lambda: threading.Event().wait(),
], ids=["loop", "sleep", "wait"])
def test_endless_code_is_stopped(make_check, endless):
    verdict = make_check(lambda answer: answer(), seconds=0.2)(endless)
    assert verdict.state == "wrong" and "still running after 0.2 seconds" in verdict.message


def test_a_loop_that_catches_everything_is_stopped_all_the_same(make_check):
    caught = []

    def stubborn():
        while len(caught) < 2:
            try:
                while True:
                    time.sleep(0.01)
            except BaseException as error:
                caught.append(error)

    assert "still running" in make_check(lambda answer: answer(), seconds=0.1)(stubborn).message
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


def test_changed_inputs_are_found():
    with pytest.raises(Wrong, match="it changes its input"):
        call(lambda X: X.add_(1), torch.zeros(2), what="it")
    assert call(lambda X, n: X + n, torch.zeros(2), 3).tolist() == [3, 3]


@pytest.mark.parametrize(("value", "told"), [
    (None, "returns None: is the last line a `return`"), (3, "returns 3"), ("x" * 100, "the string"),
    (nn.Linear, "the class Linear"), ([1], "a list"), (torch.zeros(3), r"shape \(3,\), where \(2,\)"),
    (torch.tensor([1.0, float("nan")]), "not a number"),
])
def test_what_is_no_such_tensor_is_described(value, told):
    with pytest.raises(Wrong, match=told):
        expect_tensor(value, (2,))


# --- questions ---

QUESTIONS = {"1": ("b", {"a": "too small", "b": "just right"}), "2": ("a", {"a": "yes", "b": "no"})}


@pytest.mark.parametrize(("answers", "told"), [
    ({"1": "a", "2": "a"}, "question 1: not a. too small"), ({"1": "b", "2": "b"}, "question 2: not b. no"),
    ({"1": "b"}, "question 2 has no answer"), ({"1": "c", "2": "a"}, "letters a, b, got 'c'"),
    ({"1": 7, "2": "a"}, "got 7"), ({"1": ["a"], "2": "a"}, r"got \['a'\]"), ("ba", "must be a dict"), ([], "a list"),
])
def test_wrong_answers_to_questions_are_explained(answers, told):
    with pytest.raises(Wrong, match=told):
        choose(answers, QUESTIONS)


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
    looked_at = make_check(lambda answer: "right" if answer else raises(Wrong("no"))(0))
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
from resnet_helpers.check.engine import exercise
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
