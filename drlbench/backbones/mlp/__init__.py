"""All that is the multilayer perceptron's: the network; nobody published one, so there is nothing else."""
