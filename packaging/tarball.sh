#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# tarball.sh - make target/packages/bpfcc-rs-VERSION-MACHINE-static.tar.gz, and SHA256SUMS of all packages
#
# Of bpfcc-rs as dist.sh static has built it: it needs nothing but the kernel. bin/ has it with a link per
# tool; packaging/install.sh installs it with man pages and completions (FORM=multicall).

set -eu

TOP=$(cd "$(dirname "$0")/.." && pwd -P)
. "$TOP/packaging/release.sh"

name=bpfcc-rs-$version-$machine-static
work=$TOP/target/tarball
root=$work/$name
rm -rf "$work"
mkdir -p "$root/bin" "$root/packaging" "$root/man" "$TOP/target/packages"
install -m 755 "$TOP/target/static/$host/dist/bpfcc-rs" "$root/bin/bpfcc-rs"
for page in "$TOP"/man/man8/*.8; do
  tool=$(basename "$page" .8)
  [ "$tool" = bpfcc-rs ] || ln -s bpfcc-rs "$root/bin/$tool"
done
cp -R "$TOP/man/man8" "$TOP/man/completions" "$root/man/"
cp "$TOP/packaging/install.sh" "$root/packaging/"
cp -R "$TOP/LICENSES" "$TOP/README.md" "$TOP/CHANGELOG.md" "$root/"
cp "$TOP/packaging/debian/copyright" "$root/NOTICE"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w --mtime="@$SOURCE_DATE_EPOCH" \
  -cf - "$name" | gzip -n9 >"$TOP/target/packages/$name.tar.gz"
cd "$TOP/target/packages"
find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
cat SHA256SUMS
