// SPDX-License-Identifier: Apache-2.0
/* From what is seen to a verdict, each case on a host that is otherwise in order. */
#include "test-view.h"

#include <errno.h>

#include "host/peer/peer-half.h"
#include "host/probe/probes-digest.h"

static void table_is_in_order(void **state _unused_)
{
	for (size_t i = 0; i < n_parts; i++) {
		_cleanup_free_ char *needs = xstrdup(parts[i].needs ? parts[i].needs : "");

		assert_true(part_find(parts[i].id) == (int)i);
		assert_true(strlen(parts[i].title) < 29);
		for (char *w = strtok(needs, " "); w; w = strtok(NULL, " ")) {
			assert_true(part_find(w) >= 0);
			assert_true(part_find(w) < (int)i);
		}
	}
}

static void healthy_services_are_ok(void **state)
{
	static const char *const ids[] = { "settings", "guard", "docker", "pccs", "qgsd",
					   "aesmd", "sealing", "key-provider", "supervisor",
					   "vmm", "front", "registry", "cvms", "kms" };
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		assert_state(judge(&h, ids[i]), PART_OK);
	assert_string_equal(judge(&h, "pccs")->address, "127.0.0.1:8081");
	assert_string_equal(judge(&h, "vmm")->detail, "answers Status");
}

static void missing_setting_is_waited_for(void **state)
{
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, *state, "DOMAIN=example.org\n");
	f = judge(&h, "kms");
	assert_state(f, PART_WAITING);
	assert_string_equal(f->detail, "for KMS_IMAGE: sudo dstack-host config set KMS_IMAGE=…");
	assert_string_equal(f->fix, "sudo dstack-host config set KMS_IMAGE=…");
}

static void registry_waits_for_the_domain(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, "KMS_PORT=9103\n");
	assert_non_null(strstr(judge(&h, "registry")->detail, "for DOMAIN: "));
}

static void switched_off(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state,
		  "DOMAIN=example.org\nREGISTRY=off\nPCCS_URL=https://pccs.example.net/x/\n");
	assert_state(judge(&h, "registry"), PART_OFF);
	assert_state(judge(&h, "pccs"), PART_OFF);
	assert_string_equal(judge(&h, "pccs")->detail, "PCCS_URL is at pccs.example.net");
}

static void bad_setting_names_the_key(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF "PCCS_PORT=70000\n");
	assert_state(judge(&h, "pccs"), PART_FAILED);
	assert_non_null(strstr(judge(&h, "pccs")->detail, "PCCS_PORT: not a port"));
	assert_string_equal(judge(&h, "settings")->fix,
			    "sudo dstack-host config set PCCS_PORT=…");
	assert_state(judge(&h, "docker"), PART_OK);
}

static void waiting_for_a_prerequisite_is_not_failed(void **state)
{
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, *state, FULL_CONF);
	refuse(&h, PROBE_DOCKER, -ECONNREFUSED);
	refuse(&h, PROBE_CONTAINERS, -ECONNREFUSED);
	answer(&h, PROBE_KEY_PROVIDER, 0);
	h.view.probe[PROBE_KEY_PROVIDER].answer.error = PEER_UNREACHABLE;
	set_unit(&h, "docker", "failed", "failed");
	set_text(&unit(&h, "docker")->result, "exit-code");
	f = judge(&h, "docker");
	assert_state(f, PART_FAILED);
	assert_string_equal(f->detail, "failed (exit-code)");
	assert_string_equal(f->fix, "sudo journalctl -b -e -u docker.service");
	f = judge(&h, "aesmd");
	/* The fake root has no SGX nodes: that is the first of its prerequisites. */
	assert_state(f, PART_WAITING);
	assert_null(f->fix);
	f = judge(&h, "key-provider");
	assert_state(f, PART_WAITING);
	assert_string_equal(f->detail, "for docker");
}

static void unit_tells_why(void **state)
{
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, *state, FULL_CONF);
	refuse(&h, PROBE_VMM, -ENOENT);
	put_text(*state, "/var/lib/dstack/bin/current/x", "");
	/* Prerequisites first: without programs it waits for those. */
	assert_string_equal(judge(&h, "vmm")->detail, "for programs of the VMM");
	put_text(*state, "/var/lib/dstack/bin/current/supervisor", "");
	put_text(*state, "/var/lib/dstack/bin/current/dstack-vmm", "");
	fchmodat(h.root.fd, "var/lib/dstack/bin/current/supervisor", 0755, 0);
	fchmodat(h.root.fd, "var/lib/dstack/bin/current/dstack-vmm", 0755, 0);

	set_unit(&h, "vmm", "activating", "start-pre");
	set_text(&unit(&h, "vmm")->status, "waiting for key provider: nobody listens");
	f = judge(&h, "vmm");
	assert_state(f, PART_WAITING);
	assert_string_equal(f->detail, "for key provider: nobody listens");

	set_text(&unit(&h, "vmm")->sub, "auto-restart");
	set_text(&unit(&h, "vmm")->result, "exit-code");
	assert_state(judge(&h, "vmm"), PART_FAILED);

	set_unit(&h, "vmm", "inactive", "dead");
	assert_state(judge(&h, "vmm"), PART_FAILED);
	assert_string_equal(judge(&h, "vmm")->fix, "sudo systemctl start dstack-vmm.service");
	unit(&h, "vmm")->condition = xstrdup("ConditionPathExists=/x/y");
	assert_state(judge(&h, "vmm"), PART_WAITING);
	assert_string_equal(judge(&h, "vmm")->detail, "for /x/y");
	unit(&h, "vmm")->job = 1;
	assert_string_equal(judge(&h, "vmm")->detail, "for its turn to start");
}

static void running_without_an_answer(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	answer(&h, PROBE_PCCS, 0);
	h.view.probe[PROBE_PCCS].answer.error = PEER_TLS;
	h.view.probe[PROBE_PCCS].answer.text = xstrdup("no TLS");
	assert_state(judge(&h, "pccs"), PART_FAILED);
	assert_string_equal(judge(&h, "pccs")->detail, "runs, but: no TLS");
	/* Just started, it may need a moment. */
	unit(&h, "pccs")->active_us = h.view.now_us - 1000000;
	assert_state(judge(&h, "pccs"), PART_WAITING);
}

static void package_that_is_not_there(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	answer(&h, PROBE_PCCS, 0);
	h.view.probe[PROBE_PCCS].answer.error = PEER_UNREACHABLE;
	set_unit(&h, "pccs", "inactive", "dead");
	set_text(&unit(&h, "pccs")->load, "not-found");
	assert_state(judge(&h, "pccs"), PART_WAITING);
	assert_string_equal(judge(&h, "pccs")->fix, "sudo apt install sgx-dcap-pccs");
}

/* Its unit is still at work on it, which would tell nobody why. */
static void restarting_container_has_failed(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	answer(&h, PROBE_CONTAINERS, 200);
	fact(&h, PROBE_CONTAINERS, "container",
	     CONTAINER_AESMD "-other running Up 2 hours");
	fact(&h, PROBE_CONTAINERS, "container",
	     CONTAINER_AESMD " restarting Restarting (1) 4 seconds ago");
	set_unit(&h, "aesmd", "activating", "start-post");
	assert_state(judge(&h, "aesmd"), PART_FAILED);
	assert_string_equal(judge(&h, "aesmd")->detail,
			    "its container ends again and again: Restarting (1) 4 seconds ago");
	assert_string_equal(judge(&h, "aesmd")->fix, "sudo docker logs --tail 50 " CONTAINER_AESMD);
	assert_state(judge(&h, "sealing"), PART_WAITING);
}

static void open_door_is_a_failure(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	answer(&h, PROBE_FRONT, 200);
	assert_state(judge(&h, "front"), PART_FAILED);
	answer(&h, PROBE_FRONT, 403);
	assert_true(judge(&h, "front")->state != PART_OK);
}

/* Status answers 400 when the supervisor is dead; Version would not have told. */
static void vmm_without_supervisor(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	refuse(&h, PROBE_SUPERVISOR, -ECONNREFUSED);
	refuse(&h, PROBE_PROCESSES, -ECONNREFUSED);
	answer(&h, PROBE_VMM, 400);
	fact(&h, PROBE_VMM, "bad", "Failed to list VMs");
	assert_true(judge(&h, "supervisor")->state != PART_OK);
	assert_state(judge(&h, "vmm"), PART_WAITING);
	assert_state(judge(&h, "cvms"), PART_WAITING);
}

/* By its protocol alone, whatever it waits for. */
static void assert_alone(const struct host *h, const char *id, enum part_state state,
			 const char *detail)
{
	struct finding f;

	part_judge_alone(&h->view, (size_t)part_find(id), &f);
	assert_state(&f, state);
	if (!strstr(f.detail, detail))
		fail_msg("%s, not %s", f.detail, detail);
	findings_free(&f, 1);
}

/* The same answers and the same verdicts as `kms status` has. */
static void kms_is_the_verified_one_or_not_ok(void **state)
{
	static const char other[] = "0x5353535353535353535353535353535353535353";
	static const struct {
		const char *contract, *chain, *app_auth, *ca, *detail;
	} wrong[] = {
		{ other, "11155111", APP_AUTH, CA_FACT, "its contract is 0x5353" },
		{ CONTRACT, "1", APP_AUTH, CA_FACT, "its chain is 1," },
		{ CONTRACT, NULL, APP_AUTH, CA_FACT, "it names no chain" },
		{ CONTRACT, "11155111", other, CA_FACT, "its app auth implementation is 0x5353" },
		{ CONTRACT, "11155111", APP_AUTH, "TUlK", "another CA than the one on record" },
	};
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, *state, FULL_CONF);
	h.view.probe[PROBE_KMS].answer.ms = 34;
	assert_string_equal(judge(&h, "kms")->detail, "GetMeta in 34 ms");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		kms_says(&h, wrong[i].contract, wrong[i].chain, wrong[i].app_auth, wrong[i].ca);
		f = judge(&h, "kms");
		assert_state(f, PART_FAILED);
		if (!strstr(f->detail, wrong[i].detail))
			fail_msg("%s, not %s", f->detail, wrong[i].detail);
		assert_string_equal(f->fix, "sudo dstack-host kms status");
	}
	/* No CA in its answer, none on record to tell it by. */
	kms_says(&h, CONTRACT, "11155111", APP_AUTH, NULL);
	assert_true(judge(&h, "kms")->state != PART_OK);
	kms_says(&h, CONTRACT, "11155111", APP_AUTH, CA_FACT);
	unlinkat(h.root.fd, &KMS_CA[1], 0);
	assert_true(judge(&h, "kms")->state != PART_OK);
	assert_alone(&h, "kms", PART_SILENT, "its CA is not on record");
}

static void kms_without_keys_is_waited_for(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	answer(&h, PROBE_KMS, 0);
	h.view.probe[PROBE_KMS].answer.error = PEER_TLS;
	fact(&h, PROBE_KMS_PAGE, "onboarding", "yes");
	assert_alone(&h, "kms", PART_SILENT, "it has no keys yet");
}

static void kms_needs_what_its_render_needs(void **state)
{
	struct fixture *fx = *state;
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, fx, "DOMAIN=example.org\nKMS_CONTRACT=" CONTRACT "\nKMS_IMAGE=" IMAGE_REF
			  "\nETH_RPC_URLS=http://127.0.0.1:8545\n");
	f = judge(&h, "kms");
	assert_state(f, PART_WAITING);
	assert_string_equal(f->fix, "sudo dstack-host config set APP_AUTH_IMPLEMENTATION=…");
	host_free(&h);
	host_make(&h, fx, FULL_CONF "KMS_LAYOUT=upstream\n");
	f = judge(&h, "kms");
	assert_state(f, PART_WAITING);
	assert_string_equal(f->fix, "sudo dstack-host config set KMS_AUTH_IMAGE=…");
}

/* One of the VMM's list. */
static void machine(struct host *h, unsigned i, const char *status, const char *id)
{
	char key[32];

	snprintf(key, sizeof(key), "vm.%u.id", i);
	fact(h, PROBE_VMM, key, id);
	snprintf(key, sizeof(key), "vm.%u.status", i);
	fact(h, PROBE_VMM, key, status);
}

#define KMS_ID "0a6a9c1e-5b50-4c5e-9f0b-1d2e3f405162"

static void put_record(struct fixture *f, const char *vm_id)
{
	char id[64], name[] = "kms", word[] = "x";
	const struct kms_record rec = { .vm_id = id, .name = name, .image = word,
					.compose_hash = word, .vcpu = 1, .memory_mb = 1,
					.disk_gb = 1, .host_port = 9103, .guest_port = 9100,
					.domain = word };

	snprintf(id, sizeof(id), "%s", vm_id);
	assert_int_equal(kms_record_save(&f->root, &rec), 0);
}

static void kms_is_silent(struct host *h, const char *id, const char *status)
{
	answer(h, PROBE_KMS, 0);
	answer(h, PROBE_KMS_PAGE, 0);
	answer(h, PROBE_VMM, 200);
	h->view.probe[PROBE_KMS].answer.error = PEER_UNREACHABLE;
	h->view.probe[PROBE_KMS_PAGE].answer.error = PEER_UNREACHABLE;
	machine(h, 0, "stopped", "11111111-2222-3333-4444-555555555555");
	machine(h, 1, status, id);
	fact(h, PROBE_VMM, "vm.1.name", "kms");
}

static void stopped_kms_is_named(void **state)
{
	struct fixture *fx = *state;
	_cleanup_host_ struct host h;
	const struct finding *f;

	host_make(&h, fx, FULL_CONF);
	kms_is_silent(&h, KMS_ID, "stopped");
	/* Nothing was deployed here: what starts it might deploy. */
	assert_alone(&h, "kms", PART_SILENT, "no answer yet");
	put_record(fx, "");
	assert_alone(&h, "kms", PART_SILENT, "no answer yet");
	put_record(fx, KMS_ID);
	f = judge(&h, "kms");
	assert_state(f, PART_FAILED);
	assert_string_equal(f->detail, "its CVM is stopped");
	assert_string_equal(f->fix, "sudo systemctl restart dstack-kms");
	/* Nobody listens at all. */
	refuse(&h, PROBE_KMS, -ECONNREFUSED);
	assert_string_equal(judge(&h, "kms")->detail, "its CVM is stopped");
	/* On its way. */
	set_unit(&h, "kms", "activating", "start");
	assert_state(judge(&h, "kms"), PART_WAITING);
	set_unit(&h, "kms", "active", "exited");
	kms_is_silent(&h, KMS_ID, "exited");
	assert_alone(&h, "kms", PART_SILENT, "its CVM is exited");
	kms_is_silent(&h, KMS_ID, "running");
	assert_alone(&h, "kms", PART_SILENT, "no answer yet");
	/* Another of that name is not the one on record. */
	kms_is_silent(&h, "22222222-2222-3333-4444-555555555555", "stopped");
	assert_alone(&h, "kms", PART_SILENT, "no answer yet");
}

static void machine_unknown_to_the_vmm(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	fact(&h, PROBE_PROCESSES, "process", "11 cvm aaaa-1 first");
	fact(&h, PROBE_PROCESSES, "process", "12 passt passt-aaaa-1 x");
	fact(&h, PROBE_PROCESSES, "process", "13 cvm bbbb-2 second");
	machine(&h, 0, "running", "aaaa-1");
	machine(&h, 1, "stopped", "cccc-3");
	assert_state(judge(&h, "cvms"), PART_FAILED);
	assert_string_equal(judge(&h, "cvms")->detail,
			    "the VMM does not know what runs: second");
	machine(&h, 2, "running", "bbbb-2");
	assert_state(judge(&h, "cvms"), PART_OK);
	assert_string_equal(judge(&h, "cvms")->detail, "2 running, 1 not");
}

/* A process in the fake /proc whose working directory is a machine's. */
static void live(struct fixture *f, const char *pid, const char *parent, const char *id)
{
	char path[256], target[256], stat_text[64];

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	snprintf(stat_text, sizeof(stat_text), "%s (a) b) S %s 1 1", pid, parent);
	put_text(f, path, stat_text);
	snprintf(path, sizeof(path), "/var/lib/dstack/vm/%s/vm-manifest.json", id);
	put_text(f, path, "{\"name\": \"kms\"}");
	snprintf(target, sizeof(target), "%s/var/lib/dstack/vm/%s", f->dir, id);
	snprintf(path, sizeof(path), "%s/proc/%s/cwd", f->dir, pid);
	assert_int_equal(symlink(target, path), 0);
}

static void orphans_are_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_host_ struct host h;

	host_make(&h, f, FULL_CONF);
	live(f, "4711", "1", "aaaa-1");
	live(f, "4712", "4711", "aaaa-1");
	vmdir_processes(&h.root, "/var/lib/dstack/vm", &h.view.processes);
	assert_int_equal(h.view.processes.n, 2);

	/* The supervisor's own: the second is its child. */
	fact(&h, PROBE_PROCESSES, "process", "4711 cvm aaaa-1 kms");
	machine(&h, 0, "running", "aaaa-1");
	assert_state(judge(&h, "cvms"), PART_OK);

	/* So is what one of its processes elsewhere has started. */
	live(f, "4713", "9000", "bbbb-2");
	vm_processes_free(&h.view.processes);
	vmdir_processes(&h.root, "/var/lib/dstack/vm", &h.view.processes);
	assert_state(judge(&h, "cvms"), PART_FAILED);
	fact(&h, PROBE_PROCESSES, "process", "9000 cvm bbbb-2 other");
	machine(&h, 1, "running", "bbbb-2");
	assert_state(judge(&h, "cvms"), PART_OK);
	unlinkat(h.root.fd, "proc/4713/cwd", 0);
	vm_processes_free(&h.view.processes);
	vmdir_processes(&h.root, "/var/lib/dstack/vm", &h.view.processes);

	/* A new supervisor does not know it. */
	answer(&h, PROBE_PROCESSES, 200);
	assert_state(judge(&h, "cvms"), PART_FAILED);
	assert_string_equal(judge(&h, "cvms")->detail,
			    "without their supervisor: kms (pid 4711)");
	assert_string_equal(judge(&h, "cvms")->fix, "sudo dstack-host drain");

	/* No supervisor at all. */
	refuse(&h, PROBE_SUPERVISOR, -ECONNREFUSED);
	refuse(&h, PROBE_PROCESSES, -ECONNREFUSED);
	assert_state(judge(&h, "supervisor"), PART_FAILED);
	assert_non_null(strstr(judge(&h, "supervisor")->detail, "kms (pid 4711)"));
	assert_state(judge(&h, "cvms"), PART_FAILED);

	/* One that is only slow has left nobody behind. */
	refuse(&h, PROBE_SUPERVISOR, -EAGAIN);
	refuse(&h, PROBE_PROCESSES, -EAGAIN);
	assert_null(strstr(judge(&h, "supervisor")->detail, "4711"));

	/* Ended meanwhile. */
	answer(&h, PROBE_SUPERVISOR, 200);
	answer(&h, PROBE_PROCESSES, 200);
	unlinkat(h.root.fd, "proc/4711/cwd", 0);
	unlinkat(h.root.fd, "proc/4712/cwd", 0);
	assert_state(judge(&h, "cvms"), PART_OK);
}

static void orphans_are_looked_for_where_the_vmm_keeps_them(void **state)
{
	struct fixture *f = *state;
	_cleanup_host_ struct host h;
	char target[300], path[300];

	host_make(&h, f, FULL_CONF);
	put_text(f, "/etc/dstack/vmm.toml", "run_path = \"/data/vm\"\n");
	put_text(f, "/proc/4711/stat", "4711 (a) S 1 1 1");
	put_text(f, "/data/vm/aaaa-1/vm-manifest.json", "{\"name\": \"theirs\"}");
	snprintf(target, sizeof(target), "%s/data/vm/aaaa-1", f->dir);
	snprintf(path, sizeof(path), "%s/proc/4711/cwd", f->dir);
	assert_int_equal(symlink(target, path), 0);
	part_look_at_processes(&h.view);
	assert_int_equal(h.view.processes.n, 1);
	assert_string_equal(judge(&h, "cvms")->detail,
			    "without their supervisor: theirs (pid 4711)");
}

/* On a host with devices, which the fixture has not; the caller frees. */
static char *cause(struct host *h, const char *id)
{
	static const char *const devices[] = { "devices", "groups" };

	if (!h->view.ahead)
		h->view.ahead = xcalloc(n_parts, sizeof(*h->view.ahead));
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		struct finding *f = xcalloc(1, sizeof(*f));

		finding_set(f, PART_OK, "there");
		h->view.ahead[part_find(devices[i])] = f;
	}
	return part_cause(&h->view, (size_t)part_find(id));
}

/* What `await` says: not that a port is silent, but what has failed before. */
static void the_first_cause_is_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_host_ struct host h;
	_cleanup_free_ char *none = NULL, *provider = NULL, *docker = NULL, *own = NULL;

	host_make(&h, f, FULL_CONF);
	put_vmm(f);
	none = cause(&h, "kms");
	assert_null(none);
	answer(&h, PROBE_KMS, 0);
	h.view.probe[PROBE_KMS].answer.error = PEER_UNREACHABLE;
	set_unit(&h, "key-provider", "failed", "failed");
	set_text(&unit(&h, "key-provider")->result, "exit-code");
	refuse(&h, PROBE_KEY_PROVIDER, -ECONNREFUSED);
	provider = cause(&h, "kms");
	assert_string_equal(must(provider), "key provider: failed (exit-code)");
	/* Before it, and what it waits for. */
	set_unit(&h, "docker", "inactive", "dead");
	unit(&h, "docker")->condition = xstrdup("ConditionPathExists=/x/y");
	refuse(&h, PROBE_DOCKER, -ECONNREFUSED);
	docker = cause(&h, "kms");
	assert_string_equal(must(docker), "docker: waiting for /x/y");
	/* A unit that waits in itself is not told its own words. */
	answer(&h, PROBE_DOCKER, 200);
	refuse(&h, PROBE_CONTAINERS, -ECONNREFUSED);
	own = cause(&h, "key-provider");
	assert_null(own);
}

static void causes_are_asked_with_all_that_is_needed(void **state _unused_)
{
	uint64_t probes = part_needs_probes((size_t)part_find("kms"));

	assert_true(probes & PROBE(PROBE_DOCKER));
	assert_true(probes & PROBE(PROBE_CONTAINERS));
	assert_false(probes & PROBE(PROBE_KMS));
	assert_int_equal(part_needs_probes((size_t)part_find("settings")), 0);
}

static void drained_is_no_failure_and_its_end_is_named(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	put_vmm(*state);
	set_unit(&h, "supervisor", "inactive", "dead");
	refuse(&h, PROBE_SUPERVISOR, -ECONNREFUSED);
	assert_state(judge(&h, "supervisor"), PART_FAILED);
	h.view.drained = 1;
	assert_state(judge(&h, "supervisor"), PART_WAITING);
	assert_string_equal(judge(&h, "supervisor")->fix, "sudo dstack-host drain --end");
}

/* Without it nothing would be seen to be amiss. */
static void a_guard_that_does_not_run_says_what_that_means(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	set_unit(&h, "guard", "inactive", "dead");
	assert_state(judge(&h, "guard"), PART_FAILED);
	assert_non_null(strstr(judge(&h, "guard")->detail, "fences virtual machines in"));
	assert_string_equal(judge(&h, "guard")->fix, "sudo systemctl start dstack-guard.service");
}

static void what_needs_privilege_is_said(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_free_ char *next = NULL;

	host_make(&h, *state, FULL_CONF);
	refuse(&h, PROBE_DOCKER, -EACCES);
	h.view.settings_hidden = 1;
	assert_state(judge(&h, "docker"), PART_UNKNOWN);
	assert_state(judge(&h, "settings"), PART_UNKNOWN);
	next = parts_next(h.findings, 0);
	assert_string_equal(next, "sudo dstack-host status");
}

static void without_systemd(void **state)
{
	_cleanup_host_ struct host h;

	host_make(&h, *state, FULL_CONF);
	h.view.units_error = UNITS_ABSENT;
	assert_state(judge(&h, "guard"), PART_UNKNOWN);
	assert_state(judge(&h, "docker"), PART_OK);
	answer(&h, PROBE_FRONT, 0);
	h.view.probe[PROBE_FRONT].answer.error = PEER_UNREACHABLE;
	assert_state(judge(&h, "front"), PART_FAILED);
}

static void another_root_is_not_asked(void **state)
{
	_cleanup_host_ struct host h;
	struct fixture *f = *state;

	host_make(&h, f, FULL_CONF);
	h.view.root = &f->root;
	assert_state(judge(&h, "docker"), PART_UNKNOWN);
	assert_state(judge(&h, "settings"), PART_OK);
}

static void next_is_the_first_cause(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_free_ char *next = NULL;

	host_make(&h, *state, FULL_CONF);
	judge(&h, "kms");
	for (size_t i = 0; i < n_parts; i++) {
		findings_free(&h.findings[i], 1);
		finding_set(&h.findings[i], PART_OK, "x");
	}
	assert_true(parts_fine(h.findings));
	assert_null(parts_next(h.findings, 1));
	finding_set(&h.findings[5], PART_WAITING, "for its start");
	next = parts_next(h.findings, 1);
	assert_string_equal(next, "dstack-host status");
	free(next);
	finding_fix(&h.findings[9], "second");
	finding_fix(&h.findings[7], "first");
	next = parts_next(h.findings, 1);
	assert_string_equal(next, "first");
	assert_false(parts_fine(h.findings));
}

static void key_provider_is_needed_by_a_started_machine(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(vmdir_needs_key_provider(&f->root, "/vm"), 0);
	put_text(f, "/vm/a/vm-state.json", "{\"started\":false}");
	put_text(f, "/vm/a/shared/app-compose.json", "{\"local_key_provider_enabled\":true}");
	put_text(f, "/vm/b/vm-state.json", "{\"started\":true}");
	put_text(f, "/vm/b/shared/app-compose.json", "{\"local_key_provider_enabled\":false}");
	assert_int_equal(vmdir_needs_key_provider(&f->root, "/vm"), 0);
	put_text(f, "/vm/a/vm-state.json", "{\"started\":true}");
	assert_int_equal(vmdir_needs_key_provider(&f->root, "/vm"), 1);
	/* Broken by a power cut: the VMM may start it all the same. */
	put_text(f, "/vm/a/vm-state.json", "{\"sta");
	assert_int_equal(vmdir_needs_key_provider(&f->root, "/vm"), 1);
}

static void image_is_complete_or_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_host_ struct host h;
	/* printf '' | sha256sum */
	static const char empty[] =
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

#define IMAGE "/var/lib/dstack/images/dstack-0.5.5/"
	host_make(&h, f, FULL_CONF);
	assert_state(judge(&h, "image"), PART_WAITING);
	put_text(f, IMAGE "metadata.json",
		 "{\"bios\":\"o\",\"kernel\":\"k\",\"initrd\":\"i\",\"rootfs\":\"r\"}");
	put_text(f, IMAGE "o", "");
	put_text(f, IMAGE "k", "");
	put_text(f, IMAGE "i", "");
	assert_string_equal(judge(&h, "image")->detail, "dstack-0.5.5 lacks rootfs");
	put_text(f, IMAGE "r", "");
	assert_string_equal(judge(&h, "image")->detail, "dstack-0.5.5 lacks cmdline");
	put_text(f, IMAGE "metadata.json",
		 "{\"bios\":\"o\",\"kernel\":\"k\",\"initrd\":\"i\",\"rootfs\":\"r\","
		 "\"cmdline\":\"c\"}");
	assert_non_null(strstr(judge(&h, "image")->detail, "digest.txt"));
	put_text(f, IMAGE "sha256sum.txt", "");
	put_text(f, IMAGE "digest.txt", empty);
	assert_state(judge(&h, "image"), PART_OK);
	put_text(f, IMAGE "sha256sum.txt", "x");
	assert_state(judge(&h, "image"), PART_FAILED);
}

/* Recorded answer of the supervisor of 0.5.5, arguments left out. */
static void digest_of_the_supervisor(void **state _unused_)
{
	static const char body[] =
		"{\"data\":[{\"config\":{\"id\":\"985641a7-0747\",\"name\":\"kms-fixed2\","
		"\"note\":\"{\\\"kind\\\":\\\"cvm\\\",\\\"live_for\\\":null}\"},\"state\":"
		"{\"status\":\"running\",\"started\":true,\"pid\":12147}},"
		"{\"config\":{\"id\":\"x\",\"name\":\"y\",\"note\":\"\"},"
		"\"state\":{\"status\":{\"exited\":9},\"pid\":null}},"
		"{\"config\":{\"id\":\"bad id\",\"name\":\"y\"},"
		"\"state\":{\"status\":\"running\",\"pid\":1}}]}";
	struct peer_reply reply = { 200, body, sizeof(body) - 1 };
	struct peer_emit emit = { 0 };

	digest_processes(&reply, &emit);
	assert_non_null(memmem(emit.out.data, emit.out.len, "12147 cvm 985641a7-0747 kms-fixed2",
			       34));
	assert_null(memmem(emit.out.data, emit.out.len, "bad", 3));
	sb_free(&emit.out);
	reply = (struct peer_reply){ 200, "<html>", 6 };
	digest_processes(&reply, &emit);
	assert_non_null(memmem(emit.out.data, emit.out.len, "bad", 3));
	sb_free(&emit.out);
}

static void digest_of_docker(void **state _unused_)
{
	static const char body[] =
		"[{\"Names\":[\"/aesmd\"],\"State\":\"running\",\"Status\":\"Up 2 hours\"},"
		"{\"Names\":[\"/somebody-elses\"],\"State\":\"running\",\"Status\":\"Up\"}]";
	struct peer_reply reply = { 200, body, sizeof(body) - 1 };
	struct peer_emit emit = { 0 };

	digest_containers(&reply, &emit);
	assert_non_null(memmem(emit.out.data, emit.out.len, "aesmd running Up 2 hours", 24));
	assert_null(memmem(emit.out.data, emit.out.len, "somebody", 8));
	sb_free(&emit.out);
	/* Docker's way to say no. */
	reply = (struct peer_reply){ 500, "{\"message\":\"not so\"}", 20 };
	digest_containers(&reply, &emit);
	assert_non_null(memmem(emit.out.data, emit.out.len, "not so", 6));
	sb_free(&emit.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_in_order),
		with_root(healthy_services_are_ok),
		with_root(missing_setting_is_waited_for),
		with_root(registry_waits_for_the_domain),
		with_root(switched_off),
		with_root(bad_setting_names_the_key),
		with_root(waiting_for_a_prerequisite_is_not_failed),
		with_root(unit_tells_why),
		with_root(running_without_an_answer),
		with_root(package_that_is_not_there),
		with_root(restarting_container_has_failed),
		with_root(open_door_is_a_failure),
		with_root(vmm_without_supervisor),
		with_root(kms_is_the_verified_one_or_not_ok),
		with_root(kms_without_keys_is_waited_for),
		with_root(kms_needs_what_its_render_needs),
		with_root(stopped_kms_is_named),
		with_root(machine_unknown_to_the_vmm),
		with_root(orphans_are_named),
		with_root(orphans_are_looked_for_where_the_vmm_keeps_them),
		with_root(the_first_cause_is_named),
		cmocka_unit_test(causes_are_asked_with_all_that_is_needed),
		with_root(drained_is_no_failure_and_its_end_is_named),
		with_root(a_guard_that_does_not_run_says_what_that_means),
		with_root(what_needs_privilege_is_said),
		with_root(without_systemd),
		with_root(another_root_is_not_asked),
		with_root(next_is_the_first_cause),
		with_root(key_provider_is_needed_by_a_started_machine),
		with_root(image_is_complete_or_named),
		cmocka_unit_test(digest_of_the_supervisor),
		cmocka_unit_test(digest_of_docker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
