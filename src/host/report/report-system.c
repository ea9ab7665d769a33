// SPDX-License-Identifier: Apache-2.0
/* Report: the machine, its device nodes and groups, its directories. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/accounts.h"
#include "host/disk.h"
#include "host/json.h"
#include "host/kms/kms.h"
#include "host/render/vmm-toml.h"
#include "host/report/report.h"

/* NAME="value" of /etc/os-release. */
static json_t *os_release(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		_cleanup_free_ char *value = NULL;
		const char *v;

		if (strncmp(p, name, n) != 0 || p[n] != '=')
			continue;
		v = p + n + 1;
		v += *v == '"';
		value = xstrndup(v, strcspn(v, "\"\n"));
		return report_text(value);
	}
	return json_null();
}

static void add_cpu(json_t *obj, const struct root *root)
{
	_cleanup_free_ char *text = NULL, *model = NULL;
	const char *p;
	int cpus = 0;

	if (file_read(root, "/proc/cpuinfo", 64 << 20, &text, NULL) < 0) {
		report_set(obj, "cpus", json_null());
		return;
	}
	for (p = text; (p = strstr(p, "processor\t:")); p++)
		cpus++;
	p = strstr(text, "model name\t: ");
	if (p) {
		p += strlen("model name\t: ");
		model = xstrndup(p, strcspn(p, "\n"));
	}
	report_set(obj, "cpus", json_integer(cpus));
	report_set(obj, "cpu_model", report_text(model));
}

static json_t *memory(const struct root *root)
{
	_cleanup_free_ char *text = NULL, *shown = NULL;
	unsigned long long kib;
	const char *p;

	if (file_read(root, "/proc/meminfo", 1 << 20, &text, NULL) < 0)
		return json_null();
	p = strstr(text, "MemTotal:");
	if (!p || sscanf(p, "MemTotal: %llu kB", &kib) != 1)
		return json_null();
	shown = disk_size_text(kib * 1024);
	return report_text(shown);
}

static json_t *kernel(const struct root *root)
{
	_cleanup_free_ char *text = NULL;

	if (file_read(root, "/proc/sys/kernel/osrelease", 256, &text, NULL) < 0)
		return json_null();
	text[strcspn(text, "\n")] = '\0';
	return report_text(text);
}

static json_t *disk_json(const struct root *root, const char *path)
{
	_cleanup_free_ char *size = NULL;
	struct disk disk;

	if (disk_look(root, path, &disk) < 0)
		return json_null();
	size = disk_size_text(disk.size);
	return json_pack("{s:s, s:i}", "size", size, "used_percent",
			 disk.size ? (int)((disk.size - disk.available) * 100 / disk.size) : 0);
}

json_t *report_system(const struct report_source *src)
{
	const struct root *root = report_root(src);
	_cleanup_free_ char *os = NULL;
	json_t *obj = json_object();

	if (file_read(root, "/etc/os-release", 65536, &os, NULL) < 0)
		os = NULL;
	report_set(obj, "os", os_release(os, "PRETTY_NAME"));
	report_set(obj, "codename", os_release(os, "VERSION_CODENAME"));
	report_set(obj, "kernel", kernel(root));
	add_cpu(obj, root);
	report_set(obj, "memory", memory(root));
	report_set(obj, "disk", disk_json(root, "/"));
	return obj;
}

static json_t *device(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH, 0);
	json_t *obj = json_object();
	struct stat st = { 0 };
	int there = fd >= 0 && fstat(fd, &st) == 0, node = there && S_ISCHR(st.st_mode);
	_cleanup_free_ char *group = NULL;

	if (there && group_name(root, st.st_gid, &group) < 0)
		group = NULL;
	report_set(obj, "path", report_text(path));
	report_set(obj, "present", json_boolean(there));
	report_set(obj, "major", node ? json_integer(major(st.st_rdev)) : json_null());
	report_set(obj, "minor", node ? json_integer(minor(st.st_rdev)) : json_null());
	report_set(obj, "group", report_text(group));
	report_set(obj, "mode", there ? report_textf("%04o", st.st_mode & 07777) : json_null());
	return obj;
}

json_t *report_devices(const struct report_source *src)
{
	static const char *const paths[] = { "/dev/sgx_enclave", "/dev/sgx_provision",
					     "/dev/sgx_vepc", "/dev/kvm", "/dev/vhost-vsock" };
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		json_push(list, device(report_root(src), paths[i]));
	return list;
}

json_t *report_groups(const struct report_source *src)
{
	static const char *const names[] = { "sgx", "sgx_prv", "kvm", "docker" };
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_account_ struct account g = { 0 };
		json_t *obj = json_object();
		int r = group_lookup(report_root(src), names[i], &g);

		report_set(obj, "name", report_text(names[i]));
		report_set(obj, "gid", r == 0 ? json_integer(g.gid) : json_null());
		report_set(obj, "members", report_words(r == 0 && g.members ? g.members : ""));
		json_push(list, obj);
	}
	return list;
}

static json_t *directory(const struct report_source *src, const char *path, int listed)
{
	const struct root *root = report_root(src);
	_cleanup_close_ int fd = root_openat(root, path, O_RDONLY | O_DIRECTORY, 0);
	json_t *obj = json_object(), *entries = NULL;
	struct stat st;
	int there = fd >= 0 && fstat(fd, &st) == 0;

	report_set(obj, "path", report_text(path));
	report_set(obj, "present", json_boolean(there || fd == -EACCES));
	if (there && listed)
		entries = report_entries(root, path);
	report_set(obj, "entries", entries ? entries : json_array());
	/* Names of customers' machines and of their images are theirs. */
	report_set(obj, "listed", json_boolean(entries != NULL));
	report_set(obj, "mode", there ? report_textf("%04o", st.st_mode & 07777) : json_null());
	report_set(obj, "disk", there ? disk_json(root, path) : json_null());
	return obj;
}

json_t *report_directories(const struct report_source *src)
{
	const struct settings *s = report_settings(src);
	_cleanup_free_ char *image = xasprintf("%s/dstack-%s", setting(s, KEY_IMAGE_DIR),
					       setting(s, KEY_IMAGE_VERSION));
	_cleanup_free_ char *vms = vmm_dir(report_root(src), s);
	const char *docker = src->view->machine.tree[TREE_DOCKER].path;
	const struct {
		const char *path;
		int listed;
	} table[] = {
		{ image, 1 },
		{ "/run/dstack", 1 },
		{ "/var/lib/dstack/bin/current", 1 },
		{ "/var/log/dstack", 1 },
		{ KMS_DIR, 1 },
		{ vms, 0 },
		{ "/var/lib/dstack/registry", 0 },
		{ docker ? docker : "/var/lib/docker", 0 },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		json_push(list, directory(src, table[i].path, table[i].listed));
	return list;
}
