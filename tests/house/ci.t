#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The files of docs/ci: scripts that shellcheck likes, YAML that parses, and the shapes that GitHub,
# GitLab and Kubernetes want, as far as that can be seen here.  The rules of the Job are those of
# its API reference (batch/v1 Job, core/v1 Pod): members that exist, of these types.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash

# ---- part.sh, with a quire that only says what it was told ----

cat >"$dir/quire" <<'END'
#!/bin/sh
echo "$*" >>"${0%/*}/told"
case $* in *bad*) exit 1 ;; esac
END
chmod +x "$dir/quire"
export QUIRE=$dir/quire
for part in 0 1 2; do
	docs/ci/part.sh "$dir/r" $part 3 x/a.yaml x/b.yaml x/c.yaml x/d.yaml >/dev/null || break
done
check 'part.sh: all parts together play each scenario once' is "$(
	sed "s|.*--report=$dir/r/||" "$dir/told" | sort | tr '\n' ',')" \
	'a x/a.yaml,b x/b.yaml,c x/c.yaml,d x/d.yaml,'
docs/ci/part.sh "$dir/r" 0 1 x/bad.yaml x/a.yaml
check '... one that fails is its status' is $? 1
check '... and the next is played' is "$(tail -n 1 "$dir/told" | sed 's/.* //')" x/a.yaml
docs/ci/part.sh "$dir/r" one 3 x 2>/dev/null
check '... wrong words are refused' is $? 2

if command -v shellcheck >/dev/null; then
	check 'scripts are as shellcheck wants them' shellcheck docs/ci/*.sh tools/slurm.sh
else
	skip 'no shellcheck'
fi

# ---- the shapes ----

if ! python3 -c 'import yaml' 2>/dev/null; then
	skip 'no python3-yaml; make deps installs it'
	done_testing
	exit
fi

# shapes FILE...: prints what is wrong with these
cat >"$dir/shapes.py" <<'END'
import os, re, subprocess, sys, tempfile, yaml

wrong = []

class Strict(yaml.SafeLoader):
    pass

def mapping(loader, node, deep=False):
    keys = [k.value for k, _ in node.value]
    for key in set(k for k in keys if keys.count(k) > 1):
        wrong.append(f"line {node.start_mark.line + 1}: {key} is there twice")
    return yaml.SafeLoader.construct_mapping(loader, node, deep)

Strict.add_constructor('tag:yaml.org,2002:map', mapping)

# A shape: a type; [shape] a list; {'k': shape} those members, of which 'k!' is needed; a dict with
# '*' has any members of that shape; a regular expression for texts; a tuple: one of these.
def fits(value, shape, at):
    if isinstance(shape, tuple):
        before = len(wrong)
        for one in shape:
            del wrong[before:]
            fits(value, one, at)
            if len(wrong) == before:
                return
    elif isinstance(shape, type):
        if type(value) is not shape:
            wrong.append(f"{at}: {value!r} is no {shape.__name__}")
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or not shape.fullmatch(value):
            wrong.append(f"{at}: {value!r}")
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return wrong.append(f"{at}: no list, or an empty one")
        for i, item in enumerate(value):
            fits(item, shape[0], f"{at}[{i}]")
    elif not isinstance(value, dict):
        wrong.append(f"{at}: no object")
    else:
        known = {k.rstrip('!'): s for k, s in shape.items()}
        for key in shape:
            if key.endswith('!') and key[:-1] not in value:
                wrong.append(f"{at}: no {key[:-1]}")
        for key, item in value.items():
            if key in known or '*' in known:
                fits(item, known.get(key, known.get('*')), f"{at}.{key}")
            else:
                wrong.append(f"{at}: there is no member {key}")

word = re.compile(r'[a-z0-9]([-a-z0-9]*[a-z0-9])?')
quantity = re.compile(r'[0-9]+(m|[KMGT]i?)?')
resources = {'*': (quantity, int)}

github = {'name!': str, 'on!': (list, dict, str), 'permissions': dict, 'jobs!': {'*': {
    'runs-on!': str, 'needs': (str, [str]), 'if': str, 'timeout-minutes!': int,
    'strategy': {'fail-fast': bool, 'matrix!': {'*': list}},
    'steps!': [{'name': str, 'if': str, 'id': str, 'env': dict, 'run': str, 'shell': str,
        'uses': re.compile(r'[\w.-]+/[\w./-]+@v\d+'), 'with': {'*': (str, int, bool)}}]}}}

gitlab_job = {'stage!': str, 'tags': [str], 'parallel': int, 'timeout': str, 'when': str,
    'cache': {'key!': (str, {'files!': [str]}), 'paths!': [str]}, 'before_script': [str],
    'script!': [str], 'after_script': [str], 'needs': [str], 'image': str,
    'artifacts': {'when': re.compile('always|on_failure|on_success'), 'paths!': [str],
        'expire_in': str, 'reports': dict}}
gitlab = {'stages!': [str], 'default': {'image': str}, '*': gitlab_job}

container = {'name!': word, 'image!': str, 'command': [str], 'args': [str],
    'resources': {'requests': resources, 'limits': resources},
    'securityContext': {'runAsUser': int, 'privileged': bool,
        'capabilities': {'add': [str], 'drop': [str]},
        'seccompProfile': {'type!': re.compile('Unconfined|RuntimeDefault|Localhost')}},
    'volumeMounts': [{'name!': word, 'mountPath!': re.compile('/.*'), 'readOnly': bool}]}
meta = {'name!': word, 'labels': {'*': str}}
job = {'apiVersion!': re.compile('batch/v1'), 'kind!': re.compile('Job'), 'metadata!': meta,
    'spec!': {
    'completionMode!': re.compile('Indexed'), 'completions!': int, 'parallelism!': int,
    'backoffLimit': int, 'activeDeadlineSeconds': int, 'template!': {
        'metadata': {'labels': {'*': str}}, 'spec!': {
            'restartPolicy!': re.compile('Never|OnFailure'), 'containers!': [container],
            'volumes': [{'name!': word, 'persistentVolumeClaim': {'claimName!': word},
                'emptyDir': {'medium': re.compile('Memory|')}}]}}}}
claim = {'apiVersion!': re.compile('v1'), 'kind!': re.compile('PersistentVolumeClaim'),
    'metadata!': meta, 'spec!': {'accessModes!': [re.compile('ReadWrite(Many|Once)')],
        'resources!': {'requests!': resources}}}

def shell(text, at):
    with tempfile.NamedTemporaryFile('w', suffix='.sh') as f:
        f.write(re.sub(r'\$\{\{.*?\}\}', 'x', text))
        f.flush()
        if subprocess.run(['bash', '-n', f.name], capture_output=True).returncode:
            wrong.append(f"{at}: bash cannot read it")

def look(path):
    docs = list(yaml.load_all(open(path), Loader=Strict))
    name = os.path.basename(path)
    if name == 'github.yml':
        docs[0]['on'] = docs[0].pop(True)  # on means true in YAML 1.1
        fits(docs[0], github, 'workflow')
        for j, one in docs[0]['jobs'].items():
            for need in [one['needs']] if 'needs' in one else []:
                if need not in docs[0]['jobs']:
                    wrong.append(f"{j} needs {need}, which is not there")
            for step in one['steps']:
                if ('run' in step) == ('uses' in step):
                    wrong.append(f"{j}: a step has either run or uses")
                shell(step.get('run', ''), j)
                if 'upload' in step.get('uses', '') and 'always()' not in step.get('if', ''):
                    wrong.append(f"{j}: nothing is uploaded when a scenario has failed")
    elif name == 'gitlab.yml':
        fits(docs[0], gitlab, 'pipeline')
        for j, one in docs[0].items():
            if isinstance(one, dict) and 'stage' in one:
                if one['stage'] not in docs[0]['stages']:
                    wrong.append(f"{j}: there is no stage {one['stage']}")
                for key in ('before_script', 'script', 'after_script'):
                    for line in one.get(key, []):
                        shell(line, j)
    else:
        for d in docs:
            fits(d, job if d.get('kind') == 'Job' else claim, d.get('kind', 'document'))
        spec = [d for d in docs if d['kind'] == 'Job'][0]['spec']
        pod = spec['template']['spec']
        volumes = {v['name'] for v in pod['volumes']}
        for v in pod['volumes']:
            if 'persistentVolumeClaim' in v and v['persistentVolumeClaim']['claimName'] not in \
                    [d['metadata']['name'] for d in docs]:
                wrong.append(f"no claim of the volume {v['name']}")
        for c in pod['containers']:
            shell(c['args'][0], c['name'])
            if not re.search(rf'JOB_COMPLETION_INDEX" {spec["completions"]}\b', c['args'][0]):
                wrong.append("the pods do not share out as many parts as there are")
            if not any(k.endswith('/kvm') for k in c['resources']['limits']):
                wrong.append("no device of KVM among the limits")
            for m in c['volumeMounts']:
                if m['name'] not in volumes:
                    wrong.append(f"there is no volume {m['name']}")

try:
    look(sys.argv[1])
except yaml.YAMLError as e:
    wrong.append(f"is no YAML: {e}".replace('\n', ' '))
print('\n'.join(wrong))
END
shapes() {
	python3 "$dir/shapes.py" "$1" 2>&1
}

for file in github.yml gitlab.yml kubernetes.yaml; do
	none "$file has the right shape" "$(shapes "docs/ci/$file" | grep .)"
done

# spoilt FILE SED...: is a file that was changed so found to be wrong?
spoilt() {
	sed "$2" "docs/ci/$1" >"$dir/$1"
	shapes "$dir/$1" >"$dir/found"
	grep -q . "$dir/found" && ! grep Traceback "$dir/found" && ! cmp "$dir/$1" "docs/ci/$1"
}

while IFS='|' read -r file change; do
	check "... $file: $change is noticed" spoilt "$file" "$change"
done <<'END'
github.yml|s/runs-on/run-on/
github.yml|s/needs: play/needs: plays/
github.yml|s/@v4/@main/
github.yml|s/always() && //
github.yml|s/timeout-minutes: 10/timeout-minutes: ten/
gitlab.yml|s/stage: play/stage: plays/
gitlab.yml|s/script:/scripts:/
kubernetes.yaml|s/completionMode/completionmode/
kubernetes.yaml|s/restartPolicy: Never/restartPolicy: Always/
kubernetes.yaml|s/completions: 4/completions: 5/
kubernetes.yaml|s/kubevirt.io.kvm/kubevirt.io-tun/
kubernetes.yaml|s/claimName: quire/claimName: choir/
kubernetes.yaml|s/memory: 2Gi/memory: [2]/
END
done_testing
