/* SPDX-License-Identifier: MIT */
/*
 * The client end of the control socket; ctl.h has the protocol.
 *
 * Abstract sockets have no directory to list; the kernel shows them in /proc/net/unix, a line
 * each, the name last with '@' for its NUL byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "ctl_client.h"

#define PROC_PREFIX "@" CTL_PREFIX
#define SO_ACCEPTCON 0x10000ul	/* __SO_ACCEPTCON, the flag of a listening socket there */

struct packet {
	struct ctl_reply reply;
	unsigned char payload[CTL_MAX_PAYLOAD];
};

/* ---- finding a VM ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The VM name on a line of /proc/net/unix, or NULL; cuts the line at its end. */
static char *listener_name(char *line)
{
	char *at = strstr(line, " " PROC_PREFIX);
	unsigned long flags;

	if (!at || sscanf(line, "%*s %*s %*s %lx", &flags) != 1 || !(flags & SO_ACCEPTCON))
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return at + 1 + strlen(PROC_PREFIX);
}

/* All names, malloc'd each and in an array; returns their number. */
static unsigned int read_names(char ***out)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL, *name, **names = NULL, **more;
	unsigned int nr = 0;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		name = listener_name(line);
		if (!name)
			continue;
		more = realloc(names, (nr + 1) * sizeof(*names));
		if (!more)
			break;
		names = more;
		names[nr] = strdup(name);
		if (!names[nr])
			break;
		nr++;
	}
	free(line);
	if (f)
		fclose(f);
	if (nr > 0)
		qsort(names, nr, sizeof(*names), compare_names);
	*out = names;
	return nr;
}

static void free_names(char **names, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		free(names[i]);
	free(names);
}

char *ctl_list(void)
{
	char **names, *list, *end;
	size_t bytes = 1;
	unsigned int nr = read_names(&names);

	for (unsigned int i = 0; i < nr; i++)
		bytes += strlen(names[i]) + 1;
	list = end = calloc(1, bytes);
	for (unsigned int i = 0; list && i < nr; i++)
		end += sprintf(end, "%s%s", i ? " " : "", names[i]);
	free_names(names, nr);
	return list;
}

/* Connect to exactly this name. */
static int connect_name(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = CTL_PATIENCE_S };
	size_t prefix = strlen(CTL_PREFIX), len = strlen(name);
	int fd, code;

	if (len > CTL_NAME_MAX)
		return -ECONNREFUSED;
	memcpy(addr.sun_path + 1, CTL_PREFIX, prefix);
	memcpy(addr.sun_path + 1 + prefix, name, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + prefix + len)) < 0) {
		code = -errno;
		close(fd);
		return code;
	}
	return fd;
}

/* Connect to the VM whose process is pid: the kernel says who listens (SO_PEERCRED). */
static int connect_pid(const char *pid)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	char **names, *end;
	long want = strtol(pid, &end, 10);
	unsigned int nr;
	int fd = -ECONNREFUSED;

	if (*pid == '\0' || *end != '\0')
		return fd;
	nr = read_names(&names);
	for (unsigned int i = 0; i < nr && fd < 0; i++) {
		fd = connect_name(names[i]);
		if (fd >= 0 && (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
				cred.pid != want)) {
			close(fd);
			fd = -ECONNREFUSED;
		}
	}
	free_names(names, nr);
	return fd;
}

int ctl_connect(const char *vm, struct quire_error *err)
{
	int fd = connect_name(vm);
	char *list;

	if (fd == -ECONNREFUSED)
		fd = connect_pid(vm);
	if (fd == -EAGAIN)
		return quire_fail(err, fd, "VM %s does not answer", vm);
	if (fd >= 0)
		return fd;
	if (fd != -ECONNREFUSED)
		return quire_fail(err, fd, "cannot reach VM %s: %s", vm, strerror(-fd));
	list = ctl_list();
	if (list && *list)
		quire_fail(err, 0, "no VM named %s; running: %s", vm, list);
	else
		quire_fail(err, 0, "no VM named %s; none is running", vm);
	free(list);
	return -ENOENT;
}

/* ---- one question, and the packets of its answer ---- */

static int no_answer(int code, struct quire_error *err)
{
	if (code == -EAGAIN)
		return quire_fail(err, -ETIMEDOUT, "the VM does not answer (waited %d s)",
				  CTL_PATIENCE_S);
	if (code == -ECONNRESET || code == -EPIPE)
		return quire_fail(err, -ECONNRESET, "the VM ended the conversation: it has just "
				  "stopped, or belongs to another user");
	return quire_fail(err, code, "asking the VM: %s", strerror(-code));
}

static int ask(int fd, unsigned int op, const uint64_t arg[4], struct quire_error *err)
{
	struct ctl_request req = {
		.magic = CTL_MAGIC, .version = CTL_VERSION, .op = (uint16_t)op, .tag = op,
		.arg = { arg[0], arg[1], arg[2], arg[3] },
	};

	return send(fd, &req, sizeof(req), MSG_NOSIGNAL) < 0 ? no_answer(-errno, err) : 0;
}

static int refusal(unsigned int op, int status, struct quire_error *err)
{
	switch (status) {
	case -EPROTONOSUPPORT:
	case -EOPNOTSUPP:
		return quire_fail(err, status, "the VM was started by another version of quire; "
				  "use that one");
	case -ENOENT:
		return quire_fail(err, status, "the VM has no such vCPU");
	case -ETIMEDOUT:
		return quire_fail(err, status, "the vCPU does not stop for a look at its "
				  "registers: it is stuck in one instruction; try again");
	default:
		return quire_fail(err, status, "the VM refused request %u: %s", op,
				  strerror(-status));
	}
}

static bool is_reply(const struct packet *p, ssize_t n, unsigned int op)
{
	return n >= (ssize_t)sizeof(p->reply) && p->reply.magic == CTL_MAGIC &&
	       p->reply.op == op && p->reply.tag == op && p->reply.status <= 0 &&
	       p->reply.bytes == (size_t)n - sizeof(p->reply);
}

/* Receive one packet of the answer to op. */
static int receive(int fd, unsigned int op, struct packet *p, struct quire_error *err)
{
	ssize_t n;

	do
		n = recv(fd, p, sizeof(*p), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return no_answer(-errno, err);
	if (n == 0)
		return no_answer(-ECONNRESET, err);
	if (!is_reply(p, n, op))
		return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
	if (p->reply.status < 0)
		return refusal(op, p->reply.status, err);
	if (p->reply.version != CTL_VERSION)
		return refusal(op, -EPROTONOSUPPORT, err);
	return 0;
}

/* A question whose answer is one packet of exactly `bytes`. */
static int ask_one(int fd, unsigned int op, const uint64_t arg[4], void *answer, size_t bytes,
		   struct quire_error *err)
{
	struct packet p;
	int code = ask(fd, op, arg, err);

	if (code == 0)
		code = receive(fd, op, &p, err);
	if (code < 0)
		return code;
	if (p.reply.bytes != bytes)
		return refusal(op, -EPROTONOSUPPORT, err);
	memcpy(answer, p.payload, bytes);
	return 0;
}

int ctl_get_info(int fd, struct ctl_info *info, struct quire_error *err)
{
	const uint64_t arg[4] = { 0 };
	int code = ask_one(fd, CTL_INFO, arg, info, sizeof(*info), err);

	if (code < 0)
		return code;
	info->name[CTL_NAME_MAX] = '\0';
	if (info->nr_ram == 0 || info->nr_ram > CTL_MAX_RAM)
		return quire_fail(err, -EPROTO, "the VM says it has %u ranges of RAM",
				  info->nr_ram);
	for (unsigned int i = 0; i < info->nr_ram; i++)
		if (info->ram[i].start >= info->ram[i].end || info->ram[i].end > 1ULL << 40 ||
		    (i > 0 && info->ram[i].start < info->ram[i - 1].end))
			return quire_fail(err, -EPROTO, "the VM's RAM ranges make no sense");
	return 0;
}

static uint8_t local_state(uint8_t wire)
{
	return (wire & ~CTL_LARGE) < PG_NR_STATES ? wire : PG_NR_STATES;
}

/* Unpack a packet's runs behind the *done pages there are already. */
static int unpack_runs(const struct packet *p, uint8_t *states, uint64_t nr, uint64_t *done)
{
	uint32_t run;

	for (size_t at = 0; at < p->reply.bytes / sizeof(run); at++) {
		memcpy(&run, p->payload + at * sizeof(run), sizeof(run));
		if (run >> 8 > nr - *done)
			return -EPROTO;
		memset(states + *done, local_state((uint8_t)run), run >> 8);
		*done += run >> 8;
	}
	return 0;
}

int ctl_get_map(int fd, gfn_t gfn, uint64_t nr, uint8_t *states, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr };
	struct packet p;
	uint64_t done = 0, before;
	int code;

	if (nr == 0)
		return 0;
	code = ask(fd, CTL_MAP, arg, err);
	do {
		if (code == 0)
			code = receive(fd, CTL_MAP, &p, err);
		if (code < 0)
			return code;
		before = done;
		if (unpack_runs(&p, states, nr, &done) < 0)
			return quire_fail(err, -EPROTO, "the VM sent more pages than asked for");
		if (done == before && !(p.reply.flags & CTL_LAST))
			return quire_fail(err, -EPROTO, "the VM's answer does not end");
	} while (!(p.reply.flags & CTL_LAST));
	memset(states + done, PG_NR_STATES, nr - done);
	return 0;
}

static const char *ref_name(const struct pt_format *format, unsigned int level)
{
	for (unsigned int i = 0; format && i < format->nr_levels; i++)
		if (format->level[i].level == level)
			return format->level[i].name;
	return "?";
}

static void unpack_walk(const struct ctl_walk *in, struct walk_result *res)
{
	*res = (struct walk_result){
		.outcome = (enum walk_outcome)in->outcome, .error_code = in->error_code,
		.gpa = in->gpa, .maddr = in->maddr, .qualification = in->qualification,
		.level1 = in->level1, .level2 = in->level2,
		.format1 = ctl_paging_format(in->paging), .nr_refs = in->nr_refs,
	};
	for (unsigned int i = 0; i < in->nr_refs; i++) {
		const struct ctl_walk_ref *ref = &in->ref[i];

		res->ref[i] = (struct walk_ref){
			.stage = ref->stage, .level = ref->level, .addr = ref->addr,
			.input = ref->input, .entry = ref->entry,
			.name = ref_name(ref->stage == 1 ? res->format1 : &ept4_format,
					 ref->level),
		};
	}
}

int ctl_get_walk(int fd, unsigned int cpu, gva_t gva, struct walk_access access,
		 struct walk_result *res, uint8_t *state, struct quire_error *err)
{
	uint64_t arg[4] = { gva, 0, cpu, 0 };
	struct ctl_walk in;
	int code;

	arg[1] = (access.write ? CTL_ACCESS_WRITE : 0) | (access.fetch ? CTL_ACCESS_FETCH : 0) |
		 (access.user ? CTL_ACCESS_USER : 0);
	code = ask_one(fd, CTL_WALK, arg, &in, sizeof(in), err);
	if (code < 0)
		return code;
	if (in.nr_refs > WALK_MAX_REFS || in.outcome > WALK_AGAIN)
		return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
	unpack_walk(&in, res);
	*state = local_state(in.state);
	return 0;
}
