/** Which tab has a run: the one that holds its Web Lock. A tab that dies lets go of it. */

const name = (id: string) => `postil-run/${id}`;

/** Ends this tab's hold on a run; resolves when it has ended. */
export type Release = () => Promise<void>;

/** `undefined`: another tab has the run. */
export function claim(id: string): Promise<Release | undefined> {
  const { locks } = navigator;
  if (!locks) return Promise.resolve(async () => {});
  return new Promise((resolve, reject) => {
    let letGo = () => {};
    const over = new Promise<void>((done) => (letGo = done));
    const request = locks.request(name(id), { ifAvailable: true }, async (lock) => {
      if (!lock) {
        resolve(undefined);
        return;
      }
      resolve(async () => {
        letGo();
        await request;
      });
      await over;
    });
    request.catch(reject);
  });
}

/** Resolves when no tab has the run. */
export async function freed(id: string): Promise<void> {
  await navigator.locks?.request(name(id), { mode: "shared" }, () => {});
}
