#!/usr/bin/env bash
# Measure a config in the target branch and in this checkout, and compare both.
#
# Reads BASE_REF, CONFIG, GPU and MAX_INCREASE, writes $RUNNER_TEMP/memprof/comment.md and the summary of the job, and
# ends with the status of `memprof check`: 8 if a peak grew by more than the limit.
set -euo pipefail
work=$RUNNER_TEMP/memprof
mkdir -p "$work"

measure() { # in the checkout $1, into the folder $2
    (cd "$1" && memprof sweep "$CONFIG" --gpu "$GPU" --require emulated --output-dir "$work/$2" >"$work/$2.log")
}

git fetch --quiet --depth 1 origin "$BASE_REF"
git worktree add --quiet --detach "$work/base" FETCH_HEAD
trap 'git worktree remove --force "$work/base"' EXIT
measure . after
after=$(echo "$work"/after/*)
status=0
if [ -e "$work/base/$CONFIG" ]; then
    measure "$work/base" before
    before=$(echo "$work"/before/*)
    memprof check "$after" --baseline "$before" --max-increase "$MAX_INCREASE" >"$work/check.txt" || status=$?
else
    echo "$BASE_REF has no $CONFIG: there is nothing to compare with" >"$work/check.txt"
fi
{
    echo "### GPU memory of \`$CONFIG\` on a simulated $GPU"
    printf '\n```text\n'
    cat "$work/check.txt"
    printf '```\n\n<details><summary>All figures</summary>\n\n'
    memprof report "$after" --markdown
    printf '\n</details>\n'
} >"$work/comment.md"
cat "$work/comment.md" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit "$status"
