#!/usr/bin/env bash
# Opens a pull request with what the retraining of SCORER changed; as a draft unless VERDICT is promote.
set -euo pipefail

# Updates the tables of README and docs from the reports; the tests check that they agree.
python -m benchmarks.pages
git add data.dvc dvc.lock reports README.md docs
if git diff --cached --quiet; then
  echo "::notice::the retraining of $SCORER changed nothing, so there is nothing to propose"
  exit 0
fi

# The text begins with the verdict and every objection.
body=$(mktemp)
{
  cat "reports/$SCORER/retrain.md"
  printf '\n## Metrics compared with main\n\n'
  dvc metrics diff main --md
  if [ "$IS_TESTED" != true ]; then
    printf '\nThis pull request is not tested yet, because GitHub starts no workflow for its own token. Close and reopen it to start the tests.\n'
  fi
} >"$body"

# The data must be in the remote before the pull request that names them.
dvc push
version=$(python -c 'import json, sys; print(json.load(sys.stdin)["version"])' <"reports/$SCORER/retrain.json")
title="Retrain $SCORER: $version"
branch=retrain/$SCORER-$(date --utc +%Y-%m-%d-%H%M)
git switch --quiet --create "$branch"
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
  commit --quiet --message "$title"
gh auth setup-git
git push --quiet origin "$branch"
options=()
if [ "$VERDICT" != promote ]; then
  options=(--draft)
fi
gh pr create --base main --head "$branch" --title "$title" --body-file "$body" "${options[@]}"
