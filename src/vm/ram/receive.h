/* SPDX-License-Identifier: BSD-3-Clause */
/* A background snapshot as it arrives: RAM into its capture, the devices into a file. */
#ifndef STASIS_VM_RAM_RECEIVE_H
#define STASIS_VM_RAM_RECEIVE_H

#include "base/err.h"
#include "vm/ram/capture.h"

/*
 * Read the stream to its end. RAM, the block of that name, goes into staging; the devices'
 * sections to the end of the file `state_fd`. The VM's writes to RAM may wait for this, so it
 * waits for nothing but the stream (-ETIMEDOUT when that says nothing for long) and for `pace`,
 * which is called between two pieces and may be NULL.
 */
typedef void (*ram_receive_pace_fn)(void *arg);
int ram_receive(int stream_fd, const char *block, struct ram_capture *capture, int state_fd,
		ram_receive_pace_fn pace, void *arg, struct err *err);

/* Read the stream to its end for nothing: whoever writes it must not be left alone with it. */
void ram_receive_nothing(int stream_fd);

#endif
