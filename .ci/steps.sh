# Sourced by .ci/run and .ci/long: named steps with a limit each, and a summary of all of them.
# A failed step does not stop the others; `finish` ends with 1 when any failed.
set -uo pipefail
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
summary=() passed=0 failed=0

# step NAME MINUTES COMMAND...
step() {
  local name=$1 minutes=$2 began=$SECONDS verdict
  shift 2
  printf '\n== %s: %s\n' "$name" "$*"
  if timeout --kill-after=30 "${minutes}m" "$@" </dev/null; then
    verdict=ok passed=$((passed + 1))
  else
    verdict="FAILED ($?)" failed=$((failed + 1))
  fi
  summary+=("$(printf '%5d s  %-12s %s' $((SECONDS - began)) "$verdict" "$name")")
}

# left_out NAME WHY
left_out() {
  printf '\n== %s: LEFT OUT: %s\n' "$1" "$2"
  summary+=("$(printf '%5d s  %-12s %s' 0 'left out' "$1: $2")")
}

finish() {
  printf '\n== summary, %d s\n' "$SECONDS"
  printf '%s\n' "${summary[@]}"
  printf 'steps: %d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}
