#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sizes that keep the tree readable: functions, files, headers.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
check "no function over 60 lines" "$(find src -name '*.c' -exec awk '
	FNR == 1 { name = "" }
	/^[a-zA-Z_].*\(/ && !/;[ \t]*$/ { name = $0; start = FNR }
	/^}/ { if (name != "" && FNR - start > 60) printf "%s:%d %d lines\n", FILENAME, start, FNR - start; name = "" }' {} +)"
check "no C file over 500 lines" "$(find src -name '*.c' -exec awk 'END { if (FNR > 500) print FILENAME, FNR }' {} \;)"
check "no header over 160 lines" "$(find src -name '*.h' -exec awk 'END { if (FNR > 160) print FILENAME, FNR }' {} \;)"
check "main.c within 160 lines" "$(awk 'END { if (FNR > 160) print FNR }' src/main.c)"
check "every source file says its licence" "$(git -c safe.directory='*' ls-files -co --exclude-standard '*.c' '*.h' '*.py' '*.t' | while read -r f; do [ -e "$f" ] && { head -n 3 "$f" | grep -q SPDX || echo "$f"; }; done)"
check "nothing is left open" "$(grep -rnE '\b(TODO|FIXME|XXX|HACK)\b' src hooks units debian conf Makefile)"
