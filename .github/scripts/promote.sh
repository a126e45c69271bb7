#!/usr/bin/env bash
# Promotes what is packaged of every scorer in STORE, if the gate agrees; fails, with each refusal's sentence, if not.
set -euo pipefail

refused=0
for scorer in $(.venv/bin/python -m training.declaration); do
  if said=$(make --no-print-directory promote SCORER="$scorer" 2>&1); then
    echo "$said"
  elif grep --quiet 'is current already' <<<"$said"; then
    echo "::notice::$scorer: what is packaged is current already"
  else
    echo "$said"
    echo "::error::$scorer: $(grep '^promote: ' <<<"$said" || echo 'promote failed')"
    refused=1
  fi
done
exit "$refused"
