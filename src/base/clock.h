// SPDX-License-Identifier: Apache-2.0
/* Time for deadlines. */
#pragma once

#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds: nobody sets it back. */
uint64_t clock_ms(void);
/* Milliseconds until `deadline` as poll(2) takes them: 0 when it has passed. */
int clock_left(uint64_t deadline);
