#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debconf's own frontend with the package's questions, in a database and on a root of its own: answers, preseeds and
# host.conf, through both runs of the config script. DSTACK_HOST names the program.
host=${DSTACK_HOST:-dstack-host}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/db" "$root/etc/dstack" "$root/var/lib"
for part in config postinst templates; do
	cp "debian/dstack-host.$part" "$root/"
	chmod +x "$root/dstack-host.$part"
done
ln -s "$(command -v "$host")" "$root/bin/dstack-host"
ln -s /bin/true "$root/bin/dpkg-trigger"
# With DPKG_ROOT debconf takes its own files below it.
printf 'Config: %s\nTemplates: %s\n' answers questions >"$root/etc/debconf.conf"
for name in answers questions; do
	printf '\nName: %s\nDriver: File\nFilename: /db/%s\n' $name $name >>"$root/etc/debconf.conf"
done
export PATH="$root/bin:$PATH" DPKG_ROOT="$root" DEBIAN_PRIORITY=low HOME="$root"
unset DEBIAN_HAS_FRONTEND DEBCONF_REDIR DEBCONF_OLD_FD_BASE DISPLAY
conf=$root/etc/dstack/host.conf
n=0
is() { # name, text that should be, text that is
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf 'wanted: %s\nis: %s\n' "$2" "$3" | sed 's/^/# /'
	fi
}
debconf() { # who answers ("" for nobody, or a sed script on the questions), program, its arguments...
	printf '#!/bin/sh\n%s\n' "sed -i '$1' \"\$1\"" >"$root/bin/answer"
	chmod +x "$root/bin/answer"
	frontend=noninteractive
	[ -z "$1" ] || frontend=editor
	shift
	VISUAL=answer EDITOR=answer DEBIAN_FRONTEND=$frontend /usr/share/debconf/frontend "$@" >"$root/log" 2>&1 </dev/null ||
		sed 's/^/# /' "$root/log"
}
ask() { debconf "$1" "$root/dstack-host.config" configure "$2"; }
configure() { debconf "$1" "$root/dstack-host.postinst" configure "$2"; }
preseed() { debconf-set-selections; }
settings() { sort "$conf" 2>/dev/null | tr '\n' ' '; }
file() { printf '%b' "$1" >"$conf"; }
forget() { rm -rf "$root"/db/* "$conf" "$root/var/lib/dstack"; }

[ -x /usr/share/debconf/frontend ] || { echo "ok 1 # SKIP debconf is not here"; exit 0; }

preseed <<-END
	dstack-host dstack-host/domain string first.example.org
	dstack-host dstack-host/settings string KMS_PORT=9104 CHAIN_ID=1
END
ask "" ""
configure "" ""
is "a preseed is stored where there is no file" "CHAIN_ID=1 DOMAIN=first.example.org KMS_PORT=9104 " "$(settings)"

file 'DOMAIN=file.example.org\nKMS_PORT=9105\n'
preseed <<-END
	dstack-host dstack-host/domain string preseed.example.org
	dstack-host dstack-host/public-address string 192.0.2.7
	dstack-host dstack-host/settings string KMS_PORT=9106 CHAIN_ID=17000
END
ask "" 0.1
configure "" 0.1
is "the file wins, and what it does not set is taken from a preseed" \
	"CHAIN_ID=17000 DOMAIN=file.example.org KMS_PORT=9105 PUBLIC_ADDRESS=192.0.2.7 " "$(settings)"

sed -i /PUBLIC_ADDRESS/d "$conf"
sed -i /CHAIN_ID/d "$conf"
ask "" 0.2
configure "" 0.2
is "what was unset since does not come back from debconf" "DOMAIN=file.example.org KMS_PORT=9105 " "$(settings)"
is "and debconf keeps no answer of its own" "" "$(sed -n 's/^Value: //p' "$root/db/answers" | tr -d '\n ')"

forget
file 'DOMAIN=file.example.org\nPUBLIC_ADDRESS=192.0.2.7\n'
ask 's/file.example.org/typed.example.org/; s/192.0.2.7//' 0.1
configure "" 0.1
is "what was typed before unpacking outlives the second run" "DOMAIN=typed.example.org " "$(settings)"

forget
file 'DOMAIN=file.example.org\n'
ask 's/file.example.org/typed.example.org/' 0.1
file 'DOMAIN=edited.example.org\n'
configure "" 0.1
is "unless somebody changed the file meanwhile" "DOMAIN=edited.example.org " "$(settings)"
forget
file 'DOMAIN=edited.example.org\nPUBLIC_ADDRESS=192.0.2.7\n'
ask "" 0.1
file 'DOMAIN=edited.example.org\n'
ask "" 0.1
configure "" 0.1
is "what was unset after an apt run that came no further does not come back" "DOMAIN=edited.example.org " "$(settings)"
ask "" 0.2
configure "" 0.2
is "an upgrade that asks nothing changes nothing" "DOMAIN=edited.example.org " "$(settings)"

ask "" 0.3
printf '#!/bin/sh\nexit 75\n' >"$root/bin/busy"
chmod +x "$root/bin/busy"
mv "$root/bin/dstack-host" "$root/bin/real" && mv "$root/bin/busy" "$root/bin/dstack-host"
preseed <<-END
	dstack-host dstack-host/kms-contract string 0x1111111111111111111111111111111111111111
END
configure "" 0.3
mv -f "$root/bin/real" "$root/bin/dstack-host"
configure "" 0.3
is "answers that met a busy dstack-host are kept for the next time" \
	"DOMAIN=edited.example.org KMS_CONTRACT=0x1111111111111111111111111111111111111111 " "$(settings)"
echo "1..$n"
