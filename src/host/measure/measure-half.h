// SPDX-License-Identifier: Apache-2.0
/*
 * The half that reads foreign bytes for a measurement: image files, the program itself, and
 * what QEMUs in jails answer. Its results come back as facts of the requests.
 */
#pragma once

#include "host/measure/measure.h"
#include "host/peer/peer.h"

/* By QEMU's version, unless told. */
enum measure_choice { CHOICE_AUTO, CHOICE_FIRST, CHOICE_SECOND };

struct measure_work_image {
	size_t at; /* requests: firmware, kernel, initrd */
	const char *cmdline;
	int normalized; /* its metadata says that the kernel's header is never patched */
};

struct measure_work_job {
	size_t image;
	size_t at; /* requests: qtest, QMP, what it complains; facts are the first one's */
	uint64_t memory;
	enum measure_choice pages;  /* CHOICE_FIRST: two passes, CHOICE_SECOND: one */
	enum measure_choice header; /* CHOICE_FIRST: QEMU's, CHOICE_SECOND: the file's */
	uint32_t window;	    /* base of the PCI Express window; 0: do not place it */
	int td;			    /* what is read is a TD: nothing of it is another's */
	int without_qemu;	    /* then `at` is one request without a descriptor */
	size_t booted;		    /* the request of its serial port; 0: stopped */
};

struct measure_work {
	const struct measure_work_image *images;
	size_t n_images;
	const size_t *programs; /* requests: files whose SHA-256 is wanted */
	size_t n_programs;
	const struct measure_work_job *jobs;
	size_t n_jobs;
	unsigned ms; /* for all of them to answer */
};

/* Set before the half is forked, which finds it again. */
extern const struct measure_work *measure_work;

/* peer_request.work: facts of a program "sha256"; of a job "version", "mrtd", "rtmr0" (absent
 * without QEMU), "rtmr1", "rtmr2" and, in their order, "event". */
void measure_half(const struct peer_request *requests, size_t n, int sock);

/* --- measure-qtest.c: the dialogue with a QEMU --- */

struct qemu {
	int qtest, qmp, err, serial; /* serial: -1 when stopped */
	uint64_t deadline;
	uint32_t window;
	/* What came of it. */
	unsigned major, minor, micro;
	char version[128];
	unsigned char *tables, *rsdp, *loader, *setup; /* qemu_free() */
	size_t tables_len, rsdp_len, loader_len, setup_len;
};

int qemu_read(struct qemu *q, struct why *why) _must_check_;
void qemu_free(struct qemu *q);
/* Strict base64 of exactly `len` bytes: 0 or -EBADMSG. */
int qtest_base64(const char *text, size_t text_len, unsigned char *ret, size_t len)
	_must_check_;
