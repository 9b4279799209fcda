"""What the driver tests stand on: a server, its log, the proxy, and the comparison of the two."""
