// SPDX-License-Identifier: Apache-2.0
/* The record of the key provider that sealed, by what a Docker of the test's own answers. */
#include "test-server.h"
#include "test-view.h"

#include <sys/un.h>

#include "host/probe/key-provider.h"

#define ID "sha256:3333333333333333333333333333333333333333333333333333333333333333"

static void answer_container(int fd)
{
	static const char wanted[] = "GET /containers/" CONTAINER_KEY_PROVIDER "/json ";
	static const char body[] = "{\"State\":{},\"Config\":{},\"Image\":\"" ID "\"}";
	char head[96];
	const char *asked = hear(fd);

	if (strncmp(asked, wanted, sizeof(wanted) - 1) != 0)
		return;
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 sizeof(body) - 1);
	say(fd, head);
	say(fd, body);
}

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
	/* Nor is one made before there is a KMS. */
	unlinkat(f->root.fd, &KEY_PROVIDER_RECORD[1], 0);
	unlinkat(f->root.fd, &(KMS_CA)[1], 0);
	key_provider_record(&h.root, &h.settings);
	assert_null(get(f, KEY_PROVIDER_RECORD));
	stop(&docker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(what_runs_is_recorded),
		with_root(what_is_not_known_is_not_recorded),
		with_root(a_record_stays),
	};

	return cmocka_run_group_tests_name("key-provider", tests, NULL, NULL);
}
