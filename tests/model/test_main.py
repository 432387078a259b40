"""`python -m model`: starts, and says what to install where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter running `code` in the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_without_scikit_learn_one_line_names_the_extra() -> None:
    """The service's own dependencies are not enough to train, and the message says what is missing."""
    result = python(
        "import runpy, sys\n"
        "sys.modules['sklearn'] = None\n"  # what an absent package looks like to `import`
        "runpy.run_module('model', run_name='__main__')"
    )

    assert result.returncode == 1
    assert "pip install 'rankonce[train]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_another_missing_module_is_not_hidden() -> None:
    """Only scikit-learn is explained; a broken installation shows its own error."""
    result = python("import runpy, sys\nsys.modules['rich'] = None\nrunpy.run_module('model', run_name='__main__')")

    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr
    assert "rich" in result.stderr
