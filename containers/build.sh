#!/usr/bin/env bash
# Build an image from this source.
#   build.sh docker|buildah NAME [OPTION...]
#   build.sh apptainer FILE.sif [OPTION...]
# From the environment: VARIANT is cpu (the default) or cuda; WHEELS is where pip finds torch for the
# CPU, an address or, except with docker, a folder; BASE is another Debian 12. The options go to the
# program that builds.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=$1 image=$2
shift 2
variant=${VARIANT:-cpu} wheels=${WHEELS:-}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

mount=
if [ -d "$wheels" ]; then
  mount=$wheels wheels=/mnt
fi

case $engine in
docker | buildah)
  "$engine" build ${mount:+--volume "$mount:/mnt:ro"} ${BASE:+--build-arg "BASE=$BASE"} \
    --build-arg "VARIANT=$variant" --build-arg "WHEELS=$wheels" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    "$@" --file containers/Dockerfile --tag "$image" .
  ;;
apptainer)
  apptainer build ${mount:+--bind "$mount:/mnt"} \
    ${BASE:+--build-arg "base=$BASE" --build-arg "bootstrap=${BASE_KIND:-docker-archive}"} \
    --build-arg "variant=$variant" --build-arg "wheels=$wheels" \
    --build-arg "version=$version" --build-arg "revision=$revision" \
    "$@" "$image" containers/apptainer.def
  ;;
esac
