"use strict";
// The page can be read without this script. It sorts by a column and filters by name and answer.
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const body = one(".clips tbody"), rows = all(".clips tbody tr"), headers = all(".clips thead th");
const nameField = one("#name"), answerField = one("#answer");

function sortValue(row, column) {
  const cell = row.cells[column];
  if (!("value" in cell.dataset)) return cell.textContent.toLowerCase();
  return cell.dataset.value === "" ? -Infinity : +cell.dataset.value;
}
function sortBy(column) {
  const header = headers[column], isText = !("value" in (rows[0]?.cells[column].dataset ?? {}));
  const before = header.getAttribute("aria-sort");
  const order = before ? (before === "ascending" ? "descending" : "ascending") : isText ? "ascending" : "descending";
  headers.forEach((each) => each.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a < b ? -1 : +(a > b));
  body.append(...rows.toSorted((a, b) => sign * compare(sortValue(a, column), sortValue(b, column))));
}
function filter() {
  const part = nameField.value.toLowerCase(), answer = answerField.value;
  rows.forEach((row) => {
    row.hidden = !(row.cells[1].textContent.toLowerCase().includes(part) && (!answer || row.dataset.verdict === answer));
  });
  const count = rows.filter((row) => !row.hidden).length;
  one("#count").value = `${count} of ${rows.length} clips`;
  one("#none").hidden = count > 0;
}

headers.forEach((header, column) => header.querySelector("button")?.addEventListener("click", () => sortBy(column)));
nameField.addEventListener("input", filter);
answerField.addEventListener("change", filter);
filter();
document.documentElement.dataset.ready = "1";
