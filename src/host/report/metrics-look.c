// SPDX-License-Identifier: Apache-2.0
/* When to ask what is asked seldom, and judging its last answers with everything else. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "host/conf/hostconf.h"
#include "host/report/metrics.h"
#include "host/sha256.h"

/* They reach Intel, the chain, or make the KMS ask its chain. */
const struct slow_probe slow_probes[] = {
	{ PROBE_KMS, "kms" },
	{ PROBE_PCCS_INTEL, "pccs-intel" },
	{ PROBE_PCS_KEY, "pcs-key" },
	{ PROBE_CHAIN, "chain" },
	{ PROBE_CHAIN_1, "chain-1" },
	{ PROBE_CHAIN_2, "chain-2" },
	{ PROBE_CHAIN_3, "chain-3" },
};
const size_t n_slow_probes = ARRAY_SIZE(slow_probes);

uint64_t slow_mask(void)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < n_slow_probes; i++)
		mask |= PROBE(slow_probes[i].id);
	return mask;
}

/* Nobody sets it back, and it counts while the machine sleeps; /run ends with it. */
static uint64_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

/* Other settings, other questions: the old answers are to none of them. */
static void settings_digest(const struct root *root, char ret[65])
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	if (file_read(root, HOSTCONF_PATH, 1 << 20, &text, &len) < 0)
		len = 0;
	sha256_hex(text ? text : "", len, ret);
}

/* A descriptor while nobody else asks, else -errno. */
static int take_turn(const struct root *root)
{
	int fd = root_openat(root, METRICS_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW, 0600), r;

	if (fd < 0)
		return fd;
	r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static void move(struct probe_result *from, struct probe_result *to)
{
	peer_answers_free(&to->answer, 1);
	*to = *from;
	*from = (struct probe_result){ 0 };
}

/* The answers that were kept take the place of those that were not asked for. */
static void put_back(struct slow_state *state, struct looked *l)
{
	for (size_t i = 0; i < n_slow_probes; i++) {
		struct probe_result *to = &l->view.parts.probe[slow_probes[i].id];

		move(&state->probe[slow_probes[i].id], to);
		to->age_s = now_s() - state->answered_s;
	}
	looked_judge(l);
}

/* Lends the new answers to the state for as long as it is written. */
static int keep(const struct root *root, struct slow_state *state, const struct looked *l)
{
	struct slow_state fresh = *state;

	for (size_t i = 0; i < n_slow_probes; i++)
		fresh.probe[slow_probes[i].id] = l->view.parts.probe[slow_probes[i].id];
	fresh.answered_s = now_s();
	state->answered_s = fresh.answered_s;
	return slow_state_save(root, &fresh);
}

static int is_due(const struct slow_state *state, const char *settings)
{
	uint64_t now = now_s();

	return !state->tried_s || state->tried_s > now ||
	       now - state->tried_s >= METRICS_SLOW_SECONDS ||
	       strcmp(state->settings, settings) != 0;
}

/* Before they are asked, so that a run that is killed counts as one. */
static int note_try(const struct root *root, struct slow_state *state, const char *settings)
{
	if (strcmp(state->settings, settings) != 0)
		slow_state_free(state);
	strcpy(state->settings, settings);
	state->tried_s = now_s();
	return slow_state_save(root, state);
}

int metrics_look(const struct root *root, struct looked *ret, int64_t *age_s)
{
	_cleanup_(slow_state_free) struct slow_state state = { 0 };
	_cleanup_close_ int turn = root_is_host(root) ? take_turn(root) : -EXDEV;
	char settings[65];
	int ask, r;

	slow_state_load(root, &state);
	settings_digest(root, settings);
	ask = turn >= 0 && is_due(&state, settings);
	if (ask) {
		r = note_try(root, &state, settings);
		if (r < 0) {
			log_warning("cannot write %s: %s: not asking what must not be asked "
				    "often", METRICS_STATE, strerror(-r));
			ask = 0;
		}
	}
	r = looked_fill(root, ask ? 0 : slow_mask(), ret);
	if (r == 0 && ask) {
		r = keep(root, &state, ret);
		if (r < 0)
			log_warning("cannot write %s: %s", METRICS_STATE, strerror(-r));
		r = 0;
	} else if (r == 0 && state.answered_s && strcmp(state.settings, settings) == 0) {
		put_back(&state, ret);
	} else {
		state.answered_s = 0;
	}
	*age_s = state.answered_s ? (int64_t)(now_s() - state.answered_s) : -1;
	return r;
}
