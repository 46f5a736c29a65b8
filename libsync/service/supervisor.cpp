#include "supervisor.h"

namespace mbsync {
namespace {

class NoSupervisor : public Supervisor {
 public:
  void doing(std::string_view /*phase*/, std::string_view /*detail*/) override {}
  void ready() override {}
  void alive() override {}
  void stopping() override {}
};

}  // namespace

Supervisor& no_supervisor() {
  static NoSupervisor nobody;
  return nobody;
}

}  // namespace mbsync
