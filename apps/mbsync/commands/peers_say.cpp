#include "commands/peers_say.h"

#include <fmt/format.h>

#include "membership_desk.h"

namespace mbsync {
namespace {

struct Saying {
  const char* name;
  const char* text;
  const char* example;
  Result<Said> (MembershipDesk::*say)(std::string_view);
  const char* done;     ///< {0}: the member
  const char* nothing;  ///< it was so already
};

constexpr Saying kForget{"forget",
                         "Go on without a machine that is gone: the others need not keep anything for it any more",
                         "mbsync peers forget till-3",
                         &MembershipDesk::forget,
                         "{0} is taken for away. Once all others have heard that, nothing is kept for it any more. If "
                         "it turns up after all, it "
                         "comes back by itself, and nothing that it has is lost.",
                         "{0} is taken for away already."};
constexpr Saying kBan{"ban",
                      "Keep a machine out: nobody answers it or takes anything from it",
                      "mbsync peers ban till-3",
                      &MembershipDesk::ban,
                      "{0} is banned, on every node that has heard of it. Whoever has the registration key can still "
                      "make a new node: if the "
                      "machine is not yours any more, change the key as well.",
                      "{0} is banned already."};
constexpr Saying kUnban{"unban",
                        "Let a machine that was banned come back",
                        "mbsync peers unban till-3",
                        &MembershipDesk::unban,
                        "{0} may come back. It does so by itself, with all that only it has.",
                        "{0} is not banned."};

Result<void> say(const Saying& saying, const PeersOptions& options, const std::string& node, Output& output) {
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const auto desk = MembershipDesk::open(config->database_url);
  if (!desk) {
    return desk.error().about(ErrorArea::kDatabase);
  }
  const auto said = ((**desk).*saying.say)(node);
  MBSYNC_TRY(said);
  const auto member = fmt::format("{} ({})", said->member.name, to_string(said->member.id));
  auto text = fmt::format(fmt::runtime(said->news ? saying.done : saying.nothing), member);
  if (said->alone) {
    text = fmt::format(
        "{} is taken for away. No other is left, so what it lacks is kept for the one that comes next. If it turns up "
        "after all before either has taken others in, it comes back by itself, and nothing that it has is lost; after "
        "that they are two fleets, and 'mbsync peers' says how one joins the other.",
        member);
  }
  return output.result(text,
                       {{"id", to_string(said->member.id)}, {"name", said->member.name}, {"changed", said->news}});
}

void add(CLI::App& peers, const Saying& saying, const std::shared_ptr<PeersOptions>& options, Invocation& invocation) {
  CLI::App& command = *peers.add_subcommand(saying.name, saying.text);
  const auto node = std::make_shared<std::string>();
  command.add_option("node", *node, "its name or id, as 'mbsync peers' and 'mbsync status' show them")
      ->type_name("NODE")
      ->required();
  add_database_options(command, options->config);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      fmt::format("\nExit codes:\n"
                  "  0  said, or it was so already\n"
                  "  1  it may not be said, with the reason\n"
                  "  2  configuration\n"
                  "  3  database: not reachable, or it refused\n"
                  "\nExample:\n  {}\n",
                  saying.example));
  command.callback([&saying, options, node, &invocation] {
    invocation.action = [&saying, options, node, &invocation](Output& output) {
      return refused_is_failed(say(saying, *options, *node, output), output, invocation);
    };
  });
}

}  // namespace

void add_peers_say(CLI::App& peers, const std::shared_ptr<PeersOptions>& options, Invocation& invocation) {
  peers.require_subcommand(0, 1);
  for (const auto* saying : {&kForget, &kBan, &kUnban}) {
    add(peers, *saying, options, invocation);
  }
}

}  // namespace mbsync
