// SPDX-License-Identifier: Apache-2.0
/* Who can read the secrets; no value of one is ever shown. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/check/checks-host.h"
#include "host/conf/secrets.h"

const struct outcome secret_outcomes[] = {
	{ "kept", CHECK_OK },
	{ "readable", CHECK_FAIL, "others than root may read %s", "sudo chmod go= %s" },
	{ "owner", CHECK_FAIL, "%s does not belong to root, and whose it is can read and change it",
	  "sudo chown root:root %s" },
	{ "no-file", CHECK_FAIL, "%s is not a regular file: it is not read, or leads elsewhere",
	  "sudo ls -la " SECRETS_DIR },
	{ 0 },
};

const struct outcome leak_outcomes[] = {
	{ "none", CHECK_OK },
	{ "argv", CHECK_FAIL, "%s is among the arguments of a process, which everybody can read",
	  "end that process, then store a new value: sudo dstack-host secret set NAME < FILE" },
	{ "environment", CHECK_FAIL, "%s is in the environment of one of this host's services",
	  "remove it from the unit's drop-ins: systemctl cat UNIT" },
	{ "debconf", CHECK_FAIL, "%s is still in debconf's database",
	  "sudo dpkg-reconfigure -f noninteractive dstack-host" },
	{ "journal", CHECK_FAIL, "%s is in the journal",
	  "store a new value: sudo dstack-host secret set NAME < FILE" },
	{ 0 },
};

static const char *judge_file(const struct secret_file *f, int is_dir, struct verdict *r)
{
	verdict_subject(r, "%s", f->path);
	verdict_found(r, "%s %04o, uid %u", f->path, (unsigned)f->mode & 07777u, f->uid);
	verdict_expected(r, is_dir ? "0700, uid 0" : "0600, uid 0");
	if (is_dir ? !S_ISDIR(f->mode) : !S_ISREG(f->mode))
		return "no-file";
	if (f->uid != 0)
		return "owner";
	return f->mode & 077 ? "readable" : NULL;
}

const char *eval_secrets(const struct check_view *v, struct verdict *r)
{
	const struct secret_audit *audit = &v->machine.secrets;

	if (!v->machine.filled || (audit->error && audit->error != -ENOENT)) {
		verdict_subject(r, "%s", audit->error ? strerror(-audit->error) :
							"nobody has looked");
		return SKIP_UNKNOWN;
	}
	for (size_t i = 0; i < audit->n_files; i++) {
		const char *outcome = judge_file(&audit->files[i], i == 0, r);

		if (outcome)
			return outcome;
	}
	if (audit->hidden)
		return SKIP_PRIVILEGE;
	verdict_found(r, audit->n_files > 1 ? "%zu files" : "none is stored",
		      audit->n_files ? audit->n_files - 1 : 0);
	return "kept";
}

const char *eval_leaks(const struct check_view *v, struct verdict *r)
{
	static const char *const outcome[] = {
		[LEAK_ARGV] = "argv",
		[LEAK_ENVIRONMENT] = "environment",
		[LEAK_DEBCONF] = "debconf",
		[LEAK_JOURNAL] = "journal",
	};
	const struct secret_audit *audit = &v->machine.secrets;
	const struct leak *l = audit->leaks;

	if (!(v->machine.looked & LOOK_SECRETS)) {
		verdict_subject(r, "nobody has looked");
		return SKIP_UNKNOWN;
	}
	if (audit->n_leaks) {
		verdict_found(r, "%s: %s", l->where, l->secret);
		verdict_subject(r, "the secret %s (%s)", l->secret, l->where);
		if (l->kind == LEAK_ARGV || l->kind == LEAK_JOURNAL)
			verdict_fix(r, "%sstore a new value: sudo dstack-host secret set %s < FILE",
				    l->kind == LEAK_ARGV ? "end that process, then " : "", l->secret);
		/* Setting up the package again empties its own questions only. */
		if (l->kind == LEAK_DEBCONF && !secrets[secret_find(l->secret)].asked)
			verdict_fix(r, "echo SET dstack-host/%s | sudo DEBIAN_FRONTEND=noninteractive "
				    "debconf-communicate",
				    l->secret);
		return outcome[l->kind];
	}
	if (!audit->partial)
		return "none";
	verdict_subject(r, "not every process and file could be read");
	return SKIP_UNKNOWN;
}
