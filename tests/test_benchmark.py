"""The benchmark: both loops, each in a process of its own, and what is printed and written of it.
"""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from resnet_helpers import benchmark
from resnet_helpers.benchmark import describe, flops_per_image, main, measure_in_new_process
from resnet_helpers.engine.arithmetic import TRICKS
from resnet_helpers.models import resnet18


def measured(loop, size, number, steps, precision="auto", without=()):
    """What `measure` gives, without measuring."""
    return {"loop": loop, "size": size, "number": number, "precision": "float32",
            "without": list(without), "images_per_second": 200.0 if loop == "package" else 100.0,
            "memory_bytes": 2**30}


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["article", "package"])
def test_a_loop_is_measured(loop):
    m = measure_in_new_process(loop, 28, 300, 3)  # an epoch of two batches, and one of the next
    assert (m["loop"], m["size"], m["number"]) == (loop, 28, 300)
    assert m["images_per_second"] > 0 and m["memory_bytes"] > 2**27


@pytest.mark.parametrize("run", [benchmark.run_article, benchmark.run_package])
def test_the_loops_of_an_epoch_and_a_half_meet_as_many_images(run):
    images, labels = torch.zeros(300, 28, 28, dtype=torch.uint8), torch.arange(300) % 10
    points, device = [], torch.device("cpu")
    number, _ = run(28, images, labels, 3, device, lambda *point: points.append(point))
    assert number == 256 + 44 + 256
    assert [x for x, _, _ in points] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all(loss > 0 and 0 <= accuracy <= 1 for _, loss, accuracy in points)


@pytest.mark.slow
def test_a_failed_measurement_says_why():
    with pytest.raises(RuntimeError, match="unknown|must be"):
        measure_in_new_process("package", 28, 300, 1, "float16")


def test_the_table_has_a_line_for_each_trick_and_names_the_machine(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, "measure_in_new_process", measured)
    path = tmp_path / "a.json"
    assert main(["--sizes", "28", "--tricks", "--json", str(path)]) == 0
    report, lines = json.loads(path.read_text()), capsys.readouterr().out.splitlines()
    assert lines == list(describe(report)) and report["versions"]["torch"] in lines[0]
    table = [line.split() for line in lines[4:]]
    assert [line[2] for line in table] == ["article"] + ["package"] * (1 + len(TRICKS))
    assert [line[-4] for line in table] == ["1.00"] + ["2.00"] * (1 + len(TRICKS))
    assert [m["without"] for m in report["measurements"][2:]] == [[trick] for trick in TRICKS]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--sizes", "0"], "must be at least 1"), (["--steps", "0"], "must be at least 1"),
    (["--data", "70000"], "from 1 to 60000"), (["--data", "300", "257"], "too few for batch norm"),
    (["--json", "nowhere/a.json"], "there is no folder nowhere")])
def test_impossible_measurements_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_failure_ends_the_command_with_its_reason(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no network")
    monkeypatch.setattr(benchmark, "measure_in_new_process", fail)
    assert main(["--sizes", "28"]) == 1
    assert "error: no network" in capsys.readouterr().err


def test_flops_of_a_step_are_three_times_those_that_torch_counts_forward():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        resnet18()(torch.empty(1, 1, 96, 96))
    assert flops_per_image(96) == 3 * counter.get_total_flops()
