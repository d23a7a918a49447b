#!/usr/bin/env bash
# Fail with status 8 if the training memory of a model grew by more than 2 %.
#
#   gate.sh BEFORE AFTER
#
# BEFORE and AFTER are two checkouts of your project, for example the main branch
# and a pull request. Each one has a memory.yaml. Both are measured here, with the
# same versions of PyTorch and cuDNN. No GPU is needed.
set -euo pipefail
before=$1 after=$2
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

measure() {
    memprof sweep "$1/memory.yaml" --gpu t4 --output-dir "$results/$2" >/dev/null
}

measure "$before" before
measure "$after" after
cd "$results"
memprof check after/memory --baseline before/memory --max-increase 2%
