// SPDX-License-Identifier: Apache-2.0
/*
 * Reads what firmware would be given, as firmware does: QEMU's qtest protocol drives its ports,
 * fw_cfg answers by DMA. Every answer is awaited, bounded and checked for its form.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "host/bytes.h"
#include "host/json.h"
#include "host/measure/measure-half.h"

/* docs/specs/fw_cfg.rst */
enum {
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_FILE_DIR = 0x19,
	FW_CFG_ENTRY = 64,
	FW_CFG_NAME = 56,
	DMA_READ_SELECTED = 2 | 8,
};
/* In the machine's memory, of which nobody else uses anything. */
enum { AT_CONTROL = 0x1000, AT_BUFFER = 0x100000 };

enum {
	FILES_MAX = 1024,
	ITEM_MAX = 4 << 20,
	SETUP_MAX = 256 * 512,
	LINE_MAX_LEN = ITEM_MAX * 2, /* more than base64 takes */
	GREETING_MAX = 16 << 10,
	COMPLAINT_MAX = 200,
};

struct channel {
	struct qemu *q;
	struct why *why;
	int fd;
	struct strbuf out, in;
	size_t used; /* of `in`: lines that were taken */
};

/* One line of what it says on its standard error, the last that is not a warning. */
static void complaint(const struct qemu *q, char *ret, size_t size)
{
	char text[4096];
	struct pollfd p = { .fd = q->err, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 0;

	/* It has ended or will not say more: not for long. */
	while (len < sizeof(text) - 1 && poll(&p, 1, 50) > 0 &&
	       (n = read(q->err, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	*ret = '\0';
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (!strstr(line, "warning:") && strncmp(line, "Unexpected error", 16) != 0)
			snprintf(ret, size, ": %.*s", COMPLAINT_MAX, line);
	utf8_clean(ret);
}

static int ended(const struct channel *c)
{
	char text[COMPLAINT_MAX + 8];

	complaint(c->q, text, sizeof(text));
	return why_not(c->why, "QEMU ended before it was read%s", text);
}

static int late(const struct channel *c)
{
	char text[COMPLAINT_MAX + 8];

	complaint(c->q, text, sizeof(text));
	return why_not(c->why, "QEMU did not answer in time%s", text);
}

/* Until `events` can be done. */
static int await(const struct channel *c, int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	do
		r = poll(&p, 1, clock_left(c->q->deadline));
	while (r < 0 && errno == EINTR);
	return r > 0 ? 0 : late(c);
}

static int flush(struct channel *c)
{
	size_t sent = 0;

	while (sent < c->out.len) {
		ssize_t n;
		int r = await(c, c->fd, POLLOUT);

		if (r < 0)
			return r;
		n = write(c->fd, c->out.data + sent, c->out.len - sent);
		if (n < 0 && errno != EINTR)
			return ended(c);
		sent += n > 0 ? (size_t)n : 0;
	}
	c->out.len = 0;
	return 0;
}

/* More bytes; `most` is the longest line that may come. */
static int receive(struct channel *c, size_t most)
{
	char chunk[65536];
	int r = await(c, c->fd, POLLIN);
	ssize_t n;

	if (r < 0)
		return r;
	n = read(c->fd, chunk, sizeof(chunk));
	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0)
		return ended(c);
	sb_addn(&c->in, chunk, (size_t)n);
	if (c->in.len - c->used > most + sizeof(chunk))
		return why_not(c->why, "QEMU answers more than it was asked for");
	/* One that never stops talking is not listened to for ever. */
	return clock_left(c->q->deadline) ? 0 : late(c);
}

/* The next line, without its end; it stays until the next call. */
static int next_line(struct channel *c, size_t most, const char **ret, size_t *len)
{
	size_t seen = 0;
	int r = flush(c);

	if (c->used && c->used == c->in.len)
		c->used = c->in.len = 0;
	while (r == 0) {
		size_t n = c->in.len - c->used;
		const char *start = n ? c->in.data + c->used : NULL;
		const char *end = n ? memchr(start + seen, '\n', n - seen) : NULL;

		if (end) {
			*ret = start;
			*len = (size_t)(end - start);
			c->used += *len + 1;
			if (*len && start[*len - 1] == '\r')
				--*len;
			return 0;
		}
		seen = n;
		r = receive(c, most);
	}
	return r;
}

/* "OK" and the rest of it. */
static int answer(struct channel *c, size_t most, const char **ret, size_t *len)
{
	int r = next_line(c, most, ret, len);

	if (r < 0)
		return r;
	if (*len < 2 || memcmp(*ret, "OK", 2) != 0 || (*len > 2 && (*ret)[2] != ' '))
		return why_not(c->why, "QEMU answered \"%.*s\" instead of OK",
			       (int)(*len < 40 ? *len : 40), *ret);
	*ret += *len > 2 ? 3 : 2;
	*len -= *len > 2 ? 3 : 2;
	return 0;
}

/* Answers that say nothing but OK. */
static int answers(struct channel *c, unsigned n)
{
	const char *text;
	size_t len;
	int r = 0;

	while (r == 0 && n--) {
		r = answer(c, 64, &text, &len);
		if (r == 0 && len)
			r = why_not(c->why, "QEMU answered something that was not asked for");
	}
	return r;
}

static int number(struct channel *c, uint32_t *ret)
{
	char digits[24], *end;
	const char *text;
	size_t len;
	int r = answer(c, 64, &text, &len);

	if (r < 0)
		return r;
	snprintf(digits, sizeof(digits), "%.*s", (int)len, text);
	errno = 0;
	*ret = (uint32_t)strtoull(digits, &end, 0);
	if (len < 3 || len >= sizeof(digits) || *end || errno)
		return why_not(c->why, "QEMU answered no number");
	return 0;
}

static int value_of(int ch)
{
	if (ch >= 'A' && ch <= 'Z')
		return ch - 'A';
	if (ch >= 'a' && ch <= 'z')
		return ch - 'a' + 26;
	if (ch >= '0' && ch <= '9')
		return ch - '0' + 52;
	return ch == '+' ? 62 : ch == '/' ? 63 : -1;
}

int qtest_base64(const char *text, size_t text_len, unsigned char *ret, size_t len)
{
	size_t at = 0, pad = (3 - len % 3) % 3;

	if (text_len != (len + 2) / 3 * 4)
		return -EBADMSG;
	for (size_t i = 0; i < text_len; i += 4) {
		size_t missing = i + 4 == text_len ? pad : 0;
		uint32_t v = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j >= 4 - missing ? (text[i + j] == '=' ? 0 : -1) :
						   value_of(text[i + j]);

			if (d < 0)
				return -EBADMSG;
			v = v << 6 | (uint32_t)d;
		}
		for (size_t j = 0; j < 3 - missing; j++)
			ret[at++] = (unsigned char)(v >> (16 - 8 * j));
		/* Bits that are none. */
		if (missing && v & ((1u << (8 * missing)) - 1))
			return -EBADMSG;
	}
	return 0;
}

/* --- the machine --- */

static void pci_write(struct channel *c, unsigned device, unsigned reg, uint32_t value)
{
	sb_addf(&c->out, "outl 0xcf8 0x%x\noutl 0xcfc 0x%x\n", 0x80000000u | device << 11 | reg,
		value);
}

/* Is it the machine that this knows? */
static int check_machine(struct channel *c)
{
	static const struct {
		unsigned device;
		uint32_t id;
	} expected[] = { { 0, 0x29c08086 }, { 31, 0x29188086 } };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(expected); i++) {
		uint32_t id;

		sb_addf(&c->out, "outl 0xcf8 0x%x\ninl 0xcfc\n",
			0x80000000u | expected[i].device << 11);
		r = answers(c, 1);
		if (r == 0)
			r = number(c, &id);
		if (r == 0 && id != expected[i].id)
			r = why_not(c->why, "QEMU: not a q35 machine");
	}
	return r;
}

/* What firmware has done before it asks for the tables, which QEMU builds at that moment. */
static int set_up(struct channel *c)
{
	int r = check_machine(c);

	if (r < 0)
		return r;
	if (c->q->window) {
		pci_write(c, 0, 0x64, 0);
		pci_write(c, 0, 0x60, c->q->window | 1);
	}
	pci_write(c, 31, 0x40, 0x601);
	pci_write(c, 31, 0x44, 0x80);
	return answers(c, c->q->window ? 8 : 4);
}

/* `len` bytes of an item. */
static int fw_cfg(struct channel *c, unsigned item, size_t len, unsigned char *ret)
{
	const char *text;
	uint32_t left;
	size_t n;
	int r;

	/* Big-endian: control word, length, address; then the address of these. */
	sb_addf(&c->out, "write 0x%x 0x10 0x%08x%08zx%016x\n", AT_CONTROL,
		item << 16 | DMA_READ_SELECTED, len, AT_BUFFER);
	sb_addf(&c->out, "outl 0x514 0x0\noutl 0x518 0x%x\n", htobe32(AT_CONTROL));
	sb_addf(&c->out, "read 0x%x 0x4\nb64read 0x%x 0x%zx\n", AT_CONTROL, AT_BUFFER, len);
	r = answers(c, 3);
	if (r == 0)
		r = number(c, &left);
	if (r == 0 && left)
		r = why_not(c->why, "QEMU does not hand out fw_cfg item 0x%x", item);
	if (r == 0)
		r = answer(c, LINE_MAX_LEN, &text, &n);
	if (r == 0 && qtest_base64(text, n, ret, len) < 0)
		r = why_not(c->why, "QEMU answered with other bytes than were asked for");
	return r;
}

static const struct wanted {
	const char *name;
	size_t data, len; /* in struct qemu */
} wanted[] = {
	{ "etc/acpi/tables", offsetof(struct qemu, tables), offsetof(struct qemu, tables_len) },
	{ "etc/acpi/rsdp", offsetof(struct qemu, rsdp), offsetof(struct qemu, rsdp_len) },
	{ "etc/table-loader", offsetof(struct qemu, loader), offsetof(struct qemu, loader_len) },
};

/* What wanted[] says, from a directory of n entries. */
static int read_files(struct channel *c, const unsigned char *entries, size_t n)
{
	for (size_t w = 0; w < ARRAY_SIZE(wanted); w++) {
		unsigned char **data = (void *)((char *)c->q + wanted[w].data);
		size_t *len = (void *)((char *)c->q + wanted[w].len), i = 0;
		const unsigned char *e = entries;
		int r;

		while (i < n && strncmp((const char *)e + 8, wanted[w].name, FW_CFG_NAME) != 0)
			e = entries + ++i * FW_CFG_ENTRY;
		if (i == n)
			return why_not(c->why, "QEMU hands out no %s", wanted[w].name);
		*len = be32toh(*(const uint32_t *)(const void *)e);
		if (*len == 0 || *len > ITEM_MAX)
			return why_not(c->why, "QEMU: %s has %zu bytes", wanted[w].name, *len);
		*data = xmalloc(*len);
		r = fw_cfg(c, (unsigned)e[4] << 8 | e[5], *len, *data);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_all(struct channel *c)
{
	_cleanup_free_ unsigned char *entries = NULL;
	unsigned char number_of[4];
	size_t n;
	int r = fw_cfg(c, FW_CFG_FILE_DIR, 4, number_of);

	if (r < 0)
		return r;
	n = (size_t)number_of[0] << 24 | (size_t)number_of[1] << 16 | number_of[2] << 8 |
	    number_of[3];
	if (n == 0 || n > FILES_MAX)
		return why_not(c->why, "QEMU: its fw_cfg has %zu files", n);
	entries = xmalloc(4 + n * FW_CFG_ENTRY);
	r = fw_cfg(c, FW_CFG_FILE_DIR, 4 + n * FW_CFG_ENTRY, entries);
	if (r == 0)
		r = read_files(c, entries + 4, n);
	if (r == 0)
		r = fw_cfg(c, FW_CFG_SETUP_SIZE, 4, number_of);
	if (r < 0)
		return r;
	c->q->setup_len = get_le32(number_of);
	if (c->q->setup_len == 0 || c->q->setup_len > SETUP_MAX)
		return why_not(c->why, "QEMU: the kernel's setup code has %zu bytes",
			       c->q->setup_len);
	c->q->setup = xmalloc(c->q->setup_len);
	return fw_cfg(c, FW_CFG_SETUP_DATA, c->q->setup_len, c->q->setup);
}

/* --- QMP --- */

static int small_number(json_t *of, const char *key, unsigned *ret)
{
	json_t *value = json_object_get(of, key);
	json_int_t v = json_integer_value(value);

	*ret = (unsigned)v;
	return json_is_integer(value) && v >= 0 && v < 1000 ? 0 : -EBADMSG;
}

static int greeting(struct channel *c)
{
	struct qemu *q = c->q;
	const char *text, *package;
	json_t *doc, *version;
	size_t len;
	int r = next_line(c, GREETING_MAX, &text, &len);

	if (r < 0)
		return r;
	doc = json_read(text, len, 0);
	version = json_object_get(json_object_get(doc, "QMP"), "version");
	package = json_string_value(json_object_get(version, "package"));
	version = json_object_get(version, "qemu");
	if (small_number(version, "major", &q->major) < 0 ||
	    small_number(version, "minor", &q->minor) < 0 ||
	    small_number(version, "micro", &q->micro) < 0)
		r = why_not(c->why, "QEMU does not tell its version");
	snprintf(q->version, sizeof(q->version), "%u.%u.%u%s%.80s%s", q->major, q->minor,
		 q->micro, package && *package ? " (" : "", package ? package : "",
		 package && *package ? ")" : "");
	utf8_clean(q->version);
	json_decref(doc);
	return r;
}

/* Events may come between. */
static int command(struct channel *c, const char *name)
{
	sb_addf(&c->out, "{\"execute\":\"%s\"}\n", name);
	for (int i = 0; i < FILES_MAX; i++) {
		const char *text;
		size_t len;
		int done, r = next_line(c, GREETING_MAX, &text, &len);
		json_t *doc;

		if (r < 0)
			return r;
		doc = json_read(text, len, 0);
		done = json_object_get(doc, "return") ? 1 : json_object_get(doc, "event") ? 0 : -1;
		json_decref(doc);
		if (done)
			return done > 0 ? 0 : why_not(c->why, "QEMU refuses %s", name);
	}
	return why_not(c->why, "QEMU does not answer %s", name);
}

/* Firmware is silent until it has made the console, which it does after it has installed the
 * tables: the first byte says that they were read. */
static int run_until_read(struct channel *c)
{
	char byte;
	int r = command(c, "qmp_capabilities");

	if (r == 0)
		r = command(c, "cont");
	if (r == 0)
		r = await(c, c->q->serial, POLLIN);
	if (r == 0 && read(c->q->serial, &byte, 1) != 1)
		r = ended(c);
	return r < 0 ? r : command(c, "stop");
}

int qemu_read(struct qemu *q, struct why *why)
{
	struct channel qmp = { .q = q, .why = why, .fd = q->qmp };
	struct channel qtest = { .q = q, .why = why, .fd = q->qtest };
	int r = greeting(&qmp);

	if (r == 0)
		r = q->serial >= 0 ? run_until_read(&qmp) : set_up(&qtest);
	if (r == 0)
		r = read_all(&qtest);
	if (r == 0 && qtest.used != qtest.in.len)
		r = why_not(why, "QEMU answers more than it was asked for");
	sb_free(&qmp.in);
	sb_free(&qmp.out);
	sb_free(&qtest.in);
	sb_free(&qtest.out);
	return r;
}

void qemu_free(struct qemu *q)
{
	free(q->tables);
	free(q->rsdp);
	free(q->loader);
	free(q->setup);
}
