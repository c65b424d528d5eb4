/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_DISK_H
#define QUIRE_VMM_DEV_DISK_H

/*
 * The host's side of a disk: an image, which is a file or a block device, and with DISK_OVERLAY a
 * file for what the guest changes.
 *
 * An image is locked as long as it is open, by an OFD lock (fcntl(2)) over all of it: exclusively
 * if the guest may write to it, else shared.  So no two VMs write to one image, and nobody writes
 * to what others read.  Whoever sets no lock is not kept out.  A lock goes with the last descriptor
 * of the open file that has it.  So a process that keeps one (disk_hold) has it locked while other
 * processes, which it hands the file to, come and go.
 *
 * It is opened with O_DIRECT where sectors of 512 bytes can be read so; then none of it is in the
 * host's page cache.  Elsewhere it is read and written through the page cache.
 *
 * With DISK_OVERLAY the image is only read.  What was changed is in a sparse file without a name,
 * at the same offsets, in clusters of DISK_CLUSTER bytes.  Behind them, from the next cluster on,
 * it has a bitmap that says which.  That is mapped, so a bit that is set stays set even if the
 * process is killed next; and it is set after its cluster is written.  Its bytes are allocated when
 * it is made, because a store for which the host has no room would kill us.  The file goes with its
 * last descriptor.
 *
 * One thread uses a disk at a time.
 */
#include <quire/error.h>
#include <quire/types.h>

#define DISK_SECTOR  512u
#define DISK_CLUSTER 4096u
#define DISK_MOST    8u /* disks of a VM */

enum disk_mode { DISK_READ_WRITE, DISK_READ_ONLY, DISK_OVERLAY };

#define DISK_PATH_MAX 1023 /* bytes */

/* It has no pointers, because it goes from one process to another. */
struct disk_spec {
	char path[DISK_PATH_MAX + 1];
	char overlay_dir[DISK_PATH_MAX + 1]; /* DISK_OVERLAY: where its file is to be */
	enum disk_mode mode;
};

/*
 * What outlives a process.  So the next one has the same image, whatever the path names by then.
 * Who may write to it uses this open file.  Others open the file again: none of them has its lock.
 */
struct disk_kept {
	int image; /* from disk_hold(); -1: the path is to be opened */
	int delta; /* DISK_OVERLAY: from disk_make_delta(), with what was changed; -1: a new one */
};

struct disk {
	const char *path; /* the spec's, which stays where it is */
	int fd;		  /* the image */
	int delta_fd;	  /* DISK_OVERLAY: what was changed; else -1 */
	uint8_t *changed; /* DISK_OVERLAY: a bit a cluster, in that file; else NULL */
	uint64_t bytes;	  /* a multiple of DISK_SECTOR, not 0 */
	bool locked;	  /* by us: to be unlocked at the end */
	bool read_only;
	bool direct; /* O_DIRECT, for all of its files */
	bool punch;  /* holes can be made where the guest writes to */
	void *cluster;
};

/* Make the file of an overlay, in which nothing is changed.  A descriptor, or -errno. */
int disk_make_delta(const struct disk_spec *spec);

/*
 * Open and lock.  0; -errno with *err.  -EBUSY: somebody else has locked the image; -EINVAL: it is
 * not a disk: a directory, empty, or no multiple of DISK_SECTOR; or delta is of a larger or a
 * smaller one.
 *
 * kept becomes the disk's, also if this fails.  NULL: nothing was kept.
 */
int disk_open(const struct disk_spec *spec, const struct disk_kept *kept, struct disk **out,
	      struct quire_error *err);

/* NULL is fine. */
void disk_close(struct disk *d);

/* disk_close(), but for the image: it stays open, and locked.  Returns its descriptor. */
int disk_hold(struct disk *d);

/*
 * Unlock an image whose descriptor is from disk_hold(), for whoever has it.  Nothing is in flight,
 * or the next one to lock it would find a disk that still changes.
 */
void disk_unlock(int fd);

/* The file to which the guest's writes go. */
int disk_write_fd(const struct disk *d);

/*
 * From pos on, how many of len bytes are in one file?  At least 1, if len is not 0.  *fd becomes
 * that file.
 */
uint64_t disk_run(const struct disk *d, uint64_t pos, uint64_t len, int *fd);

/*
 * [pos, pos + len) is about to be written: complete what it has of clusters in part.  Waits for the
 * disk.  0 or -errno.  No write to the same clusters is in flight.
 */
int disk_before_write(struct disk *d, uint64_t pos, uint64_t len);

/* [pos, pos + len) has been written, or punched. */
void disk_after_write(struct disk *d, uint64_t pos, uint64_t len);

#endif
