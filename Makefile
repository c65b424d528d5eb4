# SPDX-License-Identifier: MIT
#
# make               build quire and the guest into $(BUILD)/
# make deps          install what is missing (Debian 12/13, Ubuntu)
# make demo          deps, build, and the main job on real guests
# make demo-linux    Linux guests that merge, with a balloon, beside QEMU with KSM; where KVM cannot
#                    run them, in the bed
# make tests         build the tests, and run none
# make check         every test under prove(1); SAN=1: the same under ASan and UBSan
# make check-bed     tests that touch KVM, in an emulated machine with real two-dimensional paging
#                    (BED=all: every test); make deps-bed installs what that needs
# make soak          the storms among the tests alone, SOAK times as long, and soak.t for
#                    SOAK_SECONDS
# make fuzz          the fuzzers alone, FUZZ_SECONDS each
# make bench         measure, side by side with the peers where there are any
# make lint          clang-format, line lengths, cppcheck, headers that compile alone, the manual
# make reference     docs/options.md, from what quire help prints
# make install       into $(DESTDIR)$(PREFIX); make uninstall takes it out again
# make deb           a Debian package, $(BUILD)/quire_VERSION.deb
# make help          this list
#
# Variables: CC CFLAGS LDFLAGS V=1 WERROR=1 SAN=1 BUILD PREFIX DESTDIR PROVE PROVE_OPTS
#            TEST_TIMEOUT (seconds a test may take) CHECK_JOBS (tests side by side)
#            SOAK SOAK_SECONDS FUZZ_SECONDS FUZZ_CC
#
# Objects of each kind of build have their own tree: $(BUILD) is build/ or, under SAN=1,
# build-san/; what libFuzzer drives is built by clang into build-fuzz/, what ThreadSanitizer
# watches into build-tsan/.  Without -j, make uses all processors.
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

ifeq ($(origin CC),default)
CC           := gcc
endif
CFLAGS       ?= -O2 -g
PREFIX       ?= /usr/local
PROVE        ?= prove
TEST_TIMEOUT ?= 300
CHECK_JOBS   ?= $(shell expr $$(nproc) + 3)
FUZZ_SECONDS ?= 3
SOAK         ?= 10
SOAK_SECONDS ?= 3600
FUZZ_CC      ?= clang
BUILD        ?= build$(if $(SAN),-san)
FUZZ_BUILD   := build-fuzz
TSAN_BUILD   := build-tsan
Q            := $(if $(V),,@)

VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wwrite-strings -Wvla -Wundef $(if $(WERROR),-Werror)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANFLAGS := $(if $(SAN),$(SANITIZE))
CPPFLAGS_ALL = -I. -Iinclude -D_GNU_SOURCE -DQUIRE_VERSION='"$(VERSION)"' -MMD -MP $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu11 -pthread $(WARN) $(SANFLAGS) $(CFLAGS)
LDFLAGS_ALL  = -pthread $(SANFLAGS) $(LDFLAGS)
# Libraries that need not be loaded at each start, where there is their archive.
archive_of    = $(if $(wildcard $(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))
LIBS         := $(call archive_of,fdt) $(call archive_of,uring) $(call archive_of,lz4) \
                $(call archive_of,zstd) $(call archive_of,yaml) $(call archive_of,jansson) \
                $(call archive_of,ncursesw) $(call archive_of,tinfo)
TEST_LIBS    = $(LIBS) -lpng
GEN_LIBS     = -lseccomp

ROOMS     := $(sort $(patsubst %/,%,$(dir $(wildcard mmu/*/*.h mmu/*/*/*.h vmm/*/*.h))))
LIB_SRC   := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
LIB       := $(BUILD)/libquire.a
TEST_SRC  := $(wildcard tests/*/*_test.c)
TEST_BIN  := $(TEST_SRC:%.c=$(BUILD)/%)
LAB_SRC   := $(filter-out %_test.c %_fuzz.c tests/bench/%,$(wildcard tests/*/*.c))
LAB_ROOMS := $(sort $(dir $(LAB_SRC)))
# What takes longest goes first, so that nothing of it is left over when all else is done.
STORMS    := tests/kvm/soak.t tests/kvm/merge_storm.t tests/house/tsan.t \
             $(BUILD)/tests/merge/keeper_storm_test tests/fuzz/fuzz.t tests/kvm/stress.t \
             tests/kvm/balloon_storm.t tests/kvm/truth.t tests/kvm/mmutest.t \
             tests/kvm/stress_cmd.t $(BUILD)/tests/memory/gmem_balloon_test \
             $(BUILD)/tests/memory/share_test
KEEPER_TESTS := $(patsubst %,$(BUILD)/tests/merge/%_test,keeper_storm keeper_rules keeper)
LONG      := tests/kvm/balloon_guest.t tests/kvm/sandbox.t tests/kvm/merge.t tests/kvm/launch.t \
             tests/kvm/balloon_qemu.t tests/kvm/run.t tests/kvm/workloads.t tests/kvm/tutorial.t \
             tests/kvm/load_control.t
TEST_SH   := $(filter-out tests/bed/%,$(wildcard tests/*/*.t))
# What also runs with guests on shadow tables (docs/testing.md).
BOTH      := $(KEEPER_TESTS) $(patsubst %,tests/kvm/%.t,merge workloads stress books \
             observe net oom process locked memfd cgroup merge_cli balloon_cli balloon_storm \
             balloon truth wait_for ps dump idle disk)
TESTS     := $(LONG) $(STORMS) $(BOTH:%=%@shadow) \
             $(filter-out $(LONG) $(STORMS),$(TEST_SH) $(TEST_BIN))
# What ThreadSanitizer watches is the same whatever SAN is.
ifneq ($(SAN),)
TESTS     := $(filter-out tests/house/tsan.t,$(TESTS))
endif
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
BENCH_SH  := $(wildcard tests/bench/*.sh)
FUZZ_SRC  := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_BIN  := $(FUZZ_SRC:%.c=$(FUZZ_BUILD)/%)
GUEST     := $(BUILD)/guest/quill.elf

MANUAL    := $(BUILD)/quire.1

all: $(BUILD)/quire $(GUEST) $(MANUAL)

help:
	@sed -n '3,/^\.DELETE/{/^#/s/^# \{0,1\}//p}' Makefile

deps:
	$(Q)tools/deps.sh

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

%.a:
	@echo '  AR      $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(LIB): $(LIB_SRC:%.c=$(BUILD)/%.o)

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

$(BUILD)/mmu/base/hash_avx2.o $(FUZZ_BUILD)/mmu/base/hash_avx2.o: WARN += -mavx2

$(BUILD)/vmm/vm/sandbox.o $(FUZZ_BUILD)/vmm/vm/sandbox.o: $(SANDBOX_BPF)
$(BUILD)/vmm/vm/sandbox.o $(FUZZ_BUILD)/vmm/vm/sandbox.o: CPPFLAGS_ALL += -I$(BUILD)/vmm/vm

# The page for browsers, which the assembler reads.
$(BUILD)/vmm/web/asset.o $(FUZZ_BUILD)/vmm/web/asset.o: $(wildcard vmm/web/page/*)

$(BUILD)/quire: $(BUILD)/vmm/main.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# What commands and options do is written once, in the program.
$(MANUAL): docs/quire.1.in tools/reference.sh $(BUILD)/quire
	@echo '  GEN     $@'
	$(Q)tools/reference.sh man $(BUILD)/quire <$< >$@.tmp && mv $@.tmp $@

reference: $(BUILD)/quire
	$(Q)tools/reference.sh options $(BUILD)/quire >docs/options.md

# What the tests of a room share is in its labs.a; some programs borrow another room's.  Archives
# are searched from left to right, so that a laboratory can stand in for a part of libquire.
parts_of = $(filter %.o,$(1)) $(filter %/labs.a,$(1)) $(filter %/libquire.a,$(1))

$(TEST_BIN): %: %.o $(BUILD)/tests/tap.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(call parts_of,$^) $(TEST_LIBS)

$(BENCH_BIN): %: %.o $(LIB)
	@echo '  LD      $@'
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(call parts_of,$^) $(LIBS)

labs_a = $(1)/$(2)labs.a: $(patsubst %.c,$(1)/%.o,$(filter $(2)%,$(LAB_SRC)))
$(foreach room,$(LAB_ROOMS),$(eval $(call labs_a,$(BUILD),$(room))))
$(foreach room,$(LAB_ROOMS),$(eval $(call labs_a,$(FUZZ_BUILD),$(room))))
$(foreach room,$(LAB_ROOMS),\
	$(eval $(filter $(BUILD)/$(room)%,$(TEST_BIN)): $(BUILD)/$(room)labs.a))
$(filter $(BUILD)/tests/kvm/%,$(TEST_BIN)): $(BUILD)/tests/format/labs.a
$(filter $(BUILD)/tests/merge/%,$(TEST_BIN)): $(BUILD)/tests/memory/labs.a
$(patsubst %,$(BUILD)/tests/cli/%_test,hostile merge_show named observe): $(BUILD)/tests/vm/labs.a
$(BUILD)/tests/launch/image_reader_test $(BUILD)/tests/launch/confine_test: \
	$(BUILD)/tests/kvm/labs.a
$(BUILD)/tests/base/exact_test $(BUILD)/tests/machine/store_test: $(BUILD)/tests/memory/labs.a
$(BUILD)/tests/look/sharing_test: $(BUILD)/tests/cli/labs.a $(BUILD)/tests/vm/labs.a
$(BUILD)/tests/bench/unshare_bench $(BUILD)/tests/reclaim/reclaimer_test \
$(BUILD)/tests/reclaim/reclaimer_age_test: \
	$(BUILD)/tests/memory/labs.a
$(BUILD)/tests/bench/walk_bench: $(BUILD)/tests/format/labs.a $(BUILD)/tests/kvm/labs.a
$(FUZZ_BUILD)/tests/fuzz/ctl_fuzz: $(FUZZ_BUILD)/tests/vm/labs.a
$(FUZZ_BUILD)/tests/fuzz/image_fuzz: $(FUZZ_BUILD)/tests/boot/labs.a
$(FUZZ_BUILD)/tests/fuzz/machine_fuzz: $(FUZZ_BUILD)/tests/machine/labs.a
$(FUZZ_BIN): $(FUZZ_BUILD)/tests/fuzz/labs.a
$(FUZZ_BUILD)/tests/fuzz/virtio_fuzz $(FUZZ_BUILD)/tests/fuzz/virtio_data_fuzz \
$(FUZZ_BUILD)/tests/fuzz/blk_fuzz: \
	$(FUZZ_BUILD)/tests/dev/labs.a
$(FUZZ_BUILD)/tests/fuzz/walk_fuzz: $(FUZZ_BUILD)/tests/format/labs.a
$(FUZZ_BUILD)/tests/fuzz/monitor_fuzz: $(FUZZ_BUILD)/tests/monitor/labs.a

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

$(FUZZ_BIN): %: %.o $(FUZZ_BUILD)/libquire.a
	@echo '  FUZZLD  $@'
	$(Q)$(FUZZ_CC) -pthread -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $(call parts_of,$^) $(LIBS)

# Where clang has no libFuzzer, tests/fuzz/fuzz.t says so and skips.
ifneq ($(filter check soak fuzz fuzzers,$(MAKECMDGOALS)),)
FUZZ_PROBE := int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n && 0; }
HAVE_FUZZER := $(shell echo '$(FUZZ_PROBE)' | \
	$(FUZZ_CC) -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null && echo 1)
endif
fuzzers: $(if $(HAVE_FUZZER),$(FUZZ_BIN))

# ThreadSanitizer: the tests with many threads, for tests/house/tsan.t.  It warns of fences,
# which it does not watch.  And it takes each clone() for a fork(), also that of a child which has
# our memory while we sleep: by another name it leaves that one alone.
TSAN_SRC := memory/gmem_test memory/swapped_test memory/gmem_balloon_test memory/waiting_test \
            memory/waiting_machine_test machine/credits_test dev/balloon_test \
            merge/keeper_storm_test monitor/flush_test
TSAN_BIN := $(TSAN_SRC:%=$(TSAN_BUILD)/tests/%)

$(TSAN_BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  TSANCC  $<'
	$(Q)$(CC) $(CPPFLAGS_ALL) -Dclone=__clone -std=gnu11 -pthread $(WARN) -w -O1 -g \
		-fsanitize=thread -c -o $@ $<

$(TSAN_BUILD)/mmu/base/hash_avx2.o: WARN += -mavx2

$(TSAN_BUILD)/libquire.a: \
	$(patsubst %.c,$(TSAN_BUILD)/%.o,$(filter mmu/% vmm/dev/% vmm/monitor/%,$(LIB_SRC)))

$(TSAN_BIN): %: %.o $(TSAN_BUILD)/tests/tap.o $(TSAN_BUILD)/libquire.a
	@echo '  TSANLD  $@'
	$(Q)$(CC) -pthread -fsanitize=thread -o $@ $(call parts_of,$^) $(LIBS)

$(foreach room,$(LAB_ROOMS),$(eval $(call labs_a,$(TSAN_BUILD),$(room))))
$(foreach room,$(LAB_ROOMS),\
	$(eval $(filter $(TSAN_BUILD)/$(room)%,$(TSAN_BIN)): $(TSAN_BUILD)/$(room)labs.a))
$(TSAN_BUILD)/tests/merge/keeper_storm_test: $(TSAN_BUILD)/tests/memory/labs.a

# Where the compiler has no ThreadSanitizer, tests/house/tsan.t says so and skips.
ifneq ($(filter check soak tsan,$(MAKECMDGOALS)),)
HAVE_TSAN := $(shell echo 'int main(void) { return 0; }' | \
	$(CC) -fsanitize=thread -x c -o /dev/null - 2>/dev/null && echo 1)
endif
tsan: $(if $(HAVE_TSAN),$(TSAN_BIN))

TEST_ENV = QUIRE_MACHINE=own QUIRE_BUILD=$(BUILD) QUIRE_FUZZ_BUILD=$(FUZZ_BUILD) \
	QUIRE_TSAN_BUILD=$(TSAN_BUILD) \
	FUZZ_SECONDS=$(FUZZ_SECONDS) CC='$(CC)' \
	ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:allocator_may_return_null=1 \
	UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1

tests: all $(TEST_BIN) $(PAYLOADS)

# tools/check.sh runs prove and lists what was skipped, and why, before prove's own summary.
check: tests headers-check fuzzers tsan
	$(Q)$(TEST_ENV) TEST_TIMEOUT=$(TEST_TIMEOUT) CHECK_JOBS=$(CHECK_JOBS) \
		tools/check.sh '$(PROVE)' $(PROVE_OPTS) -- $(TESTS)

# The storms alone, SOAK times as long, and soak.t, an hour; a failed one is repeated with the seed
# that it prints.
soak: all $(filter $(STORMS),$(TEST_BIN)) fuzzers tsan
	$(Q)$(TEST_ENV) QUIRE_STORM=$(SOAK) FUZZ_SECONDS=$$(($(SOAK) * $(FUZZ_SECONDS))) \
		SOAK_SECONDS=$(SOAK_SECONDS) CHECK_JOBS=$(CHECK_JOBS) \
		TEST_TIMEOUT=$$(($(SOAK) * $(TEST_TIMEOUT) + $(SOAK_SECONDS))) \
		tools/check.sh '$(PROVE)' --comments $(PROVE_OPTS) -- \
		$(STORMS) $(patsubst %,%@shadow,$(filter $(STORMS),$(BOTH)))

# The bed: QEMU's emulation of a processor with nested paging (docs/testing.md).
BED_DIR := build-bed

deps-bed:
	$(Q)tools/bed/deps.sh $(BED_DIR)

check-bed: tests
	$(Q)$(TEST_ENV) QUIRE_BED=$(BED_DIR) $(PROVE) $(PROVE_OPTS) tests/bed/bed.t

fuzz: fuzzers
	$(Q)$(TEST_ENV) $(PROVE) -v $(PROVE_OPTS) tests/fuzz/fuzz.t

# tests/bench/*_bench.c and *.sh measure; the other programs there are what they measure against.
bench: all $(BENCH_BIN)
	$(Q)for b in $(filter %_bench,$(BENCH_BIN)) $(BENCH_SH); do \
		echo "== $$b"; $(TEST_ENV) $$b || exit 1; done

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)QUIRE_BUILD=$(BUILD) tools/demo.sh

demo-linux: deps-bed
	$(Q)$(MAKE) --no-print-directory all
	$(Q)QUIRE_BUILD=$(BUILD) QUIRE_BED=$(BED_DIR) tools/demo-linux.sh

# Each header compiles alone; included, because in a main file clang wants every inline used.
headers-check:
	$(Q)for h in include/quire/*.h $(ROOMS:%=%/*.h); do \
		$(CC) $(CPPFLAGS_ALL) -MF /dev/null $(CFLAGS_ALL) -fsyntax-only \
			-include $$h -x c /dev/null || exit 1; done

lint: headers-check $(MANUAL)
	$(Q)BUILD=$(BUILD) tools/lint.sh

ROOT := $(DESTDIR)$(PREFIX)

install: all
	install -D -m 755 $(BUILD)/quire '$(ROOT)/bin/quire'
	install -D -m 644 $(GUEST) '$(ROOT)/lib/quire/quill.elf'
	install -D -m 644 $(MANUAL) '$(ROOT)/share/man/man1/quire.1'
	install -D -m 644 tools/completion.bash '$(ROOT)/share/bash-completion/completions/quire'

uninstall:
	rm -f '$(ROOT)/bin/quire' '$(ROOT)/lib/quire/quill.elf' '$(ROOT)/share/man/man1/quire.1' \
		'$(ROOT)/share/bash-completion/completions/quire'
	[ ! -d '$(ROOT)/lib/quire' ] || rmdir --ignore-fail-on-non-empty '$(ROOT)/lib/quire'

DEB := $(BUILD)/quire_$(VERSION).deb

deb: all
	$(Q)rm -rf '$(DEB).tree'
	$(Q)$(MAKE) --no-print-directory -o all install \
		DESTDIR='$(abspath $(DEB)).tree' PREFIX=/usr >/dev/null
	$(Q)tools/deb.sh '$(DEB).tree' $(VERSION) '$(DEB)'
	$(Q)rm -rf '$(DEB).tree'

clean:
	rm -rf build build-*

.PHONY: all help deps tests check soak check-bed deps-bed fuzzers tsan fuzz bench demo demo-linux \
        headers-check lint reference install uninstall deb clean
-include $(shell find $(BUILD) $(FUZZ_BUILD) $(TSAN_BUILD) -name '*.d' 2>/dev/null)
