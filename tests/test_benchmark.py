"""The benchmark: both loops measured in processes of their own, and what is printed, written and drawn of it."""

import json

import pytest
import torch

from resnet_helpers import benchmark, data
from resnet_helpers.benchmark import (
    Measurement,
    describe,
    flops_per_image,
    main,
    measure_in_new_process,
)
from resnet_helpers.errors import DatasetUnavailableError
from resnet_helpers.models import resnet18


@pytest.fixture(scope="module")
def report():
    """Three batches of 28 px for each loop: an epoch of two, and the first of the next."""
    return benchmark.run_all([28], [300], 3, progress=lambda line: None)


@pytest.mark.slow
def test_both_loops_are_measured(report):
    article, package = (Measurement(**m) for m in report["measurements"])
    assert (article.loop, package.loop) == ("article", "package")
    for m in (article, package):
        assert (m.size, m.data, m.images) == (28, 300, 256 + 44 + 256) and 0 < m.train_loss < 20
        assert 0 < m.plotting_seconds < m.seconds and m.first_point_seconds > 0
        assert m.images_per_second == m.images / m.seconds
    assert article.precision == "float32" and package.precision in ("float32", "bfloat16")


@pytest.mark.slow
def test_table_has_a_line_per_measurement_and_names_the_machine(report):
    lines = list(describe(report))
    assert lines[0].startswith(report["hardware"]["name"]) and report["versions"]["torch"] in lines[0]
    assert "after 1 batches at most" in lines[2]
    assert [line.split()[2] for line in lines if line.strip().startswith("28 ")] == ["article", "package"]


def test_growth_compares_fewest_and_most_images():
    def measurement(data, seconds, memory):
        return vars(Measurement("package", 96, data, 600, seconds, 0.1, 1.0, memory, 1.0, "float32"))
    report = {"hardware": {"name": "abacus"}, "versions": {"system": "", "python": "", "torch": ""}, "batch_size": 256,
              "steps": 20, "peaks": {"float32": 1e9, "bfloat16": 1e9, "bandwidth": 1e9},
              "measurements": [measurement(6000, 2.0, 2**30), measurement(60_000, 4.0, 2**30 + 2**20)]}
    assert list(describe(report))[-1] == ("package, 96 px, from 6,000 to 60,000 images: throughput times 0.50, "
                                          "memory +1 MiB")


@pytest.mark.slow
def test_report_is_written_and_drawn(report, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "run_all", lambda *_: report)
    assert main(["--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png")]) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == report
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines() == list(describe(report))


@pytest.mark.parametrize("arguments", [["--sizes", "0"], ["--steps", "0"], ["--data", "70000"]])
def test_impossible_measurements_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "must be at least 1" in capsys.readouterr().err


def test_a_last_batch_of_one_image_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--data", "300", "257"])
    assert "too few for batch norm" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--json", "nowhere/a.json"], "there is no folder nowhere"), (["--picture", "a.txt"], "kind .txt")])
def test_files_that_cannot_be_written_are_told_before_measuring(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(benchmark, "run_all", lambda *_: pytest.fail("it measured"))
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_without_the_full_data_set_it_measures_the_subset_unless_more_was_asked_for(monkeypatch, capsys, report):
    def unavailable():
        raise DatasetUnavailableError("no network")
    measured = []
    monkeypatch.setattr(data, "load_fashion_mnist", unavailable)
    monkeypatch.setattr(benchmark, "run_all", lambda sizes, data, *_: measured.append(data) or report)
    assert main([]) == 0 and measured == [[6000]]
    assert capsys.readouterr().err == "only the 6,000 images that come with the package: no network\n"
    assert main(["--data", "60000"]) == 1 and measured == [[6000]]
    assert "error: no network" in capsys.readouterr().err
    monkeypatch.setattr(data, "load_fashion_mnist", lambda: None)
    assert main([]) == 0 and measured[1:] == [[6000, 60_000]]


@pytest.mark.slow
def test_unknown_memory_is_not_shown_as_none(report):
    forgetful = report | {"measurements": [m | {"memory_bytes": 0} for m in report["measurements"]]}
    assert sum("unknown" in line for line in describe(forgetful)) == 2


@pytest.mark.slow
def test_failed_measurement_says_why():
    with pytest.raises(RuntimeError, match="KeyError: 'nobody'"):
        measure_in_new_process("nobody", 28, 300, 1)


def test_flops_of_a_step_are_three_times_those_that_torch_counts_forward():
    from torch.utils.flop_counter import FlopCounterMode
    net, X = resnet18(), torch.zeros(2, 1, 32, 32)
    with FlopCounterMode(display=False) as counter:
        net(X)
    forward = counter.get_total_flops() / 2
    assert flops_per_image(32) == pytest.approx(3 * forward, rel=0.01)
