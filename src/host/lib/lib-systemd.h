// SPDX-License-Identifier: Apache-2.0
/* libsystemd, for who asks the manager (units.c). */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>

#include "base/dl.h"

#define LIBSYSTEMD_FUNCTIONS(X) \
	X(sd_booted) X(sd_bus_call) X(sd_bus_close_unref) X(sd_bus_flush_close_unref) \
	X(sd_bus_is_ready) X(sd_bus_message_append) X(sd_bus_message_enter_container) \
	X(sd_bus_message_exit_container) X(sd_bus_message_new_method_call) \
	X(sd_bus_message_read) X(sd_bus_message_skip) X(sd_bus_message_unref) \
	X(sd_bus_new) X(sd_bus_open_system) X(sd_bus_path_encode) X(sd_bus_process) \
	X(sd_bus_set_address) X(sd_bus_set_method_call_timeout) X(sd_bus_start) \
	X(sd_bus_wait) X(sd_id128_get_boot) X(sd_id128_to_string) X(sd_journal_add_match) \
	X(sd_journal_close) X(sd_journal_flush_matches) X(sd_journal_get_data) \
	X(sd_journal_get_realtime_usec) X(sd_journal_open) X(sd_journal_previous) \
	X(sd_journal_seek_tail)

LIBSYSTEMD_FUNCTIONS(DL_DECLARE)

int libsystemd_load(void) _must_check_;
