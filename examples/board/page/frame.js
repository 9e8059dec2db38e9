// @ts-check
/** Many calls, one run in the next frame: for what is drawn, and for what others need to see only as often as it is drawn. */

/** @param {() => void} run */
export function perFrame(run) {
  let asked = false
  return () => {
    if (asked) return
    asked = true
    requestAnimationFrame(() => {
      asked = false
      run()
    })
  }
}

/** The element of the page that has this id. @template {HTMLElement} [E=HTMLElement] @returns {E} */
export const byId = (/** @type {string} */ id) => {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`index.html has no element "${id}".`)
  return /** @type {E} */ (element)
}
