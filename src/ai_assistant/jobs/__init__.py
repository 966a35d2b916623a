"""Work that outlives the request: files, batches, and what waits for its time or the network."""
