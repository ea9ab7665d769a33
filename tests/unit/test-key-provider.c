// SPDX-License-Identifier: Apache-2.0
/* The record of the key provider that sealed, by what a Docker of the test's own answers. */
#include "test-server.h"
#include "test-view.h"

#include <sys/un.h>

#include "host/probe/key-provider.h"

#define ID "sha256:3333333333333333333333333333333333333333333333333333333333333333"

#define OTHER "sha256:4444444444444444444444444444444444444444444444444444444444444444"
#define SIMULATED "{\"Labels\":{\"org.dstack.simulated\":\"true\"}}"

static void answer_with(int fd, const char *config)
{
	static const char wanted[] = "GET /containers/" CONTAINER_KEY_PROVIDER "/json ";
	_cleanup_free_ char *container = xasprintf("{\"State\":{},\"Config\":%s,\"Image\":\"" ID
						   "\"}", config);
	_cleanup_free_ char *image = xasprintf("{\"Id\":\"" OTHER "\",\"Config\":%s}", config);
	const char *asked = hear(fd), *body = NULL;
	char head[96];

	if (strncmp(asked, wanted, sizeof(wanted) - 1) == 0)
		body = container;
	else if (strncmp(asked, "GET /images/", 12) == 0)
		body = image;
	if (!body)
		return;
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 strlen(body));
	say(fd, head);
	say(fd, body);
}

static void answer_container(int fd) { answer_with(fd, "{}"); }
static void answer_simulated(int fd) { answer_with(fd, SIMULATED); }

static void answer_no_container(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");
}

/* At the fixture's /run/docker.sock. */
static pid_t start_docker(const struct fixture *f, script_fn script)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	put_text(f, "/run/x", "");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/run/docker.sock", f->dir);
	unlink(at.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd, script);
	}
	close(fd);
	return pid;
}

static void record(const struct fixture *f, script_fn script)
{
	_cleanup_host_ struct host h;
	struct server docker = { 0 };

	host_make(&h, f, FULL_CONF);
	if (script)
		docker.pid = start_docker(f, script);
	unlinkat(f->root.fd, &KEY_PROVIDER_RECORD[1], 0);
	key_provider_record(&h.root, &h.settings);
	if (script)
		stop(&docker);
}

static void what_runs_is_recorded(void **state)
{
	const struct fixture *f = *state;

	record(f, answer_container);
	assert_string_equal(must(get(f, KEY_PROVIDER_RECORD)), ID "\n");
}

static void what_is_not_known_is_not_recorded(void **state)
{
	const struct fixture *f = *state;

	record(f, answer_no_container);
	assert_null(get(f, KEY_PROVIDER_RECORD));
	unlinkat(f->root.fd, "run/docker.sock", 0);
	record(f, NULL);
	assert_null(get(f, KEY_PROVIDER_RECORD));
}

static void a_record_stays(void **state)
{
	const struct fixture *f = *state;
	_cleanup_host_ struct host h;
	struct server docker = { .pid = start_docker(f, answer_container) };

	host_make(&h, f, FULL_CONF);
	key_provider_record(&h.root, &h.settings);
	assert_string_equal(must(get(f, KEY_PROVIDER_RECORD)), KEY_PROVIDER_ID "\n");
	/* Nor is one made before something is sealed. */
	unlinkat(f->root.fd, &KEY_PROVIDER_RECORD[1], 0);
	unlinkat(f->root.fd, &(KMS_CA)[1], 0);
	key_provider_record(&h.root, &h.settings);
	assert_null(get(f, KEY_PROVIDER_RECORD));
	/* No KMS is needed for that. */
	put_text(f, "/var/lib/dstack/vm/7/shared/app-compose.json",
		 "{\"local_key_provider_enabled\": true}");
	key_provider_record(&h.root, &h.settings);
	assert_string_equal(must(get(f, KEY_PROVIDER_RECORD)), ID "\n");
	stop(&docker);
}

/* Who is about to start it; the last moment at which the container that has sealed is there. */
static void starting(const struct fixture *f, script_fn script, int sealed, const char *refused,
		     const char *recorded)
{
	_cleanup_host_ struct host h;
	_cleanup_free_ char *why = NULL;
	struct server docker = { .pid = start_docker(f, script) };

	host_make(&h, f, FULL_CONF);
	unlinkat(f->root.fd, &KEY_PROVIDER_RECORD[1], 0);
	if (!sealed)
		unlinkat(f->root.fd, &(KMS_CA)[1], 0);
	why = key_provider_start_refused(&h.root, &h.settings);
	if (!refused != !why || (why && !strstr(why, refused)))
		fail_msg("refused: %s, not %s", why, refused);
	if (recorded)
		assert_string_equal(must(get(f, KEY_PROVIDER_RECORD)), recorded);
	else
		assert_null(get(f, KEY_PROVIDER_RECORD));
	stop(&docker);
}

static void a_start_looks_first(void **state)
{
	const struct fixture *f = *state;

	starting(f, answer_container, 1, "is " OTHER " here, and " ID " has sealed", ID "\n");
	starting(f, answer_container, 0, NULL, NULL);
	starting(f, answer_simulated, 1, NULL, ID "\nsimulated\n");
	starting(f, answer_no_container, 1, "which image has sealed is not known", NULL);
	starting(f, answer_no_container, 0, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(what_runs_is_recorded),
		with_root(what_is_not_known_is_not_recorded),
		with_root(a_record_stays),
		with_root(a_start_looks_first),
	};

	return cmocka_run_group_tests_name("key-provider", tests, NULL, NULL);
}
