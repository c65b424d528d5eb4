/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_DETACH_H
#define QUIRE_VMM_LAUNCH_DETACH_H

/*
 * A run that goes on in the background once its guests have said that they are ready.
 *
 * The process forks.  The child becomes the run: it has a session of its own, so that neither
 * Ctrl-C nor the end of the terminal reaches it, and no standard input.  The parent waits until the
 * child says that all is well, or has ended.  Until then signals to the parent are passed on.
 */

/*
 * 0, in the child: *caller is a pipe's end, the child's to close.  One byte written to it ends the
 * parent with status 0; it hangs up if the parent is gone.
 * 1, in the parent, when its wait is over: *status is 0 or, if the child ended without that byte,
 * the child's exit status.
 * -errno: there is no child.
 */
int detach(int *caller, int *status);

#endif
