# SPDX-License-Identifier: MIT
#
# make               build quire and the guest into $(BUILD)/
# make deps          install what is missing (Debian 12/13, Ubuntu)
# make demo          deps, build, and the main job on real guests
# make check         every test under prove(1); SAN=1: the same under ASan and UBSan
# make fuzz          the fuzzers alone, FUZZ_SECONDS each
# make bench         measure, side by side with the peers where there are any
# make lint          clang-format, line lengths, cppcheck, headers that compile alone, the manual
# make install       into $(DESTDIR)$(PREFIX)
# make help          this list
#
# Variables: CC CFLAGS LDFLAGS V=1 WERROR=1 SAN=1 BUILD PREFIX DESTDIR PROVE PROVE_OPTS
#            TEST_TIMEOUT (seconds a test may take) FUZZ_SECONDS FUZZ_CC
#
# Objects of each kind of build have their own tree: $(BUILD) is build/ or, under SAN=1,
# build-san/; what libFuzzer drives is built by clang into build-fuzz/.
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC           := gcc
endif
CFLAGS       ?= -O2 -g
PREFIX       ?= /usr/local
PROVE        ?= prove
TEST_TIMEOUT ?= 300
FUZZ_SECONDS ?= 6
FUZZ_CC      ?= clang
BUILD        ?= build$(if $(SAN),-san)
FUZZ_BUILD   := build-fuzz
Q            := $(if $(V),,@)

VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wwrite-strings -Wvla $(if $(WERROR),-Werror)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANFLAGS := $(if $(SAN),$(SANITIZE))
CPPFLAGS_ALL = -I. -Iinclude -D_GNU_SOURCE -DQUIRE_VERSION='"$(VERSION)"' -MMD -MP $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu11 -pthread $(WARN) $(SANFLAGS) $(CFLAGS)
LDFLAGS_ALL  = -pthread $(SANFLAGS) $(LDFLAGS)
LIBS         = -lcapstone -lfdt -lpng
GEN_LIBS     = -lseccomp

ROOMS     := $(sort $(patsubst %/,%,$(dir $(wildcard mmu/*/*.h mmu/*/*/*.h vmm/*/*.h))))
LIB_SRC   := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
LIB       := $(BUILD)/libquire.a
TEST_SRC  := $(wildcard tests/*/*_test.c)
TEST_BIN  := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_SH   := $(wildcard tests/*/*.t)
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
BENCH_SH  := $(wildcard tests/bench/*.sh)
FUZZ_SRC  := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_BIN  := $(FUZZ_SRC:%.c=$(FUZZ_BUILD)/%)
GUEST     := $(BUILD)/guest/quill.elf

all: $(BUILD)/quire $(GUEST)

help:
	@sed -n '3,/^\.DELETE/{/^#/s/^# \{0,1\}//p}' Makefile

deps:
	$(Q)tools/deps.sh

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

$(LIB): $(LIB_SRC:%.c=$(BUILD)/%.o)
	@echo '  AR      $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# The sandbox's system-call filters: a table, made into seccomp programs by a program that runs
# here, so that quire itself needs no libseccomp.
SANDBOX_GEN := $(BUILD)/tools/sandbox_gen
SANDBOX_BPF := $(BUILD)/vmm/vm/sandbox_bpf.h

$(SANDBOX_GEN): $(BUILD)/tools/sandbox_gen.o $(BUILD)/vmm/vm/sandbox_rules.o
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(GEN_LIBS)

$(SANDBOX_BPF): $(SANDBOX_GEN)
	@echo '  GEN     $@'
	$(Q)$(SANDBOX_GEN) >$@.tmp && mv $@.tmp $@

$(BUILD)/mmu/merge/hash_avx2.o $(FUZZ_BUILD)/mmu/merge/hash_avx2.o: WARN += -mavx2

$(BUILD)/vmm/vm/sandbox.o $(FUZZ_BUILD)/vmm/vm/sandbox.o: $(SANDBOX_BPF)
$(BUILD)/vmm/vm/sandbox.o $(FUZZ_BUILD)/vmm/vm/sandbox.o: CPPFLAGS_ALL += -I$(BUILD)/vmm/vm

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

# Small images that tests boot.
-include $(wildcard tests/payload/payload.mk)

# The fuzzers: the same sources, instrumented, so that libFuzzer sees the branches taken.
FUZZ_SAN := address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS := -std=gnu11 -pthread -O1 -g $(WARN)

$(FUZZ_BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  FUZZCC  $<'
	$(Q)$(FUZZ_CC) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) \
		-c -o $@ $<

$(FUZZ_BUILD)/libquire.a: $(LIB_SRC:%.c=$(FUZZ_BUILD)/%.o)
	@echo '  AR      $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(FUZZ_BIN): %: %.o $(FUZZ_BUILD)/libquire.a
	@echo '  FUZZLD  $@'
	$(Q)$(FUZZ_CC) -pthread -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $^ $(LIBS)

# Where clang has no libFuzzer, tests/fuzz/fuzz.t says so and skips.
ifneq ($(filter check fuzz fuzzers,$(MAKECMDGOALS)),)
FUZZ_PROBE := int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n && 0; }
HAVE_FUZZER := $(shell echo '$(FUZZ_PROBE)' | \
	$(FUZZ_CC) -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null && echo 1)
endif
fuzzers: $(if $(HAVE_FUZZER),$(FUZZ_BIN))

TEST_ENV = QUIRE_MACHINE=own QUIRE_BUILD=$(BUILD) QUIRE_FUZZ_BUILD=$(FUZZ_BUILD) \
	FUZZ_SECONDS=$(FUZZ_SECONDS) CC='$(CC)' \
	ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:allocator_may_return_null=1 \
	UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1

# tools/check.sh runs prove and lists what was skipped, and why, before prove's own summary.
check: all headers-check $(TEST_BIN) $(PAYLOADS) fuzzers
	$(Q)$(TEST_ENV) TEST_TIMEOUT=$(TEST_TIMEOUT) \
		tools/check.sh '$(PROVE)' $(PROVE_OPTS) -- $(TEST_BIN) $(TEST_SH)

fuzz: fuzzers
	$(Q)$(TEST_ENV) $(PROVE) -v $(PROVE_OPTS) tests/fuzz/fuzz.t

# tests/bench/*_bench.c and *.sh measure; the other programs there are what they measure against.
bench: all $(BENCH_BIN)
	$(Q)for b in $(filter %_bench,$(BENCH_BIN)) $(BENCH_SH); do \
		echo "== $$b"; $(TEST_ENV) $$b || exit 1; done

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)QUIRE_BUILD=$(BUILD) tools/demo.sh

# Each header compiles alone; included, because in a main file clang wants every inline used.
headers-check:
	$(Q)for h in include/quire/*.h $(ROOMS:%=%/*.h); do \
		$(CC) $(CPPFLAGS_ALL) -MF /dev/null $(CFLAGS_ALL) -fsyntax-only \
			-include $$h -x c /dev/null || exit 1; done

lint: headers-check
	$(Q)tools/lint.sh

install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/quire' \
		'$(DESTDIR)$(PREFIX)/share/man/man1'
	install -m 755 $(BUILD)/quire '$(DESTDIR)$(PREFIX)/bin/quire'
	install -m 644 $(GUEST) '$(DESTDIR)$(PREFIX)/lib/quire/quill.elf'
	install -m 644 docs/quire.1 '$(DESTDIR)$(PREFIX)/share/man/man1/quire.1'

clean:
	rm -rf build build-*

.PHONY: all help deps check fuzzers fuzz bench demo headers-check lint install clean
-include $(shell find $(BUILD) $(FUZZ_BUILD) -name '*.d' 2>/dev/null)
