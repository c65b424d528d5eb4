#!/bin/bash
# SPDX-License-Identifier: MIT
#
# docs/ci/slurm.sh on a real Slurm of one node, whose programs tools/slurm.sh has unpacked.  munged,
# slurmctld and slurmd have all their files in a temporary folder, and run in namespaces of their
# own: their ports are nobody else's, and when this test ends, however it does, the kernel ends them
# and whatever they have started.
set -u
cd "$(dirname "$0")/../.." || exit 1

if [ -z "${QUIRE_SLURM_TEST-}" ]; then
	if unshare -npf --mount-proc true 2>/dev/null; then
		QUIRE_SLURM_TEST=inside exec unshare -npf --mount-proc --kill-child "$0"
	fi
	echo '1..0 # SKIP namespaces need root'
	exit 0
fi

. tests/kvm/shell.bash

root=$PWD/build-slurm
lib=$root/usr/lib/$(uname -m)-linux-gnu
[ -x "$root/usr/sbin/munged" ] || skip_all 'no Slurm in build-slurm; make deps gets it'
# What it needs of other packages is there where they are of the same release.
missing=$(LD_LIBRARY_PATH=$lib:$lib/slurm-wlm ldd "$root"/usr/sbin/* 2>/dev/null | grep 'not found')
[ -z "$missing" ] || skip_all "Slurm's libraries are not here: ${missing%%=*}"

# program NAME: Debian's slurmctld may be slurmctld-wlm
program() {
	find "$root/usr/sbin" "$root/usr/bin" -name "$1" -o -name "$1-wlm" | head -n 1
}

slurm() {
	LD_LIBRARY_PATH=$lib:$lib/slurm-wlm SLURM_CONF=$dir/slurm.conf timeout 100 \
		"$(program "$1")" "${@:2}"
}

# serve NAME ARG...: run one of the daemons
serve() {
	LD_LIBRARY_PATH=$lib:$lib/slurm-wlm SLURM_CONF=$dir/slurm.conf \
		"$(program "$1")" "${@:2}" >"$dir/$1.out" 2>&1 &
	runs+=($!)
}

ip link set lo up
ip addr add 192.0.2.1/32 dev lo # with loopback alone, getaddrinfo() finds no address at all

mkdir -m 700 "$dir/state" "$dir/spool" "$dir/munge"
head -c 64 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"
cat >"$dir/slurm.conf" <<END
ClusterName=quire
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
PluginDir=$lib/slurm-wlm
SlurmctldPort=26817
SlurmdPort=26818
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmdSpoolDir=$dir/spool
StateSaveLocation=$dir/state
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/linear
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
NodeName=one NodeHostname=$(hostname) NodeAddr=127.0.0.1 CPUs=2 RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=one Default=YES State=UP OverSubscribe=FORCE:2
END
serve munged --foreground --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
	--pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
for _ in $(seq 200); do
	[ -S "$dir/munge/socket" ] && break
	sleep 0.05
done
serve slurmctld -D -f "$dir/slurm.conf"
serve slurmd -D -N one -f "$dir/slurm.conf" -d "$(program slurmstepd)"
for _ in $(seq 200); do
	slurm sinfo -h -o %T 2>/dev/null | grep -qx idle && break
	sleep 0.2
done
if ! slurm sinfo -h -o %T 2>/dev/null | grep -qx idle; then
	tail -n 3 "$dir"/*.out | sed 's/^/# /'
	bail_out 'Slurm does not start'
fi

# ---- five scenarios in an array of two tasks ----

scenario() {
	cat >"$dir/$1.yaml" <<END
name: $1
machine: { memory: 64M }
guests:
  - { name: g, memory: 16M, args: [hold, "1", "200", seconds=1000], exit: 0 }
timeline:
  - { expect: "vm.g.ram_pages == $2", eventually: $3 }
  - { end: g }
END
}

for name in a b c d; do
	scenario $name 4096 60s
done
export QUIRE=$quire QUIRE_PART=$PWD/docs/ci/part.sh QUIRE_RESULTS=$dir/results
[[ $QUIRE == /* ]] || QUIRE=$PWD/$QUIRE
submit() {
	slurm sbatch --wait --chdir="$dir" --array=0-1 docs/ci/slurm.sh "$@"
}
check 'a job array plays scenarios' submit "$dir"/[a-d].yaml
check '... in as many tasks' is "$(find "$dir" -name 'quire-*-[01].log' | wc -l)" 2
check '... each of them its part' \
	is "$(for task in 0 1; do grep -hoE '[a-d] was played' "$dir"/quire-*-$task.log; done |
		cut -c1 | tr -d '\n')" acbd
check 'quire report reads what they left' "$quire" report "$dir/results" --html="$dir/page.html"
check '... a row for each' is "$("$quire" report "$dir/results" | grep -cE '^[a-d] +pass +')" 4

scenario e 1 1s
submit "$dir"/[ade].yaml >/dev/null 2>&1
status=$?
check 'one that fails makes the job fail' is "$status" 1
"$quire" report "$dir/results" >"$dir/table"
check '... and the report, whose status says so' is $? 1
check '... and whose line says which' \
	grep -qF "$dir/results/e/result.json: line 6: vm.g.ram_pages == 1" "$dir/table"
done_testing
