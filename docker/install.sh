#!/bin/sh
# The image's install steps, in a script so that they can be tried without a container engine:
#   install.sh torch VENV     a new environment with torch alone: a layer that lasts until pyproject.toml changes
#   install.sh package VENV   rankonce and the rest of what it needs
# TORCH_INDEX: where torch's wheels come from; unset: pip's own index. EXTRAS: optional extras, comma-separated.
set -eu
step=$1 venv=$2
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
case $step in
torch)
  python3 -m venv "$venv"
  torch=$(python3 -c 'import tomllib; print(next(d for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if d.startswith("torch")))')
  pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
  # Headers, tests and compilers for those who extend torch: nothing here uses them.
  cd "$venv"/lib/python3*/site-packages/torch
  rm -rf include test
  find bin -type f ! -name torch_shm_manager -delete
  ;;
package)
  pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"
  ;;
*)
  echo "unknown step: $step" >&2
  exit 2
  ;;
esac
