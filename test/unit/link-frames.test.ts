import { expect } from 'chai'
import fc from 'fast-check'
import { deflate, inflate } from '#deflate'
import { FrameReader, FrameWriter, utf8Bytes, type Frame, type FrameRead, type Lane } from '#src/link/frames.js'

const bytesOf = (frame: Frame): Uint8Array => (typeof frame === 'string' ? new TextEncoder().encode(frame) : frame)

/** Of a reader that inflates nothing: it answers at once. */
const readNow = (reader: FrameReader, frame: Frame): FrameRead => reader.read(frame) as FrameRead

const anyLane = fc.constantFrom<Lane>('urgent', 'ordered', 'bulk')
/** Texts about as large as the frames, in every plane. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.integer({ min: 55, max: 140 }).map((length) => 'x'.repeat(length)),
  fc.integer({ min: 15, max: 40 }).map((length) => '\u{1f600}'.repeat(length)),
)

describe('frames', () => {
  it('counts UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(utf8Bytes(text)).to.equal(new TextEncoder().encode(text).length)
      }),
    )
  })

  it('are never larger than the limit, and bring every lane whole and in order', () => {
    type Step = { readonly lane: Lane; readonly text: string; readonly sendAfter: number }
    const steps = fc.array(fc.record<Step>({ lane: anyLane, text: anyText, sendAfter: fc.nat(3) }), { maxLength: 30 })
    fc.assert(
      fc.property(steps, fc.integer({ min: 64, max: 130 }), (all, limit) => {
        const writer = new FrameWriter(limit)
        const reader = new FrameReader(1_000)
        const got: { lane: Lane; i: number; text: string }[] = []
        const take = (): boolean => {
          const frame = writer.next()
          if (frame === undefined) return false
          expect(bytesOf(frame).length).to.be.at.most(limit)
          const read = readNow(reader, frame)
          if (!read.ok) throw new Error(read.reason)
          got.push(...(read.values as typeof got))
          return true
        }
        const sent = all.map(({ lane, text, sendAfter }, i) => {
          const message = { lane, i, text }
          writer.push(JSON.stringify(message), lane)
          for (let n = 0; n < sendAfter; n++) take()
          return message
        })
        while (take());
        expect(writer.empty).to.equal(true)
        for (const lane of ['urgent', 'ordered', 'bulk'] as const) {
          const of = (messages: typeof got) => messages.filter((message) => message.lane === lane)
          expect(of(got)).to.deep.equal(of(sent))
          expect(writer.waiting(lane)).to.equal(0)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('join a message that was cut inside its code points', () => {
    const text = JSON.stringify({ text: 'aé€\u{1f600}\u{10ffff}\ufeff' })
    const bytes = new TextEncoder().encode(text)
    const reader = new FrameReader(1_000)
    bytes.forEach((byte, i) => {
      const last = i === bytes.length - 1
      const read = reader.read(Uint8Array.of(last ? 0x82 : 0x02, byte))
      expect(read).to.deep.equal({ ok: true, values: last ? [JSON.parse(text)] : [] })
    })
  })

  it('take no more memory for a thousand pieces of a byte than for their bytes', () => {
    const reader = new FrameReader(1_000)
    for (let n = 0; n < 1_000; n++) expect(readNow(reader, Uint8Array.of(1, 0x20)).ok).to.equal(true)
    expect(reader.read(Uint8Array.of(1, 0x20))).to.include({ ok: false, code: 'too-large' })
  })

  it('share the line between ordered and bulk', () => {
    const writer = new FrameWriter(64)
    writer.push(`"${'o'.repeat(300)}"`, 'ordered')
    writer.push(`"${'b'.repeat(300)}"`, 'bulk')
    const heads: number[] = []
    for (let frame = writer.next(); frame !== undefined; frame = writer.next())
      heads.push((frame as Uint8Array)[0] ?? -1)
    expect(heads).to.deep.equal([1, 2, 1, 2, 1, 2, 1, 2, 0x81, 0x82])
  })

  it('let an urgent message pass between two pieces', () => {
    const writer = new FrameWriter(64)
    writer.push(`"${'o'.repeat(300)}"`, 'ordered')
    writer.push('1', 'ordered')
    writer.next()
    writer.push('2', 'urgent')
    expect(writer.next()).to.equal('[2]')
    expect((writer.next() as Uint8Array)[0]).to.equal(1)
  })

  it('of any bytes are values or a refusal, never a throw', () => {
    const anyFrame = fc.oneof(
      fc.string(),
      fc.json().map((json) => `[${json}]`),
      fc.uint8Array({ maxLength: 40 }),
    )
    fc.assert(
      fc.property(fc.array(anyFrame), (frames) => {
        const reader = new FrameReader(30)
        for (const frame of frames) {
          const read = readNow(reader, frame)
          if (!read.ok) expect(read.reason).to.be.a('string')
        }
      }),
    )
  })

  it('carry deflated messages between others, whole and in order', async () => {
    const large = { text: Array.from({ length: 400 }, (_, n) => `${n}`).join(' ') }
    const small = { n: 1 }
    const writer = new FrameWriter(100)
    const reader = new FrameReader(10_000, inflate)
    writer.push(await deflate(JSON.stringify(large)), 'ordered')
    writer.push(JSON.stringify(small), 'ordered')
    writer.push(await deflate(JSON.stringify(small)), 'bulk')
    const values: unknown[] = []
    for (let frame = writer.next(); frame !== undefined; frame = writer.next()) {
      expect(frame.length).to.be.at.most(100)
      const read = await reader.read(frame)
      if (!read.ok) throw new Error(read.reason)
      values.push(...read.values)
    }
    expect(values).to.deep.equal([small, large, small])
    expect([writer.empty, writer.waiting('ordered'), writer.waiting('bulk')]).to.deep.equal([true, 0, 0])
  })

  it('are refused deflated where nothing inflates, and inflated no further than may be', async () => {
    const bomb = await deflate(JSON.stringify('x'.repeat(1_000_000)))
    const frame = Uint8Array.of(0xc1, ...bomb)
    expect(bomb.length).to.be.lessThan(10_000)
    expect(readNow(new FrameReader(10_000), frame)).to.include({ ok: false, code: 'invalid-message' })
    expect(await new FrameReader(10_000, inflate).read(frame)).to.include({ ok: false, code: 'too-large' })
    expect(await new FrameReader(2_000_000, inflate).read(frame)).to.include({ ok: true })
  })

  it('need room for a code point', () => {
    for (const limit of [0, 63, NaN, -1]) expect(() => new FrameWriter(limit)).to.throw(TypeError)
  })
})
