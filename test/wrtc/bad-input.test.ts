/**
 * A hostile slave against a real master. Whatever it sends, it gets a coded answer or a coded goodbye; another slave goes
 * on counting and notices nothing; who comes afterwards finds the state as it should be.
 */
import { expect } from 'chai'
import type { Master, Microstore, Slave } from 'named-master'
import { envelope, RawSlave } from '../suites/raw-slave.js'
import { Setting } from '../suites/setting.js'

interface State {
  readonly n: number
  readonly list: readonly unknown[]
  readonly note?: unknown
}

const emit = (payload: unknown, event = 'note', seq = 1) => envelope('emit', { seq, prev: 0, event, payload })
const mutate = (patch: unknown, seq = 1, base = 0) => envelope('mutate', { seq, prev: 0, base, patch })
const call = (method: string, number: number) => envelope('call', { call: number, method, lowestCall: 0 })
const text = (value: unknown) => JSON.stringify([value])
/** A frame with a marker in it that JSON.stringify could not have written. */
const with_ = (value: unknown, marker: string, instead: string) => text(value).replace(`"${marker}"`, instead)

/** One more than may be, counted from the payload; and more than a recursion takes. */
const DEPTHS = [129, 100_000]
const STRANGER_BYTES = 64 * 1024
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

describe('bad input over wrtc', function () {
  this.timeout(30_000)
  let setting: Setting
  let store: Microstore<State>
  let master: Master
  let bystander: Slave<State>
  let bystanderEvents: string[]
  let raw: RawSlave
  let counting: { stop(): Promise<number> }

  before(async () => {
    setting = await new Setting().open()
    const served = await setting.serve<State>('garage', { n: 0, list: [] })
    store = served.store
    master = served.master
    store.on('note', (state, note: unknown) => ({ ...state, note: note ?? null }))
    store.on('fails', () => {
      throw new Error('It fails')
    })
    bystander = await setting.connected<State>('garage')
    bystanderEvents = []
    bystander.events.on('status', (status) => bystanderEvents.push(status))
    bystander.events.on('refused', ({ code }) => bystanderEvents.push(code))
    bystander.events.on('reset', () => bystanderEvents.push('reset'))
  })
  after(() => setting.close())

  beforeEach(async () => {
    counting = count(bystander)
    raw = await RawSlave.dial(setting.url, 'garage')
  })

  afterEach(async () => {
    await raw.close()
    const counted = await counting.stop()
    expect(store.getState().n, 'what the bystander has counted').to.equal(counted)
    expect(bystanderEvents, 'what the bystander has noticed').to.deep.equal([])
    const newcomer = await setting.connected<State>('garage')
    expect(newcomer.getState()).to.deep.equal(store.getState())
    await newcomer.disconnect()
    expect(({} as { polluted?: unknown }).polluted).to.equal(undefined)
  })

  /** Adds one after the other until it is told to stop; answers how many there are in all. */
  function count(slave: Slave<State>): { stop(): Promise<number> } {
    let stopped = false
    const run = async (): Promise<number> => {
      for (;;) {
        const { n } = slave.mutate((state) => ({ ...state, n: state.n + 1 }))
        await slave.settled()
        if (stopped) return n
      }
    }
    const running = run()
    return {
      stop() {
        stopped = true
        return running
      },
    }
  }

  const endsWith = async (code: string): Promise<void> => {
    const last = await raw.ended()
    expect(last?.command).to.equal('goodbye')
    expect(last?.payload.code, String(last?.payload.message)).to.equal(code)
    expect(last?.payload.message).to.be.a('string').that.is.not.empty
  }

  describe('before hello', () => {
    const binary = (...bytes: number[]) => new Uint8Array(bytes)
    const strange: Record<string, string | Uint8Array<ArrayBuffer>> = {
      'what is no JSON': 'hello?',
      'an empty text': '',
      'an envelope without a list around it': JSON.stringify(emit(1)),
      'a list of what is no envelope': '[1, null, "x", []]',
      'a null': '[null]',
      'a binary frame of nothing': binary(),
      'a binary frame of a head alone': binary(0x81),
      'a lane that is not there': binary(0x85, 0x7b),
      'what is no UTF-8': binary(0x81, 0xff, 0xfe),
      'an unknown command': text(envelope('shutdown', {})),
      'a command that every object has': text(envelope('constructor', {})),
      'a uuid that is none': text({ ...emit(1), uuid: '../../etc/passwd' }),
      'a time that is none': text({ ...emit(1), timestamp: -1 }),
      'an emit': text(emit(1)),
      'a call': text(call('note', 1)),
      'a hello without a secret': text(
        envelope('hello', { versions: { oldest: 1, newest: 1 }, calls: [], encodings: [] }),
      ),
      'a hello with a secret that is none': text(
        envelope('hello', { versions: { oldest: 1, newest: 1 }, secret: 'x', calls: [], encodings: [] }),
      ),
    }
    for (const [what, frame] of Object.entries(strange)) {
      it(`${what} ends the link with invalid-message`, async () => {
        raw.frame(frame)
        await endsWith('invalid-message')
        expect(master.slaves).to.have.length(1)
      })
    }

    it('a version that the master does not speak ends the link with unsupported-version', async () => {
      raw.say(
        envelope('hello', { versions: { oldest: 99, newest: 99 }, secret: 'A'.repeat(43), calls: [], encodings: [] }),
      )
      await endsWith('unsupported-version')
    })

    it('more than 64 KiB ends the link with too-large, in pieces that never end', async () => {
      await raw.pieces('x'.repeat(STRANGER_BYTES + 1), false)
      await endsWith('too-large')
    })

    it('more than 64 KiB ends the link with too-large, in messages that say nothing', async () => {
      const nothing = Array.from({ length: 100 }, () => envelope('pong', {}))
      for (let sent = 0; sent <= STRANGER_BYTES && raw.isOpen(); sent += JSON.stringify(nothing).length)
        raw.say(...nothing)
      await endsWith('too-large')
    })
  })

  describe('after hello', () => {
    const deep = (depth: number, open: string, close: string) => open.repeat(depth) + '1' + close.repeat(depth)
    const wrong: Record<string, string> = {
      'a second hello': text(
        envelope('hello', { versions: { oldest: 1, newest: 1 }, secret: 'B'.repeat(43), calls: [], encodings: [] }),
      ),
      'a command of the other direction': text(envelope('commit', { version: 1, patch: [], events: [] })),
      'NaN': with_(emit('?'), '?', 'NaN'), // prettier-ignore
      'a number beyond all numbers': with_(emit('?'), '?', '1e999'),
      'an integer beyond 2^53': with_(emit('?'), '?', '9007199254740993'),
      'a lone surrogate in a text': text(emit('\ud800')),
      'a lone surrogate in a key': text(emit({ '\udfff': 1 })),
      'a lone surrogate in an event': text(emit(1, 'note\ud800')),
      'a lone surrogate in a method': text(call('\udc00', 1)),
      'a lone surrogate in a path': text(mutate([{ op: 'add', path: '/\ud800', value: 1 }])),
      'an event without a name': text(emit(1, '')),
      'an event with an endless name': text(emit(1, 'x'.repeat(257))),
      'a negative seq': text(emit(1, 'note', -1)),
      'half a seq': text(emit(1, 'note', 1.5)),
      'a seq beyond 2^53': text(emit(1, 'note', 2 ** 53)),
      'a prototype in a payload': with_(emit('?'), '?', '{"__proto__":{"polluted":1}}'),
      'a constructor in a payload': with_(emit('?'), '?', '{"constructor":{"prototype":{"polluted":1}}}'),
      'a prototype in a path': text(mutate([{ op: 'add', path: '/__proto__/polluted', value: 1 }])),
      'a constructor in a path': text(mutate([{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }])),
      'a prototype in what a patch adds': with_(
        mutate([{ op: 'add', path: '/x', value: '?' }]),
        '?',
        '{"__proto__":{}}',
      ),
      'a path that is none': text(mutate([{ op: 'add', path: 'n', value: 1 }])),
      'a path with a wrong escape': text(mutate([{ op: 'add', path: '/~2', value: 1 }])),
      'an operation of another kind': text(mutate([{ op: 'move', from: '/n', path: '/m' }])),
      'an operation without its value': text(mutate([{ op: 'add', path: '/x' }])),
    }
    for (const [what, frame] of Object.entries(wrong)) {
      it(`${what} ends the link with invalid-message`, async () => {
        await raw.hello()
        raw.frame(frame)
        await endsWith('invalid-message')
      })
    }

    for (const depth of DEPTHS) {
      for (const [what, value] of Object.entries({
        lists: deep(depth, '[', ']'),
        objects: deep(depth, '{"a":', '}'),
      })) {
        it(`${depth} ${what} in each other end the link with invalid-message`, async () => {
          await raw.hello()
          await raw.pieces(JSON.stringify(emit('?')).replace('"?"', value))
          await endsWith('invalid-message')
        })
      }
    }

    it('a message of more than 16 MiB ends the link with too-large, before it is all there', async () => {
      await raw.hello()
      await raw.pieces('x'.repeat(MAX_MESSAGE_BYTES + 1_000_000), false)
      await endsWith('too-large')
    })

    it('changes that cannot be are refused, each with its code, and the link goes on', async () => {
      await raw.hello()
      // A patch that does not fit is a conflict while others write, and invalid when nobody does.
      await counting.stop()
      const base = await raw.caughtUp(1)
      const refusal = async (message: ReturnType<typeof envelope>, seq: number) => {
        raw.say(message)
        return (await raw.hears('refused', (refused) => refused.seq === seq)).payload.code
      }
      const { list } = store.getState()
      expect(await refusal(emit(1, 'fails', 1), 1), 'a handler that throws').to.equal('handler-failed')
      expect(await refusal(mutate([], 2, base + 1), 2), 'a base that is not there yet').to.equal('invalid-patch')
      const paths = ['/nowhere/x', '/list/5', '/list/-1', '/list/01', '/list/length', '/list/-/x', '/n/x']
      for (const [i, path] of paths.entries()) {
        const patch = [{ op: 'add', path, value: 1 }]
        expect(await refusal(mutate(patch, 10 + i, base), 10 + i), path).to.equal('invalid-patch')
      }
      const gone = [{ op: 'remove', path: '/nowhere' }]
      expect(await refusal(mutate(gone, 20, base), 20), 'what is not there').to.equal('invalid-patch')
      expect(store.getState().list).to.equal(list)
      raw.say(emit('taken', 'note', 30))
      await raw.taken(30)
      expect(store.getState().note).to.equal('taken')
      counting = count(bystander)
    })

    it('a value that would nest the state too deeply is refused, however it is built up', async () => {
      await raw.hello()
      await counting.stop()
      const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) })
      raw.say(emit(nested(100)))
      await raw.taken(1)
      const patch = [{ op: 'replace', path: `/note${'/a'.repeat(99)}`, value: nested(100) }]
      raw.say(envelope('mutate', { seq: 2, prev: 1, base: await raw.caughtUp(1), patch }))
      expect((await raw.hears('refused')).payload.code).to.equal('invalid-patch')
      counting = count(bystander)
    })

    it('the highest seq of all is taken once, and stops nobody but its sender', async () => {
      await raw.hello()
      raw.say(emit('highest', 'note', Number.MAX_SAFE_INTEGER))
      await raw.taken(Number.MAX_SAFE_INTEGER)
      raw.say(emit('again', 'note', Number.MAX_SAFE_INTEGER), emit('lower', 'note', 1))
      await raw.caughtUp(1)
      expect(store.getState().note).to.equal('highest')
    })

    it('a change that follows on nothing is dropped, silently', async () => {
      await raw.hello()
      const before = store.getState().note
      raw.say(envelope('emit', { seq: 9, prev: 8, event: 'note', payload: 'unfounded' }))
      await raw.caughtUp(1)
      expect(store.getState().note).to.equal(before)
      expect(raw.heard.filter(({ command }) => command === 'refused')).to.deep.equal([])
    })

    it('calls of what every object has are answered no-such-method', async () => {
      await raw.hello()
      for (const [number, method] of ['constructor', '__proto__', 'toString', 'valueOf', 'expose'].entries()) {
        raw.say(call(method, number + 1))
        const { payload } = await raw.hears('answer', (answer) => answer.call === number + 1)
        expect((payload.error as { code: string }).code, method).to.equal('no-such-method')
      }
    })

    it('of 2,000 open calls a thousand run and a thousand are answered too-many', async () => {
      let running = 0
      master.expose('hang', (_params, { signal }) => {
        running++
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve(null)))
      })
      await raw.hello()
      for (let number = 1; number <= 2000; number++) raw.say(call('hang', number))
      await raw.hears('answer', (answer) => answer.call === 2000)
      expect(running).to.equal(1000)
      const codes = raw.heard.filter(({ command }) => command === 'answer').map(({ payload }) => payload.error)
      expect(codes).to.have.length(1000)
      for (const error of codes) expect((error as { code: string }).code).to.equal('too-many')
      for (let number = 1; number <= 2000; number++) raw.say(envelope('cancel', { call: number }))
      await raw.hears('answer', (answer) => answer.call === 1000)
    })

    it('a cancel of calls that are not there is nothing', async () => {
      await raw.hello()
      for (const number of [0, 1, 10, Number.MAX_SAFE_INTEGER]) raw.say(envelope('cancel', { call: number }))
      raw.say(envelope('pong', { lowestCall: 5 }), call('gone by', 4))
      await raw.caughtUp(7)
      expect(raw.heard.filter(({ command }) => command === 'answer')).to.have.length(1)
    })

    it('three thousand changes at once are no burden to the others', async () => {
      await raw.hello()
      for (let seq = 1; seq <= 3000; seq++)
        raw.say(envelope('emit', { seq, prev: seq - 1, event: 'note', payload: seq }))
      await raw.taken(3000)
      expect(store.getState().note).to.equal(3000)
    })
  })
})
