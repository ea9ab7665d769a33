// SPDX-License-Identifier: Apache-2.0
/* Checks of CPU, BIOS, kernel, memory, file systems and clock. */
#include "check-cases.h"

#include <errno.h>

#define ARRANGE(name) \
	static void name(struct host *h _unused_, struct check_view *v _unused_, \
			 const struct fixture *f _unused_)

#define CPU_IS(name, ...) ARRANGE(name) { put_text(f, "/proc/cpuinfo", CPUINFO_OF(__VA_ARGS__)); }
#define MSR_IS(name, msr, value) ARRANGE(name) { put_msr(f, msr, value); }

/* --- the CPU --- */

CPU_IS(old_cpu, "GenuineIntel", "106", "sgx sgx_lc", "0x1")
CPU_IS(amd_cpu, "AuthenticAMD", "17", "sev", "0x1")
CPU_IS(other_cpu, "HygonGenuine", "1", "fpu2", "0x1")
CPU_IS(cpu_without_sgx, "GenuineIntel", "143", "sgx_lc tdx_host_platform", "0x1")
CPU_IS(cpu_without_lc, "GenuineIntel", "143", "sgx tdx_host_platform", "0x1")

ARRANGE(amd_with_snp)
{
	amd_cpu(h, v, f);
	put_text(f, "/sys/module/kvm_amd/parameters/sev_snp", "Y\n");
}

ARRANGE(no_cpu)
{
	put_text(f, "/proc/cpuinfo", "");
}

ARRANGE(two_microcodes)
{
	put_text(f, "/proc/cpuinfo",
		 GOOD_CPU CPUINFO_OF("GenuineIntel", "143", "sgx sgx_lc", "0x2b000590"));
}

/* --- registers --- */

MSR_IS(tme_off, MSR_TME_ACTIVATE, "0x1\n")
MSR_IS(one_key, MSR_TME_CAPABILITY, "0x5\n")
/* All keys are TME-MT's: the half that one public document takes for TDX's is not zero. */
MSR_IS(no_tdx_keys, MSR_MKTME_PARTITIONING, "0x000000000000003f\n")
MSR_IS(seam_off, MSR_SEAMRR_PHYS_MASK, "0x3ffffe000400\n")
MSR_IS(seam_unlocked, MSR_SEAMRR_PHYS_MASK, "0x3ffffe000800\n")
MSR_IS(mcheck_registration, MSR_MCHECK, "0x1861\n")
/* What a public document calls good. */
MSR_IS(mcheck_one, MSR_MCHECK, "0x1\n")
MSR_IS(features_unlocked, MSR_FEATURE_CONTROL, "0x60000\n")
MSR_IS(features_without_sgx, MSR_FEATURE_CONTROL, "0x20001\n")
MSR_IS(sample_part, MSR_PLATFORM_INFO, "0x8000000\n")
MSR_IS(sgx_debug, MSR_SGX_DEBUG_MODE, "0x1\n")
MSR_IS(debug_microcode, MSR_MICROCODE, "0xab00060300000000\n")
MSR_IS(garbage_in_msr, MSR_TME_ACTIVATE, "on\n")

ARRANGE(no_registers)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/dev/cpu/0/msr.d/0x982", f->dir);
	assert_int_equal(unlink(path), 0);
}

/* --- TDX --- */

static void tdx_is(const struct fixture *f, struct check_view *v, const char *value, const char *log)
{
	put_text(f, "/sys/module/kvm_intel/parameters/tdx", value);
	set_text(&v->machine.kernel_log, log);
}

ARRANGE(tdx_by_mainline)
{
	tdx_is(f, v, "Y\n", "virt/tdx: TDX-Module initialized\n");
}

ARRANGE(tdx_unsaid)
{
	tdx_is(f, v, "Y\n", "virt/tdx: BIOS enabled: private KeyID range [32, 64)\n");
}

ARRANGE(tdx_log_rotated)
{
	tdx_is(f, v, "Y\n", "");
	v->machine.kernel_log_cut = 1;
}

ARRANGE(tdx_log_hidden)
{
	tdx_is(f, v, "Y\n", "");
	free(v->machine.kernel_log);
	v->machine.kernel_log = NULL;
	v->machine.kernel_log_error = -EPERM;
}

ARRANGE(tdx_hibernation)
{
	tdx_is(f, v, "N\n", "virt/tdx: BIOS enabled: private KeyID range [32, 64)\n"
			    "virt/tdx: initialization failed: Hibernation support is enabled\n");
}

ARRANGE(tdx_no_seam_module)
{
	tdx_is(f, v, "N\n", "virt/tdx: module not loaded\n");
}

ARRANGE(tdx_failed)
{
	tdx_is(f, v, "N\n", "virt/tdx: module initialization failed (-5)\n");
}

ARRANGE(tdx_not_asked_for)
{
	tdx_is(f, v, "N\n", "");
}

ARRANGE(tdx_off_in_bios)
{
	cpu_without_sgx(h, v, f);
	put_text(f, "/proc/cpuinfo", CPUINFO_OF("GenuineIntel", "143", "sgx sgx_lc", "0x1"));
	tdx_is(f, v, "N\n", "x86/tme: enabled by BIOS\n");
}

static void drop(const struct fixture *f, const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(unlink(full), 0);
}

ARRANGE(kvm_without_tdx)
{
	drop(f, "/sys/module/kvm_intel/parameters/tdx");
}

ARRANGE(no_kvm)
{
	char full[256];

	drop(f, "/sys/module/kvm_intel/parameters/tdx");
	snprintf(full, sizeof(full), "%s/sys/module/kvm_intel/parameters", f->dir);
	assert_int_equal(rmdir(full), 0);
	snprintf(full, sizeof(full), "%s/sys/module/kvm_intel", f->dir);
	assert_int_equal(rmdir(full), 0);
}

ARRANGE(switched_off)
{
	put_text(f, "/proc/cmdline", "ro nohibernate kvm_intel.tdx=0\n");
}

ARRANGE(may_hibernate)
{
	put_text(f, "/proc/cmdline", "ro quiet\n");
	put_text(f, "/sys/power/disk", "[platform] shutdown reboot\n");
}

/* --- sizes --- */

ARRANGE(uneven_sockets)
{
	put_memory(f, 8, 4, 64);
}

ARRANGE(uneven_modules)
{
	put_memory(f, 8, 8, 32);
}

ARRANGE(four_modules)
{
	put_memory(f, 4, 4, 64);
}

ARRANGE(one_socket)
{
	put_memory(f, 8, 0, 0);
}

ARRANGE(no_memory_table)
{
	put(f, DMI_TABLE, "\x11\x02", 2);
}

ARRANGE(images_low)
{
	v->machine.tree[TREE_IMAGES].free = UINT64_C(5) << 30;
}

/* A tenth of a per cent of a large disk is many GiB and will not last. */
ARRANGE(vms_low)
{
	v->machine.tree[TREE_VMS].total = UINT64_C(30000) << 30;
	v->machine.tree[TREE_VMS].free = UINT64_C(300) << 30;
}

ARRANGE(logs_full)
{
	images_low(h, v, f);
	v->machine.tree[TREE_LOGS].free = UINT64_C(100) << 20;
}

ARRANGE(docker_without_inodes)
{
	v->machine.tree[TREE_DOCKER].inodes_free = 12;
}

ARRANGE(trees_unknown)
{
	for (int i = 0; i < TREE_COUNT; i++)
		v->machine.tree[i].error = -EIO;
}

ARRANGE(vms_on_root)
{
	v->machine.tree[TREE_VMS].on_root = 1;
}

ARRANGE(adrift)
{
	v->machine.clock = 0;
}

ARRANGE(clock_hidden)
{
	v->machine.clock = -EPERM;
}

ARRANGE(simulated)
{
	v->simulated = 1;
	amd_cpu(h, v, f);
}

static const struct check_case cases[] = {
	{ "platform.cpu", "known" },
	{ "platform.cpu", "unknown-model", old_cpu },
	{ "platform.cpu", "amd", amd_cpu },
	{ "platform.cpu", "amd-snp", amd_with_snp },
	{ "platform.cpu", "other", other_cpu },
	{ "platform.cpu", "unknown", no_cpu },
	{ "platform.cpu", "simulated", simulated },
	{ "platform.tdx", "needs", amd_cpu },
	{ "platform.sgx", "on" },
	{ "platform.sgx", "off", cpu_without_sgx },
	{ "platform.sgx", "no-launch-control", cpu_without_lc },
	{ "platform.sgx", "needs", features_without_sgx },
	{ "platform.microcode", "one" },
	{ "platform.microcode", "mixed", two_microcodes },
	{ "platform.tme", "on" },
	{ "platform.tme", "off", tme_off },
	{ "platform.tme", "no-keys", one_key },
	{ "platform.tme", "unknown", no_registers },
	{ "platform.tme", "unknown", garbage_in_msr },
	{ "platform.tdx", "on", no_registers },
	{ "platform.tdx", "needs", tme_off },
	{ "platform.key-split", "split" },
	{ "platform.key-split", "none", no_tdx_keys },
	{ "platform.key-split", "needs", tme_off },
	{ "platform.seam", "on" },
	{ "platform.seam", "off", seam_off },
	{ "platform.seam", "unlocked", seam_unlocked },
	{ "platform.mcheck", "passed" },
	{ "platform.mcheck", "registration", mcheck_registration },
	{ "platform.mcheck", "failed", mcheck_one },
	{ "platform.features", "on" },
	{ "platform.features", "unlocked", features_unlocked },
	{ "platform.features", "sgx-off", features_without_sgx },
	{ "platform.production", "production" },
	{ "platform.production", "pre-production", sample_part },
	{ "platform.production", "sgx-debug", sgx_debug },
	{ "platform.production", "microcode", debug_microcode },
	{ "platform.tdx", "on" },
	{ "platform.tdx", "on", tdx_by_mainline },
	{ "platform.tdx", "on", tdx_log_rotated },
	{ "platform.tdx", "on", tdx_log_hidden },
	{ "platform.tdx", "not-initialised", tdx_unsaid },
	{ "platform.tdx", "hibernation", tdx_hibernation },
	{ "platform.tdx", "no-module", tdx_no_seam_module },
	{ "platform.tdx", "failed", tdx_failed },
	{ "platform.tdx", "parameter", tdx_not_asked_for },
	{ "platform.tdx", "bios", tdx_off_in_bios },
	{ "platform.tdx", "no-support", kvm_without_tdx },
	{ "platform.tdx", "no-kvm", no_kvm },
	{ "platform.cmdline", "fine" },
	{ "platform.cmdline", "switched-off", switched_off },
	{ "platform.tdx", "needs", switched_off },
	{ "platform.cmdline", "hibernation", may_hibernate },
	{ "platform.memory", "symmetric" },
	{ "platform.memory", "symmetric", one_socket },
	{ "platform.memory", "asymmetric", uneven_sockets },
	{ "platform.memory", "asymmetric", uneven_modules },
	{ "platform.memory", "few", four_modules },
	{ "platform.memory", "unknown", no_memory_table },
	{ "platform.space", "enough" },
	{ "platform.space", "low", images_low },
	{ "platform.space", "low", vms_low },
	{ "platform.space", "full", logs_full },
	{ "platform.space", "no-inodes", docker_without_inodes },
	{ "platform.space", "unknown", trees_unknown },
	{ "platform.vm-disk", "own" },
	{ "platform.vm-disk", "shares-root", vms_on_root },
	{ "platform.vm-disk", "unknown", trees_unknown },
	{ "platform.clock", "synchronised" },
	{ "platform.clock", "adrift", adrift },
	{ "platform.clock", "unknown", clock_hidden },
};

CHECK_CASES_MAIN(group_platform, cases)
