/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_VM_RECORD_H
#define QUIRE_VMM_LAUNCH_VM_RECORD_H

/*
 * What a launcher hands to its VM processes, which are executed and not only forked: a sealed file
 * with a struct vm_record and what that refers to.  All copies of a run have the same.
 *
 * It has no pointers, so that no VM learns where the launcher has its memory.  A field of struct
 * run that a VM process needs has to be in the record.  A file that it needs is one of
 * launch_config.vm_file.
 *
 * Both sides are the same program.  Whoever executes quire with a record of his own has the rights
 * that he had before.  So what is checked is that this is a record, and a whole one.
 */
#include "run.h"

/*
 * Make the record of a planned run and fill in launch.vm_file; from the descriptors of the image
 * and its modules, and of the record, which vm_record_finish() closes.  0 or -errno with *err.
 */
int vm_record_make(struct run *run, struct quire_error *err);
void vm_record_finish(struct run *run);

/*
 * Fill in what run_vm() needs of *run, which is zero.  file is the first of the descriptors that
 * were launch.vm_file; they are closed.  What they have stays mapped.  The links of launch.net come
 * behind them, then the images of launch.disk, the files of overlays, and the swap file; they stay
 * open.
 * 0; -errno with *err: -EINVAL if this is no record.
 */
int vm_record_take(int file, struct run *run, struct quire_error *err);

#endif
