/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bridge and taps of the network namespace that the calling process is in.
 *
 * By ioctl, so that no program of iproute2 is needed. A new bridge has the spanning tree
 * protocol off and therefore forwards at once on a new port, whatever its forward delay.
 */
#include "vm/net/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

static const char tun_device[] = "/dev/net/tun";

static int name_set(struct ifreq *request, const char *name, struct err *err)
{
	size_t len = strlen(name);

	memset(request, 0, sizeof(*request));
	if (len == 0 || len >= sizeof(request->ifr_name))
		return err_set(err, EINVAL, "\"%s\" cannot be the name of a network interface",
			       name);
	memcpy(request->ifr_name, name, len);
	return 0;
}

static int control_open(struct err *err)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? err_sys(err, errno, "cannot make a socket") : fd;
}

static int link_set_mtu(int control, const char *name, unsigned int mtu, struct err *err)
{
	struct ifreq request;
	int rc = name_set(&request, name, err);

	if (rc < 0)
		return rc;
	request.ifr_mtu = (int)mtu;
	if (ioctl(control, SIOCSIFMTU, &request) < 0)
		return err_sys(err, errno, "cannot set the MTU of %s to %u", name, mtu);
	return 0;
}

static int link_set_up(int control, const char *name, struct err *err)
{
	struct ifreq request;
	int rc = name_set(&request, name, err);

	if (rc < 0)
		return rc;
	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return err_sys(err, errno, "cannot read the flags of %s", name);
	request.ifr_flags |= IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
		return err_sys(err, errno, "cannot set %s up", name);
	return 0;
}

/* Switch IPv6 off on an interface. Where that cannot be done nothing breaks, there is only some
 * chatter. */
static void link_ipv6_off(const char *name)
{
	char path[128];
	CLEANUP_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)io_write_all(fd, "1", 1, NULL);
}

int link_bridge_create(const char *bridge, unsigned int mtu, struct err *err)
{
	CLEANUP_CLOSE int control = control_open(err);
	int rc;

	if (control < 0)
		return control;
	if (ioctl(control, SIOCBRADDBR, bridge) < 0)
		return err_sys(
			err, errno,
			"cannot make the bridge %s (the kernel needs its module \"bridge\")",
			bridge);
	link_ipv6_off(bridge);
	rc = link_set_mtu(control, bridge, mtu, err);
	if (rc == 0)
		rc = link_set_up(control, bridge, err);
	return rc;
}

int link_tap_possible(struct err *err)
{
	CLEANUP_CLOSE int fd = open(tun_device, O_RDWR | O_CLOEXEC);
	int code = errno;

	if (fd >= 0)
		return 0;
	if (code == EACCES || code == EPERM)
		return err_set(
			err, code,
			"this user may not open %s; have root run: chmod 666 %s (as most "
			"distributions ship it)",
			tun_device, tun_device);
	return err_sys(err, code, "cannot open %s; have root run: modprobe tun", tun_device);
}

static int tap_plug(const char *tap, const char *bridge, struct err *err)
{
	CLEANUP_CLOSE int control = control_open(err);
	struct ifreq request;
	int rc;

	if (control < 0)
		return control;
	rc = name_set(&request, bridge, err);
	if (rc < 0)
		return rc;
	if (ioctl(control, SIOCGIFMTU, &request) < 0)
		return err_sys(err, errno, "cannot read the MTU of %s", bridge);
	rc = link_set_mtu(control, tap, (unsigned int)request.ifr_mtu, err);
	if (rc < 0)
		return rc;
	link_ipv6_off(tap);
	name_set(&request, bridge, NULL);
	request.ifr_ifindex = (int)if_nametoindex(tap);
	if (ioctl(control, SIOCBRADDIF, &request) < 0)
		return err_sys(err, errno, "cannot put %s on %s", tap, bridge);
	return link_set_up(control, tap, err);
}

int link_tap_create(const char *tap, const char *bridge, int *ret_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	struct ifreq request;
	int rc = link_tap_possible(err);

	if (rc == 0)
		rc = name_set(&request, tap, err);
	if (rc < 0)
		return rc;
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	fd = open(tun_device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", tun_device);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return err_sys(err, errno, "cannot make the tap %s", tap);
	rc = tap_plug(tap, bridge, err);
	if (rc < 0)
		return rc;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
