// The node beside this application, and the conflicts that wait for a person.
import { ConflictDetails, ConflictSummary, mayUseMbsync, mbsyncJson, NodeStatus } from "../../lib/mbsync";
import { ConflictCard } from "./conflict-card";

export const dynamic = "force-dynamic";

export default async function MbsyncPage() {
  if (!(await mayUseMbsync())) {
    return <p>Not allowed.</p>;
  }
  let status: NodeStatus;
  const conflicts: ConflictDetails[] = [];
  try {
    status = await mbsyncJson<NodeStatus>("/api/sync/service");
    if (status.open_conflicts) {
      const list = await mbsyncJson<{ conflicts: ConflictSummary[] }>("/api/sync/conflicts?state=open&limit=20");
      // One after the other: the node shows a few at a time, and turns others away.
      for (const one of list.conflicts) {
        conflicts.push(await mbsyncJson<ConflictDetails>(`/api/sync/conflicts/${one.id}`));
      }
    }
  } catch (problem) {
    return <p>The node cannot be asked: {problem instanceof Error ? problem.message : "no answer"}</p>;
  }
  return (
    <main>
      <h1>
        {status.node.name}: {status.status}
      </h1>
      <ul>
        {status.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
      <h2>Peers connected: {status.peers_connected}</h2>
      <table>
        <thead>
          <tr>
            <th>Peer</th>
            <th>State</th>
            <th>It lacks</th>
            <th>Last exchange</th>
          </tr>
        </thead>
        <tbody>
          {status.fleet.map((peer) => (
            <tr key={peer.id}>
              <td>{peer.name}</td>
              <td title={peer.why_not ?? ""}>{peer.state}</td>
              <td>{peer.lag.outgoing.rows}</td>
              <td>{peer.last_exchange ?? "never"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <h2>Conflicts to be decided: {status.open_conflicts ?? "not known"}</h2>
      {conflicts.map((details) => (
        <ConflictCard key={details.conflict.id} details={details} />
      ))}
    </main>
  );
}
