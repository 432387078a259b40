"""`python -m model.sequential` starts."""

from __future__ import annotations

import subprocess
import sys


def test_help_names_the_commands_without_scikit_learn() -> None:
    """Next-item training needs none of the extras."""
    code = (
        "import runpy, sys\n"
        "sys.modules['sklearn'] = sys.modules['scipy'] = None\n"  # what an absent package looks like to `import`
        "sys.argv = ['model.sequential', '--help']\n"
        "runpy.run_module('model.sequential', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)

    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in ("train", "evaluate", "report"))
