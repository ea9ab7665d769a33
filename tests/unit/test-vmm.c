// SPDX-License-Identifier: Apache-2.0
/* The VMM's client against what the real VMMs answered, 0.5.5 and the one after it. */
#include "test.h"

#include <errno.h>
#include <jansson.h>

#include "base/alloc.h"
#include "host/kms/kms.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"
#include "host/vmm/vmm.h"

/* What root would get of a reply, without sockets and processes between. */
static struct peer_answer digest(void (*f)(const struct peer_reply *, struct peer_emit *),
				 long status, const char *body)
{
	const struct peer_reply reply = { status, body, strlen(body) };
	struct peer_answer a = { .status = status };
	struct peer_emit emit = { 0 };
	struct peer_record rec;
	ssize_t n;

	f(&reply, &emit);
	for (size_t at = 0; at < emit.out.len; at += (size_t)n) {
		n = record_decode(emit.out.data + at, emit.out.len - at, &rec);
		assert_true(n > 0);
		assert_int_equal(rec.type, RECORD_FACT);
		a.facts = xrealloc(a.facts, (a.n_facts + 1) * sizeof(*a.facts));
		a.facts[a.n_facts++] = (struct peer_fact){ xstrndup(rec.key, rec.key_len),
							   xstrndup(rec.value, rec.value_len) };
	}
	sb_free(&emit.out);
	return a;
}

static json_t *vectors(const char *name)
{
	_cleanup_free_ char *path = xasprintf("tests/data/vectors/%s", name);
	json_t *doc = json_load_file(path, 0, NULL);

	if (!doc)
		fail_msg("%s cannot be read: run the tests at the top of the tree", path);
	return doc;
}

/* The answer to the call `name` of a recording, digested. */
static struct peer_answer recorded(json_t *doc, const char *name,
				   void (*f)(const struct peer_reply *, struct peer_emit *))
{
	json_t *item, *reply;
	size_t i;

	json_array_foreach(doc, i, item) {
		if (strcmp(json_string_value(json_object_get(item, "name")), name) != 0)
			continue;
		reply = json_object_get(item, "response");
		return digest(f, json_integer_value(json_object_get(reply, "status")),
			      json_string_value(json_object_get(reply, "body")));
	}
	fail_msg("no recording %s", name);
	return (struct peer_answer){ 0 };
}

static void check_generation(const char *file)
{
	json_t *doc = vectors(file);
	struct peer_answer a = recorded(doc, "status-full", vmm_digest_status);
	_cleanup_free_ char *trouble = vmm_trouble(&a);
	struct vmm_vm *vms;
	size_t n;

	assert_null(trouble);
	assert_int_equal(vmm_list(&a, &vms, &n), 0);
	assert_int_equal(n, 1);
	assert_true(vmm_is_id(vms[0].id));
	assert_string_equal(vms[0].name, "kms-fixed2");
	assert_string_equal(vms[0].status, "running");
	assert_string_equal(vms[0].boot_error, "");
	assert_string_equal(vms[0].image, "dstack-0.5.5");
	assert_string_equal(vms[0].vcpu, "2");
	assert_string_equal(vms[0].memory_mb, "4096");
	assert_string_equal(vms[0].disk_gb, "20");
	assert_string_equal(vms[0].ports, "tcp:127.0.0.1:9103:9100");
	assert_string_equal(vms[0].compose_hash,
			    "e96455a0250e4332ba4265a06d9715875cad24e9b5cecf7ff9e5095ab5ccc208");
	vmm_list_free(vms, n);
	peer_answers_free(&a, 1);

	a = recorded(doc, "status-two", vmm_digest_status);
	assert_int_equal(vmm_list(&a, &vms, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(vms[1].status, "stopped");
	assert_string_equal(vms[1].uptime, "never");
	assert_string_equal(vms[1].compose_hash, "");
	vmm_list_free(vms, n);
	peer_answers_free(&a, 1);

	a = recorded(doc, "create-kms", vmm_digest_created);
	assert_true(vmm_is_id(peer_get(&a, "id")));
	peer_answers_free(&a, 1);
	json_decref(doc);
}

static void both_generations_are_understood(void **state _unused_)
{
	check_generation("vmm-0.5.5/lifecycle.json");
	check_generation("vmm-0.6.0-dev/lifecycle.json");
}

static void other_calls(void **state _unused_)
{
	json_t *doc = vectors("vmm-0.5.5/requests.json");
	struct peer_answer a = recorded(doc, "listimages", vmm_digest_images);

	assert_string_equal(peer_get(&a, "image"), "dstack-0.5.5");
	peer_answers_free(&a, 1);
	a = recorded(doc, "getinfo-unknown", vmm_digest_info);
	assert_int_equal(a.n_facts, 0);
	peer_answers_free(&a, 1);
	json_decref(doc);
}

static void refusals_are_one_line(void **state _unused_)
{
	json_t *doc = vectors("vmm-0.5.5/failures.json");
	struct peer_answer a = recorded(doc, "status-no-supervisor", vmm_digest_status);
	_cleanup_free_ char *trouble = vmm_trouble(&a), *refused = NULL;

	assert_non_null(strstr(trouble, "HTTP 400: Failed to list VMs"));
	assert_non_null(strstr(trouble, "Connection refused"));
	assert_null(strchr(trouble, '\n'));
	peer_answers_free(&a, 1);
	a = recorded(doc, "create-spawn-fails", vmm_digest_created);
	assert_null(peer_get(&a, "id"));
	refused = vmm_trouble(&a);
	assert_non_null(strstr(refused, "Failed to start process"));
	peer_answers_free(&a, 1);
	json_decref(doc);
}

static void nonsense_is_trouble(void **state _unused_)
{
	static const char *const bodies[] = { "",     "null",	"{",	 "[]", "{\"vms\":{}}", "\xff",
					      "<html>", "{\"vms\":null}", "{\"vms\":[]}{}",
					      "{\"vms\":[{}]}" };

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct peer_answer a = digest(vmm_digest_status, 200, bodies[i]);
		_cleanup_free_ char *trouble = vmm_trouble(&a);

		if (!trouble)
			print_error("taken for an answer: %s\n", bodies[i]);
		assert_non_null(trouble);
		peer_answers_free(&a, 1);
	}
}

/* The half may be anybody's by then: what does not fit together is refused. */
static void lists_are_checked_by_root_too(void **state _unused_)
{
	static const struct peer_fact lists[][3] = {
		{ { (char *)(uintptr_t) "vm.1.id", (char *)(uintptr_t) "x" } },
		{ { (char *)(uintptr_t) "vm.0.name", (char *)(uintptr_t) "x" } },
		{ { (char *)(uintptr_t) "vm.x.id", (char *)(uintptr_t) "x" } },
		{ { (char *)(uintptr_t) "vm.0", (char *)(uintptr_t) "x" } },
		{ { (char *)(uintptr_t) "vm.0.id", (char *)(uintptr_t) "x" },
		  { (char *)(uintptr_t) "vm.0.id", (char *)(uintptr_t) "y" } },
		{ { (char *)(uintptr_t) "vm.0.id", (char *)(uintptr_t) "x" },
		  { (char *)(uintptr_t) "vm.2.id", (char *)(uintptr_t) "y" } },
	};
	struct vmm_vm *vms;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct peer_answer a = { .facts = (struct peer_fact *)(uintptr_t)lists[i] };

		while (a.n_facts < 3 && lists[i][a.n_facts].key)
			a.n_facts++;
		assert_int_equal(vmm_list(&a, &vms, &n), -EBADMSG);
	}
	assert_false(vmm_is_id("../../../../etc/passwd-aaaa-bbbbbbbbb"));
	assert_false(vmm_is_id("985641A7-0747-4fd6-b38e-f375e0976e8b"));
	assert_false(vmm_is_id(""));
}

/* --- which VM is the KMS --- */

static struct vmm_vm vm(const char *id, const char *name, const char *hash)
{
#define S(s) ((char *)(uintptr_t)(s))
	return (struct vmm_vm){
		.id = S(id), .name = S(name), .compose_hash = S(hash), .status = S("running"),
		.uptime = S("1s"), .ports = S("tcp:127.0.0.1:9200:80 udp:127.0.0.1:9103:9100"),
	};
}

#define ID_A "985641a7-0747-4fd6-b38e-f375e0976e8b"
#define ID_B "74f4688f-730f-4434-a4d3-3616cf89f174"

static void the_kms_is_told_from_others(void **state)
{
	const struct fixture *f = *state;
	const struct kms_record plan = { .vm_id = S(""), .name = S("kms"), .compose_hash = S("h1"),
					 .host_port = 9103 };
	const struct kms_record lost = { .vm_id = S(""), .name = S("kms"), .compose_hash = S("h0") };
	const struct kms_record known = { .vm_id = S(ID_A), .name = S("kms"),
					  .compose_hash = S("h0") };
	const struct {
		const struct kms_record *record;
		struct vmm_vm vms[2];
		size_t n;
		enum kms_vm what;
		const char *id;
	} cases[] = {
		{ NULL, { { 0 } }, 0, KMS_VM_NONE, NULL },
		{ NULL, { vm(ID_A, "kms", "h1") }, 1, KMS_VM_OURS, ID_A },
		{ NULL, { vm(ID_A, "kms", "h2") }, 1, KMS_VM_FOREIGN, ID_A },
		{ NULL, { vm(ID_A, "kms2", "h1") }, 1, KMS_VM_NONE, NULL },
		{ NULL, { vm(ID_A, "kms", "h1"), vm(ID_B, "kms", "h1") }, 2, KMS_VM_SEVERAL, NULL },
		{ NULL, { vm(ID_A, "kms", "h1"), vm(ID_B, "kms", "h2") }, 2, KMS_VM_OURS, ID_A },
		{ NULL, { vm(ID_A, "kms", "h2"), vm(ID_B, "kms", "h1") }, 2, KMS_VM_OURS, ID_B },
		{ &lost, { vm(ID_A, "kms", "h0") }, 1, KMS_VM_OURS, ID_A },
		{ &lost, { vm(ID_B, "kms", "h0") }, 1, KMS_VM_NONE, NULL },
		{ &known, { vm(ID_A, "renamed", "h9") }, 1, KMS_VM_OURS, ID_A },
		{ &known, { vm(ID_B, "kms", "h0") }, 1, KMS_VM_GONE, NULL },
		{ &known, { vm(ID_B, "kms", "h0"), vm(ID_A, "kms", "h0") }, 2, KMS_VM_OURS, ID_A },
	};

	put_text(f, "/vm/" ID_A "/vm-manifest.json", "{\"name\":\"kms\"}");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmm_vm vms[2] = { cases[i].vms[0], cases[i].vms[1] };
		struct kms_look look = { .vms = vms, .n = cases[i].n };

		/* B alone is what a failed creation leaves: its directory is not there. */
		if (cases[i].n == 1 && strcmp(vms[0].id, ID_B) == 0) {
			vms[0].status = S("stopped");
			vms[0].uptime = S("never");
		}
		kms_look_judge(&f->root, "/vm", cases[i].record, &plan, &look);
		if (look.what != cases[i].what)
			print_error("case %zu\n", i);
		assert_int_equal(look.what, cases[i].what);
		if (cases[i].id)
			assert_string_equal(look.vm->id, cases[i].id);
		else
			assert_null(look.vm);
		/* A udp port is no tcp port. */
		assert_null(look.port_user);
		free(look.hidden);
	}
}

static void directories_and_ports_of_others_are_seen(void **state)
{
	const struct fixture *f = *state;
	const struct kms_record plan = { .vm_id = S(""), .name = S("kms"), .compose_hash = S("h1"),
					 .host_port = 9103 };
	struct vmm_vm other = vm(ID_B, "app", "h2");
	struct kms_look look = { .vms = &other, .n = 1 };

	other.ports = S("udp:127.0.0.1:9103:1 tcp::9103:80");
	put_text(f, "/vm/" ID_A "/vm-manifest.json", "{\"name\":\"kms\"}");
	kms_look_judge(&f->root, "/vm", NULL, &plan, &look);
	assert_int_equal(look.what, KMS_VM_NONE);
	assert_string_equal(look.hidden, ID_A);
	assert_ptr_equal(look.port_user, &other);
	free(look.hidden);
	other.ports = S("tcp:127.0.0.1:80:9103");
	look = (struct kms_look){ .vms = &other, .n = 1 };
	kms_look_judge(&f->root, "/nowhere", NULL, &plan, &look);
	assert_null(look.port_user);
	assert_null(look.hidden);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_generations_are_understood),
		cmocka_unit_test(other_calls),
		cmocka_unit_test(refusals_are_one_line),
		cmocka_unit_test(nonsense_is_trouble),
		cmocka_unit_test(lists_are_checked_by_root_too),
		with_root(the_kms_is_told_from_others),
		with_root(directories_and_ports_of_others_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
