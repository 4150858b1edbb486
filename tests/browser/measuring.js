// What a reader would complain of, measured in the page itself. Each gives a list of what is wrong, in words.
({
  // Text or pictures that lie beside the page, where nothing scrolls to them.
  beside: () => {
    const found = [];
    if (document.scrollingElement.scrollWidth > innerWidth) found.push(`the page is ${document.scrollingElement.scrollWidth} wide`);
    const scrolls = (each) => each && each !== document.body && (["auto", "scroll", "hidden"].includes(getComputedStyle(each).overflowX) || scrolls(each.parentElement));
    for (const each of document.querySelectorAll("body *")) {
      const { left, right, width } = each.getBoundingClientRect();
      if (width && (right > innerWidth + 1 || left < -1) && !scrolls(each)) found.push(`${each.tagName} ${each.className}: ${left} to ${right}`);
    }
    return found;
  },

  // Text that is smaller than 10 points of the screen, or too much like what it stands on (WCAG 2.1, 1.4.3).
  unreadable: (least) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const known = new Map();
    const once = (key, work) => known.get(key) ?? known.set(key, work(key)).get(key);
    const drawn = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const rgba = (colour) => once(colour, drawn);
    const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => (value * a + below[i] * (255 - a)) / 255);
    const below = (each) => over(rgba(getComputedStyle(each).backgroundColor), ground(each.parentElement));
    const ground = (each) => (each ? once(each, below) : [255, 255, 255]);
    const light = (colour) => {
      const [r, g, b] = colour.map((value) => value / 255).map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const each = texts.currentNode.parentElement;
      const words = texts.currentNode.textContent.trim();
      if (!words || !each.checkVisibility() || each.closest("script, style, svg, option")) continue;
      const style = getComputedStyle(each);
      if (parseFloat(style.fontSize) < 10) found.add(`${each.tagName}.${each.className} ${style.fontSize}: ${words.slice(0, 30)}`);
      const paper = ground(each);
      const [a, b] = [light(over(rgba(style.color), paper)), light(paper)];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < least) found.add(`${each.tagName}.${each.className} ${contrast.toFixed(2)}: ${words.slice(0, 30)}`);
    }
    return [...found];
  },

  // Pictures that are not there, and links that lead nowhere.
  missing: () => [
    ...[...document.images].filter((each) => !each.complete || !each.naturalWidth).map((each) => `picture: ${each.alt}`),
    ...[...document.querySelectorAll('nav a[href^="#"]')].filter((each) => !document.querySelector(each.getAttribute("href"))).map((each) => each.href),
  ],
})
