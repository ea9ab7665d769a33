// SPDX-License-Identifier: Apache-2.0
/* The VMM's command line, turned into one that needs no TDX, no KVM and none of its files. */
#include "host/measure/measure-config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/measure/jail.h"

enum translation {
	DROP,	     /* not in the tables, and its value with it */
	KEEP,	     /* as it is */
	FLAG_DROP,   /* the same without a value */
	FLAG_KEEP,
	MACHINE,
	DEVICE,
	OBJECT,
	MEMORY,
	SERIAL,
	VIRTFS,	     /* brings a device of its own */
	FIRMWARE,
	KERNEL,
	INITRD,
	APPEND,
};

static const struct {
	const char *name;
	enum translation what;
} options[] = {
	{ "accel", DROP }, { "cpu", DROP }, { "chardev", DROP }, { "netdev", DROP },
	{ "drive", DROP }, { "blockdev", DROP }, { "qmp", DROP }, { "monitor", DROP },
	{ "mon", DROP }, { "smbios", DROP }, { "name", DROP }, { "uuid", DROP },
	{ "pidfile", DROP }, { "D", DROP }, { "d", DROP }, { "fsdev", DROP }, { "msg", DROP },
	{ "display", DROP }, { "run-with", DROP }, { "sandbox", DROP }, { "trace", DROP },
	{ "nographic", FLAG_DROP }, { "nodefaults", FLAG_DROP }, { "S", FLAG_DROP },
	{ "enable-kvm", FLAG_DROP }, { "no-user-config", FLAG_DROP },
	{ "no-reboot", FLAG_DROP }, { "no-shutdown", FLAG_DROP }, { "daemonize", FLAG_DROP },
	{ "global", KEEP }, { "smp", KEEP }, { "numa", KEEP }, { "no-hpet", FLAG_KEEP },
	{ "machine", MACHINE }, { "M", MACHINE }, { "device", DEVICE }, { "object", OBJECT },
	{ "m", MEMORY }, { "serial", SERIAL }, { "virtfs", VIRTFS }, { "bios", FIRMWARE },
	{ "kernel", KERNEL }, { "initrd", INITRD }, { "append", APPEND },
};

/* They make the machine a TD, or ask for KVM; the tables have nothing of them. */
static const char *const machine_dropped[] = {
	"kernel-irqchip", "kernel_irqchip", "confidential-guest-support", "memory-encryption",
	"accel", "dump-guest-core", "mem-merge",
};

static void set_owned(char **at, char *value)
{
	free(*at);
	*at = value;
}

static void set(char **at, const char *value)
{
	set_owned(at, xstrdup(value));
}

static void add(struct measure_config *c, char *arg)
{
	/* Grows at powers of two, with room for the NULL. */
	if ((c->n_args & (c->n_args + 1)) == 0)
		c->args = xrealloc(c->args, (2 * c->n_args + 2) * sizeof(*c->args));
	c->args[c->n_args++] = arg;
	c->args[c->n_args] = NULL;
}

static void add_option(struct measure_config *c, const char *name, char *value)
{
	add(c, xasprintf("-%s", name));
	add(c, value);
}

/* Is `prop`, which ends at `end`, KEY or KEY=…? Its value, or NULL. */
static const char *value_of(const char *prop, const char *end, const char *key)
{
	size_t n = strlen(key);

	if ((size_t)(end - prop) < n || strncmp(prop, key, n) != 0)
		return NULL;
	return prop + n == end ? end : prop[n] == '=' ? prop + n + 1 : NULL;
}

/* The end of the property at `at`: a comma that is not doubled, or the end. */
static const char *property_end(const char *at)
{
	while (*at && (*at != ',' || at[1] == ','))
		at += *at == ',' ? 2 : 1;
	return at;
}

/* The value of KEY in a list of properties, the caller's; NULL: not there. */
static char *property(const char *list, const char *key)
{
	const char *end;

	for (const char *at = list; *at; at = *end ? end + 1 : end) {
		const char *value;

		end = property_end(at);
		value = value_of(at, end, key);
		if (value)
			return xstrndup(value, (size_t)(end - value));
	}
	return NULL;
}

static void translate_machine(struct measure_config *c, const char *list)
{
	_cleanup_free_ char *cgs = property(list, "confidential-guest-support");
	_cleanup_free_ char *smm = property(list, "smm");
	struct strbuf out = { 0 };
	const char *end;

	for (const char *at = list; *at; at = *end ? end + 1 : end) {
		size_t i = 0;

		end = property_end(at);
		while (i < ARRAY_SIZE(machine_dropped) && !value_of(at, end, machine_dropped[i]))
			i++;
		if (i < ARRAY_SIZE(machine_dropped))
			continue;
		if (out.len)
			sb_addc(&out, ',');
		sb_addn(&out, at, (size_t)(end - at));
	}
	/* TDX has none, and switches it off. */
	if (cgs && !smm)
		sb_add(&out, ",smm=off");
	if (cgs)
		set(&c->td_machine, list);
	add_option(c, "machine", sb_steal(&out));
}

static int is_virtio(const char *driver)
{
	size_t n = strlen(driver);

	return (strncmp(driver, "virtio-", 7) == 0 || strncmp(driver, "vhost-", 6) == 0) &&
	       n > 4 && strcmp(driver + n - 4, "-pci") == 0;
}

/* Where it is plugged in counts, what it is does not. */
static int translate_device(struct measure_config *c, const char *list, char **trouble)
{
	static const char *const kept[] = { "bus", "addr", "multifunction" };
	static const char *const bridges[] = { "pcie-root-port", "pxb-pcie", "pcie-pci-bridge" };
	_cleanup_free_ char *driver = xstrndup(list, strcspn(list, ","));
	struct strbuf out = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bridges); i++) {
		if (strcmp(driver, bridges[i]) != 0)
			continue;
		add_option(c, "device", xstrdup(list));
		return 0;
	}
	if (!is_virtio(driver)) {
		*trouble = xasprintf("device %.60s: what it does to the ACPI tables cannot be told "
				     "without the device itself", driver);
		return -EBADMSG;
	}
	sb_add(&out, "virtio-rng-pci");
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		_cleanup_free_ char *value = property(list, kept[i]);

		if (value)
			sb_addf(&out, ",%s=%s", kept[i], value);
	}
	add_option(c, "device", sb_steal(&out));
	return 0;
}

/* Memory that somebody refers to; nothing else is needed. */
static int translate_object(struct measure_config *c, const char *list, char **trouble)
{
	_cleanup_free_ char *id = property(list, "id"), *size = property(list, "size");

	/* Its quotes come from elsewhere; nothing asks for any. */
	if (strncmp(list, "tdx-guest,", 10) == 0 && id)
		set_owned(&c->td_object, xasprintf("tdx-guest,id=%s", id));
	if (strncmp(list, "memory-backend-", 15) != 0)
		return 0;
	if (!id || !size) {
		*trouble = xasprintf("object \"%.60s\": no id or size", list);
		return -EBADMSG;
	}
	add_option(c, "object", xasprintf("memory-backend-file,id=%s,size=%s,mem-path="
					  JAIL_SCRATCH ",share=on", id, size));
	return 0;
}

/* "4096M", "4G", "4096", "size=4096M,slots=…" */
static int translate_memory(struct measure_config *c, const char *list, char **trouble)
{
	static const char units[] = "kMGT";
	_cleanup_free_ char *named = property(list, "size");
	_cleanup_free_ char *size = named ? steal_ptr(named) : xstrndup(list, strcspn(list, ","));
	size_t n = strlen(size);
	const char *unit = n ? strchr(units, size[n - 1]) : NULL;
	uint64_t value;

	if (unit && *unit)
		size[n - 1] = '\0';
	else
		unit = units + 1;
	/* No machine has more: 2^52 is what the processor can address. */
	if (parse_uint(size, 1, UINT64_C(1) << 42, &value) ||
	    value >> (52 - 10 * (unit - units + 1))) {
		*trouble = xasprintf("memory \"%.60s\": not a size", list);
		return -EBADMSG;
	}
	c->memory = value << (10 * (unit - units + 1));
	add_option(c, "m", xstrdup(list));
	return 0;
}

static int translate(struct measure_config *c, const char *name, enum translation what,
		     const char *value, char **trouble)
{
	switch (what) {
	case DROP:
	case FLAG_DROP:
		return 0;
	case KEEP:
		add_option(c, name, xstrdup(value));
		return 0;
	case FLAG_KEEP:
		add(c, xasprintf("-%s", name));
		return 0;
	case MACHINE:
		translate_machine(c, value);
		return 0;
	case DEVICE:
		return translate_device(c, value, trouble);
	case OBJECT:
		return translate_object(c, value, trouble);
	case MEMORY:
		return translate_memory(c, value, trouble);
	case SERIAL:
		if (strcmp(value, "none") != 0)
			add_option(c, "serial", xstrdup("null"));
		return 0;
	case VIRTFS:
		add_option(c, "device", xstrdup("virtio-rng-pci"));
		return 0;
	case FIRMWARE:
		set(&c->firmware, value);
		return 0;
	case KERNEL:
		set(&c->kernel, value);
		return 0;
	case INITRD:
		set(&c->initrd, value);
		return 0;
	case APPEND:
		set(&c->cmdline, value);
		return 0;
	}
	return 0;
}

static int takes_value(enum translation what)
{
	return what != FLAG_DROP && what != FLAG_KEEP;
}

int config_from_args(const char *const *args, size_t n, struct measure_config *ret,
		     char **trouble)
{
	for (size_t i = 0; i < n; i++) {
		const char *name = args[i] + strspn(args[i], "-");
		size_t o = 0;
		int r;

		while (o < ARRAY_SIZE(options) && strcmp(options[o].name, name) != 0)
			o++;
		if (*args[i] != '-' || o == ARRAY_SIZE(options) ||
		    (takes_value(options[o].what) && i + 1 == n)) {
			*trouble = xasprintf("QEMU's argument \"%.60s\" is not known here, nor what "
					     "it does to the ACPI tables", args[i]);
			return -EBADMSG;
		}
		i += (size_t)takes_value(options[o].what);
		r = translate(ret, name, options[o].what, args[i], trouble);
		if (r < 0)
			return r;
	}
	if (ret->memory)
		return 0;
	*trouble = xstrdup("QEMU's arguments do not say how much memory (-m)");
	return -EBADMSG;
}

int config_from_size(unsigned vcpu, uint64_t memory_mb, const char *const *more, size_t n,
		     struct measure_config *ret, char **trouble)
{
	_cleanup_free_ char *smp = xasprintf("%u", vcpu);
	_cleanup_free_ char *memory = xasprintf("%lluM", (unsigned long long)memory_mb);
	/* dstack-vmm 0.5 and 0.6: two disks, network, vsock, the shared directory. */
	const char *const args[] = {
		"-machine", "q35,kernel-irqchip=split,confidential-guest-support=tdx,smm=off,hpet=off",
		"-object", "tdx-guest,id=tdx", "-serial", "null",
		"-device", "virtio-blk-pci", "-device", "virtio-blk-pci",
		"-device", "virtio-net-pci", "-device", "vhost-vsock-pci", "-virtfs", "local",
		"-smp", smp, "-m", memory,
	};
	_cleanup_free_ const char **all = xcalloc(ARRAY_SIZE(args) + n, sizeof(*all));

	memcpy(all, args, sizeof(args));
	for (size_t i = 0; i < n; i++)
		all[ARRAY_SIZE(args) + i] = more[i];
	return config_from_args(all, ARRAY_SIZE(args) + n, ret, trouble);
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

void config_copy(const struct measure_config *from, struct measure_config *ret)
{
	*ret = (struct measure_config){
		.origin = from->origin,
		.what = copy(from->what), .firmware = copy(from->firmware),
		.kernel = copy(from->kernel), .initrd = copy(from->initrd),
		.cmdline = copy(from->cmdline), .qemu = copy(from->qemu),
		.td_machine = copy(from->td_machine), .td_object = copy(from->td_object),
		.normalized = from->normalized, .memory = from->memory,
	};
	for (size_t i = 0; i < from->n_args; i++)
		add(ret, xstrdup(from->args[i]));
}

static int same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int config_equal(const struct measure_config *a, const struct measure_config *b)
{
	if (a->n_args != b->n_args || a->normalized != b->normalized ||
	    a->memory != b->memory || !same(a->firmware, b->firmware) ||
	    !same(a->kernel, b->kernel) || !same(a->initrd, b->initrd) ||
	    !same(a->cmdline, b->cmdline) || !same(a->td_machine, b->td_machine))
		return 0;
	for (size_t i = 0; i < a->n_args; i++)
		if (strcmp(a->args[i], b->args[i]) != 0)
			return 0;
	return 1;
}

void config_free(struct measure_config *c)
{
	for (size_t i = 0; i < c->n_args; i++)
		free(c->args[i]);
	free(c->args);
	free(c->what);
	free(c->firmware);
	free(c->kernel);
	free(c->initrd);
	free(c->cmdline);
	free(c->qemu);
	free(c->td_machine);
	free(c->td_object);
	*c = (struct measure_config){ 0 };
}
