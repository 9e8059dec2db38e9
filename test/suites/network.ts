/**
 * An internet on one machine: a public segment with one server, and homes, each a host behind a router that does NAT.
 * Made of network namespaces, so it needs root.
 *
 *     server 203.0.113.10 --- public segment --- 203.0.113.<100 + n> router n 10.<n>.0.1 --- 10.<n>.0.2 host n
 *
 * Promises: names are unique for each process; `close` removes all of it, and nothing outside is touched. IPv4 only; no
 * name is resolved inside.
 */
import { execFileSync } from 'node:child_process'

/**
 * What a router does. Each keeps out what nobody inside has asked for.
 * - `cone`: one mapping for all destinations: a STUN server's word is good for others
 * - `symmetric`: another port for each destination
 * - `no-udp`: as cone, and UDP does not pass
 */
export type Router = 'cone' | 'symmetric' | 'no-udp'

/** Each one's, before its own name. */
const PREFIX = `nm${process.pid}`
/** TEST-NET-3 (RFC 5737). */
const PUBLIC = '203.0.113'
export const SERVER_ADDRESS = `${PUBLIC}.10`
const GATEWAY = `${PUBLIC}.254`

export class Network {
  readonly server = `${PREFIX}-server`
  readonly #segment = `${PREFIX}-segment`
  readonly #namespaces: string[] = []
  #homes = 0

  static open(): Network {
    const network = new Network()
    process.once('exit', () => network.close())
    try {
      network.#open()
    } catch (error) {
      network.close()
      throw error
    }
    return network
  }

  #open(): void {
    this.#add(this.#segment)
    ip('-n', this.#segment, 'link', 'add', 'bridge', 'type', 'bridge')
    ip('-n', this.#segment, 'link', 'set', 'bridge', 'up')
    // Everybody's default router, which drops silently: coturn gives up a relay when it hears "unreachable".
    ip('-n', this.#segment, 'addr', 'add', `${GATEWAY}/24`, 'dev', 'bridge')
    this.#add(this.server)
    this.#plug(this.server, 'eth0', SERVER_ADDRESS)
  }

  /** A host behind a router. */
  home(router: Router): Home {
    const n = ++this.#homes
    const [door, host] = [`${PREFIX}-router${n}`, `${PREFIX}-host${n}`]
    this.#add(door)
    this.#add(host)
    this.#plug(door, 'wan', `${PUBLIC}.${100 + n}`)
    ip('-n', door, 'link', 'add', 'lan', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host)
    ip('-n', door, 'link', 'set', 'lan', 'up')
    ip('-n', host, 'link', 'set', 'eth0', 'up')
    ip('-n', door, 'addr', 'add', `10.${n}.0.1/24`, 'dev', 'lan')
    ip('-n', host, 'addr', 'add', `10.${n}.0.2/24`, 'dev', 'eth0')
    ip('-n', host, 'route', 'add', 'default', 'via', `10.${n}.0.1`)
    inside(door, ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'])
    inside(door, ['nft', '-f', '-'], rules(router))
    return new Home(host, door, n)
  }

  /** Idempotent. Processes that are still inside keep their part alive, without a name. */
  close(): void {
    for (const namespace of this.#namespaces.splice(0)) ip('netns', 'del', namespace)
  }

  #add(namespace: string): void {
    try {
      ip('netns', 'add', namespace)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`These tests need network namespaces, and this machine gives none (run as root): ${why}`, {
        cause,
      })
    }
    this.#namespaces.unshift(namespace)
    ip('-n', namespace, 'link', 'set', 'lo', 'up')
    inside(namespace, ['sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'])
  }

  /** A cable from the public segment. */
  #plug(namespace: string, device: string, address: string): void {
    const port = `to${this.#namespaces.length}`
    ip('-n', this.#segment, 'link', 'add', port, 'type', 'veth', 'peer', 'name', device, 'netns', namespace)
    ip('-n', this.#segment, 'link', 'set', port, 'master', 'bridge', 'up')
    ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', device)
    ip('-n', namespace, 'link', 'set', device, 'up')
    ip('-n', namespace, 'route', 'add', 'default', 'via', GATEWAY)
  }
}

export class Home {
  /** The host's, for programs to run in. */
  readonly namespace: string
  readonly #door: string
  readonly #n: number

  constructor(namespace: string, door: string, n: number) {
    this.namespace = namespace
    this.#door = door
    this.#n = n
  }

  /** Another public address, as after a night's cut or in another network: what was mapped is no more. */
  move(): void {
    ip('-n', this.#door, 'addr', 'flush', 'dev', 'wan')
    ip('-n', this.#door, 'addr', 'add', `${PUBLIC}.${200 + this.#n}/24`, 'dev', 'wan')
    ip('-n', this.#door, 'route', 'add', 'default', 'via', GATEWAY)
  }
}

const rules = (router: Router): string => `
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100
    oifname "wan" masquerade ${router === 'symmetric' ? 'fully-random' : ''}
  }
  chain input {
    # Else what comes too early is taken for the router's own, and takes the port that its answer needs.
    type filter hook input priority 0
    iifname "wan" ct state new drop
  }
  chain forward {
    type filter hook forward priority 0
    ${router === 'no-udp' ? 'meta l4proto udp drop' : ''}
    iifname "wan" ct state new drop
  }
}
`

function inside(namespace: string, command: readonly string[], input = ''): void {
  execFileSync('ip', ['netns', 'exec', namespace, ...command], { input, stdio: ['pipe', 'ignore', 'pipe'] })
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
