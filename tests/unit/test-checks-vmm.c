// SPDX-License-Identifier: Apache-2.0
/* Checks of the VMM, its supervisor, its front and the guest image, and what images tell. */
#include "check-cases.h"
#include "test-facts.h"

#include <errno.h>
#include <time.h>

#include "host/image/image-digest.h"
#include "host/image/image-record.h"
#include "host/render/render.h"
#include "host/tomlread.h"
#include "host/vmm/vmm.h"

#define OPERATOR "/etc/dstack/vmm.toml"
#define OTHER_VM "11111111-2222-4333-8444-555555555555"

#define ARRANGE(name, ...)                                                               \
	static void name(struct host *h _unused_, struct check_view *v _unused_,         \
			 const struct fixture *f _unused_)                               \
	{                                                                                \
		__VA_ARGS__                                                              \
	}

static void chmod_in(const struct fixture *f, const char *path, mode_t mode)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(chmod(full, mode), 0);
}

static void version(struct host *h, const char *text)
{
	answer(h, PROBE_VMM_VERSION, 200);
	fact(h, PROBE_VMM_VERSION, "version", text);
}

static void render(const struct fixture *f)
{
	put_text(f, "/run/dstack/vmm/vmm.toml",
		 "address = \"unix:/run/dstack/vmm/vmm.sock\"\nrun_path = \"/var/lib/dstack/vm\"\n"
		 "[cvm]\ncid_start = 1000\n[supervisor]\nauto_start = false\n");
}

static void operator(const struct fixture *f, const char *text)
{
	render(f);
	put_text(f, OPERATOR, text);
}

ARRANGE(newer, version(h, "0.5.9");)
ARRANGE(development, version(h, "0.6.0-dev");)
ARRANGE(too_old, version(h, "0.5.4");)
ARRANGE(unheard_of, version(h, "0.7.1");)
ARRANGE(no_version, version(h, "new");)
ARRANGE(world_socket, chmod_in(f, "/run/dstack/vmm/vmm.sock", 0777);)
ARRANGE(others_socket, chmod_in(f, "/run/dstack/vmm/vmm.sock", 0702);)
ARRANGE(group_socket, put_text(f, "/etc/group", "dstack-front:x:4242:\n");
	chmod_in(f, "/run/dstack/vmm/vmm.sock", 0770);)
ARRANGE(world_directory, chmod_in(f, "/run/dstack/vmm", 0755);)
ARRANGE(for_the_front, struct stat st; char line[64]; assert_int_equal(fstat(f->root.fd, &st), 0);
	snprintf(line, sizeof(line), "dstack-front:x:%u:\n", st.st_gid);
	put_text(f, "/etc/group", line); chmod_in(f, "/run/dstack/vmm", 02750);
	chmod_in(f, "/run/dstack/vmm/vmm.sock", 0770);)
ARRANGE(front_may_write, for_the_front(h, v, f); chmod_in(f, "/run/dstack/vmm", 02770);)
ARRANGE(supervisor_group, for_the_front(h, v, f); chmod_in(f, "/run/dstack/supervisor.sock", 0770);)
ARRANGE(lets_in, answer(h, PROBE_FRONT_WRONG, 200);)
ARRANGE(breaks, answer(h, PROBE_FRONT_WRONG, 500);)
ARRANGE(own_refused, answer(h, PROBE_FRONT_TOKEN, 401);)
ARRANGE(nothing_behind, answer(h, PROBE_FRONT_TOKEN, 503);)
ARRANGE(service_stoppable, unit(h, "supervisor")->stoppable = 1;)
ARRANGE(slice_stoppable, v->slice.load = (char *)(uintptr_t)"loaded"; v->slice.stoppable = 1;)
ARRANGE(no_systemd, h->view.units_error = UNITS_ABSENT;)
ARRANGE(own_unit, put_text(f, "/etc/systemd/system/dstack-vmm.service", "[Service]\n");)
ARRANGE(operator_says_the_same, operator(f, "[cvm]\ncid_start = 1000\n");)
ARRANGE(operator_overrides, operator(f, "kms_url = \"\"\n[cvm]\ncid_start = 2000\n");)
ARRANGE(operator_elsewhere, operator(f, "image_path = \"/data/images\"\n");)
ARRANGE(operator_run_path, operator(f, "run_path = \"/data/vm\"\n");)
ARRANGE(operator_api, operator(f, "run_path = \"/data/vm\"\naddress = \"127.0.0.1:9080\"\n");)
ARRANGE(operator_token, operator(f, "[auth]\ntokens = [\"s3cr3t-t0ken\"]\n");)
ARRANGE(operator_guests, operator(f, "[cvm]\nkms_urls = [\"https://127.0.0.1:9103\"]\n");)
ARRANGE(operator_plain, operator(f, "[cvm]\nkms_urls = [\"http://kms.example.org\"]\n");)
ARRANGE(operator_readable, operator(f, "[auth]\ntokens = [\"x\"]\n"); chmod_in(f, OPERATOR, 0644);)
ARRANGE(operator_passt, operator(f, "[cvm.networking]\nmode = \"passt\"\n"); char full[512];
	snprintf(full, sizeof(full), "%s/var/lib/dstack/bin/current", f->dir);
	char to[512]; snprintf(to, sizeof(to), "%s/var/lib/dstack/bin/0.5.7", f->dir);
	assert_int_equal(rename(full, to), 0); assert_int_equal(symlink("0.5.7", full), 0);)
ARRANGE(operator_old_passt, operator(f, "[cvm.networking]\nmode = \"passt\"\n");)
ARRANGE(operator_supervisor, operator(f, "[supervisor]\nauto_start = true\n");)
ARRANGE(operator_syntax, operator(f, "[cvm]\nkms_urls = [\n");)
ARRANGE(operator_link, render(f); char full[512];
	snprintf(full, sizeof(full), "%s" OPERATOR, f->dir);
	assert_int_equal(symlink("/run/dstack/vmm/vmm.toml", full), 0);)
ARRANGE(operator_misspelt, operator(f, "[cvm]\ncid_strat = 2000\n[cvm.port_mappings]\nx = 1\n");)
ARRANGE(operator_knows, operator(f, "[cvm]\ncid_start = 2000\n[limits]\njson = 5\n");)
ARRANGE(stray, put_text(f, "/etc/vmm/vmm.toml", "");)
ARRANGE(no_images, answer(h, PROBE_VMM_IMAGES, 200);)
ARRANGE(images_refused, answer(h, PROBE_VMM_IMAGES, 400);)
ARRANGE(covers_front, operator(f, "[cvm.port_mapping]\nrange = [{ protocol = \"tcp\", from = 1, "
				  "to = 20000 }]\n");)
ARRANGE(covers_ssh, operator(f, "[cvm.port_mapping]\nrange = [{ protocol = \"tcp\", from = 20, "
				"to = 30 }]\n");)
ARRANGE(covers_nothing, operator(f, "[cvm.port_mapping]\nrange = [{ protocol = \"udp\", from = 1, "
				    "to = 20000 }, 7, { protocol = 1 }]\n");)
ARRANGE(other_guest, put(f, "/proc/77/cmdline", "qemu\0-device\0vhost-vsock-pci,guest-cid=1234\0",
			 43);
	put_text(f, "/proc/77/cgroup", "0::/machine.slice/x.scope\n");)
ARRANGE(libvirt_guest, static const char json[] = "{\"driver\":\"vhost-vsock-pci\",\"guest-cid\":1234}";
	put_text(f, "/proc/77/cmdline", json);)
ARRANGE(somebody_looks, put_text(f, "/proc/77/cmdline", "grep -r vhost-vsock-pci,guest-cid=1234");)
ARRANGE(own_guest, other_guest(h, v, f);
	put_text(f, "/proc/77/cgroup", "0::/dstackcvm.slice/dstack-supervisor.service\n");)
ARRANGE(guest_elsewhere, other_guest(h, v, f); operator(f, "[cvm]\ncid_start = 3000\n");)
ARRANGE(no_rotation, char full[512];
	snprintf(full, sizeof(full), "%s/etc/logrotate.d/dstack-host", f->dir);
	assert_int_equal(unlink(full), 0);)
ARRANGE(large_log, char full[512]; put_text(f, "/var/log/dstack/supervisor.log", "");
	snprintf(full, sizeof(full), "%s/var/log/dstack/supervisor.log", f->dir);
	assert_int_equal(truncate(full, (off_t)3 << 30), 0);)
ARRANGE(shown, put_text(f, "/var/lib/dstack/vm/" KMS_VM_ID "/vm-manifest.json", "");
	vmm_lists_kms(h, "stopped", "", "");)
ARRANGE(unloaded, put_text(f, "/var/lib/dstack/vm/" OTHER_VM "/vm-manifest.json", "");)
ARRANGE(unloaded_there, operator_run_path(h, v, f);
	put_text(f, "/data/vm/" OTHER_VM "/vm-manifest.json", "");)
ARRANGE(ghost, vmm_lists_kms(h, "stopped", "", "");)

/* digest.txt goes with it, or the image itself would not be whole. */
static void put_sums(const struct fixture *f, const char *text)
{
	char hex[SHA256_HEX + 1];

	put_text(f, IMAGE_PATH "/sha256sum.txt", text);
	sha256_hex(text, strlen(text), hex);
	put_text(f, IMAGE_PATH "/digest.txt", hex);
}

ARRANGE(no_list, put_sums(f, "");)
ARRANGE(not_a_list, put_sums(f, "hello\n");)
ARRANGE(lacks, put_sums(f, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
			   "  not-there\n");)
ARRANGE(tampered, put_text(f, IMAGE_PATH "/bzImage", "another kernel");)
/* A kernel of 2 MiB; `listed` as what it is, or as another one. */
static void put_large(const struct fixture *f, int listed)
{
	_cleanup_free_ char *text = xcalloc(1, 2 << 20);
	char hex[SHA256_HEX + 1], sums[128];

	put(f, IMAGE_PATH "/bzImage", text, 2 << 20);
	text[0] = !listed;
	sha256_hex(text, 2 << 20, hex);
	snprintf(sums, sizeof(sums), "%s  bzImage\n", hex);
	put_sums(f, sums);
}

static void touch(const struct fixture *f, const char *path)
{
	const struct timespec times[] = { { 1, 0 }, { 1, 0 } };

	assert_int_equal(utimensat(f->root.fd, path + 1, times, 0), 0);
}

ARRANGE(large, put_large(f, 1);)
ARRANGE(large_read, put_large(f, 1); assert_int_equal(image_record_make(&h->root, IMAGE_PATH), 0);)
ARRANGE(large_other, put_large(f, 0); assert_int_equal(image_record_make(&h->root, IMAGE_PATH), 0);)
ARRANGE(large_touched, large_read(h, v, f); touch(f, IMAGE_PATH "/bzImage");)
ARRANGE(large_replaced, large_read(h, v, f); char from[512], to[512];
	put(f, "/new", get(f, IMAGE_PATH "/bzImage"), 1);
	snprintf(from, sizeof(from), "%s/new", f->dir);
	snprintf(to, sizeof(to), "%s" IMAGE_PATH "/bzImage", f->dir);
	assert_int_equal(truncate(from, 2 << 20), 0);
	assert_int_equal(rename(from, to), 0);)
ARRANGE(large_record_cut, large_read(h, v, f);
	_cleanup_free_ char *text = xstrdup(must(get(f, IMAGE_RECORD)));
	put_text(f, IMAGE_RECORD, text + 1);)
ARRANGE(not_a_file, char full[512]; snprintf(full, sizeof(full), "%s" IMAGE_PATH "/bzImage", f->dir);
	put_large(f, 1); assert_int_equal(unlink(full), 0); put_text(f, IMAGE_PATH "/bzImage/x", "");)
ARRANGE(share_is_writable,
	static const char text[] = "{\"bios\": \"ovmf.fd\", \"kernel\": \"bzImage\", \"cmdline\": "
				   "\"x\", \"initrd\": \"bzImage\", \"rootfs\": \"bzImage\"}";
	char hex[SHA256_HEX + 1], sums[128]; put_text(f, IMAGE_PATH "/metadata.json", text);
	sha256_hex(text, strlen(text), hex);
	snprintf(sums, sizeof(sums), "%s  metadata.json\n", hex); put_sums(f, sums);)

static const struct check_case cases[] = {
	{ "image.files", "complete" },
	{ "image.files", "complete", large_read },
	{ "image.files", "differs", large_other },
	{ "image.files", "unverified", large },
	{ "image.files", "unverified", large_touched },
	{ "image.files", "unverified", large_replaced },
	{ "image.files", "unverified", large_record_cut },
	{ "image.files", "unreadable", not_a_file },
	{ "image.files", "no-list", no_list },
	{ "image.files", "no-list", not_a_list },
	{ "image.files", "lacks", lacks },
	{ "image.files", "differs", tampered },
	{ "image.files", "writable-share", share_is_writable },
	{ "supervisor.refuses", "refuses" },
	{ "supervisor.refuses", "stoppable", service_stoppable },
	{ "supervisor.refuses", "stoppable", slice_stoppable },
	{ "supervisor.refuses", "unknown", no_systemd },
	{ "supervisor.socket", "shut" },
	{ "supervisor.socket", "open", supervisor_group },
	{ "vmm.unit", "packaged" },
	{ "vmm.unit", "hidden", own_unit },
	{ "vmm.config", "none" },
	{ "vmm.config", "none", operator_link },
	{ "vmm.config", "overrides", operator_says_the_same },
	{ "vmm.config", "overrides", operator_overrides },
	{ "vmm.config", "elsewhere", operator_elsewhere },
	{ "vmm.config", "overrides", operator_run_path },
	{ "vmm.config", "guests", operator_guests },
	{ "vmm.config", "guests", operator_plain },
	{ "vmm.config", "readable", operator_readable },
	{ "vmm.config", "passt", operator_passt },
	{ "vmm.config", "overrides", operator_old_passt },
	{ "vmm.config", "overrides", operator_token },
	{ "vmm.config", "api", operator_api },
	{ "vmm.config", "supervisor", operator_supervisor },
	{ "vmm.config", "syntax", operator_syntax },
	{ "vmm", "needs", operator_api },
	{ "vmm.config-keys", "known" },
	{ "vmm.config-keys", "known", operator_knows },
	{ "vmm.config-keys", "unknown", operator_misspelt },
	{ "vmm.config-keys", "needs", operator_syntax },
	{ "vmm.stray", "none" },
	{ "vmm.stray", "stray", stray },
	{ "vmm.socket", "shut" },
	{ "vmm.socket", "shut", for_the_front },
	{ "vmm.socket", "open", front_may_write },
	{ "vmm.socket", "open", world_socket },
	{ "vmm.socket", "open", others_socket },
	{ "vmm.socket", "open", group_socket },
	{ "vmm.socket", "open", world_directory },
	{ "vmm.version", "reference" },
	{ "vmm.version", "supported", newer },
	{ "vmm.version", "supported", development },
	{ "vmm.version", "vulnerable", world_socket },
	{ "vmm.version", "old", too_old },
	{ "vmm.version", "untested", unheard_of },
	{ "vmm.version", "unknown", no_version },
	{ "vmm.images", "listed" },
	{ "vmm.images", "missing", no_images },
	{ "vmm.images", "refused", images_refused },
	{ "vmm.ports", "free" },
	{ "vmm.ports", "covered", covers_front },
	{ "vmm.ports", "covered", covers_ssh },
	{ "vmm.ports", "no-kms", covers_nothing },
	{ "vmm.cids", "free" },
	{ "vmm.cids", "free", own_guest },
	{ "vmm.cids", "free", guest_elsewhere },
	{ "vmm.cids", "overlap", other_guest },
	{ "vmm.cids", "overlap", libvirt_guest },
	{ "vmm.cids", "free", somebody_looks },
	{ "vmm.logs", "rotated" },
	{ "vmm.logs", "unrotated", no_rotation },
	{ "vmm.logs", "large", large_log },
	{ "front.stranger", "refused" },
	{ "front.stranger", "let-in", lets_in },
	{ "front.stranger", "odd", breaks },
	{ "front.token", "accepted" },
	{ "front.token", "refused", own_refused },
	{ "front.token", "behind", nothing_behind },
	{ "vmm.ghosts", "none" },
	{ "vmm.ghosts", "none", shown },
	{ "vmm.ghosts", "unloaded", unloaded },
	{ "vmm.ghosts", "unloaded", unloaded_there },
	{ "vmm.ghosts", "ghost", ghost },
};

/* --- what is said --- */

static void said(const struct fixture *f, const char *id,
		 void (*arrange)(struct host *, struct check_view *, const struct fixture *),
		 const char *text, int is_there)
{
	const struct check_case c = { id, "", arrange };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	const char *found;

	judge_all(&c, f, verdicts);
	found = verdicts[check_find(id)].found;
	assert_non_null(found);
	if ((strstr(found, text) != NULL) != is_there)
		fail_msg("%s found: %s", id, found);
	verdicts_free(verdicts, checks_count());
}

static void an_override_is_named_and_not_its_value(void **state)
{
	said(*state, "vmm.config", operator_token, "auth.tokens", 1);
	said(*state, "vmm.config", operator_token, "s3cr3t", 0);
}

static void what_was_not_hashed_is_said(void **state)
{
	said(*state, "image.files", large, "not verified: bzImage", 1);
	said(*state, "image.files", large_read, "all are as listed", 1);
}

/* Else a change in the same tick of the clock would have the same times. */
static void what_was_changed_this_moment_is_read_again(void **state)
{
	const struct fixture *f = *state;
	struct stat st;
	struct timespec now;

	put_large(f, 1);
	assert_int_equal(image_record_make(&f->root, IMAGE_PATH), 0);
	assert_non_null(strstr(must(get(f, IMAGE_RECORD)), IMAGE_PATH "/bzImage\n"));
	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(fstatat(f->root.fd, &(IMAGE_PATH "/bzImage")[1], &st, 0), 0);
	assert_true((now.tv_sec - st.st_ctim.tv_sec) * 1000 +
		    (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000 >= 99);
}

static int is_on_record(const struct fixture *f, const char *path)
{
	_cleanup_free_ char *line = xasprintf(" %s\n", path);

	return strstr(must(get(f, IMAGE_RECORD)), line) != NULL;
}

static void what_is_known_of_another_image_stays_while_it_is_true(void **state)
{
	const struct fixture *f = *state;
	static const char kernel[] = IMAGE_PATH "/bzImage", other[] = "/var/lib/dstack/images/other";

	put_large(f, 1);
	assert_int_equal(image_record_make(&f->root, IMAGE_PATH), 0);
	put_text(f, "/var/lib/dstack/images/other/sha256sum.txt", "");
	assert_int_equal(image_record_make(&f->root, other), 0);
	assert_true(is_on_record(f, kernel));
	touch(f, kernel);
	assert_int_equal(image_record_make(&f->root, other), 0);
	assert_false(is_on_record(f, kernel));
}

static void an_unknown_key_has_its_line(void **state)
{
	said(*state, "vmm.config-keys", operator_misspelt,
	     "cvm.cid_strat (line 2), cvm.port_mappings.x (line 4)", 1);
}

static void an_open_api_is_said_to_be_shut(void **state)
{
	said(*state, "vmm.version", NULL, "its open API behind the front", 1);
}

/* Every key that dstack-host renders itself is known, and nothing of it an override. */
static void knows_what_is_rendered(void **state)
{
	static const struct check_case none = { "vmm.config-keys", "known" };
	const struct fixture *f = *state;
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	_cleanup_strbuf_ struct strbuf text = { 0 };
	_cleanup_settings_ struct settings s = { 0 };
	const struct render_ctx ctx = { .root = &f->root, .settings = &s };
	const struct verdict *r;
	const char *why;

	put_text(f, "/etc/dstack/host.conf", FULL_CONF "VMM_MAX_VCPU=4\nVMM_MAX_MEMORY_MB=4096\n");
	put_text(f, "/etc/dstack/secrets/vmm-internal-token", "0123456789abcdef0123456789abcdef\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(build_vmm_toml(&ctx, &text, &why), BUILD_OK);
	put_text(f, "/run/dstack/vmm/vmm.toml", text.data);
	put_text(f, OPERATOR, text.data);
	judge_all(&none, f, verdicts);
	r = &verdicts[check_find("vmm.config")];
	assert_string_equal(r->outcome->name, "overrides");
	assert_non_null(strstr(r->found, "says nothing else"));
	r = &verdicts[check_find(none.id)];
	assert_string_equal(r->outcome->name, none.outcome);
	assert_string_equal(r->found, "all are known");
	verdicts_free(verdicts, checks_count());
}

/* --- digests --- */

static void facts_of(digest *d, const char *body, struct peer_answer *ret)
{
	struct peer_reply reply = { 200, body, strlen(body) };
	struct peer_emit emit = { 0 };

	*ret = (struct peer_answer){ 0 };
	d(&reply, &emit);
	facts_take(&emit, ret);
}

#define HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct {
	void (*digest)(const struct peer_reply *, struct peer_emit *);
	const char *body, *key, *value;
} answers[] = {
	{ image_digest_sums, HASH "  ovmf.fd\n", "sum", HASH " ovmf.fd" },
	{ image_digest_sums, HASH " *ovmf.fd", "sum", HASH " ovmf.fd" },
	{ image_digest_sums, HASH "  ../etc/shadow\n", "sum", NULL },
	{ image_digest_sums, HASH "  /etc/shadow\n", "bad", "not a list of checksums" },
	{ image_digest_sums, HASH "  .hidden\n", "bad", "not a list of checksums" },
	{ image_digest_sums, HASH "  \n", "bad", "not a list of checksums" },
	{ image_digest_sums, "E3" HASH "  x\n", "bad", "not a list of checksums" },
	{ image_digest_sums, HASH "\n", "bad", "not a list of checksums" },
	{ image_digest_sums, "\n", "bad", "not a list of checksums" },
	{ image_digest_sums, "", "bad", NULL },
	{ image_digest_share, "{\"shared_ro\": true}", "shared_ro", "yes" },
	{ image_digest_share, "{\"shared_ro\": 1}", "shared_ro", NULL },
	{ image_digest_share, "[", "shared_ro", NULL },
	{ vmm_digest_version, "{\"version\": \"0.5.5\", \"rev\": \"git:x\"}", "version", "0.5.5" },
	{ vmm_digest_version, "{\"version\": 5}", "bad", "the answer has no version" },
	{ vmm_digest_version, "null", "bad", "the answer has no version" },
};

static void digests_take_facts(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct peer_answer a;
		const char *got;

		facts_of(answers[i].digest, answers[i].body, &a);
		got = peer_get(&a, answers[i].key);
		if (answers[i].value ? !got || strcmp(got, answers[i].value) != 0 : got != NULL)
			fail_msg("%s: %s is %s", answers[i].body, answers[i].key, got);
		peer_answers_free(&a, 1);
	}
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE                                                                 \
	with_root(an_override_is_named_and_not_its_value),                               \
		with_root(what_was_not_hashed_is_said), \
		with_root(what_was_changed_this_moment_is_read_again), \
		with_root(what_is_known_of_another_image_stays_while_it_is_true), \
		with_root(an_unknown_key_has_its_line), \
		with_root(an_open_api_is_said_to_be_shut), with_root(knows_what_is_rendered), \
		cmocka_unit_test(digests_take_facts),

CHECK_CASES_MAIN(group_vmm, cases)
