"""
Print operator.yaml: sidecar.yaml and scrubbing.yaml as a resource of the OpenTelemetry Operator.

    python collector/kubernetes/render_operator.py > collector/kubernetes/operator.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[1]
_HEADER = """\
# Written by render_operator.py from sidecar.yaml and scrubbing.yaml. A pod asks for it by
#   metadata.annotations: {sidecar.opentelemetry.io/inject: otel-sentry}
"""


def render() -> str:
    """Return the manifest as YAML."""
    config = _read("sidecar.yaml")
    config["processors"] |= _read("scrubbing.yaml")["processors"]
    manifest = {
        "apiVersion": "opentelemetry.io/v1beta1",
        "kind": "OpenTelemetryCollector",
        "metadata": {"name": "otel-sentry"},
        "spec": {
            "mode": "sidecar",
            "image": f"otel/opentelemetry-collector-contrib:{_version()}",
            "env": [{"name": "GOMEMLIMIT", "value": "200MiB"}],
            "envFrom": [{"secretRef": {"name": "otelcol"}}],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"memory": "256Mi"},
            },
            "volumeMounts": [{"name": "otelcol-queue", "mountPath": "/var/lib/otelcol"}],
            "volumes": [{"name": "otelcol-queue", "emptyDir": {"sizeLimit": "1Gi"}}],
            "config": config,
        },
    }
    return _HEADER + yaml.safe_dump(manifest, sort_keys=False, width=10**6)


def _version() -> str:
    return str(_read("builder.yaml")["dist"]["version"])


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_FOLDER / name).read_text())
    return content


if __name__ == "__main__":
    sys.stdout.write(render())
