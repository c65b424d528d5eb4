/* SPDX-License-Identifier: MIT */
/*
 * passt is told to end with its connection.  So it ends when its VM does, whatever becomes of us:
 * a signal for the death of a parent would not do, because the kernel forgets that when passt
 * changes its user.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "launch_impl.h"
#include "net_source.h"
#include "vmm/vm/message.h"

#define TUN_DEVICE "/dev/net/tun"
#define USER_MTU   1500
#define NOBODY	   "65534:65534" /* what passt becomes if we are root; it would say so otherwise */

/* ---- a tap ---- */

static int tap_error(const struct net_source *s, int error, struct quire_error *err)
{
	switch (error) {
	case EPERM:
	case EACCES:
		return quire_fail(err, -EPERM,
				  "no permission to use %s: make it this user's, "
				  "ip tuntap add dev %s mode tap user NAME",
				  s->tap, s->tap);
	case EBUSY: return quire_fail(err, -EBUSY, "%s is in use by another program", s->tap);
	case EINVAL:
		return quire_fail(err, -EINVAL,
				  "%s is no tap, or one with several queues: "
				  "ip tuntap add dev NAME mode tap makes one",
				  s->tap);
	default: return quire_fail(err, -error, "cannot use %s: %s", s->tap, strerror(error));
	}
}

/* Its MTU, and a line if nothing can go through it. */
static void look_at_tap(struct net_source *s)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	memcpy(request.ifr_name, s->tap, sizeof(s->tap));
	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFMTU, &request) && request.ifr_mtu <= UINT16_MAX)
		s->mtu = (uint16_t)request.ifr_mtu;
	if (!ioctl(fd, SIOCGIFFLAGS, &request) && !(request.ifr_flags & IFF_UP))
		message("--net: %s is down: ip link set %s up", s->tap, s->tap);
	close(fd);
}

static int open_tap(struct net_source *s, struct quire_error *err)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	memcpy(request.ifr_name, s->tap, sizeof(s->tap));
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	if (!if_nametoindex(s->tap))
		return quire_fail(err, -ENOENT,
				  "there is no %s: ip tuntap add dev %s mode tap makes it", s->tap,
				  s->tap);
	s->fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (s->fd < 0)
		return quire_fail(err, -errno, "cannot open %s: %s", TUN_DEVICE, strerror(errno));
	if (ioctl(s->fd, TUNSETIFF, &request)) {
		int error = errno;

		net_source_close(s);
		return tap_error(s, error, err);
	}
	look_at_tap(s);
	return 0;
}

/* ---- passt ---- */

static bool is_installed(const char *program)
{
	const char *path = getenv("PATH"), *end;
	char file[512];

	for (; path && *path; path = *end ? end + 1 : end) {
		end = strchrnul(path, ':');
		snprintf(file, sizeof(file), "%.*s/%s", (int)(end - path), path, program);
		if (!access(file, X_OK))
			return true;
	}
	return false;
}

/* It hears nothing of our terminal, and prints only errors. */
static _Noreturn void be_passt(int link)
{
	int null = open("/dev/null", O_RDWR);
	char number[16], mtu[16];
	sigset_t none;

	setsid();
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	link = fcntl(link, F_DUPFD, STDERR_FILENO + 1);
	launch_close_all_but(link);
	snprintf(number, sizeof(number), "%d", link);
	snprintf(mtu, sizeof(mtu), "%d", USER_MTU);
	execlp("passt", "passt", "--foreground", "--quiet", "--mtu", mtu, "--fd", number,
	       geteuid() ? NULL : "--runas", NOBODY, (char *)NULL);
	message("--net=user: cannot run passt: %s", strerror(errno));
	_exit(127);
}

static int start_passt(pid_t *helper)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	fflush(NULL);
	*helper = fork();
	if (!*helper)
		be_passt(pair[1]);
	close(pair[1]);
	if (*helper > 0)
		return pair[0];
	*helper = 0;
	close(pair[0]);
	return -EAGAIN;
}

/* ---- both ---- */

int net_source_open(struct net_source *source, struct quire_error *err)
{
	if (source->kind == NET_TAP)
		return open_tap(source, err);
	source->mtu = USER_MTU;
	if (is_installed("passt"))
		return 0;
	return quire_fail(err, -ENOENT, "there is no program passt: apt install passt");
}

void net_source_close(struct net_source *source)
{
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
}

int net_source_attach(const struct net_source *source, pid_t *helper)
{
	int fd;

	*helper = 0;
	if (source->kind == NET_USER)
		return start_passt(helper);
	fd = fcntl(source->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return fd < 0 ? -errno : fd;
}

void net_source_detach(pid_t *helper)
{
	if (*helper <= 0)
		return;
	kill(*helper, SIGKILL);
	waitpid(*helper, NULL, 0);
	*helper = 0;
}
