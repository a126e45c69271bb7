#!/usr/bin/env bash
# Retrains SCORER, with ROWS if there are any, and outputs the gate's verdict. The store's pointer does not change.
set -euo pipefail

arguments=("$SCORER" --store "$STORE" --candidate)
if [ -n "${ROWS:-}" ]; then
  file=$ROWS
  if [[ $ROWS == s3://* ]]; then
    file=$RUNNER_TEMP/${ROWS##*/}
    aws s3 cp --only-show-errors "$ROWS" "$file"
  fi
  arguments+=(--rows "$file")
fi

status=0
python -m training.retrain "${arguments[@]}" || status=$?
case $status in
  0) verdict=promote ;;
  3) verdict=refuse ;;
  5) verdict='cannot tell' ;;
  4)
    echo "::notice::all new rows are already in the data, so there is nothing to learn"
    echo "verdict=none" >>"$GITHUB_OUTPUT"
    exit 0
    ;;
  *)
    echo "::error::the retraining of $SCORER failed with exit status $status"
    exit "$status"
    ;;
esac
echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
cat "reports/$SCORER/retrain.md" >>"$GITHUB_STEP_SUMMARY"
