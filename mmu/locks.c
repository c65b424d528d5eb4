/* SPDX-License-Identifier: MIT */
#include "locks.h"

_Thread_local unsigned int locks_held;
