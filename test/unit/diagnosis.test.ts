import { expect } from 'chai'
import { diagnose, type Search } from '#src/slave/diagnosis.js'

const candidate = (type: string, address: string): string =>
  `candidate:1 1 udp 2122194687 ${address} 54510 typ ${type} raddr 10.1.0.2 rport 51081 generation 0`
const HOST = candidate('host', '10.1.0.2')
const OPEN_HOST = candidate('host', '198.51.100.4')
const MDNS = candidate('host', '0b2b4aee-9b3c-4c2e-a2dc-4c2d16b1d6c5.local')
const SRFLX = candidate('srflx', '198.51.100.2')
const RELAY = candidate('relay', '192.168.0.9')

const STUN = 'stun:a.example'
const UDP = 'turn:a.example:3478'
const TCP = 'turn:a.example:3478?transport=tcp'
const fault = (code: number) => ({ url: UDP, code, text: 'Why' })

const TURN_DOWN = /^No TURN server answered: check that they run, and that this network/
const NO_UDP =
  /^No TURN server answered over UDP: .* where UDP is blocked, add one over TCP \(turn:HOST\?transport=tcp\)/
const REFUSED = /^The TURN server turn:a\.example:3478 refused the credentials/

interface Row {
  readonly urls: readonly string[]
  readonly search?: Partial<Search>
  readonly says: RegExp
}

const ROWS: Record<string, Row> = {
  'nothing is configured': {
    urls: [],
    says: /^No STUN server is configured.* add a STUN server to turn\.config\.json/,
  },
  'only relays are allowed, and there is none': {
    urls: [STUN],
    search: { policy: 'relay', own: [], theirs: [SRFLX] },
    says: /^Only relays may be used, and no TURN server is configured: add a TURN server/,
  },
  'STUN answers both': {
    urls: [STUN],
    search: { own: [HOST, SRFLX], theirs: [HOST, SRFLX] },
    says: /^Both ends know their public addresses.*: add a TURN server to turn\.config\.json$/,
  },
  'one end has a public address and needs no STUN': {
    urls: [STUN],
    search: { own: [OPEN_HOST], theirs: [HOST, SRFLX] },
    says: /^Both ends know/,
  },
  'STUN does not answer here': {
    urls: [STUN],
    search: { own: [HOST], theirs: [SRFLX] },
    says: /^No STUN server answered here: .* add a TURN server over TCP \(turn:HOST\?transport=tcp\)/,
  },
  'STUN does not answer a page that hides its addresses': {
    urls: [STUN],
    search: { own: [MDNS], theirs: [SRFLX] },
    says: /^No STUN server answered here/,
  },
  'STUN does not answer the master': {
    urls: [STUN],
    search: { own: [HOST, SRFLX], theirs: [HOST] },
    says: /^The master knows no public address of its own: .* add a TURN server/,
  },
  'TURN over UDP does not answer': { urls: [UDP], search: { faults: [fault(701)] }, says: NO_UDP },
  'TURN with TLS over UDP does not answer': { urls: ['turns:a.example?transport=udp'], says: NO_UDP },
  'TURN over TCP does not answer': { urls: [UDP, TCP], search: { faults: [fault(701)] }, says: TURN_DOWN },
  'TURN with TLS does not answer': { urls: ['turns:a.example'], says: TURN_DOWN },
  'TURN refuses the credentials': { urls: [UDP, TCP], search: { faults: [fault(701), fault(401)] }, says: REFUSED },
  'TURN calls the credentials wrong': { urls: [UDP], search: { faults: [fault(441)] }, says: REFUSED },
  'TURN answers another error': {
    urls: [UDP],
    search: { faults: [fault(701), fault(508)] },
    says: /^The TURN server turn:a\.example:3478 gave no relay, but answered 508 Why/,
  },
  'there is a relay here, and none of the master': {
    urls: [STUN, UDP],
    search: { own: [HOST, SRFLX, RELAY], theirs: [HOST] },
    says: /^A TURN server answered here, .*check that the master reaches it; .*add it over TCP \(\?transport=tcp\)/,
  },
  'there is a relay of both': {
    urls: [UDP],
    search: { own: [HOST, RELAY], theirs: [HOST, RELAY], faults: [fault(401)] },
    says: /^Both ends have a relay, and nothing passes between them: check the TURN server's public address/,
  },
}

describe('why no path was found', () => {
  for (const [title, { urls, search, says }] of Object.entries(ROWS)) {
    it(title, () => {
      const servers = urls.map((url) => ({ urls: [url] }))
      expect(diagnose({ servers, policy: 'all', own: [HOST], theirs: [HOST], faults: [], ...search })).to.match(says)
    })
  }
})
