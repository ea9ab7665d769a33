// SPDX-License-Identifier: Apache-2.0
/* Is never run or installed: linked to every library that the program loads by itself, with
 * the same functions, so that dpkg-shlibdeps finds packages and versions (debian/rules). */
#include "host/lib/lib-archive.h"
#include "host/lib/lib-crypto.h"
#include "host/lib/lib-curl.h"
#include "host/lib/lib-isal.h"
#include "host/lib/lib-nftables.h"
#include "host/lib/lib-systemd.h"

#define REFER(f) (const void *)&(f),

const void *const dlopened[] = {
	LIBARCHIVE_FUNCTIONS(REFER) LIBCRYPTO_FUNCTIONS(REFER) LIBCURL_FUNCTIONS(REFER)
		LIBISAL_FUNCTIONS(REFER) LIBNFTABLES_FUNCTIONS(REFER) LIBSYSTEMD_FUNCTIONS(REFER)
};

int main(void)
{
	return !dlopened[0];
}
