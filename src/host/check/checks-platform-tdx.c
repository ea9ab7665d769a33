// SPDX-License-Identifier: Apache-2.0
/* TDX by what the kernel says that it can, never by the kernel's name or version. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/utf8.h"
#include "host/check/checks-platform.h"

#define PARAMETER "/sys/module/kvm_intel/parameters/tdx"
#define CMDLINE "/proc/cmdline"
#define GRUB_FILE "/etc/default/grub.d/60-tdx.cfg"
#define ADD_TO_CMDLINE(words)                                                            \
	"printf '\\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX " words "\"\\n' | sudo tee -a " GRUB_FILE \
	" && sudo update-grub, then boot again"

const struct outcome tdx_outcomes[] = {
	{ "on", CHECK_OK },
	{ "not-initialised", CHECK_WARN, "KVM says that TDX is on, but the kernel's log does not say "
					 "that its module was initialised",
	  "sudo dmesg | grep -i tdx" },
	{ "no-kvm", CHECK_FAIL, "the module kvm_intel is not loaded",
	  "sudo modprobe kvm_intel" },
	{ "no-support", CHECK_FAIL, "this kernel's KVM knows no TDX",
	  "a kernel with TDX: linux-image-intel of Canonical's TDX release for 24.04, or any kernel "
	  "from 6.16 on that is built with KVM_INTEL_TDX" },
	{ "hibernation", CHECK_FAIL, "the kernel refuses TDX because hibernation is possible",
	  ADD_TO_CMDLINE("nohibernate kvm_intel.tdx=1") },
	{ "no-module", CHECK_FAIL, "the BIOS did not load the TDX module",
	  "BIOS setup: set TDX SEAM Loader to Enabled" },
	{ "failed", CHECK_FAIL, "the TDX module could not be initialised: %s",
	  "the server's BIOS: an update, which brings a newer TDX module and microcode" },
	{ "parameter", CHECK_FAIL, "the BIOS offers TDX, but KVM was not told to use it",
	  ADD_TO_CMDLINE("nohibernate kvm_intel.tdx=1") },
	{ "bios", CHECK_FAIL, "the kernel found no TDX: it is off in the BIOS",
	  "BIOS setup: set Trust Domain Extensions (TDX) to Enabled" },
	{ 0 },
};

const struct outcome cmdline_outcomes[] = {
	{ "fine", CHECK_OK },
	{ "switched-off", CHECK_FAIL, "the kernel's command line switches TDX off: %s",
	  "sudo grep -rn %s /etc/default/grub /etc/default/grub.d" },
	{ "hibernation", CHECK_WARN, "hibernation is possible: newer kernels then refuse TDX",
	  ADD_TO_CMDLINE("nohibernate") },
	{ 0 },
};

int cmdline_has(const char *cmdline, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = cmdline; (p = strstr(p, word)); p += n)
		if ((p == cmdline || p[-1] == ' ') && strchr(" \n", p[n]))
			return 1;
	return 0;
}

/* The line with that text, without the kernel's prefix; the caller's. */
static char *line_with(const char *log, const char *text)
{
	const char *p = strstr(log, text);
	char *line;

	if (!p)
		return NULL;
	line = xstrndup(p, strcspn(p, "\n"));
	utf8_clean(line);
	return line;
}

static int says_initialised(const char *log)
{
	return strstr(log, "virt/tdx: module initialized") ||
	       strstr(log, "virt/tdx: TDX-Module initialized") ||
	       strstr(log, "virt/tdx: TDX module initialized");
}

static const char *judge_on(const struct check_view *v, struct verdict *r)
{
	const char *log = v->machine.kernel_log;
	_cleanup_free_ char *module = log ? line_with(log, "TDX module") : NULL;

	verdict_found(r, "kvm_intel.tdx=Y%s%.100s", module ? ", " : "", module ? module : "");
	if (log && !v->machine.kernel_log_cut && !says_initialised(log))
		return "not-initialised";
	return "on";
}

static int bios_offers(const struct check_view *v, const char *log)
{
	struct verdict none = { 0 };
	_cleanup_free_ char *text = cpu_info(v, &none);
	_cleanup_free_ char *flags = text ? cpu_field(text, "flags") : NULL;

	verdicts_free(&none, 1);
	return (flags && cpu_has(flags, "tdx_host_platform")) ||
	       strstr(log, "virt/tdx: BIOS enabled");
}

static const char *judge_off(const struct check_view *v, struct verdict *r)
{
	const char *log = v->machine.kernel_log ? v->machine.kernel_log : "";
	_cleanup_free_ char *failed = line_with(log, "initialization failed");

	verdict_found(r, "kvm_intel.tdx=N");
	if (strstr(log, "Hibernation support is enabled"))
		return "hibernation";
	if (strstr(log, "virt/tdx: module not loaded"))
		return "no-module";
	if (failed) {
		verdict_subject(r, "%.100s", failed);
		return "failed";
	}
	return bios_offers(v, log) ? "parameter" : "bios";
}

const char *eval_tdx(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *value = NULL;
	int error = file_read(v->parts.root, PARAMETER, 16, &value, NULL);

	verdict_expected(r, "kvm_intel.tdx=Y");
	if (error == -ENOENT) {
		verdict_found(r, "no " PARAMETER);
		return root_exists(v->parts.root, "/sys/module/kvm_intel") ? "no-support" :
									     "no-kvm";
	}
	if (error < 0) {
		verdict_subject(r, PARAMETER ": %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	return value[0] == 'Y' || value[0] == '1' ? judge_on(v, r) : judge_off(v, r);
}

/* "[disabled]" when it was switched off; no such file in a kernel without it. */
static int can_hibernate(const struct check_view *v)
{
	_cleanup_free_ char *disk = NULL;

	return file_read(v->parts.root, "/sys/power/disk", 256, &disk, NULL) == 0 && *disk &&
	       !strstr(disk, "[disabled]");
}

const char *eval_cmdline(const struct check_view *v, struct verdict *r)
{
	static const char *const off[] = { "kvm_intel.tdx=0", "kvm_intel.tdx=n", "kvm_intel.tdx=N",
					   "kvm_intel.tdx=off", "kvm-intel.tdx=0" };
	_cleanup_free_ char *text = NULL;
	int error = file_read(v->parts.root, CMDLINE, 1 << 16, &text, NULL);

	if (error < 0) {
		verdict_subject(r, CMDLINE ": %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	for (size_t i = 0; i < ARRAY_SIZE(off); i++)
		if (cmdline_has(text, off[i])) {
			verdict_found(r, "%s", off[i]);
			verdict_subject(r, "%s", off[i]);
			return "switched-off";
		}
	verdict_found(r, "%s%s", cmdline_has(text, "nohibernate") ? "nohibernate" : "no nohibernate",
		      cmdline_has(text, "kvm_intel.tdx=1") ? ", kvm_intel.tdx=1" : "");
	return !cmdline_has(text, "nohibernate") && can_hibernate(v) ? "hibernation" : "fine";
}
