// SPDX-License-Identifier: Apache-2.0
/*
 * A network half gives everything up before it reads the first foreign byte: descriptors,
 * environment, what the other halves are to send, ids, capabilities, memory without bounds,
 * and all but the system calls that DNS, TLS and HTTP need.
 */
#include "host/peer/peer-half.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/peer/peer-lists.h"
#include "host/peer/peer-record.h"

/* nobody and nogroup; their numbers are the same on every Debian (base-passwd). */
enum { NOBODY = 65534 };

#define MEMORY_MAX (1024u << 20)
#define FILES_MAX 512 /* and those that were handed over */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Above the standard streams, which are about to become something else. */
static int lift(int *fd)
{
	int lifted = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (lifted < 0)
		return -errno;
	*fd = lifted;
	return 0;
}

static int keep_only(struct peer_request *requests, size_t n, int *sock)
{
	_cleanup_free_ int *keep = xcalloc(n + 1, sizeof(*keep));
	unsigned from = STDERR_FILENO + 1;
	size_t n_keep = 0;
	int r = lift(sock);

	keep[n_keep++] = *sock;
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (requests[i].fd < 0)
			continue;
		r = lift(&requests[i].fd);
		keep[n_keep++] = requests[i].fd;
	}
	if (r < 0)
		return r;
	qsort(keep, n_keep, sizeof(*keep), compare);
	for (size_t i = 0; i < n_keep; i++) {
		unsigned fd = (unsigned)keep[i];

		if (fd > from && close_range(from, fd - 1, 0) < 0)
			return -errno;
		from = fd + 1;
	}
	return close_range(from, ~0u, 0) < 0 ? -errno : 0;
}

/* Standard streams would reach the terminal and whatever the caller's were redirected to. */
static int close_streams(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	return 0;
}

static int limit(int what, rlim_t most)
{
	struct rlimit rl;

	if (getrlimit((__rlimit_resource_t)what, &rl) < 0)
		return -errno;
	if (rl.rlim_max != RLIM_INFINITY && rl.rlim_max < most)
		most = rl.rlim_max;
	rl.rlim_cur = rl.rlim_max = most;
	return setrlimit((__rlimit_resource_t)what, &rl) < 0 ? -errno : 0;
}

static int limit_all(size_t n)
{
	int r = limit(RLIMIT_CORE, 0);

	if (r == 0)
		r = limit(RLIMIT_FSIZE, 0);
	if (r == 0)
		r = limit(RLIMIT_NOFILE, FILES_MAX + n);
#ifndef SANITIZED
	/* One arena: every resolver thread would otherwise reserve 64 MiB of addresses. */
	mallopt(M_ARENA_MAX, 1);
	if (r == 0)
		r = limit(RLIMIT_AS, MEMORY_MAX);
#endif
	return r;
}

static int drop_capabilities(void)
{
	cap_t none = cap_init();
	int r;

	if (!none)
		return -errno;
	r = cap_set_proc(none) < 0 ? -errno : 0;
	cap_free(none);
	return r;
}

static int drop_ids(void)
{
	/* The bounding set needs CAP_SETPCAP, which a bounded root may lack; with
	 * no_new_privs nothing in it can be had again anyway. */
	for (cap_value_t c = 0; cap_get_bound(c) >= 0; c++)
		if (cap_drop_bound(c) < 0)
			break;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
}

static int drop_privileges(pid_t parent)
{
	int r = geteuid() == 0 || getuid() == 0 ? drop_ids() : 0;

	if (r == 0)
		r = drop_capabilities();
	if (r < 0)
		return r;
	/* After the ids: changing those clears it. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

static int allow_with_arguments(scmp_filter_ctx ctx)
{
	const scmp_datum_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND |
				     (O_TMPFILE & ~O_DIRECTORY);
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				 SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0));

#ifdef __NR_open
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, writing, 0));
#endif
	/* Reading a limit, not setting one. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
				     SCMP_A2(SCMP_CMP_EQ, 0, 0));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(peer_ioctls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, peer_ioctls[i], 0));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(peer_fcntls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)peer_fcntls[i], 0));
	return r;
}

/* Root's sockets stay connected to whom root connected them. */
static int allow_handed(scmp_filter_ctx ctx)
{
	/* curl 7.88 (Debian 12) connects also what CURL_SOCKOPT_ALREADY_CONNECTED says is
	 * connected, and fails: here connecting does nothing and succeeds. */
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(0), SCMP_SYS(connect), 0);

	/* MSG_FASTOPEN and an address would connect. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
				     SCMP_A4(SCMP_CMP_EQ, 0, 0));
	return r;
}

static int allow_connecting(scmp_filter_ctx ctx)
{
	static const int families[] = { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX };
	/* AF_UNIX is for nscd and systemd-resolved, who are asked by nobody. Who is not root
	 * keeps his groups, and docker's may be one of them. */
	size_t n = geteuid() == NOBODY ? ARRAY_SIZE(families) : ARRAY_SIZE(families) - 1;
	int r = allow(ctx, peer_allowed_connecting, ARRAY_SIZE(peer_allowed_connecting));

	for (size_t i = 0; r == 0 && i < n; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	/* Threads of the resolver, no processes. clone3 hides its flags behind a pointer; it
	 * gets ENOSYS and glibc then uses clone. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	return r;
}

/* What is in no list does not exist as far as the half is concerned: a library that tries
 * something new falls back instead of dying. */
static int restrict_calls(int handed)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r = ctx ? allow(ctx, peer_allowed, ARRAY_SIZE(peer_allowed)) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(peer_deadly); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, peer_deadly[i], 0);
	if (r == 0)
		r = allow_with_arguments(ctx);
	if (r == 0)
		r = handed ? allow_handed(ctx) : allow_connecting(ctx);
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* The kernel's own errno, not ECANCELED for all of them. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

int peer_lock_down(struct peer_request *requests, size_t n, int *sock, pid_t parent)
{
	int handed = 0, r = keep_only(requests, n, sock);

	for (size_t i = 0; i < n; i++)
		handed |= requests[i].fd >= 0;
	if (r == 0)
		r = close_streams();
	/* SSLKEYLOGFILE, http_proxy, OPENSSL_CONF and their like. */
	if (r == 0 && clearenv() != 0)
		r = -ENOMEM;
	if (r == 0)
		r = limit_all(n);
	if (r == 0)
		r = drop_privileges(parent);
	return r < 0 ? r : restrict_calls(handed);
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

/* Through the kernel, which fails where a process would die of it: a string in the program
 * itself cannot be written to, and is no secret. */
static int blank(int zero, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	while (len) {
		ssize_t n = read(zero, (void *)(uintptr_t)s, len);

		if (n <= 0)
			return n < 0 && errno == EFAULT ? 0 : -EIO;
		s += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The tokens and bodies of all requests; the half's own ones are copies by then. */
static int forget(const struct peer_request *all, size_t n)
{
	_cleanup_close_ int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int r = zero < 0 ? -errno : 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = blank(zero, all[i].bearer);
		if (r == 0)
			r = blank(zero, all[i].header);
		if (r == 0)
			r = blank(zero, all[i].body);
	}
	return r;
}

void peer_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void peer_be_half(const struct peer_share *share)
{
	struct peer_request *mine = xcalloc(share->n, sizeof(*mine));
	struct strbuf out = { 0 };
	int r, sock = share->sock;

	peer_reset_signals();
	for (size_t i = 0; i < share->n; i++) {
		mine[i] = share->all[share->from + i];
		mine[i].bearer = copy(mine[i].bearer);
		mine[i].body = copy(mine[i].body);
		mine[i].header = copy(mine[i].header);
	}
	r = forget(share->all, share->n_all);
	if (r == 0)
		r = peer_lock_down(mine, share->n, &sock, share->parent);
	record_add_ready(&out, -r);
	peer_send(sock, &out);
	if (r == 0 && mine[0].kind == PEER_FILE)
		peer_read_files(mine, share->n, sock);
	else if (r == 0 && mine[0].kind == PEER_WORK)
		mine[0].work(mine, share->n, sock);
	else if (r == 0 && mine[0].kind == PEER_DNS)
		peer_resolve(mine, share->n, sock);
	else if (r == 0)
		peer_run(mine, share->n, sock);
	_exit(0);
}
