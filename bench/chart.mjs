/** The charts of bench/README.md: bars by string templates, readable on light and on dark pages. */
import { figure } from './report.mjs'

const WIDTH = 640
const LABEL_WIDTH = 130
const BAR_HEIGHT = 18
const TITLE_HEIGHT = 30
/** What is left of the bars for the figure beside the longest. */
const FIGURE_WIDTH = 110

const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 }
    .ours { fill: #0969da }
    .theirs { fill: #8c959f }
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #4493f8 } .theirs { fill: #6e7681 } }`

/** By file name: the measures that a row marked for a chart. */
export function charts(rows) {
  const marked = rows.flatMap(({ measures }) => measures.filter(({ chart }) => chart !== undefined))
  const names = [...new Set(marked.map(({ chart }) => chart))]
  return Object.fromEntries(names.map((name) => [`${name}.svg`, svg(marked.filter(({ chart }) => chart === name))]))
}

function svg(measures) {
  let y = 0
  const groups = measures.map((measure) => {
    const drawn = group(measure, y)
    y += drawn.height
    return drawn.content
  })
  const size = `width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}"`
  const title = measures.map(({ what }) => what).join(', ')
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-label="${title}">
  <style>${STYLE}
  </style>
${groups.join('\n')}
</svg>
`
}

/** One measure: a bar for each contender, the longest as long as there is room. */
function group({ what, unit, contenders, aims: [{ of, against, atMost }] }, top) {
  const most = Math.max(contenders[of].median, contenders[against].median)
  const bars = [of, against].map((name, number) => {
    const y = top + TITLE_HEIGHT + number * (BAR_HEIGHT + 4)
    const { median } = contenders[name]
    const length = Math.round(((WIDTH - LABEL_WIDTH - FIGURE_WIDTH) * median) / most)
    return `  <text x="0" y="${y + 14}">${name}</text>
  <rect class="${number === 0 ? 'ours' : 'theirs'}" x="${LABEL_WIDTH}" y="${y}" width="${length}" height="${BAR_HEIGHT}" rx="2"/>
  <text x="${LABEL_WIDTH + length + 8}" y="${y + 14}">${figure(median)} ${unit}</text>`
  })
  const title = `  <text class="title" x="0" y="${top + 18}">${what}${atMost === undefined ? '' : ', less is better'}</text>`
  return { content: [title, ...bars].join('\n'), height: TITLE_HEIGHT + 2 * (BAR_HEIGHT + 4) + 8 }
}
