// SPDX-License-Identifier: Apache-2.0
/* dstack-host measure: the registers of a machine, before it is started. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd-measure.h"
#include "host/json.h"
#include "host/measure/measure-print.h"
#include "host/measure/measure-verify.h"

enum option_id {
	OPT_VM = 256, OPT_ALL, OPT_IMAGE, OPT_VCPU, OPT_MEMORY, OPT_QEMU, OPT_WITH, OPT_ARG,
	OPT_NO_QEMU, OPT_PAGES, OPT_HEADER, OPT_WINDOW, OPT_BOOTED, OPT_EVENTS, OPT_JSON,
	OPT_SAVE, OPT_COMPARE, OPT_TIMEOUT, OPT_VERIFY, OPT_RECORD, OPT_TD,
};

static const struct option options[] = {
	{ "vm", required_argument, NULL, OPT_VM },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "image", required_argument, NULL, OPT_IMAGE },
	{ "vcpu", required_argument, NULL, OPT_VCPU },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "qemu", required_argument, NULL, OPT_QEMU },
	{ "with", required_argument, NULL, OPT_WITH },
	{ "arg", required_argument, NULL, OPT_ARG },
	{ "no-qemu", no_argument, NULL, OPT_NO_QEMU },
	{ "pages", required_argument, NULL, OPT_PAGES },
	{ "kernel-header", required_argument, NULL, OPT_HEADER },
	{ "pci-window", required_argument, NULL, OPT_WINDOW },
	{ "booted", no_argument, NULL, OPT_BOOTED },
	{ "td", no_argument, NULL, OPT_TD },
	{ "events", no_argument, NULL, OPT_EVENTS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "save", required_argument, NULL, OPT_SAVE },
	{ "verify", required_argument, NULL, OPT_VERIFY },
	{ "record", no_argument, NULL, OPT_RECORD },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "compare", no_argument, NULL, OPT_COMPARE },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int bad(const char *option, const char *wanted)
{
	return cmd_usage_error(&cmd_measure, "--%s: %s", option, wanted);
}

static int add_word(struct words *words, const char *word, const char *option)
{
	if (words->n == WORDS_MAX)
		return bad(option, "given too often");
	words->v[words->n++] = word;
	return EXIT_FINE;
}

static int choose(const char *text, const char *first, const char *second,
		  enum measure_choice *ret)
{
	*ret = strcmp(text, first) == 0 ? CHOICE_FIRST :
	       strcmp(text, second) == 0 ? CHOICE_SECOND : CHOICE_AUTO;
	return *ret != CHOICE_AUTO;
}

static int take_number(struct measure_args *a, int c)
{
	uint64_t value;
	char *end;

	switch (c) {
	case OPT_VCPU:
		if (parse_uint(optarg, 1, 4096, &value))
			return bad("vcpu", "not a number of processors (1-4096)");
		a->vcpu = (unsigned)value;
		return EXIT_FINE;
	case OPT_MEMORY:
		if (parse_uint(optarg, 64, UINT64_C(1) << 32, &a->memory_mb))
			return bad("memory", "not a number of MiB, from 64");
		return EXIT_FINE;
	case OPT_TIMEOUT:
		if (parse_uint(optarg, 1, 3600, &value))
			return bad("timeout", "not a number of seconds (1-3600)");
		a->options.ms = 1000 * (unsigned)value;
		return EXIT_FINE;
	default:
		errno = 0;
		value = strtoull(optarg, &end, 0);
		if (errno || *end || end == optarg || value > 0xf0000000 || value & 0xfffffff)
			return bad("pci-window", "not a multiple of 0x10000000 below 4 GiB, or 0");
		a->options.window = (uint32_t)value;
		return EXIT_FINE;
	}
}

static int take_text(struct measure_args *a, int c)
{
	switch (c) {
	case OPT_VM:
		a->vm = optarg;
		return EXIT_FINE;
	case OPT_IMAGE:
		a->image = optarg;
		return EXIT_FINE;
	case OPT_QEMU:
		a->qemu = optarg;
		return EXIT_FINE;
	case OPT_VERIFY:
		a->verify = optarg;
		return EXIT_FINE;
	case OPT_SAVE:
		a->save = optarg;
		return EXIT_FINE;
	case OPT_WITH:
		return measure_is_package(optarg) ? add_word(&a->beside, optarg, "with") :
						    bad("with", "not a package (FILE.deb)");
	case OPT_ARG:
		return add_word(&a->more, optarg, "arg");
	case OPT_PAGES:
		return choose(optarg, "two-pass", "single-pass", &a->options.pages) ?
			       EXIT_FINE : bad("pages", "two-pass or single-pass");
	case OPT_HEADER:
		return choose(optarg, "qemu", "file", &a->options.header) ?
			       EXIT_FINE : bad("kernel-header", "qemu or file");
	default:
		return take_number(a, c);
	}
}

static int take_option(struct measure_args *a, int c)
{
	switch (c) {
	case OPT_TD:
		a->options.td = 1;
		return EXIT_FINE;
	case OPT_RECORD:
		a->record = 1;
		return EXIT_FINE;
	case OPT_ALL:
		a->all = 1;
		return EXIT_FINE;
	case OPT_NO_QEMU:
		a->without_qemu = 1;
		return EXIT_FINE;
	case OPT_BOOTED:
		a->options.booted = 1;
		return EXIT_FINE;
	case OPT_EVENTS:
		a->events = 1;
		return EXIT_FINE;
	case OPT_JSON:
		a->json = 1;
		return EXIT_FINE;
	case OPT_COMPARE:
		a->compare = 1;
		return EXIT_FINE;
	default:
		return take_text(a, c);
	}
}

/* What cannot be meant together. */
static int check(const struct measure_args *a, int n_words)
{
	if (!!a->vm + !!a->all + !!a->image > 1)
		return cmd_usage_error(&cmd_measure, "--vm, --all and --image exclude each other");
	if (a->image && !a->compare && (!a->vcpu || !a->memory_mb))
		return cmd_usage_error(&cmd_measure, "--image needs --vcpu and --memory");
	if (!a->image && !a->compare && (a->vcpu || a->memory_mb || a->more.n))
		return cmd_usage_error(&cmd_measure, "a size and --arg go with --image");
	if (!a->vm && !a->all && !a->image && !a->compare)
		return cmd_usage_error(&cmd_measure, "name a machine (--vm, --all) or an --image");
	if (a->options.td && (a->options.booted || a->without_qemu || a->record))
		return cmd_usage_error(&cmd_measure, "--td does not go with --booted, --no-qemu or "
						     "--record");
	if (a->without_qemu && (a->qemu || a->options.booted))
		return cmd_usage_error(&cmd_measure, "--no-qemu runs none");
	if (a->compare ? n_words != 2 : n_words != 0)
		return cmd_usage_error(&cmd_measure, "--compare takes two words, and nothing else "
						     "takes any");
	if (a->compare && (a->all || a->save))
		return cmd_usage_error(&cmd_measure, "--compare is about one machine, and saves "
						     "nothing");
	if ((a->save || a->verify) && a->all)
		return cmd_usage_error(&cmd_measure, "--save and --verify go with one machine");
	if (a->record && (!a->vm || a->save || a->verify || a->compare || a->without_qemu ||
			  a->options.booted || a->options.pages || a->options.header ||
			  a->options.window != MEASURE_WINDOW))
		return cmd_usage_error(&cmd_measure, "--record goes with --vm, --qemu and --with "
						     "alone");
	if (a->verify && (a->save || a->compare || a->without_qemu))
		return cmd_usage_error(&cmd_measure, "--verify does not go with --save, --compare "
						     "or --no-qemu");
	return EXIT_FINE;
}

int measure_save(const struct cmd_ctx *ctx, const char *path, json_t *doc)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	_cleanup_free_ char *full = measure_path(ctx, path);
	struct file_spec spec = { .mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r;

	json_write(&out, doc);
	spec.data = out.data;
	spec.len = out.len;
	r = file_replace(&ctx->root, full, &spec);
	return r < 0 ? cmd_failed(r, "write %s", path) : EXIT_FINE;
}

static int tell(const struct cmd_ctx *ctx, const struct measure_args *a,
		const struct measure_run *runs, size_t n)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	json_t *machines = json_array(), *doc;
	int r = EXIT_FINE;

	for (size_t i = 0; i < n; i++) {
		if (runs[i].result.error)
			continue;
		json_push(machines, measure_json(runs[i].config->what, &runs[i].result));
		if (!a->json)
			measure_print(&out, runs[i].config->what, &runs[i].result, a->events);
	}
	doc = a->all ? json_pack("{s:s, s:O}", "schema", "dstack-host.measure-all/1", "machines",
				 machines) : json_incref(json_array_get(machines, 0));
	if (a->save)
		r = measure_save(ctx, a->save, json_incref(doc));
	if (a->json)
		json_write(&out, json_incref(doc));
	else if (!n)
		sb_add(&out, "no virtual machine on this host\n");
	json_decref(doc);
	json_decref(machines);
	if (out.len)
		fputs(out.data, stdout);
	return r;
}

static int verify(const struct cmd_ctx *ctx, const struct measure_args *a,
		  const struct measure_run *run)
{
	_cleanup_free_ char *path = measure_path(ctx, a->verify), *trouble = NULL;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct measure_verdict verdict;
	struct measure_quote quote;

	if (measure_quote_load(&ctx->root, path, &quote, &trouble) < 0) {
		log_error("%s", trouble);
		return EXIT_FAILED;
	}
	measure_verify(&run->result, &quote, &verdict);
	if (a->json)
		json_write(&out, measure_verdict_json(run->config->what, &run->result, &verdict));
	else
		measure_print_verdict(&out, run->config->what, &run->result, &verdict);
	fputs(out.data, stdout);
	measure_quote_free(&quote);
	return verdict.all_equal ? EXIT_FINE : EXIT_FAILED;
}

static int measure(const struct cmd_ctx *ctx, const struct measure_args *a)
{
	struct measure_target *targets = NULL;
	struct measure_run *runs;
	size_t n = 0;
	int found = measure_targets(ctx, a, &targets, &n), told = EXIT_FINE, r;

	if (found != EXIT_FINE && !n) {
		measure_targets_free(targets, n);
		return found;
	}
	runs = xcalloc(n + 1, sizeof(*runs));
	for (size_t i = 0; i < n; i++)
		runs[i] = (struct measure_run){
			.config = &targets[i].config,
			.qemu = a->without_qemu ? NULL : &targets[i].qemu,
		};
	r = measure_run(ctx, a, runs, n);
	/* Of several machines those that can be measured are told all the same. */
	if (r == EXIT_FINE && a->verify)
		told = verify(ctx, a, runs);
	else if (r == EXIT_FINE || a->all)
		told = tell(ctx, a, runs, n);
	for (size_t i = 0; i < n; i++)
		measure_result_free(&runs[i].result);
	free(runs);
	measure_targets_free(targets, n);
	return found != EXIT_FINE ? found : r != EXIT_FINE ? r : told;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	struct measure_args a = { .options.window = MEASURE_WINDOW };
	int c, r = EXIT_FINE;

	while (r == EXIT_FINE && (c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_measure);
			return EXIT_FINE;
		}
		r = c == '?' ? EXIT_USAGE : take_option(&a, c);
	}
	if (r == EXIT_FINE)
		r = check(&a, argc - optind);
	if (r != EXIT_FINE)
		return r;
	/* Who reads the text is not told. */
	a.options.hash_qemu = a.json || a.save;
	if (a.record)
		return measure_record(ctx, &a);
	return a.compare ? measure_compare(ctx, &a, (const char *const *)argv + optind) :
			   measure(ctx, &a);
}

const struct command cmd_measure = {
	.name = "measure",
	.usage = "(--vm ID | --all | --image NAME|DIR --vcpu N --memory MIB [--arg ARG...])\n"
		 "         [--qemu PATH|FILE.deb [--with FILE.deb...] | --no-qemu] [--booted | --td]\n"
		 "         [--pages two-pass|single-pass] [--kernel-header qemu|file]\n"
		 "         [--pci-window BASE] [--timeout SECONDS]\n"
		 "         [--events] [--json] [--save FILE | --verify QUOTE]\n"
		 "       dstack-host measure --vm ID --record [--qemu PATH|FILE.deb ...]\n"
		 "       dstack-host measure --compare A B [--vm ID | --image NAME|DIR ...]\n"
		 "         A, B: a QEMU (PATH, FILE.deb, \"installed\"), an image (NAME, DIR),\n"
		 "         a size (VCPUxMIB) or a saved result",
	.summary = "Computes a CVM's registers, and what a change does to its sealed disk.",
	.run = run,
};
