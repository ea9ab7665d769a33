// SPDX-License-Identifier: Apache-2.0
/*
 * app-compose.json and the CreateVm call, byte for byte as upstream's vmm-cli.py writes
 * them: the compose's SHA-256 is what a guest is measured by, its first 20 bytes are the
 * application's id.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "host/sha256.h"

enum { COMPOSE_APP_ID = 40 }; /* hex digits */

struct app_compose {
	const char *name;
	const char *docker_compose;
	size_t docker_compose_len;
	const char *prelaunch_script; /* NULL: none */
	size_t prelaunch_script_len;
	const char *key_provider_id; /* NULL: "" */
	char **allowed_envs;
	size_t n_allowed_envs;
	uint64_t swap_bytes; /* 0: none */
	int kms, gateway, local_key_provider;
	int public_logs, public_sysinfo;
	int no_instance_id, secure_time;
};

/* NULL when everything can be in a compose file; else the reason ("holds a NUL byte"), and
 * vmm-cli's name of what it is about in *what. */
const char *app_compose_unfit(const struct app_compose *app, const char **what);
/* The file, the caller's: 0, or -EINVAL when something is unfit. */
int app_compose_text(const struct app_compose *app, char **ret) _must_check_;
/* Of the whole file; the application's id is its first COMPOSE_APP_ID digits. */
void compose_hash(const char *text, char hex[SHA256_HEX + 1]);

/* vmm-cli's sizes in MB: "4G", "1.5g", "512". NULL or the reason. */
const char *parse_memory_size(const char *s, uint64_t *ret);

/* The keys of an env file (KEY=value lines), in order, each once; the caller frees. */
void env_file_keys(const char *text, char ***ret, size_t *ret_n);

struct create_vm {
	const char *name, *image;
	const char *compose_text;
	unsigned vcpu, memory_mb, disk_gb;
	const char *host_address; /* one mapped port, tcp */
	unsigned host_port, vm_port;
	int has_no_tee; /* "no_tee": false, as the CLI sends from 0.5.6 */
};

/* The body of the call, the caller's: 0, or -EINVAL when something is no UTF-8. */
int create_vm_body(const struct create_vm *vm, char **ret) _must_check_;
