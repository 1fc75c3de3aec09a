#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# try-deb.sh - install target/packages/bpfcc-rs_*.deb in a clean Debian in the place of bpfcc-tools, use it,
# and remove it; as root
#
# SUITE (bookworm) and MIRROR, else what this machine's apt uses. The clean Debian stays in
# target/debian-SUITE, as a file, for the next time.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
deb=$(ls -t "$top"/target/packages/bpfcc-rs_*.deb | head -n 1)
SUITE=${SUITE:-bookworm}
MIRROR=${MIRROR:-$(apt-cache policy | sed -n 's,^ *[0-9-]* \(http[^ ]*/debian\) .*,\1,p' | head -n 1)}
MIRROR=${MIRROR:-http://deb.debian.org/debian}

say() { echo "== $*"; }

lintian --fail-on error,warning --tag-display-limit 0 "$deb"
say 'lintian: no errors, no warnings'

base=$top/target/debian-$SUITE.tar
if [ ! -e "$base" ]; then
  fresh=$(mktemp -d "${TMPDIR:-/tmp}/debian.XXXXXX")
  debootstrap --variant=minbase --include=man-db,procps,iproute2 "$SUITE" "$fresh" "$MIRROR" >"$base.log"
  cp /etc/apt/apt.conf.d/*prox* "$fresh/etc/apt/apt.conf.d/" 2>/dev/null || :
  chroot "$fresh" apt-get -q update >>"$base.log"
  # Minimal images of Debian leave the pages out; here they are looked for.
  rm -f "$fresh/etc/dpkg/dpkg.cfg.d/docker"
  DEBIAN_FRONTEND=noninteractive chroot "$fresh" apt-get -qy install --no-install-recommends bpfcc-tools >>"$base.log" 2>&1
  tar -C "$fresh" -cf "$base.part" .
  mv "$base.part" "$base"
  rm -rf "$fresh"
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/try-deb.XXXXXX")
trap 'rm -rf "$root"' EXIT
tar -C "$root" -xf "$base"
cp "$deb" "$root/root/bpfcc-rs.deb"
tools=$(ls "$top/man/man8" | sed -n 's/\.8$//p' | grep -vx bpfcc-rs)
echo "$tools" >"$root/root/tools"

cat >"$root/root/try" <<'END'
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
say() { echo "== $*"; }
state() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || :; }

[ "$(state bpfcc-tools)" = installed ]
ls /usr/sbin/*-bpfcc | sed 's,.*/\(.*\)-bpfcc,\1,' | sort >/root/classics
apt-get -qy install /root/bpfcc-rs.deb >/root/log 2>&1 || { cat /root/log; exit 1; }
[ "$(state bpfcc-rs)" = installed ]
case $(state bpfcc-tools) in installed) echo 'bpfcc-tools is still there'; exit 1 ;; esac
say "bpfcc-rs has replaced bpfcc-tools: $(dpkg-query -W -f '${Version}, ${Installed-Size} KiB' bpfcc-rs)"

count=0
while read -r tool; do
  for name in "$tool" "$tool-bpfcc"; do
    [ "$(command -v "$name")" = "/usr/sbin/$name" ]
    "$name" --help | grep -q Examples:
    [ "$("$name" --version | cut -d' ' -f1)" = "$tool" ]
    man -w "$name" >/dev/null
  done
  "/usr/share/bcc/tools/$tool" --version >/dev/null
  count=$((count + 1))
done </root/tools
say "$count tools answer --help, --version and man -w by both names, and in /usr/share/bcc/tools"
say "names of bpfcc-tools that are not there: $(sed 's/$/-bpfcc/' /root/classics | while read -r name; do command -v "$name" >/dev/null || echo "${name%-bpfcc}"; done | xargs)"

# NAME PATTERN COMMAND: starts the tool, runs the command, looks for its event.
trace() {
  tool=$1 pattern=$2
  shift 2
  : >/root/err # the last tool's says that it is attached
  $tool --verbose >/root/out 2>/root/err &
  pid=$!
  until grep -q attached /root/err; do kill -0 $pid; done
  "$@" >/dev/null 2>&1 || :
  kill -INT $pid
  wait $pid
  grep -m1 "$pattern" /root/out || { cat /root/out /root/err; exit 1; }
}
say 'three tools trace'
trace opensnoop-bpfcc 'no-such-file-here' cat /no-such-file-here
trace execsnoop 'uname' uname
trace tcpstates '127.0.0.1 .*SYN_SENT' bash -c ': </dev/tcp/127.0.0.1/9'

dpkg -L bpfcc-rs | while read -r path; do [ -d "$path" ] || echo "$path"; done >/root/installed
apt-get -qy purge bpfcc-rs >/root/log 2>&1 || { cat /root/log; exit 1; }
left=$(while read -r path; do [ ! -e "$path" ] && [ ! -L "$path" ] || echo "$path"; done </root/installed)
left="$left$(find / -xdev \( -path /root -o -path /proc -o -path /sys -o -path /var/log -o -path /var/cache \) -prune -o -name '*bpfcc-rs*' -print)"
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
[ ! -e /usr/share/bcc ]
say "removed: nothing is left of $(wc -l </root/installed) files"
END

# The mounts are of this shell alone: none is there when the tree is removed.
unshare --mount --propagation private sh -eu -c '
root=$1
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
exec chroot "$root" /bin/sh -eu /root/try
' sh "$root" </dev/null
say "all well with $deb"
