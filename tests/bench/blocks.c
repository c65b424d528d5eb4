/* SPDX-License-Identifier: MIT */
/*
 * blocks PID: how many pages the files without a name occupy that a process has open, as the
 * kernel counts them (st_blocks).  Of a quire machine these are all guests' RAM and the stores.
 *
 * blocks PID PAGES SECONDS: looks every 5 ms until they are at most so many, or so long; prints
 * the time of day then, in microseconds since the epoch, or nothing.
 */
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LOOK_NS	  5000000
#define MAX_FILES 1024

static unsigned long long pages_of(const char *pid)
{
	unsigned long long blocks = 0;
	ino_t seen[MAX_FILES];
	size_t nr = 0, i;
	char path[300];
	struct dirent *e;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	if (!dir)
		err(1, "%s", path);
	while ((e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, e->d_name);
		if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_nlink)
			continue;
		for (i = 0; i < nr && seen[i] != st.st_ino; i++)
			;
		if (i < nr || nr == MAX_FILES)
			continue;
		seen[nr++] = st.st_ino;
		blocks += (unsigned long long)st.st_blocks;
	}
	closedir(dir);
	return blocks / 8;
}

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	unsigned long long most;
	double until;

	if (argc != 2 && argc != 4)
		errx(2, "usage: blocks PID [PAGES SECONDS]");
	if (argc == 2) {
		printf("%llu\n", pages_of(argv[1]));
		return 0;
	}
	most = strtoull(argv[2], NULL, 0);
	until = now(CLOCK_MONOTONIC) + strtod(argv[3], NULL);
	while (pages_of(argv[1]) > most) {
		if (now(CLOCK_MONOTONIC) > until)
			return 1;
		nanosleep(&look, NULL);
	}
	printf("%.0f\n", now(CLOCK_REALTIME) * 1e6);
	return 0;
}
