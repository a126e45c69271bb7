#!/usr/bin/env bash
# Promotes the packaged version of every scorer in STORE if the gate agrees; otherwise fails with each refusal's reason.
set -euo pipefail

refused=0
for scorer in $(.venv/bin/python -m training.declaration); do
  if output=$(make --no-print-directory promote SCORER="$scorer" 2>&1); then
    echo "$output"
  elif grep --quiet 'is current already' <<<"$output"; then
    echo "::notice::$scorer: the packaged version is already current"
  else
    echo "$output"
    echo "::error::$scorer: $(grep '^promote: ' <<<"$output" || echo 'promote failed')"
    refused=1
  fi
done
exit "$refused"
