#!/usr/bin/env bash
# Run one simulated participant in an image: raw data read-only, no network, an unprivileged user.
#   smoke.sh docker|buildah IMAGE FOLDER [OPTION...]
#   smoke.sh apptainer FILE.sif FOLDER [OPTION...]
# The options go to qsm-pipeline, those in SIMULATE to qsm-pipeline-simulate, unless FOLDER/raw is
# there already. The output goes to FOLDER/out.
set -euo pipefail
engine=$1 image=$2
folder=$(mkdir -p "$3" && cd "$3" && pwd)
shift 3
mkdir -p "$folder/raw" "$folder/out"
chmod 777 "$folder/raw" "$folder/out" # the user in the image is another one

if [ "$engine" = buildah ]; then
  container=$(buildah from --pull-never "$image")
  trap 'buildah rm "$container" >/dev/null' EXIT
fi

# in_image RAW_MODE COMMAND...: run a command in the image
in_image() {
  local mode=$1
  shift
  case $engine in
  docker)
    docker run --rm --network none --read-only --tmpfs /tmp --user 1000:1000 \
      -v "$folder/raw:/raw:$mode" -v "$folder/out:/out" --entrypoint "$1" "$image" "${@:2}"
    ;;
  buildah) # it has no network of its own to switch off with --isolation chroot
    unshare --net buildah run --user 1000:1000 \
      -v "$folder/raw:/raw:$mode" -v "$folder/out:/out" "$container" -- "$@"
    ;;
  apptainer)
    apptainer exec --containall --net --network none \
      --bind "$folder/raw:/raw:$mode" --bind "$folder/out:/out" "$image" "$@"
    ;;
  esac
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

in_image rw qsm-pipeline --version
# shellcheck disable=SC2086
[ -e "$folder/raw/dataset_description.json" ] ||
  in_image rw qsm-pipeline-simulate /raw ${SIMULATE:-}
in_image ro qsm-pipeline /raw /out participant --skip-bids-validation "$@"
[ -s "$folder/out/sub-01/anat/sub-01_Chimap.nii.gz" ] || fail "there is no map"

# what must not work: the network, the raw data, the image; and the exit status must come out
# shellcheck disable=SC2016
in_image ro python3 -c '
import os, socket, sys
if os.getuid() == 0: sys.exit("runs as root")
try: socket.create_connection(("192.0.2.1", 80), 3)
except OSError as error: print("network:", error)
else: sys.exit("the network can be reached")
try: open("/raw/written", "w")
except OSError as error: print("raw data:", error)
else: sys.exit("the raw data can be written to")
'
status=0
in_image ro qsm-pipeline /raw /out participant --participant-label nobody || status=$?
[ "$status" = 18 ] || fail "an unknown participant gave exit status $status, expected 18"
echo "passed: $image, map in $folder/out/sub-01/anat"
