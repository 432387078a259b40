"""The run folder: one run, whole files, nothing unpickled."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from model.run import Run, RunError, TrainingSettings

SETTINGS = TrainingSettings(data="synthetic", surface="feed")


def test_a_run_keeps_its_settings_and_can_be_opened_again(tmp_path: Path) -> None:
    """Rerunning with the same settings goes on with the folder."""
    run = Run(tmp_path / "run")
    run.open(SETTINGS)
    run.save_checkpoint({"epoch": 1})
    run.open(SETTINGS)

    assert run.settings() == SETTINGS
    assert run.checkpoint() == {"epoch": 1}


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    """The message says what differs and what to do."""
    run = Run(tmp_path)
    run.open(SETTINGS)

    with pytest.raises(RunError, match=r"epochs was 5, now 9.*--fresh"):
        run.open(replace(SETTINGS, epochs=9))


def test_fresh_starts_over(tmp_path: Path) -> None:
    """`--fresh` throws away checkpoint, result and comparisons."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    run.save_checkpoint({"epoch": 1})
    run.save_result({"tasks": {}})
    (run.evaluations / "concat-seed0").mkdir(parents=True)
    run.open(replace(SETTINGS, epochs=9), fresh=True)

    assert run.checkpoint() is None
    assert run.result() is None
    assert not run.evaluations.exists()
    assert run.settings().epochs == 9


def test_no_file_is_ever_half_written(tmp_path: Path) -> None:
    """Writing leaves no other file behind; what is there is the last whole one."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    for epoch in (1, 2):
        run.save_checkpoint({"epoch": epoch, "weights": torch.ones(3)})

    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "settings.json"]
    loaded = run.checkpoint()
    assert loaded is not None
    assert loaded["epoch"] == 2


def test_a_damaged_checkpoint_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """Truncated bytes are an error in words, not a stack."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    run.save_checkpoint({"weights": torch.ones(100)})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged.*--fresh"):
        run.checkpoint()


class Payload:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/nonexistent/never"),))


def test_a_checkpoint_that_holds_code_is_refused(tmp_path: Path) -> None:
    """Only tensors and plain values load."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps({"epoch": Payload()}, protocol=2))

    with pytest.raises(RunError, match="damaged"):
        run.checkpoint()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    """Evaluating or exporting nothing is told in words."""
    with pytest.raises(RunError, match="there is no run; train one first"):
        Run(tmp_path).settings()


def test_two_writers_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    """The second is refused in words while the first holds the folder, and let in after."""
    run = Run(tmp_path / "run")
    with run.locked(), pytest.raises(RunError, match="in use by another train or evaluate"), Run(run.path).locked():
        pass

    with run.locked():
        run.open(SETTINGS)


def test_a_dead_writer_leaves_no_lock(tmp_path: Path) -> None:
    """A process that was killed while it held the folder does not keep others out."""
    code = (
        "import sys, time; from pathlib import Path; from model.run import Run\n"
        "with Run(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="in use"), Run(tmp_path).locked():
            pass
        holder.kill()

    with Run(tmp_path).locked():
        pass


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("drop_items", 1.0),
        ("learning_rate", 0.0),
        ("stochastic_length", 1.0),
        ("stochastic_length", 2.1),
        ("stochastic_length", float("nan")),
    ],
)
def test_settings_that_cannot_train_are_refused_by_name(field: str, value: float) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=field):
        replace(SETTINGS, **{field: value})


@dataclass(frozen=True)
class OtherSettings:
    """Of another kind of training."""

    depth: int = 3


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A folder keeps any settings, and gives them back as what they were and nothing else."""
    run = Run(tmp_path)
    run.open(OtherSettings())

    assert run.settings_as(OtherSettings) == OtherSettings()
    with pytest.raises(RunError, match="a run of another kind"):
        run.settings()
    with pytest.raises(RunError, match="a run of another kind"):
        run.open(SETTINGS)
