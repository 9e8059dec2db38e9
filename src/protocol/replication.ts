/**
 * Slave <-> master, on a link.
 *
 * The life of a session:  up hello -> down welcome -> (down snapshot -> down part*) -> down commit* until the welcome's version,
 * then both ways as it comes. Join, reconnect, falling behind and repair are this one exchange; a master may send a
 * new welcome at any time. A change goes up as `emit` or `mutate` and is answered by the commit that carries its
 * origin, or by `refused`. The rules (seq, prev, base, positions) are in docs/PROTOCOL.md.
 */
import * as v from 'valibot'
import { Counter, Json, Timestamp, Uuid, parser, type Message, type PayloadOf } from './envelope.js'
import { Fault, Secret } from './naming.js'
import { checkJson, isForbiddenKey, isWellFormed, type JsonValue } from './json.js'

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Characters of an event's or a method's name. */
export const MAX_EVENT_CHARACTERS = 256
const EventName = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(MAX_EVENT_CHARACTERS),
  v.check(isWellFormed, 'a text without lone surrogates'),
)

/** The inner events of one commit, and no endless loop. */
export const MAX_EVENTS_PER_COMMIT = 1000

/** Operations in one patch: a mutate that touches more is better an event. */
export const MAX_OPERATIONS = 100_000

/** Characters of a pointer; what lies deeper under longer keys is replaced together with what is above it. */
export const MAX_POINTER_CHARACTERS = 8192

/** Nothing, or tokens that each begin with /, in which ~ is written ~0 and / is written ~1. */
const POINTER = /^(?:\/(?:[^~/]|~[01])*)*$/

/** A JSON pointer (RFC 6901) that names no prototype. */
const Pointer = v.pipe(
  v.string(),
  v.maxLength(MAX_POINTER_CHARACTERS),
  v.regex(POINTER, 'a JSON pointer'),
  // A key that JSON cannot carry would make every later snapshot one that nobody takes.
  v.check(isWellFormed, 'a text without lone surrogates'),
  v.check((path) => !path.split('/').some(isForbiddenKey), 'a JSON pointer that names no prototype'),
)

/** RFC 6902, the three operations a difference needs. */
export const Operation = v.variant('op', [
  v.object({ op: v.literal('add'), path: Pointer, value: Json }),
  v.object({ op: v.literal('remove'), path: Pointer }),
  v.object({ op: v.literal('replace'), path: Pointer, value: Json }),
])
export type Operation = v.InferOutput<typeof Operation>
export type Patch = readonly Operation[]
export const Patch = v.pipe(v.array(Operation), v.maxLength(MAX_OPERATIONS))

// Their types as those of Json, and for its reason.
const Elements: v.GenericSchema<unknown, readonly JsonValue[]> = v.custom<readonly JsonValue[]>(
  (value) => Array.isArray(value) && checkJson(value).ok,
  'a list within the limits',
)
const Members: v.GenericSchema<unknown, { readonly [key: string]: JsonValue }> = v.custom<{
  readonly [key: string]: JsonValue
}>((value) => isObject(value) && checkJson(value).ok, 'an object within the limits')

/** Elements to append to the array at `path`, or members to set on the object there. */
export const Part = v.pipe(
  v.object({
    path: Pointer,
    elements: v.exactOptional(Elements),
    members: v.exactOptional(Members),
    last: v.exactOptional(v.boolean()),
  }),
  v.check(
    ({ elements, members }) => (elements === undefined) !== (members === undefined),
    'either elements or members',
  ),
)

/** Where a replica stands: a term is one life of a master, a version its commit counter. */
export const Position = v.object({ term: Uuid, version: Counter })
export type Position = v.InferOutput<typeof Position>

/** Who made a change: a public client number and that client's own counter. Absent: the master's own program. */
export const Origin = v.object({ client: Counter, seq: Counter })
export type Origin = v.InferOutput<typeof Origin>

/** `id` is the uuid of the envelope that brought it (inner events: `<id>/1`, `/2`, ...); `at` its timestamp. */
export const CommittedEvent = v.object({
  event: EventName,
  payload: v.exactOptional(Json),
  id: v.pipe(v.string(), v.maxLength(64)),
  at: Timestamp,
})
export type CommittedEvent = v.InferOutput<typeof CommittedEvent>

export const Commit = v.object({
  version: Counter,
  patch: Patch,
  events: v.pipe(v.array(CommittedEvent), v.maxLength(MAX_EVENTS_PER_COMMIT)),
  origin: v.exactOptional(Origin),
})
export type Commit = v.InferOutput<typeof Commit>

/** Liveness, both ways; the pong has the ping's uuid. A slave adds what its master should know. */
const heartbeat = {
  ping: v.object({}),
  /** hidden: the page is in the background, give it longer. lowestCall: below it answers may be forgotten. */
  pong: v.object({ hidden: v.exactOptional(v.boolean()), lowestCall: v.exactOptional(Counter) }),
} as const

/** The last words on a link. */
const goodbye = v.object({ code: v.pipe(v.string(), v.maxLength(64)), message: v.pipe(v.string(), v.maxLength(2048)) })

/** Slave -> master. */
export const upVocabulary = {
  hello: v.object({
    versions: v.object({ oldest: Counter, newest: Counter }),
    secret: Secret,
    position: v.exactOptional(Position),
    /** The session this slave was in, if it was in one. */
    session: v.exactOptional(Uuid),
    /** Calls sent and unanswered. */
    calls: v.pipe(v.array(Counter), v.maxLength(1000)),
    encodings: v.pipe(v.array(v.string()), v.maxLength(16)),
    token: v.exactOptional(v.pipe(v.string(), v.maxLength(8192))),
  }),
  emit: v.object({ seq: Counter, prev: Counter, event: EventName, payload: v.exactOptional(Json) }),
  mutate: v.object({ seq: Counter, prev: Counter, base: Counter, patch: Patch }),
  volatile: v.object({ event: EventName, payload: v.exactOptional(Json) }),
  call: v.object({ call: Counter, method: EventName, params: v.exactOptional(Json), lowestCall: Counter }),
  /** The caller no longer waits. */
  cancel: v.object({ call: Counter }),
  goodbye,
  ...heartbeat,
} as const

/** Master -> slave. */
export const downVocabulary = {
  welcome: v.object({
    version: Counter,
    /** Where the master was when it made this welcome: nothing is shown before it is reached. */
    position: Position,
    /** Commits follow from the position in `hello`, or a snapshot comes first. */
    by: v.picklist(['commits', 'snapshot']),
    client: Counter,
    /** The seq of this client's last commit, as of `position`. Absent: this client is not known (any more). */
    lastSeq: v.exactOptional(Counter),
    session: Uuid,
    /** Those of `hello.calls` that this session has. */
    calls: v.array(Counter),
    encoding: v.string(),
  }),
  /** more: the state is a skeleton, and parts follow. */
  snapshot: v.object({ version: Counter, state: v.exactOptional(Json), more: v.exactOptional(v.boolean()) }),
  part: Part,
  commit: Commit,
  refused: v.object({ seq: Counter, version: Counter, ...Fault.entries }),
  answer: v.object({ call: Counter, version: Counter, result: v.exactOptional(Json), error: v.exactOptional(Fault) }),
  volatile: v.object({ event: EventName, payload: v.exactOptional(Json), client: v.exactOptional(Counter) }),
  goodbye,
  ...heartbeat,
} as const

export type Up = Message<typeof upVocabulary>
export type UpCommand = keyof typeof upVocabulary
export type UpPayload<C extends UpCommand> = PayloadOf<typeof upVocabulary, C>
export type Down = Message<typeof downVocabulary>
export type DownCommand = keyof typeof downVocabulary
export type DownPayload<C extends DownCommand> = PayloadOf<typeof downVocabulary, C>

export const parseUp = parser(upVocabulary)
export const parseDown = parser(downVocabulary)
