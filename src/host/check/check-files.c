// SPDX-License-Identifier: Apache-2.0
/* Which files, and their digests. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "host/check/check-files.h"
#include "host/image/image-digest.h"
#include "host/image/image-record.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"

void check_files_read(struct check_view *v)
{
	_cleanup_free_ char *image = image_directory(v->parts.settings);

	v->file[CHECK_FILE_IMAGE_SUMS] = (struct foreign_file){
		.path = xasprintf("%s/sha256sum.txt", image), .digest = image_digest_sums,
	};
	v->file[CHECK_FILE_IMAGE_METADATA] = (struct foreign_file){
		.path = xasprintf("%s/metadata.json", image), .digest = image_digest_share,
	};
	v->file[CHECK_FILE_KMS_COMPOSE] = (struct foreign_file){
		.path = xstrdup(KMS_DIR "/app-compose.json"), .digest = kms_digest_frozen,
	};
	v->files_error = foreign_read(v->parts.root, v->file, CHECK_FILE_COUNT);
}

const struct foreign_file *check_file(const struct check_view *v, enum check_file id, int *error)
{
	const struct foreign_file *f = &v->file[id];

	*error = !f->path ? -ENODATA : v->files_error ? v->files_error : f->error;
	return f;
}

void check_files_free(struct check_view *v)
{
	foreign_free(v->file, CHECK_FILE_COUNT);
}
