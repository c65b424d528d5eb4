# SPDX-License-Identifier: MIT
#
# For the benchmarks in this folder: medians, ratios, and the line that names the machine.
quire=${QUIRE_BUILD:-build}/quire
quill=${QUIRE_BUILD:-build}/guest/quill.elf
bare=${QUIRE_BUILD:-build}/tests/bench/bare_kvm
warm=${QUIRE_BUILD:-build}/tests/bench/warm
runs=${BENCH_RUNS:-7}

median() {
	sort -g | awk '{ v[NR] = $1 }
		END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

spread() {
	sort -g | awk '{ v[NR] = $1 } END { printf "%s..%s", v[1], v[NR] }'
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

# Microseconds that a command takes from exec to exit; its output is thrown away.
elapsed_us() {
	local start=$EPOCHREALTIME end
	"$@" >/dev/null 2>&1 </dev/null
	end=$EPOCHREALTIME
	echo $((${end/./} - ${start/./}))
}

machine() {
	echo "# $(uname -sr), $(nproc) CPUs," \
		"$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)," \
		"$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)," \
		"medians of $runs runs"
}
