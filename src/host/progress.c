// SPDX-License-Identifier: Apache-2.0
/* sd_notify(3). */
#include "host/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "base/alloc.h"
#include "base/log.h"

void progress_say(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_debug("%s", text);
	sd_notifyf(0, "STATUS=%s", text);
}
