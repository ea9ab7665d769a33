// SPDX-License-Identifier: Apache-2.0
/*
 * A QCNL file, and lines of Intel's libraries in the journal, one of which may be a guest's
 * doing. The first byte says which.
 */
#include "fuzz.h"

#include "host/check/dcap-codes.h"
#include "host/check/qcnl-file.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void read_qcnl(const char *text)
{
	struct qcnl_file f;

	qcnl_parse(text, &f);
	require(f.url && (f.secure == 0 || f.secure == 1));
	/* Intel's defaults, whole: nothing of a broken file. */
	require(!f.broken || f.secure == 1);
	qcnl_free(&f);
}

static void read_line(enum dcap_speaker speaker, const char *line)
{
	const struct dcap_code *code = dcap_code_in(speaker, line);

	require(!code || (code->speakers & speaker && code->name && code->cause && code->fix));
	dcap_is_success(speaker, line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL;

	if (!size)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	if (data[0] % 4 == 0)
		read_qcnl(text);
	else
		read_line((enum dcap_speaker)(1u << (data[0] % 4 - 1)), text);
	return 0;
}
