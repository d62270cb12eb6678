"""Tables: the form for one row, the area for many, and the same request as commands."""

import json
import shutil
import subprocess
import sys
from datetime import datetime

import pytest

from tests.serving.browser import Browser
from tests.serving.conftest import MESSY
from tests.serving.page.conftest import Address
from tests.serving.page.people import answer_of, asked, choose_else, command, opened, sent_by, tab_to


def test_a_form_answers_as_predict_does(browser: Browser, address: Address) -> None:
    url = address(MESSY)
    page = opened(browser, url)
    page.type("#field-0", "37.5")
    page.click("#field-1-1")
    page.evaluate("document.querySelector('#field-2').value = 'Zürich'")
    page.evaluate("document.querySelector('#field-3').value = '2001-02-03'")
    page.click("#predict")
    shown = answer_of(page).split()[0]
    record = {"age": 37.5, "member": "yes", "city": "Zürich", "joined": "2001-02-03", "mass": 4.5}
    assert sent_by(page) == {"records": [record]}
    value = asked(url, json.dumps({"records": [record]}).encode())["predictions"][0]["value"]
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=1e-5)


def test_what_is_missing_or_unseen_is_sent_as_such(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    page.type("#field-0", "120")
    assert "Outside" in page.text("#field-0-warning"), "a warning only: it is sent all the same"
    choose_else(page, "#field-2")
    page.type("#field-2-other", "Rome")
    assert "No training row" in page.text("#field-2-warning")
    page.evaluate("document.querySelector('#field-3').value = ''")
    page.click("#predict")
    answer_of(page)
    assert sent_by(page)["records"][0] == {
        "age": 120,
        "member": "yes",
        "city": "Rome",
        "joined": None,
        "mass": 4.5,
    }


def test_a_refused_value_is_told_at_its_field(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    page.type("#field-4", "")
    page.press("Delete")
    page.click("#predict")
    page.wait("document.querySelector('#field-4-error').innerText")
    assert page.evaluate("document.activeElement.id") == "field-4"
    assert page.evaluate("document.querySelector('#field-4').getAttribute('aria-invalid')") == "true"
    assert answer_of(page) == "No answer"
    assert page.text("#result").startswith("mass:")
    others = page.evaluate("[...document.querySelectorAll('.field .error')].filter((e) => e.innerText).length")
    assert others == 1
    page.type("#field-4", "5")
    page.wait("!document.querySelector('#field-4').hasAttribute('aria-invalid')")


def test_the_form_needs_no_mouse(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    tab_to(page, "field-0")
    page.call("Input.insertText", text="51")
    page.press("Enter")
    assert answer_of(page)
    tab_to(page, "row", back=True)
    page.press("ArrowRight")
    page.wait("document.activeElement.id === 'csv' && document.querySelector('#way-csv').offsetHeight > 0")


def test_pasted_rows_are_answered_in_a_table_that_can_be_saved(browser: Browser, address: Address) -> None:
    url = address(MESSY)
    page = opened(browser, url)
    page.click("#csv")
    text = 'age,member,city,joined,mass\n42,yes,"Zürich",2019-05-17,4.5\n30,no,"R, ""o""me",1999-01-01,8.25\n'
    page.type("#way-csv textarea", text)
    page.click("#csv-predict")
    assert "2 rows" in answer_of(page)
    cells = page.evaluate(
        "[...document.querySelectorAll('#csv-result tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    assert [row[4] for row in cells] == ["Zürich", 'R, "o"me']
    expected = [one["value"] for one in asked(url, text.encode(), "text/csv")["predictions"]]
    assert [float(row[1].replace(",", "")) for row in cells] == pytest.approx(expected, rel=1e-5)
    page.evaluate(
        "const make = URL.createObjectURL; URL.createObjectURL = (blob) => { window.saved = blob.text(); return make(blob); }"
    )
    page.click("#csv-save")
    saved = page.evaluate("window.saved").splitlines()
    assert saved[0] == "age,member,city,joined,mass,price"
    assert saved[2].startswith('30,no,"R, ""o""me",1999-01-01,8.25,')


def test_a_refused_row_is_named_and_selected(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    page.click("#csv")
    page.type("#way-csv textarea", "age,member,city,joined,mass\n1,yes,3,2001-01-01,2\n1,maybe,3,2001-01-01,2\n")
    page.click("#csv-predict")
    page.wait("document.querySelector('#csv-error').innerText")
    assert page.text("#csv-error").startswith("Row 2, member:")
    selected = (
        "(() => { const a = document.querySelector('textarea'); return a.value.slice(a.selectionStart, a.selectionEnd); })()"
    )
    assert page.evaluate(selected) == "1,maybe,3,2001-01-01,2"


@pytest.mark.parametrize(
    "category", ["Bern", 'it\'s "q" $HOME `id` \\ !x\n%s'], ids=["plain", "what shells and Python care about"]
)
def test_the_shown_commands_ask_the_same_and_are_answered_the_same(browser: Browser, address: Address, category: str) -> None:
    page = opened(browser, address(MESSY))
    choose_else(page, "#field-2")
    page.evaluate(
        f"Object.defineProperty(document.querySelector('#field-2-other'), 'value', {{ value: {json.dumps(category)} }})"
    )
    page.click("#predict")
    shown = answer_of(page).split()[0]
    assert sent_by(page)["records"][0]["city"] == category
    assert shutil.which("curl"), "the page shows people a curl line; a machine without curl cannot prove it"
    for words in (["sh", "-c", command(page, "curl")], [sys.executable, "-c", command(page, "python")]):
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
        value = json.loads(done.stdout)["predictions"][0]["value"]
        assert float(shown.replace(",", "")) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("form", "cell", "field"),
    [
        (None, "2019-05-17", "date"),
        (None, "2019-05-17T08:30:05", "datetime-local"),
        (None, "2019-05-17T08:30:05+02:00", "text"),
        ("%d.%m.%Y", "01.02.2003", "date"),
        ("%m/%d/%y", "12/31/99", "date"),
        ("%d %b %Y", "05 Mar 2020", "date"),
        ("%B %d, %Y", "September 05, 2020", "date"),
        ("%Y-%m-%d %H:%M:%S", "2003-02-01 23:00:09", "datetime-local"),
        ("%Y%m%d", "20030201", "date"),
        ("%d.%m.%Y %I:%M %p", "01.02.2003 11:00 PM", "text"),  # what a date field cannot hold is written as it is
    ],
)
def test_a_date_is_sent_as_its_column_writes_it(
    browser: Browser, address: Address, form: str | None, cell: str, field: str
) -> None:
    if form is not None:
        datetime.strptime(cell, form)  # the service reads it with this very function
    page = opened(browser, address(MESSY))
    found = page.evaluate(
        f"import('./static/dates.js').then(({{ dateField }}) => {{ "
        f"const f = dateField({json.dumps(form)}, [{json.dumps(cell)}]);"
        f"const input = Object.assign(document.createElement('input'), {{ type: f.input, step: f.step ?? 'any' }});"
        f"input.value = f.read({json.dumps(cell)}); return [f.input, f.write(input.value)]; }})"
    )
    assert found == [field, cell]


def test_copy_gives_what_is_shown(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    page.click("#predict")
    answer_of(page)
    text = command(page, "python")
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("#copy")
    page.wait("window.copied")
    assert page.evaluate("window.copied") == text
