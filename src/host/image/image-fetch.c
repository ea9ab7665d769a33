// SPDX-License-Identifier: Apache-2.0
/*
 * libcurl on one URL. What the server says is compared with what was asked for before a byte is
 * passed on; a server that ignores Range sends everything again, and what is already there is
 * skipped here: whether it was the same file the digests tell in the end.
 */
#include "host/image/image-fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/lib/lib-crypto.h"
#include "host/lib/lib-curl.h"

enum {
	REDIRECTS_MAX = 5,
	CONNECT_S = 15,
	SLOW_BYTES = 64, /* a second: less, for long, is a stall */
	BUFFER = 64 << 10,
	HELD_MS = 100, /* bytes may wait for others to go with */
};

struct fetching {
	const struct fetch_plan *plan;
	CURL *easy;
	int sock;
	uint64_t first, total;	/* of Content-Range; total 0: not said */
	int has_range, started, ended;
	uint64_t skip;
	uint64_t at; /* bytes of the archive that were passed on, and those before */
	char error[CURL_ERROR_SIZE];
	/* curl gives 16 KiB at a time: one message for them all costs a quarter. */
	unsigned char held[BUFFER];
	size_t n_held;
	uint64_t sent_ms;
};

int fetch_load(void)
{
	/* First: it wants to be told who allocates. */
	int r = libcrypto_load();

	return r < 0 ? r : libcurl_load();
}

static int send_held(struct fetching *f)
{
	int r = f->n_held ? message_send(f->sock, MESSAGE_DATA, NULL, 0, f->held, f->n_held) : 0;

	f->n_held = 0;
	f->sent_ms = clock_ms();
	return r;
}

_printf_(3, 4) static void fail(struct fetching *f, enum fail kind, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	if (f->ended)
		return;
	/* What came before is good. */
	(void)!send_held(f);
	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	message_fail(f->sock, kind, "%s", text);
	f->ended = 1;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	static const char name[] = "content-range:";
	struct fetching *f = arg;
	char line[128];
	unsigned long long first, last, total;

	n *= size;
	snprintf(line, sizeof(line), "%.*s", (int)(n < 127 ? n : 127), data);
	/* Of a redirect before this answer. */
	if (strncmp(line, "HTTP/", 5) == 0)
		f->has_range = 0;
	if (strncasecmp(line, name, strlen(name)) == 0 &&
	    sscanf(line + strlen(name), " bytes %20llu-%20llu/%20llu", &first, &last,
		   &total) == 3) {
		f->has_range = 1;
		f->first = first;
		f->total = total;
	}
	return n;
}

static const char *status_hint(long status)
{
	return status == 404 || status == 410 ? " (it is not there)" :
	       status == 401 || status == 403 ? " (it may not be fetched from here)" : "";
}

/* The answer's beginning, before its first byte. */
static int judge_answer(struct fetching *f)
{
	const struct fetch_plan *p = f->plan;
	char *type = NULL;
	curl_off_t length = -1;
	long status = 0;

	sym_curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	sym_curl_easy_getinfo(f->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	sym_curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
	if (status == 416 || (status == 206 && (!f->has_range || f->first != p->from))) {
		fail(f, p->from && !p->whole ? FAIL_RANGE : FAIL_URL,
		     "the server answers with another part of the file");
		return -1;
	}
	if (status != 200 && status != 206) {
		fail(f, status >= 500 || status == 408 || status == 429 ? FAIL_AGAIN : FAIL_URL,
		     "the server answers %ld%s", status, status_hint(status));
		return -1;
	}
	if (type && strncasecmp(type, "text/html", 9) == 0) {
		fail(f, FAIL_URL, "the server answers with a web page");
		return -1;
	}
	if (status == 200) {
		f->skip = p->from;
		f->total = length > 0 ? (uint64_t)length : 0;
	}
	if (p->size && f->total && f->total != p->size) {
		fail(f, FAIL_URL, "the server's file has %llu bytes, the right one %llu",
		     (unsigned long long)f->total, (unsigned long long)p->size);
		return -1;
	}
	if (f->total > p->most) {
		fail(f, FAIL_URL, "the server's file has %llu MiB, an image at most %llu",
		     (unsigned long long)(f->total >> 20), (unsigned long long)(p->most >> 20));
		return -1;
	}
	f->started = 1;
	return message_send(f->sock, MESSAGE_START, &f->total, sizeof(f->total), NULL, 0);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct fetching *f = arg;
	size_t len = size * n, skipped;

	if (!f->started && judge_answer(f) < 0)
		return 0;
	skipped = len < f->skip ? len : (size_t)f->skip;
	f->skip -= skipped;
	f->at += len - skipped;
	if (f->at > (f->plan->size ? f->plan->size : f->plan->most)) {
		fail(f, FAIL_CONTENT, "it is longer than it should be");
		return 0;
	}
	for (size_t at = skipped, some; at < len; at += some) {
		some = len - at < BUFFER - f->n_held ? len - at : BUFFER - f->n_held;
		memcpy(f->held + f->n_held, data + at, some);
		f->n_held += some;
		if ((f->n_held == BUFFER || clock_ms() >= f->sent_ms + HELD_MS) && send_held(f) < 0)
			return 0;
	}
	return len;
}

static enum fail kind_of(CURLcode code)
{
	/* clang-format off */
	switch ((int)code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return FAIL_AGAIN;
	default:
		return FAIL_URL;
	}
	/* clang-format on */
}

static void set_options(struct fetching *f)
{
	const struct fetch_plan *p = f->plan;
	CURL *e = f->easy;
	int tls = strncasecmp(p->url, "https:", 6) == 0;

	sym_curl_easy_setopt(e, CURLOPT_URL, p->url);
	sym_curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->error);
	sym_curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	/* From https never back to what anybody on the way can change. */
	sym_curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
	sym_curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
	sym_curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
	sym_curl_easy_setopt(e, CURLOPT_PROXY, p->proxy);
	sym_curl_easy_setopt(e, CURLOPT_NOPROXY, p->no_proxy);
	sym_curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	sym_curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	sym_curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	sym_curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	sym_curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)p->stall_s);
	sym_curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)BUFFER);
	sym_curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	sym_curl_easy_setopt(e, CURLOPT_USERAGENT, "dstack-host");
	sym_curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
	sym_curl_easy_setopt(e, CURLOPT_CAPATH, "/etc/ssl/certs");
	sym_curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	sym_curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
	sym_curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	sym_curl_easy_setopt(e, CURLOPT_HEADERDATA, f);
}

static void perform(struct fetching *f)
{
	_cleanup_free_ char *range = xasprintf("%llu-", (unsigned long long)f->plan->from);
	CURLcode code;

	set_options(f);
	if (f->plan->from && !f->plan->whole)
		sym_curl_easy_setopt(f->easy, CURLOPT_RANGE, range);
	code = sym_curl_easy_perform(f->easy);
	if (f->ended)
		return;
	if (code != CURLE_OK) {
		fail(f, kind_of(code), "%s", *f->error ? f->error : sym_curl_easy_strerror(code));
		return;
	}
	/* Without a single byte it was not looked at yet. */
	if (!f->started && judge_answer(f) < 0)
		return;
	if (f->plan->size && f->at != f->plan->size)
		fail(f, FAIL_AGAIN, "the server closed after %llu of %llu bytes",
		     (unsigned long long)f->at, (unsigned long long)f->plan->size);
	else if (send_held(f) == 0)
		(void)!message_send(f->sock, MESSAGE_END, NULL, 0, NULL, 0);
}

void fetch_run(void *arg, int fd _unused_, int sock)
{
	struct fetching *f = xcalloc(1, sizeof(*f));

	f->plan = arg;
	f->sock = sock;
	f->at = f->plan->from;
	if (sym_curl_global_init(CURL_GLOBAL_DEFAULT) == 0)
		f->easy = sym_curl_easy_init();
	if (f->easy)
		perform(f);
	else
		message_fail(sock, FAIL_INTERNAL, "libcurl does not start");
}
