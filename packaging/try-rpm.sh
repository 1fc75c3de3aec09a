#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# try-rpm.sh - check target/packages/bpfcc-rs-*.rpm, install it into an empty rpm root and remove it; as root

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
rpm=$(ls -t "$top"/target/packages/bpfcc-rs-*.rpm | head -n 1)
root=$(mktemp -d "${TMPDIR:-/tmp}/try-rpm.XXXXXX")
trap 'rm -rf "$root"' EXIT

rpm -K --nosignature "$rpm"

# The same names as install.sh makes, and no others.
DESTDIR=$root/wanted "$top/packaging/install.sh"
(cd "$root/wanted" && find . ! -type d | sed 's,^\.,,; s,\(/man8/.*\)$,\1.gz,') | sort >"$root/wanted.list"
rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" | sed -n '/^d/d; s/^[^ ]* //p' |
  grep -v '^/usr/share/\(doc\|licenses\)/' | sort >"$root/has.list"
diff "$root/wanted.list" "$root/has.list"
echo "$(wc -l <"$root/has.list") files, as installed by hand"
rpm -qp --requires "$rpm" | grep -q '^libelf\.so\.1'
rpm -qp --conflicts "$rpm" | grep -qx bcc-tools

# No libc is in that root: what the package asks for is left out, what it has is tried.
mkdir "$root/clean"
rpm --root "$root/clean" --initdb
rpm --root "$root/clean" --nodeps --install "$rpm"
rpm --root "$root/clean" --verify --nodeps bpfcc-rs
"$root/clean/usr/sbin/opensnoop-bpfcc" --version
rpm --root "$root/clean" --erase bpfcc-rs
left=$(find "$root/clean" ! -type d ! -path '*/var/lib/rpm/*' ! -path '*/.rpm/*' ! -path '*/.rpmdb/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
echo 'installed, verified, removed: nothing is left'
