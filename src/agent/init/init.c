// SPDX-License-Identifier: BSD-3-Clause
/*
 * PID 1 of a guest: loads the modules, mounts the root disk, and keeps the agent running.
 *
 * Design notes
 *
 * It starts in the initramfs, does what a distribution's init does in the one order that a
 * guest of ours needs, and never does more: the agent decides everything else. A boot that
 * cannot go on says why in one line on the console and powers the machine off, so that whoever
 * started it sees an exit rather than a hang.
 *
 * The agent may die at any time; init starts it again and leaves every other process alone.
 * What the dead agent had started becomes init's child and is only reaped.
 *
 * Guests are cloned from one running template. Nothing here may therefore keep an identity of
 * its own: the host name is a fixed one until the agent sets another, and the boot id is never
 * read (the kernel makes it up at the first read, so each clone gets its own if nobody reads it
 * before).
 *
 * Signals, as in other small inits: SIGUSR1 and SIGUSR2 power off, SIGTERM and SIGINT reboot.
 *
 * Kernel command line: stasis.root=DEVICE (/dev/vda), stasis.rootfstype=TYPE (ext4),
 * stasis.probe (say that the machine runs, then power off: this is how the host tries an
 * accelerator).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MODULE_DIR "/modules"
#define INITRD_BIN "/stasis/bin"
#define NEW_ROOT   "/newroot"
#define RUN_BIN    "/run/stasis/bin"
#define AGENT      RUN_BIN "/stasis-agent"

enum {
	ROOT_DEADLINE_MS = 10000, /* how long the root device may take to appear */
	BACKOFF_MIN_MS = 10,      /* wait before the agent's first restart */
	BACKOFF_MAX_MS = 2000,    /* and the longest wait, doubled up to */
	AGENT_STABLE_MS = 5000,   /* an agent that lived this long starts afresh at the least */
	SHUTDOWN_GRACE_MS = 2000, /* between SIGTERM and SIGKILL to everybody */
	SHUTDOWN_KILLED_MS = 1000, /* for the killed to go */
	MOUNTS_MAX = 128,          /* user mounts that shutdown undoes */
};

/* What the kernel command line asks for. */
struct options {
	char root[128];
	char rootfstype[32];
	bool probe;
};

/* The agent as init sees it; times are of CLOCK_BOOTTIME. */
struct agent {
	pid_t pid; /* 0: not running */
	int64_t started_ms;
	int64_t respawn_ms; /* when to start it again */
	int backoff_ms;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One line on the console, in one write so that it is not torn by others. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[512] = "stasis-init: ";
	size_t used = strlen(line);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	used += (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 2;
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* no console: nobody to tell */
}

/* Turns the machine off, or restarts it, once the console has everything. */
__attribute__((noreturn)) static void machine_stop(int how)
{
	tcdrain(STDERR_FILENO);
	sync();
	reboot(how);
	say("cannot stop the machine: %s", strerror(errno));
	for (;;)
		pause();
}

/* The end of a boot that cannot go on; the arguments name the step and the remedy. */
#define die(...)                            \
	do {                                \
		say(__VA_ARGS__);           \
		machine_stop(RB_POWER_OFF); \
	} while (0)

static void mkdir_or_die(const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		die("cannot make the directory %s: %s", path, strerror(errno));
}

static void mount_or_die(const char *type, const char *dir, unsigned long flags,
			 const char *data)
{
	mkdir_or_die(dir, 0755);
	if (mount(type, dir, type, flags, data) < 0)
		die("cannot mount %s on %s: %s", type, dir, strerror(errno));
}

/* Copies the value of word "key=value" into ret when the word has that key. */
static bool option_value(const char *word, const char *key, char *ret, size_t size)
{
	size_t len = strlen(key);

	if (strncmp(word, key, len) != 0 || word[len] != '=')
		return false;
	if (snprintf(ret, size, "%s", word + len + 1) >= (int)size)
		die("the value of %s on the kernel command line is longer than %zu characters",
		    key, size - 1);
	return true;
}

static void options_read(struct options *opt)
{
	char text[4096];
	char *save = NULL;
	ssize_t n;
	int fd;

	*opt = (struct options){.root = "/dev/vda", .rootfstype = "ext4"};
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot read /proc/cmdline: %s", strerror(errno));
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		die("cannot read /proc/cmdline: %s", strerror(errno));
	text[n] = '\0';
	for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		if (strcmp(w, "stasis.probe") == 0)
			opt->probe = true;
		else if (!option_value(w, "stasis.root", opt->root, sizeof(opt->root)))
			option_value(w, "stasis.rootfstype", opt->rootfstype,
				     sizeof(opt->rootfstype));
	}
	if (opt->root[0] != '/')
		die("stasis.root=%s is not an absolute path such as /dev/vda", opt->root);
}

/*
 * Loads one module of the initramfs. A '-' before its name says that the machine may do without
 * it (an accelerated checksum on a CPU that cannot).
 */
static void module_load(const char *name)
{
	bool optional = name[0] == '-';
	char path[256];
	int fd, rc, err;

	if (optional)
		name++;
	snprintf(path, sizeof(path), MODULE_DIR "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot open the module %s: %s", path, strerror(errno));
	rc = (int)syscall(SYS_finit_module, fd, "", 0);
	err = errno;
	close(fd);
	if (rc < 0 && err != EEXIST && !optional)
		die("cannot load the module %s: %s", path, strerror(err));
}

static void modules_load(void)
{
	char line[128];
	FILE *order = fopen(MODULE_DIR "/order", "re");

	if (!order) {
		if (errno == ENOENT)
			return; /* a kernel with all of it built in */
		die("cannot open %s/order: %s", MODULE_DIR, strerror(errno));
	}
	while (fgets(line, sizeof(line), order)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0')
			module_load(line);
	}
	fclose(order);
}

/* Waits for the device node, woken by its creation. */
static void root_wait(const char *root)
{
	int64_t deadline = now_ms() + ROOT_DEADLINE_MS;
	char dir[128], events[4096];
	struct pollfd pfd = {.events = POLLIN};

	if (access(root, F_OK) == 0)
		return;
	snprintf(dir, sizeof(dir), "%s", root);
	*strrchr(dir, '/') = '\0';
	pfd.fd = inotify_init1(IN_CLOEXEC);
	if (pfd.fd < 0 || inotify_add_watch(pfd.fd, dir[0] ? dir : "/", IN_CREATE) < 0)
		die("cannot watch %s for the root device: %s", dir, strerror(errno));
	while (access(root, F_OK) < 0) {
		int64_t left = deadline - now_ms();

		if (left <= 0)
			die("the root device %s did not appear in %d s; give the machine a "
			    "virtio-blk disk, or name its device with stasis.root=",
			    root, ROOT_DEADLINE_MS / 1000);
		if (poll(&pfd, 1, (int)left) > 0 && read(pfd.fd, events, sizeof(events)) < 0)
			die("cannot watch for the root device: %s", strerror(errno));
	}
	close(pfd.fd);
}

static void root_mount(const struct options *opt)
{
	mkdir_or_die(NEW_ROOT, 0755);
	if (mount(opt->root, NEW_ROOT, opt->rootfstype, MS_NOATIME, NULL) < 0)
		die("cannot mount %s as %s: %s; the disk must hold that filesystem directly, "
		    "without a partition table",
		    opt->root, opt->rootfstype, strerror(errno));
}

static int copy_file(const char *from, const char *to, mode_t mode)
{
	int in, out, rc = 0;
	ssize_t n;

	in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (out < 0) {
		rc = -errno;
		close(in);
		return rc;
	}
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	if (n < 0)
		rc = -errno;
	if (close(out) < 0 && rc == 0)
		rc = -errno;
	close(in);
	return rc;
}

/* Copies the programs out of the initramfs, which is about to be freed, to the new root's /run.
 */
static void programs_install(void)
{
	char from[512], to[512], target[256];
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int rc;

	mkdir_or_die(NEW_ROOT "/run/stasis", 0755);
	mkdir_or_die(NEW_ROOT RUN_BIN, 0755);
	dir = opendir(INITRD_BIN);
	if (!dir)
		die("cannot open %s in the initrd: %s", INITRD_BIN, strerror(errno));
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(from, sizeof(from), INITRD_BIN "/%s", entry->d_name);
		snprintf(to, sizeof(to), NEW_ROOT RUN_BIN "/%s", entry->d_name);
		if (lstat(from, &st) < 0)
			die("cannot stat %s: %s", from, strerror(errno));
		if (S_ISLNK(st.st_mode)) {
			ssize_t n = readlink(from, target, sizeof(target) - 1);

			rc = n < 0 ? -errno : 0;
			target[n < 0 ? 0 : n] = '\0';
			if (rc == 0 && symlink(target, to) < 0)
				rc = -errno;
		} else {
			rc = copy_file(from, to, 0755);
		}
		if (rc < 0)
			die("cannot copy %s to /run: %s; give the machine more memory", from,
			    strerror(-rc));
	}
	closedir(dir);
}

/* Removes everything below a directory of the initramfs, without leaving its filesystem. */
static void tree_free(int parent, const char *name, dev_t dev)
{
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int fd;

	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_dev != dev || !(dir = fdopendir(fd))) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0 || errno != EISDIR)
			continue;
		tree_free(fd, entry->d_name, dev);
		unlinkat(fd, entry->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

/* Makes the mounted disk the root and gives the initramfs' memory back. */
static void root_switch(void)
{
	static const char *const carried[] = {"/dev", "/proc", "/sys"};
	char to[64];
	struct stat st;
	int fd;

	mount_or_die("tmpfs", NEW_ROOT "/run", MS_NOSUID | MS_NODEV, "mode=0755");
	programs_install();
	for (size_t i = 0; i < sizeof(carried) / sizeof(carried[0]); i++) {
		snprintf(to, sizeof(to), NEW_ROOT "%s", carried[i]);
		mkdir_or_die(to, 0755);
		if (mount(carried[i], to, NULL, MS_MOVE, NULL) < 0)
			die("cannot move %s to the new root: %s", carried[i], strerror(errno));
	}
	if (chdir(NEW_ROOT) < 0)
		die("cannot enter the new root: %s", strerror(errno));
	if (stat("/", &st) == 0)
		tree_free(AT_FDCWD, "/", st.st_dev);
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("cannot switch to the new root: %s", strerror(errno));
	/* The console node that the kernel opened went with the initramfs. */
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		return; /* a machine without a console is allowed */
	for (int i = 0; i < 3; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* The filesystems and links in /dev that programs take for granted. */
static void system_mounts(void)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};

	mount_or_die("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
		     "gid=5,mode=0620,ptmxmode=0666");
	mount_or_die("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777,size=90%");
	mount_or_die("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_die("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mkdir_or_die("/run/lock", 0755);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			die("cannot make %s: %s", links[i][1], strerror(errno));
}

static void loopback_up(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		die("cannot bring the loopback interface up: %s", strerror(errno));
	close(fd);
}

/* Names, limits and the environment that the agent and all its jobs inherit. */
static void system_setup(void)
{
	static const char *const env[][2] = {
		{"PATH",
		 RUN_BIN ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"HOME", "/root"},
		{"USER", "root"},
		{"LOGNAME", "root"},
		{"SHELL", "/bin/sh"},
		{"TERM", "linux"},
		{"LANG", "C.UTF-8"},
		/* Every job here is root's, in a machine that is there for nothing else. */
		{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
		{"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
	};
	const struct rlimit memlock = {RLIM_INFINITY, RLIM_INFINITY};
	const struct rlimit nofile = {65536, 1048576};

	if (sethostname("stasis", strlen("stasis")) < 0)
		die("cannot set the host name: %s", strerror(errno));
	if (setrlimit(RLIMIT_MEMLOCK, &memlock) < 0)
		die("cannot lift the limit on locked memory, which RDMA needs: %s",
		    strerror(errno));
	if (setrlimit(RLIMIT_NOFILE, &nofile) < 0)
		die("cannot raise the limit on open files: %s", strerror(errno));
	clearenv();
	for (size_t i = 0; i < sizeof(env) / sizeof(env[0]); i++)
		if (setenv(env[i][0], env[i][1], 1) < 0)
			die("cannot set the environment: %s", strerror(errno));
	loopback_up();
	umask(022);
}

static void agent_start(struct agent *agent)
{
	sigset_t none;
	pid_t pid = fork();

	if (pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		execl(AGENT, AGENT, (char *)NULL);
		say("cannot start %s: %s", AGENT, strerror(errno));
		_exit(127);
	}
	agent->started_ms = now_ms();
	if (pid < 0) { /* short of memory for the moment: come back later */
		say("cannot fork for the agent: %s", strerror(errno));
		agent->respawn_ms = agent->started_ms + BACKOFF_MAX_MS;
		return;
	}
	agent->pid = pid;
}

/* Notes that the agent is gone and when to start it again. */
static void agent_died(struct agent *agent, int status)
{
	int64_t now = now_ms();

	if (now - agent->started_ms >= AGENT_STABLE_MS)
		agent->backoff_ms = BACKOFF_MIN_MS;
	say("the agent %s %d; starting it again in %d ms",
	    WIFSIGNALED(status) ? "was killed by signal" : "exited with status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), agent->backoff_ms);
	agent->pid = 0;
	agent->respawn_ms = now + agent->backoff_ms;
	agent->backoff_ms *= 2;
	if (agent->backoff_ms > BACKOFF_MAX_MS)
		agent->backoff_ms = BACKOFF_MAX_MS;
}

/* Reaps whoever ended, the agent or an orphan. Returns false when there is no child at all. */
static bool children_reap(struct agent *agent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (agent && pid == agent->pid)
			agent_died(agent, status);
	return pid == 0;
}

/* Waits until all children are gone or the time is over. SIGCHLD is blocked, so none is missed.
 */
static bool children_wait(int timeout_ms)
{
	int64_t deadline = now_ms() + timeout_ms;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while (children_reap(NULL)) {
		int64_t left = deadline - now_ms();
		struct timespec ts = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

		if (left <= 0)
			return false;
		sigtimedwait(&chld, NULL, &ts);
	}
	return true;
}

/* Unmounts what jobs have mounted, the latest first. Init's own mounts hold no data to lose. */
static void user_mounts_undo(void)
{
	static const char *const own[] = {"/", "/dev", "/proc", "/sys"};
	char *dirs[MOUNTS_MAX];
	size_t n = 0, i;
	struct mntent *m;
	FILE *f = setmntent("/proc/self/mounts", "re");

	if (!f)
		return;
	while (n < MOUNTS_MAX && (m = getmntent(f))) {
		for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
			if (strcmp(m->mnt_dir, own[i]) == 0)
				break;
		if (i == sizeof(own) / sizeof(own[0]) && (dirs[n] = strdup(m->mnt_dir)))
			n++;
	}
	endmntent(f);
	while (n > 0) {
		if (umount2(dirs[--n], UMOUNT_NOFOLLOW) < 0)
			umount2(dirs[n], UMOUNT_NOFOLLOW | MNT_DETACH);
		free(dirs[n]);
	}
}

/* Ends every process, makes the disk clean, and stops the machine. */
__attribute__((noreturn)) static void shut_down(int how)
{
	kill(-1, SIGTERM);
	if (!children_wait(SHUTDOWN_GRACE_MS)) {
		kill(-1, SIGKILL);
		if (!children_wait(SHUTDOWN_KILLED_MS))
			say("some processes do not end; stopping all the same");
	}
	sync();
	user_mounts_undo();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		say("cannot make the root filesystem read-only: %s; its journal keeps it whole",
		    strerror(errno));
	machine_stop(how);
}

/* Keeps the agent running and reaps until a signal ends the machine. */
__attribute__((noreturn)) static void supervise(void)
{
	static const int signals[] = {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
	struct agent agent = {.backoff_ms = BACKOFF_MIN_MS};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del becomes a SIGINT to us */
	if (access(AGENT, X_OK) < 0)
		die("the initrd holds no agent (%s): %s", AGENT, strerror(errno));
	for (;;) {
		int64_t left = agent.pid ? 0 : agent.respawn_ms - now_ms();
		struct timespec ts = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		int sig;

		if (!agent.pid && left <= 0) {
			agent_start(&agent);
			continue;
		}
		/* With the agent up there is nothing to wake for: an idle guest stays idle. */
		sig = sigtimedwait(&set, NULL, agent.pid ? NULL : &ts);
		if (sig == SIGUSR1 || sig == SIGUSR2)
			shut_down(RB_POWER_OFF);
		if (sig == SIGTERM || sig == SIGINT)
			shut_down(RB_AUTOBOOT);
		children_reap(&agent);
	}
}

int main(void)
{
	struct options opt;

	if (getpid() != 1) {
		fputs("stasis-init: runs only as the first process of a guest\n", stderr);
		return 2;
	}
	mount_or_die("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	options_read(&opt);
	if (opt.probe) {
		static const char ok[] = "stasis-probe-ok\n";

		if (write(STDOUT_FILENO, ok, sizeof(ok) - 1) < 0)
			say("cannot write to the console: %s", strerror(errno));
		machine_stop(RB_POWER_OFF);
	}
	mount_or_die("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_die("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	modules_load();
	root_wait(opt.root);
	root_mount(&opt);
	root_switch();
	system_mounts();
	system_setup();
	supervise();
}
