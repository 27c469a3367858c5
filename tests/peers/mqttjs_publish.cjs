// Publishes COUNT messages with MQTT.js over MQTT 5 and ends when all are acknowledged.
//
// mqttjs_publish.cjs URL CLIENT_ID QOS COUNT: with QoS 1 each is a CloudEvent in binary content
// mode with an id of its own; with QoS 2 each is a plain payload, which nothing but the protocol
// keeps from arriving twice. Broken connections are made again, with the same session.
'use strict'
const mqtt = require('mqtt')

const [url, clientId, qosText, countText] = process.argv.slice(2)
const qos = Number(qosText)
const count = Number(countText)
const UNDER_WAY = 20

const client = mqtt.connect(url, {
  clientId,
  protocolVersion: 5,
  clean: false,
  reconnectPeriod: 30,
  connectTimeout: 2000,
  properties: { sessionExpiryInterval: 3600 }
})
client.on('error', () => {})

let next = 0
let acknowledged = 0

function publish (name) {
  const properties = { contentType: 'text/plain' }
  if (qos === 1) {
    properties.userProperties =
      { specversion: '1.0', id: name, source: '/mqttjs', type: 'survives.kill' }
  }
  client.publish(`survives/${clientId}`, name, { qos, properties }, (error) => {
    // The client gives back what it had not begun to send when the connection broke.
    if (error && error.message === 'Connection closed') return setImmediate(publish, name)
    if (error) {
      console.error(`${name}: ${error}`)
      process.exit(1)
    }
    acknowledged += 1
    if (acknowledged === count) {
      console.log(`acknowledged ${count}`)
      client.end(true, () => process.exit(0))
    } else if (next < count) {
      publish(`${clientId}-${next++}`)
    }
  })
}

while (next < Math.min(UNDER_WAY, count)) publish(`${clientId}-${next++}`)
