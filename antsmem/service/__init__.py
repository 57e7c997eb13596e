"""The network door: servers that speak to other machines."""
