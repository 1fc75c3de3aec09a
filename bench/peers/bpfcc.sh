#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# bpfcc.sh TOOL [ARGUMENT]... - run a tool of bpfcc-tools, in this process.
#
# Where this kernel has no headers, those of another are lent to it, in a mount
# namespace of its own: good enough to see how long it takes to compile and
# start, not for what it reads. `tests/vm/vmrun -H --fetch 6.1` gets some.

set -eu

release=$(uname -r)
if [ -e "/lib/modules/$release/build" ]; then
  exec "$@"
fi
if [ -z "${BPFCC_OWN_MOUNTS:-}" ]; then
  BPFCC_OWN_MOUNTS=1 exec unshare --mount sh "$0" "$@"
fi

for lent in "${VMRUN_CACHE:-/var/cache/bpfcc-rs/kernels}"/*/.headers; do
  [ -e "$lent" ] || { echo "bpfcc.sh: no kernel headers" >&2; exit 1; }
  other=${lent%/.headers}
  [ "${other##*/6.1.}" = "$other" ] || break
done
mount --bind "$other/usr/src" /usr/src
other=${other##*/}
mount -t tmpfs none /mnt
mkdir -p /mnt/work "/mnt/upper/modules/$release"
ln -s "/usr/src/linux-headers-$other" "/mnt/upper/modules/$release/build"
ln -s "/usr/src/linux-headers-${other%-*}-common" "/mnt/upper/modules/$release/source"
mount -t overlay -o lowerdir=/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work none /usr/lib
exec "$@"
