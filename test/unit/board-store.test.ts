/** What the board's handlers refuse: at the master their payloads come from strangers. */
import { expect } from 'chai'

interface Note {
  x: number
  y: number
  z: number
  text: string
  colour: string
}
interface Board {
  notes: Record<string, Note>
  top: number
  count: number
  people: Record<string, { name: string; ink: string }>
}
interface Info {
  readonly id: string
  readonly origin: { readonly client: number } | undefined
}
type Handler = (state: Board, payload: unknown, info: Info) => void
interface Rules {
  readonly emptyBoard: () => Board
  readonly handleBoard: (store: { on: (event: string, handler: Handler) => unknown }) => void
  readonly MAX_NOTES: number
  readonly MAX_TEXT_CHARACTERS: number
}

// The page loads this file as it is, so it is no part of the build.
const file = new URL('../../examples/board/store.js', import.meta.url)
const { emptyBoard, handleBoard, MAX_NOTES, MAX_TEXT_CHARACTERS } = (await import(file.href)) as Rules

describe('the rules of the board', () => {
  const ID = '0190a1b2-0000-7000-8000-000000000001'
  const handlers = new Map<string, Handler>()
  handleBoard({ on: (event, handler) => handlers.set(event, handler) })

  let state: Board
  const from = (client: number | undefined, event: string, payload: unknown, id = ID): void => {
    handlers.get(event)!(state, payload, { id, origin: client === undefined ? undefined : { client } })
  }

  beforeEach(() => {
    state = emptyBoard()
    from(1, 'note.add', { x: 10, y: 20, colour: 'sky' })
  })

  it('gives a note the id of its event, which is the same at both ends', () => {
    expect(state.notes[ID]).to.deep.equal({ x: 10, y: 20, z: 1, text: '', colour: 'sky' })
  })

  it('keeps notes on the sheet', () => {
    from(1, 'note.move', { id: ID, x: -1e9, y: 1e9 })
    expect(state.notes[ID]).to.include({ x: 0, y: 1480 })
  })

  it('refuses what is no place, no colour and no text', () => {
    for (const [event, payload] of [
      ['note.move', { id: ID, x: '1', y: 2 }],
      ['note.move', { id: ID, x: Infinity, y: 2 }],
      ['note.add', { x: 1, y: 2, colour: 'url(//evil)' }],
      ['note.add', undefined],
      ['note.colour', { id: ID, colour: 'constructor' }],
      ['note.text', { id: ID }],
      ['note.text', { id: ID, text: 'x'.repeat(MAX_TEXT_CHARACTERS + 1) }],
      ['note.restore', { id: '../x', x: 1, y: 1, text: '', colour: 'sky' }],
      ['count.add', 1000],
    ] as const) {
      expect(() => from(1, event, payload), `${event} ${JSON.stringify(payload)}`).to.throw(Error)
    }
    expect(state.notes[ID]).to.deep.equal({ x: 10, y: 20, z: 1, text: '', colour: 'sky' })
  })

  it('changes nothing for a note that is gone, nor for a name every object has', () => {
    for (const id of ['0190a1b2-0000-7000-8000-000000000002', '__proto__', 'constructor', 7, undefined]) {
      from(1, 'note.text', { id, text: 'hi' })
      from(1, 'note.remove', { id })
    }
    expect(Object.keys(state.notes)).to.deep.equal([ID])
    expect(Object.prototype).not.to.have.property('text')
  })

  it('raises a note once, not on every touch', () => {
    from(1, 'note.add', { x: 0, y: 0, colour: 'card' }, 'other')
    from(1, 'note.raise', { id: ID })
    from(1, 'note.raise', { id: ID })
    expect([state.notes[ID]?.z, state.top]).to.deep.equal([3, 3])
  })

  it('puts a removed note back once', () => {
    from(1, 'note.remove', { id: ID })
    const back = { id: ID, x: 10, y: 20, text: 'back', colour: 'moss' }
    from(1, 'note.restore', back)
    from(2, 'note.restore', { ...back, text: 'again' })
    expect(state.notes[ID]).to.deep.equal({ x: 10, y: 20, z: 2, text: 'back', colour: 'moss' })
  })

  it('is full at some time', () => {
    const note = { x: 0, y: 0, z: 1, text: '', colour: 'card' }
    for (let i = 2; i < MAX_NOTES; i++) state.notes[`n${i}`] = note
    from(1, 'note.add', { x: 0, y: 0, colour: 'card' }, 'the last')
    expect(() => from(1, 'note.add', { x: 0, y: 0, colour: 'card' }, 'one more')).to.throw('full')
  })

  it('knows people by the number the master gave them, and bounds their names', () => {
    from(4, 'hello', { name: 'A'.repeat(1000), ink: 'javascript:' })
    from(5, 'hello', undefined)
    expect(state.people).to.deep.equal({
      4: { name: 'A'.repeat(24), ink: 'brick' },
      5: { name: 'Somebody', ink: 'brick' },
    })
  })

  it('lets only the master say who has left', () => {
    from(4, 'hello', { name: 'Ada', ink: 'teal' })
    expect(() => from(5, 'people.left', [4])).to.throw('Only the master')
    expect(state.people).to.have.property('4')
    from(undefined, 'people.left', [4])
    expect(state.people).to.deep.equal({})
  })
})
