/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_PIECE_H
#define QUIRE_VMM_VM_SANDBOX_PIECE_H

/* The pieces of the sandbox (sandbox.h).  A host may not permit all of them. */
enum sandbox_piece {
	SANDBOX_NO_CORE, /* RLIMIT_CORE is 0 */
	SANDBOX_LIMITS,	 /* RLIMIT_DATA, RLIMIT_AS, RLIMIT_FSIZE */
	SANDBOX_CGROUP,	 /* a cgroup of its own bounds its memory; only some hosts permit it */
	SANDBOX_NO_DESCRIPTORS, /* all are closed but those to keep */
	SANDBOX_NO_NEW_PRIVS,
	SANDBOX_OWN_UID, /* no other process has its uid; only root can give one */
	SANDBOX_USER_NS,
	SANDBOX_IPC_NS,
	SANDBOX_UTS_NS,
	SANDBOX_NET_NS,
	SANDBOX_MOUNT_NS,
	SANDBOX_EMPTY_ROOT, /* the root directory is empty, read-only, and all there is */
	SANDBOX_NO_CAPS,    /* in no set, the bounding set included */
	SANDBOX_NO_DUMP,    /* not dumpable: closed to ptrace and /proc of equals */
	SANDBOX_SECCOMP,
	SANDBOX_NR_PIECES
};

/* As statistics name them (sandbox.c). */
extern const char *const sandbox_piece_name[SANDBOX_NR_PIECES];

#endif
