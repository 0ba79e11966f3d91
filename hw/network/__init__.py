"""The network between chiplets: what its parts share."""
