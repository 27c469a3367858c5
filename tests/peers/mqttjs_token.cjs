// Publishes with MQTT.js over MQTT 5 under tokens of an OpenID provider, by enhanced authentication.
//
// mqttjs_token.cjs URL ISSUER LIFETIME_SECONDS renew COUNT: gets a token when the server asks for
// it, a new one every second, and ends after COUNT of them: `renewed COUNT acknowledged N`. A
// connection that ends before is a failure.
// mqttjs_token.cjs URL ISSUER LIFETIME_SECONDS expire: sends the token with CONNECT, never renews
// it, and says how the connection ended: `expires in S` (of the last acknowledgement that said so)
// and `disconnect CODE REASON`.
'use strict'
const mqtt = require('mqtt')

const [url, issuer, lifetime, mode, countText] = process.argv.slice(2)
const METHOD = 'OAUTH2-JWT'
const AUTHENTICATE_AGAIN = 0x19
const CONTINUE = 0x18

async function token () {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from('device:device-secret').toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
      'x-token-lifetime': lifetime
    },
    body: 'grant_type=client_credentials&resource=urn:event-gateway&scope=publish'
  })
  return Buffer.from((await answer.json()).access_token)
}

function auth (reasonCode, authenticationData) {
  return { cmd: 'auth', reasonCode, properties: { authenticationMethod: METHOD, authenticationData } }
}

function fail (text) {
  console.error(text)
  process.exit(1)
}

async function main () {
  const renews = mode === 'renew'
  const properties = { authenticationMethod: METHOD }
  if (!renews) properties.authenticationData = await token()
  const client = mqtt.connect(url, {
    clientId: `mqttjs-${mode}`,
    protocolVersion: 5,
    manualConnect: true,
    reconnectPeriod: 0,
    properties,
    will: { topic: `lost/${mode}`, payload: Buffer.from(mode), qos: 1, properties: {} }
  })
  let acknowledged = 0
  let renewed = 0
  let expiresIn

  client.handleAuth = (packet, done) => {
    if (packet.reasonCode === CONTINUE) {
      token().then((data) => done(undefined, auth(CONTINUE, data)), done)
      return
    }
    renewed += 1
    done()
  }
  client.on('packetreceive', (packet) => {
    if (packet.cmd === 'puback') expiresIn = packet.properties?.userProperties?.['credential-expires-in']
  })
  client.on('error', (error) => fail(`error ${error}`))
  client.on('disconnect', (packet) => {
    const text = `disconnect ${packet.reasonCode} ${packet.properties?.reasonString}`
    if (renews) fail(text)
    console.log(`expires in ${expiresIn}`)
    console.log(text)
  })
  client.on('close', () => renews ? fail('the connection was closed') : process.exit(0))
  client.on('connect', () => {
    if (renews) setInterval(() => token().then((data) => client._sendPacket(auth(AUTHENTICATE_AGAIN, data))), 1000)
    publish()
  })

  function publish () {
    client.publish('tokens/mqttjs', String(acknowledged), { qos: 1 }, (error) => {
      if (error) return renews ? fail(`publish ${error}`) : undefined
      acknowledged += 1
      if (renews && renewed >= Number(countText)) {
        console.log(`renewed ${renewed} acknowledged ${acknowledged}`)
        client.removeAllListeners('close')
        return client.end(false, () => process.exit(0))
      }
      setTimeout(publish, 20)
    })
  }
  client.connect()
}

main()
