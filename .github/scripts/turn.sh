#!/usr/bin/env bash
# Chooses what is retrained: SCORER with ROWS if they are given, or else the scorer whose turn it is this week, with the
# new rows that LABELLED_ROWS names. All scorers have their data in the same data.dvc, so one is retrained per week.
set -euo pipefail

if [ -z "${SCORER:-}" ]; then
  read -r -a scorers <<<"$(python -m training.declaration | tr '\n' ' ')"
  week=$(($(date --utc +%s) / 604800))
  SCORER=${scorers[week % ${#scorers[@]}]}
  ROWS=${LABELLED_ROWS//\{scorer\}/$SCORER}
fi
echo "scorer=$SCORER" >>"$GITHUB_OUTPUT"
echo "rows=${ROWS:-}" >>"$GITHUB_OUTPUT"
