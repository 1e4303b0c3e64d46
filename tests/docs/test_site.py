"""The site is built without a warning, fetches nothing, fits a telephone, and is searched in Chinese."""

from __future__ import annotations

import functools
import http.server
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from handbook import LANGUAGES, ROOT, pages

PARTS = ("docs", "examples", "scripts", "mkdocs.yml", "mkdocs.zh.yml")
LOADED = re.compile(r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("runs", "__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    done = subprocess.run([sys.executable, "scripts/site.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("No issues found") == 2
    return folder / "build" / "site"


def test_every_page_is_there(site: Path) -> None:
    for language in LANGUAGES:
        built = {path.stem for path in (site / language).glob("*.html")}
        assert built == {path.stem for path in pages(language)} | {"404"}
    assert (site / "index.html").is_file()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    found = []
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        away = [url for url in LOADED.findall(text) if url.startswith(("http:", "https:", "//"))]
        away += re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)|@import[^;]*", text)
        found += [f"{path.relative_to(site)}: {url}" for url in away]
    assert found == []
    assert not [p for p in site.rglob("*.html") if "mermaid" in p.read_text(encoding="utf-8").lower()]


def test_no_link_or_picture_is_dead(site: Path) -> None:
    wrong = []
    for path in site.glob("*/*.html"):
        text = path.read_text(encoding="utf-8")
        for url in re.findall(r"\b(?:src|href)=[\"']?([^\"'\s>]+)", text):
            if path.stem == "404" or url.startswith(("http", "#", "data:", "mailto:")):
                continue
            goal = (path.parent / url.partition("#")[0].partition("?")[0]).resolve()
            if not goal.is_file():
                wrong.append(f"{path.relative_to(site)}: {url}")
    assert wrong == []


def test_a_page_leads_to_itself_in_the_other_language(site: Path) -> None:
    for language, other in (LANGUAGES, LANGUAGES[::-1]):
        for page in pages(language):
            text = (site / language / f"{page.stem}.html").read_text(encoding="utf-8")
            assert re.search(rf'href="?\.\./{other}/{page.stem}\.html', text), page


def test_the_language_is_told_to_browsers(site: Path) -> None:
    for language in LANGUAGES:
        page = (site / language / "index.html").read_text(encoding="utf-8")
        assert re.search(rf'<html[^>]* lang="?{language}\b', page)
        index = json.loads((site / language / "search.json").read_text(encoding="utf-8"))
        assert index["config"]["lang"] == [language]
        assert len(index["items"]) > 50


@dataclass(frozen=True, slots=True)
class Looker:
    """The site as a web server gives it out, with a page of ours that looks into the others and says what it saw."""

    address: str
    browser: str
    seen: queue.Queue[Any]

    def look(self, profile: Path, **asked: Any) -> Any:
        url = f"{self.address}/look.html#{urllib.parse.quote(json.dumps(asked))}"
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
        command = [self.browser, *flags, f"--user-data-dir={profile}", url]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return self.seen.get(timeout=120)
        finally:
            running.terminate()
            running.wait()


@pytest.fixture(scope="module")
def looker(site: Path, browser: str) -> Iterator[Looker]:
    (site / "look.html").write_text(LOOK, encoding="utf-8")
    seen: queue.Queue[Any] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_POST(self) -> None:
            seen.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Looker(f"http://127.0.0.1:{server.server_port}", browser, seen)
    server.shutdown()
    thread.join()
    server.server_close()
    (site / "look.html").unlink()


def test_nothing_overflows_sideways(looker: Looker, tmp_path: Path) -> None:
    """On a telephone and on a desk."""
    asked = [f"{language}/{page.stem}.html" for language in LANGUAGES for page in pages(language)]
    seen = looker.look(tmp_path, widths=[390, 1280], pages=asked)["sizes"]
    assert set(seen) == {f"{url} {width}" for url in asked for width in (390, 1280)}
    assert {url: size for url, size in seen.items() if size[0] > size[1]} == {}


@pytest.mark.parametrize(
    ("language", "word", "expected"),
    [
        ("zh", "置信区间", "区间怎么读"),
        ("zh", "退出码", "结论怎么读"),
        ("en", "interval", "How to read an interval"),
    ],
)
def test_the_search_finds(looker: Looker, tmp_path: Path, language: str, word: str, expected: str) -> None:
    """As a reader does it: the button, a word, a list."""
    seen = looker.look(tmp_path, widths=[1280], pages=[f"{language}/index.html"], word=word, expected=expected)
    assert expected in seen["search"]


LOOK = """<!doctype html><meta charset="utf-8"><body style="margin:0"><script>
const asked = JSON.parse(decodeURIComponent(location.hash.slice(1)))
const wait = (ms) => new Promise((done) => setTimeout(done, ms))
const show = (url, width) => new Promise((done) => {
  const frame = document.createElement("iframe")
  frame.style.cssText = `border:0;height:800px;width:${width}px`
  frame.onload = () => done(frame)
  frame.src = url
  document.body.append(frame)
})
const inside = (root) => [root, ...[...root.querySelectorAll("*")].filter((e) => e.shadowRoot).map((e) => e.shadowRoot)]
const search = async (page) => {
  let told = "no box to type in"
  for (let i = 0; i < 50 && !told.includes(asked.expected); i++) {
    if (i % 10 == 0) page.querySelector(".md-search__button")?.click()
    await wait(200)
    const boxes = inside(page).map((root) => root.querySelector("input:not([type=radio]):not([type=checkbox])"))
    const box = boxes.find(Boolean)
    if (!box) continue
    if (box.value != asked.word) {
      box.value = asked.word
      box.dispatchEvent(new Event("input", {bubbles: true, composed: true}))
    }
    told = inside(page).slice(1).map((root) => root.textContent).join(" ")
  }
  return told
}
const found = {sizes: {}}
const measure = async (url, width) => {
  const frame = await show(url, width)
  await wait(50)
  const seen = frame.contentDocument.documentElement
  found.sizes[`${url} ${width}`] = [seen.scrollWidth, seen.clientWidth]
  if (asked.word) found.search = await search(frame.contentDocument)
  frame.remove()
}
const all = async () => {
  for (const width of asked.widths)
    for (let i = 0; i < asked.pages.length; i += 9)
      await Promise.all(asked.pages.slice(i, i + 9).map((url) => measure(url, width)))
  await fetch("seen", {method: "POST", body: JSON.stringify(found)})
}
all()
</script>"""
