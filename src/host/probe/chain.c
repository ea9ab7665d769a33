// SPDX-License-Identifier: Apache-2.0
/* Which Ethereum endpoints there are, what they are asked, and what of their URLs may be shown. */
#include "host/probe/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/kms/kms.h"

#define FROZEN_ENV KMS_DIR "/auth-eth.env"
#define FROZEN_KEY "ETH_RPC_URL="

/* The URL that the deployed KMS has in its compose; NULL: none is deployed, or it may not be
 * read. */
static char *frozen_url(const struct root *root)
{
	_cleanup_free_ char *text = NULL;
	const char *line;

	if (!root_exists(root, KMS_RECORD) ||
	    file_read(root, FROZEN_ENV, 64 << 10, &text, NULL) < 0)
		return NULL;
	line = strncmp(text, FROZEN_KEY, strlen(FROZEN_KEY)) == 0 ?
		       text :
		       strstr(text, "\n" FROZEN_KEY);
	if (!line)
		return NULL;
	line += strlen(FROZEN_KEY) + (*line == '\n');
	return xstrndup(line, strcspn(line, "\n"));
}

struct pick {
	const char *frozen;
	unsigned slot;
	char *url;
};

static int pick(const char *word, void *arg)
{
	struct pick *p = arg;

	if (p->frozen && strcmp(word, p->frozen) == 0)
		return 0;
	if (p->slot--)
		return 0;
	p->url = xstrdup(word);
	return 1;
}

char *chain_endpoint(const struct root *root, const struct settings *s, unsigned slot,
		     int *frozen)
{
	_cleanup_free_ char *first = frozen_url(root);
	struct pick p = { .frozen = first, .slot = slot };

	*frozen = first && slot == 0;
	if (*frozen)
		return steal_ptr(first);
	p.slot -= first != NULL;
	if (!check_url_list(setting(s, KEY_ETH_RPC_URLS)))
		for_each_word(setting(s, KEY_ETH_RPC_URLS), pick, &p);
	return p.url;
}

char *chain_shown(const char *url)
{
	struct url u;
	unsigned usual;

	if (parse_url(url, &u))
		return xstrdup("an endpoint that is no URL");
	usual = strcmp(u.scheme, "https") == 0 ? 443 : 80;
	return u.port == usual ? xstrdup(u.host) : xasprintf("%s:%u", u.host, u.port);
}

static void add_code(struct strbuf *out, unsigned id, const char *address)
{
	if (!*address || check_eth_address(address))
		return;
	sb_addf(out,
		",{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"eth_getCode\","
		"\"params\":[\"%s\",\"latest\"]}",
		id, address);
}

/* In one request, as the KMS's own client does it: what an endpoint refuses here it refuses
 * there. */
char *chain_body(const struct settings *s)
{
	struct strbuf out = { 0 };

	sb_add(&out, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_chainId\",\"params\":[]},"
		     "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"eth_getBlockByNumber\","
		     "\"params\":[\"latest\",false]}");
	add_code(&out, 3, setting(s, KEY_KMS_CONTRACT));
	add_code(&out, 4, setting(s, KEY_APP_AUTH_IMPLEMENTATION));
	sb_add(&out, "]");
	return sb_steal(&out);
}
