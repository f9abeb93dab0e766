"""All that is SiT's: the network, what its authors published, and how they sample; nothing of another family."""
