// SPDX-License-Identifier: Apache-2.0
/* The hash tree of dm-verity (kernel: Documentation/admin-guide/device-mapper/verity.rst). */
#include "host/image/image-verity.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

enum { CHUNK = 1 << 20, BLOCK_MIN = 512, BLOCK_MAX = 64 << 10, SUPERBLOCK = 512 };
#define BLOCKS_MAX (UINT64_C(1) << 32)

struct superblock {
	char signature[8];
	uint32_t version, hash_type;
	unsigned char uuid[16];
	char algorithm[32];
	uint32_t data_block, hash_block;
	uint64_t blocks;
	uint16_t salt_len;
	unsigned char pad[6];
	unsigned char salt[VERITY_SALT_MAX];
	unsigned char pad2[168];
};

_Static_assert(sizeof(struct superblock) == SUPERBLOCK, "as on disk");

_printf_(2, 3) static int bad(struct verity *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->error, sizeof(v->error), fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

static int read_at(const struct verity *v, void *to, size_t len, uint64_t at)
{
	char *p = to;

	while (len) {
		ssize_t n = pread(v->fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int is_block_size(uint32_t size)
{
	return size >= BLOCK_MIN && size <= BLOCK_MAX && (size & (size - 1)) == 0;
}

/* The top comes first on disk. */
static void place_levels(struct verity *v, uint64_t size)
{
	uint64_t at = (size + SUPERBLOCK + v->hash_block - 1) / v->hash_block;
	uint64_t per = v->hash_block / HASH_LEN, n = v->blocks;

	do {
		n = (n + per - 1) / per;
		v->level_blocks[v->levels++] = n;
	} while (n > 1);
	for (unsigned i = v->levels; i-- > 0;) {
		v->level_at[i] = at;
		at += v->level_blocks[i];
	}
}

int verity_open(int fd, uint64_t size, struct verity *v)
{
	struct superblock sb;
	int r;

	*v = (struct verity){ .fd = fd };
	r = read_at(v, &sb, sizeof(sb), size);
	if (r < 0)
		return bad(v, "it cannot be read behind its %llu bytes of data: %s",
			   (unsigned long long)size,
			   r == -ENODATA ? "it ends there" : strerror(-r));
	if (memcmp(sb.signature, "verity\0\0", 8) != 0 || le32toh(sb.version) != 1)
		return bad(v, "it has no dm-verity superblock behind its %llu bytes of data",
			   (unsigned long long)size);
	v->data_block = le32toh(sb.data_block);
	v->hash_block = le32toh(sb.hash_block);
	v->blocks = le64toh(sb.blocks);
	if (le32toh(sb.hash_type) != 1 || strncmp(sb.algorithm, "sha256", 32) != 0 ||
	    !is_block_size(v->data_block) || !is_block_size(v->hash_block) ||
	    le16toh(sb.salt_len) > VERITY_SALT_MAX)
		return bad(v, "its dm-verity is of a kind that is not known here");
	/* One block has no tree. */
	if (v->blocks < 2 || v->blocks > BLOCKS_MAX || v->blocks * v->data_block != size)
		return bad(v, "its dm-verity covers another size than the command line says");
	place_levels(v, size);
	hash_init(&v->salted);
	hash_add(&v->salted, sb.salt, le16toh(sb.salt_len));
	return 0;
}

static int is_hash(const struct verity *v, const unsigned char *block, uint32_t len,
		   const unsigned char want[HASH_LEN])
{
	struct hash h = v->salted;
	unsigned char got[HASH_LEN];

	hash_add(&h, block, len);
	hash_end(&h, got);
	return memcmp(got, want, HASH_LEN) == 0;
}

/* Blocks of `size` bytes, the first at `at`, against the hashes of a level. */
static int check_blocks(struct verity *v, unsigned level, uint32_t size, uint64_t at,
			uint64_t from, uint64_t to, const char *what)
{
	uint64_t per_chunk = CHUNK / size, hashes = v->level_at[level] * v->hash_block;
	_cleanup_free_ unsigned char *want = xmalloc(per_chunk * HASH_LEN);
	_cleanup_free_ unsigned char *blocks = xmalloc(CHUNK);

	for (uint64_t i = from; i < to; i += per_chunk) {
		size_t n = (size_t)(to - i < per_chunk ? to - i : per_chunk);
		int r = read_at(v, blocks, n * size, at + i * size);

		if (r == 0)
			r = read_at(v, want, n * HASH_LEN, hashes + i * HASH_LEN);
		if (r < 0)
			return bad(v, "it cannot be read to its end: %s",
				   r == -ENODATA ? "it is too short" : strerror(-r));
		for (size_t j = 0; j < n; j++)
			if (!is_hash(v, blocks + j * size, size, want + j * HASH_LEN))
				return bad(v, "its %s %llu is not what it was when it was made",
					   what, (unsigned long long)(i + j));
	}
	return 0;
}

int verity_check_tree(struct verity *v, const unsigned char root[HASH_LEN])
{
	_cleanup_free_ unsigned char *block = xmalloc(v->hash_block);
	unsigned top = v->levels - 1;
	int r = read_at(v, block, v->hash_block, v->level_at[top] * v->hash_block);

	if (r < 0)
		return bad(v, "its hash tree cannot be read: %s",
			   r == -ENODATA ? "it is too short" : strerror(-r));
	if (!is_hash(v, block, v->hash_block, root))
		return bad(v, "its root hash is not the one in the command line");
	for (unsigned i = top; i > 0 && r == 0; i--)
		r = check_blocks(v, i, v->hash_block, v->level_at[i - 1] * v->hash_block, 0,
				 v->level_blocks[i - 1], "hash block");
	return r;
}

int verity_check_data(struct verity *v, uint64_t from, uint64_t to)
{
	return check_blocks(v, 0, v->data_block, 0, from, to, "block");
}
