// SPDX-License-Identifier: Apache-2.0
/* TDVF metadata of a firmware, and what the TDX module and QEMU make of it: MRTD and the
 * hand-off block. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/bytes.h"
#include "host/measure/measure.h"

enum {
	PAGE = 4096,
	CHUNK = 256,	  /* of MR.EXTEND */
	RECORD = 128,	  /* what stands before it */
	TABLE_END = 32,	  /* from the end of the file */
	TABLE_ENTRY = 18, /* length and GUID, behind the entry's data */
	DESCRIPTOR = 16,
	ENTRY = 32,
	HOB_HANDOFF = 56,
	HOB_RESOURCE = 48,
};

enum { TYPE_BFV, TYPE_CFV, TYPE_TD_HOB, TYPE_TEMP_MEM };
enum { ATTR_EXTEND = 1, ATTR_AUG = 2 };
enum { RESOURCE_MEMORY = 0, RESOURCE_UNACCEPTED = 7, RESOURCE_ATTRIBUTES = 7 };

#define GIB (UINT64_C(1) << 30)

static const unsigned char guid_footer[16] = { 0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45,
					       0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d };
static const unsigned char guid_tdvf[16] = { 0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47,
					     0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2 };

/* Walks the table of GUIDs from its end. Where the descriptor begins. */
static int find_descriptor(const struct bytes *fw, size_t *ret, struct why *why)
{
	size_t end, start, len;

	if (fw->len < TABLE_END + TABLE_ENTRY)
		return why_not(why, "firmware: only %zu bytes", fw->len);
	end = fw->len - TABLE_END;
	if (memcmp(fw->data + end - 16, guid_footer, 16) != 0)
		return why_not(why, "firmware: no table of GUIDs at its end, so no TDVF metadata: "
				    "not made for TDX");
	len = get_le16(fw->data + end - TABLE_ENTRY);
	if (len < TABLE_ENTRY || len > end)
		return why_not(why, "firmware: its table of GUIDs is longer than the file");
	start = end - len;
	for (end -= TABLE_ENTRY; end >= start + TABLE_ENTRY; end -= len) {
		len = get_le16(fw->data + end - TABLE_ENTRY);
		if (len < TABLE_ENTRY || len > end - start)
			return why_not(why, "firmware: an entry of its table of GUIDs does not fit");
		if (memcmp(fw->data + end - 16, guid_tdvf, 16) != 0)
			continue;
		if (len != TABLE_ENTRY + 4)
			return why_not(why, "firmware: the TDVF entry has %zu bytes", len);
		len = get_le32(fw->data + end - TABLE_ENTRY - 4);
		if (len > fw->len || len < DESCRIPTOR)
			return why_not(why, "firmware: its TDVF metadata lies outside of the file");
		*ret = fw->len - len;
		return 0;
	}
	return why_not(why, "firmware: no TDVF metadata: not made for TDX");
}

static const char *bad_section(const struct tdvf_section *s, size_t len)
{
	if (s->type > 6)
		return "is of an unknown kind";
	if (s->attributes & ~(uint32_t)(ATTR_EXTEND | ATTR_AUG))
		return "has unknown attributes";
	if (s->address % PAGE || s->memory % PAGE || !s->memory)
		return "is not whole pages";
	if (s->memory > 16 * GIB || s->address > UINT64_MAX - s->memory)
		return "is larger than memory can be";
	if (s->size > s->memory)
		return "has more bytes in the file than in memory";
	if (s->size && (s->offset > len || s->size > len - s->offset))
		return "lies outside of the file";
	if ((s->type == TYPE_BFV || s->type == TYPE_CFV) != (s->size != 0))
		return s->size ? "has bytes in the file, and should have none" :
				 "has no bytes in the file";
	/* All of it is hashed, page by page. */
	if (s->attributes & ATTR_EXTEND && s->memory > MEASURE_FIRMWARE_MAX)
		return "is larger than any firmware";
	return NULL;
}

static int overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static int check_sections(const struct tdvf *t, size_t len, struct why *why)
{
	size_t hobs = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct tdvf_section *s = &t->sections[i];
		const char *bad = bad_section(s, len);

		if (bad)
			return why_not(why, "firmware: section %zu of its TDVF metadata %s", i, bad);
		hobs += s->type == TYPE_TD_HOB;
		for (size_t j = 0; j < i; j++) {
			const struct tdvf_section *o = &t->sections[j];

			if (overlap(s->address, s->memory, o->address, o->memory) ||
			    (s->size && o->size &&
			     overlap(s->offset, s->size, o->offset, o->size)))
				return why_not(why, "firmware: sections %zu and %zu of its TDVF "
						    "metadata overlap", j, i);
		}
	}
	if (hobs != 1)
		return why_not(why, "firmware: %zu sections for the hand-off block, not one", hobs);
	return 0;
}

int tdvf_parse(const struct bytes *fw, struct tdvf *ret, struct why *why)
{
	const unsigned char *d;
	size_t at = 0, n;
	int r;

	*ret = (struct tdvf){ 0 };
	if (fw->len > MEASURE_FIRMWARE_MAX)
		return why_not(why, "firmware: %zu bytes, more than any firmware", fw->len);
	r = find_descriptor(fw, &at, why);
	if (r < 0)
		return r;
	d = fw->data + at;
	if (memcmp(d, "TDVF", 4) != 0)
		return why_not(why, "firmware: its TDVF metadata does not begin with \"TDVF\"");
	n = get_le32(d + 12);
	if (get_le32(d + 8) != 1)
		return why_not(why, "firmware: TDVF metadata of version %u, only 1 is known",
			       get_le32(d + 8));
	if (n == 0 || n > TDVF_SECTIONS_MAX || get_le32(d + 4) != DESCRIPTOR + ENTRY * n ||
	    DESCRIPTOR + ENTRY * n > fw->len - at)
		return why_not(why, "firmware: its TDVF metadata says %zu sections in %u bytes", n,
			       get_le32(d + 4));
	for (size_t i = 0; i < n; i++) {
		const unsigned char *e = d + DESCRIPTOR + ENTRY * i;

		ret->sections[i] = (struct tdvf_section){
			.offset = get_le32(e), .size = get_le32(e + 4),
			.address = get_le64(e + 8), .memory = get_le64(e + 16),
			.type = get_le32(e + 24), .attributes = get_le32(e + 28),
		};
	}
	ret->n = n;
	return check_sections(ret, fw->len, why);
}

static void record(unsigned char *at, const char *name, uint64_t address)
{
	memset(at, 0, RECORD);
	memcpy(at, name, strlen(name));
	put_le64(at + 16, address);
}

static void add_page(struct sha384 *h, const struct tdvf_section *s, uint64_t page)
{
	unsigned char rec[RECORD];

	record(rec, "MEM.PAGE.ADD", s->address + page);
	sha384_add(h, rec, sizeof(rec));
}

static void extend_page(struct sha384 *h, const struct bytes *fw, const struct tdvf_section *s,
			uint64_t page)
{
	unsigned char block[PAGE / CHUNK][RECORD + CHUNK] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(block); i++) {
		uint64_t at = page + i * CHUNK;
		/* What the file does not have is zeros in memory. */
		size_t have = at < s->size ? (size_t)(s->size - at) : 0;

		record(block[i], "MR.EXTEND", s->address + at);
		memcpy(block[i] + RECORD, fw->data + s->offset + (have ? at : 0),
		       have < CHUNK ? have : CHUNK);
	}
	sha384_add(h, block, sizeof(block));
}

void tdvf_mrtd(const struct bytes *fw, const struct tdvf *tdvf, int single_pass,
	       unsigned char ret[SHA384_LEN])
{
	_cleanup_sha384_ struct sha384 h = { 0 };

	sha384_start(&h);
	for (size_t i = 0; i < tdvf->n; i++) {
		const struct tdvf_section *s = &tdvf->sections[i];
		int add = !(s->attributes & ATTR_AUG), extend = s->attributes & ATTR_EXTEND;

		for (uint64_t page = 0; page < s->memory; page += PAGE) {
			if (add)
				add_page(&h, s, page);
			if (extend && single_pass)
				extend_page(&h, fw, s, page);
		}
		for (uint64_t page = 0; extend && !single_pass && page < s->memory; page += PAGE)
			extend_page(&h, fw, s, page);
	}
	sha384_end(&h, ret);
}

uint64_t measure_low_memory(uint64_t memory)
{
	/* pc_q35_init(): with this much, what does not fit goes above 4 GiB at once. */
	if (memory >= UINT64_C(0xb0000000))
		return UINT64_C(0x80000000);
	return memory;
}

static void resource(struct strbuf *out, uint32_t type, uint64_t from, uint64_t to)
{
	unsigned char hob[HOB_RESOURCE] = { 0 };

	put_le16(hob, 3);
	put_le16(hob + 2, HOB_RESOURCE);
	put_le32(hob + 24, type);
	put_le32(hob + 28, RESOURCE_ATTRIBUTES);
	put_le64(hob + 32, from);
	put_le64(hob + 40, to - from);
	sb_addn(out, hob, sizeof(hob));
}

static int by_address(const void *a, const void *b)
{
	const struct tdvf_section *x = *(const struct tdvf_section *const *)a;
	const struct tdvf_section *y = *(const struct tdvf_section *const *)b;

	return x->address < y->address ? -1 : x->address > y->address;
}

int tdvf_hob(const struct tdvf *tdvf, uint64_t memory, unsigned char ret[SHA384_LEN],
	     struct why *why)
{
	const struct tdvf_section *accepted[TDVF_SECTIONS_MAX], *block = NULL;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	unsigned char handoff[HOB_HANDOFF] = { 0 };
	uint64_t low = measure_low_memory(memory), at = 0;
	size_t n = 0;

	for (size_t i = 0; i < tdvf->n; i++) {
		const struct tdvf_section *s = &tdvf->sections[i];

		if (s->type == TYPE_TD_HOB)
			block = s;
		if (s->type == TYPE_TD_HOB || s->type == TYPE_TEMP_MEM)
			accepted[n++] = s;
	}
	qsort(accepted, n, sizeof(*accepted), by_address);
	sb_addn(&out, handoff, sizeof(handoff));
	for (size_t i = 0; i < n; i++) {
		const struct tdvf_section *s = accepted[i];

		if (s->address + s->memory >= low)
			return why_not(why, "memory: %llu MiB are too few for what the firmware "
					    "wants to use", (unsigned long long)(memory >> 20));
		if (s->address > at)
			resource(&out, RESOURCE_UNACCEPTED, at, s->address);
		at = s->address + s->memory;
		resource(&out, RESOURCE_MEMORY, s->address, at);
	}
	resource(&out, RESOURCE_UNACCEPTED, at, low);
	if (memory > low)
		resource(&out, RESOURCE_UNACCEPTED, 4 * GIB, 4 * GIB + memory - low);
	if (!block || out.len + 8 > block->memory)
		return why_not(why, "firmware: its hand-off block has no room for %zu ranges", n);
	put_le16(handoff, 1);
	put_le16(handoff + 2, HOB_HANDOFF);
	put_le32(handoff + 8, 9);
	/* Behind the mark of the list's end, which is not measured. */
	put_le64(handoff + 48, block->address + out.len + 8);
	memcpy(out.data, handoff, sizeof(handoff));
	sha384(out.data, out.len, ret);
	return 0;
}
