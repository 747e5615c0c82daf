// One hop of a journey, over HTTP: see hop.py.
import http from "node:http";
import * as Sentry from "@sentry/node";

const HEADS = ["keep", "drop", "open"];

async function handle(request, response) {
  const [following, ...rest] = request.headers["x-next"].split("|");
  const headers = { "x-next": rest.join("|") };
  if (HEADS.includes(request.url.split("/")[1])) {
    headers.baggage = "user=alice"; // the SDK has no API for it, and adds its own
  }
  const answer = await fetch(following, { headers });
  await answer.text();
  response.writeHead(answer.status).end();
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => response.writeHead(500).end(String(error.stack)));
});
server.listen(Number(process.env.PORT), "127.0.0.1");

process.on("SIGTERM", async () => {
  await Sentry.close(2000);
  process.exit(0);
});
