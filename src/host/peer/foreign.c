// SPDX-License-Identifier: Apache-2.0
/* Root's part in reading foreign files: opens what is a file, and takes facts. */
#include "host/peer/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

enum {
	FILE_BYTES_MAX = 8 << 20,
	BATCH = 256, /* descriptors open at a time; processes may have 1024 */
	/* As long as a disk may take that is asleep; a network's that is gone takes longer. */
	TIMEOUT_MS = 10000,
};

static int open_file(const struct root *root, const char *path)
{
	/* O_NONBLOCK: a FIFO that somebody planted must not hold us up. */
	int fd = root_openat(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0), r;
	struct stat st;

	if (fd < 0)
		return fd;
	r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static void take_answer(struct foreign_file *file, struct peer_answer *answer)
{
	file->answer = *answer;
	if (answer->error == PEER_TOO_LARGE)
		file->error = -EFBIG;
	else if (answer->error != PEER_OK)
		file->error = -EIO;
	else if (peer_get(answer, "bad"))
		file->error = -EBADMSG;
}

static int read_some(const struct root *root, struct foreign_file *files, size_t n)
{
	struct peer_request requests[BATCH] = { 0 };
	struct peer_answer answers[BATCH] = { 0 };
	size_t who[BATCH], n_open = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		int fd = open_file(root, files[i].path);

		files[i].error = fd < 0 ? fd : 0;
		if (fd < 0)
			continue;
		who[n_open] = i;
		requests[n_open++] = (struct peer_request){
			.kind = PEER_FILE,
			.fd = fd,
			.timeout_ms = TIMEOUT_MS,
			.max_body = FILE_BYTES_MAX,
			.digest = files[i].digest,
		};
	}
	if (n_open)
		r = peer_ask(requests, n_open, answers);
	for (size_t i = 0; i < n_open; i++) {
		close(requests[i].fd);
		take_answer(&files[who[i]], &answers[i]);
	}
	return r;
}

int foreign_read(const struct root *root, struct foreign_file *files, size_t n)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < n; at += BATCH)
		r = read_some(root, files + at, n - at < BATCH ? n - at : BATCH);
	return r;
}

void foreign_free(struct foreign_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(files[i].path);
	for (size_t i = 0; i < n; i++)
		peer_answers_free(&files[i].answer, 1);
}
