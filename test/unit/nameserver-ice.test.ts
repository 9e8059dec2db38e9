import { expect } from 'chai'
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { loadIceServers, parseTurnConfig } from '#nameserver/ice.js'

const example = new URL('../../turn.config.example.json', import.meta.url)
const own = new URL('../../turn.config.json', import.meta.url)
const read = (file: URL): unknown => JSON.parse(readFileSync(file, 'utf8'))

describe('name server: ICE servers', () => {
  it('takes url and urls, texts and lists, and hands out what engines take', () => {
    const turn = { username: 'ada', credential: 'secret' }
    const entries = [
      { url: 'stun:stun.example' },
      { urls: 'stuns:[2001:db8::1]:5349' },
      { urls: ['turn:turn.example:3478?transport=udp', 'turns:turn.example'], ...turn },
    ]
    expect(parseTurnConfig({ iceServers: entries }, 'file').at(0)).to.deep.equal([
      { urls: ['stun:stun.example'] },
      { urls: ['stuns:[2001:db8::1]:5349'] },
      { urls: ['turn:turn.example:3478?transport=udp', 'turns:turn.example'], ...turn },
    ])
  })

  it('reads the file of the repository and its example', () => {
    expect(parseTurnConfig(read(own), 'turn.config.json').size).to.equal(0)
    expect(parseTurnConfig(read(example), 'turn.config.example.json').size).to.equal(3)
  })

  it('makes a credential that ends, for each welcome anew, and keeps the secret', () => {
    const servers = parseTurnConfig({ iceServers: [{ url: 'turn:turn.example', secret: 'shared' }] }, 'file')
    const [first] = servers.at(1_800_000_000_500)
    expect(first?.username).to.equal('1800086400:named-master')
    expect(first?.credential).to.equal(createHmac('sha1', 'shared').update('1800086400:named-master').digest('base64'))
    expect(servers.at(1_800_000_001_500)[0]?.username).to.equal('1800086401:named-master')
    expect(Object.keys(first ?? {})).to.have.members(['urls', 'username', 'credential'])
    expect([servers.expiring, parseTurnConfig({ iceServers: [] }, 'file').expiring]).to.deep.equal([true, false])
  })

  const wrong: [unknown, RegExp][] = [
    [7, /^file: expected an object/],
    [[], /^file: \/iceServers: expected an object with the list/],
    [{}, /^file: \/iceServers: /],
    [{ iceServers: {} }, /^file: \/iceServers: expected a list/],
    [{ iceServer: [], iceServers: [] }, /^file: \/iceServer: /],
    [{ iceServers: ['stun:a.example'] }, /^file: \/iceServers\/0: expected an object/],
    [{ iceServers: [{}] }, /^file: \/iceServers\/0: needs either url or urls/],
    [{ iceServers: [{ url: 'stun:a.example', urls: 'stun:a.example' }] }, /needs either/],
    [{ iceServers: [{ url: 'https://a.example' }] }, /^file: \/iceServers\/0\/url: "https:.* is no stun:/],
    [{ iceServers: [{ urls: [] }] }, /^file: \/iceServers\/0\/urls: /],
    [{ iceServers: [{ urls: ['stun:a.example', 'stun:'] }] }, /^file: \/iceServers\/0\/urls\/1: "stun:" is no/],
    [{ iceServers: [{ url: 'stun:a.example:70000' }] }, /no port from 1 to 65535/],
    [{ iceServers: [{ url: 'stun:a.example?transport=udp' }] }, /a STUN URL has no transport/],
    [{ iceServers: [{ url: 'turn:a.example' }] }, /^file: \/iceServers\/0: is a TURN server and needs a username/],
    [{ iceServers: [{ url: 'turn:a.example', username: 'ada' }] }, /needs a credential \(or a secret\)/],
    [
      { iceServers: [{ url: 'turn:a.example', username: 7, credential: 'x' }] },
      /^file: \/iceServers\/0\/username: expected a text/,
    ],
    [{ iceServers: [{ url: 'turn:a.example', userName: 'ada' }] }, /^file: \/iceServers\/0\/userName: /],
    [{ iceServers: [{ url: 'turn:a.example', credential: 'x', secret: 'x' }] }, /a secret and a credential/],
    [{ iceServers: Array.from({ length: 17 }, () => ({ url: 'stun:a.example' })) }, /more than 16/],
  ]
  for (const [config, expected] of wrong) {
    it(`refuses ${JSON.stringify(config).slice(0, 70)}`, () => {
      expect(() => parseTurnConfig(config, 'file'))
        .to.throw(expected)
        .with.property('code', 'invalid-config')
    })
  }

  it('stops at a file that was named and is missing', async () => {
    const error: unknown = await loadIceServers('/no/such/turn.json').catch((thrown: unknown) => thrown)
    expect(error).to.include({ code: 'invalid-config', message: '/no/such/turn.json: there is no such file' })
  })
})
