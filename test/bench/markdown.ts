export function section(title: string, text: string): string {
  return `### ${title}\n\n${text}`
}

export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(heads), line(heads.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

export function rate(perSecond: number): string {
  return count(Math.round(perSecond))
}

export function count(number: number): string {
  return number.toLocaleString('en-US')
}

export function ratio(figure: number): string {
  return figure.toFixed(2)
}
