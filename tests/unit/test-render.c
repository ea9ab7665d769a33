// SPDX-License-Identifier: Apache-2.0
/* Rendering: what is written, what waits, what is refused, and that nothing is done twice. */
#include "test.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "host/cert.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"
#include "host/tomlwrite.h"

#define CONF "/etc/dstack/host.conf"

/* Renders everything named `only`; returns the outcome of the file at `path`. */
static enum render_outcome render(const struct fixture *f, const char *only, const char *path)
{
	struct settings s;
	struct render_ctx rc = { &f->root, &s, 0 };
	struct render_result *results;
	enum render_outcome outcome = RENDER_FAILED;
	size_t n;

	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(secrets_generate(&f->root), 0);
	render_plan(&rc, only, &results, &n);
	for (size_t i = 0; i < n; i++) {
		render_apply(&rc, &results[i]);
		if (strcmp(results[i].target->path, path) == 0)
			outcome = results[i].outcome;
	}
	render_results_free(results, n);
	settings_free(&s);
	return outcome;
}

#define VMM "/run/dstack/vmm/vmm.toml"
#define PCCS "/run/dstack/pccs/local.json"

static void second_render_changes_nothing(void **state)
{
	struct fixture *f = *state;
	char full[512];
	struct stat a, b;

	put_text(f, CONF, "DOMAIN=example.org\n");
	assert_int_equal(render(f, "vmm", VMM), RENDER_WRITTEN);
	snprintf(full, sizeof(full), "%s%s", f->dir, VMM);
	assert_int_equal(stat(full, &a), 0);
	assert_int_equal(a.st_mode & 07777, 0600);
	assert_int_equal(render(f, "vmm", VMM), RENDER_UNCHANGED);
	assert_int_equal(stat(full, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_memory_equal(&a.st_mtim, &b.st_mtim, sizeof(a.st_mtim));
}

static void invalid_keeps_the_old_file(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *before = NULL;

	put_text(f, CONF, "VMM_CID_START=2000\n");
	assert_int_equal(render(f, "vmm", VMM), RENDER_WRITTEN);
	before = strdup(get(f, VMM));
	put_text(f, CONF, "VMM_CID_START=2\n");
	assert_int_equal(render(f, "vmm", VMM), RENDER_INVALID);
	assert_string_equal(get(f, VMM), before);
	/* and what does not read that key is rendered all the same */
	assert_int_equal(render(f, "pccs", PCCS), RENDER_WRITTEN);
}

static void switched_off_is_removed(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "DOMAIN=example.org\n");
	assert_int_equal(render(f, "registry", "/run/dstack/registry/config.yml"),
			 RENDER_WRITTEN);
	put_text(f, CONF, "DOMAIN=example.org\nREGISTRY=off\n");
	assert_int_equal(render(f, "registry", "/run/dstack/registry/config.yml"),
			 RENDER_REMOVED);
	assert_int_equal(render(f, "registry", "/run/dstack/registry/config.yml"), RENDER_OFF);
	put_text(f, CONF, "");
	assert_int_equal(render(f, "registry", "/run/dstack/registry/config.yml"),
			 RENDER_WAITS);
	put_text(f, CONF, "PCCS_URL=https://pccs.example.org/sgx/certification/v4/\n");
	assert_int_equal(render(f, "pccs", PCCS), RENDER_OFF);
}

/* The faults of the reference host's vmm.toml, each absent (reference-host.md 4). */
static void vmm_toml_has_no_reference_fault(void **state)
{
	static const char *const absent[] = {
		"workers", "max_blocking", "passt", "127.0.0.1:8081", "http://", "from = 1,", "8082",
	};
	static const char *const present[] = {
		"address = \"unix:/run/dstack/vmm/vmm.sock\"\n",
		"run_path = \"/var/lib/dstack/vm\"\n",
		"kms_url = \"\"\n",
		"kms_urls = [\"https://kms.example.org:443\"]\n",
		"gateway_urls = []\n",
		"[supervisor]\n",
		"auto_start = false\n",
		"sock = \"/run/dstack/supervisor.sock\"\n",
		"protocol = \"udp\", from = 9200, to = 9299",
	};
	struct fixture *f = *state;

	put_text(f, CONF, "DOMAIN=example.org\n");
	render(f, "vmm", VMM);
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
		if (strstr(get(f, VMM), absent[i]))
			fail_msg("found: %s", absent[i]);
	for (size_t i = 0; i < ARRAY_SIZE(present); i++)
		if (!strstr(get(f, VMM), present[i]))
			fail_msg("missing: %s", present[i]);
}

static void kms_url_once_there_is_an_image(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "KMS_IMAGE=r.example.org/kms@sha256:"
			  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n");
	render(f, "vmm", VMM);
	assert_non_null(strstr(get(f, VMM), "kms_url = \"https://127.0.0.1:9103\"\n"));
}

static void pccs_overlay(void **state)
{
	struct fixture *f = *state;
	json_t *json;

	put_text(f, "/etc/dstack/secrets/pccs-api-key", "0123456789abcdef0123456789abcdef\n");
	put_text(f, "/etc/dstack/secrets/pccs-user-token", "abc");
	assert_int_equal(render(f, "pccs", PCCS), RENDER_WRITTEN);
	json = json_loads(get(f, PCCS), 0, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "ApiKey")),
			    "0123456789abcdef0123456789abcdef");
	assert_string_equal(json_string_value(json_object_get(json, "hosts")), "127.0.0.1");
	/* SHA-512("abc"), FIPS 180-2 appendix C.1 */
	assert_string_equal(json_string_value(json_object_get(json, "UserTokenHash")),
			    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
	assert_null(json_object_get(json, "AdminTokenHash"));
	/* an overlay: what Intel's file decides is not repeated */
	assert_null(json_object_get(json, "DB_CONFIG"));
	assert_string_equal(json_string_value(json_object_get(json, "uri")),
			    "https://api.trustedservices.intel.com/sgx/certification/v4/");
	json_decref(json);
	put_text(f, CONF, "DOMAIN=a.example\nPCS_URL=https://sbx.example/v4/\n");
	assert_int_equal(render(f, "pccs", PCCS), RENDER_WRITTEN);
	assert_non_null(strstr(get(f, PCCS), "\"https://sbx.example/v4/\""));
}

static void key_provider_compose(void **state)
{
	static const char path[] = "/run/dstack/key-provider/docker-compose.yaml";
	struct fixture *f = *state;

	assert_int_equal(render(f, "key-provider", path), RENDER_WAITS);
	put_text(f, CONF, "KEY_PROVIDER_IMAGE=a/kp:1\nAESMD_IMAGE=a/aesmd:1\n");
	assert_int_equal(render(f, "key-provider", path), RENDER_WRITTEN);
	assert_non_null(strstr(get(f, path), "\nvolumes:\n  aesmd: {}\n"));
	assert_non_null(strstr(get(f, path), "restart: always"));
	assert_non_null(strstr(get(f, path), "driver: journald"));
	assert_non_null(strstr(get(f, path), "\"127.0.0.1:3443:3443\""));
	assert_null(strstr(get(f, path), "privileged"));
	/* A short mount would make a directory of a file that is missing. */
	assert_non_null(strstr(get(f, path), "create_host_path: false\n"));
	assert_null(strstr(get(f, path), "- /run/"));
}

static void install_vmm(const struct fixture *f, const char *directory)
{
	char path[256];

	put_text(f, "/var/lib/dstack/bin/x", "");
	snprintf(path, sizeof(path), "%s/var/lib/dstack/bin/current", f->dir);
	unlink(path);
	assert_int_equal(symlink(directory, path), 0);
}

/* What stands in vmm.toml for the VMM that is installed; "" where there is no such line. */
static void assert_line(const struct fixture *f, const char *version, const char *line, int there)
{
	install_vmm(f, version);
	render(f, "vmm", VMM);
	if ((strstr(get(f, VMM), line) != NULL) != there)
		fail_msg("%s: %s: %s", version, there ? "missing" : "found", line);
}

static void vmm_toml_is_for_the_vmm_that_is_there(void **state)
{
	static const char *const old[] = { "0.5.5", "0.5.5/", "/usr/lib/dstack-host-sim/bin",
					   "latest", "0.5" };
	static const char *const current[] = { "0.5.9", "0.5.11", "0.6.0-dev",
					       "/var/lib/dstack/bin/1.0.0" };
	struct fixture *f = *state;

	put_text(f, CONF, "DOMAIN=example.org\n");
	for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
		assert_line(f, old[i], "\nimage_path = \"/var/lib/dstack/images\"\n", 1);
		assert_line(f, old[i], "[image]", 0);
		assert_line(f, old[i], "qgs_port", 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(current); i++) {
		assert_line(f, current[i], "image_path", 0);
		assert_line(f, current[i], "\n[image]\npath = \"/var/lib/dstack/images\"\n\n[cvm]", 1);
		assert_line(f, current[i], "\nqgs_port = 4050\n", 1);
	}
	put_text(f, CONF, "DOMAIN=example.org\nQGS_ADDRESS=vsock:2:4051\n");
	assert_line(f, "0.5.6", "\nqgs_port = 4051\n", 1);
	assert_line(f, "0.5.6", "\nimage_path = ", 1);
	put_text(f, CONF, "DOMAIN=example.org\nQGS_ADDRESS=unix:/run/qgs.socket\n");
	assert_line(f, "0.5.6", "qgs_port", 0);
}

static void what_the_vmm_lost_is_refused(void **state)
{
	static const char *const with[] = { "0.5.5", "0.5.6", "latest" };
	static const char *const without[] = { "0.5.7", "0.5.11", "0.6.0-dev" };
	struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };

	put_text(f, CONF, "DOMAIN=example.org\nVMM_NETWORKING=passt\n");
	assert_int_equal(render(f, "vmm", VMM), RENDER_WRITTEN); /* none is there yet */
	for (size_t i = 0; i < ARRAY_SIZE(with); i++) {
		install_vmm(f, with[i]);
		assert_int_not_equal(render(f, "vmm", VMM), RENDER_INVALID);
	}
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		install_vmm(f, without[i]);
		assert_int_equal(render(f, "vmm", VMM), RENDER_INVALID);
	}
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(s.diag.n, 1);
	assert_string_equal(s.diag.items[0].key, "VMM_NETWORKING");
	assert_int_equal(s.diag.items[0].line, 2);
	assert_string_equal(s.diag.items[0].text, "dstack-vmm 0.6.0-dev does not know \"passt\" "
						  "(0.5.6 was the last): take user");
	assert_int_equal(s.bad & (FOR_FRONT | FOR_PCCS), 0);
}

/* --- two files that belong together --- */

#define PCCS_KEY "/run/dstack/pccs/ssl_key/private.pem"
#define PCCS_CRT "/run/dstack/pccs/ssl_key/file.crt"
#define FRONT_PEM "/run/dstack/front/registry.pem"

static void render_tls(const struct fixture *f)
{
	assert_int_not_equal(render(f, "pccs", PCCS), RENDER_FAILED);
	assert_int_not_equal(render(f, "front", FRONT_PEM), RENDER_FAILED);
}

/* Does the certificate in `crt` have the public half of the key in `key`? */
static int belong_together(const struct fixture *f, const char *key, const char *crt)
{
	_cleanup_free_ char *a = xstrdup(get(f, key)), *b = xstrdup(get(f, crt));
	BIO *key_bio = BIO_new_mem_buf(a, -1), *crt_bio = BIO_new_mem_buf(b, -1);
	EVP_PKEY *k = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	X509 *c = PEM_read_bio_X509(crt_bio, NULL, NULL, NULL);
	int same = k && c && X509_check_private_key(c, k) == 1;

	EVP_PKEY_free(k);
	X509_free(c);
	BIO_free(key_bio);
	BIO_free(crt_bio);
	return same;
}

/* A render that was cut off between its two renames, and one whose stored pair was damaged:
 * pccs.service and dstack-front.service render before every start. */
static void mixed_pair_is_replaced(void **state)
{
	struct fixture *f = *state;
	_cleanup_cert_pair_ struct cert_pair other = { 0 };
	_cleanup_free_ char *key = NULL, *crt = NULL, *mixed = NULL;

	put_text(f, CONF, "DOMAIN=example.org\n");
	render_tls(f);
	assert_int_equal(cert_leaf(&f->root, "other", "DNS:example.org", 0, &other), 0);
	key = xstrdup(get(f, PCCS_KEY));
	crt = xstrdup(get(f, PCCS_CRT));
	put_text(f, PCCS_CRT, other.crt);
	mixed = xasprintf("%s%s", other.crt, key);
	put_text(f, FRONT_PEM, mixed);
	assert_false(belong_together(f, PCCS_KEY, PCCS_CRT));
	render_tls(f);
	assert_string_equal(get(f, PCCS_KEY), key);
	assert_string_equal(get(f, PCCS_CRT), crt);
	assert_true(belong_together(f, FRONT_PEM, FRONT_PEM));
	put_text(f, PCCS_KEY, other.key);
	render_tls(f);
	assert_string_equal(get(f, PCCS_KEY), key);

	/* The stored ones: key of that, certificate of this. Other pairs are made, as a whole. */
	free(mixed);
	mixed = xasprintf("%s%s", other.key, crt);
	put_text(f, CERT_LEAF_DIR "/pccs.pem", mixed);
	free(mixed);
	mixed = xasprintf("%s%s", other.key, get(f, FRONT_PEM));
	put_text(f, CERT_LEAF_DIR "/registry.pem", mixed);
	render_tls(f);
	assert_string_not_equal(get(f, PCCS_KEY), key);
	assert_true(belong_together(f, PCCS_KEY, PCCS_CRT));
	assert_true(belong_together(f, FRONT_PEM, FRONT_PEM));
}

static void toml_strings(void **state)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	(void)state;
	toml_string(&sb, "a\"b\\c\n\x7f");
	assert_string_equal(sb.data, "\"a\\\"b\\\\c\\u000A\\u007F\"");
}

static void operators_vmm_toml_stays(void **state)
{
	struct fixture *f = *state;
	char full[512], target[128];
	ssize_t n;

	assert_int_equal(render_link(&f->root), 0);
	snprintf(full, sizeof(full), "%s/etc/dstack/vmm.toml", f->dir);
	n = readlink(full, target, sizeof(target) - 1);
	assert_true(n > 0);
	target[n] = '\0';
	assert_string_equal(target, VMM);
	assert_int_equal(unlink(full), 0);
	put_text(f, "/etc/dstack/vmm.toml", "mine");
	assert_int_equal(render_link(&f->root), 0);
	assert_string_equal(get(f, "/etc/dstack/vmm.toml"), "mine");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(second_render_changes_nothing),
		with_root(invalid_keeps_the_old_file),
		with_root(switched_off_is_removed),
		with_root(vmm_toml_has_no_reference_fault),
		with_root(kms_url_once_there_is_an_image),
		with_root(pccs_overlay),
		with_root(key_provider_compose),
		with_root(vmm_toml_is_for_the_vmm_that_is_there),
		with_root(what_the_vmm_lost_is_refused),
		with_root(mixed_pair_is_replaced),
		with_root(toml_strings),
		with_root(operators_vmm_toml_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
