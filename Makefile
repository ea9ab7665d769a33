# SPDX-License-Identifier: Apache-2.0
# dstack-host: build, test, package. See README.md.

SHELL = /bin/bash
.SHELLFLAGS = -eu -o pipefail -c

VERSION := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
BUILD ?= build
DIST ?= dist

prefix ?= /usr
sbindir ?= $(prefix)/sbin
libdir ?= $(prefix)/lib
datadir ?= $(prefix)/share
unitdir ?= $(shell pkg-config --variable=systemdsystemunitdir systemd 2>/dev/null || echo $(libdir)/systemd/system)

PKGS = jansson libcap libseccomp libmd
# Loaded by src/base/dl.c where they are used.
DL_PKGS = libcurl libcrypto libsystemd libnftables libarchive libisal
CFLAGS ?= -O2 -g
WARN = -Wall -Wextra -Wshadow -Wundef -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wwrite-strings -Wvla -Wimplicit-fallthrough \
	-Wswitch-enum -Wno-missing-field-initializers
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Isrc $(WARN) -MMD -MP $(CPPFLAGS) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS))
DL_LIBS = $(shell pkg-config --libs $(DL_PKGS))

SOURCES = $(wildcard src/base/*.c src/host/*.c src/host/*/*.c src/cmd/*.c)
OBJECTS = $(SOURCES:src/%.c=$(BUILD)/%.o)
UNIT_TESTS = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test-*.c))
MAN = $(patsubst src/man/%.scd,$(BUILD)/%,$(wildcard src/man/*.scd))

Q = $(if $(V),,@)

all: $(BUILD)/dstack-host $(MAN)

$(BUILD)/dstack-host: $(BUILD)/main.o $(OBJECTS)
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# What the package must depend on, see there.
$(BUILD)/dlopened: src/dlopened.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--no-as-needed -o $@ $< $(DL_LIBS)

$(BUILD)/main.o: ALL_CFLAGS += -DVERSION='"$(VERSION)"'
$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/tests/%: tests/unit/%.c $(OBJECTS)
	@mkdir -p $(@D)
	@echo "  TEST $<"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(OBJECTS) $(LIBS) $(DL_LIBS) -lcmocka -lpthread

# Built with clang by tests/tools/fuzz, which sets BUILD and CFLAGS. From an archive, so that a
# target may include a file of the program to reach what is static in it.
$(BUILD)/libdstack.a: $(OBJECTS)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(BUILD)/libdstack.a
	@mkdir -p $(@D)
	@echo "  FUZZ $<"
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(BUILD)/libdstack.a $(LIBS) \
		$(DL_LIBS)

# The key table of the manual comes from the program itself.
$(BUILD)/%: src/man/%.scd $(BUILD)/dstack-host
	@mkdir -p $(@D)
	$(Q)sed -e "s/@VERSION@/$(VERSION)/" $< | tests/tools/man-keys $(BUILD)/dstack-host | scdoc > $@

-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d $(BUILD)/*/*/*.d)

# --- installed tree (debian/*.install names the rest) ---
install: all
	install -D -m 755 $(BUILD)/dstack-host $(DESTDIR)$(sbindir)/dstack-host
	install -d $(DESTDIR)$(unitdir) $(DESTDIR)$(datadir)/man/man8 $(DESTDIR)$(datadir)/man/man5
	install -m 644 $(wildcard $(BUILD)/*.8) $(DESTDIR)$(datadir)/man/man8
	install -m 644 $(wildcard $(BUILD)/*.5) $(DESTDIR)$(datadir)/man/man5
	install -m 644 $(wildcard units/*.service units/*.target units/*.slice units/*.timer units/sim/*.service) \
		$(DESTDIR)$(unitdir)
	for d in units/*.d; do install -D -m 644 -t $(DESTDIR)$(unitdir)/$${d##*/} $$d/*.conf; done
	install -D -m 644 conf/dstack-host.sysusers $(DESTDIR)$(libdir)/sysusers.d/dstack-host.conf
	install -D -m 644 conf/dstack-host.tmpfiles $(DESTDIR)$(libdir)/tmpfiles.d/dstack-host.conf
	install -D -m 644 conf/modules-load.conf $(DESTDIR)$(libdir)/modules-load.d/dstack-host.conf
	install -D -m 644 conf/95-dstack-host-sgx.rules -t $(DESTDIR)$(libdir)/udev/rules.d
	install -D -m 644 conf/bash-completion \
		$(DESTDIR)$(datadir)/bash-completion/completions/dstack-host
	install -D -m 644 conf/prometheus-alerts.yml -t $(DESTDIR)$(datadir)/dstack-host
	install -D -m 644 conf/artifacts.json -t $(DESTDIR)$(datadir)/dstack-host
	install -D -m 644 conf/logrotate $(DESTDIR)/etc/logrotate.d/dstack-host
	install -D -m 644 conf/needrestart.conf $(DESTDIR)/etc/needrestart/conf.d/dstack-host.conf
	install -D -m 644 conf/sim/sysusers.conf $(DESTDIR)$(libdir)/sysusers.d/dstack-host-sim.conf
	install -D -m 644 conf/sim/defaults.conf $(DESTDIR)$(datadir)/dstack-host/defaults.d/50-sim.conf

# --- checks ---
check: deps-check
	$(Q)tests/run all
check-unit: $(BUILD)/dstack-host $(UNIT_TESTS)
	$(Q)tests/run unit
check-host: deps-check
	$(Q)tests/run host
lint:
	$(Q)tests/run lint
# Under an hour; SOAK=20 makes a night of what is random in it.
SOAK ?= 1
soak: deps-check
	$(Q)DSTACK_SOAK=$(SOAK) tests/run all
bench: deps-bench
	$(Q)tests/bench/run
# FUZZ_SECONDS for each target; `make check` runs a short sample.
fuzz: deps-check
	$(Q)tests/tools/fuzz $(FUZZ)
coverage: deps-check
	$(Q)tests/tools/coverage

# --- packages, demo ---
deb: deps-deb
	$(Q)rm -rf $(DIST)
	$(Q)tests/tools/build-deb $(DIST)
# Root, in a container that stays until `make demo-rm`.
demo: deps-container
	$(Q)$(CONTAINER) demo
demo-shell:
	$(Q)$(CONTAINER) shell
demo-rm:
	$(Q)$(CONTAINER) rm
CONTAINER = PYTHONPATH=tests /usr/bin/python3 -m container.cli

# Packages that the targets need; apt is asked only when one is missing.
DEPS_build = gcc make pkg-config libjansson-dev libcurl4-openssl-dev libssl-dev libsystemd-dev \
	libcap-dev libseccomp-dev libnftables-dev libmd-dev libarchive-dev libisal-dev scdoc
DEPS_deb = $(DEPS_build) debhelper po-debconf dpkg-dev apt-utils fakeroot libcmocka-dev python3
DEPS_container = mmdebstrap systemd-container iproute2 nftables dpkg-dev apt-utils python3 git \
	debian-archive-keyring
DEPS_check = $(DEPS_deb) $(DEPS_container) clang libclang-rt-dev shellcheck lintian blhc \
	codespell cppcheck haproxy openssl curl jq strace libfuse3-dev fuse3 e2fsprogs qemu-system-x86 \
	qemu-utils prometheus \
	chromium
DEPS_bench = $(DEPS_build) $(DEPS_container) gettext-base strace qemu-system-x86 openssl curl cryptsetup-bin
deps-deb deps-container deps-check deps-bench:
	$(Q)tests/tools/apt-need $(DEPS_$(@:deps-%=%))

clean:
	rm -rf $(BUILD) $(DIST)

.PHONY: all install check check-unit check-host lint soak bench fuzz coverage deb demo demo-shell demo-rm clean \
	deps-deb deps-container deps-check deps-bench
