// SPDX-License-Identifier: Apache-2.0
/* A TDX machine on which all is well: what its kernel tells, and the files of its fake root. */
#pragma once

#include "test.h"

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/check/dmi.h"
#include "host/check/machine.h"
#include "host/check/msr.h"

#define CPUINFO_OF(vendor, model, flags, microcode)                                      \
	"vendor_id\t: " vendor "\ncpu family\t: 6\nmodel\t\t: " model                    \
	"\nmodel name\t: A processor\nmicrocode\t: " microcode "\nflags\t\t: fpu " flags \
	"\n\n"
#define GOOD_CPU CPUINFO_OF("GenuineIntel", "143", "sgx tdx_host_platform sgx_lc", "0x2b000603")

#define GOOD_KERNEL_LOG                                                                  \
	"x86/tme: enabled by BIOS\n"                                                     \
	"x86/mktme: 31 KeyIDs available\n"                                               \
	"virt/tdx: BIOS enabled: private KeyID range [32, 64)\n"                         \
	"virt/tdx: TDX module: attributes 0x0, vendor_id 0x8086, major_version 1\n"      \
	"virt/tdx: module initialized\n"

#define GOOD_GUARD_LISTING                                                               \
	"table inet dstack_guard { # progname dstack-host\n"                             \
	"\tflags owner\n"                                                                \
	"\tchain output {\n"                                                             \
	"\t\tsocket cgroupv2 level 1 \"dstackcvm.slice\" goto guests\n"                  \
	"\t\tfib daddr type local tcp dport 9103 meta skuid != 0 goto refuse\n"          \
	"\t}\n}\n"

static inline void put_msr(const struct fixture *f, enum msr number, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/cpu/0/msr.d/0x%x", (unsigned)number);
	put_text(f, path, value);
}

/* One memory device of SMBIOS; gib 0: an empty slot. */
static inline void add_slot(struct strbuf *table, unsigned array, unsigned gib)
{
	unsigned char s[0x22] = { 17, sizeof(s), 0, 0, (unsigned char)array };
	uint32_t mb = gib * 1024;

	s[0x0c] = gib ? 0xff : 0;
	s[0x0d] = gib ? 0x7f : 0;
	memcpy(s + 0x1c, &mb, sizeof(mb));
	sb_addn(table, s, sizeof(s));
	sb_addn(table, "DIMM\0", 6);
}

/* Two sockets with so many modules of so many GiB. */
static inline void put_memory(const struct fixture *f, unsigned first, unsigned second,
			      unsigned gib)
{
	_cleanup_strbuf_ struct strbuf table = { 0 };

	for (unsigned i = 0; i < 16; i++)
		add_slot(&table, 1, i < first ? 64 : 0);
	for (unsigned i = 0; i < 16; i++)
		add_slot(&table, 2, i < second ? gib : 0);
	sb_addn(&table, "\x7f\x04\x00\x00\x00\x00", 6);
	put(f, DMI_TABLE, table.data, table.len);
}

static inline void put_machine(const struct fixture *f)
{
	put_text(f, "/proc/cpuinfo", GOOD_CPU GOOD_CPU);
	put_text(f, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro nohibernate\n");
	put_text(f, "/sys/power/disk", "[disabled]\n");
	put_text(f, "/sys/module/kvm_intel/parameters/tdx", "Y\n");
	put_text(f, "/sys/module/vsock_loopback/initstate", "live\n");
	put_msr(f, MSR_FEATURE_CONTROL, "0x60001\n");
	put_msr(f, MSR_MICROCODE, "0x2b00060300000000\n");
	put_msr(f, MSR_MKTME_PARTITIONING, "0x200000001f\n");
	put_msr(f, MSR_MCHECK, "0x0\n");
	put_msr(f, MSR_PLATFORM_INFO, "0x80838f1011400\n");
	put_msr(f, MSR_SGX_DEBUG_MODE, "0x0\n");
	put_msr(f, MSR_TME_CAPABILITY, "0x3f0000000005\n");
	put_msr(f, MSR_TME_ACTIVATE, "0x1000600000003\n");
	put_msr(f, MSR_SEAMRR_PHYS_MASK, "0x3ffffe000c00\n");
	put_memory(f, 8, 8, 64);
	put_text(f, "/etc/systemd/system/multi-user.target.wants/dstack-host-start.service", "");
	put_text(f, "/var/lib/dpkg/status",
		 "Package: bash\nStatus: install ok installed\n\n"
		 "Package: docker.io\nStatus: install ok installed\n");
}

static inline void add_device(struct machine *m, enum device_kind kind, const char *name,
			      const char *found)
{
	struct device_report *d = &m->devices;

	d->rows = xrealloc(d->rows, (d->n + 1) * sizeof(*d->rows));
	d->rows[d->n++] = (struct device_row){ .kind = kind, .name = name, .wanted = found,
					       .found = xstrdup(found) };
}

/* The row of that name ends otherwise. */
static inline void spoil_device(struct machine *m, const char *name, enum device_state state,
				const char *found, const char *cause)
{
	for (size_t i = 0; i < m->devices.n; i++) {
		struct device_row *row = &m->devices.rows[i];

		if (strcmp(row->name, name) != 0)
			continue;
		free(row->found);
		row->found = xstrdup(found);
		row->cause = xstrdup(cause);
		row->state = state;
	}
}

static inline void add_secret_file(struct machine *m, const char *path, mode_t mode, uid_t uid)
{
	struct secret_audit *a = &m->secrets;

	a->files = xrealloc(a->files, (a->n_files + 1) * sizeof(*a->files));
	a->files[a->n_files++] = (struct secret_file){ xstrdup(path), mode, uid };
}

static inline void add_listener(struct machine *m, const char *address, unsigned port,
				const char *process)
{
	struct listener l = { .port = (uint16_t)port,
			      .loopback = strcmp(address, "127.0.0.1") == 0,
			      .process = process ? xstrdup(process) : NULL };

	snprintf(l.address, sizeof(l.address), "%s", address);
	m->listeners.items = xrealloc(m->listeners.items,
				      (m->listeners.n + 1) * sizeof(*m->listeners.items));
	m->listeners.items[m->listeners.n++] = l;
}

static inline void add_udp(struct machine *m, const char *address, unsigned port,
			   const char *process)
{
	add_listener(m, address, port, process);
	m->listeners.items[m->listeners.n - 1].udp = 1;
}

static inline void machine_make(struct machine *m)
{
	*m = (struct machine){
		.filled = 1,
		.clock = 1,
		.kernel_log = xstrdup(GOOD_KERNEL_LOG),
		.looked = LOOK_LISTENERS | LOOK_GUARD | LOOK_SECRETS,
		.guard = { .listing = xstrdup(GOOD_GUARD_LISTING) },
	};
	for (int i = 0; i < TREE_COUNT; i++)
		m->tree[i] = (struct tree_space){ .path = xasprintf("/tree%d", i),
						  .total = UINT64_C(1000) << 30,
						  .free = UINT64_C(500) << 30,
						  .inodes_free = UINT64_MAX };
	add_device(m, DEVICE_NODE, "/dev/sgx_enclave", "char 0660 sgx");
	add_device(m, DEVICE_NODE, "/dev/sgx_provision", "char 0660 sgx_prv");
	add_device(m, DEVICE_NODE, "/dev/sgx_vepc", "char 0660 sgx");
	add_device(m, DEVICE_GROUP, "sgx", "gid 995");
	add_device(m, DEVICE_GROUP, "sgx_prv", "gid 994");
	add_device(m, DEVICE_MEMBER, "qgsd", "member of both");
	add_device(m, DEVICE_OTHER, "/dev/kvm", "char");
	add_device(m, DEVICE_OTHER, "/dev/vhost-vsock", "char");
	add_secret_file(m, "/etc/dstack/secrets", S_IFDIR | 0700, 0);
	add_secret_file(m, "/etc/dstack/secrets/vmm-token", S_IFREG | 0600, 0);
	add_listener(m, "0.0.0.0", 22, "sshd");
	add_listener(m, "127.0.0.1", 8081, "node");
	add_listener(m, "127.0.0.1", 9080, "haproxy");
	add_listener(m, "127.0.0.1", 9103, "qemu-system-x86");
	add_listener(m, "127.0.0.1", 3443, "docker-proxy");
	add_listener(m, "127.0.0.1", 631, "cupsd");
}
