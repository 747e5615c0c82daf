// Take a picture of one trace in a running Spotlight:
//   node spotlight.mjs <address of Spotlight> <name of a transaction> <path of Chromium> <picture>
import { chromium } from "playwright-core";

const [address, transaction, executablePath, path] = process.argv.slice(2);

// The stream of what has arrived has no end: read it until the transaction is there.
async function traceId() {
  const response = await fetch(`${address}/stream`, { signal: AbortSignal.timeout(20_000) });
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (const line of text.split("\n").slice(0, -1)) {
      if (!line.startsWith("data: [")) continue;
      for (const [, payload] of JSON.parse(line.slice(6))[1]) {
        if (payload.transaction === transaction) return payload.contexts.trace.trace_id;
      }
    }
  }
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1500, height: 900 }, deviceScaleFactor: 1 });
await page.goto(`${address}/telemetry/traces/${await traceId()}`);
await page.getByText("queue.process").first().waitFor();
await page.getByText("INSERT INTO").first().click(); // its data, on the right
await page.getByText("db.system").first().waitFor();
await page.screenshot({ path });
await browser.close();
