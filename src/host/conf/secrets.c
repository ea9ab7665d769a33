// SPDX-License-Identifier: Apache-2.0
/* Storing, reading and generating secrets. */
#include "host/conf/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/conf/keys.h"

/* Intel's install.sh takes ^[a-zA-Z0-9]{32}$ (PCCS, service/install.sh). */
static const char *check_api_key(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]))
			return "has characters other than letters and digits";
	return n == 32 ? NULL : "is not 32 characters long";
}

static const char *check_token(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] > 0x7e ||
		    strchr("\"'\\", s[i]))
			return "has a blank, line break, quote, backslash or non-ASCII character";
	if (n < 12)
		return "is shorter than 12 characters";
	return n > 256 ? "is longer than 256 characters" : NULL;
}

/* clang-format off */
const struct secret secrets[SECRET_COUNT] = {
	[SECRET_PCCS_API_KEY] = { "pccs-api-key", check_api_key, .asked = 1,
		.readers = FOR_PCCS, .help = "Intel PCS API key of the local PCCS" },
	[SECRET_PCCS_USER_TOKEN] = { "pccs-user-token", check_token, .asked = 1,
		.readers = FOR_PCCS, .help = "PCCS user token (registers platforms)" },
	[SECRET_PCCS_ADMIN_TOKEN] = { "pccs-admin-token", check_token, .asked = 1,
		.readers = FOR_PCCS, .help = "PCCS administrator token" },
	[SECRET_VMM_TOKEN] = { "vmm-token", check_token, .generated = 1,
		.readers = FOR_FRONT, .help = "token that users of the VMM's API present" },
	[SECRET_VMM_INTERNAL_TOKEN] = { "vmm-internal-token", check_token, .generated = 1,
		.readers = FOR_FRONT | FOR_VMM, .help = "token between front and VMM" },
};
/* clang-format on */

int secret_find(const char *name)
{
	for (int i = 0; i < SECRET_COUNT; i++)
		if (strcmp(secrets[i].name, name) == 0)
			return i;
	return -1;
}

static char *secret_path(enum secret_id id)
{
	return xasprintf("%s/%s", SECRETS_DIR, secrets[id].name);
}

int secret_store(const struct root *root, enum secret_id id, const char *value)
{
	_cleanup_free_ char *path = secret_path(id);
	struct file_spec spec = {
		.data = value,
		.len = strlen(value),
		.mode = 0600,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	int r = root_mkdirs(root, "/etc/dstack", 0755);

	if (r == 0)
		r = root_mkdirs(root, SECRETS_DIR, 0700);
	return r < 0 ? r : file_replace(root, path, &spec);
}

int secret_read(const struct root *root, enum secret_id id, char **ret)
{
	_cleanup_free_ char *path = secret_path(id);
	size_t len;
	int r;

	*ret = NULL;
	r = file_read(root, path, SECRET_MAX, ret, &len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	/* An editor adds a line break. */
	if (len && (*ret)[len - 1] == '\n')
		(*ret)[len - 1] = '\0';
	/* An empty file is no secret. */
	if (!**ret)
		secret_free(ret);
	return 0;
}

static int generate(const struct root *root, enum secret_id id)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[32];
	char text[65];
	int r;

	for (size_t got = 0; got < sizeof(bytes);) {
		ssize_t n = getrandom(bytes + got, sizeof(bytes) - got, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		got += n > 0 ? (size_t)n : 0;
	}
	for (size_t i = 0; i < sizeof(bytes); i++) {
		text[2 * i] = hex[bytes[i] >> 4];
		text[2 * i + 1] = hex[bytes[i] & 15];
	}
	text[64] = '\0';
	r = secret_store(root, id, text);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(bytes, sizeof(bytes));
	return r < 0 ? r : 0;
}

int secrets_generate(const struct root *root)
{
	for (int id = 0; id < SECRET_COUNT; id++) {
		_cleanup_secret_ char *old = NULL;
		int r = 0;

		if (!secrets[id].generated)
			continue;
		r = secret_read(root, (enum secret_id)id, &old);
		if (r == 0 && !old)
			r = generate(root, (enum secret_id)id);
		if (r < 0)
			return r;
	}
	return 0;
}

void secret_free(char **value)
{
	if (*value)
		explicit_bzero(*value, strlen(*value));
	free(*value);
	*value = NULL;
}
