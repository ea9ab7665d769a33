#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Alert rules: Prometheus' own tool takes them, each fires in its test, each metric is one of ours.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
rules=conf/prometheus-alerts.yml
said() { # prints what a command said when it failed
	out=$("$@" 2>&1) || printf '%s\n' "$out"
}
check "promtool takes the alert rules" "$(said promtool check rules $rules)"
check "each fires in its test, and only when it should" "$(said promtool test rules tests/data/alerts-test.yml)"
check "every alert has a case in which it fires" "$(sed -n 's/.*- alert: //p' $rules | while read -r alert; do
	awk -v alert="$alert" '/alertname:/ { here = $2 == alert } /exp_labels/ && here { found = 1 } END { exit !found }' \
		tests/data/alerts-test.yml || echo "$alert"; done)"
check "every metric that they ask for is written" "$(grep -o 'dstack_host_[a-z_]*' $rules | sort -u | while read -r name; do
	grep -q "NAME(\"${name#dstack_host_}\")" src/host/report/metrics.c || echo "$name"; done)"
