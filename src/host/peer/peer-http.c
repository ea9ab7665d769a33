// SPDX-License-Identifier: Apache-2.0
/* A network half at work: all its requests at once with curl multi. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/lib/lib-curl.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

enum { HEADERS_MAX = 64 * 1024 };

struct job {
	struct peer_request request; /* with the defaults filled in */
	unsigned index;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	char *url;
	struct strbuf body; /* kept for the digest only */
	size_t body_bytes, header_bytes;
	int too_large;
	int fd_taken;
	char error[CURL_ERROR_SIZE];
	uint64_t start;
	struct frames frames;
	int in_frames; /* connected, exchanging frames */
	int done;
};

struct outcome {
	enum peer_error error;
	const char *text;
	struct peer_reply reply;
};

struct work {
	CURLM *multi;
	struct job *jobs;
	size_t n, n_done;
	int sock;
};

void peer_send(int sock, const struct strbuf *out)
{
	for (size_t at = 0; at < out->len;) {
		ssize_t n = send(sock, out->data + at, out->len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			_exit(1);
		if (n > 0)
			at += (size_t)n;
	}
}

void peer_fact(struct peer_emit *emit, const char *key, const char *value)
{
	/* More than the other half takes would lose everybody's answer. */
	if (emit->out.len < PEER_FACTS_MAX)
		record_add_fact(&emit->out, emit->index, key, value ? value : "");
	else
		emit->truncated = 1;
}

void peer_factf(struct peer_emit *emit, const char *key, const char *fmt, ...)
{
	_cleanup_free_ char *value = NULL;
	va_list ap;

	va_start(ap, fmt);
	value = xvasprintf(fmt, ap);
	va_end(ap);
	peer_fact(emit, key, value);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct job *job = arg;

	if (size * n > job->request.max_body - job->body_bytes) {
		job->too_large = 1;
		return 0;
	}
	job->body_bytes += size * n;
	if (job->request.digest)
		sb_addn(&job->body, data, size * n);
	return size * n;
}

static size_t on_header(char *data _unused_, size_t size, size_t n, void *arg)
{
	struct job *job = arg;

	job->header_bytes += size * n;
	if (job->header_bytes > HEADERS_MAX) {
		job->too_large = 1;
		return 0;
	}
	return size * n;
}

/* The socket that root has connected, once. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose _unused_,
				    struct curl_sockaddr *address _unused_)
{
	struct job *job = arg;

	if (job->fd_taken)
		return CURL_SOCKET_BAD;
	job->fd_taken = 1;
	return job->request.fd;
}

static int on_socket_options(void *arg _unused_, curl_socket_t fd _unused_,
			     curlsocktype purpose _unused_)
{
	return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static enum peer_error error_of(CURLcode code, const struct job *job)
{
	if (job->too_large)
		return PEER_TOO_LARGE;
	/* clang-format off */
	switch ((int)code) {
	case CURLE_OK:
		return PEER_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return PEER_UNREACHABLE;
	case CURLE_OPERATION_TIMEDOUT:
		return PEER_TIMEOUT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return PEER_TLS;
	case CURLE_FILESIZE_EXCEEDED:
		return PEER_TOO_LARGE;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_BAD_CONTENT_ENCODING:
		return PEER_PROTOCOL;
	default:
		return PEER_INTERNAL;
	}
	/* clang-format on */
}

void peer_finish(const struct peer_request *request, const struct peer_reply *reply,
		 struct peer_record *done, int sock)
{
	struct peer_emit emit = { .index = done->index };

	if (done->error == PEER_OK && request->digest)
		request->digest(reply, &emit);
	if (emit.truncated) {
		done->error = PEER_TOO_LARGE;
		done->text = "tells more than may be told";
	}
	record_add_done(&emit.out, done);
	peer_send(sock, &emit.out);
	sb_free(&emit.out);
}

static void job_end(struct work *w, struct job *job, const struct outcome *outcome)
{
	struct peer_record done = {
		.index = job->index,
		.error = outcome->error,
		.status = outcome->reply.status,
		.ms = (unsigned)(clock_ms() - job->start),
		.text = outcome->text,
	};

	peer_finish(&job->request, &outcome->reply, &done, w->sock);
	job->done = 1;
	w->n_done++;
}

static void send_certs(struct work *w, struct job *job)
{
	struct peer_emit emit = { .index = job->index };

	if (!(job->request.tls & PEER_TLS_TELL))
		return;
	peer_certs(job->easy, &job->request, &emit);
	peer_send(w->sock, &emit.out);
	sb_free(&emit.out);
}

static void job_end_http(struct work *w, struct job *job, CURLcode code)
{
	struct outcome o = {
		.error = error_of(code, job),
		.text = job->too_large ? "larger than it may be" :
			*job->error    ? job->error :
					 sym_curl_easy_strerror(code),
		.reply = { .body = job->body.data ? job->body.data : "", .len = job->body.len },
	};

	sym_curl_easy_getinfo(job->easy, CURLINFO_RESPONSE_CODE, &o.reply.status);
	send_certs(w, job);
	job_end(w, job, &o);
	sb_free(&job->body);
}

static void job_end_frames(struct work *w, struct job *job)
{
	struct frames *f = &job->frames;
	struct outcome o = { .error = f->error, .text = f->text };
	struct peer_emit emit = { .index = job->index };

	o.reply = frames_reply(f);
	frames_digest(f, &emit);
	peer_send(w->sock, &emit.out);
	sb_free(&emit.out);
	job_end(w, job, &o);
}

static void set_common(struct job *job)
{
	CURL *e = job->easy;
	const struct peer_request *q = &job->request;

	sym_curl_easy_setopt(e, CURLOPT_URL, job->url ? job->url : q->url);
	sym_curl_easy_setopt(e, CURLOPT_PRIVATE, job);
	sym_curl_easy_setopt(e, CURLOPT_ERRORBUFFER, job->error);
	sym_curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	sym_curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	sym_curl_easy_setopt(e, CURLOPT_PROXY, "");
	sym_curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	sym_curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	sym_curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
	sym_curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)q->timeout_ms);
	/* A resolver that hangs must not hold up the others when its time is over. */
	sym_curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	/* Two sockets to "localhost" are two services. A connection for frames must not be
	 * closed when curl's part in it is over. */
	sym_curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	sym_curl_easy_setopt(e, CURLOPT_FORBID_REUSE, q->kind == PEER_HTTP ? 1L : 0L);
	if (q->fd < 0)
		return;
	/* Whatever the URL names, for Host: and certificate: no lookup, one attempt. */
	job->connect_to = sym_curl_slist_append(NULL, "::127.0.0.1:");
	sym_curl_easy_setopt(e, CURLOPT_CONNECT_TO, job->connect_to);
	sym_curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	sym_curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, job);
	sym_curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket_options);
}

static void set_tls(struct job *job)
{
	int tell = job->request.tls & PEER_TLS_TELL, own = job->request.tls & PEER_TLS_SYSTEM;
	const char *pem = tell ? NULL : job->request.ca_pem;
	struct curl_blob ca = { (void *)(uintptr_t)pem, pem ? strlen(pem) : 0,
				CURL_BLOB_NOCOPY };

	/* The machine's own list is read by hash: as one file it takes milliseconds. */
	sym_curl_easy_setopt(job->easy, CURLOPT_CAINFO, NULL);
	sym_curl_easy_setopt(job->easy, CURLOPT_CAPATH, own ? "/etc/ssl/certs" : NULL);
	sym_curl_easy_setopt(job->easy, CURLOPT_SSL_VERIFYPEER, pem || own ? 1L : 0L);
	sym_curl_easy_setopt(job->easy, CURLOPT_SSL_VERIFYHOST, pem || own ? 2L : 0L);
	sym_curl_easy_setopt(job->easy, CURLOPT_CERTINFO, tell ? 1L : 0L);
	if (pem)
		sym_curl_easy_setopt(job->easy, CURLOPT_CAINFO_BLOB, &ca);
}

static void add_line(struct job *job, const char *line)
{
	struct curl_slist *list = sym_curl_slist_append(job->headers, line);

	if (!list)
		out_of_memory();
	job->headers = list;
}

static void add_header(struct job *job, const char *name, const char *value)
{
	_cleanup_free_ char *line = xasprintf("%s: %s", name, value);

	add_line(job, line);
}

static void set_http(struct job *job)
{
	const struct peer_request *q = &job->request;
	CURL *e = job->easy;
	_cleanup_free_ char *bearer = q->bearer ? xasprintf("Bearer %s", q->bearer) : NULL;

	sym_curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	sym_curl_easy_setopt(e, CURLOPT_USERAGENT, "dstack-host");
	sym_curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	sym_curl_easy_setopt(e, CURLOPT_WRITEDATA, job);
	sym_curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	sym_curl_easy_setopt(e, CURLOPT_HEADERDATA, job);
	sym_curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)q->max_body);
	if (q->body) {
		sym_curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(q->body));
		sym_curl_easy_setopt(e, CURLOPT_POSTFIELDS, q->body);
		add_header(job, "Content-Type",
			   q->content_type ? q->content_type : "application/json");
		/* No round trip to ask whether the body may come. */
		add_header(job, "Expect", "");
	}
	if (bearer)
		add_header(job, "Authorization", bearer);
	if (q->header)
		add_line(job, q->header);
	if (job->headers)
		sym_curl_easy_setopt(e, CURLOPT_HTTPHEADER, job->headers);
	set_tls(job);
}

/* Headers are lines: whoever could put a line break in one could write more of them. */
static int has_line_break(const char *s)
{
	return s && strpbrk(s, "\r\n");
}

/* Never under way: an answer all the same, or everybody would wait for it. */
static void job_refuse(struct work *w, struct job *job, const char *text)
{
	struct outcome refused = { .error = PEER_INTERNAL, .text = text };

	job_end(w, job, &refused);
}

static void job_start(struct work *w, struct job *job)
{
	struct outcome none = { .error = PEER_OK };
	const struct peer_request *q = &job->request;
	CURLMcode failed;

	job->start = clock_ms();
	if (q->kind == PEER_CONNECT && q->fd >= 0) {
		job_end(w, job, &none);
		return;
	}
	if (q->kind != PEER_HTTP && q->fd >= 0) {
		frames_start(&job->frames, q, q->fd);
		job->in_frames = 1;
		return;
	}
	job->easy = q->url && !has_line_break(q->bearer) && !has_line_break(q->content_type) &&
			    !has_line_break(q->header) ?
			    sym_curl_easy_init() :
			    NULL;
	if (!job->easy) {
		job_refuse(w, job, "bad request");
		return;
	}
	if (q->kind != PEER_HTTP)
		job->url = xasprintf("http://%s", q->url);
	set_common(job);
	if (q->kind == PEER_HTTP)
		set_http(job);
	else
		sym_curl_easy_setopt(job->easy, CURLOPT_CONNECT_ONLY, 1L);
	failed = sym_curl_multi_add_handle(w->multi, job->easy);
	if (failed != CURLM_OK)
		job_refuse(w, job, sym_curl_multi_strerror(failed));
}

/* A transfer has ended; for frames this was only the connection. */
static void job_transferred(struct work *w, struct job *job, CURLcode code)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (job->request.kind == PEER_HTTP || job->request.kind == PEER_CONNECT ||
	    code != CURLE_OK) {
		job_end_http(w, job, code);
		return;
	}
	sym_curl_easy_getinfo(job->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD) {
		job_end_http(w, job, CURLE_COULDNT_CONNECT);
		return;
	}
	frames_start(&job->frames, &job->request, fd);
	job->in_frames = 1;
}

static void read_messages(struct work *w)
{
	struct CURLMsg *msg;
	int left;

	while ((msg = sym_curl_multi_info_read(w->multi, &left))) {
		struct job *job = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		sym_curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &job);
		job_transferred(w, job, msg->data.result);
	}
}

static void step_frames(struct work *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct job *job = &w->jobs[i];
		struct frames *f = &job->frames;

		if (!job->in_frames || job->done)
			continue;
		frames_step(f);
		if (!f->done && clock_left(job->start + job->request.timeout_ms) == 0) {
			f->done = 1;
			f->error = PEER_TIMEOUT;
			snprintf(f->text, sizeof(f->text), "no answer within %u ms",
				 job->request.timeout_ms);
		}
		if (f->done)
			job_end_frames(w, job);
	}
}

/* Waits for whatever comes first: curl's sockets and timers, or those of the frames. */
static void wait_for_any(struct work *w)
{
	_cleanup_free_ struct curl_waitfd *fds = xcalloc(w->n, sizeof(*fds));
	unsigned n = 0;
	int most = 1000;

	for (size_t i = 0; i < w->n; i++) {
		struct job *job = &w->jobs[i];
		int left = clock_left(job->start + job->request.timeout_ms);

		if (!job->in_frames || job->done)
			continue;
		fds[n++] = (struct curl_waitfd){
			.fd = job->frames.fd,
			.events = frames_events(&job->frames) & POLLOUT ?
					  CURL_WAIT_POLLIN | CURL_WAIT_POLLOUT :
					  CURL_WAIT_POLLIN,
		};
		if (left < most)
			most = left;
	}
	sym_curl_multi_poll(w->multi, fds, n, most, NULL);
}

void peer_run(const struct peer_request *requests, size_t n, int sock)
{
	struct work w = { .n = n, .sock = sock };
	int running;

	if (sym_curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return;
	w.multi = sym_curl_multi_init();
	if (!w.multi)
		return;
	w.jobs = xcalloc(n, sizeof(*w.jobs));
	for (size_t i = 0; i < n; i++) {
		struct job *job = &w.jobs[i];

		job->index = (unsigned)i;
		job->request = requests[i];
		if (!job->request.timeout_ms)
			job->request.timeout_ms = PEER_TIMEOUT_DEFAULT_MS;
		if (!job->request.max_body)
			job->request.max_body = PEER_BODY_DEFAULT;
		job_start(&w, job);
	}
	/* Nothing is freed: the process ends, and tidying up would wait for resolvers. */
	while (w.n_done < w.n) {
		sym_curl_multi_perform(w.multi, &running);
		read_messages(&w);
		step_frames(&w);
		if (w.n_done < w.n)
			wait_for_any(&w);
	}
}
