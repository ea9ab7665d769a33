// SPDX-License-Identifier: Apache-2.0
/* Any bytes as artifacts.json: what is taken has all that a pull relies on, what is not is named;
 * and an artifact that is recorded reads back as it was. */
#include "fuzz.h"

#include "host/image/image-manifest.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_root_make();
	return 0;
}

static int is_hex(const char *s)
{
	return strlen(s) == SHA256_HEX && strspn(s, "0123456789abcdef") == SHA256_HEX;
}

static void require_sane(const struct artifact *a)
{
	require(*a->full && *a->full != '.' && !strchr(a->full, '/') && strlen(a->full) <= 64);
	require(!*a->sha256 || is_hex(a->sha256));
	require(!*a->digest || is_hex(a->digest));
	require(a->kind == ARTIFACT_IMAGE ? *a->digest : *a->sha256);
	for (size_t i = 0; i < a->n_urls; i++)
		require(strncmp(a->urls[i], "http://", 7) == 0 ||
			strncmp(a->urls[i], "https://", 8) == 0 ||
			strncmp(a->urls[i], "file:///", 8) == 0);
}

static void require_reads_back(const struct artifact *a)
{
	_cleanup_free_ char *path = xasprintf(ARTIFACTS_DIR "/%s.json", a->full), *text = NULL;
	_cleanup_manifest_ struct manifest again = { 0 };
	size_t len;

	require(manifest_record(&fuzz_root, a) >= 0);
	text = fuzz_get(path, &len);
	require(text);
	manifest_read(&again, path, text, len);
	require(again.n == 1 && again.diag.n == 0);
	require(strcmp(again.items[0].full, a->full) == 0 && again.items[0].size == a->size &&
		strcmp(again.items[0].digest, a->digest) == 0 && again.items[0].n_urls == a->n_urls);
	fuzz_drop(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	_cleanup_manifest_ struct manifest m = { 0 };

	manifest_read(&m, "fuzz", text, size);
	require(m.n || m.diag.n || size);
	for (size_t i = 0; i < m.n; i++) {
		const struct artifact *a = &m.items[i];

		require_sane(a);
		/* Only what is verified is recorded, and then all of it is known. */
		if (a->kind == ARTIFACT_IMAGE && *a->sha256 && a->size && a->unpacked && i < 2)
			require_reads_back(a);
	}
	return 0;
}
