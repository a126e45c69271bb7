#!/usr/bin/env bash
# Fails if one of the named variables is empty, and says which.
set -euo pipefail

missing=0
for name in "$@"; do
  if [ -z "${!name:-}" ]; then
    echo "::error::the variable $name is not set (docs/automation.md)"
    missing=1
  fi
done
exit "$missing"
