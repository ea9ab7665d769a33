// SPDX-License-Identifier: Apache-2.0
/* The network half: what it asks, and what other peers than the expected get out of it. */
#include "test-server.h"

#include "base/clock.h"
#include "host/lib/lib-curl.h"

static CURLMcode no_memory(CURLM *multi _unused_, CURL *easy _unused_)
{
	return CURLM_OUT_OF_MEMORY;
}

/* --- HTTP --- */

static void http_answer_becomes_facts(void **state _unused_)
{
	struct peer_answer a = ask(answer_fine, http);

	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 200);
	assert_string_equal(peer_get(&a, "body"), "hello");
	assert_string_equal(peer_get(&a, "len"), "5");
	assert_null(peer_get(&a, "absent"));
	peer_answers_free(&a, 1);
}

/* Sends the request back, with ~ for line breaks. */
static void answer_echo(int fd)
{
	char *text = xstrdup(hear(fd)), *reply;

	for (char *p = text; *p; p++)
		if (*p == '\r' || *p == '\n')
			*p = '~';
	reply = xasprintf("HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n%s", text);
	say(fd, reply);
	free(text);
	free(reply);
}

static struct peer_request post(const struct server *s)
{
	struct peer_request q = http(s);

	q.body = "{\"a\":1}";
	q.bearer = "t0ken";
	q.content_type = "application/json";
	q.header = "X-Key: k3y";
	return q;
}

static void post_carries_body_type_and_token(void **state _unused_)
{
	struct peer_answer a;
	const char *seen;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	a = ask(answer_echo, post);
	unsetenv("http_proxy");
	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 400);
	seen = peer_get(&a, "body");
	assert_non_null(strstr(seen, "POST /x HTTP/1.1~~"));
	assert_non_null(strstr(seen, "Authorization: Bearer t0ken~~"));
	assert_non_null(strstr(seen, "X-Key: k3y~~"));
	assert_non_null(strstr(seen, "Content-Type: application/json~~"));
	assert_null(strstr(seen, "Expect"));
	assert_non_null(strstr(seen, "~~~~{\"a\":1}"));
	peer_answers_free(&a, 1);
}

static struct peer_request split_header(const struct server *s)
{
	struct peer_request q = http(s);

	q.bearer = "a\r\nX-Evil: 1";
	return q;
}

static struct peer_request split_own_header(const struct server *s)
{
	struct peer_request q = http(s);

	q.header = "X-Key: k3y\nX-Evil: 1";
	return q;
}

static void line_breaks_cannot_enter_headers(void **state _unused_)
{
	struct peer_answer a = ask(answer_echo, split_header);

	assert_int_equal(a.error, PEER_INTERNAL);
	peer_answers_free(&a, 1);
	a = ask(answer_echo, split_own_header);
	assert_int_equal(a.error, PEER_INTERNAL);
	peer_answers_free(&a, 1);
}

static void what_curl_does_not_take_is_answered(void **state _unused_)
{
	struct peer_answer a;

	assert_int_equal(libcurl_load(), 0);
	sym_curl_multi_add_handle = no_memory;
	a = ask(answer_fine, http);
	sym_curl_multi_add_handle = curl_multi_add_handle;
	assert_int_equal(a.error, PEER_INTERNAL);
	assert_string_equal(a.text, curl_multi_strerror(CURLM_OUT_OF_MEMORY));
	peer_answers_free(&a, 1);
}

static void answer_redirect(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 302 Found\r\nLocation: /etc/passwd\r\nContent-Length: 0\r\n\r\n");
}

static void redirects_are_not_followed(void **state _unused_)
{
	struct peer_answer a = ask(answer_redirect, http);

	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 302);
	peer_answers_free(&a, 1);
}

static struct peer_request file_url(const struct server *s)
{
	struct peer_request q = http(s);

	q.url = "file:///etc/passwd";
	return q;
}

static void other_protocols_are_refused(void **state _unused_)
{
	struct peer_answer a = ask(answer_fine, file_url);

	assert_int_not_equal(a.error, PEER_OK);
	peer_answers_free(&a, 1);
}

static void answer_long(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx");
	hear(fd);
}

static void answer_endless(int fd)
{
	char chunk[4096];

	memset(chunk, 'a', sizeof(chunk));
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
}

static void answer_endless_headers(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\n");
	while (write(fd, "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 52) > 0)
		;
}

static void answer_half(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
}

/* A server that was sent a TLS hello where it expected HTTP. */
static void answer_bad_request(int fd)
{
	char hello[4096];

	if (read(fd, hello, sizeof(hello)) > 0)
		say(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static void bad_peers_are_told_apart(void **state _unused_)
{
	static const struct {
		script_fn script;
		struct peer_request (*make)(const struct server *s);
		enum peer_error error;
	} cases[] = {
		{ answer_long, http, PEER_TOO_LARGE },
		{ answer_endless, http, PEER_TOO_LARGE },
		{ answer_endless_headers, http, PEER_TOO_LARGE },
		{ answer_ssh, http, PEER_PROTOCOL },
		{ answer_half, http, PEER_PROTOCOL },
		{ answer_nothing, http, PEER_PROTOCOL },
		{ answer_bad_request, https, PEER_TLS },
		{ answer_ssh, https, PEER_TLS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_answer a = ask(cases[i].script, cases[i].make);

		if (a.error != cases[i].error)
			print_error("case %zu: %s\n", i, a.text ? a.text : "fine");
		assert_int_equal(a.error, cases[i].error);
		assert_non_null(a.text);
		assert_int_equal(a.n_facts, 0);
		peer_answers_free(&a, 1);
	}
}

static void nobody_there(void **state _unused_)
{
	struct server s = start(answer_fine);
	struct peer_request q[3] = { http(&s), http(&s), http(&s) };
	struct peer_answer a[3];

	stop(&s);
	q[1].kind = PEER_CONNECT;
	q[1].url = s.at;
	q[2].kind = PEER_KEY_PROVIDER;
	q[2].url = s.at;
	assert_int_equal(peer_ask(q, 3, a), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a[i].error, PEER_UNREACHABLE);
	peer_answers_free(a, 3);
}

static void all_are_asked_at_once(void **state _unused_)
{
	struct server quick = start(answer_fine), slow[3];
	struct peer_request q[4];
	struct peer_answer a[4];
	uint64_t before = clock_ms(), took;

	for (int i = 0; i < 3; i++) {
		slow[i] = start(answer_late);
		q[i] = http(&slow[i]);
		q[i].timeout_ms = 400;
	}
	q[2].kind = PEER_KEY_PROVIDER;
	q[2].url = slow[2].at;
	q[3] = http(&quick);
	assert_int_equal(peer_ask(q, 4, a), 0);
	took = clock_ms() - before;
	assert_in_range(took, 390, 1200);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a[i].error, PEER_TIMEOUT);
	assert_int_equal(a[3].error, PEER_OK);
	assert_true(a[3].ms < 390);
	peer_answers_free(a, 4);
	for (int i = 0; i < 3; i++)
		stop(&slow[i]);
	stop(&quick);
}

/* --- sockets that are handed over --- */

static void answer_one(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
}

static void answer_two(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
}

static int unix_peer(script_fn script, pid_t *pid)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*pid = fork();
	if (*pid == 0) {
		close(pair[0]);
		script(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static void sockets_given_are_used_and_not_mixed_up(void **state _unused_)
{
	struct server none = { .url = "http://localhost/x" };
	struct peer_request q[2] = { http(&none), http(&none) };
	struct peer_answer a[2];
	pid_t pid[2];

	q[0].fd = unix_peer(answer_one, &pid[0]);
	q[1].fd = unix_peer(answer_two, &pid[1]);
	assert_int_equal(peer_ask(q, 2, a), 0);
	assert_int_equal(a[0].error, PEER_OK);
	assert_string_equal(peer_get(&a[0], "body"), "one");
	assert_string_equal(peer_get(&a[1], "body"), "two");
	peer_answers_free(a, 2);
	for (int i = 0; i < 2; i++) {
		close(q[i].fd);
		waitpid(pid[i], NULL, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_answer_becomes_facts),
		cmocka_unit_test(post_carries_body_type_and_token),
		cmocka_unit_test(line_breaks_cannot_enter_headers),
		cmocka_unit_test(what_curl_does_not_take_is_answered),
		cmocka_unit_test(redirects_are_not_followed),
		cmocka_unit_test(other_protocols_are_refused),
		cmocka_unit_test(bad_peers_are_told_apart),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(all_are_asked_at_once),
		cmocka_unit_test(sockets_given_are_used_and_not_mixed_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
