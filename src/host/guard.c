// SPDX-License-Identifier: Apache-2.0
/* The only user of libnftables. */
#include "host/guard.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/lib/lib-nftables.h"

struct guard {
	struct nft_ctx *nft; /* its socket owns the table, so it stays open */
};

/* libnftables ends the process when it gets no socket: it is tried first. */
static int netfilter_answers(void)
{
	_cleanup_close_ int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	return fd < 0 ? -errno : 0;
}

static int open_context(struct nft_ctx **ret)
{
	int r = libnftables_load();

	if (r == 0)
		r = netfilter_answers();
	if (r < 0)
		return r;
	*ret = sym_nft_ctx_new(NFT_CTX_DEFAULT);
	if (!*ret)
		return -ENOMEM;
	if (sym_nft_ctx_buffer_output(*ret) == 0 && sym_nft_ctx_buffer_error(*ret) == 0)
		return 0;
	sym_nft_ctx_free(*ret);
	*ret = NULL;
	return -ENOMEM;
}

int guard_open(struct guard **ret)
{
	struct nft_ctx *nft;
	int r = open_context(&nft);

	if (r < 0)
		return r;
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->nft = nft;
	return 0;
}

/* One line: the first that says "Error:", without the quoted rules below it. */
static char *first_error(const char *text)
{
	const char *p = text ? strstr(text, "Error: ") : NULL;

	p = p ? p + strlen("Error: ") : text && *text ? text : "no reason given";
	return xstrndup(p, strcspn(p, "\n"));
}

static int run(struct guard *g, const char *rules, char **trouble)
{
	if (sym_nft_run_cmd_from_buffer(g->nft, rules) == 0)
		return 0;
	*trouble = first_error(sym_nft_ctx_get_error_buffer(g->nft));
	return -EINVAL;
}

int guard_load(struct guard *g, const char *rules, char **trouble)
{
	/* The file begins by making a table that it can delete. Nobody can become the owner of one
	 * that is there and has none, but it can be deleted as it is. */
	const char *anew = strstr(rules, "delete table inet " GUARD_TABLE "\n");
	char *more = NULL;

	if (run(g, rules, trouble) == 0)
		return 0;
	if (anew && run(g, anew, &more) == 0) {
		free(*trouble);
		*trouble = NULL;
		return 0;
	}
	/* Where a table is, the first try was about its owner, whatever else is wrong. */
	if (more && !strstr(more, strerror(ENOENT))) {
		free(*trouble);
		*trouble = steal_ptr(more);
	}
	free(more);
	return -EINVAL;
}

int guard_leave(struct guard *g, const char *rules, char **trouble)
{
	static const char owner[] = "\tflags owner\n";
	const char *anew = strstr(rules, "delete table inet " GUARD_TABLE "\n");
	const char *at = anew ? strstr(anew, owner) : NULL;
	_cleanup_free_ char *text = NULL;

	if (!at) {
		*trouble = xstrdup("these are not the guard's rules");
		return -EINVAL;
	}
	text = xasprintf("%.*s%s", (int)(at - anew), anew, at + strlen(owner));
	return run(g, text, trouble);
}

void guard_close(struct guard **g)
{
	if (!*g)
		return;
	sym_nft_ctx_free((*g)->nft);
	free(*g);
	*g = NULL;
}

/* The listing shows a control group that is gone by number, not by name. */
int guard_names_slice(const char *listing)
{
	return strstr(listing, "socket cgroupv2 level 1 \"") && strstr(listing, GUARD_SLICE "\" ");
}

void guard_look(struct guard_sight *ret)
{
	struct nft_ctx *nft;
	const char *text;

	*ret = (struct guard_sight){ .error = open_context(&nft) };
	if (ret->error < 0)
		return;
	if (sym_nft_run_cmd_from_buffer(nft, "list table inet " GUARD_TABLE) == 0) {
		text = sym_nft_ctx_get_output_buffer(nft);
		ret->listing = xstrdup(text ? text : "");
	} else {
		text = sym_nft_ctx_get_error_buffer(nft);
		ret->error = text && strstr(text, "not permitted") ? -EPERM : 0;
	}
	sym_nft_ctx_free(nft);
}

int guard_is_loaded(void)
{
	_cleanup_(guard_sight_free) struct guard_sight sight;

	guard_look(&sight);
	return sight.listing ? guard_names_slice(sight.listing) : sight.error;
}

void guard_sight_free(struct guard_sight *sight)
{
	free(sight->listing);
	*sight = (struct guard_sight){ 0 };
}
