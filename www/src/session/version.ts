/** Whether a newer page waits: the service worker fetches it, and gives it out once every tab of this one is closed. */
import { newVersion } from "../state";

export async function followVersion(): Promise<void> {
  // Resolves only where a service worker has been installed.
  const registration = await navigator.serviceWorker?.ready;
  if (!registration) return;
  const look = () => (newVersion.value = registration.waiting !== null);
  look();
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", look));
}
