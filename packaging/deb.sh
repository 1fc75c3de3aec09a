#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# deb.sh - make target/packages/bpfcc-rs_VERSION_ARCH.deb of the programs that dist.sh dynamic has built
#
# FORM=multicall makes the small variant: one program, and a link per tool.

set -eu

TOP=$(cd "$(dirname "$0")/.." && pwd -P)
. "$TOP/packaging/release.sh"
PROGRAMS=${PROGRAMS:-$TOP/target/$host/dist}
export TOP PROGRAMS

work=$TOP/target/deb
rm -rf "$work"
mkdir -p "$work/bpfcc-rs"
cp -R "$TOP/packaging/debian" "$work/bpfcc-rs/debian"
cd "$work/bpfcc-rs"
cat >debian/changelog <<END
bpfcc-rs ($version) unstable; urgency=medium

  * New upstream release; see changelog.gz.

 -- The bpfcc-rs authors <bpfcc-rs@users.noreply.github.com>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
# -d: cargo need not be Debian's.
dpkg-buildpackage -b -us -uc -d >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mkdir -p "$TOP/target/packages"
mv "$work"/*.deb "$TOP/target/packages/"
ls -l "$TOP"/target/packages/bpfcc-rs_"$version"_*.deb
