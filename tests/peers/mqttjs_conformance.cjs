// Goes through what a broker has to do, with MQTT.js, and says of each scenario whether it held.
//
// mqttjs_conformance.cjs URL STRICT_URL VERSION CA SCENARIO...: STRICT_URL is that of a server with
// narrow limits; CA a file, or - without TLS. Prints `ok NAME` or `failed NAME: reason` for each; all
// run at once.
'use strict'
const assert = require('assert')
const fs = require('fs')
const { randomUUID } = require('crypto')
const mqtt = require('mqtt')

const [url, strictUrl, version, ca, ...chosen] = process.argv.slice(2)
const V5 = version === '5'
const WAIT_MS = 20000

const unique = (what) => what + randomUUID().replaceAll('-', '').slice(0, 12)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function inTime (what, promise) {
  const late = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${what} did not come in time`)), WAIT_MS).unref()
  })
  return Promise.race([promise, late])
}

// A client whose messages wait in a queue.
class Peer {
  static async open ({ name, clean = true, to = url, keepalive = 60, will, manual, expiry, ...properties } = {}) {
    const peer = new Peer()
    peer.messages = []
    peer.waiting = []
    if (V5 && expiry) properties.sessionExpiryInterval = expiry
    const options = {
      clientId: name ?? unique('c'),
      protocolVersion: V5 ? 5 : 4,
      clean,
      keepalive,
      will,
      reconnectPeriod: 0,
      resubscribe: false,
      ...(ca === '-' ? {} : { ca: fs.readFileSync(ca) }),
      ...(V5 ? { properties } : {})
    }
    const client = peer.client = mqtt.connect(to, options)
    client.on('error', () => {})
    client.on('message', (topic, payload, packet) => {
      packet.payload = payload.toString()
      const waiting = peer.waiting.shift()
      if (waiting) waiting(packet)
      else peer.messages.push(packet)
    })
    if (manual) {
      peer.held = []
      client.handleMessage = (packet, done) => { peer.held.push(done) }
    }
    peer.gone = new Promise((resolve) => client.on('close', resolve))
    peer.told = new Promise((resolve) => client.on('disconnect', resolve))
    peer.connack = await inTime('CONNACK', new Promise((resolve) => client.on('connect', resolve)))
    peer.present = peer.connack.sessionPresent
    return peer
  }

  publish (topic, payload, options = {}) {
    return inTime('an acknowledgement', this.client.publishAsync(topic, payload, { qos: 1, ...options }))
  }

  async subscribe (topic, qos = 1, options = {}) {
    const granted = await inTime('SUBACK', new Promise((resolve) => {
      const { identifier, ...more } = options
      const properties = V5 && identifier ? { properties: { subscriptionIdentifier: identifier } } : {}
      this.client.subscribe(topic, { qos, ...(V5 ? more : {}), ...properties }, (error, granted, packet) => {
        resolve(packet ? packet.granted : error)
      })
    }))
    return granted
  }

  message () {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift())
    return inTime('a message', new Promise((resolve) => this.waiting.push(resolve)))
  }

  // What comes before this payload, which is the last.
  async before (last) {
    const found = []
    for (;;) {
      const message = await this.message()
      if (message.payload === last) return found
      found.push(message.payload)
    }
  }

  async end () {
    await inTime('the end', this.client.endAsync())
  }

  // The connection breaks without DISCONNECT.
  async vanish () {
    this.client.stream.destroy()
    await inTime('the end', this.gone)
  }
}

const open = Peer.open
const text = (message) => message.payload

const scenarios = {
  async qos () {
    const topic = unique('t')
    for (const granted of [0, 1, 2]) {
      const one = await open()
      assert.deepEqual(await one.subscribe(topic, granted), [granted])
      for (const qos of [0, 1, 2]) {
        await one.publish(topic, `${qos}`, { qos })
        const message = await one.message()
        assert.equal(message.payload, `${qos}`)
        assert.equal(message.qos, Math.min(qos, granted))
        assert(!message.dup && !message.retain)
      }
      await one.end()
    }
  },

  async retained () {
    const topic = unique('t')
    const one = await open()
    await one.publish(topic, 'first', { retain: true })
    await one.publish(topic, 'second', { retain: true })
    const late = await open()
    await late.subscribe(topic)
    let message = await late.message()
    assert.deepEqual([text(message), message.retain], ['second', true])
    await one.publish(topic, '', { retain: true })
    message = await late.message()
    assert.deepEqual([text(message), message.retain], ['', false])
    const later = await open()
    await later.subscribe(topic)
    await one.publish(topic, 'end')
    assert.deepEqual(await later.before('end'), [])
  },

  async will () {
    const topic = unique('t')
    const watcher = await open()
    await watcher.subscribe(topic, 2)
    await (await open({ will: { topic, payload: 'agreed', qos: 1 } })).end()
    await (await open({ will: { topic, payload: 'broken', qos: 2 } })).vanish()
    const message = await watcher.message()
    assert.deepEqual([text(message), message.qos], ['broken', 2])
  },

  async resume () {
    const [topic, name] = [unique('t'), unique('c')]
    let one = await open({ name, clean: false, expiry: 600 })
    assert(!one.present)
    await one.subscribe(`${topic}/#`)
    await one.end()
    const other = await open()
    const expected = []
    for (let number = 0; number < 50; number++) {
      expected.push(`${number}`)
      await other.publish(`${topic}/${number % 3}`, `${number}`)
    }
    one = await open({ name, clean: false, expiry: 600 })
    assert(one.present)
    await other.publish(topic, 'end')
    assert.deepEqual(await one.before('end'), expected)
    await one.end()
    assert(!(await open({ name })).present)
  },

  async unsubscribe () {
    const topic = unique('t')
    const one = await open()
    await one.subscribe(`${topic}/a`)
    await one.subscribe(`${topic}/end`)
    await one.client.unsubscribeAsync(`${topic}/a`)
    await one.publish(`${topic}/a`, 'after')
    await one.publish(`${topic}/end`, 'end')
    assert.deepEqual(await one.before('end'), [])
  },

  async wildcards () {
    const topic = unique('t')
    const rows = [['#', ['', '/a', '/a/b', '/a/b/c', '/b']], ['+', ['/a', '/b']], ['+/b', ['/a/b']],
      ['a/#', ['/a', '/a/b', '/a/b/c']]]
    for (const [filter, matching] of rows) {
      const one = await open()
      await one.subscribe(`${topic}/${filter}`)
      await one.subscribe(`${topic}end`)
      for (const name of ['', '/a', '/a/b', '/a/b/c', '/b']) await one.publish(topic + name, name)
      await one.publish(`${topic}end`, 'end')
      assert.deepEqual(await one.before('end'), matching, filter)
    }
  },

  async overlapping () {
    const topic = unique('t')
    const one = await open()
    await one.subscribe(`${topic}/#`, 1, { identifier: 1 })
    await one.subscribe(`${topic}/a`, 2, { identifier: 2 })
    await one.publish(`${topic}/a`, 'x', { qos: 2 })
    await one.publish(`${topic}/a`, 'end', { qos: 2 })
    const copies = []
    for (let message; (message = await one.message()).payload !== 'end';) copies.push(message)
    assert([1, 2].includes(copies.length))
    assert.equal(Math.max(...copies.map((message) => message.qos)), 2)
    if (V5) {
      const ids = copies.flatMap((message) => message.properties.subscriptionIdentifier)
      assert.deepEqual(ids.sort(), [1, 2])
    }
  },

  async shared () {
    const topic = unique('t')
    const members = await Promise.all([open(), open(), open()])
    for (const member of members) await member.subscribe(`$share/${topic}/${topic}/+`)
    const other = await open()
    for (let number = 0; number < 30; number++) await other.publish(`${topic}/${number}`, `${number}`)
    const until = Date.now() + WAIT_MS
    const count = () => members.reduce((sum, member) => sum + member.messages.length, 0)
    while (count() < 30 && Date.now() < until) await pause(10)
    const all = members.flatMap((member) => member.messages.map(text))
    assert.deepEqual([all.length, new Set(all).size], [30, 30])
    assert(members.every((member) => member.messages.length >= 5))
  },

  async request_response () {
    const topic = unique('t')
    const [one, other] = [await open(), await open()]
    await other.subscribe(`${topic}/ask`)
    await one.subscribe(`${topic}/answer`)
    const correlationData = Buffer.from([0, 255, 55])
    await one.publish(`${topic}/ask`, '?', { properties: { responseTopic: `${topic}/answer`, correlationData } })
    const { properties } = await other.message()
    await other.publish(properties.responseTopic, '!', { properties: { correlationData: properties.correlationData } })
    assert.deepEqual((await one.message()).properties.correlationData, correlationData)
  },

  async user_properties () {
    const topic = unique('t')
    const one = await open()
    await one.subscribe(topic)
    const userProperties = { b: ['2', '3'], a: 'caf\u00e9' }
    const asked = { userProperties, payloadFormatIndicator: true, contentType: 'text/plain' }
    await one.publish(topic, 'x', { properties: asked })
    const { properties } = await one.message()
    assert.deepEqual({ ...properties.userProperties }, userProperties)
    assert.equal(properties.payloadFormatIndicator, true)
    assert.equal(properties.contentType, 'text/plain')
  },

  async aliases () {
    const topic = unique('t')
    const [one, other] = [await open({ topicAliasMaximum: 5 }), await open()]
    await one.subscribe(topic)
    await other.publish(topic, 'full', { properties: { topicAlias: 1 } })
    await other.publish('', 'short', { properties: { topicAlias: 1 } })
    for (const payload of ['full', 'short', 'last']) {
      if (payload === 'last') await other.publish(topic, 'last')
      const message = await one.message()
      assert.deepEqual([text(message), message.topic || topic], [payload, topic])
    }
  },

  async receive_maximum () {
    const topic = unique('t')
    const [one, other] = [await open({ manual: true, receiveMaximum: 2 }), await open()]
    await one.subscribe(topic)
    for (let number = 0; number < 4; number++) await other.publish(topic, `${number}`)
    assert.deepEqual([text(await one.message())], ['0'])
    await pause(200)
    const early = one.messages.length
    assert(early <= 1, `${early} more came`)
    while (one.messages.length < 3) {
      one.held.splice(0).forEach((done) => done())
      await pause(10)
    }
    assert.deepEqual(one.messages.map(text), ['1', '2', '3'])
  },

  async maximum_packet () {
    const topic = unique('t')
    const [one, other] = [await open({ maximumPacketSize: 200 }), await open()]
    await one.subscribe(topic)
    for (const payload of ['small', 'x'.repeat(300), 'end']) await other.publish(topic, payload)
    assert.deepEqual(await one.before('end'), ['small'])
  },

  async server_keep_alive () {
    const one = await open({ to: strictUrl })
    assert.equal(one.connack.properties.serverKeepAlive, 10)
  },

  async forbidden () {
    const one = await open({ to: strictUrl })
    assert.deepEqual(await one.subscribe('forbidden/x'), [V5 ? 0x87 : 0x80])
    const topic = unique('t')
    assert.deepEqual(await one.subscribe(topic), [1])
    await one.publish(topic, 'x')
    await one.message()
  },

  async dollar () {
    const topic = unique('t')
    const one = await open()
    await one.subscribe('#', 0)
    await one.subscribe(`+/${topic}`, 0)
    const named = await open()
    await named.subscribe(`$test/${topic}`)
    const other = await open()
    await other.publish(`$test/${topic}`, 'dollar')
    await other.publish(`x/${topic}`, topic)
    assert.equal((await named.message()).payload, 'dollar')
    for (let message; (message = await one.message()).payload !== topic;) {
      assert(!message.topic.startsWith('$'), message.topic)
    }
  },

  async redelivery () {
    const [topic, name] = [unique('t'), unique('c')]
    const one = await open({ name, clean: false, expiry: 600, manual: true })
    await one.subscribe(topic)
    const other = await open()
    await other.publish(topic, '1')
    const sent = await one.message()
    await one.vanish()
    const again = await open({ name, clean: false, expiry: 600 })
    const message = await again.message()
    assert.deepEqual([text(message), message.messageId, message.dup], ['1', sent.messageId, true])
  },

  async session_expiry () {
    const [brief, long] = [unique('c'), unique('c')]
    await (await open({ name: brief, expiry: 1 })).end()
    await (await open({ name: long, expiry: 60 })).end()
    await pause(2200)
    assert(!(await open({ name: brief, clean: false })).present)
    assert((await open({ name: long, clean: false })).present)
  },

  async will_delay () {
    const topic = unique('t')
    const watcher = await open()
    await watcher.subscribe(topic)
    const delayed = (name) => open({
      name,
      clean: false,
      expiry: 60,
      will: { topic, payload: name, qos: 1, properties: { willDelayInterval: 1 } }
    })
    const [name, other] = [unique('c'), unique('c')]
    await (await delayed(name)).vanish()
    await open({ name, clean: false, expiry: 60 })
    const begun = Date.now()
    await (await delayed(other)).vanish()
    assert.equal(text(await watcher.message()), other, 'the first came back in time')
    assert(Date.now() - begun > 700)
  },

  async message_expiry () {
    const [topic, name] = [unique('t'), unique('c')]
    const one = await open({ name, clean: false, expiry: 60 })
    await one.subscribe(topic)
    await one.end()
    const other = await open()
    await other.publish(topic, 'brief', { properties: { messageExpiryInterval: 1 } })
    await other.publish(topic, 'long', { properties: { messageExpiryInterval: 60 } })
    await pause(2200)
    const message = await (await open({ name, clean: false, expiry: 60 })).message()
    assert.equal(text(message), 'long')
    const left = message.properties.messageExpiryInterval
    assert(left >= 50 && left <= 58, `${left}`)
  },

  async assigned_id () {
    const peers = [await open({ name: '' }), await open({ name: '' })]
    const ids = peers.map((peer) => peer.connack.properties.assignedClientIdentifier)
    assert(ids[0] && ids[1] && ids[0] !== ids[1], `${ids}`)
  },

  async retain_options () {
    const topic = unique('t')
    const [one, other] = [await open(), await open()]
    await other.publish(topic, 'kept', { retain: true })
    await one.subscribe(topic, 1, { rh: 2, rap: true, nl: true })
    await other.publish(topic, 'live', { retain: true })
    let message = await one.message()
    assert.deepEqual([text(message), message.retain], ['live', true])
    await one.publish(topic, 'own')
    await one.subscribe(topic, 1, { rh: 1 })
    await one.subscribe(topic, 1, { rh: 0 })
    message = await one.message()
    assert.deepEqual([text(message), message.retain], ['live', true])
    await other.publish(topic, 'end')
    assert.deepEqual(await one.before('end'), [])
  },

  async empty_payload () {
    const topic = unique('t')
    const one = await open()
    await one.subscribe(topic, 2)
    for (const qos of [0, 1, 2]) {
      await one.publish(topic, '', { qos })
      assert.equal(text(await one.message()), '')
    }
  },

  async empty_client_id () {
    assert(!(await open({ name: '' })).present)
  },

  async keepalive_0 () {
    const one = await open({ keepalive: 0 })
    await pause(2000)
    const topic = unique('t')
    await one.subscribe(topic)
    await one.publish(topic, 'x')
    await one.message()
  },

  async takeover () {
    const name = unique('c')
    const one = await open({ name, clean: false, expiry: 60 })
    const other = await open({ name, clean: false, expiry: 60 })
    assert(other.present)
    if (V5) assert.equal((await inTime('DISCONNECT', one.told)).reasonCode, 0x8e)
    await inTime('the end', one.gone)
  }
}

async function run (name) {
  try {
    await scenarios[name]()
    console.log(`ok ${name}`)
  } catch (error) {
    const place = (error.stack.match(/conformance.cjs:(\d+)/g) || []).slice(-1)
    console.log(`failed ${name}: ${place} ${error.message.replaceAll('\n', ' ')}`)
  }
}

Promise.all(chosen.map(run)).then(() => process.exit(0))
