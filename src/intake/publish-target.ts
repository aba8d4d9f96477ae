import { isTopicName } from '../message/message.ts'
import { readPartition } from './partition.ts'
import { percentDecoded, type PublishHead } from './publish-head.ts'
import { Refusal } from './refusal.ts'

const topicsPath = '/topics/'
const partitionsPath = '/partitions/'

/** Whether a path is `/topics/{topic}` or `/topics/{topic}/partitions/{n}`, whatever stands in the braces. */
export function isPublishPath(path: string): boolean {
  if (!path.startsWith(topicsPath) || path.length === topicsPath.length) return false
  const end = path.indexOf('/', topicsPath.length)
  if (end < 0) return true
  if (end === topicsPath.length || !path.startsWith(partitionsPath, end)) return false
  const partitionAt = end + partitionsPath.length
  return partitionAt < path.length && !path.includes('/', partitionAt)
}

/** The topic that such a path names; the partition, if it names one, goes into `head`. Throws a `Refusal`. */
export function readPublishPath(path: string, head: PublishHead): string {
  const end = path.indexOf('/', topicsPath.length)
  if (end >= 0) head.setPartition(readPartition(path.slice(end + partitionsPath.length)))
  const topic = percentDecoded(path.slice(topicsPath.length, end < 0 ? path.length : end), 'topic_invalid')
  if (isTopicName(topic)) return topic
  throw new Refusal(
    'topic_invalid',
    `“${topic}” is not a topic name: those have 1 to 249 of the characters a-z, A-Z, 0-9, “.”, “_” and “-”, and are not “.” or “..”.`,
  )
}
