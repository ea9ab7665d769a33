// SPDX-License-Identifier: Apache-2.0
/* Any bytes as what a QEMU says: first on its monitor, behind a NUL on qtest. */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "host/measure/measure-half.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

/* Our end of a pair whose other end has said all that it will; *other keeps it open. */
static int talker(const uint8_t *data, size_t size, int *other)
{
	int pair[2];

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	/* What does not fit is lost, which is one more way to break off. */
	if (send(pair[1], data, size, MSG_DONTWAIT) < 0)
		require(errno == EAGAIN || size == 0);
	shutdown(pair[1], SHUT_WR);
	*other = pair[1];
	return pair[0];
}

static void base64_is_strict(const char *text, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	_cleanup_free_ unsigned char *bytes = xmalloc(size + 3);
	size_t len = size / 4 * 3;

	if (size && text[size - 1] == '=')
		len -= size > 1 && text[size - 2] == '=' ? 2 : 1;
	if (qtest_base64(text, size, bytes, len) < 0)
		return;
	bytes[len] = bytes[len + 1] = 0;
	for (size_t i = 0; i < size; i++) {
		unsigned at = (unsigned)(i / 4 * 3);
		uint32_t v = (uint32_t)bytes[at] << 16 | (uint32_t)bytes[at + 1] << 8 |
			     (at + 2 < len ? bytes[at + 2] : 0);

		if (at + i % 4 > len)
			require(text[i] == '=');
		else
			require(text[i] == digits[v >> (18 - 6 * (i % 4)) & 63]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, 0, size);
	size_t first = nul ? (size_t)(nul - data) : size;
	struct qemu q = { .serial = -1, .deadline = clock_ms() + 2000, .window = 0xe0000000 };
	struct why why = { "" };
	int others[2], pair[2];

	base64_is_strict((const char *)data, first);
	q.qmp = talker(data, first, &others[0]);
	q.qtest = talker(nul ? nul + 1 : data, nul ? size - first - 1 : 0, &others[1]);
	require(pipe2(pair, O_CLOEXEC) == 0);
	close(pair[1]);
	q.err = pair[0];
	if (qemu_read(&q, &why) == 0) {
		require(q.tables && q.rsdp && q.loader && q.setup && *q.version);
		require(q.tables_len && q.rsdp_len && q.loader_len && q.setup_len);
	} else {
		require(*why.text && !strchr(why.text, '\n'));
	}
	qemu_free(&q);
	close(q.qmp);
	close(q.qtest);
	close(q.err);
	close(others[0]);
	close(others[1]);
	return 0;
}
