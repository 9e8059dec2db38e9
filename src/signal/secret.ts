/** Secrets: 256 random bits as base64url. WebCrypto's getRandomValues is there on plain http too, unlike `crypto.subtle`. */

const BYTES = 32

/** A fresh secret: an attempt, a client secret. 43 characters. */
export function newSecret(
  random: (bytes: Uint8Array<ArrayBuffer>) => void = (bytes) => crypto.getRandomValues(bytes),
): string {
  const bytes = new Uint8Array(BYTES)
  random(bytes)
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
