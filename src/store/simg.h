/* SPDX-License-Identifier: BSD-3-Clause */
/* Sparse image files: the one container for RAM, disks, device state and base images
 * (docs/formats/simg.md). */
#ifndef STASIS_STORE_SIMG_H
#define STASIS_STORE_SIMG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum {
	SIMG_VERSION = 1,
	SIMG_BLOCK_BYTES = 1 << 20,
	SIMG_PAGE_BYTES = 4096,
	SIMG_HASH_BYTES = 32
};

/* The largest image: 64 TiB. A larger source is -EFBIG. */
#define SIMG_LOGICAL_MAX (UINT64_C(1) << 46)

/*
 * What a manifest keeps of an image: with it every byte of the file can be checked. Equal
 * contents give equal files, so equal roots.
 */
struct simg_ref {
	uint64_t logical_bytes; /* size of what the image holds */
	uint64_t file_bytes;    /* size of the image file */
	/* SHA-256 over header, index and footer; the index holds each block's SHA-256 */
	uint8_t root[SIMG_HASH_BYTES];
};

bool simg_ref_equal(const struct simg_ref *a, const struct simg_ref *b);

/*
 * Where an image's bytes come from. `next_data` returns the first offset >= `offset` that may
 * hold data (UINT64_MAX: none); `block` returns a pointer to `len` readable bytes at `offset`,
 * either its own memory or `scratch` filled (SIMG_BLOCK_BYTES large). Both may be called from
 * several threads at once. Each byte is taken once, so an image is consistent with its hashes
 * even if the source changes meanwhile.
 */
struct simg_source {
	uint64_t logical_bytes;
	uint64_t (*next_data)(void *arg, uint64_t offset);
	int (*block)(void *arg, uint64_t offset, uint32_t len, void *scratch,
		     const void **ret_data, struct err *err);
	void *arg;
};

/* Told after each block: bytes of the logical image dealt with since the last call. From any
 * thread. */
typedef void (*simg_progress_fn)(uint64_t bytes, void *arg);

/*
 * Write a new image durably (fsynced; its name is not: the caller fsyncs the directory). Pages
 * of zeros are not written. An existing file is -EEXIST and left alone; on any other failure
 * the file is removed. `threads` 0: one for each processor.
 */
int simg_write(const char *path, const struct simg_source *source, unsigned int threads,
	       simg_progress_fn progress, void *progress_arg, struct simg_ref *ret_ref,
	       struct err *err);

/*
 * A source over a regular file or memfd (holes are skipped by SEEK_DATA, which moves the fd's
 * offset). The fd must stay open; free() the arg.
 */
int simg_source_fd(int fd, struct simg_source *ret_source, struct err *err);

/*
 * Check an image against its reference and put its contents into `dest_fd`, a file or memfd
 * that is all zeros and is truncated to logical_bytes here. dest_fd -1: only check. A damaged
 * image is -EBADMSG and names the file and block; bytes are checked before they are written to
 * dest_fd. A newer format is -EPROTONOSUPPORT.
 */
int simg_read(const char *path, const struct simg_ref *ref, int dest_fd, unsigned int threads,
	      simg_progress_fn progress, void *progress_arg, struct err *err);

/* Check header, footer, index and size only: quick, finds missing, truncated, foreign and newer
 * files. */
int simg_check_index(const char *path, const struct simg_ref *ref, struct err *err);

#endif
