import type { LossReason } from './receipt.ts'

/** What became of a message, as far as is known. Times are milliseconds since the epoch. */
export type MessageFate =
  /** On disk, and on its way to the broker. */
  | { readonly state: 'accepted' }
  | {
      readonly state: 'delivered'
      readonly topic: string
      readonly partition: number
      readonly offset: number
      readonly deliveredAt: number
      /** How often it was sent, the successful time included. */
      readonly attempts: number
    }
  | {
      /** The broker refused it for good; it is kept among the dead letters. */
      readonly state: 'dead'
      readonly topic: string
      readonly reason: string
      readonly diedAt: number
      readonly attempts: number
    }
  | {
      /** It is gone, and will not be delivered. */
      readonly state: 'lost'
      readonly reason: LossReason
      readonly lostAt: number
    }
