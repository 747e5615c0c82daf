#!/usr/bin/env bash
# Install what package-lock.json pins, unless it is there, and print the folder.
# With --print: only print it, and fail if it is not there.
# The folder is named after the lock's hash: other versions are another folder.
set -euo pipefail
cd "$(dirname "$0")"

hash=$(cat package-lock.json package.json | sha256sum | cut -c1-16)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/otel-sentry/node-$hash"
if [ ! -d "$folder" ]; then
    [ "${1-}" != --print ] || exit 1
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cp package.json package-lock.json "$work"
    # Nothing of what is installed runs a script of its own.
    (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    mkdir -p "$(dirname "$folder")"
    # Renamed in place: another process never sees half of it.
    cp -r "$work" "$folder.$$"
    mv "$folder.$$" "$folder"
fi
echo "$folder"
