# SPDX-License-Identifier: MIT
#
# Small guests that are not quill: one for each way to boot, one for what a guest needs of
# KVM's interrupt controllers, and drivers of few words.  Code without a library, so any x86 gcc or
# clang and ld will do.

PAYLOAD_ELF := multiboot_hello multiboot_smp multiboot_asleep multiboot2_moved \
               pvh32_hello pvh32_write pvh32_broken pvh32_balloon pvh32_interrupt \
               pvh32_line pvh32_queue_wait pvh32_locked pvh32_alternate
PAYLOAD_BIN := flat_hello flat_bios flat_screen
PAYLOAD_LINUX := linux32_hello linux64_hello linux32_instructions linux64_instructions \
                 linux64_interrupts linux64_smp
PAYLOADS    := $(PAYLOAD_LINUX:%=$(BUILD)/payload/%.bzImage) \
               $(BUILD)/payload/multiboot2_hello.elf $(BUILD)/payload/hostile.elf \
               $(PAYLOAD_ELF:%=$(BUILD)/payload/%.elf) $(PAYLOAD_BIN:%=$(BUILD)/payload/%.bin) \
               $(BUILD)/payload/features

# A program for Linux guests, which have no libraries.
$(BUILD)/payload/features: tests/payload/features.c tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -static -O1 $(WARN) -o $@ $<

$(BUILD)/payload/%.o: tests/payload/%.S tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  AS      $<'
	$(Q)$(CC) -m32 -Iinclude -MMD -MP -c -o $@ $<

$(BUILD)/payload/%.elf: $(BUILD)/payload/%.o tests/payload/payload.lds
	@echo '  LD      $@'
	$(Q)$(LD) -m elf_i386 --build-id=none -T tests/payload/payload.lds -o $@ $<

$(BUILD)/payload/%.bin: $(BUILD)/payload/%.o
	@echo '  LD      $@'
	$(Q)$(LD) -m elf_i386 --build-id=none --oformat binary -Ttext 0x7c00 -o $@ $<

# Payloads in C: the same source for 32 and 64 bits.
PAYLOAD_CFLAGS := -Iinclude -MMD -MP -Os -ffreestanding -fno-pic -fno-stack-protector \
                  -fcf-protection=none -mgeneral-regs-only -mno-red-zone $(WARN)

$(BUILD)/payload/%32.o: tests/payload/%.c tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -m32 $(PAYLOAD_CFLAGS) -c -o $@ $<

$(BUILD)/payload/%64.o: tests/payload/%.c tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -m64 $(PAYLOAD_CFLAGS) -c -o $@ $<

$(BUILD)/payload/linux_start%.o: tests/payload/linux_start.S tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  AS      $@'
	$(Q)$(CC) -m$* -MMD -MP -c -o $@ $<

define LINUX_PAYLOAD
$(BUILD)/payload/linux$(1)_%.bzImage: $(BUILD)/payload/linux_start$(1).o \
		$(BUILD)/payload/linux_%$(1).o tests/payload/linux.lds
	@echo '  LD      $$@'
	$$(Q)$$(LD) -m $(2) --build-id=none --oformat binary -e start -T tests/payload/linux.lds \
		-o $$@ $$(filter %.o,$$^)
endef
$(eval $(call LINUX_PAYLOAD,32,elf_i386))
$(eval $(call LINUX_PAYLOAD,64,elf_x86_64))

$(BUILD)/payload/multiboot2_hello.elf: $(BUILD)/payload/multiboot2_hello32.o
	@echo '  LD      $@'
	$(Q)$(LD) -m elf_i386 --build-id=none -T tests/payload/payload.lds -o $@ $<

HOSTILE := $(patsubst tests/payload/%,$(BUILD)/payload/%64.o,\
	$(basename $(wildcard tests/payload/hostile*.[cS])))

$(BUILD)/payload/hostile_start64.o: tests/payload/hostile_start.S tests/payload/payload.mk
	@mkdir -p $(@D)
	@echo '  AS      $<'
	$(Q)$(CC) -m64 -MMD -MP -c -o $@ $<

$(BUILD)/payload/hostile.elf: $(HOSTILE) tests/payload/payload.lds
	@echo '  LD      $@'
	$(Q)$(LD) -m elf_x86_64 --build-id=none -T tests/payload/payload.lds -o $@ $(HOSTILE)

payloads: $(PAYLOADS)
.PHONY: payloads
.SECONDARY: $(HOSTILE) $(PAYLOAD_ELF:%=$(BUILD)/payload/%.o) $(PAYLOAD_BIN:%=$(BUILD)/payload/%.o) \
            $(foreach bits,32 64,$(BUILD)/payload/linux_start$(bits).o \
                                 $(BUILD)/payload/linux_hello$(bits).o \
                                 $(BUILD)/payload/linux_instructions$(bits).o) \
           $(BUILD)/payload/linux_interrupts64.o $(BUILD)/payload/linux_smp64.o
