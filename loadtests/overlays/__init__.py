"""What goes wrong around a ballot on purpose: floods, sieges, a thin line; each bounded, each on loopback."""
