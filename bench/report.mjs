/** Results: judged, as a table of README.md, and as a file in results/. */
import { cpus, loadavg } from 'node:os'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { ratio, spread } from './statistics.mjs'

const require = createRequire(import.meta.url)

/** What the figures depend on; nothing that tells whose machine it is. */
export function circumstances() {
  const version = (name) =>
    JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url))).version
  const packages = ['wrtc', 'socket.io', 'peer', 'peerjs']
  const [cpu] = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    'named-master': require('../package.json').version,
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    platform: `${process.platform}-${process.arch}`,
    // Of what else ran before: with half a core busy or more, trust nothing but ratios.
    'load before': Number(loadavg()[0].toFixed(1)),
    node: process.version,
    ...Object.fromEntries(packages.map((name) => [name, version(name)])),
  }
}

/** A row's measures with their medians, ratios and verdicts. */
export function judge(measures) {
  return measures.map(({ rounds, aims = [], ...measure }) => ({
    ...measure,
    contenders: Object.fromEntries(
      Object.entries(rounds).map(([name, values]) => [name, { ...spread(values), rounds: values.map(rounded) }]),
    ),
    aims: aims.map((aim) => judgeAim(aim, rounds)),
  }))
}

function judgeAim(aim, rounds) {
  const { of, against, atMost, atLeast } = aim
  const ours = rounds[of]
  const { median, least, most } = spread(ours)
  const judged = against === undefined ? { value: median, low: least, high: most } : ratio(ours, rounds[against])
  return { ...aim, ...judged, ...verdictOf(judged, atMost, atLeast) }
}

/** An aim counts as met when the interval includes it; that the ratio itself does not is told apart. */
function verdictOf({ value, low, high }, atMost, atLeast) {
  if (atMost === undefined && atLeast === undefined) return {}
  const [best, aim, sign] = atMost === undefined ? [high, atLeast, -1] : [low, atMost, 1]
  if (sign * value <= sign * aim) return { verdict: 'met' }
  return { verdict: sign * best <= sign * aim ? 'met within the interval' : 'missed' }
}

const rounded = (value) => Number(value.toPrecision(6))

/** Three digits that count. */
export function figure(value) {
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}

const times = (ratio) => (ratio >= 100 ? figure(ratio) : ratio.toFixed(2))

const withUnit = ({ median, least, most }, unit) =>
  least === most ? `${figure(median)} ${unit}` : `${figure(median)} ${unit} (${figure(least)} to ${figure(most)})`

function aimText({ against, atMost, atLeast }, unit) {
  if (atMost === undefined && atLeast === undefined) return ''
  const text = `at ${atMost === undefined ? 'least' : 'most'} ${atMost ?? atLeast}`
  return against === undefined ? `${text} ${unit}` : `${text}x`
}

/** One line per comparison, and per measure that is compared with nothing. */
export function lines(judged) {
  return judged.flatMap(({ what, unit, contenders, aims }) => {
    const line = (aim) => ({
      what: aim.of === undefined || aim.of === 'named-master' ? what : `${what}: ${aim.of}`,
      ours: withUnit(contenders[aim.of ?? 'named-master'] ?? Object.values(contenders)[0], unit),
      against: aim.against === undefined ? '' : `${aim.against}: ${withUnit(contenders[aim.against], unit)}`,
      ratio: aim.against === undefined ? '' : `${times(aim.value)} (${times(aim.low)} to ${times(aim.high)})`,
      aim: aimText(aim, unit),
      verdict: aim.verdict ?? '',
    })
    return aims.length === 0 ? [line({})] : aims.map(line)
  })
}

const HEAD = ['row', 'what', 'ours: median (least to most)', 'against', 'ratio (95%)', 'aim', '']

/** @param rows {id, measures} as judged */
export function table(rows) {
  const body = rows.flatMap(({ id, measures }) =>
    lines(measures).map((line, number) => [
      number === 0 ? `[${id}](#${id})` : '',
      line.what,
      line.ours,
      line.against,
      line.ratio,
      line.aim,
      line.verdict === 'missed' ? '**missed**' : line.verdict,
    ]),
  )
  const cells = (row) => `| ${row.join(' | ')} |`
  return [cells(HEAD), cells(HEAD.map(() => '---')), ...body.map(cells)].join('\n')
}

export const circumstancesText = (facts) =>
  Object.entries(facts)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')

/** Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->`. */
export function replaceBetween(document, name, content) {
  const [before, after] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const [from, to] = [document.indexOf(before), document.indexOf(after)]
  if (from < 0 || to < from) throw new Error(`There is no place for ${name} in bench/README.md`)
  return `${document.slice(0, from + before.length)}\n\n${content}\n\n${document.slice(to)}`
}
