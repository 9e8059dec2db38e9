/**
 * The one shape of every message, on the name server's socket and on a link (seed document 1, "Signaling and Message
 * Format"): a command, its payload, a UUID and a time. Parsing never throws: it answers `{ok: false, code, path}`.
 */
import * as v from 'valibot'
import { v7 } from 'uuid'
import type { ErrorCode } from './codes.js'
import { checkJson, type JsonValue } from './json.js'

/** A version-7 UUID (RFC 9562): for logs, and for an answer to name what it answers. Never used for order. */
export const Uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/))

declare const crypto: { getRandomValues(array: Uint8Array): Uint8Array }

/** Asked for at once: sixteen at a time, they take longer than all else of a uuid. */
const RANDOM_BYTES = 4096
const UUID_BYTES = 16
const randomBytes = new Uint8Array(RANDOM_BYTES)
let randomUsed = RANDOM_BYTES

export function newUuid(): string {
  if (randomUsed === RANDOM_BYTES) {
    crypto.getRandomValues(randomBytes)
    randomUsed = 0
  }
  return v7({ random: randomBytes.subarray(randomUsed, (randomUsed += UUID_BYTES)) })
}

/** The sender's milliseconds since 1970: shown to people and handlers, never used for order or expiry. */
export const Timestamp = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

export const Counter = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/**
 * Any JSON value within the limits of json.ts. Its input type is `unknown`, because valibot's types for a default value
 * would follow a recursive one without end (TS2589 for whoever compiles against them).
 */
export const Json: v.GenericSchema<unknown, JsonValue> = v.custom<JsonValue>(
  (value) => checkJson(value).ok,
  'a JSON value within the limits',
)

export interface Envelope<Command extends string = string, Payload = unknown> {
  readonly command: Command
  readonly payload: Payload
  readonly uuid: string
  readonly timestamp: number
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode; readonly path: string; readonly reason: string }

type PayloadSchema = v.GenericSchema<unknown, unknown>
export type Vocabulary = Readonly<Record<string, PayloadSchema>>

/** The envelopes of one direction: a union over the commands of its vocabulary. */
export type Message<V extends Vocabulary> = {
  [C in keyof V & string]: Envelope<C, v.InferOutput<V[C]>>
}[keyof V & string]

export type PayloadOf<V extends Vocabulary, C extends keyof V> = v.InferOutput<V[C]>

const Head = v.object({ command: v.string(), uuid: Uuid, timestamp: Timestamp })

const refusal = (path: string, reason: string) => ({ ok: false, code: 'invalid-message', path, reason }) as const

/** A parser for one direction. Unknown fields are dropped, unknown commands refused. */
export function parser<V extends Vocabulary>(vocabulary: V): (value: unknown) => Parsed<Message<V>> {
  const schemas = new Map<string, PayloadSchema>(Object.entries(vocabulary))
  return (value) => {
    const head = v.safeParse(Head, value, { abortEarly: true })
    if (!head.success) return refusal(pathOf(head.issues), head.issues[0].message)
    const { command, uuid, timestamp } = head.output
    const schema = schemas.get(command)
    if (schema === undefined) return refusal('/command', `unknown command "${command.slice(0, 64)}"`)
    const body = v.safeParse(schema, (value as { payload?: unknown }).payload, { abortEarly: true })
    if (!body.success) return refusal(`/payload${pathOf(body.issues)}`, body.issues[0].message)
    return { ok: true, value: { command, payload: body.output, uuid, timestamp } }
  }
}

/** A JSON pointer to the first issue. */
function pathOf(issues: readonly [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]]): string {
  return (issues[0].path ?? []).map((item) => `/${String(item.key)}`).join('')
}

/** Makes an envelope; `uuid` is given when it answers, or is sent again. */
export function envelope<C extends string, P>(
  command: C,
  payload: P,
  uuid = newUuid(),
  timestamp = Date.now(),
): Envelope<C, P> {
  return { command, payload, uuid, timestamp }
}
