"""Goal: the templates of backends can be used as they are. Method: the tables are checked by cfn-lint and compared
with what the driver makes; compose files are parsed, hold no secret and open no port to the network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TEMPLATES = Path(__file__).parents[1] / "templates"
TABLES = TEMPLATES / "aws" / "memory-tables.yaml"
CLUSTER = TEMPLATES / "aws" / "dax-cluster.yaml"
COMPOSE = sorted(TEMPLATES.glob("backends/*/compose.yaml"))


def test_the_tables_pass_cfn_lint_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TABLES.read_text().replace("PAY_PER_REQUEST", "PAY_NEVER"))
    also = tmp_path / "also.yaml"
    also.write_text(CLUSTER.read_text().replace("IAMRoleARN", "IAMRoleArm"))
    words = [
        str(Path(sys.executable).parent / "cfn-lint"),
        "--format",
        "json",
        "--",
        *map(str, (TABLES, CLUSTER, wrong, also)),
    ]
    said = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300).stdout
    found = json.loads(said)
    assert {each["Filename"] for each in found} == {str(wrong), str(also)}
    assert "PAY_NEVER" in said and "IAMRoleArm" in said


class Intrinsics(yaml.SafeLoader):
    """CloudFormation's own tags as plain text."""


Intrinsics.add_multi_constructor("!", lambda _loader, _suffix, node: node.value)


@pytest.mark.server
def test_the_tables_are_those_that_the_driver_makes(moto: Any) -> None:
    from antsmem.drivers.dynamodb_log import DynamodbLog

    keys = {"access_key_id": "a", "secret_access_key": "b"}
    log = DynamodbLog.open(f"dynamodb://compared?endpoint=http://127.0.0.1:{moto.port}", keys)
    log.create()
    made = log._client.api.describe_table(TableName="compared")["Table"]
    log.close()
    template = yaml.load(TABLES.read_text(), Intrinsics)["Resources"]
    for table in (template[name]["Properties"] for name in ("Durable", "Log", "Cache")):
        assert table["KeySchema"] == made["KeySchema"]
        assert table["AttributeDefinitions"] == made["AttributeDefinitions"]
        assert table["BillingMode"] == made["BillingModeSummary"]["BillingMode"]
        assert table["TimeToLiveSpecification"]["AttributeName"] == "expires"
    stream = template["Log"]["Properties"]["StreamSpecification"]["StreamViewType"]
    assert stream == made["StreamSpecification"]["StreamViewType"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)
def test_a_compose_file_pins_its_image_and_listens_on_loopback_only(path: Path) -> None:
    services = yaml.safe_load(path.read_text())["services"]
    for service in services.values():
        assert ":" in service["image"] and not service["image"].endswith(":latest")
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["healthcheck"] and ("volumes" in service or path.parent.name == "memcached")
        secret = ("PASSWORD", "KEY", "SECRET")
        assert not [name for name in service.get("environment", {}) if name.endswith(secret)]


def test_there_is_a_page_for_each() -> None:
    pages = {path.stem for path in (TEMPLATES.parent / "docs/how-to/backends").glob("*.md")}
    assert {path.parent.name for path in COMPOSE} <= pages
