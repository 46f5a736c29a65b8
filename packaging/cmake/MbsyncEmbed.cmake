# mbsync_embed(OUTPUT FUNCTION FILES ...): text files become part of the program.
#
# Makes the source OUTPUT, in the build directory of the folder that calls, with a function
# `std::span<const EmbeddedFile> mbsync::FUNCTION()`, which the source that uses it declares. The files are told apart by
# their names without folders. A file that changes is taken in by the next build.
function(mbsync_embed output function)
  set(entries "")
  foreach(file ${ARGN})
    set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    file(READ ${path} content)
    string(FIND "${content}" ")embedded\"" end)
    if(NOT end EQUAL -1)
      message(FATAL_ERROR "${path} holds the characters that end it in the source made of it: )embedded\"")
    endif()
    file(SHA256 ${path} sha256)
    get_filename_component(name ${path} NAME)
    string(APPEND entries "    {\"${name}\", \"${sha256}\", R\"embedded(${content})embedded\"},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT "// Made by mbsync_embed().
#include \"embedded_file.h\"

namespace mbsync {
namespace {
constexpr EmbeddedFile kFiles[] = {
@entries@};
}  // namespace

std::span<const EmbeddedFile> @function@();
std::span<const EmbeddedFile> @function@() {
  return kFiles;
}

}  // namespace mbsync
")
endfunction()
