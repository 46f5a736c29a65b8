// The local port of the mbsync node on this machine, for the application's server alone.

export interface Lag {
  outgoing: { rows: number; seconds: number | null };
  incoming: { rows: number; seconds: number | null };
}

export interface FleetPeer {
  id: string;
  name: string;
  address: string | null;
  state: string;
  why_not: string | null;
  last_exchange: string | null;
  lag: Lag;
}

export interface NodeStatus {
  status: "healthy" | "degraded" | "down";
  reasons: string[];
  uptime: number | null;
  node: { id: string | null; name: string };
  peers_connected: number;
  fleet: FleetPeer[];
  open_conflicts?: number;
}

export interface ConflictSummary {
  id: string;
  table: string;
  key: string;
  columns: string[];
}

export interface ConflictDetails {
  conflict: ConflictSummary;
  versions: {
    version: number;
    node: { id: string; name: string };
    at: string | null;
    deleted: boolean;
    values: Record<string, string | null>;
  }[];
  row: { exists: boolean; values: Record<string, string | null> };
  stamp: string;
}

/** Who may see rows of conflicts and decide them: ask your own session here. */
export async function mayUseMbsync(): Promise<boolean> {
  return process.env.NODE_ENV !== "production";
}

/** Passes a request on to the node; throws where nothing answers. */
export async function askMbsync(path: string, init: { method?: string; body?: string; headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Response> {
  const headers: Record<string, string> = { ...init.headers };
  if (init.body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  if (process.env.MBSYNC_TOKEN) {
    headers["Authorization"] = `Bearer ${process.env.MBSYNC_TOKEN}`;
  }
  return fetch((process.env.MBSYNC_URL ?? "http://127.0.0.1:8766") + path, { ...init, headers, cache: "no-store" });
}

/** The same for JSON; what the node refuses is thrown with its words. */
export async function mbsyncJson<T>(path: string): Promise<T> {
  const answer = await askMbsync(path);
  const document = await answer.json();
  if (!answer.ok) {
    throw new Error(document.error?.message ?? `the node answers ${answer.status}`);
  }
  return document as T;
}
