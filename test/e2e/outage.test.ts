import { describe, expect, test } from 'vitest'
import { hasKeptAll, runOutages, type OutageFigures } from '../torture/outage.ts'
import { duties, embeddedOutageStack, outagesOf, realOutageStack, type OutageStack } from '../torture/outage-stack.ts'
import { requireRealStack } from '../torture/real-stack.ts'
import { outageTable } from '../torture/tables.ts'

describe('publishers notice nothing, those that are up are not held up, and everything arrives by itself, while', () => {
  test('Kafka, MySQL and Cassandra are away: each, both stores, and all of them at the start', async (context) => {
    await using servers = await requireRealStack(context)
    expect(await outages(await realOutageStack(servers), 4, 'later')).toEqual(unnoticed)
    expect(await outages(await realOutageStack(servers), 3, 'at the start')).toEqual(unnoticed)
  }, 400_000)

  test('the embedded broker and ledger are away: each, and both of them, later and at the start', async () => {
    expect(await outages(embeddedOutageStack(), 2, 'later')).toEqual(unnoticed)
    expect(await outages(embeddedOutageStack(), 2, 'at the start')).toEqual(unnoticed)
  })
})

const unnoticed = { hasKeptAll: true, waited: 'for those that were away alone' }

/** `npm run torture -- --outage 60` has longer ones. Figures that depend on the machine are printed, not tested. */
async function outages(opened: OutageStack, seconds: number, when: 'later' | 'at the start'): Promise<object> {
  await using stack = opened
  const isAwayAtStart = when === 'at the start'
  const outagesThen = isAwayAtStart ? [stack.parties] : outagesOf(stack)
  const options = { outages: outagesThen, seconds, isAwayAtStart, normalSeconds: 2, say: () => {} }
  const result = await runOutages(stack, options)
  process.stdout.write(`\n${outageTable(result)}\n`)
  const faults = result.outages.flatMap(faultsOf)
  return { hasKeptAll: hasKeptAll(result), waited: faults.join(', ') || unnoticed.waited }
}

/** What is away has to have made messages wait, or the outage was none; what is up must have gone on as before. */
function faultsOf({ away, times, waitingMax }: OutageFigures): string[] {
  const isDeliveryAway = away.some(({ serves }) => serves.includes('delivery'))
  return duties.flatMap((duty) => {
    const isAway = away.some(({ serves }) => serves.includes(duty))
    const share = waitingMax[duty] / times.count
    if (!isAway) return share < 0.25 ? [] : [`${share} of all for ${duty}, which was up`]
    // Without deliveries there is nothing to record.
    const mustWait = duty === 'delivery' || !isDeliveryAway
    return share > 0.5 || !mustWait ? [] : [`only ${share} of all for ${duty}`]
  })
}
