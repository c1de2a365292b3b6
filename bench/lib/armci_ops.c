/* SPDX-License-Identifier: BSD-3-Clause */
/* Times the operations of ARMCI, of whichever implementation it is compiled with; see
 * bench/README.md. */
#include <armci.h>
#include <fcntl.h>
#include <mpi.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "armci_measure.h"

#define MIB         ((size_t)1 << 20)
#define AREA_BYTES  (16 * MIB)
#define CELLS_AT    (2 * AREA_BYTES) /* behind the areas for get and for put */
#define CELL_BYTES  128
#define ROW_STRIDE  1024
#define ALLOC_BYTES 65536
#define BULK_BYTES  65536

enum {
	VECTOR_SEGMENTS = 32,
	VECTOR_BYTES = 64,
	BUSY_SAMPLES_MAX = 1000,
	DGOP_MAX = 1024,
	BULK_BATCH = 64
};
enum cell { CELL_PUT, CELL_ACC, CELL_COUNTER, CELL_COUNT };

static struct {
	struct measure_options options;
	double busy_s; /* how long the busy target computes, for each operation */
	int me, nproc;
	int target;      /* rank that rank 0 works on */
	char **segments; /* [nproc] */
	char *remote;    /* the target's segment: area for gets, area for puts, cells */
	char *local;     /* AREA_BYTES */
	char *mapping; /* the target's plain memory, mapped here, laid out as the segment; NULL:
			  other node */
	int bytes;     /* of the contiguous transfer that is timed */
	int rows;      /* of the strided one */
	long adds, accs; /* done so far */
	double reduced[DGOP_MAX];
} bench = {.options = {.batch_ns = 2e5, .budget_ns = 1e8}, .busy_s = 2};

static void fail(const char *what)
{
	fprintf(stderr, "armci_ops: rank %d: %s\n", bench.me, what);
	MPI_Abort(MPI_COMM_WORLD, 1);
}

static void *cell_at(enum cell cell)
{
	return bench.remote + CELLS_AT + (size_t)cell * CELL_BYTES;
}

/* ---- Bodies: each does its operation `count` times ---- */

static void get_8(long count)
{
	for (long i = 0; i < count; i++)
		ARMCI_Get(bench.remote, bench.local, 8, bench.target);
}

static void put_8(long count)
{
	for (long i = 0; i < count; i++) {
		ARMCI_Put(bench.local, cell_at(CELL_PUT), 8, bench.target);
		ARMCI_Fence(bench.target);
	}
}

static void acc_8(long count)
{
	double scale = 1.0, one = 1.0;

	for (long i = 0; i < count; i++) {
		ARMCI_Acc(ARMCI_ACC_DBL, &scale, &one, cell_at(CELL_ACC), 8, bench.target);
		ARMCI_Fence(bench.target);
	}
	bench.accs += count;
}

/* The least that an atomic add of any size and a fence take: a lock, the add, and an exchange
 * that orders the stores before later loads. */
static void plain_acc(long count)
{
	static _Alignas(64) int lock;
	static _Alignas(64) volatile double sum;
	int word = 0;

	for (long i = 0; i < count; i++) {
		while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0)
			sched_yield();
		sum = sum + 1.0;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
		__atomic_exchange_n(&word, 1, __ATOMIC_SEQ_CST);
	}
}

static void fetch_add(long count)
{
	long old;

	for (long i = 0; i < count; i++)
		ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, cell_at(CELL_COUNTER), 1,
			  bench.target);
	bench.adds += count;
}

static void get_value(long count)
{
	volatile long value;

	for (long i = 0; i < count; i++)
		value = ARMCI_GetValueLong(bench.remote, bench.target);
	(void)value;
}

static void nb_get_8(long count)
{
	armci_hdl_t handle;

	ARMCI_INIT_HANDLE(&handle);
	for (long i = 0; i < count; i++) {
		ARMCI_NbGet(bench.remote, bench.local, 8, bench.target, &handle);
		ARMCI_Wait(&handle);
	}
}

static void get(long count)
{
	for (long i = 0; i < count; i++)
		ARMCI_Get(bench.remote, bench.local, bench.bytes, bench.target);
}

static void put(long count)
{
	for (long i = 0; i < count; i++) {
		ARMCI_Put(bench.local, bench.remote + AREA_BYTES, bench.bytes, bench.target);
		ARMCI_Fence(bench.target);
	}
}

static void memcpy_get(long count)
{
	for (long i = 0; i < count; i++) {
		memcpy(bench.local, bench.mapping, (size_t)bench.bytes);
		__asm__ volatile("" ::: "memory");
	}
}

static void memcpy_put(long count)
{
	for (long i = 0; i < count; i++) {
		memcpy(bench.mapping + AREA_BYTES, bench.local, (size_t)bench.bytes);
		__asm__ volatile("" ::: "memory");
	}
}

/* Many puts under way at once, complete at the target at the end. */
static void put_bulk(long count)
{
	for (long i = 0; i < count; i++)
		ARMCI_NbPut(bench.local, bench.remote + AREA_BYTES, BULK_BYTES, bench.target,
			    NULL);
	ARMCI_WaitProc(bench.target);
	ARMCI_Fence(bench.target);
}

static void get_strided(long count)
{
	int counts[2] = {bench.bytes, bench.rows}, source = ROW_STRIDE,
	    destination = bench.bytes;

	for (long i = 0; i < count; i++)
		ARMCI_GetS(bench.remote, &source, bench.local, &destination, counts, 1,
			   bench.target);
}

static void put_strided(long count)
{
	int counts[2] = {bench.bytes, bench.rows}, source = bench.bytes,
	    destination = ROW_STRIDE;

	for (long i = 0; i < count; i++) {
		ARMCI_PutS(bench.local, &source, bench.remote + AREA_BYTES, &destination,
			   counts, 1, bench.target);
		ARMCI_Fence(bench.target);
	}
}

/* What get_strided() and put_strided() do, by hand. */
static void plain_get_rows(long count)
{
	for (long i = 0; i < count; i++) {
		for (int row = 0; row < bench.rows; row++)
			memcpy(bench.local + row * bench.bytes,
			       bench.mapping + row * ROW_STRIDE, (size_t)bench.bytes);
		__asm__ volatile("" ::: "memory");
	}
}

static void plain_put_rows(long count)
{
	for (long i = 0; i < count; i++) {
		for (int row = 0; row < bench.rows; row++)
			memcpy(bench.mapping + AREA_BYTES + row * ROW_STRIDE,
			       bench.local + row * bench.bytes, (size_t)bench.bytes);
		__asm__ volatile("" ::: "memory");
	}
}

static void acc_strided(long count)
{
	int counts[2] = {bench.bytes, bench.rows}, source = bench.bytes,
	    destination = ROW_STRIDE;
	double scale = 1.0;

	for (long i = 0; i < count; i++) {
		ARMCI_AccS(ARMCI_ACC_DBL, &scale, bench.local, &source,
			   bench.remote + AREA_BYTES, &destination, counts, 1, bench.target);
		ARMCI_Fence(bench.target);
	}
}

/* A vector of segments ROW_STRIDE apart there, packed here. */
static armci_giov_t vector_of(char *strided, void **there, void **here)
{
	for (int i = 0; i < VECTOR_SEGMENTS; i++) {
		there[i] = strided + (ptrdiff_t)i * ROW_STRIDE;
		here[i] = bench.local + (ptrdiff_t)i * VECTOR_BYTES;
	}
	return (armci_giov_t){.bytes = VECTOR_BYTES, .ptr_array_len = VECTOR_SEGMENTS};
}

static void get_vector(long count)
{
	void *there[VECTOR_SEGMENTS], *here[VECTOR_SEGMENTS];
	armci_giov_t vector = vector_of(bench.remote, there, here);

	vector.src_ptr_array = there;
	vector.dst_ptr_array = here;
	for (long i = 0; i < count; i++)
		ARMCI_GetV(&vector, 1, bench.target);
}

static void put_vector(long count)
{
	void *there[VECTOR_SEGMENTS], *here[VECTOR_SEGMENTS];
	armci_giov_t vector = vector_of(bench.remote + AREA_BYTES, there, here);

	vector.src_ptr_array = here;
	vector.dst_ptr_array = there;
	for (long i = 0; i < count; i++) {
		ARMCI_PutV(&vector, 1, bench.target);
		ARMCI_Fence(bench.target);
	}
}

static void lock_unlock(long count)
{
	for (long i = 0; i < count; i++) {
		ARMCI_Lock(0, bench.target);
		ARMCI_Unlock(0, bench.target);
	}
}

static void malloc_free(long count)
{
	void **bases = malloc((size_t)bench.nproc * sizeof(*bases));

	for (long i = 0; bases && i < count; i++) {
		if (ARMCI_Malloc(bases, ALLOC_BYTES) != 0)
			fail("ARMCI_Malloc finds no memory");
		ARMCI_Free(bases[bench.me]);
	}
	free(bases);
}

static void barrier(long count)
{
	for (long i = 0; i < count; i++)
		ARMCI_Barrier();
}

/* Where ranks share a core, the least that a barrier takes: each has had its turn. */
static void plain_turns(long count)
{
	for (long i = 0; i < count; i++)
		sched_yield();
}

static void dgop_1(long count)
{
	for (long i = 0; i < count; i++)
		armci_msg_dgop(bench.reduced, 1, "max");
}

static void dgop_1024(long count)
{
	for (long i = 0; i < count; i++)
		armci_msg_dgop(bench.reduced, DGOP_MAX, "max");
}

/* ---- Groups of measurements ---- */

/* Rank 0 times, the others wait in a barrier of the library's own. */
static void one_sided(struct measure *bodies, int count)
{
	if (bench.me == 0)
		measure_run(bodies, count, false, &bench.options);
	ARMCI_Barrier();
}

static void one(const char *name, measure_body_fn *body)
{
	one_sided(&(struct measure){.name = name, .body = body}, 1);
}

static void collective(const char *name, measure_body_fn *body)
{
	measure_run(&(struct measure){.name = name, .body = body}, 1, true, &bench.options);
	ARMCI_Barrier();
}

static void group_small(void)
{
	one("get 8", get_8);
	one("put+fence 8", put_8);
	one("acc+fence 8", acc_8);
	one("plain acc+fence 8", plain_acc);
	one("fetch-add", fetch_add);
	one("get value", get_value);
	one("nb get+wait 8", nb_get_8);
}

static void group_strided(void)
{
	static const struct {
		int rows, bytes;
	} shapes[] = {{16, 64}, {64, 512}};
	char name[64];

	for (int i = 0; i < 2; i++) {
		bench.rows = shapes[i].rows;
		bench.bytes = shapes[i].bytes;
		snprintf(name, sizeof(name), "get strided %dx%d", bench.rows, bench.bytes);
		one(name, get_strided);
		snprintf(name, sizeof(name), "put+fence strided %dx%d", bench.rows,
			 bench.bytes);
		one(name, put_strided);
		snprintf(name, sizeof(name), "acc+fence strided %dx%d", bench.rows,
			 bench.bytes);
		one(name, acc_strided);
		if (!bench.mapping)
			continue;
		snprintf(name, sizeof(name), "plain get strided %dx%d", bench.rows,
			 bench.bytes);
		one(name, plain_get_rows);
		snprintf(name, sizeof(name), "plain put+fence strided %dx%d", bench.rows,
			 bench.bytes);
		one(name, plain_put_rows);
	}
	one("get vector 32x64", get_vector);
	one("put+fence vector 32x64", put_vector);
}

/* Contiguous transfers, and memcpy of the same bytes between the same processes, in turn. */
static void group_contiguous(void)
{
	static const int sizes[] = {4096, 65536, 1 << 20, 16 << 20};
	char names[4][64];

	for (int i = 0; i < 4; i++) {
		int count = bench.mapping ? 2 : 1;

		bench.bytes = sizes[i];
		snprintf(names[0], sizeof(names[0]), "get %d", bench.bytes);
		snprintf(names[1], sizeof(names[1]), "memcpy get %d", bench.bytes);
		snprintf(names[2], sizeof(names[2]), "put+fence %d", bench.bytes);
		snprintf(names[3], sizeof(names[3]), "memcpy put %d", bench.bytes);
		one_sided((struct measure[]){{.name = names[0], .body = get},
					     {.name = names[1], .body = memcpy_get}},
			  count);
		one_sided((struct measure[]){{.name = names[2], .body = put},
					     {.name = names[3], .body = memcpy_put}},
			  count);
	}
}

static void group_bulk(void)
{
	one_sided(&(struct measure){.name = "nb put 65536",
				    .body = put_bulk,
				    .least = BULK_BATCH},
		  1);
}

static void group_mutex(void)
{
	if (ARMCI_Create_mutexes(1) != 0)
		fail("ARMCI_Create_mutexes fails");
	ARMCI_Barrier();
	one("lock+unlock", lock_unlock);
	ARMCI_Destroy_mutexes();
}

static void group_alloc(void)
{
	collective("malloc+free 65536", malloc_free);
}

static void group_barrier(void)
{
	collective("barrier", barrier);
	if (bench.nproc > (int)sysconf(_SC_NPROCESSORS_ONLN))
		collective("plain barrier", plain_turns);
}

static void group_reduce(void)
{
	collective("dgop 1", dgop_1);
	collective("dgop 1024", dgop_1024);
}

static void compute_for(double seconds)
{
	double end = measure_clock_ns() + seconds * 1e9;
	volatile double sum = 0;

	while (measure_clock_ns() < end)
		for (int i = 1; i < 20000; i++)
			sum = sum + 1.0 / i;
}

/* Single operations after pauses, while the target computes. */
static void busy(const char *name, measure_body_fn *body)
{
	static double samples[BUSY_SAMPLES_MAX];
	struct timespec pause = {.tv_nsec = 10000000};
	long count = 0;
	char line[64];
	double end;

	ARMCI_Barrier();
	if (bench.me == bench.target)
		compute_for(bench.busy_s);
	end = measure_clock_ns() + bench.busy_s * 0.8e9;
	while (bench.me == 0 && count < BUSY_SAMPLES_MAX && measure_clock_ns() < end) {
		double begin;

		nanosleep(&pause, NULL);
		begin = measure_clock_ns();
		body(1);
		samples[count++] = measure_clock_ns() - begin;
	}
	snprintf(line, sizeof(line), "busy %s", name);
	measure_print(line, samples, count, 1);
	ARMCI_Barrier();
}

static void group_busy(void)
{
	busy("get 8", get_8);
	busy("fetch-add", fetch_add);
	busy("acc+fence 8", acc_8);
}

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{"small", group_small},
	{"strided", group_strided},
	{"contiguous", group_contiguous},
	{"bulk", group_bulk},
	{"mutex", group_mutex},
	{"alloc", group_alloc},
	{"barrier", group_barrier},
	{"reduce", group_reduce},
	{"busy", group_busy},
};

/* ---- Begin and end ---- */

/* Map plain memory of the target here, at the same offset in a page as its segment, for memcpy.
 */
static void map_target(void)
{
	size_t size = CELLS_AT + 4096, offset = (uintptr_t)bench.segments[bench.target] & 4095;
	char path[64] = "";
	char *mapping;
	int fd = -1;

	if (bench.me == bench.target) {
		fd = memfd_create("armci_ops", 0);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			fail("cannot make memory to share");
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	}
	MPI_Bcast(path, sizeof(path), MPI_CHAR, bench.target, MPI_COMM_WORLD);
	if (bench.me == 0 && bench.target != 0)
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mapping == MAP_FAILED)
			fail("cannot map the target's memory");
		if (bench.me == bench.target)
			memset(mapping, 1, size);
		bench.mapping = mapping + offset;
	} else if (bench.me == 0) {
		fail("cannot open the target's memory");
	}
	MPI_Barrier(MPI_COMM_WORLD);
	if (fd >= 0)
		close(fd);
}

static void begin(void)
{
	size_t size = CELLS_AT + CELL_COUNT * CELL_BYTES;
	MPI_Comm node;
	int here;

	MPI_Comm_rank(MPI_COMM_WORLD, &bench.me);
	MPI_Comm_size(MPI_COMM_WORLD, &bench.nproc);
	bench.target = bench.nproc > 1 ? 1 : 0;
	bench.segments = calloc((size_t)bench.nproc, sizeof(*bench.segments));
	if (!bench.segments || ARMCI_Malloc((void **)bench.segments, (armci_size_t)size) != 0)
		fail("ARMCI_Malloc finds no memory");
	bench.local = ARMCI_Malloc_local((armci_size_t)AREA_BYTES);
	if (!bench.local)
		fail("ARMCI_Malloc_local finds no memory");
	bench.remote = bench.segments[bench.target];
	ARMCI_Access_begin(bench.segments[bench.me]);
	memset(bench.segments[bench.me], 0, size);
	ARMCI_Access_end(bench.segments[bench.me]);
	memset(bench.local, 0, AREA_BYTES);
	MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
	MPI_Comm_size(node, &here);
	MPI_Comm_free(&node);
	if (here == bench.nproc && bench.target != 0)
		map_target();
	ARMCI_Barrier();
}

/* The target's cells must hold what was added to them: nothing was timed that did not happen.
 */
static void end(void)
{
	double sum = -1;
	long counter = -1;

	ARMCI_Barrier();
	if (bench.me == 0) {
		ARMCI_Get(cell_at(CELL_ACC), &sum, sizeof(sum), bench.target);
		ARMCI_Get(cell_at(CELL_COUNTER), &counter, sizeof(counter), bench.target);
		if (counter != bench.adds || fabs(sum - (double)bench.accs) > 0.5)
			fail("the target's counters are wrong");
		printf("verified\n");
	}
	ARMCI_Barrier();
	ARMCI_Free_local(bench.local);
	ARMCI_Free(bench.segments[bench.me]);
	free(bench.segments);
}

/* Options: batch=MICROSECONDS budget=MILLISECONDS busy=SECONDS single, and names of groups. */
static void word(const char *text)
{
	size_t count = sizeof(groups) / sizeof(groups[0]);

	if (strncmp(text, "batch=", 6) == 0) {
		bench.options.batch_ns = atof(text + 6) * 1e3;
		return;
	}
	if (strncmp(text, "budget=", 7) == 0) {
		bench.options.budget_ns = atof(text + 7) * 1e6;
		return;
	}
	if (strncmp(text, "busy=", 5) == 0) {
		bench.busy_s = atof(text + 5);
		return;
	}
	if (strcmp(text, "single") == 0) {
		bench.options.single = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, groups[i].name) == 0) {
			groups[i].run();
			return;
		}
	}
	fail("unknown argument");
}

int main(int argc, char **argv)
{
	MPI_Init(&argc, &argv);
	if (ARMCI_Init() != 0)
		return 1;
	begin();
	for (int i = 1; i < argc; i++)
		word(argv[i]);
	end();
	ARMCI_Finalize();
	/* Without it ranks of Open MPI 4.1 crash now and then: others have ended already. */
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Finalize();
	return 0;
}
