import { describe, expect, test } from 'vitest'
import { parseMysqlUrl } from '../../src/mysql/mysql-options.ts'

describe('the URL of a database', () => {
  test.each([
    ['mysql://user@host:3306/outrigger', { host: 'host', port: 3306, user: 'user', database: 'outrigger' }],
    ['mysql://user@db.example/x', { host: 'db.example', port: 3306, user: 'user', database: 'x' }],
    ['mysql://user@10.0.0.7:33060/x', { host: '10.0.0.7', port: 33_060, user: 'user', database: 'x' }],
    ['mysql://user@[::1]:3307/x', { host: '::1', port: 3307, user: 'user', database: 'x' }],
    ['mysql://a%40b%3Ac%25@h/d%2Fe%20f', { host: 'h', port: 3306, user: 'a@b:c%', database: 'd/e f' }],
  ])('%s', (url, parts) => {
    expect(parseMysqlUrl(url)).toEqual(parts)
  })

  test.each([
    ['', /mysql:\/\//],
    ['host:3306', /mysql:\/\//],
    ['postgres://user@host/x', /mysql:\/\//],
    ['mysql://user@host:99999/x', /mysql:\/\//],
    ['mysql://host/x', /no user/],
    ['mysql://user@/x', /expected|no host/],
    ['mysql://user@host', /no database/],
    ['mysql://user@host/', /no database/],
    ['mysql://user@host/a/b', /slash/],
    ['mysql://user@host/a?ssl=true', /ends with the database/],
    ['mysql://user@host/a#b', /ends with the database/],
    ['mysql://us%er@host/a', /%25/],
    ['mysql://user:hunter2@host/a', /mysql\.passwordFile/],
  ])('is refused: %s', (url, message) => {
    expect(() => parseMysqlUrl(url)).toThrow(message)
    expect(() => parseMysqlUrl(url)).not.toThrow(/hunter2/)
  })
})
