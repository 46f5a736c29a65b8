#include "error_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <pqxx/pqxx>

namespace mbsync {
namespace {

std::string first_line(std::string_view text) {
  constexpr std::string_view kPrefixes[] = {"ERROR:", "FATAL:", "PANIC:"};
  for (const auto prefix : kPrefixes) {
    if (text.starts_with(prefix)) {
      text.remove_prefix(prefix.size());
      while (!text.empty() && text.front() == ' ') {
        text.remove_prefix(1);
      }
      break;
    }
  }
  return std::string(text.substr(0, text.find('\n')));
}

// libpqxx 6 keeps this one for itself.
std::string sqlstate_of(const pqxx::sql_error& error) {
  const bool denied = dynamic_cast<const pqxx::insufficient_privilege*>(&error) != nullptr;
  return error.sqlstate().empty() && denied ? "42501" : error.sqlstate();
}

}  // namespace

Error error_from_sqlstate(std::string_view sqlstate, std::string_view message) {
  const auto text = first_line(message);
  const auto category = sqlstate.substr(0, 2);
  if (sqlstate == "57014") {
    return Error{ErrorKind::kCancelled, text, ""};
  }
  if (category == "53") {
    return Error{ErrorKind::kTransient, text, "the database server is out of a resource; free it, mbsync tries again"};
  }
  if (category == "58") {
    return Error{ErrorKind::kTransient, text, "the database server cannot read or write its files; see its log"};
  }
  if (sqlstate == "25006") {
    return Error{ErrorKind::kTransient, text,
                 "the database takes no writes: it is a standby, or default_transaction_read_only is set"};
  }
  if (category == "40" || category == "57" || category == "08" || sqlstate == "55P03") {
    return Error{ErrorKind::kTransient, text, ""};
  }
  // The database has looked at a row and refuses it: a constraint, a value that does not fit, a trigger that raises.
  constexpr std::string_view kRefusals[] = {"22", "23", "38", "39", "44", "54", "P0"};
  if (std::find(std::begin(kRefusals), std::end(kRefusals), category) != std::end(kRefusals)) {
    // Of a constraint the server names itself and its table only.
    const bool of_constraint = category == "23" && text.find(" constraint \"") != std::string::npos;
    return Error{ErrorKind::kConflict, text, "", ErrorArea::kOther, of_constraint ? "" : text};
  }
  if (category == "28" || category == "3D" || sqlstate == "42501") {
    return Error{ErrorKind::kConfig, text, "check DATABASE_URL and the rights of its role"};
  }
  if (sqlstate.empty()) {
    return Error{ErrorKind::kTransient, text, ""};
  }
  // States from I on are for others to define (SQL standard): a trigger that raises one says what it likes.
  const bool of_application = sqlstate[0] >= 'I' && category != "XX";
  return Error{ErrorKind::kRejected, fmt::format("{} [{}]", text, sqlstate), "", ErrorArea::kOther,
               of_application ? text : ""};
}

Error error_from_current_exception() {
  try {
    throw;
  } catch (const pqxx::in_doubt_error& e) {
    return Error{ErrorKind::kInDoubt, first_line(e.what()), ""};
  } catch (const pqxx::statement_completion_unknown& e) {
    return Error{ErrorKind::kInDoubt, first_line(e.what()), ""};
  } catch (const pqxx::transaction_rollback& e) {
    return Error{ErrorKind::kTransient, first_line(e.what()),
                 ""};  // class 40, which libpqxx does not call an sql_error
  } catch (const pqxx::broken_connection& e) {
    return Error{ErrorKind::kTransient, first_line(e.what()), "the database went away; mbsync connects again"};
  } catch (const pqxx::sql_error& e) {
    return error_from_sqlstate(sqlstate_of(e), e.what());
  } catch (const std::exception& e) {
    return Error{ErrorKind::kInternal, first_line(e.what()), ""};
  }
}

std::string sqlstate_of_current_exception() {
  try {
    throw;
  } catch (const pqxx::sql_error& e) {
    return sqlstate_of(e);
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace mbsync
