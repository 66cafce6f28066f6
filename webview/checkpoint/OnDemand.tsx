import { Button } from '../controls';

/** Up to this many weights, values are computed without being asked for: well under a second of reading. */
export const AUTOMATIC = 20e6;

/** A heading with a button in place of something that is costly to compute. */
export function OnDemand(props: { title: string; about: string; action: string; onStart: () => void }) {
  return (
    <section class="figure" aria-label={props.title}>
      <header>
        <h3>{props.title}</h3>
      </header>
      <div class="pending">
        <Button onClick={props.onStart}>{props.action}</Button>
        <span>{props.about}</span>
      </div>
    </section>
  );
}
