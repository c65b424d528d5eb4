#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Static checks: cppcheck over the sources, mandoc over the manual page.  Fails on a finding.
set -eu

cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --language=c \
	--enable=warning,performance,portability \
	--suppressions-list=tools/cppcheck.suppress \
	-j "$(nproc)" -I. -Iinclude -D_GNU_SOURCE -D__x86_64__ mmu vmm guest tests
mandoc -T lint -W warning docs/quire.1
