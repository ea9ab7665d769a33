// SPDX-License-Identifier: Apache-2.0
/* In the half: the supervisor's list of processes, its command lines translated. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/answer.h"
#include "host/measure/measure-vm.h"

enum { ARGS_MAX = 1024 };

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* QEMU may be behind sudo or taskset: then its path is one of the arguments. */
static const char *find_qemu(const char *command, const char *const *args, size_t n,
			     size_t *first)
{
	*first = 0;
	if (strncmp(base_of(command), "qemu", 4) == 0)
		return command;
	for (size_t i = 0; i < n; i++)
		if (strncmp(base_of(args[i]), "qemu-system", 11) == 0) {
			*first = i + 1;
			return args[i];
		}
	return command;
}

static void tell_config(const struct measure_config *c, const char *qemu,
			struct peer_emit *emit)
{
	const struct {
		const char *key, *value;
	} facts[] = { { "qemu", qemu }, { "firmware", c->firmware }, { "kernel", c->kernel },
		      { "initrd", c->initrd }, { "cmdline", c->cmdline },
		      { "td-machine", c->td_machine }, { "td-object", c->td_object } };

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
		if (facts[i].value)
			peer_fact(emit, facts[i].key, facts[i].value);
	peer_factf(emit, "memory", "%llu", (unsigned long long)c->memory);
	for (size_t i = 0; i < c->n_args; i++)
		peer_fact(emit, "arg", c->args[i]);
}

static void one_machine(json_t *config, json_t *state, struct peer_emit *emit)
{
	json_t *pid = json_object_get(state, "pid");
	const char *id = json_string_value(json_object_get(config, "id"));
	const char *name = json_string_value(json_object_get(config, "name"));
	const char *command = json_string_value(json_object_get(config, "command"));
	_cleanup_free_ const char **args = xcalloc(ARGS_MAX, sizeof(*args));
	_cleanup_config_ struct measure_config c = { 0 };
	_cleanup_free_ char *trouble = NULL;
	const char *qemu;
	json_t *item;
	size_t i, n = 0, first;

	json_array_foreach(json_object_get(config, "args"), i, item)
		if (json_is_string(item) && n < ARGS_MAX)
			args[n++] = json_string_value(item);
	if (!id || !command || !n)
		return;
	peer_fact(emit, "id", id);
	peer_fact(emit, "name", name ? name : id);
	if (json_integer_value(pid) > 0)
		peer_factf(emit, "pid", "%lld", (long long)json_integer_value(pid));
	qemu = find_qemu(command, args, n, &first);
	if (config_from_args(args + first, n - first, &c, &trouble) < 0)
		peer_fact(emit, "trouble", trouble);
	else
		tell_config(&c, qemu, emit);
}

void measure_digest_list(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *item;
	json_t *list = json_object_get(doc, "data");
	size_t i;

	if (doc && !json_is_array(list))
		peer_fact(emit, "bad", "the answer is no list of processes");
	json_array_foreach(list, i, item) {
		json_t *config = json_object_get(item, "config");
		const char *note = json_string_value(json_object_get(config, "note"));
		json_t *of = note ? json_loads(note, 0, NULL) : NULL;
		const char *kind = json_string_value(json_object_get(of, "kind"));

		if (kind && strcmp(kind, "cvm") == 0)
			one_machine(config, json_object_get(item, "state"), emit);
		json_decref(of);
	}
	json_decref(doc);
}
