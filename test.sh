#!/usr/bin/env bash
# Runs every test, two files at a time; arguments go to pytest, e.g.
#   ./test.sh cifar10_input_test.py -k order
#   ./test.sh -n 0 -x --pdb  # one at a time, to look into
set -euo pipefail
cd "$(dirname "$0")"
source ./env.sh requirements-dev.txt
exec "$python" -m pytest -n 2 --dist=loadfile "$@"
