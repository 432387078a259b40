"""The export's proof runs without the ranker's code and notices what it must."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.bundle import MANIFEST_FILE, GoldenCase, read_golden, read_manifest, save_golden
from model.check import RANKER_MODULES, _NoRanker


def run_check(bundle: Path, probes: Path) -> subprocess.CompletedProcess[str]:
    """The proof as the export runs it."""
    return subprocess.run(
        [sys.executable, "-m", "model.check", str(bundle), str(probes)], capture_output=True, text=True, check=False
    )


def test_a_good_bundle_passes(repository: Path, tmp_path: Path) -> None:
    """Golden cases and probes that hold give exit status 0."""
    bundle = repository / "feed" / "1"
    save_golden(tmp_path / "probes.json", read_golden(bundle))

    result = run_check(bundle, tmp_path / "probes.json")

    assert (result.returncode, result.stderr) == (0, "")


def test_a_probe_that_differs_fails(repository: Path, tmp_path: Path) -> None:
    """Logits of another function at a shape that the golden cases do not hold are found."""
    bundle = repository / "feed" / "1"
    case: GoldenCase = read_golden(bundle)[2]
    save_golden(tmp_path / "probes.json", [case._replace(logits=case.logits + np.float32(0.01))])

    result = run_check(bundle, tmp_path / "probes.json")

    assert result.returncode == 1
    assert "golden logits differ" in result.stderr


def test_an_extension_that_is_promised_must_be_there(repository: Path, tmp_path: Path) -> None:
    """A manifest that calls a bidirectional ranker extendable is found out."""
    bundle = tmp_path / "feed" / "1"
    shutil.copytree(repository / "feed" / "1", bundle)
    manifest = read_manifest(bundle).model_copy(update={"extendable": True})
    (bundle / MANIFEST_FILE).write_text(manifest.model_dump_json())
    save_golden(tmp_path / "probes.json", [])

    result = run_check(bundle, tmp_path / "probes.json")

    assert result.returncode == 1
    assert "cannot extend a history" in result.stderr


@pytest.mark.parametrize("name", RANKER_MODULES)
def test_the_rankers_code_cannot_be_imported(name: str) -> None:
    """The finder that the proof installs refuses the modules that define the ranker."""
    with pytest.raises(ImportError, match="must not be needed"):
        _NoRanker().find_spec(name)
