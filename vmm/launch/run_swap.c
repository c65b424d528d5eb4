/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <unistd.h>
#include "mmu/swap/swap_file.h"
#include "run_swap.h"

int run_prepare_swap(struct run *run, struct quire_error *err)
{
	struct gmem_swap *swap = &run->vm_config.swap;
	struct gfn_range ram[VM_MAX_RAM];
	unsigned int nr = vm_ram_layout(run->vm_config.ram_bytes, ram);
	uint64_t pages = ram[nr - 1].end;
	int fd;

	if (!run->launch.swap_dir && swap_faults_any(&swap->faults))
		return quire_fail(
			err, -EINVAL,
			"--swap-faults: there is no disk to fail, name one by --swap-dir");
	if (!run->launch.swap_dir)
		return 0;
	run->launch.swap_file_bytes = SWAP_FILE_BYTES(pages);
	run->launch.device_bytes += SWAP_MEMORY_BYTES(pages);
	fd = swap_file_make(run->launch.swap_dir, run->launch.swap_file_bytes, &swap->unit, err);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
