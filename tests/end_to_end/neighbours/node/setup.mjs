// Node.js runs this before hop.mjs, as Sentry's documentation says.
import * as Sentry from "@sentry/node";

// One trace in a million goes the other way: a rate, not a constant, so that it stands in headers.
const [MOST, FEW] = [0.999999, 0.000001];

const tracing = {
  tracesSampler: ({ inheritOrSampleWith, attributes = {}, name }) => {
    const path = attributes["url.path"] ?? attributes["http.target"] ?? name;
    return inheritOrSampleWith(String(path).includes("/drop") ? FEW : MOST);
  },
};

Sentry.init(process.env.NEIGHBOUR === "node" ? tracing : {});
