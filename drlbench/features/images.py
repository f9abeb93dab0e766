"""The door to images, where it used to stand; it is `drlbench.data.images`."""

from drlbench.data.images import ArrayImages, ImageSource, open_images

__all__ = ["ArrayImages", "ImageSource", "open_images"]
