// SPDX-License-Identifier: Apache-2.0
/*
 * Which requests may share a network half: those that connect themselves, those whose sockets
 * lead to one and the same peer, which learns nothing from its own answers, and files: they
 * are read for what no other knows of them, and nobody can be told.
 */
#include "host/peer/peer-plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"

struct identity {
	int handed, is_file, is_work, is_dns;
	socklen_t len; /* 0: not known */
	struct sockaddr_storage address;
	/* Who listens: a path alone may be another's in another mount namespace. */
	struct ucred cred;
};

static struct identity identify(const struct peer_request *q)
{
	struct identity id = { .handed = q->fd >= 0, .is_file = q->kind == PEER_FILE,
			       .is_work = q->kind == PEER_WORK,
			       .is_dns = q->kind == PEER_DNS,
			       .len = sizeof(id.address) };
	socklen_t len = sizeof(id.cred);
	int fd = q->fd;

	/* A socketpair has no name, what is still connecting has no peer. */
	if (!id.handed || getpeername(fd, (struct sockaddr *)&id.address, &id.len) < 0 ||
	    id.len <= sizeof(sa_family_t) || id.len > sizeof(id.address))
		id.len = 0;
	else if (id.address.ss_family == AF_UNIX &&
		 getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &id.cred, &len) < 0)
		id.len = 0;
	return id;
}

static int may_share(const struct identity *a, const struct identity *b)
{
	if (a->is_file || b->is_file)
		return a->is_file == b->is_file;
	if (a->is_work || b->is_work)
		return a->is_work == b->is_work;
	if (a->is_dns != b->is_dns)
		return 0;
	if (!a->handed || !b->handed)
		return a->handed == b->handed;
	return a->len && a->len == b->len && memcmp(&a->address, &b->address, a->len) == 0 &&
	       memcmp(&a->cred, &b->cred, sizeof(a->cred)) == 0;
}

void peer_plan(const struct peer_request *requests, size_t n, struct peer_plan *ret)
{
	_cleanup_free_ struct identity *ids = xcalloc(n, sizeof(*ids));
	_cleanup_free_ char *placed = xcalloc(n, 1);
	size_t at = 0;

	*ret = (struct peer_plan){
		.requests = xcalloc(n, sizeof(*requests)),
		.order = xcalloc(n, sizeof(*ret->order)),
		.n = n,
		.from = xcalloc(n + 1, sizeof(*ret->from)),
	};
	for (size_t i = 0; i < n; i++)
		ids[i] = identify(&requests[i]);
	for (size_t i = 0; i < n; i++) {
		if (placed[i])
			continue;
		ret->from[ret->n_halves++] = at;
		for (size_t j = i; j < n; j++) {
			if (placed[j] || (j != i && !may_share(&ids[i], &ids[j])))
				continue;
			placed[j] = 1;
			ret->order[at] = j;
			ret->requests[at++] = requests[j];
		}
	}
	ret->from[ret->n_halves] = at;
}

void peer_plan_free(struct peer_plan *plan)
{
	free(plan->requests);
	free(plan->order);
	free(plan->from);
}
