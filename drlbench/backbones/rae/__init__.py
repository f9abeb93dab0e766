"""All that is RAE's: both stages (network, autoencoder), what its authors published, how they sample; no other family.

`small` is the counterpart of its first stage that the embedded suites train.
"""
