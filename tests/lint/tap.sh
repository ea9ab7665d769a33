# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# For the lint tests: check NAME LINES is "ok" when there are no lines that should not be.
n=0
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2" | head -n 60 | sed 's/^/# /'
	fi
}
