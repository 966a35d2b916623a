"""What the owner says of providers: names, addresses, keys, prices."""
