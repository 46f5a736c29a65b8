#!/usr/bin/env python3
"""Each rule of check_sources.py finds what it is for, and lets pass what is right."""
import subprocess
import tempfile
import unittest
from pathlib import Path

import check_sources


class Rules(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = Path(self.directory.name)
        self.write(".clang-format", "BasedOnStyle: Google\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def product(self, name, text):
        """A file of a product folder that is listed, as it should be."""
        folder, file = name.rsplit("/", 1)
        self.write(name, text)
        self.write(f"{folder}/CMakeLists.txt", f"mbsync_folder(x SOURCES {file} LINKS y)\n")

    def found(self):
        return "\n".join(check_sources.findings(self.root))

    def test_right_sources_pass(self):
        self.product("libsync/core/a.cpp", '#include "a.h"\n\n#include <vector>\n// system_clock, <pqxx/pqxx>\n')
        self.write("libsync/core/a.h", "#pragma once\n")
        self.product("libsync/postgres/b.cpp", "#include <libpq-fe.h>\n\n#include <pqxx/pqxx>\n#include <thread>\n")
        self.product("libsync/transport/c.cpp", "#include <httplib.h>\n")
        self.assertEqual(self.found(), "")

    def test_what_is_taken_over_is_used(self):
        self.product("libsync/core/a.cpp", "using std::size_t;\nusing std::chrono::seconds;\nsize_t b = c::seconds();\n")
        self.assertIn("libsync/core/a.cpp:2: 'seconds' is taken over and not used", self.found())
        self.assertNotIn("size_t", self.found())

    def test_the_top_level_is_fixed(self):
        self.write("README.md", "\n")
        self.write("stray.deb", "\n")
        self.assertEqual(self.found(), "")  # not kept by anybody
        subprocess.run(["git", "init", "-q"], cwd=self.root, check=True)
        self.assertEqual(self.found(), "")
        subprocess.run(["git", "add", "."], cwd=self.root, check=True)
        self.assertIn("stray.deb: has no place at the top level", self.found())
        self.assertNotIn("README.md", self.found().split(":")[0])

    def test_core_and_protocol_are_pure(self):
        for header in ("fstream", "thread", "sys/socket.h", "random", "spdlog/logger.h", "pqxx/pqxx", "httplib.h"):
            self.product("libsync/protocol/a.cpp", f"#include <vector>\n#include <{header}>\n")
            self.assertIn(f"libsync/protocol/a.cpp:2: includes <{header}>", self.found())
        self.product("libsync/core/a.cpp", "int x;\nauto t = std::chrono::system_clock::now();\n")
        self.assertIn("libsync/core/a.cpp:2: uses system_clock", self.found())

    def test_each_library_has_one_door(self):
        for header in ("pqxx/pqxx", "libpq-fe.h", "httplib.h", "dns_sd.h", "spdlog/spdlog.h", "CLI/CLI.hpp"):
            self.product("libsync/service/a.cpp", f"#include <{header}>\n")
            self.assertIn(f"libsync/service/a.cpp:1: includes <{header}>, which is for", self.found())

    def test_dead_files(self):
        self.product("apps/x/a.cpp", "int a;\n")
        self.write("apps/x/aa.cpp", "int b;\n")
        self.write("apps/x/b.h", "#pragma once\n")
        self.write("apps/x/deep/c.cpp", "int c;\n")
        self.assertIn("apps/x/aa.cpp: is named in no CMakeLists.txt", self.found())
        self.assertIn("apps/x/b.h: is included by nobody", self.found())
        self.assertIn("apps/x/deep/c.cpp: is named in no CMakeLists.txt", self.found())
        self.assertNotIn("apps/x/a.cpp", self.found())

    def test_a_folder_lists_what_lies_below_it(self):
        self.product("apps/x/deep/c.cpp", "int c;\n")
        (self.root / "apps/x/deep/CMakeLists.txt").unlink()
        self.write("apps/x/CMakeLists.txt", "add_executable(x deep/c.cpp)\n")
        self.assertEqual(self.found(), "")

    def test_unfinished_work(self):
        for word in ("TO" "DO", "FIX" "ME", "XX" "X"):
            self.write("packaging/script", f"# one\n# {word}: later\n")
            self.assertIn(f"packaging/script:2: '{word}'", self.found())
        self.write("packaging/script", "mktemp /tmp/a-XXXXXX\n")
        self.assertEqual(self.found(), "")

    def test_the_log_quotes_no_rows(self):
        self.product("libsync/service/a.cpp", 'void f() {\n  log_warning(kDomain, "it failed reason={}",\n'
                                              '              log_value(done.error().text()));\n}\n')
        self.assertIn("libsync/service/a.cpp:3: an error in the log may quote a row", self.found())
        self.product("libsync/service/a.cpp", 'void f() {\n  log_warning(kDomain, "it failed reason={}",\n'
                                              '              log_value(done.error().log_text()));\n}\n')
        self.assertEqual(self.found(), "")

    def test_headers_are_read_once(self):
        self.write("tests/unit/a.h", "int a;\n")
        self.assertIn("tests/unit/a.h: has no #pragma once", self.found())

    def test_rules_have_examples_and_tests(self):
        self.write("libsync/core/CONFLICTS.md", "## C1 One\n\n*Example.* x\n\n## C2 Two\n\nNo more.\n\n## C3 is not used\n")
        self.write("tests/unit/a.cpp", "// C1, C20\n")
        self.assertEqual(self.found(), "libsync/core/CONFLICTS.md:5: C2 has no example\n"
                                       "libsync/core/CONFLICTS.md:5: no test cites C2")

    def test_layout(self):
        self.write("tests/unit/a.cpp", "int   a ;\n")
        found = self.found()
        if found:  # clang-format of the right version is installed
            self.assertIn("tests/unit/a.cpp: layout differs", found)
            self.write("tests/unit/a.cpp", "int a;\n")
            self.assertEqual(self.found(), "")


if __name__ == "__main__":
    unittest.main()
