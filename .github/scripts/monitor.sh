#!/usr/bin/env bash
# Monitors SCORER by LOG and STORE, and leaves the state and its reasons for the steps that follow and for the reader.
# Not by `make monitor`: make turns every status but 0 into 2, and 10, 20 and 30 are answers.
set -euo pipefail

status=0
summary=$(python -m training.monitor "$SCORER" "$LOG" --store "$STORE") || status=$?
case $status in
  0) state=ok ;;
  10) state=watch ;;
  20) state=retrain ;;
  30) state=insufficient ;;
  *)
    echo "::error::the monitor of $SCORER failed with exit status $status"
    exit "$status"
    ;;
esac
echo "$summary"
echo "state=$state" >>"$GITHUB_OUTPUT"
# Indented, so that nothing that the log holds is taken for Markdown.
report=reports/$SCORER/monitor.md
printf '### %s: %s\n\n    %s\n' "$SCORER" "$state" "${summary//$'\n'/$'\n    '}" >"$report"
cat "$report" >>"$GITHUB_STEP_SUMMARY"
