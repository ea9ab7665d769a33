#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Shell: shellcheck, ceilings for maintainer scripts, what they never do.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
maint=$(ls debian/*.config debian/*.preinst debian/*.postinst debian/*.prerm debian/*.postrm 2>/dev/null)
# shellcheck disable=SC2086 # lists of names
check "shellcheck" "$(shellcheck -s sh -e SC1091 $maint hooks/* debian/unit-links tests/tools/apt-need tests/tools/build-deb tests/tools/man-keys tests/tools/build-and-test tests/lint/*.t tests/cli/*.t 2>&1)"
check "maintainer scripts stay small" "$(for f in $maint; do
	lines=$(grep -cvE '^[[:space:]]*(#|$)' "$f")
	[ "$lines" -le 48 ] || echo "$f: $lines lines of code"; done)"
# shellcheck disable=SC2086
check "no network in maintainer scripts" "$(grep -nE '\b(curl|wget|docker (pull|run|compose)|apt-get) ' $maint)"
# shellcheck disable=SC2086
check "maintainer scripts never stop or restart the supervisor" "$(grep -nE '(systemctl|deb-systemd-invoke) [^#]*(stop|restart|kill|isolate)[^#]*(dstack-supervisor|dstackcvm|dstack-drained)' $maint)"
# shellcheck disable=SC2086
check "what they restart are the metrics' timer and stand-ins that no virtual machine needs, all of them" "$(
	cat $maint | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | grep -oE '(systemctl|deb-systemd-invoke) [^#|>]*restart [^#|>]*' | tr -s ' \t' ' ' | sed 's/ $//' |
		grep -vxF -e 'deb-systemd-invoke reload-or-restart dstack-host-metrics.timer' -e 'deb-systemd-invoke try-restart dstack-sim-pccs.service dstack-sim-qgsd.service dstack-sim-ethrpc.service'
	grep -lE '^Type=(notify|simple|exec)' units/sim/*.service | while read -r f; do
		grep -q "$(basename "$f")" debian/dstack-host-sim.postinst || echo "not restarted: $f"; done)"
# shellcheck disable=SC2086
check "at most one daemon-reload" "$([ "$(cat $maint | grep -c daemon-reload)" -le 1 ] || echo more)"
check "spelling" "$(codespell -q 3 -L passt,hda,crate,uptodate README.md debian/changelog debian/control debian/*.templates src/man units conf src/base src/host src/cmd src/main.c src/sim 2>&1)"
check "translations are up to date" "$(tmp=$(mktemp -d); cp -r debian "$tmp/"; (cd "$tmp/debian" && debconf-updatepo) >/dev/null 2>&1; diff -rq -I POT-Creation-Date debian/po "$tmp/debian/po"; rm -rf "$tmp")"
check "every debconf question is a key or a secret" "$(sed -n 's|^Template: dstack-host/||p' debian/dstack-host.templates | grep -vE '^(settings|followed|bad-domain)$' | while read -r q; do
	key=$(printf %s "$q" | tr 'a-z-' 'A-Z_')
	grep -q "\"$key\".*KEY_ASK\|\"$q\".*asked = 1" src/host/conf/keys.c src/host/conf/secrets.c ||
		grep -A2 "\"$key\"" src/host/conf/keys.c | grep -q KEY_ASK || echo "$q"; done)"
