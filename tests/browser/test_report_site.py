"""The report as a reader meets it: opened from a disk, in a real browser, with software WebGL."""

import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))

import fake_rooms  # noqa: E402

from otoc_lib.reporting.site import build_report  # noqa: E402

PAGES = ("index", "figures", "curves", "tsne", "viewer", "rooms", "compare")


@pytest.fixture(scope="module")
def report(chromium, tmp_path_factory) -> Path:
    """The folder of a report on made-up runs."""
    root = tmp_path_factory.mktemp("report")
    scenes = fake_rooms.make_scenes()
    fake_rooms.make_runs(root / "runs", scenes)
    return build_report(fake_rooms.results_in(root / "runs"), root / "reports", scenes).parent


def picture(page, selector: str) -> np.ndarray:
    """What an element looks like, int [H, W, 3]."""
    image = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return np.asarray(image).astype(int)


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels that differ clearly."""
    return float((np.abs(before - after).max(axis=-1) > 24).mean())


def open_viewer(new_page, report: Path, room: str = "", **options):
    page, problems = new_page(**options)
    page.goto(f"{report.as_uri()}/viewer.html{room}")
    page.wait_for_function("Number(document.getElementById('view').dataset.frames) > 0")
    return page, problems


def settle(page) -> None:
    """Two frames later everything that was asked for is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_opens_cleanly_and_fits(new_page, report, slowness, scheme, width):
    page, problems = new_page(color_scheme=scheme, width=width, height=800)
    for name in PAGES:
        started = time.perf_counter()
        page.goto(f"{report.as_uri()}/{name}.html")
        assert time.perf_counter() - started < 2 * slowness, name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        broken = page.evaluate(
            "() => { for (const i of document.images) i.loading = 'eager';"
            " return Promise.all([...document.images].map(i => i.decode().then(() => null, () => i.src))) }"
        )
        assert not any(broken), broken
        ink, paper = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        assert contrast(ink, paper) > 7, (name, ink, paper)
    assert problems == []


@pytest.mark.parametrize(("width", "tables"), [(1280, "table:not(.wide, .confusion)"), (390, ".short, .pairs")])
def test_no_number_of_a_table_is_cut(new_page, report, width, tables):
    """At 390 pixels the long tables of the paper's rows scroll; those in short and pairs of runs fit."""
    page, _ = new_page(width=width, height=800)
    seen = []
    for name in ("index", "compare", "curves"):
        page.goto(f"{report.as_uri()}/{name}.html")
        page.evaluate("() => { for (const folded of document.querySelectorAll('details')) folded.open = true; }")
        seen += page.evaluate(
            "which => [...document.querySelectorAll('.scroll')].filter(box => box.querySelector(which))"
            ".map(box => [box.getAttribute('aria-labelledby') ?? box.getAttribute('aria-label'),"
            " box.scrollWidth - box.clientWidth])",
            tables,
        )
    assert len(seen) >= 4 and [box for box in seen if box[1] > 0] == []


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two CSS colours "rgb(r, g, b)" (WCAG 2)."""

    def luminance(color: str) -> float:
        values = np.array([int(part) for part in color[4:-1].split(",")]) / 255
        return float(
            np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        )

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_links_of_the_navigation_lead_on(new_page, report):
    page, problems = new_page()
    page.goto(f"{report.as_uri()}/index.html")
    for name in PAGES[1:]:
        page.locator(f'nav a[href="{name}.html"]').click()
        page.wait_for_url(f"**/{name}.html")
        assert page.locator("nav [aria-current=page]").get_attribute("href") == f"{name}.html"
    page.goto(f"{report.as_uri()}/rooms.html")
    room = page.locator(".strip").first.get_attribute("id")
    page.locator(".strip a").first.click()
    page.wait_for_url(f"**/viewer.html#{room}")
    page.wait_for_function("Number(document.getElementById('view').dataset.frames) > 0")
    assert page.locator("#room").input_value() == room
    assert problems == []


def test_the_theme_can_be_changed_and_stays(new_page, report):
    page, problems = new_page(color_scheme="light")
    page.goto(f"{report.as_uri()}/index.html")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.goto(f"{report.as_uri()}/curves.html")
    assert page.evaluate(paper) == dark and page.locator("#theme").inner_text() == "Light"
    assert problems == []


def test_the_viewer_draws_turns_and_switches(new_page, report):
    page, problems = open_viewer(new_page, report, "#scene1003_00")
    settle(page)
    first = picture(page, "#view")
    half = first.shape[1] // 2
    background = first[2, half // 2]
    covered = (np.abs(first - background).max(axis=-1) > 24).mean()
    assert covered > 0.15 and len(np.unique(first.reshape(-1, 3) // 8, axis=0)) > 40
    # The right view marks errors: red and grey, no class colours.
    assert (np.abs(first[:, half:] - (224, 40, 48)).max(axis=-1) < 60).mean() > 0.02

    page.locator("[data-panel='0'] input[value='colour']").check()
    settle(page)
    colours = picture(page, "#view")
    assert changed(first[:, :half], colours[:, :half]) > 0.05 and changed(first[:, half:], colours[:, half:]) < 0.005
    page.locator("[data-errors='1']").uncheck()
    settle(page)
    classes = picture(page, "#view")
    assert changed(colours[:, half:], classes[:, half:]) > 0.05

    box = page.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 30, steps=5)
    page.mouse.up()
    settle(page)
    turned = picture(page, "#view")
    # Both views turned, by one drag in the left one.
    assert changed(classes[:, :half], turned[:, :half]) > 0.05 and changed(classes[:, half:], turned[:, half:]) > 0.05
    page.mouse.wheel(0, -300)
    settle(page)
    assert changed(turned, picture(page, "#view")) > 0.02
    page.locator("#fit").click()
    settle(page)
    assert changed(classes, picture(page, "#view")) < 0.005
    assert problems == []


def test_the_viewer_works_by_keyboard(new_page, report):
    page, problems = open_viewer(new_page, report)
    settle(page)
    before = picture(page, "#view")
    page.locator("#view").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    settle(page)
    assert changed(before, picture(page, "#view")) > 0.03
    page.locator("[data-panel='0'] input:checked").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-panel='0'] input:checked").get_attribute("value") == "initial U-Net*"
    assert page.locator("#name0").inner_text() == "initial U-Net*"
    assert problems == []


def test_training_rooms_show_clicks_and_pseudo_labels(new_page, report):
    page, problems = open_viewer(new_page, report)
    page.locator("#room").select_option("scene0_00")
    page.wait_for_selector("[data-panel='0'] input[value='clicks']", state="attached")
    names = page.locator("[data-panel='1'] label").all_inner_texts()
    expected = ["colour", "truth", "clicks", "initial labels", *(f"pseudo labels {k}" for k in (1, 2, 3)), "confidence"]
    assert [name.strip() for name in names] == expected
    settle(page)
    before = picture(page, "#view")
    page.locator("[data-panel='0'] input[value='clicks']").check()
    settle(page)
    assert changed(before, picture(page, "#view")) > 0.02
    # Every layer can be drawn.
    for name in expected:
        page.locator(f"[data-panel='1'] input[value='{name}']").check()
    box = page.locator("#view").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] * 0.55)
    assert "truth: " in page.locator("#readout").inner_text()
    assert problems == []


def test_charts_and_tsne_answer_the_mouse(new_page, report):
    page, problems = new_page()
    page.goto(f"{report.as_uri()}/curves.html")
    assert page.locator("[data-chart] svg path").count() > 10
    chart = page.locator("[data-chart='miou'] svg")
    chart.scroll_into_view_if_needed()
    dot = chart.locator("circle").first.bounding_box()
    page.mouse.move(dot["x"] + 3, dot["y"] + 3)
    assert "iteration 1" in page.locator("[data-chart='miou'] .tip").inner_text()
    # Where two seeds were run: a band around the mean, and their number in the legend and beside the point.
    assert chart.locator("path.band").count() == 2
    assert "3D U-Net+Rel+GP (2 seeds)" in page.locator("[data-chart='miou'] .legend").inner_text()
    averaged = page.evaluate(
        "() => JSON.parse(document.getElementById('charts').textContent).miou.lines"
        ".slice(0, -1).map(l => l.seeds ? l.x.length : -l.x.length)"
    )
    place = sum(map(abs, averaged[: next(i for i, count in enumerate(averaged) if count > 0)]))
    dot = chart.locator("circle").nth(place).bounding_box()
    page.mouse.move(dot["x"] + 3, dot["y"] + 3)
    tip = page.locator("[data-chart='miou'] .tip").inner_text()
    assert " ± " in tip and "2 seeds" in tip
    tab = page.locator("[role=tab][aria-selected=true]")
    before = (tab.inner_text(), page.locator(".confusion").inner_text())
    tab.focus()
    page.keyboard.press("ArrowLeft")
    assert (tab.inner_text(), page.locator(".confusion").inner_text()) != before
    page.goto(f"{report.as_uri()}/tsne.html")
    blank = page.evaluate(
        "() => [...document.querySelectorAll('#tsne canvas')].map(c =>"
        " !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v))"
    )
    assert blank == [False] * 3
    place = page.evaluate(
        "() => { const d = JSON.parse(document.getElementById('points').textContent).tsne.panels[2];"
        " const c = document.querySelectorAll('#tsne canvas')[2];"
        " const b = c.getBoundingClientRect(), s = c.clientWidth - 16;"
        " return [b.x + 8 + d.x[0] / 1000 * s, b.y + 8 + (1 - d.y[0] / 1000) * s] }"
    )
    page.mouse.move(*place)
    assert "scene1000_00" in page.locator("#tsne .tip").inner_text()
    assert page.locator("#tsne .tip canvas").count() == 1
    assert problems == []
