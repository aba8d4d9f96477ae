/** Where a listener binds: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH` in the configuration. Port 0 picks a free one. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
