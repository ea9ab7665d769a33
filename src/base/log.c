// SPDX-License-Identifier: Apache-2.0
/* Messages to stderr. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"

int log_verbose;

/* True when stderr is the journal: systemd names its device and inode. */
static int stderr_is_journal(void)
{
	static int known = -1;
	const char *env;
	struct stat st;
	unsigned long long dev, ino;

	if (known >= 0)
		return known;
	env = getenv("JOURNAL_STREAM");
	known = env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 &&
		fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
	return known;
}

static _printf_(3, 0) void emit(int priority, const char *what, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL, *line = NULL;
	char prefix[8] = "";

	text = xvasprintf(fmt, ap);
	if (stderr_is_journal())
		snprintf(prefix, sizeof(prefix), "<%d>", priority);
	line = xasprintf("%s%s%s\n", prefix, what, text);
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

#define DEFINE_LOG(name, priority, what, condition)                                      \
	void name(const char *fmt, ...)                                                  \
	{                                                                                \
		va_list ap;                                                              \
                                                                                         \
		if (!(condition))                                                        \
			return;                                                          \
		va_start(ap, fmt);                                                       \
		emit(priority, what, fmt, ap);                                           \
		va_end(ap);                                                              \
	}

DEFINE_LOG(log_error, 3, "dstack-host: error: ", 1)
DEFINE_LOG(log_warning, 4, "dstack-host: warning: ", 1)
DEFINE_LOG(log_info, 6, "dstack-host: ", 1)
DEFINE_LOG(log_debug, 7, "dstack-host: ", log_verbose)
DEFINE_LOG(log_line, 3, "", 1)
