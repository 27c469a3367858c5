// An OpenID provider (npm oidc-provider) for tests, on a free port.
//
// Prints `issuer URL` once it listens. The client `device` (secret `device-secret`) gets tokens by
// client credentials: for the resource `urn:event-gateway` a JWT (at+jwt), for
// `urn:event-gateway:opaque` an opaque token. Headers of the token request say how the token is to
// be: `x-token-lifetime` (seconds) and `x-token-claims` (a JSON object of further claims).
//
// What tests steer is below /test: POST rotate (a new key replaces the old one), POST down (every
// answer is 503, as a provider behind a broken proxy has it) and up, POST lifetime (the seconds of
// tokens that no header says anything of), GET requests (how many requests
// each path had), POST sign ({header, payload, alg, key}: any token, signed by the provider's key
// or by `stranger`; `none` and `HS256` as attackers do it).
const crypto = require("node:crypto");
const http = require("node:http");
const { pathToFileURL } = require("node:url");

const AUDIENCE = "event-gateway";

function newKey(type) {
    const options = { rsa: { modulusLength: 2048 }, ec: { namedCurve: "P-256" }, ed25519: {} }[type];
    const { privateKey } = crypto.generateKeyPairSync(type, options);
    return { kid: crypto.randomUUID(), use: "sig", privateKey };
}

function newKeys() {
    return { RS256: newKey("rsa"), ES256: newKey("ec"), EdDSA: newKey("ed25519") };
}

function jwk(alg, { kid, use, privateKey }) {
    return { ...privateKey.export({ format: "jwk" }), kid, use, alg };
}

function configuration(keys, lifetime) {
    const header = (ctx, name) => ctx.req.headers[name];
    const client = (client_id, grant_types) => ({
        client_id,
        client_secret: `${client_id}-secret`,
        grant_types,
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: "client_secret_basic",
    });
    return {
        clients: [client("device", ["client_credentials"]), client("event-gateway", [])],
        jwks: { keys: Object.entries(keys).map(([alg, key]) => jwk(alg, key)) },
        extraTokenClaims: (ctx) => JSON.parse(header(ctx, "x-token-claims") ?? "{}"),
        features: {
            clientCredentials: { enabled: true },
            devInteractions: { enabled: false },
            introspection: { enabled: true, allowedPolicy: () => true },
            resourceIndicators: {
                enabled: true,
                getResourceServerInfo: (ctx, resource) => ({
                    scope: "publish read",
                    audience: AUDIENCE,
                    accessTokenFormat: resource.endsWith(":opaque") ? "opaque" : "jwt",
                    accessTokenTTL: Number(header(ctx, "x-token-lifetime") ?? lifetime()),
                    jwt: { sign: { alg: "RS256" } },
                }),
            },
        },
    };
}

function sign({ header, payload, alg = "RS256", key = alg }, keys, strangers) {
    const text = (part) => (typeof part === "string" ? part : JSON.stringify(part));
    const encode = (part) => Buffer.from(text(part)).toString("base64url");
    const input = `${encode(header)}.${encode(payload)}`;
    if (alg === "none") return `${input}.`;
    if (alg.startsWith("HS")) {
        // The confusion of algorithms: the public key, which everyone has, as a shared secret.
        return `${input}.${crypto.createHmac("sha256", publicKey(keys)).update(input).digest("base64url")}`;
    }
    const { privateKey } = key === "stranger" ? strangers[alg] : keys[key];
    const hash = alg === "EdDSA" ? null : "sha256";
    const options = { key: privateKey, dsaEncoding: "ieee-p1363" };
    return `${input}.${crypto.sign(hash, Buffer.from(input), options).toString("base64url")}`;
}

function publicKey(keys) {
    return crypto.createPublicKey(keys.RS256.privateKey).export({ type: "spki", format: "pem" });
}

async function main() {
    const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
    const strangers = newKeys();
    const requests = {};
    let keys = newKeys();
    let provider;
    let down = false;
    let seconds = 3600;

    const control = {
        rotate: () => {
            keys = newKeys();
            start();
        },
        down: () => void (down = true),
        up: () => void (down = false),
        lifetime: (body) => void (seconds = Number(body)),
        requests: () => requests,
        keys: () => Object.fromEntries(Object.entries(keys).map(([alg, { kid }]) => [alg, kid])),
        sign: (body) => sign(JSON.parse(body), keys, strangers),
    };
    const server = http.createServer(async (request, response) => {
        const [, first, second] = request.url.split(/[/?]/);
        if (first === "test" && control[second]) {
            let body = "";
            for await (const chunk of request) body += chunk;
            return response.end(JSON.stringify(control[second](body) ?? null));
        }
        const path = request.url.split("?")[0];
        requests[path] = (requests[path] ?? 0) + 1;
        if (down) return response.writeHead(503).end("down");
        return provider.callback()(request, response);
    });
    await new Promise((listening) => server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", listening));
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const start = () => {
        provider = new Provider(issuer, configuration(keys, () => seconds));
    };
    start();
    console.log(`issuer ${issuer}`);
}

main();
