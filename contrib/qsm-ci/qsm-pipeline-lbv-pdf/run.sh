#!/usr/bin/env bash
# LBV-PDF (qsm-pipeline): bfr.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
