/* SPDX-License-Identifier: MIT */
#include "server.h"
#include <errno.h>
#include <poll.h>
#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "asker.h"
#include "guard.h"
#include "libmicrohttpd.h"
#include "live.h"
#include "mmu/base/clock.h"
#include "rows.h"

#define SWEEP_MS     1000
#define STREAM_CHUNK 32768

/* A connection, from the first byte that could come. */
struct client {
	int fd;		   /* -1: a free place in the table */
	uint64_t since_ns; /* it began, or its last request ended, or this one began */
	bool asking;	   /* its headers are complete */
	bool streams;	   /* it listens for as long as it likes */
};

/* A request, from its first header to the end of its answer. */
struct exchange {
	struct MHD_Connection *connection;
	bool asked, answered; /* the asker was given it; has done it */
	struct asker_job job;
};

/* What a client has of the events. */
struct stream {
	struct MHD_Connection *connection; /* NULL: a free place in the table */
	bool suspended;			   /* it has all that there is */
	uint64_t generation;		   /* that it has, or will have with this text: */
	char *text;
	size_t bytes, sent;
};

static struct server {
	struct libmicrohttpd lib;
	struct server_config config;
	struct stream stream[SERVER_MAX_STREAMS];
	struct MHD_Daemon *daemon[SERVER_MAX_PLACES];
	struct client client[SERVER_MAX_PLACES * SERVER_MAX_CONNECTIONS];
	uint64_t allowance_ns; /* when as many requests as there were are due */
} server;

/* ---- answers ---- */

/* What a page of ours may do: use what comes from here, and nothing else. */
static const char *const headers[][2] = {
	{ "Content-Security-Policy",
	  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
	  "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Cross-Origin-Opener-Policy", "same-origin" },
	{ "Cache-Control", "no-store" },
};

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned int status,
				     const char *type, struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	for (unsigned int i = 0; i < ARRAY_SIZE(headers); i++)
		server.lib.MHD_add_response_header(response, headers[i][0], headers[i][1]);
	server.lib.MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE)
		server.lib.MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (status == MHD_HTTP_UNAUTHORIZED)
		server.lib.MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
						   "Bearer");
	result = server.lib.MHD_queue_response(connection, status, response);
	server.lib.MHD_destroy_response(response);
	return result;
}

static enum MHD_Result send_bytes(struct MHD_Connection *connection, unsigned int status,
				  const char *type, const char *bytes, size_t nr,
				  enum MHD_ResponseMemoryMode mode)
{
	return send_response(
		connection, status, type,
		server.lib.MHD_create_response_from_buffer(nr, (void *)(uintptr_t)bytes, mode));
}

/* Why a request gets no answer, in one line. */
static const struct {
	unsigned int status;
	const char *line;
} refusals[] = {
	{ 400, "that makes no sense\n" },
	{ 401, "this needs the token that was printed when the machine started\n" },
	{ 403, "this comes from another page\n" },
	{ 404, "there is nothing here\n" },
	{ 405, "not by this method\n" },
	{ 413, "no request here has a body\n" },
	{ 421, "ask by address: names may be anybody's\n" },
	{ 429, "too many requests; wait a second\n" },
	{ 503, "too many questions wait; try again\n" },
};

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status)
{
	unsigned int i = 0;

	while (i < ARRAY_SIZE(refusals) - 1 && refusals[i].status != status)
		i++;
	return send_bytes(connection, status, "text/plain", refusals[i].line,
			  strlen(refusals[i].line), MHD_RESPMEM_PERSISTENT);
}

/* The text is the response's from now on. */
static enum MHD_Result send_answer(struct exchange *x)
{
	struct asker_job *job = &x->job;
	const char *type = job->row->type ? job->row->type :
					    metrics_content_type(job->question.form);
	char *text = job->text;

	job->text = NULL;
	if (!text)
		return refuse(x->connection, MHD_HTTP_SERVICE_UNAVAILABLE);
	return send_bytes(x->connection, job->status,
			  job->status == MHD_HTTP_OK ? type : "text/plain", text, job->bytes,
			  MHD_RESPMEM_MUST_FREE);
}

/* ---- events ---- */

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		server.lib.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* How much of the text the client gets now; it may get less than it has room for. */
static ssize_t next_events(void *ctx, uint64_t position, char *buf, size_t room)
{
	struct stream *s = ctx;
	size_t nr;

	(void)position;
	if (s->sent == s->bytes) {
		free(s->text);
		s->sent = s->bytes = 0;
		s->text = live_events(&s->generation, &s->bytes);
	}
	if (!s->text) {
		s->suspended = true;
		server.lib.MHD_suspend_connection(s->connection);
		return 0;
	}
	nr = min_u64(room, s->bytes - s->sent);
	memcpy(buf, s->text + s->sent, nr);
	s->sent += nr;
	return (ssize_t)nr;
}

static void end_events(void *ctx)
{
	struct stream *s = ctx;

	free(s->text);
	*s = (struct stream){ .connection = NULL };
	asker_watch(false);
}

static enum MHD_Result send_events(struct MHD_Connection *connection, const char *type)
{
	struct client *c = client_of(connection);

	for (struct stream *s = server.stream; s < server.stream + SERVER_MAX_STREAMS; s++) {
		if (s->connection)
			continue;
		*s = (struct stream){ .connection = connection };
		if (c)
			c->streams = true;
		asker_watch(true);
		return send_response(
			connection, MHD_HTTP_OK, type,
			server.lib.MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_CHUNK,
								     next_events, s, end_events));
	}
	return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE);
}

static void wake_streams(void)
{
	uint64_t generation = live_generation();

	for (unsigned int i = 0; i < SERVER_MAX_STREAMS; i++) {
		struct stream *s = &server.stream[i];

		if (!s->suspended || s->generation >= generation)
			continue;
		s->suspended = false;
		server.lib.MHD_resume_connection(s->connection);
	}
}

/* ---- requests ---- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return server.lib.MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* A bucket that holds two seconds' requests. */
static bool too_many(void)
{
	uint64_t now = monotonic_ns(), earliest = now - 2 * NS_PER_S;

	if (server.allowance_ns < earliest)
		server.allowance_ns = earliest;
	server.allowance_ns += NS_PER_S / SERVER_REQUESTS;
	if (server.allowance_ns <= now)
		return false;
	server.allowance_ns -= NS_PER_S / SERVER_REQUESTS;
	return true;
}

static bool has_body(struct MHD_Connection *connection)
{
	const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING) ||
	       (length && strcmp(length, "0"));
}

/* 200, or why this may not be asked. */
static unsigned int judge(struct MHD_Connection *connection, const struct web_row *row)
{
	const char *host = header(connection, MHD_HTTP_HEADER_HOST);

	if (!row->any_host && !web_host_is_plain(host))
		return 421;
	if (!web_origin_is_own(header(connection, MHD_HTTP_HEADER_ORIGIN), host))
		return MHD_HTTP_FORBIDDEN;
	if (row->token &&
	    !web_token_is(header(connection, MHD_HTTP_HEADER_AUTHORIZATION), server.config.token))
		return MHD_HTTP_UNAUTHORIZED;
	return MHD_HTTP_OK;
}

static enum MHD_Result add_argument(void *question, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	(void)kind;
	return web_question_add(question, name, value ? value : "") ? MHD_YES : MHD_NO;
}

static bool read_arguments(struct exchange *x)
{
	int nr = server.lib.MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND,
						      add_argument, &x->job.question);

	return nr == (int)x->job.question.nr;
}

static void note(struct MHD_Connection *connection, bool asking)
{
	struct client *c = client_of(connection);

	if (!c)
		return;
	c->since_ns = monotonic_ns();
	c->asking = asking;
}

/* The headers are there. */
static enum MHD_Result begin(struct MHD_Connection *connection, unsigned int services,
			     const char *path, const char *method, struct exchange **out)
{
	unsigned int status;
	const struct web_row *row = web_row_find(method, path, services, &status);
	struct exchange *x;

	note(connection, true);
	if (too_many())
		return refuse(connection, MHD_HTTP_TOO_MANY_REQUESTS);
	if (has_body(connection))
		return refuse(connection, 413);
	status = row ? judge(connection, row) : status;
	if (status != MHD_HTTP_OK)
		return refuse(connection, status);
	x = calloc(1, sizeof(*x));
	if (!x)
		return MHD_NO;
	x->connection = connection;
	x->job.row = row;
	x->job.owner = x;
	x->job.question.form = metrics_form_accepted(header(connection, MHD_HTTP_HEADER_ACCEPT));
	*out = x;
	return read_arguments(x) ? MHD_YES : refuse(connection, MHD_HTTP_BAD_REQUEST);
}

/* The request is complete, or the asker is done with it. */
static enum MHD_Result go_on(struct exchange *x)
{
	const struct web_row *row = x->job.row;

	if (row->asset)
		return send_bytes(x->connection, MHD_HTTP_OK, row->type, row->asset->start,
				  (size_t)(row->asset->end - row->asset->start),
				  MHD_RESPMEM_PERSISTENT);
	if (row->events)
		return send_events(x->connection, row->type);
	if (x->answered)
		return send_answer(x);
	if (x->asked)
		return MHD_YES;
	x->asked = true;
	server.lib.MHD_suspend_connection(x->connection);
	if (asker_put(&x->job))
		return MHD_YES;
	x->answered = true; /* without a text */
	server.lib.MHD_resume_connection(x->connection);
	return MHD_YES;
}

static enum MHD_Result handle(void *place, struct MHD_Connection *connection, const char *path,
			      const char *method, const char *version, const char *data,
			      size_t *bytes, void **context)
{
	const struct web_place *p = place;

	(void)version;
	(void)data;
	if (*bytes)
		return MHD_NO; /* of a body that was not announced */
	if (!*context)
		return begin(connection, p->services, path, method, (struct exchange **)context);
	return go_on(*context);
}

static void end(void *ctx, struct MHD_Connection *connection, void **context,
		enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *context;

	(void)ctx;
	(void)why;
	note(connection, false);
	if (!x)
		return;
	free(x->job.text);
	free(x);
	*context = NULL;
}

static void take_answers(void)
{
	struct asker_job *job;

	while ((job = asker_take())) {
		struct exchange *x = job->owner;

		x->answered = true;
		server.lib.MHD_resume_connection(x->connection);
	}
}

/* ---- connections ---- */

static void come_or_go(void *ctx, struct MHD_Connection *connection, void **socket_context,
		       enum MHD_ConnectionNotificationCode code)
{
	struct client *c = *socket_context;

	(void)ctx;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (c)
			c->fd = -1;
		return;
	}
	for (c = server.client; c < server.client + ARRAY_SIZE(server.client); c++)
		if (c->fd < 0) {
			*socket_context = c;
			c->fd = server.lib
					.MHD_get_connection_info(connection,
								 MHD_CONNECTION_INFO_CONNECTION_FD)
					->connect_fd;
			c->since_ns = monotonic_ns();
			c->asking = c->streams = false;
			return;
		}
}

/* Hang up on whoever takes too long; the library sees the end, and forgets the connection. */
static void sweep(void)
{
	uint64_t now = monotonic_ns();

	for (unsigned int i = 0; i < ARRAY_SIZE(server.client); i++) {
		const struct client *c = &server.client[i];
		uint64_t patience = c->asking ? SERVER_ANSWER_S : SERVER_PATIENCE_S;

		if (c->fd >= 0 && !c->streams && now - c->since_ns > patience * NS_PER_S)
			shutdown(c->fd, SHUT_RDWR);
	}
}

/* ---- life ---- */

/* What strangers send is no reason to write a line each. */
static void be_silent(void *ctx, const char *format, va_list ap)
{
	(void)ctx;
	(void)format;
	(void)ap;
}

static int start_daemon(unsigned int i, struct quire_error *err)
{
	struct web_place *place = &server.config.place[i];

	server.daemon[i] = server.lib.MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle,
		place, MHD_OPTION_EXTERNAL_LOGGER, be_silent, NULL, MHD_OPTION_LISTEN_SOCKET,
		place->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned int)SERVER_MAX_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)SERVER_PATIENCE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_REQUEST_BYTES,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, end, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, come_or_go, NULL, MHD_OPTION_END);
	if (server.daemon[i])
		return 0;
	return quire_fail(err, -EIO, "cannot serve %s: libmicrohttpd does not start", place->name);
}

int server_create(const struct server_config *config, struct quire_error *err)
{
	int code = libmicrohttpd_load(&server.lib, err);

	server.config = *config;
	for (unsigned int i = 0; i < ARRAY_SIZE(server.client); i++)
		server.client[i].fd = -1;
	for (unsigned int i = 0; i < config->nr_places && !code; i++)
		code = start_daemon(i, err);
	return code;
}

static int epoll_of(struct MHD_Daemon *daemon)
{
	return server.lib.MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

/* Until something is to be done: by the library, too. */
static int patience_ms(void)
{
	unsigned long long ms, least = SWEEP_MS;

	for (unsigned int i = 0; i < server.config.nr_places; i++)
		if (server.lib.MHD_get_timeout(server.daemon[i], &ms) == MHD_YES && ms < least)
			least = ms;
	return (int)least;
}

void server_run(void)
{
	struct pollfd pfd[2 + SERVER_MAX_PLACES] = {
		{ .fd = server.config.life },
		{ .fd = asker_fd(), .events = POLLIN },
	};
	unsigned int nr = server.config.nr_places;

	for (unsigned int i = 0; i < nr; i++)
		pfd[2 + i] = (struct pollfd){ .fd = epoll_of(server.daemon[i]), .events = POLLIN };
	while (!pfd[0].revents) {
		poll(pfd, 2 + nr, patience_ms());
		take_answers();
		wake_streams();
		sweep();
		for (unsigned int i = 0; i < nr; i++)
			server.lib.MHD_run(server.daemon[i]);
	}
}
