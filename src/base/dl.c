// SPDX-License-Identifier: Apache-2.0
/* Loads a library with all its functions, or none of them. */
#include "dl.h"

#include <dlfcn.h>
#include <errno.h>

#include "log.h"

int dl_load(struct dl *lib)
{
	void *handle;

	if (lib->loaded)
		return 0;
	handle = dlopen(lib->soname, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
	if (!handle) {
		log_error("cannot load a library: %s", dlerror());
		return -ELIBACC;
	}
	for (size_t i = 0; i < lib->n; i++) {
		*lib->symbols[i].at = dlsym(handle, lib->symbols[i].name);
		if (!*lib->symbols[i].at) {
			log_error("%s is not the library that is needed: %s", lib->soname,
				  dlerror());
			dlclose(handle);
			return -ELIBACC;
		}
	}
	lib->loaded = 1;
	return 0;
}
