// SPDX-License-Identifier: Apache-2.0
/* What the daemons' answers have in common: JSON, and the ways to say no. */
#include "host/peer/answer.h"

#include "base/alloc.h"
#include "host/json.h"

/* {"error": text} of dstack's own, whatever the status; {"message": text} of Docker's. */
static const char *refusal(long status, const json_t *doc)
{
	const char *text = json_string_value(json_object_get(doc, "error"));

	if (text || status == 200)
		return text;
	text = json_string_value(json_object_get(doc, "message"));
	return text ? text : "refused without a reason";
}

json_t *answer_json(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len,
				JSON_DECODE_ANY | JSON_REJECT_DUPLICATES);
	const char *no = doc ? refusal(reply->status, doc) : "the answer is no JSON";

	if (!no)
		return doc;
	peer_fact(emit, "bad", no);
	json_decref(doc);
	return NULL;
}

char *answer_trouble(const struct peer_answer *answer, long status)
{
	const char *bad = peer_get(answer, "bad");

	if (answer->error != PEER_OK)
		return xstrdup(answer->text ? answer->text : "no answer");
	if (status && answer->status != status)
		return bad ? xasprintf("HTTP %ld: %.250s", answer->status, bad) :
			     xasprintf("HTTP %ld", answer->status);
	return bad ? xasprintf("%.250s", bad) : NULL;
}
