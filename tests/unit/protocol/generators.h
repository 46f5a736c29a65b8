// Random messages and texts for properties. Texts are made of the characters that formats stumble over.
#pragma once

#include <rapidcheck.h>

#include <string>
#include <vector>

#include "message.h"
#include "row_state.h"

namespace mbsync::test {

inline rc::Gen<std::string> text_of(const std::vector<std::string>& pieces, int pieces_min, int pieces_max) {
  return rc::gen::map(rc::gen::mapcat(rc::gen::inRange(pieces_min, pieces_max + 1),
                                      [pieces](int count) {
                                        return rc::gen::container<std::vector<std::string>>(
                                            static_cast<std::size_t>(count), rc::gen::elementOf(pieces));
                                      }),
                      [](const std::vector<std::string>& chosen) {
                        std::string out;
                        for (const std::string& piece : chosen) {
                          out += piece;
                        }
                        return out;
                      });
}

/// Anything that PostgreSQL can hold in a value.
inline rc::Gen<std::string> any_text() {
  return text_of({"a",  "N",  "0",  "x",  "ä", "€", "😀", " ", "\t", "\n", "\r",   "\v",
                  "\f", "\b", "\\", "\"", "'", "(", ")", ",", "{",  ".",  "\x01", "\x7f"},
                 0, 12);
}

/// A node's name: no control characters, not empty.
inline rc::Gen<std::string> any_name() {
  return text_of({"a", "Z", "9", "-", " ", "ß", "\\", "\"", "'", "/"}, 1, 20);
}

inline rc::Gen<Value> any_value() {
  return rc::gen::oneOf(rc::gen::just(Value{}), rc::gen::map(any_text(), [](std::string text) { return Value{text}; }));
}

inline rc::Gen<std::int64_t> positive() {
  return rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 100),
                        rc::gen::inRange<std::int64_t>(1, std::numeric_limits<std::int64_t>::max()),
                        rc::gen::just(std::numeric_limits<std::int64_t>::max()));
}

inline rc::Gen<NodeId> any_node() {
  return rc::gen::map(positive(), [](std::int64_t value) { return NodeId{value}; });
}

inline rc::Gen<VersionVector> any_vector() {
  return rc::gen::map(rc::gen::container<std::map<NodeId, std::int64_t>>(any_node(), positive()),
                      [](VersionVector::Map counters) { return VersionVector(std::move(counters)); });
}

inline rc::Gen<Member> any_member() {
  return rc::gen::map(rc::gen::pair(any_node(), any_name()), [](const std::pair<NodeId, std::string>& parts) {
    return Member{parts.first, parts.second};
  });
}

inline rc::Gen<std::vector<Member>> any_members() {
  return rc::gen::map(rc::gen::container<std::map<NodeId, std::string>>(any_node(), any_name()),
                      [](const std::map<NodeId, std::string>& names) {
                        std::vector<Member> members;
                        for (const auto& [id, name] : names) {
                          members.push_back({id, name});
                        }
                        return members;
                      });
}

inline rc::Gen<std::map<NodeId, VersionVector>> any_reports() {
  return rc::gen::container<std::map<NodeId, VersionVector>>(any_node(), any_vector());
}

}  // namespace mbsync::test

namespace rc {
template <>
struct Arbitrary<mbsync::NodeId> {
  static Gen<mbsync::NodeId> arbitrary() { return mbsync::test::any_node(); }
};
}  // namespace rc

namespace mbsync {
inline std::ostream& operator<<(std::ostream& out, NodeId id) {
  return out << to_string(id);
}
}  // namespace mbsync
