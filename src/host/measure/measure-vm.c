// SPDX-License-Identifier: Apache-2.0
/* The command lines that run, from the supervisor; what is stopped, from the VMM. */
#include "host/measure/measure-vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/sock.h"
#include "host/peer/answer.h"
#include "host/part/parts.h"
#include "host/vmm/vmm.h"

enum { LIST_MAX = 8 << 20, TIMEOUT_MS = 5000 };

static void add_arg(struct measure_config *c, const char *arg)
{
	c->args = xrealloc(c->args, (c->n_args + 2) * sizeof(*c->args));
	c->args[c->n_args++] = xstrdup(arg);
	c->args[c->n_args] = NULL;
}

int measure_vm_take(struct measure_vm *vm, const struct peer_fact *f)
{
	struct measure_config *c = &vm->config;
	const struct {
		const char *key;
		char **at;
	} texts[] = { { "name", &vm->name }, { "pid", &vm->pid }, { "trouble", &vm->trouble }, { "qemu", &c->qemu },
		      { "firmware", &c->firmware }, { "kernel", &c->kernel },
		      { "initrd", &c->initrd }, { "cmdline", &c->cmdline },
		      { "td-machine", &c->td_machine }, { "td-object", &c->td_object } };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strcmp(f->key, texts[i].key) != 0)
			continue;
		if (*texts[i].at)
			return -EBADMSG;
		*texts[i].at = xstrdup(f->value);
		if (texts[i].at == &vm->pid)
			c->origin = ORIGIN_RUNNING;
		return 0;
	}
	if (strcmp(f->key, "memory") == 0)
		return parse_uint(f->value, 1, UINT64_MAX, &c->memory) ? -EBADMSG : 0;
	if (strcmp(f->key, "normalized") == 0)
		c->normalized = 1;
	if (strcmp(f->key, "arg") == 0)
		add_arg(c, f->value);
	return 0;
}

static struct measure_vm *add_vm(struct measure_vm **vms, size_t *n, const char *id)
{
	*vms = xrealloc(*vms, (*n + 1) * sizeof(**vms));
	(*vms)[*n] = (struct measure_vm){ .id = xstrdup(id), .config.origin = ORIGIN_LAST };
	return &(*vms)[(*n)++];
}

static int take_list(const struct peer_answer *a, struct measure_vm **vms, size_t *n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->n_facts; i++) {
		if (strcmp(a->facts[i].key, "id") == 0)
			add_vm(vms, n, a->facts[i].value);
		else
			r = *n ? measure_vm_take(&(*vms)[*n - 1], &a->facts[i]) : -EBADMSG;
	}
	for (size_t i = 0; i < *n; i++)
		if (!(*vms)[i].name)
			r = -EBADMSG;
	return r;
}

static int ask_supervisor(const struct root *root, struct measure_vm **vms, size_t *n,
			  char **trouble)
{
	struct peer_request q = {
		.kind = PEER_HTTP, .url = "http://supervisor/list", .timeout_ms = TIMEOUT_MS,
		.max_body = LIST_MAX, .digest = measure_digest_list,
	};
	struct peer_answer a = { 0 };
	int r;

	q.fd = sock_unix(root, SUPERVISOR_SOCKET);
	if (q.fd < 0) {
		*trouble = xasprintf("the supervisor does not answer: %s%s", strerror(-q.fd),
				     q.fd == -EACCES ? " (try sudo)" : "");
		return -EBADMSG;
	}
	r = peer_ask(&q, 1, &a);
	close(q.fd);
	if (r == 0)
		*trouble = answer_trouble(&a, 200);
	if (r == 0 && !*trouble && take_list(&a, vms, n) < 0)
		*trouble = xstrdup("the half that asks broke its protocol");
	peer_answers_free(&a, 1);
	if (r < 0 && !*trouble)
		*trouble = xstrdup(strerror(-r));
	return *trouble ? -EBADMSG : 0;
}

static void stopped_vm(const struct root *root, const struct settings *s,
		       const struct vmm_vm *vm, struct measure_vm *ret)
{
	_cleanup_free_ char *dir = config_image_dir(vm->image, setting(s, KEY_IMAGE_DIR));
	uint64_t vcpu, memory;

	ret->name = xstrdup(vm->name);
	ret->config.origin = ORIGIN_ASSUMED;
	if (parse_uint(vm->vcpu, 1, 1024, &vcpu) || parse_uint(vm->memory_mb, 1, 1 << 30, &memory))
		ret->trouble = xstrdup("the VMM does not tell its size");
	else if (config_from_size((unsigned)vcpu, memory, NULL, 0, &ret->config,
				  &ret->trouble) == 0 &&
		 config_set_image(root, dir, &ret->config, &ret->trouble) < 0 && !ret->trouble)
		ret->trouble = xstrdup("its image cannot be read");
}

/* Those that do not run. A VMM that does not answer knows none. */
static void ask_vmm(const struct root *root, const struct settings *s,
		    struct measure_vm **vms, size_t *n)
{
	_cleanup_free_ char *body = vmm_body_status(NULL, 0);
	struct peer_answer a = { 0 };
	struct vmm_vm *all = NULL;
	size_t n_all = 0, running = *n;
	int r = vmm_ask(root, VMM_STATUS, body, &a);
	_cleanup_free_ char *trouble = r == 0 ? vmm_trouble(&a) : NULL;

	if (r == 0 && !trouble && vmm_list(&a, &all, &n_all) < 0)
		n_all = 0;
	for (size_t i = 0; i < n_all; i++) {
		size_t j = 0;

		while (j < running && strcmp((*vms)[j].id, all[i].id) != 0)
			j++;
		if (j == running)
			stopped_vm(root, s, &all[i], add_vm(vms, n, all[i].id));
	}
	vmm_list_free(all, n_all);
	peer_answers_free(&a, 1);
}

/* A command line does not say it. */
static void set_normalized(const struct root *root, struct measure_vm *vms, size_t n)
{
	_cleanup_free_ struct measure_config **configs = xcalloc(n + 1, sizeof(*configs));

	for (size_t i = 0; i < n; i++)
		configs[i] = &vms[i].config;
	config_set_normalized(root, configs, n);
}

int measure_vms(const struct root *root, const struct settings *settings,
		struct measure_vm **ret, size_t *n, char **trouble)
{
	int r;

	*ret = NULL;
	*n = 0;
	*trouble = NULL;
	r = ask_supervisor(root, ret, n, trouble);
	if (r == 0) {
		set_normalized(root, *ret, *n);
		ask_vmm(root, settings, ret, n);
	}
	for (size_t i = 0; r == 0 && i < *n; i++)
		(*ret)[i].config.what = xstrdup((*ret)[i].name);
	if (r < 0) {
		measure_vms_free(*ret, *n);
		*ret = NULL;
		*n = 0;
	}
	return r;
}

void measure_vm_free(struct measure_vm *vm)
{
	free(vm->id);
	free(vm->name);
	free(vm->pid);
	free(vm->trouble);
	config_free(&vm->config);
}

void measure_vms_free(struct measure_vm *vms, size_t n)
{
	for (size_t i = 0; i < n; i++)
		measure_vm_free(&vms[i]);
	free(vms);
}
