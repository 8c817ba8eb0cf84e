#!/usr/bin/env bash
# What the tests marked `containers` need on a Debian 12 without registry, Docker or Apptainer; run as
# root, in a folder that they keep.
#   container_host.sh base FOLDER            a Debian 12 by debootstrap, as FOLDER/debian.tar
#   container_host.sh buildah FOLDER CMD...  run a command that finds buildah set up
#   container_host.sh root FOLDER            another Debian by debootstrap that has Apptainer
#   container_host.sh user FOLDER CMD...     run a command in it, as a user without privileges who
#                                            sees FOLDER/root/w as /w, and the folder SEEN, if that
#                                            is set, at its own place
# Apptainer is in no Debian 12, and it refuses to run in a plain chroot: hence the root of its own.
set -euo pipefail
command=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
root=$folder/root
mirror=$(sed -n 's/^URIs: *\(.*\/debian\)\/*$/\1/p; s/^deb \([^ ]*\/debian\)\/* .*/\1/p' \
  $(ls /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null) | head -n 1)

export HOME=$folder/home BUILDAH_ISOLATION=chroot
mkdir -p "$HOME/.config/containers"
export CONTAINERS_STORAGE_CONF=$HOME/.config/containers/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' \
  "$folder" "$folder" >"$CONTAINERS_STORAGE_CONF"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$HOME/.config/containers/policy.json"

# The certificates that this machine trusts, for pip.
certificates() {
  mkdir -p "$1/usr/local/share/ca-certificates"
  awk -v folder="$1/usr/local/share/ca-certificates" \
    '/BEGIN CERT/ {n++} {print >(folder "/host-" n ".crt")}' /etc/ssl/certs/ca-certificates.crt
  chroot "$1" update-ca-certificates >/dev/null 2>&1
}

base() {
  if [ -s "$folder/debian.tar" ]; then
    buildah inspect --type image localhost/debian:12 >/dev/null 2>&1 ||
      buildah pull --quiet "docker-archive:$folder/debian.tar" >/dev/null
    return
  fi
  debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/base" "$mirror"
  certificates "$folder/base"
  rm -rf "$folder"/base/var/cache/apt/archives/*.deb "$folder"/base/var/lib/apt/lists/*
  local container
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$folder/base" /
  buildah commit --quiet --rm "$container" localhost/debian:12
  buildah push --quiet localhost/debian:12 "docker-archive:$folder/debian.tar:debian:12"
}

root() {
  [ ! -e "$root/w" ] || return 0
  debootstrap --variant=minbase \
    --include=apptainer,ca-certificates,squashfs-tools,uidmap,fuse2fs,squashfuse \
    sid "$root" "$mirror"
  certificates "$root"
  chroot "$root" useradd --create-home --uid 1000 user
  echo user:100000:65536 | tee "$root/etc/subuid" >"$root/etc/subgid"
  echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"
  mkdir -p "$root/w/tmp"
  chown -R 1000:1000 "$root/w"
}

user() {
  export ROOT=$root
  unshare --mount --propagation private bash -ec '
    cd "$ROOT"
    mount --bind . .
    cd "$ROOT"
    if [ -n "${SEEN:-}" ]; then
      mkdir -p "./$SEEN"
      mount --bind "$SEEN" "./$SEEN"
    fi
    mount -t proc proc proc
    mount --rbind /sys sys
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
      IFS=: read -r name major minor <<<"$device"
      mknod -m 666 "dev/$name" c "$major" "$minor"
    done
    ln -s /proc/self/fd dev/fd
    ln -s fd/0 dev/stdin
    ln -s fd/1 dev/stdout
    ln -s fd/2 dev/stderr
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    cp -L /etc/resolv.conf etc/resolv.conf
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    cd /w
    exec setpriv --reuid 1000 --regid 1000 --clear-groups env -i HOME=/home/user TMPDIR=/w/tmp \
      PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"' bash "$@"
}

case $command in
buildah) "$@" ;;
*) "$command" "$@" ;;
esac
