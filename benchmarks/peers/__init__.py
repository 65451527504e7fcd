"""The guide's networks in jaxnn and in its peers, each written as that library's own documentation teaches."""
