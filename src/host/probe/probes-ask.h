// SPDX-License-Identifier: Apache-2.0
/* How a probe is made ready to be sent; read by probes*.c alone. */
#pragma once

#include "host/probe/probes.h"
#include "host/vmm/vmm.h"

enum { PROBE_TIMEOUT_MS = 2000 };
/* Lists that grow with the host: a thousand virtual machines' worth. */
enum { PROBE_LIST_MAX = 4 << 20 };
/* Of an asker: a setting says that there is nobody to be asked. */
enum { PROBE_NOBODY = 1 };

enum { PEM_FILE_MAX = 65536 };
#define DOCKER_SOCKET "/run/docker.sock"

/* A request with what its pointers point to. */
struct prepared {
	struct peer_request request; /* its fd is closed with the rest */
	char *url;		     /* becomes the request's when set */
	char *body;		     /* the same */
	char *header;		     /* the same, wiped afterwards */
	char *ca;		     /* becomes the request's ca_pem */
	struct vmm_call vmm;
	enum probe_id id;
};

struct probe_context {
	const struct root *root;
	const struct settings *s;
};

/* An asker fills in the request: 0, PROBE_NOBODY or -errno (then *p is freed all the same). */
typedef int probe_asker(const struct probe_context *c, struct prepared *p);

/* "SCHEME//HOST:PORT/PATH" of a setting "HOST:PORT"; the caller's, NULL when it is none. */
char *probe_url(const char *scheme, const char *address, const char *path);
/* HTTP over one of root's sockets. 0 or -errno. */
int probe_on_unix(const struct probe_context *c, struct prepared *p, const char *socket,
		  const char *path);
/* The host's CA goes with it. 0 or -errno. */
int probe_with_ca(const struct probe_context *c, struct prepared *p);

probe_asker ask_pccs_intel, ask_pcs_key, ask_aesmd_inspect, ask_sealing_inspect,
	ask_sealing_image,
	ask_registry_write, ask_kms_image, ask_pccs_user, ask_pccs_admin;
probe_asker ask_docker, ask_containers, ask_supervisor, ask_processes, ask_vmm, ask_pccs, ask_qgs,
	ask_key_provider, ask_front, ask_registry, ask_kms, ask_kms_page,
	ask_dns;
probe_asker ask_vmm_version, ask_vmm_images, ask_front_wrong, ask_front_token, ask_kms_tls,
	ask_chain;
