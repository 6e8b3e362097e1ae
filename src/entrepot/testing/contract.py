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
missing is not skipped: the test checks that asking for it is refused. What a place cannot do, although the contract
would let it, is a class attribute (`StoreRules` has them all); override it with its reason beside it.

A flavor's author subclasses, each in about a dozen lines and with the same raw hooks:

| class | give it | what it holds |
|---|---|---|
| `ArtifactStoreContract` | `store` | every rule, with `CancellationContract`, `ProcessContract` and declared gaps |
| `StoreModelContract` | `make_store`, for a new, empty store each time | random sequences of operations, and a model |
| `BlockingStoreContract` | `blocking_store` | the same rules, through `SyncArtifactStore` |
| `ObjectClientContract` | `client` | the primitives of an object service, for flavors over an `ObjectClient` |

A slow server sets `cancellation_points`, `many_files`, `model_examples` and `model_steps` lower. The long forms are
marked `nightly`: register that marker, and leave them out with `-m "not nightly"`.
"""

from __future__ import annotations

from entrepot.testing.bulk import BulkRules
from entrepot.testing.cancelling import CancellationContract
from entrepot.testing.committing import CommitRules
from entrepot.testing.declaring import PortDeclarationRules
from entrepot.testing.forking import ProcessContract
from entrepot.testing.lifecycle import LifecycleRules
from entrepot.testing.listing import ListingRules
from entrepot.testing.moving import CopyingRules, MovingRules
from entrepot.testing.naming import NamingRules
from entrepot.testing.reading import ReadingRules
from entrepot.testing.removing import DirectoryRules, RemovingRules
from entrepot.testing.resuming import ResumingRules
from entrepot.testing.sharing import SharingRules
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
    ResumingRules,
    SharingRules,
    PortDeclarationRules,
    CancellationContract,
    ProcessContract,
):
    """Every rule of the contract; a subclass gives `store` and the raw hooks."""
