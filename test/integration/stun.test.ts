import { expect } from 'chai'
import { createSocket, type RemoteInfo } from 'node:dgram'
import { once } from 'node:events'
import { askStun, NoAnswer } from '#src/cli/stun.js'

const LOOPBACK = { address: '127.0.0.1', family: 4 }
const COOKIE = [0x21, 0x12, 0xa4, 0x42]

describe('STUN by hand', () => {
  const endings: (() => void)[] = []
  afterEach(() => {
    for (const end of endings.splice(0)) end()
  })

  /** A server on a free port, which answers a request with these packets; answers the port. */
  async function serve(
    answers: (request: Buffer, from: RemoteInfo, nth: number) => readonly Buffer[],
  ): Promise<number> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1')
    let requests = 0
    socket.on('message', (request, from) => {
      for (const answer of answers(request, from, requests++)) socket.send(answer, from.port, from.address)
    })
    await once(socket, 'listening')
    endings.push(() => socket.close())
    return socket.address().port
  }

  const ask = (port: number, signal = new AbortController().signal) => askStun(LOOPBACK, port, signal)

  const packet = (type: number, request: Buffer, ...attributes: readonly (readonly number[])[]): Buffer => {
    const body = Buffer.from(attributes.flat())
    const header = Buffer.alloc(4)
    header.writeUInt16BE(type, 0)
    header.writeUInt16BE(body.length, 2)
    return Buffer.concat([header, request.subarray(4, 20), body])
  }
  /** SOFTWARE, of three characters: the next attribute begins after a byte of padding. */
  const SOFTWARE = [0x80, 0x22, 0, 3, 0x61, 0x62, 0x63, 0]
  const seenAs = (...address: number[]) => [
    0,
    0x20,
    0,
    8,
    0,
    1,
    0,
    0,
    ...address.map((byte, i) => byte ^ (COOKIE[i] ?? 0)),
  ]

  async function refusal(promise: Promise<unknown>): Promise<string> {
    const error = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    if (!(error instanceof NoAnswer)) throw new Error(`It was not refused: ${String(error)}`)
    return error.message
  }

  it('asks as RFC 8489 has it, and reads the address that it is seen as', async () => {
    const requests: Buffer[] = []
    const port = await serve((request) => {
      requests.push(request)
      return [packet(0x0101, request, SOFTWARE, seenAs(192, 0, 2, 1))]
    })
    expect(await ask(port)).to.equal('192.0.2.1')
    expect(await ask(port)).to.equal('192.0.2.1')
    for (const request of requests) {
      expect(request).to.have.length(20)
      expect([...request.subarray(0, 8)]).to.deep.equal([0, 1, 0, 0, ...COOKIE])
    }
    expect(requests[0]?.equals(requests[1] ?? Buffer.alloc(0)), 'each with an id of its own').to.equal(false)
  })

  it('reads the test vectors of RFC 5769, IPv4 and IPv6', async () => {
    // Sections 2.2 and 2.3, the XOR-MAPPED-ADDRESS of each; the transaction is theirs, so it has to be laid over ours.
    const transaction = Buffer.from('b7e7a701bc34d686fa87dfae', 'hex')
    const vectors = {
      '192.0.2.1': '002000080001a147e112a643',
      '2001:db8:1234:5678:11:2233:4455:6677': '002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9',
    }
    for (const [address, hex] of Object.entries(vectors)) {
      const port = await serve((request) => {
        const attribute = Buffer.from(hex, 'hex')
        for (let i = 0; i < 12 && 12 + i < attribute.length; i++) {
          attribute[12 + i] = (attribute[12 + i] ?? 0) ^ (transaction[i] ?? 0) ^ (request[8 + i] ?? 0)
        }
        return [packet(0x0101, request, [...attribute])]
      })
      expect(await ask(port)).to.equal(address)
    }
  })

  it('takes no address of another length than its family has, or than it says', async () => {
    const wrong = [
      [0, 0x20, 0, 8, 0, 2, 0, 0, 1, 2, 3, 4],
      [0, 0x20, 0, 20, 0, 1, 0, 0, ...new Array<number>(16).fill(7)],
      [0, 0x20, 0xff, 0xff, 0, 1, 0, 0, 1, 2, 3, 4],
    ]
    for (const attribute of wrong) {
      const port = await serve((request) => [packet(0x0101, request, attribute)])
      expect(await refusal(ask(port))).to.be.a('string')
    }
  })

  it('takes no answer that is not to its request', async () => {
    const port = await serve((request) => {
      const other = Buffer.from(request)
      other[19] = (other[19] ?? 0) ^ 1
      const [mine, right] = [seenAs(192, 0, 2, 9), seenAs(192, 0, 2, 1)]
      return [
        Buffer.from('hello'),
        packet(0x0101, other, mine),
        packet(0x0001, request, mine),
        packet(0x0101, request, right),
      ]
    })
    expect(await ask(port)).to.equal('192.0.2.1')
  })

  it('asks again when a packet was lost', async () => {
    const port = await serve((request, _from, nth) =>
      nth === 0 ? [] : [packet(0x0101, request, seenAs(192, 0, 2, 1))],
    )
    expect(await ask(port)).to.equal('192.0.2.1')
  })

  it('says that a server answers with an error, or without an address', async () => {
    for (const type of [0x0111, 0x0101]) {
      const port = await serve((request) => [packet(type, request)])
      expect(await refusal(ask(port))).to.equal('answers with an error')
    }
    const cut = await serve((request) => [Buffer.concat([packet(0x0101, request), Buffer.from([0, 0x20, 0xff, 0xff])])])
    expect(await refusal(ask(cut))).to.equal('answers with an error')
  })

  it('says that nobody listens, and ends when it is told to', async () => {
    expect(await refusal(ask(1))).to.match(/^does not answer \(.*ECONNREFUSED\)$/)
    const stop = new AbortController()
    const port = await serve(() => {
      stop.abort()
      return []
    })
    expect(await refusal(ask(port, stop.signal))).to.equal('does not answer')
    expect(await refusal(ask(port, stop.signal)), 'told before').to.equal('does not answer')
    const atOnce = new AbortController()
    const asked = refusal(ask(port, atOnce.signal))
    atOnce.abort()
    expect(await asked, 'told while the socket opens').to.equal('does not answer')
  })
})
