// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a kernel. The hash with QEMU's setup beside it is that of the file with the setup
 * in it, and a byte of it counts. */
#include "fuzz.h"

#include "host/bytes.h"
#include "host/measure/measure.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(sha384_load() == 0);
	return 0;
}

/* Of a kernel that was taken: where its section table ends. */
static size_t tables_end(const uint8_t *k)
{
	size_t pe = get_le32(k + 0x3c);

	return pe + 24 + get_le16(k + pe + 20) + (size_t)40 * get_le16(k + pe + 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ unsigned char *copy = xmalloc(size + 1), *setup = NULL;
	const struct bytes kernel = { copy, size };
	unsigned char beside[SHA384_LEN], within[SHA384_LEN];
	struct bytes head = { 0 };
	struct why why = { "" };
	int plain;

	memcpy(copy, data, size);
	plain = kernel_hash(&kernel, &head, within, &why);
	if (kernel_check(&kernel, &why) < 0 || kernel_setup_size(&kernel, &head.len, &why) < 0)
		return 0;
	require(head.len <= size);
	head.data = setup = xmalloc(head.len);
	if (kernel_patch(&kernel, 300001, UINT64_C(2) << 30, setup, &why) < 0)
		return 0;
	require(kernel_owns_setup(&kernel, &head, &why) == 0);
	require(kernel_hash(&kernel, &head, beside, &why) == plain);
	memcpy(copy, setup, head.len);
	/* Where the patch is not within the PE header itself, which would be another one then. */
	if (plain == 0 && tables_end(data) <= 0x1f0) {
		require(kernel_hash(&kernel, &(struct bytes){ 0 }, within, &why) == 0);
		require(memcmp(beside, within, SHA384_LEN) == 0);
	}
	return 0;
}
