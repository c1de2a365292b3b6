/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of the job: one sentence on standard error, then abort. */
#ifndef STASIS_ARMCI_CORE_FAIL_H
#define STASIS_ARMCI_CORE_FAIL_H

/*
 * Print "armci: rank R: <sentence>" as one write and end the job: MPI_Abort from a thread that
 * may call MPI, _exit(1) from the service thread (fail_in_service_thread). Before ARMCI_Init
 * the rank is MPI's if MPI is initialised, "rank ?" if not. The sentence begins with the call:
 * "ARMCI_Put(src 0x…, dst 0x…, 8 bytes, rank 3): …".
 */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same with an exit code of the application's choice. */
_Noreturn void fail_with(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The calling thread may not call MPI. */
void fail_in_service_thread(void);

#endif
