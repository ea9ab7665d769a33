#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line on a fake root: options, exit codes, secrets by stdin, two runs.
# DSTACK_HOST names the program; the installed one is tested the same way.
host=${DSTACK_HOST:-dstack-host}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
n=0
is() { # name, expected exit code, expected pattern in all output, command...
	name=$1 code=$2 pattern=$3
	shift 3
	n=$((n + 1))
	out=$("$@" 2>&1)
	got=$?
	if [ "$got" -eq "$code" ] && printf '%s\n' "$out" | grep -qE -- "$pattern"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		printf '%s (exit %s, wanted %s, /%s/)\n' "$out" "$got" "$code" "$pattern" | sed 's/^/# /'
	fi
}
h() { "$host" --root "$root" "$@"; }
stdin() { # text, command...
	text=$1
	shift
	printf %b "$text" | "$@"
}

is "help on request" 0 'Usage: dstack-host' "$host" --help
is "version" 0 '^dstack-host [0-9]' "$host" --version
is "no command" 2 'no command' "$host"
is "unknown command" 2 'no command "frobnicate"' "$host" frobnicate
is "unknown option" 2 '' "$host" --frobnicate
is "every verb has --help" 0 '^$' sh -c "for v in config secret render compose devices status up kms image measure drain key-provider; do '$host' \$v --help >/dev/null || echo \$v; done"
is "root that is not there" 1 'no-such' "$host" --root "$root/no-such" config list
is "get before anything is set" 1 'DOMAIN is not set; sudo dstack-host config set' h config get DOMAIN
is "set" 0 'changed' h config set DOMAIN=example.org PCCS_PORT=8082
is "get" 0 '^example.org$' h config get DOMAIN
is "set the same" 0 'unchanged' h config set DOMAIN=example.org
is "set all or nothing" 3 'KMS_PORT: not a port.*' h config set KMS_NAME=x KMS_PORT=70000
is "nothing of it was stored" 0 '^kms$' h config get KMS_NAME
is "unknown key names the nearest" 3 'unknown key "DOMAN"; did you mean DOMAIN' h config set DOMAN=x
is "unknown key like none" 3 "unknown key \"FOO\"; .dstack-host config list. shows all" h config set FOO=x
is "redacted in the list" 0 'ETH_RPC_URLS=https://rpc.example.org:443/\.\.\.$' sh -c "'$host' --root '$root' config set ETH_RPC_URLS=https://u:p@rpc.example.org/v2/secretkey >/dev/null 2>&1; '$host' --root '$root' config list"
is "credentials are not in the list" 1 '^$' sh -c "'$host' --root '$root' config list 2>&1 | grep -E 'secretkey|u:p'"
is "unset" 0 'changed' h config unset PCCS_PORT
is "secret from stdin" 0 'stored' stdin '0123456789abcdef0123456789abcdef\n' "$host" --root "$root" secret set pccs-api-key
is "its mode" 0 '^600$' stat -c %a "$root/etc/dstack/secrets/pccs-api-key"
is "bad secret: reason, not value" 3 'pccs-api-key: is not 32 characters long' stdin 'shortsecret' "$host" --root "$root" secret set pccs-api-key
is "the value is not repeated" 1 '^$' sh -c "printf shortsecret | '$host' --root '$root' secret set pccs-api-key 2>&1 | grep shortsecret"
is "secret with a line break inside" 3 'line break' stdin 'abcdefgh\nijklmnop' "$host" --root "$root" secret set vmm-token
is "secret with a NUL byte" 3 'NUL' sh -c "printf 'abcdefghijklm\\0x' | '$host' --root '$root' secret set vmm-token"
is "unknown secret" 2 'no secret' h secret set nope
is "up asks for everything of a KMS at once" 0 '^KMS_AUTH_IMAGE KMS_IMAGE $' sh -c "'$host' --root '$root' config set KMS_LAYOUT=upstream 2>/dev/null; '$host' --root '$root' up --plan | sed -n 's/^  set  *\\(KMS_[A-Z_]*IMAGE\\) .*/\\1/p' | sort | tr '\\n' ' '; '$host' --root '$root' config unset KMS_LAYOUT 2>/dev/null"
is "secrets are listed without values" 0 'pccs-api-key +\(set\)' h secret list
is "render" 0 '^$' h render
is "render --check after render" 0 '^$' h render --check
is "the rendered VMM file" 0 '600' stat -c %a "$root/run/dstack/vmm/vmm.toml"
is "render --diff names, but does not show, secret files" 0 '^[^"]*vmm.toml: would change[^"]*$' sh -c "'$host' --root '$root' config set VMM_CID_START=3000 2>/dev/null; '$host' --root '$root' render --diff | grep vmm"
is "render --check before render" 1 '' h render --check
is "render of what there is not" 2 'nothing named "x"' h render x
is "render with a wrong setting" 3 'host.conf:[0-9]+: VMM_CID_START: not a guest CID' sh -c "echo VMM_CID_START=1 > '$root/etc/dstack/host.conf'; '$host' --root '$root' render vmm"
is "validate says the same line" 3 'host.conf:1: VMM_CID_START: not a guest CID \(from 3\): "1"' h config validate
is "what does not read that key is rendered" 0 '^$' h render pccs
is "output that cannot be written fails" 1 'cannot write the output' sh -c "'$host' --root '$root' config get DOMAIN_ 2>/dev/null; '$host' --help > /dev/full"
is "apply without systemd" 0 'systemd does not run here' sh -c "echo DOMAIN=a.example > '$root/etc/dstack/host.conf'; '$host' --root '$root' apply"
id=sha256:$(printf '%064d' 7)
is "a key provider starts where nothing is sealed" 0 '^$' h key-provider gate
mkdir -p "$root/var/lib/dstack/vm/7/shared"
echo '{"local_key_provider_enabled": true}' >"$root/var/lib/dstack/vm/7/shared/app-compose.json"
is "none starts where nobody knows which has sealed" 1 'not started: which image has sealed is not known' h key-provider gate
is "what is recorded is an image id" 2 'ID is sha256: and 64' h key-provider record "${id}0"
is "nor a name" 2 'ID is sha256: and 64' h key-provider record k:latest
is "the operator records one" 0 "recorded $id; before it was none" h key-provider record "$id"
is "none starts where Docker cannot be asked" 1 "cannot be told, and $id has sealed" h key-provider gate
rm -r "$root/var/lib/dstack/vm" "$root/var/lib/dstack/kms"
is "await ends with the process that is to answer" 1 'ended before it answered' sh -c "sleep 0.3 & exec '$host' --root '$root' await supervisor --pid \$!"
is "blanks around the sign" 3 'without blanks' h config set DOMAIN = example.org
is "measure says what it lacks" 2 'name a machine' h measure
is "measure of an image needs its size" 2 '--image needs --vcpu and --memory' h measure --image x
is "measure of no image" 1 'metadata.json: No such file' h measure --image x --vcpu 1 --memory 64 --no-qemu
is "measure with a wrong size" 2 'not a number of MiB' h measure --image x --vcpu 1 --memory 1
is "measure records machines alone" 2 '--record goes with --vm' h measure --record --image x --vcpu 1 --memory 64
is "a paused TD is not booted" 2 '--td does not go with' h measure --image x --vcpu 1 --memory 64 --td --booted
is "measure compares two" 2 'takes two words' h measure --compare x
is "drain --end without systemd" 1 'nothing to drain|needs root' h drain --end
is "help as a verb" 0 'Usage: dstack-host' "$host" help
is "no temporary is left" 1 '^$' sh -c "find '$root' -name '*.dstack-new' | grep ."
echo "1..$n"
