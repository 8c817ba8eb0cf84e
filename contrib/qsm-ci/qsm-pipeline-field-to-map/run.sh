#!/usr/bin/env bash
# LBV-PDF and CycleQSM (qsm-pipeline): bfr+dipole.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
