# The Debian package, made by CPack from what is built. What only a package has (the unit, which belongs to the system
# and not to a prefix; the directory of the configuration; Debian's papers) is the component "package", which
# `cmake --install` leaves out.
set(debian ${PROJECT_SOURCE_DIR}/packaging/debian)
set(revision 1)
set(MBSYNC_MAINTAINER "The mbsync authors <maintainers@mbsync.invalid>" CACHE STRING
  "Who answers for the package: NAME <ADDRESS>")

# LICENSE in the form that Debian reads: a paragraph's lines are indented, an empty one is a dot.
file(READ ${PROJECT_SOURCE_DIR}/LICENSE licence)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]+)" unused "${licence}")
set(copyright_holder "${CMAKE_MATCH_1}")
string(REGEX REPLACE "^MIT License\n\nCopyright[^\n]*\n\n" "" licence "${licence}")
string(REGEX REPLACE "\n+$" "" licence "${licence}")
string(REPLACE "\n" "\n " licence " ${licence}")
string(REPLACE "\n \n" "\n .\n" licence "${licence}")
configure_file(${debian}/copyright.in ${files}/copyright @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/LICENSE)

execute_process(COMMAND date -u -R -d ${MBSYNC_DATE} OUTPUT_VARIABLE changelog_date OUTPUT_STRIP_TRAILING_WHITESPACE)
configure_file(${debian}/changelog.in ${files}/changelog.Debian @ONLY)
execute_process(COMMAND gzip -9nkf ${files}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)

set(only_package COMPONENT package EXCLUDE_FROM_ALL)
install(FILES ${files}/mbsync.service DESTINATION /lib/systemd/system ${only_package})
install(DIRECTORY DESTINATION /etc/mbsync
  DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE ${only_package})
install(FILES ${files}/copyright ${files}/changelog.Debian.gz DESTINATION share/doc/mbsync ${only_package})
install(FILES ${debian}/lintian-overrides DESTINATION share/lintian/overrides RENAME mbsync ${only_package})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mbsync)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "${MBSYNC_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "keeps PostgreSQL databases of several machines in step")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "\
Every machine has a PostgreSQL of its own, which the application writes to,
and one mbsync beside it. The mbsyncs exchange what was written, directly and
encrypted, without a server in the middle. Concurrent writes of the same row
are found exactly, decided alike on every machine, and kept on record.
.
This package has the command mbsync, the service mbsyncd with its unit, the
manual pages and the completion for bash. It starts nothing by itself.")
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};mbsync;ALL;/;${PROJECT_BINARY_DIR};mbsync;package;/")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/package)
# Some of the files have places that are the same for every prefix.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
  WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${revision})
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# libdns_sd is looked for when mbsync starts, so dpkg-shlibdeps cannot know of it.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "avahi-daemon, libavahi-compat-libdnssd1")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "postgresql")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
