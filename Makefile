# SPDX-License-Identifier: MIT
#
# make               build quire and the guest into $(BUILD)/
# make deps          install what is missing (Debian 12/13, Ubuntu)
# make demo          deps, build, and the main job on real guests
# make check         every test under prove(1); SAN=1: the same under ASan and UBSan
# make bench         measure against the peers (docs/benchmarks.md)
# make install       into $(DESTDIR)$(PREFIX)
# make help          this list
#
# Variables: CC CFLAGS LDFLAGS V=1 WERROR=1 SAN=1 BUILD PREFIX DESTDIR PROVE PROVE_OPTS
#            TEST_TIMEOUT FUZZ_SECONDS
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

CC           ?= gcc
CFLAGS       ?= -O2 -g
PREFIX       ?= /usr/local
PROVE        ?= prove
TEST_TIMEOUT ?= 120
BUILD        ?= build$(if $(SAN),-san)
Q            := $(if $(V),,@)

VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wwrite-strings -Wvla $(if $(WERROR),-Werror)
comma := ,
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
CPPFLAGS_ALL = -Iinclude -D_GNU_SOURCE -DQUIRE_VERSION='"$(VERSION)"' -MMD -MP $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu11 -pthread $(WARN) $(SANFLAGS) $(CFLAGS)
LDFLAGS_ALL  = -pthread $(SANFLAGS) $(LDFLAGS)
LIBS         = -lcapstone -lfdt -lpng

LIB_SRC   := $(filter-out vmm/main.c,$(wildcard mmu/*.c vmm/*.c))
LIB       := $(BUILD)/libquire.a
TEST_SRC  := $(wildcard tests/*_test.c tests/kvm/*_test.c)
TEST_BIN  := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_SH   := $(wildcard tests/*.t tests/kvm/*.t)
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*_bench.c))
FUZZ_BIN  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*_fuzz.c))
GUEST     := $(BUILD)/guest/quill.elf

all: $(BUILD)/quire $(GUEST)

help:
	@sed -n '3,/^\.DELETE/{/^#/s/^# \{0,1\}//p}' Makefile

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

$(LIB): $(LIB_SRC:%.c=$(BUILD)/%.o)
	@echo '  AR      $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/quire: $(BUILD)/vmm/main.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(TEST_BIN): %: %.o $(BUILD)/tests/tap.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BENCH_BIN): %: %.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# The guest: freestanding, static, at CPL 3 but for the nucleus (guest/nucleus*), which is
# built for general registers only.
include guest/guest.mk

check: all $(TEST_BIN)
	$(Q)QUIRE_BUILD=$(BUILD) $(PROVE) --exec 'timeout -k 5 $(TEST_TIMEOUT)' $(PROVE_OPTS) $(TEST_BIN) $(TEST_SH)

# Each header compiles alone.
headers-check:
	$(Q)for h in include/quire/*.h mmu/*.h vmm/*.h; do \
		$(CC) $(CPPFLAGS_ALL) -MF /dev/null $(CFLAGS_ALL) -fsyntax-only -x c $$h || exit 1; done

clean:
	rm -rf build build-*

.PHONY: all help check headers-check clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
