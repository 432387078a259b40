"""What the commands share: names checked, and errors told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from model.datasets.base import DatasetError
from model.options import dataset_of, encoder_option, one_line_errors, precision_option, surface_option
from model.run import RunError, TrainingSettings


@pytest.mark.parametrize(
    ("option", "right", "said"),
    [
        (surface_option, "ads", "--surface must be one of feed, ads; got 'other'"),
        (encoder_option, "hstu", "--encoder must be one of transformer, causal_transformer, hstu; got 'other'"),
        (precision_option, "bf16", "--precision must be one of fp32, bf16; got 'other'"),
    ],
)
def test_a_name_is_taken_or_refused_with_all_that_there_are(
    option: Callable[[str], str], right: str, said: str
) -> None:
    """Known names pass as they are; of another one the message names the option."""
    assert option(right) == right
    with pytest.raises(RunError, match=said):
        option("other")


@pytest.mark.parametrize("error", [DatasetError(Path("u.data"), 3, "is odd"), RunError("no\nsuch"), ValueError("no")])
def test_what_a_user_can_mend_ends_with_status_1_and_no_stack(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error's own words on stderr."""
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        raise error

    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_an_interrupted_command_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C has the shell's usual status."""
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        raise KeyboardInterrupt

    assert ended.value.exit_code == 130
    assert "goes on after the last finished epoch" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_hidden() -> None:
    """Other errors keep their stack."""
    with pytest.raises(KeyError), one_line_errors():
        raise KeyError("ours")


def test_a_runs_data_set_is_the_one_it_was_trained_on() -> None:
    """Source, surface and seed come from its settings."""
    dataset = dataset_of(TrainingSettings(data="synthetic", surface="ads"))

    assert (dataset.name, dataset.surface) == ("synthetic", "ads")
