// Follows what changes of event definitions by graphql-ws over WebSocket.
//
// follow_events.cjs URL [TOKEN]: says `connected`, then a line of JSON for each change or refusal;
// ends when the server ends the connection, with a line {"closed": CODE}.
const { createClient } = require("graphql-ws");
const WebSocket = require("ws");

const [url, token] = process.argv.slice(2);

class Authorized extends WebSocket {
    constructor(address, protocols) {
        super(address, protocols, token ? { headers: { authorization: `Bearer ${token}` } } : {});
        this.on("unexpected-response", (_, answer) => {
            console.log(JSON.stringify({ status: answer.statusCode }));
            process.exit(0);
        });
    }
}

const client = createClient({
    url,
    webSocketImpl: Authorized,
    retryAttempts: 0,
    lazy: false,
    onNonLazyError: () => {},
    on: {
        connected: () => console.log("connected"),
        closed: (event) => {
            console.log(JSON.stringify({ closed: event.code }));
            process.exit(0);
        },
    },
});

const say = (result) => console.log(JSON.stringify(result));
client.subscribe(
    { query: "mutation { createApplication(in: { name: \"sneaked\" }) { id } }" },
    { next: say, error: (errors) => say({ errors }), complete: () => {} },
);
client.subscribe(
    { query: "subscription { eventsChanged { kind applicationID eventAPI { name \
        application { name eventingConfiguration { defaultURL } } } } }" },
    { next: say, error: (errors) => say({ errors }), complete: () => say("complete") },
);
