"""The store contract as one pytest class: what every flavor keeps, or declares that it does not.

    class TestMyStore(ArtifactStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyArtifactStore(path=f"mine://{tmp_path.name}")

        async def raw_read(self, uri): ...  # behind the store's back
        async def raw_write(self, uri, data): ...
        async def raw_exists(self, uri): ...
        async def raw_list(self): ...

Each rule is one test, and the names of the tests read as the specification. A capability that a store declares
missing is not skipped: the test checks that asking for it is refused.
"""

from __future__ import annotations

from entrepot.testing.bulk import BulkRules
from entrepot.testing.cancelling import CancellationContract
from entrepot.testing.committing import CommitRules
from entrepot.testing.declaring import PortDeclarationRules
from entrepot.testing.lifecycle import LifecycleRules
from entrepot.testing.listing import ListingRules
from entrepot.testing.moving import CopyingRules, MovingRules
from entrepot.testing.naming import NamingRules
from entrepot.testing.processes import ProcessContract
from entrepot.testing.reading import ReadingRules
from entrepot.testing.removing import DirectoryRules, RemovingRules
from entrepot.testing.writing import WritingRules


class ArtifactStoreContract(
    ReadingRules,
    CommitRules,
    WritingRules,
    ListingRules,
    DirectoryRules,
    RemovingRules,
    CopyingRules,
    MovingRules,
    NamingRules,
    LifecycleRules,
    BulkRules,
    PortDeclarationRules,
    CancellationContract,
    ProcessContract,
):
    """Every rule of the contract; a subclass gives `store` and the raw hooks."""
