// Uses the console as a person would, and prints what it saw as JSON: node console.mjs CONSOLE CHROMIUM [SCREENSHOTS]
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import puppeteer from 'puppeteer-core';

const [console_, executablePath, screenshots] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SOON = { timeout: 20_000 };

const browser = await puppeteer.launch({
  executablePath, headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server'],
});
const seen = { errors: [], foreign: [], violations: [] };
try {
  const page = await browser.newPage();
  page.on('pageerror', error => seen.errors.push(String(error)));
  // The browser reports the one refusal that is asked for below.
  const asked = message => message.text().includes('status of 400') && message.location().url.includes('%24sys');
  page.on('console', message => {
    if (message.type() === 'error' && !asked(message)) seen.errors.push(message.text());
  });
  page.on('request', request => { if (!request.url().startsWith(console_)) seen.foreign.push(request.url()); });
  const text = selector => page.$eval(selector, element => element.textContent);
  const has = (selector, part) => page.waitForFunction(
    (selector, part) => document.querySelector(selector).textContent.includes(part), SOON, selector, part);

  await page.setViewport({ width: 1200, height: 1400 });
  await page.goto(`${console_}/console`);
  await has('#connection', 'Connected');
  await page.waitForFunction(() => Number(document.querySelector('#streams').textContent) > 0, SOON);
  await page.waitForFunction(() => document.querySelector('#deliveries').textContent !== '–', SOON);
  await has('#topics', 'prices/eur');
  await has('#slow', '127.0.0.1');

  // By keyboard alone: the topic's button watches it.
  await page.focus('#topics button');
  await page.keyboard.press('Enter');
  await has('#watch-state', 'Watching');

  // A form, and what comes of it where it is watched.
  await page.$eval('#watch-topic', input => { input.value = 'orders/*'; });
  await page.click('#watch button');
  await has('#watch-state', 'Watching orders/*');
  await page.type('#publish-topic', 'orders/17');
  await page.type('#publish-event', 'paid');
  await page.type('#publish-data', '12 EUR');
  await new Promise(done => setTimeout(done, 500));
  await page.focus('#publish button');
  await page.keyboard.press('Enter');
  await has('#publish-state', 'Published as');
  await has('#watched', '12 EUR');
  seen.watched = await text('#watched');
  // What is refused says why.
  await page.$eval('#publish-topic', input => { input.value = '$sys/stats'; });
  await page.click('#publish button');
  await has('#publish-state', 'Refused');
  seen.refused = await text('#publish-state');

  await page.click('#config-details summary');
  await has('#config', 'admin = true');

  for (const scheme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    seen.violations.push(...violations.map(v => `${scheme} ${v.id}: ${v.nodes.map(n => n.target).join(' ')}`));
    if (screenshots) await page.screenshot({ path: `${screenshots}/console-${scheme}.png` });
  }
  // On a phone nothing is wider than the screen.
  await page.setViewport({ width: 360, height: 780, isMobile: true });
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  seen.ok = true;
} catch (error) {
  seen.errors.push(String(error));
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(seen));
