// SPDX-License-Identifier: Apache-2.0
/* The network half: what it may not do, what it cannot say, whom it believes. */
#include "test-server.h"

#include "host/peer/peer-record.h"

/* --- what the half may not do --- */

static int secret_fd;

static void try_everything(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	char byte;

	peer_factf(emit, "uid", "%u", geteuid());
	peer_factf(emit, "write", "%d", open("/tmp/dstack-peer-test", O_WRONLY | O_CREAT, 0600));
	peer_factf(emit, "append", "%d", open("/dev/null", O_WRONLY | O_APPEND));
	peer_factf(emit, "shadow", "%d", open("/etc/shadow", O_RDONLY));
	peer_factf(emit, "unlink", "%d", unlink("/tmp/dstack-peer-test"));
	peer_factf(emit, "fd", "%zd", read(secret_fd, &byte, 1));
	peer_factf(emit, "packet", "%d", socket(AF_PACKET, SOCK_RAW, 0));
	peer_factf(emit, "fork", "%d", fork());
	peer_fact(emit, "env", getenv("PATH"));
}

static struct peer_request curious(const struct server *s)
{
	struct peer_request q = http(s);

	q.digest = try_everything;
	return q;
}

static void the_half_has_no_privileges(void **state _unused_)
{
	struct peer_answer a;

	secret_fd = open("/dev/zero", O_RDONLY);
	a = ask(answer_fine, curious);
	close(secret_fd);
	assert_int_equal(a.error, PEER_OK);
	assert_string_not_equal(peer_get(&a, "uid"), "0");
	assert_string_equal(peer_get(&a, "write"), "-1");
	assert_string_equal(peer_get(&a, "append"), "-1");
	assert_string_equal(peer_get(&a, "shadow"), "-1");
	assert_string_equal(peer_get(&a, "unlink"), "-1");
	assert_string_equal(peer_get(&a, "fd"), "-1");
	assert_string_equal(peer_get(&a, "packet"), "-1");
	assert_string_equal(peer_get(&a, "fork"), "-1");
	assert_string_equal(peer_get(&a, "env"), "");
	peer_answers_free(&a, 1);
}

static int connect_to(const char *at)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr = { htonl(INADDR_LOOPBACK) },
				   .sin_port = htons((uint16_t)atoi(strchr(at, ':') + 1)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

/* A socket of root's, and where it would rather be. */
static int handed_fd;
static struct sockaddr_in elsewhere;

/* A second descriptor of it, by every way there is; -1 or that descriptor. */
static int another_of(int fd)
{
	static const int cmds[] = { F_DUPFD, F_DUPFD_CLOEXEC };
	char room[CMSG_SPACE(sizeof(fd))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
			      .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct mmsghdr many = { .msg_hdr = msg };
	int pair[2] = { -1, -1 }, got = dup(fd);

	for (size_t i = 0; got < 0 && i < ARRAY_SIZE(cmds); i++)
		got = fcntl(fd, cmds[i], 0);
	if (got < 0)
		got = dup2(fd, 200) < 0 ? dup3(fd, 200, O_CLOEXEC) : 200;
	if (got >= 0)
		return got;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	/* To itself, or back through the socket itself: whatever gets out. */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ||
	    sendmsg(fd, &msg, MSG_DONTWAIT) >= 0 || sendmmsg(fd, &many, 1, MSG_DONTWAIT) >= 0 ||
	    recvmsg(fd, &msg, MSG_DONTWAIT) >= 0 || errno != ENOSYS)
		return fd;
	return -1;
}

static void take_elsewhere(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct sockaddr_in at = { 0 };
	socklen_t len;
	int moved = 0, found = 0;
	ssize_t sent;

	for (int fd = 3; fd < 512; fd++) {
		len = sizeof(at);
		if (getpeername(fd, (struct sockaddr *)&at, &len) < 0 || at.sin_family != AF_INET)
			continue;
		found++;
		peer_factf(emit, "another", "%d", another_of(fd));
		connect(fd, &none, sizeof(none));
		connect(fd, (struct sockaddr *)&elsewhere, sizeof(elsewhere));
		len = sizeof(at);
		moved += getpeername(fd, (struct sockaddr *)&at, &len) < 0 ||
			 at.sin_port == elsewhere.sin_port;
		sent = sendto(fd, "x", 1, MSG_FASTOPEN | MSG_DONTWAIT,
			      (struct sockaddr *)&elsewhere, sizeof(elsewhere));
		/* Not EISCONN: a socket that is still connecting would not say that. */
		peer_fact(emit, "fastopen", sent < 0 && errno == ENOSYS ? "refused" : "tried");
		peer_factf(emit, "flags", "%d", fcntl(fd, F_GETFL) >= 0);
	}
	peer_factf(emit, "found", "%d", found);
	peer_factf(emit, "moved", "%d", moved);
	peer_factf(emit, "new", "%d", socket(AF_INET, SOCK_STREAM, 0));
}

static struct peer_request handed_over(const struct server *s)
{
	struct peer_request q = http(s);

	/* curl has closed its socket when the digest comes; this one is still there, as it is
	 * for who takes the half over inside curl. */
	q.kind = PEER_CONNECT;
	q.fd = handed_fd = connect_to(s->at);
	q.digest = take_elsewhere;
	return q;
}

static void a_socket_of_root_s_stays_where_it_is(void **state _unused_)
{
	struct server other = start(answer_fine);
	struct peer_answer a;

	elsewhere = (struct sockaddr_in){ .sin_family = AF_INET,
					  .sin_addr = { htonl(INADDR_LOOPBACK) },
					  .sin_port = htons((uint16_t)atoi(strchr(other.at, ':') + 1)) };
	a = ask(answer_fine, handed_over);
	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "found"), "1");
	assert_string_equal(peer_get(&a, "another"), "-1");
	assert_string_equal(peer_get(&a, "moved"), "0");
	assert_string_equal(peer_get(&a, "fastopen"), "refused");
	assert_string_equal(peer_get(&a, "new"), "-1");
	/* What libraries need of fcntl(2) is there. */
	assert_string_equal(peer_get(&a, "flags"), "1");
	peer_answers_free(&a, 1);
	close(handed_fd);
	stop(&other);
}

static void duplicate(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	for (int fd = 3; fd < 8; fd++) {
		peer_factf(emit, "copy", "%d", dup(fd));
		peer_factf(emit, "copy", "%d", fcntl(fd, F_DUPFD, 0));
		peer_factf(emit, "copy", "%d", fcntl(fd, F_SETOWN, getpid()));
	}
}

static struct peer_request copying(const struct server *s)
{
	struct peer_request q = http(s);

	q.digest = duplicate;
	return q;
}

/* Nor where no socket was handed over. */
static void descriptors_cannot_be_duplicated(void **state _unused_)
{
	struct peer_answer a = ask(answer_fine, copying);

	assert_int_equal(a.n_facts, 15);
	for (size_t i = 0; i < a.n_facts; i++)
		assert_string_equal(a.facts[i].value, "-1");
	peer_answers_free(&a, 1);
}

static void run_a_program(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	execl("/bin/true", "true", (char *)NULL);
	peer_fact(emit, "survived", "1");
}

static void kill_the_other_half(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	kill(getppid(), SIGKILL);
	peer_fact(emit, "survived", "1");
}

static void never_return(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	for (;;)
		pause();
}

/* Whichever descriptor the other half listens on. */
static void write_garbage(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	for (int fd = 3; fd < 64; fd++)
		if (write(fd, "\2\0\0\0\377\377\377\377garbage", 15) < 0)
			continue;
	for (;;)
		pause();
}

static void tell_too_much(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	for (int i = 0; i < 200000; i++)
		peer_factf(emit, "n", "%d", i);
}

#ifndef __SANITIZE_ADDRESS__
static void use_memory(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	/* Addresses are what is limited, so none needs to be touched. */
	for (int i = 0; i < 64; i++)
		*(char *)xmalloc(64 << 20) = 1;
	peer_fact(emit, "survived", "1");
}
#endif

static void a_half_that_was_taken_over_is_ended(void **state _unused_)
{
	static const struct {
		void (*digest)(const struct peer_reply *reply, struct peer_emit *emit);
		enum peer_error error;
		const char *text;
	} cases[] = {
		{ run_a_program, PEER_INTERNAL, "the network half ended early" },
		{ kill_the_other_half, PEER_INTERNAL, "the network half ended early" },
		{ never_return, PEER_TIMEOUT, "no answer in time" },
		{ write_garbage, PEER_INTERNAL, "the network half broke its protocol" },
		{ tell_too_much, PEER_TOO_LARGE, "tells more than may be told" },
#ifndef __SANITIZE_ADDRESS__
		{ use_memory, PEER_INTERNAL, "the network half ended early" },
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct server s = start(answer_fine);
		struct peer_request q = http(&s);
		struct peer_answer a;

		q.digest = cases[i].digest;
		q.timeout_ms = 200;
		assert_int_equal(peer_ask(&q, 1, &a), 0);
		stop(&s);
		assert_int_equal(a.error, cases[i].error);
		assert_string_equal(a.text, cases[i].text);
		assert_null(peer_get(&a, "survived"));
		peer_answers_free(&a, 1);
		/* It was reaped: no child is left. */
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
	}
}

/* What was answered before the half went bad counts. */
static void answers_that_arrived_are_kept(void **state _unused_)
{
	struct server s = start(answer_fine), late = start(answer_late);
	struct peer_request q[3] = { http(&s), http(&late), http(&s) };
	struct peer_answer a[3];

	q[1].timeout_ms = 300;
	q[2].kind = PEER_CONNECT;
	q[2].url = s.at;
	assert_int_equal(peer_ask(q, 3, a), 0);
	assert_int_equal(a[0].error, PEER_OK);
	assert_int_equal(a[1].error, PEER_TIMEOUT);
	assert_int_equal(a[2].error, PEER_OK);
	peer_answers_free(a, 3);
	stop(&s);
	stop(&late);
}

/* --- records --- */

static void answer_nasty(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
		"a\x1b[31m\nb\xc2\x9b\xff\xc3\xa4\x7f");
}

static void nothing_unprintable_comes_through(void **state _unused_)
{
	struct peer_answer a = ask(answer_nasty, http);

	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "body"), "a?[31m b???\xc3\xa4?");
	peer_answers_free(&a, 1);
}

static void records_survive_the_way(void **state _unused_)
{
	struct peer_record done = { .index = 7, .error = 2, .status = 404, .ms = 9, .text = "t" };
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct peer_record rec;
	ssize_t n;

	record_add_fact(&sb, 7, "key", "value");
	record_add_done(&sb, &done);
	/* Not a byte less is enough. */
	n = record_decode(sb.data, sb.len, &rec);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(record_decode(sb.data, (size_t)i, &rec), 0);
	assert_int_equal(record_decode(sb.data, sb.len, &rec), n);
	assert_int_equal(rec.type, RECORD_FACT);
	assert_int_equal(rec.index, 7);
	assert_int_equal(rec.key_len, 3);
	assert_memory_equal(rec.value, "value", 5);
	assert_int_equal(record_decode(sb.data + n, sb.len - (size_t)n, &rec),
			 (ssize_t)sb.len - n);
	assert_int_equal(rec.type, RECORD_DONE);
	assert_int_equal(rec.error, 2);
	assert_int_equal(rec.status, 404);
}

static void records_that_are_not_exactly_right_are_refused(void **state _unused_)
{
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
#define C(s) { s, sizeof(s) - 1 }
		C("\0\0\0\0\0\0\0\0"),			  /* no type */
		C("\4\0\0\0\0\0\0\0"),			  /* unknown type */
		C("\2\1\0\0\2\0\0\0\1k"),		  /* not zero */
		C("\2\0\0\0\0\0\0\0"),			  /* no key */
		C("\2\0\0\0\1\0\0\0\0"),		  /* empty key */
		C("\2\0\0\0\2\0\0\0\2k"),		  /* key longer than the record */
		C("\2\0\0\0\3\0\0\0\1kv\0\0")		  /* fine, to be sure of the others */,
		C("\2\0\0\0\3\0\0\0\1k\n"),		  /* control character */
		C("\2\0\0\0\3\0\0\0\1k\377"),		  /* no UTF-8 */
		C("\2\0\0\0\0\0\0\1"),			  /* too long */
		C("\3\0\0\0\4\0\0\0\0\0\0\0"),		  /* too short */
		C("\3\0\0\0\xc\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0"), /* status 65536 */
		C("\1\0\0\0\4\0\0\0\377\377\377\377"),	  /* negative errno */
#undef C
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_record rec;
		ssize_t n = record_decode(cases[i].bytes, cases[i].n, &rec);

		assert_int_equal(n, i == 6 ? 11 : -EBADMSG);
	}
}

/* --- TLS --- */

struct tls {
	char dir[64], cert[96], key[96];
	char at[32];
	pid_t pid;
	FILE *out;
};

static int run(const char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* openssl s_server with a new certificate; 0 when there is no openssl here. */
static int tls_start(struct tls *t)
{
	char line[256];
	int fds[2];

	strcpy(t->dir, "/tmp/dstack-test-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	chmod(t->dir, 0755);
	snprintf(t->cert, sizeof(t->cert), "%s/c", t->dir);
	snprintf(t->key, sizeof(t->key), "%s/k", t->dir);
	if (run((const char *[]){ "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
				  "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
				  "/CN=kms.example.org", "-addext",
				  "subjectAltName=DNS:kms.example.org", "-keyout", t->key,
				  "-out", t->cert, NULL }) != 0)
		return 0;
	assert_int_equal(pipe(fds), 0);
	t->pid = fork();
	if (t->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert",
		       t->cert, "-key", t->key, "-www", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	t->out = fdopen(fds[0], "r");
	while (fgets(line, sizeof(line), t->out))
		if (sscanf(line, "ACCEPT %31s", t->at) == 1)
			return 1;
	fail_msg("openssl s_server did not start");
	return 0;
}

static void tls_stop(struct tls *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	fclose(t->out);
	unlink(t->cert);
	unlink(t->key);
	rmdir(t->dir);
}

static void certificates_are_checked_when_there_is_a_ca(void **state _unused_)
{
	static char pem[8192];
	struct tls t = { 0 }, other = { 0 };
	struct server s = { 0 };
	struct peer_request q[4];
	struct peer_answer a[4];
	FILE *fp;

	if (!tls_start(&t))
		skip();
	fp = fopen(t.cert, "r");
	pem[fread(pem, 1, sizeof(pem) - 1, fp)] = '\0';
	fclose(fp);
	assert_int_equal(tls_start(&other), 1);
	memcpy(s.at, t.at, sizeof(s.at));
	for (int i = 0; i < 4; i++) {
		q[i] = https(&s);
		q[i].max_body = 65536;
	}
	q[1].ca_pem = pem; /* right certificate, wrong name */
	q[2].ca_pem = pem; /* right name, handed-over connection */
	q[2].url = "https://kms.example.org/";
	q[3].ca_pem = pem; /* right name, wrong certificate */
	q[3].url = "https://kms.example.org/";
	/* One after the other: s_server serves one at a time. */
	for (int i = 0; i < 4; i++) {
		if (i >= 2)
			q[i].fd = connect_to(i == 2 ? t.at : other.at);
		assert_int_equal(peer_ask(&q[i], 1, &a[i]), 0);
		if (i >= 2)
			close(q[i].fd);
	}
	assert_int_equal(a[0].error, PEER_OK);
	assert_int_equal(a[0].status, 200);
	assert_int_equal(a[1].error, PEER_TLS);
	assert_int_equal(a[2].error, PEER_OK);
	assert_int_equal(a[3].error, PEER_TLS);
	peer_answers_free(a, 4);
	tls_stop(&t);
	tls_stop(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_half_has_no_privileges),
		cmocka_unit_test(a_socket_of_root_s_stays_where_it_is),
		cmocka_unit_test(descriptors_cannot_be_duplicated),
		cmocka_unit_test(a_half_that_was_taken_over_is_ended),
		cmocka_unit_test(answers_that_arrived_are_kept),
		cmocka_unit_test(nothing_unprintable_comes_through),
		cmocka_unit_test(records_survive_the_way),
		cmocka_unit_test(records_that_are_not_exactly_right_are_refused),
		cmocka_unit_test(certificates_are_checked_when_there_is_a_ca),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
