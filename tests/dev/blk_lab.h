/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_DEV_BLK_LAB_H
#define QUIRE_TESTS_DEV_BLK_LAB_H

/*
 * A disk with a driver made by hand.  Its image is a file in a directory of the test's own.  Beside
 * the engines that there are, there is one that fails or dawdles as it is told.
 */
#include "vmm/dev/blk.h"
#include "mmu/base/file_io_impl.h"
#include "virtio_lab.h"

#define SECTOR DISK_SECTOR
/* The last cluster of the image is not whole. */
#define BLK_SECTORS 2043u
#define BLK_BYTES   (BLK_SECTORS * SECTOR)

#define T_IN	  0u
#define T_OUT	  1u
#define T_FLUSH	  4u
#define T_GET_ID  8u
#define T_DISCARD 11u
#define T_ZEROES  13u
#define UNMAP	  1u

#define S_OK	 0
#define S_IOERR	 1
#define S_UNSUPP 2
#define S_NONE	 0xee /* no answer yet */

#define BLK_F_RO	   (1ULL << 5)
#define BLK_F_FLUSH	   (1ULL << 9)
#define BLK_F_DISCARD	   (1ULL << 13)
#define BLK_F_WRITE_ZEROES (1ULL << 14)

/* RAM that requests can have: two ranges, in bytes. */
#define AREA_LOW      0x8000u
#define AREA_LOW_END  0x20000u
#define AREA_HIGH     0x30000u
#define AREA_HIGH_END 0x40000u

struct blk_lab {
	struct blk *blk;
	struct disk *disk;
	struct file_io *io;
	struct lab_queue q;
	char dir[64], path[96];
	unsigned int errors; /* that on_error heard of */
	int last_error;
};
extern struct blk_lab bl;

/* What the engine of tests does. */
struct fault {
	int result; /* of operations of this type, once for each of `times` */
	unsigned int times;
	enum file_op_type type;
	bool slow;				   /* nothing is done before blk_lab_let_go() */
	unsigned int submitted[FILE_ALLOCATE + 1]; /* by type */
};
extern struct fault fault;
extern const struct file_engine disk_faulty;

/* Makes the directory and an image of BLK_BYTES: byte n is blk_lab_byte(n). */
void blk_lab_image(void);
uint8_t blk_lab_byte(uint64_t n);

/* Reads the image as it is in the file. */
void blk_lab_read_image(uint8_t image[BLK_BYTES]);

/* Removes them. */
void blk_lab_remove(void);

/* Creates the device on the image.  False: the host does not have the engine. */
bool blk_lab_create(enum disk_mode mode, const struct file_engine *engine);

/* With an overlay that was there already: disk_open()'s delta. */
bool blk_lab_create_on(int delta, enum disk_mode mode, const struct file_engine *engine);
void blk_lab_destroy(void);

/* The driver is ready, with these features and VERSION_1 and a queue of 128. */
void blk_lab_drive(uint64_t features);

/* Turns of the device's thread: until nothing is in flight. */
void blk_lab_run(void);

/* The operations in flight of disk_faulty may come out, in a random order. */
void blk_lab_let_go(uint64_t *seed);

/* A request and where it is in RAM. */
struct blk_ask {
	uint32_t type;
	uint64_t sector;
	gpa_t data;    /* one piece of RAM, or with `cut` many, in one of the areas */
	uint32_t len;  /* of the data */
	gpa_t head;    /* 17 bytes: header and status */
	uint64_t *cut; /* a seed: cut it into segments at random; NULL: three segments */
	bool indirect;
	uint16_t desc; /* first of the descriptors that it may use */
};

/* Make it available; the status byte is S_NONE. */
void blk_lab_ask(const struct blk_ask *ask);

/* The status byte. */
uint8_t blk_lab_status(const struct blk_ask *ask);

/* One request alone, data at AREA_LOW, to its end.  The status. */
uint8_t blk_lab_do(uint32_t type, uint64_t sector, uint32_t len);

/* DISCARD or WRITE_ZEROES. */
uint8_t blk_lab_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags);

#endif
