// SPDX-License-Identifier: Apache-2.0
/* Certificate facts, of a server that the host's CA has signed for. */
#include "test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/sock.h"
#include "host/peer/cert-facts.h"
#include "host/cert.h"

#define DAY_US (UINT64_C(86400) * 1000000)

struct server {
	struct cert_pair pair;
	char *ca;
	char at[32];
	pid_t pid;
	FILE *out;
};

static char *take(const struct fixture *f, const char *path)
{
	const char *text = get(f, path);

	assert_non_null(text);
	return xstrdup(text);
}

/* openssl s_server; it serves one connection after the other. */
static void server_start(struct server *s, const struct fixture *f)
{
	_cleanup_free_ char *cert = xasprintf("%s/c", f->dir), *key = xasprintf("%s/k", f->dir);
	char line[256];
	int fds[2];

	assert_int_equal(cert_leaf(&f->root, "registry", "DNS:registry.example.org,IP:10.0.2.2,"
				   "IP:::1", 0, &s->pair), 0);
	s->ca = take(f, CERT_CA_CRT);
	put_text(f, "/c", s->pair.crt);
	put_text(f, "/k", s->pair.key);
	assert_int_equal(pipe(fds), 0);
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert,
		       "-key", key, "-www", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	s->out = fdopen(fds[0], "r");
	while (!*s->at && fgets(line, sizeof(line), s->out))
		sscanf(line, "ACCEPT %31s", s->at);
}

static void server_stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	fclose(s->out);
	cert_pair_free(&s->pair);
	free(s->ca);
}

static struct peer_answer ask(const struct server *s, const char *url, const char *ca,
			      unsigned tls)
{
	struct peer_request q = { .kind = PEER_HTTP, .url = url, .fd = -1, .ca_pem = ca,
				  .timeout_ms = 5000, .tls = tls };
	struct peer_answer a;
	struct hostport at;

	assert_null(parse_hostport(s->at, &at));
	q.fd = sock_tcp(&at, 1000);
	assert_true(q.fd >= 0);
	assert_int_equal(peer_ask(&q, 1, &a), 0);
	close(q.fd);
	return a;
}

static void what_is_served_is_told(const struct server *s)
{
	struct peer_answer a = ask(s, "https://registry.example.org/", s->ca, PEER_TLS_TELL);
	_cleanup_free_ char *names = cert_names(&a);
	uint64_t now_us = (uint64_t)time(NULL) * 1000000;
	struct cert_facts c;

	cert_facts_of(&a, &c);
	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 200);
	assert_int_equal(c.seen, 1);
	assert_int_equal(c.host, 1);
	assert_string_equal(c.ca, "ok");
	assert_string_not_equal(c.system, "ok");
	assert_string_equal(c.subject, "CN=dstack-host registry");
	assert_int_equal(strncmp(c.issuer, "CN=dstack-host CA of ", 21), 0);
	assert_string_equal(names,
			    "DNS:registry.example.org, IP:10.0.2.2, IP:0:0:0:0:0:0:0:1");
	assert_string_equal(peer_get(&a, "cert.count"), "1");
	assert_int_equal(strlen(c.sha256), 64);
	assert_in_range(cert_days_left(&c, now_us), 396, 397);
	assert_int_equal(cert_days_left(&c, now_us + 398 * DAY_US), -1);
	peer_answers_free(&a, 1);
}

static void another_name_is_told(const struct server *s)
{
	static const struct {
		const char *url;
		int host;
	} cases[] = {
		{ "https://kms.example.org/", 0 },
		{ "https://10.0.2.2/", 1 },
		{ "https://10.0.2.3/", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_answer a = ask(s, cases[i].url, NULL, PEER_TLS_TELL);
		struct cert_facts c;

		cert_facts_of(&a, &c);
		assert_int_equal(c.seen, 1);
		assert_int_equal(c.host, cases[i].host);
		assert_null(c.ca);
		peer_answers_free(&a, 1);
	}
}

/* A CA of the same name, and with another key. */
static void another_ca_is_told(const struct server *s, const struct fixture *other)
{
	struct cert_pair pair;
	_cleanup_free_ char *ca = NULL;
	struct peer_answer a;

	assert_int_equal(cert_leaf(&other->root, "x", "DNS:x.example.org", 0, &pair), 0);
	cert_pair_free(&pair);
	ca = take(other, CERT_CA_CRT);
	a = ask(s, "https://registry.example.org/", ca, PEER_TLS_TELL);
	assert_int_equal(a.error, PEER_OK);
	assert_string_not_equal(peer_get(&a, "cert.ca"), "ok");
	peer_answers_free(&a, 1);
}

/* Who does not ask to be told is not, and is refused what is not good. */
static void the_machine_own_list_is_enforced(const struct server *s)
{
	struct peer_answer a = ask(s, "https://registry.example.org/", NULL, PEER_TLS_SYSTEM);

	assert_int_equal(a.error, PEER_TLS);
	assert_null(peer_get(&a, "cert.host"));
	peer_answers_free(&a, 1);
	/* Or by the CA that goes with it. */
	a = ask(s, "https://registry.example.org/", s->ca, PEER_TLS_SYSTEM);
	assert_int_equal(a.error, PEER_OK);
	assert_null(peer_get(&a, "cert.host"));
	peer_answers_free(&a, 1);
}

static void certificates_become_facts(void **state)
{
	const struct fixture *f = *state;
	struct server s = { 0 };
	void *other = NULL;

	server_start(&s, f);
	if (!*s.at) {
		server_stop(&s);
		skip(); /* no openssl here */
	}
	assert_int_equal(fixture_setup(&other), 0);
	what_is_served_is_told(&s);
	another_name_is_told(&s);
	another_ca_is_told(&s, other);
	the_machine_own_list_is_enforced(&s);
	fixture_teardown(&other);
	server_stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(certificates_become_facts, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests_name("peer-certs", tests, NULL, NULL);
}
