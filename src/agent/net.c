/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's identity: host name, network device, /etc/hosts and mpirun's hostfile. */
#include "agent/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/rdma.h"
#include "base/cleanup.h"
#include "base/io.h"

#define NETDEV   "eth0"
#define HOSTS    "/etc/hosts"
#define HOSTFILE "/etc/stasis/hostfile"

static struct ifreq request_for(const char *device)
{
	struct ifreq req = {0};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	return req;
}

static int set_up(int sock, const char *device, bool up, struct err *err)
{
	struct ifreq req = request_for(device);

	if (ioctl(sock, SIOCGIFFLAGS, &req) < 0)
		return err_sys(err, errno, "there is no network device %s", device);
	if (up)
		req.ifr_flags |= IFF_UP | IFF_RUNNING;
	else
		req.ifr_flags &= (short)~IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &req) < 0)
		return err_sys(err, errno, "cannot turn %s %s", device, up ? "on" : "off");
	return 0;
}

static int set_mac(int sock, const unsigned char mac[ETH_ALEN], struct err *err)
{
	struct ifreq req = request_for(NETDEV);
	int rc;

	if (ioctl(sock, SIOCGIFHWADDR, &req) < 0)
		return err_sys(err, errno, "there is no network device " NETDEV);
	if (memcmp(req.ifr_hwaddr.sa_data, mac, ETH_ALEN) == 0)
		return 0;
	rc = set_up(sock, NETDEV, false, err);
	if (rc < 0)
		return rc;
	req.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(req.ifr_hwaddr.sa_data, mac, ETH_ALEN);
	if (ioctl(sock, SIOCSIFHWADDR, &req) < 0)
		return err_sys(err, errno, "cannot set the MAC address of " NETDEV);
	return 0;
}

static int set_mtu(int sock, int mtu, struct err *err)
{
	struct ifreq req = request_for(NETDEV);

	if (ioctl(sock, SIOCGIFMTU, &req) == 0 && req.ifr_mtu == mtu)
		return 0;
	req.ifr_mtu = mtu;
	if (ioctl(sock, SIOCSIFMTU, &req) < 0)
		return err_sys(err, errno, "cannot set the MTU of " NETDEV " to %d", mtu);
	return 0;
}

/* Set the address that `command` means, unless `query` says that it is set. */
static int set_ipv4(int sock, const char *device, unsigned long query, unsigned long command,
		    struct in_addr address, struct err *err)
{
	struct ifreq req = request_for(device);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = address};
	struct sockaddr_in now = {0};

	if (ioctl(sock, query, &req) == 0) {
		memcpy(&now, &req.ifr_addr, sizeof(now));
		if (now.sin_addr.s_addr == address.s_addr)
			return 0;
	}
	memcpy(&req.ifr_addr, &in, sizeof(in));
	if (ioctl(sock, command, &req) < 0)
		return err_sys(err, errno, "cannot set an address of %s to %s", device,
			       inet_ntoa(address));
	return 0;
}

static int device_configure(const struct request_configure *configure, struct err *err)
{
	struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
	struct in_addr mask = {.s_addr = htonl(UINT32_MAX << (32 - configure->prefix))};
	CLEANUP_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	if (sock < 0)
		return err_sys(err, errno, "cannot make a socket");
	rc = set_ipv4(sock, "lo", SIOCGIFADDR, SIOCSIFADDR, loopback, err);
	if (rc == 0)
		rc = set_up(sock, "lo", true, err);
	if (rc == 0)
		rc = set_mac(sock, configure->mac, err);
	if (rc == 0)
		rc = set_mtu(sock, configure->mtu, err);
	if (rc == 0)
		rc = set_ipv4(sock, NETDEV, SIOCGIFADDR, SIOCSIFADDR, configure->address, err);
	if (rc == 0)
		rc = set_ipv4(sock, NETDEV, SIOCGIFNETMASK, SIOCSIFNETMASK, mask, err);
	if (rc == 0)
		rc = set_up(sock, NETDEV, true, err);
	return rc;
}

/* Replace a small text file with what `print` writes for the peers. */
static int file_write(const char *path, const struct request_configure *configure,
		      void (*print)(FILE *, const struct request_configure *), struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);

	if (!file)
		return err_set(err, ENOMEM, "no memory for %s", path);
	print(file, configure);
	if (fclose(file) != 0)
		return err_set(err, ENOMEM, "no memory for %s", path);
	return io_replace_file(path, text, len, 0644, err);
}

static const char *peer_text(const json_t *peer, const char *key)
{
	return json_string_value(json_object_get(peer, key));
}

static void print_hosts(FILE *file, const struct request_configure *configure)
{
	const json_t *peer;
	bool listed = false;
	size_t i;

	fprintf(file, "127.0.0.1 localhost\n::1 localhost\n");
	json_array_foreach(configure->peers, i, peer)
	{
		const char *name = peer_text(peer, "name");

		fprintf(file, "%s %s\n", peer_text(peer, "address"), name);
		listed = listed || strcmp(name, configure->name) == 0;
	}
	if (!listed)
		fprintf(file, "%s %s\n", inet_ntoa(configure->address), configure->name);
}

static void print_hostfile(FILE *file, const struct request_configure *configure)
{
	const json_t *peer;
	size_t i;

	json_array_foreach(configure->peers, i, peer)
		fprintf(file, "%s slots=%lld\n", peer_text(peer, "name"),
			(long long)json_integer_value(json_object_get(peer, "slots")));
}

int net_configure(const struct request_configure *configure, struct err *err)
{
	int rc;

	if (sethostname(configure->name, strlen(configure->name)) < 0)
		return err_sys(err, errno, "cannot set the host name");
	rc = device_configure(configure, err);
	if (rc == 0)
		rc = file_write(HOSTS, configure, print_hosts, err);
	if (rc == 0)
		rc = io_mkdir_all("/etc/stasis", 0755, err);
	if (rc == 0)
		rc = file_write(HOSTFILE, configure, print_hostfile, err);
	if (rc == 0 && configure->rdma)
		rc = rdma_attach(NETDEV, err);
	return rc;
}
