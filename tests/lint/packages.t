#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The built packages: lintian, hardening, the same bytes twice, and what their scripts never do.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check "the packages build" "$(DEB_BUILD_LOG=$work/log TZ=UTC tests/tools/build-deb "$work/a" 2>&1 >/dev/null)"
(umask 027 && mkdir -p "$work/elsewhere" && TMPDIR=$work/elsewhere TZ=Asia/Kathmandu tests/tools/build-deb "$work/b" >/dev/null 2>&1)
check "two builds in different paths, time zones and umasks give the same bytes" \
	"$(cd "$work/a" && sha256sum ./*.deb | (cd ../b && sha256sum --quiet -c -) 2>&1)"
check "lintian" "$(lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$work"/a/*.deb 2>&1 | grep -E '^[EW]:')"
check "hardening flags" "$(blhc --debian --all "$work/log" 2>&1 | grep -v 'No compiler commands')"
for deb in "$work"/a/*.deb; do
	name=${deb##*/}
	dpkg-deb -e "$deb" "$work/control-${name%%_*}"
done
check "no built script stops or restarts the supervisor, or starts anything but the starter" \
	"$(grep -nE '(systemctl|deb-systemd-invoke) [^#]*(stop|restart|kill|isolate)[^#]*(dstack-supervisor|dstackcvm|dstack-drained)' \
		"$work"/control-*/p*inst "$work"/control-*/p*rm
	grep -nE '(deb-systemd-invoke|systemctl).*\b(start|restart|try-restart)\b' "$work"/control-*/p*inst "$work"/control-*/p*rm |
		grep -vE 'deb-systemd-invoke (start dstack-host-start.service|reload-or-restart dstack-host-metrics.timer|try-restart dstack-sim-pccs.service)|echo "')"
check "at most one daemon-reload in what we configure" \
	"$(grep -c daemon-reload "$work"/control-*/postinst | awk -F: '{ n += $2 } END { if (n > 1) print n }')"
depends=$(dpkg-deb -f "$work"/a/dstack-host-tools_*.deb Depends)
check "the package depends on every library that the program loads" \
	"$(sed -n 's/.*struct dl lib = { "\([^"]*\)".*/\1/p' src/host/lib/lib-*.c | while read -r soname; do
		package=$(dpkg -S "*/$soname" | sed 's/:.*//' | sort -u | head -n 1)
		case $depends in *"${package:-none} ("*) ;; *) echo "$soname: ${package:-no package} is not in: $depends" ;; esac
	done
	grep -q 'struct dl lib' src/host/lib/lib-*.c || echo "no library is looked at")"
check "the simulation pushes nothing of Intel's out and ships none of its names" \
	"$(dpkg-deb -f "$work"/a/dstack-host-sim_*.deb Conflicts Breaks Provides Replaces
	dpkg-deb -c "$work"/a/dstack-host-sim_*.deb | grep -E '/(pccs|qgsd)\.service'
	dpkg-deb -c "$work"/a/dstack-host-sim_*.deb | grep '^-rwxr-xr-x.*/systemd/system-generators/dstack-host-sim$' >/dev/null || echo 'no generator')"
depends=$(dpkg-deb -f "$work"/a/dstack-host-services_*.deb Depends)
check "containers start without recommended packages" "$(for needed in apparmor docker-cli; do
	case $depends in *"$needed"[\ ,]*) ;; *) echo "$needed is not in: $depends" ;; esac
done)"
