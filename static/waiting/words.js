/* Numbers, times and spans in the words of the page. */
const locale = data.intl || root.lang;   // with the digits that the server writes
const numbers = new Intl.NumberFormat(locale, { useGrouping: true });
// Times in the format of the visitor's region, if its language is that of the page.
const region = (navigator.languages || []).find((name) => name.split("-")[0] === root.lang.split("-")[0]);
const clock = new Intl.DateTimeFormat(region || locale, { hour: "numeric", minute: "2-digit" });

/* The same ranges and words as in Python: wait_range and Language.span. */
function waitWords(etaSeconds, words) {
  if (etaSeconds === null) return words.unknown;
  const low = etaSeconds * 0.8 / 60;
  const high = etaSeconds * 1.25 / 60;
  if (high <= 1) return words.soon;
  if (high <= 90) return rangeWords("minute", low, high, high <= 15 ? 1 : 5);
  if (high <= 1440) return rangeWords("hour", low / 60, high / 60, high <= 360 ? 0.5 : 1);
  return words.long;
}

function rangeWords(unit, low, high, step) {
  const first = Math.max(Math.floor(low / step) * step, step);
  const last = Math.max(Math.ceil(high / step) * step, first + step);
  const span = numbers.format(first) + "–" + numbers.format(last);
  try {
    const format = new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" });
    // A dual contains no digits: use the form for 3 then.
    for (const number of [last, 3, 100]) {
      const text = format.format(number);
      if (text.includes(numbers.format(number))) return text.replace(numbers.format(number), span);
    }
  } catch (error) {
    // Safari has units since 2021.
  }
  return span + (unit === "hour" ? " h" : " min");
}

/* The same range as times of day: the early end rounded down, the late end up. */
function turnWords(etaSeconds) {
  if (etaSeconds === null || etaSeconds > 64800) return "–";
  const step = (etaSeconds <= 720 ? 1 : etaSeconds <= 4320 ? 5 : 15) * 60000;
  const first = new Date(Math.floor((Date.now() + etaSeconds * 800) / step) * step);
  const last = new Date(Math.ceil((Date.now() + etaSeconds * 1250) / step) * step);
  return clock.formatRange ? clock.formatRange(first, last) : clock.format(last);
}

function speedWords(speed, perMinute) {
  const words = byId("rate").dataset;
  if (speed === "unknown") return words.unknown;
  if (speed === "stopped" || perMinute === 0) return words.stopped;
  if (perMinute < 1) return words.hour.replace("#", numbers.format(Math.round(perMinute * 60)));
  return words.minute.replace("#", numbers.format(Math.round(perMinute)));
}
