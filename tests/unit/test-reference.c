// SPDX-License-Identifier: Apache-2.0
/*
 * The reference document asks an operator for seven commands, eleven boxes and three known
 * issues, and is wrong in 34 places: each is some check's to find, or it is said why it is none's.
 */
#include "test.h"

#include <jansson.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/check/check.h"
#include "host/report/report-map.h"

#define REFERENCE "tests/data/reference-host.json"

struct mapped {
	int fault;
	const char *checks; /* by blanks */
	const char *why;    /* where no check could see it */
};

static const struct mapped faults[] = {
	{ 1, "platform.tdx platform.space platform.vm-disk" },
	{ 2, "qgs.conf qcnl.file qcnl.agree" },
	{ 3, "registry.push registry.stock host.listeners" },
	{ 4, "vmm.config settings" },
	{ 5, "devices.enclave devices.provision devices.sgx-prv devices.qgsd" },
	{ 6, "vmm.config-keys files" },
	{ 7, "files vmm.config" },
	{ 8, "vmm.config vmm.logs files" },
	{ 9, "vmm.config files" },
	{ 10, "vmm.config kms.certificate" },
	{ 11, "files" },
	{ 12, "vmm.ports" },
	{ 13, "vmm.socket vmm.version front front.stranger vmm.config host.secrets" },
	{ 14, "pccs.tokens pccs.api-key files" },
	{ 15, "vmm.unit supervisor.refuses host.boot devices.vhost-vsock" },
	{ 16, "image image.files" },
	{ 17, "image" },
	{ 18, "programs" },
	{ 19, NULL, "a directory that nothing needs at run time is nobody's business" },
	{ 20, "key-provider.restart key-provider.images" },
	{ 21, "qcnl.file qcnl.agree key-provider.qcnl" },
	{ 22, "registry.certificate" },
	{ 23, "registry.kms-image settings" },
	{ 24, "settings kms.frozen" },
	{ 25, "kms.frozen" },
	{ 26, "kms.boot vmm.ghosts" },
	{ 27, "kms.certificate host.name.kms" },
	{ 28, "programs pccs qgsd docker" },
	{ 29, "chain.endpoint chain.spares chain.latency" },
	{ 30, "kms.time" },
	{ 31, "sealing key-provider registry.certificate pccs.api-key" },
	{ 32, "host.secrets host.leaks" },
	{ 33, "host.listeners host.guard" },
	{ 34, "qgs.conf qcnl.agree supervisor vmm.config devices.vhost-vsock image "
	      "key-provider.restart pccs.tls" },
};

static int assert_check(const char *id, void *arg)
{
	if (check_find(id) < 0)
		fail_msg("%s is no check (of %s)", id, (const char *)arg);
	return 0;
}

static json_t *load(void)
{
	json_t *doc = json_load_file(REFERENCE, 0, NULL);

	if (!doc)
		fail_msg("%s cannot be read from the top of the tree", REFERENCE);
	return doc;
}

static const struct report_proof *find(const struct report_proof *table, const char *id)
{
	for (; table->id; table++)
		if (strcmp(table->id, id) == 0)
			return table;
	return NULL;
}

static void assert_section(json_t *doc, const char *section, const struct report_proof *table)
{
	json_t *item;
	size_t i;

	assert_true(json_array_size(json_object_get(doc, section)) > 0);
	json_array_foreach(json_object_get(doc, section), i, item) {
		const char *id = json_string_value(json_object_get(item, "id"));
		const struct report_proof *proof = must(find(table, id));
		char name[16];

		snprintf(name, sizeof(name), "%s", id);
		for_each_word(proof->checks, assert_check, name);
	}
}

static void commands_boxes_and_issues_are_answered(void **state _unused_)
{
	json_t *doc = load();

	assert_section(doc, "verification", report_commands);
	assert_section(doc, "checklist", report_boxes);
	assert_section(doc, "known_issues", report_issues);
	json_decref(doc);
}

static const struct mapped *mapping_of(int fault)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (faults[i].fault == fault)
			return &faults[i];
	return NULL;
}

static void every_fault_is_some_checks(void **state _unused_)
{
	json_t *doc = load(), *item;
	size_t i;

	assert_int_equal(json_array_size(json_object_get(doc, "faults")), 34);
	json_array_foreach(json_object_get(doc, "faults"), i, item) {
		int id = (int)json_integer_value(json_object_get(item, "id"));
		const struct mapped *m = must(mapping_of(id));
		char name[16];

		assert_true(!m->checks == !!m->why);
		snprintf(name, sizeof(name), "fault %d", id);
		if (m->checks)
			for_each_word(m->checks, assert_check, name);
	}
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_boxes_and_issues_are_answered),
		cmocka_unit_test(every_fault_is_some_checks),
	};

	return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
