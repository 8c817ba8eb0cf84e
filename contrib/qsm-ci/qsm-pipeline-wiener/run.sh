#!/usr/bin/env bash
# Wiener (qsm-pipeline): dipole.
set -euo pipefail
exec python3 "$(dirname "$0")/recon.py" "${1:-/input}" "${2:-/output}"
