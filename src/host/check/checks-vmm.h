// SPDX-License-Identifier: Apache-2.0
/* Rows of the group vmm, by what they look at; their table is in checks-vmm.c. */
#pragma once

#include "host/check/check.h"
#include "host/render/render.h"
#include "host/render/vmm-toml.h"
#include "host/tomlread.h"

/* --- checks-vmm-config.c: what the VMM is configured with beside host.conf --- */

extern const struct outcome vmm_config_outcomes[], vmm_keys_outcomes[], vmm_stray_outcomes[];
const char *eval_vmm_config(const struct check_view *v, struct verdict *r);
const char *eval_vmm_keys(const struct check_view *v, struct verdict *r);
const char *eval_vmm_stray(const struct check_view *v, struct verdict *r);

/* --- checks-vmm-host.c: what keeps its doors shut, and what it shares with this host --- */

extern const struct outcome socket_outcomes[], supervisor_socket_outcomes[],
	refuses_outcomes[], unit_outcomes[], ports_outcomes[], cids_outcomes[], logs_outcomes[];
/* Can nobody but root and the front open it? Else *why says who, the caller's; -errno. */
int vmm_socket_is_shut(const struct root *root, char **why) _must_check_;
const char *eval_vmm_socket(const struct check_view *v, struct verdict *r);
const char *eval_supervisor_socket(const struct check_view *v, struct verdict *r);
const char *eval_supervisor_refuses(const struct check_view *v, struct verdict *r);
const char *eval_vmm_unit(const struct check_view *v, struct verdict *r);
const char *eval_vmm_ports(const struct check_view *v, struct verdict *r);
const char *eval_vmm_cids(const struct check_view *v, struct verdict *r);
const char *eval_vmm_logs(const struct check_view *v, struct verdict *r);

/* --- checks-vmm-images.c: the guest image's files, and the machines' directories --- */

extern const struct outcome image_files_outcomes[], images_outcomes[], ghosts_outcomes[];
const char *eval_image_files(const struct check_view *v, struct verdict *r);
const char *eval_vmm_images(const struct check_view *v, struct verdict *r);
const char *eval_vmm_ghosts(const struct check_view *v, struct verdict *r);
