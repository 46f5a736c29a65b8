"use client";
// One conflict, its versions side by side, each with a button that makes the row what it says.
import { useState } from "react";
import { useRouter } from "next/navigation";
import type { ConflictDetails } from "../../lib/mbsync";

export function ConflictCard({ details }: { details: ConflictDetails }) {
  const router = useRouter();
  const [trouble, setTrouble] = useState("");
  const { conflict, versions, row } = details;

  async function keep(version: number) {
    const answer = await fetch(`/api/mbsync/conflicts/${conflict.id}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      // With the stamp, a decision that somebody else has made meanwhile is not overwritten.
      body: JSON.stringify({ how: "keep", version, stamp: details.stamp }),
    });
    if (answer.ok) {
      router.refresh();
    } else {
      const { error } = await answer.json();
      setTrouble([error.message, error.hint].filter(Boolean).join(": "));
    }
  }

  return (
    <section>
      <h3>
        {conflict.table} {conflict.key}
      </h3>
      <table>
        <thead>
          <tr>
            <th />
            {versions.map((one) => (
              <th key={one.version}>
                {one.node.name} {one.at ?? ""} {one.deleted ? "(deleted)" : ""}
              </th>
            ))}
            <th>now</th>
          </tr>
        </thead>
        <tbody>
          {conflict.columns.map((column) => (
            <tr key={column}>
              <th>{column}</th>
              {versions.map((one) => (
                <td key={one.version}>{one.values[column] ?? ""}</td>
              ))}
              <td>{row.values[column] ?? ""}</td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <td />
            {versions.map((one) => (
              <td key={one.version}>
                <button onClick={() => keep(one.version)}>Keep</button>
              </td>
            ))}
            <td />
          </tr>
        </tfoot>
      </table>
      {trouble && <p role="alert">{trouble}</p>}
    </section>
  );
}
