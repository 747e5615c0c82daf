#!/usr/bin/env bash
# Build the Collector that builder.yaml describes, unless it is there, and print its path.
# The folder is named after the manifest's hash: another manifest is another build.
set -euo pipefail
cd "$(dirname "$0")"

hash=$(sha256sum builder.yaml | cut -c1-16)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/otel-sentry/collector-$hash"
if [ ! -x "$folder/otelcol" ]; then
    command -v go >/dev/null || { echo "Go is missing: https://go.dev/doc/install" >&2; exit 1; }
    version=$(sed -n 's/^  version: //p' builder.yaml)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo "Building the Collector $version (minutes, the first time) ..." >&2
    # An older Go fetches the one that the Collector asks for, itself.
    export GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" GOBIN="$work/bin"
    nice go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
    sed "s|^dist:|dist:\n  output_path: $work/src|" builder.yaml >"$work/builder.yaml"
    nice "$work/bin/builder" --config "$work/builder.yaml" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    mkdir -p "$folder"
    # Renamed in place: another process never sees half of it.
    mv "$work/src/otelcol" "$folder/otelcol.$$"
    mv "$folder/otelcol.$$" "$folder/otelcol"
fi
echo "$folder/otelcol"
