// What the browser may ask of the node, by way of the application's server.
import { askMbsync, mayUseMbsync } from "../../../../lib/mbsync";

// Nothing but this is passed on; stop and restart stay with those who look after the machine.
const MAY_GET = [/^service$/, /^stats$/, /^events$/, /^conflicts$/, /^conflicts\/[0-9a-f-]{4,36}$/];
const MAY_POST = [/^conflicts\/[0-9a-f-]{4,36}$/];

function refused(status: number, message: string): Response {
  return new Response(JSON.stringify({ error: { message } }), {
    status,
    headers: { "Content-Type": "application/json" },
  });
}

async function pass(request: Request, path: string[], allowed: RegExp[], body?: string): Promise<Response> {
  const wanted = path.join("/");
  if (!allowed.some((form) => form.test(wanted))) {
    return refused(404, "there is nothing here");
  }
  if (!(await mayUseMbsync())) {
    return refused(403, "not allowed");
  }
  const last = request.headers.get("last-event-id");
  try {
    const answer = await askMbsync(`/api/sync/${wanted}${new URL(request.url).search}`, {
      method: request.method,
      body,
      headers: last === null ? {} : { "Last-Event-ID": last },
      signal: request.signal,
    });
    return new Response(answer.body, {
      status: answer.status,
      headers: { "Content-Type": answer.headers.get("content-type") ?? "application/json", "Cache-Control": "no-store" },
    });
  } catch {
    return refused(503, "mbsync does not answer on this machine");
  }
}

// "null" is the origin of a page that a browser trusts with nothing, such as one in a sandboxed frame.
function isOwn(origin: string, host: string | null): boolean {
  return origin !== "null" && new URL(origin).host === host;
}

interface Context {
  params: Promise<{ path: string[] }>;
}

export async function GET(request: Request, context: Context): Promise<Response> {
  return pass(request, (await context.params).path, MAY_GET);
}

export async function POST(request: Request, context: Context): Promise<Response> {
  // A page of somebody else's cannot send this type without being asked, and a browser says whose page it is.
  const origin = request.headers.get("origin");
  const foreign = origin !== null && !isOwn(origin, request.headers.get("host"));
  if (foreign || !request.headers.get("content-type")?.startsWith("application/json")) {
    return refused(403, "not allowed");
  }
  return pass(request, (await context.params).path, MAY_POST, await request.text());
}
