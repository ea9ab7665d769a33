#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# hooks/key-provider-compose, with stand-ins for both generations of compose and for sync: what is called, in what order.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for name in docker docker-compose sync; do
	# shellcheck disable=SC2016 # for the program
	printf '#!/bin/sh\necho "${0##*/} $*" >>"%s/calls"\n. "%s/answers"\n' "$bin" "$bin" >"$bin/$name"
	chmod +x "$bin/$name"
done
n=0
is() { # name, what docker and compose answer (shell), arguments, exit status, calls without the first
	n=$((n + 1))
	echo "case \"\${0##*/} \$*\" in *DockerRootDir*) echo /srv/docker ;; $2 esac" >"$bin/answers"
	: >"$bin/calls"
	# shellcheck disable=SC2086 # words
	PATH=$bin:$PATH sh hooks/key-provider-compose $3 2>/dev/null
	code=$?
	if [ "$code $(sed 1d "$bin/calls" | sed 's/ --project-name [^ ]* --file [^ ]*//; s/ --format .*//')" = "$4 $5" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		{ echo "exit $code"; cat "$bin/calls"; } | sed 's/^/# /'
	fi
}
flushed="docker info
sync -f /srv/docker"
is "what was pulled is flushed" "" "up -d" 0 "docker compose up -d
$flushed"
is "with version 1, too" "*'compose version') exit 1 ;;" "up -d" 0 "docker-compose up -d
$flushed"
is "a failure is one" "*' up -d') exit 7 ;;" "up -d" 7 "docker compose up -d"
is "to flush is a try" "'sync -f'*) exit 1 ;;" "up -d" 0 "docker compose up -d
$flushed"
is "nothing is flushed for a stop" "" stop 0 "docker compose stop"
echo "1..$n"
