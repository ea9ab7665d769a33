// SPDX-License-Identifier: Apache-2.0
/* Report: the reference document's commands, boxes and known issues, answered by checks. */
#include "host/report/report-map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/json.h"
#include "host/report/report.h"

/* V: the seven commands of the document, and what proves the same. */
const struct report_proof report_commands[] = {
	{ "V1", "SGX devices", "dstack-host check devices",
	  "devices devices.enclave devices.provision devices.vepc groups" },
	{ "V2", "services", "dstack-host check vmm pccs qgsd docker", "vmm pccs qgsd docker" },
	{ "V3", "containers", "dstack-host check aesmd sealing registry",
	  "aesmd sealing registry" },
	{ "V4", "key provider", "dstack-host check key-provider", "key-provider" },
	{ "V5", "registry", "dstack-host check registry", "registry registry.certificate" },
	{ "V6", "PCCS", "dstack-host check attestation", "pccs pccs.tls pccs.intel pccs.api-key" },
	{ "V7", "KMS", "dstack-host check kms", "kms kms.speed" },
	{ 0 },
};

/* C: its eleven boxes. */
const struct report_proof report_boxes[] = {
	{ "C1", "The kernel has TDX, and it is on", NULL, "platform.tdx platform.cmdline" },
	{ "C2", "SGX devices exist (/dev/sgx_enclave, /dev/sgx_provision, /dev/sgx_vepc)", NULL,
	  "devices.enclave devices.provision devices.vepc" },
	{ "C3", "PCCS has an API key, which Intel accepts", NULL, "pccs.api-key" },
	{ "C4", "qgsd answers", NULL, "qgsd" },
	{ "C5", "The key provider answers at its address", NULL, "key-provider" },
	{ "C6", "The registry answers, its certificate is good", NULL,
	  "registry registry.certificate" },
	{ "C7", "The VMM answers, its API asks for a token", NULL, "vmm front" },
	{ "C8", "The guest image is there and complete", NULL, "image image.files" },
	{ "C9", "The KMS's chain endpoint answers", NULL, "chain.endpoint chain.latency" },
	{ "C10", "The KMS is deployed with the local key provider", NULL, "kms.key-provider" },
	{ "C11", "The KMS is deployed without secure time", NULL, "kms.time" },
	{ 0 },
};

/* K: its known issues. */
const struct report_proof report_issues[] = {
	{ "K1", "GetMeta hangs", NULL, "kms kms.speed chain.endpoint" },
	{ "K2", "CVM hangs at time sync", NULL, "kms.time kms.boot" },
	{ "K3", "VMM CLI connection refused", NULL, "front" },
	{ 0 },
};

struct tally {
	const struct report_source *src;
	unsigned n[CHECK_SKIP + 1];
	json_t *bad; /* ids of those that fail or warn */
};

static void count(struct tally *t, size_t i)
{
	enum check_status status = t->src->verdicts[i].outcome->status;

	t->n[status]++;
	if (status == CHECK_FAIL || status == CHECK_WARN)
		json_push(t->bad, report_text(check_at(i)->id));
}

/* An id or, where no check has that name, a group. */
static int count_word(const char *word, void *arg)
{
	struct tally *t = arg;
	int one = check_find(word);

	if (one >= 0)
		count(t, (size_t)one);
	for (size_t i = 0; one < 0 && i < checks_count(); i++)
		if (strcmp(check_group_of(i), word) == 0)
			count(t, i);
	return 0;
}

/* The worst of them; where all were skipped, nothing is proved. */
static const char *result(const struct tally *t)
{
	return t->n[CHECK_FAIL] ? "fail" : t->n[CHECK_WARN] ? "warn" : t->n[CHECK_OK] ? "ok" :
											"skip";
}

static json_t *prove(const struct report_source *src, const struct report_proof *proof,
		     const char *text_key)
{
	struct tally t = { src, { 0 }, json_array() };
	json_t *obj = json_object();

	for_each_word(proof->checks, count_word, &t);
	report_set(obj, "id", report_text(proof->id));
	report_set(obj, text_key, report_text(proof->text));
	if (proof->command)
		report_set(obj, "command", report_text(proof->command));
	report_set(obj, "result", json_string(result(&t)));
	report_set(obj, "checks", report_words(proof->checks));
	report_set(obj, "see", t.bad);
	return obj;
}

static json_t *prove_all(const struct report_source *src, const struct report_proof *table,
			 const char *text_key)
{
	json_t *list = json_array();

	for (; table->id; table++)
		json_push(list, prove(src, table, text_key));
	return list;
}

json_t *report_verification(const struct report_source *src)
{
	return prove_all(src, report_commands, "title");
}

json_t *report_checklist(const struct report_source *src)
{
	return prove_all(src, report_boxes, "text");
}

json_t *report_known_issues(const struct report_source *src)
{
	return prove_all(src, report_issues, "title");
}

json_t *report_checks(const struct report_source *src)
{
	json_t *list = json_array();

	for (size_t i = 0; i < checks_count(); i++) {
		const struct verdict *r = &src->verdicts[i];
		json_t *obj = json_object();

		report_set(obj, "id", report_text(r->check->id));
		report_set(obj, "group", report_text(check_group_of(i)));
		report_set(obj, "status",
			   report_text(check_status_name(r->outcome->status)));
		report_set(obj, "outcome", report_text(r->outcome->name));
		report_set(obj, "title", report_text(check_title(r->check)));
		report_set(obj, "found", report_text(r->found));
		report_set(obj, "expected", report_text(r->expected));
		report_set(obj, "cause", report_text(r->cause));
		report_set(obj, "fix", report_text(r->fix));
		report_set(obj, "ms", json_integer(r->ms));
		json_push(list, obj);
	}
	return list;
}
