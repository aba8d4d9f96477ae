import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'

/** A server that can be killed, and started again on the same data. */
interface Killable {
  kill(): Promise<void>
  start(): Promise<void>
}

/** Each store is killed at least so often, however few kills of Outrigger there are. */
const killsMin = 3

/** Kills one store of the ledger again and again. */
export class StoreKiller {
  /** How often it was killed, and came back. */
  kills = 0
  readonly #name: string
  readonly #server: Killable
  readonly #random: Random
  readonly #say: (text: string) => void

  constructor(name: string, server: Killable, random: Random, say: (text: string) => void) {
    this.#name = name
    this.#server = server
    this.#random = random
    this.#say = say
  }

  /** Resolves when `isOver`, and the store is up. */
  async run(isOver: () => boolean): Promise<void> {
    while (!isOver() || this.kills < killsMin) {
      // Beyond what must be, seldom enough that the recorders catch up in between.
      await sleep(this.kills < killsMin ? this.#random.between(500, 2500) : this.#random.between(3000, 9000))
      this.#say(`${this.#name} is killed.`)
      await this.#server.kill()
      await sleep(this.#random.between(0, 3000))
      await this.#server.start()
      this.kills++
      this.#say(`${this.#name} is back.`)
    }
  }
}
