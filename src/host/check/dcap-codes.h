// SPDX-License-Identifier: Apache-2.0
/* What Intel's quote libraries, PCCS and AESM mean by their codes, in plain words. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum dcap_speaker {
	DCAP_QGSD = 1, /* and Intel's libraries in it */
	DCAP_PCCS = 2,
	DCAP_AESM = 4, /* aesmd, and who talks to it */
};

struct dcap_code {
	unsigned speakers;  /* enum dcap_speaker that say so */
	uint32_t code;	    /* 0: known by its phrase */
	const char *phrase; /* in the line; NULL: the code in hexadecimal */
	const char *name;
	/* The higher, the nearer to the cause: what a library says about a failure of another
	 * one below it is low. */
	unsigned depth;
	const char *cause; /* a sentence */
	const char *fix;   /* a command, or where to look */
};

/* The most telling code in a line of the journal, or NULL. */
const struct dcap_code *dcap_code_in(enum dcap_speaker speaker, const char *line);
/* Is it about SGX devices that cannot be opened? A QGS that answers has opened them. */
int dcap_is_of_devices(const struct dcap_code *code);
/* Does the line say that what failed before has worked? */
int dcap_is_success(enum dcap_speaker speaker, const char *line);
/* The table, for tests. */
extern const struct dcap_code dcap_codes[];
extern const size_t n_dcap_codes;
