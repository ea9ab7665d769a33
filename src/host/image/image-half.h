// SPDX-License-Identifier: Apache-2.0
/*
 * The halves that touch foreign bytes: one fetches, one unpacks, some hash. Each has given up
 * everything (peer_lock_down()) and speaks with root in messages: a type, and a payload of
 * bounded length that root copies and counts but does not look into.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"

enum message_type {
	MESSAGE_READY = 1, /* from each: its privileges are gone */
	MESSAGE_DATA,	   /* bytes of the archive, or of the file that began last */
	MESSAGE_START,	   /* fetched: the whole archive's length as 8 bytes, 0: not known */
	MESSAGE_FILE,	   /* unpacked: the size as 8 bytes, then the name */
	MESSAGE_MARK,	   /* to the unpacking half: what is your state? */
	MESSAGE_STATE,	   /* from it: all that it takes to go on from here */
	MESSAGE_END,	   /* that was all */
	MESSAGE_FAIL,	   /* enum fail in one byte, then why */
};

enum fail {
	FAIL_AGAIN = 1, /* the same URL may do better */
	FAIL_URL,	/* another URL may */
	FAIL_RANGE,	/* the same without Range may */
	FAIL_CONTENT,	/* these bytes are no image */
	FAIL_INTERNAL,
};

enum { MESSAGE_MAX = 128 << 10 }; /* of a payload; a socket's buffer holds one */

struct message {
	uint32_t type;
	uint32_t len;
	unsigned char data[MESSAGE_MAX + 1];
};

struct image_half {
	pid_t pid; /* 0: none */
	int sock;
};

/* What runs in one: `fd` is what it was given, -1 where it may connect; ends by returning. */
typedef void half_run(void *arg, int fd, int sock);

/* Forks it; `fd` stays the caller's. 0 or -errno. */
int half_start(half_run *run, void *arg, int fd, struct image_half *ret) _must_check_;
void half_end(struct image_half *half);

/* Waits until it could be sent; in a half. 0 or -errno (-EPIPE: nobody reads any more). */
int message_send(int sock, enum message_type type, const void *head, size_t head_len,
		 const void *data, size_t len) _must_check_;
_printf_(3, 4) void message_fail(int sock, enum fail fail, const char *fmt, ...);
/* 1: *ret is one; 0: the other side is gone; -EAGAIN: none yet (with MSG_DONTWAIT in `flags`);
 * -errno. A text is terminated. */
int message_receive(int sock, struct message *ret, int flags) _must_check_;
