// SPDX-License-Identifier: Apache-2.0
/* The only user of sd-bus. */
#include "host/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/lib/lib-systemd.h"

#define LIMIT_US 2000000ull
/* Reading all unit files again takes its time on a busy machine. */
#define DESTINATION "org.freedesktop.systemd1"
#define OBJECT "/org/freedesktop/systemd1"
#define MANAGER DESTINATION ".Manager"

struct units {
	sd_bus *bus;
	int dead; /* -errno: it did not answer in time, nobody waits for it twice */
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Authentication and Hello. sym_sd_bus_call() would wait for these without a limit of ours. */
static int wait_ready(sd_bus *bus)
{
	uint64_t end = now_us() + LIMIT_US;

	for (;;) {
		uint64_t now = now_us();
		int r = sym_sd_bus_is_ready(bus);

		if (r != 0)
			return r < 0 ? r : 0;
		if (now >= end)
			return -ETIMEDOUT;
		r = sym_sd_bus_process(bus, NULL);
		if (r < 0)
			return r;
		if (r == 0)
			r = sym_sd_bus_wait(bus, end - now);
		if (r < 0 && r != -EINTR)
			return r;
	}
}

static int open_private(sd_bus **ret)
{
	sd_bus *bus = NULL;
	int r = sym_sd_bus_new(&bus);

	if (r >= 0)
		r = sym_sd_bus_set_address(bus, "unix:path=/run/systemd/private");
	if (r >= 0)
		r = sym_sd_bus_start(bus);
	if (r >= 0)
		r = wait_ready(bus);
	if (r < 0) {
		sym_sd_bus_close_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

static int open_system(sd_bus **ret)
{
	sd_bus *bus = NULL;
	int r = sym_sd_bus_open_system(&bus);

	if (r >= 0)
		r = wait_ready(bus);
	if (r < 0) {
		sym_sd_bus_close_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

int units_open(const struct root *root, struct units **ret)
{
	sd_bus *bus = NULL;
	int r;

	*ret = NULL;
	if (!root_is_host(root))
		return UNITS_ABSENT;
	r = libsystemd_load();
	if (r < 0)
		return r;
	if (sym_sd_booted() <= 0)
		return UNITS_ABSENT;
	r = open_system(&bus);
	if (r < 0 && geteuid() == 0)
		r = open_private(&bus);
	if (r < 0)
		return r;
	sym_sd_bus_set_method_call_timeout(bus, LIMIT_US);
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->bus = bus;
	return 0;
}

void units_close(struct units **u)
{
	if (!*u)
		return;
	sym_sd_bus_flush_close_unref((*u)->bus);
	free(*u);
	*u = NULL;
}

static int call_within(struct units *u, sd_bus_message *m, uint64_t limit,
		       sd_bus_message **reply)
{
	int r;

	if (u->dead)
		return u->dead;
	r = sym_sd_bus_call(u->bus, m, limit, NULL, reply);
	if (r == -ETIMEDOUT || r == -ECONNRESET || r == -ENOTCONN)
		u->dead = r;
	return r < 0 ? r : 0;
}

static int call(struct units *u, sd_bus_message *m, sd_bus_message **reply)
{
	return call_within(u, m, LIMIT_US, reply);
}

enum kind { KIND_STRING, KIND_TIME, KIND_PID };

static const struct {
	const char *name;
	size_t offset;
	enum kind kind;
} properties[] = {
	{ "LoadState", offsetof(struct unit_state, load), KIND_STRING },
	{ "ActiveState", offsetof(struct unit_state, active), KIND_STRING },
	{ "SubState", offsetof(struct unit_state, sub), KIND_STRING },
	{ "Result", offsetof(struct unit_state, result), KIND_STRING },
	{ "StatusText", offsetof(struct unit_state, status), KIND_STRING },
	{ "UnitFileState", offsetof(struct unit_state, file_state), KIND_STRING },
	{ "ControlGroup", offsetof(struct unit_state, cgroup), KIND_STRING },
	{ "InactiveExitTimestamp", offsetof(struct unit_state, since_us), KIND_TIME },
	{ "ActiveEnterTimestamp", offsetof(struct unit_state, active_us), KIND_TIME },
	{ "ExecMainStartTimestamp", offsetof(struct unit_state, main_us), KIND_TIME },
	{ "MainPID", offsetof(struct unit_state, main_pid), KIND_PID },
};

static int read_plain(sd_bus_message *m, size_t i, struct unit_state *s)
{
	char *field = (char *)s + properties[i].offset;
	const char *text;
	int r;

	if (properties[i].kind == KIND_TIME)
		return sym_sd_bus_message_read(m, "v", "t", (uint64_t *)(void *)field);
	if (properties[i].kind == KIND_PID)
		return sym_sd_bus_message_read(m, "v", "u", (uint32_t *)(void *)field);
	r = sym_sd_bus_message_read(m, "v", "s", &text);
	if (r >= 0) {
		free(*(char **)(void *)field);
		*(char **)(void *)field = xstrdup(text);
	}
	return r;
}

/* a(sbbsi): type, trigger, negate, parameter, state. State is negative where it failed and 0
 * where it has not been looked at. */
static int read_conditions(sd_bus_message *m, struct unit_state *s)
{
	const char *type, *parameter;
	int trigger, negate, state, r;

	r = sym_sd_bus_message_enter_container(m, 'v', "a(sbbsi)");
	if (r >= 0)
		r = sym_sd_bus_message_enter_container(m, 'a', "(sbbsi)");
	while (r >= 0) {
		r = sym_sd_bus_message_read(m, "(sbbsi)", &type, &trigger, &negate, &parameter,
					&state);
		if (r <= 0)
			break;
		if (state < 0 && !s->condition)
			s->condition = xasprintf("%s=%s%s%s", type, trigger ? "|" : "",
						 negate ? "!" : "", parameter);
	}
	if (r >= 0)
		r = sym_sd_bus_message_exit_container(m);
	return r < 0 ? r : sym_sd_bus_message_exit_container(m);
}

static int read_job(sd_bus_message *m, struct unit_state *s)
{
	const char *path;
	uint32_t id = 0;
	int r = sym_sd_bus_message_read(m, "v", "(uo)", &id, &path);

	s->job = id != 0;
	return r;
}

static int read_refusal(sd_bus_message *m, struct unit_state *s)
{
	int refuses = 0, r = sym_sd_bus_message_read(m, "v", "b", &refuses);

	s->stoppable = !refuses;
	return r;
}

static int read_property(sd_bus_message *m, const char *name, struct unit_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
		if (strcmp(name, properties[i].name) == 0)
			return read_plain(m, i, s);
	if (strcmp(name, "Job") == 0)
		return read_job(m, s);
	if (strcmp(name, "RefuseManualStop") == 0)
		return read_refusal(m, s);
	if (strcmp(name, "Conditions") == 0)
		return read_conditions(m, s);
	return sym_sd_bus_message_skip(m, "v");
}

static int read_all(sd_bus_message *m, struct unit_state *s)
{
	int r = sym_sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0) {
		const char *name;

		r = sym_sd_bus_message_enter_container(m, 'e', "sv");
		if (r <= 0)
			return r;
		r = sym_sd_bus_message_read(m, "s", &name);
		if (r >= 0)
			r = read_property(m, name, s);
		if (r >= 0)
			r = sym_sd_bus_message_exit_container(m);
	}
	return r;
}

static void fill_gaps(struct unit_state *s)
{
	char **texts[] = { &s->load,   &s->active,     &s->sub,	  &s->result,
			   &s->status, &s->file_state, &s->cgroup };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (!*texts[i])
			*texts[i] = xstrdup("");
}

int units_get(struct units *u, const char *name, struct unit_state *ret)
{
	sd_bus_message *m = NULL, *reply = NULL;
	char *path = NULL;
	int r;

	*ret = (struct unit_state){ 0 };
	r = sym_sd_bus_path_encode(OBJECT "/unit", name, &path);
	if (r >= 0)
		r = sym_sd_bus_message_new_method_call(u->bus, &m, DESTINATION, path,
						   "org.freedesktop.DBus.Properties",
						   "GetAll");
	/* No interface: the properties of all of them, unit and service, in one answer. */
	if (r >= 0)
		r = sym_sd_bus_message_append(m, "s", "");
	if (r >= 0)
		r = call(u, m, &reply);
	if (r >= 0)
		r = read_all(reply, ret);
	fill_gaps(ret);
	sym_sd_bus_message_unref(reply);
	sym_sd_bus_message_unref(m);
	free(path);
	return r < 0 ? r : 0;
}

int units_do(struct units *u, enum unit_verb verb, const char *name)
{
	static const char *const methods[] = {
		[UNIT_START] = "StartUnit",
		[UNIT_STOP] = "StopUnit",
		[UNIT_RESTART] = "RestartUnit",
		[UNIT_TRY_RESTART] = "TryRestartUnit",
		[UNIT_RELOAD_OR_TRY_RESTART] = "ReloadOrTryRestartUnit",
		[UNIT_RESET_FAILED] = "ResetFailedUnit",
	};
	sd_bus_message *m = NULL, *reply = NULL;
	int r = sym_sd_bus_message_new_method_call(u->bus, &m, DESTINATION, OBJECT, MANAGER,
					       methods[verb]);

	if (r >= 0)
		r = sym_sd_bus_message_append(m, "s", name);
	if (r >= 0 && verb != UNIT_RESET_FAILED)
		r = sym_sd_bus_message_append(m, "s", "replace");
	if (r >= 0)
		r = call(u, m, &reply);
	sym_sd_bus_message_unref(reply);
	sym_sd_bus_message_unref(m);
	return r < 0 ? r : 0;
}

int units_system_state(struct units *u, char **ret)
{
	sd_bus_message *m = NULL, *reply = NULL;
	const char *text;
	int r = sym_sd_bus_message_new_method_call(u->bus, &m, DESTINATION, OBJECT,
					       "org.freedesktop.DBus.Properties", "Get");

	if (r >= 0)
		r = sym_sd_bus_message_append(m, "ss", MANAGER, "SystemState");
	if (r >= 0)
		r = call(u, m, &reply);
	if (r >= 0)
		r = sym_sd_bus_message_read(reply, "v", "s", &text);
	if (r >= 0)
		*ret = xstrdup(text);
	sym_sd_bus_message_unref(reply);
	sym_sd_bus_message_unref(m);
	return r < 0 ? r : 0;
}

void unit_state_free(struct unit_state *s)
{
	free(s->load);
	free(s->active);
	free(s->sub);
	free(s->result);
	free(s->status);
	free(s->file_state);
	free(s->cgroup);
	free(s->condition);
	*s = (struct unit_state){ 0 };
}
