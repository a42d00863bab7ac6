// Without a network, after a first visit.
import { fakePage, trainButton } from "./fake-page.mjs";
import { panel, setNumber } from "./harness.mjs";

const { onPage } = fakePage();

onPage(
  "opens and trains without a network",
  async (page, { context }) => {
    await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    await context.setOffline(true);
    await page.reload();
    await page.getByText("Ready.").waitFor();
    await setNumber(page, "Steps", 3);
    await trainButton(page).click();
    await panel(page, "Train").getByText("Done.", { exact: true }).waitFor();
  },
  { serviceWorkers: "allow" },
);
