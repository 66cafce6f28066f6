/** The one way out for everything shown: a table in three formats, a picture too where there is one. */
import { Menu } from '../controls';
import { copyText, save } from './actions';
import { csvFile, jsonFile, markdownFile, pngFile, toMarkdown, type Data } from './exportData';
import type { CommonHost } from './host';

export function ExportMenu(props: {
  host: CommonHost;
  /** What is exported, for the button's name: `the tensors`. */
  what: string;
  /** Made when it is asked for: a table of 10,000 rows is not copied at every keystroke of its filter. */
  data: () => Data;
  /** The picture to save, when one is shown; absent for what is only a table. */
  picture?: () => HTMLCanvasElement | null | undefined;
  pictureShown?: boolean;
}) {
  const { host, data, picture } = props;
  return (
    <Menu
      label={`Export ${props.what}`}
      icon="export"
      items={[
        { label: 'Save as CSV…', icon: 'table', onSelect: () => save(host, csvFile(data())) },
        { label: 'Save as JSON…', icon: 'file', onSelect: () => save(host, jsonFile(data())) },
        { label: 'Save as Markdown…', icon: 'file', onSelect: () => save(host, markdownFile(data())) },
        ...(picture
          ? [
              {
                label: 'Save as PNG…',
                icon: 'chart' as const,
                disabled: props.pictureShown === false,
                onSelect: () => {
                  const canvas = picture();
                  if (canvas) save(host, pngFile(data().name, canvas));
                },
              },
            ]
          : []),
        { label: 'Copy as Markdown', icon: 'copy', onSelect: () => copyText(host, toMarkdown(data()), 'the table') },
      ]}
    />
  );
}
