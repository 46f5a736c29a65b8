#include "json_reader.h"

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "protocol_limits.h"

namespace mbsync::detail {
namespace {

using nlohmann::json;

const json& nothing() {
  static const json kNull;
  return kNull;
}

const json& empty_array() {
  static const json kArray = json::array();
  return kArray;
}

const json& empty_object() {
  static const json kObject = json::object();
  return kObject;
}

/// Watches the parser: nlohmann's keeps the last of several equal members and has no limit on depth.
class Watch {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      too_deep = too_deep || depth >= kJsonDepthMax;
      if (!too_deep) {
        names_.emplace_back();
      }
    } else if (event == json::parse_event_t::object_end || event == json::parse_event_t::array_end) {
      names_.pop_back();  // the parser reports the end of those containers only whose start was not turned down
    } else if (event == json::parse_event_t::key && !too_deep && doubled.empty()) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names_.back().insert(name).second) {
        doubled = name.empty() ? "(empty)" : name;
      }
    }
    // What is dropped here is not stored, so a deep document costs no memory; from then on nothing is looked at.
    return !too_deep;
  }

  bool too_deep = false;
  std::string doubled;

 private:
  std::vector<std::set<std::string>> names_;
};

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    out.push_back(c >= ' ' && c <= '~' && c != '\'' ? c : '?');
  }
  return text.size() > kShown ? out + "..." : out;
}

void Fault::set(std::string_view member, std::string_view why) {
  if (!error_) {
    const std::string where = member.empty() ? "" : fmt::format(" member '{}':", printable(member));
    error_ = Error{ErrorKind::kCorrupt, fmt::format("malformed {}:{} {}", name_, where, why), ""};
  }
}

json parse_json(std::string_view text, std::size_t bytes_max, Fault& fault) {
  if (text.size() > bytes_max) {
    fault.set("", fmt::format("{} bytes, more than {}", text.size(), bytes_max));
    return {};
  }
  Watch watch;
  constexpr bool kThrow = false;
  json document = json::parse(
      text.begin(), text.end(),
      [&watch](int depth, json::parse_event_t event, json& parsed) { return watch(depth, event, parsed); }, kThrow);
  if (watch.too_deep) {
    fault.set("", fmt::format("nested deeper than {}", kJsonDepthMax));
  } else if (document.is_discarded()) {
    fault.set("", "not JSON");
  } else if (!watch.doubled.empty()) {
    fault.set(watch.doubled, "given twice");
  }
  return fault ? json() : document;
}

std::int64_t read_integer(const json& value, std::int64_t min, std::int64_t max, std::string_view what, Fault& fault) {
  if (fault) {
    return min;
  }
  if (!value.is_number_integer()) {
    fault.set(what, "not an integer");
    return min;
  }
  const bool huge = value.is_number_unsigned() &&
                    value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto number = huge ? std::int64_t{0} : value.get<std::int64_t>();
  if (huge || number < min || number > max) {
    fault.set(what, fmt::format("not between {} and {}", min, max));
    return min;
  }
  return number;
}

std::string read_text(const json& value, std::size_t bytes_min, std::size_t bytes_max, std::string_view what,
                      Fault& fault) {
  if (fault) {
    return {};
  }
  if (!value.is_string()) {
    fault.set(what, "not a text");
    return {};
  }
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() < bytes_min || text.size() > bytes_max) {
    fault.set(what, fmt::format("{} bytes, not between {} and {}", text.size(), bytes_min, bytes_max));
    return {};
  }
  if (text.find('\0') != std::string::npos) {
    fault.set(what, "holds a zero byte");
    return {};
  }
  return text;
}

bool read_boolean(const json& value, std::string_view what, Fault& fault) {
  if (!fault && !value.is_boolean()) {
    fault.set(what, "neither true nor false");
  }
  return !fault && value.get<bool>();
}

const json& read_array(const json& value, std::size_t size_max, std::string_view what, Fault& fault) {
  if (!fault && !value.is_array()) {
    fault.set(what, "not an array");
  } else if (!fault && value.size() > size_max) {
    fault.set(what, fmt::format("more than {} elements", size_max));
  }
  return fault ? empty_array() : value;
}

const json& read_object(const json& value, std::size_t size_max, std::string_view what, Fault& fault) {
  if (!fault && !value.is_object()) {
    fault.set(what, "not an object");
  } else if (!fault && value.size() > size_max) {
    fault.set(what, fmt::format("more than {} members", size_max));
  }
  return fault ? empty_object() : value;
}

ObjectReader::ObjectReader(const json& value, std::string_view what, Fault& fault)
    : object_(&read_object(value, std::numeric_limits<std::size_t>::max(), what, fault)), fault_(&fault) {}

const json& ObjectReader::member(std::string_view name) {
  asked_.emplace(name);
  const auto found = object_->find(name);
  if (found == object_->end()) {
    fault_->set(name, "missing");
    return nothing();
  }
  return *found;
}

std::int64_t ObjectReader::integer(std::string_view name, std::int64_t min, std::int64_t max) {
  return read_integer(member(name), min, max, name, *fault_);
}

std::string ObjectReader::text(std::string_view name, std::size_t bytes_min, std::size_t bytes_max) {
  return read_text(member(name), bytes_min, bytes_max, name, *fault_);
}

bool ObjectReader::boolean(std::string_view name) {
  return read_boolean(member(name), name, *fault_);
}

const json& ObjectReader::array(std::string_view name, std::size_t size_max) {
  return read_array(member(name), size_max, name, *fault_);
}

const json& ObjectReader::object(std::string_view name, std::size_t size_max) {
  return read_object(member(name), size_max, name, *fault_);
}

bool ObjectReader::has(std::string_view name) const {
  return !*fault_ && object_->contains(name);
}

void ObjectReader::done() {
  for (auto member = object_->begin(); member != object_->end(); ++member) {
    if (asked_.find(member.key()) == asked_.end()) {
      fault_->set(member.key(), "unknown");
      return;
    }
  }
}

}  // namespace mbsync::detail
