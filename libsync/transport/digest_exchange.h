// One digest as the server answers it: has it made, with signs of life meanwhile, and sends it. Knows nothing of HTTP.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "digest_service.h"
#include "socket.h"

namespace mbsync {

class DigestExchange {
 public:
  /// The way to the asker.
  struct Wire {
    std::function<bool(std::string_view)> send;  ///< false: gone
    std::function<bool()> open;                  ///< false: the asker has hung up
  };

  /// Borrows the service; `stopped` tells that the server is stopping.
  DigestExchange(DigestService& service, DigestRequest request, Caller caller, StopCheck stopped)
      : service_(&service), request_(std::move(request)), caller_(std::move(caller)), stopped_(std::move(stopped)) {}

  /// Returns once the answer is sent, or a refusal in its place. False: the asker has gone. The service is waited for
  /// in any case.
  bool run(const Wire& wire);

 private:
  [[nodiscard]] std::string make_answer() const;

  DigestService* service_;
  DigestRequest request_;
  Caller caller_;
  StopCheck stopped_;
};

}  // namespace mbsync
