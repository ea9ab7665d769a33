#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Includes go one way: base knows nothing of host, host nothing of cmd; each library is behind
# the files that are named here.
cd "$(dirname "$0")/../.." || exit 1
. tests/lint/tap.sh
only_in() { # header pattern, file pattern
	grep -rnE "#include <$1" src --include='*.[ch]' | grep -vE "^src/($2):"
}
check "base includes only base" "$(grep -rnE '#include "(host|cmd)/' src/base)"
check "host does not include cmd" "$(grep -rn '#include "cmd/' src/host)"
check "cmd is included by cmd and main only" "$(grep -rln '#include "cmd/' src | grep -vE '^src/(cmd/|main\.c)')"
check "base uses no library but libc" "$(grep -rnE '#include <(jansson|curl|openssl|systemd|nftables)' src/base)"
check "libcurl is the network half's" "$(only_in curl/ 'host/peer[a-z-]*\.[ch]')"
check "certificates are behind cert.c, foreign ones behind the network half's digest" "$(only_in 'openssl/(x509|pem)' 'host/(cert|kms-digest)\.c')"
check "libnftables is behind guard.c" "$(only_in nftables/ 'host/guard\.c')"
check "sd-bus is behind units.c" "$(only_in systemd/sd-bus 'host/units[a-z-]*\.c')"
check "libseccomp and libcap are the network half's" "$(only_in '(seccomp|sys/capability)' 'host/peer[a-z-]*\.[ch]')"
check "no unbounded or shell-running calls" "$(grep -rnE '\b(system|popen|gets|strcat|sprintf|atoi|strtok|alloca|vsprintf)\(' src --include='*.c')"
check "getenv only in base and main, and for NO_COLOR" "$(grep -rn 'getenv(' src/host src/cmd | grep -v NO_COLOR)"
