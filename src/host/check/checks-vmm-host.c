// SPDX-License-Identifier: Apache-2.0
/* What keeps the doors of VMM and supervisor shut, and what they share with this host. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/accounts.h"
#include "host/check/checks-vmm.h"
#include "host/kms/kms.h"
#include "host/vmm/vmm.h"

#define VMM_SOCKET_DIR "/run/dstack/vmm"
#define FRONT_GROUP "dstack-front"

/* --- sockets --- */

const struct outcome socket_outcomes[] = {
	{ "shut", CHECK_OK },
	{ "open", CHECK_FAIL, "others than root and the front can reach the VMM's API: %s",
	  "sudo systemctl restart dstack-vmm" },
	{ 0 },
};

const struct outcome supervisor_socket_outcomes[] = {
	{ "shut", CHECK_OK },
	{ "open", CHECK_FAIL,
	  "whoever opens the supervisor's socket can run any program as root: %s",
	  "sudo chown root:root " SUPERVISOR_SOCKET " && sudo chmod 0700 " SUPERVISOR_SOCKET },
	{ 0 },
};

static int look(const struct root *root, const char *path, struct stat *st)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_NOFOLLOW, 0);

	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}

/* Whose everything above is; 0 on a running system. */
static uid_t owner_of(const struct root *root)
{
	struct stat st;

	return fstat(root->fd, &st) < 0 ? 0 : st.st_uid;
}

/* Root's, for this group (NULL: none), with no right for others and none but these for it. */
static int is_shut(const struct root *root, const char *path, const struct stat *st,
		   const gid_t *group, mode_t group_may, char **why)
{
	if (st->st_uid != owner_of(root))
		*why = xasprintf("%s belongs to uid %u", path, st->st_uid);
	else if (st->st_mode & 07)
		*why = xasprintf("%s has mode %04o", path, st->st_mode & 07777);
	else if ((st->st_mode & 070) && (!group || st->st_gid != *group))
		*why = xasprintf("%s is for gid %u (mode %04o)", path, st->st_gid,
				 st->st_mode & 07777);
	else if (st->st_mode & 070 & ~group_may)
		*why = xasprintf("%s has mode %04o", path, st->st_mode & 07777);
	return *why == NULL;
}

int vmm_socket_is_shut(const struct root *root, char **why)
{
	_cleanup_account_ struct account front = { 0 };
	struct stat dir, sock;
	int r = look(root, VMM_SOCKET_DIR, &dir);

	*why = NULL;
	if (r == 0)
		r = look(root, VMM_SOCKET, &sock);
	if (r < 0)
		return r;
	r = group_lookup(root, FRONT_GROUP, &front);
	if (r < 0 && r != -ENOENT)
		return r;
	/* Whoever may write the directory could put another socket there. */
	return is_shut(root, VMM_SOCKET_DIR, &dir, r == 0 ? &front.gid : NULL, 050, why) &&
	       is_shut(root, VMM_SOCKET, &sock, r == 0 ? &front.gid : NULL, 070, why);
}

static const char *judge_shut(struct verdict *r, int shut, const char *why)
{
	if (shut == -EACCES || shut == -EPERM)
		return SKIP_PRIVILEGE;
	if (shut < 0) {
		verdict_subject(r, "its socket: %s", strerror(-shut));
		return SKIP_UNKNOWN;
	}
	if (shut)
		return "shut";
	verdict_found(r, "%s", why);
	verdict_subject(r, "%s", why);
	return "open";
}

const char *eval_vmm_socket(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *why = NULL;
	int shut = vmm_socket_is_shut(v->parts.root, &why);

	verdict_expected(r, "root:" FRONT_GROUP ", directory 2750, socket 0770");
	return judge_shut(r, shut, why);
}

const char *eval_supervisor_socket(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *why = NULL;
	struct stat st;
	int shut = look(v->parts.root, SUPERVISOR_SOCKET, &st);

	if (shut == 0)
		shut = is_shut(v->parts.root, SUPERVISOR_SOCKET, &st, NULL, 0, &why);
	verdict_expected(r, "for root alone");
	return judge_shut(r, shut, why);
}

/* --- units --- */

const struct outcome refuses_outcomes[] = {
	{ "refuses", CHECK_OK },
	{ "stoppable", CHECK_FAIL,
	  "`systemctl stop %s` would end every virtual machine: a file of this host has taken "
	  "RefuseManualStop= from it", NULL },
	{ 0 },
};

const char *eval_supervisor_refuses(const struct check_view *v, struct verdict *r)
{
	const struct unit_state *u = &v->parts.unit[part_find("supervisor")];
	const char *bad;

	if (v->parts.units_error) {
		verdict_subject(r, v->parts.units_error == UNITS_ABSENT ?
					   "systemd does not run here" :
					   "systemd cannot be asked");
		return SKIP_UNKNOWN;
	}
	bad = u->load && strcmp(u->load, "loaded") == 0 && u->stoppable ?
		      "dstack-supervisor.service" :
	      v->slice.load && strcmp(v->slice.load, "loaded") == 0 && v->slice.stoppable ?
		      "dstackcvm.slice" :
		      NULL;
	if (!bad) {
		verdict_found(r, "service and slice refuse to be stopped");
		return "refuses";
	}
	verdict_subject(r, "%s", bad);
	verdict_fix(r, "systemctl cat %s", bad);
	return "stoppable";
}

const struct outcome unit_outcomes[] = {
	{ "packaged", CHECK_OK },
	{ "hidden", CHECK_FAIL,
	  "%s hides the packaged unit, whose settings keep virtual machines alive when it is "
	  "restarted", NULL },
	{ 0 },
};

const char *eval_vmm_unit(const struct check_view *v, struct verdict *r)
{
	static const char *const names[] = { "dstack-vmm.service", "dstack-supervisor.service",
					     "dstackcvm.slice" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("/etc/systemd/system/%s", names[i]);
		struct stat st;

		/* A link is a mask, or systemd's own; a mask shows elsewhere. */
		if (look(v->parts.root, path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		verdict_found(r, "%s", path);
		verdict_subject(r, "%s", path);
		verdict_fix(r, "systemctl cat %s", names[i]);
		return "hidden";
	}
	return "packaged";
}

/* --- ports --- */

const struct outcome ports_outcomes[] = {
	{ "free", CHECK_OK },
	{ "covered", CHECK_FAIL,
	  "a virtual machine may map %s, and take its place when it is restarted",
	  "sudoedit " OPERATOR_TOML },
	{ "no-kms", CHECK_WARN, "the next KMS cannot be deployed: its port %s may not be mapped",
	  "sudoedit " OPERATOR_TOML },
	{ 0 },
};

struct ranges {
	struct port_range *items;
	size_t n;
};

static uint16_t port_in(const struct toml *item, const char *key)
{
	const struct toml *value = toml_find(item, key);
	int64_t n = value && value->type == TOML_INTEGER ? value->integer : 0;

	return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

/* The operator's, else those of the settings. items is the caller's. */
static void ranges_of(const struct check_view *v, struct ranges *ret)
{
	_cleanup_toml_ struct toml *own = NULL;
	struct toml_error error;
	const struct toml *list = operator_toml(v->parts.root, &own, &error) == 0 ?
					  toml_find(own, "cvm.port_mapping.range") :
					  NULL;

	*ret = (struct ranges){ 0 };
	if (!list) {
		if (parse_port_ranges(setting(v->parts.settings, KEY_VMM_PORT_RANGES),
				      &ret->items, &ret->n))
			*ret = (struct ranges){ 0 };
		return;
	}
	for (const struct toml *m = list->first; m; m = m->next) {
		const struct toml *protocol = toml_find(m, "protocol");

		if (!protocol || protocol->type != TOML_STRING ||
		    strcmp(protocol->text, "tcp") != 0)
			continue;
		ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof(*ret->items));
		ret->items[ret->n++] = (struct port_range){ "tcp", port_in(m, "from"),
							    port_in(m, "to") };
	}
}

static int covers(const struct ranges *ranges, unsigned port)
{
	for (size_t i = 0; i < ranges->n; i++)
		if (strcmp(ranges->items[i].protocol, "tcp") == 0 &&
		    ranges->items[i].from <= port && port <= ranges->items[i].to)
			return 1;
	return 0;
}

static unsigned port_of(const struct settings *s, enum key_id id)
{
	struct hostport at;
	uint16_t port;

	if ((id == KEY_REGISTRY_LISTEN && !settings_registry_on(s)) ||
	    (id == KEY_PCCS_PORT && !settings_local_pccs(s)))
		return 0;
	if (parse_hostport(setting(s, id), &at) == NULL)
		return at.port;
	return parse_port(setting(s, id), &port) ? 0 : port;
}

const char *eval_vmm_ports(const struct check_view *v, struct verdict *r)
{
	static const enum key_id own[] = { KEY_VMM_ADDRESS, KEY_PCCS_PORT,
					   KEY_KEY_PROVIDER_ADDRESS, KEY_REGISTRY_LISTEN };
	const struct settings *s = v->parts.settings;
	_cleanup_free_ struct port_range *items = NULL;
	unsigned kms = setting_uint(s, KEY_KMS_PORT);
	struct ranges ranges;

	ranges_of(v, &ranges);
	items = ranges.items;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		unsigned port = port_of(s, own[i]);

		if (!port || !covers(&ranges, port))
			continue;
		verdict_found(r, "the ranges hold %u (%s)", port, keys[own[i]].name);
		verdict_subject(r, "port %u (%s)", port, keys[own[i]].name);
		return "covered";
	}
	if (covers(&ranges, 22)) {
		verdict_found(r, "the ranges hold 22 (ssh)");
		verdict_subject(r, "port 22 (ssh)");
		return "covered";
	}
	if (covers(&ranges, kms))
		return "free";
	verdict_subject(r, "%u", kms);
	return "no-kms";
}

/* --- CIDs --- */

const struct outcome cids_outcomes[] = {
	{ "free", CHECK_OK },
	{ "overlap", CHECK_WARN,
	  "a guest of another VMM has a CID that this one may give out: %s; the virtual machine "
	  "that gets it will not start", "sudo dstack-host config set VMM_CID_START=…" },
	{ 0 },
};

/* The number behind "guest-cid" in an argument of -device, plain or as JSON (libvirt); 0: none.
 * Only there: whoever looks for such a process has the words in a command line, too. */
static unsigned long cid_in_argument(const char *arg)
{
	static const char key[] = "guest-cid";
	const char *at;

	if (strncmp(arg, "vhost-vsock", 11) != 0 &&
	    (*arg != '{' || !strstr(arg, "\"vhost-vsock")))
		return 0;
	at = strstr(arg, key);
	if (!at)
		return 0;
	at += strlen(key);
	at += strspn(at, "\":= ");
	return isdigit((unsigned char)*at) ? strtoul(at, NULL, 10) : 0;
}

static unsigned long cid_in(const char *cmdline, size_t len)
{
	unsigned long cid = 0;

	/* Each ends in a NUL, the text in one more. */
	for (size_t at = 0; !cid && at < len; at += strlen(cmdline + at) + 1)
		cid = cid_in_argument(cmdline + at);
	return cid;
}

static int is_of_our_slice(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/cgroup", pid), *text = NULL;

	return file_read(root, path, 1 << 16, &text, NULL) == 0 &&
	       strstr(text, "/dstackcvm.slice") != NULL;
}

static void look_at_process(const struct root *root, const char *pid, unsigned long from,
			    unsigned long to, struct strbuf *found)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/cmdline", pid), *text = NULL;
	unsigned long cid;
	size_t len;

	if (file_read(root, path, 1 << 17, &text, &len) < 0)
		return;
	cid = cid_in(text, len);
	if (cid >= from && cid < to && !is_of_our_slice(root, pid))
		sb_addf(found, "%sCID %lu (pid %s)", found->len ? ", " : "", cid, pid);
}

const char *eval_vmm_cids(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *start = vmm_in_force(v->parts.root, v->parts.settings, "cvm.cid_start",
						 KEY_VMM_CID_START);
	_cleanup_free_ char *size = vmm_in_force(v->parts.root, v->parts.settings,
						"cvm.cid_pool_size", KEY_VMM_CID_POOL_SIZE);
	unsigned long from = strtoul(start, NULL, 10), to = from + strtoul(size, NULL, 10);
	_cleanup_closedir_ DIR *dir = root_opendir(v->parts.root, "/proc");
	_cleanup_strbuf_ struct strbuf found = { 0 };
	const struct dirent *e;

	if (!dir) {
		verdict_subject(r, "/proc cannot be read");
		return SKIP_UNKNOWN;
	}
	while ((e = readdir(dir)))
		if (isdigit((unsigned char)e->d_name[0]))
			look_at_process(v->parts.root, e->d_name, from, to, &found);
	if (!found.len) {
		verdict_found(r, "%lu to %lu are this VMM's", from, to - 1);
		return "free";
	}
	verdict_found(r, "%.300s", found.data);
	verdict_subject(r, "%.300s", found.data);
	return "overlap";
}

/* --- logs --- */

#define LOGROTATE "/etc/logrotate.d/dstack-host"
#define SUPERVISOR_LOG "/var/log/dstack/supervisor.log"
/* A week's log is rotated at 50 MB, which is looked at once a day. */
#define LOG_MAX (1u << 30)

const struct outcome logs_outcomes[] = {
	{ "rotated", CHECK_OK },
	{ "unrotated", CHECK_WARN, "nothing keeps the supervisor's log from growing: " LOGROTATE
	  " is gone",
	  "sudo apt-get install --reinstall -o Dpkg::Options::=--force-confmiss "
	  "dstack-host-services" },
	{ "large", CHECK_WARN, SUPERVISOR_LOG " has %s: it is not rotated",
	  "sudo logrotate -f " LOGROTATE },
	{ 0 },
};

const char *eval_vmm_logs(const struct check_view *v, struct verdict *r)
{
	struct stat st;

	if (!root_exists(v->parts.root, LOGROTATE))
		return "unrotated";
	if (look(v->parts.root, SUPERVISOR_LOG, &st) < 0 || st.st_size < (off_t)LOG_MAX)
		return "rotated";
	verdict_found(r, "%lld MiB", (long long)st.st_size >> 20);
	verdict_subject(r, "%lld MiB", (long long)st.st_size >> 20);
	return "large";
}
