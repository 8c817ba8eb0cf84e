"""Registration and resampling of label images by SimpleITK."""
