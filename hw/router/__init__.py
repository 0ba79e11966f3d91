"""The router of the network between chiplets (docs/router.md)."""
