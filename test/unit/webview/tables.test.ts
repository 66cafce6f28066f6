import { describe, expect, it } from 'vitest';
import { csvFile, markdownFile, toCsv, toJson, toMarkdown } from '../../../webview/shared/exportData';
import { filterRows } from '../../../webview/shared/filter';
import { fitColumns, gridData, sortRows, type Column } from '../../../webview/shared/columns';

interface Row {
  name: string;
  size: number | null;
}
const columns: Column<Row>[] = [
  { id: 'name', label: 'Name', width: '1fr', value: row => row.name },
  { id: 'size', label: 'Size', width: '1fr', value: row => row.size },
];
const rows: Row[] = [
  { name: 'layers.10.q', size: 3 },
  { name: 'layers.2.q', size: null },
  { name: 'layers.1.q', size: 7 },
  { name: 'head', size: 3 },
];
const names = (sorted: readonly Row[]) => sorted.map(({ name }) => name);

describe('sortRows', () => {
  it('orders numbers inside names as numbers', () => {
    expect(names(sortRows(rows, columns, { column: 'name', descending: false }))).toEqual([
      'head',
      'layers.1.q',
      'layers.2.q',
      'layers.10.q',
    ]);
  });

  it('keeps equal rows in their order and unknown values last, in either direction', () => {
    expect(names(sortRows(rows, columns, { column: 'size', descending: true }))).toEqual([
      'layers.1.q',
      'layers.10.q',
      'head',
      'layers.2.q',
    ]);
    expect(names(sortRows(rows, columns, { column: 'size', descending: false })).at(-1)).toBe('layers.2.q');
  });

  it('leaves rows as they are for a column that no longer exists', () => {
    expect(sortRows(rows, columns, { column: 'gone', descending: true })).toBe(rows);
  });
});

describe('fitColumns', () => {
  const column = (id: string, width: string, more: Partial<Column<Row>> = {}): Column<Row> => ({
    id,
    label: id,
    width,
    value: row => row.size,
    ...more,
  });
  const wide = [
    column('name', 'minmax(200px, 1fr)'),
    column('type', '60px', { spare: 1 }),
    column('mean', '60px', { spare: 2 }),
    column('spread', '60px', { spare: 2 }),
    column('bits', '40px'),
    column('shape', '100px', { hidden: true }),
  ];
  const shown = (width: number) => fitColumns(wide, width).map(({ id }) => id);

  it('shows all but the hidden ones where there is room', () => {
    expect(shown(32 + 420 + 4 * 14)).toEqual(['name', 'type', 'mean', 'spread', 'bits']);
  });

  it('leaves out the most spare ones first, those of one kind together, and never the others', () => {
    expect(shown(32 + 420 + 4 * 14 - 1)).toEqual(['name', 'type', 'bits']);
    expect(shown(300)).toEqual(['name', 'bits']);
    expect(shown(10)).toEqual(['name', 'bits']);
  });

  it('takes nothing from what is exported', () => {
    expect(gridData('t', wide, rows).columns).toEqual(['name', 'type', 'mean', 'spread', 'bits', 'shape']);
  });
});

describe('filterRows', () => {
  const find = (query: string) => names(filterRows(rows, row => row.name, query));

  it('wants every word, in any order and case', () => {
    expect(find('Q layers')).toEqual(['layers.10.q', 'layers.2.q', 'layers.1.q']);
    expect(find('')).toHaveLength(4);
    expect(find('nothing here')).toEqual([]);
  });

  it('takes letters in order after whole pieces', () => {
    expect(find('l1q')).toEqual(['layers.10.q', 'layers.1.q']);
    expect(
      names(
        filterRows(
          [
            { name: 'a-x-b', size: 0 },
            { name: 'ab', size: 0 },
          ],
          row => row.name,
          'ab',
        ),
      ),
    ).toEqual(['ab', 'a-x-b']);
  });
});

describe('exported tables', () => {
  const data = {
    name: 'a b/../c',
    columns: ['tensor', 'value'],
    rows: [
      ['plain', 1.5],
      ['with "quotes", commas\nand lines', null],
      ['=HYPERLINK("http://x")', NaN],
      ['-1+2', -3],
    ],
  };

  it('are quoted as RFC 4180 says, with nothing that a spreadsheet would run', () => {
    expect(toCsv(data)).toBe(
      'tensor,value\r\nplain,1.5\r\n"with ""quotes"", commas\nand lines",\r\n"\'=HYPERLINK(""http://x"")",NaN\r\n\'-1+2,-3\r\n',
    );
  });

  it('are objects by column as JSON', () => {
    expect(JSON.parse(toJson(data))).toEqual(
      data.rows.map(([tensor, value]) => ({ tensor, value: Number.isNaN(value) ? null : value })),
    );
  });

  it('are a table as Markdown, in which a name is never markup and a measured number has four digits', () => {
    expect(
      toMarkdown({
        name: 't',
        columns: ['tensor', 'value'],
        rows: [
          ['a|b `*_x_*`\n<img src=x>', 0.123456],
          ['plain', 123456],
          ['none', null],
        ],
      }),
    ).toBe(
      [
        '| tensor | value |',
        '| --- | ---: |',
        '| a\\|b \\`\\*\\_x\\_\\*\\` &lt;img src=x> | 0.1235 |',
        '| plain | 123456 |',
        '| none | – |',
        '',
      ].join('\n'),
    );
    expect(markdownFile(data)).toMatchObject({ name: 'a-b-..-c.md', type: 'md' });
  });

  it('have a file name that cannot leave its folder', () => {
    expect(csvFile(data).name).toBe('a-b-..-c.csv');
  });
});
