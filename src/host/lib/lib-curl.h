// SPDX-License-Identifier: Apache-2.0
/* libcurl, which the network halves use; it is loaded before they are forked. */
#pragma once

#include <curl/curl.h>

#include "base/dl.h"

#define LIBCURL_FUNCTIONS(X) \
	X(curl_easy_getinfo) X(curl_easy_init) X(curl_easy_setopt) \
	X(curl_easy_strerror) X(curl_global_init) X(curl_multi_add_handle) \
	X(curl_multi_info_read) X(curl_multi_init) X(curl_multi_perform) \
	X(curl_multi_poll) X(curl_easy_perform) X(curl_multi_strerror) X(curl_slist_append)

LIBCURL_FUNCTIONS(DL_DECLARE)

int libcurl_load(void) _must_check_;
