//! Documents with one thing wrong: both refuse them, and name the same place.

use crate::{Sample, assert_same_place, parsed, read};

const V2: &str = r"asyncapi: 2.6.0
info: {title: Lamps, version: 1.0.0}
servers:
  broker: {url: 'mqtt://{host}', protocol: mqtt, variables: {host: {default: a}}, security: [{key: []}]}
channels:
  lamps/{id}:
    servers: [broker]
    parameters: {id: {schema: {type: string}}}
    publish:
      operationId: lit
      message: {$ref: '#/components/messages/lit'}
  other:
    subscribe:
      operationId: out
      message: {messageId: two, payload: {type: object}, tags: [{name: a}]}
components:
  securitySchemes: {key: {type: userPassword}}
  messages: {lit: {messageId: one, payload: {type: object}}}
";

const V3: &str = r"asyncapi: 3.0.0
info: {title: Lamps, version: 1.0.0}
servers:
  broker: {host: 'broker', protocol: mqtt}
channels:
  lit:
    address: lamps/{id}
    servers: [{$ref: '#/servers/broker'}]
    parameters: {id: {description: which}}
    messages: {lit: {payload: {type: object}}}
  other:
    address: other
    messages: {out: {payload: {type: object}}}
operations:
  receive:
    action: receive
    channel: {$ref: '#/channels/lit'}
    messages: [{$ref: '#/channels/lit/messages/lit'}]
";

/// What is wrong, and how it comes into the document.
const BROKEN: [(&str, &str, &str, &str); 31] = [
    ("2: no title", V2, "title: Lamps, ", ""),
    ("2: a version that is a number", V2, "version: 1.0.0", "version: 1.0"),
    ("2: an unknown member", V2, "    servers: [broker]", "    servers: [broker]\n    colour: red"),
    ("2: an unknown version", V2, "2.6.0", "2.9.0"),
    ("2: a tag twice", V2, "tags: [{name: a}]", "tags: [{name: a}, {name: a}]"),
    ("2: a tag without name", V2, "tags: [{name: a}]", "tags: [{}]"),
    ("2: a reference to nothing", V2, "messages/lit'", "messages/none'"),
    ("2: an operation's id twice", V2, "operationId: out", "operationId: lit"),
    ("2: a message's id twice", V2, "messageId: two", "messageId: one"),
    ("2: a server that is not there", V2, "servers: [broker]", "servers: [nobody]"),
    (
        "2: a security scheme that is not there",
        V2,
        "security: [{key: []}]",
        "security: [{lock: []}]",
    ),
    ("2: a security scheme of no kind", V2, "type: userPassword", "type: secret"),
    ("2: a parameter that the address lacks", V2, "parameters: {id:", "parameters: {no: {}, id:"),
    ("2: a parameter that is not described", V2, "lamps/{id}:", "lamps/{id}/{no}:"),
    ("2: a variable that is not described", V2, "mqtt://{host}", "mqtt://{host}:{port}"),
    ("2: a query in an address", V2, "  other:", "  other?a=b:"),
    (
        "2: a message that is a list",
        V2,
        "{messageId: two, payload: {type: object}, tags: [{name: a}]}",
        "[1]",
    ),
    ("2: a schema of no type", V2, "{schema: {type: string}}", "{schema: {type: word}}"),
    ("2: no channels", V2, "channels:", "x-channels:"),
    ("2: a member twice", V2, "operationId: lit", "operationId: lit\n      operationId: lit"),
    ("3: no action", V3, "    action: receive\n", ""),
    ("3: an action of no kind", V3, "action: receive", "action: publish"),
    ("3: a channel that is not there", V3, "'#/channels/lit'}", "'#/channels/none'}"),
    (
        "3: a message of another channel",
        V3,
        "'#/channels/lit/messages/lit'",
        "'#/channels/other/messages/out'",
    ),
    ("3: a server that is not there", V3, "'#/servers/broker'", "'#/servers/none'"),
    ("3: no host", V3, "host: 'broker', ", ""),
    ("3: an unknown member", V3, "    address: other", "    address: other\n    colour: red"),
    ("3: a parameter that the address lacks", V3, "{id: {description: which}}", "{id: {}, no: {}}"),
    ("3: a parameter with a schema", V3, "{description: which}", "{schema: {type: string}}"),
    ("3: a parameter that is not described", V3, "address: lamps/{id}", "address: lamps/{id}/{no}"),
    ("3: an address that is a number", V3, "address: other", "address: 7"),
];

#[tokio::test]
async fn broken_documents_are_refused_where_the_official_parser_refuses_them() {
    for text in [V2, V3] {
        read(text).unwrap();
    }
    let samples = BROKEN.map(|(name, text, right, wrong)| {
        assert!(text.contains(right), "{name}");
        Sample { name: name.to_owned(), text: text.replacen(right, wrong, 1) }
    });
    for (sample, parser) in samples.iter().zip(parsed(&samples).await) {
        let name = &sample.name;
        assert!(parser["read"].is_null(), "{name}: the parser reads it\n{}", sample.text);
        let invalid = read(&sample.text).expect_err(name);
        assert_same_place(name, &invalid, &parser);
    }
}
