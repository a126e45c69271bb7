#!/usr/bin/env bash
# Monitors SCORER with LOG and STORE. The state becomes an output of the step; the state and its reasons are written to
# the report and the job's summary. `make monitor` is not used, because make turns every exit status but 0 into 2, and
# 10, 20 and 30 are answers.
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
# Indented, so that nothing from the log is rendered as Markdown.
report=reports/$SCORER/monitor.md
printf '### %s: %s\n\n    %s\n' "$SCORER" "$state" "${summary//$'\n'/$'\n    '}" >"$report"
cat "$report" >>"$GITHUB_STEP_SUMMARY"
