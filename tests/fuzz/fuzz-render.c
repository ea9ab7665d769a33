// SPDX-License-Identifier: Apache-2.0
/*
 * From any host.conf to the files of the daemons, each read by a reader that is not ours: no
 * value gets out of the place where it was put, none adds a line, a key or a member.
 */
#include "fuzz.h"

#include <jansson.h>

#include "base/parse.h"
#include "host/conf/hostconf.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static const char baseline[] =
	"DOMAIN=a.example\nKEY_PROVIDER_IMAGE=k\nAESMD_IMAGE=a\n"
	"KMS_IMAGE=k@sha256:0000000000000000000000000000000000000000000000000000000000000000\n"
	"KMS_AUTH_IMAGE=k@sha256:0000000000000000000000000000000000000000000000000000000000000000\n"
	"KMS_CONTRACT=0x1111111111111111111111111111111111111111\n"
	"APP_AUTH_IMPLEMENTATION=0x1111111111111111111111111111111111111111\n"
	"ETH_RPC_URLS=https://r.example/\n";

/* Lines of files whose number of lines no setting but the layout changes. */
static const char *const fixed[] = {
	"/run/dstack/key-provider/docker-compose.yaml",
	"/run/dstack/kms/docker-compose.yaml",
	"/run/dstack/kms/auth-eth.env",
	"/run/dstack/qcnl/sgx_default_qcnl.conf",
	"/run/dstack/pccs/local.json",
};
static size_t lines[2][ARRAY_SIZE(fixed)];

static size_t count_lines(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

/* --- vmm.toml: one line at a time --- */

struct toml {
	struct strbuf keys; /* "\ntable.key\n" of all that were set */
	char table[64];
};

static void toml_is_new(struct toml *t, const char *key, size_t n)
{
	_cleanup_free_ char *line = xasprintf("\n%s.%.*s\n", t->table, (int)n, key);

	require(!t->keys.data || !strstr(t->keys.data, line));
	sb_add(&t->keys, line);
}

static void toml_words(const char *p, const char *wanted)
{
	_cleanup_strbuf_ struct strbuf words = { 0 };

	require(*p++ == '[');
	while (*p != ']') {
		if (words.len)
			sb_addc(&words, ' ');
		toml_read(&p, &words);
		if (*p == ',') {
			require(p[1] == ' ' && p[2] == '"');
			p += 2;
		}
	}
	require(p[1] == '\n');
	require(!wanted || strcmp(words.data ? words.data : "", wanted) == 0);
}

/* The value of a key that a setting decides. */
static const char *wanted_of(const struct settings *s, const char *table, const char *key,
			     size_t n)
{
	static const struct {
		const char *name;
		enum key_id id;
	} table_of[] = {
		{ ".kms_url", KEY_VMM_KMS_URL },	  { ".image_path", KEY_IMAGE_DIR },
		{ ".run_path", KEY_VM_DIR },		  { "cvm.pccs_url", KEY_GUEST_PCCS_URL },
		{ "cvm.networking.mode", KEY_VMM_NETWORKING },
		{ "cvm.port_mapping.address", KEY_VMM_PORT_MAPPING_ADDRESS },
		{ "gateway.base_domain", KEY_GATEWAY_BASE_DOMAIN },
		{ "host_api.address", KEY_VMM_HOST_API_ADDRESS },
	};
	_cleanup_free_ char *name = xasprintf("%s.%.*s", table, (int)n, key);

	for (size_t i = 0; i < ARRAY_SIZE(table_of); i++)
		if (strcmp(table_of[i].name, name) == 0)
			return setting(s, table_of[i].id);
	return NULL;
}

static void toml_value(const struct settings *s, struct toml *t, const char *key, size_t n,
		       const char *p)
{
	const char *wanted = wanted_of(s, t->table, key, n);
	_cleanup_strbuf_ struct strbuf value = { 0 };

	if (*p == '"') {
		toml_read(&p, &value);
		require(*p == '\n');
		require(!wanted || strcmp(value.data ? value.data : "", wanted) == 0);
		return;
	}
	require(!wanted);
	if (strncmp(p, "[{", 2) == 0) {
		require(strcspn(p, "]") == strcspn(p, "\n") - 1);
		return;
	}
	if (*p == '[') {
		toml_words(p, NULL);
		return;
	}
	if (strncmp(p, "true\n", 5) == 0 || strncmp(p, "false\n", 6) == 0)
		return;
	/* A decimal number without a leading zero. */
	n = strspn(p, "0123456789");
	require(n && p[n] == '\n' && (n == 1 || *p != '0'));
}

static void read_toml(const struct settings *s, const char *p)
{
	struct toml t = { 0 };

	for (; *p; p = strchr(p, '\n') + 1) {
		size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz_");

		require(strchr(p, '\n'));
		if (*p == '#' || *p == '\n')
			continue;
		if (*p == '[') {
			n = strcspn(p, "]");
			require(n < sizeof(t.table) && p[n + 1] == '\n');
			memcpy(t.table, p + 1, n - 1);
			t.table[n - 1] = '\0';
			toml_is_new(&t, "", 0);
			continue;
		}
		require(n && strncmp(p + n, " = ", 3) == 0);
		toml_is_new(&t, p, n);
		toml_value(s, &t, p, n, p + n + 3);
	}
	sb_free(&t.keys);
}

/* --- the others --- */

static void json_has(json_t *doc, const char *key, const char *wanted)
{
	const char *value = json_string_value(json_object_get(doc, key));

	require(value && strcmp(value, wanted) == 0);
}

static json_t *read_json(const char *text, size_t members)
{
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	require(doc && json_object_size(doc) == members);
	return doc;
}

/* Lines "KEY: VALUE" of YAML as plain or double-quoted scalars: is one of them this value? */
static void yaml_has(const char *text, const char *key, const char *value)
{
	_cleanup_free_ char *plain = xasprintf("%s%s\n", key, value);
	_cleanup_free_ char *quoted = xasprintf("%s\"%s\"\n", key, value);

	require(strstr(text, plain) || strstr(text, quoted));
	/* As a plain scalar neither of these may be in it. */
	require(!strstr(value, ": ") && !strstr(value, " #"));
}

static void read_env(const char *text)
{
	for (const char *p = text; *p; p = strchr(p, '\n') + 1) {
		size_t n = strcspn(p, "\n");

		require(p[n] == '\n' && memchr(p, '=', n));
		/* `export $(... | xargs)` in the image would break at these. */
		require(strcspn(p, " \t'\"\\#") >= n);
	}
}

static void judge(const struct settings *s, const struct render_result *r)
{
	const char *path = r->target->path;
	json_t *doc = NULL;

	if (strcmp(path, "/run/dstack/vmm/vmm.toml") == 0) {
		read_toml(s, r->text);
	} else if (strcmp(path, "/run/dstack/pccs/local.json") == 0) {
		doc = read_json(r->text, 6);
		json_has(doc, "proxy", setting(s, KEY_PROXY));
	} else if (strcmp(path, "/run/dstack/qcnl/sgx_default_qcnl.conf") == 0) {
		doc = read_json(r->text, 7);
		json_has(doc, "pccs_url", setting(s, KEY_PCCS_URL));
	} else if (strcmp(path, "/run/dstack/kms/app-compose.json") == 0) {
		doc = read_json(r->text, 13);
		json_has(doc, "name", setting(s, KEY_KMS_NAME));
	} else if (strcmp(path, "/run/dstack/kms/auth-eth.env") == 0) {
		read_env(r->text);
	} else if (strcmp(path, "/run/dstack/kms/docker-compose.yaml") == 0) {
		yaml_has(r->text, "    image: ", setting(s, KEY_KMS_IMAGE));
	} else if (strcmp(path, "/run/dstack/key-provider/docker-compose.yaml") == 0) {
		yaml_has(r->text, "    image: ", setting(s, KEY_AESMD_IMAGE));
		yaml_has(r->text, "    image: ", setting(s, KEY_KEY_PROVIDER_IMAGE));
	}
	json_decref(doc);
}

static size_t fixed_at(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		if (strcmp(fixed[i], path) == 0)
			return i;
	return ARRAY_SIZE(fixed);
}

static void render(const void *conf, size_t size, int learn)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx ctx = { &fuzz_root, &s, 1 };
	struct render_result *results;
	int layout;
	size_t n;

	fuzz_put(HOSTCONF_PATH, conf, size);
	require(settings_load(&fuzz_root, &s) == 0);
	layout = strcmp(setting(&s, KEY_KMS_LAYOUT), "upstream") == 0;
	render_plan(&ctx, NULL, &results, &n);
	for (size_t i = 0; i < n; i++) {
		size_t at = fixed_at(results[i].target->path);

		require(!(s.bad & results[i].target->component) ||
			results[i].outcome == RENDER_INVALID);
		if (!results[i].text)
			continue;
		require(strlen(results[i].text) == results[i].len);
		judge(&s, &results[i]);
		if (at == ARRAY_SIZE(fixed))
			continue;
		if (learn)
			lines[layout][at] = count_lines(results[i].text);
		require(lines[layout][at] == count_lines(results[i].text));
	}
	render_results_free(results, n);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	_cleanup_free_ char *upstream = xasprintf("%sKMS_LAYOUT=upstream\n", baseline);

	(void)argc;
	(void)argv;
	fuzz_root_make();
	fuzz_put(SECRETS_DIR "/vmm-internal-token", TOKEN, strlen(TOKEN));
	render(baseline, strlen(baseline), 1);
	render(upstream, strlen(upstream), 1);
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		require(lines[0][i] && lines[1][i]);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size <= HOSTCONF_MAX)
		render(data, size, 0);
	return 0;
}
