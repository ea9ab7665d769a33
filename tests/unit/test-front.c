// SPDX-License-Identifier: Apache-2.0
/*
 * The front: the rendered file in the real haproxy, between real clients and two small HTTP
 * servers on unix sockets that give back what they were sent.
 */
#include "test.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "host/cert.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"

#define HAPROXY "/usr/sbin/haproxy"
#define CONF "/etc/dstack/host.conf"
#define CFG "/run/dstack/front/haproxy.cfg"
#define MAP "/run/dstack/front/tokens.map"
#define PEM "/run/dstack/front/registry.pem"
#define TOKEN "users-token-1234"
/* % is what haproxy would expand */
#define INTERNAL "internal%[hostname]%%token$HOME#x"
#define UUID "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"

static enum render_outcome render(const struct fixture *f, const char *path)
{
	struct settings s;
	struct render_ctx rc = { &f->root, &s, 0 };
	struct render_result *results;
	enum render_outcome outcome = RENDER_FAILED;
	size_t n;

	assert_int_equal(settings_load(&f->root, &s), 0);
	render_plan(&rc, "front", &results, &n);
	for (size_t i = 0; i < n; i++) {
		render_apply(&rc, &results[i]);
		if (strcmp(results[i].target->path, path) == 0)
			outcome = results[i].outcome;
	}
	render_results_free(results, n);
	settings_free(&s);
	return outcome;
}

/* --- what is rendered --- */

static void tokens_are_hashed(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "");
	put_text(f, SECRETS_DIR "/vmm-token", "abc\n");
	assert_int_equal(render(f, MAP), RENDER_WRITTEN);
	/* SHA-256("abc"), FIPS 180-2 appendix B.1 */
	assert_non_null(strstr(get(f, MAP), "\nba7816bf8f01cfea414140de5dae2223b00361a396177a9cb"
					    "410ff61f20015ad admin\n"));
	put_text(f, SECRETS_DIR "/vmm-token", "\n");
	assert_int_equal(render(f, MAP), RENDER_WRITTEN);
	assert_null(strstr(get(f, MAP), "admin"));
}

static void registry_only_where_it_may_be(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "");
	assert_int_equal(render(f, PEM), RENDER_WAITS);
	assert_null(strstr(get(f, CFG), "frontend registry"));
	assert_non_null(strstr(get(f, CFG), "\n# No registry: DOMAIN is not set.\n"));
	put_text(f, CONF, "DOMAIN=example.org\nREGISTRY=off\n");
	assert_int_equal(render(f, PEM), RENDER_OFF);
	assert_null(strstr(get(f, CFG), "frontend registry"));
	put_text(f, CONF, "DOMAIN=example.org\n");
	assert_int_equal(render(f, PEM), RENDER_WRITTEN);
	assert_non_null(strstr(get(f, CFG), "frontend registry\n    bind 127.0.0.1:443 ssl "));
	put_text(f, CONF, "DOMAIN=example.org\nREGISTRY_LISTEN=0.0.0.0:443\n");
	/* Nothing public before there is a certificate that others trust. */
	assert_int_equal(render(f, CFG), RENDER_INVALID);
	assert_null(strstr(get(f, CFG), "bind 0.0.0.0"));
}

static void edited_internal_token_is_refused(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "");
	put_text(f, SECRETS_DIR "/vmm-internal-token", "quote'and-more-text");
	assert_int_equal(render(f, CFG), RENDER_FAILED);
	assert_null(get(f, CFG));
}

/* --- the stage: two servers, haproxy, clients --- */

struct stage {
	struct fixture *f;
	int vmm_port, registry_port;
	pid_t vmm, registry, haproxy;
};

static struct stage stage;

static int bound(const struct sockaddr *sa, socklen_t len, int type)
{
	int fd = socket(sa->sa_family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, sa, len), 0);
	return fd;
}

static int bound_unix(const char *path, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s%s", stage.f->dir, path);
	return bound((struct sockaddr *)&sun, sizeof(sun), type);
}

static int free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int fd;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = bound((struct sockaddr *)&sin, sizeof(sin), SOCK_STREAM);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

/* Answers with the request itself; what asks for /prpc/Refused gets a 401. */
static void echo(int fd, const char *name)
{
	char request[16384], head[256];
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(request) - 1 &&
	       (got = read(fd, request + n, sizeof(request) - 1 - n)) > 0) {
		n += (size_t)got;
		request[n] = '\0';
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	snprintf(head, sizeof(head),
		 "HTTP/1.1 %s\r\nServer: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
		 strstr(request, "/prpc/GetRefused") ? "401 Unauthorized" : "200 OK", name, n);
	/* Whoever has enough may go in the middle of it. */
	if (write(fd, head, strlen(head)) > 0 && strncmp(request, "HEAD ", 5) != 0 &&
	    write(fd, request, n) < 0)
		return;
}

static pid_t serve(const char *path, const char *name)
{
	int fd = bound_unix(path, SOCK_STREAM);
	pid_t pid;

	assert_int_equal(listen(fd, 16), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		for (;;) {
			int c = accept(fd, NULL, NULL);

			if (c < 0)
				_exit(1);
			echo(c, name);
			close(c);
		}
	}
	assert_true(pid > 0);
	close(fd);
	return pid;
}

/* The rendered file with its paths moved below the fake root. */
static void move_paths(void)
{
	const char *text = get(stage.f, CFG), *at;
	char *moved = xstrdup("");

	assert_non_null(text);
	for (; (at = strstr(text, "/run/dstack/")); text = at + 1) {
		char *longer = xasprintf("%s%.*s%s/", moved, (int)(at - text), text,
					 stage.f->dir);

		free(moved);
		moved = longer;
	}
	at = moved;
	moved = xasprintf("%s%s", at, text);
	free((char *)at);
	put_text(stage.f, "/haproxy.cfg", moved);
	free(moved);
}

/* Until haproxy says READY=1 as it says it to systemd. */
static void start_haproxy(void)
{
	char cfg[128], notify[128], message[512];
	int fd = bound_unix("/notify", SOCK_DGRAM);

	snprintf(cfg, sizeof(cfg), "%s/haproxy.cfg", stage.f->dir);
	snprintf(notify, sizeof(notify), "%s/notify", stage.f->dir);
	stage.haproxy = fork();
	if (stage.haproxy == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		setenv("NOTIFY_SOCKET", notify, 1);
		/* -dW: a warning is an error */
		execl(HAPROXY, HAPROXY, "-Ws", "-dW", "-f", cfg, NULL);
		_exit(127);
	}
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, 20000) != 1)
			fail_msg("haproxy did not become ready");
		n = read(fd, message, sizeof(message) - 1);
		assert_true(n >= 0);
		message[n] = '\0';
		if (strstr(message, "READY=1"))
			break;
	}
	close(fd);
}

/* haproxy first: it must start although nobody is behind it yet. */
static int stage_open(void **state)
{
	char conf[256];

	if (access(HAPROXY, X_OK) < 0)
		return 0;
	if (fixture_setup((void **)&stage.f) < 0)
		return -1;
	stage.vmm_port = free_port();
	stage.registry_port = free_port();
	snprintf(conf, sizeof(conf),
		 "DOMAIN=example.org\nVMM_ADDRESS=127.0.0.1:%d\nREGISTRY_LISTEN=127.0.0.1:%d\n",
		 stage.vmm_port, stage.registry_port);
	put_text(stage.f, CONF, conf);
	put_text(stage.f, SECRETS_DIR "/vmm-token", TOKEN "\n");
	put_text(stage.f, SECRETS_DIR "/vmm-internal-token", INTERNAL "\n");
	assert_int_equal(render(stage.f, CFG), RENDER_WRITTEN);
	move_paths();
	put_text(stage.f, "/run/dstack/vmm/x", "");
	put_text(stage.f, "/run/dstack/registry/x", "");
	start_haproxy();
	*state = &stage;
	return 0;
}

static void end(pid_t pid, int sig)
{
	if (pid > 0 && kill(pid, sig) == 0)
		waitpid(pid, NULL, 0);
}

static int stage_close(void **state)
{
	(void)state;
	end(stage.haproxy, SIGTERM);
	end(stage.vmm, SIGKILL);
	end(stage.registry, SIGKILL);
	return stage.f ? fixture_teardown((void **)&stage.f) : 0;
}

static void need_haproxy(void)
{
	if (!stage.f) {
		print_message("# " HAPROXY " is not there\n");
		skip();
	}
}

/* Sends one request; @P in it becomes the port. The whole answer, in a static buffer. */
static const char *ask(const char *request)
{
	static char answer[32768];
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct sockaddr_in sin = { .sin_family = AF_INET };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 20 };
	size_t n = 0;
	ssize_t got;

	for (const char *p = request; *p; p++) {
		if (p[0] == '@' && p[1] == 'P')
			sb_addf(&sb, "%d", stage.vmm_port), p++;
		else
			sb_addc(&sb, *p);
	}
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin.sin_port = htons((uint16_t)stage.vmm_port);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(write(fd, sb.data, sb.len), sb.len);
	while ((got = read(fd, answer + n, sizeof(answer) - 1 - n)) > 0)
		n += (size_t)got;
	answer[n] = '\0';
	return answer;
}

static int status_of(const char *answer)
{
	int status = 0;

	return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

struct request_case {
	int status;
	const char *line;    /* method and target */
	const char *headers; /* each with its line end */
};

#define GOOD_HOST "Host: 127.0.0.1:@P\r\n"
#define GOOD_TOKEN "Authorization: Bearer " TOKEN "\r\n"
#define GOOD GOOD_HOST GOOD_TOKEN

static void try_all(const struct request_case *cases, size_t n)
{
	unsigned wrong = 0;

	need_haproxy();
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *request =
			xasprintf("%s HTTP/1.1\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n",
				  cases[i].line, cases[i].headers);
		int status = status_of(ask(request));

		if (status == cases[i].status)
			continue;
		print_error("%d instead of %d: %s %s\n", status, cases[i].status,
			    cases[i].line, cases[i].headers);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* Stands first: haproxy runs, and nobody is behind it yet. */
static void before_the_vmm(void **state)
{
	const char *answer;

	(void)state;
	need_haproxy();
	answer = ask("GET / HTTP/1.1\r\n" GOOD "Connection: close\r\n\r\n");
	assert_int_equal(status_of(answer), 503);
	assert_non_null(strstr(answer, "the VMM does not answer"));
	stage.vmm = serve("/run/dstack/vmm/vmm.sock", "vmm");
	stage.registry = serve("/run/dstack/registry/registry.sock", "registry");
}

/* Credentials: printf '%s' ... | base64 */
static void who_gets_in(void **state)
{
	static const struct request_case cases[] = {
		{ 200, "POST /prpc/Status?json", GOOD },
		{ 200, "GET /", GOOD },
		{ 200, "HEAD /", GOOD },
		{ 200, "GET /res/x25519.js", GOOD },
		{ 200, "POST /prpc/StopVm?json", GOOD },
		{ 200, "POST /prpc/Teepod.CreateVm?json", GOOD },
		{ 200, "GET /", GOOD_HOST "Authorization: bearer " TOKEN "\r\n" },
		/* anybody:users-token-1234, users-token-1234: */
		{ 200, "GET /", GOOD_HOST
		  "Authorization: Basic YW55Ym9keTp1c2Vycy10b2tlbi0xMjM0\r\n" },
		{ 200, "GET /", GOOD_HOST "Authorization: Basic dXNlcnMtdG9rZW4tMTIzNDo=\r\n" },
		/* anybody:users-token-1235, users-token-1234:wrong, : */
		{ 401, "GET /", GOOD_HOST
		  "Authorization: Basic YW55Ym9keTp1c2Vycy10b2tlbi0xMjM1\r\n" },
		{ 401, "GET /", GOOD_HOST
		  "Authorization: Basic dXNlcnMtdG9rZW4tMTIzNDp3cm9uZw==\r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: Basic Og==\r\n" },
		{ 401, "GET /", GOOD_HOST },
		{ 401, "POST /prpc/Status?json", GOOD_HOST },
		{ 401, "GET /logs?id=" UUID, GOOD_HOST },
		{ 401, "GET /?token=" TOKEN, GOOD_HOST "X-Admin-Token: " TOKEN "\r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: Bearer \r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: Bearer wrong-token-1234\r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: Bearer " TOKEN "5\r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: Bearer " INTERNAL "\r\n" },
		{ 401, "GET /", GOOD_HOST "Authorization: " TOKEN "\r\n" },
		/* SHA-256 of the token is no token */
		{ 401, "GET /", GOOD_HOST "Authorization: Bearer admin\r\n" },
		{ 401, "GET /", GOOD GOOD_TOKEN },
	};

	(void)state;
	try_all(cases, ARRAY_SIZE(cases));
}

static void from_where(void **state)
{
	static const struct request_case cases[] = {
		{ 200, "GET /", "Host: localhost:@P\r\n" GOOD_TOKEN },
		{ 200, "GET /", "Host: LocalHost:@P\r\n" GOOD_TOKEN },
		{ 200, "GET /", "Host: [::1]:@P\r\n" GOOD_TOKEN },
		{ 403, "GET /", "Host: localhost\r\n" GOOD_TOKEN },
		{ 403, "GET /", "Host: localhost:1\r\n" GOOD_TOKEN },
		{ 403, "GET /", "Host: example.org:@P\r\n" GOOD_TOKEN },
		{ 403, "GET /", "Host: 127.0.0.1:@P.example.org\r\n" GOOD_TOKEN },
		{ 403, "GET /", GOOD_TOKEN },
		{ 200, "POST /prpc/StopVm?json", GOOD "Origin: http://127.0.0.1:@P\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: http://localhost:@P\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: https://127.0.0.1:@P\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: http://example.org\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: http://127.0.0.1:@P0\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: null\r\n" },
		{ 403, "POST /prpc/StopVm?json", GOOD "Origin: \r\n" },
	};

	(void)state;
	try_all(cases, ARRAY_SIZE(cases));
}

static void reading_never_acts(void **state)
{
	static const char *const acting[] = {
		"CreateVm", "StartVm", "StopVm", "RemoveVm", "ShutdownVm", "UpgradeApp",
		"ResizeVm", "UpdateVm", "DeleteImage", "PullRegistryImage", "ReloadVms",
		"SvStop", "SvRemove", "Teepod.StopVm", "WhateverComesNext", "",
	};
	static const struct request_case cases[] = {
		{ 200, "GET /prpc/Status", GOOD },
		{ 200, "GET /prpc/Teepod.Version", GOOD },
		{ 200, "GET /prpc/GetInfo?id=" UUID, GOOD },
		{ 200, "GET /prpc/ListImages", GOOD },
		{ 200, "GET /guest/Info?id=" UUID, GOOD },
		{ 405, "GET /guest/Shutdown?id=" UUID, GOOD },
		{ 405, "GET /prpc", GOOD },
		{ 405, "GET /prpc/StopVm/", GOOD },
		{ 400, "GET /prpc/Stop%56m", GOOD },
		{ 400, "GET //prpc/StopVm", GOOD },
		{ 400, "GET /res/../prpc/StopVm", GOOD },
		{ 400, "GET /%70rpc/StopVm", GOOD },
		{ 405, "PUT /prpc/Status", GOOD },
		{ 405, "DELETE /", GOOD },
		{ 405, "OPTIONS /prpc/StopVm", GOOD },
		{ 405, "POST /", GOOD },
		{ 404, "POST /api/GetSealingKey", GOOD },
		{ 404, "GET /api/Notify", GOOD },
	};
	struct request_case one = { .status = 405, .headers = GOOD };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(acting); i++) {
		_cleanup_free_ char *line = xasprintf("%s /prpc/%s?id=" UUID,
						      i % 2 ? "HEAD" : "GET", acting[i / 2]);

		one.line = line;
		try_all(&one, 1);
	}
	try_all(cases, ARRAY_SIZE(cases));
}

static void logs_of_a_uuid(void **state)
{
	static const struct request_case cases[] = {
		{ 200, "GET /logs?id=" UUID, GOOD },
		{ 200, "GET /logs?id=" UUID "&follow=true&ansi=false&lines=20&ch=serial", GOOD },
		{ 200, "GET /logs?follow=true&id=" UUID, GOOD },
		{ 400, "GET /logs", GOOD },
		{ 400, "GET /logs?id=", GOOD },
		{ 400, "GET /logs?id=../../etc", GOOD },
		{ 400, "GET /logs?id=" UUID "/..", GOOD },
		{ 400, "GET /logs?id=x" UUID, GOOD },
		{ 400, "GET /logs?id=..%2f..%2fetc", GOOD },
		{ 400, "GET /logs?id=" UUID "&id=../../etc", GOOD },
		{ 400, "GET /logs?id=" UUID "&id=abc", GOOD },
		{ 400, "GET /logs?id=" UUID "&%69d=abc", GOOD },
		{ 400, "GET /logs?id=" UUID "&ch=../x", GOOD },
		{ 404, "GET /logs/?id=../../etc", GOOD },
	};

	(void)state;
	try_all(cases, ARRAY_SIZE(cases));
}

static void the_vmm_sees_its_own_token_only(void **state)
{
	const char *answer;

	(void)state;
	need_haproxy();
	answer = ask("GET /logs?id=" UUID "&follow=true HTTP/1.1\r\n" GOOD
		     "X-Admin-Token: abc\r\nConnection: close\r\n\r\n");
	assert_int_equal(status_of(answer), 200);
	assert_non_null(strstr(answer, "uthorization: Bearer " INTERNAL "\r\n"));
	assert_null(strstr(answer, TOKEN));
	assert_null(strcasestr(answer, "x-admin-token"));
	assert_non_null(strstr(answer, "GET /logs?id=" UUID "&follow=true HTTP/1.1\r\n"));
	answer = ask("GET / HTTP/1.1\r\n" GOOD_HOST "Connection: close\r\n\r\n");
	assert_int_equal(status_of(answer), 401);
	assert_non_null(strcasestr(answer, "www-authenticate: Basic realm=\""));
	/* and a refusal of that token is no question to the user */
	answer = ask("GET /prpc/GetRefused HTTP/1.1\r\n" GOOD "Connection: close\r\n\r\n");
	assert_int_equal(status_of(answer), 502);
	assert_null(strcasestr(answer, "www-authenticate"));
	/* the heartbeat of a followed log comes once in 60 s */
	assert_non_null(strstr(get(stage.f, CFG),
			       "backend vmm-logs\n    timeout server 3600s\n"));
	assert_non_null(strstr(get(stage.f, CFG), "timeout client 3600s\n"));
}

static size_t count_bytes(char *data _unused_, size_t size, size_t n, void *arg)
{
	*(size_t *)arg += size * n;
	return size * n;
}

/* Over TLS by its name, trusting the host's CA and nothing else. HTTP status, 0 when the
 * connection is refused. */
static long registry(const char *name, const char *method, long tls)
{
	_cleanup_free_ char *url = xasprintf("https://%s:%d/v2/", name, stage.registry_port);
	_cleanup_free_ char *at = xasprintf("%s:%d:127.0.0.1", name, stage.registry_port);
	_cleanup_free_ char *ca = xasprintf("%s%s", stage.f->dir, CERT_CA_CRT);
	struct curl_slist *resolve = curl_slist_append(NULL, at);
	CURL *curl = curl_easy_init();
	size_t got = 0;
	long status = 0;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, tls);
	curl_easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, "DEFAULT:@SECLEVEL=0");
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOBODY, (long)(strcmp(method, "HEAD") == 0));
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	curl_slist_free_all(resolve);
	return status;
}

static void registry_is_for_reading(void **state)
{
	static const char *const writing[] = { "PUT", "POST", "PATCH", "DELETE", "OPTIONS" };

	(void)state;
	need_haproxy();
	assert_int_equal(registry("registry.example.org", "GET", CURL_SSLVERSION_DEFAULT), 200);
	assert_int_equal(registry("registry.example.org", "HEAD", CURL_SSLVERSION_DEFAULT), 200);
	for (size_t i = 0; i < ARRAY_SIZE(writing); i++)
		assert_int_equal(registry("registry.example.org", writing[i],
					  CURL_SSLVERSION_DEFAULT), 405);
	/* OpenSSL of today refuses less by itself, that of tomorrow need not */
	assert_non_null(strstr(get(stage.f, CFG), "ssl-min-ver TLSv1.2 "));
	assert_int_equal(registry("other.example.org", "GET", CURL_SSLVERSION_DEFAULT), 0);
	assert_int_equal(registry("registry.example.org", "GET",
				  CURL_SSLVERSION_TLSv1_2 | CURL_SSLVERSION_MAX_TLSv1_2), 200);
	assert_int_equal(registry("registry.example.org", "GET",
				  CURL_SSLVERSION_TLSv1_0 | CURL_SSLVERSION_MAX_TLSv1_1), 0);
}

int main(void)
{
	const struct CMUnitTest rendered[] = {
		with_root(tokens_are_hashed),
		with_root(registry_only_where_it_may_be),
		with_root(edited_internal_token_is_refused),
	};
	const struct CMUnitTest running[] = {
		cmocka_unit_test(before_the_vmm),
		cmocka_unit_test(who_gets_in),
		cmocka_unit_test(from_where),
		cmocka_unit_test(reading_never_acts),
		cmocka_unit_test(logs_of_a_uuid),
		cmocka_unit_test(the_vmm_sees_its_own_token_only),
		cmocka_unit_test(registry_is_for_reading),
	};
	int failed = cmocka_run_group_tests(rendered, NULL, NULL);

	return failed + cmocka_run_group_tests(running, stage_open, stage_close);
}
