"""Grading a folder of notebooks: what is run and how, the table, and what goes wrong.

Starting a kernel takes seconds. Four notebooks are run for all the tests here, in `graded` and `stopped`.
"""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from resnet_helpers.check import EXERCISES, grade
from resnet_helpers.check.attempts import FORMAT, progress_file, record
from resnet_helpers.check.grade import Grade

RIGHT = "[(4, 3, 6, 6), (4, 8, 6, 6), (4, 6, 3, 3), (1, 16, 4, 4), (2, 8, 3, 2)]"
IMPORT = "from resnet_helpers import check"
OPEN = "check.block_parameters(...)"
DAMAGED = '{"cells": [\n {"cell_type": "code"'
TEACHERS = '{"format": "resnet_helpers progress, version 1", "exercises": {}}\n'
SOLVED_NAME, WRONG_NAME = "=2+3 Käthe.ipynb", "Jörg & Zoë/week 1/02 my block.ipynb"


def hand_in(path, *sources, kernel="no-such-kernel"):
    """Write a notebook; a source that begins with # and a blank is text."""
    cells = [nbformat.v4.new_markdown_cell(s) if s.startswith("# ") else nbformat.v4.new_code_cell(s) for s in sources]
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


def rows(table):
    """{notebook: {column: text}} of a CSV, in its order."""
    return {row["notebook"]: row for row in csv.DictReader(io.StringIO(table, newline=""))}


def columns(row):
    """{exercise: mark} of the columns that are not empty."""
    return {name: row[name] for name in EXERCISES if row[name]}


@contextlib.contextmanager
def stdout_to(path):
    """Send what this process and those it starts write to stdout into a file."""
    stdout = os.dup(1)
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


# --- one run, looked at from all sides ---

@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """All kinds of notebooks, graded: (exit status, table, lines on stderr, stdout, files before, files after)."""
    base = tmp_path_factory.mktemp("graded")
    folder, teachers, kernels = base / "handed in", base / "teachers.json", base / "jupyter"
    teachers.write_text(TEACHERS)
    spec = kernels / "kernels" / "python3" / "kernel.json"  # a kernel that is installed under this name, and broken
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["no-such-python"], "display_name": "other", "language": "python"}))
    hand_in(folder / SOLVED_NAME, "# Exercises", "raise RuntimeError('before')", IMPORT, f"shapes = {RIGHT}",
            # What a run must be like, or the answer is wrong: alone in its folder, this Python, nothing of a teacher's.
            f"import os, sys\nif (os.listdir() != [{SOLVED_NAME!r}] or sys.executable != {sys.executable!r}\n"
            f"        or {str(teachers)!r} in os.environ.values() or {str(folder)!r} in os.getcwd()):\n    shapes = []",
            "os.write(1, b'1,2,3\\n'), print('4,5,6'), os.system('echo 7,8,9')",  # not among a printed table
            "check.block_shapes(shapes)",
            f"with open({SOLVED_NAME!r}, 'w') as file:\n    file.write('changes its own copy')",
            "raise RuntimeError('after')", OPEN)
    hand_in(folder / WRONG_NAME, IMPORT, "check.block_shapes([])", "", OPEN)
    hand_in(folder / "no checks.ipynb", "# check.block_shapes(shapes)", "print('hello')", "check = 1")
    hand_in(folder / "notes.ipynb", "# Notes")
    (folder / "@broken.ipynb").write_text(DAMAGED)
    (folder / "block_shapes.py").write_text("raise RuntimeError('lay beside the notebooks')")
    for hidden in (".ipynb_checkpoints/a.ipynb", ".trash/a.ipynb", "Jörg & Zoë/.ipynb_checkpoints/a.ipynb",
                   "._a.ipynb"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text(DAMAGED)

    def files():
        return {path: path.read_bytes() for path in [*folder.rglob("*"), teachers] if path.is_file()}

    before, stderr, output = files(), io.StringIO(), base / "grades.csv"
    output.write_text("an older table")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(stderr), stdout_to(base / "stdout"):
        patch.setenv("RESNET_HELPERS_PROGRESS", str(teachers))
        patch.setenv("JUPYTER_PATH", str(kernels))
        status = grade.main([str(folder), "--output", str(output)])
    return status, output.read_bytes(), stderr.getvalue().splitlines(), (base / "stdout").read_text(), before, files()


def test_the_verdicts_are_in_the_table(graded):
    table = rows(graded[1].decode("utf-8"))
    solved, wrong = table["'" + SOLVED_NAME], table[WRONG_NAME]
    assert (solved["solved"], columns(solved), solved["trouble"]) == ("1", {"block_shapes": "1"}, "")
    assert (wrong["solved"], columns(wrong), wrong["trouble"]) == ("0", {"block_shapes": "0"}, "")


def test_the_table_has_a_column_per_exercise_and_a_line_per_notebook(graded):
    header, *lines = csv.reader(io.StringIO(graded[1].decode("utf-8"), newline=""))
    assert header[:2] == ["notebook", "solved"] and header[-1] == "trouble"
    assert sorted(header[2:-1]) == sorted(EXERCISES)
    assert [EXERCISES[name].notebook for name in header[2:-1]] == sorted(e.notebook for e in EXERCISES.values())
    assert [line[0] for line in lines] == ["'" + SOLVED_NAME, "'@broken.ipynb", WRONG_NAME, "no checks.ipynb",
                                           "notes.ipynb"]
    assert graded[1].count(b"\r\n") == graded[1].count(b"\n") == 6


def test_trouble_is_told_in_words_and_in_the_exit_status(graded):
    table = rows(graded[1].decode("utf-8"))
    assert table["'@broken.ipynb"]["trouble"].startswith("not a notebook: the JSON is damaged in line 2")
    for name in ("no checks.ipynb", "notes.ipynb"):
        assert table[name]["trouble"] == "no checks in it, so it was not run"
        assert (table[name]["solved"], columns(table[name])) == ("0", {})
    assert graded[0] == 1


def test_each_notebook_gets_a_line_as_it_is_done(graded):
    lines = graded[2]
    assert [line[:5] for line in lines] == [f"[{i}/5]" for i in range(1, 6)]
    assert lines[0] == f"[1/5] {SOLVED_NAME}: 1 solved, 0 wrong"
    assert lines[2] == f"[3/5] {WRONG_NAME}: 0 solved, 1 wrong"
    assert "JSON is damaged" in lines[1] and "no checks" in lines[4]


def test_what_notebooks_print_does_not_get_out(graded):
    assert graded[3] == ""


def test_nothing_that_was_handed_in_changes_nor_the_teachers_progress(graded):
    before, after = graded[4:]
    assert len(before) == 11 and after == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Two notebooks that do not come to their end, run at the same time: (exit status, stdout, stderr, files left)."""
    folder = tmp_path_factory.mktemp("stopped") / "handed in"
    temporary = tmp_path_factory.mktemp("temporary")
    # The check's own way into the file would import PyTorch, which can take longer than the limit.
    noted = json.dumps({"format": FORMAT, "exercises": {"block_shapes": {"solved": True, "attempts": 1}}})
    note = f"import os, pathlib, time\npathlib.Path(os.environ['RESNET_HELPERS_PROGRESS']).write_text({noted!r})"
    later = ["os.remove(os.environ['RESNET_HELPERS_PROGRESS'])", IMPORT, "check.block_shapes(...)"]
    hand_in(folder / "endless.ipynb", note, "\nwhile True: time.sleep(1)", *later)
    hand_in(folder / "dies.ipynb", note, "", "os._exit(1)", *later)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(temporary))
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        stderr = io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = grade.main([str(folder), "--cell-timeout", "4", "--jobs", "2", "--quiet"])
    return status, stdout.buffer.getvalue().decode("utf-8"), stderr.getvalue(), list(temporary.iterdir())


def test_an_endless_cell_is_stopped_and_what_was_checked_before_counts(stopped):
    row = rows(stopped[1])["endless.ipynb"]
    assert row["trouble"] == ("code cell 2 (while True: time.sleep(1)) ran longer than the limit of 4 seconds; "
                              "the cells after it were not run")
    assert (row["solved"], columns(row)) == ("1", {"block_shapes": "1"})


def test_a_kernel_that_dies_is_trouble_and_what_was_checked_before_counts(stopped):
    row = rows(stopped[1])["dies.ipynb"]
    assert row["trouble"] == "the kernel died in code cell 2 (os._exit(1)); the cells after it were not run"
    assert (row["solved"], columns(row)) == ("1", {"block_shapes": "1"})


def test_quiet_run_prints_the_table_alone_and_leaves_nothing_behind(stopped):
    status, table, stderr, left = stopped
    assert (status, stderr, left) == (1, "", [])
    assert list(rows(table)) == ["dies.ipynb", "endless.ipynb"]


# --- what is a notebook ---

@pytest.mark.parametrize("content, reason", [
    (b"", "the JSON is damaged (the file is empty)"),
    (DAMAGED.encode(), "the JSON is damaged in line 2"),
    (b"PK\x03\x04\xff\xfe\x9c", "the file holds no text"),
    (b"[" * 100_000, "the JSON holds no cells"),
    (b"[]", "the JSON holds no cells"),
    (b"null", "the JSON holds no cells"),
    (b"{}", "the JSON holds no cells"),
    (b'{"cells": 3}', "the JSON holds no cells"),
    (b'{"cells": ["print(1)"]}', "the JSON holds no cells"),
    (b'{"cells": [{"cell_type": "code", "source": [1]}]}', "the JSON holds no cells"),
    (b'{"cells": [{"cell_type": "code"}]}', "the JSON holds no cells"),
    (b'{"worksheets": [{"cells": []}]}', "the JSON holds no cells"),
    (b'{"cells": []}', "no checks in it"),
    (b'{"cells": [{"cell_type": "markdown", "source": "check.block_shapes(x)"}]}', "no checks in it"),
    (b'{"cells": [{"cell_type": "code", "source": "check.no_such_exercise(x)"}]}', "no checks in it"),
])
def test_a_file_that_cannot_be_graded_says_why(tmp_path, content, reason):
    (tmp_path / "a.ipynb").write_bytes(content)
    result = grade.grade(tmp_path, Path("a.ipynb"))
    assert reason in result.trouble and result.verdicts == {} and result.solved == 0
    assert result.trouble.startswith(("not a notebook: ", "no checks"))


def test_a_source_is_a_string_or_a_list_of_lines(tmp_path):
    cells = [{"cell_type": "code", "source": source} for source in ("a\nb", ["a\n", "b"], "", [], " \n")]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8-sig")
    assert grade.read_code(tmp_path / "a.ipynb") == ["a\nb", "a\nb"]


@pytest.mark.parametrize("sources", [
    [IMPORT, "check.block_shapes(shapes)"],
    ["from resnet_helpers.check import block_shapes", "block_shapes(shapes)"],
    ["from resnet_helpers import check as c", "c.block_shapes(\n    shapes)"],
])
def test_checks_are_found_however_they_are_called(sources):
    assert grade.has_checks(sources)
    assert not grade.has_checks([source.replace("block_shapes", "my_block_shapes") for source in sources])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_and_pipes_are_not_followed(tmp_path):
    folder = tmp_path / "handed in"
    hand_in(tmp_path / "another's.ipynb", IMPORT, f"check.block_shapes({RIGHT})")
    folder.mkdir()
    (folder / "link.ipynb").symlink_to(tmp_path / "another's.ipynb")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.ipynb").symlink_to(tmp_path / "no such file")
    os.mkfifo(folder / "pipe.ipynb")
    results = grade.grade_folder(folder)
    assert [r.name for r in results] == ["link.ipynb", "nowhere.ipynb", "pipe.ipynb"]
    assert all(r.trouble.startswith("not a notebook: not a file") for r in results)


# --- the progress file of a run ---

def written(path, **entries):
    path.write_text(json.dumps({"format": FORMAT, "exercises": entries}))


def test_verdicts_of_exercises_are_read_and_nothing_else(tmp_path):
    file = tmp_path / "run.json"
    assert grade.read_verdicts(file) == {}
    written(file, block_shapes={"solved": True, "attempts": 2}, block_parameters={"solved": False, "attempts": 1},
            no_such_exercise={"solved": True}, block_questions={"solved": "yes"})
    assert grade.read_verdicts(file) == {"block_shapes": True, "block_parameters": False, "block_questions": False}


def test_what_the_checks_note_is_what_is_read():
    record("block_shapes", False)
    assert grade.read_verdicts(progress_file()) == {"block_shapes": False}
    record("block_shapes", True)
    assert grade.read_verdicts(progress_file()) == {"block_shapes": True}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}', "\ud800", "[" * 100_000, " " * 2_000_000,
                                  json.dumps({"format": FORMAT, "exercises": {"block_shapes": 1}}),
                                  json.dumps({"format": FORMAT, "exercises": None}),
                                  json.dumps({"format": FORMAT})])
def test_a_progress_file_that_was_tampered_with_is_trouble(tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ValueError, match="its progress file is damaged"):
        grade.read_verdicts(tmp_path / "run.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_a_progress_file_that_is_a_link_or_a_pipe_is_not_read(tmp_path):
    written(tmp_path / "another's.json", block_shapes={"solved": True, "attempts": 1})
    (tmp_path / "link.json").symlink_to(tmp_path / "another's.json")
    (tmp_path / "dangling.json").symlink_to(tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("link.json", "dangling.json", "pipe.json"):
        with pytest.raises(ValueError, match="damaged"):
            grade.read_verdicts(tmp_path / name)


# --- the table ---

@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t1", "\n=1", "＝1", "＠1"])
def test_no_name_becomes_a_formula(name):
    line = list(csv.reader(io.StringIO(grade.to_csv([Grade(Path(name), trouble=name)]), newline="")))[1]
    assert line[0] == line[-1] == "'" + name


@pytest.mark.parametrize("name", ["anna.ipynb", "a=1.ipynb", "Ünal Ç/ü ß 漢.ipynb", "a, \"b\"\nc.ipynb", "'=1.ipynb"])
def test_other_names_stay_as_they_are(name):
    line = list(csv.reader(io.StringIO(grade.to_csv([Grade(Path(name))]), newline="")))[1]
    assert line[0] == name


def test_a_semicolon_in_a_name_begins_no_new_cell():
    table = grade.to_csv([Grade(Path("a;=1+1;b.ipynb"))])
    assert list(csv.reader(io.StringIO(table, newline=""), delimiter=";"))[1][0].startswith("a;=1+1;b.ipynb")


def test_a_name_that_is_no_text_can_be_written():
    result = Grade(Path(os.fsdecode(b"J\xf6rg.ipynb")))
    assert "J\ufffdrg.ipynb" in grade.to_csv([result]).encode("utf-8").decode("utf-8")


def test_lines_on_the_screen_hold_nothing_that_moves_the_cursor():
    assert str(Grade(Path("a\x1b[2J\rb.ipynb"), {"block_shapes": True})) == "a?[2J?b.ipynb: 1 solved, 0 wrong"


# --- the command line ---

@pytest.mark.slow
def test_command_prints_the_table_and_a_line_per_notebook(tmp_path):
    (tmp_path / "Jörg.ipynb").write_text(DAMAGED)
    run = subprocess.run([sys.executable, "-m", "resnet_helpers.check.grade", str(tmp_path)], capture_output=True,
                         env={**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"})
    assert run.returncode == 1
    assert run.stderr.decode().splitlines() == ["[1/1] J\\xf6rg.ipynb: 0 solved, 0 wrong; not a notebook: the JSON is "
                                                "damaged in line 2 (Expecting ',' delimiter)"]
    assert list(rows(run.stdout.decode("utf-8"))) == ["Jörg.ipynb"]


def test_a_folder_that_cannot_be_read_is_told_before_anything_is_run(monkeypatch, tmp_path, capsys):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", "handed-in/anna"))
    monkeypatch.setattr(grade.os, "walk", walk)
    monkeypatch.setattr(grade, "grade_folder", lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as end:
        grade.main([str(tmp_path)])
    assert end.value.code == 2
    assert "handed-in/anna cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, reason", [
    (["nowhere"], "there is no folder nowhere"),
    (["file.ipynb"], "file.ipynb is not a folder"),
    (["empty"], "there are no notebooks (*.ipynb) in empty"),
    ([], "FOLDER"),
    (["full", "--jobs", "0"], "at least 1"),
    (["full", "--cell-timeout", "-5"], "at least 1"),
    (["full", "--cell-timeout", "soon"], "--cell-timeout"),
    (["full", "--output", "full"], "full is a folder"),
    (["full", "--output", "nowhere/grades.csv"], "there is no folder nowhere for grades.csv"),
    (["full", "--output", "full/a.ipynb"], "would overwrite a notebook"),
])
def test_wrong_usage_is_told_before_anything_is_run(monkeypatch, tmp_path, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    for path in ("file.ipynb", "full/a.ipynb", "empty/.ipynb_checkpoints/a.ipynb", "empty/a.txt"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(DAMAGED)
    monkeypatch.setattr(grade, "grade", None)
    with pytest.raises(SystemExit) as exit:
        grade.main(arguments)
    assert exit.value.code == 2 and reason in capsys.readouterr().err.splitlines()[-1]
    assert Path("full/a.ipynb").read_text() == DAMAGED


def test_help_warns_that_notebooks_are_run(capsys):
    with pytest.raises(SystemExit) as exit:
        grade.main(["--help"])
    text = capsys.readouterr().out
    assert exit.value.code == 0 and "they are RUN" in text and "container" in text
    assert "RUNS them" in grade.__doc__ and "container" in grade.__doc__


def test_all_could_be_run_is_status_0(monkeypatch, tmp_path, capsys):
    (tmp_path / "a.ipynb").write_text(DAMAGED)
    monkeypatch.setattr(grade, "grade", lambda folder, path, *_: Grade(path, {"block_shapes": False}))
    assert grade.main([str(tmp_path), "--output", str(tmp_path / "grades.csv")]) == 0
    assert capsys.readouterr() == ("", "[1/1] a.ipynb: 0 solved, 1 wrong\n")


def test_a_table_that_cannot_be_written_is_printed(monkeypatch, tmp_path, capsysbinary):
    (tmp_path / "a.ipynb").write_text(DAMAGED)
    monkeypatch.setattr(grade, "grade", lambda folder, path, *_: Grade(path))
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert grade.main([str(tmp_path), "--output", str(tmp_path / "grades.csv"), "--quiet"]) == 1
    out, err = capsysbinary.readouterr()
    assert list(rows(out.decode("utf-8"))) == ["a.ipynb"] and b"disk full" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.ipynb"]


def test_ctrl_c_stops_the_runs_and_writes_nothing(monkeypatch, tmp_path, capsys):
    for name in "abcd":
        (tmp_path / f"{name}.ipynb").write_text(DAMAGED)
    started = []

    def endless(folder, path, cell_timeout, environment, stop):
        started.append((path.name, environment))
        if path.name != "a.ipynb":
            assert stop.wait(60)
        return Grade(path)

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "grade", endless)
    monkeypatch.setattr(Grade, "__str__", interrupted)
    monkeypatch.setenv("OMP_NUM_THREADS", "6")  # from the package itself, where a container limits the cores
    monkeypatch.setattr(grade, "IS_FIXED", False)
    monkeypatch.setattr(grade, "usable_cores", lambda: 6)
    output = tmp_path / "grades.csv"
    output.write_text("an older table")
    assert grade.main([str(tmp_path), "--output", str(output), "--jobs", "2"]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err and output.read_text() == "an older table"
    assert "d.ipynb" not in dict(started) and all(e == {"OMP_NUM_THREADS": "3"} for _, e in started)
