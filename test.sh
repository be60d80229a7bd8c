#!/usr/bin/env bash
# Runs every test; arguments go to pytest, e.g. ./test.sh cifar10_input_test.py -k order
set -euo pipefail
cd "$(dirname "$0")"
source ./env.sh requirements-dev.txt
exec "$python" -m pytest "$@"
