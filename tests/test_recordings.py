"""The recorded runs: what they claim to be, what they reached, and how they are played."""

from dataclasses import asdict

import pytest

import resnet_helpers as d2l
from resnet_helpers.runs import recordings
from resnet_helpers.runs.recipes import LADDER, RECIPES, RunSettings
from resnet_helpers.runs.recordings import NUM_SEEDS, RUNS, list_recordings, load_recording, play


def test_each_recording_is_a_whole_run_of_the_settings_it_stands_for():
    for name in list_recordings():
        history, settings = load_recording(name), RUNS[name]
        chosen = history.config["precision"]
        assert chosen in ("float32", "bfloat16") and settings.precision in (chosen, "auto"), name
        expected = asdict(settings) | {"precision": chosen}
        recorded = asdict(RunSettings()) | history.config  # without the settings that came later
        assert {key: recorded[key] for key in expected} == expected, name
        examples = settings.num_epochs * (55_000 if settings.held_out else 60_000)
        assert history.completed and history.records[-1].examples == examples, name
        tested = [r.epoch for r in history.records if r.test_acc is not None]
        assert tested == list(range(1, settings.num_epochs + 1)), name
        version = history.versions["torch"].partition("+")[0]
        assert history.machine.endswith(f"torch {version}"), name


def test_every_run_is_recorded_and_nothing_else():
    assert list_recordings() == sorted(RUNS)


def test_the_fast_recipe_took_less_than_three_minutes_on_two_cores_to_an_accuracy_of_0_90():
    for seed in range(NUM_SEEDS):
        history = load_recording(f"fast-seed{seed}")
        assert history.test_acc >= 0.90 and history.records[-1].seconds < 180
        assert history.hardware["device"] == "cpu" and history.hardware["cores"] == 2


def test_todays_recipe_reaches_what_it_promises():
    reached = [load_recording(f"modern-seed{seed}").test_acc for seed in range(NUM_SEEDS)]
    assert sum(reached) / len(reached) >= 0.945


def test_each_rung_of_the_ladder_changes_something_and_keeps_the_rest():
    for lower, upper in zip(LADDER, LADDER[1:], strict=False):
        before, after = asdict(lower.settings), asdict(upper.settings)
        changed = {key for key in before if before[key] != after[key]}
        assert changed
        untouched = asdict(RECIPES["article"]) | {"image_size": 28}
        assert all(before[key] == untouched[key] for key in changed if key != "lr")
    assert RECIPES["modern"] == LADDER[-1].settings
    assert len({rung.change for rung in LADDER}) == len(LADDER)


def test_an_unknown_recording_is_refused_with_the_names():
    for name in ("article", "../recordings/ladder-7"):
        with pytest.raises(ValueError, match=f"no recording '{name}'.*ladder-7"):
            load_recording(name)


@pytest.mark.parametrize(("content", "reason"), [(None, "is not in"), (b"{", "cannot be read")])
def test_a_recording_that_is_missing_or_damaged_is_told_with_what_to_do(
        monkeypatch, tmp_path, content, reason):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "fast-seed0.json").write_bytes(content)
    message = f"the recording fast-seed0 {reason}.*git checkout"
    with pytest.raises(d2l.DatasetUnavailableError, match=message):
        load_recording("fast-seed0")


# --- playing ---

@pytest.fixture
def clock(monkeypatch):
    """A clock that sleeping moves on; the list of how long was slept."""
    naps = []
    monkeypatch.setattr(recordings.time, "monotonic", lambda: 100.0 + sum(naps))
    monkeypatch.setattr(recordings.time, "sleep", naps.append)
    return naps


def run_of(*seconds):
    history = d2l.History()
    for i, s in enumerate(seconds, start=1):
        history.add(i / 5, i, 1.0, 0.5, None, 10 * i, s)
    return history


def test_playing_keeps_the_rhythm_and_takes_the_time_it_is_given(clock):
    history = run_of(20.0, 60.0, 80.0)
    assert list(play(history, seconds=8)) == history.records
    assert clock == pytest.approx([2, 4, 2])


def test_time_that_the_consumer_takes_is_made_up_for(clock):
    played = play(run_of(10.0, 20.0, 30.0, 40.0), seconds=4)
    next(played)
    clock.append(1.5)  # drawing
    assert len(list(played)) == 3
    assert clock == pytest.approx([1, 1.5, 0, 0.5, 1])


def test_playing_in_no_time_and_playing_nothing(clock):
    assert len(list(play(run_of(1.0, 2.0), seconds=0))) == 2 and sum(clock) == 0
    assert list(play(d2l.History())) == []
    assert len(list(play(run_of(0.0)))) == 1


def test_playing_takes_no_longer_than_asked_for_whatever_a_file_says(clock):
    assert len(list(play(run_of(1e38, -1e38, 3.0, 1e-320), seconds=2))) == 4 and sum(clock) <= 2


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_times_that_make_no_sense_are_refused(seconds):
    with pytest.raises(ValueError, match="seconds must be"):
        play(run_of(1.0), seconds)


def test_the_stop_button_ends_it(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt
    monkeypatch.setattr(recordings.time, "sleep", interrupted)
    assert list(play(run_of(1.0, 2.0))) == []
