// SPDX-License-Identifier: Apache-2.0
/* Libraries that are loaded when they are used: all of them, or a clear no. */
#include "test.h"

#include <errno.h>

#include "base/dl.h"
#include "host/lib/lib-crypto.h"
#include "host/lib/lib-curl.h"
#include "host/lib/lib-nftables.h"
#include "host/lib/lib-systemd.h"

static void (*function)(void);
static const struct dl_symbol one[] = { { "no_such_function", (void **)(void *)&function } };

/* What they are built against and what they load is the same library. */
static void those_of_the_program_load(void **state _unused_)
{
	assert_int_equal(libcrypto_load(), 0);
	assert_int_equal(libcurl_load(), 0);
	assert_int_equal(libnftables_load(), 0);
	assert_int_equal(libsystemd_load(), 0);
	assert_ptr_equal(sym_X509_verify, X509_verify);
	assert_ptr_equal(sym_curl_multi_poll, curl_multi_poll);
	assert_ptr_equal(sym_nft_ctx_new, nft_ctx_new);
	assert_ptr_equal(sym_sd_bus_call, sd_bus_call);
}

static void a_missing_library_is_an_error(void **state _unused_)
{
	struct dl lib = { "libnot-there.so.9", one, 1, 0 };

	assert_int_equal(dl_load(&lib), -ELIBACC);
	assert_int_equal(dl_load(&lib), -ELIBACC);
}

static void a_library_that_lacks_a_function_is_an_error(void **state _unused_)
{
	struct dl lib = { "libcrypto.so.3", one, 1, 0 };

	assert_int_equal(dl_load(&lib), -ELIBACC);
	assert_int_equal(lib.loaded, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_of_the_program_load),
		cmocka_unit_test(a_missing_library_is_an_error),
		cmocka_unit_test(a_library_that_lacks_a_function_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
