#!/usr/bin/env python3
"""Checks on the sources: who includes what, no dead file, no unfinished work, every rule tested, one layout.

    check_sources.py DIRECTORY      prints one line per finding, ends with 1 if there is any
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PRODUCT = ("libsync", "libdiscovery", "apps")
PURE = ("libsync/core", "libsync/policy", "libsync/protocol")
# The version that .clang-format is written for; others lay out some lines differently.
CLANG_FORMAT_MAJOR = "14"

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
USING = re.compile(r"^[ \t]*using [\w:]*::(\w+);", re.MULTILINE)
TOLD = re.compile(r"\blog_(?:info|warning|error)\([^;]*?error(?:\(\))?\.(?:text\(\)|message)")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

# What a folder that is to be pure must not include, and must not call.
IMPURE_HEADERS = re.compile(
    r"^(pqxx|libpq|httplib|spdlog|openssl/|CLI/|dns_sd"
    r"|(fstream|iostream|filesystem|thread|mutex|shared_mutex|condition_variable|future|random|cstdio|ctime|stdio\.h|unistd\.h)$"
    r"|(sys|netinet|arpa|net)/)")
IMPURE_CALLS = re.compile(r"\b(system_clock|steady_clock|high_resolution_clock|random_device|getenv|gettimeofday|clock_gettime)\b")

# Each outside library has one door: header, and the folders that may include it.
DOORS = (
    (re.compile(r"^(pqxx/|pqxx$|libpq)"), ("libsync/postgres",)),
    (re.compile(r"^httplib"), ("libsync/transport",)),
    (re.compile(r"^dns_sd\.h$"), ("libdiscovery",)),
    (re.compile(r"^spdlog/"), ("libsync/service/log.cpp",)),
    (re.compile(r"^CLI/"), ("apps",)),
    (re.compile(r"^toml\+\+"), ("libsync/policy", "libsync/service")),
)

TOP = ("CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "apps", "examples", "libdiscovery", "libsync",
       "packaging", "tests", "vcpkg.json")

# The rules that tests cite by their numbers.
RULES = "libsync/core/CONFLICTS.md"
RULE = re.compile(r"^## (C\d+) ([^\n]*)$", re.MULTILINE)

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def inside(name, places):
    return any(name == place or name.startswith(place + "/") for place in places)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def without_comments(text):
    """The same text with comments blanked, so that line numbers stay."""
    return COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def source_files(root, tops):
    for top in tops:
        for directory, folders, files in os.walk(root / top):
            folders[:] = sorted(f for f in folders if f not in ("build", "__pycache__", "node_modules"))
            for file in sorted(files):
                yield Path(directory, file)


def check_includes(name, code):
    for match in INCLUDE.finditer(code):
        header, line = match.group(1), line_of(code, match.start())
        if inside(name, PURE) and IMPURE_HEADERS.search(header):
            yield f"{name}:{line}: includes <{header}>; core and protocol do no input or output"
        for door, places in DOORS:
            if door.search(header) and not inside(name, places):
                yield f"{name}:{line}: includes <{header}>, which is for {' and '.join(places)} alone"
    if inside(name, PURE):
        for match in IMPURE_CALLS.finditer(code):
            yield (f"{name}:{line_of(code, match.start())}: uses {match.group()}; "
                   "core and protocol are told the time and are given randomness")


def check_using(name, code):
    """A name is taken over from another namespace for use. clang-tidy takes the use in any source it looks at for one."""
    for match in USING.finditer(code):
        used = len(re.findall(rf"(?<!::)\b{match.group(1)}\b", code[:match.start()] + code[match.end():]))
        if used == 0:
            yield f"{name}:{line_of(code, match.start())}: '{match.group(1)}' is taken over and not used"


def check_told(name, code):
    """What the database says of a row is no business of the log's (base/error.h, of_row)."""
    for match in TOLD.finditer(code):
        yield f"{name}:{line_of(code, match.end())}: an error in the log may quote a row: log_text() leaves that out"


def check_listed(root, codes):
    """Every .cpp is named in a CMakeLists.txt above it, every header is included by somebody."""
    included = {os.path.basename(header) for code in codes.values() for header in INCLUDE.findall(code)}
    for name in codes:
        path = root / name
        if path.suffix == ".h":
            if path.name not in included:
                yield f"{name}: is included by nobody"
            continue
        folder = path.parent
        while True:
            listing = folder / "CMakeLists.txt"
            relative = path.relative_to(folder).as_posix()
            if listing.exists() and re.search(rf"(^|[\s(]){re.escape(relative)}($|[\s)])", listing.read_text()):
                break
            if folder == root:
                yield f"{name}: is named in no CMakeLists.txt, so it is not built"
                break
            folder = folder.parent


def check_layout(root, names):
    program = shutil.which(f"clang-format-{CLANG_FORMAT_MAJOR}") or shutil.which("clang-format")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout if program else ""
    if f"version {CLANG_FORMAT_MAJOR}." not in version:
        print(f"skipped: layout (clang-format {CLANG_FORMAT_MAJOR} is not installed)")
        return
    # All files in one call: starting the program costs more than reading them.
    done = subprocess.run([program, "--dry-run", *names], cwd=root, capture_output=True, text=True)
    ragged = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-format-violations" in line})
    for name in ragged:
        yield f"{name}: layout differs from .clang-format; run: {os.path.basename(program)} -i {name}"


def check_rules(root):
    """Each numbered rule has an example, and some test cites it."""
    document = root / RULES
    if not document.exists():
        return
    text = document.read_text()
    tests = "\n".join(path.read_text(errors="replace") for path in sorted((root / "tests").rglob("*.cpp")))
    for rule in RULE.finditer(text):
        number, title = rule.group(1), rule.group(2)
        if title.strip() == "is not used":
            continue
        place = f"{RULES}:{line_of(text, rule.start())}"
        end = text.find("\n## ", rule.end())
        if "*Example.*" not in text[rule.end():end if end >= 0 else len(text)]:
            yield f"{place}: {number} has no example"
        if not re.search(rf"\b{number}\b", tests):
            yield f"{place}: no test cites {number}"


def check_top(root):
    """What is kept at the top level is what belongs there."""
    if not shutil.which("git"):
        print("skipped: the top level (git is not installed)")
        return
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode != 0:
        return  # an unpacked archive
    for name in sorted({path.split("/")[0] for path in listed.stdout.split("\0") if path}):
        if name not in TOP and not name.startswith("."):
            yield f"{name}: has no place at the top level; remove it, or put it below one of {', '.join(TOP)}"


def findings(root):
    codes = {}
    sources = []
    for path in source_files(root, (*PRODUCT, "tests", "packaging", "examples")):
        name = path.relative_to(root).as_posix()
        if path.suffix in (".png", ".jpg", ".ico", ".gz", ".zst", ".bin"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in UNFINISHED.finditer(text):
            yield f"{name}:{line_of(text, match.start())}: '{match.group()}': finish it, or write an issue"
        if path.suffix not in (".cpp", ".h"):
            continue
        sources.append(name)
        if path.suffix == ".h" and "#pragma once" not in text:
            yield f"{name}: has no #pragma once"
        if inside(name, PRODUCT):
            codes[name] = without_comments(text)
            yield from check_includes(name, codes[name])
            yield from check_told(name, codes[name])
            if path.suffix == ".cpp":
                yield from check_using(name, codes[name])
    yield from check_top(root)
    yield from check_listed(root, codes)
    yield from check_rules(root)
    yield from check_layout(root, sources)


def main():
    found = list(findings(Path(sys.argv[1]).resolve()))
    for line in found:
        print(line)
    print(f"{len(found)} findings" if found else "sources are tidy")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
