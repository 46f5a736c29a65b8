// The door by which libFuzzer comes in.
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  mbsync::fuzz::run(std::string_view(reinterpret_cast<const char*>(bytes), size));
  return 0;
}
