import { Refusal } from './refusal.ts'

/** Kafka counts partitions in an int32. */
const partitionMax = 2 ** 31 - 1
const digits = /^[0-9]{1,10}$/

export function readPartition(text: string): number {
  return checkPartition(digits.test(text) ? Number(text) : NaN, text)
}

export function checkPartition(partition: number, text: string | number): number {
  if (Number.isInteger(partition) && partition >= 0 && partition <= partitionMax) return partition
  throw new Refusal('partition_invalid', `“${text}” is not a partition: those are whole numbers from 0.`)
}
