/* SPDX-License-Identifier: MIT */
/* Clients of other users: each is hung up on, and however many there are, the log stays short. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "machine_lab.h"
#include "tests/tap.h"

#define ADDRESS "@quire/machine/stranger-log"
#define KNOCKS	2000u

static unsigned int lines, said_of;

static void count_line(void *ctx, const char *line)
{
	unsigned int more;

	(void)ctx;
	lines++;
	if (strstr(line, "neither mine nor root"))
		said_of++;
	else if (sscanf(line, "hung up on %u more clients", &more) == 1)
		said_of += more;
}

/* Another user connects again and again, and ends. */
static pid_t start_knocking(void)
{
	struct sockaddr_un sun;
	socklen_t len;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	if (setuid(65534) || wire_address(ADDRESS, &sun, &len, NULL))
		_exit(1);
	for (unsigned int i = 0; i < KNOCKS; i++) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (connect(fd, (struct sockaddr *)&sun, len))
			_exit(1);
		close(fd);
	}
	_exit(0);
}

int main(void)
{
	struct lab lab = { 0 };
	struct machine_config config = lab_config(&lab, 1000, 0, OVERCOMMIT_ALWAYS);
	int status = 0;
	pid_t pid;

	tap_init();
	if (geteuid() != 0) {
		tap_skip("only root can become another user");
		return tap_done();
	}
	config.log = count_line;
	lab_open(&lab, &config);
	if (machine_listen(lab.m, ADDRESS, NULL))
		tap_bail("cannot listen");
	pid = start_knocking();
	while (!waitpid(pid, &status, WNOHANG))
		machine_serve(lab.m);
	for (unsigned int i = 0; i < KNOCKS / 16; i++)
		machine_serve(lab.m);
	is(status, 0, "another user connects %u times", KNOCKS);
	ok(lines && lines <= 10, "the log has %u lines about it", lines);
	lab.now_ns += 60000 * LAB_MS;
	machine_serve(lab.m);
	is(said_of, KNOCKS, "... and later one that counts the rest");
	is(lines, 6, "... which makes %u", lines);
	machine_destroy(lab.m);
	return tap_done();
}
