"""`python -m model.sequential`: the command line. It does not know any command."""

from __future__ import annotations

from model.sequential.commands import app

if __name__ == "__main__":
    app()
