/* SPDX-License-Identifier: BSD-3-Clause */
/* The arena: making, sharing and mapping it; which of its bytes are global. */
#include "armci/shm/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/shm/heap.h"
#include "base/cleanup.h"

struct arena arena;

enum {
	HEADER_BYTES = ARENA_PAGE,
	LOCK_BYTES = ARENA_LOCKS * ARENA_LOCK_STRIDE,
	SLICE_ALIGN = 2 << 20
};

#define SLICE_LEAST ((size_t)64 << 20) /* below this it is not worth going on */
#define SLICE_MOST  ((size_t)1 << 43)

_Static_assert(LOCK_BYTES % ARENA_PAGE == 0, "locks fill pages");
_Static_assert(sizeof(struct arena_page) == 8, "a page's entry is read in one access");

/* In the first page: a rank that opens another job's memory by mistake says so. */
struct header {
	uint64_t magic;
	uint64_t slice_bytes;
	uint64_t node_size;
};

#define MAGIC 0x53544153494d4331ULL

/* What the lowest rank of a node tells the others. */
struct offer {
	int64_t pid;
	int64_t fd; /* -errno if it could not make the memory */
};

static size_t round_up(size_t bytes, size_t align)
{
	return (bytes + align - 1) / align * align;
}

static size_t pages_offset(void)
{
	return HEADER_BYTES + (size_t)job.node_size * ARENA_RANK_BLOCK + LOCK_BYTES;
}

static size_t slices_offset(size_t slice_bytes)
{
	size_t page_map =
		(size_t)job.node_size * (slice_bytes / ARENA_PAGE) * sizeof(struct arena_page);

	return round_up(pages_offset() + page_map, SLICE_ALIGN);
}

size_t arena_total(size_t slice_bytes)
{
	return slices_offset(slice_bytes) + (size_t)job.node_size * slice_bytes;
}

int arena_map(int fd, size_t slice_bytes, struct err *err)
{
	size_t bytes = arena_total(slice_bytes);
	char *base =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (base == MAP_FAILED)
		return err_sys(
			err, errno,
			"cannot map %zu MB of address space for the shared memory of %d ranks (see ulimit -v)",
			bytes >> 20, job.node_size);
	arena.base = base;
	arena.bytes = bytes;
	arena.slice_bytes = slice_bytes;
	arena.slice_start = slices_offset(slice_bytes);
	arena.rank_blocks = base + HEADER_BYTES;
	arena.locks = base + pages_offset() - LOCK_BYTES;
	arena.pages = (struct arena_page *)(base + pages_offset());
	return 0;
}

/* What settings ask for: 0 is the machine's memory. */
static size_t slice_wanted(void)
{
	size_t bytes = (size_t)settings.arena_bytes;

	if (bytes == 0) {
		bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
		if (bytes < (size_t)1 << 30)
			bytes = (size_t)1 << 30;
	}
	if (bytes > SLICE_MOST)
		bytes = SLICE_MOST;
	return round_up(bytes, SLICE_ALIGN);
}

/* Minimum over the ranks of the node. */
static int64_t node_least(MPI_Comm comm, int64_t value)
{
	int64_t least = -EIO;

	return MPI_Allreduce(&value, &least, 1, MPI_INT64_T, MPI_MIN, comm) ? -EIO : least;
}

/*
 * The file of the node's memory: made by the lowest rank, opened by the others through /proc,
 * so that nothing with a name is left behind however the job ends. The lowest keeps its
 * descriptor until all have theirs.
 */
static int file_open(MPI_Comm comm, int *ret_fd, struct err *err)
{
	struct offer offer = {0};
	char path[64];

	if (job.node_rank == 0) {
		offer.pid = getpid();
		offer.fd = memfd_create("armci", MFD_CLOEXEC);
		if (offer.fd < 0)
			offer.fd = -errno;
	}
	if (MPI_Bcast(&offer, sizeof(offer), MPI_BYTE, 0, comm))
		return err_set(err, EIO, "MPI_Bcast on the ranks of this node failed");
	if (offer.fd < 0)
		return err_sys(err, (int)-offer.fd, "cannot make shared memory (memfd_create)");
	if (job.node_rank == 0) {
		*ret_fd = (int)offer.fd;
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%" PRId64 "/fd/%" PRId64, offer.pid, offer.fd);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 0;
	return err_sys(
		err, errno,
		"cannot open the shared memory of rank %d (%s; the ranks of a node must run as one user who "
		"may look at his own processes, with no hidepid on /proc; or set " SETTINGS_PREFIX
		"NODE_RANKS=1 to do without shared memory)",
		job_member(job.node, 0), path);
}

/* The lowest rank sizes the file and fills the header, then everybody maps it: 0 if all could,
 * agreed upon. */
static int map_try(MPI_Comm comm, int fd, size_t slice_bytes, struct err *err)
{
	struct header *header;
	int64_t ret = 0;

	if (job.node_rank == 0 && ftruncate(fd, (off_t)arena_total(slice_bytes)) < 0)
		ret = err_sys(err, errno, "cannot size the shared memory to %zu MB",
			      arena_total(slice_bytes) >> 20);
	if (ret == 0)
		ret = arena_map(fd, slice_bytes, err);
	header = (struct header *)arena.base;
	if (ret == 0 && job.node_rank == 0)
		*header = (struct header){MAGIC, slice_bytes, (uint64_t)job.node_size};
	if (node_least(comm, ret) < 0) {
		if (ret == 0) {
			arena_close();
			ret = err_set(
				err, ENOMEM,
				"another rank of this node cannot map %zu MB of shared memory",
				arena_total(slice_bytes) >> 20);
		}
		return (int)ret;
	}
	if (header->magic != MAGIC || header->slice_bytes != slice_bytes ||
	    header->node_size != (uint64_t)job.node_size) {
		arena_close();
		return err_set(err, EPROTO,
			       "the shared memory that was opened is not this job's");
	}
	return 0;
}

static int open_on_node(MPI_Comm comm, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	size_t slice_bytes = (size_t)node_least(comm, (int64_t)slice_wanted());
	int ret = file_open(comm, &fd, err);
	int64_t least = node_least(comm, ret);

	if (ret < 0)
		return ret;
	if (least < 0)
		return err_set(err, (int)-least,
			       "another rank of this node cannot open the shared memory");
	for (;;) {
		ret = map_try(comm, fd, slice_bytes, err);
		if (ret == 0 || ret == -EPROTO || slice_bytes / 2 < SLICE_LEAST)
			return ret;
		slice_bytes = round_up(slice_bytes / 2, SLICE_ALIGN);
	}
}

int arena_open(struct err *err)
{
	MPI_Comm comm;
	int ret;

	if (MPI_Comm_split(job.comm, job.node, job.node_rank, &comm))
		return err_set(err, EIO, "MPI_Comm_split of the ranks of this node failed");
	ret = open_on_node(comm, err);
	MPI_Comm_free(&comm);
	return ret;
}

void arena_close(void)
{
	if (arena.base)
		munmap(arena.base, arena.bytes);
	arena = (struct arena){0};
}

static struct arena_page page_read(const struct arena_page *page)
{
	struct arena_page value;

	__atomic_load(page, &value, __ATOMIC_RELAXED);
	return value;
}

bool arena_is_global(uint64_t offset, size_t bytes)
{
	uint64_t at = offset - arena.slice_start;
	uint64_t end = (uint64_t)job.node_size * arena.slice_bytes;
	struct arena_page first, last;

	if (bytes == 0)
		return arena_is_global(offset, 1) ||
		       (offset > 0 && arena_is_global(offset - 1, 1));
	if (offset < arena.slice_start || at >= end || bytes > end - at)
		return false;
	end = at + bytes - 1;
	if (at / arena.slice_bytes != end / arena.slice_bytes)
		return false;
	first = page_read(&arena.pages[at / ARENA_PAGE]);
	last = page_read(&arena.pages[end / ARENA_PAGE]);
	return first.kind == HEAP_GLOBAL && first.head != 0 && first.head == last.head &&
	       at % ARENA_PAGE >= first.skew * 64u && end % ARENA_PAGE < last.limit;
}
