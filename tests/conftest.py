"""What all tests share: the profiles of hypothesis, the place of the shared fixtures, and a count of examples.

Choose the slow profile, with its hundreds of examples per test, by ``pytest --hypothesis-profile=slow``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile("fast", max_examples=25, deadline=None, suppress_health_check=CHECKS)
settings.register_profile("slow", max_examples=220, deadline=None, suppress_health_check=CHECKS, print_blob=True)
settings.load_profile("fast")

SHARED = Path(__file__).resolve().parents[2] / "shared"

_examples: Counter[str] = Counter()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the fixtures that several projects share; the test is skipped where there is none."""
    if not (SHARED / "fixtures" / "manifest.json").is_file():
        pytest.skip("the shared fixtures are not beside this project (../shared/fixtures)")
    return SHARED


@pytest.fixture
def count_example(request: pytest.FixtureRequest) -> Any:
    """A function that counts one example for the running test; the counts are printed at the end."""
    name = request.node.name

    def count() -> None:
        _examples[name] += 1

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many examples each property test that counts them has passed through."""
    if not _examples:
        return
    terminalreporter.section("examples of property tests")
    terminalreporter.write_line(
        f"{sum(_examples.values())} examples in {len(_examples)} tests, at least {min(_examples.values())} in each"
    )
    if settings.get_current_profile_name() == "slow":
        for name, count in sorted(_examples.items()):
            terminalreporter.write_line(f"  {count:5d}  {name}")
