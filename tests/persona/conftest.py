"""Nothing in this room's tests touches what modkit keeps for the user who runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODKIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield
