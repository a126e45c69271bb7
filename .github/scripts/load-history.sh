#!/usr/bin/env bash
# Loads the history of each scorer that has one, as of the last midnight in UTC, into the table HISTORY_TABLE. The rows
# of HISTORY_ROWS, such as s3://bucket/last/{scorer}.parquet, replace the data of the checkout.
set -euo pipefail

before=$(date --utc +%F)
declared='from training.declaration import read_declarations
for name, scorer in read_declarations().scorers.items():
    if scorer.history:
        print(name, scorer.data)'
scorers=$(python -c "$declared")
if [ -z "$scorers" ]; then
  echo "::notice::no scorer of params.yaml has a history"
fi
while read -r scorer data; do
  if [ -n "$scorer" ]; then
    if [ -d "$data" ]; then
      echo "::error::the data of $scorer, $data, are a folder: HISTORY_ROWS can only replace a single file"
      exit 1
    fi
    aws s3 cp --only-show-errors "${HISTORY_ROWS//\{scorer\}/$scorer}" "$data"
    python -m training.prepare "$scorer"
    python -m training.history "$scorer" --before "$before"
    python -m training.history "$scorer" --load "dynamodb://$HISTORY_TABLE" | tee -a "$GITHUB_STEP_SUMMARY"
  fi
done <<<"$scorers"
