#!/usr/bin/env bash
# CycleQSM (qsm-pipeline): dipole.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
