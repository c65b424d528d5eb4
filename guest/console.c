/* SPDX-License-Identifier: MIT */
/*
 * The console: a 16550 at COM1, polled.
 *
 * What costs is not a byte but an access: every one leaves the guest.  So output is gathered
 * in a buffer, and a burst is one read of the line status register, then one `rep outsb` of as
 * much as the transmit FIFO holds when it is empty: 16 bytes in a real 16550A, thousands in
 * quire's, whose device tree says how many.
 *
 * KVM splits a `rep outsb` into bytes, and a VMM may let it gather them (coalesced port I/O)
 * until the next exit.  Hence console_flush() ends in another read of the status register:
 * when it returns, the text has left the machine.
 */
#include <quire/abi.h>
#include "kernel.h"

#define UART_DATA (QUIRE_UART_PORT + 0)
#define UART_FCR  (QUIRE_UART_PORT + 2)
#define UART_LSR  (QUIRE_UART_PORT + 5)

#define FCR_ENABLE 0x01
#define LSR_DR	   0x01	/* a byte has been received */
#define LSR_THRE   0x20	/* the transmitter, with the FIFO, is empty */

static char buffer[4096];
static unsigned int used;

void console_init(void)
{
	outb(UART_FCR, FCR_ENABLE);
}

static void wait_empty(void)
{
	while (!(inb(UART_LSR) & LSR_THRE))
		__asm__ volatile("pause");
}

void console_drain(void)
{
	const char *p = buffer;

	while (used) {
		uint64_t n = used < boot.uart_fifo ? used : boot.uart_fifo;

		wait_empty();
		used -= (unsigned int)n;
		__asm__ volatile("rep outsb"
				 : "+S"(p), "+c"(n)
				 : "d"((uint16_t)UART_DATA)
				 : "memory");
	}
}

void console_flush(void)
{
	if (!used)
		return;
	console_drain();
	wait_empty();
}

void console_putc(char c)
{
	buffer[used++] = c;
	if (used == sizeof(buffer))
		console_drain();
}

int console_getc(void)
{
	console_flush();
	while (!(inb(UART_LSR) & LSR_DR))
		__asm__ volatile("pause");
	return inb(UART_DATA);
}
