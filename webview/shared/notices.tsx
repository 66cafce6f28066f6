/** Short confirmations and failures, shown at the foot of the panel and read out. */
import { useEffect, useState } from 'preact/hooks';
import { describeError } from '../../extension/protocol/channel';
import { Icon } from './icons';

interface Notice {
  text: string;
  failed: boolean;
  link?: Link;
}
/** Something in a notice that can be clicked. */
interface Link {
  text: string;
  onClick: () => void;
}
let show: (notice: Notice | undefined) => void = () => undefined;

export function notify(text: string, link?: Link): void {
  show({ text, failed: false, ...(link && { link }) });
}

/** Reports a failure, unless it is the user's own cancellation. */
export function notifyError(error: unknown): void {
  const { code, message } = describeError(error);
  if (code !== 'cancelled') show({ text: message.slice(0, 500), failed: true });
}

export function Notices() {
  const [notice, setNotice] = useState<Notice>();
  useEffect(() => {
    show = setNotice;
  }, []);
  useEffect(() => {
    if (!notice || notice.failed) return;
    const timer = setTimeout(() => setNotice(undefined), 4000);
    return () => clearTimeout(timer);
  }, [notice]);
  useEffect(() => {
    if (!notice?.failed) return;
    // What failed is being put right, or left: either way it is not news any more.
    const dismiss = (event: Event) => {
      if (!(event.target instanceof Element && event.target.closest('.notices'))) setNotice(undefined);
    };
    const events = ['input', 'change', 'click'];
    const timer = setTimeout(() => events.forEach(each => document.addEventListener(each, dismiss)), 300);
    return () => {
      clearTimeout(timer);
      events.forEach(each => document.removeEventListener(each, dismiss));
    };
  }, [notice]);
  return (
    <div class="notices" role="status" aria-live="polite">
      {notice && (
        <div class={`notice ${notice.failed ? 'failed' : ''}`}>
          <Icon name={notice.failed ? 'error' : 'check'} />
          <span>
            {notice.text}
            {notice.link && (
              <>
                {' '}
                <button type="button" class="link blue" onClick={notice.link.onClick}>
                  {notice.link.text}
                </button>
              </>
            )}
          </span>
          <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => setNotice(undefined)}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}
