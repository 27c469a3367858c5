// A Kafka topic as its users see it.
//
// Over TLS where KAFKA_CA, KAFKA_CERT and KAFKA_KEY name files; by SCRAM where there are KAFKA_USER and
// KAFKA_PASSWORD.
//
// kafka_bus.cjs PORT topic NAME PARTITIONS   makes a topic
// kafka_bus.cjs PORT read NAME COUNT         prints COUNT messages, one JSON object a line
// kafka_bus.cjs PORT write NAME              publishes the messages of standard input, one JSON object
//                                            a line: key, headers, and the value in base64
// kafka_bus.cjs PORT many NAME COUNT [FIRST] publishes COUNT events of 10 keys, with ids from FIRST on

const { readFileSync } = require("node:fs");
const readline = require("node:readline");
const { Kafka, logLevel } = require("kafkajs");

const [port, verb, name, argument, first] = process.argv.slice(2);
const { KAFKA_CA, KAFKA_CERT, KAFKA_KEY, KAFKA_USER, KAFKA_PASSWORD } = process.env;
const ssl = KAFKA_CA && {
  ca: [readFileSync(KAFKA_CA)],
  cert: readFileSync(KAFKA_CERT),
  key: readFileSync(KAFKA_KEY),
};
const sasl = KAFKA_USER && {
  mechanism: "scram-sha-256",
  username: KAFKA_USER,
  password: KAFKA_PASSWORD,
};
const kafka = new Kafka({ brokers: [`127.0.0.1:${port}`], ssl, sasl, logLevel: logLevel.NOTHING });

async function topic() {
  const admin = kafka.admin();
  await admin.connect();
  const topics = [{ topic: name, numPartitions: Number(argument), replicationFactor: 1 }];
  await admin.createTopics({ topics, waitForLeaders: false });
  await admin.disconnect();
}

function shown({ partition, message }) {
  const headers = {};
  for (const [header, value] of Object.entries(message.headers)) headers[header] = value.toString();
  return {
    partition,
    offset: message.offset,
    key: message.key && message.key.toString(),
    headers,
    body: message.value && message.value.toString("base64"),
  };
}

async function read() {
  const groupId = `reader-${process.pid}`;
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, rebalanceTimeout: 1000 });
  await consumer.connect();
  await consumer.subscribe({ topics: [name], fromBeginning: true });
  let left = Number(argument);
  await new Promise((done) => {
    consumer.run({
      eachMessage: async (received) => {
        if (left <= 0) return;
        process.stdout.write(`${JSON.stringify(shown(received))}\n`);
        left -= 1;
        if (left === 0) done();
      },
    });
  });
  await consumer.disconnect();
}

async function write() {
  const messages = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { key, headers, body } = JSON.parse(line);
    messages.push({ key, headers, value: body === null ? null : Buffer.from(body, "base64") });
  }
  await publish(messages);
}

async function many() {
  const message = (_, place) => {
    const number = Number(first ?? 0) + place;
    const [id, key] = [String(number), String(number % 10)];
    const attributes = { ce_source: "/lamps", ce_type: "lamp.lit", ce_partitionkey: key };
    return { key, headers: { ce_specversion: "1.0", ce_id: id, ...attributes }, value: null };
  };
  await publish(Array.from({ length: Number(argument) }, message));
}

async function publish(messages) {
  const producer = kafka.producer();
  await producer.connect();
  for (let first = 0; first < messages.length; first += 1000) {
    await producer.send({ topic: name, acks: -1, messages: messages.slice(first, first + 1000) });
  }
  await producer.disconnect();
}

({ topic, read, write, many })[verb]().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
