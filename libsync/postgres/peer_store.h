// mbsync.peer and mbsync.peer_address: what a node has seen of others. This node's own, never sent.
#pragma once

#include "connection.h"
#include "peer_note.h"

namespace mbsync {

/// At the start of a node: which key is which may have changed, and who is named as a peer. `two_keys`:
/// SYNC_REGISTRATION_KEY_NEXT is set.
Result<void> begin_peer_notes(PgConnection& db, bool two_keys);
Result<void> store_peer_notes(PgConnection& db, const PeerNotes& notes);

Result<PeersStatus> read_peer_notes(PgConnection& db);
/// Where members have answered in the last kAddressesGoodFor, the latest first. Every `node` is set.
Result<std::vector<AddressNote>> read_remembered_addresses(PgConnection& db);

}  // namespace mbsync
