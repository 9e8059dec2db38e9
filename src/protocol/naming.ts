/**
 * Client <-> name server: who owns a name, where it is now, and the introduction of two sockets.
 *
 * The life of a master:  startServer -> (registered: confirm) -> introduction* -> stopServer
 *   and after a lost socket: renew, answered by the same claim or `evicted`.
 * The life of a slave:   connect {name, offer} -> {introduction, answer} -> signal* -> end
 *   and when the name is not up: watch -> available -> connect.
 *
 * On Socket.IO each envelope is the one argument of the event `message`. A request has an acknowledgement, which is an
 * envelope too: `result` or `error`, with the request's uuid. What the server says by itself comes the same way.
 */
import * as v from 'valibot'
import { Counter, Json, Uuid, parser, type Message, type PayloadOf } from './envelope.js'

/**
 * Where Socket.IO is served, below the path of the name server's URL. A path of its own, so that an application on the
 * same server keeps its own Socket.IO at the usual `/socket.io`.
 */
export const SOCKET_PATH = '/named-master/socket.io'

/** 3 to 63 of a-z 0-9 . _ -, first and last a letter or digit. Compared in lower case: see `normalizeName`. */
export const Name = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/, 'a master name'))

/** The name as it is compared, or undefined when it is none. */
export function normalizeName(name: unknown): string | undefined {
  if (typeof name !== 'string') return undefined
  // A-Z only: toLowerCase() also makes a k of the Kelvin sign.
  const parsed = v.safeParse(
    Name,
    name.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
  )
  return parsed.success ? parsed.output : undefined
}

export const NAME_RULE = 'A name is 3 to 63 of a-z 0-9 . _ - and begins and ends with a letter or a digit'

/** 256 random bits, base64url without padding: a master's key, an attempt, a client secret. */
export const Secret = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/, 'a secret of 256 bits'))

/** Characters of a session description; Chromium's for one data channel has about 600, with video and candidates 10,000. */
export const MAX_SDP_CHARACTERS = 64 * 1024
const Sdp = v.pipe(v.string(), v.maxLength(MAX_SDP_CHARACTERS))

export const Description = v.object({ type: v.picklist(['offer', 'answer']), sdp: Sdp })
export type Description = v.InferOutput<typeof Description>

/** A candidate as RTCIceCandidateInit, normalised: wrtc throws on a null sdpMLineIndex. An empty text ends the list. */
export const Candidate = v.object({
  candidate: v.pipe(v.string(), v.maxLength(2048)),
  sdpMid: v.nullish(v.pipe(v.string(), v.maxLength(64)), null),
  sdpMLineIndex: v.nullish(v.pipe(Counter, v.maxValue(255)), 0),
})
export type Candidate = v.InferOutput<typeof Candidate>

export const IceServer = v.object({
  urls: v.array(v.pipe(v.string(), v.maxLength(512))),
  username: v.exactOptional(v.string()),
  credential: v.exactOptional(v.string()),
})
export type IceServer = v.InferOutput<typeof IceServer>

/** What the two ends prove to each other later (identity keys): room is kept, nothing checks it yet. */
const Proof = v.object({
  nonce: v.exactOptional(Secret),
  publicKey: v.exactOptional(Secret),
  signature: v.exactOptional(v.string()),
})

/** An error as it travels. `code` is open here, so that a newer end's code is no malformed message. */
export const Fault = v.object({
  code: v.pipe(v.string(), v.maxLength(64)),
  message: v.pipe(v.string(), v.maxLength(2048)),
})
export type Fault = v.InferOutput<typeof Fault>

/** Client -> name server. */
export const clientVocabulary = {
  /** Claims a name. `attempt` is the claimer's own secret: a retry after a lost answer repeats it and is answered alike. */
  startServer: v.object({ name: v.string(), key: v.exactOptional(v.string()), attempt: Secret }),
  /** The key is on the master's disk: the registration is no longer provisional. */
  confirm: v.object({ name: Name, key: Secret }),
  /** After a lost socket: the claim I had. */
  renew: v.object({ name: Name, key: Secret, claim: Counter }),
  stopServer: v.object({ name: Name, key: Secret }),
  /** Asks for an introduction; the offer travels with the name. */
  connect: v.object({ name: v.string(), offer: Description, proof: v.exactOptional(Proof) }),
  /** Tell me when this name comes up (`available`), once. */
  watch: v.object({ name: v.string() }),
  unwatch: v.object({ name: v.string() }),
  signal: v.object({ introduction: Uuid, candidate: Candidate }),
  /** The link is open: the introduction may end in a minute. */
  opened: v.object({ introduction: Uuid }),
  end: v.object({ introduction: Uuid }),
} as const

/** Name server -> client. */
export const serverVocabulary = {
  /** The first thing on a socket. */
  welcome: v.object({
    versions: v.object({ oldest: Counter, newest: Counter }),
    iceServers: v.array(IceServer),
  }),
  /** To a master, acknowledged with `result {answer}` or `error`. */
  introduction: v.object({ introduction: Uuid, name: Name, offer: Description, proof: v.exactOptional(Proof) }),
  signal: v.object({ introduction: Uuid, candidate: Candidate }),
  ended: v.object({ introduction: Uuid }),
  evicted: v.object({ name: Name, claim: Counter }),
  available: v.object({ name: Name }),
} as const

/** Acknowledgements, both ways. */
export const acknowledgementVocabulary = { result: Json, error: Fault } as const

/** What a `result` holds, by the command it answers. */
export const resultOf = {
  startServer: v.variant('answer', [
    v.object({ answer: v.literal('registered'), key: Secret, claim: Counter }),
    v.object({ answer: v.literal('started'), claim: Counter }),
    v.object({ answer: v.literal('exists') }),
  ]),
  confirm: v.object({}),
  renew: v.object({ answer: v.picklist(['renewed', 'evicted']), claim: Counter }),
  stopServer: v.object({ answer: v.literal('stopped') }),
  connect: v.object({ introduction: Uuid, answer: Description, proof: v.exactOptional(Proof) }),
  /** `registered`: whether the name is anybody's, for who wants to know before making an offer. */
  watch: v.object({ live: v.boolean(), registered: v.exactOptional(v.boolean()) }),
  unwatch: v.object({}),
  signal: v.object({}),
  opened: v.object({}),
  end: v.object({}),
  introduction: v.object({ answer: Description, proof: v.exactOptional(Proof) }),
} as const

export type ClientMessage = Message<typeof clientVocabulary>
export type ClientCommand = keyof typeof clientVocabulary
export type ServerMessage = Message<typeof serverVocabulary>
export type ServerCommand = keyof typeof serverVocabulary
export type ClientPayload<C extends ClientCommand> = PayloadOf<typeof clientVocabulary, C>
export type ServerPayload<C extends ServerCommand> = PayloadOf<typeof serverVocabulary, C>
export type ResultOf<C extends keyof typeof resultOf> = v.InferOutput<(typeof resultOf)[C]>

export const parseClientMessage = parser(clientVocabulary)
export const parseServerMessage = parser(serverVocabulary)
export const parseAcknowledgement = parser(acknowledgementVocabulary)
