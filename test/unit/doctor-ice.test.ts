import { expect } from 'chai'
import { doubtAbout } from '#src/cli/doctor-ice.js'

describe('doctor: a relay that others may not reach', () => {
  const PUBLIC = { address: '203.0.113.7', family: 4 }
  const PRIVATE = { address: '192.168.1.2', family: 4 }
  const cases: [relay: string, servers: { address: string; family: number }[], doubt: RegExp | undefined][] = [
    ['127.0.0.1', [{ address: '127.0.0.1', family: 4 }], /only this machine/],
    ['::1', [PUBLIC], /only this machine/],
    ['203.0.113.7', [PUBLIC], undefined],
    ['172.20.0.3', [PUBLIC], /^a private address .*external-ip/],
    ['fd00::2', [PUBLIC], /^a private address/],
    // A TURN server of a network of its own, such as a company's.
    ['192.168.1.2', [PRIVATE], undefined],
    ['2001:db8::7', [PUBLIC, { address: '2001:db8::7', family: 6 }], undefined],
  ]
  for (const [relay, servers, doubt] of cases) {
    it(`${doubt === undefined ? 'does not doubt' : 'doubts'} ${relay} of ${servers.map(({ address }) => address).join(', ')}`, () => {
      if (doubt === undefined) expect(doubtAbout(relay, servers)).to.equal(undefined)
      else expect(doubtAbout(relay, servers)).to.match(doubt)
    })
  }
})
