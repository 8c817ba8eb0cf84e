"""The generator and the discriminator."""
