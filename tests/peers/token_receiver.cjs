// A receiver of events that takes bearer tokens as a resource server does: token_receiver.cjs ISSUER.
//
// The library jose checks signature (by the issuer's JWKS), issuer, audience and expiry, with no
// leeway. Prints `url URL` once it listens, then for each request a line of JSON: the event's id, the
// status that was answered, the token's sub and exp, and why it was refused. POST /test/revoke: every
// token that was good until now is refused from now on.
const http = require("node:http");
const { pathToFileURL } = require("node:url");

async function main() {
    const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(require.resolve("jose")));
    const issuer = process.argv[2];
    const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
    const options = { issuer, audience: "event-gateway", clockTolerance: 0 };
    const good = new Set();
    const revoked = new Set();

    const judge = async (token) => {
        if (revoked.has(token)) return { status: 401, reason: "revoked" };
        try {
            const { payload } = await jwtVerify(token, keys, options);
            good.add(token);
            return { status: 204, sub: payload.sub, exp: payload.exp };
        } catch (error) {
            return { status: 401, reason: error.message };
        }
    };
    const server = http.createServer(async (request, response) => {
        for await (const _ of request);
        if (request.url === "/test/revoke") {
            good.forEach((token) => revoked.add(token));
            return response.end();
        }
        const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
        const judged = await judge(token);
        console.log(JSON.stringify({ id: request.headers["ce-id"], ...judged }));
        return response.writeHead(judged.status).end(judged.reason);
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    console.log(`url http://127.0.0.1:${server.address().port}/hook`);
}

main();
