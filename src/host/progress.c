// SPDX-License-Identifier: Apache-2.0
/* The manager shows it as the unit's status. */
#include "host/progress.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/notify.h"

void progress_say(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL, *state = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_debug("%s", text);
	state = xasprintf("STATUS=%s", text);
	notify_manager(state);
}
