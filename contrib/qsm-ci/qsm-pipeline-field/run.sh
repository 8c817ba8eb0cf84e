#!/usr/bin/env bash
# ROMEO and weighted fit (qsm-pipeline): field-mapping.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
