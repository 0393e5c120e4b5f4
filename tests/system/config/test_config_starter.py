"""The file that `init` writes."""

import re
import tomllib

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.backends.registry import all_options
from chaperone_async.system.config.lint import lint
from chaperone_async.system.config.load import load
from chaperone_async.system.config.starter import starter
from tests.system.config.conftest import Write
from tests.system.config.test_config_schema import VALIDATOR, pool_keys

ASSIGNMENT = re.compile(r"^# ([a-z_.]+ = .*)$", re.MULTILINE)


def test_it_is_accepted_without_a_warning(write: Write) -> None:
    config = load(write(starter()), {})
    assert lint(config, 1 << 30) == []
    assert [(pool.name, pool.workers) for pool in config.pools] == [("emails", 2)]


def test_it_begins_with_the_schema_and_is_valid_by_it() -> None:
    assert starter().startswith("#:schema ./chaperone.schema.json\n")
    VALIDATOR.validate(tomllib.loads(starter()))


def test_what_is_commented_out_can_be_taken_in(write: Write) -> None:
    VALIDATOR.validate(tomllib.loads(ASSIGNMENT.sub(r"\1", starter())))


def test_defaults_that_are_taken_in_change_nothing(write: Write) -> None:
    config = load(write(starter()), {})
    defaults = [line for line in starter().splitlines() if ASSIGNMENT.match(line) and "(example)" not in line]
    examples = re.sub(r"^# (.*\(example\):)\n.*$", "", starter(), flags=re.MULTILINE)
    text = "\n".join(line[2:] if line in defaults else line for line in examples.splitlines())
    text = text.replace('stop.timeout = "30s"', "")  # would be over the grace
    again = load(write(text), {})
    assert (again.pools, again.listen, again.log_level) == (config.pools, config.listen, config.log_level)
    assert isinstance(again.pools[0], PoolSpec)


def test_it_teaches_every_key_of_a_pool_but_those_of_one_backend_alone() -> None:
    told = {line.split(" = ")[0] for line in re.sub("^# ", "", starter(), flags=re.MULTILINE).splitlines()}
    leaves = {key for key, schema in pool_keys().items() if "properties" not in schema}
    assert {key for key in leaves - told if key.partition(".")[0] not in all_options()} == set()


def test_its_lines_fit_an_editor() -> None:
    assert max(map(len, starter().splitlines())) <= 120
