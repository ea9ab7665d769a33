// SPDX-License-Identifier: Apache-2.0
/* Report: guest images and packages. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/disk.h"
#include "host/peer/foreign.h"
#include "host/json.h"
#include "host/packages.h"
#include "host/report/report.h"

static const char *const metadata_keys[] = { "bios", "kernel", "initrd", "rootfs", "version",
					     "git_revision", "cmdline" };

/* In the half: metadata.json is its maker's. */
static void digest_metadata(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);

	if (!json_is_object(doc))
		peer_fact(emit, "bad", "no JSON object");
	for (size_t i = 0; i < ARRAY_SIZE(metadata_keys); i++) {
		const char *value = json_string_value(json_object_get(doc, metadata_keys[i]));

		if (value)
			peer_fact(emit, metadata_keys[i], value);
	}
	if (json_is_boolean(json_object_get(doc, "is_dev")))
		peer_fact(emit, "is_dev",
			  json_is_true(json_object_get(doc, "is_dev")) ? "yes" : "no");
	json_decref(doc);
}

static json_t *metadata_of(const struct foreign_file *file)
{
	const char *dev = peer_get(&file->answer, "is_dev");
	json_t *obj;

	if (file->error)
		return json_null();
	obj = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(metadata_keys); i++) {
		const char *value = peer_get(&file->answer, metadata_keys[i]);

		if (value)
			report_set(obj, metadata_keys[i], report_text(value));
	}
	if (dev)
		report_set(obj, "is_dev", json_boolean(strcmp(dev, "yes") == 0));
	return obj;
}

/* digest.txt: 64 hex digits, or it is none. */
static json_t *digest_of(const struct root *root, const char *dir)
{
	_cleanup_free_ char *path = xasprintf("%s/digest.txt", dir);
	_cleanup_free_ char *text = NULL;
	size_t n = 0;

	if (file_read(root, path, 256, &text, NULL) < 0)
		return json_null();
	while (isxdigit((unsigned char)text[n]))
		n++;
	if (n != 64 || text[n + strspn(text + n, " \r\n")])
		return json_null();
	text[n] = '\0';
	return report_text(text);
}

static json_t *image(const struct root *root, const char *name, const struct foreign_file *file)
{
	_cleanup_free_ char *dir = xstrndup(file->path, (size_t)(strrchr(file->path, '/') -
								 file->path));
	json_t *obj = json_object();

	report_set(obj, "name", report_text(name));
	report_set(obj, "version", strncmp(name, "dstack-", 7) == 0 ? report_text(name + 7) :
								      json_null());
	report_set(obj, "path", report_text(dir));
	report_set(obj, "metadata", metadata_of(file));
	report_set(obj, "digest", digest_of(root, dir));
	report_set(obj, "bytes", json_integer((json_int_t)disk_files(root, dir)));
	return obj;
}

json_t *report_images(const struct report_source *src)
{
	const struct root *root = report_root(src);
	const char *top = setting(report_settings(src), KEY_IMAGE_DIR);
	json_t *names = report_entries(root, top), *list = json_array(), *name;
	struct foreign_file *files = xcalloc(json_array_size(names) + 1, sizeof(*files));
	size_t i, n = json_array_size(names);

	json_array_foreach(names, i, name)
		files[i] = (struct foreign_file){
			.path = xasprintf("%s/%s/metadata.json", top, json_string_value(name)),
			.digest = digest_metadata,
		};
	if (n && foreign_read(root, files, n) < 0)
		for (i = 0; i < n; i++)
			files[i].error = -1;
	json_array_foreach(names, i, name)
		if (!files[i].error || strncmp(json_string_value(name), "dstack-", 7) == 0)
			json_push(list, image(root, json_string_value(name), &files[i]));
	foreign_free(files, n);
	free(files);
	json_decref(names);
	return list;
}

static int is_of_interest(const char *name)
{
	static const char *const patterns[] = {
		"dstack-host*", "libsgx-*", "libtdx-*", "sgx-*", "tdx-qgs", "libdcap*",
		"linux-image-[0-9]*", "linux-modules-*", "intel-microcode", "ovmf", "qemu-*",
		"libvirt-*", "docker*", "containerd*", "haproxy", "nftables", "systemd",
		"prometheus-node-exporter", "needrestart", "unattended-upgrades",
	};

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		if (fnmatch(patterns[i], name, 0) == 0)
			return 1;
	return 0;
}

static void add_package(const struct package *p, void *arg)
{
	_cleanup_free_ char *name = xstrndup(p->name, p->name_len);
	_cleanup_free_ char *version = xstrndup(p->version, p->version_len);
	json_t *obj;

	if (!is_of_interest(name))
		return;
	obj = json_object();
	report_set(obj, "name", report_text(name));
	report_set(obj, "version", report_text(version));
	report_set(obj, "held", json_boolean(p->held));
	json_push(arg, obj);
}

json_t *report_packages(const struct report_source *src)
{
	json_t *list = json_array();

	if (packages_each(report_root(src), add_package, list) < 0)
		json_array_clear(list);
	return list;
}
