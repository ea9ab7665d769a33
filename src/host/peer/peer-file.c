// SPDX-License-Identifier: Apache-2.0
/* A half that reads files: one after the other, root's deadline ends one that hangs. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

void peer_read_files(const struct peer_request *requests, size_t n, int sock)
{
	for (size_t i = 0; i < n; i++) {
		const struct peer_request *q = &requests[i];
		_cleanup_free_ char *text = NULL;
		uint64_t start = clock_ms();
		struct peer_reply reply = { 0 };
		struct peer_record done = { .index = (unsigned)i };
		int r = fd_read_all(q->fd, q->max_body ? q->max_body : PEER_BODY_DEFAULT, &text,
				    &reply.len);

		reply.body = text;
		if (r < 0) {
			done.error = r == -EFBIG ? PEER_TOO_LARGE : PEER_PROTOCOL;
			done.text = strerror(-r);
		}
		done.ms = (unsigned)(clock_ms() - start);
		peer_finish(q, &reply, &done, sock);
	}
}

void peer_work_end(struct peer_emit *emit, const char *trouble, int sock)
{
	struct peer_record done = { .index = emit->index, .text = trouble };

	if (emit->truncated)
		done.text = "tells more than may be told";
	done.error = done.text ? PEER_PROTOCOL : PEER_OK;
	record_add_done(&emit->out, &done);
	peer_send(sock, &emit->out);
	sb_free(&emit->out);
}
