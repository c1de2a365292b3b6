/* SPDX-License-Identifier: BSD-3-Clause */
/* Where things are: run, state, cache and store directories, and the programs beside this one.
 */
#include "base/paths.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"

static const char s3_scheme[] = "s3://";

/* The value of an environment variable that holds a directory, NULL when unset or empty; others
 * must be absolute. */
static int dir_from_env(const char *name, const char **ret_dir, struct err *err)
{
	const char *value = getenv(name);

	*ret_dir = NULL;
	if (!value || !*value)
		return 0;
	if (value[0] != '/')
		return err_set(err, EINVAL, "%s must be an absolute path, not '%.200s'", name,
			       value);
	*ret_dir = value;
	return 0;
}

static int home_dir(const char **ret_dir, struct err *err)
{
	const struct passwd *user;
	int rc = dir_from_env("HOME", ret_dir, err);

	if (rc < 0 || *ret_dir)
		return rc;
	user = getpwuid(geteuid());
	if (!user || !user->pw_dir || user->pw_dir[0] != '/')
		return err_set(err, ENOENT,
			       "HOME is not set and user %u has no home directory; set HOME",
			       (unsigned int)geteuid());
	*ret_dir = user->pw_dir;
	return 0;
}

/* ${xdg_name:-~/fallback}/stasis */
static int xdg_dir(const char *xdg_name, const char *fallback, char *ret_path, size_t size,
		   struct err *err)
{
	const char *dir, *home;
	int rc = dir_from_env(xdg_name, &dir, err);

	if (rc < 0)
		return rc;
	if (dir)
		return io_path(ret_path, size, err, "%s/stasis", dir);
	rc = home_dir(&home, err);
	if (rc < 0)
		return rc;
	return io_path(ret_path, size, err, "%s/%s/stasis", home, fallback);
}

int paths_run_dir(char *ret_path, size_t size, struct err *err)
{
	const char *dir;
	int rc = dir_from_env("STASIS_RUN_DIR", &dir, err);

	if (rc < 0)
		return rc;
	if (dir)
		return io_path(ret_path, size, err, "%s", dir);
	if (geteuid() == 0)
		return io_path(ret_path, size, err, "/run/stasis");
	rc = dir_from_env("XDG_RUNTIME_DIR", &dir, err);
	if (rc < 0)
		return rc;
	if (dir)
		return io_path(ret_path, size, err, "%s/stasis", dir);
	return io_path(ret_path, size, err, "/tmp/stasis-%u", (unsigned int)geteuid());
}

int paths_state_dir(char *ret_path, size_t size, struct err *err)
{
	const char *dir;
	int rc = dir_from_env("STASIS_STATE_DIR", &dir, err);

	if (rc < 0)
		return rc;
	if (dir)
		return io_path(ret_path, size, err, "%s", dir);
	if (geteuid() == 0)
		return io_path(ret_path, size, err, "/var/lib/stasis");
	return xdg_dir("XDG_STATE_HOME", ".local/state", ret_path, size, err);
}

int paths_cache_dir(char *ret_path, size_t size, struct err *err)
{
	const char *dir;
	int rc = dir_from_env("STASIS_CACHE_DIR", &dir, err);

	if (rc < 0)
		return rc;
	if (dir)
		return io_path(ret_path, size, err, "%s", dir);
	return xdg_dir("XDG_CACHE_HOME", ".cache", ret_path, size, err);
}

bool paths_store_remote(const char *location)
{
	return strncmp(location, s3_scheme, strlen(s3_scheme)) == 0;
}

int paths_store_dir(char *ret_path, size_t size, struct err *err)
{
	char state[IO_PATH_MAX];
	const char *dir = getenv("STASIS_STORE_DIR");
	int rc;

	if (dir && *dir && dir[0] != '/' && !paths_store_remote(dir))
		return err_set(err, EINVAL,
			       "STASIS_STORE_DIR must be an absolute path or %sBUCKET/PREFIX, "
			       "not '%.200s'",
			       s3_scheme, dir);
	if (dir && *dir)
		return io_path(ret_path, size, err, "%s", dir);
	rc = paths_state_dir(state, sizeof(state), err);
	if (rc < 0)
		return rc;
	return io_path(ret_path, size, err, "%s/store", state);
}

int paths_socket(char *ret_path, size_t size, struct err *err)
{
	char run[IO_PATH_MAX];
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	int rc = paths_run_dir(run, sizeof(run), err);

	if (rc < 0)
		return rc;
	rc = io_path(ret_path, size, err, "%s/stasisd.sock", run);
	if (rc < 0)
		return rc;
	if (strlen(ret_path) > most)
		return err_set(
			err, ENAMETOOLONG,
			"the run directory's path is too long for a socket (%zu bytes, at most %zu); "
			"set STASIS_RUN_DIR to a shorter one",
			strlen(ret_path), most);
	return 0;
}

/* The directory of the running program, without trailing slash. */
static int program_dir(char ret_dir[IO_PATH_MAX], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", ret_dir, IO_PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return err_sys(err, errno, "cannot read /proc/self/exe");
	ret_dir[n] = '\0';
	slash = strrchr(ret_dir, '/');
	if (slash)
		*slash = '\0';
	return 0;
}

int paths_program(const char *name, char *ret_path, size_t size, struct err *err)
{
	char self[IO_PATH_MAX];
	const char *libexec;
	int rc = dir_from_env("STASIS_LIBEXEC_DIR", &libexec, err);

	if (rc < 0)
		return rc;
	if (libexec) {
		rc = io_path(ret_path, size, err, "%s/%s", libexec, name);
		if (rc < 0 || access(ret_path, X_OK) == 0)
			return rc;
		return err_set(
			err, ENOENT,
			"program '%s' is not to be found in %s, which STASIS_LIBEXEC_DIR names",
			name, libexec);
	}
	rc = program_dir(self, err);
	if (rc == 0)
		rc = io_path(ret_path, size, err, "%s/%s", self, name);
	if (rc < 0 || access(ret_path, X_OK) == 0)
		return rc;
	rc = io_path(ret_path, size, err, "%s/../libexec/stasis/%s", self, name);
	if (rc < 0 || access(ret_path, X_OK) == 0)
		return rc;
	return err_set(err, ENOENT,
		       "program '%s' is not to be found in %.300s or %.300s/../libexec/stasis; "
		       "install it or set STASIS_LIBEXEC_DIR",
		       name, self, self);
}
