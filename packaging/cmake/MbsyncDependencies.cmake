# The libraries mbsync is built with. Which Debian packages carry them: packaging/dependencies.txt.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libpqxx REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(libpq REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(libzstd REQUIRED IMPORTED_TARGET libzstd)
# Debian compiles cpp-httplib; its defines (OpenSSL support among them) come from its .pc file.
pkg_check_modules(cpp_httplib REQUIRED IMPORTED_TARGET cpp-httplib)
# How the service tells systemd that it is ready; the library is on every system that systemd runs.
pkg_check_modules(libsystemd REQUIRED IMPORTED_TARGET libsystemd)
