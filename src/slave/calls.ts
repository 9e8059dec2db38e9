/**
 * A slave's calls of its master's methods: request and answer, outside the commits.
 *
 * Promises: a call leaves when all changes made before it are answered; it runs at most once; it always ends, by its
 * answer, its timeout, its signal, or `unknown-outcome` when the session it was sent in is gone.
 */
import type { Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { copyJson, type JsonValue } from '../protocol/json.js'
import type { DownPayload, UpPayload } from '../protocol/replication.js'
import { checkEventName } from '../store/handlers.js'

/** Calls open at once, as the master has it. */
const MAX_OPEN_CALLS = 1000
/** Milliseconds a call may take unless the program says otherwise. */
const DEFAULT_TIMEOUT_MS = 30_000
/** What timers hold: a longer one would fire at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

export interface CallOptions {
  /** Milliseconds, at most 2^31-1 (24 days); default 30,000. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

interface OpenCall {
  readonly request: Omit<UpPayload<'call'>, 'lowestCall'>
  /** The change that has to be answered first. */
  readonly after: number
  sent: boolean
  readonly settle: (outcome: { result: JsonValue | undefined } | { error: NamedMasterError }) => void
}

export interface CallsOptions {
  readonly clock: Clock
  /** Something can be sent, or taken back. */
  readonly due: () => void
  readonly cancel: (call: number) => void
}

export class Calls {
  readonly #open = new Map<number, OpenCall>()
  readonly #options: CallsOptions
  /** Answers whose version is not applied yet. */
  #early: DownPayload<'answer'>[] = []
  #last = 0

  constructor(options: CallsOptions) {
    this.#options = options
  }

  call(name: string, params: unknown, after: number, options: CallOptions): Promise<unknown> {
    // What the master would not take for a message would end the link, on every link anew.
    const method = checkEventName(name)
    const { signal, timeout = DEFAULT_TIMEOUT_MS } = options
    if (!(timeout >= 0 && timeout <= MAX_TIMEOUT_MS)) {
      throw new TypeError(`call(): the timeout is a number of milliseconds from 0 to ${MAX_TIMEOUT_MS}`)
    }
    const copied = params === undefined ? undefined : copyJson(params)
    if (copied?.ok === false) {
      const where = `${copied.reason} (at "${copied.path}")`
      return Promise.reject(new NamedMasterError('invalid-json', `The parameters cannot travel: ${where}`))
    }
    if (this.#open.size >= MAX_OPEN_CALLS) {
      return Promise.reject(new NamedMasterError('too-many', `At most ${MAX_OPEN_CALLS} calls may be open at once`))
    }
    if (signal?.aborted === true) return Promise.reject(aborted(signal))
    return new Promise((resolve, reject) => {
      const call = ++this.#last
      const giveUp = (error: NamedMasterError): void => {
        const wasSent = opened.sent
        opened.settle({ error })
        if (wasSent) this.#options.cancel(call)
      }
      const onAbort = (): void => giveUp(aborted(signal))
      const timer = this.#options.clock.setTimeout(() => {
        giveUp(
          new NamedMasterError('timeout', `"${method}" was not answered within ${timeout} ms; it may yet have run`),
        )
      }, timeout)
      signal?.addEventListener('abort', onAbort)
      const opened: OpenCall = {
        request: { call, method, ...(copied === undefined ? {} : { params: copied.value }) },
        after,
        sent: false,
        settle: (outcome) => {
          this.#open.delete(call)
          this.#options.clock.clearTimeout(timer)
          signal?.removeEventListener('abort', onAbort)
          if ('error' in outcome) reject(outcome.error)
          else resolve(outcome.result)
        },
      }
      this.#open.set(call, opened)
      this.#options.due()
    })
  }

  /** The lowest call whose answer is awaited: below it the master may forget. */
  get lowest(): number {
    return this.#open.keys().next().value ?? this.#last + 1
  }

  /** Sent and unanswered, for `hello`. */
  get sent(): number[] {
    return [...this.#open].filter(([, { sent }]) => sent).map(([call]) => call)
  }

  /** A welcome: in the same session the master has `known`, and the others go again; in any other they are lost. */
  resume(sameSession: boolean, known: readonly number[]): void {
    this.#early = []
    for (const [call, opened] of [...this.#open]) {
      if (!opened.sent || (sameSession && known.includes(call))) continue
      opened.sent = false
      if (sameSession) continue
      const sentence = `The session of "${opened.request.method}" is gone; it may or may not have run`
      opened.settle({ error: new NamedMasterError('unknown-outcome', sentence) })
    }
  }

  /** The calls that may leave now that all changes up to `settled` are answered, marked as sent. */
  sendable(settled: number): UpPayload<'call'>[] {
    const due: UpPayload<'call'>[] = []
    for (const opened of this.#open.values()) {
      if (opened.sent || opened.after > settled) continue
      opened.sent = true
      due.push({ ...opened.request, lowestCall: this.lowest })
    }
    return due
  }

  answer(answer: DownPayload<'answer'>): void {
    this.#early.push(answer)
  }

  /** Acts on the answers made at versions that are applied by now. */
  applied(version: number): void {
    if (this.#early.length === 0) return
    const due = this.#early.filter((answer) => answer.version <= version)
    this.#early = this.#early.filter((answer) => answer.version > version)
    for (const { call, result, error } of due) {
      this.#open.get(call)?.settle(error === undefined ? { result } : { error: NamedMasterError.fromFault(error) })
    }
  }

  /** One that cannot be sent. */
  fail(call: number, error: NamedMasterError): void {
    this.#open.get(call)?.settle({ error })
  }

  abandon(error: NamedMasterError): void {
    for (const opened of [...this.#open.values()]) opened.settle({ error })
  }
}

const aborted = (signal: AbortSignal | undefined): NamedMasterError =>
  new NamedMasterError('aborted', 'The call was given up', { cause: signal?.reason })
