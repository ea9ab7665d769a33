#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Units: rule 1 to the letter, no [Install] on parts, nothing that systemd complains about.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
has() { # unit, line...
	f=units/$1
	shift
	for line; do grep -qxF "$line" "$f" || echo "$f lacks $line"; done
}
check "the supervisor outlives everything" "$(has dstack-supervisor.service RefuseManualStop=yes IgnoreOnIsolate=yes KillMode=process OOMPolicy=continue Restart=no UMask=0077 Slice=dstackcvm.slice; grep -nE '^(PartOf|BindsTo|Requires|Requisite)=' units/dstack-supervisor.service)"
check "so does its slice" "$(has dstackcvm.slice RefuseManualStop=yes IgnoreOnIsolate=yes)"
# Required by default is sysinit.target, whose end at `systemctl emergency` passes on.
check "what keeps virtual machines alive and fenced requires no target" "$(for u in supervisor drain guard; do has dstack-$u.service DefaultDependencies=no Conflicts=shutdown.target Before=shutdown.target 'After=sysinit.target basic.target'; done)"
# What would end the supervisor may not be started by hand, and what leads there looks first.
check "no unit of ours ends a virtual machine when it is started by hand" "$(
	has dstack-drained.target RefuseManualStart=yes
	has dstack-drained.service OnSuccess=dstack-drained.target OnSuccessJobMode=replace 'ExecStart=/usr/sbin/dstack-host supervisor-gate --drained'
	[ "$(grep -c ^Exec units/dstack-drained.service)" = 1 ] || echo 'dstack-drained.service does more than look'
	grep -rE '^(Conflicts|PropagatesStopTo|StopPropagatedFrom|JoinsNamespaceOf|StopWhenUnneeded)=' units | grep -vE '^units/dstack-drained.target:|:Conflicts=shutdown.target$'
	grep -rE "=.*dstack-drained\.target" units | grep -vxF units/dstack-drained.service:OnSuccess=dstack-drained.target
	grep -rnE '^Exec.*(dstack-host drain( --yes)?|systemctl .*(stop|kill|isolate|restart))$' units)"
check "nothing ties itself to the supervisor" "$(grep -rnE '^(Wants|Requires|BindsTo|PartOf|Requisite)=.*dstack-supervisor' units)"
check "the VMM's unit sets no Group=" "$(grep -n '^Group=' units/dstack-vmm.service)"
check "only the starter has [Install]" "$(grep -rl '^\[Install\]' units | grep -v dstack-host-start.service)"
check "components wait for host.conf" "$(for u in vmm front registry key-provider kms supervisor; do grep -q '^ConditionPathExists=/etc/dstack/host.conf' "units/dstack-$u.service" || echo "$u"; done)"
check "nothing is between the look at the key provider's image and its start" "$(grep -A1 '^ExecStartPre=/usr/sbin/dstack-host key-provider gate$' units/dstack-key-provider.service | grep -q '^ExecStart=/usr/lib/dstack-host/key-provider-compose up -d$' || echo 'no gate before ExecStart=')"
check "no unit sets RUST_BACKTRACE" "$(grep -rn RUST_BACKTRACE units)"
check "no RuntimeDirectory=dstack (it would be deleted under the others)" "$(grep -rnE '^RuntimeDirectory=dstack$' units)"
check "a verified KMS is made known to the guard" "$(has dstack-kms.service 'ExecStartPost=-/usr/bin/systemctl reload dstack-guard.service'; has dstack-guard.service 'ExecReload=+/usr/sbin/dstack-host render guard')"
