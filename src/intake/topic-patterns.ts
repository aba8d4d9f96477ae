/** Topics that are named, or whose names begin as they are told: `orders`, `debug.*`. */
export class TopicPatterns {
  readonly #names = new Set<string>()
  readonly #prefixes: string[] = []

  constructor(patterns: readonly string[]) {
    for (const pattern of patterns)
      if (pattern.endsWith('*')) this.#prefixes.push(pattern.slice(0, -1))
      else this.#names.add(pattern)
  }

  has(topic: string): boolean {
    return this.#names.has(topic) || this.#prefixes.some((prefix) => topic.startsWith(prefix))
  }
}
