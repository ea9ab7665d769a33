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
above() { # a room of host/, those that it may not know
	grep -rnE "#include \"host/($2)/" "src/host/$1"
}
check "the network half knows nothing of what it is asked for" "$(above peer 'conf|probe|part|check|render|kms|vmm|report|measure')"
check "images know nothing of who judges them" "$(above image 'probe|part|check|report|measure')"
check "parts know nothing of checks, checks nothing of reports" "$(above part 'check|report|measure'; above check 'report'; above measure 'check|report')"
check "settings, rendering and probes know nothing of who judges" "$(for room in conf render probe kms vmm; do above $room 'part|check|report|measure'; done)"
check "cmd is included by cmd and main only" "$(grep -rln '#include "cmd/' src | grep -vE '^src/(cmd/|main\.c)')"
check "base uses no library but libc" "$(grep -rnE '#include <(jansson|curl|openssl|systemd|nftables)' src/base)"
behind() { # library, its headers, the files that may use it
	only_in "$2" "host/lib/lib-$1\.h"
	grep -rln "#include \"host/lib/lib-$1\.h\"" src | grep -vE "^src/(dlopened\.c|host/([a-z]+/)?($3|lib-$1)\.c)$"
}
check "libcurl is the network half's" "$(behind curl curl/ 'peer[a-z-]*|image-fetch')"
check "libcrypto is behind cert.c, the network half's digests, and what no small library has" \
	"$(behind crypto openssl/ 'peer|peer-certs|cert|cert-facts|kms-digest|sha384|image-hash|image-fetch')"
check "libnftables is behind guard.c" "$(behind nftables nftables/ guard)"
check "libarchive is behind bundle.c and deb.c" "$(behind archive archive 'bundle|deb')"
check "ISA-L is the unpacking half's" "$(behind isal isa-l/ image-unpack)"
check "libsystemd is behind units.c and journal.c" "$(behind systemd systemd/sd 'units[a-z-]*|(secret-)?journal')"
check "no library is linked to that is loaded" "$(sed -n 's/^PKGS = //p' Makefile | grep -E 'curl|crypto|systemd|nftables|archive|isal')"
check "what the package depends on is every library that is loaded" \
	"$(for h in src/host/lib/lib-*.h; do grep -q "#include \"${h#src/}\"" src/dlopened.c || echo "$h"; done)"
check "libseccomp and libcap are the halves' and the jail's" "$(only_in '(seccomp|sys/capability)' 'host/[a-z]+/(peer|jail)[a-z-]*\.[ch]')"
# Digests run in the halves; of the others, what they read is written by root.
check "foreign JSON is parsed in the halves alone" "$(grep -rnE 'json_(load|read)[a-z]*\(' src --include='*.c' | grep -vE '^src/host/([a-z]+/)?(json|answer|[a-z-]*-digest|kms-record|image-manifest|probes-chain|measure-(image|qtest)|report-(images|config|keys)|qcnl-file)\.c:')"
check "no unbounded or shell-running calls" "$(grep -rnE '\b(system|popen|gets|strcat|sprintf|atoi|strtok|alloca|vsprintf)\(' src --include='*.c')"
check "getenv only in base and main, and for NO_COLOR" "$(grep -rn 'getenv(' src/host src/cmd | grep -v NO_COLOR)"
