// Where the reader is in the page: what stands behind the # of its address. Kept here, and links within the page are
// followed here, because a page that is shown inside another, as the MLflow UI does, may not change its address.
const address = (() => {
  let now = location.hash.slice(1);
  const followers = [];
  const tell = (text) => {
    now = text;
    followers.forEach((follow) => follow());
  };
  const write = (method, text) => {
    try { history[method](null, "", `#${text}`); } catch { /* a page inside another */ }
  };
  const go = (text) => {
    write("pushState", text);
    document.getElementById(text)?.scrollIntoView();
    tell(text);
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.getAttribute("href").slice(1));
  });
  addEventListener("hashchange", () => tell(location.hash.slice(1)));

  return {
    now: () => now,
    note: (text) => { now = text; write("replaceState", text); },
    follow: (follower) => followers.push(follower),
  };
})();
