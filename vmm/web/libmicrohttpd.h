/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_LIBMICROHTTPD_H
#define QUIRE_VMM_WEB_LIBMICROHTTPD_H

/*
 * libmicrohttpd, loaded by the observer alone.  Linked, it would bring GnuTLS and a dozen other
 * libraries into every start of quire, and into each VM's process.
 */
#include <microhttpd.h>
#include <quire/error.h>

#define LIBMICROHTTPD_CALLS(X) \
	X(MHD_add_response_header) \
	X(MHD_create_response_from_buffer) \
	X(MHD_create_response_from_callback) \
	X(MHD_destroy_response) \
	X(MHD_get_connection_info) \
	X(MHD_get_connection_values) \
	X(MHD_get_daemon_info) \
	X(MHD_get_timeout) \
	X(MHD_lookup_connection_value) \
	X(MHD_queue_response) \
	X(MHD_resume_connection) \
	X(MHD_run) \
	X(MHD_start_daemon) \
	X(MHD_suspend_connection)

#define LIBMICROHTTPD_FIELD(name) __typeof__(&(name)) name;

struct libmicrohttpd {
	LIBMICROHTTPD_CALLS(LIBMICROHTTPD_FIELD)
};

/* Fill in all of *lib.  0; -ENOENT with *err: there is no such library, or another version. */
int libmicrohttpd_load(struct libmicrohttpd *lib, struct quire_error *err);

#endif
