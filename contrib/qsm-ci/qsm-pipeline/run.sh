#!/usr/bin/env bash
# qsm-pipeline: end-to-end.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
