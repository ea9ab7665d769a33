// SPDX-License-Identifier: Apache-2.0
/* Monotonic milliseconds. */
#include "clock.h"

#include <limits.h>
#include <time.h>

uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int clock_left(uint64_t deadline)
{
	uint64_t now = clock_ms();

	if (now >= deadline)
		return 0;
	return deadline - now > INT_MAX ? INT_MAX : (int)(deadline - now);
}
