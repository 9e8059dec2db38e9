/**
 * Who may signal whom (docs/PROTOCOL.md, "Introductions").
 *
 * Promises: an introduction is made when the master answers, and only its two sockets can signal in it, whoever else
 * knows its id; it ends by `end`, with either socket, 60 s after the link was opened or if it never was; the other side
 * is told. What the master signals before its answer has gone out is kept and follows the answer.
 */
import * as v from 'valibot'
import { v7 } from 'uuid'
import type { Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'
import { envelope } from '../src/protocol/envelope.js'
import {
  parseAcknowledgement,
  resultOf,
  type Candidate,
  type ClientPayload,
  type ResultOf,
  type ServerMessage,
} from '../src/protocol/naming.js'
import { INTRODUCTION_MS, MASTER_ANSWER_MS, MAX_CANDIDATES_PER_SIDE, MAX_HELD_CANDIDATES, tooMany } from './limits.js'
import type { Introduction, Whereabouts } from './whereabouts.js'

/** How a socket is reached, by its id. A socket that is gone hears nothing and answers nothing; neither throws. */
export interface Post {
  tell(socket: string, message: ServerMessage): void
  /** The acknowledgement as it came. @param answer is called at most once */
  ask(socket: string, message: ServerMessage, answer: (acknowledgement: unknown) => void): void
  alive(socket: string): boolean
}

/** Asked of a master and not yet answered to the slave. */
interface Asked extends Introduction {
  readonly held: Candidate[]
  readonly fail: (error: NamedMasterError) => void
}

export class Introductions {
  readonly #post: Post
  readonly #whereabouts: Whereabouts
  readonly #clock: Clock
  readonly #asked = new Map<string, Asked>()
  readonly #timers = new Map<string, unknown>()
  /** Those whose link was opened: what is left of their time runs. */
  readonly #opened = new Set<string>()
  /** Candidates so far, by introduction and socket. */
  readonly #candidates = new Map<string, Map<string, number>>()

  constructor(post: Post, whereabouts: Whereabouts, clock: Clock) {
    this.#post = post
    this.#whereabouts = whereabouts
    this.#clock = clock
  }

  /**
   * Asks the master for its answer. After the result has gone to the slave call `settle` with its introduction.
   * @throws master-offline, unreachable, invalid-message, and what the master refuses with
   */
  async connect(
    slave: string,
    master: string,
    name: string,
    request: ClientPayload<'connect'>,
  ): Promise<ResultOf<'connect'>> {
    const id = v7()
    const { offer, proof } = request
    try {
      const acknowledgement = await new Promise<unknown>((answer, fail) => {
        this.#asked.set(id, { id, slave, master, held: [], fail })
        const late = this.#clock.setTimeout(() => fail(unreachable(name)), MASTER_ANSWER_MS)
        this.#timers.set(id, late)
        const payload = { introduction: id, name, offer, ...(proof !== undefined && { proof }) }
        this.#post.ask(master, envelope('introduction', payload), answer)
        if (!this.#post.alive(master)) fail(masterOffline(name))
      })
      const { answer, proof: masterProof } = readAnswer(acknowledgement, name)
      await this.#whereabouts.introduce({ id, slave, master })
      this.#endIn(INTRODUCTION_MS, id)
      return { introduction: id, answer, ...(masterProof !== undefined && { proof: masterProof }) }
    } catch (error) {
      this.#forget(id)
      // Unless it was the master who said no, it may have a connection waiting.
      const refused = error instanceof NamedMasterError && error.remote
      if (!refused) this.#post.tell(master, envelope('ended', { introduction: id }))
      throw error
    }
  }

  /** The slave has its answer: what the master said meanwhile follows. If one of the two has gone, it ends here. */
  async settle(id: string): Promise<void> {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#asked.delete(id)
    for (const candidate of asked.held) this.#say(asked.slave, id, candidate)
    if (!this.#post.alive(asked.slave)) await this.#end(asked, asked.slave)
    else if (!this.#post.alive(asked.master)) await this.#end(asked, asked.master)
  }

  /** @throws no-such-introduction, too-many */
  async signal(from: string, id: string, candidate: Candidate): Promise<void> {
    const asked = this.#asked.get(id)
    if (asked?.master === from) {
      if (asked.held.length >= MAX_HELD_CANDIDATES) throw tooMany('candidates before the answer: answer first')
      asked.held.push(candidate)
      return
    }
    const introduction = await this.#demand(from, id)
    this.#count(from, id)
    this.#say(introduction.master === from ? introduction.slave : introduction.master, id, candidate)
  }

  /** @throws no-such-introduction */
  async opened(from: string, id: string): Promise<void> {
    await this.#demand(from, id)
    // Both sides say so; and nobody makes it last by saying so again.
    if (this.#opened.has(id)) return
    this.#opened.add(id)
    this.#endIn(INTRODUCTION_MS, id)
  }

  /** Also a master's that has changed its mind before it answered. @throws no-such-introduction */
  async end(from: string, id: string): Promise<void> {
    const asked = this.#asked.get(id)
    if (asked?.master === from)
      asked.fail(new NamedMasterError('refused', 'The master ended the introduction', { remote: true }))
    else await this.#end(await this.#demand(from, id), from)
  }

  /** A socket has gone, and `ended` with it. */
  gone(socket: string, ended: readonly Introduction[]): void {
    for (const asked of [...this.#asked.values()]) {
      if (asked.master === socket) asked.fail(masterOffline())
      // Nobody hears this; but the master is told that it need not answer.
      else if (asked.slave === socket) asked.fail(new NamedMasterError('closed', 'The slave is gone'))
    }
    for (const { id, slave, master } of ended) {
      this.#forget(id)
      this.#post.tell(slave === socket ? master : slave, envelope('ended', { introduction: id }))
    }
  }

  /** Lets nobody wait. */
  close(): void {
    for (const asked of [...this.#asked.values()]) {
      asked.fail(new NamedMasterError('closed', 'The name server is closing: connect again'))
    }
  }

  /** @throws too-many */
  #count(from: string, id: string): void {
    const counts = this.#candidates.get(id) ?? new Map<string, number>()
    this.#candidates.set(id, counts)
    const count = (counts.get(from) ?? 0) + 1
    if (count > MAX_CANDIDATES_PER_SIDE)
      throw tooMany(`candidates in one introduction: ${MAX_CANDIDATES_PER_SIDE} of a side are enough`)
    counts.set(from, count)
  }

  #say(socket: string, introduction: string, candidate: Candidate): void {
    this.#post.tell(socket, envelope('signal', { introduction, candidate }))
  }

  async #demand(from: string, id: string): Promise<Introduction> {
    const introduction = await this.#whereabouts.introduction(id)
    // The same answer for what is not there and what is not yours: ids are not to be probed.
    if (introduction === undefined || (introduction.slave !== from && introduction.master !== from)) {
      throw new NamedMasterError(
        'no-such-introduction',
        'There is no such introduction of this socket (any more): connect again',
      )
    }
    return introduction
  }

  /** Tells the other side; both when nobody ended it. */
  async #end(introduction: Introduction, by?: string): Promise<void> {
    const { id, slave, master } = introduction
    this.#forget(id)
    if (!(await this.#whereabouts.separate(id))) return
    for (const socket of [slave, master])
      if (socket !== by) this.#post.tell(socket, envelope('ended', { introduction: id }))
  }

  #endIn(milliseconds: number, id: string): void {
    this.#clock.clearTimeout(this.#timers.get(id))
    const end = async () => {
      const introduction = await this.#whereabouts.introduction(id)
      if (introduction !== undefined) await this.#end(introduction)
    }
    this.#timers.set(
      id,
      this.#clock.setTimeout(() => void end(), milliseconds),
    )
  }

  #forget(id: string): void {
    this.#asked.delete(id)
    this.#opened.delete(id)
    this.#candidates.delete(id)
    this.#clock.clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
  }
}

function readAnswer(acknowledgement: unknown, name: string): ResultOf<'introduction'> {
  const parsed = parseAcknowledgement(acknowledgement)
  if (parsed.ok && parsed.value.command === 'error') throw NamedMasterError.fromFault(parsed.value.payload)
  const result = v.safeParse(resultOf.introduction, parsed.ok ? parsed.value.payload : undefined)
  if (!result.success)
    throw new NamedMasterError('invalid-message', `The master of "${name}" answered what is no answer`)
  return result.output
}

const unreachable = (name: string): NamedMasterError =>
  new NamedMasterError('unreachable', `The master of "${name}" does not answer: try again`)

export const masterOffline = (name?: string): NamedMasterError => {
  const whose = name === undefined ? 'The master' : `The master of "${name}"`
  return new NamedMasterError(
    'master-offline',
    `${whose} is not there now: watch the name, and connect when it is available`,
  )
}
