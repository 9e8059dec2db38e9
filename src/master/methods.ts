/**
 * What slaves may call. Methods are exposed one by one and looked up in a Map, never as a property of anything.
 *
 * Promises: a call runs at most once in its session, however often it is asked for; its answer is kept until the slave
 * says it has it. A throw is an answer; no stack leaves the process.
 */
import { NamedMasterError } from '../errors.js'
import { copyJson, type JsonValue } from '../protocol/json.js'
import { MAX_EVENT_CHARACTERS, type DownPayload, type UpPayload } from '../protocol/replication.js'

/** Calls of one session that are not answered yet, or whose answer the slave has not confirmed. */
export const MAX_OPEN_CALLS = 1000

/** Who calls: a public client number, and a signal that fires when the caller no longer waits. */
export interface CallInfo {
  readonly slave: { readonly client: number }
  readonly signal: AbortSignal
}

export type Method = (params: never, info: CallInfo) => unknown

type Answer = Omit<DownPayload<'answer'>, 'version'>

export class Methods {
  readonly #methods = new Map<string, (params: JsonValue | undefined, info: CallInfo) => unknown>()

  expose(name: string, method: Method): void {
    if (typeof name !== 'string' || name === '' || name.length > MAX_EVENT_CHARACTERS) {
      throw new TypeError(`expose(name, method): the name is a text of 1 to ${MAX_EVENT_CHARACTERS} characters`)
    }
    if (typeof method !== 'function') throw new TypeError('expose(name, method): the method must be a function')
    this.#methods.set(name, method as (params: JsonValue | undefined, info: CallInfo) => unknown)
  }

  /** Exposes methods of an object as `<prefix>.<method>`, each by its name, called with the list of arguments. */
  exposeAll<T extends object>(prefix: string, target: T, names: readonly (keyof T & string)[]): void {
    for (const name of names) {
      if (typeof target[name] !== 'function') throw new TypeError(`exposeAll: "${name}" is not a method of the object`)
    }
    for (const name of names) {
      this.expose(`${prefix}.${name}`, (params: JsonValue | undefined) => {
        if (!Array.isArray(params)) throw new NamedMasterError('invalid-message', 'The arguments must be a list')
        const method = target[name] as (...args: JsonValue[]) => unknown
        return method.apply(target, params as JsonValue[])
      })
    }
  }

  get(name: string): ((params: JsonValue | undefined, info: CallInfo) => unknown) | undefined {
    return this.#methods.get(name)
  }
}

interface OpenCall {
  readonly abort: AbortController
  answer: Answer | undefined
  /** It was answered since the latest welcome. A link loses nothing, so until the next one a repeat needs no answer. */
  told: boolean
}

/** The calls of one session. */
export class Calls {
  readonly #open = new Map<number, OpenCall>()
  readonly #methods: Methods
  readonly #client: number
  readonly #send: (answer: Answer) => void
  #lowest = 0

  constructor(methods: Methods, client: number, send: (answer: Answer) => void) {
    this.#methods = methods
    this.#client = client
    this.#send = send
  }

  call({ call, method, params, lowestCall }: UpPayload<'call'>): void {
    this.confirm(lowestCall)
    if (call < this.#lowest) return
    const known = this.#open.get(call)
    if (known !== undefined) {
      this.#tell(known)
      return
    }
    if (this.#open.size >= MAX_OPEN_CALLS) {
      this.#send({ call, error: { code: 'too-many', message: `At most ${MAX_OPEN_CALLS} calls may be open at once` } })
      return
    }
    const opened: OpenCall = { abort: new AbortController(), answer: undefined, told: false }
    this.#open.set(call, opened)
    void this.#run(call, method, params, opened.abort.signal).then((answer) => {
      if (this.#open.get(call) !== opened) return
      opened.answer = answer
      // Nobody waits for it any more.
      if (call < this.#lowest) this.#open.delete(call)
      else this.#tell(opened)
    })
  }

  cancel(call: number): void {
    this.#open.get(call)?.abort.abort(new NamedMasterError('aborted', 'The caller no longer waits', { remote: true }))
  }

  /** Answers below this call have arrived and are forgotten. */
  confirm(lowest: number): void {
    if (lowest <= this.#lowest) return
    this.#lowest = lowest
    for (const [call, { answer }] of this.#open) if (call < lowest && answer !== undefined) this.#open.delete(call)
  }

  /** Of the calls a slave asks about on a new link, those this session has; their answers, if any, go out again. */
  resume(asked: readonly number[]): number[] {
    return asked.filter((call) => this.#open.has(call))
  }

  /** A welcome has left: what was answered before may not have arrived, and goes out once more if it is asked for. */
  welcomed(calls: readonly number[]): void {
    for (const opened of this.#open.values()) opened.told = false
    for (const call of calls) {
      const opened = this.#open.get(call)
      if (opened !== undefined) this.#tell(opened)
    }
  }

  /** The session is over: nobody waits any more. */
  end(): void {
    for (const call of this.#open.keys()) this.cancel(call)
    this.#open.clear()
  }

  #tell(opened: OpenCall): void {
    if (opened.answer === undefined || opened.told) return
    opened.told = true
    this.#send(opened.answer)
  }

  async #run(call: number, name: string, params: JsonValue | undefined, signal: AbortSignal): Promise<Answer> {
    const method = this.#methods.get(name)
    if (method === undefined) {
      return { call, error: { code: 'no-such-method', message: `The master exposes no method "${name}"` } }
    }
    try {
      const returned = await method(params, { slave: { client: this.#client }, signal })
      if (returned === undefined) return { call }
      const copied = copyJson(returned)
      if (copied.ok) return { call, result: copied.value }
      const message = `What "${name}" returned cannot travel: ${copied.reason} (at "${copied.path}")`
      return { call, error: { code: 'method-failed', message } }
    } catch (error) {
      const message = error instanceof Error && error.message !== '' ? error.message : `"${name}" threw`
      return { call, error: NamedMasterError.from(error, 'method-failed', message).toFault() }
    }
  }
}
