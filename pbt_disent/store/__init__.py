"""How a run is kept: blobs, documents, logs and the lease, in its folder or in an object store."""
