/* SPDX-License-Identifier: BSD-3-Clause */
/* Between a cluster and the manifest of its checkpoint (docs/formats/manifest.md). */
#include "daemon/manifest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/members.h"
#include "store/manifest.h"

static json_t *vms_json(const struct cluster *cluster, const struct manifest_doc *doc)
{
	json_t *vms = json_array();

	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		json_array_append_new(
			vms, json_pack("{s:s,s:i,s:I,s:i,s:o,s:o,s:o}", "name",
				       cluster->nodes[i].config.name, "index", (int)i,
				       "memory_bytes", (json_int_t)cluster->spec.memory_bytes,
				       "cpus", (int)cluster->spec.cpus, "ram",
				       stream_ref_to_json(&doc->vms[i].ram), "state",
				       stream_ref_to_json(&doc->vms[i].state), "disk",
				       stream_ref_to_json(&doc->vms[i].disk)));
	return vms;
}

static json_t *phases_json(const struct manifest_doc *doc)
{
	json_t *phases = json_array();

	for (size_t i = 0; i < doc->phase_count; i++)
		json_array_append_new(phases,
				      json_pack("{s:s,s:I,s:I}", "name", doc->phases[i].name,
						"start_ns", (json_int_t)doc->phases[i].start_ns,
						"duration_ns",
						(json_int_t)doc->phases[i].duration_ns));
	return phases;
}

static json_t *cost_json(const struct store_cost *cost)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "logical_bytes",
			 (json_int_t)cost->logical_bytes, "data_bytes",
			 (json_int_t)cost->data_bytes, "taken_bytes",
			 (json_int_t)cost->taken_bytes, "new_bytes",
			 (json_int_t)cost->new_bytes, "stored_bytes",
			 (json_int_t)cost->stored_bytes, "hash_ns", (json_int_t)cost->hash_ns,
			 "compress_ns", (json_int_t)cost->compress_ns, "write_ns",
			 (json_int_t)cost->write_ns, "threads", (json_int_t)cost->threads);
}

static json_t *images_json(const struct image_refs *image)
{
	json_t *disk = stream_ref_to_json(&image->disk);

	if (disk)
		json_object_set_new(disk, "format", json_string(image->disk_format));
	return json_pack("{s:o,s:o,s:o}", "kernel", stream_ref_to_json(&image->kernel),
			 "initrd", stream_ref_to_json(&image->initrd), "disk", disk);
}

json_t *manifest_make(struct cluster *cluster, const struct manifest_doc *doc)
{
	char host[65] = "";
	json_t *manifest, *machine;

	gethostname(host, sizeof(host) - 1);
	pthread_mutex_lock(&the_daemon.lock);
	machine = members_machine_to_json(&cluster->machine);
	if (machine)
		json_object_set_new(machine, "cmdline", json_string(doc->image.cmdline));
	manifest = json_pack(
		"{s:s,s:s,s:I,s:s,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:I,s:I,s:b,s:O?,s:O?,s:o}",
		"cluster", cluster->spec.name, "tag", doc->tag ? doc->tag : "", "created_ns",
		(json_int_t)doc->created_ns, "host", host, "stasis_version", STASIS_VERSION,
		"spec", spec_to_json(&cluster->spec), "image_dir", cluster->image_dir,
		"machine", machine, "images", images_json(&doc->image), "vms",
		vms_json(cluster, doc), "phases", phases_json(doc), "pause_ns",
		(json_int_t)doc->pause_ns, "total_ns", (json_int_t)doc->total_ns,
		"pause_includes_write", (int)doc->pause_includes_write, "run", cluster->run,
		"fabric", doc->fabric, "cost", cost_json(&doc->cost));
	pthread_mutex_unlock(&the_daemon.lock);
	return manifest;
}

static int vms_from_json(const json_t *vms, const struct spec *spec,
			 struct manifest_vm *ret_vms, struct err *err)
{
	int rc = 0;

	if (json_array_size(vms) != spec->vms)
		return err_set(err, EPROTO, "it has %zu VMs, its description says %u",
			       json_array_size(vms), spec->vms);
	for (unsigned int i = 0; i < spec->vms && rc == 0; i++) {
		const json_t *vm = json_array_get(vms, i);

		rc = stream_ref_from_json(json_object_get(vm, "ram"), &ret_vms[i].ram, err);
		if (rc == 0)
			rc = stream_ref_from_json(json_object_get(vm, "state"),
						  &ret_vms[i].state, err);
		if (rc == 0)
			rc = stream_ref_from_json(json_object_get(vm, "disk"), &ret_vms[i].disk,
						  err);
		if (rc == 0 && ret_vms[i].ram.logical_bytes != spec->memory_bytes)
			rc = err_set(err, EPROTO, "vm%u's RAM is not of its memory's size", i);
	}
	return rc;
}

static int image_from_json(const json_t *manifest, struct image_refs *ret_image,
			   struct err *err)
{
	const json_t *images = json_object_get(manifest, "images");
	const json_t *disk = json_object_get(images, "disk");
	int rc = stream_ref_from_json(json_object_get(images, "kernel"), &ret_image->kernel,
				      err);

	if (rc == 0)
		rc = stream_ref_from_json(json_object_get(images, "initrd"), &ret_image->initrd,
					  err);
	if (rc == 0)
		rc = stream_ref_from_json(disk, &ret_image->disk, err);
	if (rc == 0)
		rc = members_get_text(disk, "format", ret_image->disk_format,
				      sizeof(ret_image->disk_format), err);
	if (rc == 0)
		rc = members_get_text(json_object_get(manifest, "machine"), "cmdline",
				      ret_image->cmdline, sizeof(ret_image->cmdline), err);
	return rc;
}

int manifest_restore(const json_t *manifest, struct manifest_restore *ret_restore,
		     struct err *err)
{
	const json_t *run = json_object_get(manifest, "run");
	int rc = spec_from_json(json_object_get(manifest, "spec"), &ret_restore->spec, err);

	if (rc == 0)
		rc = members_machine_from_json(json_object_get(manifest, "machine"),
					       &ret_restore->machine, err);
	if (rc == 0)
		rc = image_from_json(manifest, &ret_restore->image, err);
	if (rc == 0)
		rc = members_get_text(manifest, "image_dir", ret_restore->image_dir,
				      sizeof(ret_restore->image_dir), err);
	if (rc == 0)
		rc = vms_from_json(json_object_get(manifest, "vms"), &ret_restore->spec,
				   ret_restore->vms, err);
	ret_restore->run = rc == 0 && json_is_object(run) ? json_deep_copy(run) : NULL;
	return rc;
}
