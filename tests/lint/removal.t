#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The prerm on a made-up system: what it stops and what it keeps, by the slice's own word.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
: >"$work/docker-registry-was-here" # of it, other tests tell
for name in systemctl deb-systemd-invoke deb-systemd-helper nft; do
	cat >"$work/bin/$name" <<-STUB
		#!/bin/sh
		echo "$name \$*" >>"$work/calls"
		[ "$name" != systemctl ] || echo "$PWD/units/\$4"
	STUB
	chmod 755 "$work/bin/$name"
done
remove() { # state of the slice ("" : there is none), tree
	rm -rf "$work/run" "$work/cgroup" "$work/calls"
	mkdir -p "$work/run/systemd/system" "$work/cgroup$2"
	if [ -n "$1" ]; then
		mkdir -p "$work/cgroup$2/dstackcvm.slice"
		printf 'populated %s\nfrozen 0\n' "$1" >"$work/cgroup$2/dstackcvm.slice/cgroup.events"
	fi
	sed -e "s,/run/systemd,$work/run/systemd,g" -e "s,/sys/fs/cgroup,$work/cgroup,g" \
		-e "s,/var/lib/dstack/,$work/,g" debian/dstack-host-services.prerm >"$work/prerm"
	said=$(PATH="$work/bin:$PATH" sh "$work/prerm" remove 2>&1) || echo "exit $?"
	stopped=$(sed -n 's/^deb-systemd-invoke stop //p' "$work/calls" | tr ' ' '\n' | sort | tr '\n' ' ')
}
keeps() {
	case $stopped in *vmm* | *supervisor* | *guard* | *drain*) echo "stops $stopped" ;; esac
	case $said in *"VMM and guard"*"keep running"*"asked"*dstack-host-tools*) ;; *) echo "says: $said" ;; esac
	for unit in dstackcvm.slice dstack-supervisor.service dstack-vmm.service dstack-guard.service \
		dstack-drain.service dstack-drained.service dstack-drained.target; do
		[ -e "$work/run/systemd/system/$unit" ] || echo "$unit has no file any more"
	done
	grep '^nft' "$work/calls"
}
check "while virtual machines run, what they need and who asks them at poweroff stays" "$(remove 1; keeps)"
check "the same where cgroup v1 is there, too" "$(remove 1 /unified; keeps)"
ends() {
	case $stopped in *dstack-guard.service*dstack-vmm.service*) ;; *) echo "stops only $stopped" ;; esac
	[ -z "$said" ] || echo "says: $said"
	ls -A "$work/run/systemd/system"
	grep -qx 'nft delete table inet dstack_guard' "$work/calls" || echo "the guard's table is left"
}
check "when none runs, all goes" "$(remove 0; ends)"
check "when there never was one, too" "$(remove ''; ends)"
check "what is kept is taken back by the next installation" "$(remove 1
	for file in "$work"/run/systemd/system/*; do
		unit=${file##*/}
		tr -s ' \t\\\n' '\n' <debian/dstack-host-services.postinst | sed 's/;$//' | grep -qxF "$unit" || echo "$unit"
	done)"
