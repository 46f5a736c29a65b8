#include "commands/members_view.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

// From here on a member's silence is worth a word.
constexpr int kSilentShownDays = 14;

std::string sentence(const StoreStatus::MemberStatus& entry) {
  const auto& standing = entry.standing;
  const auto who = fmt::format("{} ({})", entry.member.name, to_string(entry.member.id));
  const auto said = fmt::format("{}, said on {} at {}", standing.reason, standing.said_by, standing.said_at);
  if (entry.self && standing.banned) {
    return fmt::format("This node is banned ({}). 'mbsync peers unban {}', said on another node, lets it come back.",
                       said, to_string(entry.member.id));
  }
  if (entry.self) {
    return fmt::format(
        "The fleet goes on without this node ({}). It comes back by itself, as another and with all that only it has, "
        "as "
        "soon as it reaches one of the others.",
        said);
  }
  if (standing.banned) {
    return fmt::format("{} is banned ({}). 'mbsync peers unban {}' lets it come back.", who, said,
                       to_string(entry.member.id));
  }
  if (standing.away && standing.agreed) {
    return fmt::format("{} is not waited for any more ({}). If it turns up, it comes back by itself.", who, said);
  }
  if (standing.away) {
    return fmt::format(
        "{} is away ({}), and not all others have heard that yet, or rows of its wait on one of them ('mbsync status' "
        "there). Until then it is waited for.",
        who, said);
  }
  return fmt::format(
      "{} lacks writes and has not been heard of for {} days on which others were. Switch it on, or say 'mbsync peers "
      "forget {}'; after SYNC_AWAY_AFTER_DAYS the fleet goes on without it.",
      who, standing.silent_days, to_string(entry.member.id));
}

}  // namespace

std::string standings_as_text(const StoreStatus& status) {
  std::string text;
  for (const auto& entry : status.members) {
    if (!entry.standing.back_as.empty()) {
      continue;  // it is there, under another id
    }
    if (entry.standing.away || entry.standing.silent_days >= kSilentShownDays) {
      text += fmt::format("\n  {}", sentence(entry));
    }
  }
  return text.empty() ? text : "\n" + text;
}

}  // namespace mbsync
