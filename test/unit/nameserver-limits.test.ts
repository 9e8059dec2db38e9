import { expect } from 'chai'
import {
  addressGroup,
  Buckets,
  DEFAULT_LIMITS,
  PING_INTERVAL_MS,
  PING_TIMEOUT_MS,
  SocketAllowance,
  TokenBucket,
} from '#nameserver/limits.js'

describe('name server: limits', () => {
  const clock = { time: 0, now: () => clock.time }
  beforeEach(() => (clock.time = 0))
  const takes = (bucket: TokenBucket, times: number) =>
    Array.from({ length: times }, () => bucket.take()).filter(Boolean).length

  it('finds a dead socket within 10 seconds', () => {
    expect(PING_INTERVAL_MS + PING_TIMEOUT_MS).to.be.below(10_000)
  })

  it('lets a burst through at once, and the rate in the long run', () => {
    const bucket = new TokenBucket(clock, 10, 2)
    expect(takes(bucket, 20)).to.equal(10)
    clock.time += 3_000
    expect(takes(bucket, 20)).to.equal(6)
    clock.time += 3_600_000
    expect(takes(bucket, 20)).to.equal(10)
  })

  it('gives and takes nothing when the clock goes back', () => {
    const bucket = new TokenBucket(clock, 2, 1)
    clock.time -= 100_000
    expect(takes(bucket, 5)).to.equal(2)
    clock.time += 1_000
    expect(takes(bucket, 5)).to.equal(1)
  })

  it('keeps the keys apart, and forgets who is full again', () => {
    const buckets = new Buckets(clock, 1, 1)
    expect([buckets.take('a'), buckets.take('a'), buckets.take('b')]).to.deep.equal([true, false, true])
    for (let i = 0; i < 1_000; i++) buckets.take(String(i))
    clock.time += 10 * 60_000
    buckets.take('a')
    expect(buckets.size).to.equal(1)
  })

  it('closes a socket after many faults, not after few', () => {
    const allowance = new SocketAllowance(DEFAULT_LIMITS, clock)
    for (let i = 0; i < 50; i++) expect(allowance.fault()).to.equal(true)
    expect(allowance.fault()).to.equal(false)
    clock.time += 1_000
    expect(allowance.fault()).to.equal(true)
  })

  it('takes an IPv4 address whole, and of IPv6 the network', () => {
    expect(addressGroup('192.0.2.1')).to.equal('192.0.2.1')
    expect(addressGroup('::ffff:192.0.2.1')).to.equal('192.0.2.1')
    expect(addressGroup('::1')).to.equal('0:0:0:0::/64')
    const network = '2001:db8:1:2::/64'
    for (const host of ['2001:db8:1:2::1', '2001:0DB8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2:3:4:5:6%eth0']) {
      expect(addressGroup(host)).to.equal(network)
    }
    expect(addressGroup('2001:db8:1:3::1')).not.to.equal(network)
    expect(addressGroup('2001:db8::1')).to.equal('2001:db8:0:0::/64')
  })
})
