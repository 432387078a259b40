"""`python -m model`: the command line, or one line that says what to install. It does not know any command."""

from __future__ import annotations

import sys

try:
    from model.commands import app
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("sklearn", "scipy"):
        raise
    sys.exit("error: training needs scikit-learn, which is not installed; pip install 'rankonce[train]'")

if __name__ == "__main__":
    app()
