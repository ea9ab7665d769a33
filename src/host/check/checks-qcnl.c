// SPDX-License-Identifier: Apache-2.0
/* Checks of who finds PCCS where: the QCNL files of qgsd and aesmd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/check/checks-qcnl.h"
#include "host/check/qcnl-file.h"

#define VARIABLE "QCNL_CONF_PATH="
#define RESTART_QGSD                                                                     \
	"sudo systemctl daemon-reload; sudo systemctl restart qgsd.service"

enum { ENVIRON_MAX = 256 << 10 };

/* The path that qgsd has in its environment, or "" when it has none. The caller's; NULL and
 * -errno in *error when that cannot be seen. */
static char *path_of_qgsd(const struct check_view *v, int *error)
{
	const struct unit_state *u = &v->parts.unit[part_find("qgsd")];
	_cleanup_free_ char *path = xasprintf("/proc/%u/environ", u->main_pid);
	_cleanup_free_ char *text = NULL;
	size_t len;

	*error = u->main_pid ? file_read(v->parts.root, path, ENVIRON_MAX, &text, &len) : -ESRCH;
	if (*error < 0)
		return NULL;
	for (size_t i = 0; i < len; i += strlen(text + i) + 1)
		if (strncmp(text + i, VARIABLE, strlen(VARIABLE)) == 0)
			return xstrdup(text + i + strlen(VARIABLE));
	return xstrdup("");
}

/* The file that qgsd reads, where it is not the one that `files` compares; or an outcome. */
static const char *foreign_file(const struct check_view *v, struct verdict *r, char **path)
{
	int error;

	*path = path_of_qgsd(v, &error);
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (!*path) {
		verdict_subject(r, "the environment of qgsd: %s",
				error == -ESRCH ? "it does not run" : strerror(-error));
		return SKIP_UNKNOWN;
	}
	if (strcmp(*path, QCNL_RENDERED) == 0) {
		verdict_found(r, "%s", *path);
		return "rendered";
	}
	if (!**path) {
		free(*path);
		*path = xstrdup(QCNL_DEFAULT);
	}
	return NULL;
}

/* --- its form --- */

const struct outcome qcnl_file_outcomes[] = {
	{ "rendered", CHECK_OK },
	{ "good", CHECK_OK },
	{ "unknown-key", CHECK_WARN, "the file that qgsd reads has a key that Intel's library does "
	  "not know: %s", RESTART_QGSD },
	{ "broken", CHECK_FAIL, "the file that qgsd reads is no strict JSON, so Intel's defaults "
	  "are in force (%s)", RESTART_QGSD },
	{ "missing", CHECK_FAIL, "the file that qgsd reads is not there: %s", RESTART_QGSD },
	{ 0 },
};

const char *eval_qcnl_file(const struct check_view *v, struct verdict *r)
{
	_cleanup_(qcnl_free) struct qcnl_file f = { 0 };
	_cleanup_free_ char *path = NULL;
	const char *end = foreign_file(v, r, &path);
	int error;

	if (end)
		return end;
	error = qcnl_read(v->parts.root, path, &f);
	verdict_found(r, "%s", path);
	verdict_subject(r, "%s", path);
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == -ENOENT)
		return "missing";
	if (error < 0)
		verdict_subject(r, "%s: %s", path, strerror(-error));
	else if (f.broken)
		verdict_subject(r, "%s, %s", path, f.broken);
	if (error < 0 || f.broken)
		return "broken";
	if (!f.unknown)
		return "good";
	verdict_subject(r, "%s", f.unknown);
	return "unknown-key";
}

/* --- do they agree? --- */

const struct outcome qcnl_agree_outcomes[] = {
	{ "rendered", CHECK_OK },
	{ "same", CHECK_OK },
	{ "other-pccs", CHECK_FAIL, "qgsd asks another PCCS than this host's settings name: %s",
	  RESTART_QGSD },
	{ "untrusted", CHECK_FAIL, "qgsd wants a certificate from a public CA (use_secure_cert in "
	  "%s), and the one of PCCS is this host's own", RESTART_QGSD },
	{ 0 },
};

/* "https://LOCALHOST/x" and "https://127.0.0.1/x/" lead to one and the same. */
static int same_place(const char *a, const char *b)
{
	struct url ua, ub;

	if (parse_url(a, &ua) || parse_url(b, &ub))
		return strcmp(a, b) == 0;
	return ua.port == ub.port && strcmp(ua.scheme, ub.scheme) == 0 &&
	       ((host_is_loopback(ua.host) && host_is_loopback(ub.host)) ||
		strcasecmp(ua.host, ub.host) == 0);
}

const char *eval_qcnl_agree(const struct check_view *v, struct verdict *r)
{
	const char *want = setting(v->parts.settings, KEY_PCCS_URL);
	_cleanup_(qcnl_free) struct qcnl_file f = { 0 };
	_cleanup_free_ char *path = NULL;
	const char *end = foreign_file(v, r, &path);
	int error;

	if (end)
		return end;
	error = qcnl_read(v->parts.root, path, &f);
	if (error < 0) {
		verdict_subject(r, "%s: %s", path, strerror(-error));
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%s in %s", f.url, path);
	verdict_expected(r, "%s in %s", want, QCNL_RENDERED);
	if (!same_place(f.url, want)) {
		verdict_subject(r, "%s in %s", f.url, path);
		return "other-pccs";
	}
	verdict_subject(r, "%s", path);
	return f.secure && settings_local_pccs(v->parts.settings) ? "untrusted" : "same";
}

/* --- /etc/qgs.conf --- */

#define QGS_CONF "/etc/qgs.conf"

const struct outcome qgs_conf_outcomes[] = {
	{ "vsock", CHECK_OK },
	{ "unix", CHECK_OK },
	{ "no-port", CHECK_FAIL, QGS_CONF " sets no port, so qgsd listens on a unix socket that no "
	  "guest reaches", /* its last line may have no end */
	  "printf '\\nport = %s\\n' | sudo tee -a " QGS_CONF
	  " && sudo systemctl restart qgsd.service" },
	{ "wrong-port", CHECK_FAIL, QGS_CONF " sets another port than QGS_ADDRESS",
	  "sudo sed -i 's/^[[:space:]]*port[[:space:]]*=.*/port = %s/' " QGS_CONF
	  " && sudo systemctl restart qgsd.service" },
	{ "guests-elsewhere", CHECK_WARN, "QGS_ADDRESS has port %s, and guests ask on 4050",
	  "sudo dstack-host config unset QGS_ADDRESS && " APPLY },
	{ 0 },
};

enum { GUEST_PORT = 4050, CONF_MAX = 64 << 10 };

/* As Intel's program reads it: the last `port` counts. -1: there is none. */
static long port_in(char *text)
{
	long port = -1;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line += strspn(line, " \t");
		if (strncmp(line, "port", 4) != 0)
			continue;
		line += 4 + strspn(line + 4, " \t");
		if (*line == '=')
			port = strtol(line + 1, NULL, 10);
	}
	return port;
}

const char *eval_qgs_conf(const struct check_view *v, struct verdict *r)
{
	const char *at = setting(v->parts.settings, KEY_QGS_ADDRESS);
	_cleanup_free_ char *text = NULL;
	struct vsock_addr want;
	int error;
	long port;

	if (parse_vsock(at, 1, &want)) {
		verdict_found(r, "QGS_ADDRESS=%s", at);
		return "unix";
	}
	error = file_read(v->parts.root, QGS_CONF, CONF_MAX, &text, NULL);
	if (error < 0 && error != -ENOENT) {
		verdict_subject(r, QGS_CONF ": %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	if (error == -ENOENT) {
		/* Not installed yet, or one that takes its port elsewhere. */
		verdict_subject(r, "there is no " QGS_CONF);
		return SKIP_UNKNOWN;
	}
	port = port_in(text);
	verdict_subject(r, "%u", want.port);
	verdict_expected(r, "port = %u", want.port);
	if (port <= 0)
		return "no-port";
	verdict_found(r, "port = %ld", port);
	if (port != (long)want.port)
		return "wrong-port";
	return want.port == GUEST_PORT ? "vsock" : "guests-elsewhere";
}
