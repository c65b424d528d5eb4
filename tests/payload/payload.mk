# SPDX-License-Identifier: MIT
#
# Small guests that are not quill: one for each way to boot, one for what a guest needs of
# KVM's interrupt controllers, and drivers of few words.  32-bit and 16-bit code
# without a library, so any x86 gcc or clang and ld will do.

PAYLOAD_ELF := multiboot_hello multiboot_smp pvh32_hello pvh32_write pvh32_balloon \
               pvh32_interrupt pvh32_queue_wait pvh32_locked pvh32_alternate
PAYLOAD_BIN := flat_hello
PAYLOADS    := $(PAYLOAD_ELF:%=$(BUILD)/payload/%.elf) $(PAYLOAD_BIN:%=$(BUILD)/payload/%.bin)

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

payloads: $(PAYLOADS)
.PHONY: payloads
.SECONDARY: $(PAYLOAD_ELF:%=$(BUILD)/payload/%.o) $(PAYLOAD_BIN:%=$(BUILD)/payload/%.o)
