"""Grading a folder of notebooks: what is run and how, the table, and what goes wrong.

Starting a kernel takes seconds. Four are run for all the tests here, in `graded` and `stopped`.
"""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest

from resnet_helpers.check import EXERCISES, attempts, grade
from resnet_helpers.check.grade import Grade
from resnet_helpers.publish import NOTEBOOKS, course_notebooks

RIGHT = "[(4, 3, 6, 6), (4, 8, 6, 6), (4, 6, 3, 3), (1, 16, 4, 4), (2, 8, 3, 2)]"
IMPORT = "from resnet_helpers import check"
OPEN = "check.block_parameters(...)"
DAMAGED = '{"cells": [\n {"cell_type": "code"'
SOLVED_NAME, WRONG_NAME = "=2+3 Käthe.ipynb", "Jörg & Zoë/week 1/02 my block.ipynb"
SHOWN_NAME = "'" + SOLVED_NAME  # in the table


def hand_in(path, *sources):
    """Write a notebook; a source that begins with # and a blank is text."""
    cells = [nbformat.v4.new_markdown_cell(source) if source.startswith("# ")
             else nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "no-such-kernel", "display_name": "none", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def rows(table):
    """{notebook: {column: text}} of a CSV, in its order."""
    return {row["notebook"]: row for row in csv.DictReader(io.StringIO(table, newline=""))}


def columns(row):
    """{exercise: mark} of the columns that are not empty."""
    return {name: row[name] for name in EXERCISES if row[name]}


def grade_one(folder, name="a.ipynb"):
    return grade.grade_notebook(folder, Path(name), 60, {}, threading.Event())


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
    """All kinds of notebooks, graded: exit status, table, stderr, stdout, files before, after."""
    base = tmp_path_factory.mktemp("graded")
    folder, teachers, kernels = base / "handed in", base / "teachers.json", base / "jupyter"
    teachers.write_text(json.dumps({"format": attempts.FORMAT, "exercises": {}}))
    spec = kernels / "kernels" / "python3" / "kernel.json"  # a broken kernel under this name
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["no-such-python"], "display_name": "other", "language": "python"}')
    # What a run must be like, or the answer is wrong: alone, this Python, nothing of a teacher's.
    test = (f"import os, sys\nif (os.listdir() != [{SOLVED_NAME!r}]\n"
            f"        or sys.executable != {sys.executable!r}\n"
            f"        or {str(teachers)!r} in os.environ.values()\n"
            f"        or {str(folder)!r} in os.getcwd()):\n    shapes = []")
    hand_in(folder / SOLVED_NAME, "# Exercises", "raise RuntimeError('before')", IMPORT,
            f"shapes = {RIGHT}", test,
            "os.write(1, b'1,2,3\\n'), print('4,5,6'), os.system('echo 7,8,9')",
            "check.block_shapes(shapes)", f"open({SOLVED_NAME!r}, 'w').write('its own copy')",
            "raise RuntimeError('after')", OPEN)
    hand_in(folder / WRONG_NAME, IMPORT, "check.block_shapes([])", "", OPEN,
            "def Residual(\ncheck.residual_block(Residual)")
    hand_in(folder / "no checks.ipynb", "# check.block_shapes(shapes)", "check = 1")
    (folder / "@broken.ipynb").write_text(DAMAGED)
    (folder / "block_shapes.py").write_text("raise RuntimeError('lay beside the notebooks')")
    for hidden in (".ipynb_checkpoints/a.ipynb", "Jörg & Zoë/.trash/a.ipynb", "._a.ipynb"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text(DAMAGED)

    def files():
        paths = [*folder.rglob("*"), teachers]
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before, stderr, output = files(), io.StringIO(), base / "grades.csv"
    output.write_text("an older table")
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(stderr),
          stdout_to(base / "stdout")):
        patch.setenv("RESNET_HELPERS_PROGRESS", str(teachers))
        patch.setenv("JUPYTER_PATH", str(kernels))
        status = grade.main([str(folder), "--output", str(output)])
    stdout = (base / "stdout").read_text()
    return status, output.read_bytes(), stderr.getvalue(), stdout, before, files()


def test_the_verdicts_are_in_the_table(graded):
    table = rows(graded[1].decode("utf-8"))
    solved, wrong = table[SHOWN_NAME], table[WRONG_NAME]
    assert solved["solved"] == "1" and columns(solved) == {"block_shapes": "1"}
    # the check never came to see an answer that is no Python, but it is one
    assert wrong["solved"] == "0" and columns(wrong) == {"block_shapes": "0",
                                                         "residual_block": "0"}
    assert solved["trouble"] == wrong["trouble"] == ""


def test_the_table_has_a_column_per_exercise_and_a_line_per_notebook(graded):
    header, *lines = csv.reader(io.StringIO(graded[1].decode("utf-8"), newline=""))
    assert header[:2] == ["notebook", "solved"] and header[-1] == "trouble"
    assert sorted(header[2:-1]) == sorted(EXERCISES)
    notebooks = [EXERCISES[name].notebook for name in header[2:-1]]
    assert notebooks == sorted(notebooks)
    assert [line[0] for line in lines] == [SHOWN_NAME, "'@broken.ipynb", WRONG_NAME,
                                           "no checks.ipynb"]
    assert graded[1].count(b"\r\n") == graded[1].count(b"\n") == 5


def test_trouble_is_told_in_words_and_in_the_exit_status(graded):
    table = rows(graded[1].decode("utf-8"))
    assert table["'@broken.ipynb"]["trouble"].startswith("not a notebook: JSONDecodeError: Expect")
    row = table["no checks.ipynb"]
    assert row["trouble"] == "no checks in it, so it was not run"
    assert (row["solved"], columns(row), graded[0]) == ("0", {}, 1)


def test_each_notebook_gets_a_line_as_it_is_done(graded):
    lines = graded[2].splitlines()
    assert [line[:5] for line in lines] == [f"[{i}/4]" for i in range(1, 5)]
    assert lines[0].startswith(f"[1/4] {SOLVED_NAME}: 1 solved, 0 wrong (")
    assert lines[2].startswith(f"[3/4] {WRONG_NAME}: 0 solved, 2 wrong (")
    assert "JSONDecodeError" in lines[1] and lines[3].endswith("no checks in it, so it was not run")


def test_the_lines_tell_how_long_the_others_will_take_at_this_pace():
    assert grade.time_left(1, 41, 30) == " (about 20 min left)"
    assert grade.time_left(40, 41, 1200) == " (less than a minute left)"
    assert grade.time_left(41, 41, 1230) == ""


def test_notebooks_print_nothing_and_change_nothing(graded):
    stdout, before, after = graded[3:]
    assert stdout == "" and len(before) == 9 and after == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Two notebooks that do not come to their end: exit status, stdout, stderr, files left."""
    folder = tmp_path_factory.mktemp("stopped") / "handed in"
    temporary = tmp_path_factory.mktemp("temporary")
    # The check's own way into the file would import PyTorch, which can take longer than the limit.
    noted = json.dumps({"format": attempts.FORMAT,
                        "exercises": {"block_shapes": {"solved": True, "attempts": 1}}})
    note = (f"import os, pathlib, time\n"
            f"pathlib.Path(os.environ['RESNET_HELPERS_PROGRESS']).write_text({noted!r})")
    later = ["os.remove(os.environ['RESNET_HELPERS_PROGRESS'])", IMPORT, "check.block_shapes(...)"]
    hand_in(folder / "endless.ipynb", note, "\nwhile True: time.sleep(1)", *later)
    hand_in(folder / "dies.ipynb", note, "", "os._exit(1)", *later)
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), encoding="ascii"), io.StringIO()
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout),
          contextlib.redirect_stderr(stderr)):
        patch.setattr("tempfile.tempdir", str(temporary))
        status = grade.main([str(folder), "--cell-timeout", "4", "--jobs", "2", "--quiet"])
    table = stdout.buffer.getvalue().decode("utf-8")
    return status, table, stderr.getvalue(), list(temporary.iterdir())


@pytest.mark.parametrize("name, trouble", [
    ("endless", "(while True: time.sleep(1)) ran longer than the limit of 4 seconds"),
    ("dies", "(os._exit(1)) ended the kernel"),
])
def test_what_was_checked_before_the_end_counts(stopped, name, trouble):
    row = rows(stopped[1])[f"{name}.ipynb"]
    assert row["trouble"] == f"code cell 2 {trouble}; the cells after it were not run"
    assert (row["solved"], columns(row)) == ("1", {"block_shapes": "1"})


def test_quiet_run_prints_the_table_alone_and_leaves_nothing_behind(stopped):
    status, table, stderr, left = stopped
    assert (status, stderr, left) == (1, "", [])
    assert list(rows(table)) == ["dies.ipynb", "endless.ipynb"]


# --- what is read of a notebook and of its progress ---

@pytest.mark.parametrize("content, trouble", [
    (b"", "not a notebook: JSONDecodeError"),
    (b"PK\x03\x04\xff\xfe\x9c", "not a notebook: UnicodeDecodeError"),
    (b"[]", "not a notebook"),
    (b'{"cells": 3}', "not a notebook"),
    (b'{"cells": [{"cell_type": "code"}]}', "not a notebook: KeyError: 'source'"),
    (b'{"cells": []}', "no checks in it"),
    (b'{"cells": [{"cell_type": "markdown", "source": "check.block_shapes(x)"}]}', "no checks"),
    (b'{"cells": [{"cell_type": "code", "source": "check.no_such_exercise(x)"}]}', "no checks"),
])
def test_a_file_that_cannot_be_graded_says_why(tmp_path, content, trouble):
    (tmp_path / "a.ipynb").write_bytes(content)
    result = grade_one(tmp_path)
    assert result.trouble.startswith(trouble) and result.verdicts == {} and result.solved == 0


@pytest.mark.parametrize("sources", [
    [IMPORT, "check.block_shapes(shapes)"],
    ["from resnet_helpers.check import block_shapes", "block_shapes(shapes)"],
    ["from resnet_helpers import check as c", "c.block_shapes(\n    shapes)"],
])
def test_checks_are_found_however_they_are_called(tmp_path, sources):
    cells = [{"cell_type": "code", "source": source}
             for source in (*sources, "", [], " \n", ["a\n", "b"])]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8-sig")
    assert grade.read_code(path) == [*sources, "a\nb"]
    path.write_text(path.read_text().replace("block_shapes", "my_block_shapes"))
    with pytest.raises(ValueError, match="no checks"):
        grade.read_code(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_and_pipes_are_not_followed(tmp_path):
    folder = tmp_path / "handed in"
    hand_in(tmp_path / "another's.ipynb", IMPORT, f"check.block_shapes({RIGHT})")
    folder.mkdir()
    (folder / "link.ipynb").symlink_to(tmp_path / "another's.ipynb")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.ipynb")
    results = grade.grade_all(folder, grade.find_notebooks(folder))
    assert [r.name for r in results] == ["link.ipynb", "pipe.ipynb"]
    assert all(r.trouble.startswith("not a notebook: not a file") for r in results)


@pytest.mark.parametrize("progress, verdicts, trouble", [
    ("", {}, "progress.json cannot be read"),
    ({"block_shapes": 1}, {}, "has other code written to it?"),
    ({"block_shapes": {"solved": True, "attempts": 2}, "other": {"solved": True, "attempts": 1},
      "block_questions": {"solved": "yes", "attempts": 1}},
     {"block_shapes": True, "block_questions": False}, ""),
])
def test_verdicts_of_exercises_are_read_and_nothing_else(
        tmp_path, monkeypatch, progress, verdicts, trouble):
    def execute(sources, own, *_):
        text = json.dumps({"format": attempts.FORMAT, "exercises": progress}) if progress else ""
        (own / "progress.json").write_text(text)
        return "", set()

    hand_in(tmp_path / "a.ipynb", IMPORT, OPEN)
    monkeypatch.setattr(grade, "_execute", execute)
    result = grade_one(tmp_path)
    assert result.verdicts == verdicts and trouble in result.trouble
    assert bool(result.trouble) == bool(trouble)


# --- the table ---

def test_exercises_have_the_numbers_that_the_notebooks_give_them():
    found = {}
    for path in course_notebooks(NOTEBOOKS):
        number, place = "", "" if path.stem[0].isdigit() else f"{path.stem} "
        for cell in nbformat.read(path, as_version=4).cells:
            if heading := re.search(r"^### Exercise ([\d.]+):", cell.source, re.MULTILINE):
                number = heading.group(1)
            if asked := re.match(r"(?:.*\n)*check\.(\w+)\((?!\))", cell.source):
                found.setdefault(asked.group(1), place + number)
    assert grade.exercise_numbers() == found and len(found) == len(EXERCISES)


def test_a_student_has_one_line_with_points_from_all_notebooks():
    grades = [
        Grade(Path("anna/01.ipynb"), {"nested_or_not": True, "own_family": False}),
        Grade(Path("anna/week 2/01 again.ipynb"), {"nested_or_not": False, "own_family": True}),
        Grade(Path("anna/02.ipynb"), {"block_shapes": False}, "ended the kernel"),
        Grade(Path("ben.ipynb"), dict.fromkeys(EXERCISES, True)),
    ]
    table = csv.DictReader(io.StringIO(grade.to_student_csv(grades), newline=""))
    anna, ben = table
    marks = {name: mark for name, mark in anna.items() if mark}
    assert marks.pop("not attempted").startswith(f"{len(EXERCISES) - 3}: 1.3, 1.4, 2.2, 2.3")
    assert marks == {"student": "anna", "points of 29": "2", "1.1 nested_or_not": "1",
                     "1.2 own_family": "1", "2.1 block_shapes": "0",
                     "trouble": "anna/02.ipynb: ended the kernel"}
    assert (ben["student"], ben["points of 29"], ben["not attempted"]) == ("ben", "29", "")



def first_column(name, **options):
    table = grade.to_csv([Grade(Path(name), trouble=name)])
    return list(csv.reader(io.StringIO(table, newline=""), **options))[1][0]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t1", "\n=1", "＝1"])
def test_no_name_becomes_a_formula(name):
    assert first_column(name) == "'" + name


@pytest.mark.parametrize("name", ["a=1.ipynb", "Ünal Ç/ü 漢.ipynb", 'a, "b"\nc.ipynb', "'=1"])
def test_other_names_stay_as_they_are(name):
    assert first_column(name) == name


def test_a_semicolon_in_a_name_begins_no_new_cell():
    assert first_column("a;=1+1;b.ipynb", delimiter=";").startswith("a;=1+1;b.ipynb")


def test_names_are_written_and_shown_whatever_bytes_are_in_them():
    result = Grade(Path(os.fsdecode(b"J\xf6rg.ipynb")))
    assert "J\ufffdrg.ipynb" in grade.to_csv([result]).encode("utf-8").decode("utf-8")
    shown = str(Grade(Path("a\x1b[2J\rb.ipynb"), {"block_shapes": True}))
    assert shown == "a?[2J?b.ipynb: 1 solved, 0 wrong"


# --- the command line ---

@pytest.mark.slow
def test_command_prints_the_table_and_a_line_per_notebook(tmp_path):
    (tmp_path / "Jörg.ipynb").write_text(DAMAGED)
    run = subprocess.run([sys.executable, "-m", "resnet_helpers.check.grade", str(tmp_path)],
                         env={**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"},
                         capture_output=True)
    assert run.returncode == 1
    told = run.stderr.decode()
    assert told.startswith("[1/1] J\\xf6rg.ipynb: 0 solved, 0 wrong; not") and told.count("\n") == 1
    assert list(rows(run.stdout.decode("utf-8"))) == ["Jörg.ipynb"]


def unreadable(folder, onerror):
    onerror(PermissionError(13, "Permission denied", "handed-in/anna"))


@pytest.mark.parametrize("arguments, reason", [
    (["nowhere"], "there is no folder nowhere"),
    (["file.ipynb"], "there is no folder file.ipynb"),
    (["empty"], "there are no notebooks (*.ipynb) in empty"),
    ([], "FOLDER"),
    (["full", "--jobs", "0"], "at least 1"),
    (["full", "--cell-timeout", "-5"], "at least 1"),
    (["full", "--cell-timeout", "soon"], "--cell-timeout"),
    (["full", "--output", "full"], "full is a folder"),
    (["full", "--output", "nowhere/grades.csv"], "there is no folder nowhere for grades.csv"),
    (["full", "--output", "full/a.ipynb"], "would overwrite a notebook"),
    (["unreadable"], "handed-in/anna cannot be read (Permission denied)"),
])
def test_wrong_usage_is_told_before_anything_is_run(
        monkeypatch, tmp_path, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    for path in map(Path, ("file.ipynb", "full/a.ipynb", "empty/.ipynb_checkpoints/a.ipynb",
                           "empty/a.txt", "unreadable/a.ipynb")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DAMAGED)
    monkeypatch.setattr(grade, "grade_all", None)
    if arguments == ["unreadable"]:
        monkeypatch.setattr(grade.os, "walk", unreadable)
    with pytest.raises(SystemExit) as exit:
        grade.main(arguments)
    assert exit.value.code == 2 and reason in capsys.readouterr().err.splitlines()[-1]
    assert Path("full/a.ipynb").read_text() == DAMAGED


def test_help_warns_that_notebooks_are_run(capsys):
    with pytest.raises(SystemExit) as exit:
        grade.main(["--help"])
    text = capsys.readouterr().out
    assert exit.value.code == 0 and "RUNS them" in text
    command = text[text.index("docker run"):text.index("Exit status")].replace("\\\n", " ").split()
    assert command[-8:] == ["grading", "python", "-m", "resnet_helpers.check.grade", "/handed-in",
                            "--by-student", ">", "grades.csv"]
    assert "--network none --read-only" in " ".join(command) and ":/handed-in:ro\"" in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_commands_for_a_container_can_be_pasted(capsys, tmp_path):
    with pytest.raises(SystemExit):
        grade.main(["--help"])
    text = capsys.readouterr().out
    build = text[text.index("docker build"):text.index("\nand then")]
    run = text[text.index("docker run"):text.index("Exit status")]
    script = 'docker() { echo "$@"; [ "$1" = run ] || cat; }\n' + build + run + "cat grades.csv"
    pasted = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, cwd=tmp_path)
    built, *recipe, ran = pasted.stdout.splitlines()
    assert pasted.stderr == "" and built == "build -t grading -f - OUT"
    assert [line.split()[0] for line in recipe] == ["FROM", "COPY", "RUN"]
    assert f"{tmp_path}/FOLDER:/handed-in:ro grading python -m resnet_helpers.check.grade" in ran


@pytest.fixture
def fake_run(monkeypatch, tmp_path):
    """A folder of four notebooks, and a run that gives this grade."""
    for name in "abcd":
        (tmp_path / f"{name}.ipynb").write_text(DAMAGED)

    def fake(run):
        monkeypatch.setattr(grade, "grade_notebook", run)
        return [str(tmp_path), "--output", str(tmp_path / "grades.csv")]
    return fake


def test_all_could_be_run_is_status_0(fake_run, tmp_path, capsys):
    arguments = fake_run(lambda folder, path, *_: Grade(path, {"block_shapes": False}))
    assert grade.main(arguments) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("[1/4] a.ipynb: 0 solved, 1 wrong (")
    assert len(rows((tmp_path / "grades.csv").read_text())) == 4


def test_a_line_per_student_where_it_is_asked_for(fake_run, tmp_path):
    arguments = fake_run(lambda folder, path, *_: Grade(path, {"block_shapes": True}))
    assert grade.main([*arguments, "--by-student"]) == 0
    lines = (tmp_path / "grades.csv").read_text().splitlines()
    assert [line[:6] for line in lines] == ['"stude', *(f'"{name}",1,' for name in "abcd")]


def test_a_folder_without_notebooks_has_a_line_with_no_points(fake_run, tmp_path):
    for name in ("eve/notebooks", "finn", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "eve/notebooks/notes.txt").touch()
    arguments = fake_run(lambda folder, path, *_: Grade(path, {"block_shapes": True}))
    assert grade.main(arguments) == 0  # a table of notebooks has nothing to say of them
    assert grade.main([*arguments, "--by-student"]) == 1
    lines = list(csv.DictReader((tmp_path / "grades.csv").read_text().splitlines()))
    assert [line["student"] for line in lines] == [*"abcd", "eve", "finn"]
    for line in lines[4:]:
        assert float(line["points of 29"]) == 0 and line["not attempted"].startswith("29: ")
        assert line["trouble"].endswith("no notebooks")


def test_a_table_that_cannot_be_written_is_printed(fake_run, monkeypatch, tmp_path, capsysbinary):
    def write(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", write)
    arguments = fake_run(lambda folder, path, *_: Grade(path))
    assert grade.main([*arguments, "--quiet"]) == 1
    out, err = capsysbinary.readouterr()
    assert len(rows(out.decode("utf-8"))) == 4 and b"disk full" in err
    assert {path.suffix for path in tmp_path.iterdir()} == {".ipynb"}


def test_ctrl_c_stops_the_runs_and_writes_nothing(fake_run, monkeypatch, tmp_path, capsys):
    started = {}

    def endless(folder, path, cell_timeout, environment, stop):
        started[path.name] = environment, stop
        if path.name != "a.ipynb":
            stop.wait(5)
        return Grade(path)

    monkeypatch.setattr(Grade, "__str__", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setenv("OMP_NUM_THREADS", "6")  # set by the package, where a container has 6 cores
    monkeypatch.setattr(grade, "IS_FIXED", False)
    monkeypatch.setattr(grade, "usable_cores", lambda: 6)
    (tmp_path / "grades.csv").write_text("an older table")
    assert grade.main([*fake_run(endless), "--jobs", "2"]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert (tmp_path / "grades.csv").read_text() == "an older table"
    assert "d.ipynb" not in started
    for environment, stop in started.values():
        assert environment == {"OMP_NUM_THREADS": "3"} and stop.is_set()
