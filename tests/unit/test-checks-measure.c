// SPDX-License-Identifier: Apache-2.0
/* Checks of what sealed disks hang on. */
#include "check-cases.h"

#include <errno.h>

static char kms_id[] = KMS_VM_ID, kms[] = "kms", other_id[] = "11111111-2222-4333-8444-555555555555";
static char other[] = "vault", tables[] = "the ACPI tables differ", kernel[] = "the kernel differs";
static char gone[] = "/usr/bin/qemu-system-x86_64: No such file or directory";
static char old[] = "7.2.22", new[] = "10.0.13";

static char image[] = IMAGE_PATH, elsewhere[] = "/elsewhere";

static struct baseline look[2];

static void see(struct check_view *v, size_t n, enum baseline_verdict verdict, char *text)
{
	look[0] = (struct baseline){ .id = kms_id, .name = kms, .was = old, .now = old };
	look[1] = (struct baseline){ .id = other_id, .name = other, .was = old, .now = old };
	look[n - 1].verdict = verdict;
	look[n - 1].text = text;
	if (verdict == BASELINE_OTHER_QEMU)
		look[n - 1].now = new;
	v->baselines = look;
	v->n_baselines = n;
}

#define ARRANGE(name, ...)                                                               \
	static void name(struct host *h, struct check_view *v, const struct fixture *f)  \
	{                                                                                \
		put_kms(h, f);                                                           \
		__VA_ARGS__                                                              \
	}

ARRANGE(same, see(v, 1, BASELINE_SAME, NULL);)
ARRANGE(both_same, see(v, 2, BASELINE_SAME, NULL);)
ARRANGE(other_qemu, see(v, 1, BASELINE_OTHER_QEMU, tables);)
ARRANGE(other_qemu_of_second, see(v, 2, BASELINE_OTHER_QEMU, tables);)
ARRANGE(other_image, see(v, 1, BASELINE_OTHER_IMAGE, kernel);)
ARRANGE(qemu_and_image, see(v, 2, BASELINE_OTHER_QEMU, tables);
	look[0].verdict = BASELINE_OTHER_IMAGE;)
ARRANGE(tampered_image, other_image(h, v, f); look[0].image = image;
	put_text(f, IMAGE_PATH "/bzImage", "another kernel");)
ARRANGE(another_image_is_tampered, other_image(h, v, f); look[0].image = elsewhere;
	put_text(f, IMAGE_PATH "/bzImage", "another kernel");)
ARRANGE(tampered_image_and_other_qemu, tampered_image(h, v, f); look[1].verdict = BASELINE_OTHER_QEMU;
	look[1].text = tables; v->n_baselines = 2;)
ARRANGE(unreadable, see(v, 1, BASELINE_UNKNOWN, gone);)
ARRANGE(late, see(v, 1, BASELINE_LATE, NULL);)
ARRANGE(no_record, (void)v;)
ARRANGE(no_record_of_kms, see(v, 2, BASELINE_SAME, NULL); v->baselines++; v->n_baselines--;)
ARRANGE(no_record_of_another, see(v, 1, BASELINE_SAME, NULL);
	put_text(f, "/var/lib/dstack/vm/11111111-2222-4333-8444-555555555555/shared/app-compose.json",
		 "{\"local_key_provider_enabled\": true}");)
ARRANGE(another_is_not_sealed, see(v, 1, BASELINE_SAME, NULL);
	put_text(f, "/var/lib/dstack/vm/11111111-2222-4333-8444-555555555555/shared/app-compose.json",
		 "{\"local_key_provider_enabled\": false}");)
ARRANGE(no_directory, v->baselines_error = -EIO;)
ARRANGE(nobody, (void)v; v->privileged = 0;)

static void no_kms(struct host *h _unused_, struct check_view *v _unused_,
		   const struct fixture *f _unused_)
{
}

static const struct check_case cases[] = {
	{ "measure.disks", "same", same },
	{ "measure.disks", "same", both_same },
	{ "measure.disks", "other-qemu", other_qemu },
	{ "measure.disks", "other-qemu", other_qemu_of_second },
	{ "measure.disks", "other-image", other_image },
	{ "measure.disks", "other-qemu", qemu_and_image },
	/* One finding: the file, which image.files names. */
	{ "measure.disks", "needs", tampered_image },
	{ "image.files", "differs", tampered_image },
	{ "measure.disks", "other-image", another_image_is_tampered },
	{ "measure.disks", "other-qemu", tampered_image_and_other_qemu },
	{ "measure.disks", "unknown", unreadable },
	{ "measure.disks", "unknown", no_directory },
	{ "measure.disks", "late", late },
	{ "measure.disks", "no-record", no_record },
	{ "measure.disks", "no-record", no_record_of_kms },
	{ "measure.disks", "no-record", no_record_of_another },
	{ "measure.disks", "same", another_is_not_sealed },
	{ "measure.disks", "privilege", nobody },
	{ "measure.disks", "none", no_kms },
};

static void words(const struct fixture *f, void (*arrange)(struct host *, struct check_view *,
							   const struct fixture *),
		  const char *cause, const char *found)
{
	const struct check_case c = { "measure.disks", "", arrange };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	const struct verdict *r = &verdicts[check_find("measure.disks")];

	judge_all(&c, f, verdicts);
	assert_string_equal(r->cause, cause);
	assert_string_equal(r->found, found);
	verdicts_free(verdicts, checks_count());
}

static void the_machine_and_the_event_are_named(void **state)
{
	words(*state, other_qemu,
	      "the QEMU on disk would not open the disk of kms: the ACPI tables differ",
	      "kms other-qemu, QEMU 10.0.13 instead of 7.2.22");
	words(*state, other_qemu_of_second,
	      "the QEMU on disk would not open the disk of vault: the ACPI tables differ",
	      "kms same, QEMU 7.2.22; vault other-qemu, QEMU 10.0.13 instead of 7.2.22");
}

/* The rule above all: what is printed must not make a sealed disk unopenable, nor hide that one
 * will be. */
static void no_fix_touches_a_sealed_disk(void **state _unused_)
{
	static const char *const never[] = { "deploy", "rm ", "remove", "--force", "purge", "mv ",
					     "start", "--record", "seal" };

	for (size_t i = 0; i < group_measure.n; i++)
		for (const struct outcome *o = group_measure.checks[i].outcomes; o->name; o++)
			for (size_t k = 0; o->fix && k < ARRAY_SIZE(never); k++)
				assert_null(strstr(o->fix, never[k]));
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE                                                                 \
	cmocka_unit_test(no_fix_touches_a_sealed_disk),                                  \
		cmocka_unit_test_setup_teardown(the_machine_and_the_event_are_named,      \
						fixture_setup, fixture_teardown),

CHECK_CASES_MAIN(group_measure, cases)
