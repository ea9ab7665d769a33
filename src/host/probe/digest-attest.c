// SPDX-License-Identifier: Apache-2.0
/* Runs in the network half: what PCCS and Docker say of themselves, to facts. */
#include <ctype.h>
#include <string.h>

#include "host/peer/answer.h"
#include "host/probe/probes-digest.h"

enum { MOUNTS_MAX = 64 };

static unsigned digit(char c)
{
	int d = tolower((unsigned char)c);

	return (unsigned)(d <= '9' ? d - '0' : d - 'a' + 10);
}

/* A DER sequence in hexadecimal, of the length that its header says in one or two bytes. */
static int is_hex_der(const char *s, size_t len)
{
	size_t said = 0, header;

	while (len && isspace((unsigned char)s[len - 1]))
		len--;
	for (size_t i = 0; i < len; i++)
		if (!isxdigit((unsigned char)s[i]))
			return 0;
	if (len < 8 || len % 2 || (strncmp(s, "3081", 4) != 0 && strncmp(s, "3082", 4) != 0))
		return 0;
	header = s[3] == '1' ? 3 : 4;
	for (size_t i = 4; i < 2 * header; i++)
		said = said * 16 + digit(s[i]);
	return len / 2 == said + header;
}

void digest_rootcacrl(const struct peer_reply *reply, struct peer_emit *emit)
{
	if (reply->status == 200)
		peer_fact(emit, "crl", is_hex_der(reply->body, reply->len) ? "der" : "other");
}

static void string_fact(struct peer_emit *emit, const char *key, json_t *value)
{
	const char *s = json_string_value(value);

	if (s && *s)
		peer_fact(emit, key, s);
}

/* "DESTINATION TYPE SOURCE"; no blank may come from outside. */
static void mount_fact(struct peer_emit *emit, json_t *mount)
{
	const char *to = json_string_value(json_object_get(mount, "Destination"));
	const char *type = json_string_value(json_object_get(mount, "Type"));
	const char *from = json_string_value(json_object_get(mount, "Source"));

	if (to && type && from && !strpbrk(to, " \t\r\n") && !strpbrk(type, " \t\r\n"))
		peer_factf(emit, "mount", "%s %s %s", to, type, from);
}

static void simulated_fact(struct peer_emit *emit, json_t *config)
{
	const char *s = json_string_value(json_object_get(json_object_get(config, "Labels"),
							  "org.dstack.simulated"));

	if (s && strcmp(s, "true") == 0)
		peer_fact(emit, "simulated", "yes");
}

void digest_inspect(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc, *state, *config, *host, *mount;
	size_t i;

	if (reply->status != 200)
		return;
	doc = answer_json(reply, emit);
	state = json_object_get(doc, "State");
	config = json_object_get(doc, "Config");
	host = json_object_get(doc, "HostConfig");
	if (doc && (!json_is_object(state) || !json_is_object(config)))
		peer_fact(emit, "bad", "the answer is no container");
	string_fact(emit, "id", json_object_get(doc, "Image"));
	string_fact(emit, "image", json_object_get(config, "Image"));
	simulated_fact(emit, config);
	string_fact(emit, "started", json_object_get(state, "StartedAt"));
	string_fact(emit, "restart",
		    json_object_get(json_object_get(host, "RestartPolicy"), "Name"));
	if (json_is_integer(json_object_get(doc, "RestartCount")))
		peer_factf(emit, "restarts", "%lld",
			   (long long)json_integer_value(json_object_get(doc, "RestartCount")));
	if (json_is_integer(json_object_get(state, "Pid")))
		peer_factf(emit, "pid", "%lld",
			   (long long)json_integer_value(json_object_get(state, "Pid")));
	if (json_is_true(json_object_get(host, "Privileged")))
		peer_fact(emit, "privileged", "yes");
	json_array_foreach(json_object_get(doc, "Mounts"), i, mount)
		if (i < MOUNTS_MAX)
			mount_fact(emit, mount);
	json_decref(doc);
}

void digest_image(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc;

	if (reply->status != 200)
		return;
	doc = answer_json(reply, emit);
	if (doc && !json_is_string(json_object_get(doc, "Id")))
		peer_fact(emit, "bad", "the answer is no image");
	string_fact(emit, "id", json_object_get(doc, "Id"));
	simulated_fact(emit, json_object_get(doc, "Config"));
	json_decref(doc);
}
