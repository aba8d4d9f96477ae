/** Where something stands in a configuration, as keys and list positions: `['kafka', 'brokers', 1]`. */
export type Place = readonly (string | number)[]

/** `kafka.brokers[1]`. */
export function pathOf(place: Place): string {
  return place.map((step, index) => (typeof step === 'number' ? `[${step}]` : (index === 0 ? '' : '.') + step)).join('')
}

/** The reverse of `pathOf`, for the paths of settings and their items. */
export function placeOf(path: string): Place {
  return [...path.matchAll(/([^.[\]]+)|\[([0-9]+)\]/g)].map((match) => match[1] ?? Number(match[2]))
}

/** Whether one path is the other, or leads to it. */
export function related(a: string, b: string): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a]
  return long.startsWith(short) && (long.length === short.length || '.['.includes(long[short.length] as string))
}
