#include "commands/ask_node.h"

#include <fmt/format.h>

#include "commands/version.h"
#include "local_status.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFirstRefusal = 300;

}  // namespace

std::string text_at(const Json& object, const char* name) {
  const auto place = object.find(name);
  return place != object.end() && place->is_string() ? place->get<std::string>() : "";
}

Error wrong_answer() {
  return Error{ErrorKind::kInternal, "the node's answer cannot be understood",
               "are the node and this program of the same version? 'mbsync status' says which the node has"};
}

Result<LocalTarget> running_node(const Config& config) {
  const auto status = find_status(config, program_version());
  auto target = local_target(config);
  target.port = status.settings.local_port;
  if (target.port == 0) {
    return Error{ErrorKind::kConfig, "this node has no local port, by which it could be asked",
                 "set SYNC_STATUS_PORT to a free port and restart the node"};
  }
  if (!status.process) {
    return Error{status.runs() ? ErrorKind::kConfig : ErrorKind::kNotFound,
                 status.runs() || !status.local_trouble.empty()
                     ? status.local_trouble
                     : fmt::format("no node answers on local port {}", target.port),
                 "'mbsync status' says whether a node runs, and where it can be asked"};
  }
  return target;
}

Result<Json> ask_node(const LocalTarget& node, const std::string& path, const std::string& body,
                      std::chrono::milliseconds patience) {
  const auto reply = ask_local(node, path, body, patience);
  if (!reply) {
    return Error{ErrorKind::kNotFound, fmt::format("the node on local port {} did not answer", node.port),
                 "'mbsync status' says whether it still runs"};
  }
  auto document = Json::parse(reply->body, nullptr, false);
  if (!document.is_object()) {
    return wrong_answer();
  }
  if (reply->status >= kFirstRefusal) {
    const auto error = document.find("error");
    return error == document.end() || !error->is_object()
               ? wrong_answer()
               : Error{ErrorKind::kNotFound, text_at(*error, "message"), text_at(*error, "hint")};
  }
  return document;
}

}  // namespace mbsync
