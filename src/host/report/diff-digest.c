// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: the foreign report compared with ours, the differences as facts. */
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/report/diff.h"
#include "host/json.h"
#include "host/report/report.h"

enum { DEPTH_MAX = 16, LIST_MAX = 4000, TELL_MAX = 2000, VALUE_MAX = 300, FAULTS_MAX = 64 };

struct walk {
	const json_t *other; /* the whole of it */
	struct peer_emit *emit;
	const char *words[DEPTH_MAX];
	size_t n;
	const json_t *faults;	  /* of the nearest object that has some, or NULL */
	const json_t *key_faults; /* by path below .values, or NULL */
	size_t keys_at;		  /* where that path begins */
	int partial;		  /* hand-made: it does not tell everything */
	size_t told;
};

static const json_t *own_doc;

void diff_set_own(const json_t *own)
{
	own_doc = own;
}

/* What identifies the elements of a list. */
static const char *identity_of(const char *list)
{
	static const char *const lists[][2] = {
		{ "services", "unit" },	   { "containers", "name" },  { "devices", "path" },
		{ "groups", "name" },	   { "configuration", "path" }, { "directories", "path" },
		{ "images", "name" },	   { "packages", "name" },    { "checks", "id" },
		{ "verification", "id" },  { "checklist", "id" },     { "known_issues", "id" },
		{ "secrets_locations", "secret" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (strcmp(lists[i][0], list) == 0)
			return lists[i][1];
	return NULL;
}

/* The same thing under the name that another layout gave it. */
static const char *alias_of(const char *name)
{
	static const char *const aliases[][2] = {
		{ "/opt/intel/sgx-dcap-pccs/config/default.json", "/run/dstack/pccs/local.json" },
		{ "/var/run/dstack", "/run/dstack" },
		{ "/usr/local/bin", "/var/lib/dstack/bin/current" },
		{ "/root/.dstack-vmm/vm", "/var/lib/dstack/vm" },
		{ "/var/lib/registry", "/var/lib/dstack/registry" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
		if (strcmp(aliases[i][0], name) == 0)
			return aliases[i][1];
	return name;
}

/* The caller's; what an element of a list is called. */
static char *name_of(const char *list, const json_t *item)
{
	const char *key = identity_of(list), *name = NULL;
	_cleanup_free_ char *text = NULL;

	if (strcmp(list, "ports") == 0 && json_is_object(item)) {
		const char *protocol = json_string_value(json_object_get(item, "protocol"));
		json_t *from = json_object_get(item, "from"), *to = json_object_get(item, "to");

		if (json_equal(from, to))
			return xasprintf("%s/%lld", protocol ? protocol : "?",
					 (long long)json_integer_value(from));
		return xasprintf("%s/%lld-%lld", protocol ? protocol : "?",
				 (long long)json_integer_value(from),
				 (long long)json_integer_value(to));
	}
	if (key && json_is_object(item))
		name = json_string_value(json_object_get(item, key));
	if (name)
		return xstrdup(alias_of(name));
	if (json_is_string(item))
		return xstrdup(json_string_value(item));
	text = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	return text ? steal_ptr(text) : xstrdup("?");
}

/* Nothing was said: null, no key, an empty list. */
static int is_nothing(const json_t *v)
{
	return !v || json_is_null(v) || (json_is_array(v) && !json_array_size(v)) ||
	       (json_is_object(v) && !json_object_size(v));
}

static void emit_value(struct walk *w, const char *key, const json_t *v)
{
	_cleanup_free_ char *text = NULL;

	if (is_nothing(v))
		return;
	text = json_is_string(v) ? xstrdup(json_string_value(v)) :
				   json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text && strlen(text) > VALUE_MAX)
		strcpy(text + VALUE_MAX - 3, "...");
	peer_fact(w->emit, key, text ? text : "?");
}

static const json_t *fault_text(const struct walk *w, json_int_t id)
{
	const json_t *list = json_object_get(w->other, "faults");

	for (size_t i = 0; i < json_array_size(list) && i < FAULTS_MAX; i++) {
		const json_t *fault = json_array_get(list, i);

		if (json_integer_value(json_object_get(fault, "id")) == id)
			return json_object_get(fault, "right");
	}
	return NULL;
}

static char *words_text(const struct walk *w, size_t from)
{
	struct strbuf sb = { 0 };

	for (size_t i = from; i < w->n; i++)
		sb_addf(&sb, "%s%s", i > from ? "." : "", w->words[i]);
	return sb_steal(&sb);
}

/* The fault of this key, else of what it is in; 0: none. */
static json_int_t fault_of(const struct walk *w)
{
	if (w->key_faults && w->n > w->keys_at) {
		_cleanup_free_ char *path = words_text(w, w->keys_at);
		const char *key;
		json_t *id;

		json_object_foreach((json_t *)(uintptr_t)w->key_faults, key, id) {
			size_t n = strlen(key);

			/* What is in a list of that key, too. */
			if (strncmp(path, key, n) == 0 && (!path[n] || path[n] == '.'))
				return json_integer_value(id);
		}
	}
	return json_integer_value(json_array_get(w->faults, 0));
}

static void tell(struct walk *w, const json_t *own, const json_t *other)
{
	int said;
	enum diff_class class = diff_class_of(w->words, w->n, &said);
	json_int_t fault = said ? 0 : fault_of(w);
	_cleanup_free_ char *path = NULL, *why = NULL;

	/* It says nothing of this; where secrets lie it says of its own. */
	if (class == DIFF_IGNORED ||
	    (w->partial && (is_nothing(other) || strcmp(w->words[0], "secrets_locations") == 0)))
		return;
	if (w->told++ >= TELL_MAX)
		return;
	if (fault) {
		const char *right = json_string_value(fault_text(w, fault));

		class = DIFF_FAULT;
		why = xasprintf("fault %lld%s%s", (long long)fault, right ? "; right is: " : "",
				right ? right : "");
	}
	path = words_text(w, 0);
	peer_fact(w->emit, "class", diff_class_name(class));
	peer_fact(w->emit, "path", path);
	emit_value(w, "here", own);
	emit_value(w, "there", other);
	if (why)
		peer_fact(w->emit, "why", why);
}

static void compare(struct walk *w, const json_t *own, const json_t *other);

static void compare_named(struct walk *w, const char *name, const json_t *own,
			  const json_t *other)
{
	if (w->n == DEPTH_MAX) {
		if (!json_equal((json_t *)(uintptr_t)own, (json_t *)(uintptr_t)other))
			tell(w, own, other);
		return;
	}
	w->words[w->n++] = name;
	compare(w, own, other);
	w->n--;
}

static void compare_objects(struct walk *w, const json_t *own, const json_t *other)
{
	/* Values say what the text says, without its comments and its order. */
	int values = json_is_object(json_object_get(own, "values")) &&
		     json_is_object(json_object_get(other, "values"));
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)own, key, v)
		if (!(values && strcmp(key, "text") == 0))
			compare_named(w, key, v, json_object_get(other, key));
	json_object_foreach((json_t *)(uintptr_t)other, key, v)
		if (!json_object_get(own, key) && !(values && strcmp(key, "text") == 0))
			compare_named(w, key, NULL, v);
}

struct names {
	char **name;
	size_t n;
};

static void names_free(struct names *list)
{
	for (size_t i = 0; i < list->n; i++)
		freep(&list->name[i]);
	freep(&list->name);
}

/* Two of one name become NAME and NAME#2. */
static void names_of(const char *list, const json_t *array, struct names *ret)
{
	size_t n = json_array_size(array);

	*ret = (struct names){ xcalloc(n + 1, sizeof(char *)), n };
	for (size_t i = 0; i < n; i++) {
		char *name = name_of(list, json_array_get(array, i));
		unsigned before = 0;

		for (size_t j = 0; j < i; j++)
			before += strncmp(ret->name[j], name, strlen(name)) == 0 &&
				  (!ret->name[j][strlen(name)] ||
				   ret->name[j][strlen(name)] == '#');
		ret->name[i] = before ? xasprintf("%s#%u", name, before + 1) : xstrdup(name);
		freep(&name);
	}
}

static const json_t *by_name(const json_t *array, const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->name[i], name) == 0)
			return json_array_get(array, i);
	return NULL;
}

static void compare_lists(struct walk *w, const json_t *own, const json_t *other)
{
	const char *list = w->n ? w->words[w->n - 1] : "";
	_cleanup_(names_free) struct names ours = { 0 }, theirs = { 0 };

	if (json_array_size(own) > LIST_MAX || json_array_size(other) > LIST_MAX) {
		tell(w, own, other);
		return;
	}
	names_of(list, own, &ours);
	names_of(list, other, &theirs);
	for (size_t i = 0; i < ours.n; i++)
		compare_named(w, ours.name[i], json_array_get(own, i),
			      by_name(other, &theirs, ours.name[i]));
	for (size_t i = 0; i < theirs.n; i++)
		if (!by_name(own, &ours, theirs.name[i]))
			compare_named(w, theirs.name[i], NULL, json_array_get(other, i));
}

/* Faults count for everything below the object that names them. */
static void enter(struct walk *w, const json_t *other)
{
	const json_t *faults = json_object_get(other, "faults");
	const json_t *by_key = json_object_get(other, "key_faults");

	if (w->n && json_array_size(faults) && json_is_integer(json_array_get(faults, 0)))
		w->faults = faults;
	if (json_is_object(by_key)) {
		w->key_faults = by_key;
		w->keys_at = w->n + 1;
	}
}

static void compare(struct walk *w, const json_t *own, const json_t *other)
{
	const json_t *faults = w->faults, *by_key = w->key_faults;

	if (is_nothing(own) && is_nothing(other))
		return;
	enter(w, other);
	if (json_is_object(own) && json_is_object(other))
		compare_objects(w, own, other);
	else if (json_is_array(own) && json_is_array(other))
		compare_lists(w, own, other);
	/* An object of which the other side has nothing is told by its parts where these are
	 * of different classes, that is below the document's own keys. */
	else if (w->n < 2 && json_is_object(own) && is_nothing(other))
		compare_objects(w, own, NULL);
	else if (w->n < 2 && json_is_array(own) && is_nothing(other))
		compare_lists(w, own, NULL);
	else if (w->n < 2 && json_is_object(other) && is_nothing(own))
		compare_objects(w, NULL, other);
	else if (w->n < 2 && json_is_array(other) && is_nothing(own))
		compare_lists(w, NULL, other);
	else if (!own || !other ||
		 !json_equal((json_t *)(uintptr_t)own, (json_t *)(uintptr_t)other))
		tell(w, own, other);
	w->faults = faults;
	w->key_faults = by_key;
}

void diff_digest(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *other = json_read(reply->body, reply->len, 0);
	const char *schema = json_string_value(json_object_get(other, "schema"));
	const char *kind = json_string_value(json_object_get(other, "kind"));
	const char *taken = json_string_value(json_object_get(other, "taken"));
	struct walk w = { .other = other, .emit = emit };

	if (!json_is_object(other))
		peer_fact(emit, "bad", "it is no JSON object");
	else if (!schema || strcmp(schema, REPORT_SCHEMA) != 0)
		peer_factf(emit, "bad", "its schema is %.60s, not " REPORT_SCHEMA,
			   schema ? schema : "not named");
	else {
		w.partial = kind && strcmp(kind, "reference") == 0;
		peer_fact(emit, "kind", kind ? kind : "?");
		peer_fact(emit, "taken", taken ? taken : "?");
		compare(&w, own_doc, other);
		if (w.told > TELL_MAX)
			peer_factf(emit, "bad", "it differs in more than %d places", TELL_MAX);
	}
	json_decref(other);
}
