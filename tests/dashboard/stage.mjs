// Speaks with the program that plays the nodes (stage.cpp), and waits for what comes about.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export class Stage {
  constructor(program) {
    this.process = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  /** One request at a time. */
  async ask(request) {
    this.process.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.lines.next();
    if (done) {
      throw new Error("the stage has ended");
    }
    const answer = JSON.parse(value);
    if (answer.error !== undefined) {
      throw new Error(`${JSON.stringify(request)}: ${answer.error}`);
    }
    return answer;
  }

  execute(node, sql) {
    return this.ask({ do: "execute", node, sql });
  }

  async scalar(node, sql) {
    return (await this.ask({ do: "scalar", node, sql })).value;
  }

  async end() {
    this.process.stdin.end();
    await this.ended;
  }
}

/** How long a thing may take, in milliseconds; with a sanitizer everything is slower. */
export const patience = 15000 * Number(process.env.MBSYNC_PATIENCE ?? 1);

/** Until `condition` gives something true, which is returned. */
export async function eventually(what, condition, wait = patience) {
  const until = Date.now() + wait;
  for (;;) {
    const found = await condition();
    if (found) {
      return found;
    }
    if (Date.now() > until) {
      throw new Error(`it did not come about within ${wait} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
