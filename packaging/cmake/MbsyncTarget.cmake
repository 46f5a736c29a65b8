# mbsync_folder(NAME SOURCES ... LINKS ...): one static target per folder.
#
# A target carries only its own folder as include path and inherits those of the targets it links. So a folder can
# include the headers of the folders below it and of no other: an arrow the wrong way does not build.

find_program(MBSYNC_CCACHE ccache)
if(MBSYNC_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MBSYNC_CCACHE})
endif()

add_library(mbsync_flags INTERFACE)
target_compile_options(mbsync_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor
                                              -Wold-style-cast -Woverloaded-virtual -fno-omit-frame-pointer)
if(MBSYNC_WERROR)
  target_compile_options(mbsync_flags INTERFACE -Werror)
endif()
if(MBSYNC_SANITIZE)
  target_compile_options(mbsync_flags INTERFACE -fsanitize=${MBSYNC_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(mbsync_flags INTERFACE -fsanitize=${MBSYNC_SANITIZE})
endif()

if(CMAKE_BUILD_TYPE STREQUAL "Release")
  # What is shipped is hardened as Debian's own packages are, and does not tell where it was built.
  target_compile_options(mbsync_flags INTERFACE -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wformat
                                                -Werror=format-security -ffile-prefix-map=${PROJECT_SOURCE_DIR}=.)
  target_link_options(mbsync_flags INTERFACE -pie -Wl,-z,relro -Wl,-z,now)
endif()

function(mbsync_folder name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LINKS} PRIVATE mbsync_flags)
endfunction()
