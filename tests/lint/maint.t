#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The maintainer scripts at work, in namespaces with /run and /var/lib of their own and with stand-ins for what they
# call: which trigger does what, whose registry it is, mount points at purge, what is said.
cd "$(dirname "$0")/../.." || exit 1
if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] && exec unshare --mount "$0" inside
	unshare --map-root-user --mount true 2>/dev/null || { echo "ok 1 # SKIP no user namespaces"; exit 0; }
	exec unshare --map-root-user --mount "$0" inside
fi
. tests/lint/tap.sh
mount -t tmpfs none /run && mount -t tmpfs none /var/lib || exit 1
mkdir -p /run/systemd/system /run/bin
PATH=/run/bin:$PATH
unset DPKG_ROOT
for name in systemctl deb-systemd-invoke deb-systemd-helper dpkg-trigger docker; do
	# Notes how it was called, and answers what the test has put beside it.
	# shellcheck disable=SC2016 # for the program
	printf '#!/bin/sh\necho "${0##*/} $*" >>/run/calls\n[ ! -e "$0.sh" ] || . "$0.sh"\n' >"/run/bin/$name"
	chmod +x "/run/bin/$name"
done
answer() { printf '%s\n' "$2" >"/run/bin/$1.sh"; }
run() { # script, its arguments; leaves what it called in /run/calls, what it said in /run/said
	script=debian/dstack-host-$1
	shift
	: >/run/calls
	sh "$script" "$@" >/run/said 2>&1 </dev/null || echo "exit $?" >>/run/said
}
said() { cat /run/said; }
called() { grep -cF "$1" /run/calls; }
tells() { grep -qF "$1" /run/said || { echo "not said: $1"; said; }; }
same() { [ "$1" = "$2" ] || printf 'wanted: %s\nis: %s\n' "$1" "$2"; }
mark=/var/lib/dstack/docker-registry-was-here

registry() { # enabled? active?
	answer systemctl "case \$1 in is-enabled) exit $1 ;; is-active) exit $2 ;; esac"
	run services.preinst install
	[ -e $mark ] && echo left || echo shut
}
check "a registry that runs or would at the next boot was here before" \
	"$(same "left left" "$(registry 0 0) $(registry 0 3)")$(same left "$(registry 1 0)")"
check "one that came with us, disabled by our removal, was not, and an old note is void" "$(same shut "$(registry 1 3)")"
mv /run/systemd /run/elsewhere
check "without systemd, where is-active says yes to everything, what is enabled counts" \
	"$(same "left shut" "$(registry 0 0) $(registry 1 0)")"
rm -f $mark
run services.prerm remove
check "at removal ours is disabled, also where systemd does not run" "$(same 1 "$(called 'deb-systemd-helper disable docker-registry')")"
mv /run/elsewhere /run/systemd
check "an upgrade leaves the note alone" "$(mkdir -p /var/lib/dstack; : >$mark; run services.preinst upgrade 0.1; [ -e $mark ] || echo gone)"

answer systemctl "[ \$1 != is-active ]"
run services.postinst triggered /var/lib/prometheus/node-exporter
check "node exporter's trigger starts the metrics' timer and nothing else" \
	"$(same "deb-systemd-invoke reload-or-restart dstack-host-metrics.timer" "$(cat /run/calls)")$(said)"
run services.postinst triggered "/var/lib/prometheus/node-exporter dstack-host-apply"
check "with ours it applies" "$(same 1 "$(called 'start dstack-host-start.service')")$(same 1 "$(called daemon-reload)")$(said)"
touch /run/systemd/system/dstackcvm.slice
run services.postinst abort-remove
check "a removal that is called off is undone" \
	"$(ls /run/systemd/system)$(same 1 "$(called 'start dstack-host-start.service')")$(said)"
answer systemctl ""
run services.postinst abort-remove
check "of a drained host it is said how to start it" "$(tells 'drained; to start it: dstack-host drain --end')"
mkdir -p /var/lib/dstack/bin
run sim.postinst abort-remove
check "nor does the simulation leave its place empty" "$([ -L /var/lib/dstack/bin/current ] || echo no link; said)"

purged() { # what docker answers; prints what is said of containers
	answer docker "$1"
	run services.postrm purge
	grep -v ' kept ' /run/said
}
check "no container, no word" "$(purged 'exit 0')"
# shellcheck disable=SC2016 # for the stand-in
{
	check "containers are said to be removed when they were" \
		"$(same "dstack-host: removed the key provider's containers." "$(purged '[ "$3" != ps ] || echo 1a2b')")"
	check "and what to do when they were not" "$(purged 'case $3 in ps) echo 1a2b ;; *) exit 1 ;; esac' >/dev/null
		tells 'could not be removed; later: docker rm -f')"
}
check "a Docker that does not answer is said to" "$(purged 'exit 1' >/dev/null; tells 'Docker does not answer')"

answer docker "exit 0"
for dir in dstack/registry dstack/vm dstack/images dstack-sim-pccs dstack/ca; do
	mkdir -p "/var/lib/$dir/sub"
done
mount -t tmpfs none /var/lib/dstack/registry
mkdir -p /var/lib/dstack/registry/a /var/lib/dstack/registry/nested
mount -t tmpfs none /var/lib/dstack/registry/nested
for at in registry/a registry/nested vm/sub ca/sub; do
	echo x >"/var/lib/dstack/$at/file"
done
mount -t tmpfs none /var/lib/dstack-sim-pccs && touch /var/lib/dstack-sim-pccs/file
run services.postrm purge
check "a mount point is emptied, stays, and does not break the purge" \
	"$(grep '^exit' /run/said; ls -d /var/lib/dstack/registry/a 2>/dev/null; mountpoint -q /var/lib/dstack/registry || echo gone)"
check "it is said" "$(tells /var/lib/dstack/registry; tells 'a mount point is emptied and stays')"
check "another file system below it is not touched" "$(ls /var/lib/dstack/registry/nested/file >/dev/null 2>&1 || echo gone)"
check "virtual machines' files stay and are named" "$(cat /var/lib/dstack/vm/sub/file >/dev/null || echo gone; tells 'kept /var/lib/dstack/vm')"
run sim.postrm purge
check "the same for the simulation" "$(grep '^exit' /run/said; ls /var/lib/dstack-sim-pccs; tells 'mount point')"
DPKG_ROOT=/run/tree
export DPKG_ROOT
mkdir -p /run/tree/etc/dstack/secrets /run/tree/var/lib/dstack/ca/sub
mount -t tmpfs none /run/tree/etc/dstack/secrets
touch /run/tree/etc/dstack/secrets/pccs-api-key /run/tree/etc/dstack/host.conf
run tools.postrm purge
check "and for secrets, which go" "$(grep '^exit' /run/said; find /run/tree -type f; ls -d /run/tree/var/lib/dstack 2>/dev/null)"
