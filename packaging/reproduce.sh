#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# reproduce.sh - build twice, in two places, and compare
#
# usage: reproduce.sh [PACKAGE...]     (bpfcc-rs, which has the code of every tool)

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
[ $# -gt 0 ] || set -- bpfcc-rs
work=$(mktemp -d "${TMPDIR:-/tmp}/reproduce.XXXXXX")
trap 'rm -rf "$work"' EXIT

host=$(rustc -vV | sed -n 's/^host: //p')
for place in one another/place; do
  mkdir -p "$work/$place"
  git -C "$top" archive HEAD | tar -x -C "$work/$place"
  "$work/$place/packaging/dist.sh" dynamic "$@"
done
for package; do
  cmp "$work/one/target/$host/dist/$package" "$work/another/place/target/$host/dist/$package"
  (cd "$work/one/target/$host/dist" && sha256sum "$package")
done
echo 'the same bytes'
