/** What every Link promises, run against each kind of channel: see test/unit/link-memory and test/wrtc/link-wrtc. */
import { expect } from 'chai'
import type { Channel } from '#src/link/channel.js'
import { createLink, encode, type Link, type LinkOptions } from '#src/link/link.js'
import { envelope, parser, Json, type Message } from '#src/protocol/envelope.js'
import type { NamedMasterError } from '#src/errors.js'
import * as v from 'valibot'

const vocabulary = {
  say: v.object({ value: v.exactOptional(Json), n: v.exactOptional(v.number()) }),
  ping: v.object({}),
  pong: v.object({ hidden: v.exactOptional(v.boolean()), lowestCall: v.exactOptional(v.number()) }),
  goodbye: v.object({ code: v.string(), message: v.string() }),
} as const
export type Said = Message<typeof vocabulary>
export const parseSaid = parser(vocabulary)
export const say = (payload: { value?: unknown; n?: number }): Said => envelope('say', payload) as Said

const MIB = 1024 * 1024

export interface Joined {
  readonly left: Channel
  readonly right: Channel
  /** Ends the connection without a word. */
  cut(): void | Promise<void>
}

export const options = (more: Partial<LinkOptions<Said>> = {}): LinkOptions<Said> => ({
  parse: parseSaid,
  maxMessageBytes: 64 * MIB,
  ...more,
})

type SaidLink = Link<Said, Said>

export const closed = (link: SaidLink): Promise<NamedMasterError> =>
  new Promise((resolve) => link.events.once('close', resolve))

/** Resolves with the first `count` messages. */
export const messages = (link: SaidLink, count: number): Promise<Said[]> =>
  new Promise((resolve, reject) => {
    const got: Said[] = []
    link.events.on('message', (message) => {
      got.push(message)
      if (got.length === count) resolve(got)
    })
    link.events.on('close', reject)
  })

const numbers = (all: readonly Said[]): unknown[] => all.map((message) => (message.payload as { n?: number }).n)

const expectGoodbye = (reason: NamedMasterError, code: string): void => {
  expect(reason.code).to.equal(code)
  expect(reason.remote).to.equal(true)
}

/** @param join opens a new pair of channels */
export function linkSuite(name: string, join: () => Promise<Joined>): void {
  describe(`a link ${name}`, () => {
    let joined: Joined
    const open: SaidLink[] = []
    const links = (left: Partial<LinkOptions<Said>> = {}, right: Partial<LinkOptions<Said>> = {}) => {
      const pair = [
        createLink<Said, Said>(joined.left, options(left)),
        createLink<Said, Said>(joined.right, options(right)),
      ] as const
      open.push(...pair)
      return pair
    }
    beforeEach(async () => {
      joined = await join()
    })
    afterEach(async () => {
      const links = open.splice(0).map((link) => link.close('closed', 'The test is over.'))
      // At once: a bare channel does not close because its other end says goodbye.
      await Promise.all([...links, joined.left.close(), joined.right.close()])
    })

    it('delivers in order, whatever the sizes', async () => {
      const [left, right] = links()
      const sizes = [1, 70_000, 5, 65_000, 66_000, 300_000, 0, 1]
      const arrived = messages(right, sizes.length)
      sizes.forEach((size, n) => left.send(say({ n, value: 'x'.repeat(size) })))
      const got = await arrived
      expect(numbers(got)).to.deep.equal(sizes.map((_, n) => n))
      expect(got.map((message) => (message.payload as { value: string }).value.length)).to.deep.equal(sizes)
    })

    it('delivers both ways at once', async () => {
      const [left, right] = links()
      const arrived = [messages(left, 500), messages(right, 500)]
      for (let n = 0; n < 500; n++) {
        left.send(say({ n }))
        right.send(say({ n }))
      }
      const ordered = Array.from({ length: 500 }, (_, n) => n)
      for (const got of await Promise.all(arrived)) expect(numbers(got)).to.deep.equal(ordered)
    })

    it('packs what is sent in one turn into one frame', async () => {
      const sent = countFrames(joined.left)
      const [left, right] = links()
      const arrived = messages(right, 200)
      for (let n = 0; n < 200; n++) left.send(n % 2 === 0 ? say({ n }) : encode(say({ n })))
      await arrived
      expect(sent.frames).to.equal(1)
    })

    it('carries 20 MB of every Unicode plane, whole', async function () {
      this.timeout(30_000)
      const [left, right] = links()
      const plane = [
        0x41,
        0xe9,
        0x20ac,
        0xfeff,
        0xfffd,
        ...Array.from({ length: 16 }, (_, i) => (i + 1) * 0x10000 + i * 7),
      ]
      // An odd length, so that cuts fall at every place of a code point.
      const unit = `${String.fromCodePoint(...plane)}\u0000"\\a`
      const value = unit.repeat(Math.ceil(20_000_000 / new TextEncoder().encode(unit).length))
      const arrived = messages(right, 1)
      left.send(say({ value }))
      const [got] = await arrived
      expect((got?.payload as { value: string }).value === value).to.equal(true)
    })

    it('lets urgent messages pass a large one, and bulk share with ordered', async function () {
      this.timeout(30_000)
      const [left, right] = links()
      const arrived = messages(right, 5)
      left.send(say({ n: 1, value: 'b'.repeat(8 * MIB) }), 'bulk')
      left.send(say({ n: 2, value: 'o'.repeat(2 * MIB) }))
      left.send(say({ n: 3 }))
      left.send(say({ n: 4 }), 'urgent')
      left.send(say({ n: 5 }), 'bulk')
      expect(numbers(await arrived)).to.deep.equal([4, 2, 3, 1, 5])
    })

    it('keeps the channel short, and says when there is room again', async function () {
      this.timeout(30_000)
      const peak = watchBuffer(joined.left)
      const [left, right] = links()
      const total = 600
      const arrived = messages(right, total)
      let n = 0
      let waits = 0
      const fill = () => {
        while (n < total && left.hasRoom) left.send(say({ n: n++, value: 'x'.repeat(20_000) }))
        if (n < total) waits++
      }
      left.events.on('room', fill)
      fill()
      await arrived
      expect(waits).to.be.greaterThan(1)
      expect(peak.bytes).to.be.lessThan(MIB)
      expect(left.hasRoom).to.equal(true)
    })

    it('says why it closes, once, and sends what came before', async () => {
      const [left, right] = links()
      const reasons: NamedMasterError[] = []
      left.events.on('close', (reason) => reasons.push(reason))
      const arrived = messages(right, 1)
      const theirs = closed(right)
      left.send(say({ n: 1 }))
      const gone = left.close('stopped', 'The master was stopped.')
      expect(left.open).to.equal(false)
      left.send(say({ n: 2 }))
      await Promise.all([gone, left.close('internal', 'again')])
      expect(numbers(await arrived)).to.deep.equal([1])
      const reason = await theirs
      expectGoodbye(reason, 'stopped')
      expect(reason.message).to.equal('The master was stopped.')
      expect(reasons.map((own) => [own.code, own.remote])).to.deep.equal([['stopped', false]])
      await right.close('closed', 'too late')
    })

    it('notices a cut at both ends', async () => {
      const [left, right] = links()
      const both = Promise.all([closed(left), closed(right)])
      await joined.cut()
      for (const reason of await both) expect([reason.code, reason.remote]).to.deep.equal(['closed', false])
      left.send(say({ n: 1 }))
      await left.close('closed', 'already')
    })

    it('ends the link of a stranger that sends too much, and not of a trusted one', async () => {
      const [left, right] = links({}, { strangerBytes: 10_000 })
      const arrived = messages(right, 2)
      left.send(say({ n: 1, value: 'x'.repeat(9_000) }))
      right.events.once('message', () => {
        right.trust()
        right.send(say({ n: 0 }))
      })
      left.events.once('message', () => left.send(say({ n: 2, value: 'x'.repeat(100_000) })))
      await arrived
      expect(right.open).to.equal(true)
    })

    it('counts the bytes of a stranger in small messages, pieces and pings alike', async () => {
      const [left, right] = links({}, { strangerBytes: 10_000 })
      const both = Promise.all([closed(left), closed(right)])
      left.send(say({ n: 1, value: '\u{1f600}'.repeat(2_600) }))
      const [theirs, ours] = await both
      expectGoodbye(theirs, 'too-large')
      expect(ours.remote).to.equal(false)
    })

    it('refuses a message that is too large while it comes, and before it is joined', async () => {
      const [left, right] = links({}, { maxMessageBytes: 200_000 })
      const both = Promise.all([closed(left), closed(right)])
      left.send(say({ value: 'x'.repeat(199_000) }))
      left.send(say({ value: 'x'.repeat(200_001) }))
      const [theirs, ours] = await both
      expectGoodbye(theirs, 'too-large')
      expect(ours.message).to.contain('200000 bytes')
    })

    it('refuses a large message inside a text frame', async () => {
      const [left, right] = links({}, { maxMessageBytes: 1_000 })
      const arrived = messages(right, 20)
      const both = Promise.all([closed(left), closed(right)])
      for (let n = 0; n < 20; n++) left.send(say({ n, value: 'x'.repeat(700) }))
      await arrived
      left.send(say({ value: 'é'.repeat(500) }))
      expectGoodbye((await both)[0], 'too-large')
    })

    const malformed: Readonly<Record<string, string | Uint8Array>> = {
      'no JSON': '[{"command"',
      'no array': '{"command":"say"}',
      'an envelope without a command': '[{"payload":{}}]',
      'an unknown command': `[${JSON.stringify(envelope('sudo', {}))}]`,
      'a wrong payload': `[${JSON.stringify(envelope('say', { n: 'one' }))}]`,
      'nesting without end': `[${JSON.stringify(envelope('say', { value: 0 })).replace('"value":0', `"value":${'['.repeat(20_000)}${']'.repeat(20_000)}`)}]`,
      'a forbidden key': `[${JSON.stringify(envelope('say', {})).replace('{}', '{"value":{"__proto__":1}}')}]`,
      'an empty piece': Uint8Array.of(0x81),
      'a lane that does not exist': Uint8Array.of(0x83, 0x7b),
      'a piece that is no UTF-8': Uint8Array.of(0x81, 0x22, 0xff, 0x22),
      'a piece that is no JSON': Uint8Array.of(0x81, 0x7b),
      'a piece that is no envelope': Uint8Array.of(0x81, 0x31),
    }
    for (const [what, frame] of Object.entries(malformed)) {
      it(`ends the link that brings ${what}`, async () => {
        const right = createLink<Said, Said>(joined.right, options())
        open.push(right)
        const ours = closed(right)
        const said = new Promise<string>((resolve) => {
          joined.left.attach({ frame: (last) => resolve(last as string), drained: () => {}, closed: () => {} })
        })
        joined.left.send(frame)
        const reason = await ours
        expect([reason.code, reason.remote]).to.deep.equal(['invalid-message', false])
        const [goodbye] = JSON.parse(await said) as [Said]
        expect(goodbye.command).to.equal('goodbye')
        expect(parseSaid(goodbye).ok).to.equal(true)
      })
    }

    it('names the path of what is malformed', async () => {
      const [left, right] = links()
      const ours = closed(right)
      left.send(envelope('say', { value: 1, n: 'one' }) as unknown as Said)
      expect((await ours).message).to.contain('/payload/n')
    })

    it('survives a listener that throws', async () => {
      const thrown: unknown[] = []
      const [left, right] = links({}, { report: (error) => thrown.push(error) })
      right.events.on('message', () => {
        throw new Error('a fault of the program')
      })
      const arrived = messages(right, 2)
      left.send(say({ n: 1 }))
      left.send(say({ n: 2 }))
      expect(numbers(await arrived)).to.deep.equal([1, 2])
      expect(thrown).to.have.length(2)
    })

    it('measures the round trip, tells only pongs, and answers with what it was given', async () => {
      const heartbeat = { interval: 5, silence: () => 60_000 }
      const [left, right] = links(
        { heartbeat },
        { heartbeat: { ...heartbeat, interval: 60_000, pong: () => ({ hidden: true, lowestCall: 7 }) } },
      )
      const heard: Said[] = []
      right.events.on('message', (message) => heard.push(message))
      const [pong] = await messages(left, 3)
      expect(pong?.command).to.equal('pong')
      expect(pong?.payload).to.deep.equal({ hidden: true, lowestCall: 7 })
      expect(left.roundTrip).to.be.a('number')
      expect(heard.every((message) => message.command === 'pong')).to.equal(true)
    })

    it('closes when nothing at all is heard', async () => {
      const right = createLink<Said, Said>(joined.right, options({ heartbeat: { interval: 20, silence: () => 60 } }))
      open.push(right)
      expect((await closed(right)).code).to.equal('silent')
    })
  })
}

/** Counts what a channel is given to send. */
function countFrames(channel: Channel): { frames: number } {
  const count = { frames: 0 }
  const send = channel.send.bind(channel)
  channel.send = (frame) => {
    count.frames++
    send(frame)
  }
  return count
}

/** The highest buffer seen after a send. */
function watchBuffer(channel: Channel): { bytes: number } {
  const peak = { bytes: 0 }
  const send = channel.send.bind(channel)
  channel.send = (frame) => {
    send(frame)
    peak.bytes = Math.max(peak.bytes, channel.bufferedAmount)
  }
  return peak
}
