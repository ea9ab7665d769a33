// SPDX-License-Identifier: Apache-2.0
/* Reads the facts of a certificate. */
#include "host/peer/cert-facts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"

#define DAY 86400

static int64_t number(const struct peer_answer *answer, const char *key)
{
	const char *text = peer_get(answer, key);

	return text ? strtoll(text, NULL, 10) : 0;
}

void cert_facts_of(const struct peer_answer *answer, struct cert_facts *ret)
{
	const char *host = peer_get(answer, "cert.host");

	*ret = (struct cert_facts){
		.seen = host != NULL,
		.from = number(answer, "cert.from"),
		.until = number(answer, "cert.until"),
		.host = host && strcmp(host, "ok") == 0,
		.ca = peer_get(answer, "cert.ca"),
		.system = peer_get(answer, "cert.system"),
		.subject = peer_get(answer, "cert.subject"),
		.issuer = peer_get(answer, "cert.issuer"),
		.sha256 = peer_get(answer, "cert.sha256"),
	};
}

int cert_is_ok(const char *trust)
{
	return trust && strcmp(trust, "ok") == 0;
}

long cert_days_left(const struct cert_facts *cert, uint64_t now_us)
{
	int64_t left = cert->until - (int64_t)(now_us / 1000000);

	return (long)(left < 0 ? (left - DAY + 1) / DAY : left / DAY);
}

char *cert_names(const struct peer_answer *answer)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (size_t i = 0; i < answer->n_facts; i++)
		if (strcmp(answer->facts[i].key, "cert.name") == 0)
			sb_addf(&sb, "%s%s", sb.len ? ", " : "", answer->facts[i].value);
	return sb_steal(&sb);
}
