#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# install.sh - install the built programs, man pages and completions
#
# usage: [VARIABLE=value...] install.sh
#
#   PROGRAMS     where the programs are (target/HOST/dist, or bin/ of a release)
#   DESTDIR      put before every path, for packages
#   PREFIX       /usr by default
#   FORM         tools: one program per tool (default); multicall: one program, tools are links to it
#   PROG_PREFIX  before the name of every tool,
#   PROG_SUFFIX  or behind it: for both suites side by side. bpfcc-rs of FORM=multicall must have been
#                built with the same.
#   ZSHDIR       PREFIX/share/zsh/site-functions by default
#
# Tools go to PREFIX/sbin by their bare names. Without PROG_PREFIX and PROG_SUFFIX there are links by the
# names that other packages of these tools use: TOOL-bpfcc (Debian) and PREFIX/share/bcc/tools/TOOL
# (RHEL). Which tools there are is read from man/man8.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
FORM=${FORM:-tools}
PROG_PREFIX=${PROG_PREFIX:-}
PROG_SUFFIX=${PROG_SUFFIX:-}
ZSHDIR=${ZSHDIR:-$PREFIX/share/zsh/site-functions}
if [ -z "${PROGRAMS:-}" ]; then
  PROGRAMS=$top/bin
  for built in "$top"/target/*-*-*/dist; do [ ! -d "$built" ] || PROGRAMS=$built; done
fi
[ -x "$PROGRAMS/bpfcc-rs" ] || { echo "install.sh: no programs in $PROGRAMS: run make programs first" >&2; exit 1; }

case $FORM in
  tools|multicall) ;;
  *) sed -n '4,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

sbin=$DESTDIR$PREFIX/sbin
man=$DESTDIR$PREFIX/share/man/man8
bash=$DESTDIR$PREFIX/share/bash-completion/completions
fish=$DESTDIR$PREFIX/share/fish/vendor_completions.d
zsh=$DESTDIR$ZSHDIR
classic=$DESTDIR$PREFIX/share/bcc/tools

drop_in=''
[ -n "$PROG_PREFIX$PROG_SUFFIX" ] || drop_in=1

install -d "$sbin" "$man" "$bash" "$fish" "$zsh"
[ -z "$drop_in" ] || install -d "$classic"

write() { # FILE; the text is standard input
  rm -f "$1"
  cat >"$1"
  chmod 644 "$1"
}

link() { # TARGET FILE
  rm -f "$2"
  ln -s "$1" "$2"
}

documents() { # TOOL NAME [NAME2]: under one name, or two
  names=$2${3:+ $3}
  sed "/^\.SH NAME/{n;s/^$1 /$2 /}" "$top/man/man8/$1.8" | write "$man/$2.8"
  sed "s/^\( *complete -F .* \)$1\$/\1$names/" "$top/man/completions/bash/$1" | write "$bash/$2"
  sed "s/^#compdef $1\$/#compdef $names/; s/^\( *compdef _$1 \)$1\$/\1$names/; s/\"_$1\"/\"_$2\"/" \
    "$top/man/completions/zsh/_$1" | write "$zsh/_$2"
  sed "s/^complete -c $1 /complete -c $2 /" "$top/man/completions/fish/$1.fish" | write "$fish/$2.fish"
  [ -n "${3:-}" ] || return 0
  link "$2.8" "$man/$3.8"
  link "$2" "$bash/$3"
  echo "complete -c $3 -w $2" | write "$fish/$3.fish"
}

install -m 755 "$PROGRAMS/bpfcc-rs" "$sbin/bpfcc-rs"
documents bpfcc-rs bpfcc-rs
for page in "$top"/man/man8/*.8; do
  tool=$(basename "$page" .8)
  [ "$tool" != bpfcc-rs ] || continue
  name=$PROG_PREFIX$tool$PROG_SUFFIX
  case $FORM in
    tools)
      rm -f "$sbin/$name"
      install -m 755 "$PROGRAMS/$tool" "$sbin/$name"
      ;;
    multicall) link bpfcc-rs "$sbin/$name" ;;
  esac
  if [ -n "$drop_in" ]; then
    link "$tool" "$sbin/$tool-bpfcc"
    link "../../../sbin/$tool" "$classic/$tool"
    documents "$tool" "$tool" "$tool-bpfcc"
  else
    documents "$tool" "$name"
  fi
done
