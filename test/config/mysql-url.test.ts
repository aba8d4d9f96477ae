import * as fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { hostOfMysqlUrl, readMysqlUrl } from '../../src/config/mysql-url.ts'
import { parseMysqlUrl } from '../../src/mysql/mysql-options.ts'

test.each([
  ['mysql://u@h:3306/d', 'mysql://u@h:3306/d', 'h'],
  ['mysql://u@h/d', 'mysql://u@h:3306/d', 'h'],
  ['mysql://u@10.0.0.7:3307/shop-1', 'mysql://u@10.0.0.7:3307/shop-1', '10.0.0.7'],
  ['mysql://u@[::1]/d', 'mysql://u@[::1]:3306/d', '::1'],
  ['mysql://a%40b@my_db.example.com:3306/d%20e', 'mysql://a%40b@my_db.example.com:3306/d%20e', 'my_db.example.com'],
])('%s is read as %s', (text, value, host) => {
  expect(readMysqlUrl(text)).toEqual({ ok: true, value })
  expect(hostOfMysqlUrl(value)).toBe(host)
})

test.each([
  ['mysql://u:p@h:3306/d', /passwordFile/],
  ['mysql://u:@h:3306/d', /passwordFile/],
  ['mysql://:p@h:3306/d', /passwordFile/],
  ['mysql://u:p@q@h:3306/d', /passwordFile/],
  ['mysql://u:p/q@h:3306/d', /passwordFile/],
  ['mysql://u:p#q?r@h:3306/d', /passwordFile/],
  ['postgres://u@h/d', /begins with mysql/],
  ['u@h/d', /begins with mysql/],
  ['', /begins with mysql/],
  ['mysql://a@b@h:3306/d', /%40/],
  ['mysql://a/b@h:3306/d', /%40/],
  ['mysql://h:3306/d', /lacks the user/],
  ['mysql://@h:3306/d', /lacks the user/],
  ['mysql://u@h:3306', /lacks the database/],
  ['mysql://u@h:3306/', /lacks the database/],
  ['mysql://u@h:3306/d/e', /ends with the database/],
  ['mysql://u@h:3306/d?ssl=true', /ends with the database/],
  ['mysql://u@h:3306/d#x', /ends with the database/],
  [`mysql://u@h:3306/${'d'.repeat(65)}`, /no name of a database/],
  ['mysql://u@h:3306/a%2Fb', /no name of a database/],
  ['mysql://u@h:3306/100%', /%25/],
  ['mysql://u%00@h:3306/d', /%25|control/],
  ['mysql://u@h:0/d', /from 1 to 65535/],
  ['mysql://u@h:65536/d', /from 1 to 65535/],
  ['mysql://u@h:x/d', /no HOST:PORT/],
  ['mysql://u@/d', /no HOST:PORT/],
  ['mysql://u@::1/d', /no HOST:PORT/],
  ['mysql://u@[h]/d', /no HOST:PORT/],
  ['mysql://u@h h/d', /no HOST:PORT/],
])('%s is refused', (text, hint) => {
  expect(readMysqlUrl(text)).toEqual({ ok: false, hint: expect.stringMatching(hint) as string })
})

it('refuses what is no text', () => {
  for (const input of [7, null, undefined, [], {}, true]) expect(readMysqlUrl(input)).toEqual({ ok: false })
})

test('whatever is accepted has no password, and means to the adapter what it says', () => {
  const part = fc.string({ maxLength: 8, unit: fc.constantFrom(...'ab:@/?#%20[].-_ '.split('')) })
  fc.assert(
    fc.property(part, part, part, part, (user, host, database, rest) => {
      for (const text of [`mysql://${user}@${host}/${database}${rest}`, `mysql://${user}${host}/${database}`]) {
        const reading = readMysqlUrl(text)
        if (!reading.ok) continue
        const url = new URL(reading.value)
        expect([url.password, url.search, url.hash]).toEqual(['', '', ''])
        const address = parseMysqlUrl(reading.value)
        expect(address.host).toBe(hostOfMysqlUrl(reading.value))
        expect(address.port).toBeGreaterThan(0)
      }
    }),
    { numRuns: 2000 },
  )
})
