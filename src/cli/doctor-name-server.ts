/**
 * Asks a name server as its clients do: over HTTP, and over Socket.IO for its welcome.
 *
 * Promises: never rejects, ends in time. Afterwards the client that was given is connected, or there is no use in it.
 */
import { NamedMasterError } from '../errors.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'
import type { NameClient } from '../signal/name-client.js'
import { finder, reasonIn, since, type Finding } from './report.js'

/** @param timeout milliseconds, for HTTP; the client has its own */
export async function checkNameServer(url: URL, names: NameClient, timeout: number): Promise<Finding[]> {
  const subject = url.href
  const find = finder('name-server', subject)
  const began = performance.now()
  let httpFault: string | undefined
  try {
    httpFault = await askHealth(url, timeout)
  } catch (error) {
    return [find('fail', `The name server at ${subject} cannot be reached, ${networkReason(error)}`)]
  }
  const failure = await names.connect().then(
    () => undefined,
    (error: unknown) => NamedMasterError.from(error, 'internal', reasonIn(error)),
  )
  const { versions } = names
  if (versions === undefined) return [find('fail', refusal(subject, httpFault, failure))]
  const welcome =
    httpFault === undefined
      ? find('ok', `The name server at ${subject} answers over HTTP and Socket.IO, in ${since(began)} ms`)
      : find(
          'warning',
          `The name server at ${subject} answers, but ${httpFault}: have the proxy in front of it pass that on too`,
        )
  const agree = finder('versions', subject)
  return [
    welcome,
    failure === undefined
      ? agree(
          'ok',
          `It speaks versions ${versions.oldest} to ${versions.newest}, this end ${OLDEST_VERSION} to ${PROTOCOL_VERSION}`,
        )
      : agree('fail', failure.message),
  ]
}

/** Why Socket.IO let nobody in. */
function refusal(subject: string, httpFault: string | undefined, failure: NamedMasterError | undefined): string {
  if (failure?.code === 'not-allowed' || failure?.code === 'too-many') return failure.message
  if (httpFault !== undefined)
    return `Something answers at ${subject}, but it is no name server (${httpFault}): check the address and the port`
  return (
    `The name server at ${subject} answers over HTTP, but not over Socket.IO: ` +
    'have the proxy in front of it pass /named-master/socket.io on, WebSockets included'
  )
}

/** The first piece of its body, and no more: a stranger's may have no end. */
async function beginningOf(response: Response): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader()
  const first = await reader?.read()
  await reader?.cancel()
  return new TextDecoder().decode(first?.value)
}

/** Why /healthz does not answer as a name server's does; undefined when it does. Rejects when nothing answers. */
async function askHealth(url: URL, timeout: number): Promise<string | undefined> {
  const health = new URL(`${url.pathname.replace(/\/+$/, '')}/healthz`, url)
  const response = await fetch(health, { redirect: 'manual', signal: AbortSignal.timeout(timeout) })
  if (response.ok && (await beginningOf(response)).startsWith('{"status":"ok","sockets":')) return undefined
  const location = response.headers.get('location')
  const what = location === null ? '' : `, which sends to ${location}`
  return `its /healthz answers HTTP ${response.status}${what}`
}

/** What is behind a `fetch` that failed, and what to do. */
function networkReason(error: unknown): string {
  const { cause, name } = error as { cause?: unknown; name?: unknown }
  if (name === 'TimeoutError') return 'it does not answer: check the address, and that firewalls let you through'
  const { code, message } = (cause ?? error) as { code?: unknown; message?: unknown }
  const reason = String(code ?? message)
  const advice = NETWORK_ADVICE.find(([pattern]) => pattern.test(reason))?.[1] ?? 'check its address'
  return `${reason}: ${advice}`
}

/** By Node's and OpenSSL's codes. */
const NETWORK_ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^ECONNREFUSED/, 'nothing listens there; start it, or check the port'],
  [/^(ENOTFOUND|EAI_)/, 'no host has this name; check the address and the DNS'],
  [/^(EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|UND_ERR_CONNECT)/, 'no way leads there; check the address and the network'],
  [/^(HPE_|UND_ERR_SOCKET|ECONNRESET)/, 'what listens there does not speak HTTP; check the port, and http or https'],
  [/^(EPROTO|ERR_SSL)/, 'it does not speak TLS; check the port, or give its address with http'],
  [/CERT|VERIFY|SIGNATURE/, 'its certificate is not accepted, and browsers will not take it either; renew it'],
]
