# SPDX-License-Identifier: MIT
# quill, the guest kernel: freestanding, static, linked with libfdt and nothing else.  Never
# sanitized: SANFLAGS are for programs that have a C library under them.  The nucleus runs at
# CPL 0 and is built for general registers only.

GUEST_SRC := $(wildcard guest/*.c)
GUEST_ASM := $(wildcard guest/*.S)
GUEST_OBJ := $(GUEST_SRC:%.c=$(BUILD)/%.o) $(GUEST_ASM:%.S=$(BUILD)/%.o)
GUEST_LD  := $(BUILD)/guest/quill.ld

GUEST_CPPFLAGS := -Iinclude -Iguest -U_FORTIFY_SOURCE -MMD -MP
GUEST_CFLAGS    = -std=gnu11 $(WARN) -O2 $(filter-out -fsanitize% -O%,$(CFLAGS)) -ffreestanding \
                  -fno-pic -fno-pie -mcmodel=small -fno-stack-protector \
                  -fno-asynchronous-unwind-tables -fcf-protection=none
$(BUILD)/guest/nucleus.o: GUEST_CFLAGS += -mgeneral-regs-only -mno-red-zone

$(BUILD)/guest/%.o: guest/%.c guest/guest.mk Makefile
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(Q)$(CC) $(GUEST_CPPFLAGS) $(GUEST_CFLAGS) -c -o $@ $<

$(BUILD)/guest/%.o: guest/%.S guest/guest.mk Makefile
	@mkdir -p $(@D)
	@echo '  AS      $<'
	$(Q)$(CC) $(GUEST_CPPFLAGS) -c -o $@ $<

$(GUEST_LD): guest/quill.ld guest/layout.h guest/guest.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CPPFLAGS) -MF $@.d -MT $@ -E -P -x c -o $@ $<

# A launcher copies the whole file, and most of it would be what only gdb reads.
$(GUEST): $(GUEST_OBJ) $(GUEST_LD)
	@echo '  LD      $@'
	$(Q)$(CC) -nostdlib -static -gz -Wl,-T,$(GUEST_LD),--build-id=none,-z,norelro \
		-Wl,--no-warn-rwx-segments -Wl,-z,noexecstack -o $@ $(GUEST_OBJ) -l:libfdt.a
