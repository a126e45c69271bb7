#!/usr/bin/env bash
# Chooses what is retrained: SCORER with ROWS where somebody asks for it, else the scorer whose week it is, with the
# new rows that LABELLED_ROWS names. All have their data in the one data.dvc, so that one a week takes its turn.
set -euo pipefail

if [ -z "${SCORER:-}" ]; then
  read -r -a scorers <<<"$(python -m training.declaration | tr '\n' ' ')"
  week=$(($(date --utc +%s) / 604800))
  SCORER=${scorers[week % ${#scorers[@]}]}
  ROWS=${LABELLED_ROWS//\{scorer\}/$SCORER}
fi
echo "scorer=$SCORER" >>"$GITHUB_OUTPUT"
echo "rows=${ROWS:-}" >>"$GITHUB_OUTPUT"
