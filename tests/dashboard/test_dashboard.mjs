// The page against two real nodes, as a person meets it: one story, in order. Screenshots are kept.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { chromium } from "playwright-core";
import { checkAccessible, checkFits, strayTexts, widened } from "./checks.mjs";
import { eventually, patience, Stage } from "./stage.mjs";

const markup = "<img src=x onerror=alert(1)>";
const branchName = "<b>Branch</b>";
const token = "0123456789abcdef-of-the-till";
const schema = "CREATE TABLE product (id text PRIMARY KEY, name text, price numeric(8,2), stock int)";
const rules = '[[table]]\nname = "product"\n[table.columns]\nprice = "manual"\n';

const stage = new Stage(process.env.MBSYNC_STAGE);
const wrong = []; // what the browser complained of
let browser;
let page;
let office;

const url = (node) => `http://127.0.0.1:${node.local_port}/`;
const picture = (name, options = {}) =>
  page.screenshot({ path: join(process.env.MBSYNC_SCREENSHOTS, `${name}.png`), fullPage: true, ...options });
const sentence = () => page.locator("#summary-title").textContent();
const says = (text, wait) => eventually(`"${text}"`, async () => (await sentence()) === text, wait);
const button = (name) => page.getByRole("button", { name, exact: true });
/** What a test has provoked. */
const complainedOf = (what) => eventually(`a complaint of ${what}`, () => what.test(wrong.at(-1)) && wrong.pop());
/** The page asks at once, as it does when somebody comes back to its tab. */
const askNow = () => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
const price = (node, id) => stage.scalar(node, `SELECT price FROM product WHERE id = '${id}'`);
const priceOnBoth = (id, wanted) =>
  eventually(`${id} costs ${wanted} on both`, async () => (await price("office", id)) === wanted && (await price("branch", id)) === wanted);

function watch(fresh) {
  fresh.on("console", (message) => {
    // That a request has failed is what some of the tests are about.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      wrong.push(message.text());
    }
  });
  fresh.on("pageerror", (error) => wrong.push(error.stack));
  fresh.on("dialog", (dialog) => wrong.push(`a dialog of the browser: ${dialog.message()}`));
  fresh.on("request", (request) => {
    if (new URL(request.url()).hostname !== "127.0.0.1") {
      wrong.push(`asked elsewhere: ${request.url()}`);
    }
  });
  return fresh;
}

before(async () => {
  office = await stage.ask({ do: "add", node: "office", schema });
  await stage.ask({ do: "add", node: "branch", schema, beside: "office", set: { SYNC_NODE_NAME: branchName } });
  await stage.execute("office", `INSERT INTO product SELECT 'p' || i, 'Tea no. ' || i, 2.5, 10 FROM generate_series(1, 5) i`);
  await stage.ask({ do: "start", node: "office" });
  await stage.ask({ do: "start", node: "branch" });
  await stage.ask({ do: "converge", a: "office", b: "branch" });
  await stage.ask({ do: "rules", node: "office", document: rules });
  browser = await chromium.launch({
    executablePath: process.env.MBSYNC_CHROMIUM,
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  page = watch(await browser.newPage({ viewport: { width: 1200, height: 900 }, locale: "en-GB" }));
  page.setDefaultTimeout(patience);
});

/** A part of the story. Once one has failed, the others say nothing of the page. */
let broken = false;
function step(name, work) {
  test(name, async (context) => {
    if (broken) {
      context.skip("an earlier part has failed");
      return;
    }
    try {
      await work();
    } catch (error) {
      broken = true;
      await picture("failed").catch(() => {});
      throw error;
    }
  });
}

after(async () => {
  await browser?.close();
  await stage.end();
});

step("it opens: all is well, and with whom", async () => {
  await page.goto(url(office));
  await says("All machines are in step");
  assert.match(await page.locator("#summary-detail").textContent(), /^In step with <b>Branch<\/b>, connected .* since \d\d:\d\d\.$/);
  const row = page.locator("#machines-table tbody tr");
  assert.equal(await row.locator("th").textContent(), branchName);
  assert.match(await row.textContent(), /connected/);
  assert.match(await page.locator("svg.fleet").getAttribute("aria-label"), /office in the middle, 1 other machine around it, 1 connected/);
  assert.match(await page.title(), /office: All machines are in step/);
  // What an address bar could be made to do, the page's own rules forbid.
  await assert.rejects(page.evaluate(() => { document.body.innerHTML = "<b>x</b>"; }), /TrustedHTML/);
  await complainedOf(/TrustedHTML/);
  await picture("light");
});

step("what is written on the other machine is seen to arrive", async () => {
  await page.evaluate(() => {
    const look = () => { window.flowed ||= document.querySelector(".link.flows-in") !== null; };
    new MutationObserver(look).observe(document.getElementById("picture"), { subtree: true, childList: true, attributes: true });
  });
  await stage.execute("branch", "INSERT INTO product SELECT 'q' || i, 'Milk', 1, 5 FROM generate_series(1, 7) i");
  await page.locator("#events-list", { hasText: `7 changes arrived from ${branchName}` }).waitFor();
  await eventually("rows are seen to flow", () => page.evaluate(() => window.flowed));
  await picture("rows-flow");
  // Within the minute, or the next one where it has just ended.
  await page.getByText("As a table").click();
  await eventually("7 in the table", async () =>
    (await page.locator("#activity-table td:nth-child(2)").allTextContents()).some((text) => Number(text) > 0));
  const slider = page.getByRole("slider", { name: /Changes each minute/ });
  await slider.focus();
  await eventually("the plot tells it", async () => {
    for (const key of ["End", "ArrowLeft", "ArrowLeft"]) {
      await page.keyboard.press(key);
      if (/: 7 in, \d+ out/.test(await slider.getAttribute("aria-valuetext"))) {
        return true;
      }
    }
    return false;
  });
  await button("Last day").click();
  await eventually("the day is shown", async () => (await slider.getAttribute("aria-valuemax")) === "287");
  await button("Last hour").click();
  await page.emulateMedia({ reducedMotion: "reduce" });
  const moves = () => page.evaluate(() => {
    const line = document.querySelector(".link");
    line.classList.add("flows-in");
    return getComputedStyle(line.querySelector(".flow.in")).animationName;
  });
  assert.equal(await moves(), "none");
  await page.emulateMedia({ reducedMotion: "no-preference" });
  assert.equal(await moves(), "flow");
});

step("conflicts arise and are shown, while markup in them stays text", async () => {
  await stage.ask({ do: "stop", node: "branch" });
  await stage.execute("office", "UPDATE product SET price = 3 WHERE id IN ('p1', 'p3', 'p4')");
  await stage.execute("office", `UPDATE product SET name = '${markup}' WHERE id IN ('p1', 'p2')`);
  await stage.execute("branch", "UPDATE product SET price = 4, name = 'Tea of the branch' WHERE id IN ('p1', 'p3', 'p4')");
  await stage.execute("branch", "DELETE FROM product WHERE id = 'p2'");
  await stage.ask({ do: "start", node: "branch" });
  await stage.ask({ do: "converge", a: "office", b: "branch" });
  await says("Something needs you");
  await page.getByText("3 conflicts wait for your decision.").waitFor();
  await button("To decide (3)").waitFor();
  await page.getByRole("button", { name: "p1: show the versions" }).click();
  const table = page.locator(".versions");
  await table.waitFor();
  assert.equal(await table.locator("tr", { hasText: "name" }).locator(".differs .value").textContent(), markup);
  assert.equal(await page.locator("#conflict img").count(), 0);
  assert.deepEqual(await table.locator("tr", { hasText: "price" }).locator(".value").allTextContents(), ["4.00", "3.00", "4.00"]);
  await checkAccessible(page, "a conflict");
  await picture("conflict");
});

step("a click decides, on both machines, and can be undone", async () => {
  await button(`Take this one: version 1, by office`).click();
  const dialog = page.getByRole("dialog", { name: "Take the version of office?" });
  assert.deepEqual(await dialog.locator("tr", { hasText: "price" }).locator("td").allTextContents(), ["4.00", "3.00"]);
  await checkAccessible(page, "the dialog");
  await picture("confirm", { fullPage: false });
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert.equal(await price("office", "p1"), "4.00");
  await button(`Take this one: version 1, by office`).click();
  await button("Yes, do it").click();
  await page.getByText("Decided. The row is as you chose here").waitFor();
  await priceOnBoth("p1", "3.00");
  await button("To decide (2)").waitFor();
  await button("Undo the decision").click();
  await button("Yes, do it").click();
  await page.getByText("The decision is undone").waitFor();
  await priceOnBoth("p1", "4.00");
  await button("To decide (3)").waitFor();
});

step("a row that was deleted here and changed there can be deleted after all", async () => {
  await button("Decided by a rule (1)").click();
  await page.getByRole("button", { name: "p2: show the versions" }).click();
  await button(`Take this one: version 2, by ${branchName}`).click();
  await page.getByText("The row will be deleted").waitFor();
  await button("Yes, do it").click();
  await page.getByText("Decided. The row is as you chose here").waitFor();
  await eventually("it is gone on both", async () =>
    (await price("office", "p2")) === "" && (await price("branch", "p2")) === "");
});

step("what somebody else has decided meanwhile is not overwritten, and the page says so", async () => {
  await button("To decide (3)").click();
  await page.getByRole("button", { name: "p4: show the versions" }).click();
  const id = await page.locator('[data-id][aria-label^="p4:"]').getAttribute("data-id");
  const answer = await fetch(`${url(office)}api/sync/conflicts/${id}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ how: "accept" }),
  });
  assert.equal(answer.status, 200);
  await button("Take this one: version 1, by office").click();
  await button("Yes, do it").click();
  const alert = page.locator("#conflict [role=alert]");
  await alert.waitFor();
  assert.match(await alert.textContent(), /^Nothing was changed\. /);
  assert.equal(await price("office", "p4"), "4.00");
  await button("Undo the decision").waitFor();
});

step("the keyboard alone decides a conflict", async () => {
  await page.reload();
  await button("To decide (2)").waitFor();
  const focused = () => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.textContent);
  const tabTo = async (name) => {
    for (let i = 0; i < 40; i += 1) {
      await page.keyboard.press("Tab");
      if ((await focused()) === name) {
        // Where one is can be seen.
        assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
        return;
      }
    }
    assert.fail(`'${name}' is not reached`);
  };
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "To the main part");
  await tabTo("p3: show the versions");
  await page.keyboard.press("Enter");
  await eventually("its heading has the focus", async () => (await focused()) === "product: p3");
  await tabTo("Keep what stands");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  // The focus stays inside, or is the browser's own.
  for (let i = 0; i < 6; i += 1) {
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog") !== null));
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal(await focused(), "Keep what stands");
  await tabTo("Take this one: version 1, by office");
  await page.keyboard.press("Enter");
  await tabTo("Yes, do it");
  await page.keyboard.press("Enter");
  await page.getByText("Decided. The row is as you chose here").waitFor();
  await priceOnBoth("p3", "3.00");
});

step("a telephone shows it without scrolling sideways, light and dark", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await button("To decide (1)").waitFor();
  await checkFits(page, "360 px");
  await picture("phone");
  await page.emulateMedia({ colorScheme: "dark" });
  await checkAccessible(page, "dark, on a telephone");
  await picture("phone-dark");
  await page.getByRole("button", { name: "p1: show the versions" }).click();
  await page.locator(".versions").waitFor();
  await checkFits(page, "360 px, a conflict");
  await button("Keep what stands").click();
  await picture("phone-confirm", { fullPage: false });
  await button("Yes, do it").click();
  await says("All machines are in step");
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.reload();
  await says("All machines are in step");
  await checkAccessible(page, "dark");
  await picture("dark");
  await page.emulateMedia({ colorScheme: "light" });
  await checkAccessible(page, "light");
});

step("a machine that breaks down is seen without a reload, and so is that it comes back", async () => {
  await page.evaluate(() => { window.sameAsBefore = true; });
  await stage.ask({ do: "kill", node: "branch" });
  await stage.execute("office", "INSERT INTO product SELECT 'r' || i, 'Bread', 3, 1 FROM generate_series(1, 40) i");
  await says("Something needs you");
  await page.locator("#summary-causes strong", { hasText: `${branchName} cannot be reached.` }).waitFor();
  assert.equal(await page.locator(".fleet .link").getAttribute("data-state"), "unreachable");
  await page.locator("#events-list", { hasText: `${branchName} cannot be reached any more` }).waitFor();
  await page.getByText(/^40 changes, for/).waitFor();
  await checkAccessible(page, "a broken peer");
  await picture("broken-peer");
  await stage.ask({ do: "start", node: "branch" });
  await says("All machines are in step", 2 * patience);
  await page.locator("#events-list", { hasText: `40 changes went to ${branchName}` }).waitFor();
  await eventually("they are there", async () => (await stage.scalar("branch", "SELECT count(*) FROM product WHERE name = 'Bread'")) === "40");
  assert.equal(await page.evaluate(() => window.sameAsBefore), true);
});

step("the page says that its own node is gone, keeps what it had, and finds it again", async () => {
  await stage.ask({ do: "stop", node: "office" });
  await says("This page has lost its machine");
  assert.equal(await page.locator("#machines-table tbody th").textContent(), branchName);
  assert.equal(await page.locator("#facts.stale").count(), 1);
  await picture("lost");
  await checkAccessible(page, "lost");
  await stage.ask({ do: "start", node: "office" });
  await says("All machines are in step", 2 * patience);
  assert.equal(await page.locator("#facts.stale").count(), 0);
  // Events go on with those of the new process.
  await page.locator("#events-list", { hasText: "This machine began to synchronise" }).waitFor();
  assert.equal(await page.evaluate(() => window.sameAsBefore), true);
});

step("from one machine to twenty", async () => {
  const real = await (await fetch(`${url(office)}api/sync/service`)).json();
  const states = ["connected", "connected", "connected", "unreachable", "silent", "not met", "away", "banned"];
  for (const count of [3, 8, 20]) {
    const fleet = Array.from({ length: count }, (_, index) => ({
      ...real.fleet[0],
      id: `00000000000000${String(index).padStart(2, "0")}`,
      name: `Branch ${index + 1}${index === 1 ? " in the long street behind the old station" : ""}`,
      state: states[index % states.length],
      reason: states[index % states.length] === "unreachable" ? "port_closed" : null,
    }));
    await page.route("**/api/sync/service", (route) => route.fulfill({ json: { ...real, fleet } }));
    await askNow();
    for (const [width, name] of [[1200, "wide"], [360, "phone"]]) {
      await page.setViewportSize({ width, height: 800 });
      await eventually(`${count} machines`, async () =>
        (await page.locator(".fleet .machine").count()) === count + 1 && Number(await page.locator("svg.fleet").getAttribute("width")) <= width);
      await checkFits(page, `${count} machines at ${width}`);
      const apart = await page.evaluate(() => {
        const circles = [...document.querySelectorAll(".fleet .machine circle")].map((one) => one.getBoundingClientRect());
        const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
        return circles.flatMap((a, i) => circles.slice(i + 1).filter((b) => touch(a, b))).length;
      });
      assert.equal(apart, 0, `${count} machines at ${width}: circles that cover each other`);
      await page.locator(name === "phone" ? "#picture" : "#machines").screenshot({ path: join(process.env.MBSYNC_SCREENSHOTS, `fleet-${count}-${name}.png`) });
    }
    await page.unroute("**/api/sync/service");
  }
  await page.setViewportSize({ width: 1200, height: 900 });
});

step("how far a machine has come that lacks much", async () => {
  const real = await (await fetch(`${url(office)}api/sync/service`)).json();
  for (const [rows, done] of [[400, 0], [100, 300]]) {
    const lag = { outgoing: { rows, seconds: 90 }, incoming: { rows: 0, seconds: 0 } };
    await page.route("**/api/sync/service", (route) => route.fulfill({ json: { ...real, fleet: [{ ...real.fleet[0], lag }] } }));
    await askNow();
    await page.getByText(`${branchName} catches up: ${done} of 400 changes`).waitFor();
    assert.equal(await page.getByRole("progressbar").getAttribute("value"), String(done));
    await says("All machines are connected");
    await page.unroute("**/api/sync/service");
  }
  await askNow();
  await says("All machines are in step");
  assert.equal(await page.getByRole("progressbar").count(), 0);
});

step("a node with a token asks for it, and one alone says how to add another", async () => {
  const till = await stage.ask({ do: "add", node: "till", schema, set: { SYNC_STATUS_TOKEN: token } });
  await stage.ask({ do: "start", node: "till" });
  const former = page;
  page = watch(await (await browser.newContext({ locale: "en-GB" })).newPage());
  await page.goto(url(till));
  const field = page.getByLabel("Token", { exact: true });
  await field.waitFor();
  assert.equal(await page.locator("#facts").isVisible(), false);
  await checkAccessible(page, "the token");
  await picture("token");
  await field.fill("not-the-right-token");
  await page.keyboard.press("Enter");
  await page.getByText("That is not this machine's token.").waitFor();
  await page.getByLabel("Token", { exact: true }).fill(token);
  await button("Enter").click();
  await says("This machine is alone so far");
  assert.match(await page.locator("#summary-detail").textContent(), new RegExp(`tables, and name this one there: --peer ADDRESS:${till.port},`));
  await page.locator("#events-list", { hasText: "This machine began to synchronise" }).waitFor();
  await page.getByText("There is no other machine yet.").waitFor();
  assert.equal(await button("Exchange now").isVisible(), false);
  await checkAccessible(page, "alone");
  await picture("alone");
  await page.reload();
  await says("This machine is alone so far");
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  assert.ok(!page.url().includes(token));
  // A page of somebody else, in the same browser, gets nothing, and cannot put this one into a frame.
  await page.goto(`http://127.0.0.1:${office.local_port}/api/sync/openapi.json`);
  const elsewhere = await page.evaluate((there) => fetch(there).then(() => "answered", () => "refused"), `${url(till)}health`);
  assert.equal(elsewhere, "refused");
  await complainedOf(/blocked by CORS policy/);
  await page.context().close();
  page = former;
});

step("every sentence comes from the language file", async () => {
  const english = readFileSync(join(process.env.MBSYNC_PAGE, "en.js"), "utf8");
  await page.route("**/dashboard/en.js", (route) => route.fulfill({ contentType: "text/javascript", body: widened(english) }));
  await page.reload();
  await eventually("the wide sentence", async () => /^[\uff21-\uff5a ]+$/.test(await sentence()));
  await page.locator("#conflicts-states button").nth(2).click();
  await page.locator("#conflicts-list button").first().click();
  await page.locator(".versions").waitFor();
  await eventually("events", async () => (await page.locator("#events-list li").count()) > 0);
  assert.deepEqual(await strayTexts(page), []);
  await page.unroute("**/dashboard/en.js");
});

step("the browser had nothing to complain of", () => {
  assert.deepEqual(wrong, []);
});
