"""The documentation agrees with the code: links, lines of sources, and the table of bad input."""

from __future__ import annotations

import re

import pytest
from repository import ROOT, script

doc_links = script("doc_links")
PAGES = doc_links.pages()


def prose(page):
    """A page without code, which may look like a link and is none."""
    text = re.sub(r"^(```+)(?!\{include).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def headings(page):
    """Anchors of the headings of a page, as GitHub makes them; of a page that includes another, of that one."""
    text = page.read_text(encoding="utf-8")
    included = re.search(r"^```\{include\} (\S+)$", text, re.MULTILINE)
    if included:
        text = (page.parent / included[1]).read_text(encoding="utf-8")
    text = re.sub(r"^(```+).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def broken(page, target, anchor):
    file = (page.parent / target).resolve() if target else page
    if not file.exists():
        return f"{target} is not there"
    if not file.is_relative_to(ROOT):
        return f"{target} is outside the repository"
    if anchor and file.suffix == ".md" and anchor not in headings(file):
        return f"{target or page.name} has no heading #{anchor}; it has {sorted(headings(file))}"
    if anchor and file.suffix != ".md":
        lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
        length = len(file.read_text(encoding="utf-8").splitlines())
        if not lines or not 1 <= int(lines[1]) <= int(lines[2] or lines[1]) <= length:
            return f"{target}#{anchor} is not a range of its {length} lines"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)", prose(page))
    assert not [problem for target, anchor in links if (problem := broken(page, target, anchor))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_lines_enclose_what_they_name(page):
    text = page.read_text(encoding="utf-8")
    corrected, lost = doc_links.corrected(page, text)
    assert not lost
    assert corrected == text, "lines have moved: run python scripts/doc_links.py"


def test_figures_of_the_benchmark_report_stand_in_results():
    """A paragraph, list item or table that links to results has no figure that they do not have."""
    page = ROOT / "docs" / "benchmarks.md"
    text = page.read_text(encoding="utf-8").partition("\n## Results\n")[2].partition("```")[0]
    checked = 0
    for block in re.split(r"\n\n|\n(?=- )", text):
        results = [(page.parent / file) for file in re.findall(r"\]\((\S+/results/\w+\.md)\)", block)]
        known = " ".join(result.read_text(encoding="utf-8") for result in results)
        figures = re.findall(r"(?<![\w.])\d+\.\d+(?:e-\d+)?(?![\w.]*\])|\d+ %", block if results else "")
        known_figures = set(re.findall(r"\d+\.\d+(?:e-\d+)?|\d+ %", known))
        parameters = {"0.5"}  # a gamma
        assert set(figures) - known_figures - parameters == set(), block
        checked += len(figures)
    assert checked > 50


@pytest.mark.parametrize(
    ("name", "source", "lines"),
    [
        ("f", "def g():\n    def f(): pass\n\n@cache\ndef f(x):\n    return x\n", (4, 6)),
        ("A.f", "class A:\n    def f(self):\n        pass\n", (2, 3)),
        ("f", "def f(): pass\ndef f(): pass\n", None),
    ],
)
def test_definitions_in_python(tmp_path, name, source, lines):
    (tmp_path / "x.py").write_text(source)
    assert doc_links.definition(tmp_path / "x.py", name) == lines


@pytest.mark.parametrize(
    ("name", "lines"), [("A", (1, 4)), ("A::f", (3, 3)), ("f", (7, 10)), ("A::g", None), ("B", None)]
)
def test_definitions_in_cpp(tmp_path, name, lines):
    (tmp_path / "x.hpp").write_text("""struct A {
    double x;
    FOCAL_INLINE double f() const { return x; }
};

template <int N>
FOCAL_INLINE double f(const A& a) {
    if (N > 0) { return 1.0; }
    return a.f();
}
""")
    assert doc_links.definition(tmp_path / "x.hpp", name) == lines


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def without_dtype(said):
    return re.sub(r"dtype \w+(\([^)]*\))?", "dtype", said)


def test_the_table_of_bad_input_is_up_to_date():
    table = script("bad_input_table")
    lines = table.PAGE.read_text(encoding="utf-8").splitlines()
    rows = [cells(line) for line in lines if line.startswith("|") and line != "| --- | --- |"]
    shown = [row for row in rows if row != ["what is wrong", "error"]]
    remedy = "run python scripts/bad_input_table.py"
    expected = [same for group in table.GROUPS.values() for same in table.lines(group)]
    assert [table.title(rows) for rows in expected] == [title for title, _ in shown], remedy
    for rows, (_, cell) in zip(expected, shown, strict=True):
        said = re.sub(r"\\(.)", r"\1", cell)
        for part in rows[0].says:
            assert re.search(part, said), f"{rows[0]}: {part!r} is not in {said!r}; {remedy}"
        for library in rows[0].libraries:
            error = table.provoke(rows[0], library)
            # The words of other libraries change with their versions, and so do the dtypes of pandas.
            if table.of_this_package(error):
                assert without_dtype(table.text(error)) in without_dtype(said), f"{rows[0]}: {remedy}"


def test_the_page_of_bad_input_says_the_rest():
    table = script("bad_input_table")
    text = table.PAGE.read_text(encoding="utf-8")
    assert text.startswith(table.INTRODUCTION)
    for group in table.GROUPS:
        assert f"## {group}\n\n{table.ABOUT[group]}\n" in text
    assert all(f"- {table.escaped(name)}\n" in text for name in table.FINE)
