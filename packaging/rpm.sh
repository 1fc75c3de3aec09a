#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# rpm.sh - make target/packages/bpfcc-rs-VERSION-1.ARCH.rpm of the programs that dist.sh dynamic has built

set -eu

TOP=$(cd "$(dirname "$0")/.." && pwd -P)
. "$TOP/packaging/release.sh"

work=$TOP/target/rpm
rm -rf "$work"
mkdir -p "$work" "$TOP/target/packages"
rpmbuild -bb --target "$machine" \
  --define "_topdir $work" \
  --define "top $TOP" \
  --define "programs ${PROGRAMS:-$TOP/target/$host/dist}" \
  --define "release_version $version" \
  --define '_buildhost localhost' \
  --define 'use_source_date_epoch_as_buildtime 1' \
  --define 'clamp_mtime_to_source_date_epoch 1' \
  "$TOP/packaging/bpfcc-rs.spec" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mv "$work"/RPMS/*/*.rpm "$TOP/target/packages/"
ls -l "$TOP"/target/packages/bpfcc-rs-"$version"-*.rpm
