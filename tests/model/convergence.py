#!/usr/bin/env python3
"""Executable model of the replication design, kept apart from the C++ so that each checks the other.

Random writes, deletes, pulls and forgetting on 2 to 5 nodes, then quiescence; every node must hold the same rows and
nothing may be left to forget. Rules: libsync/core/CONFLICTS.md, last writer wins for every column.

    convergence.py [runs] [--no-forget-guard]        runs histories of seeds 0, 1, ...; exit 1 if any diverges
    convergence.py --emit N [--seed S]               writes N histories as JSON lines
    convergence.py --emit N [--seed S] --check FILE  exit 1 if FILE differs from what would be written
    convergence.py --emit N [--seed S] --into PROGRAM
                                                     lets PROGRAM replay them from its standard input

A history is one line: {"seed": s, "nodes": n, "steps": [...]} with the steps
    ["w", node, key, at, {column: value}]   write; all columns where the row is new
    ["d", node, key, at]                    delete
    ["p", node, other, rows, live]          node pulls from other; then it has these rows and so many live writes
    ["f", node, live]                       forget; then it has so many live writes
    ["e", rows, [live, ...]]                all nodes have these rows, and each so many live writes
where rows is {key: [values of a, b, c]}.
"""
import argparse
import copy
import difflib
import json
import os
import subprocess
import sys

MARK = '*'
COLUMNS = ['a', 'b', 'c']


class Write:
    __slots__ = ('dot', 'at', 'columns', 'deleted', 'lost', 'image')

    def __init__(self, dot, at, columns, deleted=False, image=None):
        self.dot, self.at, self.columns, self.deleted = dot, at, frozenset(columns), deleted
        self.lost = {}  # values that the row may not show
        self.image = image  # of a delete: the row as it was


class Node:
    def __init__(self, index, count, guard, skew):
        self.index, self.count, self.guard, self.skew = index, count, guard, skew
        self.seen, self.live, self.rows = [0] * count, {}, {}
        self.reports = {j: [0] * count for j in range(count)}

    def write(self, key, at, update):
        """Updates the row; one that is not there is inserted, and `update` then has all columns."""
        self.overwrite(key, at, set(update), False, None)
        self.rows[key] = {**self.rows.get(key, {}), **update}

    def delete(self, key, at):
        if key in self.rows:
            self.overwrite(key, at, set(COLUMNS), True, dict(self.rows[key]))
            del self.rows[key]

    def overwrite(self, key, at, columns, deleted, image):
        columns = columns | {MARK}
        self.seen[self.index] += 1
        older = self.live.get(key, [])
        for write in older:
            write.columns -= columns
            for column in columns:
                write.lost.pop(column, None)
        new = Write((self.index, self.seen[self.index]), at, columns, deleted, image)
        self.live[key] = [write for write in older if write.columns] + [new]

    def value(self, key, write, column):
        if write.deleted:
            return write.image[column]
        return write.lost[column] if column in write.lost else self.rows[key][column]

    def with_values(self, key):
        return [(copy.copy(write), {c: self.value(key, write, c) for c in write.columns if c != MARK})
                for write in self.live.get(key, [])]

    def answer(self, asker):
        # The request carries the asker's vector and reports: they travel ahead of the writes that they vouch for,
        # which is what the guard in forget() is for.
        self.learn(asker.index, asker.seen, asker.reports)
        return {key: (self.with_values(key), dict(self.rows[key]) if key in self.rows else None)
                for key, writes in self.live.items() if any(w.dot[1] > asker.seen[w.dot[0]] for w in writes)}

    def learn(self, other, seen, reports):
        for j, report in reports.items():
            self.reports[j] = [max(a, b) for a, b in zip(self.reports[j], report)]
        self.reports[other] = [max(a, b) for a, b in zip(self.reports[other], seen)]

    def pull(self, other):
        for key, (theirs, row) in other.answer(self).items():
            self.settle(key, self.join(self.with_values(key), theirs, other.seen), row)
        self.seen = [max(a, b) for a, b in zip(self.seen, other.seen)]
        self.learn(other.index, other.seen, other.reports)

    def join(self, mine, theirs, their_seen):
        mine = {write.dot: (write, values) for write, values in mine}
        theirs = {write.dot: (write, values) for write, values in theirs}
        merged = []
        for dot in sorted(set(mine) | set(theirs)):
            origin, counter = dot
            if dot in mine and dot in theirs:
                write, values = mine[dot]
                columns = write.columns & theirs[dot][0].columns
            elif dot in mine:
                if counter <= their_seen[origin]:
                    continue
                write, values = mine[dot]
                columns = write.columns
            else:
                if counter <= self.seen[origin]:
                    continue
                write, values = theirs[dot]
                columns = write.columns
            if columns:
                merged.append((Write(write.dot, write.at, columns, write.deleted, write.image), values))
        return merged

    def settle(self, key, merged, incoming):
        old = self.rows.get(key)
        marked = [write for write, _ in merged if MARK in write.columns]
        exists = any(not write.deleted for write in marked) if marked else old is not None
        self.live[key] = [write for write, _ in merged]
        if not exists:
            self.rows.pop(key, None)
            return
        row = {}
        for column in COLUMNS:
            siblings = [(write, values[column]) for write, values in merged if column in write.columns]
            counted = [sibling for sibling in siblings if not sibling[0].deleted] or siblings
            if counted:
                row[column] = max(counted, key=lambda sibling: (sibling[0].at, sibling[0].dot))[1]
            else:
                row[column] = old[column] if old is not None else incoming[column]
            for write, value in siblings:
                write.lost[column] = value
        self.rows[key] = row

    def forget(self):
        self.reports[self.index] = list(self.seen)
        # A report may be used only once we hold all its author's own writes up to it.
        if self.guard and any(self.seen[j] < self.reports[j][j] for j in range(self.count)):
            return
        for key, writes in list(self.live.items()):
            if all(self.reports[j][w.dot[0]] >= w.dot[1] for j in range(self.count) for w in writes):
                del self.live[key]

    def live_count(self):
        return sum(len(writes) for writes in self.live.values())

    def listed_rows(self):
        return {str(key): [row[c] for c in COLUMNS] for key, row in sorted(self.rows.items())}


class Divergence(Exception):
    pass


class Rng:
    """SplitMix64. Python's own generator draws differently from version to version."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9e3779b97f4a7c15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & mask
        z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & mask
        return (z ^ (z >> 31)) % limit

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def choice(self, items):
        return items[self.below(len(items))]


def run(seed, guard=True):
    """One history; returns it as the dictionary that --emit writes, or raises Divergence."""
    rng = Rng(seed)
    count = rng.between(2, 5)
    nodes = [Node(i, count, guard, rng.between(-50, 50)) for i in range(count)]
    steps = []

    def value():
        return rng.choice([None, '', '1', '2', '3'])

    def write(node, now):
        key, at = rng.below(3), now + node.skew
        chosen = COLUMNS if key not in node.rows else rng.choice(['a', 'b', 'c', 'ab', 'ac', 'bc'])
        update = {column: value() for column in chosen}
        node.write(key, at, update)
        steps.append(['w', node.index, key, at, update])

    def delete(node, now):
        key, at = rng.below(3), now + node.skew
        node.delete(key, at)
        steps.append(['d', node.index, key, at])

    def pull(node, other):
        node.pull(other)
        steps.append(['p', node.index, other.index, node.listed_rows(), node.live_count()])

    def forget(node):
        node.forget()
        steps.append(['f', node.index, node.live_count()])

    def pull_all():
        for node in nodes:
            for other in nodes:
                if node is not other:
                    node.pull(other)
                    steps.append(['p', node.index, other.index])

    def check_equal():
        if any(node.rows != nodes[0].rows for node in nodes):
            raise Divergence([node.listed_rows() for node in nodes])
        steps.append(['e', nodes[0].listed_rows(), [node.live_count() for node in nodes]])

    for now in range(rng.between(10, 90)):
        node, chance = rng.choice(nodes), rng.below(100)
        if chance < 35:
            write(node, now)
        elif chance < 45:
            delete(node, now)
        elif chance < 85:
            other = rng.choice(nodes)
            if other is not node:
                pull(node, other)
        else:
            forget(node)
    for _ in range(2):
        pull_all()
    check_equal()
    for _ in range(3):
        pull_all()
        for node in nodes:
            forget(node)
    check_equal()
    if any(node.live for node in nodes):
        raise Divergence('live writes left that all have: %s' % [node.live_count() for node in nodes])
    return {'seed': seed, 'nodes': count, 'steps': steps}


def lines(count, first_seed):
    for seed in range(first_seed, first_seed + count):
        yield json.dumps(run(seed), separators=(',', ':')) + '\n'


def search(runs, guard):
    diverged = 0
    for seed in range(runs):
        try:
            run(seed, guard)
        except (Divergence, KeyError) as error:
            diverged += 1
            if diverged < 4:
                print('diverged: seed', seed, repr(error))
    print(f'{runs} runs, {diverged} diverged')
    return diverged > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', type=int, nargs='?', default=20000)
    parser.add_argument('--no-forget-guard', action='store_true')
    parser.add_argument('--emit', type=int, metavar='N')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--check', metavar='FILE')
    parser.add_argument('--into', metavar='PROGRAM')
    options = parser.parse_args()
    if options.emit is None:
        return search(options.runs, not options.no_forget_guard)
    if options.check:
        with open(options.check, encoding='ascii') as file:
            stored = file.readlines()
        differing = [diff for diff in difflib.unified_diff(stored, list(lines(options.emit, options.seed)), n=0)]
        if differing:
            print(f'{options.check} is not what the model makes; write it again with --emit {options.emit} '
                  f'--seed {options.seed}. First difference:')
            print('\n'.join(line[:300] for line in differing[:4]))
        return bool(differing)
    if options.into:
        text = ''.join(lines(options.emit, options.seed))
        environment = {**os.environ, 'MBSYNC_HISTORY_FILE': '-'}
        return subprocess.run([options.into], input=text, text=True, env=environment).returncode
    sys.stdout.writelines(lines(options.emit, options.seed))
    return 0


if __name__ == '__main__':
    sys.exit(main())
