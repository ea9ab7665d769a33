// SPDX-License-Identifier: Apache-2.0
/* Source after source, until one has given the image; then it is verified and shown. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "host/image/image-fetch.h"
#include "host/image/image-pull-in.h"
#include "host/image/image-verify.h"
#include "host/progress.h"

enum {
	TRIES = 4,
	WAIT_MS = 500, /* doubled with each try */
	GAIN = 64 << 10, /* that many bytes more: the source is worth more tries */
};

/* Of what no manifest knows the size. */
#define ARCHIVE_MOST (UINT64_C(8) << 30)
#define UNPACKED_MOST (UINT64_C(16) << 30)

uint64_t pull_most(const struct artifact *a)
{
	return a->size ? a->size : ARCHIVE_MOST;
}

uint64_t pull_most_unpacked(const struct artifact *a)
{
	return a->unpacked ? a->unpacked : UNPACKED_MOST;
}

/* --- one stream of bytes, whatever gives them --- */

static enum pull_outcome stream_begin(struct pull *p)
{
	struct unpack_plan plan = { .top = p->q->artifact->full,
				    .limit = pull_most_unpacked(p->q->artifact) };
	int r;

	stage_cut_free(&p->cut);
	hash_init(&p->hash);
	r = stage_load(&p->stage, p->identity, &p->cut);
	p->at = p->marked_at = 0;
	if (r == 0) {
		p->at = p->marked_at = p->cut.at;
		p->hash = p->cut.hash;
		plan.state = p->cut.unpack;
		plan.state_len = p->cut.unpack_len;
	}
	p->marked_ms = clock_ms();
	p->mixed = r == 0;
	p->slot.type = 0;
	p->came_whole = p->end_sent = p->unpacked = p->marking = 0;
	if (r >= 0)
		r = half_start(unpack_run, &plan, p->null, &p->unpack);
	pull_progress_begin(&p->progress, p->q->artifact->full, p->at);
	p->progress.total = p->q->artifact->size;
	return r < 0 ? pull_fail(p, PULL_HOST, "cannot begin in %s: %s", p->q->images,
				 strerror(-r)) :
		       PULL_DONE;
}

static void stream_end(struct pull *p)
{
	half_end(&p->net);
	half_end(&p->unpack);
	closep(&p->file);
	p->file = -1;
}

static void stream_drop(struct pull *p)
{
	stream_end(p);
	if (stage_clear(&p->stage) < 0)
		log_warning("cannot remove what is left in %s/.pull", p->q->images);
}

/* --- one source --- */

static int is_url(const char *source)
{
	return strncmp(source, "http://", 7) == 0 || strncmp(source, "https://", 8) == 0;
}

static enum pull_outcome pump_file(struct pull *p, const char *path)
{
	const struct artifact *a = p->q->artifact;
	struct stat st;

	if (strncmp(path, "file://", 7) == 0)
		path += 7;
	p->file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (p->file < 0 || fstat(p->file, &st) < 0)
		return pull_fail(p, PULL_URL, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return pull_fail(p, PULL_URL, "is no file");
	if (a->size && (uint64_t)st.st_size != a->size)
		return pull_fail(p, PULL_URL, "has %llu bytes, the right one %llu",
				 (unsigned long long)st.st_size, (unsigned long long)a->size);
	if (lseek(p->file, (off_t)p->at, SEEK_SET) < 0)
		return pull_fail(p, PULL_URL, "%s", strerror(errno));
	p->mixed |= p->at > 0;
	p->progress.total = (uint64_t)st.st_size;
	return pull_pump(p, 0);
}

static enum pull_outcome pump_url(struct pull *p, const char *url)
{
	struct fetch_plan plan = {
		.url = url, .from = p->at, .whole = p->whole, .size = p->q->artifact->size,
		.most = pull_most(p->q->artifact), .proxy = p->q->proxy,
		.no_proxy = p->q->no_proxy, .stall_s = p->q->stall_s,
	};
	enum pull_outcome o;
	int r;

	/* The end of the last one came after the last byte. */
	if (plan.size && plan.from == plan.size) {
		p->came_whole = 1;
		return pull_pump(p, 0);
	}
	r = half_start(fetch_run, &plan, -1, &p->net);
	if (r < 0)
		return pull_fail(p, PULL_HOST, "cannot start a process: %s", strerror(-r));
	o = pull_pump(p, 0);
	half_end(&p->net);
	return o;
}

/* One URL again and again, as long as that leads on. */
static enum pull_outcome try_url(struct pull *p, const char *url)
{
	enum pull_outcome o = PULL_AGAIN;

	p->whole = 0;
	for (unsigned n = 0; n < TRIES && o == PULL_AGAIN; n++) {
		uint64_t before = p->at;

		if (n || p->at)
			p->mixed = 1;
		o = pump_url(p, url);
		if (o != PULL_AGAIN)
			break;
		if (p->at >= before + GAIN)
			n = 0;
		pull_progress_break(&p->progress);
		log_info("%s: %s; going on from byte %llu", url, p->trouble,
			 (unsigned long long)p->at);
		/* What has come is unpacked meanwhile. */
		o = n + 1 < TRIES ? pull_pump(p, clock_ms() + (WAIT_MS << n)) : PULL_URL;
		o = o == PULL_DONE ? PULL_AGAIN : o;
	}
	return o;
}

static enum pull_outcome verify(struct pull *p)
{
	const struct artifact *a = p->q->artifact;
	_cleanup_facts_ struct image_facts facts = { 0 };
	_cleanup_free_ char *trouble = NULL;
	int r;

	progress_say("%s: verifying", a->full);
	/* The disk and the processors at once. What an fsync says is believed once: the pages
	 * are clean after an error too. */
	r = p->stage.saving ? stage_saved(&p->stage) : 0;
	p->lost = r == -EIO;
	if (!p->lost)
		r = stage_save(&p->stage, NULL);
	if (!p->lost && r == 0) {
		r = image_verify(p->stage.new, a->digest, &facts, &trouble);
		p->lost = stage_saved(&p->stage) < 0;
	}
	if (p->lost)
		return pull_fail(p, PULL_HOST, "the disk of %s has lost what was written (see "
				 "journalctl -k); all of it is dropped", p->q->images);
	if (r < 0)
		return pull_fail(p, PULL_HOST, "cannot verify it: %s", strerror(-r));
	if (r)
		return pull_fail(p, PULL_CONTENT, "%s", trouble);
	if (facts.unbound && !*a->sha256)
		return pull_fail(p, PULL_CONTENT, "it has a file %s, of which nothing tells that "
				 "it is the right one", facts.unbound);
	return PULL_DONE;
}

static enum pull_outcome try_source(struct pull *p, const char *source, struct pull_result *ret)
{
	const struct artifact *a = p->q->artifact;
	enum pull_outcome o = p->unpack.pid ? PULL_DONE : stream_begin(p);
	unsigned char sum[HASH_LEN];
	struct hash h;

	if (o != PULL_DONE)
		return o;
	ret->resumed = p->progress.from;
	o = is_url(source) ? try_url(p, source) : pump_file(p, source);
	closep(&p->file);
	p->file = -1;
	pull_progress_break(&p->progress);
	if (o != PULL_DONE)
		return o;
	h = p->hash;
	hash_end(&h, sum);
	hash_hex(sum, ret->sha256);
	ret->size = p->at;
	for (uint32_t i = 0; i < p->stage.n_files; i++)
		ret->unpacked += p->stage.files[i].size;
	if (*a->sha256 && strcmp(a->sha256, ret->sha256) != 0)
		return pull_fail(p, PULL_CONTENT, "its SHA-256 is %s, the right one's is %s",
				 ret->sha256, a->sha256);
	half_end(&p->unpack);
	return verify(p);
}

static enum pull_outcome try_all(struct pull *p, struct pull_result *ret)
{
	enum pull_outcome o = pull_fail(p, PULL_URL, "there is no URL for it");

	for (size_t i = 0; i < p->q->n_sources; i++) {
		const char *source = p->q->sources[i];
		int mixed;

		ret->unpacked = 0;
		o = try_source(p, source, ret);
		mixed = p->mixed;
		if (o == PULL_CONTENT)
			stream_drop(p);
		if (o == PULL_CONTENT && mixed) {
			log_info("%s: %s; once more, from the beginning", source, p->trouble);
			ret->unpacked = 0;
			o = try_source(p, source, ret);
			if (o == PULL_CONTENT)
				stream_drop(p);
		}
		if (o == PULL_DONE || o == PULL_HOST)
			break;
		if (i + 1 < p->q->n_sources)
			log_warning("%s: %s; trying the next", source, p->trouble);
		else
			log_info("%s: not from there", source);
	}
	return o;
}

static enum pull_outcome publish(struct pull *p)
{
	int r = p->q->before ? p->q->before(p->q->arg) : 0;

	if (r < 0)
		return pull_fail(p, PULL_HOST, "it is fetched and verified, but not shown");
	r = stage_publish(&p->stage, p->q->replace);
	if (r == -EEXIST)
		return pull_fail(p, PULL_HOST, "%s/%s has come to be there meanwhile",
				 p->q->images, p->q->artifact->full);
	return r < 0 ? pull_fail(p, PULL_HOST, "cannot put it in place in %s: %s", p->q->images,
				 strerror(-r)) :
		       PULL_DONE;
}

static int load_libraries(void)
{
	int r = fetch_load();

	if (r == 0)
		r = unpack_load();
	return r == 0 ? hash_load() : r;
}

static enum pull_outcome prepare(struct pull *p, const struct root *root)
{
	const struct artifact *a = p->q->artifact;
	int r = load_libraries();

	if (r == 0)
		r = p->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (r >= 0)
		r = stage_open(root, p->q->images, a->full, &p->stage);
	if (r == -EAGAIN)
		return pull_fail(p, PULL_LOCKED, "another process pulls it");
	if (r < 0)
		return pull_fail(p, PULL_HOST, "cannot work in %s: %s%s", p->q->images,
				 strerror(-r), r == -EACCES || r == -EPERM ? " (try sudo)" : "");
	snprintf(p->identity, sizeof(p->identity), "%s %s %s", a->full, a->digest, a->sha256);
	return PULL_DONE;
}

enum pull_outcome pull_image(const struct root *root, const struct pull_request *q,
			     struct pull_result *ret)
{
	struct pull *p = xcalloc(1, sizeof(*p));
	enum pull_outcome o;

	*ret = (struct pull_result){ 0 };
	p->q = q;
	p->file = p->null = -1;
	p->in = xmalloc(sizeof(*p->in));
	p->out = xmalloc(sizeof(*p->out));
	o = prepare(p, root);
	if (o == PULL_DONE) {
		o = try_all(p, ret);
		if (o == PULL_DONE)
			o = publish(p);
		if (p->lost)
			stream_drop(p);
		stream_end(p);
		stage_close(&p->stage);
	}
	closep(&p->null);
	stage_cut_free(&p->cut);
	ret->trouble = o == PULL_DONE ? NULL : p->trouble;
	if (o == PULL_DONE)
		free(p->trouble);
	free(p->in);
	free(p->out);
	free(p);
	return o;
}
