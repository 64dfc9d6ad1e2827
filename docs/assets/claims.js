// The page of claims: show the rows that are asked for, and unfold the one that a link points to. Without this, all are there.
const filter = document.getElementById("filter");
const rows = [...document.querySelectorAll("tr[data-verdict]")];
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (target) target.scrollIntoView();
};
const boxes = filter ? [...filter.querySelectorAll("[type=checkbox]")] : [], search = filter?.querySelector("[type=search]");
const apply = (event) => {
  const hide = boxes.filter((box) => !box.checked).map((box) => box.value);
  const words = search.value.toLowerCase().split(/\s+/).filter((word) => word);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = hide.includes(row.dataset.verdict) || hide.includes(row.dataset.from) || !words.every((w) => text.includes(w));
  }
  const all = !hide.length && !words.length, asked = new URLSearchParams();
  if (hide.length) asked.set("hide", hide.join());
  if (words.length) asked.set("words", words.join(" "));
  if (event) history.replaceState(null, "", all ? location.pathname : `?${asked}`);
  for (const box of document.querySelectorAll("details.experiment")) {
    const here = [...box.querySelectorAll("tr[data-verdict]")], shown = here.filter((row) => !row.hidden).length;
    const said = box.querySelector("summary small");
    said.dataset.all ??= said.textContent;
    said.textContent = all ? said.dataset.all : `${shown} of ${here.length} shown`;
    box.hidden = !shown;
    if (event) box.open = !all && shown > 0;
  }
  filter.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
};
if (filter) {
  const asked = new URLSearchParams(location.search), hide = (asked.get("hide") ?? "").split(",");
  for (const box of boxes) box.checked = !hide.includes(box.value);
  search.value = asked.get("words") ?? "";
  filter.hidden = false;
  filter.addEventListener("input", apply);
  addEventListener("hashchange", unfold);
  apply(asked.has("hide") || asked.has("words"));
  unfold();
}
