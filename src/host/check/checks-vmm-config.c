// SPDX-License-Identifier: Apache-2.0
/*
 * What the VMM merges over the rendered vmm.toml: the operator's file, which wins, and files at
 * places where it looks without being told. What it does not know it ignores without a word.
 * No fix here changes a file: what an operator has set may be part of what a disk is sealed to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/check/checks-vmm.h"
#include "host/vmm/vmm-version.h"

/* --- vmm.config --- */

const struct outcome vmm_config_outcomes[] = {
	{ "none", CHECK_OK },
	{ "overrides", CHECK_OK },
	{ "elsewhere", CHECK_WARN,
	  OPERATOR_TOML " sets %s: what dstack-host tells of images is of another directory than the "
	  "VMM's", "sudo dstack-host config list" },
	{ "guests", CHECK_WARN,
	  "guests get no keys from a KMS at %s (cvm.kms_urls): there it is the guest itself that is "
	  "meant, or no https", "sudoedit " OPERATOR_TOML },
	{ "readable", CHECK_FAIL, "others than root can read the VMM's token in " OPERATOR_TOML
	  " (mode %s)", "sudo chmod 0600 " OPERATOR_TOML },
	{ "passt", CHECK_FAIL,
	  "dstack-vmm %s does not start with cvm.networking mode \"passt\", which 0.5.6 was the last "
	  "to know", "sudoedit " OPERATOR_TOML },
	{ "api", CHECK_FAIL,
	  OPERATOR_TOML " sets %s: the VMM's API, which asks nobody who he is, is not where only "
	  "the front reaches it", "sudoedit " OPERATOR_TOML },
	{ "supervisor", CHECK_FAIL,
	  OPERATOR_TOML " sets %s: the VMM would run a second supervisor, and every virtual "
	  "machine a second time", "sudoedit " OPERATOR_TOML },
	{ "syntax", CHECK_FAIL, "the VMM does not start with " OPERATOR_TOML ": %s",
	  "sudoedit " OPERATOR_TOML },
	{ 0 },
};

struct comparison {
	const struct toml *rendered;
	struct strbuf differs; /* paths with commas between them */
	unsigned rank;	       /* of what is worst: decisive[].rank */
	const char *outcome;
	char *subject;
};

/* What must be as rendered, and what it is when it is not. */
static const struct {
	const char *path, *outcome;
	unsigned rank;
} decisive[] = {
	{ "image_path", "elsewhere", 1 },   { "image.path", "elsewhere", 1 },
	{ "supervisor.sock", "supervisor", 2 },
	{ "supervisor.auto_start", "supervisor", 2 }, { "address", "api", 3 },
	{ "port", "api", 3 },
};

static int same(const struct toml *a, const struct toml *b)
{
	_cleanup_strbuf_ struct strbuf x = { 0 }, y = { 0 };

	if (!b || a->type != b->type)
		return 0;
	toml_print(a, &x);
	toml_print(b, &y);
	return strcmp(x.data, y.data) == 0;
}

static void note(struct comparison *c, const char *path)
{
	sb_addf(&c->differs, "%s%s", c->differs.len ? ", " : "", path);
	for (size_t i = 0; i < ARRAY_SIZE(decisive); i++) {
		if (strcmp(decisive[i].path, path) != 0 || decisive[i].rank <= c->rank)
			continue;
		c->rank = decisive[i].rank;
		c->outcome = decisive[i].outcome;
		free(c->subject);
		c->subject = xstrdup(path);
	}
}

static void compare(struct comparison *c, const struct toml *own, const char *above)
{
	for (const struct toml *m = own->first; m; m = m->next) {
		_cleanup_free_ char *path = xasprintf("%s%s%s", above, *above ? "." : "", m->key);

		if (m->type == TOML_TABLE)
			compare(c, m, path);
		else if (!same(m, toml_find(c->rendered, path)))
			note(c, path);
	}
}

static const char *not_read(struct verdict *r, int error, const struct toml_error *why)
{
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == -EBADMSG) {
		verdict_found(r, "line %u: %s", why->line, why->text);
		verdict_subject(r, "line %u: %s", why->line, why->text);
		return "syntax";
	}
	verdict_subject(r, OPERATOR_TOML ": %s", strerror(-error));
	return SKIP_UNKNOWN;
}

/* A KMS that no guest can reach by this URL. */
static const char *useless_kms(const struct toml *own)
{
	const struct toml *urls = toml_find(own, "cvm.kms_urls");
	struct url u;

	for (const struct toml *m = urls ? urls->first : NULL; m; m = m->next)
		if (m->type == TOML_STRING &&
		    (parse_url(m->text, &u) || strcmp(u.scheme, "https") != 0 ||
		     host_is_loopback(u.host)))
			return m->text;
	return NULL;
}

static int is_passt(const struct toml *own)
{
	const struct toml *mode = toml_find(own, "cvm.networking.mode");

	return mode && mode->type == TOML_STRING && strcmp(mode->text, "passt") == 0;
}

/* What is wrong with the file by itself, worst first; NULL: nothing. */
static const char *judge_alone(const struct check_view *v, const struct toml *own,
			       struct verdict *r)
{
	_cleanup_close_ int fd = root_openat(v->parts.root, OPERATOR_TOML, O_PATH, 0);
	const char *kms = useless_kms(own);
	struct vmm_version ver;
	struct stat st;

	vmm_version(v->parts.root, &ver);
	if (is_passt(own) && vmm_is_at_least(&ver, 0, 5, 7)) {
		verdict_subject(r, "%s", ver.text);
		return "passt";
	}
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 044) &&
	    toml_find(own, "auth.tokens")) {
		verdict_subject(r, "%04o", st.st_mode & 07777);
		return "readable";
	}
	if (kms)
		verdict_subject(r, "%.100s", kms);
	return kms ? "guests" : NULL;
}

const char *eval_vmm_config(const struct check_view *v, struct verdict *r)
{
	_cleanup_toml_ struct toml *own = NULL, *rendered = NULL;
	struct comparison c = { .outcome = "overrides" };
	struct toml_error error = { 0 };
	const char *alone;
	int e = operator_toml(v->parts.root, &own, &error);

	if (e < 0)
		return not_read(r, e, &error);
	if (!own) {
		verdict_found(r, "there is none, the rendered file counts alone");
		return "none";
	}
	if (vmm_toml_load(v->parts.root, RENDERED_TOML, &rendered, &error) < 0)
		rendered = NULL;
	c.rendered = rendered;
	compare(&c, own, "");
	if (!c.differs.len)
		verdict_found(r, OPERATOR_TOML " says nothing else than the rendered file");
	else
		verdict_found(r, OPERATOR_TOML " overrides %.400s", c.differs.data);
	alone = c.rank > 1 ? NULL : judge_alone(v, own, r);
	if (c.subject && !alone)
		verdict_subject(r, "%s", c.subject);
	sb_free(&c.differs);
	free(c.subject);
	return alone ? alone : c.outcome;
}

/* --- vmm.config-keys --- */

const struct outcome vmm_keys_outcomes[] = {
	{ "known", CHECK_OK },
	{ "unknown", CHECK_WARN, "the VMM ignores what it does not know, without a word: %s",
	  "sudoedit " OPERATOR_TOML },
	{ 0 },
};

/* Of 0.5.5 up to the development version; "x.*" stands for everything below. */
static const char *const known[] = {
	"workers", "max_blocking", "ident", "temp_dir", "keep_alive", "log_level", "address",
	"port", "reuse", "tls.*", "limits.*", "shutdown.*", "secret_key", "cli_colors",
	"ip_header", "proxy_proto_header", "http2_keep_alive", "kms_url", "image_path", "run_path",
	"event_buffer_size", "node_name", "image.path", "image.registry",
	"cvm.qemu_path", "cvm.kms_urls", "cvm.gateway_urls", "cvm.tproxy_urls", "cvm.pccs_url",
	"cvm.docker_registry", "cvm.cid_start", "cvm.cid_pool_size", "cvm.max_allocable_vcpu",
	"cvm.max_allocable_memory_in_mb", "cvm.qmp_socket", "cvm.user", "cvm.use_mrconfigid",
	"cvm.qemu_single_pass_add_pages", "cvm.qemu_pic", "cvm.qemu_version",
	"cvm.qemu_pci_hole64_size", "cvm.qemu_hotplug_off", "cvm.host_share_mode", "cvm.qgs_port",
	"cvm.product.*", "cvm.platform", "cvm.instance_id", "cvm.volumes_dir",
	"cvm.tdx_attestation_variant", "cvm.nvidia_attestation_proxy_url", "cvm.tee_simulator.*",
	"cvm.network_filter.*", "cvm.networking.mode", "cvm.networking.net",
	"cvm.networking.dhcp_start", "cvm.networking.restrict", "cvm.networking.passt_exec",
	"cvm.networking.interface", "cvm.networking.address", "cvm.networking.netmask",
	"cvm.networking.gateway", "cvm.networking.dns", "cvm.networking.map_host_loopback",
	"cvm.networking.map_guest_addr", "cvm.networking.no_map_gw", "cvm.networking.ipv4_only",
	"cvm.networking.netdev", "cvm.networking.bridge", "cvm.networking.mac_prefix",
	"cvm.networking.forward_service_enabled", "cvm.port_mapping.enabled",
	"cvm.port_mapping.address", "cvm.port_mapping.range", "cvm.auto_restart.enabled",
	"cvm.auto_restart.interval", "cvm.auto_restart.max_retries",
	"cvm.auto_restart.initial_backoff", "cvm.auto_restart.max_backoff",
	"cvm.auto_restart.reset_window", "cvm.gpu.enabled", "cvm.gpu.listing", "cvm.gpu.exclude",
	"cvm.gpu.include", "cvm.gpu.allow_attach_all", "cvm.log.max_bytes", "cvm.log.max_backups",
	"cvm.log.check_interval_secs", "gateway.base_domain", "gateway.port", "gateway.agent_port",
	"auth.enabled", "auth.tokens", "auth.htpasswd_file", "supervisor.exe", "supervisor.sock",
	"supervisor.pid_file", "supervisor.log_file", "supervisor.detached",
	"supervisor.auto_start", "host_api.ident", "host_api.address", "host_api.port",
	"key_provider.enabled", "key_provider.address", "key_provider.port", "netd.*",
};

static int is_known(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t len = strlen(known[i]);

		if (strcmp(known[i], path) == 0 ||
		    (known[i][len - 1] == '*' && strncmp(known[i], path, len - 1) == 0))
			return 1;
	}
	return 0;
}

/* Paths that are not known, "cvm.cid_strat (line 7)" each. */
static void list_unknown(const struct toml *own, const char *above, struct strbuf *out)
{
	for (const struct toml *m = own->first; m; m = m->next) {
		_cleanup_free_ char *path = xasprintf("%s%s%s", above, *above ? "." : "", m->key);

		if (m->type == TOML_TABLE)
			list_unknown(m, path, out);
		else if (!is_known(path))
			sb_addf(out, "%s%.80s (line %u)", out->len ? ", " : "", path, m->line);
	}
}

const char *eval_vmm_keys(const struct check_view *v, struct verdict *r)
{
	_cleanup_toml_ struct toml *own = NULL;
	_cleanup_strbuf_ struct strbuf unknown = { 0 };
	struct toml_error error;

	/* Why it cannot be read is told by vmm.config. */
	if (operator_toml(v->parts.root, &own, &error) < 0) {
		verdict_subject(r, OPERATOR_TOML " cannot be read");
		return SKIP_UNKNOWN;
	}
	if (own)
		list_unknown(own, "", &unknown);
	if (!unknown.len) {
		verdict_found(r, own ? "all are known" : "there is no such file");
		return "known";
	}
	verdict_found(r, "%.400s", unknown.data);
	verdict_subject(r, "%.400s", unknown.data);
	return "unknown";
}

/* --- vmm.stray --- */

const struct outcome vmm_stray_outcomes[] = {
	{ "none", CHECK_OK },
	{ "stray", CHECK_WARN,
	  "the VMM also reads %s, which nobody sees who looks at dstack-host's files",
	  "ls -l /etc/vmm /run/dstack/vmm" },
	{ 0 },
};

const char *eval_vmm_stray(const struct check_view *v, struct verdict *r)
{
	/* Merged in this order: built in, the first two, ./vmm.toml (rendered), the third,
	 * --config. */
	static const char *const places[] = { "/etc/vmm/vmm.toml", "/etc/vmm/vmm.json",
					      "/run/dstack/vmm/vmm.json" };
	_cleanup_strbuf_ struct strbuf found = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (root_exists(v->parts.root, places[i]))
			sb_addf(&found, "%s%s", found.len ? ", " : "", places[i]);
	if (!found.len)
		return "none";
	verdict_found(r, "%s", found.data);
	verdict_subject(r, "%s", found.data);
	return "stray";
}
