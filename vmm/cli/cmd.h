/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_CMD_H
#define QUIRE_VMM_CLI_CMD_H

/*
 * The subcommands of quire.  Each gets its own argv, of which argv[0] is its name.  It prints the
 * line of an error itself, and returns the exit status.
 */
#include <stdbool.h>
#include <stdint.h>

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary; /* one line of `quire help` */
	const char *usage;   /* `quire help NAME`: synopsis first, newline at the end */
};

/* For usages: what VM stands for where it may mean several, and where it has to be one. */
#define USAGE_VMS \
	"VM is a guest's name, its pid, or the pid of its quire run.  With -n the guests\n" \
	"are named NAME-1, NAME-2 and so on: then NAME, or the pid of the quire run, means\n" \
	"all of them.\n"
#define USAGE_SYMBOLS \
	"  --symbols=FILE\n" \
	"           names for addresses: an ELF file (vmlinux), or lines ADDRESS TYPE NAME\n" \
	"           (System.map, kallsyms); then SYMBOL, SYMBOL+OFFSET and SYMBOL-OFFSET\n" \
	"           are addresses; a Linux that moved itself (KASLR) is found\n"
#define USAGE_VM "VM is a guest's name, its pid, or the pid of its quire run.\n"

/* CLOCK_MONOTONIC at the start of main(). */
extern uint64_t process_start_ns;

int cmd_run(int argc, char **argv);
int cmd_map(int argc, char **argv);
int cmd_walk(int argc, char **argv);
int cmd_dis(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_machine(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_balloon(int argc, char **argv);
int cmd_sim(int argc, char **argv);
int cmd_reclaim(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_stress(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_play(int argc, char **argv);

/*
 * Not a command: was quire executed by itself, to be the process of a VM or a machine?  Then true,
 * and *status is the status with which that process has to end.
 */
bool cmd_is_part(int argc, char **argv, int *status);

extern const char run_usage[], map_usage[], walk_usage[], ps_usage[], stat_usage[];
extern const char metrics_usage[], events_usage[];
extern const char kill_usage[], pause_usage[], resume_usage[], machine_usage[], merge_usage[];
extern const char balloon_usage[], dis_usage[], dump_usage[], why_usage[], sim_usage[];
extern const char play_usage[], reclaim_usage[], stress_usage[], report_usage[], top_usage[],
	trace_usage[];

#endif
