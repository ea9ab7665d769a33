// SPDX-License-Identifier: Apache-2.0
/* Starts a half, and passes messages: a sequenced-packet socket keeps them apart. */
#include "host/image/image-half.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/peer/peer-half.h"

enum { SEND_BUFFER = 1 << 20 };

_noreturn_ static void be_half(half_run *run, void *arg, int fd, int sock, pid_t parent)
{
	/* For peer_lock_down(): what it may keep, and whether it may connect. */
	struct peer_request keep = { .fd = fd };
	int r;

	peer_reset_signals();
	r = peer_lock_down(&keep, 1, &sock, parent);
	if (r < 0)
		message_fail(sock, FAIL_INTERNAL, "no sandbox: %s", strerror(-r));
	else if (message_send(sock, MESSAGE_READY, NULL, 0, NULL, 0) == 0)
		run(arg, keep.fd, sock);
	_exit(0);
}

int half_start(half_run *run, void *arg, int fd, struct image_half *ret)
{
	pid_t parent = getpid();
	int pair[2], r;

	*ret = (struct image_half){ .sock = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* So that the sides need not take turns; who may not, waits more. */
	for (int i = 0; i < 2; i++)
		(void)!setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &(int){ SEND_BUFFER },
				  sizeof(int));
	ret->pid = fork();
	if (ret->pid == 0)
		be_half(run, arg, fd, pair[1], parent);
	r = ret->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		ret->pid = 0;
		return r;
	}
	ret->sock = pair[0];
	return 0;
}

void half_end(struct image_half *half)
{
	if (half->pid) {
		kill(half->pid, SIGKILL);
		while (waitpid(half->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (half->pid && half->sock >= 0)
		close(half->sock);
	*half = (struct image_half){ .sock = -1 };
}

int message_send(int sock, enum message_type type, const void *head, size_t head_len,
		 const void *data, size_t len)
{
	uint32_t word = (uint32_t)type;
	struct iovec parts[] = { { &word, sizeof(word) },
				 { (void *)(uintptr_t)head, head_len },
				 { (void *)(uintptr_t)data, len } };

	if (head_len + len > MESSAGE_MAX)
		return -EMSGSIZE;
	while (writev(sock, parts, ARRAY_SIZE(parts)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void message_fail(int sock, enum fail fail, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	unsigned char byte = (unsigned char)fail;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	/* Who does not hear it sees that this process has ended. */
	(void)!message_send(sock, MESSAGE_FAIL, &byte, 1, text, strnlen(text, 1024));
}

int message_receive(int sock, struct message *ret, int flags)
{
	struct iovec parts[] = { { &ret->type, sizeof(ret->type) }, { ret->data, MESSAGE_MAX } };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
	ssize_t n;

	/* That the other side has left messages unread is told before its last words are. */
	do
		n = flags ? recvmsg(sock, &msg, flags) : readv(sock, parts, ARRAY_SIZE(parts));
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	if ((size_t)n < sizeof(ret->type) || msg.msg_flags & MSG_TRUNC)
		return -EBADMSG;
	ret->len = (uint32_t)((size_t)n - sizeof(ret->type));
	ret->data[ret->len] = '\0';
	return 1;
}
