#!/usr/bin/env bash
# Reports the STATE of SCORER in its open issue, or opens one; if the state is retrain, also starts a retraining.
set -euo pipefail

title="Monitoring: $SCORER"
body=$(mktemp)
run=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID
printf '%s\n\nThe report is an artifact of %s\n' "$(cat "reports/$SCORER/monitor.md")" "$run" >"$body"

gh label create monitoring --description "A report of the monitor" --force
as_table='.[] | [.number, .title] | @tsv'
number=$(gh issue list --label monitoring --state open --limit 1000 --json number,title --jq "$as_table" |
  awk -F '\t' -v title="$title" '$2 == title && !number { number = $1 } END { print number }')
if [ -n "$number" ]; then
  gh issue comment "$number" --body-file "$body"
else
  gh issue create --title "$title" --label monitoring --body-file "$body"
fi

if [ "$STATE" = retrain ]; then
  gh workflow run retrain.yml -f scorer="$SCORER" -f rows="${LABELLED_ROWS//\{scorer\}/$SCORER}"
fi
