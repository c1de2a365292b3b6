/* SPDX-License-Identifier: BSD-3-Clause */
/* Templates: a VM booted once, kept in the cache, of which clusters are made by cloning. */
#ifndef STASIS_DAEMON_TEMPLATE_H
#define STASIS_DAEMON_TEMPLATE_H

#include "base/err.h"
#include "daemon/daemon.h"
#include "store/simg.h"
#include "vm/vm.h"

struct template
{
	char dir[IO_PATH_MAX];
	struct simg_ref ram, state;
};

/* Boot a VM like `like` (its names and network are not looked at), or find its template in the
 * cache. */
int template_get(const struct vm_config *like, struct progress *progress,
		 struct template *ret_template, struct err *err);

/*
 * Make `count` clones: for each a disk.qcow2 in its directory (made) and a memfd filled with
 * the template's RAM. ret_rams has room for `count` descriptors, the caller's after success.
 * ret_state is a memfd of the device state.
 */
int template_clone(const struct template *template, const struct vm_config *configs[],
		   unsigned int count, int *ret_rams, int *ret_state, struct err *err);

/* An empty memfd for a VM's RAM. */
int template_ram_fd(uint64_t bytes, struct err *err);

#endif
