/* SPDX-License-Identifier: MIT */
/*
 * The console.  Input comes from a polled 16550 at COM1.  Output goes to quire's text port if the
 * device tree has it, and else to the 16550.
 *
 * Every access to a port leaves the guest, so accesses are dear and bytes are not.  Output is
 * therefore gathered in a buffer.  The text port takes all of it with one access, which writes the
 * buffer's address.  The UART takes it in bursts: one read of the line status register, then a
 * `rep outsb` of as many bytes as the FIFO of a real 16550A holds when it is empty.
 */
#include <quire/abi.h>
#include "kernel.h"

#define UART_DATA (QUIRE_UART_PORT + 0)
#define UART_FCR  (QUIRE_UART_PORT + 2)
#define UART_LSR  (QUIRE_UART_PORT + 5)

#define UART_FIFO  16
#define FCR_ENABLE 0x01
#define LSR_DR	   0x01 /* a byte has been received */
#define LSR_THRE   0x20 /* the transmitter, with the FIFO, is empty */

/* As the text port wants it (abi.h); gpa == gva in the image. */
static struct {
	uint32_t bytes;
	char data[4096];
} text;

/* Called before each use of the UART, so that a guest that uses none spends no access on it. */
static void enable_fifo(void)
{
	static bool enabled;

	if (!enabled)
		outb(UART_FCR, FCR_ENABLE);
	enabled = true;
}

static void send_by_uart(const char *p, uint64_t bytes)
{
	enable_fifo();
	while (bytes) {
		uint64_t n = bytes < UART_FIFO ? bytes : UART_FIFO;

		bytes -= n;
		while (!(inb(UART_LSR) & LSR_THRE))
			__asm__ volatile("pause");
		__asm__ volatile("rep outsb"
				 : "+S"(p), "+c"(n)
				 : "d"((uint16_t)UART_DATA)
				 : "memory");
	}
}

void console_flush(void)
{
	if (!text.bytes)
		return;
	if (boot.text_port)
		outl(QUIRE_CONSOLE_PORT, (uint32_t)(uintptr_t)&text);
	else
		send_by_uart(text.data, text.bytes);
	text.bytes = 0;
}

void console_putc(char c)
{
	text.data[text.bytes++] = c;
	if (text.bytes == sizeof(text.data))
		console_flush();
}

bool console_has_input(void)
{
	return inb(UART_LSR) & LSR_DR;
}

int console_getc(void)
{
	console_flush();
	enable_fifo();
	while (!console_has_input())
		clock_wait(CLOCK_NEVER);
	return inb(UART_DATA);
}
