// SPDX-License-Identifier: Apache-2.0
/* Attributes and the cleanup idiom that every file uses. */
#pragma once

#include <stddef.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _noreturn_ __attribute__((noreturn))
#define _unused_ __attribute__((unused))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Gives away a pointer that a cleanup attribute guards. */
#define steal_ptr(p)                                                                     \
	({                                                                               \
		__typeof__(p) p_ = (p);                                                  \
		(p) = NULL;                                                              \
		p_;                                                                      \
	})

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)

void freep(void *p);
void closep(int *fd);
