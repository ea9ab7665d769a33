// SPDX-License-Identifier: Apache-2.0
/* Checks of what was bought, and of what its BIOS and kernel make of it. */
#include "host/check/checks-platform.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/utf8.h"

#define CPUINFO "/proc/cpuinfo"
enum { CPUINFO_MAX = 64 << 20 };

static const struct {
	const char *model, *name;
} tdx_models[] = {
	{ "143", "Sapphire Rapids" },
	{ "207", "Emerald Rapids" },
	{ "173", "Granite Rapids" },
	{ "175", "Sierra Forest" },
};

static const struct outcome cpu_outcomes[] = {
	{ "known", CHECK_OK },
	{ "unknown-model", CHECK_WARN, "this CPU is none of those known to offer TDX: %s",
	  "Intel's product page of this CPU: it lists Intel TDX or does not" },
	{ "amd-snp", CHECK_FAIL, "AMD SEV-SNP is on here (%s), but dstack-host is for Intel TDX: "
				 "SEV-SNP is out of its scope" },
	{ "amd", CHECK_FAIL, "an AMD CPU (%s): dstack-host is for Intel TDX, SEV-SNP is out of its "
			     "scope" },
	{ "other", CHECK_FAIL, "not an Intel CPU (%s): there is no TDX" },
	{ 0 },
};

static const struct outcome sgx_outcomes[] = {
	{ "on", CHECK_OK },
	{ "off", CHECK_FAIL, "the CPU does not offer SGX, without which nothing can be attested",
	  "BIOS setup: set SGX (Software Guard Extensions) to Enabled" },
	{ "no-launch-control", CHECK_FAIL, "SGX is on, but its launch control is locked: the kernel "
					   "then has no SGX device",
	  "BIOS setup: set SGX Launch Control Policy to Unlocked (Flexible)" },
	{ 0 },
};

static const struct outcome microcode_outcomes[] = {
	{ "one", CHECK_OK },
	{ "mixed", CHECK_WARN, "not all CPUs run the same microcode: %s",
	  "journalctl -k -b -g microcode" },
	{ 0 },
};

char *cpu_info(const struct check_view *v, struct verdict *r)
{
	char *text;
	int error = file_read(v->parts.root, CPUINFO, CPUINFO_MAX, &text, NULL);

	if (error == 0)
		return text;
	verdict_subject(r, CPUINFO ": %s", strerror(-error));
	return NULL;
}

/* Behind "name\t: " of a line that begins with it; NULL when this line does not. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(line, name, n) != 0)
		return NULL;
	line += n + strspn(line + n, " \t");
	return *line == ':' ? line + 1 + strspn(line + 1, " \t") : NULL;
}

char *cpu_field(const char *cpuinfo, const char *name)
{
	for (const char *p = cpuinfo; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		const char *value = value_of(p, name);
		char *copy;

		if (!value)
			continue;
		copy = xstrndup(value, strcspn(value, "\n"));
		utf8_clean(copy);
		return copy;
	}
	return NULL;
}

int cpu_has(const char *flags, const char *flag)
{
	size_t n = strlen(flag);

	for (const char *p = flags; p && (p = strstr(p, flag)); p += n)
		if ((p == flags || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return 1;
	return 0;
}

static const char *judge_amd(const struct check_view *v)
{
	_cleanup_free_ char *snp = NULL;

	if (file_read(v->parts.root, "/sys/module/kvm_amd/parameters/sev_snp", 16, &snp, NULL) == 0 &&
	    (snp[0] == 'Y' || snp[0] == '1'))
		return "amd-snp";
	return "amd";
}

static const char *eval_cpu(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *text = cpu_info(v, r);
	_cleanup_free_ char *vendor = NULL, *model = NULL, *name = NULL;

	if (!text)
		return SKIP_UNKNOWN;
	vendor = cpu_field(text, "vendor_id");
	model = cpu_field(text, "model");
	name = cpu_field(text, "model name");
	if (!vendor || !model) {
		verdict_subject(r, CPUINFO " names no vendor and model");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%s, model %s", name ? name : vendor, model);
	verdict_subject(r, "%s", name ? name : vendor);
	if (strcmp(vendor, "AuthenticAMD") == 0)
		return judge_amd(v);
	if (strcmp(vendor, "GenuineIntel") != 0)
		return "other";
	for (size_t i = 0; i < ARRAY_SIZE(tdx_models); i++)
		if (strcmp(tdx_models[i].model, model) == 0) {
			verdict_found(r, "%s (%s)", name ? name : vendor, tdx_models[i].name);
			return "known";
		}
	verdict_expected(r, "model 143, 207, 173 or 175");
	return "unknown-model";
}

static const char *eval_sgx(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *text = cpu_info(v, r);
	_cleanup_free_ char *flags = text ? cpu_field(text, "flags") : NULL;

	if (!text)
		return SKIP_UNKNOWN;
	if (!flags) {
		verdict_subject(r, CPUINFO " shows no flags");
		return SKIP_UNKNOWN;
	}
	verdict_expected(r, "flags sgx and sgx_lc");
	verdict_found(r, "%s%s", cpu_has(flags, "sgx") ? "sgx" : "no sgx",
		      cpu_has(flags, "sgx_lc") ? ", sgx_lc" : ", no sgx_lc");
	if (!cpu_has(flags, "sgx"))
		return "off";
	return cpu_has(flags, "sgx_lc") ? "on" : "no-launch-control";
}

/* The revision is shown, for a seal and Intel's TCB levels count it; which is the newest, only
 * Intel knows. */
static const char *eval_microcode(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *text = cpu_info(v, r);
	_cleanup_free_ char *first = text ? cpu_field(text, "microcode") : NULL;

	if (!text)
		return SKIP_UNKNOWN;
	if (!first) {
		verdict_subject(r, CPUINFO " shows no revision");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "revision %s", first);
	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		const char *value = value_of(p, "microcode");
		size_t n = value ? strcspn(value, "\n") : 0;

		if (!value || (n == strlen(first) && strncmp(value, first, n) == 0))
			continue;
		verdict_subject(r, "%s and %.*s", first, (int)(n < 16 ? n : 16), value);
		return "mixed";
	}
	return "one";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "platform.cpu", .title = "the CPU is one that offers TDX",
	  .flags = CHECK_HARDWARE, .outcomes = cpu_outcomes, .eval = eval_cpu },
	{ .id = "platform.production", .title = "the CPU is a production part",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = production_outcomes,
	  .eval = eval_production },
	{ .id = "platform.microcode", .title = "all CPUs run one microcode",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = microcode_outcomes,
	  .eval = eval_microcode },
	{ .id = "platform.memory", .title = "memory is populated as TDX needs it",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = memory_outcomes,
	  .eval = eval_memory },
	{ .id = "platform.tme", .title = "memory encryption (TME) is on",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = tme_outcomes,
	  .eval = eval_tme },
	{ .id = "platform.key-split", .title = "TDX has encryption keys of its own",
	  .flags = CHECK_HARDWARE, .needs = "platform.tme", .outcomes = key_split_outcomes,
	  .eval = eval_key_split },
	{ .id = "platform.seam", .title = "memory for the TDX module is set apart",
	  .flags = CHECK_HARDWARE, .needs = "platform.key-split", .outcomes = seam_outcomes,
	  .eval = eval_seam },
	{ .id = "platform.features", .title = "the BIOS has switched SGX on and locked it",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = feature_outcomes,
	  .eval = eval_feature },
	{ .id = "platform.mcheck", .title = "the BIOS's own check of SGX and TDX passed",
	  .flags = CHECK_HARDWARE, .needs = "platform.features", .outcomes = mcheck_outcomes,
	  .eval = eval_mcheck },
	{ .id = "platform.sgx", .title = "the CPU offers SGX",
	  .flags = CHECK_HARDWARE, .needs = "platform.features platform.mcheck",
	  .outcomes = sgx_outcomes, .eval = eval_sgx },
	{ .id = "platform.cmdline", .title = "the kernel's command line leaves TDX on",
	  .flags = CHECK_HARDWARE, .needs = "platform.cpu", .outcomes = cmdline_outcomes,
	  .eval = eval_cmdline },
	{ .id = "platform.tdx", .title = "KVM can start TDX guests",
	  .flags = CHECK_HARDWARE, .needs = "platform.seam platform.mcheck platform.cmdline",
	  .outcomes = tdx_outcomes, .eval = eval_tdx },
	{ .id = "platform.clock", .title = "the clock is synchronised", .flags = CHECK_LIVE,
	  .outcomes = clock_outcomes, .eval = eval_clock },
	{ .id = "platform.space", .title = "there is room for images, VMs and logs",
	  .outcomes = space_outcomes, .eval = eval_space },
	{ .id = "platform.vm-disk", .title = "VMs have a file system of their own",
	  .outcomes = vm_disk_outcomes, .eval = eval_vm_disk },
};
/* clang-format on */

const struct check_group group_platform = { "platform", checks, ARRAY_SIZE(checks) };
