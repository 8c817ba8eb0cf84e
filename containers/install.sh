#!/bin/sh
# What goes into the images, whichever program builds them; runs inside a Debian image.
#   install.sh packages build|run          Debian's packages to build with, or to run with
#   install.sh environment SOURCE TARGET   the package and what it needs, at the pinned versions
# The environment is VARIANT=cpu or cuda; WHEELS is where pip finds torch for the CPU.
set -eu

packages() {
  apt-get update -qq
  case $1 in
  build) set -- python3 python3-venv ca-certificates ;;
  run) set -- python3 ;;
  esac
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
}

environment() {
  source=$1 target=$2
  python3 -m venv "$target"
  set -- --no-cache-dir --quiet --disable-pip-version-check --constraint "$source/constraints.txt"
  [ -z "${WHEELS:-}" ] || set -- "$@" --find-links "$WHEELS"
  "$target/bin/pip" install "$@" "$source"
  "$target/bin/python" - <<PYTHON
import sys, torch
if "$VARIANT" == "cpu" and torch.version.cuda:
    sys.exit("this torch is built for CUDA; give WHEELS, where pip finds torch for the CPU")
if "$VARIANT" == "cuda" and not torch.version.cuda:
    sys.exit("this torch is built for the CPU alone; leave out WHEELS")
PYTHON
  leave_out "$target"
}

# Nothing of this is used at run time: torch's own tests, headers and test programs, the tests of
# the other packages, the installer.
leave_out() {
  packages=$(echo "$1"/lib/python3*/site-packages)
  "$1/bin/pip" uninstall --quiet --yes pip
  rm -rf "$packages"/torch/test "$packages"/torch/include
  find "$packages"/torch/bin -type f ! -name torch_shm_manager -delete
  find "$packages" -type d -name tests -prune -exec rm -rf {} +
}

command=$1
shift
"$command" "$@"
