#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Metrics against an independent parser, the rules that promtool and the naming advice of Prometheus
# have, docs/metrics.md, the Grafana dashboard, and the numbers of quire stat --json.
#
# metrics_check.py OPENMETRICS TEXT BEFORE.json AFTER.json: TAP without a plan.  The numbers may lie
# anywhere between those of before and after.
import json
import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

openmetrics, text = (open(path).read() for path in sys.argv[1:3])
before, after = (json.load(open(path)) for path in sys.argv[3:5])
document = open('docs/metrics.md').read()
SUFFIX = {'counter': '_total', 'info': '_info'}
UNITS = {'_pages': ('_bytes', 4096), '_ns': ('_seconds', 1e-9), '_percent': ('_ratio', 0.01)}


def none(what, findings):
    print('ok' if not findings else 'not ok', '-', what)
    for finding in findings[:20]:
        print('#', finding)


def parsed(parse, source):
    try:
        return list(parse(source)), []
    except Exception as error:
        return [], [repr(error)]


families, errors = parsed(parse_open, openmetrics)
none('prometheus_client reads the OpenMetrics text', errors)
old, errors = parsed(parse_text, text)
none('... and the text of format 0.0.4', errors)
none('only OpenMetrics ends in # EOF',
     [] if openmetrics.endswith('\n# EOF\n') and '# EOF' not in text else ['it does not'])

# ---- rules ----

samples = [s for f in families for s in f.samples]
series = [(s.name, tuple(sorted(s.labels.items()))) for s in samples]
none('no series is there twice', sorted({str(s) for s in series if series.count(s) > 1})
     if len(series) != len(set(series)) else [])
none('a metric has a help', [f.name for f in families if not f.documentation])
none('names are of small letters and have our prefix',
     [f.name for f in families if not re.fullmatch(r'quire_[a-z0-9]+(_[a-z0-9]+)*', f.name)])
none('units are base units, at the end of the name', [
    f.name for f in families
    if re.search(r'_(ns|us|ms|milliseconds|nanoseconds|kib|mib|kb|mb|pages|percent|minutes)$', f.name)
    or f.unit != (re.findall('_(bytes|seconds|ratio)$', f.name) or [''])[0]])
none('no name has its type in it',
     [f.name for f in families if re.search('gauge|counter|histogram|summary', f.name)])
none('only a counter ends in _total, only a histogram has buckets', [
    s.name for f in families for s in f.samples
    if (f.type == 'counter') != s.name.endswith('_total')
    or (f.type == 'histogram') != s.name.endswith('_bucket')
    or re.search('_(count|sum|created)$', s.name)])
none('labels are of small letters', [
    name for s in samples for name in s.labels if not re.fullmatch('[a-z][a-z_]*', name)])
none('a series of a VM says which VM and which domain', [
    s.name for s in samples
    if s.name.startswith('quire_vm_') != ('vm' in s.labels and 'domain' in s.labels)])
none('counters and histograms are not negative', [
    s.name for f in families if f.type in ('counter', 'histogram')
    for s in f.samples if s.value < 0])
none('both forms have the same series', [
    str(s) for s in set(series) ^ {
        (s.name, tuple(sorted(s.labels.items()))) for f in old for s in f.samples}])

# ---- the table in docs/metrics.md ----

rows = re.findall(r'^\| `(\w+)` \| (\w+) \| `([^`]+)` \| (.+?) \|$', document, re.M)
by_name = {}
for metric, kind, member, about in rows:
    by_name.setdefault(metric, (kind, []))[1].append(member)
named = {f.name + SUFFIX.get(f.type, ''): f for f in families}
none('docs/metrics.md has each metric, with its type', [
    name for name, f in named.items() if by_name.get(name, ('',))[0] != f.type])
none('... and its help', [
    name for name, f in named.items()
    if f.documentation not in [about for metric, _, _, about in rows if metric == name]])
left_out = set(re.findall(r'`((?:vm|machine)\.\w+)`', document.split('These members are no')[1]))


def pattern(member):
    escaped = re.sub(r'\\\{(\w+)\\\}', r'(?P<\1>[^.]+?)', re.escape(member))
    return re.compile(escaped)


patterns = [(pattern(member), metric, kind, member) for metric, kind, member, _ in rows]


def row_of(path):
    for expression, metric, kind, member in patterns:
        match = expression.fullmatch(path)
        if match:
            return metric, kind, member, match.groupdict()
    return None


def members(path, value):
    """Paths of numbers, and of objects that are one metric."""
    row = row_of(path)
    if isinstance(value, dict) and not (row and row[1] == 'histogram'):
        return [m for key, below in value.items() for m in members(f'{path}.{key}', below)]
    return [(path, value, row)] if row or not isinstance(value, str) else []


# ---- the numbers ----

values = {key: s.value for key, s in zip(series, samples)}
missing, wrong, nr = [], [], 0


def expect(name, labels, low, high):
    global nr
    value = values.get((name, tuple(sorted(labels.items()))))
    nr += 1
    slack = 1e-9 * max(abs(low), abs(high), 1)
    if value is None:
        missing.append(f'{name} {labels}')
    elif not min(low, high) - slack <= value <= max(low, high) + slack:
        wrong.append(f'{name} {labels}: {value}, not from {low} to {high}')


def expect_member(path, first, last, row, labels):
    metric, kind, member, found = row
    scale = next((unit[1] for end, unit in UNITS.items() if member.endswith(end)), 1)
    labels = {**labels, **found}
    if kind == 'histogram':
        totals = [sum(n for key, n in times.items() if key.startswith('below'))
                  for times in (first, last)]
        expect(metric + '_bucket', {**labels, 'le': '+Inf'}, *totals)
        for s in samples:
            if s.name == metric + '_bucket' and s.labels['le'] != '+Inf' and \
                    s.labels == {**labels, 'le': s.labels['le']}:
                bound = round(float(s.labels['le']) * 1e9) + 1
                expect(s.name, s.labels, *(
                    sum(n for key, n in times.items()
                        if key.startswith('below') and int(key.split('_')[1]) <= bound)
                    for times in (first, last)))
    elif kind == 'stateset':
        expect(metric, {**labels, metric: last}, 1, 1)
    elif kind == 'info':
        info = [s for s in samples if s.name == metric and s.labels['vm'] == labels['vm']]
        if len(info) != 1 or info[0].labels[path.split('.')[1]] != last:
            wrong.append(f'{metric} {path}')
    else:
        expect(metric, labels, first * scale, last * scale)


unknown = []


def expect_object(kind, first, last, labels):
    earlier = {path: value for path, value, _ in members(kind, first)}
    for path, value, row in members(kind, last):
        if not row:
            if path not in left_out:
                unknown.append(path)
        elif path in earlier:
            expect_member(path, earlier[path], value, row, labels)


expect_object('machine', before['machine'], after['machine'], {})
for first, last in zip(before['vms'], after['vms']):
    expect_object('vm', first, last, {'vm': last['name'], 'domain': last['domain']})
none('each number of quire stat --json is a metric, or said to be none', sorted(set(unknown)))
none('... and the metric is there', missing)
none('... and has the same value', wrong)
none('there were many of them', [] if nr > 400 else [f'{nr}'])

# ---- the dashboard ----

dashboard = json.load(open('docs/grafana.json'))
queries = [target['expr'] for panel in dashboard['panels'] for target in panel.get('targets', [])]
queries += [v['definition'] for v in dashboard['templating']['list'] if 'definition' in v]
used = {name for query in queries for name in re.findall(r'quire_\w+', query)}
none('docs/grafana.json asks for metrics that there are', sorted(used - {s.name for s in samples}))
none('... and for many', [] if len(used) > 20 else sorted(used))
ids = [panel['id'] for panel in dashboard['panels']]
none('... in panels with an id and a title of their own each',
     [] if len(set(ids)) == len(ids) == len({p['title'] for p in dashboard['panels']}) else ['no'])
