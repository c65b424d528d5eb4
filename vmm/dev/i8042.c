/* SPDX-License-Identifier: MIT */
/*
 * The keyboard controller of a PC, ports 0x60 and 0x64, with nothing connected to it.
 *
 * Kernels reset a PC by command 0xfe, or by its output port.  Before that they wait until it takes
 * a command, and boot loaders ask for its output port, to switch address line 20 on.  With nothing
 * there, all ones would be read, and such waits never end.  So it answers its own commands, in no
 * time.  Nothing that is sent to a keyboard is answered.
 */
#include <string.h>
#include "bus.h"
#include "platform.h"

#define DATA_PORT    0x60
#define COMMAND_PORT 0x64

#define STATUS_OUTPUT 0x01u /* there is a byte to be read */
#define STATUS_SYSTEM 0x04u /* its self-test has passed */

#define READ_SETTINGS  0x20u
#define WRITE_SETTINGS 0x60u
#define READ_OUTPUT    0xd0u
#define WRITE_OUTPUT   0xd1u
#define WRITE_LOOP     0xd3u /* the byte that follows as data comes back */
#define PULSE_RESET    0xfeu

#define OUTPUT_RUNS 0x01u /* bit of the output port; 0: the processor is in reset */
#define OUTPUT_A20  0x02u

/* Commands that have the same answer every time. */
static const struct {
	uint8_t command, answer;
} answers[] = {
	{ 0xaa, 0x55 }, /* self-test: passed */
	{ 0xa9, 0x01 }, /* test of the mouse's line: there is none */
	{ 0xab, 0x00 }, /* test of the keyboard's line: no fault */
	{ 0xc0, 0x80 }, /* input port: the keyboard is not locked */
	{ READ_OUTPUT, 0xcc | OUTPUT_RUNS | OUTPUT_A20 },
};

static void answer(struct power *power, uint8_t byte)
{
	atomic_store(&power->answer, byte);
	atomic_store(&power->answered, true);
}

static void i8042_command(struct power *power, uint8_t command)
{
	atomic_store(&power->command, command);
	if (command == PULSE_RESET)
		power->reset(power->ctx);
	if (command == READ_SETTINGS)
		answer(power, atomic_load(&power->settings));
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		if (command == answers[i].command)
			answer(power, answers[i].answer);
}

static void i8042_data(struct power *power, uint8_t byte)
{
	uint8_t command = atomic_exchange(&power->command, 0);

	if (command == WRITE_SETTINGS)
		atomic_store(&power->settings, byte);
	else if (command == WRITE_OUTPUT && !(byte & OUTPUT_RUNS))
		power->reset(power->ctx);
	else if (command == WRITE_LOOP)
		answer(power, byte);
}

/* A device at DATA_PORT and one at COMMAND_PORT: KVM's PIT has port 0x61, between them. */

static void data_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		      unsigned int count)
{
	struct power *power = ctx;

	(void)offset;
	memset(data, atomic_load(&power->answer), (size_t)width * count);
	atomic_store(&power->answered, false);
}

static void data_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	const uint8_t *byte = data;

	(void)offset;
	for (unsigned int i = 0; i < width * count; i++)
		i8042_data(ctx, byte[i]);
}

static void command_read(void *ctx, uint64_t offset, unsigned int width, void *data,
			 unsigned int count)
{
	struct power *power = ctx;
	uint8_t status = STATUS_SYSTEM;

	(void)offset;
	if (atomic_load(&power->answered))
		status |= STATUS_OUTPUT;
	memset(data, status, (size_t)width * count);
}

static void command_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
			  unsigned int count)
{
	const uint8_t *byte = data;

	(void)offset;
	for (unsigned int i = 0; i < width * count; i++)
		i8042_command(ctx, byte[i]);
}

int i8042_add(struct bus *ports, struct power *power)
{
	struct device data = {
		.name = "i8042 data",
		.base = DATA_PORT,
		.bytes = 1,
		.max_width = 1,
		.read = data_read,
		.write = data_write,
		.ctx = power,
	};
	struct device command = {
		.name = "i8042",
		.base = COMMAND_PORT,
		.bytes = 1,
		.max_width = 1,
		.read = command_read,
		.write = command_write,
		.ctx = power,
	};
	int ret = bus_add(ports, &data);

	return ret ? ret : bus_add(ports, &command);
}
