// HTTP as the client speaks it: sends one pull over a stream that a derived class has opened, and takes what comes
// back. Knows nothing of addresses and TLS.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "limited_stream.h"
#include "process_tag.h"
#include "pull_sink.h"
#include "socket.h"

namespace mbsync {

/// httplib's client with its own sockets and TLS taken out. A derived class overrides how it connects
/// (create_and_connect_socket), and runs its callback over a stream of its own (process_socket, through run_over()).
class HttpPull : public httplib::ClientImpl {
 public:
  HttpPull();

  struct Outcome {
    Result<void> result;
    bool of_sink = false;       ///< the error is the sink's own, not the peer's
    bool own_process = false;   ///< the server of this very process answered
    bool base_unknown = false;  ///< the peer does not know what the request built upon
    bool not_there = false;     ///< there is nothing at this path, as in an older version
    bool again = false;         ///< the connection had been closed while it was idle, and nothing was lost
    std::string fleet_tag;      ///< what the peer has said in its header
  };
  /// `body`: what is sent; `asked`: what it says in full.
  /// A question that is answered by a document of at most `bytes_max`, which goes to `text`.
  Outcome ask(const std::string& path, const std::string& body, const OwnProcess& own, std::size_t bytes_max,
              std::string& text, const StopCheck& stopped);
  Outcome pull(const std::string& body, const PullRequest& asked, const OwnProcess& own, PullSink& sink,
               const StopCheck& stopped);

 protected:
  bool run_over(LimitedStream& stream, const std::function<bool(httplib::Stream&)>& callback);
  /// Before run_over(): with which key a connection is made, and so which tag goes with it, is known only now.
  void say_of_fleet(const std::string& tag);

  struct Way {
    bool fresh = false;            ///< the connection was made for this exchange
    bool answered = false;         ///< at least one byte came back
    std::optional<Error> failure;  ///< why it did not go through, if it was the connection
  };
  Way way_;  ///< of the exchange under way

 private:
  bool exchange(httplib::Request& request);
  void fail(Outcome& outcome, const StopCheck& stopped) const;
  void limit_to_next_piece();

  LimitedStream* stream_ = nullptr;
  httplib::Request* request_ = nullptr;  // the one under way
};

}  // namespace mbsync
