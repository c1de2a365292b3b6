/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture by comparison: RAM is copied into staging while the VMs run; while they are stopped,
 * device states are saved, and pages whose hashes differ from staging's are copied again. Where
 * staging does not fit, RAM goes straight into the store while they are stopped.
 */
#include "daemon/ckpt.h"
#include "daemon/launch.h"
#include "daemon/staging.h"

int compare_reserve(struct ckpt *ckpt, uint64_t populated_bytes, struct err *err)
{
	return staging_reserve(ckpt->id, populated_bytes, &ckpt->staging_bytes, &ckpt->direct,
			       err);
}

static void captures_of(const struct ckpt *ckpt, struct ram_capture *captures[SPEC_VMS_MAX])
{
	for (unsigned int i = 0; i < ckpt->cluster->spec.vms; i++)
		captures[i] = ckpt->vms[i].capture;
}

static int save_prepare_one(size_t index, void *arg, struct err *err)
{
	struct ckpt *ckpt = arg;

	return vm_save_prepare(ckpt_node(ckpt, index)->vm, ckpt->vms[index].state_fd, err);
}

int compare_precopy(struct ckpt *ckpt, struct err *err)
{
	struct ram_capture *captures[SPEC_VMS_MAX];
	int rc = ckpt_each(ckpt, save_prepare_one, err);

	if (rc < 0 || ckpt->direct)
		return rc;
	rc = ckpt_captures_create(ckpt, err);
	if (rc < 0)
		return rc;
	captures_of(ckpt, captures);
	return staging_precopy(ckpt->id, captures, ckpt->cluster->spec.vms, ckpt->idle_cpus,
			       err);
}

int compare_state(struct ckpt *ckpt, struct err *err)
{
	struct vm *vms[SPEC_VMS_MAX];

	cluster_vms(ckpt->cluster, vms);
	return vm_save_all(vms, ckpt->cluster->spec.vms, err);
}

int compare_ram(struct ckpt *ckpt, struct err *err)
{
	struct ram_capture *captures[SPEC_VMS_MAX];

	if (ckpt->direct)
		return ckpt_put_ram(ckpt, err);
	captures_of(ckpt, captures);
	return staging_finish(ckpt->id, captures, ckpt->cluster->spec.vms, err);
}

int compare_resume(struct ckpt *ckpt, struct err *err)
{
	return ckpt_pause_end(ckpt, launch_resume(ckpt->cluster, err));
}
