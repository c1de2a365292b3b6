/* SPDX-License-Identifier: BSD-3-Clause */
/* armci_info: version, settings, transports and devices of libarmci on this machine, as tables
 * or JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <infiniband/verbs.h>
#include <jansson.h>
#include <mpi.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/core/settings.h"
#include "armci/transport/ofi/libfabric.h"
#include "armci/transport/transport.h"

enum { GIDS_MAX = 256 };

/* Everything is collected as JSON first; the tables are printed from it. */

static json_t *checked(json_t *value)
{
	if (!value) {
		fputs("armci_info: out of memory\n", stderr);
		exit(1);
	}
	return value;
}

static void append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, checked(value)) < 0)
		checked(NULL);
}

static void set(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, checked(value)) < 0)
		checked(NULL);
}

/* ---- collecting ---- */

/* "Open MPI v4.1.4": the first line, up to a comma, without runs of blanks. */
static json_t *collect_mpi(void)
{
	char text[MPI_MAX_LIBRARY_VERSION_STRING] = "", line[128];
	size_t used = 0;
	int bytes;

	MPI_Get_library_version(text, &bytes); /* may be called before MPI_Init */
	for (const char *at = text; *at && *at != '\n' && *at != ',' && used + 2 < sizeof(line);
	     at++) {
		bool blank = *at == ' ' || *at == '\t';

		if (!blank)
			line[used++] = *at;
		else if (used && line[used - 1] != ' ')
			line[used++] = ' ';
	}
	line[used] = 0;
	return json_string(line);
}

static json_t *collect_settings(void)
{
	json_t *all = checked(json_array());
	struct setting_view view;

	for (size_t i = 0; settings_view(i, &view); i++)
		append(all, json_pack("{s:s, s:s, s:s, s:s}", "name", view.name, "value",
				      view.value, "default", view.def, "doc", view.doc));
	return all;
}

/* The only way to know whether a transport works is to open it. */
static json_t *collect_transport(const struct transport_ops *ops)
{
	struct transport_config config = {.clients = 1,
					  .message_bytes = (size_t)settings.message_bytes,
					  .credits = (int)settings.credits};
	struct transport *transport;
	struct err err = ERR_INIT;
	char text[512] = "";
	bool available = ops->open(&config, &transport, &err) == 0;

	if (available) {
		ops->describe(transport, text, sizeof(text));
		ops->close(transport);
	}
	return json_pack("{s:s, s:b, s:s}", "name", ops->name, "available", available, "detail",
			 available ? text : err.msg);
}

static const char *gid_type(uint32_t type)
{
	switch (type) {
	case IBV_GID_TYPE_IB: return "IB";
	case IBV_GID_TYPE_ROCE_V1: return "RoCE v1";
	case IBV_GID_TYPE_ROCE_V2: return "RoCE v2";
	default: return "?";
	}
}

static json_t *collect_gids(struct ibv_context *context, uint32_t port)
{
	static struct ibv_gid_entry entries[GIDS_MAX];
	json_t *all = checked(json_array());
	ssize_t count = ibv_query_gid_table(context, entries, GIDS_MAX, 0);

	for (ssize_t i = 0; i < count; i++) {
		char text[INET6_ADDRSTRLEN];

		if (entries[i].port_num != port)
			continue;
		inet_ntop(AF_INET6, entries[i].gid.raw, text, sizeof(text));
		append(all, json_pack("{s:i, s:s, s:s}", "index", (int)entries[i].gid_index,
				      "type", gid_type(entries[i].gid_type), "gid", text));
	}
	return all;
}

static void collect_ports(json_t *all, struct ibv_context *context, const char *name)
{
	struct ibv_device_attr device;

	if (ibv_query_device(context, &device) != 0)
		return;
	for (uint8_t port = 1; port <= device.phys_port_cnt; port++) {
		struct ibv_port_attr attr;
		json_t *entry;

		if (ibv_query_port(context, port, &attr) != 0)
			continue;
		entry = checked(json_pack(
			"{s:s, s:i, s:s, s:s, s:i, s:i}", "name", name, "port", (int)port,
			"state", ibv_port_state_str(attr.state), "link",
			attr.link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "InfiniBand",
			"mtu", 128 << attr.active_mtu, "lid", (int)attr.lid));
		set(entry, "gids", collect_gids(context, port));
		append(all, entry);
	}
}

static json_t *collect_devices(void)
{
	json_t *all = checked(json_array());
	struct ibv_device **list = ibv_get_device_list(NULL);

	for (int i = 0; list && list[i]; i++) {
		const char *name = ibv_get_device_name(list[i]);
		struct ibv_context *context = ibv_open_device(list[i]);

		if (!context) {
			append(all,
			       json_pack("{s:s, s:i, s:s, s:s, s:i, s:i, s:[]}", "name", name,
					 "port", 0, "state", "cannot be opened by this user",
					 "link", "?", "mtu", 0, "lid", 0, "gids"));
			continue;
		}
		collect_ports(all, context, name);
		ibv_close_device(context);
	}
	if (list)
		ibv_free_device_list(list);
	return all;
}

static bool listed(const json_t *all, const char *provider, const char *domain)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(all, i, entry)
	{
		if (strcmp(json_string_value(json_object_get(entry, "name")), provider) == 0 &&
		    strcmp(json_string_value(json_object_get(entry, "domain")), domain) == 0)
			return true;
	}
	return false;
}

/* Providers that have what the ofi transport needs. */
static json_t *collect_providers(void)
{
	json_t *all = checked(json_array());
	struct fi_info *hints, *found = NULL;
	struct err err;

	if (libfabric_load(&err) != 0)
		return all;
	hints = libfabric.dupinfo(NULL);
	if (!hints)
		checked(NULL);
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = FI_EP_RDM;
	hints->domain_attr->threading = FI_THREAD_SAFE;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED |
				      FI_MR_PROV_KEY | FI_MR_ENDPOINT;
	if (libfabric.getinfo(FI_VERSION(1, 15), NULL, NULL, 0, hints, &found) != 0)
		found = NULL;
	for (const struct fi_info *info = found; info; info = info->next) {
		const char *provider = info->fabric_attr->prov_name;
		const char *domain = info->domain_attr->name;

		if (!listed(all, provider, domain))
			append(all,
			       json_pack("{s:s, s:s}", "name", provider, "domain", domain));
	}
	libfabric.freeinfo(hints);
	if (found)
		libfabric.freeinfo(found);
	return all;
}

static json_t *collect(void)
{
	json_t *all = checked(json_pack("{s:s}", "version", STASIS_VERSION));
	json_t *transports = checked(json_array());

	append(transports, collect_transport(&transport_verbs));
	append(transports, collect_transport(&transport_ofi));
	set(all, "mpi", collect_mpi());
	set(all, "settings", collect_settings());
	set(all, "transports", transports);
	set(all, "devices", collect_devices());
	set(all, "providers", collect_providers());
	return all;
}

/* ---- printing ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int number_of(const json_t *object, const char *key)
{
	return (int)json_integer_value(json_object_get(object, key));
}

static int width_of(const json_t *array, const char *key, const char *title)
{
	size_t most = strlen(title), i;
	const json_t *entry;

	json_array_foreach(array, i, entry)
	{
		size_t len = strlen(text_of(entry, key));

		if (len > most)
			most = len;
	}
	return (int)most;
}

static void print_settings(const json_t *all)
{
	int name = width_of(all, "name", "SETTING"), value = width_of(all, "value", "VALUE");
	int def = width_of(all, "default", "DEFAULT");
	const json_t *entry;
	size_t i;

	printf("\n%-*s  %-*s  %-*s  MEANING\n", name, "SETTING", value, "VALUE", def,
	       "DEFAULT");
	json_array_foreach(all, i, entry)
	{
		printf("%-*s  %-*s  %-*s  %s\n", name, text_of(entry, "name"), value,
		       text_of(entry, "value"), def, text_of(entry, "default"),
		       text_of(entry, "doc"));
	}
}

static void print_transports(const json_t *all)
{
	const json_t *entry;
	size_t i;

	printf("\nTRANSPORT  USABLE  DETAIL\n");
	json_array_foreach(all, i, entry)
	{
		printf("%-9s  %-6s  %s\n", text_of(entry, "name"),
		       json_is_true(json_object_get(entry, "available")) ? "yes" : "no",
		       text_of(entry, "detail"));
	}
}

static void print_gids(const json_t *gids)
{
	const json_t *gid;
	size_t i;

	json_array_foreach(gids, i, gid)
	{
		printf("    GID %-3d  %-7s  %s\n", number_of(gid, "index"),
		       text_of(gid, "type"), text_of(gid, "gid"));
	}
}

static void print_devices(const json_t *all)
{
	int name = width_of(all, "name", "DEVICE"), state = width_of(all, "state", "STATE");
	const json_t *entry;
	size_t i;

	if (json_array_size(all) == 0) {
		printf("\nNo InfiniBand or RoCE device.\n");
		return;
	}
	printf("\n%-*s  PORT  %-*s  LINK        MTU   LID\n", name, "DEVICE", state, "STATE");
	json_array_foreach(all, i, entry)
	{
		printf("%-*s  %-4d  %-*s  %-10s  %-4d  %d\n", name, text_of(entry, "name"),
		       number_of(entry, "port"), state, text_of(entry, "state"),
		       text_of(entry, "link"), number_of(entry, "mtu"),
		       number_of(entry, "lid"));
		print_gids(json_object_get(entry, "gids"));
	}
}

static void print_providers(const json_t *all)
{
	int name = width_of(all, "name", "PROVIDER");
	const json_t *entry;
	size_t i;

	if (json_array_size(all) == 0) {
		printf("\nlibfabric has no provider that the ofi transport could use.\n");
		return;
	}
	printf("\n%-*s  DOMAIN\n", name, "PROVIDER");
	json_array_foreach(all, i, entry)
	{
		printf("%-*s  %s\n", name, text_of(entry, "name"), text_of(entry, "domain"));
	}
}

static void print_tables(const json_t *all)
{
	printf("libarmci %s for %s\n", text_of(all, "version"), text_of(all, "mpi"));
	print_settings(json_object_get(all, "settings"));
	print_transports(json_object_get(all, "transports"));
	print_devices(json_object_get(all, "devices"));
	print_providers(json_object_get(all, "providers"));
}

static int print_all(bool as_json)
{
	struct err err = ERR_INIT;
	json_t *all;

	if (settings_read(&err) < 0) {
		fprintf(stderr, "armci_info: %s\n", err.msg);
		return 1;
	}
	all = collect();
	if (as_json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_tables(all);
	}
	json_decref(all);
	return 0;
}

/* ---- options ---- */

static const char help[] =
	"Usage: armci_info [--json]\n"
	"\n"
	"Shows libarmci's version, settings, transports and devices on this machine.\n"
	"\n"
	"  --json         print one JSON document\n"
	"  -h, --help     print this\n"
	"  -V, --version  print the version\n";

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "armci_info: %s: %s; try armci_info --help\n", what, which);
	return 2;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{0}};
	bool as_json = false;
	int c, rc = 0;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (c) {
		case 'j': as_json = true; break;
		case 'h': fputs(help, stdout); return 0;
		case 'V': printf("armci_info %s\n", STASIS_VERSION); return 0;
		default: return usage("no such option", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return usage("nothing is expected besides options", argv[optind]);
	rc = print_all(as_json);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "armci_info: writing the output: %s\n", strerror(errno));
		return 1;
	}
	return rc;
}
