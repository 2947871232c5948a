"""A web of one's own to try the web tools on: servers, names, a certificate authority."""
