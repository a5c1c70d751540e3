"""What tests read in an object store."""

from __future__ import annotations

from pbt_disent.store.documents import newest_versions
from pbt_disent.store.filesystem import RemoteFiles


def read_documents(files: RemoteFiles, folder: str) -> dict[str, bytes]:
    """Return the documents below a folder, by plain name."""
    return {name: files.read(object_name) for name, object_name in newest_versions(files, folder).items()}
