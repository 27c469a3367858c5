// Subscribes with MQTT.js in a session that outlives its connections, and prints what comes.
//
// mqttjs_subscribe.cjs URL VERSION CLIENT_ID QOS FILTER...: VERSION is 5 or 311. Prints `subscribed`, and then
// the payload of each message on a line of its own. A connection that finds no session prints `lost`.
'use strict'
const mqtt = require('mqtt')

const [url, version, clientId, qosText, ...filters] = process.argv.slice(2)
const client = mqtt.connect(url, {
  clientId,
  protocolVersion: version === '5' ? 5 : 4,
  clean: false,
  resubscribe: false,
  reconnectPeriod: 30,
  connectTimeout: 2000,
  properties: version === '5' ? { sessionExpiryInterval: 3600 } : undefined
})
client.on('error', () => {})

let subscribed = false
client.on('connect', (connack) => {
  if (subscribed) {
    if (!connack.sessionPresent) console.log('lost')
    return
  }
  client.subscribe(filters, { qos: Number(qosText) }, (error) => {
    if (error) return
    subscribed = true
    console.log('subscribed')
  })
})
client.on('message', (_topic, payload) => console.log(payload.toString()))
