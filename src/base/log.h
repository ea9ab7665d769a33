// SPDX-License-Identifier: Apache-2.0
/*
 * The one place that writes to stderr. "dstack-host: error: ..."; with a journal on stderr
 * the priority goes in front as <3>, which systemd reads.
 */
#pragma once

#include "macro.h"

extern int log_verbose;

void log_error(const char *fmt, ...) _printf_(1, 2);
void log_warning(const char *fmt, ...) _printf_(1, 2);
void log_info(const char *fmt, ...) _printf_(1, 2);
/* Only with --verbose. */
void log_debug(const char *fmt, ...) _printf_(1, 2);
/* A line for stderr as it is, without "error:" (diagnostics carry file and line). */
void log_line(const char *fmt, ...) _printf_(1, 2);
