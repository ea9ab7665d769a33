// SPDX-License-Identifier: Apache-2.0
/* The protocol of sd_notify(3), which is a datagram; libsystemd is not needed for it. */
#pragma once

/* "READY=1\nSTATUS=…" to the manager that started us; nothing when none did. */
void notify_manager(const char *state);
