import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { SentMessage } from '../torture/verdict.ts'

/** As GitHub names them; carried along as headers of the message. */
export const deliveryHeader = 'x-github-delivery'
export const eventHeader = 'x-github-event'

/** A webhook as it is published: the topic is the event's name, the key the repository's full name. */
export interface Webhook {
  readonly event: string
  /** The repository, else the organisation, else nothing: some events belong to neither. */
  readonly key: string | null
  readonly payload: Buffer
}

interface Payload {
  readonly repository?: { readonly full_name: string } | null
  readonly organization?: { readonly login: string } | null
}

interface Definition {
  readonly name: string
  readonly examples: readonly Payload[]
}

const packageName = '@octokit/webhooks-examples'

/** Of github.com, and of each version of GitHub Enterprise Server that the package knows. */
const editions = ['api.github.com', 'ghes-31', 'ghes-32', 'ghes-33', 'ghes-34', 'ghes-35']

/** All payloads of the package, in its order. Their bytes are those of the package without the space between tokens. */
export async function loadWebhooks(): Promise<{ readonly source: string; readonly webhooks: readonly Webhook[] }> {
  const manifest = createRequire(import.meta.url).resolve(`${packageName}/package.json`)
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }
  const webhooks: Webhook[] = []
  for (const edition of editions) {
    const text = await readFile(join(dirname(manifest), edition, 'index.json'), 'utf8')
    for (const { name, examples } of JSON.parse(text) as Definition[]) {
      for (const payload of examples) {
        const key = payload.repository?.full_name ?? payload.organization?.login ?? null
        webhooks.push({ event: name, key, payload: Buffer.from(JSON.stringify(payload)) })
      }
    }
  }
  return { source: `${packageName} ${version}`, webhooks }
}

/** What must stand in the broker for a delivery of this webhook. */
export function sentMessage({ event, key, payload }: Webhook, delivery: string): SentMessage {
  return {
    topic: event,
    key: key === null ? null : Buffer.from(key),
    value: payload,
    headers: [
      ['content-type', Buffer.from('application/json')],
      [eventHeader, Buffer.from(event)],
      [deliveryHeader, Buffer.from(delivery)],
    ],
  }
}
