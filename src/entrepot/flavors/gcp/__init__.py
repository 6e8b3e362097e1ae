"""The flavor `gcp`: Google Cloud Storage, and emulators of it."""
