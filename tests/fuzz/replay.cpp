// main() of a fuzz target where there is no libFuzzer: runs all kept inputs, and a number of mutations of them that is
// the same every time. The work is done in a child process, which leaves the input it is at in shared memory: whatever
// ends it, a sanitizer or a signal among them, the input that did it is written down.
//
//   fuzz_NAME [--mutations N] FILE_OR_DIRECTORY...
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz.h"
#include "rng.h"

namespace {

namespace fs = std::filesystem;
using mbsync::test::Rng;

constexpr std::size_t kInputBytesMax = std::size_t{2} << 20;
/// A mutation of a large input costs much and finds little.
constexpr std::size_t kMutatedBytesMax = std::size_t{64} << 10;
/// One input that takes longer than this, with a sanitizer on a busy machine, runs for ever.
constexpr unsigned kSecondsMax = 60;

/// The input that is being run, where the parent sees it.
struct Current {
  std::size_t size;
  char bytes[kInputBytesMax];
};

std::vector<std::string> read_inputs(const std::vector<fs::path>& places) {
  std::vector<fs::path> files;
  for (const auto& place : places) {
    if (fs::is_directory(place)) {
      for (const auto& entry : fs::directory_iterator(place)) {
        files.push_back(entry.path());
      }
    } else {
      files.push_back(place);
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> inputs;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return inputs;
}

std::size_t place_in(const std::string& text, Rng& rng) {
  return static_cast<std::size_t>(rng.below(text.size() + 1));
}

/// What parsers stumble over: borders of numbers, what ends and begins something, bytes that are no UTF-8.
const std::vector<std::string>& snippets() {
  static const std::vector<std::string> kSnippets = {std::string(1, '\0'),
                                                     "\xff",
                                                     "\xc3",
                                                     "\xed\xa0\x80",
                                                     "\n",
                                                     "\r\n",
                                                     "\t",
                                                     "\\",
                                                     "\"",
                                                     "'",
                                                     "{",
                                                     "}",
                                                     "[",
                                                     "]",
                                                     "(",
                                                     ")",
                                                     ",",
                                                     ":",
                                                     "0",
                                                     "-1",
                                                     "9223372036854775807",
                                                     "9223372036854775808",
                                                     "-9223372036854775808",
                                                     "18446744073709551616",
                                                     "1e999",
                                                     "\\u0000",
                                                     "\\ud800",
                                                     "\\N",
                                                     "\\.",
                                                     "null",
                                                     "NaN",
                                                     std::string(300, '[')};
  return kSnippets;
}

std::string mutated(std::string text, const std::vector<std::string>& inputs, Rng& rng) {
  for (auto steps = rng.below(4) + 1; steps > 0; --steps) {
    const auto at = place_in(text, rng);
    const auto length = std::min<std::size_t>(text.size() - at, static_cast<std::size_t>(rng.below(16)) + 1);
    switch (rng.below(6)) {
      case 0:
        if (at < text.size()) {
          text[at] = static_cast<char>(rng.below(256));
        }
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, snippets()[static_cast<std::size_t>(rng.below(snippets().size()))]);
        break;
      case 3:
        text.insert(place_in(text, rng), text.substr(at, length));
        break;
      case 4:
        if (at < text.size()) {
          text[at] = static_cast<char>(text[at] ^ (1 << rng.below(8)));
        }
        break;
      default: {
        const auto& other = inputs[static_cast<std::size_t>(rng.below(inputs.size()))];
        text = text.substr(0, at) + other.substr(place_in(other, rng));
      }
    }
  }
  return text.substr(0, kMutatedBytesMax);
}

void run_all(const std::vector<std::string>& inputs, std::uint64_t mutations, Current& current) {
  const auto run = [&](const std::string& input) {
    current.size = std::min(input.size(), kInputBytesMax);
    std::memcpy(current.bytes, input.data(), current.size);
    alarm(kSecondsMax);
    // In a block of its very size, so that the address sanitizer sees a step beyond it.
    const std::vector<char> bytes(current.bytes, current.bytes + current.size);
    mbsync::fuzz::run(std::string_view(bytes.data(), bytes.size()));
  };
  for (const auto& input : inputs) {
    run(input);
  }
  Rng rng(1);
  for (std::uint64_t i = 0; i < mutations; ++i) {
    run(mutated(inputs[static_cast<std::size_t>(rng.below(inputs.size()))], inputs, rng));
  }
}

std::string why(int status) {
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM ? fmt::format("one input took more than {} s", kSecondsMax)
                                       : fmt::format("ended by signal {}", WTERMSIG(status));
  }
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

}  // namespace

int main(int count, char** arguments) {
  const std::string program = arguments[0];
  std::uint64_t mutations = 0;
  std::vector<fs::path> places;
  for (int i = 1; i < count; ++i) {
    if (std::string_view(arguments[i]) == "--mutations" && i + 1 < count) {
      mutations = std::strtoull(arguments[++i], nullptr, 10);
    } else {
      places.emplace_back(arguments[i]);
    }
  }
  const auto inputs = read_inputs(places);
  if (inputs.empty()) {
    fmt::print(stderr, "{}: no inputs; give files or directories\n", program);
    return 2;
  }
  void* const shared = mmap(nullptr, sizeof(Current), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    std::perror("mmap");
    return 2;
  }
  auto& current = *static_cast<Current*>(shared);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("fork");
    return 2;
  }
  if (child == 0) {
    run_all(inputs, mutations, current);
    std::exit(EXIT_SUCCESS);  // looks for leaks, where there is a sanitizer for them
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
    fmt::print("{}: {} inputs and {} mutations\n", fs::path(program).filename().string(), inputs.size(), mutations);
    return EXIT_SUCCESS;
  }
  const auto file = fs::absolute(fs::path(program).filename().string() + ".failed");
  std::ofstream(file, std::ios::binary).write(current.bytes, static_cast<std::streamsize>(current.size));
  fmt::print(stderr, "{}: the input of {} bytes is kept; to run it again:\n    {} {}\n", why(status), current.size,
             fs::absolute(program).string(), file.string());
  return EXIT_FAILURE;
}
