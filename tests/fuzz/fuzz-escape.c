// SPDX-License-Identifier: Apache-2.0
/*
 * Every escaper as a round trip: what was written is read by somebody else's reader (jansson
 * for JSON, the specification's rules in fuzz.h for TOML) and is what went in.
 */
#include "fuzz.h"

#include <ctype.h>
#include <jansson.h>

#include "base/parse.h"
#include "host/compose.h"
#include "host/pyjson.h"
#include "host/tomlwrite.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void toml_string_round(const char *s)
{
	_cleanup_strbuf_ struct strbuf text = { 0 }, back = { 0 };
	const char *p;

	toml_string(&text, s);
	p = text.data;
	toml_read(&p, &back);
	require(!*p);
	require(strcmp(back.data ? back.data : "", s) == 0);
}

static void toml_words_round(const char *s)
{
	_cleanup_strbuf_ struct strbuf text = { 0 }, words = { 0 }, wanted = { 0 };
	const char *p;

	toml_set_words(&text, "name", s);
	p = text.data;
	require(strncmp(p, "name = [", 8) == 0);
	for (p += 8; *p != ']';) {
		toml_read(&p, &words);
		sb_addc(&words, ' ');
		if (*p == ',') {
			require(p[1] == ' ' && p[2] == '"');
			p += 2;
		}
	}
	require(strcmp(p, "]\n") == 0);
	for (p = s; *(p += strspn(p, " \t")); p += strcspn(p, " \t")) {
		sb_addn(&wanted, p, strcspn(p, " \t"));
		sb_addc(&wanted, ' ');
	}
	require(strcmp(words.data ? words.data : "", wanted.data ? wanted.data : "") == 0);
}

static json_t *read_json(const char *text)
{
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);

	require(doc);
	return doc;
}

static int is_text(json_t *value, const char *s, size_t n)
{
	return json_is_string(value) && json_string_length(value) == n &&
	       memcmp(json_string_value(value), s, n) == 0;
}

static void json_string_round(const char *s, size_t n, int ascii)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	json_t *doc;

	pyjson_string(&text, s, n, ascii);
	for (size_t i = 0; ascii && i < text.len; i++)
		require(text.data[i] >= 0x20 && text.data[i] < 0x7f);
	doc = read_json(text.data);
	require(is_text(doc, s, n));
	json_decref(doc);
}

/* vmm-cli's document with the text in each place where one can stand. */
static void app_compose_round(const char *s, size_t n)
{
	_cleanup_free_ char *copy = xstrndup(s, n), *text = NULL;
	char *envs[] = { copy, copy };
	struct app_compose app = {
		.name = copy, .docker_compose = s, .docker_compose_len = n,
		.prelaunch_script = s, .prelaunch_script_len = n, .key_provider_id = copy,
		.allowed_envs = envs, .n_allowed_envs = 2, .swap_bytes = 1ull << 40, .kms = 1,
	};
	json_t *doc;

	require(app_compose_text(&app, &text) == 0);
	doc = read_json(text);
	require(is_text(json_object_get(doc, "name"), s, n));
	require(is_text(json_object_get(doc, "docker_compose_file"), s, n));
	require(is_text(json_object_get(doc, "pre_launch_script"), s, n));
	require(is_text(json_object_get(doc, "key_provider_id"), s, n));
	require(is_text(json_array_get(json_object_get(doc, "allowed_envs"), 1), s, n));
	require(json_object_size(doc) == 15);
	json_decref(doc);
}

static void create_vm_round(const char *s, size_t n)
{
	_cleanup_free_ char *copy = xstrndup(s, n), *text = NULL;
	struct create_vm vm = { .name = copy, .image = copy, .compose_text = copy, .vcpu = 2,
				.host_address = copy, .host_port = 9103, .vm_port = 9100 };
	json_t *doc, *port;

	require(create_vm_body(&vm, &text) == 0);
	doc = read_json(text);
	port = json_array_get(json_object_get(doc, "ports"), 0);
	require(is_text(json_object_get(doc, "name"), s, n));
	require(is_text(json_object_get(doc, "image"), s, n));
	require(is_text(json_object_get(doc, "compose_file"), s, n));
	require(is_text(json_object_get(port, "host_address"), s, n));
	json_decref(doc);
}

/* jansson's own opinion about what is text. */
static int is_unicode(const char *s, size_t n)
{
	json_t *value = json_stringn(s, n);

	json_decref(value);
	return value != NULL && !memchr(s, '\0', n);
}

static void keys_are_of_the_text(const char *s)
{
	char **list;
	size_t n;

	env_file_keys(s, &list, &n);
	for (size_t i = 0; i < n; i++) {
		require(strstr(s, list[i]));
		require(!strpbrk(list[i], "=\r\n"));
		free(list[i]);
	}
	free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = fuzz_text(data, size);
	uint64_t mb;

	toml_string_round(s);
	toml_words_round(s);
	keys_are_of_the_text(s);
	if (!parse_memory_size(s, &mb))
		require(isdigit((unsigned char)*s) && mb <= 1u << 30);
	require((pyjson_unfit(s, size) == NULL) == is_unicode(s, size));
	if (pyjson_unfit(s, size))
		return 0;
	json_string_round(s, size, 0);
	json_string_round(s, size, 1);
	app_compose_round(s, size);
	create_vm_round(s, size);
	return 0;
}
