#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Images of others (tools/images.sh): those of installed packages, and those that were fetched
# before, do what the table says.  Nothing is downloaded here.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

export OFFLINE=1 SECONDS_EACH=5 QUIRE_BUILD=$build IMAGES=${IMAGES:-build-images}
[ -d "$IMAGES" ] || IMAGES=$dir/images

names=$(tools/images.sh list)
rows=$(sed -n '/^## Images of others/,/^## /s/^| `\([^`]*\)` .*/\1/p' docs/images.md)
check 'each image has a row in docs/images.md, and each row an image' \
	[ "$(sort <<<"$names")" = "$(sort <<<"$rows")" ]
check '... at least thirty of them are foreign' \
	[ "$(grep -cxvE 'hello-.*|smp-multiboot|quill|screen|bios-calls' <<<"$names")" -ge 30 ]
check 'a name that is none is refused' is "$(tools/images.sh get none 2>&1; echo $?)" \
	$'images.sh: no image \'none\', see tools/images.sh list\n2'

one() { tools/images.sh check "$1" >"$dir/said-$1" 2>&1; }
export -f one
export dir
xargs -P 2 -I NAME bash -c 'one NAME' <<<"$names"
for name in $names; do
	case $(head -n 1 "$dir/said-$name") in
	ok*) result 0 "$name" ;;
	missing*) skip "$name is not there" ;;
	slow*) skip "$name needs more than $SECONDS_EACH seconds here" ;;
	*) result 1 "$name" || tr -d '\0' <"$dir/said-$name" | sed 's/^/# /' ;;
	esac
done
done_testing
