# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=sh
# What the packagers have in common; sourced by them, with TOP set.

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$TOP/Cargo.toml")
host=$(rustc -vV | sed -n 's/^host: //p')
machine=${host%%-*}

# The time of the last change stands for the time of the build: the same source gives the same package.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git -C "$TOP" log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=$(stat -c %Y "$TOP/CHANGELOG.md")
fi
export SOURCE_DATE_EPOCH
