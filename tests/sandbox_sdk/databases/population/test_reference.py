"""Every example of the reference is loaded, with the files it names."""

import re
from pathlib import Path

import pytest

from sandbox_sdk.databases.population.contents import Script
from sandbox_sdk.databases.population.load import load_population
from tests.documents import Block, blocks

ENGINES = {"shop": "postgres", "docs": "qdrant", "graph": "neo4j"}
CONTENT = {
    ".sql": "SELECT 1;",
    ".cypher": "RETURN 1;",
    ".csv": "id,born,from,to\n1,1815,1,2\n",
    ".jsonl": '{"id": 1, "vector": [0.1, 0.2, 0.3, 0.4]}\n',
    ".yaml": "- {id: 1}\n",
}
EXAMPLES = [block for block in blocks("yaml") if block.document.endswith("population.md")]


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_is_loaded(block: Block, tmp_path: Path) -> None:
    tables = next(each.text for each in EXAMPLES if not each.text.startswith("databases:"))
    for name in re.findall(r"[\w/-]+\.\w+", block.text):
        if Path(name).suffix in CONTENT:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(CONTENT[path.suffix])
    (tmp_path / "several-tables.yaml").write_text(tables)
    text = block.text
    if not text.startswith("databases:"):
        text = "databases: {shop: {fixtures: [{file: several-tables.yaml}]}}"
    (tmp_path / "p.yaml").write_text(text)

    for population in load_population(tmp_path / "p.yaml", ENGINES).values():
        assert population.fixtures
        for fixture in population.fixtures:
            assert isinstance(fixture, Script) or list(fixture.rows())


def test_there_are_examples_of_every_engine() -> None:
    names = {name for block in EXAMPLES for name in ENGINES if f"  {name}:\n" in block.text}

    assert set(ENGINES) == names
