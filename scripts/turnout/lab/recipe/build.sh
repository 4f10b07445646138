#!/bin/sh
# Builds the lab's image as root. One run at a time on a machine; a killed run leaves a folder and nothing else,
# which the next run removes.
#
# Environment: SUITE, IMAGE (reference to give), LABEL, PACKAGES (with commas), SOURCES and APT_OPTIONS
# (files: apt's sources and settings), RECIPE (folder of this file), CONTAINERS_CONF.
set -eu

work=/var/cache/turnout-lab
build="$work/build"
mkdir -p "$work"

exec 9>"$work/lock"
if ! flock --nonblock 9; then
    echo "another run is building an image: waiting for it"
    flock --timeout 900 9
fi
if podman image exists "$IMAGE"; then
    echo "the other run has built it"
    exit 0
fi

free_mb=$(df --output=avail -m "$work" | tail -1 | tr -d ' ')
if [ "$free_mb" -lt 4000 ]; then
    echo "only $free_mb MB are free in $work, 4000 are needed" >&2
    exit 1
fi

rm -rf --one-file-system "$build"
trap 'rm -rf --one-file-system "$build"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$build"
chmod 755 "$build"

echo "installing Debian $SUITE and the services' packages"
# TMPDIR: apt's own user must be able to enter the folder. 9>&-: no child keeps the lock. In namespaces of its
# own, so that all of mmdebstrap and its mounts are gone at the moment this script is, however it ends.
TMPDIR="$build" setpriv --pdeathsig KILL \
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc mmdebstrap \
    --mode=root --variant=minbase \
    --include="$PACKAGES" \
    --aptopt="$APT_OPTIONS" \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --skip=cleanup/apt/lists \
    --setup-hook="sh '$RECIPE/setup.sh' \"\$1\"" \
    --customize-hook="sh '$RECIPE/customize.sh' \"\$1\"" \
    "$SUITE" "$build/root.tar" - <"$SOURCES" 9>&-

echo "importing the image into podman"
podman import --quiet --change 'CMD ["/sbin/init"]' --change "LABEL turnout.lab.image=$LABEL" \
    "$build/root.tar" "$IMAGE" 9>&-
